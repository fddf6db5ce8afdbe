"""Kafka losing and regaining its nodes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.kafka import local
from spean.bus import Bus, BusError, Partition, Producer, Record, TopicSpec
from spean.bus.connect import connect
from tests.bus.reader import Reader
from tests.conftest import without_kafka

pytestmark = [pytest.mark.kafka, pytest.mark.long, pytest.mark.timeout(180)]

P0 = Partition("said", 0)


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[local.LocalKafka]:
    if (lacking := local.missing()) is not None:
        without_kafka(lacking)
    kafka = await local.start(tmp_path / "kafka", 3)
    yield kafka
    await kafka.stop()


class Writer:
    """Says 0, 1, 2, … as a relay does: after an error it goes on, with another producer, from the last acknowledged."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.acknowledged: dict[int, int] = {}
        self.failures = 0

    async def run(self) -> None:
        while True:
            with contextlib.suppress(BusError):
                producer = await self.bus.producer("writer")
                try:
                    await self._say(producer)
                finally:
                    self.failures += 1
                    await producer.close()

    async def goes_on(self, reader: Reader) -> None:
        """Until 300 more are acknowledged."""
        wanted = len(self.acknowledged) + 300
        await reader.until(lambda: len(self.acknowledged) >= wanted)

    async def _say(self, producer: Producer) -> None:
        while True:
            values = range(len(self.acknowledged), len(self.acknowledged) + 3)
            first = await producer.append(P0, [Record(b"k", {}, str(value).encode()) for value in values])
            self.acknowledged |= {value: first + index for index, value in enumerate(values)}


async def test_what_was_acknowledged_outlives_every_node(three: local.LocalKafka) -> None:
    bus = await connect(three.address)
    async with asyncio.timeout(30):
        await bus.ensure_topics([TopicSpec("said", 2, 7)])
    reader = Reader(await bus.subscribe("g", "a", ["said"]))
    writer = Writer(bus)
    writing = asyncio.create_task(writer.run())
    for node in range(3):
        await writer.goes_on(reader)
        await three.kill(node)
        await writer.goes_on(reader)
        await three.start_node(node)
    for node in range(3):
        await three.kill(node)
    for node in range(3):
        await three.spawn_node(node)
    await writer.goes_on(reader)
    writing.cancel()
    await asyncio.wait({writing})
    end = (await bus.bounds("said"))[P0].end
    deadline = time.monotonic() + 30
    while reader.positions[P0] < end:
        assert time.monotonic() < deadline
        await reader.step()
    heard = [int(stored.record.value) for stored in reader.got]
    assert [stored.offset for stored in reader.got] == list(range(end))
    assert all(heard[offset] == value for value, offset in writer.acknowledged.items())
    assert list(dict.fromkeys(heard)) == sorted(set(heard)), "said again, but never out of order"
    await reader.subscription.close()
    await bus.close()


async def test_a_member_that_was_thrown_away_joins_again(kafka_address: str) -> None:
    bus = await connect(kafka_address)
    await bus.ensure_topics([TopicSpec("thrown-away", 2, 7)])
    reader = Reader(await bus.subscribe("thrown-away", "a", ["thrown-away"]))
    await reader.until(lambda: len(reader.sought) == 2)
    reader.subscription._drop()
    assert reader.subscription.assigned() == frozenset()
    await reader.step()
    assert not reader.sought
    await reader.until(lambda: len(reader.sought) == 2)
    await reader.subscription.close()
    await bus.close()
