"""What *referral* takes in: the holders' hand-offs. One entry per event type; the handlers are the rooms'."""

from __future__ import annotations

from collections.abc import Mapping

from schemas import events as e
from schemas.vocabulary import Urgency
from services.referral.referrals import copies, handlers
from spean.consumer import Handler, Poison
from spean.db import Tx
from spean.event import Event


async def requested(tx: Tx, event: Event) -> None:
    data = event.data()
    assert isinstance(data, e.HandoffRequestedV1)  # noqa: S101 (the registry gave this model for this type)
    if data.urgency is Urgency.UNKNOWN:
        raise Poison("unknown-urgency")
    await handlers.receive(tx, event.subject, _holder(event), data)


async def cancelled(tx: Tx, event: Event) -> None:
    data = event.data()
    assert isinstance(data, e.HandoffCancelledV1)  # noqa: S101 (as above)
    await handlers.cancel(tx, event.subject, _holder(event), data.reason)


async def reopened(tx: Tx, event: Event) -> None:
    await handlers.reopen(tx, event.subject, _holder(event))


async def stopped(tx: Tx, event: Event) -> None:
    data = event.data()
    assert isinstance(data, e.DisclosureStoppedV1)  # noqa: S101 (as above)
    await handlers.stop_disclosure(tx, event.subject, _holder(event), data.offer)


async def released(tx: Tx, event: Event) -> None:
    data = event.data()
    assert isinstance(data, e.PacketReleasedV1)  # noqa: S101 (as above)
    await handlers.release(tx, event.subject, _holder(event), data.offer)


async def refused(tx: Tx, event: Event) -> None:
    data = event.data()
    assert isinstance(data, e.PacketRefusedV1)  # noqa: S101 (as above)
    await handlers.lose_packet(tx, event.subject, _holder(event), data.offer)


async def erasure_requested(tx: Tx, event: Event) -> None:
    data = event.data()
    assert isinstance(data, e.ErasureRequestedV1)  # noqa: S101 (as above)
    await copies.ask(tx, event.subject, _holder(event), data)


async def erasure_acknowledged(tx: Tx, event: Event) -> None:
    data = event.data()
    assert isinstance(data, e.ErasureAcknowledgedV1)  # noqa: S101 (as above)
    await copies.answered(tx, event.subject, _holder(event), data)


def _holder(event: Event) -> str:
    """The holder whose topic this is; the consumer has made sure that it wrote the event."""
    return event.source.rpartition("/")[2]


HANDLERS: Mapping[str, Handler] = {
    "org.spean.handoff.requested.v1": requested,
    "org.spean.handoff.cancelled.v1": cancelled,
    "org.spean.handoff.reopened.v1": reopened,
    "org.spean.disclosure.stopped.v1": stopped,
    "org.spean.packet.released.v1": released,
    "org.spean.packet.refused.v1": refused,
    "org.spean.erasure.requested.v1": erasure_requested,
    "org.spean.erasure.acknowledged.v1": erasure_acknowledged,
}
