"""Figures give nobody away: whatever is said of a table fits a table with another number, for every count that is hidden."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notify.dashboards.domain import (
    LEAST,
    STAGES,
    Total,
    came_as_far,
    parts_of_day,
    protected,
    quarters,
    rounded_minutes,
    small,
    steps_said,
    total,
)

# From nobody to just above the size of small cells: what is larger is said as it is and hides nothing.
COUNTS = range(LEAST + 2)
Counts = dict[Any, int]


def _table(counts: Counts) -> tuple[object, ...]:
    """All that is said of a table with its total."""
    said = protected(counts)
    return (*said.items(), total(said.values()))


def _flow(counts: Counts) -> tuple[object, ...]:
    """All that is said of the stages: each cell, and how many came as far as each stage."""
    said = steps_said(*_split(counts))
    return (*said.items(), *(came_as_far(said, stage) for stage in STAGES))


def _split(counts: Counts) -> tuple[dict[str, int], dict[str, int]]:
    return tuple(
        {stage: count for (stage, ended), count in counts.items() if ended is wanted} for wanted in (False, True)
    )


def _told_away(tables: Iterable[Counts], said: Callable[[Counts], tuple[object, ...]]) -> list[str]:
    """Where a reader who knows the rules can work a hidden count out: nothing else leads to the same page."""
    behind: dict[tuple[object, ...], list[Counts]] = defaultdict(list)
    for one in tables:
        behind[said(one)].append(one)
    wrong = []
    for page, candidates in behind.items():
        for key, count in candidates[0].items():
            possible = {candidate[key] for candidate in candidates}
            if small(count) and len(possible) < 2:
                wrong.append(f"{key} must be {possible} on {page}")
    return wrong


@pytest.mark.parametrize("cells", [1, 2, 3, 4])
def test_no_hidden_cell_can_be_worked_out_from_its_table(cells):
    names = "abcd"[:cells]
    tables = (dict(zip(names, counts, strict=True)) for counts in product(COUNTS, repeat=cells))
    assert _told_away(tables, _table) == []


def test_no_hidden_cell_can_be_worked_out_from_how_many_came_as_far_as_each_stage():
    steps = [
        ("offered", False),
        ("offered", True),
        ("accepted", False),
        ("ready", True),
        ("arrived", False),
    ]
    tables = (dict(zip(steps, counts, strict=True)) for counts in product(COUNTS, repeat=len(steps)))
    assert _told_away(tables, _flow) == []


@pytest.mark.parametrize(
    "careless",
    [
        lambda counts: (*protected(counts).items(), sum(counts.values())),  # every total is said
        # A total is said where two at least are hidden in it: 2 can only be 1 and 1.
        lambda counts: (
            *protected(counts).items(),
            sum(counts.values()) if sum(map(small, counts.values())) != 1 else None,
        ),
    ],
)
def test_a_page_that_says_more_would_be_found_out(careless):
    tables = (dict(zip("abc", counts, strict=True)) for counts in product(COUNTS, repeat=3))
    assert _told_away(tables, careless)


@pytest.mark.parametrize(
    ("counts", "said", "whole"),
    [
        ({"a": 21, "b": 9}, {"a": 21, "b": 9}, Total(30, 30)),
        ({"a": 21, "b": 3}, {"a": 21, "b": None}, Total(22, 25)),
        ({"a": 3, "b": 2, "c": 9}, {"a": None, "b": None, "c": 9}, Total(11, 17)),
        ({"a": 0, "b": 0}, {"a": 0, "b": 0}, Total(0, 0)),
        ({"a": 1}, {"a": None}, Total(1, 4)),
        ({"a": 4}, {"a": None}, Total(1, 4)),
        ({"a": 5}, {"a": 5}, Total(5, 5)),
        ({}, {}, Total(0, 0)),
    ],
)
def test_what_is_said_of_a_table(counts, said, whole):
    assert (protected(counts), total(protected(counts).values())) == (said, whole)


def test_who_went_no_further_is_said_together_where_one_part_is_small():
    said = steps_said(
        {"requested": 6, "offered": 7, "ready": 1, "arrived": 9}, {"requested": 0, "offered": 2, "arrived": 3}
    )
    assert said == {
        ("requested", "waits"): 6, ("requested", "ended"): 0, ("offered", "either"): 9, ("accepted", "waits"): 0,
        ("accepted", "ended"): 0, ("ready", "either"): None, ("arrived", "either"): 12,
    }  # fmt: skip
    assert [came_as_far(said, stage) for stage in STAGES] == [
        Total(28, 31), Total(22, 25), Total(13, 16), Total(13, 16), Total(12, 12),
    ]  # fmt: skip


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 60), max_size=8))
def test_a_total_is_never_wrong(counts):
    whole = total(protected(counts).values())
    assert whole.low <= sum(counts.values()) <= whole.most
    assert whole.exact == (not any(small(count) for count in counts.values()))


@given(st.lists(st.floats(0, 24, exclude_max=True), max_size=60))
def test_parts_of_a_day_have_none_or_enough(hours):
    bounds = parts_of_day(hours, (0, 6, 12, 18, 24))
    assert bounds[0] == 0
    assert bounds[-1] == 24
    assert bounds == sorted(set(bounds))
    if len(hours) >= LEAST:
        assert not any(small(sum(one <= hour < two for hour in hours)) for one, two in pairwise(bounds))


@pytest.mark.parametrize(("minutes", "said"), [(0.2, 5), (7.4, 5), (7.6, 10), (61, 60), (1440, 1440)])
def test_times_are_said_to_the_nearest_five_minutes(minutes, said):
    assert rounded_minutes(minutes) == said


def test_quarters_are_answers_of_the_row():
    assert quarters([50, 10, 20, 30, 40]) == (20, 30, 40)
    assert quarters([5]) == (5, 5, 5)
    with pytest.raises(ValueError, match="no answers"):
        quarters([])
