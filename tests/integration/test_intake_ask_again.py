"""A sender asks again for a hand-off that waits for them: done, refused, said twice, and on top of an older reading."""

from __future__ import annotations

from dataclasses import dataclass
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
    withdraw,
)


@pytest.fixture
async def case(world: World) -> Case:
    holder = Holder(world)
    return await holder.released(await holder.house(), await world.ready_person())


@dataclass
class Waiting:
    """A hand-off that a coordinator gave back to its sender: nobody had room."""

    world: World
    entry: str
    handoff: str

    @property
    def path(self) -> str:
        return f"/intake/handoffs/{self.handoff}/ask-again"

    async def ask(self, **more: Any) -> Any:
        return await self.world.sender.partner.post(self.path, **more)

    async def asked(self) -> int:
        return [name for name, _ in await said(self.world, self.handoff)].count("handoff.reopened")


async def _given_back(world: World) -> Waiting:
    entry = await world.ready_person()
    handoff = await Holder(world).requested(entry)

    async def escalated() -> bool:
        try:
            await world.coordinator.partner.post(f"/referral/escalations/{handoff}/hand-back")
        except ApiProblem:
            return False
        return True

    await eventually(escalated)
    await world.state(handoff, "on-hold")
    return Waiting(world, entry, handoff)


async def test_what_a_coordinator_gave_back_is_asked_for_again_and_the_sender_sees_it(own: World) -> None:
    waiting = await _given_back(own)
    house = await own.house("Room at last")
    answer = await waiting.ask()
    assert (answer["id"], answer["state"]) == (waiting.handoff, "on-hold")
    assert (await own.offer(house))["content"]["readable"] is True
    await own.state(waiting.handoff, "offered")
    with refused("state"):
        await waiting.ask()
    assert await waiting.asked() == 1


async def test_what_waits_for_a_consent_is_asked_for_again_once_that_is_given(own: World) -> None:
    """Also the house that had it before, which neither declined nor let its time pass, is asked."""
    house, entry = await own.house("Same house"), await own.ready_person()
    handoff = await own.handoff(entry)
    await own.offer(house)
    await withdraw(own, entry)
    await own.state(handoff, "on-hold")
    waiting = Waiting(own, entry, handoff)
    with refused("sharing-consent"):
        await waiting.ask()
    await own.consent(entry, "share_referral")
    await waiting.ask()
    await own.offer(house)
    await own.state(handoff, "offered")
    await withdraw(own, entry, "service")
    with refused("state"):
        await waiting.ask()
    assert await waiting.asked() == 1


async def test_only_what_waits_for_its_sender_is_asked_for_again(case: Case) -> None:
    path = f"/intake/handoffs/{case.handoff}/ask-again"
    async with database(case.holder.world) as db:
        for state in ("requested", "received", "offered", "unroutable", "accepted", "ready", "missing", "completed"):
            await db.execute("update handoff set state = $2 where id = $1", case.handoff, state)
            with refused("state"):
                await case.sender.post(path)
        # On hold with a house that has accepted: it was suspended, and a coordinator decides.
        await db.execute("update handoff set state = 'on-hold' where id = $1", case.handoff)
        with refused("state"):
            await case.sender.post(path)
        await db.execute("update handoff set offer = null where id = $1", case.handoff)
    await case.sender.post(path)
    other = await case.holder.world.organisation("Another post", "border_post", ["intake:send"])
    with refused("not-found"):
        await other.partner.post(path)
    assert (await case.said()).count("handoff.reopened") == 1


async def test_the_same_ask_again_command_asks_once(world: World) -> None:
    waiting, key = await _given_back(world), str(uuid4())
    first = await waiting.ask(key=key)
    await world.state(waiting.handoff, "unroutable")
    assert await waiting.ask(key=key) == first
    assert await waiting.asked() == 1


async def test_asking_again_on_top_of_an_older_reading_is_refused(world: World) -> None:
    waiting = await _given_back(world)
    with refused("version"):
        await waiting.ask(headers={"If-Match": '"v1"'})
    version = (await world.sender.partner.get(f"/intake/handoffs/{waiting.handoff}"))["version"]
    await waiting.ask(headers={"If-Match": f'"v{version}"'})
    assert await waiting.asked() == 1
