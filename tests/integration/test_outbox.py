"""What a service says: numbered without holes, carried in order, twice at worst."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from uuid import uuid4

import asyncpg
import pytest

from schemas import events as e
from schemas.registry import HANDOFF, PLACES
from spean.bus import Bus, BusUnavailable, Partition, Producer, Record, partition_of
from spean.event import parse
from spean.outbox import BATCH_ROWS, RELAY_LOCK, SESSION_LIMIT_MS, say, unsent
from spean.service import PARTITIONS
from tests.builders import eventually
from tests.integration.kit import Around, Kit, Line, end_session, going, stop, stopped

HOLDS_THE_LOCK = """
select pid from pg_locks where locktype = 'advisory' and granted and objid = $1
and database = (select oid from pg_database where datname = current_database())
"""


async def relay_session(writer: Kit) -> int | None:
    """The PostgreSQL process of the session that holds the relays' lock."""
    rows = await writer.rows(HOLDS_THE_LOCK, RELAY_LOCK)
    assert len(rows) <= 1
    return rows[0]["pid"] if rows else None


async def all_said(writer: Kit) -> bool:
    return await writer.value("select count(*) from outbox") == 0


class TestSay:
    async def test_writers_of_one_aggregate_at_once_leave_no_hole(self, line: Line, writer: Kit) -> None:
        aggregate, other = uuid4(), uuid4()

        async def write(number: int) -> None:
            for turn in range(20):
                if (number + turn) % 4 == 0:
                    with pytest.raises(ZeroDivisionError):
                        await rolled_back(line, writer, aggregate)
                await line.say(writer, aggregate)
                await line.say(writer, other)

        await asyncio.gather(*(write(number) for number in range(8)))
        for id_ in (aggregate, other):
            rows = await writer.rows("select sequence, epoch from outbox where aggregateid = $1 order by number", id_)
            assert [(row["sequence"], row["epoch"]) for row in rows] == [(n, 1) for n in range(1, 161)]

    async def test_an_event_belongs_to_its_topic(self, line: Line, writer: Kit) -> None:
        writer.db.holder = line.holder
        with pytest.raises(ValueError, match="does not belong"):
            async with writer.db.transaction("test") as tx:
                await say(tx, PLACES, uuid4(), e.DisclosureStoppedV1())
        assert await writer.value("select count(*) from outbox") == 0

    async def test_what_the_event_follows_from_is_kept(self, line: Line, writer: Kit) -> None:
        chain, cause = uuid4(), uuid4()
        writer.db.holder = line.holder
        async with writer.db.transaction("test", correlation=chain, causation=cause) as tx:
            await say(tx, HANDOFF, uuid4(), e.DisclosureStoppedV1())
            now = tx.now
        row = (await writer.rows("select * from outbox"))[0]
        assert (row["correlationid"], row["causationid"], row["time"]) == (chain, cause, now)
        assert row["id"].version == 7


async def rolled_back(line: Line, writer: Kit, aggregate: object) -> None:
    async with writer.db.transaction("test.undone") as tx:
        tx.holder = line.holder
        await say(tx, HANDOFF, aggregate, e.DisclosureStoppedV1())
        raise ZeroDivisionError


