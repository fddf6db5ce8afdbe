"""What the holder says when the gate shuts: which offer a stop is about, whatever the network has been heard to say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from schemas import events as e
from schemas import registry
from schemas.events import EventData
from schemas.vocabulary import ReasonFamily, ServiceGroup, Urgency
from services.intake import consumers
from spean.consumer import handle
from spean.event import Event
from spean.ids import event_id
from tests.builders import World
from tests.integration.holder import Holder, House, said, shared_world, withdraw  # noqa: F401 (fixtures)


class Asked:
    """A person's hand-off, as the network asks about it and speaks of it."""

    def __init__(self, world: World, person: str, handoff: str) -> None:
        self.world, self.person, self.handoff = world, person, handoff
        self.before = 0

    async def yes(self, house: House) -> UUID:
        """The network asks whether this house may be asked, for an offer of its own. Returns the offer."""
        offer = uuid4()
        candidate = {"place": str(uuid4()), "organisation": house.facts, "area": "KH-1",
                     "service_types": ["emergency_bed"], "eligibility": {}}  # fmt: skip
        question = {"referral": self.handoff, "candidates": [candidate], "offer": str(offer)}
        assert (await Holder(self.world).ask("next-candidate", question))["place"] == candidate["place"]
        return offer

    async def hear(self, data: EventData) -> str | None:
        """The network says something of it. Returns why it is parked, if it is."""
        service = self.world.made.services["intake"]
        now = datetime.now(UTC)
        event = Event(
            id=event_id(), type=registry.TYPE_OF[type(data)], source="spean/referral", subject=UUID(self.handoff), epoch=1,
            sequence=1, time=now, correlationid=uuid4(), causationid=None, traceparent=None, value=registry.write(data),
        )  # fmt: skip
        async with service.db.transaction("test.hear") as tx:
            return await handle(tx, event, consumers.handlers_for(service.app.state.holder))

    async def sent(self, house: House, offer: UUID) -> None:
        until = datetime.now(UTC) + timedelta(minutes=5)
        assert await self.hear(e.OfferSentV1(offer=offer, organisation=UUID(house.id), answer_by=until)) is None

    async def never(self, house: House) -> None:
        exclusion = {"kind": "organisation", "value": house.id}
        await self.world.sender.partner.post(f"/intake/entries/{self.person}/exclusions", exclusion)

    async def stops(self) -> list[str | None]:
        """What was stopped since the last look: offers, or None for whatever is open."""
        all_ = [
            data.get("offer") for name, data in await said(self.world, self.handoff) if name == "disclosure.stopped"
        ]
        new, self.before = all_[self.before :], len(all_)
        return new


@pytest.fixture
async def asked(world: World) -> Asked:
    person = await world.ready_person()
    return Asked(world, person, await Holder(world).requested(person))


@pytest.fixture
async def houses(world: World) -> list[House]:
    return [await Holder(world).house() for _ in range(2)]


async def test_a_stop_names_the_offer_that_it_is_about_before_the_network_has_made_it(
    asked: Asked, houses: list[House]
) -> None:
    first, second = [await asked.yes(house) for house in houses]  # two questions at once: either may become the offer
    await asked.never(houses[0])
    assert await asked.stops() == [str(first)]
    await asked.hear(e.OfferWithdrawnV1(offer=first))
    await asked.never(houses[1])
    assert await asked.stops() == [str(second)]


async def test_an_offer_that_is_over_is_not_spoken_of_and_the_open_one_is(asked: Asked, houses: list[House]) -> None:
    """That somebody who said no may not be asked any more is nobody's business."""
    for over in (e.OfferDeclinedV1, e.OfferExpiredV1, e.OfferWithdrawnV1):
        offer = await asked.yes(houses[0])
        await asked.sent(houses[0], offer)
        more = {"reason": ReasonFamily.FULL} if over is e.OfferDeclinedV1 else {}
        assert await asked.hear(over(offer=offer, **more)) is None
    unused = await asked.yes(houses[0])  # asked, and another was asked once more: no offer comes from this any more
    offer = await asked.yes(houses[1])
    await asked.sent(houses[1], offer)
    await asked.never(houses[0])
    assert await asked.stops() == []
    await asked.never(houses[1])
    assert await asked.stops() == [str(offer)]
    assert unused != offer


async def test_an_offer_of_which_only_the_network_knows_is_stopped_too(asked: Asked, houses: list[House]) -> None:
    """An answer leaves before its transaction ends, and may be all that is left of it."""
    offer, other = uuid4(), await asked.yes(houses[1])
    await asked.sent(houses[0], offer)
    await asked.never(houses[1])
    assert set(await asked.stops()) == {str(offer), str(other)}, "it is not known here who was asked: that is no yes"


async def test_whoever_stops_wholly_stops_whatever_is_open(asked: Asked, houses: list[House]) -> None:
    for house in houses:
        await asked.yes(house)
    await withdraw(asked.world, asked.person)
    assert await asked.stops() == [None]


async def test_whose_word_leaves_nobody_to_ask_is_told_so_though_nobody_was_asked_yet(asked: Asked) -> None:
    path = f"/intake/entries/{asked.person}/withdraw"
    await asked.world.sender.partner.post(path, {"what": "sharing", "category": "health"})
    assert await asked.stops() == [], "others may still be asked"
    await asked.world.sender.partner.post(path, {"what": "sharing", "purpose": "referral"})
    assert await asked.stops() == [None]


async def test_whoever_is_described_otherwise_is_put_anew_to_those_who_were_asked(
    asked: Asked, houses: list[House]
) -> None:
    partner = asked.world.sender.partner
    offers = [str(await asked.yes(house)) for house in houses]
    read = await partner.request("GET", f"/intake/entries/{asked.person}")
    person: dict[str, Any] = read.json()["person"]
    needs = [*person.get("needs", []), "step_free"]
    await partner.put(f"/intake/entries/{asked.person}/person", {**person, "needs": needs}, read.json()["version"])
    assert await asked.stops() == offers


async def test_a_network_that_does_not_say_for_which_offer_it_asks_hears_that_all_are_stopped(
    asked: Asked, houses: list[House]
) -> None:
    assert await Holder(asked.world).next_candidate(asked.handoff, houses[0]) == houses[0].id
    await asked.never(houses[0])
    assert await asked.stops() == [None]


async def test_the_network_that_takes_our_hand_off_for_another_holders_is_not_followed(asked: Asked) -> None:
    now = datetime.now(UTC)
    received = e.ReferralReceivedV1(
        network=UUID(asked.world.network), coordinator=uuid4(), group=ServiceGroup.SHELTER, urgency=Urgency.URGENT,
        area="KH-1", places=1, requested_at=now, deadline=now, holder="another",
    )  # fmt: skip
    assert await asked.hear(received) == "another-holder"
    own = asked.world.made.settings.holder
    assert await asked.hear(received.model_copy(update={"holder": own})) is None
    assert await asked.hear(received.model_copy(update={"holder": None})) is None
