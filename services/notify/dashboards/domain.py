"""Figures that give nobody away: which numbers of a page are said, and which are not.

A count from 1 to 4 is never said ("<5"). Totals are made of what is said, never of the counts themselves: where a cell is
hidden, every total that it is part of is a range. So nothing that stands on a page, is drawn, printed or exported can say
more of a hidden cell than that it is one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

K = TypeVar("K", bound=Hashable)
# Fewer than this may be somebody.
LEAST = 5
# How far a referral has come; what it ended as, or that it waits there, is another thing.
STAGES = ("requested", "offered", "accepted", "ready", "arrived")
# Nearer than this an answer's time is not said.
MINUTES_STEP = 5


@dataclass(frozen=True, slots=True)
class Total:
    """From `low` to `most`; both are the number itself where nothing in it is hidden."""

    low: int
    most: int

    @property
    def exact(self) -> bool:
        return self.low == self.most


def small(count: int) -> bool:
    """Nobody is nobody; a few are too few to be counted aloud."""
    return 0 < count < LEAST


def protected(counts: Mapping[K, int]) -> dict[K, int | None]:
    """What is said of each count: None where it is too small."""
    return {key: None if small(count) else count for key, count in counts.items()}


def total(cells: Iterable[int | None]) -> Total:
    """Of cells as they are said."""
    said = list(cells)
    known, hidden = sum(count for count in said if count is not None), said.count(None)
    return Total(known + hidden, known + hidden * (LEAST - 1))


# A stage, and what became of those who went no further: they wait there, they ended there, or (where one of the two is too
# small to be said) either.
Step = tuple[str, Literal["waits", "ended", "either"]]


def steps_said(waiting: Mapping[str, int], ended: Mapping[str, int]) -> dict[Step, int | None]:
    """What is said of referrals by the stage that they have come to; of those who arrived it is all one."""
    last = STAGES[-1]
    counts: dict[Step, int] = {}
    for stage in STAGES[:-1]:
        waits, over = waiting.get(stage, 0), ended.get(stage, 0)
        if small(waits) or small(over):
            counts[stage, "either"] = waits + over
        else:
            counts[stage, "waits"], counts[stage, "ended"] = waits, over
    counts[last, "either"] = waiting.get(last, 0) + ended.get(last, 0)
    return protected(counts)


def came_as_far(steps: Mapping[Step, int | None], stage: str) -> Total:
    """How many came to this stage or beyond it, as `steps_said` says them."""
    return total(count for step, count in steps.items() if STAGES.index(step[0]) >= STAGES.index(stage))


def rounded_minutes(minutes: float) -> int:
    """To the nearest step, at least one step: nobody's answer is named by its second."""
    return max(round(minutes / MINUTES_STEP), 1) * MINUTES_STEP


def parts_of_day(hours: Sequence[float], bounds: Sequence[int]) -> list[int]:
    """Of the bounds of a day's parts, those that leave no part with a few answers: each has none or at least `LEAST`.

    `hours`: when, from the first bound to the last. Parts are joined with the one that follows, the last with the one
    before it. The first and the last bound always stay.
    """
    kept = [bounds[0]]
    for bound in bounds[1:-1]:
        if not small(sum(kept[-1] <= hour < bound for hour in hours)):
            kept.append(bound)
    kept.append(bounds[-1])
    while len(kept) > 2 and small(sum(kept[-2] <= hour <= kept[-1] for hour in hours)):
        del kept[-2]
    return kept


def quarters(minutes: Sequence[int]) -> tuple[int, int, int]:
    """Within how many minutes a quarter, half, and three quarters were answered: the answer at that place in the row.
    Raises ValueError for none."""
    if not minutes:
        raise ValueError("no answers")
    row = sorted(minutes)
    return (row[(len(row) - 1) // 4], row[(len(row) - 1) // 2], row[3 * (len(row) - 1) // 4])
