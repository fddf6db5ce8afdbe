"""Topics on a real Kafka: made, mended, checked; and permissions: each service does its work, and is refused everything
else."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.kafka import local
from services.cli import doctor
from services.cli import topics as commands
from services.cli.installation import Installation
from spean.bus import BusError, Partition, Record, TopicSpec, Use, kafka_acls
from spean.bus.connect import connect
from spean.bus.kafka import KafkaBus
from spean.bus.kafka_requests import Acl
from spean.bus.kafka_topics import more_copies
from spean.service import PARTITIONS, topics, use_of, uses
from spean.settings import Settings, WrongSettings
from tests.bus.authority import PASSWORD, Authority
from tests.bus.reader import Reader

HOLDERS = ["main", "other"]
RECORD = Record(b"k", {"name": "text"}, b"{}")
Secured = tuple[local.LocalKafka, Authority]


def told(differing: Iterable[Any]) -> dict[tuple[str, str], tuple[str, str]]:
    return {(one.topic, one.what): (one.found, one.wanted) for one in differing}


@asynccontextmanager
async def bus_of(kafka_address: str, settings: Settings | None = None) -> AsyncIterator[KafkaBus]:
    bus = await connect(kafka_address, settings)
    assert isinstance(bus, KafkaBus)
    try:
        yield bus
    finally:
        await bus.close()


@pytest.mark.kafka
async def test_apply_makes_and_mends_and_check_tells(kafka_address: str) -> None:
    """Made by hand with everything wrong, one of them with a record in it."""
    specs = [TopicSpec(f"apply-{name}", 4, 14) for name in ("missing", "grows", "held", "large")]
    wrong = {"cleanup.policy": "compact", "retention.ms": "1000", "max.message.bytes": "4000",
             "compression.type": "zstd", "unclean.leader.election.enable": "true", "min.insync.replicas": "3"}  # fmt: skip
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_address.removeprefix("kafka://"))
    await admin.start()
    made = [
        NewTopic(f"apply-{name}", count, 1, topic_configs=wrong)
        for name, count in (("grows", 2), ("held", 2), ("large", 8))
    ]
    await admin.create_topics(made)
    await admin.close()
    async with bus_of(kafka_address) as bus:
        await bus.apply_topics([TopicSpec("apply-held", 2, 14)])
        producer = await bus.producer("test")
        await producer.append(Partition("apply-held", 0), [RECORD])
        await producer.close()
        found = told(await bus.topic_differences(specs))
        assert found["apply-missing", "topic"] == ("missing", "there")
        assert found["apply-grows", "partitions"] == ("2", "4")
        settings = {"cleanup.policy", "retention.ms", "max.message.bytes", "compression.type",
                    "unclean.leader.election.enable", "message.timestamp.type"}  # fmt: skip
        assert {what for topic, what in found if topic == "apply-grows"} == {"partitions", *settings}
        assert {what for topic, what in found if topic == "apply-held"} == {"partitions"}
        with pytest.raises(
            BusError, match=r"topic apply-missing is missing; topic apply-grows has 2 partitions, not 4.*apply mends"
        ):
            await bus.expect_topics(specs, [])
        changed = told(await bus.apply_topics(specs))
        assert changed == {
            at: how
            for at, how in found.items()
            if at not in {("apply-held", "partitions"), ("apply-large", "partitions")}
        }
        left = await bus.topic_differences(specs)
        assert told(left) == {("apply-held", "partitions"): ("2", "4"), ("apply-large", "partitions"): ("8", "4")}
        assert all("docs/kafka.md" in one.do for one in left)
        assert len(await bus.bounds("apply-grows")) == 4
        assert await bus.apply_topics(specs[:2]) == []
        await bus.expect_topics(specs[:2], [])
        with pytest.raises(BusError, match="3 copies of each topic need as many brokers, and Kafka has 1 now"):
            await bus.apply_topics([TopicSpec("apply-copies", 1, 14)], copies=3)
        assert told(await bus.topic_differences(specs[:1], copies=3))["apply-missing", "replicas"] == ("1", "3")


@pytest.mark.kafka
async def test_doctor_tells_what_is_missing(kafka_address: str) -> None:
    """Topics of a holder that nobody has made any for."""
    finding = await doctor._bus(Settings(bus=kafka_address, holder="nobody"))
    assert finding.level == "wrong"
    assert "spean.handoff.nobody: topic missing, should be there" in finding.found
    assert "spean topics apply mends it" in finding.do


def test_copies_are_added_where_the_least_is_kept() -> None:
    """The first one of each partition leads, so it stays the first."""
    assert more_copies([[1], [1], [2, 3, 1]], [1, 2, 3], 3) == {0: [1, 2, 3], 1: [1, 2, 3]}
    assert more_copies([[1], [1]], [1, 2, 3], 2) == {0: [1, 2], 1: [1, 3]}
    assert more_copies([[1, 2, 3]], [1, 2, 3], 2) == {}


async def test_services_do_what_the_catalogue_says(installed: tuple[Installation, Settings]) -> None:
    """So the permissions that follow from it are what they need."""
    made, settings = installed
    for name, service in made.services.items():
        use = use_of(name, settings.holder, [settings.holder])
        assert (use.group, use.reads) == (service.group, frozenset(service.reads))


def account(secured: Secured, folder: Path, name: str, **more: Any) -> Settings:
    """Settings of whoever signs in with that name."""
    _, authority = secured
    certificate, key = authority.signed("client")
    (folder / "password").write_text(PASSWORD)
    return Settings(
        kafka_ca=authority.file, kafka_certificate=certificate, kafka_key=key, kafka_user=name,
        kafka_password_file=folder / "password", kafka_mechanism="PLAIN" if name == "spean" else "SCRAM-SHA-512", **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
async def permitted(secured: Secured, tmp_path_factory: pytest.TempPathFactory) -> Secured:
    """Topics and permissions of two holders are applied; before, `stranger` could do nothing and notify too much."""
    kafka, _ = secured
    wanted = kafka_acls.wanted(uses(HOLDERS), {})
    surplus = Acl("User:spean-notify", "WRITE", "topic", "spean.", "prefixed")
    async with bus_of(kafka.address, account(secured, tmp_path_factory.mktemp("admin"), "spean")) as bus:
        await bus.apply_topics(topics(HOLDERS))
        await bus.apply_acls([surplus])
        before = await bus.apply_acls(wanted)
        assert (set(before.missing), before.surplus) == (wanted, (surplus,))
        assert await bus.acl_report(wanted) == kafka_acls.AclReport(kept=True)
    return secured


def denied(error: BusError) -> bool:
    """And not something else."""
    return "lacks a right; spean topics apply" in str(error) or "may not see it" in str(error)


async def may_write(bus: KafkaBus, topic: str) -> bool:
    try:
        producer = await bus.producer("test")
        try:
            await producer.append(Partition(topic, 0), [RECORD])
        finally:
            await producer.close()
    except BusError as error:
        return not denied(error)
    return True


async def may_read(bus: KafkaBus, topic: str) -> bool:
    try:
        return bool(await bus.read(Partition(topic, 0), 0, limit=1))
    except BusError as error:
        return not denied(error)


@pytest.mark.kafka
async def test_each_service_does_its_work_and_nothing_else(permitted: Secured, tmp_path: Path) -> None:
    """Every account, on every topic: tried, not looked up."""
    kafka, _ = permitted
    names = sorted(spec.name for spec in topics(HOLDERS))
    async with bus_of(kafka.address, account(permitted, tmp_path, "spean")) as bus:
        for name in names:
            assert await may_write(bus, name)  # so that there is something to read
    for use in [*uses(HOLDERS), Use("stranger", frozenset(), frozenset())]:
        async with bus_of(kafka.address, account(permitted, tmp_path, use.group)) as bus:
            wrote = {name for name in names if await may_write(bus, name)}
            read = {name for name in names if await may_read(bus, name)}
            assert (wrote, read) == (use.writes, use.reads | use.writes), use.group
            for other in uses(HOLDERS):
                reads = other.reads or frozenset(names)
                needs = Use(other.group, other.writes, reads)
                specs = [spec for spec in topics(HOLDERS) if spec.name in needs.reads | needs.writes]
                if other == use:
                    await bus.expect_topics(specs, [other])
                else:
                    with pytest.raises(BusError, match="this account may not") as refused:
                        await bus.expect_topics(specs, [other])
                    assert PASSWORD not in str(refused.value)


@pytest.mark.kafka
async def test_a_service_has_its_own_group_and_no_other(permitted: Secured, tmp_path: Path) -> None:
    kafka, _ = permitted
    async with bus_of(kafka.address, account(permitted, tmp_path, "spean-notify")) as bus:
        own = Reader(await bus.subscribe("spean-notify", "1", ["spean.referral"]))
        await own.until(lambda: len(own.sought) == PARTITIONS)
        await own.subscription.close()
        other = Reader(await bus.subscribe("spean-referral", "1", ["spean.referral"]))
        with pytest.raises(BusError, match="lacks a right; spean topics apply"):
            await asyncio.wait_for(other.until(lambda: False), 20)
        await other.subscription.close()


@pytest.mark.kafka
async def test_the_commands(permitted: Secured, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what is left to do for a holder that is new; the last as an operator runs it."""
    kafka, _ = permitted
    three = account(permitted, tmp_path, "spean", bus=kafka.address, holders=dict.fromkeys([*HOLDERS, "third"], ""))
    wanted = commands._wanted(three, None, ["spean-notify=User:spean-notify"], None)
    differing, acls = await commands._checked(three, wanted)
    assert [(one.topic, one.what) for one in differing] == [("spean.handoff.third", "topic")]
    assert {one.principal for one in acls.missing} == {
        f"User:spean-{name}" for name in ("intake-third", "referral", "notify")
    }
    printed = "\n".join(commands.commands(three, wanted))
    assert "--topic spean.handoff.third --partitions 6 --replication-factor 3" in printed
    assert "--allow-principal User:spean-intake-third --operation Write --topic spean.handoff.third" in printed
    for name, principal in (("spean-nobody", "User:x"), ("spean-notify", "User:*"), ("spean-notify", "")):
        with pytest.raises(WrongSettings, match="--account"):
            commands._wanted(three, None, [f"{name}={principal}"], None)

    changed, before, left, now = await commands._applied(three, wanted)
    commands._tell_changes(changed, before)
    commands._show(left, now, as_json=False)
    said = capsys.readouterr().out
    assert "changed  spean.handoff.third: topic was missing, is there" in said
    assert "given    User:spean-intake-third WRITE on topic spean.handoff.third" in said
    assert "ok  every service may do its work, and nothing else" in said
    # Asked without the third: what its service may do is somebody else's.
    two = three.model_copy(update={"holders": dict.fromkeys(HOLDERS, "")})
    code, said = await spean(two, "topics", "check")
    assert code == 1, said
    assert "too much  User:spean-notify READ on topic spean.handoff.third" in said
    assert "not ours  User:spean-intake-third READ on topic spean.referral" in said


async def spean(settings: Settings, *words: str) -> tuple[int, str]:
    """The command line as a process; its exit code and all it says."""
    environment = {
        f"SPEAN_{name.upper()}": json.dumps(value) if name == "holders" else str(value)
        for name, value in settings.model_dump(exclude_unset=True).items()
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.cli", *words, env=environment, stdout=PIPE, stderr=STDOUT
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode is not None
    assert PASSWORD not in said
    assert "Traceback" not in said
    return process.returncode, said
