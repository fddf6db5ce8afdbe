"""What *referral* takes in: the holders' hand-offs. One entry per event type; the handlers are the rooms'."""

from __future__ import annotations

from collections.abc import Mapping

from schemas import events as e
from services.referral.referrals import handlers
from spean.consumer import Handler, Poison
from spean.db import Tx
from spean.event import Event
from spean.problem import Refusal


async def requested(tx: Tx, event: Event) -> None:
    data = event.data()
    assert isinstance(data, e.HandoffRequestedV1)  # noqa: S101 (the registry gave this model for this type)
    try:
        await handlers.receive(tx, event.subject, event.source.rpartition("/")[2], data)
    except Refusal as refusal:
        raise Poison(refusal.code) from None


async def cancelled(tx: Tx, event: Event) -> None:
    data = event.data()
    assert isinstance(data, e.HandoffCancelledV1)  # noqa: S101 (as above)
    await handlers.cancel(tx, event.subject, data.reason)


async def stopped(tx: Tx, event: Event) -> None:
    await handlers.stop_disclosure(tx, event.subject)


async def released(tx: Tx, event: Event) -> None:
    data = event.data()
    assert isinstance(data, e.PacketReleasedV1)  # noqa: S101 (as above)
    await handlers.release(tx, event.subject, data.offer)


HANDLERS: Mapping[str, Handler] = {
    "org.spean.handoff.requested.v1": requested,
    "org.spean.handoff.cancelled.v1": cancelled,
    "org.spean.disclosure.stopped.v1": stopped,
    "org.spean.packet.released.v1": released,
}
