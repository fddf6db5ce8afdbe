"""What a person decides, and stopping. A fence is shut in the holder's own transaction and, before that commits, in the
key store: true before any event is published, and true again after a restored backup.

A stop waits for nobody. Where the key store does not answer, the fence is shut here all the same (nobody can be read while
it is silent), the network hears at once that something stopped, so that the log remembers it too, and the clock writes it
there, and looks at what is to be erased, once it answers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from schemas.vocabulary import ConsentDecision, ConsentState, DataCategory, Purpose
from services.intake.cases import store as cases
from services.intake.consent import store
from services.intake.consent.store import Record
from services.intake.disclosure.domain import Exclusion
from services.intake.disclosure.handlers import Holder
from services.intake.handoffs import stopping
from services.intake.handoffs import store as handoffs
from services.intake.handoffs.store import Handoff
from services.intake.keystore.store import Fence, Silent
from spean.clock import clear_due, set_due
from spean.db import Database, Tx
from spean.problem import Refusal

log = logging.getLogger(__name__)
_SERVICE, _SHARING = ConsentDecision.SERVICE, ConsentDecision.SHARE_REFERRAL
# Kind of due row: the next of a person's consents ends, or a fence was shut at a start. Its subject is the entry.
LOOK = "consent-look"
# Kind of due row: a fence that the key store has not been told of. Its subject is the entry.
KEEP = "fence-keep"
# How long until a key store that was silent is asked again: soon, for a backup restored meanwhile would not know of it.
AGAIN = timedelta(seconds=5)


async def record(tx: Tx, holder: Holder, entry_id: UUID, fence: Fence, decided: Record) -> int:
    """Write down that a person, whose fence is locked, gives or refuses something. Returns the record's version. Given,
    it opens what was shut; where it is narrower than before, or refused, it stops what it no longer covers. Raises
    Refusal `consent-dates`."""
    if decided.valid_from > tx.now or (decided.valid_until is not None and decided.valid_until <= decided.valid_from):
        raise Refusal("consent-dates")
    if decided.state is not ConsentState.GIVEN:
        return await _stop(tx, holder, entry_id, fence, decided)
    last = await store.current(tx, entry_id)
    version = await store.insert(tx, entry_id, decided)
    opened = _opened(fence, decided.decision)
    if decided.decision in last and last[decided.decision]["state"] == ConsentState.GIVEN:
        await _remember(holder, entry_id, opened)
    await store.save_fence(tx, entry_id, opened)
    await _look(tx, holder, entry_id, await handoffs.lock_concerned(tx, entry_id))
    return version


async def exclude(tx: Tx, holder: Holder, entry_id: UUID, exclusion: Exclusion, by: str) -> None:
    """Never to this organisation (or type). Beats every consent, at once. Raises Refusal `not-found`."""
    fence = await lock(tx, entry_id)
    await store.insert_exclusion(tx, entry_id, exclusion, by)
    later = replace(fence, generation=fence.generation + 1)
    await _remember(holder, entry_id, later)
    await store.save_fence(tx, entry_id, later)
    await _look(tx, holder, entry_id, await handoffs.lock_concerned(tx, entry_id))


async def withdraw(tx: Tx, holder: Holder, entry_id: UUID, decision: ConsentDecision, by: str) -> None:
    """Take consent back; needs no reason and is never refused. Withdrawn service shuts all sharing with it; withdrawn
    sharing never costs a place. Saying it twice changes nothing more. Raises Refusal `not-found`."""
    fence = await lock(tx, entry_id)
    last = await store.current(tx, entry_id)
    given = any(last[one]["state"] == ConsentState.GIVEN for one in _with(decision) if one in last)
    if _shut(fence, decision) != fence or given:
        language = last[decision]["language"] if decision in last else "und"
        await _stop(tx, holder, entry_id, fence, _withdrawn(tx, decision, by, language))


async def lock(tx: Tx, entry_id: UUID) -> Fence:
    """Lock the fence of a person whom the caller may see. Raises Refusal `not-found`."""
    await cases.find_entry(tx, entry_id)
    return await store.lock_fence(tx, entry_id)


async def _stop(tx: Tx, holder: Holder, entry_id: UUID, fence: Fence, decided: Record) -> int:
    """Record a refusal or a withdrawal, of the service also for sharing, and shut. The key store comes first: if this
    transaction fails then, it is shut too much, never too little. A silent one comes later."""
    last = await store.current(tx, entry_id)
    versions = [await store.insert(tx, entry_id, decided)]
    for other in _with(decided.decision) - {decided.decision}:
        if other in last and last[other]["state"] == ConsentState.GIVEN:
            follows = _withdrawn(tx, other, decided.recorded_by, decided.language)
            versions.append(await store.insert(tx, entry_id, follows))
    shut = _shut(fence, decided.decision)
    kept = await _kept(holder, entry_id, shut)
    await store.save_fence(tx, entry_id, shut)
    found = await handoffs.lock_concerned(tx, entry_id)
    if decided.decision is _SERVICE:
        await stopping.end_service(tx, found)
    if kept:
        await _look(tx, holder, entry_id, found)
    else:
        await set_due(tx, KEEP, entry_id, tx.now)
        if decided.decision is not _SERVICE:
            await stopping.stop_unread(tx, found)
    return versions[0]


async def _remember(holder: Holder, entry_id: UUID, later: Fence) -> None:
    """What is narrower now is in no fence. For the key store it counts as shut at this generation, which means nothing as
    long as the holder's database has it too; where that is restored from before, sharing is shut until they were asked
    again. A silent key store is not waited for."""
    await _kept(holder, entry_id, replace(later, sharing_shut=True))


async def _kept(holder: Holder, entry_id: UUID, fence: Fence) -> bool:
    """Write a fence to the key store. False where that is silent."""
    try:
        await holder.keys.write_fence(entry_id, fence)
    except Silent:
        log.warning("the key store is silent: what it is to keep is not there yet")
        return False
    return True


async def keep(db: Database, holder: Holder, entry_id: UUID) -> None:
    """The clock: a fence is not in the key store yet. Then the network is told, too. What was opened again meanwhile is
    not written: the key store only ever shuts."""
    async with db.transaction("fence.read") as tx:
        fence = await store.find_fence(tx, entry_id)
    kept = not (fence.sharing_shut or fence.service_shut) or await _kept(holder, entry_id, fence)
    async with db.transaction("fence.kept") as tx:
        if not kept:
            await set_due(tx, KEEP, entry_id, tx.now + AGAIN)
        elif await store.lock_fence(tx, entry_id) != fence:
            await set_due(tx, KEEP, entry_id, tx.now)  # it was changed meanwhile, perhaps without the key store again
        else:
            await clear_due(tx, KEEP, entry_id)
            await set_due(tx, LOOK, entry_id, tx.now)


async def _look(tx: Tx, holder: Holder, entry_id: UUID, found: Sequence[Handoff]) -> None:
    """What the gate may no longer allow for this person, in these locked hand-offs, is stopped; the clock looks again when
    the next consent ends. While the key store is silent nobody is read, and whom to tell cannot be seen: it is then
    looked at later."""
    try:
        await stopping.look_again(tx, holder, found)
    except Silent:
        await set_due(tx, LOOK, entry_id, tx.now + AGAIN)
        return
    ends = await store.next_end(tx, entry_id)
    if ends is None:
        await clear_due(tx, LOOK, entry_id)
    else:
        await set_due(tx, LOOK, entry_id, ends)


async def look(db: Database, holder: Holder, entry_id: UUID) -> None:
    """The clock: one of a person's consents has ended."""
    async with db.transaction("consent.look") as tx:
        await store.lock_fence(tx, entry_id)
        await _look(tx, holder, entry_id, await handoffs.lock_concerned(tx, entry_id))


