"""Settings, read once at start from the environment (`SPEAN_…`) and handed down; no other place reads the environment."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from schemas import versions

_PREFIX = "SPEAN_"
# In the keys folder: name → address of every holder, where there are several on this machine (`spean holder add`).
HOLDERS_FILE = "holders.json"
_HOLDERS = TypeAdapter(dict[str, str])


class WrongSettings(Exception):
    """Settings that cannot be used. The message names the variables and what to do, never a value: some hold passwords."""


def _home(name: str) -> Path:
    """Where a folder of that name belongs for this account: under /var/lib as root, else under the account's data."""
    if os.name == "posix" and os.geteuid() == 0:
        return Path("/var/lib/spean") / name
    base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "spean" / name


def _registered(before: dict[str, Any]) -> dict[str, str]:
    """The holders in the keys folder's own list, if it has one. `before`: the settings that come before. Raises
    WrongSettings."""
    try:
        kept = (before["keys"] / HOLDERS_FILE).read_bytes()
    except (KeyError, OSError):
        return {}
    try:
        return _HOLDERS.validate_json(kept)
    except ValidationError:
        raise WrongSettings(f"{HOLDERS_FILE} in the keys folder is unreadable: it is JSON, name → address") from None


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    data: Path = Field(default_factory=lambda: _home("data"), description="folder of the embedded database")
    keys: Path = Field(
        default_factory=lambda: _home("keys"), description="folder of all keys; never in a backup of data"
    )
    postgres: str = Field(
        default="",
        repr=False,
        description="address of a PostgreSQL, an account in it for migrate only; empty: embedded",
    )
    postgres_password_file: Path | None = Field(
        default=None, description="file with the password of that account, where the address has none"
    )
    bus: str = Field(default="", description="kafka://host:port,…; empty: the bus inside PostgreSQL")
    kafka_ca: Path | None = Field(default=None, description="who may sign the brokers' certificates (PEM); TLS then")
    kafka_certificate: Path | None = Field(default=None, description="our certificate for Kafka (PEM, chain); TLS then")
    kafka_key: Path | None = Field(default=None, description="file with its private key (PEM)")
    kafka_user: str = Field(default="", description="our name at Kafka (SASL), over TLS only")
    kafka_password_file: Path | None = Field(default=None, description="file with its password")
    kafka_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = Field(
        default="SCRAM-SHA-512", description="how that name signs in"
    )
    host: str = Field(
        default="127.0.0.1", description="address to listen on; loopback, unless certificate or url says how"
    )
    port: int = Field(default=8420, ge=0, le=65535, description="port to listen on; the next free one if taken")
    url: str = Field(default="", description="public address of this installation; empty: the one listened on")
    certificate: Path | None = Field(default=None, description="file with the certificate (PEM, chain) to serve HTTPS")
    certificate_key: Path | None = Field(default=None, description="file with its private key (PEM)")
    holder: str = Field(default="main", pattern=r"^[a-z][a-z0-9-]{0,30}$", description="name of the holder run here")
    country: str = Field(default="KH", pattern=r"^[A-Z]{2}$", description="country of the holder run here")
    holders: dict[str, str] = Field(
        default_factory=_registered,
        description="name → address of every holder on the bus; empty: as spean holder add has registered them",
    )
    issuer: str = Field(
        default="",
        description="who vouches for those who write at the holder run here; its own address: itself; empty: the network",
    )
    sample: bool = Field(default=True, description="load the sample network at the first start")
    smtp: str = Field(
        default="", repr=False, description="smtp://[user:password@]host:port; empty: mails wait, nothing is sent"
    )
    mail_from: str = Field(default="no-reply@localhost", description="sender of notices")
    duty_phone: str = Field(
        default="", max_length=40, description="number that senders call when the network is not reached"
    )
    say_as: str = Field(
        default="",
        description="events still said in an older version, while readers are upgraded: referral.held.v1,…",
    )
    otlp: str = Field(
        default="",
        description="http(s)://host:port of an OpenTelemetry collector (OTLP over HTTP); empty: nothing is sent",
    )
    trace_share: float = Field(default=1.0, ge=0, le=1, description="part of all traces that is kept, 0 to 1")
    one_operator: bool | None = Field(
        default=None,
        description="the network and all holders are one organisation's: a trace goes through all; default: with one holder",
    )
    inside: str = Field(
        default="",
        pattern=r"^(\S+:[0-9]{1,5})?$",
        description="host:port for /metrics, /live, /ready: never to be reached from outside; empty: none",
    )
    fast_unsafe: bool = Field(default=False, description="tests only: the embedded database does not wait for the disk")

    def __init__(self, **values: Any) -> None:
        """Raises WrongSettings."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise WrongSettings("; ".join(_told(one) for one in error.errors(include_input=False))) from None
        except SettingsError:
            raise WrongSettings(f'{_PREFIX}HOLDERS must be JSON such as {{"main": "https://…/intake"}}') from None

    @property
    def postgres_address(self) -> str:
        """`postgres` with the password from its file. Raises WrongSettings."""
        if self.postgres_password_file is None:
            return self.postgres
        parts = urlsplit(self.postgres)
        if not parts.username or parts.password:
            raise WrongSettings(
                f"{_PREFIX}POSTGRES_PASSWORD_FILE needs {_PREFIX}POSTGRES to name an account, without a password"
            )
        try:
            password = quote(self.postgres_password_file.read_text(encoding="utf-8").strip(), safe="")
        except (OSError, UnicodeDecodeError):
            raise WrongSettings(f"{_PREFIX}POSTGRES_PASSWORD_FILE names a file that cannot be read") from None
        account, _, host = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{account}:{password}@{host}"))

    @property
    def local(self) -> bool:
        """Is the installation reached from this machine alone?"""
        return _loopback(self.host) and (not self.url or _loopback(urlsplit(self.url).hostname or ""))

    @property
    def traces_go_on(self) -> bool:
        """Does a trace go on from one service to the next? Not beyond the organisation that it belongs to."""
        if self.one_operator is not None:
            return self.one_operator
        return set(self.holders) <= {self.holder}

    @field_validator("data", "keys")
    @classmethod
    def _absolute(cls, folder: Path) -> Path:
        return folder.expanduser().absolute()

    @field_validator("say_as")
    @classmethod
    def _older_versions(cls, names: str) -> str:
        versions.held_back(names)
        return names

    @field_validator("url", "otlp", "issuer")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment):
            raise ValueError("must be an address such as https://spean.example.org")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _kafka_in_pairs(self) -> Self:
        if (self.kafka_certificate is None) != (self.kafka_key is None):
            raise ValueError(f"{_PREFIX}KAFKA_CERTIFICATE and {_PREFIX}KAFKA_KEY belong together: set both")
        if (self.kafka_password_file is None) == bool(self.kafka_user):
            raise ValueError(f"{_PREFIX}KAFKA_USER and {_PREFIX}KAFKA_PASSWORD_FILE belong together: set both")
        return self

    @model_validator(mode="after")
    def _nothing_in_the_clear(self) -> Self:
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError(f"{_PREFIX}CERTIFICATE and {_PREFIX}CERTIFICATE_KEY belong together: set both")
        if _loopback(self.host) or self.url.startswith("https://"):
            return self
        if self.certificate is None:
            raise ValueError(
                f"{_PREFIX}HOST is not this machine's own loopback, and names and packets would cross a network that others "
                f"can read: set {_PREFIX}CERTIFICATE and {_PREFIX}CERTIFICATE_KEY, or put an HTTPS proxy in front and set "
                f"{_PREFIX}URL to its https:// address, or leave {_PREFIX}HOST at 127.0.0.1"
            )
        if self.host in {"0.0.0.0", "::"}:  # noqa: S104 (compared, not listened on)
            raise ValueError(
                f"{_PREFIX}HOST is every address of this machine: set {_PREFIX}URL to the one that people use"
            )
        return self


def _told(error: Any) -> str:
    """One fault: the variable and what is wrong, without what it held."""
    said = str(error["msg"]).removeprefix("Value error, ")
    return f"{_PREFIX}{str(error['loc'][0]).upper()}: {said}" if error["loc"] else said
