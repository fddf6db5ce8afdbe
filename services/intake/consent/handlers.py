"""What a person decides, and stopping. A fence is shut in the holder's own transaction and, before that commits, in the
key store: true before any event is published, and true again after a restored backup.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from schemas.vocabulary import ConsentDecision, ConsentState, DataCategory, Purpose, ReasonFamily
from services.intake.cases import store as cases
from services.intake.consent import store
from services.intake.consent.store import Record
from services.intake.disclosure.domain import Exclusion
from services.intake.handoffs import stopping
from services.intake.keystore.store import Fence, KeyStore
from spean.db import Tx
from spean.problem import Refusal

_SERVICE, _SHARING = ConsentDecision.SERVICE, ConsentDecision.SHARE_REFERRAL


async def record(tx: Tx, keys: KeyStore, entry_id: UUID, decided: Record) -> int:
    """Write a decision down. Returns the record's version. Whatever may narrow what was allowed stops open offers; a
    refusal of the service ends it. Raises Refusal `not-found`, `consent-dates`."""
    if decided.valid_from > tx.now or (decided.valid_until is not None and decided.valid_until <= decided.valid_from):
        raise Refusal("consent-dates")
    entry = await cases.find_entry(tx, entry_id)
    fence = await store.lock_fence(tx, entry_id)
    before = (await store.current(tx, entry_id)).get(decided.decision)
    version = await store.insert(tx, entry_id, entry.org, decided)
    await _set_fence(tx, keys, entry_id, _after(fence, decided.decision, shut=decided.state is not ConsentState.GIVEN))
    if before is not None and before["state"] == ConsentState.GIVEN:
        if decided.decision is _SERVICE and decided.state is not ConsentState.GIVEN:
            await stopping.end_service(tx, entry_id, ReasonFamily.STOPPED)
        else:
            await stopping.stop_sharing(tx, entry_id)
    return version


async def exclude(tx: Tx, entry_id: UUID, exclusion: Exclusion, by: str) -> None:
    """Never to this organisation (or type). Beats every consent, at once. Raises Refusal `not-found`."""
    await cases.find_entry(tx, entry_id)
    await store.lock_fence(tx, entry_id)
    await store.insert_exclusion(tx, entry_id, exclusion, by)
    await stopping.stop_sharing(tx, entry_id)


async def withdraw(tx: Tx, keys: KeyStore, entry_id: UUID, decision: ConsentDecision, by: str) -> None:
    """Take consent back; needs no reason and is never refused. Withdrawn service shuts all sharing with it; withdrawn
    sharing never costs a place. Saying it twice changes nothing more. Raises Refusal `not-found`."""
    entry = await cases.find_entry(tx, entry_id)
    fence = await store.lock_fence(tx, entry_id)
    already = fence.service_shut if decision is _SERVICE else fence.sharing_shut
    if already:
        return
    last = (await store.current(tx, entry_id)).get(decision)
    await store.insert(tx, entry_id, entry.org, _withdrawn(tx, decision, by, last["language"] if last else "und"))
    await _set_fence(tx, keys, entry_id, _after(fence, decision, shut=True))
    if decision is _SERVICE:
        await stopping.end_service(tx, entry_id, ReasonFamily.STOPPED)
    else:
        await stopping.stop_sharing(tx, entry_id)


async def apply_kept_fences(tx: Tx, kept: dict[UUID, Fence]) -> int:
    """At every start: what the key store knows to be shut is shut, whatever the holder's database (perhaps a restored
    backup) says. Returns how many fences were shut again."""
    shut = 0
    for entry, fence in sorted(kept.items()):
        try:
            mine = await store.lock_fence(tx, entry)
        except Refusal:
            continue
        if mine.generation < fence.generation:
            await store.save_fence(tx, entry, fence)
            shut += 1
    return shut


def _after(fence: Fence, decision: ConsentDecision, *, shut: bool) -> Fence:
    later = replace(fence, generation=fence.generation + 1)
    if decision is _SERVICE:
        return replace(later, service_shut=shut)
    return replace(later, sharing_shut=shut)


async def _set_fence(tx: Tx, keys: KeyStore, entry: UUID, fence: Fence) -> None:
    """What shuts is written to the key store first: if this transaction fails, it is shut too much, never too little.
    Opening is written there as well, under the same lock, so that a later start does not shut it again."""
    await keys.write_fence(entry, fence)
    await store.save_fence(tx, entry, fence)


def _withdrawn(tx: Tx, decision: ConsentDecision, by: str, language: str) -> Record:
    return Record(
        decision=decision, state=ConsentState.WITHDRAWN, categories=tuple[DataCategory, ...](),
        purposes=tuple[Purpose, ...](), recipients={"organisations": [], "classes": []}, valid_from=tx.now,
        valid_until=None, expressed="spoken", language=language, notice="none", interpreter=False, guardian=None,
        recorded_by=by,
    )  # fmt: skip
