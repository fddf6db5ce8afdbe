"""Reviewed rules over the public API: added with dates, ended rather than edited, and what their end does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.intake.cases.fields import OFFER_FIELDS, PACKET_FIELDS
from tests.builders import CATEGORIES, PURPOSES, World, eventually
from tests.integration.holder import (
    Case,
    Holder,
    database,
    refused,
    shared_world,  # noqa: F401 (fixtures)
)


def _agreement(sender: str, recipient: str, **more: Any) -> dict[str, Any]:
    return {"sender": sender, "recipient": recipient, "categories": CATEGORIES, "purposes": PURPOSES, **more}


BODIES: dict[str, dict[str, Any]] = {
    "need-to-know": {"group": "livelihood", "stage": "offer", "fields": ["needs"]},
    "agreements": _agreement(str(uuid4()), str(uuid4())),
    "corridors": {"from_country": "VN", "to_country": "LA", "categories": ["health"], "legal_basis": "sample"},
}


def _in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def _listed(world: World, kind: str, rule: str) -> dict[str, Any]:
    rules = (await world.admin.get(f"/intake/rules/{kind}"))["rules"]
    return next(one for one in rules if one["id"] == rule)


@pytest.mark.parametrize("kind", BODIES)
async def test_a_rule_is_added_ended_and_stays_readable(world: World, kind: str) -> None:
    rule = (await world.admin.post(f"/intake/rules/{kind}", BODIES[kind]))["id"]
    assert (await _listed(world, kind, rule))["valid_until"] is None
    await world.admin.post(f"/intake/rules/{kind}/{rule}/end")
    assert (await _listed(world, kind, rule))["valid_until"] is not None
    with refused("not-found"):
        await world.admin.post(f"/intake/rules/{kind}/{rule}/end")


@pytest.mark.parametrize("kind", BODIES)
async def test_the_same_rule_command_adds_and_ends_once(world: World, kind: str) -> None:
    key, end_key = str(uuid4()), str(uuid4())
    first = await world.admin.post(f"/intake/rules/{kind}", BODIES[kind], key=key)
    assert await world.admin.post(f"/intake/rules/{kind}", BODIES[kind], key=key) == first
    path = f"/intake/rules/{kind}/{first['id']}/end"
    assert await world.admin.post(path, key=end_key) == await world.admin.post(path, key=end_key)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("need-to-know", {"group": "a group of next year"}),
        ("need-to-know", {"fields": ["shoe_size"]}),
        ("need-to-know", {"fields": []}),
        ("need-to-know", {"stage": "later"}),
        ("need-to-know", {"network": "the next one"}),
        ("agreements", {"categories": ["shoes"]}),
        ("agreements", {"purposes": []}),
        ("agreements", {"valid_from": _in(60), "valid_until": _in(30)}),
        ("corridors", {"from_country": "Viet Nam"}),
        ("corridors", {"legal_basis": ""}),
    ],
)
async def test_a_rule_that_cannot_be_is_refused(world: World, kind: str, change: dict[str, Any]) -> None:
    with refused("invalid"):
        await world.admin.post(f"/intake/rules/{kind}", {**BODIES[kind], **change})


async def test_rules_are_for_who_reviews_them(world: World) -> None:
    for kind, body in BODIES.items():
        with refused("scope"):
            await world.sender.partner.post(f"/intake/rules/{kind}", body)
        with refused("scope"):
            await world.sender.partner.get(f"/intake/rules/{kind}")


async def _with_a_dated_agreement(world: World, **dates: str) -> tuple[Case, str]:
    """A case whose agreement runs between these dates, and the agreement."""
    holder = Holder(world)
    house = await holder.house(agreed=False)
    rule = (await world.admin.post("/intake/rules/agreements", _agreement(world.sender.id, house.id, **dates)))["id"]
    handoff = await holder.requested(await world.ready_person())
    return Case(holder, house, [], handoff), rule


async def test_a_rule_stands_from_its_first_to_its_last_moment(world: World) -> None:
    not_yet, _ = await _with_a_dated_agreement(world, valid_from=_in(60))
    assert await not_yet.holder.next_candidate(not_yet.handoff, not_yet.house) is None
    now, _ = await _with_a_dated_agreement(world, valid_from=_in(-60), valid_until=_in(60))
    assert await now.holder.next_candidate(now.handoff, now.house) == now.house.id
    past, _ = await _with_a_dated_agreement(world, valid_from=_in(-60), valid_until=_in(-30))
    assert await past.holder.next_candidate(past.handoff, past.house) is None


async def _told(case: Case) -> None:
    async def told() -> bool:
        return (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]

    await eventually(told)


async def test_an_agreement_that_ends_stops_who_was_told_by_it_and_nobody_else(world: World) -> None:
    case, rule = await _with_a_dated_agreement(world)
    assert await case.holder.next_candidate(case.handoff, case.house) == case.house.id
    await case.packet()
    other = await case.holder.released(await case.holder.house(), await world.ready_person())
    before = await other.said()
    await world.admin.post(f"/intake/rules/agreements/{rule}/end")
    assert (await case.packet())["members"] == [{}]
    await _told(case)
    assert await other.said() == before
    assert (await other.packet())["members"][0]["name"] == "Test Person"


async def test_a_rule_that_ends_by_its_date_is_told_by_the_clock(world: World) -> None:
    case, rule = await _with_a_dated_agreement(world, valid_until=_in(8))
    assert await case.holder.next_candidate(case.handoff, case.house) == case.house.id
    await case.packet()
    await _told(case)
    assert (await case.packet())["members"] == [{}]
    async with database(world) as db:
        assert not await db.fetchval("select count(*) from due where subject = $1", rule)


async def test_a_rule_beside_which_another_stands_ends_without_a_word(world: World) -> None:
    case, rule = await _with_a_dated_agreement(world)
    await world.admin.post("/intake/rules/agreements", _agreement(world.sender.id, case.house.id))
    assert await case.holder.next_candidate(case.handoff, case.house) == case.house.id
    await case.packet()
    before = await case.said()
    await world.admin.post(f"/intake/rules/agreements/{rule}/end")

    async def looked_at() -> bool:
        async with database(world) as db:
            return not await db.fetchval("select count(*) from due where subject = $1", rule)

    await eventually(looked_at)
    assert await case.said() == before


# --- a rule of one network ----------------------------------------------------------------------------------------


async def _other_network(world: World) -> str:
    """A network beside the world's own, which the sender is in too, and for which no rule was reviewed."""
    body = {"name": "Another network", "coordinator": world.coordinator.id, "sample": True}
    network = str((await world.admin.post("/referral/networks", body))["id"])
    await world.admin.post(f"/referral/networks/{network}/members", {"organisation": world.sender.id})
    world.sender.partner._until = 0.0  # a token names the networks of its organisation: ask for a new one
    return network


