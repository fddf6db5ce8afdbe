"""What can be done with places: registered, counted anew, promised, occupied, freed."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from schemas.events import CapacityChangedV1
from schemas.registry import PLACES
from services.referral.places import store
from services.referral.places.store import Place
from spean.db import Tx
from spean.outbox import say
from spean.problem import Refusal


async def register(tx: Tx, place: Place) -> Place:
    await store.insert_place(tx, place)
    await _tell(tx, place)
    return place


async def count(tx: Tx, place: Place, usable: int, more_tonight: int) -> Place:
    """ "How many more tonight, besides those promised?" of `usable` in service. `place` is locked. Raises Refusal
    `places-in-use` where that is more than there can be."""
    outside = usable - place.held - place.staying - more_tonight
    if outside < 0:
        raise Refusal("places-in-use")
    after = replace(place, usable=usable, outside=outside, version=place.version + 1)
    await store.save_counts(tx, after, confirmed=True)
    await _tell(tx, after)
    return after


async def hold(tx: Tx, id_: UUID, places: int) -> None:
    """Promise places. Raises Refusal `place-gone`."""
    place = await store.lock_place(tx, id_)
    if place.free < places:
        raise Refusal("place-gone")
    await _save(tx, replace(place, held=place.held + places))


async def occupy(tx: Tx, id_: UUID, places: int) -> None:
    """Promised places are taken by those who arrived."""
    place = await store.lock_place(tx, id_)
    await _save(tx, replace(place, held=place.held - places, staying=place.staying + places))


async def free(tx: Tx, id_: UUID, places: int, *, before: str) -> None:
    """Places that were `held` or `staying` are free again."""
    place = await store.lock_place(tx, id_)
    staying = places if before == "staying" else 0
    await _save(tx, replace(place, held=place.held - (places - staying), staying=place.staying - staying))


async def leave_taken(tx: Tx, id_: UUID, places: int) -> None:
    """Places of a stay that nobody knows to have ended: taken, but by nobody who is known here, until the house counts anew."""
    place = await store.lock_place(tx, id_)
    await _save(tx, replace(place, staying=place.staying - places, outside=place.outside + places))


async def recount(tx: Tx, id_: UUID, said: CapacityChangedV1 | None) -> bool:
    """After a restore: counters follow from the holds that there are, and from what was `said` of the place last. Said
    anew. False where the place is not known."""
    try:
        place = await store.lock_place(tx, id_)
    except Refusal:
        return False
    held, staying = await store.held_and_staying(tx, id_)
    usable = place.usable if said is None else said.usable
    outside = place.outside if said is None else max(0, said.usable - said.free - held - staying)
    usable = max(usable, outside + held + staying)
    await _save(tx, replace(place, usable=usable, outside=outside, held=held, staying=staying))
    return True


async def tell_all(tx: Tx, network: UUID) -> None:
    """Say every place of a network as it is: somebody else coordinates it now."""
    for id_ in await store.places_in(tx, network):
        await _tell(tx, await store.lock_place(tx, id_))


async def _save(tx: Tx, place: Place) -> None:
    await store.save_counts(tx, place, confirmed=False)
    await _tell(tx, place)


async def _tell(tx: Tx, place: Place) -> None:
    data = CapacityChangedV1(
        network=place.network,
        coordinator=await store.coordinator_of(tx, place.network),
        organisation=place.organisation,
        group=place.service_group,
        area=place.area,
        usable=place.usable,
        free=place.free,
    )
    await say(tx, PLACES, place.id, data)
