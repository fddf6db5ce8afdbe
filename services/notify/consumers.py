"""What *notify* takes in: everything that a coordinator sees or an organisation is told of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from schemas import events as e
from schemas.registry import PREFIX
from services.notify.dashboards import handlers as dashboards
from services.notify.deliveries import handlers as deliveries
from services.notify.partners import store as partners
from spean.consumer import Handler
from spean.db import Tx
from spean.event import Event

# Nobody is told of something that was said longer ago than this: it has been seen, or a reminder follows.
NEWS_FOR = timedelta(days=1)


async def offer_sent(tx: Tx, event: Event) -> None:
    await dashboards.project(tx, event)
    said = event.data()
    assert isinstance(said, e.OfferSentV1)  # noqa: S101 (the registry gave this model for this type)
    await deliveries.something_waits(tx, event, said.organisation, said.answer_by)


async def escalated(tx: Tx, event: Event) -> None:
    await dashboards.project(tx, event)
    said = event.data()
    assert isinstance(said, e.ReferralEscalatedV1)  # noqa: S101 (as above)
    await deliveries.something_waits(tx, event, said.coordinator, event.time + NEWS_FOR)


async def erasure_requested(tx: Tx, event: Event) -> None:
    await dashboards.project(tx, event)
    said = event.data()
    assert isinstance(said, e.ErasureRequestedV1)  # noqa: S101 (as above)
    await deliveries.something_waits(tx, event, said.organisation, said.answer_by)


async def suspended(tx: Tx, event: Event) -> None:
    await partners.set_suspended(tx, event.subject, event.time)


HANDLERS: Mapping[str, Handler] = {
    **{PREFIX + name: dashboards.project for name in dashboards.APPLY},
    PREFIX + "offer.sent.v1": offer_sent,
    PREFIX + "referral.escalated.v1": escalated,
    PREFIX + "erasure.requested.v1": erasure_requested,
    PREFIX + "organisation.suspended.v1": suspended,
}
