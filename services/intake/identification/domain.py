"""The path to being identified formally: which step follows which, who may decide one, and when. Pure.

No step says anything about help: that begins when somebody is presumed, and "not formally identified" takes it from nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from schemas.vocabulary import DecidingBody, IdentificationStatus
from spean.problem import Refusal

_S, _B = IdentificationStatus, DecidingBody

# A person may come back at any time: who did not want the process, or was not identified, may begin it (again).
NEXT: Mapping[IdentificationStatus | None, frozenset[IdentificationStatus]] = {
    None: frozenset({_S.POSSIBLE, _S.PRESUMED}),
    _S.POSSIBLE: frozenset({_S.PRESUMED, _S.PROCESS_DECLINED}),
    _S.PRESUMED: frozenset({_S.IN_PROCESS, _S.PROCESS_DECLINED}),
    _S.IN_PROCESS: frozenset({_S.FORMALLY_IDENTIFIED, _S.NOT_IDENTIFIED, _S.PROCESS_DECLINED}),
    _S.FORMALLY_IDENTIFIED: frozenset(),
    _S.NOT_IDENTIFIED: frozenset({_S.APPEALED, _S.IN_PROCESS}),
    _S.APPEALED: frozenset({_S.FORMALLY_IDENTIFIED, _S.NOT_IDENTIFIED, _S.IN_PROCESS, _S.PROCESS_DECLINED}),
    _S.PROCESS_DECLINED: frozenset({_S.PRESUMED, _S.IN_PROCESS}),
}
# Only with the person's own yes to being identified (`ConsentDecision.IDENTIFICATION`). That somebody was not identified, or
# wants no more of it, is written down without.
WITH_THEIR_YES = frozenset({_S.IN_PROCESS, _S.FORMALLY_IDENTIFIED})

_THE_PERSON = frozenset({_B.PERSON})
_AUTHORITIES = frozenset(_B) - {_B.PERSON, _B.HELPING_ORGANISATION}
_EITHER = _AUTHORITIES | {_B.HELPING_ORGANISATION}
# Who may decide what: dated data of this holder (field practice; which authority it is, is each country's law).
_DECIDES: tuple[tuple[date, Mapping[IdentificationStatus, frozenset[DecidingBody]]], ...] = (
    (
        date(2026, 1, 1),
        {
            _S.POSSIBLE: _EITHER, _S.PRESUMED: _EITHER, _S.IN_PROCESS: _AUTHORITIES,
            _S.FORMALLY_IDENTIFIED: _AUTHORITIES, _S.NOT_IDENTIFIED: _AUTHORITIES,
            _S.APPEALED: _THE_PERSON, _S.PROCESS_DECLINED: _THE_PERSON,
        },
    ),
)  # fmt: skip
# A day is written down by the clock of the place, which may be as far from UTC as this.
_EAST, _WEST = timedelta(hours=14), timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Step:
    """`reference`: the authority's own; `notes`: whatever else has to be known. Both are the person's."""

    status: IdentificationStatus
    decided_by: DecidingBody
    decided_on: date
    reference: str | None = None
    notes: str | None = None


def deciding(status: IdentificationStatus, now: datetime) -> frozenset[DecidingBody]:
    """Who may decide such a step."""
    today = now.astimezone(UTC).date()
    return next((table[status] for since, table in reversed(_DECIDES) if since <= today), frozenset())


def standing(path: Sequence[Step]) -> IdentificationStatus | None:
    """Where the path stands; None where it has not begun."""
    return path[-1].status if path else None


def expect_follows(step: Step, path: Sequence[Step], met_at: datetime, now: datetime) -> None:
    """The step goes on where the path stands. Raises Refusal `state` (`rule`: where it stands), `invalid`."""
    stands = standing(path)
    if step.status not in NEXT[stands]:
        raise Refusal("state", rule=stands or "not_begun")
    wrong = []
    if step.decided_by not in deciding(step.status, now):
        wrong.append(("decided_by", "not_theirs_to_decide"))
    if step.decided_on > (now.astimezone(UTC) + _EAST).date():
        wrong.append(("decided_on", "in_the_future"))
    elif step.decided_on < (met_at.astimezone(UTC) - _WEST).date():
        wrong.append(("decided_on", "before_the_meeting"))
    elif path and step.decided_on < path[-1].decided_on:
        wrong.append(("decided_on", "before_the_last_step"))
    if wrong:
        raise Refusal("invalid", errors=[{"at": f"body.{at}", "why": why} for at, why in wrong])
