"""`spean up`: everything on one machine, behind one port, until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from rich.console import Console

from services.cli import bootstrap, installation, people, sample
from services.cli.client import Partner
from services.cli.installation import Installation
from services.cli.sample import Sample
from spean.crypto import private_file
from spean.settings import Settings
from spean.telemetry import set_up_logs

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up() -> None:
    """Start PostgreSQL, migrate, start the three services with all roles, load the sample network once. Ctrl-C stops."""
    set_up_logs("WARNING")
    until_told(_up(Settings()))


def until_told(work: Coroutine[object, object, None]) -> None:
    """Run until it ends, or until Ctrl-C, SIGTERM or a closed terminal: then everything is put down in order. A second
    signal changes nothing: what is being put down is not left half-way."""

    async def run() -> None:
        task = asyncio.create_task(work)
        told = asyncio.Event()

        def stop() -> None:
            if not told.is_set():
                told.set()
                task.cancel()

        for number in STOPS:
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # started with nohup: meant to outlive its terminal
            asyncio.get_running_loop().add_signal_handler(number, stop)
        await asyncio.wait({task})
        if not (told.is_set() and task.cancelled()):
            await task

    asyncio.run(run())


async def _up(settings: Settings) -> None:
    console, began = Console(soft_wrap=True, highlight=False), time.monotonic()
    async with started(settings, console) as (made, loaded):
        _tell(console, made, loaded, time.monotonic() - began, await _ways_in(made, loaded))
        try:
            await made.until_ended()
        finally:
            console.print("stopping …")


@asynccontextmanager
async def started(settings: Settings, console: Console) -> AsyncIterator[tuple[Installation, Sample | None]]:
    """A running installation with its administrator and, where wanted, the sample network."""
    async with installation.installed(settings) as made, installation.running(made):
        db = made.services["referral"].db
        key = await bootstrap.administrator(db, settings)
        written = bootstrap.address_file(settings)
        written.unlink(missing_ok=True)
        private_file(written, made.url.encode())
        loaded = None
        if settings.sample:
            with console.status("loading the sample network …"):
                async with Partner(made.url, bootstrap.CLIENT, key, patience_s=sample.PATIENCE_S) as admin:
                    loaded = await sample.load(admin, settings, await bootstrap.operator(db))
        if loaded is not None:
            await people.hire_sample(db, loaded)
        try:
            yield made, loaded
        finally:
            written.unlink(missing_ok=True)


async def _ways_in(made: Installation, loaded: Sample | None) -> list[str]:
    """Lines about how people sign in: links for the sample's staff, or for the first administrator."""
    network = made.services["referral"]
    if loaded is None and not made.settings.local:
        # What is printed may end in a log that others read; a link is made for who asks for one at a terminal.
        return ["  set up   an administrator: .venv/bin/spean administrator prints a link that works once"]
    if loaded is None:
        try:
            link = await people.first_administrator(network.db, network.app.state.desk, made.url)
        except people.NoLink:
            return [
                "  set up   nobody administers this installation: .venv/bin/spean administrator NAME makes somebody"
            ]
        if link is None:
            return []
        return [
            f"  set up   the first administrator, once, within 72 h: {link}",
            "           it leads from nothing to the first accepted referral, step by step",
        ]
    if not made.settings.local:
        return []
    links = await people.sample_links(network.db, made.url)
    width = max((len(known.sign_in_name) for known, _ in links), default=0)
    return [
        "  sign in  as somebody made up, each link once, within 60 min (another: .venv/bin/spean sign-in-link NAME):",
        *(f"    {known.sign_in_name:<{width}}  {link}" for known, link in links),
    ]


def _tell(console: Console, made: Installation, loaded: Sample | None, seconds: float, ways_in: list[str]) -> None:
    settings = made.settings
    moved = settings.port and made.listener and made.listener.getsockname()[1] != settings.port
    console.print(f"[bold green]Spean is up[/] after {seconds:.1f} s")
    console.print(f"  address  {made.url}" + (f"  (port {settings.port} was taken)" if moved else ""))
    console.print("  data     " + ("the PostgreSQL of SPEAN_POSTGRES" if settings.postgres else str(settings.data)))
    console.print(
        f"  keys     {settings.keys}  (back them up apart from the data: whoever has both can read everything)"
    )
    if len(settings.holders) > 1:
        console.print(f"  holders  {', '.join(sorted(settings.holders))}  (.venv/bin/spean holder list)")
    if loaded is None:
        console.print("  sample   none (SPEAN_SAMPLE=0)")
    else:
        console.print(
            f"  sample   {len(loaded.organisations)} organisations in {len(loaded.countries)} countries, all made up; "
            f"their systems' keys are in {settings.keys / 'clients'}"
        )
    for line in ways_in:
        console.print(line)
    console.print(
        "Try next, in another terminal:\n"
        "  make demo                a day at a border post, through the public API\n"
        "  .venv/bin/spean watch    referrals, deadlines and the last events as they happen\n"
        "  docs/api.md              the same by hand, as a partner's system would\n"
        "Ctrl-C stops it; nothing is lost."
    )
