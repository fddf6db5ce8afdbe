"""What must not stop the line on a real Kafka: what is too large, what cannot be read, what was tampered with."""

from __future__ import annotations

import logging
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from fastapi import FastAPI

from services.cli import watching
from spean.bus import MAX_VALUE_BYTES, Partition, Record, TopicSpec, partition_of
from spean.bus.kafka import KafkaBus
from spean.bus.kafka_requests import save_settings
from spean.outbox import insert
from spean.service import PARTITIONS, Service
from tests.builders import eventually
from tests.integration.kit import RELEASED, STOPPED, Kit, Line, going

pytestmark = pytest.mark.kafka
on_kafka = pytest.mark.parametrize("either_address", ["kafka"], indirect=True)


async def said(writer: Kit) -> int:
    found = await writer.value("select count(*) from said")
    assert isinstance(found, int)
    return found


@on_kafka
async def test_what_is_too_large_is_refused_when_it_is_said(either_line: Line, writer: Kit) -> None:
    """Not by the bus, where all that is said later would wait behind it. The largest that is taken gets there."""
    line, writer.db.holder = either_line, either_line.holder
    with pytest.raises(ValueError, match="larger than 65536 bytes"):
        async with writer.db.transaction("test.say") as tx:
            await insert(tx, line.topic, uuid4(), STOPPED, "x" * (MAX_VALUE_BYTES - 1) + "é")
    assert await writer.value("select count(*) from outbox") == 0
    aggregate = uuid4()
    async with writer.db.transaction("test.say") as tx:
        await insert(tx, line.topic, aggregate, STOPPED, "x" * MAX_VALUE_BYTES)
    async with going(line.relay(writer).run()):
        await line.say(writer, aggregate)

        async def both() -> bool:
            return await said(writer) == 2

        await eventually(both, within_s=30)


@on_kafka
async def test_a_topic_that_takes_only_small_messages_is_told_and_mended(
    either_line: Line, writer: Kit, kafka_address: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What is said waits in the database; nothing is lost, and after `spean topics apply` it goes."""
    line = either_line
    assert isinstance(line.bus, KafkaBus)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_address.removeprefix("kafka://"))
    await admin.start()
    await save_settings(admin, line.topic, {"max.message.bytes": "100"})
    await admin.close()
    aggregate = uuid4()
    for _ in range(3):
        await line.say(writer, aggregate)

    async def reason() -> bool:
        return any("max.message.bytes" in getattr(record, "reason", "") for record in caplog.records)

    async def all_said() -> bool:
        return await said(writer) == 3

    async def well() -> bool:
        return await watching._silent(service, ["relay"]) == []

    relay = line.relay(writer)
    service = Service("test", line.source, writer.db, line.bus, FastAPI(), [], {}, {}, relay=relay)
    with caplog.at_level(logging.WARNING):
        async with going(relay.run()):
            await eventually(reason, within_s=30)
            assert await said(writer) == 0
            told = await watching._silent(service, ["relay"])
            assert "what is said waits" in told[0]
            assert "max.message.bytes has been lowered; spean topics apply" in told[0]
            await line.bus.apply_topics([TopicSpec(line.topic, PARTITIONS, 14)])
            await eventually(all_said, within_s=30)
            await eventually(well, within_s=30)
    bounds = (await line.bus.bounds(line.topic))[
        Partition(line.topic, partition_of(str(aggregate).encode(), PARTITIONS))
    ]
    assert bounds.end == 3


@on_kafka
async def test_what_cannot_be_read_is_parked_and_the_rest_flows(
    either_line: Line, reader: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    """A version that this reader does not know yet, and headers that somebody has changed on the way."""
    line, newer, good = either_line, uuid4(), uuid4()
    tampered = {
        "ce_source": "spean/intake/another", "ce_sequence": "7", "ce_type": "org.spean.offer.seen.v1", "ce_id": "canary-5f1c",
        "ce_epoch": "0",
    }  # fmt: skip
    touched = {name: uuid4() for name in tampered}
    await line.append(
        line.event(newer, 1), line.event(newer, 2, "org.spean.packet.released.v99", value=b"{}"), line.event(good, 1)
    )
    await line.append(line.event(newer, 3, RELEASED))
    for name, value in tampered.items():
        whole = line.event(touched[name], 1).record()
        record = Record(whole.key, {**whole.headers, name: value}, whole.value)
        await line.append(record, aggregate=touched[name])
    await line.append(line.event(good, 2))
    with caplog.at_level(logging.INFO):
        async with going(line.consumer(reader).run()):

            async def all_kept() -> bool:
                return await reader.effects(good) == [1, 2] and len(await reader.parked()) == 2 + len(tampered)

            await eventually(all_kept, within_s=30)
    rows = await reader.rows("select aggregate, reason from parked")
    reasons = sorted(row["reason"] for row in rows)
    assert reasons == sorted(
        ["unknown-version", "behind", "wrong-topic", "gap", "wrong-topic", "malformed", "malformed"]
    )
    assert await reader.effects(newer) == [1]
    assert [await reader.effects(one) for one in touched.values()] == [[]] * len(tampered)
    assert "canary" not in caplog.text
