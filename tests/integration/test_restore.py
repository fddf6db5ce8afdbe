"""A database is put back from a backup while the log went on, each of the three in turn, on both buses: what was stopped
stays stopped and who was shut out stays out, what others had accepted stands, nobody is told twice, and the work goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from deploy.kafka import local
from services.cli import backup
from spean.service import topics
from tests.builders import eventually
from tests.conftest import without_kafka
from tests.integration.closing import Closing
from tests.integration.forgetful import Forgetful, forgetful
from tests.integration.holder import refused

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
async def broker(workspace: Path) -> AsyncIterator[str]:
    """Of its own: its topics are everybody's."""
    if (lacking := local.missing()) is not None:
        without_kafka(lacking)
    kafka = await local.start(workspace / f"forgetful-{uuid4().hex[:6]}", 1)
    yield kafka.address
    await kafka.stop()


@pytest.fixture(params=["postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
def bus(request: pytest.FixtureRequest) -> str:
    """The address of each bus in turn; empty is the one in PostgreSQL."""
    return "" if request.param == "postgres" else request.getfixturevalue("broker")


@pytest.fixture
async def it(bus: str, workspace: Path) -> AsyncIterator[Forgetful]:
    async with forgetful(workspace / f"it-{uuid4().hex[:6]}", bus) as made:
        yield made
    if bus:
        admin = AIOKafkaAdminClient(bootstrap_servers=bus.removeprefix("kafka://"))
        await admin.start()
        names = {spec.name for spec in topics([made.settings.holder])}
        await admin.delete_topics(list(names))

        async def gone() -> bool:
            return not names & set(await admin.list_topics())

        await eventually(gone, within_s=60)
        await admin.close()


async def nothing() -> None:
    pass


async def lost(it: Forgetful, service: str, folder: Path, also: Callable[[], Awaitable[None]] = nothing) -> int:
    """Up to the restored start; `also`: what happens in the lost minutes, too. Returns how many mails had gone out by then."""
    await it.lives_before()
    assert await it.judged() == []
    await backup.save(it.settings, folder, "data")
    await it.lives_on()
    await also()
    assert await it.judged() == []
    mails = await it.told()
    taken = await it.loses(service, folder)
    assert taken.events
    assert taken.unclear == []
    await it.start()
    return mails


async def still_stands(it: Forgetful) -> None:
    """What is true whichever database was lost."""
    known, house, sender = it.known, it.house.partner, it.world.sender.partner
    packet = await house.packet(known["stopped offer"])
    assert packet["members"] == [{}], "sharing was withdrawn"
    with refused("erased"):
        await sender.get(f"/intake/entries/{known['erased']}")
    assert [row["state"] for row in await it.rows("referral", "select state from referral where id = $1",
                                                  UUID(known["arrived hand-off"]))] == ["in-progress"]  # fmt: skip
    place = (await house.get("/referral/places"))["places"][0]
    assert (place["held"], place["staying"]) == (1, 1)
    for service in ("intake", "referral", "notify"):
        again = "select aggregateid, sequence from said group by 1, 2 having count(*) > 1"
        assert await it.rows(service, again) == []
        assert await it.rows(service, "select reason from parked") == []


async def goes_on(it: Forgetful) -> None:
    handoff = await it.world.handoff(await it.world.ready_person())

    async def offered() -> str | None:
        offers = (await it.house.partner.get("/referral/offers?state=sent&state=seen"))["offers"]
        mine = [one["id"] for one in offers if one["content"]["readable"] and one["id"] != it.known["late offer"]]
        return mine[0] if mine else None

    offer = await eventually(offered, within_s=30)
    await it.house.partner.post(f"/referral/offers/{offer}/accept")
    shown = await it.world.state(handoff, "ready", within_s=30)
    await it.house.partner.packet(offer)
    await it.house.partner.post(f"/referral/offers/{offer}/arrived", {"code": shown["hand_over_code"]})
    await it.world.state(handoff, "in-progress")


async def test_the_network(it: Forgetful, workspace: Path) -> None:
    access = await Closing.of(it)
    mails = await lost(it, "referral", workspace / f"backup-{uuid4().hex[:6]}", access.meanwhile)
    assert await it.judged() == []
    await access.stays_shut()
    await access.administrators_go_on()
    await still_stands(it)
    escalated = {
        str(row["id"]) for row in await it.rows("referral", "select id from referral where escalated = 'restored'")
    }
    assert it.known["arrived hand-off"] in escalated
    assert await it.told() == mails + len(escalated), "the coordinator is told of each, and nobody of anything else"
    late = (await it.house.partner.get("/referral/offers?state=sent&state=seen"))["offers"]
    assert [one["id"] for one in late] == [it.known["late offer"]], "the open offer is the one that the house saw"
    await it.house.partner.post(f"/referral/offers/{it.known['late offer']}/accept")
    await it.world.state(it.known["late hand-off"], "ready")
    await goes_on(it)
    assert await it.judged() == []


async def test_the_holder(it: Forgetful, workspace: Path) -> None:
    mails = await lost(it, "intake", workspace / f"backup-{uuid4().hex[:6]}")
    assert await it.judged() == []
    await still_stands(it)
    sender, known = it.world.sender.partner, it.known
    fences = "select sharing_shut from fence where entry = $1"
    assert await it.rows("intake", fences, UUID(known["stopped"])) == [{"sharing_shut": True}]
    runs = "select id from agreement where valid_until is null and id = any($1)"
    rules, bases = (
        [UUID(known[name]) for name in names] for names in (("rule", "other rule"), ("basis", "other basis"))
    )
    assert await it.rows("intake", runs, rules) == [{"id": rules[1]}]
    in_force = "select id from basis where state = 'in_force' and id = any($1)"
    assert await it.rows("intake", in_force, bases) == [{"id": bases[1]}]
    packets = await it.rows("intake", "select erasure from packet where offer = $1", UUID(known["stopped offer"]))
    assert packets == [{"erasure": "requested"}]
    await it.house.partner.answer_for_copy(known["stopped offer"], "erased")
    assert (await it.house.partner.packet(known["arrived offer"]))["members"][0]["name"] == "Person arrived"
    # Nobody knows any more who the late hand-off is for: it waits for its sender, and nothing is told of nobody.
    shown = await it.world.state(known["late hand-off"], "on-hold", within_s=30)
    with refused("party"):
        await sender.post(f"/intake/handoffs/{shown['id']}/ask-again")
    assert await it.told() == mails
    await sender.post(f"/intake/handoffs/{shown['id']}/cancel")
    await it.world.state(known["late hand-off"], "cancelled")
    await goes_on(it)
    assert await it.judged() == []


async def test_telling(it: Forgetful, workspace: Path) -> None:
    mails = await lost(it, "notify", workspace / f"backup-{uuid4().hex[:6]}")
    assert await it.judged() == []
    await still_stands(it)
    assert await it.told() == mails
    await goes_on(it)
    assert await it.judged() == []
