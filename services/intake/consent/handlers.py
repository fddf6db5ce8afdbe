"""What a person decides, and stopping. A fence is shut in the holder's own transaction and, before that commits, in the
key store: true before any event is published, and true again after a restored backup.

A stop waits for nobody. Where the key store does not answer, the fence is shut here all the same (nobody can be read while
it is silent), the network hears at once that something stopped, so that the log remembers it too, and the clock writes it
there, and looks at what is to be erased, once it answers.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from schemas.vocabulary import YES, ConsentDecision, ConsentState, DataCategory, Purpose
from services.intake.bases import store as bases
from services.intake.cases import store as cases
from services.intake.consent import store
from services.intake.consent.checks import expect_sound
from services.intake.consent.domain import FENCED, Part, Record, narrowed
from services.intake.disclosure.domain import Exclusion
from services.intake.disclosure.handlers import Holder
from services.intake.handoffs import stopping
from services.intake.handoffs import store as handoffs
from services.intake.handoffs.store import Handoff
from services.intake.keystore.store import AGAIN, Destroyed, Fence, Silent
from spean.clock import clear_due, set_due
from spean.crypto import Unopenable, seal, unseal
from spean.db import Database, Tx
from spean.problem import Refusal

log = logging.getLogger(__name__)
_SERVICE, _SHARING = ConsentDecision.SERVICE, ConsentDecision.SHARE_REFERRAL
# Kind of due row: the next of a person's consents ends, or a fence was shut at a start. Its subject is the entry.
LOOK = "consent-look"
# Kind of due row: a fence that the key store has not been told of. Its subject is the entry.
KEEP = "fence-keep"


async def record(tx: Tx, holder: Holder, entry_id: UUID, fence: Fence, decided: Record) -> int:
    """Write down what a person, whose fence is locked, decided: any state but withdrawn. Returns the record's version. Given,
    it opens what was shut; where it is narrower than before, or refused, it stops what it no longer covers. Raises
    Refusal `guardian-self`, `not-found`, `state`, and those of `checks`."""
    expect_sound(decided, (await store.exclusions(tx, [entry_id]))[entry_id], tx.now)
    last = await store.current(tx, entry_id)
    if decided.state is ConsentState.REQUESTED:
        return await _request(tx, entry_id, decided, last)
    if decided.state not in YES:
        return await _stop(tx, holder, entry_id, fence, decided)
    if decided.guardian is not None:
        await _expect_another(tx, entry_id, decided.guardian)
    if decided.state is ConsentState.RE_CONFIRMED:
        decided = _confirmed(decided, last)
    version = await store.insert(tx, entry_id, decided)
    opened = _opened(fence, decided.decision)
    if decided.decision in last and last[decided.decision]["state"] in YES:
        await _remember(holder, entry_id, opened)
    await store.save_fence(tx, entry_id, opened)
    await _look(tx, holder, entry_id, await handoffs.lock_concerned(tx, entry_id))
    return version


async def _request(tx: Tx, entry_id: UUID, decided: Record, last: Mapping[ConsentDecision, Any]) -> int:
    """The person was asked, and thinks about it. Raises Refusal `state` where their yes stands: that is asked for by
    confirming it."""
    before = last.get(decided.decision)
    if before is not None and before["state"] in YES:
        raise Refusal("state")
    return await store.insert(tx, entry_id, decided)


def _confirmed(decided: Record, last: Mapping[ConsentDecision, Any]) -> Record:
    """The same yes, said again: to what it was about, with the date, the words and the guardian of now. Raises Refusal
    `state` where there is none to confirm."""
    before = last.get(decided.decision)
    if before is None or before["state"] not in {*YES, ConsentState.EXPIRED}:
        raise Refusal("state")
    was = store.record_of(before)
    return replace(decided, categories=was.categories, purposes=was.purposes, recipients=was.recipients)


async def _expect_another(tx: Tx, entry_id: UUID, guardian: Mapping[str, str]) -> None:
    """Nobody is their own guardian. Raises Refusal `guardian-self`, `not-found` where the guardian was never met."""
    met = guardian.get("entry")
    if met == str(entry_id):
        raise Refusal("guardian-self")
    if met is not None:
        await cases.find_entry(tx, UUID(met))


async def exclude(
    tx: Tx, holder: Holder, entry_id: UUID, exclusion: Exclusion, by: str, official: str | None = None
) -> None:
    """Never to this organisation (or type, or official, whose name is sealed). Beats every consent, at once. Raises Refusal
    `not-found`."""
    fence = await lock(tx, entry_id)
    sealed = None if official is None else await _sealed_name(holder, entry_id, official)
    await store.insert_exclusion(tx, entry_id, exclusion, by, sealed)
    await _narrow(tx, holder, entry_id, fence)


async def _sealed_name(holder: Holder, entry_id: UUID, name: str) -> bytes | None:
    """None where there is no key to be had: the stop counts all the same, and the name is lost."""
    try:
        return seal(await holder.keys.key(entry_id), name.encode(), _name_context(entry_id))
    except (Silent, Destroyed):
        log.warning("there is no key to be had: an official is excluded without their name")
        return None


async def officials(tx: Tx, holder: Holder, entry_id: UUID) -> dict[str, list[str]]:
    """The names of the officials to whom never, by their organisation's id; none while the key store is silent."""
    rows = await store.officials(tx, entry_id)
    try:
        key = await cases.own_key(tx, holder.keys, entry_id) if rows else None
    except (Silent, Destroyed):
        key = None
    found: dict[str, list[str]] = {}
    for value, sealed in rows:
        if key is not None:
            with contextlib.suppress(Unopenable):
                found.setdefault(value, []).append(unseal(key, sealed, _name_context(entry_id)).decode())
    return found


