"""How long answers took: each dot one answer, a line through the medians of the parts of the day."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from markupsafe import Markup

from spean.web.charts.drawing import Frame, picture, plain, tag, text, told

_WIDTH, _HEIGHT = 360.0, 220.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 66.0, 352.0, 14.0, 186.0


@dataclass(frozen=True, slots=True)
class Answer:
    """`at`: when, in the unit of the ticks below; `took_min`: minutes from offer to answer."""

    at: float
    took_min: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis: `value` in the unit of the answers, `label` in words."""

    value: float
    label: str


def dots(
    name: str,
    title: str,
    answers: Sequence[Answer],
    across: Sequence[Tick],
    up: Sequence[Tick],
    say_minutes: Callable[[float], str],
    summary: Sequence[str] = (),
) -> Markup:
    """Dots over time. `across`: at least two ticks, rising; each pair of neighbours is a part with a median of its own.

    `up`: ticks in minutes. `summary`: sentences said before the medians. Answers outside the ticks are not drawn.
    Raises ValueError for fewer than two ticks or ticks that do not rise.
    """
    bounds = [tick.value for tick in across]
    if len(bounds) < 2 or any(two <= one for one, two in pairwise(bounds)):
        raise ValueError("ticks across must rise")
    shown = [one for one in answers if bounds[0] <= one.at <= bounds[-1]]
    high = _bent(max([tick.value for tick in up] + [one.took_min for one in shown] + [1.0]))

    def x(at: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (at - bounds[0]) / (bounds[-1] - bounds[0])

    def y(minutes: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * _bent(minutes) / high

    parts = [tag("line", x1=_LEFT, y1=y(tick.value), x2=_RIGHT, y2=y(tick.value), class_="chart-axis") for tick in up]
    parts += [text(tick.label, _LEFT - 8, y(tick.value) + 4, "chart-label", "end") for tick in up]
    parts += [_under(tick, x(tick.value), index, len(across)) for index, tick in enumerate(across)]
    parts += [tag("circle", cx=x(one.at), cy=y(one.took_min), r=3, class_="chart-dot") for one in shown]
    middles = _medians(shown, bounds)
    line = "L".join(f"{plain(x((one + two) / 2))} {plain(y(middle))}" for one, two, middle in middles)
    if middles:
        parts.append(tag("path", d=f"M{line}", class_="chart-line chart-median"))
    parts += [tag("circle", cx=x((one + two) / 2), cy=y(middle), r=3.5, class_="chart-median-point")
              for one, two, middle in middles]  # fmt: skip
    labels = {tick.value: tick.label for tick in across}
    said = [*summary, *(told(f"{labels[one]}–{labels[two]}", say_minutes(middle)) for one, two, middle in middles)]
    return picture(Frame(name, "dots", _WIDTH, _HEIGHT), title, said, parts)


def _bent(minutes: float) -> float:
    """Short times get the room: they are the ones to tell apart."""
    return math.sqrt(max(minutes, 0.0))


def _under(tick: Tick, x: float, index: int, count: int) -> Markup:
    anchor = "end" if index == count - 1 else "middle"
    return text(tick.label, x, _HEIGHT - 12, "chart-label", anchor)


def _medians(answers: Sequence[Answer], bounds: Sequence[float]) -> list[tuple[float, float, float]]:
    """(from, to, median in minutes) of each part that has answers; the last part holds its end too."""
    found = []
    for one, two in pairwise(bounds):
        took = [a.took_min for a in answers if one <= a.at < two or (two == bounds[-1] and a.at == two)]
        if took:
            found.append((one, two, median(took)))
    return found
