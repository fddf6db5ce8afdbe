"""Telling after its database was restored from a backup: what was told is not told again.

Projections follow by themselves, from others' events that come again. A delivery that is forgotten is known again by the
event that it told of, so that the same event leads to no second one.
"""

from __future__ import annotations

from schemas import events as e
from schemas.registry import DELIVERIES, PREFIX
from services.notify.deliveries import handlers, store
from spean.clock import clear_due
from spean.db import Tx
from spean.event import Event
from spean.rejoin import Causes, Own, Taken


async def _sent(tx: Tx, event: Event, _: Causes) -> None:
    await _over(tx, event, "sent")


async def _parked(tx: Tx, event: Event, _: Causes) -> None:
    await _over(tx, event, "parked")


async def _over(tx: Tx, event: Event, state: str) -> None:
    """Nothing goes out for it any more."""
    said = event.data()
    assert isinstance(said, e.DeliverySucceededV1 | e.DeliveryParkedV1)  # noqa: S101 (the models of these types)
    row = await store.lock_delivery(tx, event.subject)
    tries = getattr(said, "tries", 1 if row is None else row["tries"] + 1)
    if row is None:
        if event.causationid is None:
            return  # said by a release that did not say what it told of
        await store.insert_delivery(tx, event.subject, event.causationid, said.organisation, event.time, None)
    await store.set_delivery(tx, event.subject, state, tries)
    await clear_due(tx, handlers.SEND, event.subject)


async def _failed(tx: Tx, event: Event, _: Causes) -> None:
    """Of one that is forgotten nothing is kept: it is prepared again, and tried from the first."""
    said = event.data()
    assert isinstance(said, e.DeliveryFailedV1)  # noqa: S101 (the registry gave this model for this type)
    row = await store.lock_delivery(tx, event.subject)
    if row is not None and row["state"] in {"waiting", "sending"}:
        await store.set_delivery(tx, event.subject, "waiting", said.tries)


async def _settle(tx: Tx, taken: Taken) -> None:
    """Nothing is left to say."""


def own() -> Own:
    """Others' events take effect again: they make the projections, and no delivery twice."""
    return Own(
        topics=[DELIVERIES.name],
        take={
            PREFIX + "delivery.succeeded.v1": _sent,
            PREFIX + "delivery.parked.v1": _parked,
            PREFIX + "delivery.failed.v1": _failed,
        },
        settle=_settle,
        passes=False,
    )
