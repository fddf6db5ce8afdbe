"""`spean doctor`: what is wrong with this machine for Spean, and how to mend it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import re
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import asyncpg
import httpx
import typer
from rich.console import Console
from rich.markup import escape

from schemas import versions
from schemas.registry import PREFIX
from services.cli import bootstrap
from services.cli.holder import ANSWERS, asked
from services.cli.holder_files import SETTINGS_FILE
from services.cli.installation import BUILD
from spean import embedded
from spean.bus import Bus, BusError, BusUnavailable
from spean.bus.connect import connect
from spean.bus.kafka import KafkaBus
from spean.bus.kafka_topics import MISSING, PARTITIONS, SETTINGS, WAITS, Difference
from spean.embedded import EmbeddedError
from spean.provision import AddressedCluster, Roles, service_dsns
from spean.service import topics
from spean.settings import Settings, WrongSettings
from spean.telemetry import set_up_logs

ROOT = Path(__file__).parents[2]
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 14)
# PostgreSQL 16 is the oldest version with all that the migrations use.
OLDEST_POSTGRES = 160_000
# A pilot's first year of events and records stays well below the first; below the second PostgreSQL may stop any day.
DISK_WARN_BYTES, DISK_WRONG_BYTES = 2 * 1024**3, 300 * 1024**2
# Tokens allow five seconds between two clocks.
CLOCK_S = 5.0
LIMIT_S = 20.0
# Of topics that differ: the rest is counted.
TOLD_MOST = 3
Level = Literal["ok", "warn", "wrong"]
_COLOURS: Mapping[Level, str] = {"ok": "green", "warn": "yellow", "wrong": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and what to do about it (empty where nothing needs doing)."""

    check: str
    level: Level
    found: str
    do: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """Say what is wrong with this machine and how to mend it. Exit code 0: nothing is wrong (there may be warnings);
    1: something is wrong. Changes nothing: a trial database is made in a folder of its own and removed."""
    set_up_logs("CRITICAL")  # what the parts would log is told as findings
    findings = list(_still())
    try:
        settings = Settings()
    except WrongSettings as error:
        findings.append(Finding("settings", "wrong", str(error), "correct the variable, then ask again"))
    else:
        findings += [Finding("settings", "ok", "readable"), *_held_back(settings), *_folders(settings)]
        findings += asyncio.run(_moving(settings))
    if as_json:
        for finding in findings:
            print(json.dumps(asdict(finding), ensure_ascii=False))
    else:
        _show(findings)
    if any(finding.level == "wrong" for finding in findings):
        raise typer.Exit(1)


def _show(findings: list[Finding]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for one in findings:
        console.print(f"[{_COLOURS[one.level]}]{one.level:<6}[/] {one.check:<13} {escape(one.found)}")
        if one.do:
            console.print(f"{'':<20} → {escape(one.do)}")


def _still() -> Iterator[Finding]:
    """What needs no settings."""
    here = sys.version_info[:2]
    fits = OLDEST_PYTHON <= here <= NEWEST_PYTHON
    yield Finding(
        "python", "ok" if fits else "wrong", ".".join(map(str, sys.version_info[:3])),
        "" if fits else "install Python 3.11 to 3.14, delete .venv, and run make up",
    )  # fmt: skip
    lock = ROOT / "requirements.lock"
    wrong = _differing(lock.read_text(encoding="utf-8")) if lock.exists() else []
    yield Finding(
        "packages", "wrong" if wrong else "ok", f"not as locked: {', '.join(wrong)}" if wrong else "as locked",
        "delete .venv and run make up" if wrong else "",
    )  # fmt: skip
    newest = lock.stat().st_mtime if lock.exists() else 0.0
    behind = time.time() < newest - 86_400
    yield Finding(
        "clock", "wrong" if behind else "ok", datetime.now(UTC).isoformat(timespec="seconds"),
        "this is before the program was made: set the clock, and keep it right (NTP)" if behind else "",
    )  # fmt: skip


def _differing(lock: str) -> list[str]:
    """Locked packages that are here in another version, or not at all (one with a condition may be absent)."""
    wrong = []
    for name, version, condition in re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)( ;)?", lock, re.MULTILINE):
        try:
            here = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if not condition:
                wrong.append(f"{name} missing")
            continue
        if here != version:
            wrong.append(f"{name} {here} instead of {version}")
    return wrong


def _held_back(settings: Settings) -> Iterator[Finding]:
    """A switch for the days of an upgrade, which nothing else would remind of."""
    for type_ in sorted(versions.held_back(settings.say_as)):
        older, newer = (name.removeprefix(PREFIX) for name in (type_, versions.newest(type_)))
        yield Finding(
            "versions", "warn", f"SPEAN_SAY_AS: {older} is said instead of {newer}",
            f"wanted only until every process that reads it knows {newer}: take it away then, and start once more",
        )  # fmt: skip


