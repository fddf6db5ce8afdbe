"""How long somebody is kept, and why they are erased. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from schemas.vocabulary import ServiceGroup


class Why(StrEnum):
    """Why somebody was erased. `KEY_DESTROYED`: their key was found destroyed, as in a backup that was restored."""

    PERSON_ASKED = "person_asked"
    NOT_CONCERNED = "not_concerned"
    MISTAKE = "mistake"
    RETENTION = "retention"
    KEY_DESTROYED = "key_destroyed"


class Applies(StrEnum):
    """To whom a rule of retention applies."""

    ENDED = "ended"
    MET = "met"
    SCREENED = "screened"


class End(StrEnum):
    COMPLETED = "completed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Rule:
    """`days` after the last thing that happened. `group`, `end`: None for any."""

    applies: Applies
    group: ServiceGroup | None
    end: End | None
    days: int

    @property
    def narrow(self) -> tuple[bool, bool]:
        """A named service group counts before a named end."""
        return self.group is not None, self.end is not None


@dataclass(frozen=True, slots=True)
class Past:
    """A hand-off that has ended, at `at`."""

    group: ServiceGroup
    end: End
    at: datetime


@dataclass(frozen=True, slots=True)
class Life:
    """What is known of somebody who may be erased. `last`: when they were met or last decided something, or something was
    decided about them (their identification, what stood in for consent); `screened`: met in a group, and has agreed to nothing."""

    entry: UUID
    last: datetime
    screened: bool
    past: tuple[Past, ...] = ()


def kept_until(life: Life, rules: Sequence[Rule]) -> datetime | None:
    """When somebody is to be erased: by the rule that keeps them longest. None where a rule is missing: without one nobody
    is erased. `rules`: those in force, one of each scope."""
    if not life.past:
        return _end(life.last, rules, Applies.SCREENED if life.screened else Applies.MET)
    ends = [_end(max(life.last, one.at), rules, Applies.ENDED, one.group, one.end) for one in life.past]
    known = [end for end in ends if end is not None]
    return max(known) if len(known) == len(ends) else None


def _end(since: datetime, rules: Sequence[Rule], applies: Applies, group: ServiceGroup | None = None,
         end: End | None = None) -> datetime | None:  # fmt: skip
    fitting = [
        rule for rule in rules
        if rule.applies is applies and rule.group in {None, group} and rule.end in {None, end}
    ]  # fmt: skip
    if not fitting:
        return None
    return since + timedelta(days=max(fitting, key=lambda rule: rule.narrow).days)