async def _need(world: World, stage: str, fields: tuple[str, ...], network: str | None) -> str:
    body = {"network": network, "group": "shelter", "stage": stage, "fields": fields}
    return str((await world.admin.post("/intake/rules/need-to-know", body))["id"])


async def test_a_rule_of_one_network_opens_nothing_in_another(world: World) -> None:
    holder, network = Holder(world), await _other_network(world)
    house = await holder.house()
    here = Case(holder, house, [], await holder.requested(await world.ready_person()))
    there = Case(holder, house, [], await holder.requested(await world.ready_person(), network=network))
    assert await holder.next_candidate(here.handoff, house) == house.id
    assert await holder.next_candidate(there.handoff, house) is None
    rows = (await here.sender.get(f"/intake/handoffs/{there.handoff}/disclosures"))["disclosures"]
    assert {rule for row in rows for rule in row["refused"].values()} == {"need-to-know"}

    offer = await _need(world, "offer", OFFER_FIELDS, network)
    assert (await _listed(world, "need-to-know", offer))["network"] == network
    assert await holder.next_candidate(there.handoff, house) == house.id
    assert (await there.packet())["members"] == [{}], "what a packet needs was reviewed for the other network only"
    assert (await here.packet())["members"][0]["name"] == "Test Person"
    await _need(world, "packet", ("name",), network)
    assert (await there.packet())["members"] == [{"name": "Test Person"}]
    assert "age_years" in (await here.packet())["members"][0]


async def test_a_rule_of_one_network_that_ends_stops_nobody_in_another(world: World) -> None:
    holder, network = Holder(world), await _other_network(world)
    house = await holder.house()
    rules = [await _need(world, "offer", OFFER_FIELDS, network), await _need(world, "packet", PACKET_FIELDS, network)]
    here = await holder.released(house, await world.ready_person())
    there = Case(holder, house, [], await holder.requested(await world.ready_person(), network=network))
    assert await holder.next_candidate(there.handoff, house) == house.id
    await there.packet()
    before = await here.said()
    await world.admin.post(f"/intake/rules/need-to-know/{rules[1]}/end")
    assert (await there.packet())["members"] == [{}]
    assert (await here.packet())["members"][0]["name"] == "Test Person"
    await _told(there)
    assert await here.said() == before


async def test_a_rule_of_no_network_counts_in_every_one(world: World) -> None:
    holder, network = Holder(world), await _other_network(world)
    house, entry = await holder.house(), await world.ready_person()
    handoff = await holder.requested(entry, network=network)
    rule = await _need(world, "offer", OFFER_FIELDS, None)
    try:
        assert (await _listed(world, "need-to-know", rule))["network"] is None
        assert await holder.next_candidate(handoff, house) == house.id
    finally:  # the other tests of this installation have rules of their own networks
        await world.admin.post(f"/intake/rules/need-to-know/{rule}/end")
    assert await holder.next_candidate(handoff, house) is None
