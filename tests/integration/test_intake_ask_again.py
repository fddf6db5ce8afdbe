"""A sender asks again for a hand-off that waits for them: done, refused, said twice, and on top of an older reading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest

from schemas.versions import held_back
from services.cli.client import ApiProblem
from spean.db import Database
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
    assert (await own.state(handoff, "on-hold"))["waits_for"] == "sender"
    waiting = Waiting(own, entry, handoff)
    with refused("sharing-consent"):
        await waiting.ask()
    await own.consent(entry, "share_referral")
    await waiting.ask()
    await own.offer(house)
    assert (await own.state(handoff, "offered"))["waits_for"] is None
    await withdraw(own, entry, "service")
    with refused("state"):
        await waiting.ask()
    assert await waiting.asked() == 1


@pytest.fixture
def older_network(own: World) -> Iterator[Database]:
    """The network as long as it is told to say what its readers may not know yet in the version before. Its database."""
    db = own.made.services["referral"].db
    db.held_back = held_back("referral.held.v1")
    yield db
    db.held_back = frozenset()


async def test_what_an_older_network_puts_on_hold_is_known_to_wait_for_somebody(
    own: World, older_network: Database
) -> None:
    """Its events do not say for whom; they are raised before the holder handles them."""
    house, entry = await own.house("A house"), await own.ready_person()
    handoff = await own.handoff(entry)
    offer = (await own.offer(house))["id"]
    await house.partner.post(f"/referral/offers/{offer}/accept")
    await own.state(handoff, "ready")
    await own.admin.post(f"/referral/organisations/{house.id}/suspend")
    assert (await own.state(handoff, "on-hold"))["waits_for"] == "coordinator"
    given_back = await _given_back(own)
    assert (await own.state(given_back.handoff, "on-hold"))["waits_for"] == "sender"
    async with older_network.transaction("test.said") as tx:
        rows = await tx.conn.fetch(
            "select type, payload from said where aggregateid = any($1) and type like '%.held.%'",
            [UUID(handoff), UUID(given_back.handoff)],
        )
    assert {(row["type"], row["payload"]) for row in rows} == {
        ("org.spean.referral.held.v1", '{"reason":"closed"}'),
        ("org.spean.referral.held.v1", '{"reason":"other"}'),
    }


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
        assert await db.fetchval("select waits_for from handoff where id = $1", case.handoff) == "coordinator"
        await db.execute("update handoff set waits_for = 'sender' where id = $1", case.handoff)
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
