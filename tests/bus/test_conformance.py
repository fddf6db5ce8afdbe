"""What every bus promises, on both adapters."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from spean.bus import (
    MAX_VALUE_BYTES,
    Bounds,
    Bus,
    BusError,
    OutOfRange,
    Partition,
    Record,
    TopicSpec,
    Use,
    partition_of,
)  # fmt: skip
from spean.bus.connect import connect
from spean.bus.postgres import PostgresBus
from tests.bus.reader import Member, Reader, load_positions, until, write_effects

PARTITIONS = 4


def record(key: str, value: int) -> Record:
    return Record(key.encode(), {"ce_id": str(value), "ce_type": "org.spean.test.said.v1"}, str(value).encode())


def group_name() -> str:
    return f"group-{uuid.uuid4().hex[:8]}"


async def append(bus: Bus, topic: str, partition: int, values: range) -> None:
    producer = await bus.producer("test")
    await producer.append(Partition(topic, partition), [record("k", value) for value in values])
    await producer.close()


@pytest.fixture
async def effects(effects_dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    conn = await asyncpg.connect(effects_dsn)
    yield conn
    await conn.close()


async def test_append_returns_the_first_offset_and_read_gives_back_what_was_said(bus: Bus, topic: str) -> None:
    partition = Partition(topic, 1)
    producer = await bus.producer("test")
    said = Record("schlüssel".encode(), {"ce_id": "1", "text": "ünï"}, b'{"a": 1}')
    assert await producer.append(partition, [said, record("a", 2), record("b", 3)]) == 0
    assert await producer.append(partition, [record("a", 4), record("a", 5)]) == 3
    await producer.close()
    found = await bus.read(partition, 0, limit=10)
    assert [stored.offset for stored in found] == [0, 1, 2, 3, 4]
    assert (found[0].partition, found[0].record) == (partition, said)
    assert [stored.offset for stored in await bus.read(partition, 2, limit=2)] == [2, 3]
    assert [stored.offset for stored in await bus.read(partition, 4, limit=2)] == [4]
    assert await bus.read(partition, 5, limit=10) == []
    assert (await bus.bounds(topic)) == {Partition(topic, n): Bounds(0, 5 if n == 1 else 0) for n in range(PARTITIONS)}


async def test_keys_keep_their_order(bus: Bus, topic: str) -> None:
    producer = await bus.producer("test")
    for turn in range(5):
        batches: dict[int, list[Record]] = defaultdict(list)
        for key in range(40):
            batches[partition_of(f"key-{key}".encode(), PARTITIONS)].append(record(f"key-{key}", turn))
        await asyncio.gather(*(producer.append(Partition(topic, n), batch) for n, batch in batches.items()))
    await producer.close()
    subscription = await bus.subscribe(group_name(), "a", [topic])
    reader = Reader(subscription)
    await reader.until(lambda: len(reader.got) >= 200)
    heard: dict[bytes, list[int]] = defaultdict(list)
    for stored in reader.got:
        heard[stored.record.key].append(int(stored.record.value))
    assert len(heard) == 40
    assert all(turns == [0, 1, 2, 3, 4] for turns in heard.values())
    await subscription.close()


async def test_partitions_that_were_not_sought_are_never_returned(bus: Bus, topic: str) -> None:
    for number in range(PARTITIONS):
        await append(bus, topic, number, range(10))
    group = group_name()
    subscription = await bus.subscribe(group, "a", [topic])
    reader = Reader(subscription)
    await reader.until(lambda: len(reader.got) == 40)
    # Committed positions must not lead anybody to a place where it did not seek.
    await subscription.commit(dict.fromkeys(reader.positions, 5))
    await subscription.close()
    subscription = await bus.subscribe(group, "a", [topic])
    async with asyncio.timeout(20):
        while len(subscription.assigned()) < PARTITIONS:
            assert await subscription.poll(timeout_s=0.1, max_records=100) == {}
    assert await subscription.poll(timeout_s=0.5, max_records=100) == {}
    await subscription.seek(Partition(topic, 2), 7)
    heard = []
    async with asyncio.timeout(20):
        while len(heard) < 3:
            batches = await subscription.poll(timeout_s=0.5, max_records=100)
            heard += [(p.number, s.offset) for p, batch in batches.items() for s in batch]
    assert await subscription.poll(timeout_s=0.3, max_records=100) == {}
    assert heard == [(2, 7), (2, 8), (2, 9)]
    await subscription.close()


async def test_replay_from_the_start_by_seek(bus: Bus, topic: str) -> None:
    await append(bus, topic, 0, range(100))
    subscription = await bus.subscribe(group_name(), "a", [topic])
    first, partition = Reader(subscription), Partition(topic, 0)
    await first.until(lambda: len(first.got) == 100)
    again = Reader(subscription)
    await again.until(lambda: len(again.got) == 100)
    assert again.got == first.got
    await subscription.seek(partition, 60)
    third = Reader(subscription, {partition: 60})
    third.sought = set(subscription.assigned())
    await third.until(lambda: len(third.got) == 40)
    await subscription.close()


async def test_a_slow_consumer_loses_nothing(bus: Bus, topic: str) -> None:
    subscription = await bus.subscribe(group_name(), "a", [topic])
    reader = Reader(subscription)
    for turn in range(20):
        await append(bus, topic, turn % PARTITIONS, range(turn, turn + 3))
        assert sum(map(len, (await reader.step(max_records=1)).values())) <= 1
    await reader.until(lambda: len(reader.got) == 60, max_records=1)
    assert sorted(int(s.record.value) for s in reader.got) == sorted(v for t in range(20) for v in range(t, t + 3))
    await subscription.close()


async def test_a_waiting_poll_is_woken_by_an_append(bus: Bus, topic: str) -> None:
    subscription = await bus.subscribe(group_name(), "a", [topic])
    reader = Reader(subscription)
    await reader.until(lambda: len(reader.sought) == PARTITIONS)
    while await reader.step(timeout_s=0.05):
        pass
    waiting = asyncio.create_task(reader.step(timeout_s=10))
    await append(bus, topic, 3, range(1))
    began = asyncio.get_running_loop().time()
    assert await waiting
    assert asyncio.get_running_loop().time() - began < 1
    await subscription.close()


async def test_a_backlog_of_20000_records(bus: Bus, topic: str) -> None:
    producer = await bus.producer("test")
    for number in range(PARTITIONS):
        for first in range(0, 5_000, 1_000):
            batch = [record("k", value) for value in range(first, first + 1_000)]
            await producer.append(Partition(topic, number), batch)
    await producer.close()
    subscription = await bus.subscribe(group_name(), "a", [topic])
    reader = Reader(subscription)
    await reader.until(lambda: len(reader.got) >= 20_000, max_records=1_000)
    assert reader.positions == {Partition(topic, number): 5_000 for number in range(PARTITIONS)}
    await subscription.close()


async def test_six_writers_at_once_lose_nothing(bus: Bus, topic: str) -> None:
    partition = Partition(topic, 0)

    async def write(writer: int) -> None:
        producer = await bus.producer(f"writer-{writer}")
        for turn in range(50):
            batch = [record(f"w{writer}", turn * 3 + n) for n in range(3)]
            first = await producer.append(partition, batch)
            found = await bus.read(partition, first, limit=3)
            assert [stored.record for stored in found] == batch
        await producer.close()

    subscription = await bus.subscribe(group_name(), "a", [topic])
    reader = Reader(subscription)
    writers = [asyncio.create_task(write(writer)) for writer in range(6)]
    await reader.until(lambda: len(reader.got) >= 900)
    await asyncio.gather(*writers)
    assert [stored.offset for stored in reader.got] == list(range(900))
    for writer in range(6):
        heard = [int(s.record.value) for s in reader.got if s.record.key == f"w{writer}".encode()]
        assert heard == list(range(150))
    await subscription.close()


async def test_members_share_the_partitions_as_they_join_and_leave(bus: Bus, topic: str) -> None:
    group, positions = group_name(), dict[Partition, int]()
    first = Reader(await bus.subscribe(group, "a", [topic]), positions)
    await first.until(lambda: len(first.sought) == PARTITIONS)
    for number in range(PARTITIONS):
        await append(bus, topic, number, range(50))
    await first.until(lambda: len(first.got) == 200)
    second = Reader(await bus.subscribe(group, "b", [topic]), positions)
    await until(lambda: len(first.sought) == len(second.sought) == 2, first, second)
    assert first.sought.isdisjoint(second.sought)
    for number in range(PARTITIONS):
        await append(bus, topic, number, range(50, 100))
    await until(lambda: len(first.got) + len(second.got) == 400, first, second)
    assert len(second.got) == 100
    await second.subscription.close()
    await first.until(lambda: len(first.sought) == PARTITIONS)
    for number in range(PARTITIONS):
        await append(bus, topic, number, range(100, 110))
    await first.until(lambda: len(first.got) + len(second.got) == 440)
    await first.subscription.close()


async def test_a_rebalance_that_a_busy_reader_did_not_see_costs_it_nothing(bus: Bus, topic: str) -> None:
    group, positions = group_name(), dict[Partition, int]()
    busy = Reader(await bus.subscribe(group, "a", [topic]), positions)
    await busy.until(lambda: len(busy.sought) == PARTITIONS)
    other = Reader(await bus.subscribe(group, "b", [topic]), positions)
    await other.until(lambda: len(other.sought) == 2)
    for number in range(PARTITIONS):
        await append(bus, topic, number, range(10))
    await until(lambda: len(busy.got) == len(other.got) == 20, busy, other)
    await busy.subscription.close()
    await other.subscription.close()


async def test_a_restarted_member_has_its_share_again(bus: Bus, topic: str) -> None:
    group, positions = group_name(), dict[Partition, int]()
    first = Reader(await bus.subscribe(group, "a", [topic]), positions)
    other = Reader(await bus.subscribe(group, "b", [topic]), positions)
    await until(lambda: len(first.sought) == len(other.sought) == 2, first, other)
    await first.subscription.close()
    again = Reader(await bus.subscribe(group, "a", [topic]), positions)
    await until(lambda: len(again.sought) == len(other.sought) == 2, again, other)
    await append(bus, topic, 0, range(5))
    await until(lambda: len(again.got) + len(other.got) == 5, again, other)
    await again.subscription.close()
    await other.subscription.close()


async def test_a_vanished_member_is_replaced_and_its_records_come_again(
    bus: Bus, topic: str, address: str, effects_dsn: str, effects: asyncpg.Connection[asyncpg.Record]
) -> None:
    group = group_name()
    await append(bus, topic, 0, range(30))
    vanishing = await Member.start(address, effects_dsn, group, "a", topic, "hold")
    assert (await vanishing.says("holding"))[:2] == ["0", "0"]
    await vanishing.end()
    reader = Reader(await bus.subscribe(group, "b", [topic]), await load_positions(effects, group))
    await reader.until(lambda: len(reader.got) == 30)
    assert len(reader.sought) == PARTITIONS
    await reader.subscription.close()


async def test_a_stalled_member_is_replaced_and_its_late_write_loses(
    bus: Bus, topic: str, address: str, effects_dsn: str, effects: asyncpg.Connection[asyncpg.Record]
) -> None:
    group = group_name()
    await append(bus, topic, 0, range(30))
    stalled = await Member.start(address, effects_dsn, group, "a", topic, "hold")
    first = int((await stalled.says("holding"))[1])
    stalled.process.send_signal(signal.SIGSTOP)
    reader = Reader(await bus.subscribe(group, "b", [topic]), await load_positions(effects, group))
    await reader.until(lambda: len(reader.got) == 30)
    assert await write_effects(effects, group, "b", first, reader.got)
    stalled.process.send_signal(signal.SIGCONT)
    await stalled.go_on()
    assert await stalled.says("lost") == ["0"]
    rows = await effects.fetch('select "offset", by_member from effect where grp = $1 order by 1', group)
    assert [tuple(row) for row in rows] == [(offset, "b") for offset in range(30)]
    # It is a member again, and gets its part of the group.
    await until(lambda: len(reader.sought) == 2, reader)
    await stalled.end()
    await reader.subscription.close()


async def test_committed_positions_are_shown(bus: Bus, topic: str) -> None:
    group = group_name()
    assert await bus.committed(group, [topic]) == {}
    await append(bus, topic, 1, range(9))
    subscription = await bus.subscribe(group, "a", [topic])
    reader = Reader(subscription)
    await reader.until(lambda: len(reader.got) == 9)
    await subscription.commit({Partition(topic, 1): 9})
    assert await bus.committed(group, [topic]) == {Partition(topic, 1): 9}
    await subscription.close()


async def test_offsets_outside_the_log_are_refused(bus: Bus, topic: str, address: str) -> None:
    partition = Partition(topic, 0)
    await append(bus, topic, 0, range(20))
    await cut(bus, address, partition, 8)
    assert (await bus.bounds(topic))[partition] == Bounds(8, 20)
    assert [stored.offset for stored in await bus.read(partition, 8, limit=2)] == [8, 9]
    with pytest.raises(OutOfRange):
        await bus.read(partition, 7, limit=1)
    subscription = await bus.subscribe(group_name(), "a", [topic])
    reader = Reader(subscription, {partition: 20})
    await reader.until(lambda: partition in reader.sought)
    for offset in (7, 21):
        with pytest.raises(OutOfRange):
            await subscription.seek(partition, offset)
    await subscription.seek(partition, 8)
    reader.positions[partition] = 8
    await reader.until(lambda: len(reader.got) == 12)
    await subscription.close()


async def cut(bus: Bus, address: str, partition: Partition, start: int) -> None:
    """Let the records before `start` grow too old."""
    if isinstance(bus, PostgresBus):
        conn = await asyncpg.connect(address)
        await conn.execute(
            "update log set at = at - interval '8 days' where topic = $1 and \"offset\" < $2", partition.topic, start
        )
        await conn.close()
        assert await bus.trim(datetime.now(UTC)) == start
        assert await bus.trim(datetime.now(UTC) - timedelta(days=1)) == 0
        return
    admin = AIOKafkaAdminClient(bootstrap_servers=address.removeprefix("kafka://"))
    await admin.start()
    await admin.delete_records({TopicPartition(*partition): RecordsToDelete(before_offset=start)})
    await admin.close()


async def test_ensuring_topics_twice_changes_nothing(bus: Bus, topic: str, address: str) -> None:
    await append(bus, topic, 0, range(3))
    other = await connect(address)
    await asyncio.gather(*(each.ensure_topics([TopicSpec(topic, PARTITIONS, 7)]) for each in (bus, other)))
    await other.close()
    assert (await bus.bounds(topic))[Partition(topic, 0)] == Bounds(0, 3)
    with pytest.raises(BusError, match=f"{topic} has 4 partitions, not 8"):
        await bus.ensure_topics([TopicSpec(topic, 8, 7)])


async def test_what_is_expected_and_not_there_is_named(bus: Bus, topic: str) -> None:
    use = Use("spean-test", frozenset([topic]), frozenset())
    await bus.expect_topics([TopicSpec(topic, PARTITIONS, 7)], [use])
    with pytest.raises(BusError, match=f"{topic} has 4 partitions, not 8"):
        await bus.expect_topics([TopicSpec(topic, 8, 7)], [use])
    with pytest.raises(BusError, match=f"no topic {topic}-2|topic {topic}-2 is missing.*spean topics apply"):
        await bus.expect_topics([TopicSpec(f"{topic}-2", PARTITIONS, 7)], [use])
    with pytest.raises(BusError, match=f"no topic {topic}-2"):  # looking at it did not make it
        await bus.bounds(f"{topic}-2")


async def test_a_topic_that_nobody_ensured_is_named(bus: Bus) -> None:
    for call in (bus.bounds("none"), bus.read(Partition("none", 0), 0, limit=1), bus.subscribe("g", "a", ["none"])):
        with pytest.raises(BusError, match="no topic none"):
            await call


async def test_an_oversized_value_is_refused_before_anything_is_sent(bus: Bus, topic: str) -> None:
    partition = Partition(topic, 0)
    producer = await bus.producer("test")
    large = Record(b"k", {}, b"x" * (MAX_VALUE_BYTES + 1))
    with pytest.raises(BusError, match="65537 bytes"):
        await producer.append(partition, [record("k", 1), large])
    assert (await bus.bounds(topic))[partition] == Bounds(0, 0)
    allowed = [Record(b"k", {}, bytes([n]) * MAX_VALUE_BYTES) for n in range(10)]
    assert await producer.append(partition, allowed) == 0
    assert [stored.record for stored in await bus.read(partition, 0, limit=10)] == allowed
    await producer.close()
