"""`spean replay`: everything that was ever said is said again, and what coordinators see is built anew from it.

Works while the system runs, and after the log was lost. An event keeps its id, epoch, sequence and time, so whoever has
taken it in drops it; deliveries are kept per event and are not made again. Only notify's projections begin anew: in one
transaction they are emptied together with notify's places in the order, and its positions are set to the ends of the
log. What is said meanwhile waits as a gap, and takes effect when the replay has reached it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass

import asyncpg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from services.cli.connected import Connected, NotRunning, bounds_of, connected
from services.intake import main as intake
from services.notify import main as notify
from services.notify.dashboards.store import PROJECTIONS
from services.referral import main as referral
from spean import order
from spean.bus import Bounds, Bus, Partition
from spean.db import Database, DatabaseProblem, Tx
from spean.outbox import Sent, append_all, current_life
from spean.service import PARTITIONS, topics
from spean.settings import Settings
from spean.telemetry import set_up_logs

# Referrals first: what a holder says about one is shown under its coordinator, whom only the network names.
ORDER = (referral.NAME, intake.NAME, notify.NAME)
PAGE_ROWS = 1_000
# Commands' own events stand in the same line: no more than this many of ours before them, as long as somebody reads.
AHEAD_MOST = 4_000
LOOK_S, STANDS_STILL_S = 0.1, 20.0
BEGIN_TRIES = 5
IF_INTERRUPTED = (
    "If this is interrupted, run it again: until it has ended once, coordinators see less than there is; nothing takes "
    "effect or is delivered twice, however often it runs."
)
# Told of the rows said again, and how many there are.
Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Replayed:
    """`taken_in`: notify has read to the end. False when nobody reads for it now; it goes on when somebody does."""

    said: int
    taken_in: bool


async def say_again(here: Connected, told: Told = lambda _said, _all: None) -> Replayed:
    """Begin notify's projections anew and say everything again. Raises NotRunning where notify's database is not here,
    BusError, DatabaseProblem. Interrupted at any point, it is done again from the beginning, without harm."""
    if notify.NAME not in here.databases:
        raise NotRunning("the database of notify is not here: replay where it is")
    await here.bus.ensure_topics(topics(here.parts.holders.keys()))
    for name in here.databases:
        await find_what_is_left(here.databases[name], here.bus)
    await begin_anew(here.databases[notify.NAME], here.bus)
    total, said = sum([await count(db) for db in here.databases.values()]), 0
    told(0, total)
    paced = read = True
    for name in (name for name in ORDER if name in here.databases):
        async for page in pages(here.databases[name]):
            await append_page(here, name, page)
            said += len(page)
            told(said, total)
            paced = paced and await taken_in(here, here.databases.keys(), AHEAD_MOST)
        read = read and await taken_in(here, [notify.NAME], 0)
    return Replayed(said, read)


async def find_what_is_left(db: Database, bus: Bus) -> None:
    """A service whose next record is gone from the log, or lies beyond its end because the log is another one, reads on
    from the log's start: what is missing before it waits as a gap for what is said again, what it knows it drops."""
    async with db.transaction("replay.left") as tx:
        places = await order.positions(tx)
        for partition, bounds in (await bounds_of(bus, places)).items():
            if not bounds.start <= places[partition] <= bounds.end:
                await order.advance(tx, partition, places[partition], order.Position(bounds.start, None))


async def begin_anew(db: Database, bus: Bus) -> None:
    """In one transaction: projections and places in the order are empty, positions at the ends of the log. A consumer
    that is in the middle of a batch loses it by its compare-and-set."""
    async with db.transaction("replay.positions") as tx:
        places = await order.positions(tx)
    ends = {partition: bounds.end for partition, bounds in (await bounds_of(bus, places)).items()}
    for tries in range(1, BEGIN_TRIES + 1):
        try:
            async with db.transaction("replay.begin") as tx:
                await set_positions(tx, ends)
                await empty(tx)
        except DatabaseProblem as problem:
            # Somebody reads or writes the projections just now.
            if problem.server or not problem.transient or tries == BEGIN_TRIES:
                raise
        else:
            return


