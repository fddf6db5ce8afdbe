"""Who works at an organisation, what they may do, and who may change that."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from schemas.rights import StaffRole
from spean.comparable import comparable
from spean.problem import Refusal

NAME_MOST = 100
SIGN_IN_NAME = range(3, 61)  # characters
_ALSO = frozenset(".-_@")
LANGUAGES = ("en", "km", "lo", "th", "vi", "my", "zh")

# Long enough to reach somebody who is away for a weekend.
SET_UP_FOR = timedelta(hours=72)
# Printed where it is used, on the same machine.
SIGN_IN_LINK_FOR = timedelta(minutes=60)
# Two people who know the third are found within a day; after that the first one's word is old.
SECOND_WITHIN = timedelta(hours=24)


class Status(StrEnum):
    """Of a person. `locked`: for now; `left`: for good, and the history stays."""

    ACTIVE = "active"
    LOCKED = "locked"
    LEFT = "left"


class What(StrEnum):
    """What the history says of a person."""

    REGISTERED = "registered"
    CHANGED = "changed"
    INVITED = "invited"
    SET_UP = "set-up"
    SIGNED_IN = "signed-in"
    SIGNED_OUT = "signed-out"
    SIGN_IN_FAILED = "sign-in-failed"
    PASSWORD_CHANGED = "password-changed"  # noqa: S105 (a code)
    AUTHENTICATOR_CHANGED = "authenticator-changed"
    PASSKEY_ADDED = "passkey-added"
    PASSKEY_REMOVED = "passkey-removed"
    LINK_MADE = "link-made"
    RECOVERY_ASKED = "recovery-asked"
    RECOVERY_APPROVED = "recovery-approved"
    RECOVERY_REFUSED = "recovery-refused"
    FACTORS_REMOVED = "factors-removed"
    ROLES_ASKED = "roles-asked"
    ROLES_APPROVED = "roles-approved"
    ROLES_REFUSED = "roles-refused"
    ROLES_LAPSED = "roles-lapsed"
    RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class By:
    """Who does something: a person of an organisation, a `system` (`system:ID`), or (neither) the installation's operator at the
    command line."""

    person: UUID | None = None
    organisation: UUID | None = None
    system: str = ""

    @property
    def name(self) -> str:
        """As the history keeps it, and as the API knows callers (`Visitor.caller`)."""
        return f"person:{self.person}" if self.person is not None else self.system or "operator"


OPERATOR = By()


@dataclass(frozen=True, slots=True)
class Person:
    """A member of an organisation's staff."""

    id: UUID
    organisation: UUID
    name: str
    sign_in_name: str
    language: str
    roles: frozenset[StaffRole]
    status: Status
    version: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """Somebody who lost what they sign in with; `first_by` is the administrator who has approved so far."""

    id: UUID
    person: UUID
    asked_at: datetime
    first_by: UUID | None
    first_at: datetime | None


def authenticator_of(person: UUID) -> str:
    """Where a sealed secret of an authenticator belongs: it opens nowhere else."""
    return f"authenticator {person}"


def plain_name(name: str) -> str:
    """A display name as it is kept. Raises Refusal `invalid`."""
    kept = " ".join(unicodedata.normalize("NFC", name).split())
    if not 1 <= len(kept) <= NAME_MOST or any(unicodedata.category(one) == "Cc" for one in kept):
        raise Refusal("invalid", errors=[{"at": "name", "why": "name_expected"}])
    return kept


def usable(sign_in_name: str) -> bool:
    """Can it be one (as it is compared)? 3 to 60 letters, marks, digits and `. - _ @`, the first a letter or digit."""
    return (
        len(sign_in_name) in SIGN_IN_NAME
        and sign_in_name[0].isalnum()
        and all(one in _ALSO or unicodedata.category(one)[0] in "LMN" for one in sign_in_name)
    )


def new_sign_in_name(typed: str) -> str:
    """Raises Refusal `invalid`."""
    kept = comparable(typed)
    if not usable(kept):
        raise Refusal("invalid", errors=[{"at": "sign_in_name", "why": "sign_in_name_expected"}])
    return kept


def expect_roles(by: By, organisation: UUID, roles: frozenset[StaffRole]) -> None:
    """An administrator can do everything in the network, and an officer's rules hold for all of it, so there are others at
    the administrator's own organisation only (the first is made at the command line). Raises Refusal
    `administrator-elsewhere`."""
    if roles & {StaffRole.ADMINISTRATOR, StaffRole.OFFICER} and by.organisation not in {None, organisation}:
        raise Refusal("administrator-elsewhere")


def changed(person: Person, *, name: str | None = None, language: str | None = None,
            roles: frozenset[StaffRole] | None = None, status: Status | None = None) -> tuple[Person, dict[str, Any]]:  # fmt: skip
    """The person with these changes and the next version, and what the history says of it (empty: nothing changes; of a
    name only that it changed). Raises Refusal `invalid`, or `state` for somebody who has left."""
    if person.status is Status.LEFT:
        raise Refusal("state")
    if language is not None and language not in LANGUAGES:
        raise Refusal("invalid", errors=[{"at": "language", "why": "language_expected"}])
    after = replace(
        person, version=person.version + 1, name=person.name if name is None else plain_name(name),
        language=language or person.language, roles=person.roles if roles is None else roles,
        status=status or person.status,
    )  # fmt: skip
    detail: dict[str, Any] = {}
    if after.name != person.name:
        detail["name"] = "changed"
    if after.language != person.language:
        detail["language"] = [person.language, after.language]
    if after.roles != person.roles:
        detail["roles"] = [sorted(person.roles), sorted(after.roles)]
    if after.status != person.status:
        detail["status"] = [person.status, after.status]
    return (after if detail else person), detail


def ends_sessions(before: Person, after: Person) -> bool:
    """What somebody may do has changed: whoever is signed in signs in anew."""
    return before.roles != after.roles or before.status != after.status


def may_less(before: Person, after: Person) -> bool:
    """Was something taken away from somebody?"""
    shut = after.status != before.status and after.status is not Status.ACTIVE
    return shut or not before.roles <= after.roles


def approve(recovery: Recovery, by: By, now: datetime) -> bool:
    """May `by` approve now, and is the recovery complete with that? A first approval that is older than a day counts as
    none. Raises Refusal `two-administrators` for the person, for the same administrator twice, and for no person."""
    if by.person is None or by.person == recovery.person:
        raise Refusal("two-administrators")
    if recovery.first_by is None or recovery.first_at is None or now > recovery.first_at + SECOND_WITHIN:
        return False
    if recovery.first_by == by.person:
        raise Refusal("two-administrators")
    return True
