"""Who has to agree to what, as a table: what opens records needs two, and nobody agrees to more than they may do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from schemas.rights import SCOPES, SCOPES_OF, StaffRole
from services.referral.approvals.domain import (
    EVERYWHERE,
    OPENING,
    WITHIN,
    Approval,
    Kind,
    State,
    Who,
    approve,
    needs_another,
    opening,
    two_people,
)
from spean.problem import Refusal

NOW = datetime(2026, 3, 11, tzinfo=UTC)
DESK, HOUSE, OTHER = uuid4(), uuid4(), uuid4()
ASKER, SECOND = f"person:{uuid4()}", f"person:{uuid4()}"
ADMIN = frozenset({"referral:admin"})
RECEIVES = frozenset({"referral:receive"})


def asked(
    by: str = ASKER, of: object = DESK, scopes: frozenset[str] = RECEIVES, state: State = State.WAITING
) -> Approval:
    return Approval(
        uuid4(),
        Kind.SYSTEM,
        HOUSE,
        "house",
        None,
        scopes,
        {},
        by,
        of,
        NOW,
        NOW + WITHIN,
        state,
        None,
        None,  # type: ignore[arg-type]
    )


def test_every_scope_and_role_is_decided_about() -> None:
    """A scope that is added later has to be thought of here."""
    closed = {"referral:send", "referral:coordinate", "notify:watch", "notify:admin"}
    assert OPENING | closed == set(SCOPES)
    assert not OPENING & closed
    assert opening(StaffRole) == set(StaffRole) - {StaffRole.COORDINATOR}
    assert all(SCOPES_OF[role] & OPENING for role in opening(StaffRole))


@pytest.mark.parametrize("scope", sorted(SCOPES))
def test_the_first_of_an_organisation_needs_nobody_else_unless_it_reaches_everywhere(scope: str) -> None:
    assert needs_another({scope}, first=True) == (scope in EVERYWHERE)
    assert needs_another({scope}, first=False) == (scope in OPENING)
    assert not needs_another([], first=False)


@pytest.mark.parametrize(
    ("by", "of", "who", "why"),
    [
        (ASKER, DESK, Who(SECOND, DESK, ADMIN), None),
        (ASKER, DESK, Who(SECOND, OTHER, ADMIN), None),
        (ASKER, DESK, Who("system:house", HOUSE, RECEIVES), None),
        (ASKER, DESK, Who(SECOND, HOUSE, RECEIVES), None),
        ("system:administrator", DESK, Who("system:second", OTHER, ADMIN), None),
        ("system:administrator", DESK, Who(SECOND, OTHER, ADMIN), None),
        # Not two, as far as anybody can tell.
        (ASKER, DESK, Who(ASKER, DESK, ADMIN), "same-person"),
        ("system:administrator", DESK, Who("system:another", DESK, ADMIN), "same-person"),
        ("system:administrator", DESK, Who(SECOND, DESK, ADMIN), "same-person"),
        (ASKER, DESK, Who("system:administrator", DESK, ADMIN), "same-person"),
        ("system:house", HOUSE, Who(SECOND, HOUSE, RECEIVES | ADMIN), "same-person"),
        # Not theirs, or more than they may do.
        (ASKER, DESK, Who(SECOND, OTHER, RECEIVES), "not-found"),
        (ASKER, DESK, Who(SECOND, HOUSE, frozenset({"intake:send", "referral:send"})), "scope"),
    ],
)  # fmt: skip
def test_who_may_agree(by: str, of: object, who: Who, why: str | None) -> None:
    if why is None:
        approve(asked(by, of), who, NOW)
    else:
        with pytest.raises(Refusal, match=why):
            approve(asked(by, of), who, NOW)


def test_nobody_agrees_to_more_than_they_may() -> None:
    more = asked(scopes=RECEIVES | {"intake:send"})
    with pytest.raises(Refusal, match="scope"):
        approve(more, Who(SECOND, HOUSE, RECEIVES), NOW)
    approve(more, Who(SECOND, HOUSE, RECEIVES | {"intake:send"}), NOW)


def test_what_is_decided_or_too_old_stays() -> None:
    who = Who(SECOND, DESK, ADMIN)
    for state in set(State) - {State.WAITING}:
        with pytest.raises(Refusal, match="state"):
            approve(asked(state=state), who, NOW)
    approve(asked(), who, NOW + WITHIN - timedelta(seconds=1))
    with pytest.raises(Refusal, match="state"):
        approve(asked(), who, NOW + WITHIN)


def test_two_systems_of_one_organisation_are_not_two_people() -> None:
    assert not two_people("system:one", HOUSE, "system:two", HOUSE)
    assert two_people("system:one", HOUSE, "system:two", OTHER)
