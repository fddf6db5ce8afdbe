"""The commands of `spean` as real processes, each in an installation of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from services.cli import bootstrap
from services.cli.client import Partner, load_key
from spean import embedded
from spean.settings import Settings

ROOT = Path(__file__).parents[1]
START_S = 60.0
READY = "Ctrl-C stops it"


@dataclass
class Place:
    """An installation's folder, and the environment that a command in it gets."""

    folder: Path
    more: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return Settings(data=self.folder / "data", keys=self.folder / "keys")

    @property
    def environment(self) -> dict[str, str]:
        ours = {
            "SPEAN_DATA": str(self.folder / "data"), "SPEAN_KEYS": str(self.folder / "keys"), "SPEAN_PORT": "0",
            "SPEAN_SAMPLE": "0", "SPEAN_FAST_UNSAFE": "1", **self.more,
        }  # fmt: skip
        return {name: value for name, value in os.environ.items() if not name.startswith("SPEAN_")} | ours

    @property
    def postmaster(self) -> int | None:
        """The process number of the database, None where none has left its file."""
        file = self.folder / "data" / "data" / "postmaster.pid"
        return int(file.read_text().split()[0]) if file.exists() else None

    async def spawn(self, *command: str, **more: str) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.cli", *command, cwd=ROOT, env={**self.environment, **more}, stdin=PIPE,
            stdout=PIPE, stderr=STDOUT, preexec_fn=_hears,
        )  # fmt: skip

    async def run(self, *command: str, typed: str = "", **more: str) -> tuple[int | None, str]:
        """A command to its end: exit code, and all that it printed."""
        process = await self.spawn(*command, **more)
        async with asyncio.timeout(START_S):
            said, _ = await process.communicate(typed.encode())
        return process.returncode, said.decode()


def _hears() -> None:
    """Whoever runs the tests may ignore a hang-up (`nohup`); what is tried here is what happens to who does not."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@dataclass
class Up:
    """A running `spean up`: its address and what it printed before it was ready."""

    process: Process
    said: str

    @property
    def url(self) -> str:
        return next(line.split()[1] for line in self.said.splitlines() if line.strip().startswith("address"))

    @property
    def seconds(self) -> float:
        return float(self.said.partition("after ")[2].split()[0])

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end. Returns the exit code."""
        self.process.send_signal(number)
        async with asyncio.timeout(START_S):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode

    async def get(self, path: str, settings: Settings) -> Any:
        async with Partner(self.url, bootstrap.CLIENT, load_key(bootstrap.key_file(settings))) as admin:
            return await admin.get(path)


async def ready(process: Process, last: str = READY) -> str:
    """What a process prints up to the line with `last`. Fails where it ends before."""
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(START_S):
        while last not in said:
            line = await process.stdout.readline()
            assert line, f"ended before it was ready: {said}"
            said += line.decode()
    return said


@asynccontextmanager
async def up(place: Place, **more: str) -> AsyncIterator[Up]:
    process = await place.spawn("up", **more)
    try:
        yield Up(process, await ready(process))
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@asynccontextmanager
async def place_in(workspace: Path) -> AsyncIterator[Place]:
    """A folder of its own; a database that is left behind in it is ended."""
    made = Place(workspace / uuid4().hex[:8])
    yield made
    if made.postmaster is not None:
        running = await embedded.start(made.settings.data, password_file=made.settings.keys / "postgres")
        await running.stop()
