"""`spean backup`: the services' databases into one folder, or, at another time and place, the keys.

While the system runs. Each database is written as it is at one moment, the bus last: whatever a service had said by its
moment is on the log by then, and from the log each finds its way back (`spean.rejoin`). Keys and data are never in one
folder: whoever has both can read everything, and keys that are kept for long bring erased people back.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import asyncpg
import typer
from rich.console import Console

from services.cli import pg_tools
from services.cli.connected import NotRunning
from services.cli.installation import BUILD, BUS_DATABASE
from services.intake.keystore import rewrap
from services.intake.keystore.store import DATABASE as KEYS_DATABASE
from spean.db import plain_errors
from spean.provision import Cluster
from spean.settings import Settings

TABLE_OF_CONTENTS = "backup.json"
KEY_FILES = "files"
Kind = Literal["data", "keys"]


class NoBackup(Exception):
    """A backup cannot be made or used. The message says why and what to do; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Dumped:
    """One database in a backup: its file and digest, when it was read (its server's time), the migrations it had."""

    file: str
    sha256: str
    at: str
    migrations: list[str]


@dataclass(frozen=True, slots=True)
class Backup:
    kind: Kind
    holder: str
    databases: dict[str, Dumped]


def backup(
    folder: Annotated[Path, typer.Argument(help="a new folder, or an empty one")],
    keys: Annotated[
        bool, typer.Option("--keys", help="the keys instead of the data: elsewhere, and for a short time")
    ] = False,
) -> None:
    """Back up a running installation: the services' data, or with --keys what opens it. Never both into one place."""
    settings, console = Settings(), Console(soft_wrap=True, highlight=False)
    made = asyncio.run(save(settings, folder, "keys" if keys else "data"))
    console.print(f"[green]Backed up[/] into {folder}:")
    for name, one in made.databases.items():
        console.print(f"  {name:<9} as of {one.at}")
    if keys:
        console.print(f"  files     of {settings.keys}")
        console.print("Keep it apart from every backup of data, and not for long: in it, who is erased later lives on.")
    else:
        console.print(
            "  keys      not here: without them nobody's record can be read. spean backup --keys FOLDER, elsewhere"
        )
        if settings.bus:
            console.print("  log       not here: it is Kafka's, and is said again from these (spean replay)")


async def save(settings: Settings, folder: Path, kind: Kind) -> Backup:
    """Raises NoBackup, NotRunning, ToolFailed, DatabaseProblem. What was begun and not ended holds no table of contents."""
    folder = await asyncio.to_thread(_prepared, settings, folder, kind)
    cluster = pg_tools.cluster_of(settings)
    wanted = [KEYS_DATABASE] if kind == "keys" else [*BUILD, *([] if settings.bus else [BUS_DATABASE])]
    found = await _databases(settings, cluster, wanted)
    dumped: dict[str, Dumped] = {}
    async with AsyncExitStack() as stack:
        if kind == "keys":
            await stack.enter_async_context(_as_they_are(cluster))
        for name in found:
            at, migrations = await _state(cluster, name)
            file = folder / f"{name}.dump"
            dumped[name] = Dumped(file.name, await pg_tools.dump(cluster.dsn(name), file), at, migrations)
        made = Backup(kind, settings.holder, dumped)
        await asyncio.to_thread(_finish, settings, folder, made)
    return made


@asynccontextmanager
async def _as_they_are(cluster: Cluster) -> AsyncIterator[None]:
    """What wraps people's keys is not changed meanwhile: rows and files fit together. Raises KeysInUse, DatabaseProblem."""
    with plain_errors("backup.keys"):
        conn = await asyncpg.connect(cluster.dsn(KEYS_DATABASE), timeout=10)
    try:
        await rewrap.lock(conn, alone=False)
        yield
    finally:
        await conn.close()


