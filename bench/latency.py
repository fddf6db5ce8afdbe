"""From the commit of what was said to the commit of its effect, at 200 events a second: relay, bus, consumer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.events import DATA, SOURCE, TYPE, number_of, subject
from bench.figures import Figure, at_quantile
from bench.ground import BARE_TOPIC, EMBEDDED, READER, REPEATS, SHORT, WRITER, Ground, loops, until
from schemas import registry
from schemas.registry import REFERRALS
from spean.consumer import Consumer
from spean.db import Tx
from spean.event import Event
from spean.outbox import Relay, say
from spean.service import PARTITIONS

PER_S = 200
EVENTS = PER_S * (3 if SHORT else 8)
WARM = PER_S
# The floor of a relay that nobody wakes looks this often, as the relay does while it has work.
POLL_S = 0.005
Write = Callable[[int], Awaitable[None]]


async def measure(ground: Ground) -> list[Figure]:
    """On one machine the writer wakes the relay; on many they are processes of their own, so nothing wakes it here."""
    beside = (
        "bare asyncpg and aiokafka, the same commits" if ground.kind != EMBEDDED else "bare asyncpg, the same commits"
    )
    p50 = Figure("commit → effect, p50 at 200/s", ground.kind, "ms", "less", beside, 1.5)
    p99 = Figure("commit → effect, p99 at 200/s", ground.kind, "ms", "less", beside, 2.0)
    for repeat in range(REPEATS):
        first = (repeat + 1) * 10_000_000
        for figures, way in (((p50.ours, p99.ours), _ours), ((p50.floor, p99.floor), _bare)):
            await _clean(ground)
            await way(ground, first)
            took = await _took_ms(ground, first + WARM)
            figures[0].append(at_quantile(took, 0.5))
            figures[1].append(at_quantile(took, 0.99))
    return [p50, p99]


async def _clean(ground: Ground) -> None:
    for name in (WRITER, READER):
        conn = await ground.connect(name)
        await conn.execute("truncate written, effect, bare_outbox, bare_log, bare_effect")
        await conn.close()


async def _took_ms(ground: Ground, first: int) -> list[float]:
    """By the commits' own times, which one server wrote."""
    writer, reader = await ground.connect(WRITER), await ground.connect(READER)
    begun = await writer.fetch("select id, pg_xact_commit_timestamp(xmin) as at from written where id >= $1", first)
    ended = {
        row["id"]: row["at"]
        for row in await reader.fetch(
            "select id, pg_xact_commit_timestamp(xmin) as at from effect where id >= $1", first
        )
    }
    await writer.close()
    await reader.close()
    return [(ended[row["id"]] - row["at"]).total_seconds() * 1000 for row in begun]