async def apply_kept_fences(tx: Tx, kept: Mapping[UUID, Fence]) -> int:
    """At every start: what the key store knows to be shut is shut, whatever the holder's database (perhaps a restored
    backup) says; the clock tells the network once it runs. Returns how many fences were shut again."""
    shut = await store.apply_fences(tx, kept)
    for entry_id in shut:
        await set_due(tx, LOOK, entry_id, tx.now)
    return len(shut)


def _with(decision: ConsentDecision) -> set[ConsentDecision]:
    """What ends with a decision: nothing is shared of a person who wants no service."""
    return {_SERVICE, _SHARING} if decision is _SERVICE else {_SHARING}


def _shut(fence: Fence, decision: ConsentDecision) -> Fence:
    service = fence.service_shut or decision is _SERVICE
    if fence.sharing_shut and service == fence.service_shut:
        return fence
    return Fence(fence.generation + 1, sharing_shut=True, service_shut=service)


def _opened(fence: Fence, decision: ConsentDecision) -> Fence:
    """Opening is not written to the key store: what is kept there only ever shuts, and an older generation never wins."""
    if decision is _SERVICE:
        return Fence(fence.generation + 1, sharing_shut=fence.sharing_shut, service_shut=False)
    return Fence(fence.generation + 1, sharing_shut=False, service_shut=fence.service_shut)


def _withdrawn(tx: Tx, decision: ConsentDecision, by: str, language: str) -> Record:
    return Record(
        decision=decision, state=ConsentState.WITHDRAWN, categories=tuple[DataCategory, ...](),
        purposes=tuple[Purpose, ...](), recipients={"organisations": [], "classes": []}, valid_from=tx.now,
        valid_until=None, expressed="spoken", language=language, notice="none", interpreter=False, guardian=None,
        recorded_by=by,
    )  # fmt: skip
