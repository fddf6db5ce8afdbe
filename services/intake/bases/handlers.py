"""What stands in for consent: proposed, decided by others, ended, lapsed. Whatever narrows what may be told goes the way of
every other stop (`consent.handlers.look_again`)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.intake.bases import store
from services.intake.bases.domain import (
    FINAL,
    REST,
    TO_BE_TOLD,
    WITHOUT_THEIR_WORD,
    Proposal,
    State,
    checked,
    is_somebody,
    two_people,
)
from services.intake.bases.store import Row, Step
from services.intake.cases import store as cases
from services.intake.cases.domain import adult_from, is_minor
from services.intake.consent import handlers as consent
from services.intake.consent import store as consents
from services.intake.disclosure.handlers import Holder
from services.intake.keystore import endings
from spean.clock import clear_due, set_due
from spean.crypto import Unopenable, seal, unseal
from spean.db import Database, Tx
from spean.ids import opaque_id
from spean.problem import Refusal

# Kind of due row: a basis lapses, or the person is to be asked again. Its subject is the basis.
DUE = "basis"
_CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Said:
    """One step with its words; None where there are none, or where the person was erased."""

    step: str
    by: str
    at: datetime
    words: str | None


async def propose(tx: Tx, holder: Holder, entry_id: UUID, made: Proposal, by: str) -> Row:
    """Write a basis down, justified, for others to decide. What may be in force at once is, for as long as they have. Raises
    Refusal `not-found`, `erased`, and as `bases.domain.checked`."""
    fence = await consent.lock(tx, entry_id)
    found = await cases.find_entry(tx, entry_id)
    fields = await cases.opened_fields(holder.keys, found)
    adult = adult_from(fields, found.age_at)
    limit = await store.limit(tx, made.kind)
    stopped = fence.sharing_shut or fence.service_shut
    ends = checked(made, minor=is_minor(adult, tx.now), stopped=stopped, limit=limit, now=tx.now)
    decide_by = tx.now + limit.decide_within
    alone_until = await _alone_until(tx, entry_id, made, fence.generation, decide_by)
    at_once = alone_until is not None
    b = Row(
        id=opaque_id(), entry=entry_id, org=found.org, kind=made.kind,
        state=State.IN_FORCE if at_once else State.PROPOSED, categories=tuple(sorted(made.categories)),
        purposes=tuple(sorted(made.purposes)),
        recipients={name: list(value) for name, value in made.recipients.items()},
        services=tuple(sorted(made.services)), generation=fence.generation, people=1 if made.spoken else limit.people,
        proposed_by=by, proposed_at=tx.now, decide_by=alone_until or decide_by,
        decided_at=tx.now if made.spoken else None, began_at=tx.now if at_once else None, valid_until=ends,
        ask_again_at=tx.now + REST if made.kind in WITHOUT_THEIR_WORD else None, told_at=None, over_at=None,
    )  # fmt: skip
    await store.insert(tx, b)
    await _step(tx, holder, b, "proposed", by, made.justification)
    await _set_due(tx, b)
    return b


async def _alone_until(tx: Tx, entry_id: UUID, made: Proposal, generation: int, latest: datetime) -> datetime | None:
    """Until when it counts before others have agreed; None where it waits for them. Marked again it has no more time than the
    first of its kind had, and none after a no: one person alone does not keep it in force."""
    if made.spoken:
        return latest
    if not (made.at_once or made.kind in WITHOUT_THEIR_WORD):
        return None
    refused, first = await store.unconfirmed(tx, entry_id, made.kind, generation)
    alone_until = latest if first is None else min(latest, first)
    return None if refused or alone_until <= tx.now else alone_until


async def decide(tx: Tx, holder: Holder, entry_id: UUID, id_: UUID, by: str, *, agrees: bool, reasons: str) -> Row:
    """Another person of the organisation says yes or no, with reasons. Enough of them, and it is in force; one no ends it.
    What a system does for nobody in particular counts for nobody: its yes is refused, and after its proposal one more has to
    agree. Raises Refusal `not-found`, `erased`, `state` where nobody is asked (any more), `same-person`."""
    await consent.lock(tx, entry_id)
    b = await store.lock(tx, entry_id, id_)
    if b.state in FINAL or b.decided_at is not None or tx.now >= b.until:
        raise Refusal("state")
    before = await store.deciders(tx, id_)
    known = [one for one in before if is_somebody(one)]
    if by in before or (agrees and not (is_somebody(by) and all(two_people(by, one) for one in known))):
        raise Refusal("same-person")
    await _step(tx, holder, b, "agreed" if agrees else "refused", by, reasons)
    if not agrees:
        await _over(tx, holder, b, State.REFUSED)
    elif len(known) + 1 >= b.people:
        await store.set_decided(tx, id_)
    after = await store.find(tx, id_)
    await _set_due(tx, after)
    return after


async def end(tx: Tx, holder: Holder, entry_id: UUID, id_: UUID, by: str) -> Row:
    """It is over; needs no reason and nobody else. Said twice it changes nothing more. Raises Refusal `not-found`."""
    await consent.lock(tx, entry_id)
    b = await store.lock(tx, entry_id, id_)
    if b.state not in FINAL:
        await store.insert_step(tx, b, "ended", by, None)
        await _over(tx, holder, b, State.ENDED)
    after = await store.find(tx, id_)
    await _set_due(tx, after)
    return after


async def tell(tx: Tx, entry_id: UUID, id_: UUID, by: str) -> Row:
    """The person was told that something was shared without their word. Raises Refusal `not-found`, `state` where nothing
    is to be told."""
    await consent.lock(tx, entry_id)
    b = await store.lock(tx, entry_id, id_)
    if b.kind not in TO_BE_TOLD or b.began_at is None:
        raise Refusal("state")
    if b.told_at is None:
        await store.set_told(tx, id_)
        await store.insert_step(tx, b, "told", by, None)
    return await store.find(tx, id_)


async def due(db: Database, holder: Holder, id_: UUID) -> None:
    """The clock: one lapses (at the gate it has by its time already), or the person has rested and is to be asked again."""
    async with db.transaction("basis.due") as tx:
        entry = (await store.find(tx, id_)).entry
        await consents.lock_fence(tx, entry)
        b = await store.lock(tx, entry, id_)
        if b.state not in FINAL and tx.now >= b.until:
            await store.insert_step(tx, b, "lapsed", _CLOCK, None)
            await _over(tx, holder, b, State.LAPSED)
        rested = b.ask_again_at is not None and tx.now >= b.ask_again_at
        if rested and not await store.has_decided_since(tx, entry, b.proposed_at):
            await store.set_ask_again(tx, entry, "rested")
        await _set_due(tx, await store.find(tx, id_))


async def apply_kept_endings(db: Database, ended: Collection[UUID]) -> None:
    """At every start: what the key store knows to be ended or refused is over, whatever the holder's database (perhaps a
    restored backup) says, and nobody is asked about it any more; the clock tells the network once it runs. One person at a
    time, as everybody who stops."""
    async with db.transaction("bases.kept") as tx:
        found = await store.open_among(tx, ended)
    for id_, entry in found:
        async with db.transaction("basis.kept") as tx:
            await consents.lock_fence(tx, entry)
            b = await store.lock(tx, entry, id_)
            if b.state not in FINAL:
                await store.insert_step(tx, b, "ended", _CLOCK, None)
                # Which of the two it was is forgotten: a refusal has more to say about those to come.
                await store.set_over(tx, id_, State.REFUSED if b.decided_at is None else State.ENDED)
                await _set_due(tx, await store.find(tx, id_))
                await set_due(tx, consent.LOOK, entry, tx.now)


async def said(tx: Tx, holder: Holder, b: Row) -> list[Said]:
    """Every step of a basis with what was written, in order. Raises Refusal `erased`."""
    key = await cases.own_key(tx, holder.keys, b.entry)
    return [
        Said(row["step"], row["by"], row["at"], _words(key, b.id, row["step"], row["by"], row["sealed"]))
        for row in (await store.steps(tx, [b.id]))[b.id]
    ]


def _words(key: bytes, id_: UUID, step: str, by: str, sealed: bytes | None) -> str | None:
    if sealed is None:
        return None
    try:
        return unseal(key, sealed, _context(id_, step, by)).decode()
    except Unopenable:
        return None


async def _step(tx: Tx, holder: Holder, b: Row, step: Step, by: str, words: str) -> None:
    sealed = seal(await cases.own_key(tx, holder.keys, b.entry), words.encode(), _context(b.id, step, by))
    await store.insert_step(tx, b, step, by, sealed)


async def _over(tx: Tx, holder: Holder, b: Row, state: State) -> None:
    """What somebody ended or refused is so also where this database is restored from before; what lapses has its time."""
    await store.set_over(tx, b.id, state)
    if state is not State.LAPSED:
        await endings.remember(tx, holder.keys, b.id)
    if b.began_at is not None:
        await consent.look_again(tx, holder, b.entry)


async def _set_due(tx: Tx, b: Row) -> None:
    at = store.next_due(b, tx.now)
    if at is None:
        await clear_due(tx, DUE, b.id)
    else:
        await set_due(tx, DUE, b.id, at)


def _context(id_: UUID, step: str, by: str) -> str:
    return f"basis/{id_}/{step}/{by}/1"
