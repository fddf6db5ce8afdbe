"""The effects of stopping: what is said to the network and asked of those who hold copies. The gate is shut already."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from schemas import events as e
from schemas.registry import HANDOFF
from schemas.vocabulary import ReasonFamily
from services.intake.handoffs import store
from services.intake.handoffs.store import Handoff
from spean.clock import set_due
from spean.db import Tx
from spean.outbox import say

# Kind of due row: an erasure that nobody answered. Its subject is the offer.
ERASURE_DUE = "erasure"
# A month is what most data-protection laws give a controller to answer; holders are asked for a tenth of it.
ERASURE_ANSWER_DAYS = 3

_BEFORE_ARRIVAL = frozenset(
    {"requested", "received", "offered", "accepted", "ready", "unroutable", "on-hold", "missing"}
)


async def tell(tx: Tx, handoff: UUID, data: e.EventData) -> None:
    await say(tx, HANDOFF, handoff, data)


async def stop_sharing(tx: Tx, entry: UUID) -> None:
    """Every live hand-off of the person: open offers end, holders of copies are asked to erase. No place is freed."""
    for handoff in await store.live_handoffs_with(tx, entry):
        await tell(tx, handoff.id, e.DisclosureStoppedV1())
        await _ask_erasure(tx, handoff)


async def end_service(tx: Tx, entry: UUID, reason: ReasonFamily) -> None:
    """Every live hand-off of the person is cancelled; the network frees a place that nobody has arrived at."""
    for handoff in await store.live_handoffs_with(tx, entry):
        await cancel(tx, handoff, reason)


async def cancel(tx: Tx, handoff: Handoff, reason: ReasonFamily) -> None:
    """The sender, or the person, ends a locked hand-off. After arrival the house is told and nothing is freed."""
    await tell(tx, handoff.id, e.HandoffCancelledV1(reason=reason))
    await tell(tx, handoff.id, e.DisclosureStoppedV1())
    await _ask_erasure(tx, handoff)
    if handoff.state in _BEFORE_ARRIVAL:
        await store.end_packets(tx, handoff.id)
        await store.set_state(tx, handoff.id, "cancelled", None)


async def _ask_erasure(tx: Tx, handoff: Handoff) -> None:
    answer_by = tx.now + timedelta(days=ERASURE_ANSWER_DAYS)
    for packet in await store.packets_of(tx, handoff.id):
        if await store.request_erasure(tx, packet.offer, answer_by):
            asked = e.ErasureRequestedV1(offer=packet.offer, organisation=packet.organisation, answer_by=answer_by)
            await tell(tx, handoff.id, asked)
            await set_due(tx, ERASURE_DUE, packet.offer, answer_by)