class TestRelay:
    async def test_sends_in_order_and_keeps_what_it_said(self, either_line: Line, writer: Kit) -> None:
        line = either_line
        aggregates = [uuid4() for _ in range(12)]
        for aggregate in aggregates * 5:
            await line.say(writer, aggregate)
        async with going(line.relay(writer).run()):
            await eventually(lambda: all_said(writer))
            for aggregate in aggregates:
                await line.say(writer, aggregate)
            await eventually(lambda: all_said(writer))

        events = [parse(record) for record in await line.said()]
        for aggregate in aggregates:
            assert [event.sequence for event in events if event.subject == aggregate] == [1, 2, 3, 4, 5, 6]
        rows = await writer.rows("select * from said")
        assert {row["id"] for row in rows} == {event.id for event in events}
        for row in rows:
            assert row["partition"] == partition_of(str(row["aggregateid"]).encode(), PARTITIONS)
            at = Partition(line.topic, row["partition"])
            stored = (await line.bus.read(at, row["offset"], limit=1))[0]
            event = parse(stored.record)
            assert (event.id, event.time, event.type) == (row["id"], row["time"], row["type"])
            assert event.value == row["payload"].encode()

    async def test_a_backlog_of_several_batches(self, line: Line, writer: Kit) -> None:
        """The batch behind is read while one is on its way, and follows it into each partition; it fails once."""
        writer.db.holder = line.holder
        aggregate, others = uuid4(), [uuid4() for _ in range(5)]
        async with writer.db.transaction("test") as tx:
            for turn in range(BATCH_ROWS // 2 + 10):
                await say(tx, HANDOFF, aggregate, e.DisclosureStoppedV1())
                await say(tx, HANDOFF, others[turn % 5], e.DisclosureStoppedV1())
        under_way: Counter[Partition] = Counter()
        calls = Counter[Partition]()

        async def append(inner: Producer, partition: Partition, records: Sequence[Record]) -> int:
            calls[partition] += 1
            under_way[partition] += 1
            assert under_way[partition] == 1, "two batches of one partition at once"
            try:
                first = await inner.append(partition, records)
                if calls[partition] == 2:
                    raise BusUnavailable("sent, and never heard of")
                return first
            finally:
                under_way[partition] -= 1

        async with going(line.relay(writer, Around(line.bus, append=append)).run()):
            await eventually(lambda: all_said(writer), within_s=60)
        events = [parse(record) for record in await line.said()]
        for one, count in {aggregate: BATCH_ROWS // 2 + 10, **dict.fromkeys(others, BATCH_ROWS // 10 + 2)}.items():
            sequences = [event.sequence for event in events if event.subject == one]
            assert list(dict.fromkeys(sequences)) == list(range(1, count + 1)), "said again, but never out of order"
        twice = sum(count - 1 for count in Counter(event.id for event in events).values())
        assert 0 < twice <= 20, "only what the bus had not acknowledged was said again"
        assert await writer.value("select count(*) from said") == BATCH_ROWS + 20
        assert await writer.value('select count(distinct ("partition", "offset")) from said') == BATCH_ROWS + 20

    async def test_what_is_committed_late_is_read_before_what_stands_behind_it(self, line: Line, writer: Kit) -> None:
        """Its number is lower than of rows on their way; theirs are read no second time meanwhile."""
        await line.say(writer, uuid4())
        late = await asyncpg.connect(writer.dsn)
        conn = await asyncpg.connect(writer.dsn)
        try:
            async with late.transaction():
                await late.execute(
                    "select say($1, $2, $3, 'late', '{}', now(), $1, null, null)", uuid4(), line.topic, uuid4()
                )
                for _ in range(3):
                    await line.say(writer, uuid4())
                first = [row["number"] for row in await unsent(conn, 3)]
            ahead = [row["number"] for row in await unsent(conn, 10, first)]
            assert [row["number"] for row in await unsent(conn, 10)] == sorted(first + ahead)
            assert (len(first), len(ahead)) == (3, 2)
            assert first[0] < ahead[0] < first[1] < first[2] < ahead[1]
            assert [row["number"] for row in await unsent(conn, 1, first)] == ahead[:1]
        finally:
            await late.close()
            await conn.close()

    async def test_one_sends_and_another_stands_by_until_it_stops(self, line: Line, writer: Kit) -> None:
        second = await writer.again()
        sent: Counter[str] = Counter()

        def counted(name: str) -> Bus:
            async def append(inner: Producer, partition: Partition, records: Sequence[Record]) -> int:
                sent[name] += len(records)
                return await inner.append(partition, records)

            return Around(line.bus, append=append)

        async with going(line.relay(writer, counted("first")).run()) as (first,):
            holding = await eventually(lambda: relay_session(writer))
            async with going(line.relay(second, counted("second")).run()):
                for _ in range(20):
                    await line.say(writer, uuid4())
                await eventually(lambda: all_said(writer))
                assert sent == {"first": 20}
                assert await relay_session(writer) == holding
                await stop(first)
                for _ in range(20):
                    await line.say(writer, uuid4())
                await eventually(lambda: all_said(writer))
                assert sent == {"first": 20, "second": 20}
        await second.db.close()

    async def test_a_dead_session_takes_the_lock_with_it(self, line: Line, writer: Kit) -> None:
        second = await writer.again()
        async with going(line.relay(writer).run(), line.relay(second).run()):
            died = await eventually(lambda: relay_session(writer))
            await writer.value("select pg_terminate_backend($1)", died)
            for _ in range(10):
                await line.say(writer, uuid4())
            await eventually(lambda: all_said(writer))
            assert await relay_session(writer) != died
        await second.db.close()
        assert len(await line.said()) == 10

    async def test_a_crash_between_sending_and_moving_says_it_again(self, either_line: Line, writer: Kit,
                                                                    reader: Kit) -> None:  # fmt: skip
        line = either_line
        crashes = 2

        async def append(inner: Producer, partition: Partition, records: Sequence[Record]) -> int:
            nonlocal crashes
            first = await inner.append(partition, records)
            if crashes:
                crashes -= 1
                raise BusUnavailable("sent, and never heard of")
            return first

        aggregate = uuid4()
        for _ in range(10):
            await line.say(writer, aggregate)
        async with going(line.relay(writer, Around(line.bus, append=append)).run(), line.consumer(reader).run()):
            await eventually(lambda: all_said(writer))
            await line.say(writer, aggregate)

            async def eleven() -> bool:
                return len(await reader.effects(aggregate)) >= 11

            await eventually(eleven)
        ids = Counter(parse(record).id for record in await line.said())
        assert sorted(ids.values()) == [1] + [3] * 10
        assert await writer.value("select count(*) from said") == 11
        assert await reader.effects(aggregate) == list(range(1, 12))
        assert await reader.parked() == []

    async def test_a_part_that_failed_sends_all_of_it_again(self, line: Line, writer: Kit, reader: Kit) -> None:
        """One partition's batch is refused, the others' are there already."""
        refused = 1

        async def append(inner: Producer, partition: Partition, records: Sequence[Record]) -> int:
            nonlocal refused
            if partition.number == 3 and refused:
                refused -= 1
                raise BusUnavailable("not now")
            return await inner.append(partition, records)

        aggregates = [uuid4() for _ in range(60)]
        for aggregate in aggregates * 2:
            await line.say(writer, aggregate)
        async with going(line.relay(writer, Around(line.bus, append=append)).run(), line.consumer(reader).run()):
            await eventually(lambda: all_said(writer))

            async def all_here() -> bool:
                return await reader.value("select count(*) from effect") >= 120

            await eventually(all_here)
        for aggregate in aggregates:
            assert await reader.effects(aggregate) == [1, 2]
        assert refused == 0

    async def test_a_bus_that_answers_late_does_not_cost_the_lock(self, line: Line, writer: Kit) -> None:
        """Longer than a frozen relay may keep it: this one shows that it lives."""
        gate, asked = asyncio.Event(), asyncio.Event()

        async def append(inner: Producer, partition: Partition, records: Sequence[Record]) -> int:
            asked.set()
            await gate.wait()
            return await inner.append(partition, records)

        async def slept_past_the_limit() -> bool:
            return bool(await writer.value("select clock_timestamp() > $1::timestamptz + $2 * interval '1 ms'",
                                           since, SESSION_LIMIT_MS + 700))  # fmt: skip

        async with going(line.relay(writer, Around(line.bus, append=append)).run()):
            await line.say(writer, uuid4())
            await asked.wait()
            holding = await relay_session(writer)
            since = await writer.value("select clock_timestamp()")
            await eventually(slept_past_the_limit)
            assert await relay_session(writer) == holding
            gate.set()
            await eventually(lambda: all_said(writer))
        assert len(await line.said()) == 1

    async def test_a_session_that_shows_no_life_is_ended(self, line: Line, writer: Kit) -> None:
        """What a frozen process leaves: an idle session with the lock."""
        conn = await asyncpg.connect(writer.dsn)
        try:
            await conn.fetchval("select pg_advisory_lock($1)", RELAY_LOCK)
            await conn.execute(f"set idle_session_timeout = {SESSION_LIMIT_MS}")
            await line.say(writer, uuid4())
            async with going(line.relay(writer).run()):
                await eventually(lambda: all_said(writer))
        finally:
            conn.terminate()

    async def test_told_to_stop_while_its_session_dies_it_stops(self, line: Line, writer: Kit) -> None:
        """The error of the lost session must not take the place of the cancellation."""
        asked = asyncio.Event()

        async def append(inner: Producer, partition: Partition, records: Sequence[Record]) -> int:
            await end_session(writer, await relay_session(writer))
            asked.set()
            await asyncio.Event().wait()
            return await inner.append(partition, records)

        await line.say(writer, uuid4())
        relay = asyncio.create_task(line.relay(writer, Around(line.bus, append=append)).run())
        await asked.wait()
        await stopped(relay)
