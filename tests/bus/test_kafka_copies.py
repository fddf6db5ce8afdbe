"""Copies on three brokers: too few are added, and too few in sync are told while what is said waits."""

from __future__ import annotations

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from deploy.kafka import local
from services.cli import doctor
from spean.bus import BusUnavailable, Partition, Record
from spean.bus.connect import connect
from spean.bus.kafka import KafkaBus
from spean.bus.kafka_requests import save_settings
from spean.bus.kafka_topics import IN_SYNC, WAITS
from spean.service import topics
from spean.settings import Settings
from tests.builders import eventually
from tests.bus.test_kafka import three  # noqa: F401 (the fixture)

pytestmark = [pytest.mark.kafka, pytest.mark.long, pytest.mark.timeout(180)]

SPECS = topics(["main"])
P0 = Partition(SPECS[0].name, 0)
HELD = {"min.insync.replicas": "3"}


async def say(bus: KafkaBus, value: bytes) -> str:
    """As a relay does it once; what it was told, or nothing where it was taken."""
    try:
        producer = await bus.producer("writer")
        try:
            await producer.append(P0, [Record(b"k", {}, value)])
        finally:
            await producer.close()
    except BusUnavailable as error:
        return str(error)
    return ""


async def test_too_few_copies_are_told_and_mended(
    three: local.LocalKafka,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = await connect(three.address)
    assert isinstance(bus, KafkaBus)
    await bus.apply_topics(SPECS, copies=1)
    assert await say(bus, b"0") == ""
    assert {(one.what, one.found, one.wanted) for one in await bus.topic_differences(SPECS)} == {
        ("replicas", "1", "3"), ("min.insync.replicas", "1", "2"),
    }  # fmt: skip
    await bus.expect_topics(SPECS, [])
    assert {record.topic for record in caplog.records if "too few copies" in record.getMessage()} == {
        one.name for one in SPECS
    }
    await bus.apply_topics(SPECS)
    assert await bus.topic_differences(SPECS) == []

    admin = AIOKafkaAdminClient(bootstrap_servers=three.address.removeprefix("kafka://"))
    await admin.start()
    await save_settings(admin, P0.topic, HELD)
    await admin.close()
    assert await say(bus, b"1") == ""
    await three.kill(2)

    async def told() -> bool:
        return "only 2 of 3 copies" in await say(bus, b"2")

    await eventually(told, within_s=60)
    waits = [one for one in await bus.topic_differences(SPECS) if one.what == IN_SYNC and one.do.endswith(WAITS)]
    assert [(one.topic, one.found) for one in waits] == [(P0.topic, "2 of 3")]
    finding = await doctor._bus(Settings(bus=three.address))
    assert (finding.level, finding.do) == ("wrong", waits[0].do)
    await three.start_node(2)

    async def taken() -> bool:
        return await say(bus, b"3") == ""

    await eventually(taken, within_s=60)
    values = [stored.record.value for stored in await bus.read(P0, 0, limit=1_000)]
    assert list(dict.fromkeys(values))[:2] == [b"0", b"1"]
    assert values[-1] == b"3"
    await bus.close()