def _folders(settings: Settings) -> Iterator[Finding]:
    made = (settings.data / "data").exists()
    if not settings.postgres:
        yield _data_folder(settings)
        yield _disk(settings.data)
    if not settings.keys.exists():
        lost = made and not settings.postgres
        yield Finding(
            "keys", "wrong" if lost else "ok", f"{settings.keys} does not exist" + ("" if lost else " yet"),
            "the data cannot be opened without its keys: restore the keys folder from its backup" if lost else "",
        )  # fmt: skip
        return
    yield from _keys_folder(settings, made=made)


def _data_folder(settings: Settings) -> Finding:
    folder = settings.data
    if settings.keys.is_relative_to(folder) or folder.is_relative_to(settings.keys):
        return Finding(
            "data", "warn", "one of the two folders lies in the other", "keep data and keys apart: set SPEAN_KEYS"
        )
    if not (folder / "data").exists():
        return Finding("data", "ok", f"{folder} is empty or not there yet")
    mode = stat.S_IMODE((folder / "data").stat().st_mode)
    if mode & 0o077:
        return Finding("data", "wrong", f"{folder}/data is open to other accounts", f"chmod 700 {folder}/data")
    return Finding("data", "ok", str(folder))


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(_existing(folder)).free
    level: Level = "wrong" if free < DISK_WRONG_BYTES else "warn" if free < DISK_WARN_BYTES else "ok"
    found = f"{free / 1024**3:.1f} GiB free for {folder}"
    return Finding("disk", level, found, "" if level == "ok" else "make room, or set SPEAN_DATA to a larger disk")


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _keys_folder(settings: Settings, *, made: bool) -> Iterator[Finding]:
    keys = settings.keys
    loose = [path for path in (keys, *keys.rglob("*")) if stat.S_IMODE(path.stat().st_mode) & 0o077]
    foreign = [path for path in (keys, *keys.rglob("*")) if path.stat().st_uid != os.geteuid()]
    if loose:
        yield Finding("keys", "wrong", f"{loose[0]} is open to other accounts", f"chmod -R go= {keys}")
    elif foreign:
        yield Finding(
            "keys", "wrong", f"{foreign[0]} belongs to another account", f"run Spean as it, or chown -R {keys}"
        )
    else:
        yield Finding("keys", "ok", str(keys))
    wanted = ["database-roles", "intake/kek-*"]
    # A second holder beside the network has no network of its own.
    wanted += [] if (keys / SETTINGS_FILE).exists() else ["referral/signing.jwk", "clients/administrator.jwk"]
    wanted += [] if settings.postgres else ["postgres"]
    missing = [name for name in wanted if not any(keys.glob(name))]
    # A machine that runs one service of many has that service's keys only.
    if made and not settings.postgres and missing:
        yield Finding("keys present", "wrong", f"missing: {', '.join(missing)}", "restore them from the keys' backup")


async def _moving(settings: Settings) -> list[Finding]:
    """What has to be tried."""
    running = await _answers(bootstrap.address(settings)) if bootstrap.address_file(settings).exists() else False
    findings = [_port(settings, running=running)]
    if settings.postgres:
        findings.append(await _addressed(settings))
    elif running:
        findings.append(Finding("postgresql", "ok", "embedded, running"))
    else:
        findings.append(await _startable(settings))
    if settings.bus:
        findings.append(await _bus(settings))
    return [*findings, *await _others(settings)]


async def _others(settings: Settings) -> list[Finding]:
    """Other holders of this network, as they answer from this machine."""
    others = {name: address for name, address in sorted(settings.holders.items()) if name != settings.holder}
    answers = await asked(others.values())
    return [
        Finding("holder", "ok", f"{name} answers at {address}") if answers[address] == ANSWERS else Finding(
            "holder", "warn", f"{name}: {address} {answers[address]}",
            "whoever runs it starts it, or mends its address or certificate (docs/many-machines.md); until then nobody is handed over from there",
        )
        for name, address in others.items()
    ]  # fmt: skip


async def _answers(url: str) -> bool:
    async with httpx.AsyncClient(timeout=LIMIT_S) as client:
        try:
            return (await client.get(f"{url}/health")).is_success
        except httpx.TransportError:
            return False


def _port(settings: Settings, *, running: bool) -> Finding:
    if running:
        return Finding("port", "ok", f"Spean answers at {bootstrap.address(settings)}")
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((settings.host, settings.port))
            tried.listen()
        except OSError as error:
            return Finding(
                "port", "warn", f"{settings.host} port {settings.port}: {error.strerror}",
                "a taken port makes spean up use the next free one; otherwise set SPEAN_HOST and SPEAN_PORT",
            )  # fmt: skip
    return Finding("port", "ok", f"{settings.host} port {settings.port} is free")


