"""What a service says: written in the effect's own transaction, carried to the bus by the relay.

Order within an aggregate is its sequence, taken under the aggregate's lock before the row is written (`say` in SQL).
The relay reads *unsent* rows, never "rows after the last one": numbers are taken before a transaction commits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import asyncpg

from schemas import registry, versions
from schemas.events import EventData
from schemas.registry import Topic
from spean import telemetry
from spean.bus import MAX_VALUE_BYTES, Bus, BusError, Partition, Producer, Record, partition_of
from spean.db import Connection, Database, DatabaseProblem, Tx, plain_errors
from spean.event import Event, envelope
from spean.ids import event_id
from spean.loops import back_off

log = logging.getLogger(__name__)
T = TypeVar("T")

# Rows read at once: large enough to amortise the commit, small enough to stay within a few MB.
BATCH_ROWS = 2_000
# Nothing to send: look again soon, then less and less often (a row written by this process wakes the relay at once).
IDLE_FIRST_S, IDLE_MOST_S = 0.005, 0.2
# Another relay holds the lock.
STANDBY_S = 1.0
# More than that is counted by nobody.
COUNTED_MOST = 100_000
# A frozen relay loses its session, and with it the lock. One that waits for the bus shows now and then that it lives.
SESSION_LIMIT_MS = 3_000
SHOW_LIFE_S = 1.0
# Advisory lock "relay" of a service's database: one elected reader sends, the others stand by.
RELAY_LOCK = 0x5BEA0001


class Sent(NamedTuple):
    """A row (by its number) and where the bus has it."""

    number: int
    partition: int
    offset: int


async def say(tx: Tx, topic: Topic, subject: UUID, data: EventData) -> int:
    """Write an event about `subject` in this transaction. Returns its sequence. Raises ValueError for an event that is
    not one of this topic's, or is larger than the bus takes. What is held back (`SPEAN_SAY_AS`) is said in its older version."""
    data = versions.as_said(data, tx.held_back)
    type_ = registry.TYPE_OF[type(data)]
    if registry.TOPIC_OF[type_] is not topic:
        msg = f"{type_} does not belong to {topic.name}"
        raise ValueError(msg)
    tx.said = True
    return await insert(tx, topic.named(tx.holder), subject, type_, registry.write(data).decode())


async def insert(tx: Tx, topic: str, subject: UUID, type_: str, payload: str) -> int:
    if tx.muted:
        return 0
    if len(payload.encode()) > MAX_VALUE_BYTES:
        # On the bus it would be refused, and all that is said after it would wait behind it.
        msg = f"{type_} is larger than {MAX_VALUE_BYTES} bytes"
        raise ValueError(msg)
    sequence: int = await tx.conn.fetchval(
        "select say($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        event_id(), topic, subject, type_, payload, tx.now, tx.correlation, tx.causation, telemetry.traceparent(),
    )  # fmt: skip
    return sequence


def event_of(row: asyncpg.Record, source: str) -> Event:
    """The event in a row of `outbox` or `said`."""
    return Event(
        id=row["id"],
        type=row["type"],
        source=source,
        subject=row["aggregateid"],
        epoch=row["epoch"],
        sequence=row["sequence"],
        time=row["time"],
        correlationid=row["correlationid"],
        causationid=row["causationid"],
        traceparent=row["traceparent"],
        value=row["payload"].encode(),
    )


def record_of(row: asyncpg.Record, source: str, life: int, traceparent: str | None) -> Record:
    """What the bus gets of such a row: the same event, in this trace. At once, as there may be many of them."""
    return envelope(
        row["id"], row["type"], source, row["aggregateid"], row["epoch"], row["sequence"], row["time"],
        row["correlationid"], row["causationid"], traceparent, row["payload"].encode(), life,
    )  # fmt: skip


async def current_life(conn: Connection) -> int:
    """The life of this database (`spean.lives`)."""
    found: int = await conn.fetchval("select epoch from life")
    return found


async def unsent(conn: Connection, limit: int, but: Sequence[int] = ()) -> list[asyncpg.Record]:
    """The first rows that are not on the bus, in order, without those on their way there: the numbers `but`, ascending (so
    that each row is looked up among them in a few steps, whatever the plan)."""
    return await conn.fetch(
        """
        select * from outbox where number is distinct from ($2::bigint[])[width_bucket(number, $2::bigint[])]
        order by number limit $1
        """,
        limit, but,
    )  # fmt: skip


async def waiting(tx: Tx) -> tuple[int, datetime | None]:
    """How many rows are not on the bus yet (as far as `COUNTED_MOST`), and since when the oldest of them is there."""
    row = await tx.conn.fetchrow(
        """
        select (select count(*) from (select from outbox limit $1) as unsent) as count,
               (select time from outbox order by number limit 1) as oldest
        """,
        COUNTED_MOST,
    )
    assert row is not None  # noqa: S101 (a select without from has one row)
    return row["count"], row["oldest"]


