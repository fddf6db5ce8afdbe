"""When a rule ends, by a person or by its date: the same as any stop. The gate reads rules at each answer, so it is shut
at that moment; what is left is to tell the network, and to ask for copies back, which the clock does.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from schemas import questions as q
from services.intake.consent import store as consents
from services.intake.disclosure.handlers import Holder
from services.intake.handoffs import stopping
from services.intake.handoffs import store as handoffs
from services.intake.keystore import endings
from services.intake.rules import store
from spean.clock import clear_due, set_due
from spean.db import Database, Tx
from spean.problem import Refusal

# Kind of due row: a rule's end. Its subject is the rule.
ENDS = "rule-ends"
# Hand-offs looked at in one transaction, which keeps them locked meanwhile.
_AT_ONCE = 100


async def watch_end(tx: Tx, rule: UUID, valid_until: datetime | None) -> None:
    if valid_until is not None:
        await set_due(tx, ENDS, rule, valid_until)


async def end(tx: Tx, holder: Holder, table: str, rule: UUID) -> None:
    """A rule of a table ends now, also where this database is restored from before; who still reads by it is waited for.
    Raises Refusal `not-found`."""
    await consents.lock_rules(tx)
    if not await store.end(tx, table, rule):
        raise Refusal("not-found")
    await endings.remember(tx, holder.keys, rule)
    await set_due(tx, ENDS, rule, tx.now)


async def apply_kept_endings(db: Database, ended: Collection[UUID]) -> None:
    """At every start: a rule that the key store knows to be ended is, whatever the holder's database (perhaps a restored
    backup) says; the clock tells the network once it runs."""
    async with db.transaction("rules.kept") as tx:
        running = await store.running(tx, ended)
        if running:
            await consents.lock_rules(tx)
        for table, rule in running:
            await store.end(tx, table, rule)
            await set_due(tx, ENDS, rule, tx.now)


async def stand(tx: Tx, holder: Holder, question: q.RulesStandQuestion) -> q.RulesStandAnswer:
    """Do the rules let a person of this sender be handed to this recipient at all: need-to-know before and after it has
    accepted, an agreement and, where it is in another country than the holder, a corridor?"""
    sender, recipient = question.sender, question.recipient
    found = await store.in_force(
        tx, {question.network}, {question.group}, {sender.organisation}, {recipient.organisation}
    )
    known = {rule.stage for rule in found.need_to_know} >= {"offer", "packet"}
    way = {(rule.from_country, rule.to_country) for rule in found.corridors} | {(holder.country, holder.country)}
    crossing = (holder.country, recipient.country) in way
    return q.RulesStandAnswer(stand=known and bool(found.agreements) and crossing)


async def ended(db: Database, holder: Holder, rule: UUID) -> None:
    """The clock: a rule has ended. Every hand-off that it reached is looked at again."""
    after = UUID(int=0)
    while True:
        async with db.transaction("rule.ended") as tx:
            reach = await store.reach(tx, rule)
            found = [] if reach is None else await handoffs.lock_reached(tx, reach, after, _AT_ONCE)
            await stopping.look_again(tx, holder, found)
            if len(found) < _AT_ONCE:
                await clear_due(tx, ENDS, rule)
                return
            after = found[-1].id
