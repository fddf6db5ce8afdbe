"""What *notify* takes in: everything that a coordinator sees or an organisation is told of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from schemas import events as e
from schemas.registry import PREFIX, TOPIC_OF
from services.notify.dashboards import belief
from services.notify.dashboards import handlers as dashboards
from services.notify.dashboards import store as dashboard_store
from services.notify.deliveries import handlers as deliveries
from services.notify.partners import store as partners
from spean.consumer import Handler, Together
from spean.db import Tx
from spean.event import Event

# Nobody is told of something that was said longer ago than this: it has been seen, or a reminder follows.
NEWS_FOR = timedelta(days=1)


async def offer_sent(tx: Tx, event: Event) -> None:
    await dashboards.project(tx, event)
    said = event.data()
    assert isinstance(said, e.OfferSentV1)  # noqa: S101 (the registry gave this model for this type)
    await _something_waits(tx, event, said.organisation, said.answer_by)


async def escalated(tx: Tx, event: Event) -> None:
    await dashboards.project(tx, event)
    said = event.data()
    assert isinstance(said, e.ReferralEscalatedV1)  # noqa: S101 (as above)
    await deliveries.something_waits(tx, event, said.coordinator, event.time + NEWS_FOR, said.coordinator)


async def erasure_requested(tx: Tx, event: Event) -> None:
    await dashboards.project(tx, event)
    said = event.data()
    assert isinstance(said, e.ErasureRequestedV1)  # noqa: S101 (as above)
    await _something_waits(tx, event, said.organisation, said.answer_by)


async def erasure_overdue(tx: Tx, event: Event) -> None:
    """Whoever was asked is told again, and so is the coordinator, who may telephone."""
    await dashboards.project(tx, event)
    said = event.data()
    assert isinstance(said, e.ErasureOverdueV1)  # noqa: S101 (as above)
    until = event.time + NEWS_FOR
    await _something_waits(tx, event, said.organisation, until)
    coordinator, _ = await dashboard_store.coordinator_and_area(tx, event.subject)
    if coordinator is not None and coordinator != said.organisation:
        await deliveries.something_waits(tx, event, coordinator, until, coordinator)


async def _something_waits(tx: Tx, event: Event, organisation: UUID, until: datetime) -> None:
    """About a referral: who coordinates it sees what became of the notice."""
    coordinator, _ = await dashboard_store.coordinator_and_area(tx, event.subject)
    await deliveries.something_waits(tx, event, organisation, until, coordinator)


async def registered(tx: Tx, event: Event) -> None:
    await partners.save_organisation(tx, event.subject)


async def suspended(tx: Tx, event: Event) -> None:
    await partners.set_suspended(tx, event.subject, event.time)


async def reinstated(tx: Tx, event: Event) -> None:
    await partners.forget_suspended(tx, event.subject)


async def asked(tx: Tx, event: Event) -> None:
    """About the organisation itself: no coordinator has to do with it."""
    said = event.data()
    assert isinstance(said, e.OrganisationAskedV1)  # noqa: S101 (as above)
    await deliveries.something_waits(tx, event, event.subject, said.answer_by, None)


_TAKES: Mapping[str, Handler] = {
    **{PREFIX + name: dashboards.project for name in dashboards.APPLY},
    PREFIX + "capacity.changed.v1": Together(dashboards.project_capacities),
    PREFIX + "offer.sent.v1": offer_sent,
    PREFIX + "referral.escalated.v1": escalated,
    PREFIX + "erasure.requested.v1": erasure_requested,
    PREFIX + "erasure.overdue.v1": erasure_overdue,
    PREFIX + "organisation.registered.v1": registered,
    PREFIX + "organisation.suspended.v1": suspended,
    PREFIX + "organisation.reinstated.v1": reinstated,
    PREFIX + "organisation.asked.v1": asked,
}
_HOLDERS = {name: handler for name, handler in _TAKES.items() if TOPIC_OF[name].per_holder}


async def received(only: str | None, tx: Tx, event: Event) -> None:
    await dashboards.project(tx, event)
    await belief.take_early(tx, event, _HOLDERS, only)


def handlers_for(only: str | None) -> Mapping[str, Handler]:
    """One entry per event type. `only`: the installation's only holder; None where it has several."""
    return {
        **_TAKES,
        **{name: belief.believed(handler, only) for name, handler in _HOLDERS.items()},
        PREFIX + "referral.received.v1": partial(received, only),
    }


HANDLERS = handlers_for(None)
