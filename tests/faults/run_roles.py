"""`spean serve` with a named pause built in: `python -m tests.faults.run_roles MEMBER ROLE …`.

Where the file SPEAN_PAUSE is there, its relays stop at the one point at which the log has a batch and the database does
not know it yet (`PausingBus`).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from services.cli import installation
from services.cli.up import until_told
from spean.bus import Bus, Partition, Producer, Record
from spean.settings import Settings
from spean.telemetry import set_up_logs


@dataclass
class PausingProducer:
    """Sends like the one it holds; once, after a batch is durable, the process sends itself the signal that the file at
    `pause` names. The file is taken away first, so the next process goes on."""

    inner: Producer
    pause: Path

    async def append(self, partition: Partition, records: Sequence[Record]) -> int:
        first = await self.inner.append(partition, records)
        try:
            wanted = self.pause.read_text()
            self.pause.unlink()
        except FileNotFoundError:
            return first
        os.kill(os.getpid(), signal.Signals[wanted])
        return first

    async def close(self) -> None:
        await self.inner.close()


@dataclass
class PausingBus:
    """A bus whose producers pause."""

    inner: Bus
    pause: Path

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def producer(self, name: str) -> Producer:
        return PausingProducer(await self.inner.producer(name), self.pause)


async def main(member: str, roles: Sequence[Any], pause: Path) -> None:
    async with installation.installed(Settings(), alone=False) as made:
        made.services = {
            name: replace(service, bus=PausingBus(service.bus, pause)) for name, service in made.services.items()
        }
        async with installation.running(made, roles, member):
            sys.stdout.write("serving\n")
            sys.stdout.flush()
            await made.until_ended()


if __name__ == "__main__":
    set_up_logs("INFO")
    until_told(main(sys.argv[1], sys.argv[2:], Path(os.environ["SPEAN_PAUSE"])))
