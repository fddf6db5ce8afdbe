"""Provinces coloured by four grades. The shapes are small drawings: "boundaries are indicative" stands under every map."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypedDict

from markupsafe import Markup

from spean.web.charts.drawing import Frame, Saying, picture, plain, tag, told

_FILE = Path(__file__).parents[1] / "map" / "provinces.json"
COUNTRIES = ("KH", "LA", "VN", "TH", "MM", "CN")
GRADES = 4
_MARGIN = 12.0


class Shape(TypedDict):
    """`at`: a point inside; `box`: left, top, right, bottom; `d`: SVG path. Units of the whole map."""

    at: list[int]
    box: list[int]
    d: str


@dataclass(frozen=True, slots=True)
class Legend:
    """`grades`: words of the four grades from few to many; `unknown`: for provinces without a number;
    `notice`: that boundaries are indicative. All translated."""

    grades: Sequence[str]
    unknown: str
    notice: str


@cache
def shapes() -> Mapping[str, Shape]:
    """By ISO 3166-2 code, in the order in which they are drawn."""
    found: Mapping[str, Shape] = json.loads(_FILE.read_text(encoding="utf-8"))["provinces"]
    return found


@cache
def _other(which: Literal["around", "borders"]) -> str:
    return str(json.loads(_FILE.read_text(encoding="utf-8"))[which])


def province_map(
    name: str,
    title: str,
    counts: Mapping[str, int | None],
    labels: Mapping[str, str],
    bounds: tuple[int, int, int],
    say: Saying,
    legend: Legend,
    countries: Collection[str] = COUNTRIES,
    sheet: str | None = None,
) -> Markup:
    """A figure: the map, its legend, the notice. `counts`: by ISO 3166-2 code; `None` = too small to tell, which has
    the lowest grade, so the first bound is not below the size of small cells. `bounds`: where grades 2, 3, 4 begin.
    `labels`: names of those provinces. `countries`: what is shown, and how near. `sheet`: address of `provinces.svg`,
    so that the page does not carry the shapes itself. Raises ValueError for bounds that do not rise or four words that
    are not four, KeyError for a province without a label.
    """
    if not 0 < bounds[0] < bounds[1] < bounds[2] or len(legend.grades) != GRADES:
        raise ValueError("three rising bounds, four words")
    drawn = {code: shape for code, shape in shapes().items() if code[:2] in countries}
    view = _view(drawn)
    line = max(view[2] / 700, 0.3)
    parts = [_shape("around", _other("around"), sheet, "chart-around"), *_empty(drawn, view, sheet)]
    for code, shape in drawn.items():
        if code in counts:
            count = counts[code]
            tip = tag("title", told(labels[code], say.of(count)))
            look = f"chart-province chart-grade-{_grade(count, bounds)}"
            parts.append(_shape(code, shape["d"], sheet, look, tip))
    borders = _shape("borders", _other("borders"), sheet, "chart-border")
    parts.append(tag("g", borders, stroke_width=line * 2))
    moved = tag("g", Markup("").join(parts), transform=f"translate({plain(-view[0])} {plain(-view[1])})",
                stroke_width=line, fill_rule="evenodd")  # fmt: skip
    said = [told(labels[code], say.of(count)) for code, count in counts.items()]
    svg = picture(Frame(name, "map", view[2], view[3]), title, said, [moved])
    return Markup('<figure class="chart-figure">{}{}<figcaption>{}</figcaption></figure>').format(
        svg, _legend(legend), legend.notice
    )


def _empty(drawn: Mapping[str, Shape], view: tuple[float, float, float, float], sheet: str | None) -> list[Markup]:
    """The ground on which grades lie: provinces without a number, and what else of the six countries can be seen."""
    looks = dict.fromkeys(COUNTRIES, "chart-around") | {code[:2]: "chart-province" for code in drawn}
    if sheet is not None:
        return [_shape(country, "", sheet, look) for country, look in looks.items()]
    left, top, width, height = view
    return [
        _shape(code, shape["d"], None, looks[code[:2]])
        for code, shape in shapes().items()
        if shape["box"][0] < left + width and shape["box"][2] > left
        and shape["box"][1] < top + height and shape["box"][3] > top
    ]  # fmt: skip


def _grade(count: int | None, bounds: Sequence[int]) -> int:
    return 1 if count is None else 1 + bisect_right(bounds, count)


def _view(drawn: Mapping[str, Shape]) -> tuple[float, float, float, float]:
    boxes = [shape["box"] for shape in drawn.values()]
    left, top = min(box[0] for box in boxes) - _MARGIN, min(box[1] for box in boxes) - _MARGIN
    right, bottom = max(box[2] for box in boxes) + _MARGIN, max(box[3] for box in boxes) + _MARGIN
    return left, top, right - left, bottom - top


def _shape(code: str, path: str, sheet: str | None, look: str, tip: Markup | str = "") -> Markup:
    if sheet is None:
        return tag("path", tip, d=path, class_=look)
    return tag("use", tip, href=f"{sheet}#{code}", class_=look)


def _legend(legend: Legend) -> Markup:
    looks = [f"chart-grade-{grade}" for grade in range(1, GRADES + 1)]
    entries = [*zip(looks, legend.grades, strict=True), ("chart-grade-none", legend.unknown)]
    swatch = Markup(
        '<svg class="chart-swatch" width="16" height="16" aria-hidden="true">'
        '<rect class="chart-province {}" x="1" y="1" width="14" height="14" rx="3"/></svg>'
    )
    items = Markup("").join(Markup("<li>{}{}</li>").format(swatch.format(look), words) for look, words in entries)
    return Markup('<ul class="chart-legend">{}</ul>').format(items)
