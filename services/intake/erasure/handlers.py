"""Erasing somebody: asked for and shut in one transaction; then, when that has committed, the key is destroyed and what is in
the clear is reduced. What cannot be taken back is done by whoever comes first, the caller or the clock, and only once the
row that says why is there."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from services.intake.cases import store as cases
from services.intake.consent import handlers as consent
from services.intake.consent import store as consents
from services.intake.disclosure.handlers import Holder
from services.intake.drafts import handlers as drafts
from services.intake.erasure import store
from services.intake.erasure.domain import Life, Rule, Why, kept_until
from services.intake.erasure.store import Erasure
from services.intake.keystore.store import Destroyed
from spean import telemetry
from spean.clock import clear_due, set_due
from spean.crypto import Unopenable, seal, unseal
from spean.db import Database, Tx
from spean.ids import opaque_id
from spean.problem import Refusal

# Kind of due row: somebody is to be erased, because it was asked for or because of a rule. Its subject is the entry.
DUE = "erase"
_CLOCK = "clock"
# Whether somebody still has the person.
_LOOK_AGAIN = timedelta(hours=1)
_FIRST = UUID(int=0)
# People looked at in one statement, and erased in one hour at most: the clock has other things to do.
_PAGE, _AN_HOUR = 1_000, 500


@dataclass(frozen=True, slots=True)
class Hold:
    """`reason`: None where it cannot be read any more."""

    id: UUID
    reason: str | None
    by: str
    at: datetime
    until: datetime
    lifted_by: str | None
    lifted_at: datetime | None


async def begin(tx: Tx, holder: Holder, entry: UUID, why: Why, by: str) -> Erasure:
    """Somebody is to be erased: their fence is shut for all, drafts about them are over, whoever holds a copy is asked to erase
    it, and the clock does the rest (`carry_out`). Where the sender's side has ended a hand-off and somebody has the person, who
    has them reads on until it is over; nobody else reads anything. Said again it changes nothing more. Raises Refusal
    `not-found`, `legal-hold`, `handoff-live`."""
    fence = await consent.lock(tx, entry)
    before = await store.find(tx, entry)
    if before is not None:
        return before
    if await store.held(tx, entry):
        raise Refusal("legal-hold")
    if await store.live(tx, entry):
        raise Refusal("handoff-live")
    await store.insert(tx, entry, why, by)
    await drafts.forget(tx, entry)
    if not await store.with_somebody(tx, entry):
        await consent.shut(tx, holder, entry, fence)
    await set_due(tx, DUE, entry, tx.now)
    return Erasure(entry, why, by, tx.now, None)


async def carry_out(db: Database, holder: Holder, entry: UUID) -> bool:
    """Destroy the key of somebody whose erasure was asked for, and reduce what is in the clear. False where nothing was to be
    done, or somebody has the person: then the clock looks again. Stopped anywhere it is done again, from the start. Raises
    Refusal `not-found`, Silent, DatabaseProblem."""
    async with db.transaction("erasure.carry_out") as tx:
        fence = await consents.lock_fence(tx, entry)
        found = await store.find(tx, entry)
        if found is None or found.done_at is not None:
            await clear_due(tx, DUE, entry)
            return False
        if found.why is not Why.KEY_DESTROYED and await store.with_somebody(tx, entry):
            await store.put_away(tx, entry)
            await set_due(tx, DUE, entry, tx.now + _LOOK_AGAIN)
            return False
        await holder.keys.destroy(entry)
        if not (fence.sharing_shut and fence.service_shut):  # recorded between the two transactions
            await consent.shut(tx, holder, entry, fence)
        await drafts.forget(tx, entry)  # also one that was being begun as this was asked for
        await store.reduce(tx, entry)
        # What the clock waits for says when they come of age: it looks once more, and finds no such day.
        await set_due(tx, consent.LOOK, entry, tx.now)
        await store.set_done(tx, entry)
        await clear_due(tx, DUE, entry)
    telemetry.add("spean.erased", reason=found.why)
    return True


async def expect_done(tx: Tx, entry: UUID) -> None:
    """Raises Refusal `handoff-live` where it is asked for, and somebody still has the person."""
    found = await store.find(tx, entry)
    if found is not None and found.done_at is None:
        raise Refusal("handoff-live")


async def as_told(tx: Tx, found: Erasure) -> Erasure:
    """An erasure as the person's own organisation may see it."""
    return replace(found, done_at=None) if await store.is_quiet(tx, found.entry) else found


