"""Some hand-offs through the whole line, from the sender's request to an offer and back: how long that takes now."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from tests.builders import World
from tests.faults.load import Journal, Load

# Enough that most partitions, and so both readers of a pair, have to work.
AT_ONCE = 6


@dataclass
class Probe:
    """A network of its own with one large house, so that nothing but the line itself can be slow."""

    world: World
    line: Load
    people: list[str]

    @classmethod
    async def ready(cls, world: World, journal: Journal) -> Probe:
        await world.house("Large house", 1_000)
        line = Load(world, journal, 0)
        return cls(world, line, [await line.person() for _ in range(AT_ONCE)])

    async def seconds(self) -> float:
        """From the requests until the sender sees the last of them offered: the sender's door, the holder's relay, the
        network's reader, its clock and its question to the holder, its relay, the holder's reader. Raises Stuck."""
        began = time.monotonic()
        handoffs = await asyncio.gather(*(self.line.request([person]) for person in self.people))
        await asyncio.gather(*(self.line.state(handoff, "offered", every_s=0.05) for handoff in handoffs))
        took = time.monotonic() - began
        for handoff in handoffs:
            await self.line.cancel(handoff)
        return took
