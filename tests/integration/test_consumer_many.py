"""A handler of many events, and a batch that is read while another is taken in: no rule of the order is another one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import asyncpg
import pytest

from schemas import events as e
from schemas.registry import HANDOFF
from spean import order
from spean.bus import Partition, Stored
from spean.consumer import BATCH_RECORDS, Consumer, Handler, Poison, Together
from spean.db import DatabaseProblem, Tx
from spean.event import Event
from spean.order import Key, Place
from spean.outbox import say
from tests.builders import eventually
from tests.integration.kit import RELEASED, STOPPED, Around, Kit, Line, going, write_effect
from tests.integration.test_consumer import MOVES, holds, in_all, in_partition
from tests.integration.test_parking import take_all


async def write_effects(tx: Tx, events: Sequence[Event], member: str = "1") -> None:
    """As `write_effect`, in one statement."""
    await tx.conn.execute(
        """
        insert into effect (id, source, aggregate, epoch, sequence, type, by_member)
        select t.*, $7 from unnest($1::uuid[], $2::text[], $3::uuid[], $4::int[], $5::bigint[], $6::text[]) as t
        """,
        [one.id for one in events], [one.source for one in events], [one.subject for one in events],
        [one.epoch for one in events], [one.sequence for one in events], [one.type for one in events], member,
    )  # fmt: skip


async def append_at_once(line: Line, number: int, events: Sequence[Event]) -> None:
    """All of them into one partition, so that one answer of the bus holds many."""
    producer = await line.bus.producer(line.source)
    await producer.append(Partition(line.topic, number), [event.record() for event in events])
    await producer.close()


def rounds(line: Line, aggregates: Sequence[UUID], last: int) -> list[Event]:
    return [line.event(one, sequence) for sequence in range(1, last + 1) for one in aggregates]


async def test_poison_among_many_is_found_and_parked_and_the_others_flow(either_line: Line, reader: Kit) -> None:
    line, (bad, *good) = either_line, in_partition(3, 6)
    given: list[int] = []

    async def many(tx: Tx, events: Sequence[Event]) -> None:
        given.append(len(events))
        await write_effects(tx, events)
        if any(event.type == RELEASED for event in events):
            raise Poison("never-asked")

    handlers: dict[str, Handler] = dict.fromkeys((STOPPED, RELEASED), Together(many))
    events = [line.event(one.subject, 2, RELEASED) if (one.subject, one.sequence) == (bad, 2) else one
              for one in rounds(line, [*good[:3], bad, *good[3:]], 4)]  # fmt: skip
    await append_at_once(line, 3, events)
    await take_all(line, reader, handlers)
    assert given[0] > 1
    for one in good:
        assert await reader.effects(one) == [1, 2, 3, 4]
    assert await reader.effects(bad) == [1]
    assert await reader.parked() == [(2, "never-asked"), (3, "behind"), (4, "behind")]

    given.clear()
    await append_at_once(line, 3, [line.event(one, 5) for one in (bad, *good)])
    await take_all(line, reader, handlers)
    assert max(given) == len(good)
    assert (await reader.parked())[-1] == (5, "behind")


async def test_many_and_one_by_one_keep_one_order(line: Line, reader: Kit) -> None:
    """Two kinds of handlers take turns on every key; a gap is filled in between, and what waited follows at once."""
    aggregates, waiting = in_partition(2, 8), in_partition(2, 1)[0]
    given: list[int] = []

    async def many(tx: Tx, events: Sequence[Event]) -> None:
        given.append(len(events))
        await write_effects(tx, events)

    events = [line.event(one, sequence, RELEASED if sequence % 3 == 0 else STOPPED)
              for sequence in range(1, 10) for one in aggregates]  # fmt: skip
    for at, sequence in ((5, 1), (15, 3), (30, 4), (45, 2), (46, 5)):
        events.insert(at, line.event(waiting, sequence))
    await append_at_once(line, 2, events)
    await take_all(line, reader, {STOPPED: Together(many), RELEASED: write_effect})
    await holds(reader, aggregates, 9)
    await holds(reader, [waiting], 5)
    assert max(given) > 8
    # What was taken after the gap was filled took effect after it: kept back for no longer than until then.
    places = {
        (row["aggregate"], row["sequence"]): row["number"] for row in await reader.rows("select * from effect")
    }  # fmt: skip
    assert places[waiting, 4] < places[aggregates[-1], 6] < places[aggregates[-1], 9]


async def test_what_was_read_ahead_is_dropped_where_another_has_taken_it(line: Line, reader: Kit) -> None:
    """While it takes a full batch in, a consumer reads the next one; another is faster."""
    aggregates, size = in_partition(1, 5), 3 * BATCH_RECORDS
    conn = await asyncpg.connect(reader.dsn)
    await conn.execute(MOVES)
    await conn.close()
    await append_at_once(line, 1, rounds(line, aggregates, size // 5))
    polls, ahead, gate = 0, False, asyncio.Event()

    async def polled(batches: dict[Partition, list[Stored]]) -> dict[Partition, list[Stored]]:
        nonlocal polls, ahead
        polls += bool(batches)
        if batches and polls == 2:
            ahead = slow._ahead is not None
            await gate.wait()
        return batches

    def consumer(kit: Kit, name: str, bus: Around | None = None) -> Consumer:
        async def many(tx: Tx, events: Sequence[Event]) -> None:
            await write_effects(tx, events, name)

        return line.consumer(kit, {STOPPED: Together(many)}, group=name, bus=bus)

    second = await reader.again()
    slow = consumer(reader, "slow", Around(line.bus, polled=polled))
    slow._shown_at = slow._looked_at = asyncio.get_running_loop().time() + 60
    async with going(slow.run()):
        await eventually(in_all(reader, BATCH_RECORDS), within_s=30)
        async with going(consumer(second, "quick").run()):
            await eventually(in_all(reader, size), within_s=30)
        gate.set()
        await line.append(line.event(aggregates[0], size // 5 + 1))
        await eventually(in_all(reader, size + 1), within_s=30)
    await second.db.close()
    assert ahead
    moves = await reader.rows('select old, new from move where "partition" = 1 order by number')
    assert [move["new"] for move in moves] == [*(n * BATCH_RECORDS for n in (1, 2, 3)), size + 1], "never back"
    rows = await reader.rows("select by_member, count(*) as count from effect group by 1")
    assert {row["by_member"]: row["count"] for row in rows} == {
        "slow": BATCH_RECORDS + 1,
        "quick": size - BATCH_RECORDS,
    }
    await holds(reader, aggregates[1:], size // 5)
    await holds(reader, aggregates[:1], size // 5 + 1)


async def test_told_to_stop_while_it_reads_ahead_it_stops(line: Line, reader: Kit) -> None:
    await append_at_once(line, 1, rounds(line, in_partition(1, 5), BATCH_RECORDS // 5 + 1))
    ahead, ended = asyncio.Event(), asyncio.Event()

    async def polled(batches: dict[Partition, list[Stored]]) -> dict[Partition, list[Stored]]:
        if consumer._ahead is not None:
            ahead.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
        return batches

    consumer = line.consumer(reader, {STOPPED: Together(write_effects)}, bus=Around(line.bus, polled=polled))
    consumer._shown_at = consumer._looked_at = asyncio.get_running_loop().time() + 60
    async with going(consumer.run()):
        async with asyncio.timeout(30):
            await ahead.wait()
    assert ended.is_set()


async def test_who_takes_many_says_nothing(line: Line, reader: Kit) -> None:
    """What is said carries its cause, which many have none of; also where there happens to be one."""
    aggregate = uuid4()
    reader.db.holder = line.holder

    async def many(tx: Tx, events: Sequence[Event]) -> None:
        await say(tx, HANDOFF, events[0].subject, e.DisclosureStoppedV1())

    await line.append(line.event(aggregate, 1))
    await take_all(line, reader, {STOPPED: Together(many)})
    assert await reader.parked() == [(1, "TypeError")]
    assert await reader.value("select count(*) from outbox") == 0


async def test_two_that_have_both_never_heard_of_a_key(reader: Kit) -> None:
    """There is no row to lock yet: who comes second must not save, and finds out when it tries."""
    key = Key("spean/intake/any", uuid4())

    async def second(first: order.Places) -> None:
        async with reader.db.transaction("test.second") as tx:
            places = await order.lock_places(tx, [key])
            assert (places, places.known) == (first, {})
            async with reader.db.transaction("test.first") as other:
                first.now[key] = Place(1, 1)
                await order.save_places(other, first)
            places.now[key] = Place(1, 1)
            await order.save_places(tx, places)

    async with reader.db.transaction("test.look") as tx:
        found = await order.lock_places(tx, [key])
    with pytest.raises(DatabaseProblem) as problem:
        await second(found)
    assert problem.value.transient
    assert not problem.value.server
    assert await reader.value("select sequence from last where aggregate = $1", key.aggregate) == 1
