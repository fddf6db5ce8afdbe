"""`spean up`: everything on one machine, behind one port, until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import time

import typer
from rich.console import Console

from services.cli import bootstrap, installation
from services.cli.installation import PortsTaken
from spean.bus import BusError
from spean.db import DatabaseProblem
from spean.embedded import EmbeddedError
from spean.settings import Settings
from spean.telemetry import set_up_logs

FAILED = 1


def up() -> None:
    """Start PostgreSQL, migrate, start the three services with all roles. Ctrl-C stops cleanly."""
    set_up_logs("WARNING")
    try:
        asyncio.run(_up(Settings()))
    except (EmbeddedError, BusError, DatabaseProblem, PortsTaken) as error:
        Console(stderr=True).print(f"[red]Spean did not start:[/] {error}", highlight=False)
        raise typer.Exit(FAILED) from None


async def _up(settings: Settings) -> None:
    console, began = Console(), time.monotonic()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with installation.installed(settings) as made, installation.running(made):
        await bootstrap.administrator(made.services["referral"].db, settings)
        console.print(f"[bold green]Spean is up[/] after {time.monotonic() - began:.1f} s: {made.url}")
        console.print(f"  data  {settings.data}\n  keys  {settings.keys}  (keep apart from backups of the data)")
        await stop.wait()
        console.print("stopping …")
