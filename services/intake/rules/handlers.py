"""When a rule ends, by a person or by its date: the same as any stop. The gate reads rules at each answer, so it is shut
at that moment; what is left is to tell the network, which withdraws offers that are no longer allowed."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from schemas.events import DisclosureStoppedV1
from schemas.registry import HANDOFF
from services.intake.handoffs import store as handoffs
from spean.clock import clear_due, set_due
from spean.db import Database, Tx
from spean.outbox import say

# Kind of due row: a rule's end date. Its subject is the rule.
ENDS = "rule-ends"


async def watch_end(tx: Tx, rule: UUID, valid_until: datetime | None) -> None:
    if valid_until is not None:
        await set_due(tx, ENDS, rule, valid_until)


async def ended(db: Database, rule: UUID) -> None:
    """The clock: a rule's date has come."""
    async with db.transaction("rule.ended") as tx:
        await look_again(tx)
        await clear_due(tx, ENDS, rule)


async def look_again(tx: Tx) -> None:
    """Every hand-off with an offer that waits for an answer is offered anew, to whom the gate allows now."""
    for handoff in await handoffs.offered(tx):
        await say(tx, HANDOFF, handoff, DisclosureStoppedV1())