async def move_to_said(conn: Connection, sent: Sequence[Sent]) -> None:
    """In one statement: no row is ever in both, or in neither."""
    await conn.execute(
        """
        with gone as (delete from outbox using unnest($1::bigint[]) as sent(number) where outbox.number = sent.number
                      returning outbox.*)
        insert into said (number, id, aggregatetype, aggregateid, type, payload, epoch, sequence, time, correlationid,
                          causationid, traceparent, "partition", "offset")
        select number, id, aggregatetype, aggregateid, type, payload, epoch, sequence, time, correlationid, causationid,
               traceparent, ($2::int[])[width_bucket(number, $1::bigint[])], ($3::bigint[])[width_bucket(number, $1::bigint[])]
        from gone
        """,
        *zip(*sorted(sent), strict=True),  # a number's place among others is found in those that ascend
    )  # fmt: skip


class Relay:
    """Carries unsent rows to the bus, in order. Any number may run; one at a time holds the lock and sends.

    After any error the session and the producer are thrown away and everything unsent is read again: a row may be said
    twice, never out of order, and consumers drop what they have passed.
    """

    def __init__(self, db: Database, bus: Bus, source: str, partitions: int) -> None:
        self._db, self._bus, self._source, self._partitions = db, bus, source, partitions
        self._failures = self._life = 0
        # Why what is said waits; empty as long as it goes.
        self.trouble = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                if not await self._hold_and_send():
                    self.trouble = ""
                    await asyncio.sleep(STANDBY_S)
            except (BusError, DatabaseProblem) as error:
                self.trouble = str(error)
                why = {"error_class": type(error).__name__, "reason": str(error)}
                log.warning("relay starts again", extra={"service": self._source, **why})
                await back_off(self._failures)
                self._failures += 1

    async def _hold_and_send(self) -> bool:
        """Send as long as the lock is ours. False when another relay holds it."""
        conn = await self._db.worker_connection()
        producer: Producer | None = None
        broken = True
        try:
            with plain_errors("relay"):
                if not await conn.fetchval("select pg_try_advisory_lock($1)", RELAY_LOCK):
                    broken = False
                    return False
                # Moves need not be on the disk at once: what a crash of the server forgets of them is said again.
                await conn.execute(f"set idle_session_timeout = {SESSION_LIMIT_MS}; set synchronous_commit = off")
                self._life = await current_life(conn)
                async with _meanwhile(self._bus.producer(self._source)) as opening:
                    producer = await _while_shown(conn, opening)
                idle_s = IDLE_FIRST_S
                while True:
                    self._db.appended.clear()
                    if await self._send(conn, producer):
                        idle_s = IDLE_FIRST_S
                        continue
                    self.trouble = ""
                    await self._wait(idle_s)
                    idle_s = min(idle_s * 2, IDLE_MOST_S)
        finally:
            if producer is not None:
                with contextlib.suppress(BusError):
                    await producer.close()
            # The session ends with its lock; a session that may still be sending must not go back to the pool.
            await self._db.release(conn, broken=broken)

    async def _wait(self, limit_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._db.appended.wait()

    async def _send(self, conn: Connection, producer: Producer) -> bool:
        """Send what is unsent. While the bus takes a batch, the session moves the one before and reads the one behind.
        False when there was nothing."""
        rows, sent = await unsent(conn, BATCH_ROWS), list[Sent]()
        anything = bool(rows)
        while rows:
            append = append_all(producer, rows, self._source, self._partitions, self._life)
            with telemetry.span("relay send", count=len(rows)):
                before, ahead = sent, list[asyncpg.Record]()
                async with _meanwhile(append) as appending:
                    if before:
                        await move_to_said(conn, before)
                    if len(rows) == BATCH_ROWS:
                        ahead = await unsent(conn, BATCH_ROWS, [row["number"] for row in rows])
                    sent = await _while_shown(conn, appending)
            for topic, count in Counter(row["aggregatetype"] for row in rows).items():
                telemetry.add("messaging.client.sent.messages", count, service=self._db.name, topic=topic)
            rows, self._failures, self.trouble = ahead, 0, ""
        if sent:
            await move_to_said(conn, sent)
        return anything


async def append_all(
    producer: Producer, rows: Sequence[asyncpg.Record], source: str, partitions: int, life: int
) -> list[Sent]:
    """Say these rows (of `outbox` or `said`), in order within each partition, in this life of their database. Raises
    BusError when any part failed."""
    groups: dict[Partition, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        number = partition_of(str(row["aggregateid"]).encode(), partitions)
        groups[Partition(row["aggregatetype"], number)].append(row)

    async def append(partition: Partition, part: Sequence[asyncpg.Record]) -> list[Sent]:
        with telemetry.sending(partition.topic, [row["traceparent"] for row in part]) as traces:
            records = [record_of(row, source, life, of) for row, of in zip(part, traces, strict=True)]
            first = await producer.append(partition, records)
        return [Sent(row["number"], partition.number, first + index) for index, row in enumerate(part)]

    # All are waited for, whatever happens to one: nothing may still be on its way when the next batch begins.
    results = await asyncio.gather(*(append(*group) for group in groups.items()), return_exceptions=True)
    sent: list[Sent] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        sent.extend(result)
    return sent


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Something that goes on beside the block, and is not left behind when the block ends otherwise."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen: what the block ends with is told


async def _while_shown(conn: Connection, task: asyncio.Task[T]) -> T:
    """Wait, and show on the session meanwhile that this process lives: the bus may take longer to answer than a frozen
    process may keep the lock."""
    while not (await asyncio.wait({task}, timeout=SHOW_LIFE_S))[0]:
        await conn.execute("select")
    return task.result()
