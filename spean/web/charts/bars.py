"""Counts side by side: one row each, the label above its bar, the number at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from spean.web.charts.drawing import TOKEN, Frame, Saying, picture, tag, text, told

_WIDTH = 360.0
_ROW = 46.0
_THICK = 10.0


@dataclass(frozen=True, slots=True)
class Bar:
    """`count` None: too small to tell. `look`: "" or the name of a state ("late", "soon") that the style sheet knows."""

    label: str
    count: int | None
    look: str = ""


def bars(name: str, title: str, rows: Sequence[Bar], say: Saying, whole: int | None = None) -> Markup:
    """Horizontal bars. `whole`: the count that fills a track (at least the largest; by default the largest)."""
    most = max([row.count for row in rows if row.count is not None] + [whole or 0, 1])
    parts: list[Markup] = []
    for index, row in enumerate(rows):
        top = index * _ROW
        parts.append(text(row.label, 0, top + 18, "chart-label"))
        parts.append(text(say.of(row.count), _WIDTH, top + 18, "chart-number", "end"))
        parts.append(tag("rect", x=0, y=top + 27, width=_WIDTH, height=_THICK, rx=3, class_="chart-track"))
        parts += _filled(row, top + 27, most)
    said = [told(row.label, say.of(row.count)) for row in rows]
    return picture(Frame(name, "bars", _WIDTH, max(len(rows), 1) * _ROW), title, said, parts)


def _filled(row: Bar, top: float, most: int) -> list[Markup]:
    if row.count is None:
        return [tag("rect", x=1, y=top + 1, width=TOKEN, height=_THICK - 2, rx=2, class_="chart-small")]
    if row.count == 0:
        return []
    look = f"chart-fill chart-{row.look}" if row.look else "chart-fill"
    width = max(_WIDTH * row.count / most, 2.0)
    return [tag("rect", x=0, y=top, width=width, height=_THICK, rx=3, class_=look)]
