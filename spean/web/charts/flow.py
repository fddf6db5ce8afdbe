"""Where referrals are: one bar a stage, a band to the next, grey for what ended on the way.

Drawn twice, side by side for a wide window and downwards for a narrow one; the style sheet shows one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from spean.web.charts.drawing import TOKEN, Frame, Saying, picture, plain, tag, text, told

_BAR = 14.0
_WIDE, _HIGH = 760.0, 124.0
_TALL_WIDTH, _TALL_LONG, _TALL_LINE = 340.0, 140.0, 22.0
_LINE = 20.0


@dataclass(frozen=True, slots=True)
class Ended:
    """What left the line after a stage, or waits there. `count` None: too small to tell."""

    label: str
    count: int | None


@dataclass(frozen=True, slots=True)
class Stage:
    """How many came as far as this, and what became of those who went no further."""

    label: str
    count: int | None
    ended: Sequence[Ended] = ()


def flow(name: str, title: str, stages: Sequence[Stage], say: Saying) -> Markup:
    """Both drawings. Raises ValueError for fewer than two stages."""
    if len(stages) < 2:
        raise ValueError("a flow has two stages at least")
    said: list[str] = []
    for stage in stages:
        said.append(told(stage.label, say.of(stage.count)))
        said += [told(one.label, say.of(one.count)) for one in stage.ended]
    return _wide(f"{name}-wide", title, stages, say, said) + _tall(f"{name}-tall", title, stages, say, said)


def _sizes(stages: Sequence[Stage], full: float) -> list[float]:
    """Length of each bar; one that may not be told has the same small size whatever it is."""
    most = max([stage.count for stage in stages if stage.count is not None] + [1])
    return [TOKEN if stage.count is None else full * stage.count / most for stage in stages]


def _left(stage: Stage, size: float, onward: float) -> float:
    """How thick the grey band of a stage is: to scale as far as it is known, never thicker than the room it has."""
    if stage.count is None or not stage.ended:
        return TOKEN if stage.ended else 0.0
    parts = [TOKEN if one.count is None else size * one.count / max(stage.count, 1) for one in stage.ended]
    return max(min(sum(parts), size - onward), 0.0)


def _wide(name: str, title: str, stages: Sequence[Stage], say: Saying, said: Sequence[str]) -> Markup:
    step = (_WIDE - 90) / (len(stages) - 1)
    sizes = _sizes(stages, _HIGH)
    top, ground = 28.0, 28.0 + _HIGH
    parts: list[Markup] = []
    for index, (one, two) in enumerate(pairwise(sizes)):
        x, band = index * step, min(one, two)
        parts.append(_band(x + _BAR, x + step, top, band))
        left = _left(stages[index], one, band)
        if left > 0:
            parts.append(_leaving(x + _BAR, top + one - left, left, ground + 14))
    for index, (stage, size) in enumerate(zip(stages, sizes, strict=True)):
        x = index * step
        parts.append(text(stage.label, x, 16, "chart-label"))
        parts.append(_bar(stage, x, top, _BAR, size))
        parts.append(text(say.of(stage.count), x + _BAR + 7, top + max(size / 2, 6) + 5, "chart-number"))
        for line, end in enumerate(stage.ended):
            parts.append(_named(end.label, end.count, say, x, ground + 32 + line * _LINE, "chart-label"))
    lines = max(len(stage.ended) for stage in stages)
    height = ground + (22 + lines * _LINE if lines else 8)
    return picture(Frame(name, "wide", _WIDE, height), title, said, parts)


def _tall(name: str, title: str, stages: Sequence[Stage], say: Saying, said: Sequence[str]) -> Markup:
    sizes = _sizes(stages, _TALL_LONG)
    parts: list[Markup] = []
    y, words = 4.0, _TALL_LONG + 16
    for index, (stage, size) in enumerate(zip(stages, sizes, strict=True)):
        under = y + _BAR
        following = under + 18 + len(stage.ended) * _TALL_LINE
        if index + 1 < len(stages):
            onward = min(size, sizes[index + 1])
            parts.append(tag("rect", x=0, y=under, width=onward, height=following - under, class_="chart-band"))
            left = _left(stage, size, onward)
            if left > 0:
                parts.append(_turning(size - left, under, left))
        parts.append(_bar(stage, 0, y, size, _BAR))
        parts.append(_named(stage.label, stage.count, say, words, y + 12, "chart-label chart-strong"))
        for line, one in enumerate(stage.ended, start=1):
            parts.append(_named(one.label, one.count, say, words, y + 12 + line * _TALL_LINE, "chart-label"))
        y = following
    return picture(Frame(name, "tall", _TALL_WIDTH, y - 12), title, said, parts)


def _bar(stage: Stage, x: float, y: float, width: float, height: float) -> Markup:
    if stage.count is None:
        return tag("rect", x=x + 1, y=y + 1, width=width - 2, height=height - 2, rx=2, class_="chart-small")
    return tag("rect", x=x, y=y, width=max(width, 1.5), height=max(height, 1.5), rx=3, class_="chart-fill")


def _band(x1: float, x2: float, y: float, thick: float) -> Markup:
    return tag("rect", x=x1, y=y, width=x2 - x1, height=thick, class_="chart-band")


def _leaving(x: float, y: float, thick: float, end: float) -> Markup:
    """A band that bends down, beside the bar that it leaves."""
    inner = x + 8
    outer = inner + thick
    low = y + thick
    path = (
        f"M{_at(x, y)}C{_at(outer, y)} {_at(outer, y)} {_at(outer, end)}"
        f"H{plain(inner)}C{_at(inner, low)} {_at(inner, low)} {_at(x, low)}Z"
    )
    return tag("path", d=path, class_="chart-gone")


def _turning(x: float, y: float, thick: float) -> Markup:
    """A band that bends to the right, under the bar that it leaves."""
    low, end = y + 14, _TALL_LONG + 8
    high = max(low - thick, y + 2)
    path = (
        f"M{_at(x, y)}C{_at(x, low)} {_at(x, low)} {_at(end, low)}"
        f"V{plain(high)}C{_at(x + thick, high)} {_at(x + thick, high)} {_at(x + thick, y)}Z"
    )
    return tag("path", d=path, class_="chart-gone")


def _at(x: float, y: float) -> str:
    return f"{plain(x)} {plain(y)}"


def _named(label: str, count: int | None, say: Saying, x: float, y: float, look: str) -> Markup:
    number = tag("tspan", say.of(count), class_="chart-number")
    return tag("text", Markup("{} {}").format(number, label), x=x, y=y, class_=look)