async def due(db: Database, holder: Holder, entry: UUID) -> None:
    """The clock: an erasure was asked for, or a rule of retention may have come to somebody's end."""
    async with db.transaction("erasure.due") as tx:
        await consents.lock_fence(tx, entry)
        if await store.find(tx, entry) is None:
            if not _is_over(await store.life(tx, entry), await store.in_force(tx), tx.now):
                await clear_due(tx, DUE, entry)
                return
            await begin(tx, holder, entry, Why.RETENTION, _CLOCK)
    await carry_out(db, holder, entry)


async def overdue(tx: Tx, most: int) -> list[UUID]:
    """Whose time is over by the rules in force, ids ascending."""
    rules = await store.in_force(tx)
    if not rules:
        return []
    since = tx.now - timedelta(days=min(rule.days for rule in rules))
    found: list[UUID] = []
    after = _FIRST
    while len(found) < most and (page := await store.lives(tx, after, since, _PAGE)):
        found += [life.entry for life in page if _is_over(life, rules, tx.now)]
        after = page[-1].entry
    return found[:most]


async def would_erase(tx: Tx, rule: Rule, begins: datetime, most: int) -> int:
    """How many of the people now with the holder would be erased as soon as this rule begins, and not without it, if nothing
    more happens to them; at most `most`."""
    before, same = await store.in_force(tx), (rule.applies, rule.group, rule.end)
    rules = [*(one for one in before if (one.applies, one.group, one.end) != same), rule]
    since, after, found = begins - timedelta(days=rule.days), _FIRST, 0
    while found < most and (page := await store.lives(tx, after, since, _PAGE)):
        found += sum(_is_over(one, rules, begins) and not _is_over(one, before, begins) for one in page)
        after = page[-1].entry
    return min(found, most)


def _is_over(life: Life | None, rules: Collection[Rule], now: datetime) -> bool:
    if life is None:
        return False
    until = kept_until(life, tuple(rules))
    return until is not None and until <= now


async def look_for_overdue(tx: Tx) -> None:
    """Once an hour: whose time is over is the clock's to erase, each in a transaction of their own."""
    for entry in await overdue(tx, _AN_HOUR):
        await set_due(tx, DUE, entry, tx.now)


async def apply_destroyed(tx: Tx, destroyed: Collection[UUID]) -> list[UUID]:
    """At every start: of whom the key store says that their key is destroyed, nothing that was reduced comes back with a
    restored backup. Returns who was erased of whom the key store does not say it: it was put back itself."""
    found = await store.find_unreduced(tx, destroyed)
    for entry in found:
        if await store.find(tx, entry) is None:
            await store.insert(tx, entry, Why.KEY_DESTROYED, _CLOCK)
        await set_due(tx, DUE, entry, tx.now)
    return await store.done_beside(tx, destroyed)


# --- legal holds ----------------------------------------------------------------------------------------------------


async def put_hold(tx: Tx, holder: Holder, entry: UUID, reason: str, until: datetime, by: str) -> UUID:
    """Nobody erases this person until then. Raises Refusal `not-found`, `invalid` for a time that is over, `erased`."""
    if until <= tx.now:
        raise Refusal("invalid", errors=[{"at": "body.until", "why": "is_over"}])
    await consent.lock(tx, entry)
    if await store.find(tx, entry) is not None:
        raise Refusal("erased")
    id_ = opaque_id()
    sealed = seal(await holder.keys.key(entry), json.dumps(reason).encode(), _context(id_))
    await store.insert_hold(tx, id_, entry, sealed, until, by)
    return id_


async def lift_hold(tx: Tx, entry: UUID, id_: UUID, by: str) -> None:
    """Raises Refusal `not-found`, also where it stands no more."""
    await consent.lock(tx, entry)
    if not await store.lift(tx, id_, entry, by):
        raise Refusal("not-found")


async def holds(tx: Tx, holder: Holder, entry: UUID) -> list[Hold]:
    """All that there were, with their reasons. Raises Refusal `not-found`, Silent."""
    await cases.find_entry(tx, entry)
    try:
        key = await cases.own_key(tx, holder.keys, entry)
    except Destroyed:
        key = None
    return [
        Hold(
            row["id"], _reason(key, row["id"], row["sealed"]), row["by"], row["at"], row["until"], row["lifted_by"],
            row["lifted_at"],
        )
        for row in await store.holds(tx, entry)
    ]  # fmt: skip


def _reason(key: bytes | None, id_: UUID, sealed: bytes) -> str | None:
    if key is None:
        return None
    try:
        return str(json.loads(unseal(key, sealed, _context(id_))))
    except Unopenable:
        return None


def _context(hold: UUID) -> str:
    return f"legal_hold/{hold}/reason/1"
