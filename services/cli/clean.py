"""`spean clean`: delete an installation's data and keys, when asked twice and when nothing runs."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from spean import embedded
from spean.embedded import EmbeddedError
from spean.settings import Settings, WrongSettings

# Only what an installation makes is deleted: a folder may have been named by mistake.
_IN_DATA = ("data", "sock", "lock", "postgres.log", "pgsql-*", "new.*")
_IN_KEYS = (
    "postgres",
    "database-roles",
    "intake",
    "referral",
    "notify",
    "clients",
    "address",
    "holders.json",
    "settings.env",
    "sample*",
    ".*.????????",
)


def clean(
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Delete this installation's data and keys for good. Asks first; refuses while it runs."""
    settings, console = Settings(), Console(soft_wrap=True, highlight=False)
    if settings.postgres:
        raise WrongSettings(
            "SPEAN_POSTGRES is set: that database is deleted with its own tools, and without it the keys are of no use. "
            "Nothing has been deleted"
        )
    found = [*_found(settings.data, _IN_DATA), *_found(settings.keys, _IN_KEYS)]
    if not found:
        console.print(f"Nothing to delete in {settings.data} and {settings.keys}.")
        return
    console.print(
        "Everything in these two folders will be gone for good, with everybody's records:\n"
        f"  data  {settings.data}\n  keys  {settings.keys}"
    )
    if not yes:
        wanted = settings.data.name
        if typer.prompt(f'Type "{wanted}" to delete them, anything else to keep them', default="") != wanted:
            console.print("Nothing has been deleted.")
            raise typer.Exit(1)
    asyncio.run(_end_orphan(settings))
    with _owned(settings.data):
        for path in found:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    for folder in (settings.data, settings.keys):
        _remove_empty(folder, console)


def _found(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """What an installation has made there, the lock file last: who holds it owns the folder."""
    made = {path for name in names for path in folder.glob(name)}
    return sorted(made, key=lambda path: (path.name == "lock", path))


async def _end_orphan(settings: Settings) -> None:
    """Stop a PostgreSQL whose owner was killed. Raises EmbeddedError where the owner lives."""
    if (settings.data / "data" / "postmaster.pid").exists():
        await (await embedded.start(settings.data, password_file=settings.keys / "postgres")).stop()


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Own the folder as `embedded.start` does. Raises EmbeddedError where somebody else does."""
    try:
        held = os.open(folder / "lock", os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise EmbeddedError(f"Spean is running on {folder}: stop it first (Ctrl-C). Nothing has been deleted") from None
    finally:
        os.close(held)


def _remove_empty(folder: Path, console: Console) -> None:
    if not folder.exists():
        return
    left = [path.name for path in folder.iterdir()]
    if left:
        console.print(f"Left alone in {folder}, because Spean did not make it: {', '.join(sorted(left))}")
        return
    folder.rmdir()
    console.print(f"Deleted {folder}")
