"""The bus on PostgreSQL, in a database of its own: one row per record, one row per partition that numbers them.

Appending locks the partition's row of `head` until its commit, so numbers become visible in order and without holes; a
serial column cannot promise that (a reader with a cursor missed one row in six with six writers).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime

from spean.bus import Bounds, BusError, Partition, Record, Stored, TopicSpec, Use
from spean.bus.postgres_group import PostgresSubscription, contiguous, load_records
from spean.bus.postgres_session import DURABLE, TOPIC_CHANNEL, Connection, Session, Wakes
from spean.bus.share import check_partitions, check_records

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


async def append(conn: Connection, partition: Partition, records: Sequence[Record]) -> int | None:
    """One statement, so one transaction that no frozen client can hold open. Returns the first offset; None: no topic."""
    first: int | None = await conn.fetchval(
        """
        with taken as (
            update head set next = next + cardinality($3::bytea[]) where topic = $1 and partition = $2
            returning next - cardinality($3::bytea[]) as first
        ), added as (
            insert into log (topic, partition, "offset", key, headers, value, at)
            select $1, $2, taken.first + r.number - 1, r.key, r.headers::jsonb, r.value, clock_timestamp()
            from taken, unnest($3::bytea[], $4::text[], $5::bytea[]) with ordinality as r(key, headers, value, number)
        )
        select first from taken, lateral pg_notify($6, $1)
        """,
        partition.topic, partition.number,
        [r.key for r in records], [json.dumps(dict(r.headers)) for r in records], [r.value for r in records],
        TOPIC_CHANNEL,
    )  # fmt: skip
    return first


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


class PostgresProducer:
    def __init__(self, dsn: str, name: str) -> None:
        self._session = Session(dsn, {**DURABLE, "application_name": f"spean-bus {name}"})
        self._broken = False

    async def append(self, partition: Partition, records: Sequence[Record]) -> int:
        check_records(partition, records)
        try:
            async with self._session.use() as conn:
                # Asked here, not before: nothing may follow a batch that has failed while this one waited.
                if self._broken:
                    raise BusError("this producer has failed before: close it and open another")
                first = await append(conn, partition, records)
            if first is None:
                raise _no_topic(partition.topic)
        except BaseException:
            self._broken = True
            raise
        return first

    async def close(self) -> None:
        await self._session.close()


def _no_topic(topic: str) -> BusError:
    return BusError(f"the bus has no topic {topic}, or not that partition of it; ensure_topics creates topics")