async def set_positions(tx: Tx, ends: dict[Partition, int]) -> None:
    """The first statement: it waits for every consumer's open transaction, and none can commit another after it."""
    await tx.conn.execute(
        """
        update position set next = t.e, last_id = null from unnest($1::text[], $2::int[], $3::bigint[]) as t(n, p, e)
        where topic = t.n and "partition" = t.p
        """,
        [partition.topic for partition in ends], [partition.number for partition in ends], list(ends.values()),
    )  # fmt: skip


async def empty(tx: Tx) -> None:
    """What is nobody's stays parked: no service will say it again."""
    await tx.conn.execute(f"truncate {', '.join(PROJECTIONS)}")
    await tx.conn.execute("delete from last")
    await tx.conn.execute("delete from parked where source <> $1", order.NOBODY)


async def count(db: Database) -> int:
    async with db.transaction("replay.count") as tx:
        found: int = await tx.conn.fetchval("select (select count(*) from said) + (select count(*) from outbox)")
        return found


async def pages(db: Database) -> AsyncIterator[list[asyncpg.Record]]:
    """All that a service has said, in order, `PAGE_ROWS` at a time; also what its relay is about to send: it may be on
    the bus already, before the new positions, and would be missed."""
    number = 0
    while True:
        async with db.transaction("replay.page") as tx:
            rows = await said_after(tx, number, PAGE_ROWS)
        if not rows:
            return
        yield rows
        number = rows[-1]["number"]


async def said_after(tx: Tx, number: int, limit: int) -> list[asyncpg.Record]:
    columns = "number, id, aggregatetype, aggregateid, type, payload, epoch, sequence, time, correlationid, causationid, traceparent"
    return await tx.conn.fetch(
        f"""
        (select {columns}, true as moved from said where number > $1 order by number limit $2)
        union all (select {columns}, false from outbox where number > $1 order by number limit $2)
        order by number limit $2
        """,
        number, limit,
    )  # fmt: skip


async def append_page(here: Connected, name: str, page: list[asyncpg.Record]) -> None:
    """To the bus, and note where it is now. Raises BusError."""
    async with here.databases[name].transaction("replay.life") as tx:
        life = await current_life(tx.conn)
    producer = await here.bus.producer(f"replay {here.source(name)}")
    try:
        sent = await append_all(producer, page, here.source(name), PARTITIONS, life)
    finally:
        await producer.close()
    async with here.databases[name].transaction("replay.said") as tx:
        await save_offsets(tx, sent)


async def save_offsets(tx: Tx, sent: Sequence[Sent]) -> None:
    await tx.conn.execute(
        """
        update said set "partition" = t.p, "offset" = t.o
        from unnest($1::bigint[], $2::int[], $3::bigint[]) as t(n, p, o) where number = t.n
        """,
        *zip(*sent, strict=True),
    )  # fmt: skip


async def taken_in(here: Connected, names: Collection[str], most: int) -> bool:
    """Wait until none of these services has more than `most` left of what is on the bus now. False where nothing moves
    for `STANDS_STILL_S`: nobody reads now, and it is not waited for."""
    ends: dict[str, dict[Partition, Bounds]] = {}
    least, since = -1, 0.0
    while True:
        left = 0
        for name in names:
            async with here.databases[name].transaction("replay.taken") as tx:
                places = await order.positions(tx)
            if name not in ends:
                ends[name] = await bounds_of(here.bus, places)
            left = max(left, sum(end.left_after(places[at]) for at, end in ends[name].items()))
        if left <= most:
            return True
        now = asyncio.get_running_loop().time()
        if least < 0 or left < least:
            least, since = left, now
        if now - since > STANDS_STILL_S:
            return False
        await asyncio.sleep(LOOK_S)


def replay() -> None:
    """Say everything again that was ever said, and build what coordinators see anew. The system may run meanwhile;
    nothing is delivered twice."""
    set_up_logs("ERROR")
    Console(stderr=True, soft_wrap=True, highlight=False).print(IF_INTERRUPTED)
    done = asyncio.run(_replay(Settings()))
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"[green]Said again:[/] {done.said} events.")
    if not done.taken_in:
        console.print("[yellow]Nobody reads for notify now:[/] its projections fill when it runs (spean up).")


async def _replay(settings: Settings) -> Replayed:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with connected(settings) as here:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            bar = progress.add_task("saying again", total=None)
            return await say_again(here, lambda said, total: progress.update(bar, completed=said, total=total))
