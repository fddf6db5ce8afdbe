"""The main line, from a border post to a shelter and back, over the public API."""

from __future__ import annotations

import pytest

from services.cli.client import ApiProblem
from tests.builders import World


async def test_a_person_is_handed_to_a_shelter_and_the_loop_closes(world: World) -> None:
    house = await world.house("House one")
    await world.crowd()
    entry = await world.ready_person(health_notes="asthma", recruiter_notes="never agreed to")
    handoff = await world.handoff(entry)

    offer = await world.offer(house)
    assert offer["content"]["readable"]
    assert offer["content"]["members"] == [{"age_band": "adult", "sex": "female", "needs": None, "languages": ["khm"]}]
    accepted = await house.partner.post(f"/referral/offers/{offer['id']}/accept")
    assert accepted["state"] == "accepted"
    place = (await house.partner.get("/referral/places"))["places"][0]
    assert (place["held"], place["free"]) == (1, 1)

    shown = await world.state(handoff, "ready")
    assert len(shown["hand_over_code"]) == 6
    packet = await house.partner.packet(offer["id"])
    assert packet["members"][0]["health_notes"] == "asthma"
    assert "recruiter_notes" not in packet["members"][0]
    await house.partner.tell(offer["id"], "whereabouts", {"meeting_point": "north gate", "address": "secret street"})
    shown = await world.sender.partner.get(f"/intake/handoffs/{handoff}")
    assert shown["meeting_point"] == "north gate"

    wrong = "000000" if shown["hand_over_code"] != "000000" else "000001"
    with pytest.raises(ApiProblem, match="code-wrong"):
        await house.partner.post(f"/referral/offers/{offer['id']}/arrived", {"code": wrong})
    code = shown["hand_over_code"]
    arrived = await house.partner.post(f"/referral/offers/{offer['id']}/arrived", {"code": code})
    assert arrived["referral_state"] == "in-progress"
    await world.state(handoff, "in-progress")
    done = await house.partner.post(f"/referral/offers/{offer['id']}/outcome", {"outcome": "needs_met"})
    assert done["referral_state"] == "completed"
    await world.state(handoff, "completed")
    details = await world.sender.partner.get(f"/intake/handoffs/{handoff}/details")
    assert {"kind": "outcome", "code": "needs_met"} in details["details"]
    place = (await house.partner.get("/referral/places"))["places"][0]
    assert (place["held"], place["staying"], place["free"]) == (0, 0, 2)
