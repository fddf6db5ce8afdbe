"""A second holder's folder and settings file, and the list of holders that the network on this machine keeps."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pycountry
from pydantic import TypeAdapter, ValidationError

from schemas.vocabulary import HolderName
from services.cli import bootstrap
from services.cli.connected import cluster_of
from services.cli.installation import BUS_DATABASE
from services.intake import main as intake
from services.referral import main as referral
from spean.crypto import private_file
from spean.provision import Roles, service_dsns
from spean.settings import HOLDERS_FILE, Settings

SETTINGS_FILE = "settings.env"
_NAME = TypeAdapter(HolderName)
_HTTP = 80
_POSTGRESQL = 5432


class NotAdded(Exception):
    """A holder cannot be added, or found, like this. The message says why and what to do; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for. `url`: where partners reach it, without `/intake`; `network`, `issuer`, `postgres`: empty for the
    network of this machine, the holder itself, a PostgreSQL of its own in `folder`."""

    name: str
    country: str
    url: str
    network: str = ""
    issuer: str = ""
    postgres: str = ""
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A holder as it will be: its folder, its settings by name, and every holder there is then, by name."""

    name: str
    folder: Path
    values: dict[str, str]
    holders: dict[str, str]

    @property
    def file(self) -> Path:
        return self.folder / "keys" / SETTINGS_FILE


def folder_of(settings: Settings, name: str) -> Path:
    """Where a holder of this name lies on this machine, unless somebody says otherwise: beside the network's data."""
    return settings.data.parent / "holders" / name


def planned(settings: Settings, wanted: Wanted) -> Plan:
    """Everything that can be wrong is found here. Raises NotAdded."""
    try:
        _NAME.validate_python(wanted.name)
    except ValidationError:
        raise NotAdded(
            "a holder's name begins with a letter and has at most 31 small letters, digits and hyphens"
        ) from None
    expect_country(wanted.country)
    url, network = _address("--url", wanted.url), _address("--network", wanted.network or bootstrap.address(settings))
    for option, given, service in (("--url", url, intake.NAME), ("--network", network, referral.NAME)):
        if urlsplit(given).path.endswith(f"/{service}"):
            raise NotAdded(f"{option} is the address without /{service} at its end")
    holders = settings.holders or {settings.holder: f"{network}/{intake.NAME}"}
    address = f"{url}/{intake.NAME}"
    if wanted.name in holders:
        raise NotAdded(
            f"there is a holder {wanted.name} already: choose another name (one that was made by mistake and never held "
            f"anybody: remove its folder, and its line in {settings.keys / HOLDERS_FILE}; then stop and start the network)"
        )
    if address in holders.values() or url == network:
        raise NotAdded("another holder, or the network, answers at that address: choose another port or host for --url")
    _expect_own_server(settings, holders, wanted.postgres)
    folder = (wanted.folder or folder_of(settings, wanted.name)).expanduser().absolute()
    _expect_empty(folder)
    holders = {**holders, wanted.name: address}
    parts = urlsplit(url)
    values = {
        "SPEAN_HOLDER": wanted.name, "SPEAN_COUNTRY": wanted.country, "SPEAN_DATA": str(folder / "data"),
        "SPEAN_KEYS": str(folder / "keys"), "SPEAN_POSTGRES": wanted.postgres, "SPEAN_BUS": _bus(settings),
        "SPEAN_URL": network, "SPEAN_HOLDERS": json.dumps(holders),
        "SPEAN_ISSUER": _address("--issuer", wanted.issuer or address), "SPEAN_HOST": "127.0.0.1",
        # Behind a proxy with TLS it listens where a proxy on this machine finds it.
        "SPEAN_PORT": str(Settings.model_fields["port"].default if parts.scheme == "https" else parts.port or _HTTP),
    }  # fmt: skip
    return Plan(wanted.name, folder, values, holders)


def expect_country(country: str) -> None:
    """Raises NotAdded."""
    if not country.isupper() or pycountry.countries.get(alpha_2=country) is None:
        raise NotAdded("--country is an ISO 3166 code of two capital letters, such as TH")