def _name_context(entry_id: UUID) -> str:
    return f"exclusion/{entry_id}/official/1"


async def lift(tx: Tx, holder: Holder, entry_id: UUID, exclusion: Exclusion, by: str) -> None:
    """The person takes a never back: from now on it is what they agree to that counts, and what spoke for them until this
    word of theirs is over. Raises Refusal `not-found`, `state` where it is not in force."""
    fence = await lock(tx, entry_id)
    if exclusion not in (await store.exclusions(tx, [entry_id]))[entry_id]:
        raise Refusal("state")
    await store.insert_exclusion(tx, entry_id, exclusion, by, lifted=True)
    await store.save_fence(tx, entry_id, replace(fence, generation=fence.generation + 1))
    await look_again(tx, holder, entry_id)


async def _narrow(tx: Tx, holder: Holder, entry_id: UUID, fence: Fence) -> None:
    """Less may be shared than before. Nothing that was shut is opened by it."""
    later = replace(fence, generation=fence.generation + 1)
    await _remember(holder, entry_id, later)
    await store.save_fence(tx, entry_id, later)
    await _look(tx, holder, entry_id, await handoffs.lock_concerned(tx, entry_id))


async def withdraw(tx: Tx, holder: Holder, entry_id: UUID, decision: ConsentDecision, by: str) -> None:
    """Take consent back; needs no reason and is never refused. Withdrawn service shuts all sharing with it; withdrawn
    sharing never costs a place. Saying it twice changes nothing more. Raises Refusal `not-found`."""
    fence = await lock(tx, entry_id)
    last = await store.current(tx, entry_id)
    given = any(last[one]["state"] in YES for one in _with(decision) if one in last)
    if _shut(fence, decision) != fence or given:
        language = last[decision]["language"] if decision in last else "und"
        await _stop(tx, holder, entry_id, fence, _withdrawn(tx, decision, by, language))


async def take_back(tx: Tx, holder: Holder, entry_id: UUID, part: Part, by: str) -> None:
    """Take back one part of what may be shared: never refused, and saying it twice changes nothing more. An organisation
    that a class could cover is excluded, too; where nothing is left that could be shared, all sharing is withdrawn. Raises
    Refusal `not-found`."""
    fence = await lock(tx, entry_id)
    row = (await store.current(tx, entry_id)).get(_SHARING)
    if row is None or row["state"] not in YES:
        return
    given = store.record_of(row)
    left = narrowed(given, part)
    never = (
        {Exclusion("organisation", str(part.value))}
        if part.kind == "recipient" and left.recipients["classes"]
        else set()
    )
    never -= set((await store.exclusions(tx, [entry_id]))[entry_id])
    if left == given and not never:
        return
    if left.empty:
        withdrawn = _withdrawn(tx, _SHARING, by, given.language)
        await _stop(tx, holder, entry_id, fence, replace(withdrawn, taken_back=part.written))
        return
    for one in never:
        await store.insert_exclusion(tx, entry_id, one, by)
    if left != given:
        await store.insert(tx, entry_id, replace(left, recorded_by=by, taken_back=part.written))
    await _narrow(tx, holder, entry_id, fence)


async def lock(tx: Tx, entry_id: UUID) -> Fence:
    """Lock the fence of a person whom the caller may see. Raises Refusal `not-found`."""
    await cases.find_entry(tx, entry_id)
    return await store.lock_fence(tx, entry_id)


async def _stop(tx: Tx, holder: Holder, entry_id: UUID, fence: Fence, decided: Record) -> int:
    """Record a refusal, a withdrawal or that it never was one, of the service also for all else, and shut. The key store comes first: if this
    transaction fails then, it is shut too much, never too little. A silent one comes later."""
    last = await store.current(tx, entry_id)
    versions = [await store.insert(tx, entry_id, decided)]
    for other, row in last.items():
        if other in _with(decided.decision) - {decided.decision} and row["state"] in YES:
            follows = _withdrawn(tx, other, decided.recorded_by, decided.language)
            versions.append(await store.insert(tx, entry_id, follows))
    if decided.decision not in FENCED:
        await _narrow(tx, holder, entry_id, fence)
        return versions[0]
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


