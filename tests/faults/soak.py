"""Faults of every kind, in a random order, for as long as wanted: `make soak` (`python -m tests.faults.soak`).

SPEAN_SOAK_MINUTES: how long (60). SPEAN_SOAK_SEED: which order (the minute it begins). SPEAN_SOAK_BUS: `postgres` or
`kafka` (three brokers on this machine). SPEAN_SOAK_FAULTS: only those whose names contain this. SPEAN_FAULTS: a file for
the figures. What was found is told after each round; the first round with a finding ends it, with the logs left where it
says.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.builders import network_in
from tests.faults.between import three_brokers
from tests.faults.brokers import ON_KAFKA, ON_POSTGRES, cut_off
from tests.faults.cluster import split
from tests.faults.disk import small_disk
from tests.faults.load import Journal
from tests.faults.probe import Probe
from tests.faults.schedule import Ground, drawn, suffer

# One judgement looks at everything that was ever said, so rounds are neither short nor long.
ROUND_FAULTS, ROUND_S, AT_ONCE = 12, 600.0, 4


@asynccontextmanager
async def ground(folder: Path, bus: str) -> AsyncIterator[Ground]:
    """A split installation on `bus` in a folder, on a small disk where this machine allows it; its logs stay."""
    async with AsyncExitStack() as stack:
        kept, folder = folder, folder / "disk"
        folder.mkdir(mode=0o755)
        disk = stack.enter_context(small_disk(folder))
        stack.callback(_keep_logs, folder, kept)
        kafka, faults = None, {**ON_POSTGRES, **disk}
        if bus == "kafka":
            kafka, between = await stack.enter_async_context(three_brokers(folder / "kafka"))
            faults = {**ON_KAFKA, **cut_off(between), **disk}
        cluster, made = await stack.enter_async_context(split(folder, kafka))
        world = await stack.enter_async_context(network_in(made, cluster.settings))
        journal = Journal()
        yield Ground(cluster, made, journal, await Probe.ready(world, journal), faults)


def _keep_logs(folder: Path, kept: Path) -> None:
    for log in folder.rglob("*.log"):
        shutil.copy(log, kept)


def _tell(what: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {what}\n")
    sys.stdout.flush()


async def soak(folder: Path, bus: str, minutes: float, seed: int, only: str) -> bool:
    """Whether nothing was found. Told to stop, it cleans up."""
    myself = asyncio.current_task()
    assert myself is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, myself.cancel)
    async with ground(folder, bus) as at:
        until, round_ = time.monotonic() + 60 * minutes, 0
        names = [name for name in at.faults if only in name]
        _tell(f"{bus}, seed {seed}, {minutes:g} minutes, {len(names)} kinds of faults")
        while time.monotonic() < until:
            round_ += 1
            faults = drawn(seed + round_, 1 + ROUND_FAULTS // len(names), names)[:ROUND_FAULTS]
            left = min(ROUND_S, until - time.monotonic())
            report = await suffer(
                at, faults, seed=seed + round_, people=10_000, at_once=AT_ONCE, for_s=left, tell=_tell
            )
            _tell(report.told())
            if report.findings:
                return False
    return True


def main() -> int:
    ask = os.environ.get
    logging.basicConfig(level=logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="spean-soak-"))
    folder.chmod(0o755)
    seed = int(ask("SPEAN_SOAK_SEED") or time.time() // 60)
    bus, minutes = ask("SPEAN_SOAK_BUS") or "postgres", float(ask("SPEAN_SOAK_MINUTES") or 60)
    _tell(f"everything of this run lies in {folder}")
    return 0 if asyncio.run(soak(folder, bus, minutes, seed, ask("SPEAN_SOAK_FAULTS") or "")) else 1


if __name__ == "__main__":
    sys.exit(main())