def _address(option: str, given: str) -> str:
    """Without a trailing slash. Names and tokens cross networks over TLS only. Raises NotAdded."""
    given = given.rstrip("/")
    try:
        parts = urlsplit(given)
        parts.port  # noqa: B018 (reading it looks whether it is a number)
    except ValueError:
        raise NotAdded(f"{option} must be an address such as https://sister.example.net") from None
    plain = (
        parts.scheme in {"http", "https"} and parts.hostname and not (parts.query or parts.fragment or parts.username)
    )
    if not plain or any(character.isspace() for character in given):
        raise NotAdded(f"{option} must be an address such as https://sister.example.net")
    if parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
        raise NotAdded(f"{option} must begin with https:// (http:// is for this machine alone: http://127.0.0.1:8440)")
    return given


def _expect_own_server(settings: Settings, holders: Mapping[str, str], postgres: str) -> None:
    """Every holder's databases are called the same: two on one server would shut each other out, and write in each other's
    tables. Those that this machine knows of are looked at. Raises NotAdded."""
    known = [settings, *(settings_in(folder) for name in holders if is_made(folder := folder_of(settings, name)))]
    try:
        taken = {_server(one.postgres) for one in known if one.postgres}
        if postgres and _server(postgres) in taken:
            raise NotAdded("--postgres is the server of another holder, or the network's: name one of its own, or none")
    except ValueError:
        raise NotAdded("--postgres must be an address such as postgresql://db.example.net:5432") from None


def _server(postgres: str) -> tuple[str, int]:
    """Raises ValueError."""
    parts = urlsplit(postgres)
    return parts.hostname or "", parts.port or _POSTGRESQL


def is_made(folder: Path) -> bool:
    """Is it a holder's?"""
    return (folder / "keys" / SETTINGS_FILE).exists()


def _expect_empty(folder: Path) -> None:
    """Raises NotAdded."""
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise NotAdded(f"{folder} is there already and not empty: name another with --folder")
        above = next(path for path in folder.parents if path.exists())
        if not os.access(above, os.W_OK | os.X_OK):
            raise NotAdded(f"nothing may be written in {above}: name another folder with --folder")
    except OSError as error:
        raise NotAdded(
            f"{folder} cannot be used ({os.strerror(error.errno or 0)}): name another with --folder"
        ) from None


def _bus(settings: Settings) -> str:
    """The common bus: that of the settings, or the one inside the network's own PostgreSQL here. Raises NotAdded."""
    if settings.bus:
        return settings.bus
    if not (settings.keys / "database-roles").exists():
        raise NotAdded(
            "the network does not run from this machine's folders: set SPEAN_BUS to its bus and name it with --network, or "
            "start it here once (make up)"
        )
    return service_dsns(cluster_of(settings), Roles.load(settings.keys), BUS_DATABASE)[1]


def write(settings: Settings, plan: Plan) -> bool:
    """Make the folder and its settings file; and where the network on this machine keeps its own list of holders, put the new
    one there. False where the network has to be told in another way. Raises NotAdded."""
    plan.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in plan.values.items())
    private_file(plan.file, text.encode())
    here = (settings.keys / "database-roles").exists() and "holders" not in settings.model_fields_set
    if here:
        kept = settings.keys / HOLDERS_FILE
        new = kept.with_name(f".{kept.name}.new")
        new.unlink(missing_ok=True)
        private_file(new, json.dumps(plan.holders, indent=2).encode())
        new.replace(kept)
    return here


def settings_in(folder: Path) -> Settings:
    """The settings of the holder whose folder this is, whatever the environment says of these. Raises NotAdded, WrongSettings."""
    file = folder / "keys" / SETTINGS_FILE
    try:
        lines = shlex.split(file.read_text(encoding="utf-8"), comments=True)
    except (OSError, ValueError):
        raise NotAdded(
            f"{file} cannot be read: add the holder first (spean holder add), or name its --folder"
        ) from None
    values: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition("=")
        values[name.removeprefix("SPEAN_").lower()] = value
    try:
        values["holders"] = json.loads(values["holders"])
    except (KeyError, ValueError):
        raise NotAdded(f"{file} does not name the holders as JSON (SPEAN_HOLDERS)") from None
    return Settings(**values)