async def shut(tx: Tx, holder: Holder, entry_id: UUID, fence: Fence) -> None:
    """Everything is shut of somebody who is being erased, whose fence is locked, and whoever holds a copy is asked to erase it:
    as if they had stopped, but no word of theirs is written down that they did not say."""
    closed = Fence(fence.generation + 1, sharing_shut=True, service_shut=True)
    kept = await _kept(holder, entry_id, closed)
    await store.save_fence(tx, entry_id, closed)
    if not kept:
        await set_due(tx, KEEP, entry_id, tx.now)
    await look_again(tx, holder, entry_id)


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
    the next consent ends (`watch`). While the key store is silent nobody is read, and whom to tell cannot be seen: it is then
    looked at later."""
    try:
        await stopping.look_again(tx, holder, found)
        await watch(tx, holder, entry_id)
    except Silent:
        await set_due(tx, LOOK, entry_id, tx.now + AGAIN)


async def watch(tx: Tx, holder: Holder, entry_id: UUID) -> None:
    """The clock looks again when the next of what a person decided ends, by its date or because they come of age; who has
    come of age is to be asked again. Raises Silent."""
    of_age = await _of_age(tx, holder, entry_id)
    ends = [one for one in (await store.next_end(tx, entry_id), of_age) if one is not None and one > tx.now]
    if of_age is not None and of_age <= tx.now:
        await bases.set_ask_again(tx, entry_id, "of_age")
    if ends:
        await set_due(tx, LOOK, entry_id, min(ends))
    else:
        await clear_due(tx, LOOK, entry_id)


async def look_again(tx: Tx, holder: Holder, entry_id: UUID) -> None:
    """The same for a person whose fence is locked, and of whom something has ended that is no decision of theirs."""
    await _look(tx, holder, entry_id, await handoffs.lock_concerned(tx, entry_id))


async def _of_age(tx: Tx, holder: Holder, entry_id: UUID) -> datetime | None:
    """When what the person decided with a guardian ends because they come of age. None where nothing was, and where that is
    not known. Raises Silent."""
    since = await store.guarded_since(tx, entry_id)
    if since is None:
        return None
    opened = (await cases.open_all(tx, holder.keys, [entry_id])).get(entry_id)
    adult = None if opened is None else opened.adult_from
    return adult if adult is not None and since < adult else None


async def look(db: Database, holder: Holder, entry_id: UUID) -> None:
    """The clock: one of a person's consents has ended."""
    async with db.transaction("consent.look") as tx:
        await store.lock_fence(tx, entry_id)
        await store.expire(tx, entry_id)
        await look_again(tx, holder, entry_id)


async def apply_kept_fences(tx: Tx, kept: Mapping[UUID, Fence]) -> int:
    """At every start: what the key store knows to be shut is shut, whatever the holder's database (perhaps a restored
    backup) says; the clock tells the network once it runs. Returns how many fences were shut again."""
    shut = await store.apply_fences(tx, kept)
    for entry_id in shut:
        await set_due(tx, LOOK, entry_id, tx.now)
    return len(shut)


def _with(decision: ConsentDecision) -> set[ConsentDecision]:
    """What ends with a decision: of a person who wants no service nothing is shared, and nothing else is agreed to."""
    return set(ConsentDecision) if decision is _SERVICE else {decision}


def _shut(fence: Fence, decision: ConsentDecision) -> Fence:
    if decision not in FENCED:
        return fence
    service = fence.service_shut or decision is _SERVICE
    if fence.sharing_shut and service == fence.service_shut:
        return fence
    return Fence(fence.generation + 1, sharing_shut=True, service_shut=service)


def _opened(fence: Fence, decision: ConsentDecision) -> Fence:
    """Opening is not written to the key store: what is kept there only ever shuts, and an older generation never wins."""
    if decision is _SERVICE:
        return Fence(fence.generation + 1, sharing_shut=fence.sharing_shut, service_shut=False)
    sharing = fence.sharing_shut and decision is not _SHARING
    return Fence(fence.generation + 1, sharing_shut=sharing, service_shut=fence.service_shut)


def _withdrawn(tx: Tx, decision: ConsentDecision, by: str, language: str) -> Record:
    return Record(
        decision=decision, state=ConsentState.WITHDRAWN, categories=tuple[DataCategory, ...](),
        purposes=tuple[Purpose, ...](), recipients={"organisations": [], "classes": []}, valid_from=tx.now,
        valid_until=None, expressed="spoken", language=language, notice="none", interpreter=False, guardian=None,
        recorded_by=by,
    )  # fmt: skip
