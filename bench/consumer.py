"""How fast a log is taken in: each event's place in the order, its effect, and the position, in one transaction a batch.

Twice: with a handler that is given one event, and with one that is given many (`spean.handling.Together`)."""

from __future__ import annotations

import time
from collections.abc import Sequence

import asyncpg

from bench.events import DATA, SOURCE, TYPE, fill_outbox, number_of
from bench.figures import Figure
from bench.ground import READER, REPEATS, SHORT, WRITER, Ground, loops, until
from schemas import registry
from schemas.registry import REFERRALS
from spean.consumer import BATCH_RECORDS, Consumer, Handler, Together
from spean.db import Tx
from spean.event import Event
from spean.outbox import Relay
from spean.service import PARTITIONS

EVENTS = 4_000 if SHORT else 20_000


async def measure(ground: Ground) -> list[Figure]:
    beside = "bare batched inserts of the same rows"
    one = Figure("consumer, one row an event", ground.kind, "events/s", "more", beside, 0.6)
    many = Figure("consumer, one row an event, many at once", ground.kind, "events/s", "more", beside, 0.6)
    forms: tuple[tuple[Figure, Handler], ...] = ((one, _take), (many, Together(_take_many)))
    writer, reader = await ground.connect(WRITER), await ground.connect(READER)
    for repeat in range(REPEATS):
        for at, (figure, handler) in enumerate(forms):
            await reader.execute("truncate effect, bare_effect")
            await _say(ground, writer, (repeat * len(forms) + at + 1) * 1_000_000_000)
            figure.ours.append(await _ours(ground, reader, handler))
            figure.floor.append(await _bare(reader))
    await writer.close()
    await reader.close()
    return [one, many]


async def _say(ground: Ground, conn: asyncpg.Connection[asyncpg.Record], first: int) -> None:
    async def empty() -> bool:
        return not await conn.fetchval("select exists (select from outbox)")

    db = await ground.open(WRITER)
    async with loops(Relay(db, ground.bus, SOURCE, PARTITIONS).run()):
        await fill_outbox(conn, first, EVENTS)
        await until(empty)
    await db.close()


async def _take(tx: Tx, event: Event) -> None:
    event.data()
    await tx.conn.execute(
        "insert into effect values ($1, $2, $3) on conflict do nothing",
        number_of(event.subject), event.sequence, event.value.decode(),
    )  # fmt: skip


async def _take_many(tx: Tx, events: Sequence[Event]) -> None:
    for event in events:
        event.data()
    await tx.conn.execute(
        "insert into effect select * from unnest($1::bigint[], $2::bigint[], $3::text[]) on conflict do nothing",
        [number_of(event.subject) for event in events], [event.sequence for event in events],
        [event.value.decode() for event in events],
    )  # fmt: skip


async def _ours(ground: Ground, conn: asyncpg.Connection[asyncpg.Record], handler: Handler) -> float:
    """Events a second from the first batch's commit to the last one's: joining the group is not counted."""
    db = await ground.open(READER)

    async def there() -> bool:
        return int(await conn.fetchval("select count(*) from effect where id >= 1000000000")) >= EVENTS

    async with loops(Consumer(db, ground.bus, "bench-consumer", "1", [REFERRALS.name], {TYPE: handler}).run()):
        await until(there, every_s=0.1)
    await db.close()
    batches = await conn.fetch(
        "select pg_xact_commit_timestamp(xmin) as at, count(*) as rows from effect group by 1 order by 1"
    )
    took = (batches[-1]["at"] - batches[0]["at"]).total_seconds()
    return float(sum(batch["rows"] for batch in batches[1:]) / took)


async def _bare(conn: asyncpg.Connection[asyncpg.Record]) -> float:
    """A commit for each batch of as many rows as the consumer takes at once."""
    value = registry.write(DATA).decode()
    began = time.perf_counter()
    for at in range(0, EVENTS, BATCH_RECORDS):
        await conn.execute(
            "insert into bare_effect select * from unnest($1::bigint[], $2::bigint[], $3::text[])",
            range(at, at + BATCH_RECORDS), [1] * BATCH_RECORDS, [value] * BATCH_RECORDS,
        )  # fmt: skip
    return EVENTS / (time.perf_counter() - began)
