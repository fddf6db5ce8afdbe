"""To whom a decision reaches: organisations by name, and classes of them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from schemas.questions import OrganisationFacts
from schemas.vocabulary import OrganisationType, Served

# Nothing goes to these by default (privacy; field practice): a class never covers them, only a name does.
NEVER_BY_CLASS = frozenset({OrganisationType.POLICE, OrganisationType.EMBASSY, OrganisationType.MINISTRY})


@dataclass(frozen=True, slots=True)
class RecipientClass:
    """A class such as "shelters for girls in KH": each part that is given must fit. `serves`: it takes in all of these; of
    whom it is not known whom it takes in, it fits nobody."""

    type: OrganisationType | None = None
    country: str | None = None
    serves: frozenset[Served] = frozenset()

    def fits(self, facts: OrganisationFacts) -> bool:
        if self.serves and (Served.UNKNOWN in self.serves or not self.serves.issubset(facts.serves or ())):
            return False
        return (self.type in {None, facts.type}) and (self.country in {None, facts.country})


def covered(facts: OrganisationFacts, organisations: Collection[UUID], classes: Collection[RecipientClass]) -> bool:
    """Is it named, or in one of the classes? Law enforcement is covered only where it is named."""
    if facts.organisation in organisations:
        return True
    reserved = facts.law_enforcement or facts.type in NEVER_BY_CLASS
    return not reserved and any(one.fits(facts) for one in classes)


def recipients_in(written: Mapping[str, Any]) -> tuple[frozenset[UUID], tuple[RecipientClass, ...]]:
    """As they are written down, {organisations, classes}, as organisations and classes."""
    classes = tuple(
        RecipientClass(
            OrganisationType(one["type"]) if one.get("type") else None,
            one.get("country"),
            frozenset(map(Served, one.get("serves") or ())),
        )
        for one in written["classes"]
    )
    return frozenset(UUID(one) for one in written["organisations"]), classes
