"""Clocks that jump and a disk that is slow: faults for a split installation, by name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from tests.faults.cluster import MEMBERS, Cluster, passed
from tests.faults.probe import Probe
from tests.faults.schedule import Fault, Recovery, lasting

# As a clock that was set to another zone's time. Long enough wrong that every lease, claim and session is renewed meanwhile.
JUMP_S, WRONG_S = 3 * 3600, 5.0
# A disk that is being rebuilt, or shared with somebody who copies.
SYNC_MS, SLOW_S = 500, 8.0
WORKERS = [name for name in MEMBERS if name != "api"]


async def jumped(
    whose: Sequence[str], by_s: int, cluster: Cluster, probe: Probe, *, dying: Sequence[str] = ()
) -> Recovery:
    """The time of day of these jumps, and back again. `dying`: killed just before it is set right."""
    journal = probe.line.journal
    journal.clocks_wrong(by_s)
    try:
        for name in whose:
            cluster.bends[name].clock(by_s)
        await passed(WRONG_S)
        await asyncio.gather(*(cluster.kill(name) for name in dying))
    finally:
        for name in whose:
            cluster.bends[name].clock(0)
        journal.clocks_right()
    took = await probe.seconds()
    await asyncio.gather(*(cluster.spawn(name) for name in dying))
    return Recovery(0, took)


async def slow_disk(cluster: Cluster, probe: Probe) -> Recovery:
    """Each fsync of the database waits."""
    cluster.bends["postgres"].disk(SYNC_MS)
    return await lasting(SLOW_S, lambda: cluster.bends["postgres"].disk(0), probe)


def _jumps(what: str, whose: Sequence[str]) -> dict[str, Fault]:
    ways = {"ahead": JUMP_S, "behind": -JUMP_S}
    return {f"{what} three hours {way}": partial(jumped, whose, by_s) for way, by_s in ways.items()}


BENT: Mapping[str, Fault] = {
    **_jumps("the database's clock", ["postgres"]),
    **_jumps("the door's clock", ["api"]),
    **_jumps("the workers' clocks", WORKERS),
    **_jumps("all clocks", ["postgres", *MEMBERS]),
    "die with the database's clock ahead": partial(jumped, ["postgres"], JUMP_S, dying=["consume-1", "clock-1"]),
    "slow the disk": slow_disk,
}
