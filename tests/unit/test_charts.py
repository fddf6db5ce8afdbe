"""Pictures: drawn as they were looked at (snapshots), and for any numbers inside their box, said in words, harmless."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from spean.web.charts import (
    Answer,
    Bar,
    Ended,
    Legend,
    Saying,
    Stage,
    Tick,
    bars,
    dots,
    flow,
    province_map,
)  # fmt: skip
from spean.web.charts.drawing import TOKEN, plain
from spean.web.charts.province_map import shapes

SNAPSHOTS = Path(__file__).parent / "snapshots"
SVG = "{http://www.w3.org/2000/svg}"
MEASURES = {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "width", "height", "stroke-width"}
KHMER_DIGITS = str.maketrans("0123456789", "០១២៣៤៥៦៧៨៩")
ENGLISH = Saying(str, "<5")
KHMER = Saying(lambda count: str(count).translate(KHMER_DIGITS), "<៥")
LEGEND = Legend(("fewer than 10", "10 to 19", "20 to 39", "40 and more"), "no number", "Boundaries are indicative.")

STAGES = (
    Stage("requested", 61, (Ended("unroutable", 6),)),
    Stage("offered", 55, (Ended("answering now", 5), Ended("nobody accepted", None))),
    Stage("accepted", 46, (Ended("cancelled", None),)),
    Stage("ready", 42, (Ended("on the way", 9),)),
    Stage("arrived", 33),
)
ACROSS = (Tick(6, "06"), Tick(9, "09"), Tick(12, "12"), Tick(15, "15"))
UP = (Tick(0, "0"), Tick(15, "15 min"), Tick(60, "1 h"), Tick(240, "4 h"))
ANSWERS = [Answer(6 + index * 0.15, (index * 37 % 61) ** 2 / 18) for index in range(60)]


def minutes(value: float) -> str:
    return f"{value:.0f} min"


def cambodia(counts: dict[str, int | None], **given: str) -> Markup:
    labels = {code: f"province {code}" for code in counts}
    return province_map("map", "Free places", counts, labels, (10, 20, 40), ENGLISH, LEGEND, ("KH",), **given)


DRAWN = {
    "flow": lambda: flow("flow", "Where referrals are", STAGES, ENGLISH),
    "flow-small": lambda: flow(
        "flow", "Where referrals are",
        [Stage("requested", 9), Stage("offered", 7, (Ended("unroutable", None),)), Stage("accepted", None), Stage("arrived", 0)],
        KHMER,
    ),
    "dots": lambda: dots("dots", "Time to an answer", ANSWERS, ACROSS, UP, minutes, ["60 answers"]),
    "bars": lambda: bars(
        "bars", "Free places",
        [Bar("Phnom Penh", 21), Bar("Banteay Meanchey", None), Bar("Sa Kaeo", 9, "soon"), Bar("Siem Reap", 0)], ENGLISH, 40,
    ),
    "bars-km": lambda: bars("bars", "កន្លែងទំនេរ", [Bar("ភ្នំពេញ", 21), Bar("បន្ទាយមានជ័យ", None)], KHMER),
    "map": lambda: cambodia({"KH-12": 21, "KH-1": None, "KH-25": 40}, sheet="/static/0/provinces.svg"),
}  # fmt: skip


def trees(drawn: Markup) -> list[ET.Element]:
    return list(ET.fromstring(f'<div xmlns="http://www.w3.org/2000/svg">{drawn}</div>'))  # noqa: S314 - our own


def pictures(drawn: Markup) -> list[ET.Element]:
    found = [svg for top in trees(drawn) for svg in top.iter(f"{SVG}svg") if svg.get("role") == "img"]
    assert found
    return found


def spoken(drawn: Markup) -> list[str]:
    return [svg.findtext(f"{SVG}desc") or "" for svg in pictures(drawn)]


def fits(drawn: Markup) -> None:
    """No number that is none; every bar, dot and line end within its box; words in the text alternative; no style."""
    for svg in pictures(drawn):
        for one in svg.iter():
            assert "style" not in one.attrib
            assert all(math.isfinite(float(one.attrib[key])) for key in MEASURES & set(one.attrib))
            assert re.fullmatch(r"[-0-9. MLHVCaZz l]*", one.get("d", ""))
        _, _, width, height = (float(value) for value in svg.get("viewBox", "").split())
        ids = {one.get("id") for one in svg.iter()}
        assert set((svg.get("aria-labelledby") or "").split()) <= ids
        for rect in svg.iter(f"{SVG}rect"):
            x, y, w, h = (float(rect.get(key, "nan")) for key in ("x", "y", "width", "height"))
            assert x >= 0
            assert y >= 0
            assert w >= 0
            assert h >= 0
            assert x + w <= width + 0.11
            assert y + h <= height + 0.11
        for circle in svg.iter(f"{SVG}circle"):
            assert 0 <= float(circle.get("cx", "nan")) <= width
            assert 0 <= float(circle.get("cy", "nan")) <= height
        if "chart-map" not in (svg.get("class") or ""):  # a map is cut at its edges
            for path in svg.iter(f"{SVG}path"):
                assert all(0 <= x <= width + 0.11 and 0 <= y <= height + 0.11 for x, y in corners(path.get("d", "")))


def corners(path: str) -> list[tuple[float, float]]:
    """The points that an absolute path names."""
    found, x, y = [], 0.0, 0.0
    for command, numbers in re.findall(r"([MLCHV])([-\d. ]+)", path):
        values = [float(one) for one in numbers.split()]
        steps = {"H": [(v, y) for v in values], "V": [(x, v) for v in values]}
        pairs = steps.get(command) or list(zip(values[::2], values[1::2], strict=True))
        found += pairs
        x, y = pairs[-1]
    return found


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_a_picture_is_drawn_as_it_was_looked_at(name):
    # To draw them again after a wanted change: `python -m tests.unit.test_charts`, then look at each.
    assert str(DRAWN[name]()) + "\n" == (SNAPSHOTS / f"{name}.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_a_picture_fits_its_box_and_has_no_inline_style(name):
    fits(DRAWN[name]())


counts = st.one_of(st.none(), st.integers(0, 100_000))
names = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Cn")), min_size=1, max_size=30)
ended = st.builds(Ended, names, counts)
stages = st.lists(st.builds(Stage, names, counts, st.lists(ended, max_size=3)), min_size=2, max_size=6)


@settings(max_examples=60, deadline=None)
@given(stages)
def test_any_flow_fits_and_says_each_number(given_stages):
    drawn = flow("f", "Flow", given_stages, ENGLISH)
    fits(drawn)
    for said in spoken(drawn):
        entries = [(one.label, one.count) for stage in given_stages for one in (stage, *stage.ended)]
        assert said == "; ".join(f"{label}: {ENGLISH.of(count)}" for label, count in entries)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.builds(Bar, names, counts), max_size=12), st.one_of(st.none(), st.integers(0, 1000)))
def test_any_bars_fit_and_say_each_number(rows, whole):
    drawn = bars("b", "Bars", rows, ENGLISH, whole)
    fits(drawn)
    assert spoken(drawn) == ["; ".join(f"{row.label}: {ENGLISH.of(row.count)}" for row in rows)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.builds(Answer, st.floats(0, 24), st.floats(0, 1e6)), max_size=80))
def test_any_dots_fit(answers):
    drawn = dots("d", "Dots", answers, ACROSS, UP, minutes)
    fits(drawn)
    shown = [one for one in answers if 6 <= one.at <= 15]
    dotted = [one for svg in pictures(drawn) for one in svg.iter(f"{SVG}circle") if one.get("class") == "chart-dot"]
    assert len(dotted) == len(shown)


def test_the_median_of_each_part_is_drawn_and_said():
    answers = [Answer(6, 10), Answer(7, 20), Answer(8, 90), Answer(13, 5), Answer(15, 7)]
    drawn = dots("d", "Dots", answers, ACROSS, UP, minutes, ["5 answers"])
    assert spoken(drawn) == ["5 answers; 06–09: 20 min; 12–15: 6 min"]
    assert str(drawn).count("chart-median-point") == 2


@pytest.mark.parametrize("across", [(Tick(1, "1"),), (Tick(2, "2"), Tick(2, "2")), (Tick(3, "3"), Tick(2, "2"))])
def test_ticks_that_do_not_rise_are_refused(across):
    with pytest.raises(ValueError, match="rise"):
        dots("d", "Dots", ANSWERS, across, UP, minutes)


def test_a_flow_of_one_stage_is_refused():
    with pytest.raises(ValueError, match="two stages"):
        flow("f", "Flow", STAGES[:1], ENGLISH)


@pytest.mark.parametrize("others", [[10], [1000, 3], [None, 7]])
def test_a_count_too_small_to_tell_has_one_size_beside_any_others(others):
    drawn = bars("b", "Bars", [Bar("hidden", None), *(Bar("other", count) for count in others)], ENGLISH)
    marks = [one for svg in pictures(drawn) for one in svg.iter(f"{SVG}rect") if one.get("class") == "chart-small"]
    assert {mark.get("width") for mark in marks} == {plain(TOKEN)}
    drawn = flow(
        "f", "Flow", [Stage("first", 900), Stage("hidden", None), *(Stage("o", count) for count in others)], ENGLISH
    )
    wide = pictures(drawn)[0]
    marks = [one for one in wide.iter(f"{SVG}rect") if one.get("class") == "chart-small"]
    assert {mark.get("height") for mark in marks} == {plain(TOKEN - 2)}


def test_digits_of_the_language_are_in_the_picture_and_in_the_words():
    drawn = bars("b", "ប", [Bar("ភ្នំពេញ", 21), Bar("ប៉ោយប៉ែត", None)], KHMER)
    assert spoken(drawn) == ["ភ្នំពេញ: ២១; ប៉ោយប៉ែត: <៥"]
    assert not re.search(r">[0-9]+<", str(drawn))


def test_words_are_escaped():
    bad = '"><script>alert(1)</script>'
    drawn = [
        bars(bad, bad, [Bar(bad, 1)], Saying(str, bad)),
        flow("f", bad, [Stage(bad, 1, (Ended(bad, None),)), Stage(bad, None)], Saying(str, bad)),
        dots("d", bad, ANSWERS, (Tick(6, bad), Tick(9, bad)), (Tick(1, bad),), lambda _: bad, [bad]),
        province_map("m", bad, {"KH-1": 1}, {"KH-1": bad}, (10, 20, 40), ENGLISH, Legend((bad,) * 4, bad, bad), ["KH"], bad),
    ]  # fmt: skip
    for one in drawn:
        assert "<script" not in one
        assert trees(one)  # it is still well-formed


# --- the map


def looks(drawn: Markup) -> dict[str, str]:
    """Class of each province that has a number, by what is said of it on hovering."""
    found = {}
    for svg in pictures(drawn):
        for one in [*svg.iter(f"{SVG}path"), *svg.iter(f"{SVG}use")]:
            tip = one.findtext(f"{SVG}title")
            if tip:
                found[tip] = (one.get("class") or "").split()[-1]
    return found


def test_provinces_have_the_grade_of_their_count():
    counts_given = {"KH-1": None, "KH-2": 9, "KH-3": 10, "KH-4": 19, "KH-5": 20, "KH-6": 39, "KH-7": 40, "KH-8": 0}
    expected = {"<5": 1, "9": 1, "10": 2, "19": 2, "20": 3, "39": 3, "40": 4, "0": 1}
    for sheet in ({}, {"sheet": "/static/0/provinces.svg"}):
        found = looks(cambodia(counts_given, **sheet))
        assert {tip.split(": ")[1]: int(look[-1]) for tip, look in found.items()} == expected
        assert len(found) == len(counts_given)


def test_a_map_says_each_number_and_carries_the_notice_and_the_legend():
    drawn = cambodia({"KH-1": None, "KH-25": 41})
    assert spoken(drawn) == ["province KH-1: <5; province KH-25: 41"]
    figure = trees(drawn)[0]
    assert figure.findtext(f"{SVG}figcaption") == LEGEND.notice
    assert ["".join(item.itertext()) for item in figure.iter(f"{SVG}li")] == [
        *LEGEND.grades, LEGEND.unknown,
    ]  # fmt: skip


def test_a_map_of_one_country_is_near_and_its_neighbours_are_only_around():
    picture = pictures(cambodia({}))[0]
    paths = {one.get("d"): one.get("class") for one in picture.iter(f"{SVG}path")}
    assert {paths[shape["d"]] for code, shape in shapes().items() if code.startswith("KH-")} == {"chart-province"}
    assert paths[shapes()["TH-27"]["d"]] == "chart-around"
    assert shapes()["MM-11"]["d"] not in paths  # far away
    _, _, width, height = (float(value) for value in picture.get("viewBox", "").split())
    assert width < 350
    assert height < 350


def test_with_a_sheet_the_page_carries_no_shapes():
    drawn = cambodia({"KH-12": 21}, sheet="/static/0/provinces.svg")
    assert 'href="/static/0/provinces.svg#KH-12"' in drawn
    assert " d=" not in drawn
    assert len(drawn) < 2500


def test_a_map_with_other_bounds_or_words_is_refused():
    with pytest.raises(ValueError, match="bounds"):
        province_map("m", "t", {}, {}, (10, 10, 40), ENGLISH, LEGEND)
    with pytest.raises(ValueError, match="words"):
        province_map("m", "t", {}, {}, (10, 20, 40), ENGLISH, Legend(("a",), "b", "c"))
    with pytest.raises(KeyError):
        province_map("m", "t", {"KH-1": 3}, {}, (10, 20, 40), ENGLISH, LEGEND)


if __name__ == "__main__":
    SNAPSHOTS.mkdir(exist_ok=True)
    for name, draw in DRAWN.items():
        (SNAPSHOTS / f"{name}.svg").write_text(f"{draw()}\n", encoding="utf-8")
