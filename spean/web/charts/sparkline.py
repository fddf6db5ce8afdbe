"""A row of counts as a small line: is it going up or down?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from spean.web.charts.drawing import Frame, Saying, picture, plain, tag, told

_WIDTH, _HEIGHT, _MARGIN = 160.0, 40.0, 5.0


def sparkline(name: str, title: str, counts: Sequence[tuple[str, int | None]], say: Saying) -> Markup:
    """`counts`: (when, how many), oldest first. A count too small to tell is an open ring on the ground line."""
    most = max([count for _, count in counts if count is not None] + [1])
    step = (_WIDTH - 2 * _MARGIN) / max(len(counts) - 1, 1)
    ground = _HEIGHT - _MARGIN

    def place(index: int, count: int) -> tuple[float, float]:
        return _MARGIN + index * step, ground - (ground - _MARGIN) * count / most

    parts = [tag("line", x1=0, y1=ground, x2=_WIDTH, y2=ground, class_="chart-axis")]
    known = [(index, *place(index, count)) for index, (_, count) in enumerate(counts) if count is not None]
    for (before, x1, y1), (after, x2, y2) in pairwise(known):
        if after == before + 1:
            parts.append(tag("path", d=f"M{plain(x1)} {plain(y1)}L{plain(x2)} {plain(y2)}", class_="chart-line"))
    for index, (_, count) in enumerate(counts):
        if count is None:
            parts.append(tag("circle", cx=_MARGIN + index * step, cy=ground, r=3, class_="chart-small"))
    if known:
        parts.append(tag("circle", cx=known[-1][1], cy=known[-1][2], r=3.5, class_="chart-point"))
    said = [told(when, say.of(count)) for when, count in counts]
    return picture(Frame(name, "sparkline", _WIDTH, _HEIGHT), title, said, parts)
