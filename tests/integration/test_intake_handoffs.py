"""Hand-offs over the public API: requested and cancelled."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.cli.client import ApiProblem
from tests.builders import World, eventually
from tests.integration.holder import (  # noqa: F401 (fixtures)
    Case,
    Holder,
    database,
    own_world,
    refused,
    said,
    shared_world,
    waiting,
    withdraw,
)


def _body(world: World, *entries: str, **more: Any) -> dict[str, Any]:
    return {
        "network": world.network, "service_type": "emergency_bed", "urgency": "emergency", "area": "KH-1",
        "members": list(entries), **more,
    }  # fmt: skip


@pytest.fixture
async def case(world: World) -> Case:
    holder = Holder(world)
    return await holder.released(await holder.house(), await world.ready_person())


# --- request ------------------------------------------------------------------------------------------------------


async def test_a_hand_off_is_requested_and_the_network_hears_of_the_work_only(world: World) -> None:
    entry = await world.ready_person(health_notes="asthma")
    made = await world.sender.partner.post("/intake/handoffs", _body(world, entry))
    assert (made["state"], made["places"], made["hand_over_code"]) == ("requested", 1, None)
    (name, data), *_ = await said(world, made["id"])
    assert name == "handoff.requested"
    assert set(data) == {"network", "sender", "group", "urgency", "area", "places", "requested_at"}
    assert data["group"] == "shelter"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"area": "KH-99"}, "unknown-area"),
        ({"need_by": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}, "need-by-past"),
        ({"network": str(uuid4())}, "unknown-network"),
        ({"urgency": "at once"}, "invalid"),
        ({"service_type": "a bed"}, "invalid"),
        ({"members": []}, "invalid"),
        ({"members": [str(uuid4())]}, "party"),
    ],
)
async def test_a_hand_off_that_cannot_be_is_refused(own: World, change: dict[str, Any], code: str) -> None:
    entry = await own.ready_person()
    with refused(code):
        await own.sender.partner.post("/intake/handoffs", _body(own, entry, **change))
    assert (await own.sender.partner.get("/intake/handoffs"))["handoffs"] == []


async def test_a_party_is_of_different_people_with_open_cases_of_ones_own(world: World) -> None:
    entry, without_case = await world.ready_person(), await world.entry()
    await world.consent(without_case, "service")
    await world.consent(without_case, "share_referral")
    other = (await world.organisation("Another post", "border_post", ["intake:send"])).partner
    foreign = (await other.post("/intake/entries", {"channel": "border_post", "area": "KH-1"}))["id"]
    for members in ((entry, entry), (entry, without_case), (entry, foreign)):
        with refused("party"):
            await world.handoff(*members)


async def test_no_hand_off_without_both_consents_and_a_minors_guardian(world: World) -> None:
    guardian = {"relationship": "state_guardian", "expressed": "written"}
    girl = await world.entry(age_years=15)
    await world.consent(girl, "service", guardian=guardian)
    await world.sender.partner.post(f"/intake/entries/{girl}/case")
    with refused("sharing-consent"):
        await world.handoff(girl)
    await world.consent(girl, "share_referral")
    with refused("guardian"):
        await world.handoff(girl)
    await world.consent(girl, "share_referral", guardian=guardian)
    await world.handoff(girl)
    await withdraw(world, girl, "service")
    with refused("service-consent"):
        await world.handoff(girl)


async def test_the_same_request_command_makes_one_hand_off(own: World) -> None:
    body, key = _body(own, await own.ready_person()), str(uuid4())
    first = await own.sender.partner.post("/intake/handoffs", body, key=key)
    assert await own.sender.partner.post("/intake/handoffs", body, key=key) == first
    assert len((await own.sender.partner.get("/intake/handoffs"))["handoffs"]) == 1


async def test_nobody_is_asked_for_twice_at_once_for_the_same_service(own: World) -> None:
    mother, infant = await own.ready_person(), await own.ready_person(age_years=19)
    first = await own.handoff(mother, infant)
    for members in ((mother,), (infant,), (await own.ready_person(), infant)):
        with refused("duplicate"):
            await own.handoff(*members)
    other = await own.handoff(mother, service_type="medium_term_shelter")
    await own.sender.partner.post(f"/intake/handoffs/{first}/cancel")
    again = await own.handoff(mother, infant)
    assert len({first, other, again}) == 3


async def test_of_two_requests_at_once_for_one_person_one_is_made(own: World) -> None:
    entry = await own.ready_person()
    async with database(own) as db:
        async with db.transaction():
            await db.execute("lock table handoff in share mode")  # nobody's is written before all three have begun
            ask = [own.sender.partner.post("/intake/handoffs", _body(own, entry)) for _ in range(3)]
            asking = asyncio.gather(*ask, return_exceptions=True)

            async def all_wait() -> bool:
                return await waiting(db) >= len(ask)

            await eventually(all_wait, within_s=4)
        answers = await asking
    codes = [one.code if isinstance(one, ApiProblem) else "done" for one in answers]
    assert sorted(codes) == ["done", "duplicate", "duplicate"]
    assert len((await own.sender.partner.get("/intake/handoffs"))["handoffs"]) == 1


async def test_what_the_sender_has_ended_stands_in_no_way_though_the_house_has_not(own: World) -> None:
    house, entry = await own.house("Still there"), await own.ready_person()
    handoff = await own.handoff(entry)
    offer = (await own.offer(house))["id"]
    await house.partner.post(f"/referral/offers/{offer}/accept")
    await own.state(handoff, "ready")
    await house.partner.post(f"/referral/offers/{offer}/arrived", {})
    await own.state(handoff, "in-progress")
    with refused("duplicate"):
        await own.handoff(entry)
    await own.sender.partner.post(f"/intake/handoffs/{handoff}/cancel")
    await own.handoff(entry)


async def test_a_withdrawal_beside_a_request_leaves_nothing_to_ask_for(world: World) -> None:
    """Whichever comes first: the request is refused, or its hand-off is stopped."""
    entry = await world.ready_person()
    request = world.sender.partner.post("/intake/handoffs", _body(world, entry))
    made, _ = await asyncio.gather(request, withdraw(world, entry), return_exceptions=True)
    holder = Holder(world)
    house = await holder.house()
    if isinstance(made, dict):
        assert await holder.next_candidate(made["id"], house) is None
        assert [name for name, _ in await said(world, made["id"])][-1] == "disclosure.stopped"


async def test_what_the_network_has_not_taken_is_shown_as_such_after_two_minutes(world: World) -> None:
    handoff = await Holder(world).requested(await world.ready_person())
    async with database(world) as db:
        late = "update handoff set state = 'requested', requested_at = now() - make_interval(secs => $2) where id = $1"
        for seconds, waits in ((110.0, False), (130.0, True)):
            await db.execute(late, handoff, seconds)
            shown = await world.sender.partner.get(f"/intake/handoffs/{handoff}")
            assert shown["not_yet_with_network"] is waits


# --- cancel -------------------------------------------------------------------------------------------------------


async def test_a_cancelled_hand_off_ends_its_packet_and_asks_for_copies(case: Case) -> None:
    await case.sender.post(f"/intake/handoffs/{case.handoff}/cancel")
    assert (await case.said())[-2:] == ["handoff.cancelled", "erasure.requested"]
    assert (await case.seen())["state"] in {"cancelled", "closed"}
    with refused("no-longer-available"):
        await case.packet()


async def test_a_hand_off_that_has_ended_or_is_not_ones_own_is_not_cancelled(case: Case) -> None:
    path = f"/intake/handoffs/{case.handoff}/cancel"
    other = await case.holder.world.organisation("Another post", "border_post", ["intake:send"])
    with refused("not-found"):
        await other.partner.post(path)
    await case.sender.post(path)
    with refused("state"):
        await case.sender.post(path)


async def test_the_same_cancel_command_cancels_once(case: Case) -> None:
    key = str(uuid4())
    first = await case.sender.post(f"/intake/handoffs/{case.handoff}/cancel", key=key)
    assert await case.sender.post(f"/intake/handoffs/{case.handoff}/cancel", key=key) == first
    assert (await case.said()).count("handoff.cancelled") == 1


async def test_a_cancel_on_top_of_an_older_reading_is_refused(case: Case) -> None:
    with refused("version"):
        await case.sender.post(f"/intake/handoffs/{case.handoff}/cancel", headers={"If-Match": '"v1"'})
    version = (await case.seen())["version"]
    await case.sender.post(f"/intake/handoffs/{case.handoff}/cancel", headers={"If-Match": f'"v{version}"'})


async def test_a_kept_answer_to_a_cancel_says_nothing_that_the_gate_would_have_to_allow(own: World) -> None:
    """After arrival the hand-off goes on: what its sender may see then is asked anew, never taken from a kept answer."""
    house, entry = await own.house("Kept answer"), await own.ready_person()
    handoff = await own.handoff(entry)
    offer = (await own.offer(house))["id"]
    await house.partner.post(f"/referral/offers/{offer}/accept")
    await own.state(handoff, "ready")
    await house.partner.tell(offer, "whereabouts", {"meeting_point": "north gate", "address": "secret street"})
    await house.partner.post(f"/referral/offers/{offer}/arrived", {})
    await own.state(handoff, "in-progress")
    answer = await own.sender.partner.post(f"/intake/handoffs/{handoff}/cancel")
    assert (answer["state"], answer["address"], answer["receiver"], answer["hand_over_code"]) == (
        "closed", None, None, None,
    )  # fmt: skip
    async with database(own) as db:
        assert not await db.fetchval("select count(*) from idempotency where body like '%secret street%'")
    # The house still cares for the person: nothing is shut, nobody is asked to erase anything.
    assert [name for name, _ in await said(own, handoff)][-1] == "handoff.cancelled"
    assert (await house.partner.packet(offer))["members"][0]["name"] == "Test Person"
