"""The bus on PostgreSQL, in a database of its own: one row per record, one row per partition that numbers them.

Appending locks the partition's row of `head` until its commit, so numbers become visible in order and without holes; a
serial column cannot promise that (a reader with a cursor missed one row in six with six writers).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from types import EllipsisType

from spean.bus import Bounds, BusError, Partition, Record, Stored, TopicSpec, Use
from spean.bus.postgres_group import PostgresSubscription, contiguous, load_records
from spean.bus.postgres_session import DURABLE, TOPIC_CHANNEL, Connection, Session, Wakes, check_address
from spean.bus.share import check_partitions, check_records

# What several partitions get in one statement: a batch of the largest records must not run into the statement's time limit.
AT_ONCE_BYTES = 4 * 1024 * 1024
# Text to text alone: there is no circle to look for.
as_json = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode
# Rows deleted in one statement: short enough to disturb nobody.
TRIM_ROWS = 10_000

SCHEMA = """
create table if not exists topic (
    name           text primary key,
    partitions     int not null check (partitions > 0),
    retention_days int not null check (retention_days > 0)
);
create table if not exists head (
    topic     text not null references topic,
    partition int not null check (partition >= 0),
    next      bigint not null default 0,
    start     bigint not null default 0 check (start between 0 and next),
    primary key (topic, partition)
) with (fillfactor = 50);
create table if not exists log (
    topic     text not null,
    partition int not null,
    "offset"  bigint not null,
    key       bytea not null,
    headers   jsonb not null,
    value     bytea not null,
    at        timestamptz not null,
    primary key (topic, partition, "offset")
);
create table if not exists member (
    grp     text not null,
    member  text not null,
    session uuid not null,
    topics  text[] not null,
    seen    timestamptz not null,
    primary key (grp, member)
) with (fillfactor = 50);
create table if not exists lease (
    grp       text not null,
    topic     text not null,
    partition int not null,
    member    text not null,
    primary key (grp, topic, partition),
    foreign key (grp, member) references member on delete cascade
);
create table if not exists committed (
    grp       text not null,
    topic     text not null,
    partition int not null,
    next      bigint not null,
    primary key (grp, topic, partition)
) with (fillfactor = 50);
"""


async def lock_schema(conn: Connection) -> None:
    """Until the end of the transaction: two processes creating the same table at once would fail."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended('spean bus schema', 0))")


async def create_topic(conn: Connection, spec: TopicSpec) -> None:
    """An existing topic takes the retention of `spec` and keeps its partitions."""
    await conn.execute(
        """
        insert into topic (name, partitions, retention_days) values ($1, $2, $3)
        on conflict (name) do update set retention_days = excluded.retention_days
        """,
        spec.name, spec.partitions, spec.retention_days,
    )  # fmt: skip
    await conn.execute(
        """
        insert into head (topic, partition)
        select name, generate_series(0, partitions - 1) from topic where name = $1 on conflict do nothing
        """,
        spec.name,
    )


async def partitions_of(conn: Connection, topic: str) -> int | None:
    found: int | None = await conn.fetchval("select partitions from topic where name = $1", topic)
    return found


async def append(conn: Connection, parts: Mapping[Partition, Sequence[Record]]) -> dict[Partition, int]:
    """One statement, so one transaction that no frozen client can hold open. Returns each partition's first offset; one
    that is not there is left out. Whoever appends to several locks them in the same order: nobody waits in a circle."""
    records = [record for part in parts.values() for record in part]
    counts = [len(part) for part in parts.values()]
    rows = await conn.fetch(
        """
        with part as (
            select * from unnest($1::text[], $2::int[], $3::int[], $4::bigint[]) with ordinality as p(topic, partition, count, begin, at)
        ), locked as (
            select part.* from part join head using (topic, partition) order by topic, partition for update of head
        ), taken as (
            update head set next = head.next + locked.count from locked where head.topic = locked.topic and head.partition = locked.partition
            returning locked.at, locked.begin, head.topic, head.partition, head.next - locked.count as first
        ), added as (
            insert into log (topic, partition, "offset", key, headers, value, at)
            select taken.topic, taken.partition, taken.first + r.number - taken.begin, r.key, r.headers::jsonb, r.value,
                   clock_timestamp()
            from unnest($5::bytea[], $6::text[], $7::bytea[]) with ordinality as r(key, headers, value, number)
            join taken on taken.at = width_bucket(r.number, $4::bigint[])
        )
        select topic, partition, first, pg_notify($8, topic) from taken
        """,
        [each.topic for each in parts], [each.number for each in parts], counts, list(accumulate(counts[:-1], initial=1)),
        [r.key for r in records], [as_json(dict(r.headers)) for r in records], [r.value for r in records], TOPIC_CHANNEL,
    )  # fmt: skip
    return {Partition(row["topic"], row["partition"]): row["first"] for row in rows}


