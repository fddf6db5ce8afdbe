"""Brokers that answer slowly for ever, that are something else, or that do not trust us any more: told, bounded in time,
outlived."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.kafka import local
from services.cli import doctor
from spean.bus import Bus, BusError, BusUnavailable, Partition, Record, TopicSpec
from spean.bus.connect import connect
from spean.bus.kafka import KafkaBus
from spean.bus.kafka_access import access_of
from spean.bus.kafka_producer import APPEND_S
from spean.settings import Settings
from tests.builders import eventually
from tests.bus.authority import PASSWORD, Authority
from tests.bus.reader import Reader
from tests.bus.test_kafka_topics import account
from tests.integration.apart import Way

P0 = Partition("slow", 0)
RECORD = Record(b"k", {}, b"{}")
# Every call has a limit of its own below this; a busy machine adds to it.
BOUND_S = 6 * APPEND_S


@pytest.mark.long
async def test_who_takes_connections_and_never_answers_is_told(tmp_path: Path) -> None:
    """In the clear and over TLS; the operator's look at it ends as well."""
    way = Way()
    way.mode = "mute"
    async with way.standing(), asyncio.timeout(BOUND_S):
        address = f"kafka://127.0.0.1:{way.port}"
        secured = Settings(kafka_ca=Authority(tmp_path, "authority").file, bus=address)
        *refusals, finding = await asyncio.gather(
            connect(address), connect(address, secured), doctor._bus(secured), return_exceptions=True
        )
    for refused in refusals:
        assert isinstance(refused, BusUnavailable)
        assert "check SPEAN_BUS" in str(refused)
    assert isinstance(finding, doctor.Finding)
    assert (finding.level, finding.do) == ("wrong", "check SPEAN_BUS, and that the broker is up")


@pytest.mark.kafka
@pytest.mark.long
async def test_a_broker_that_stops_answering_is_told_and_outlived(
    secured: tuple[local.LocalKafka, Authority], tmp_path: Path
) -> None:
    """It still takes connections, as one whose disk hangs. What was acknowledged is there, and the line goes on."""
    kafka, _ = secured
    settings = account(secured, tmp_path, "spean")
    bus = await connect(kafka.address, settings)
    spec = TopicSpec("slow", 1, 7)
    await bus.ensure_topics([spec])
    producer = await bus.producer("writer")
    await producer.append(P0, [RECORD])
    reader = Reader(await bus.subscribe("g-slow", "1", ["slow"]))
    await reader.until(lambda: len(reader.got) == 1)
    kafka.nodes[0].send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(BOUND_S):
            told = await asyncio.gather(
                producer.append(P0, [RECORD]), bus.bounds("slow"), bus.expect_topics([spec], []), bus.producer("another"),
                connect(kafka.address, settings), return_exceptions=True,
            )  # fmt: skip
        assert [type(one) for one in told] == [BusUnavailable] * len(told)
        assert not any(PASSWORD in str(one) for one in told)
    finally:
        kafka.nodes[0].send_signal(signal.SIGCONT)
    await producer.close()
    await eventually(lambda: goes(bus), within_s=BOUND_S)
    await reader.until(lambda: reader.got[-1].record.value == b"last")
    await reader.subscription.close()
    await bus.close()


async def goes(bus: Bus) -> bool:
    """As a relay does: with another producer after every error."""
    try:
        producer = await bus.producer("writer")
        try:
            await producer.append(P0, [Record(b"k", {}, b"last")])
        finally:
            await producer.close()
    except BusUnavailable:
        return False
    return True


@pytest.mark.kafka
async def test_a_certificate_that_ends_while_we_run_is_told(
    secured: tuple[local.LocalKafka, Authority], tmp_path: Path
) -> None:
    kafka, authority = secured
    access = access_of(kafka.address, account(secured, tmp_path, "spean"))
    bus = await KafkaBus.open(access)
    await bus.ensure_topics([TopicSpec("ends", 1, 7)])
    access.options["ssl_context"].load_cert_chain(*authority.signed("ended", lives=timedelta(hours=-1)))
    for call in (bus.producer("writer"), bus.subscribe("g-ends", "1", ["ends"])):
        with pytest.raises(BusError, match=r"no TLS with Kafka at 127.* SPEAN_KAFKA_CERTIFICATE") as refused:
            await call
        assert not isinstance(refused.value, BusUnavailable)
    await bus.close()
