"""What only the Postgres bus has to bear: its server restarting, texts of database errors, two processes of one name."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from spean import embedded
from spean.bus import MAX_VALUE_BYTES, BusError, BusUnavailable, Partition, Record, TopicSpec
from spean.bus.postgres import AT_ONCE_BYTES, PostgresBus
from spean.bus.postgres_group import LEASE_S
from spean.bus.share import STALL_S
from tests.builders import eventually
from tests.bus.reader import Reader, until

SPEC = TopicSpec("t", 2, 7)
P0 = Partition("t", 0)


def records(count: int) -> list[Record]:
    return [Record(b"k", {"ce_id": str(number)}, b"{}") for number in range(count)]


@pytest.fixture
async def bus(bus_dsn: str) -> AsyncIterator[PostgresBus]:
    opened = await PostgresBus.open(bus_dsn)
    await opened.ensure_topics([SPEC])
    yield opened
    await opened.close()


async def test_readers_and_wakes_survive_a_restart_of_the_server() -> None:
    folder = Path(tempfile.gettempdir()) / f"spean-bus-{uuid.uuid4().hex[:8]}"
    running = await embedded.start(folder, password_file=folder / "password", fast_unsafe=True)
    bus = await PostgresBus.open(running.server.dsn("postgres"))
    await bus.ensure_topics([SPEC])
    old = await bus.producer("old")
    await old.append(P0, records(5))
    reader = Reader(await bus.subscribe("g", "a", ["t"]))
    await reader.until(lambda: len(reader.got) == 5 and bus._wakes.listening)

    await running.stop()
    with pytest.raises(BusUnavailable):
        await old.append(P0, records(1))
    with pytest.raises(BusUnavailable):
        await reader.until(lambda: False)

    running = await embedded.start(folder, password_file=folder / "password", fast_unsafe=True)
    with pytest.raises(BusError, match="failed before"):
        await old.append(P0, records(1))
    new = await bus.producer("new")
    assert await new.append(P0, records(5)) == 5
    await reader.until(lambda: len(reader.got) == 10 and bus._wakes.listening)
    waiting = asyncio.create_task(reader.step(timeout_s=10))
    await new.append(P0, records(1))
    assert await waiting
    for each in (old, new, reader.subscription, bus):
        await each.close()
    await running.stop()
    shutil.rmtree(folder)


async def test_a_lost_listening_connection_is_opened_again(bus: PostgresBus, bus_dsn: str) -> None:
    reader = Reader(await bus.subscribe("g", "a", ["t"]))
    await reader.until(lambda: bus._wakes.listening)
    conn = await asyncpg.connect(bus_dsn)
    await conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%'")
    await conn.close()
    await reader.until(lambda: not bus._wakes.listening)
    await reader.until(lambda: bus._wakes.listening)
    await reader.subscription.close()


async def test_errors_name_class_and_sqlstate_and_no_content(bus: PostgresBus) -> None:
    producer = await bus.producer("test")
    with pytest.raises(BusError, match="SQLSTATE 22P05") as caught:
        await producer.append(P0, [Record(b"canary", {"canary": "canary\0"}, b"canary")])
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    await producer.close()


async def test_what_is_appended_at_once_is_one_transaction(bus: PostgresBus, bus_dsn: str) -> None:
    """However many partitions: one wait for the disk. What is asked for twice keeps its order."""
    spec = TopicSpec("at-once", 4, 7)
    await bus.ensure_topics([spec])
    parts = [Partition(spec.name, number) for number in (3, 0, 2, 0, 1)]
    producer = await bus.producer("test")
    assert await producer.append(parts[0], records(5)) == 0
    firsts = await asyncio.gather(*(producer.append(each, records(index + 1)) for index, each in enumerate(parts)))
    assert firsts == [5, 0, 0, 2, 0]
    conn = await asyncpg.connect(bus_dsn)
    found = await conn.fetch("""select xmin::text as tx, array_agg(partition order by partition, "offset") as parts
                                from log where topic = $1 group by 1 order by min(at)""", spec.name)  # fmt: skip
    await conn.close()
    assert [row["parts"] for row in found] == [[3] * 5, [0] * 2 + [1] * 5 + [2] * 3 + [3], [0] * 4]
    read = await bus.read(Partition(spec.name, 0), 0, limit=10)
    assert [stored.record.headers["ce_id"] for stored in read] == ["0", "1", "0", "1", "2", "3"]
    assert [stored.offset for stored in read] == list(range(6))
    await producer.close()


async def test_what_is_too_much_for_one_transaction_is_several(bus: PostgresBus, bus_dsn: str) -> None:
    spec = TopicSpec("too-much", 3, 7)
    await bus.ensure_topics([spec])
    large = [Record(b"k", {}, b"x" * MAX_VALUE_BYTES)] * (AT_ONCE_BYTES // MAX_VALUE_BYTES)
    producer = await bus.producer("test")
    parts = [producer.append(Partition(spec.name, number), large if number else records(1)) for number in range(3)]
    assert await asyncio.gather(*parts) == [0, 0, 0]
    conn = await asyncpg.connect(bus_dsn)
    each = "select array_agg(distinct partition) from log where topic = $1 group by xmin::text order by 1"
    found = [row[0] for row in await conn.fetch(each, spec.name)]
    assert found == [[0, 1], [2]]
    await conn.close()
    await producer.close()


async def test_a_partition_that_is_not_there_spoils_the_producer(bus: PostgresBus) -> None:
    producer = await bus.producer("test")
    first, refused = await asyncio.gather(
        producer.append(P0, records(1)), producer.append(Partition("t", 9), records(1)), return_exceptions=True
    )
    assert isinstance(first, int)
    assert isinstance(refused, BusError)
    assert "no topic t" in str(refused)
    with pytest.raises(BusError, match="failed before"):
        await producer.append(P0, records(1))
    await producer.close()


async def test_producers_that_append_to_the_same_partitions_do_not_wait_in_a_circle(
    bus: PostgresBus, bus_dsn: str
) -> None:
    """Each begins with another partition than the other, and both have to wait in the middle."""
    spec = TopicSpec("circle", 6, 7)
    await bus.ensure_topics([spec])
    parts = [Partition(spec.name, number) for number in range(spec.partitions)]
    producers = [await bus.producer(f"circle {number}") for number in range(2)]
    conn, looking = await asyncpg.connect(bus_dsn), await asyncpg.connect(bus_dsn)

    async def wait(count: int) -> bool:
        return count == await looking.fetchval(
            "select count(*) from pg_stat_activity where application_name like 'spean-bus circle %' and wait_event_type = 'Lock'"
        )

    async with asyncio.TaskGroup() as appending, conn.transaction():
        await conn.execute("select from head where topic = 'circle' and partition = 3 for update")
        for count, (producer, order) in enumerate(zip(producers, (parts, parts[::-1]), strict=True), 1):
            for each in order:
                appending.create_task(producer.append(each, records(1)))
            await eventually(partial(wait, count))
    assert {each.end for each in (await bus.bounds(spec.name)).values()} == {2}
    for each in (conn, looking, *producers):
        await each.close()


async def test_the_older_of_two_processes_of_one_name_is_told(bus: PostgresBus) -> None:
    older = Reader(await bus.subscribe("twins", "a", ["t"]))
    await older.until(lambda: len(older.sought) == 2)
    newer = Reader(await bus.subscribe("twins", "a", ["t"]))
    with pytest.raises(BusError, match="another process has become member a"):
        await until(lambda: False, older)
    await newer.until(lambda: len(newer.sought) == 2)
    await older.subscription.close()
    assert len(newer.subscription.assigned()) == 2
    await newer.subscription.close()


async def test_a_member_that_leaves_makes_room_at_once(bus: PostgresBus) -> None:
    leaving = Reader(await bus.subscribe("leaving", "a", ["t"]))
    staying = Reader(await bus.subscribe("leaving", "b", ["t"]))
    await until(lambda: len(leaving.sought) == len(staying.sought) == 1, leaving, staying)
    await leaving.subscription.close()
    async with asyncio.timeout(LEASE_S / 2):
        await staying.until(lambda: len(staying.sought) == 2)
    await staying.subscription.close()


async def test_a_member_that_died_while_the_servers_clock_was_ahead_makes_room(bus: PostgresBus, bus_dsn: str) -> None:
    conn = await asyncpg.connect(bus_dsn)
    await conn.execute(
        "insert into member values ('ahead', 'dead', gen_random_uuid(), '{t}', now() + interval '3 hours')"
    )
    await conn.execute("insert into lease select 'ahead', topic, partition, 'dead' from head where topic = 't'")
    await conn.close()
    living = Reader(await bus.subscribe("ahead", "a", ["t"]))
    async with asyncio.timeout(LEASE_S * 5):
        await living.until(lambda: len(living.sought) == 2)
    await living.subscription.close()


async def test_a_member_that_does_not_poll_makes_room_and_may_come_back(bus: PostgresBus) -> None:
    stuck = await bus.subscribe("stuck", "a", ["t"])
    stuck._polled -= STALL_S + 1
    other = Reader(await bus.subscribe("stuck", "b", ["t"]))
    await other.until(lambda: len(other.sought) == 2)
    assert stuck.assigned() == frozenset()
    back = Reader(stuck)
    await until(lambda: len(back.sought) == len(other.sought) == 1, back, other)
    await stuck.close()
    await other.subscription.close()