async def load_bounds(conn: Connection, topic: str) -> dict[Partition, Bounds]:
    rows = await conn.fetch("select partition, start, next from head where topic = $1 order by partition", topic)
    return {Partition(topic, row["partition"]): Bounds(row["start"], row["next"]) for row in rows}


async def load_committed(conn: Connection, group: str, topics: Sequence[str]) -> dict[Partition, int]:
    rows = await conn.fetch(
        "select topic, partition, next from committed where grp = $1 and topic = any($2)", group, topics
    )
    return {Partition(row["topic"], row["partition"]): row["next"] for row in rows}


async def load_young_starts(conn: Connection, now: datetime) -> list[tuple[str, int, int]]:
    """(topic, partition, offset) of the first record young enough to keep, or of the end where there is none.

    An old record behind a younger one stays: a log is only ever cut at its start.
    """
    rows = await conn.fetch(
        """
        select head.topic, head.partition, coalesce(
            (select log."offset" from log
             where log.topic = head.topic and log.partition = head.partition
               and log.at >= $1::timestamptz - topic.retention_days * interval '1 day'
             order by log."offset" limit 1),
            (select max(log."offset") + 1 from log where log.topic = head.topic and log.partition = head.partition),
            head.start) as start
        from head join topic on topic.name = head.topic
        """,
        now,
    )
    return [(row["topic"], row["partition"], row["start"]) for row in rows]


async def advance_start(conn: Connection, topic: str, partition: int, start: int) -> None:
    await conn.execute(
        "update head set start = $3 where topic = $1 and partition = $2 and start < $3", topic, partition, start
    )


async def delete_before(conn: Connection, topic: str, partition: int, start: int) -> int:
    """Delete up to `TRIM_ROWS` records below `start`; returns how many."""
    status = await conn.execute(
        """
        delete from log where topic = $1 and partition = $2 and "offset" in (
            select "offset" from log where topic = $1 and partition = $2 and "offset" < $3 order by "offset" limit $4)
        """,
        topic, partition, start, TRIM_ROWS,
    )  # fmt: skip
    return int(status.rsplit(" ", 1)[1])


