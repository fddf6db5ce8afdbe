"""Every command about an offer, a referral or an escalation: done, refused, said twice, and said about an old version.

A scene brings a referral to where the command is possible and names it; the four tests are the same for all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from services.cli.client import ApiProblem
from tests.builders import Organisation
from tests.integration.town import Town


@dataclass
class Scene:
    """A command that is possible now. `says` is the event that it leads to, about `referral`."""

    by: Organisation
    path: str
    referral: str
    says: str
    body: dict[str, Any] | None = None
    becomes: str = ""
    offer: str = ""

    async def run(self, **more: Any) -> Any:
        return await self.by.partner.request("POST", self.path, self.body, **more)


async def accept(town: Town) -> Scene:
    handoff = await town.handoff(await town.ready_person())
    offer = (await town.offer(town.first))["id"]
    return Scene(town.first, f"/referral/offers/{offer}/accept", handoff, "offer.accepted", None, "accepted", offer)


async def decline(town: Town) -> Scene:
    scene = await accept(town)
    scene.path, scene.says, scene.becomes = f"/referral/offers/{scene.offer}/decline", "offer.declined", "cancelled"
    scene.body = {"reason": "no_capacity"}
    return scene


async def arrive(town: Town) -> Scene:
    handoff, offer = await town.ready(town.first)
    path = f"/referral/offers/{offer}/arrived"
    return Scene(town.first, path, handoff, "referral.arrived", {}, "in-progress", offer)


async def unverified(town: Town) -> tuple[str, str, str]:
    """(hand-off, offer, code) of somebody who has arrived without the code."""
    handoff, offer = await town.ready(town.first)
    code = (await town.state(handoff, "ready"))["hand_over_code"]
    await town.first.partner.post(f"/referral/offers/{offer}/arrived", {})
    return handoff, offer, code


async def verify_arrival(town: Town) -> Scene:
    handoff, offer, code = await unverified(town)
    path = f"/referral/offers/{offer}/verify-arrival"
    return Scene(town.first, path, handoff, "referral.verified", {"code": code}, "in-progress", offer)


async def confirm_arrival(town: Town) -> Scene:
    handoff, _, _ = await unverified(town)
    await town.time_is_up(handoff)
    await town.escalation(handoff, reason="arrival-unverified", arrival_verified=False)
    path = f"/referral/escalations/{handoff}/confirm-arrival"
    return Scene(town.coordinator, path, handoff, "referral.verified", None, "in-progress")


async def end(town: Town) -> Scene:
    scene = await arrive(town)
    await scene.run()
    scene.path, scene.says, scene.becomes = f"/referral/offers/{scene.offer}/outcome", "referral.completed", "completed"
    scene.body = {"outcome": "needs_met"}
    return scene


async def depart(town: Town) -> Scene:
    handoff, offer = await town.ready(town.first)
    path = f"/referral/referrals/{handoff}/departed"
    return Scene(town.sender, path, handoff, "referral.departed", None, "ready", offer)


async def unroutable(town: Town) -> str:
    """A referral that nobody has room for."""
    await town.full(town.first)
    await town.full(town.second)
    handoff = await town.handoff(await town.ready_person())
    await town.escalation(handoff, reason="no-candidate", state="unroutable")
    return handoff


async def take(town: Town) -> Scene:
    handoff = await unroutable(town)
    return Scene(town.coordinator, f"/referral/escalations/{handoff}/take", handoff, "", None, "unroutable")


async def ask_again(town: Town) -> Scene:
    handoff = await unroutable(town)
    path = f"/referral/escalations/{handoff}/ask-again"
    return Scene(town.coordinator, path, handoff, "referral.reopened", None, "requested")


async def ask_named(town: Town) -> Scene:
    handoff = await unroutable(town)
    place = await town.place(town.second)
    count = {"usable": 2, "more_tonight": 1}
    await town.second.partner.put(f"/referral/places/{place['id']}/count", count, place["version"])
    path = f"/referral/escalations/{handoff}/ask"
    return Scene(town.coordinator, path, handoff, "offer.sent", {"place": place["id"]}, "offered")


async def hand_back(town: Town) -> Scene:
    handoff = await unroutable(town)
    path = f"/referral/escalations/{handoff}/hand-back"
    return Scene(town.coordinator, path, handoff, "referral.held", None, "on-hold")


SCENES: list[Callable[[Town], Awaitable[Scene]]] = [
    accept, decline, arrive, verify_arrival, end, depart, take, ask_again, ask_named, hand_back, confirm_arrival,
]  # fmt: skip
EACH = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)


@EACH
async def test_done_and_said_twice(town: Town, scene: Callable[[Town], Awaitable[Scene]]) -> None:
    """The same key gives the same answer and has no second effect; another request with that key is refused."""
    made = await scene(town)
    key = str(uuid4())
    answer = await made.run(key=key)
    body = answer.json()
    assert (body.get("referral_state") or body["state"]) == made.becomes
    effect = await _effect(town, made)
    assert effect[0] == (1 if made.says else 0)
    assert answer.headers["ETag"] == f'"v{body["version"]}"'

    again = await made.run(key=key)
    assert (again.status_code, again.json(), again.headers["ETag"]) == (200, body, answer.headers["ETag"])
    assert await _effect(town, made) == effect
    elsewhere = made.path.replace(made.offer if made.offer in made.path and made.offer else made.referral, str(uuid4()))
    with pytest.raises(ApiProblem, match="key-reused"):
        await made.by.partner.request("POST", elsewhere, made.body, key=key)


async def _effect(town: Town, made: Scene) -> tuple[Any, ...]:
    """What a second run would move: how often it was said; the offer, or who has taken the referral."""
    said = await town.said(made.referral, made.says) if made.says else 0
    if made.offer:
        return (said, (await town.offer_row(made.offer))["version"])
    return (said, (await town.referral(made.referral))["remind_at"] if made.says == "" else None)


@EACH
async def test_an_old_version_changes_nothing(town: Town, scene: Callable[[Town], Awaitable[Scene]]) -> None:
    made = await scene(town)
    before = await _effect(town, made)
    with pytest.raises(ApiProblem, match="412 version"):
        await made.run(headers={"If-Match": '"v99"'})
    assert await _effect(town, made) == before
    row = await town.referral(made.referral)
    version = row["version"] if made.by is not town.first else (await town.offer_row(made.offer))["version"]
    await made.run(headers={"If-Match": f'"v{version}"'})
    assert await _effect(town, made) != before


@EACH
async def test_of_somebody_else_there_is_no_such_thing(town: Town, scene: Callable[[Town], Awaitable[Scene]]) -> None:
    """The same command by another organisation of the same kind: not found, and nothing changes."""
    made = await scene(town)
    before = await _effect(town, made)
    kind, scope = {
        town.first.id: ("shelter", "referral:receive"),
        town.sender.id: ("border_post", "referral:send"),
        town.coordinator.id: ("coordination", "referral:coordinate"),
    }[made.by.id]
    other = await town.organisation("Stranger", kind, [scope])
    with pytest.raises(ApiProblem, match="404 not-found"):
        await other.partner.request("POST", made.path, made.body)
    assert await _effect(town, made) == before


# What each command is refused for: where the referral is brought, then the command and the words.


async def declined_already(town: Town) -> Scene:
    scene = await decline(town)
    await scene.run()
    await town.network_state(scene.referral, "offered")
    scene.path = f"/referral/offers/{scene.offer}/accept"
    scene.body = None
    return scene


async def accepted_already(town: Town) -> Scene:
    scene = await accept(town)
    await scene.run()
    await town.network_state(scene.referral, "ready")
    scene.path, scene.body = f"/referral/offers/{scene.offer}/decline", {"reason": "house_conflict"}
    return scene


async def accepted_twice(town: Town) -> Scene:
    scene = await accept(town)
    await scene.run()
    await town.network_state(scene.referral, "ready")
    return scene


async def arrived_already(town: Town) -> Scene:
    scene = await arrive(town)
    await scene.run()
    return scene


async def arrived_without_acceptance(town: Town) -> Scene:
    scene = await accept(town)
    scene.path, scene.body = f"/referral/offers/{scene.offer}/arrived", {}
    return scene


async def verified_already(town: Town) -> Scene:
    scene = await verify_arrival(town)
    await scene.run()
    return scene


async def verified_before_arrival(town: Town) -> Scene:
    scene = await arrive(town)
    scene.path, scene.body = f"/referral/offers/{scene.offer}/verify-arrival", {"code": "123456"}
    return scene


async def verified_with_another_code(town: Town) -> Scene:
    scene = await verify_arrival(town)
    assert scene.body is not None
    scene.body = {"code": "000000" if scene.body["code"] != "000000" else "000001"}
    return scene


async def confirmed_though_verified(town: Town) -> Scene:
    scene = await verify_arrival(town)
    await scene.run()
    await town.time_is_up(scene.referral)
    async with town.records() as tx:  # so long ago that its outcome is awaited
        await tx.conn.execute(
            "update referral set arrived_at = now() - interval '40 days' where id = $1::text::uuid", scene.referral
        )
    await town.escalation(scene.referral, reason="no-outcome", arrival_verified=True)
    path = f"/referral/escalations/{scene.referral}/confirm-arrival"
    return Scene(town.coordinator, path, scene.referral, "referral.verified", offer=scene.offer)


async def ended_before_arrival(town: Town) -> Scene:
    scene = await arrive(town)
    scene.path, scene.body = f"/referral/offers/{scene.offer}/outcome", {"outcome": "needs_met"}
    return scene


async def departed_without_a_place(town: Town) -> Scene:
    handoff = await unroutable(town)
    return Scene(town.sender, f"/referral/referrals/{handoff}/departed", handoff, "referral.departed")


async def departed_after_arrival(town: Town) -> Scene:
    scene = await arrive(town)
    await scene.run()
    return Scene(town.sender, f"/referral/referrals/{scene.referral}/departed", scene.referral, "referral.departed")


async def taken_without_need(town: Town) -> Scene:
    scene = await accept(town)
    path = f"/referral/escalations/{scene.referral}/take"
    return Scene(town.coordinator, path, scene.referral, "referral.escalated", offer=scene.offer)


async def asked_again_while_a_house_thinks(town: Town) -> Scene:
    scene = await taken_without_need(town)
    await town.deadline_passes(scene.referral)
    await town.escalation(scene.referral, reason="deadline-passed")
    scene.path = f"/referral/escalations/{scene.referral}/ask-again"
    return scene


async def named_while_a_house_thinks(town: Town) -> Scene:
    scene = await asked_again_while_a_house_thinks(town)
    scene.path, scene.body = f"/referral/escalations/{scene.referral}/ask", {"place": town.places[town.second.id]}
    return scene


async def named_without_room(town: Town) -> Scene:
    scene = await ask_named(town)
    scene.body = {"place": town.places[town.first.id]}
    return scene


async def named_outside_the_network(town: Town) -> Scene:
    scene = await ask_named(town)
    scene.body = {"place": str(uuid4())}
    return scene


async def named_against_the_gate(town: Town) -> Scene:
    """A house with room that has no agreement with the sender."""
    scene = await ask_named(town)
    stranger = await town.organisation("House without agreement", "shelter", ["referral:receive"])
    scene.body = {"place": await town.join(stranger, 4)}
    return scene


async def handed_back_with_a_place(town: Town) -> Scene:
    handoff, offer = await town.ready(town.first)
    await town.deadline_passes(handoff)
    await town.escalation(handoff, reason="deadline-passed")
    path = f"/referral/escalations/{handoff}/hand-back"
    return Scene(town.coordinator, path, handoff, "referral.held", offer=offer)


async def ticket_before_acceptance(town: Town) -> Scene:
    scene = await accept(town)
    scene.path = f"/referral/offers/{scene.offer}/ticket"
    return scene


REFUSED: list[tuple[Callable[[Town], Awaitable[Scene]], str]] = [
    (declined_already, "no-longer-available"),
    (accepted_already, "no-longer-available"),
    (accepted_twice, "no-longer-available"),
    (arrived_already, "409 state"),
    (arrived_without_acceptance, "409 state"),
    (verified_already, "409 state"),
    (verified_before_arrival, "409 state"),
    (verified_with_another_code, "code-wrong"),
    (confirmed_though_verified, "409 state"),
    (ended_before_arrival, "409 state"),
    (departed_without_a_place, "409 state"),
    (departed_after_arrival, "409 state"),
    (taken_without_need, "409 state"),
    (asked_again_while_a_house_thinks, "409 state"),
    (named_while_a_house_thinks, "409 state"),
    (named_without_room, "place-gone"),
    (named_outside_the_network, "place-gone"),
    (named_against_the_gate, "not-allowed-now"),
    (handed_back_with_a_place, "409 state"),
    (ticket_before_acceptance, "409 state"),
]


@pytest.mark.parametrize(("scene", "code"), REFUSED, ids=lambda one: getattr(one, "__name__", None))
async def test_refused(town: Town, scene: Callable[[Town], Awaitable[Scene]], code: str) -> None:
    made = await scene(town)
    before = (await _effect(town, made), (await town.referral(made.referral))["state"])
    with pytest.raises(ApiProblem, match=code):
        await made.run()
    assert (await _effect(town, made), (await town.referral(made.referral))["state"]) == before
