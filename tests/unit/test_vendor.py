"""What others made: unchanged since it was fetched, whole, and fit for what the pages ask of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pycountry
import pytest
from fontTools.ttLib import TTFont

from deploy import vendor
from deploy.outlines import Frame, clipped, inner_point, path_of, shared_lines, simplified

WEB = vendor.WEB
FONTS = WEB / "static" / "fonts"
MAP = json.loads((WEB / "map" / "provinces.json").read_text(encoding="utf-8"))
PROVINCES = MAP["provinces"]
KHMER = range(0x1780, 0x1800)


# --- files


def test_the_table_tells_the_files_as_they_are():
    assert vendor.table() in vendor.TOLD.read_text(encoding="utf-8")


def test_the_served_htmx_is_its_parts_joined():
    assert (WEB / "vendor" / "htmx.js").read_bytes() == vendor.joined_htmx()


def test_each_package_is_told_with_its_version():
    told = vendor.TOLD.read_text(encoding="utf-8")
    for package in (vendor.HTMX, vendor.KHMER, vendor.MYANMAR, vendor.PROVINCES):
        name = re.sub(r"(noto-sans-)(khmer|lao|thai)$", r"\1*", package.name)
        assert re.search(rf"`{re.escape(name)}` \| {re.escape(package.version)} \|", told), name


def test_a_package_with_another_sum_is_refused(tmp_path, monkeypatch):
    # The registry is played by a program on the path that writes a file; our own code is the real one.
    packed = '#!/bin/sh\necho not-the-package > other.tgz\necho \'[{"filename": "other.tgz"}]\'\n'
    npm = tmp_path / "npm"
    npm.write_text(packed, encoding="utf-8")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SystemExit, match="the sum is"):
        vendor.fetched(vendor.HTMX, tmp_path)


@pytest.mark.parametrize("path", [Path(vendor.__file__), vendor.TOLD, WEB / "map" / "LICENCE.md"])
def test_no_registry_is_named(path):
    assert not re.search(r"https?://[^\s)]*(npmjs|registry|pypi|unpkg|jsdelivr)", path.read_text(encoding="utf-8"))


# --- fonts


@pytest.mark.parametrize("font", vendor.FONTS, ids=lambda font: font.out)
def test_a_font_has_its_script_its_shaping_and_no_latin(font):
    face = TTFont(FONTS / font.out)
    letters = set(face.getBestCmap())
    assert not letters & set(range(0x20, 0x7F))
    assert {"GSUB", "GPOS"} <= set(face.keys())
    assert face["GSUB"].table.LookupList.LookupCount > 3
    assert (FONTS / font.out).stat().st_size <= 45_000
    if "fvar" in face:
        (axis,) = face["fvar"].axes
        assert (axis.axisTag, axis.minValue, axis.maxValue) == ("wght", *vendor.WEIGHTS)


def test_the_khmer_font_has_every_letter_in_use():
    letters = set(TTFont(FONTS / "noto-sans-khmer.woff2").getBestCmap())
    # consonants, vowels, signs (with the one that stacks, U+17D2), marks and digits; 17B4 and 17B5 show nothing
    assert {*range(0x1780, 0x17DE), *range(0x17E0, 0x17EA)} <= letters
    said = (WEB / "locale" / "km.po").read_text(encoding="utf-8")
    assert {ord(letter) for letter in said if ord(letter) in KHMER} <= letters


def test_the_licence_of_the_fonts_names_every_family():
    told = (FONTS / "OFL.txt").read_text(encoding="utf-8")
    assert "SIL OPEN FONT LICENSE Version 1.1" in told
    assert all(f"notofonts/{script}" in told for script in ("khmer", "lao", "thai", "myanmar"))


# --- the map


def rings_of(path: str) -> list[list[tuple[int, int]]]:
    """Rings of a path that we wrote: `M x y l steps z`."""
    found = []
    for start, steps in re.findall(r"M([-\d ]+)l([-\d ]+)z?", path):
        values = [int(one) for one in re.findall(r"-?\d+", f"{start} {steps}")]
        x, y = values[0], values[1]
        ring = [(x, y)]
        for dx, dy in zip(values[2::2], values[3::2], strict=True):
            x, y = x + dx, y + dy
            ring.append((x, y))
        found.append(ring)
    return found


@pytest.mark.parametrize("country", ["KH", "LA", "VN", "TH", "MM"])
def test_every_province_of_iso_3166_has_a_shape(country):
    wanted = {one.code for one in pycountry.subdivisions if one.country_code == country}
    assert {code for code in PROVINCES if code.startswith(country)} == wanted


def test_the_two_provinces_of_china_at_the_borders_are_there():
    assert {code for code in PROVINCES if code.startswith("CN")} == {"CN-YN", "CN-GX"}


# Longitude and latitude of towns, each well inside its province.
TOWNS = {
    "KH-12": (104.91, 11.55), "KH-1": (102.97, 13.58), "KH-17": (103.86, 13.36), "KH-2": (103.19, 13.09),
    "LA-VT": (102.62, 17.98), "LA-VI": (102.45, 18.92), "LA-SV": (104.80, 16.58), "LA-CH": (105.80, 15.10),
    "VN-SG": (106.66, 10.80), "VN-39": (107.10, 11.00), "VN-53": (105.84, 22.15), "VN-66": (106.02, 20.80),
    "TH-27": (102.07, 13.81), "TH-10": (100.55, 13.75), "TH-50": (98.98, 18.79), "TH-57": (99.88, 19.90),
    "MM-06": (96.16, 16.90), "MM-17": (97.04, 20.78), "MM-13": (97.63, 16.89), "CN-YN": (102.72, 25.04),
    "CN-GX": (108.32, 22.82),
}  # fmt: skip


@pytest.mark.parametrize("code", sorted(TOWNS))
def test_a_town_lies_in_the_shape_of_its_province(code):
    x, y = vendor.FRAME.project(TOWNS[code])
    assert [other for other, shape in PROVINCES.items() if "in" not in shape and within(shape["d"], x, y)] == [code]


def within(path: str, x: float, y: float) -> bool:
    """As it is drawn: even-odd, so that a hole is outside."""
    return sum(contains(ring, x, y) for ring in rings_of(path)) % 2 == 1


def contains(ring: list[tuple[int, int]], x: float, y: float) -> bool:
    crossings = 0
    for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            crossings += 1
    return crossings % 2 == 1


def test_neighbours_share_their_border_line_by_line():
    steps = Counter()
    for shape in PROVINCES.values():
        if "in" in shape:
            continue
        for ring in rings_of(shape["d"]):
            for one, two in zip(ring, [*ring[1:], ring[0]], strict=True):
                steps[min(one, two), max(one, two)] += 1
    assert set(steps.values()) <= {1, 2}
    # Laos has no coast: every line of its edge is a line of a neighbour too.
    for code, shape in PROVINCES.items():
        if code.startswith("LA") and "in" not in shape:
            ring = max(rings_of(shape["d"]), key=len)
            lines = [(min(one, two), max(one, two)) for one, two in zip(ring, [*ring[1:], ring[0]], strict=True)]
            assert all(steps[line] == 2 for line in lines), code


def test_each_label_lies_in_its_shape_and_each_shape_in_its_box():
    for code, shape in PROVINCES.items():
        left, top, right, bottom = shape["box"]
        assert 0 <= left < right <= MAP["width"], code
        assert 0 <= top < bottom <= MAP["height"], code
        if "in" not in shape:
            rings = rings_of(shape["d"])
            assert {left, right} == {f([x for ring in rings for x, _ in ring]) for f in (min, max)}
            assert any(contains(ring, *(value + 0.01 for value in shape["at"])) for ring in rings), code


def test_what_is_drawn_as_a_dot_says_in_what():
    dots = {code: shape["in"] for code, shape in PROVINCES.items() if "in" in shape}
    assert dots == {"KH-25": "KH-3", "LA-XS": "LA-VI", "MM-18": "MM-04", "TH-S": "TH-20"}
    for code, host in dots.items():
        assert within(PROVINCES[host]["d"], *PROVINCES[code]["at"]), code


def test_the_sheet_has_the_same_shapes():
    sheet = ET.parse(WEB / "map" / "provinces.svg").getroot()  # noqa: S314 - our own
    shapes = {one.get("id"): one.get("d") for one in sheet.iter("{http://www.w3.org/2000/svg}path")}
    assert shapes == {"around": MAP["around"], "borders": MAP["borders"], **{k: v["d"] for k, v in PROVINCES.items()}}
    groups = {one.get("id") for one in sheet.iter("{http://www.w3.org/2000/svg}g")}
    assert groups == {"KH", "LA", "VN", "TH", "MM", "CN"}


def test_the_map_is_small():
    assert (WEB / "map" / "provinces.json").stat().st_size <= 60_000


# --- outlines

LEFT = [(0.0, 0.0), (10.0, 0.0), (10.2, 3.0), (9.5, 5.0), (10.1, 7.0), (10.0, 10.0), (0.0, 10.0), (0.0, 0.0)]
RIGHT = [(10.0, 0.0), (20.0, 0.0), (20.0, 10.0), (10.0, 10.0), (10.1, 7.0), (9.5, 5.0), (10.2, 3.0), (10.0, 0.0)]


def test_a_shared_border_is_simplified_once():
    drawn = simplified({"left": [LEFT], "right": [RIGHT]}, 3.0)
    assert drawn["left"] == [[(10, 0), (10, 10), (0, 10), (0, 0)]]
    assert set(drawn["right"][0]) == {(10, 0), (20, 0), (20, 10), (10, 10)}
    assert shared_lines(drawn, lambda name: name) == [[(10, 0), (10, 10)]]
    assert shared_lines(drawn, lambda name: "one country") == []


def test_points_that_matter_stay():
    spike = [(0.0, 0.0), (10.0, 0.0), (14.0, 5.0), (10.0, 10.0), (0.0, 10.0), (0.0, 0.0)]
    assert (14, 5) in simplified({"a": [spike]}, 2.0)["a"][0]


def test_a_speck_goes_unless_it_is_all_there_is():
    speck = [(30.0, 30.0), (31.0, 30.0), (31.0, 31.0), (30.0, 31.0), (30.0, 30.0)]
    assert len(simplified({"a": [LEFT, speck]}, 2.0)["a"]) == 1
    assert len(simplified({"a": [speck]}, 0.1)["a"]) == 1


def test_a_ring_is_cut_at_the_edge_of_the_picture():
    ring = [(-5, 2), (5, 2), (5, 8), (-5, 8)]
    assert set(clipped(ring, 10, 10)) == {(0, 2), (5, 2), (5, 8), (0, 8)}
    assert clipped([(-5, -5), (-1, -5), (-1, -1)], 10, 10) == []


def test_a_path_is_written_short():
    assert path_of([[(1, 2), (4, 2), (4, 1)]]) == "M1 2l3 0 0-1z"
    assert path_of([[(1, 2), (0, 2)]], closed=False) == "M1 2l-1 0"


def test_the_label_of_a_bent_shape_lies_inside():
    bent = [(0, 0), (20, 0), (20, 4), (4, 4), (4, 20), (0, 20)]
    x, y = inner_point([bent])
    assert contains(bent, x + 0.01, y + 0.01)


def test_mercator_keeps_angles():
    frame = Frame(west=100, east=110, south=0, north=10, width=1000)
    x1, y1 = frame.project((105, 5))
    x2, y2 = frame.project((105.01, 5.01))
    assert (x2 - x1) / (y1 - y2) == pytest.approx(0.9962, abs=0.001)  # the cosine of five degrees
    assert frame.project((100, 10)) == pytest.approx((0, 0))