class PostgresBus:
    """Three kinds of sessions: one for calls, one per producer or subscription, one that listens once somebody reads."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._session = Session(dsn, DURABLE)
        self._wakes = Wakes(dsn)

    @classmethod
    async def open(cls, dsn: str) -> PostgresBus:
        """The bus in the database of `dsn` (postgresql://…); makes its tables. Raises BusUnavailable, BusError."""
        check_address(dsn)
        bus = cls(dsn)
        try:
            async with bus._session.use() as conn, conn.transaction():
                await lock_schema(conn)
                await conn.execute(SCHEMA)
        except BaseException:
            await bus.close()
            raise
        return bus

    async def ensure_topics(self, topics: Iterable[TopicSpec]) -> None:
        async with self._session.use() as conn, conn.transaction():
            await lock_schema(conn)
            for spec in topics:
                found = await partitions_of(conn, spec.name)
                if found is not None:
                    check_partitions(spec.name, found, spec.partitions)
                await create_topic(conn, spec)

    async def expect_topics(self, topics: Iterable[TopicSpec], uses: Iterable[Use]) -> None:
        """There are no accounts here: who has the bus's database may do everything."""
        del uses
        async with self._session.use() as conn:
            for spec in topics:
                if (found := await partitions_of(conn, spec.name)) is None:
                    raise BusError(f"the bus has no topic {spec.name}: run spean migrate")
                check_partitions(spec.name, found, spec.partitions)

    async def bounds(self, topic: str) -> dict[Partition, Bounds]:
        async with self._session.use() as conn:
            found = await load_bounds(conn, topic)
        if not found:
            raise _no_topic(topic)
        return found

    async def read(self, partition: Partition, offset: int, *, limit: int) -> list[Stored]:
        async with self._session.use() as conn:
            rows = await load_records(conn, {partition: offset}, limit)
        if not rows:
            raise _no_topic(partition.topic)
        if offset > rows[0]["next"]:
            return []
        return contiguous(rows, {partition: offset}, limit).get(partition, [])

    async def committed(self, group: str, topics: Iterable[str]) -> dict[Partition, int]:
        async with self._session.use() as conn:
            return await load_committed(conn, group, list(topics))

    async def producer(self, name: str) -> PostgresProducer:
        return PostgresProducer(self._dsn, name)

    async def subscribe(self, group: str, member: str, topics: Iterable[str]) -> PostgresSubscription:
        wanted = sorted(topics)
        async with self._session.use() as conn:
            for topic in wanted:
                if await partitions_of(conn, topic) is None:
                    raise _no_topic(topic)
        subscription = PostgresSubscription(self._dsn, self._wakes, group, member, wanted)
        try:
            await subscription.start()
        except BaseException:
            await subscription.close()
            raise
        return subscription

    async def trim(self, now: datetime) -> int:
        """Delete records older than their topic's retention at `now`; returns how many. Raises BusUnavailable.

        Each start moves first: a record below its partition's start is gone for every reader, deleted or not.
        """
        deleted = 0
        async with self._session.use() as conn:
            starts = await load_young_starts(conn, now)
        for topic, partition, start in starts:
            async with self._session.use() as conn:
                await advance_start(conn, topic, partition, start)
            gone = TRIM_ROWS
            while gone == TRIM_ROWS:
                async with self._session.use() as conn:
                    gone = await delete_before(conn, topic, partition, start)
                deleted += gone
        return deleted

    async def close(self) -> None:
        await self._wakes.close()
        await self._session.close()


@dataclass(slots=True, eq=False)
class _Part:
    """Records that somebody waits to have appended. `first` is the offset of the first of them once they are, None where
    their partition is not there; ... as long as nobody knows."""

    partition: Partition
    records: Sequence[Record]
    first: int | EllipsisType | None = ...


class PostgresProducer:
    """What is asked for at once is appended at once: one statement, one commit, however many partitions."""

    def __init__(self, dsn: str, name: str) -> None:
        self._session = Session(dsn, {**DURABLE, "application_name": f"spean-bus {name}"})
        self._waiting: list[_Part] = []
        self._broken = False

    async def append(self, partition: Partition, records: Sequence[Record]) -> int:
        check_records(partition, records)
        part = _Part(partition, records)
        self._waiting.append(part)
        try:
            # Whoever else has something to append now may say so first.
            await asyncio.sleep(0)
            async with self._session.use() as conn:
                # Asked here, not before: nothing may follow a batch that has failed while this one waited.
                if part in self._waiting and not self._broken:
                    await self._append_waiting(conn)
            if part.first is None:
                raise _no_topic(partition.topic)
            if part.first is ...:
                raise BusError("this producer has failed before: close it and open another")
        except BaseException:
            self._broken = True
            raise
        return part.first

    async def _append_waiting(self, conn: Connection) -> None:
        """The first that waits for each partition; whoever has asked for the same one later, or for more than fits, keeps
        waiting."""
        parts: dict[Partition, _Part] = {}
        size = 0
        for each in self._waiting:
            if size < AT_ONCE_BYTES and parts.setdefault(each.partition, each) is each:
                size += sum(len(record.value) for record in each.records)
        self._waiting = [each for each in self._waiting if parts.get(each.partition) is not each]
        found = await append(conn, {partition: part.records for partition, part in parts.items()})
        for partition, part in parts.items():
            part.first = found.get(partition)

    async def close(self) -> None:
        await self._session.close()


def _no_topic(topic: str) -> BusError:
    return BusError(f"the bus has no topic {topic}, or not that partition of it; ensure_topics creates topics")
