"""The path of identification: which step follows which, who may decide it, and on which day."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.vocabulary import DecidingBody as B
from schemas.vocabulary import IdentificationStatus as S
from services.intake.identification.domain import Step, deciding, expect_follows, standing
from spean.problem import Refusal

MET, NOW = datetime(2026, 3, 2, 20, tzinfo=UTC), datetime(2026, 3, 20, 20, tzinfo=UTC)
DAY = date(2026, 3, 10)


def _step(status: S, by: B | None = None, on: date = DAY) -> Step:
    usual = B.PERSON if status in {S.APPEALED, S.PROCESS_DECLINED} else B.MULTIDISCIPLINARY_TEAM
    return Step(status, by or usual, on)


def _why(step: Step, *path: Step) -> tuple[str, str | None, list[str]]:
    with pytest.raises(Refusal) as refusal:
        expect_follows(step, path, MET, NOW)
    return refusal.value.code, refusal.value.rule, [one["why"] for one in refusal.value.errors]


# Written out by hand, beside the code's own table.
WAYS = (
    (S.POSSIBLE, S.PRESUMED, S.IN_PROCESS, S.FORMALLY_IDENTIFIED),
    (S.PRESUMED, S.IN_PROCESS, S.NOT_IDENTIFIED, S.APPEALED, S.FORMALLY_IDENTIFIED),
    (S.PRESUMED, S.IN_PROCESS, S.NOT_IDENTIFIED, S.APPEALED, S.NOT_IDENTIFIED, S.APPEALED, S.IN_PROCESS),
    (S.PRESUMED, S.IN_PROCESS, S.NOT_IDENTIFIED, S.APPEALED, S.PROCESS_DECLINED, S.PRESUMED),
    (S.POSSIBLE, S.PROCESS_DECLINED, S.IN_PROCESS, S.PROCESS_DECLINED),
    (S.PRESUMED, S.PROCESS_DECLINED, S.IN_PROCESS, S.NOT_IDENTIFIED, S.IN_PROCESS),
)


@pytest.mark.parametrize("way", WAYS)
def test_the_ways_of_the_path(way: tuple[S, ...]) -> None:
    path: list[Step] = []
    for status in way:
        expect_follows(_step(status), path, MET, NOW)
        path.append(_step(status))
    assert standing(path) is way[-1]


def test_whatever_is_on_no_way_is_refused_and_it_is_said_where_the_path_stands() -> None:
    pairs = {pair for way in WAYS for pair in zip((None, *way), way, strict=False)}
    for stands in (None, *S):
        path = [] if stands is None else [_step(stands)]
        for status in S:
            if (stands, status) not in pairs:
                assert _why(_step(status), *path) == ("state", stands or "not_begun", [])


@given(st.sampled_from(S), st.sampled_from(B))
def test_authorities_decide_formally_and_the_person_alone_appeals_or_wants_none(status: S, by: B) -> None:
    formal = {S.IN_PROCESS, S.FORMALLY_IDENTIFIED, S.NOT_IDENTIFIED}
    own = {S.APPEALED, S.PROCESS_DECLINED}
    may = by is B.PERSON if status in own else by is not B.PERSON and not (
        status in formal and by is B.HELPING_ORGANISATION
    )  # fmt: skip
    assert (by in deciding(status, NOW)) is may


def test_who_does_not_decide_a_step_is_refused() -> None:
    assert _why(_step(S.PRESUMED, B.PERSON)) == ("invalid", None, ["not_theirs_to_decide"])
    assert deciding(S.PRESUMED, datetime(2025, 12, 31, tzinfo=UTC)) == frozenset(), "no data of that day"


@pytest.mark.parametrize(
    ("on", "why"),
    [
        (date(2026, 3, 22), "in_the_future"),
        (date(2026, 3, 1), "before_the_meeting"),
        (date(2026, 3, 9), "before_the_last_step"),
    ],
)
def test_a_day_that_cannot_be(on: date, why: str) -> None:
    assert _why(_step(S.PRESUMED, on=on), _step(S.POSSIBLE)) == ("invalid", None, [why])


@pytest.mark.parametrize("on", [date(2026, 3, 2), date(2026, 3, 21)])
def test_it_is_already_tomorrow_elsewhere(on: date) -> None:
    """Met on the 3rd by the clock of Phnom Penh, and now it is the 21st there."""
    expect_follows(_step(S.PRESUMED, on=on), [], MET, NOW)