async def _at_pace(first: int, write: Write) -> None:
    """Begin a write every 5 ms, whether or not the last one has ended."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with asyncio.TaskGroup() as writing:
        for at in range(EVENTS + WARM):
            await asyncio.sleep(max(start + at / PER_S - loop.time(), 0))
            writing.create_task(_awaited(write, first + at))


async def _awaited(write: Write, number: int) -> None:
    await write(number)


async def _all_there(ground: Ground) -> None:
    conn = await ground.connect(READER)

    async def there() -> bool:
        return int(await conn.fetchval("select count(*) from effect")) >= EVENTS + WARM

    try:
        await until(there, every_s=0.2)
    finally:
        await conn.close()


async def _ours(ground: Ground, first: int) -> None:
    writer, reader = await ground.open(WRITER), await ground.open(READER)
    relays = writer if ground.kind == EMBEDDED else await ground.open(WRITER)

    async def take(tx: Tx, event: Event) -> None:
        event.data()
        await tx.conn.execute(
            "insert into effect values ($1, $2, $3)", number_of(event.subject), event.sequence, event.value.decode()
        )

    async def write(number: int) -> None:
        async with writer.transaction("bench.write") as tx:
            await tx.conn.execute("insert into written values ($1)", number)
            await say(tx, REFERRALS, subject(number), DATA)

    relay = Relay(relays, ground.bus, SOURCE, PARTITIONS)
    consumer = Consumer(reader, ground.bus, "bench-latency", "1", [REFERRALS.name], {TYPE: take})
    try:
        async with loops(relay.run(), consumer.run()):
            await _at_pace(first, write)
            await _all_there(ground)
    finally:
        for db in {writer, reader, relays}:
            await db.close()


async def _bare(ground: Ground, first: int) -> None:
    """A loop that reads what was written, one that takes it in; nothing is guarded, nothing is checked."""
    pool = await asyncpg.create_pool(ground.cluster.dsn(WRITER), min_size=6, max_size=6)
    written, logged = asyncio.Event(), asyncio.Event()
    value = registry.write(DATA)

    async def write(number: int) -> None:
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute("insert into written values ($1)", number)
            await conn.execute("insert into bare_outbox (key, value) values ($1, $2)", str(number).encode(), value)
        written.set()

    ways = _through_tables if ground.kind == EMBEDDED else _through_kafka
    try:
        async with loops(*await ways(ground, written, logged)):
            await _at_pace(first, write)
            await _all_there(ground)
    finally:
        await pool.close()


async def _through_tables(
    ground: Ground, written: asyncio.Event, logged: asyncio.Event
) -> tuple[Coroutine[Any, Any, None], ...]:
    async def send() -> None:
        conn = await ground.connect(WRITER)
        while True:
            written.clear()
            rows = await conn.fetch("select * from bare_outbox order by number limit 2000")
            if not rows:
                await written.wait()
                continue
            await conn.execute(
                "insert into bare_log (key, value, headers) select *, '{}' from unnest($1::bytea[], $2::bytea[])",
                [row["key"] for row in rows], [row["value"] for row in rows],
            )  # fmt: skip
            logged.set()
            await conn.execute("delete from bare_outbox where number = any($1)", [row["number"] for row in rows])

    async def take() -> None:
        log, conn = await ground.connect(WRITER), await ground.connect(READER)
        last = 0
        while True:
            logged.clear()
            rows = await log.fetch("select * from bare_log where number > $1 order by number limit 500", last)
            if not rows:
                await logged.wait()
                continue
            last = rows[-1]["number"]
            await _insert(conn, [row["key"] for row in rows], [row["value"] for row in rows])

    return send(), take()


async def _through_kafka(
    ground: Ground, written: asyncio.Event, logged: asyncio.Event
) -> tuple[Coroutine[Any, Any, None], ...]:
    del written, logged  # processes of their own: nobody wakes anybody
    producer = AIOKafkaProducer(bootstrap_servers=ground.kafka, acks="all", enable_idempotence=True)
    await producer.start()
    await producer.send_and_wait(BARE_TOPIC, b"warm", partition=0)
    consumer = AIOKafkaConsumer(BARE_TOPIC, bootstrap_servers=ground.kafka, auto_offset_reset="latest")
    await consumer.start()
    await consumer.seek_to_end()

    async def send() -> None:
        conn = await ground.connect(WRITER)
        try:
            while True:
                rows = await conn.fetch("select * from bare_outbox order by number limit 2000")
                if not rows:
                    await asyncio.sleep(POLL_S)
                    continue
                sending = [await producer.send(BARE_TOPIC, row["value"], row["key"], partition=0) for row in rows]
                await asyncio.gather(*sending)
                await conn.execute("delete from bare_outbox where number = any($1)", [row["number"] for row in rows])
        finally:
            await producer.stop()

    async def take() -> None:
        conn = await ground.connect(READER)
        try:
            while True:
                for records in (await consumer.getmany(timeout_ms=1000, max_records=500)).values():
                    kept = [record for record in records if record.key is not None]
                    await _insert(conn, [record.key for record in kept], [record.value for record in kept])
        finally:
            await consumer.stop()

    return send(), take()


async def _insert(conn: asyncpg.Connection[asyncpg.Record], keys: list[bytes], values: list[bytes]) -> None:
    await conn.execute(
        "insert into effect select * from unnest($1::bigint[], $2::bigint[], $3::text[])",
        [int(key) for key in keys], [1] * len(keys), [value.decode() for value in values],
    )  # fmt: skip
