"""How fast a backlog leaves: read, sent in order, acknowledged, moved to what has been said."""

from __future__ import annotations

import json
import time
from collections import defaultdict

import asyncpg
from aiokafka import AIOKafkaProducer

from bench.events import SOURCE, fill_outbox
from bench.figures import Figure
from bench.ground import BARE_TOPIC, EMBEDDED, REPEATS, SHORT, WRITER, Ground, loops, until
from spean.bus import Record, partition_of
from spean.outbox import BATCH_ROWS, Relay, event_of, unsent
from spean.service import PARTITIONS

ROWS = 4_000 if SHORT else 30_000
_KAFKA_BATCH_BYTES = 256 * 1024


async def measure(ground: Ground) -> list[Figure]:
    beside = (
        "bare asyncpg inserts of the same records"
        if ground.kind == EMBEDDED
        else "bare aiokafka send_batch of the same bytes"
    )
    figure = Figure("relay, a backlog", ground.kind, "events/s", "more", beside, 0.7)
    conn = await ground.connect(WRITER)
    for repeat in range(REPEATS):
        await conn.execute("truncate outbox, said, aggregate, bare_log")
        first = (repeat + 1) * 100_000_000
        records: list[Record] = []
        figure.ours.append(ROWS / await _ours(ground, conn, first, records))
        floor = _tables_s(conn, records) if ground.kind == EMBEDDED else _kafka_s(ground, records)
        figure.floor.append(ROWS / await floor)
    await conn.close()
    return [figure]


async def _ours(ground: Ground, conn: asyncpg.Connection[asyncpg.Record], first: int, records: list[Record]) -> float:
    """Seconds for a backlog that a waiting relay finds; `records` gets what it says."""
    db = await ground.open(WRITER)

    async def empty() -> bool:
        return not await conn.fetchval("select exists (select from outbox)")

    async with loops(Relay(db, ground.bus, SOURCE, PARTITIONS).run()):
        await fill_outbox(conn, first, 1)
        await until(empty)
        async with conn.transaction():
            await fill_outbox(conn, first + 1, ROWS)
            records += [event_of(row, SOURCE).record() for row in await unsent(conn, ROWS)]
        began = time.perf_counter()
        await until(empty)
        took = time.perf_counter() - began
    await db.close()
    return took


async def _kafka_s(ground: Ground, records: list[Record]) -> float:
    producer = AIOKafkaProducer(
        bootstrap_servers=ground.kafka, acks="all", enable_idempotence=True, max_batch_size=_KAFKA_BATCH_BYTES
    )
    await producer.start()
    await producer.send_and_wait(BARE_TOPIC, b"warm", partition=0)
    ready = [(one.key, [(name, value.encode()) for name, value in one.headers.items()], one.value) for one in records]
    began = time.perf_counter()
    for at in range(0, len(ready), BATCH_ROWS):
        parts = defaultdict(list)
        for one in ready[at : at + BATCH_ROWS]:
            parts[partition_of(one[0], PARTITIONS)].append(one)
        sent = []
        for number, part in parts.items():
            batch = producer.create_batch()
            for key, headers, value in part:
                if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                    sent.append(await producer.send_batch(batch, BARE_TOPIC, partition=number))
                    batch = producer.create_batch()
                    batch.append(key=key, value=value, timestamp=None, headers=headers)
            sent.append(await producer.send_batch(batch, BARE_TOPIC, partition=number))
        for one in sent:
            await one
    took = time.perf_counter() - began
    await producer.stop()
    return took


async def _tables_s(conn: asyncpg.Connection[asyncpg.Record], records: list[Record]) -> float:
    """A commit for each batch of as many rows as the relay reads at once."""
    ready = [(one.key, json.dumps(dict(one.headers)), one.value) for one in records]
    began = time.perf_counter()
    for at in range(0, len(ready), BATCH_ROWS):
        part = ready[at : at + BATCH_ROWS]
        await conn.execute(
            "insert into bare_log (key, headers, value) select * from unnest($1::bytea[], $2::jsonb[], $3::bytea[])",
            *(list(column) for column in zip(*part, strict=True)),
        )  # fmt: skip
    return time.perf_counter() - began