async def _signed_in(settings: Settings) -> asyncpg.Connection[asyncpg.Record]:
    """As the account that the address names; where it names none, as a service signs in. Raises what asyncpg raises."""
    addresses = [settings.postgres_address]
    if not urlsplit(settings.postgres).username:
        cluster, roles = AddressedCluster(settings.postgres), Roles.load(settings.keys)
        addresses = [service_dsns(cluster, roles, name)[1] for name in BUILD]
    for address in addresses[:-1]:
        with suppress(asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError):
            return await asyncpg.connect(address, timeout=LIMIT_S, command_timeout=LIMIT_S)
    return await asyncpg.connect(addresses[-1], timeout=LIMIT_S, command_timeout=LIMIT_S)


async def _addressed(settings: Settings) -> Finding:
    """A PostgreSQL at an address: version, rights, and its clock against ours."""
    check = "postgresql"
    try:
        conn = await _signed_in(settings)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        return Finding(check, "wrong", f"no answer ({type(error).__name__})", "check SPEAN_POSTGRES, and that it is up")
    try:
        row = await conn.fetchrow(
            "select current_setting('server_version_num')::int as version, rolsuper or (rolcreaterole and rolcreatedb) as may, "
            "clock_timestamp() as now from pg_roles where rolname = current_user"
        )
    finally:
        await conn.close()
    assert row is not None  # noqa: S101 (whoever is connected has a role)
    apart = abs((row["now"] - datetime.now(UTC)).total_seconds())
    if row["version"] < OLDEST_POSTGRES:
        return Finding(check, "wrong", f"version {row['version'] // 10_000}", "use PostgreSQL 16 or later")
    if apart > CLOCK_S:
        return Finding(
            check, "wrong", f"its clock is {apart:.0f} s from this machine's", "keep both clocks right (NTP)"
        )
    if not row["may"]:
        return Finding(
            check,
            "warn",
            "this account may not create roles and databases",
            "enough for spean serve, not for spean migrate",
        )
    return Finding(check, "ok", f"answers, version {row['version'] // 10_000}")


async def _startable(settings: Settings) -> Finding:
    """Start a database of its own beside where the real one is or will be, on the same disk with the same rights."""
    check, beside = "postgresql", _existing(settings.data.parent)
    try:
        with _trial_folder(beside) as folder:
            running = await embedded.start(folder / "t", password_file=folder / "password", fast_unsafe=True)
            await running.stop()
    except EmbeddedError as error:
        return Finding(
            check, "wrong", str(error), "mend what it says, or set SPEAN_POSTGRES to a PostgreSQL of your own"
        )
    except OSError as error:
        return Finding(
            check, "wrong", f"cannot write in {beside} ({error.strerror})", "set SPEAN_DATA to a folder of yours"
        )
    return Finding(check, "ok", "embedded, starts and stops")


@contextmanager
def _trial_folder(beside: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=beside, prefix="doctor-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, the database's account has to pass through
        yield folder


async def _bus(settings: Settings) -> Finding:
    """Whether it answers, and where that is Kafka, whether topics are as they should be."""
    check, do = "bus", "check SPEAN_BUS, and that the broker is up"
    try:
        async with asyncio.timeout(LIMIT_S):
            bus = await connect(settings.bus, settings)
            try:
                differing = await _differing_topics(settings, bus)
            finally:
                await bus.close()
    except BusUnavailable as error:
        return Finding(check, "wrong", str(error), do)
    except BusError as error:
        return Finding(check, "wrong", str(error), "mend what it says: docs/kafka.md")
    except TimeoutError:
        return Finding(check, "wrong", f"no answer within {LIMIT_S:.0f} s", do)
    if not differing:
        return Finding(check, "ok", "answers")
    grave = any(one.what in {MISSING, PARTITIONS} or one.do.endswith(WAITS) for one in differing)
    told = [f"{one.topic}: {one.what} {one.found}, should be {one.wanted}" for one in differing[:TOLD_MOST]]
    more = [f"and {len(differing) - TOLD_MOST} more"] if len(differing) > TOLD_MOST else []
    do = next(
        (one.do for one in differing if one.do.endswith(WAITS)),
        "spean topics check tells all, spean topics apply mends it",
    )
    return Finding(check, "wrong" if grave else "warn", "; ".join(["answers", *told, *more]), do)


async def _differing_topics(settings: Settings, bus: Bus) -> list[Difference]:
    """What this account may see of it; a service's own account sees no settings. Raises BusError."""
    if not isinstance(bus, KafkaBus):
        return []
    found = await bus.topic_differences(topics(settings.holders or [settings.holder]))
    return [one for one in found if one.what != SETTINGS]
