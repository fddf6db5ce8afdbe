"""What a worker has begun to write and not finished: the answers as they were typed, step by step. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

# Longer than a worker is away over a weekend; what nobody finished by then is nobody's to keep.
KEPT_DAYS = 7
Answers = Mapping[str, Sequence[str]]


class Kind(StrEnum):
    """What will come of it."""

    ENTRY = "entry"
    CONSENT = "consent"


@dataclass(frozen=True, slots=True)
class Draft:
    """`entry`: the person whom it is about; None where it is the entry itself that is being written."""

    id: UUID
    kind: Kind
    entry: UUID | None
    begun_at: datetime
    version: int
    answers: Answers


def merged(before: Answers, fields: Collection[str], sent: Answers) -> dict[str, list[str]]:
    """The answers with one step's `fields` as they were sent now; what other steps said stays, so that two open pages of
    the same draft take nothing from each other. Nothing that is no field of the step is kept."""
    kept = {name: list(values) for name, values in before.items() if name not in fields}
    given = {name: [value for value in sent.get(name, ()) if value.strip()] for name in fields}
    return kept | {name: values for name, values in given.items() if values}
