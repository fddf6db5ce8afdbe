"""Hand-offs over the public API: what their sender sees of them, and may know."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.builders import CATEGORIES, PURPOSES, World, eventually
from tests.integration.holder import (  # noqa: F401 (fixtures)
    Case,
    Holder,
    Pausing,
    Reader,
    database,
    own_world,
    refused,
    settled,
    shared_world,
)

NO_PLACEMENT = [category for category in CATEGORIES if category != "placement"]


@pytest.fixture
async def case(world: World) -> Case:
    holder = Holder(world)
    return await holder.released(await holder.house(), await world.ready_person())


async def test_with_placement_the_sender_sees_where_and_without_it_only_that_somebody_answered(case: Case) -> None:
    await case.packet("PUT", "/whereabouts", {"meeting_point": "north gate", "address": "secret street"})
    shown = await case.seen()
    assert (shown["state"], shown["receiver"], shown["address"]) == ("accepted", case.house.id, "secret street")
    await case.holder.world.consent(case.entries[0], "share_referral", categories=NO_PLACEMENT)
    shown = await case.seen()
    assert (shown["state"], shown["receiver"], shown["address"]) == ("answered", None, None)
    assert shown["meeting_point"] == "north gate"
    assert len(shown["hand_over_code"]) == 6


async def test_the_sender_sees_whether_an_arrival_is_certain_only_where_it_may_know_of_it(own: World) -> None:
    house, entry = await own.house("Unverified arrival"), await own.ready_person()
    handoff = await own.handoff(entry)
    offer = (await own.offer(house))["id"]
    await house.partner.post(f"/referral/offers/{offer}/accept")
    code = (await own.state(handoff, "ready"))["hand_over_code"]
    await house.partner.post(f"/referral/offers/{offer}/arrived", {})
    shown = await own.state(handoff, "in-progress")
    assert (shown["arrival_verified"], shown["hand_over_code"]) == (False, code)
    await house.partner.post(f"/referral/offers/{offer}/verify-arrival", {"code": code})

    async def verified() -> bool:
        shown = await own.sender.partner.get(f"/intake/handoffs/{handoff}")
        return bool(shown["arrival_verified"])

    await eventually(verified)
    await own.consent(entry, "share_referral", categories=NO_PLACEMENT)
    shown = await own.sender.partner.get(f"/intake/handoffs/{handoff}")
    assert (shown["state"], shown["arrival_verified"]) == ("answered", None)


async def test_without_placement_no_number_tells_of_the_arrival_either(own: World) -> None:
    house, entry = await own.house("Silent arrival"), await own.ready_person()
    await own.consent(entry, "share_referral", categories=NO_PLACEMENT)
    handoff = await own.handoff(entry)
    offer = (await own.offer(house))["id"]
    await house.partner.post(f"/referral/offers/{offer}/accept")
    async with database(own) as db:
        await _known_as(db, handoff, "ready")
        await house.partner.packet(offer)
        before = await own.sender.partner.get(f"/intake/handoffs/{handoff}")
        rows = await _told_so_far(own, handoff)
        await house.partner.post(f"/referral/offers/{offer}/arrived", {})
        await _known_as(db, handoff, "in-progress")
    assert before["state"] == "answered"
    assert await own.sender.partner.get(f"/intake/handoffs/{handoff}") == before
    await house.partner.packet(offer)
    assert await _told_so_far(own, handoff) == rows, "no row of its own for what was read after the arrival"
    await house.partner.post(f"/referral/offers/{offer}/outcome", {"outcome": "needs_met"})
    await own.state(handoff, "closed")
    details = await own.sender.partner.get(f"/intake/handoffs/{handoff}/details")
    assert details["details"] == []


async def _told_so_far(own: World, handoff: str) -> list[int]:
    """The numbers of the rows about what was told."""
    await settled(own)
    rows = (await own.sender.partner.get(f"/intake/handoffs/{handoff}/disclosures"))["disclosures"]
    assert {row["stage"] for row in rows} == {"offer", "packet", "placement"}
    return [row["number"] for row in rows]


async def _known_as(db: Any, handoff: str, state: str) -> None:
    async with asyncio.timeout(15):
        while await db.fetchval("select state from handoff where id = $1", handoff) != state:
            await db.execute("select pg_sleep(0.02)")


async def test_who_read_what_is_shown_by_name_only_where_the_sender_may_know(case: Case) -> None:
    stranger = await case.holder.house(agreed=False)
    assert await case.holder.next_candidate(case.handoff, stranger) is None
    await settled(case.holder.world)
    path = f"/intake/handoffs/{case.handoff}/disclosures"
    named = (await case.sender.get(path))["disclosures"]
    assert {row["recipient"] for row in named} >= {case.house.id, stranger.id}
    told = next(row for row in named if row["stage"] == "packet")
    assert "name" in told["allowed"]
    assert told["refused"]["recruiter_notes"] == "consent-category"
    await case.holder.world.consent(case.entries[0], "share_referral", categories=NO_PLACEMENT)
    unnamed = (await case.sender.get(path))["disclosures"]
    assert {row["recipient"] for row in unnamed} == {None, stranger.id}
    assert [row["number"] for row in (await case.sender.get(f"{path}?after={named[0]['number']}"))["disclosures"]] == [
        row["number"] for row in unnamed[1:]
    ]


async def test_the_reasons_do_not_say_either_who_has_the_person(world: World) -> None:
    """A border or an agreement would name the house as well as its name does."""
    holder = Holder(world)
    entry, house = await world.ready_person(health_notes="asthma"), await holder.house(agreed=False)
    agreed = {"categories": [one for one in CATEGORIES if one != "health"], "purposes": PURPOSES}
    await world.admin.post("/intake/rules/agreements", {"sender": world.sender.id, "recipient": house.id, **agreed})
    case = await holder.released(house, entry)
    await case.seen()
    path = f"/intake/handoffs/{case.handoff}/disclosures"

    async def reasons() -> dict[tuple[str, str], str]:
        await settled(world)
        rows = (await case.sender.get(path))["disclosures"]
        return {(row["stage"], field): rule for row in rows for field, rule in row["refused"].items()}

    nobody_back = await reasons()
    assert nobody_back["packet", "health_notes"] == "unsaid"
    assert nobody_back["placement", "receiver"] == "unsaid"
    assert nobody_back["packet", "recruiter_notes"] == "consent-category", "what the person said names nobody"
    back = {"sender": house.id, "recipient": world.sender.id, "categories": CATEGORIES, "purposes": PURPOSES}
    await world.admin.post("/intake/rules/agreements", back)
    assert (await reasons())["packet", "health_notes"] == "agreement"


async def test_reading_where_somebody_is_is_written_down_like_any_other_reading(case: Case) -> None:
    await case.seen()
    await settled(case.holder.world)
    rows = (await case.sender.get(f"/intake/handoffs/{case.handoff}/disclosures"))["disclosures"]
    assert [(row["stage"], row["recipient"]) for row in rows][-1] == ("placement", case.holder.world.sender.id)
    assert set(rows[-1]["allowed"]) == {"receiver", "arrival", "address"}


async def test_why_houses_declined_is_the_senders_to_know(world: World) -> None:
    holder = Holder(world)
    entry = await world.ready_person()
    await world.consent(entry, "share_referral", categories=NO_PLACEMENT)
    case = await holder.released(await holder.house(), entry)
    about = {"organisation": case.house.facts, "referral": case.handoff}
    for kept in ({"decline": "no_capacity", "offer": str(uuid4())}, {"outcome": "needs_met", "offer": case.offer}):
        assert (await holder.ask("detail", {**about, **kept}))["recorded"]
    path = f"/intake/handoffs/{case.handoff}/details"
    assert (await case.sender.get(path))["details"] == [{"kind": "decline", "code": "no_capacity"}]
    await world.consent(entry, "share_referral")
    assert {one["code"] for one in (await case.sender.get(path))["details"]} == {"no_capacity", "needs_met"}
    async with database(world) as db:
        for row in await db.fetch("select sealed from detail where handoff = $1", case.handoff):
            assert b"needs_met" not in row["sealed"]


async def test_a_foreign_hand_off_is_not_found_in_any_view(case: Case) -> None:
    other = (await case.holder.world.organisation("Another post", "border_post", ["intake:send"])).partner
    for view in ("", "/details", "/disclosures"):
        with refused("not-found"):
            await other.get(f"/intake/handoffs/{case.handoff}{view}")
    assert (await other.get("/intake/handoffs"))["handoffs"] == []


async def test_a_page_of_hand_offs_or_offers_takes_no_more_waits_than_one(own: World) -> None:
    world, holder = own, Holder(own)
    case = await holder.released(await holder.house(), await own.ready_person())
    app, token = world.made.services["intake"].app, await case.sender.token()
    cases = [case]

    async def waits() -> tuple[int, int]:
        offers = [{"offer": one.offer, "referral": one.handoff} for one in cases]
        question = {"organisation": case.house.facts, "offers": offers}
        page = Reader(app, "POST", "/questions/readable-offers", holder.question_token(), question)
        return await _waits(Reader(app, "GET", "/handoffs", token)), await _waits(page)

    first, one = await waits(), await waits()
    cases += [
        await holder.released(case.house, await world.ready_person(), await world.ready_person()) for _ in range(4)
    ]
    first_of_many, many = await waits(), await waits()
    for page in (0, 1):
        assert many[page] <= one[page] + 3
        assert first_of_many[page] <= first[page] + 6, "in two transactions"


async def _waits(reader: Reader) -> int:
    async def sent(_: bytes) -> None:
        return None

    counting = Pausing(reader.run(sent), at=0)
    assert await counting == 200
    return counting.passed
