"""What remains of a consent of which a part is taken back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from schemas.vocabulary import ConsentDecision, ConsentState, DataCategory, Purpose

# The service and sharing: talked through step by step, and shut by the fence. Every other decision is about a single act.
FENCED = frozenset({ConsentDecision.SERVICE, ConsentDecision.SHARE_REFERRAL})


@dataclass(frozen=True, slots=True)
class Record:
    """One decision as it is written down (ISO/IEC TS 27560 terms). `recipients` is {organisations, classes}; `taken_back`:
    what the person took back of the record before."""

    decision: ConsentDecision
    state: ConsentState
    categories: tuple[DataCategory, ...]
    purposes: tuple[Purpose, ...]
    recipients: dict[str, Any]
    valid_from: datetime
    valid_until: datetime | None
    expressed: str
    language: str
    notice: str
    interpreter: bool
    guardian: dict[str, str] | None
    recorded_by: str
    taken_back: dict[str, Any] | None = None

    @property
    def empty(self) -> bool:
        """Does it let nothing go to anybody?"""
        return not (self.categories and self.purposes and any(self.recipients.values()))


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is taken back: an organisation's id, a class ({type, country, serves}, each may be open: every one), a
    category or a purpose."""

    kind: Literal["recipient", "class", "category", "purpose"]
    value: UUID | DataCategory | Purpose | Mapping[str, Any]

    @property
    def written(self) -> dict[str, Any]:
        return {self.kind: str(self.value) if isinstance(self.value, UUID) else self.value}


def narrowed(given: Record, part: Part) -> Record:
    """What remains; the same record where it has nothing of that part."""
    recipients = given.recipients
    if part.kind == "category":
        return replace(given, categories=tuple(one for one in given.categories if one != part.value))
    if part.kind == "purpose":
        return replace(given, purposes=tuple(one for one in given.purposes if one != part.value))
    if isinstance(part.value, Mapping):
        taken = part.value
        classes = [one for one in recipients["classes"] if not _meet(one, taken)]
        return replace(given, recipients={**recipients, "classes": classes})
    organisations = [one for one in recipients["organisations"] if one != str(part.value)]
    return replace(given, recipients={**recipients, "organisations": organisations})


def _meet(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Could an organisation be of both classes? Whoever takes back "shelters in KH" is not left with "every helper in KH",
    which covers the same houses. A part that is open is every one of its kind; those that take in girls and those that take
    in boys are different classes, also where a house is of both."""
    mine, theirs = set(one.get("serves") or ()), set(other.get("serves") or ())
    return (mine <= theirs or theirs <= mine) and all(
        not one.get(part) or not other.get(part) or one.get(part) == other.get(part) for part in ("type", "country")
    )
