"""A screened group is taken in: chunk by chunk, each exactly once, as entries and never as consent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from schemas.vocabulary import YES, ConsentDecision
from services.intake.cases import store as entries
from services.intake.cases.domain import PersonFields
from services.intake.cases.store import sealed_under
from services.intake.consent import store as consents
from services.intake.disclosure.handlers import Holder
from services.intake.erasure import handlers as erasure
from services.intake.erasure.domain import Why
from services.intake.keystore.store import KeyStore
from services.intake.screening import store
from services.intake.screening.domain import Finding, Reading, read_row
from services.intake.screening.store import NewEntry, Screening
from spean.db import Tx
from spean.ids import opaque_id, opaque_ids
from spean.problem import Refusal


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the file: its ten values, or what is wrong with the line."""

    line: int
    values: tuple[str, ...] | None
    broken: Finding | None


async def begin(tx: Tx, digest: str, area: str) -> tuple[Screening, bool]:
    """The screening of this content, and whether it is new. The same content is one screening for an organisation,
    whoever sends it and however often."""
    made = await store.insert_screening(tx, opaque_id(), area, digest)
    return await store.find_by_digest(tx, digest), made


async def begin_by_hand(tx: Tx, area: str) -> UUID:
    """A group that is met person by person."""
    id_ = opaque_id()
    await store.insert_by_hand(tx, id_, area)
    return id_


async def add(tx: Tx, keys: KeyStore, id_: UUID, person: PersonFields) -> UUID:
    """One more person, met now. Returns their entry. Raises Refusal `not-found`, and `state` where the screening is
    finished or is a file's."""
    before = await store.lock_screening(tx, id_)
    if before.finished_at is not None or not before.by_hand:
        raise Refusal("state")
    entry = opaque_id()
    new = NewEntry(entry, before.rows_done, tx.now, sealed_under(await keys.make(entry), entry, person.written()))
    await store.insert_entries(tx, before, [new])
    await store.save_counts(tx, replace(before, rows_done=before.rows_done + 1, entries=before.entries + 1))
    return entry


async def erase(tx: Tx, holder: Holder, id_: UUID, entry: UUID, by: str) -> None:
    """Somebody of the group was found not to be concerned, and is to be erased (`erasure.handlers.begin`). Saying it twice changes
    nothing more. Raises Refusal `not-found`, `legal-hold`, and `state` where they have agreed to a service."""
    await entries.find_entry(tx, entry)
    await consents.lock_fence(tx, entry)
    found = await entries.lock_entry(tx, entry)
    if found.screening != id_:
        raise Refusal("not-found")
    decided = (await consents.current(tx, entry)).get(ConsentDecision.SERVICE)
    agreed = decided is not None and decided["state"] in YES
    if agreed or await entries.open_cases(tx, [entry]):
        raise Refusal("state")
    await erasure.begin(tx, holder, entry, Why.NOT_CONCERNED, by)


async def take_in(tx: Tx, keys: KeyStore, id_: UUID, from_row: int, rows: Sequence[Row]) -> Screening:
    """Take in the rows from number `from_row` on (counted from 0), in one transaction with the count of what is done.
    Rows that were taken in before change nothing. Raises Refusal `not-found`, and `state` where rows would be left out,
    where only a part of them is new, or where the screening is finished."""
    before = await store.lock_screening(tx, id_)
    if from_row + len(rows) <= before.rows_done:
        return before
    if from_row != before.rows_done or before.finished_at is not None:
        raise Refusal("state")
    read = [_reading(row, tx) for row in rows]
    found = [(row.line, finding) for row, reading in zip(rows, read, strict=True) for finding in reading.findings]
    people = [(from_row + at, one) for at, one in enumerate(read) if one.person is not None]
    await store.insert_entries(tx, before, await _sealed(tx, keys, people))
    await store.insert_findings(tx, id_, found)
    after = replace(
        before,
        rows_done=before.rows_done + len(rows),
        entries=before.entries + len(people),
        refused=before.refused + len(rows) - len(people),
        doubtful=before.doubtful + sum(bool(one.findings) for _, one in people),
        suppressed=before.suppressed + sum(one.suppressed for one in read),
        version=before.version + 1,
    )
    await store.save_counts(tx, after)
    return after


async def finish(tx: Tx, id_: UUID, rows: int) -> Screening:
    """All rows of the file are there. Saying it twice changes nothing more. Raises Refusal `not-found`, and `state` where
    there are more rows or fewer than that."""
    before = await store.lock_screening(tx, id_)
    if rows != before.rows_done:
        raise Refusal("state")
    if before.finished_at is not None:
        return before
    after = replace(before, finished_at=tx.now, version=before.version + 1)
    await store.save_counts(tx, after)
    return after


def _reading(row: Row, tx: Tx) -> Reading:
    if row.values is not None:
        return read_row(row.values, tx.now.year)
    assert row.broken is not None  # noqa: S101 (a row is one or the other)
    return Reading(None, None, suppressed=False, findings=(row.broken,))


async def _sealed(tx: Tx, keys: KeyStore, people: Sequence[tuple[int, Reading]]) -> list[NewEntry]:
    """Each person's fields under a new key of their own; the keys are durable before the rows are written."""
    ids = opaque_ids(len(people))
    return [
        NewEntry(id_, number, reading.registered_at or tx.now, sealed_under(key, id_, reading.written))
        for id_, key, (number, reading) in zip(ids, await keys.make_many(ids), people, strict=True)
    ]
