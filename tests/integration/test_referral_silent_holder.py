"""The holder does not answer: nothing is disclosed and nothing half done, and it goes on when the holder is back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.cli import installation
from services.cli.client import ApiProblem
from tests.builders import eventually
from tests.integration.apart import Way, installed_apart
from tests.integration.town import Settled, Town, found, settle

# A question has two seconds; a page with one question takes little more.
PATIENCE_S = 4.0


@pytest.fixture(scope="module")
async def settled_apart(workspace: Path) -> AsyncIterator[tuple[Settled, Way]]:
    way = Way()
    async with way.standing():
        holders = {"main": f"http://127.0.0.1:{way.port}/intake"}
        async with installed_apart(workspace, holders=holders) as (made, settings), installation.running(made):
            way.to = ("127.0.0.1", int(made.url.rpartition(":")[2]))
            async with settle(made, settings) as settled:
                yield settled, way


@pytest.fixture
async def way(settled_apart: tuple[Settled, Way]) -> AsyncIterator[Way]:
    yield settled_apart[1]
    await settled_apart[1].set("open")


@pytest.fixture
async def town(settled_apart: tuple[Settled, Way]) -> Town:
    return await found(settled_apart[0])


@pytest.mark.parametrize("mode", ["shut", "mute"])
async def test_acceptance_changes_nothing_and_the_same_key_works_later(town: Town, way: Way, mode: str) -> None:
    handoff = await town.handoff(await town.ready_person())
    offer = await town.offer(town.first)
    before = await town.offer_row(offer["id"])
    path, key = f"/referral/offers/{offer['id']}/accept", f"patient-{offer['id']}"
    await way.set(mode)
    began = time.monotonic()
    with pytest.raises(ApiProblem, match="503 holder-silent"):
        await town.first.partner.post(path, key=key)
    assert time.monotonic() - began < PATIENCE_S
    assert await town.offer_row(offer["id"]) == before
    assert (await town.place(town.first))["held"] == 0
    inbox = (await town.first.partner.get("/referral/offers"))["offers"]
    assert [one["content"] for one in inbox if one["id"] == offer["id"]] == [None], "no content without the gate"
    await way.set("open")
    assert (await town.first.partner.post(path, key=key))["state"] == "accepted"
    await town.network_state(handoff, "ready")


async def test_a_decline_goes_through_with_the_family_alone(town: Town, way: Way) -> None:
    handoff = await town.handoff(await town.ready_person())
    offer = (await town.offer(town.first))["id"]
    await way.set("shut")
    path, body, key = f"/referral/offers/{offer}/decline", {"reason": "house_unsafe"}, f"once-{offer}"
    done = await town.first.partner.post(path, body, key=key)
    assert done["state"] == "rejected"
    assert (await town.offer_row(offer))["reason"] == "closed"
    assert await town.first.partner.post(path, body, key=key) == done
    assert await town.said(handoff, "offer.declined") == 1
    assert (await town.referral(handoff))["state"] == "requested", "waits for the holder, and for nobody else"
    await town.deadline_passes(handoff)
    await town.escalation(handoff, reason="deadline-passed", state="requested")
    await way.set("open")
    assert (await town.offer(town.second, within_s=30))["id"] != offer


async def test_arrival_is_recorded_unverified_and_an_outcome_waits(town: Town, way: Way) -> None:
    handoff, offer = await town.ready(town.first)
    code = (await town.state(handoff, "ready"))["hand_over_code"]
    await way.set("shut")
    arrived = await town.first.partner.post(f"/referral/offers/{offer}/arrived", {"code": code})
    assert arrived["referral_state"] == "in-progress"
    assert (await town.referral(handoff))["arrival_verified"] is False
    with pytest.raises(ApiProblem, match="503 holder-silent"):
        await town.first.partner.post(f"/referral/offers/{offer}/outcome", {"outcome": "needs_met"})
    assert (await town.place(town.first))["staying"] == 1
    await way.set("open")
    done = await town.first.partner.post(f"/referral/offers/{offer}/outcome", {"outcome": "needs_met"})
    assert done["referral_state"] == "completed"


async def test_a_code_that_cannot_be_checked_changes_nothing_and_the_same_key_works_later(town: Town, way: Way) -> None:
    handoff, offer = await town.ready(town.first)
    code = (await town.state(handoff, "ready"))["hand_over_code"]
    await town.first.partner.post(f"/referral/offers/{offer}/arrived", {})
    before = await town.referral(handoff)
    path, key = f"/referral/offers/{offer}/verify-arrival", f"later-{offer}"
    await way.set("shut")
    with pytest.raises(ApiProblem, match="503 holder-silent"):
        await town.first.partner.post(path, {"code": code}, key=key)
    assert await town.referral(handoff) == before
    await way.set("open")
    await town.first.partner.post(path, {"code": code}, key=key)
    assert (await town.referral(handoff))["arrival_verified"] is True


async def test_a_named_house_is_not_asked_past_the_gate(town: Town, way: Way) -> None:
    await town.full(town.first)
    await town.full(town.second)
    handoff = await town.handoff(await town.ready_person())
    await town.escalation(handoff, reason="no-candidate")
    place = await town.place(town.second)
    count = {"usable": 2, "more_tonight": 2}
    await town.second.partner.put(f"/referral/places/{place['id']}/count", count, place["version"])
    await way.set("mute")
    with pytest.raises(ApiProblem, match="503 holder-silent"):
        await town.coordinator.partner.post(f"/referral/escalations/{handoff}/ask", {"place": place["id"]})
    assert (await town.referral(handoff))["state"] == "unroutable"
    assert await town.said(handoff, "offer.sent") == 0


async def test_whoever_is_asked_for_waits_for_the_holder_and_is_asked_when_it_is_back(town: Town, way: Way) -> None:
    person = await town.ready_person()
    await way.set("mute")
    handoff = await town.handoff(person)
    await town.network_state(handoff, "requested")

    async def tried() -> bool:
        async with town.records() as tx:
            tries = await tx.conn.fetchval("select max(tries) from due where subject = $1::text::uuid", handoff)
        return bool(tries and tries >= 1)

    await eventually(tried)
    assert (await town.referral(handoff))["state"] == "requested"
    await way.set("open")
    assert (await town.offer(town.first, within_s=30))["state"] == "seen"
