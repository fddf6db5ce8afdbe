"""Kafka over TLS, with a certificate and a name of ours: a real broker that takes nothing else; and what is said when
somebody is not who they should be."""

from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.kafka import local
from services.cli import doctor
from spean.bus import BusError, Partition, Record, TopicSpec
from spean.bus.connect import connect
from spean.settings import Settings, WrongSettings
from tests.bus.authority import PASSWORD, Authority
from tests.bus.reader import Reader

P0 = Partition("said", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    return tmp_path


def settings(folder: Path, authority: Authority, pair: tuple[Path, Path], **changed: Any) -> Settings:
    given = {
        "kafka_ca": authority.file, "kafka_certificate": pair[0], "kafka_key": pair[1], "kafka_user": "spean",
        "kafka_password_file": folder / "password", "kafka_mechanism": "PLAIN", **changed,
    }  # fmt: skip
    return Settings(**given)


@pytest.mark.kafka
async def test_all_that_we_do_goes_over_tls(secured: tuple[local.LocalKafka, Authority], folder: Path) -> None:
    kafka, authority = secured
    with pytest.raises(BusError, match="speaks TLS: set SPEAN_KAFKA_CA"):  # with nobody in the clear
        await connect(kafka.address)
    bus = await connect(kafka.address, settings(folder, authority, authority.signed("client")))
    await bus.ensure_topics([TopicSpec("said", 1, 7)])
    producer = await bus.producer("writer")
    assert await producer.append(P0, [Record(b"k", {"name": "text"}, b"{}")]) == 0
    await producer.close()
    assert (await bus.read(P0, 0, limit=1))[0].record.value == b"{}"
    reader = Reader(await bus.subscribe("g", "a", ["said"]))
    await reader.until(lambda: bool(reader.got))
    await reader.subscription.commit({P0: 1})
    assert await bus.committed("g", ["said"]) == {P0: 1}
    await reader.subscription.close()
    await bus.close()


@pytest.mark.kafka
async def test_who_is_not_who_they_should_be_is_told_plainly(
    secured: tuple[local.LocalKafka, Authority], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kafka, authority = secured
    stranger = Authority(folder, "stranger")
    (folder / "wrong").write_text("another")
    good = authority.signed("client2")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"kafka_ca": stranger.file}, r"certificate of Kafka at 127.* not to be trusted .*SPEAN_KAFKA_CA"),
        ({"kafka_certificate": None, "kafka_key": None}, "no TLS with Kafka .*SPEAN_KAFKA_CERTIFICATE"),
        (dict(zip(("kafka_certificate", "kafka_key"), stranger.signed("them"), strict=True)), "no TLS with Kafka"),
        ({"kafka_password_file": folder / "wrong"}, "refuses the sign-in: check SPEAN_KAFKA_USER"),
        ({"kafka_mechanism": "SCRAM-SHA-256"}, "SPEAN_KAFKA_MECHANISM"),
    ]
    for changed, told in cases:
        with pytest.raises(BusError, match=told) as refused:
            await connect(kafka.address, settings(folder, authority, good, **changed))
        assert PASSWORD not in str(refused.value)
    finding = await doctor._bus(settings(folder, authority, good, kafka_ca=stranger.file, bus=kafka.address))
    assert (finding.level, "not to be trusted" in finding.found) == ("wrong", True)
    assert PASSWORD not in caplog.text
    assert PASSWORD not in repr(settings(folder, authority, good))


@pytest.mark.parametrize(
    ("of", "told"),
    [({"lives": timedelta(days=-1)}, "expired"), ({"address": "192.0.2.7"}, "not valid for '127.0.0.1'|mismatch")],
    ids=["expired", "another's"],
)
async def test_a_broker_with_the_wrong_certificate_is_not_spoken_to(
    folder: Path, of: dict[str, Any], told: str
) -> None:
    """Kafka itself does not start with such a certificate; so it is whoever stands where a broker should be."""
    authority = Authority(folder, "authority")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.signed("broker", **of))
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    address = f"kafka://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        with pytest.raises(BusError, match=rf"not to be trusted \(.*({told})"):
            await connect(address, settings(folder, authority, authority.signed("client")))
    finally:
        server.close()


async def test_files_that_cannot_be_used_are_named(folder: Path) -> None:
    authority = Authority(folder, "authority")
    pair, other = authority.signed("client"), authority.signed("other")
    old = authority.signed("old", lives=timedelta(hours=-1))
    (folder / "empty").write_text("\n")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"kafka_ca": folder / "none.pem"}, "SPEAN_KAFKA_CA cannot be used"),
        ({"kafka_ca": folder / "password"}, "SPEAN_KAFKA_CA cannot be used"),
        ({"kafka_key": other[1]}, "SPEAN_KAFKA_CERTIFICATE with SPEAN_KAFKA_KEY cannot be used"),
        ({"kafka_certificate": old[0], "kafka_key": old[1]}, "SPEAN_KAFKA_CERTIFICATE has expired, at "),
        ({"kafka_password_file": folder / "none"}, "SPEAN_KAFKA_PASSWORD_FILE cannot be read"),
        ({"kafka_password_file": folder / "empty"}, "holds no password"),
    ]
    for changed, told in cases:
        with pytest.raises(BusError, match=told):
            await connect("kafka://127.0.0.1:1", settings(folder, authority, pair, **changed))
    for wrong in ({"kafka_key": None}, {"kafka_user": ""}, {"kafka_password_file": None}):
        with pytest.raises(WrongSettings, match="belong together"):
            settings(folder, authority, pair, **wrong)
