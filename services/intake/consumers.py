"""What the holder takes in: the network's words about its hand-offs, and who is suspended."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from uuid import UUID

from schemas import events as e
from services.intake import restored
from services.intake.disclosure.handlers import Holder
from services.intake.handoffs import domain, handlers, store, yeses
from spean.consumer import Handler, Poison
from spean.db import Tx
from spean.event import Event
from spean.problem import Refusal


async def followed(tx: Tx, event: Event) -> None:
    """The hand-off is where the network says. Another holder's hand-offs pass without effect."""
    if not await _mine(tx, event.subject):
        return
    said = event.data()
    if isinstance(said, e.ReferralReceivedV1) and said.holder not in {None, tx.holder}:
        raise Poison("another-holder")  # it would ask somebody else about our people, and believe them
    verified = said.verified if isinstance(said, e.ReferralArrivedV1) else None
    if isinstance(said, e.ReferralVerifiedV1):
        verified = True
    waits_for = said.waits_for if isinstance(said, e.ReferralHeldV2) else None
    offer = getattr(said, "offer", None)
    await handlers.follow(tx, event.subject, event.type, offer, verified=verified, waits_for=waits_for)
    if isinstance(said, e.OfferSentV1):
        await yeses.sent(tx, event.subject, said.organisation, said.offer)
    elif event.type in domain.OFFER_ENDS and offer is not None:
        await yeses.over(tx, event.subject, offer)


async def accepted(holder: Holder, tx: Tx, event: Event) -> None:
    if not await _mine(tx, event.subject):
        return
    data = event.data()
    assert isinstance(data, e.OfferAcceptedV1)  # noqa: S101 (the registry gave this model for this type)
    try:
        released = await handlers.release(tx, holder, event.subject, data.offer, data.organisation)
    except Refusal as refusal:
        if not await restored.is_restored(tx, event.subject):
            raise Poison(refusal.code) from None
        released = False
    if not released:
        await handlers.refuse_packet(tx, event.subject, data.offer)


async def suspended(tx: Tx, event: Event) -> None:
    await store.set_suspended(tx, event.subject)


async def reinstated(tx: Tx, event: Event) -> None:
    await store.forget_suspended(tx, event.subject)


async def _mine(tx: Tx, handoff: UUID) -> bool:
    try:
        await store.find_handoff(tx, handoff)
    except Refusal:
        return False
    return True


def handlers_for(holder: Holder) -> Mapping[str, Handler]:
    """One entry per event type."""
    return {
        **dict.fromkeys(domain.STATE_AFTER, followed),
        "org.spean.offer.accepted.v1": partial(accepted, holder),
        "org.spean.organisation.suspended.v1": suspended,
        "org.spean.organisation.reinstated.v1": reinstated,
    }
