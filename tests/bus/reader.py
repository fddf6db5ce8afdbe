"""A small consumer over any bus, as `spean.consumer` uses it; also a program, so that a test can freeze or kill it.

As a program (`python -m tests.bus.reader ADDRESS EFFECTS GROUP MEMBER TOPIC [hold]`) it writes each batch's effects with
a compare-and-set of the partition's position, and says on standard output what it does, one line each:
`assigned N`, `holding PARTITION FIRST LAST` (with `hold`, before it waits for a line on standard input), `wrote PARTITION
NEXT`, `lost PARTITION`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable

import asyncpg

from spean.bus import Bus, BusError, OutOfRange, Partition, Stored, Subscription
from spean.bus.connect import connect

DEADLINE_S = 40.0


class Reader:
    """Reads whatever it is assigned from `positions` on (a partition that is not there: from 0) and keeps `got`."""

    def __init__(self, subscription: Subscription, positions: dict[Partition, int] | None = None) -> None:
        self.subscription = subscription
        self.positions = {} if positions is None else positions
        self.sought: set[Partition] = set()
        self.got: list[Stored] = []

    async def step(self, *, timeout_s: float = 0.2, max_records: int = 500) -> dict[Partition, list[Stored]]:
        assigned = self.subscription.assigned()
        self.sought &= assigned
        for partition in assigned - self.sought:
            await self.subscription.seek(partition, self.positions.get(partition, 0))
            self.sought.add(partition)
        batches = await self.subscription.poll(timeout_s=timeout_s, max_records=max_records)
        for partition, batch in batches.items():
            assert partition in self.sought, "a partition that was not sought"
            assert [stored.offset for stored in batch] == [
                self.positions.get(partition, 0) + index for index in range(len(batch))
            ]
            self.positions[partition] = batch[-1].offset + 1
            self.got.extend(batch)
        return batches

    async def until(self, done: Callable[[], bool], *, max_records: int = 500) -> None:
        await until(done, self, max_records=max_records)


async def until(done: Callable[[], bool], *readers: Reader, max_records: int = 500) -> None:
    """Let the readers read in turn until `done`; fails at the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline, "the deadline has passed"
        for reader in readers:
            await reader.step(timeout_s=0.2 / len(readers), max_records=max_records)


class Member:
    """The program below, running."""

    def __init__(self, process: Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, *arguments: str) -> Member:
        command = (sys.executable, "-m", "tests.bus.reader", *arguments)
        return cls(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE))

    async def says(self, word: str) -> list[str]:
        """Wait for a line that begins with `word`; its other words."""
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            while line := (await self.process.stdout.readline()).decode().split():
                if line[0] == word:
                    return line[1:]
        raise AssertionError(f"ended without saying {word!r}")

    async def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        await self.process.stdin.drain()

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def write_effects(
    conn: asyncpg.Connection[asyncpg.Record], group: str, member: str, expected: int, batch: list[Stored]
) -> bool:
    """The effects of a batch, in one transaction with its position. False when another has been here."""
    topic, number = batch[0].partition
    async with conn.transaction():
        await conn.execute("insert into position values ($1, $2, $3) on conflict do nothing", group, topic, number)
        moved = await conn.fetchval(
            'update position set next = $5 where grp = $1 and topic = $2 and "partition" = $3 and next = $4 returning 1',
            group, topic, number, expected, batch[-1].offset + 1,
        )  # fmt: skip
        if moved:
            await conn.executemany(
                "insert into effect values ($1, $2, $3, $4, $5)",
                [(group, topic, number, stored.offset, member) for stored in batch],
            )
    return bool(moved)


async def load_positions(conn: asyncpg.Connection[asyncpg.Record], group: str) -> dict[Partition, int]:
    rows = await conn.fetch("select topic, partition, next from position where grp = $1", group)
    return {Partition(row["topic"], row["partition"]): row["next"] for row in rows}


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def _run(address: str, effects: str, group: str, member: str, topic: str, *hold: str) -> None:
    conn = await asyncpg.connect(effects)
    bus: Bus = await connect(address)
    while True:
        try:
            await _consume(bus, conn, group, member, topic, hold=bool(hold))
        except (BusError, OutOfRange) as error:
            _say("again", type(error).__name__)


async def _consume(
    bus: Bus, conn: asyncpg.Connection[asyncpg.Record], group: str, member: str, topic: str, *, hold: bool
) -> None:
    reader = Reader(await bus.subscribe(group, member, [topic]), await load_positions(conn, group))
    told = -1
    while True:
        for partition, batch in (await reader.step()).items():
            if hold:
                _say("holding", partition.number, batch[0].offset, batch[-1].offset)
                await asyncio.to_thread(sys.stdin.readline)
            if await write_effects(conn, group, member, batch[0].offset, batch):
                _say("wrote", partition.number, batch[-1].offset + 1)
            else:
                _say("lost", partition.number)
                reader.positions.update(await load_positions(conn, group))
                reader.sought.discard(partition)
        if len(reader.sought) != told:
            told = len(reader.sought)
            _say("assigned", told)


if __name__ == "__main__":
    asyncio.run(_run(*sys.argv[1:]))
