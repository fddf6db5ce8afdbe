"""What all pictures share: elements, the frame with its text alternative, and how counts are said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

# The size of a mark that stands for a count too small to tell: always the same, so it gives nothing away.
TOKEN = 8.0


@dataclass(frozen=True, slots=True)
class Saying:
    """How counts are said: `number(21)` in the digits of the page, `small` for a count that may not be told ("<5")."""

    number: Callable[[int], str]
    small: str

    def of(self, count: int | None) -> str:
        """`None` is a count too small to tell."""
        return self.small if count is None else self.number(count)


@dataclass(frozen=True, slots=True)
class Frame:
    """`name`: unique on the page, for the ids. `width`, `height`: in units; one unit is one pixel at natural size."""

    name: str
    kind: str
    width: float
    height: float


def plain(value: float) -> str:
    """At most one digit after the point, none where it is zero."""
    written = f"{value:.1f}".removesuffix(".0")
    return "0" if written == "-0" else written


def tag(kind: str, inside: str | Markup = "", /, **attributes: float | str) -> Markup:
    """One element; `class_` and `stroke_width` are written `class` and `stroke-width`. All values are escaped."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value if isinstance(value, str) else plain(value))
        for key, value in attributes.items()
    )
    if not inside:
        return Markup("<{}{}/>").format(kind, written)
    return Markup("<{0}{1}>{2}</{0}>").format(kind, written, inside)


def text(words: str, x: float, y: float, look: str, anchor: str = "start") -> Markup:
    if anchor == "start":
        return tag("text", words, x=x, y=y, class_=look)
    return tag("text", words, x=x, y=y, class_=look, text_anchor=anchor)


def picture(frame: Frame, title: str, said: Sequence[str], parts: Iterable[Markup]) -> Markup:
    """The whole SVG. `said`: every number of the picture in words, one entry each."""
    return Markup(
        '<svg class="chart chart-{kind}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
        ' aria-labelledby="{name}-title {name}-text"><title id="{name}-title">{title}</title>'
        '<desc id="{name}-text">{said}</desc>{parts}</svg>'
    ).format(
        kind=frame.kind, width=plain(frame.width), height=plain(frame.height), name=frame.name, title=title,
        said="; ".join(said), parts=Markup("").join(parts),
    )  # fmt: skip


def told(label: str, number: str) -> str:
    """One entry of the text alternative."""
    return f"{label}: {number}"
