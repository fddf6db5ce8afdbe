"""Events become what a coordinator sees. Every handler changes rows by the event alone, so a replay gives the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from schemas import events as e
from schemas.events import EventData
from services.notify.dashboards import store
from spean.db import Tx
from spean.event import Event

# As long as the bus keeps it: what is older is history, not news, also where it is said again.
TAIL_FOR = timedelta(days=14)
_Apply = Callable[[Tx, Event, Any], Awaitable[None]]


async def _received(tx: Tx, event: Event, said: e.ReferralReceivedV1) -> None:
    await store.save_referral(tx, event.subject, said)


async def _offered(tx: Tx, event: Event, _: EventData) -> None:
    await store.set_offered(tx, event.subject)


async def _waiting(tx: Tx, event: Event, _: EventData) -> None:
    await store.set_state(tx, event.subject, "requested")


async def _accepted(tx: Tx, event: Event, _: EventData) -> None:
    await store.set_answered(tx, event.subject, event.time)


async def _ready(tx: Tx, event: Event, _: EventData) -> None:
    await store.set_ready(tx, event.subject, event.time)


async def _arrived(tx: Tx, event: Event, said: e.ReferralArrivedV1) -> None:
    await store.set_arrived(tx, event.subject, at=event.time, verified=said.verified)


async def _verified(tx: Tx, event: Event, _: EventData) -> None:
    await store.set_verified(tx, event.subject)


async def _reassigned(tx: Tx, event: Event, said: e.ReferralReassignedV1) -> None:
    await store.set_coordinator(tx, event.subject, said.coordinator)


async def _unroutable(tx: Tx, event: Event, _: EventData) -> None:
    await store.set_state(tx, event.subject, "unroutable")


async def _held(tx: Tx, event: Event, said: e.ReferralHeldV2) -> None:
    await store.set_held(tx, event.subject, said.waits_for, event.time)


async def _missing(tx: Tx, event: Event, _: EventData) -> None:
    await store.set_state(tx, event.subject, "missing")


async def _reopened(tx: Tx, event: Event, _: EventData) -> None:
    await store.set_reopened(tx, event.subject, event.time)


async def _completed(tx: Tx, event: Event, _: EventData) -> None:
    await store.set_ended(tx, event.subject, "completed", event.time)


async def _cancelled(tx: Tx, event: Event, _: EventData) -> None:
    await store.set_ended(tx, event.subject, "cancelled", event.time)


async def _escalated(tx: Tx, event: Event, said: e.ReferralEscalatedV1) -> None:
    await store.set_escalated(tx, event.subject, said.reason, event.time)


async def _capacity(tx: Tx, event: Event, said: e.CapacityChangedV1) -> None:
    await store.save_capacities(tx, {event.subject: said})


async def _erasure_requested(tx: Tx, event: Event, said: e.ErasureRequestedV1) -> None:
    await store.save_erasure(tx, event.subject, said.offer, "requested", said.answer_by)


async def _erasure_answered(tx: Tx, event: Event, said: e.ErasureAcknowledgedV1) -> None:
    await store.save_erasure(tx, event.subject, said.offer, said.answer)


async def _erasure_overdue(tx: Tx, event: Event, said: e.ErasureOverdueV1) -> None:
    await store.save_erasure(tx, event.subject, said.offer, "overdue")


async def _nothing(tx: Tx, event: Event, _: EventData) -> None:
    """Only shown in the tail."""


APPLY: Mapping[str, _Apply] = {
    "referral.received.v1": _received,
    "offer.sent.v1": _offered,
    "offer.seen.v1": _nothing,
    "offer.accepted.v1": _accepted,
    "offer.declined.v1": _waiting,
    "offer.expired.v1": _waiting,
    "offer.withdrawn.v1": _waiting,
    "referral.unroutable.v1": _unroutable,
    "referral.held.v2": _held,
    "referral.reopened.v1": _reopened,
    "referral.ready.v1": _ready,
    "referral.departed.v1": _nothing,
    "referral.arrived.v1": _arrived,
    "referral.verified.v1": _verified,
    "referral.missing.v1": _missing,
    "referral.completed.v1": _completed,
    "referral.cancelled.v1": _cancelled,
    "referral.escalated.v1": _escalated,
    "handoff.changed.v1": _nothing,
    "packet.refused.v1": _nothing,
    "packet.fetched.v1": _nothing,
    "delivery.succeeded.v1": _nothing,
    "delivery.failed.v1": _nothing,
    "delivery.parked.v1": _nothing,
    "referral.reassigned.v1": _reassigned,
    "capacity.changed.v1": _capacity,
    "erasure.requested.v1": _erasure_requested,
    "erasure.acknowledged.v1": _erasure_answered,
    "erasure.overdue.v1": _erasure_overdue,
}


async def project(tx: Tx, event: Event) -> None:
    """Apply one event to the projections, and to the tail where it is not older than that is kept."""
    said = event.data()
    await APPLY[_short(event)](tx, event, said)
    if _is_news(tx, event):
        await store.append_tail(tx, [_shown(event, *await _whose(tx, event, said))])


async def project_capacities(tx: Tx, events: Sequence[Event]) -> None:
    """The same for many changes of places: of each place the last one stands."""
    stand: dict[UUID, e.CapacityChangedV1] = {}
    shown: list[store.Shown] = []
    for event in events:
        said = event.data()
        assert isinstance(said, e.CapacityChangedV1)  # noqa: S101 (the registry gave this model for this type)
        # What a place is was said with its first event.
        now = {"coordinator": said.coordinator, "usable": said.usable, "free": said.free}
        first = stand.get(event.subject)
        stand[event.subject] = said if first is None else first.model_copy(update=now)
        shown += [_shown(event, said.coordinator, said.area)] if _is_news(tx, event) else []
    await store.save_capacities(tx, stand)
    await store.append_tail(tx, shown)


def _short(event: Event) -> str:
    return event.type.removeprefix("org.spean.")


def _is_news(tx: Tx, event: Event) -> bool:
    return event.time >= tx.now - TAIL_FOR


def _shown(event: Event, coordinator: UUID | None, area: str | None) -> store.Shown:
    # Nearer than the minute would help somebody who watches a door.
    minute = event.time.replace(second=0, microsecond=0)
    return store.Shown(event.id, coordinator, _short(event), area and area[:2], minute)


async def forget_old(tx: Tx) -> None:
    """What the tail has shown for long enough, and what waits for a referral that no network has: its word would be gone
    from the bus. The tail's numbers go on."""
    await store.trim_tail(tx, tx.now - TAIL_FOR)
    await store.trim_early(tx, tx.now - TAIL_FOR)


async def _whose(tx: Tx, event: Event, said: EventData) -> tuple[UUID | None, str | None]:
    if isinstance(said, e.CapacityChangedV1):
        return said.coordinator, said.area
    if isinstance(said, e.DeliverySucceededV1 | e.DeliveryFailedV1 | e.DeliveryParkedV1):
        return await store.coordinator_of_delivery(tx, event.subject), None
    return await store.coordinator_and_area(tx, event.subject)
