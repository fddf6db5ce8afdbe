"""Whose word counts about a referral: the network's, and that of the one holder that it belongs to.

Between topics there is no order, so a holder may be heard before the network: what it said waits until it is known whose
referral it is, and nobody is told of it before.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from services.notify.dashboards import store
from spean.consumer import Handler, Poison
from spean.db import Tx
from spean.event import Event, parse
from spean.problem import Refusal

log = logging.getLogger(__name__)


def believed(handler: Handler, only: str | None) -> Handler:
    """What a holder says goes to `handler` where the referral is its own, and waits where nobody knows the referral yet.
    `only`: the installation's only holder, where there is no other, whose are the referrals of which the network did not
    say whose. Raises Refusal `not-found` for another holder's referral, Poison for one that could be anybody's."""

    async def hear(tx: Tx, event: Event) -> None:
        if not await store.is_known(tx, event.subject):
            # Whoever takes in the network's word at this moment is waited for, or finds what is kept here.
            await store.lock_head(tx)
            if not await store.is_known(tx, event.subject):
                await store.keep_early(tx, event, _speaker(event))
                return
        holder = await store.holder_of(tx, event.subject) or only
        if holder is None:
            raise Poison("unknown-holder")
        if holder != _speaker(event):
            raise Refusal("not-found")
        await handler(tx, event)

    return hear


async def take_early(tx: Tx, event: Event, handlers: Mapping[str, Handler], only: str | None) -> None:
    """The network has said whose the referral of this event is: what its holder said before takes effect, in its order.
    What others said is dropped."""
    await store.lock_head(tx)
    holder = await store.holder_of(tx, event.subject) or only
    if holder is None:
        return
    others = 0
    for speaker, record in await store.pop_early(tx, event.subject):
        if speaker == holder:
            said = parse(record).newest()
            await handlers[said.type](tx, said)
        else:
            others += 1
    if others:
        log.error("another holder's word is not believed", extra={"count": others})


def _speaker(event: Event) -> str:
    """The holder whose topic this is; the consumer has made sure that it wrote the event."""
    return event.source.rpartition("/")[2]
