"""A person's path to being identified: written step by step, for the organisation that met them, and told to nobody."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from schemas.vocabulary import ConsentDecision, DecidingBody, IdentificationStatus, ServiceType
from services.intake.cases import store as cases
from services.intake.cases.domain import adult_from
from services.intake.cases.store import Entry
from services.intake.consent import handlers as consent
from services.intake.consent import store as consents
from services.intake.disclosure.handlers import Holder
from services.intake.identification import store
from services.intake.identification.domain import WITH_THEIR_YES, Step, expect_follows, standing
from spean.crypto import seal, unseal
from spean.db import Tx
from spean.problem import Refusal


@dataclass(frozen=True, slots=True)
class Recorded:
    """A step, and who wrote it down when."""

    step: Step
    by: str
    at: datetime


async def record(tx: Tx, holder: Holder, entry_id: UUID, step: Step, by: str) -> int:
    """Add a step. Returns its number, from 1. Raises Refusal `not-found`, `erased`, `decision-missing` where the person's own
    yes is needed, and as `domain.expect_follows`."""
    await consent.lock(tx, entry_id)
    found = await cases.find_entry(tx, entry_id)
    key = await cases.own_key(tx, holder.keys, entry_id)
    before = await _steps(tx, key, entry_id)
    expect_follows(step, [one.step for one in before], found.happened_at, tx.now)
    if step.status in WITH_THEIR_YES:
        missing = await _missing(tx, holder, found)
        if missing is not None:
            raise Refusal("decision-missing", rule=missing)
    number = len(before) + 1
    await store.insert(tx, entry_id, number, seal(key, _written(step), _context(entry_id, number)), by)
    return number


async def path(tx: Tx, holder: Holder, entry_id: UUID) -> list[Recorded]:
    """Every step of a person whom the caller may see, in order. Raises Refusal `not-found`, `erased`."""
    await cases.find_entry(tx, entry_id)
    return await _steps(tx, await cases.own_key(tx, holder.keys, entry_id), entry_id)


async def _steps(tx: Tx, key: bytes, entry_id: UUID) -> list[Recorded]:
    return [
        Recorded(_read(unseal(key, row["sealed"], _context(entry_id, row["number"]))), row["by"], row["at"])
        for row in await store.of_entry(tx, entry_id)
    ]


async def stands(tx: Tx, holder: Holder, entry_id: UUID) -> IdentificationStatus | None:
    """Where the path stands; None where it has not begun. Raises Refusal `not-found`, `erased`."""
    return standing([one.step for one in await path(tx, holder, entry_id)])


async def agreed(tx: Tx, holder: Holder, entry_id: UUID) -> bool:
    """Does the person's yes to being identified stand? Raises Refusal `not-found`, `erased`."""
    return await _missing(tx, holder, await cases.find_entry(tx, entry_id)) is None


async def _missing(tx: Tx, holder: Holder, found: Entry) -> str | None:
    """The decision that is missing: as for a hand-off to formal identification."""
    adult = adult_from(await cases.opened_fields(holder.keys, found), found.age_at)
    person = (await consents.people(tx, {found.id: adult}))[found.id]
    if person.service_shut:  # as the key store says, whatever a database from before the stop has written down
        return ConsentDecision.IDENTIFICATION
    undecided = person.undecided(ServiceType.FORMAL_IDENTIFICATION, tx.now)
    return None if undecided is None else undecided[1]


def _written(step: Step) -> bytes:
    return json.dumps([step.status, step.decided_by, step.decided_on.isoformat(), step.reference, step.notes]).encode()


def _read(written: bytes) -> Step:
    status, decided_by, decided_on, reference, notes = json.loads(written)
    day = date.fromisoformat(decided_on)
    return Step(IdentificationStatus(status), DecidingBody(decided_by), day, reference, notes)


def _context(entry: UUID, number: int) -> str:
    return f"identification/{entry}/{number}/1"
