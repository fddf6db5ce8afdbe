"""What opens records, and whose agreement it needs before it does."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from schemas.rights import SCOPES_OF, StaffRole
from spean.auth import Caller
from spean.problem import Refusal

ADMINISTRATOR = "referral:admin"
# Reach into everybody's work, of whatever organisation they are.
EVERYWHERE = frozenset({"intake:rules", ADMINISTRATOR})
# What lets somebody read of people, or lets them decide who may.
OPENING = EVERYWHERE | {"intake:send", "referral:receive"}
# Long enough to reach somebody who is away for a weekend; after that nobody remembers what it was for.
WITHIN = timedelta(hours=72)


class Kind(StrEnum):
    SYSTEM = "system"
    KEY = "key"
    ROLES = "roles"


class State(StrEnum):
    WAITING = "waiting"
    APPROVED = "approved"
    REFUSED = "refused"
    LAPSED = "lapsed"


@dataclass(frozen=True, slots=True)
class Who:
    """Who asks or decides: a person or a system (`person:ID`, `system:ID`), of which organisation, and what they may do."""

    name: str
    organisation: UUID
    scopes: frozenset[str]

    @classmethod
    def of(cls, caller: Caller) -> Who:
        return cls(caller.by, caller.org, caller.scopes)

    @property
    def administers(self) -> bool:
        return ADMINISTRATOR in self.scopes

    @property
    def person(self) -> UUID | None:
        """None for a system."""
        kind, _, id_ = self.name.partition(":")
        return UUID(id_) if kind == "person" else None


@dataclass(frozen=True, slots=True)
class Approval:
    """One thing that waits, or waited: `scopes` is what it would open, `asked` what else is needed to carry it out
    (`key`: a public key; `thumbprint`: its name; `may`: all of a system's scopes; `roles`)."""

    id: UUID
    kind: Kind
    organisation: UUID
    client: str | None
    person: UUID | None
    scopes: frozenset[str]
    asked: dict[str, Any]
    asked_by: str
    asked_of: UUID
    asked_at: datetime
    decide_by: datetime
    state: State
    decided_by: str | None
    decided_at: datetime | None


def opened_by(scopes: Collection[str]) -> frozenset[str]:
    return OPENING & frozenset(scopes)


def opening(roles: Collection[StaffRole]) -> frozenset[StaffRole]:
    """Those of the roles that open something."""
    return frozenset(role for role in roles if opened_by(SCOPES_OF[role]))


def needs_another(scopes: Collection[str], *, first: bool) -> bool:
    """`first`: nobody could ever sign in for the organisation, so there is nothing of it yet that could be read, and it is
    told of nobody before an officer's rule and the person's own word say so. What reaches everywhere always needs another."""
    opened = opened_by(scopes)
    return bool(opened & EVERYWHERE) or (bool(opened) and not first)


def two_people(one: str, of: UUID, other: str, other_of: UUID) -> bool:
    """Are they certainly two? Persons who sign in are told apart; a system acts for somebody of its organisation, and nobody
    knows for whom."""
    if one.startswith("person:") and other.startswith("person:"):
        return one != other
    return of != other_of


def expect_sees(approval: Approval, who: Who) -> None:
    """Administrators see all, everybody else what is about their own organisation. Raises Refusal `not-found`."""
    if not who.administers and who.organisation != approval.organisation:
        raise Refusal("not-found")


def may_agree(approval: Approval, who: Who) -> bool:
    """May they, as far as what they may do themselves says?"""
    return who.administers or (who.organisation == approval.organisation and approval.scopes <= who.scopes)


def approve(approval: Approval, who: Who, now: datetime) -> None:
    """The organisation itself agrees, by somebody who may do as much already; or another administrator does. Raises Refusal
    `not-found`, `state` (decided, or too late), `same-person`, `scope`."""
    expect_sees(approval, who)
    if approval.state is not State.WAITING or now >= approval.decide_by:
        raise Refusal("state")
    if not two_people(approval.asked_by, approval.asked_of, who.name, who.organisation):
        raise Refusal("same-person")
    if not may_agree(approval, who):
        raise Refusal("scope")
