"""Whom the network asks, in which order and how long; who has it when nobody is left; and what a stop, a deadline and a
suspension change."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from services.cli.client import ApiProblem
from services.referral.referrals import store
from tests.builders import Organisation, eventually
from tests.integration.town import Town


async def _decline(house: Organisation, offer: str, reason: str = "no_capacity") -> None:
    await house.partner.post(f"/referral/offers/{offer}/decline", {"reason": reason})


async def _seen_by(house: Organisation, offer: str) -> dict[str, Any]:
    found: dict[str, Any] = await house.partner.get(f"/referral/offers/{offer}")
    return found


# --- the next, and the next ------------------------------------------------------------------------------------------


async def test_declined_means_the_next_and_none_left_means_a_coordinator(town: Town) -> None:
    handoff = await town.handoff(await town.ready_person())
    first = await town.offer(town.first)
    await _decline(town.first, first["id"], "house_conflict")
    second = await town.offer(town.second)
    assert await _seen_by(town.first, first["id"]) | {"version": 0} == {
        "id": first["id"], "state": "rejected", "referral_state": "cancelled", "speak_with_person": False, "version": 0,
    }, "what became of it is not told to those who are out of it"  # fmt: skip
    await _decline(town.second, second["id"])
    found = await town.escalation(handoff, reason="no-candidate", state="unroutable")
    assert [(one["organisation"], one["state"], one["reason"]) for one in found["asked"]] == [
        (town.first.id, "rejected", "not-suitable"),
        (town.second.id, "rejected", "full"),
    ]
    assert await town.said(handoff, "referral.unroutable") == 1
    await town.state(handoff, "unroutable")
    again = await town.coordinator.partner.post(f"/referral/escalations/{handoff}/ask-again")
    assert again["state"] == "requested"
    assert (await town.offer(town.first))["id"] != first["id"], "asked again from the top"


async def test_no_answer_means_the_next_and_a_silent_house_is_not_asked_for_its_other_places(town: Town) -> None:
    other = await town.join(town.first, 4)
    handoff = await town.handoff(await town.ready_person())
    offer = await town.offer(town.first)
    assert offer["place"] == other, "the freest first"
    await town.time_is_up(handoff)
    assert (await town.offer(town.second))["place"] == town.places[town.second.id]
    shown = await _seen_by(town.first, offer["id"])
    assert (shown["state"], shown["referral_state"]) == ("expired", "cancelled")
    assert (await town.offer_row(offer["id"]))["reason"] == "no-answer"


async def test_a_late_answer_is_refused_before_the_clock_has_been_here(town: Town) -> None:
    handoff = await town.handoff(await town.ready_person())
    offer = await town.offer(town.first)
    async with town.records() as tx:
        await tx.conn.execute("update offer set answer_by = now() where id = $1", UUID(offer["id"]))
    for answer, body in (("accept", None), ("decline", {"reason": "no_capacity"})):
        with pytest.raises(ApiProblem, match="no-longer-available"):
            await town.first.partner.post(f"/referral/offers/{offer['id']}/{answer}", body)
    assert (await town.referral(handoff))["state"] == "offered"
    assert (await town.offer_row(offer["id"]))["state"] == "seen"
    assert (await town.place(town.first))["held"] == 0


async def test_the_fifty_first_candidate_is_asked_when_the_gate_refuses_fifty(town: Town) -> None:
    """One organisation without an agreement has 120 places with more room than anybody else."""
    crowd = await town.organisation("Crowd", "shelter", ["referral:receive"])
    await town.join(crowd, 9)
    async with town.records() as tx:
        await tx.conn.execute(
            """
            insert into place (id, organisation, network, service_group, service_types, area, eligibility, usable)
            select gen_random_uuid(), organisation, network, service_group, service_types, area, eligibility, usable
            from place, generate_series(1, 119) where id = $1
            """,
            UUID(town.places[crowd.id]),
        )
    handoff = await town.handoff(await town.ready_person())
    assert (await town.offer(town.first))["place"] == town.places[town.first.id]
    assert (await town.referral(handoff))["state"] == "offered"


async def test_nearest_first_then_the_freest(town: Town) -> None:
    elsewhere = [("TH-27", 9), ("KH-2", 5), ("KH-1", 1), ("KH-12", 7)]
    ids = {}
    for area, room in elsewhere:
        house = await town.organisation(f"House {area}", "shelter", ["referral:receive"])
        ids[await town.join(house, room, area=area)] = (area, room)
    for house, room in ((town.first, 3), (town.second, 2)):
        ids[town.places[house.id]] = ("KH-1", room)
    clinic = await town.organisation("Clinic", "clinic", ["referral:receive"])
    await town.join(clinic, 9, service="emergency_care")
    handoff = await town.handoff(await town.ready_person())
    await town.offer(town.first)
    async with town.records() as tx:
        referral = await store.find_referral(tx, UUID(handoff))
        found = [ids[str(one.place)] for one in await store.candidates(tx, referral, 50)]
        assert found == [("KH-1", 3), ("KH-1", 2), ("KH-1", 1), ("KH-12", 7), ("KH-2", 5), ("TH-27", 9)]
        assert len(await store.candidates(tx, referral, 2)) == 2
        none = await tx.conn.fetchrow("update referral set places = 10 where id = $1 returning id", UUID(handoff))
        assert none is not None
        assert await store.candidates(tx, await store.find_referral(tx, UUID(handoff)), 50) == []


async def test_a_party_is_held_together(town: Town) -> None:
    """Two people are offered only where two have room, and take two places at once."""
    mother, infant = await town.ready_person(), await town.ready_person(age_years=30)
    await town.accepted(town.first, mother, infant)
    assert (await town.place(town.first))["held"] == 2
    more = await town.handoff(await town.ready_person(), await town.ready_person())
    assert (await town.offer(town.second))["places"] == 2, "the first house has one left"
    assert (await town.referral(more))["state"] == "offered"


# --- the inbox -------------------------------------------------------------------------------------------------------


async def test_an_offer_on_the_screen_is_seen_and_its_version_is_the_new_one(town: Town) -> None:
    handoff = await town.handoff(await town.ready_person())
    offer = await town.offer(town.first)
    assert (offer["state"], offer["content"]["readable"]) == ("seen", True)
    assert await town.said(handoff, "offer.seen") == 1
    await town.offer(town.first)
    assert await town.said(handoff, "offer.seen") == 1, "looking twice says nothing new"
    version = {"If-Match": f'"v{offer["version"]}"'}
    await town.first.partner.post(f"/referral/offers/{offer['id']}/accept", headers=version)


async def test_the_inbox_shows_what_waits_first_and_forgets_what_has_ended(town: Town) -> None:
    await town.full(town.second)
    _, stay = await town.ready(town.first)
    await town.first.partner.post(f"/referral/offers/{stay}/arrived", {})
    await town.handoff(await town.ready_person())
    waits = (await town.offer(town.first))["id"]

    async def inbox(query: str = "") -> list[str]:
        found = (await town.first.partner.get(f"/referral/offers{query}"))["offers"]
        return [one["id"] for one in found if one["place"] == town.places[town.first.id]]

    assert await inbox() == [waits, stay]
    assert await inbox(f"?after={waits}") == [stay]
    assert await inbox(f"?after={stay}") == []
    await town.first.partner.post(f"/referral/offers/{stay}/outcome", {"outcome": "needs_met"})
    assert await inbox() == [waits]
    await _decline(town.first, waits)
    shown = (await town.first.partner.get("/referral/offers?state=rejected"))["offers"]
    mine = next(one for one in shown if one["id"] == waits)
    assert (mine["referral_state"], mine["content"]) == ("cancelled", None), "nothing more is told of what was declined"


# --- stopping --------------------------------------------------------------------------------------------------------


async def test_sharing_withdrawn_before_acceptance_closes_the_offer_and_the_sender_owns_it(town: Town) -> None:
    entry = await town.ready_person()
    handoff = await town.handoff(entry)
    offer = await town.offer(town.first)
    await town.sender.partner.post(f"/intake/entries/{entry}/withdraw", {"what": "sharing"})
    with pytest.raises(ApiProblem, match="no-longer-available"):
        await town.first.partner.post(f"/referral/offers/{offer['id']}/accept")
    held = await town.network_state(handoff, "on-hold")
    assert (held["escalated"], held["stopped"], held["offer"]) == (None, True, None)
    await town.state(handoff, "on-hold")
    shown = await _seen_by(town.first, offer["id"])
    assert (shown["state"], shown["referral_state"]) == ("withdrawn", "cancelled")
    await town.reminder_is_due(handoff)
    await town.escalation(handoff, reason="sharing-stopped", state="on-hold")


async def test_sharing_withdrawn_after_acceptance_never_costs_a_bed(town: Town) -> None:
    entry = await town.ready_person()
    handoff, offer = await town.accepted(town.first, entry)
    await town.network_state(handoff, "ready")
    await town.sender.partner.post(f"/intake/entries/{entry}/withdraw", {"what": "sharing"})
    assert (await town.first.partner.packet(offer))["members"] == [{}]
    assert (await town.place(town.first))["held"] == 1
    await town.first.partner.post(f"/referral/offers/{offer}/arrived", {})
    assert (await town.referral(handoff))["state"] == "in-progress"


async def test_a_cancelled_hand_off_frees_the_place_and_the_copy_can_still_be_answered_for(town: Town) -> None:
    handoff, offer = await town.ready(town.first)
    await town.first.partner.packet(offer)
    await town.sender.partner.post(f"/intake/handoffs/{handoff}/cancel")
    await town.network_state(handoff, "cancelled")
    assert (await town.place(town.first))["held"] == 0
    with pytest.raises(ApiProblem, match="409 state"):
        await town.first.partner.post(f"/referral/offers/{offer}/arrived", {})
    with pytest.raises(ApiProblem, match="no-longer-available"):
        await town.first.partner.packet(offer)
    assert await town.first.partner.answer_for_copy(offer, "erased")


async def test_cancelled_after_arrival_frees_nothing_and_the_house_is_told(town: Town) -> None:
    handoff, offer = await town.ready(town.first)
    await town.first.partner.post(f"/referral/offers/{offer}/arrived", {})
    await town.sender.partner.post(f"/intake/handoffs/{handoff}/cancel")

    async def told() -> bool:
        return bool((await _seen_by(town.first, offer))["speak_with_person"])

    await eventually(told)
    shown = next(one for one in (await town.first.partner.get("/referral/offers"))["offers"] if one["id"] == offer)
    assert (shown["speak_with_person"], shown["referral_state"]) == (True, "in-progress")
    assert (await town.place(town.first))["staying"] == 1
    done = await town.first.partner.post(f"/referral/offers/{offer}/outcome", {"outcome": "changed_mind"})
    assert done["referral_state"] == "completed"
    assert (await town.place(town.first))["staying"] == 0


# --- time ------------------------------------------------------------------------------------------------------------


async def test_the_deadline_tells_a_coordinator_and_takes_nothing_from_the_house_that_thinks(town: Town) -> None:
    handoff = await town.handoff(await town.ready_person())
    offer = await town.offer(town.first)
    due = (await town.referral(handoff))["step_at"]
    await town.deadline_passes(handoff)
    await town.escalation(handoff, reason="deadline-passed", state="offered")
    assert (await town.referral(handoff))["step_at"] == due, "the answer window stays as it was"
    await town.coordinator.partner.post(f"/referral/escalations/{handoff}/take")
    await town.first.partner.post(f"/referral/offers/{offer['id']}/accept")
    await town.network_state(handoff, "ready")
    still = await town.escalation(handoff, reason="deadline-passed")
    assert still["taken_by"] == town.coordinator.partner.client_id, "still overdue, still theirs"
    await town.first.partner.post(f"/referral/offers/{offer['id']}/arrived", {})
    with pytest.raises(ApiProblem, match="not-found"):
        await town.coordinator.partner.get(f"/referral/escalations/{handoff}")


async def test_who_does_not_arrive_is_missing_and_may_arrive_later(town: Town) -> None:
    handoff, offer = await town.ready(town.first)
    await town.sender.partner.post(f"/referral/referrals/{handoff}/departed")
    assert (await town.referral(handoff))["departed_at"] is not None
    await town.time_is_up(handoff)
    await town.escalation(handoff, reason="not-arrived", state="missing")
    assert (await town.place(town.first))["held"] == 1, "the place is kept"
    code = (await town.state(handoff, "missing"))["hand_over_code"]
    done = await town.first.partner.post(f"/referral/offers/{offer}/arrived", {"code": code})
    assert done["referral_state"] == "in-progress"
    row = await town.referral(handoff)
    assert (row["arrival_verified"], row["escalated"]) == (True, None)
    await town.time_is_up(handoff)
    await town.escalation(handoff, reason="no-outcome", state="in-progress")


async def test_a_coordinator_is_reminded_until_somebody_takes_it(town: Town) -> None:
    await town.full(town.first)
    await town.full(town.second)
    handoff = await town.handoff(await town.ready_person())
    await town.escalation(handoff, reason="no-candidate")
    first = (await town.referral(handoff))["remind_at"]
    await town.reminder_is_due(handoff)

    async def reminded() -> bool:
        return await town.said(handoff, "referral.escalated") == 2

    await eventually(reminded)
    row = await town.referral(handoff)
    assert row["reminded"] == 1
    assert row["remind_at"] > first
    await town.coordinator.partner.post(f"/referral/escalations/{handoff}/take")
    taken = await town.referral(handoff)
    assert taken["remind_at"] > row["remind_at"]
    assert taken["wake_at"] == taken["remind_at"]


async def test_arrival_without_the_code_is_unverified_and_wrong_codes_are_counted(town: Town) -> None:
    handoff, offer = await town.ready(town.first)
    code = (await town.state(handoff, "ready"))["hand_over_code"]
    wrong = {"code": "000000" if code != "000000" else "000001"}
    path = f"/referral/offers/{offer}/arrived"
    for _ in range(4):
        with pytest.raises(ApiProblem, match="code-wrong"):
            await town.first.partner.post(path, wrong)
    with pytest.raises(ApiProblem, match="412 version"):
        await town.first.partner.post(path, wrong, headers={"If-Match": '"v77"'})
    for body in (wrong, {"code": code}):
        with pytest.raises(ApiProblem, match="code-locked"):
            await town.first.partner.post(path, body)
    assert (await town.referral(handoff))["state"] == "ready"
    await town.first.partner.post(path, {})
    row = await town.referral(handoff)
    assert (row["state"], row["arrival_verified"]) == ("in-progress", False)


# --- an organisation is suspended ------------------------------------------------------------------------------------


async def _house(town: Town, places: int) -> Organisation:
    """A third house that a test may suspend, preferred to the others."""
    made = await town.organisation("Third house", "shelter", ["referral:receive"])
    await town.join(made, places)
    for giver, taker in ((town.sender.id, made.id), (made.id, town.sender.id)):
        agreement = {
            "sender": giver, "recipient": taker, "categories": ["functional_needs", "identity", "placement"],
            "purposes": ["referral", "service_provision", "follow_up"],
        }  # fmt: skip
        await town.admin.post("/intake/rules/agreements", agreement)
    return made


async def test_a_suspended_house_loses_its_open_offers_and_its_tokens_at_once(town: Town) -> None:
    house = await _house(town, 9)
    await town.handoff(await town.ready_person())
    offer = await town.offer(house)
    await town.admin.post(f"/referral/organisations/{house.id}/suspend")
    for path in ("offers", "places", f"offers/{offer['id']}"):
        with pytest.raises(ApiProblem, match="403 suspended"):
            await house.partner.get(f"/referral/{path}")
    house.partner._until = 0.0
    with pytest.raises(ApiProblem, match="bad-client"):
        await house.partner.get("/referral/offers")
    assert (await town.offer_row(offer["id"]))["reason"] == "closed"
    assert (await town.offer(town.first))["id"] != offer["id"]


async def test_what_a_suspended_house_has_accepted_waits_for_a_coordinator_who_moves_it(town: Town) -> None:
    house = await _house(town, 9)
    handoff, offer = await town.ready(house)
    await town.admin.post(f"/referral/organisations/{house.id}/suspend")
    await town.escalation(handoff, reason="organisation-suspended", state="on-hold")
    async with town.records() as tx:
        kept = await tx.conn.fetchval("select held from place where id = $1", UUID(town.places[house.id]))
        assert kept == 1, "nobody is moved by the machine"
    with pytest.raises(ApiProblem, match="409 state"):
        await town.coordinator.partner.post(f"/referral/escalations/{handoff}/hand-back")
    place = town.places[town.second.id]
    acted = await town.coordinator.partner.post(f"/referral/escalations/{handoff}/ask", {"place": place})
    assert (acted["state"], (await town.offer(town.second))["id"]) == ("offered", acted["offer"])
    async with town.records() as tx:
        assert await tx.conn.fetchval("select held from place where id = $1", UUID(town.places[house.id])) == 0
    assert (await town.offer_row(offer))["state"] == "withdrawn"
    await town.second.partner.post(f"/referral/offers/{acted['offer']}/accept")
    await town.network_state(handoff, "ready")


async def test_what_a_suspended_sender_has_sent_is_the_coordinators(town: Town) -> None:
    sender = await town.organisation("Second post", "border_post", ["intake:send", "referral:send"])
    await town.admin.post(f"/referral/networks/{town.network}/members", {"organisation": sender.id})
    agreement = {
        "sender": sender.id, "recipient": town.first.id, "categories": ["functional_needs"], "purposes": ["referral"],
    }  # fmt: skip
    await town.admin.post("/intake/rules/agreements", agreement)
    town.sender = sender
    handoff = await town.handoff(await town.ready_person())
    offer = await town.offer(town.first)
    await town.admin.post(f"/referral/organisations/{sender.id}/suspend")
    await town.escalation(handoff, reason="organisation-suspended", state="offered")
    with pytest.raises(ApiProblem, match="403 suspended"):
        await sender.partner.post(f"/referral/referrals/{handoff}/departed")
    await _decline(town.first, offer["id"])
    await town.escalation(handoff, state="unroutable")
