"""Where an event stands: against a model that knows nothing of the rule, only of lives and what was said in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spean.order import Place, place_of

LIFE = st.integers(1, 4)
COUNT = st.integers(1, 12)
PLACES = st.builds(Place, LIFE, COUNT)


@pytest.mark.parametrize(
    ("last", "new", "verdict"),
    [
        ((0, 0), (1, 1), "next"), ((0, 0), (1, 2), "gap"), ((0, 0), (3, 1), "next"), ((0, 0), (3, 7), "gap"),
        ((1, 1), (1, 1), "passed"), ((1, 5), (1, 4), "passed"), ((1, 5), (1, 6), "next"), ((1, 5), (1, 7), "gap"),
        ((1, 5), (2, 6), "next"), ((1, 5), (2, 7), "gap"), ((1, 5), (2, 5), "fork"), ((1, 5), (2, 1), "fork"),
        ((2, 5), (1, 6), "passed"), ((2, 5), (1, 1), "passed"),
    ],
)  # fmt: skip
def test_each_verdict(last: tuple[int, int], new: tuple[int, int], verdict: str) -> None:
    assert place_of(Place(*last), Place(*new)) == verdict


@st.composite
def histories(draw: st.DrawFn) -> list[Place]:
    """What one writer may say about one aggregate: lives in order, numbers that go on. A life may say nothing."""
    lengths = draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    said: list[Place] = []
    for life, length in enumerate(lengths, 1):
        said += [Place(life, len(said) + 1 + index) for index in range(length)]
    return said


@given(histories(), st.data())
def test_a_history_read_in_any_order_gives_itself(said: list[Place], data: st.DataObject) -> None:
    """The naive reader: it knows the whole history, and takes an event when everything before it has been taken.
    The rule must say the same of every delivery, with repetitions and in any order."""
    if not said:
        return
    deliveries = data.draw(st.lists(st.sampled_from(said), max_size=60))
    last, taken = Place(0, 0), 0
    for one in deliveries:
        index = said.index(one)
        expected = "passed" if index < taken else "next" if index == taken else "gap"
        assert place_of(last, one) == expected
        if expected == "next":
            last, taken = one, taken + 1


@given(histories(), st.integers(1, 3), st.data())
def test_a_life_that_begins_before_the_end_of_another_is_a_fork(
    said: list[Place], forgotten: int, data: st.DataObject
) -> None:
    """A restore that has lost the last few, and says other things under their numbers."""
    if not said:
        return
    kept = said[: max(0, len(said) - forgotten)]
    life = said[-1].epoch + 1
    wrong = Place(life, data.draw(st.integers(len(kept) + 1, len(said))))
    assert place_of(said[-1], wrong) == "fork"


@given(PLACES, PLACES)
def test_one_verdict_and_what_is_taken_has_passed(last: Place, new: Place) -> None:
    verdict = place_of(last, new)
    assert verdict in {"passed", "next", "gap", "fork"}
    assert (verdict == "passed") == (new <= last)
    assert place_of(new, new) == "passed"
    if verdict == "next":
        assert place_of(new, last) == "passed"