def read(folder: Path, kind: Kind) -> Backup:
    """The table of contents of a whole backup. Raises NoBackup."""
    try:
        said: dict[str, Any] = json.loads((folder / TABLE_OF_CONTENTS).read_text(encoding="utf-8"))
        made = Backup(said["kind"], said["holder"], {name: Dumped(**one) for name, one in said["databases"].items()})
    except (OSError, ValueError, KeyError, TypeError):
        raise NoBackup(f"{folder} holds no whole backup (no readable {TABLE_OF_CONTENTS})") from None
    if made.kind != kind:
        raise NoBackup(
            f"{folder} is a backup of {made.kind}, not of {kind}: use the other, or leave out --keys or add it"
        )
    for name, one in made.databases.items():
        file = folder / Path(one.file).name
        if not file.is_file() or pg_tools.digest(file) != one.sha256:
            raise NoBackup(f"{file} is missing or is not what was backed up of {name}: take another backup")
    return made


def _prepared(settings: Settings, folder: Path, kind: Kind) -> Path:
    """The folder, made where it was missing, empty in any case. Raises NoBackup."""
    folder = folder.expanduser().resolve()
    other: Kind = "data" if kind == "keys" else "keys"
    for near in (folder, *folder.parents, *(folder.iterdir() if folder.is_dir() else ())):
        if _kind_of(near) == other:
            raise NoBackup(
                f"{near} is a backup of {other}: keys and data are never kept together. Choose another folder"
            )
    homes = [home.expanduser().resolve() for home in (settings.data, settings.keys)]
    if any(folder.is_relative_to(home) for home in homes):
        raise NoBackup(f"{folder} lies within the installation itself: choose another folder")
    if folder.exists() and any(folder.iterdir()):
        raise NoBackup(f"{folder} is not empty: choose another folder")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def _kind_of(folder: Path) -> str | None:
    try:
        kind: str = json.loads((folder / TABLE_OF_CONTENTS).read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kind


async def _databases(settings: Settings, cluster: Cluster, wanted: Sequence[str]) -> list[str]:
    """Those of them that are here, in this order."""
    try:
        conn = await asyncpg.connect(cluster.dsn("postgres"), timeout=10)
    except OSError:
        where = "the PostgreSQL of SPEAN_POSTGRES" if settings.postgres else str(settings.data)
        raise NotRunning(f"nothing answers on {where}: a backup is made while Spean runs (spean up)") from None
    with plain_errors("backup.look"):
        try:
            there = {row["datname"] for row in await conn.fetch("select datname from pg_database")}
        finally:
            await conn.close()
    found = [name for name in wanted if name in there]
    if not found:
        raise NotRunning("none of these databases is here: check SPEAN_POSTGRES")
    return found


async def _state(cluster: Cluster, database: str) -> tuple[str, list[str]]:
    """Its server's time, and the migrations that it has had (none where it makes its own tables)."""
    with plain_errors("backup.state"):
        conn = await asyncpg.connect(cluster.dsn(database), timeout=10)
        try:
            at = (await conn.fetchval("select now()")).isoformat(timespec="seconds")
            if await conn.fetchval("select to_regclass('upkeep.migration') is null"):
                return at, []
            return at, [row["name"] for row in await conn.fetch("select name from upkeep.migration order by name")]
        finally:
            await conn.close()


def _finish(settings: Settings, folder: Path, made: Backup) -> None:
    """Files of the keys, then, last of all, the table of contents."""
    if made.kind == "keys":
        shutil.copytree(settings.keys, folder / KEY_FILES)
        for path in (folder / KEY_FILES, *(folder / KEY_FILES).rglob("*")):
            path.chmod(0o700 if path.is_dir() else 0o600)
    opened = os.open(folder / TABLE_OF_CONTENTS, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(opened, "w", encoding="utf-8") as out:
        json.dump(asdict(made), out, indent=2)
        out.write("\n")
        out.flush()
        os.fsync(opened)
