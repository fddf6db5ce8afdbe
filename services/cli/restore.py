"""`spean restore` and `spean rejoin`: databases from a backup, and how a restored one finds back into the network.

Nothing of a service runs meanwhile. The database that was there is kept under another name. After a restore the service
takes over from the log what it has forgotten (`spean.rejoin`); that is also for databases restored by other means.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import asyncpg
import typer
from rich.console import Console

from services.cli import installation, pg_tools
from services.cli.backup import KEY_FILES, Backup, NoBackup, read
from services.cli.installation import BUILD, BUS_DATABASE, MIGRATIONS
from services.cli.serve import Services
from services.intake import main as intake
from services.intake.keystore.store import DATABASE as KEYS_DATABASE
from spean import provision
from spean.crypto import private_file
from spean.db import plain_errors
from spean.provision import Cluster, Roles
from spean.rejoin import Taken, rejoin
from spean.service import PARTITIONS
from spean.settings import Settings
from spean.telemetry import set_up_logs

Yes = Annotated[bool, typer.Option("--yes", help="do not ask")]


def restore(
    folder: Annotated[Path, typer.Argument(help="what spean backup has written", exists=True, file_okay=False)],
    service: Services = None,
    keys: Annotated[bool, typer.Option("--keys", help="the keys, from a backup of keys")] = False,
    yes: Yes = False,
) -> None:
    """Put databases back from a backup while nothing runs, all or those named, and let them take over from the log what
    they have forgotten. What was there is kept under another name. See docs/runbooks/restore.md."""
    set_up_logs("WARNING")
    settings, console = Settings(), Console(soft_wrap=True, highlight=False)
    if keys:
        _restore_keys(settings, folder, console, yes=yes)
        return
    found = read(folder, "data")
    names = [str(one) for one in service] if service else [name for name in BUILD if name in found.databases]
    _check(settings, found, names)
    console.print(f"From {folder}, in place of what is there now (kept under another name):")
    for name in names:
        console.print(f"  {name:<9} as of {found.databases[name].at}")
    _ask(yes=yes)
    kept, taken = asyncio.run(put_back(settings, folder, found, names))
    for name, old in kept.items():
        console.print(f"{name}: what was there is kept as the database {old}; drop it when all is well")
    _tell(console, taken)


def rejoin_command(
    service: Services = None,
    what_is_left: Annotated[
        bool, typer.Option("--with-what-is-left", help="go on without what the log no longer holds")
    ] = False,
    yes: Yes = False,
) -> None:
    """Let a database that was restored by other means (a copy of a disk, point-in-time recovery) take over from the log
    what it has forgotten. Nothing of these services may run. See docs/runbooks/restore.md."""
    set_up_logs("WARNING")
    settings, console = Settings(), Console(soft_wrap=True, highlight=False)
    names = [str(one) for one in service or BUILD]
    console.print(
        f"A new life begins for: {', '.join(names)}. Sessions end, and what was forgotten is looked at again."
    )
    _ask(yes=yes)
    _tell(console, asyncio.run(rejoined(settings, names, what_is_left=what_is_left)))


async def put_back(
    settings: Settings, folder: Path, found: Backup, names: Sequence[str]
) -> tuple[dict[str, str], dict[str, Taken]]:
    """Restore these databases (and the bus's, where it is lost) and let the services rejoin. Returns under which name each
    old database is kept, and what each took over. Raises NoBackup, ToolFailed, EmbeddedError, BusError, DatabaseProblem."""
    kept: dict[str, str] = {}
    async with installation.database(settings) as cluster:
        await expect_nobody(cluster, names)
        there = await _databases(cluster)
        lost_bus = [BUS_DATABASE] if BUS_DATABASE in found.databases and BUS_DATABASE not in there else []
        roles = Roles.load(settings.keys)
        for name in [*names, *lost_bus]:
            old = await _put_back_one(cluster, roles, name, folder / found.databases[name].file)
            if old is not None:
                kept[name] = old
    return kept, await rejoined(settings, names)


async def rejoined(settings: Settings, names: Collection[str], *, what_is_left: bool = False) -> dict[str, Taken]:
    """The six steps for each of these services, of which nothing runs. Raises NoBackup, Behind, EmbeddedError, BusError,
    DatabaseProblem."""
    taken: dict[str, Taken] = {}
    if settings.postgres:
        await expect_nobody(pg_tools.cluster_of(settings), names)
    async with installation.installed(settings, names, listening=False, looking=False) as made:
        for name, service in made.services.items():
            if service.own is not None:
                at = service.db, made.bus, service.source, service.own, service.reads, PARTITIONS
                taken[name] = await rejoin(*at, what_is_left=what_is_left)
    return taken


async def expect_nobody(cluster: Cluster, names: Collection[str]) -> None:
    """Raises NoBackup where somebody works with one of these databases."""
    with plain_errors("restore.look"):
        conn = await asyncpg.connect(cluster.dsn("postgres"), timeout=10)
        try:
            rows = await conn.fetch(
                """
                select datname, count(*) as count from pg_stat_activity
                where datname = any($1) and pid <> pg_backend_pid() and backend_type = 'client backend' group by datname
                """,
                list(names),
            )
        finally:
            await conn.close()
    if rows:
        busy = ", ".join(f"{row['datname']} ({row['count']} sessions)" for row in rows)
        raise NoBackup(f"somebody works with {busy}: stop every instance of these services first. Nothing was changed")


async def _databases(cluster: Cluster) -> set[str]:
    with plain_errors("restore.look"):
        conn = await asyncpg.connect(cluster.dsn("postgres"), timeout=10)
        try:
            return {row["datname"] for row in await conn.fetch("select datname from pg_database")}
        finally:
            await conn.close()


async def _put_back_one(cluster: Cluster, roles: Roles, name: str, file: Path) -> str | None:
    """Beside what is there first, then in its place. Returns the name under which that is kept, None where nothing was."""
    fresh, now = f"{name}_restoring", datetime.now(UTC)
    with plain_errors("restore.make"):
        admin = await asyncpg.connect(cluster.dsn("postgres"), timeout=10)
        try:
            await provision.make_roles(admin, roles, name)
            await admin.execute(f'drop database if exists "{fresh}"')
            await admin.execute(f'create database "{fresh}" owner "{name}_owner" template template0')
            await pg_tools.load(file, cluster.dsn(fresh))
            old = None
            if await admin.fetchval("select 1 from pg_database where datname = $1", name):
                old = f"{name}_before_{now:%Y%m%dt%H%M%S}"
                await admin.execute(f'alter database "{name}" rename to "{old}"')
                await admin.execute(f'revoke connect on database "{old}" from "{name}_api", "{name}_worker"')
            await admin.execute(f'alter database "{fresh}" rename to "{name}"')
        finally:
            await admin.close()
    return old


def _check(settings: Settings, found: Backup, names: Sequence[str]) -> None:
    """Raises NoBackup."""
    missing = [name for name in names if name not in found.databases]
    if missing:
        raise NoBackup(f"this backup does not hold {', '.join(missing)}")
    if found.holder != settings.holder:
        raise NoBackup(f"this is a backup of the holder {found.holder}: set SPEAN_HOLDER to it, or take another backup")
    if not (settings.keys / "database-roles").exists():
        raise NoBackup(f"{settings.keys} holds no keys: put them back first (spean restore --keys FOLDER)")
    for name in names:
        ours = {file.name for folder in (provision.KIT, MIGRATIONS[name]) for file in folder.glob("*.sql")}
        if newer := sorted(set(found.databases[name].migrations) - ours):
            raise NoBackup(f"{name} was backed up by a newer release (it knows {newer[0]}): restore with that release")


def _restore_keys(settings: Settings, folder: Path, console: Console, *, yes: bool) -> None:
    """Files where there are none; and the key store, where it is gone. Raises NoBackup, ToolFailed, EmbeddedError."""
    found = read(folder, "keys")
    console.print(
        f"Keys as of {found.databases[KEYS_DATABASE].at}. Who was erased, and who shut something, after that is not so in "
        "them: go through docs/runbooks/restore.md, Keys, before anybody works."
    )
    _ask(yes=yes)
    if not settings.keys.exists() or not any(settings.keys.iterdir()):
        settings.keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copytree(folder / KEY_FILES, settings.keys, dirs_exist_ok=True)
        settings.keys.chmod(0o700)
        console.print(f"files put back into {settings.keys}")
    else:
        console.print(f"{settings.keys} is left as it is: it is not empty")
    console.print(asyncio.run(_put_back_keys(settings, folder, folder / found.databases[KEYS_DATABASE].file)))


async def _put_back_keys(settings: Settings, folder: Path, file: Path) -> str:
    """Never over a key store that is there: it may know of somebody's end, and the backup does not."""
    async with installation.database(settings) as cluster:
        if KEYS_DATABASE in await _databases(cluster):
            return (
                f"the key store (database {KEYS_DATABASE}) is there and is left as it is: it knows more than any backup"
            )
        await _put_back_one(cluster, Roles.load(settings.keys), KEYS_DATABASE, file)
    _files_of_its_time(settings.keys / intake.NAME, folder / KEY_FILES / intake.NAME)
    return "the key store is put back"


def _files_of_its_time(home: Path, then: Path) -> None:
    """What wrapped the keys in the key store may have been changed for another since: the files of that time lie beside
    today's again. A number never stands for another key."""
    for file in then.glob("kek-*"):
        if not (home / file.name).exists():
            private_file(home / file.name, file.read_bytes())


def _ask(*, yes: bool) -> None:
    if not yes and not typer.confirm("Do it?", default=False):
        raise typer.Abort


def _tell(console: Console, taken: Mapping[str, Taken]) -> None:
    for name, one in taken.items():
        console.print(
            f"[green]{name}[/] is in life {one.life}: {len(one.events)} of its events taken over from the log, "
            f"{one.renumbered} that had not been sent go on, {len(one.unclear)} do not fit what is restored"
        )
        for event in one.unclear:
            console.print(
                f"  look at {event.subject}: {event.type.removeprefix('org.spean.')} of {event.time:%H:%M:%S}"
            )
    console.print(
        "Start it now (spean up, or every instance). Coordinators find what they have to look at under escalations; what "
        "was not said to others in the minutes that are lost has to be entered again: docs/runbooks/restore.md."
    )
