"""Outlines of areas, drawn small: shared borders are found, simplified once and so stay shared.

Rings are lists of (longitude, latitude) in degrees, closed (first point = last), as GeoJSON has them.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, float]
Cell = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Frame:
    """What is shown, in degrees, and how wide it is drawn, in units. Mercator: shapes keep their angles."""

    west: float
    east: float
    south: float
    north: float
    width: int

    @property
    def scale(self) -> float:
        return self.width / math.radians(self.east - self.west)

    @property
    def height(self) -> int:
        return round(self.project((self.west, self.south))[1])

    def project(self, place: Point) -> Point:
        x = math.radians(place[0] - self.west) * self.scale
        return x, (_mercator(self.north) - _mercator(place[1])) * self.scale


def _mercator(latitude: float) -> float:
    return math.log(math.tan(math.pi / 4 + math.radians(latitude) / 2))


def simplified(areas: Mapping[str, Sequence[Sequence[Point]]], least: float) -> dict[str, list[list[Cell]]]:
    """Rings of each area with whole coordinates. A point whose triangle is below `least` square units goes.

    A ring that has no area left goes too, unless it is the largest of its area.
    """
    junctions = _junctions([ring for rings in areas.values() for ring in rings])
    made: dict[str, list[list[Cell]]] = {}
    for name, rings in areas.items():
        drawn = [_ring(ring, junctions, least) for ring in rings]
        largest = max(drawn, key=lambda ring: abs(area_of(ring)))
        made[name] = [ring for ring in drawn if len(ring) > 2 and (abs(area_of(ring)) >= 2 * least or ring is largest)]
    return made


def _junctions(rings: Sequence[Sequence[Point]]) -> set[Point]:
    """Points where more than two lines meet: they never move."""
    beside: dict[Point, set[Point]] = defaultdict(set)
    for ring in rings:
        for first, second in pairwise(ring):
            beside[first].add(second)
            beside[second].add(first)
    return {point for point, others in beside.items() if len(others) > 2}


def _ring(ring: Sequence[Point], junctions: set[Point], least: float) -> list[Cell]:
    made: list[Cell] = []
    for line in _lines(ring, junctions):
        # Always thinned in the same direction, so that both neighbours get the same line.
        backwards = line[0] > line[-1] or (line[0] == line[-1] and line[1] > line[-2])
        cells = [(round(x), round(y)) for x, y in _thinned(line[::-1] if backwards else line, least)]
        made += (cells[::-1] if backwards else cells)[1 if made else 0 :]
    plain = [cell for index, cell in enumerate(made) if index == 0 or cell != made[index - 1]]
    return plain[:-1] if len(plain) > 1 and plain[0] == plain[-1] else plain


def _lines(ring: Sequence[Point], junctions: set[Point]) -> Iterator[list[Point]]:
    """The ring cut at its junctions; a ring without any is cut at its lowest point, so that neighbours agree."""
    open_ring = list(ring[:-1])
    ends = [index for index, point in enumerate(open_ring) if point in junctions]
    start = ends[0] if ends else open_ring.index(min(open_ring))
    turned = [*open_ring[start:], *open_ring[:start], open_ring[start]]
    line = [turned[0]]
    for point in turned[1:]:
        line.append(point)
        if point in junctions:
            yield line
            line = [point]
    if len(line) > 1:
        yield line


def _thinned(line: Sequence[Point], least: float) -> list[Point]:
    """Visvalingam: the point that adds the smallest triangle goes first, until all left are worth it."""
    before = [index - 1 for index in range(len(line))]
    after = [index + 1 for index in range(len(line))]
    size = [math.inf, *(_triangle(line[i - 1], line[i], line[i + 1]) for i in range(1, len(line) - 1)), math.inf]
    queue = [(worth, index) for index, worth in enumerate(size)]
    heapq.heapify(queue)
    left = len(line)
    least_kept = 4 if line[0] == line[-1] else 2
    while queue and left > least_kept:
        worth, index = heapq.heappop(queue)
        if worth >= least:
            break
        if worth != size[index]:
            continue  # an older entry: the triangle has changed since
        left, size[index] = left - 1, -1.0
        one, two = before[index], after[index]
        after[one], before[two] = two, one
        for side in (one, two):
            if 0 < side < len(line) - 1:
                # never smaller than what went before, or a fine curve would go all at once
                size[side] = max(worth, _triangle(line[before[side]], line[side], line[after[side]]))
                heapq.heappush(queue, (size[side], side))
    return [point for index, point in enumerate(line) if size[index] >= 0]


def _triangle(a: Point, b: Point, c: Point) -> float:
    return abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])) / 2


def area_of(ring: Sequence[Cell]) -> float:
    """Square units, with a sign for the direction."""
    pairs = zip(ring, [*ring[1:], *ring[:1]], strict=True)
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs) / 2


def clipped(ring: Sequence[Cell], width: int, height: int) -> list[Cell]:
    """What of a ring lies in the box (Sutherland and Hodgman, 1974: one side after the other)."""
    points: list[Cell] = list(ring)
    for axis, bound, sign in ((0, 0, 1), (0, width, -1), (1, 0, 1), (1, height, -1)):
        made: list[Cell] = []
        for one, two in zip(points, [*points[1:], *points[:1]], strict=True):
            one_in, two_in = ((one[axis] - bound) * sign >= 0, (two[axis] - bound) * sign >= 0)
            if one_in:
                made.append(one)
            if one_in != two_in:
                made.append(_crossing(one, two, axis, bound))
        points = made
    return points


def _crossing(one: Cell, two: Cell, axis: int, bound: int) -> Cell:
    share = (bound - one[axis]) / (two[axis] - one[axis])
    other = round(one[1 - axis] + share * (two[1 - axis] - one[1 - axis]))
    return (bound, other) if axis == 0 else (other, bound)


def shared_lines(areas: Mapping[str, Sequence[Sequence[Cell]]], group: Callable[[str], str]) -> list[list[Cell]]:
    """The lines between areas of different groups (borders of countries), each once."""
    beside: dict[tuple[Cell, Cell], set[str]] = defaultdict(set)
    for name, rings in areas.items():
        for ring in rings:
            for one, two in zip(ring, [*ring[1:], *ring[:1]], strict=True):
                beside[min(one, two), max(one, two)].add(group(name))
    steps: dict[Cell, set[Cell]] = defaultdict(set)
    for (one, two), groups in beside.items():
        if len(groups) > 1:
            steps[one].add(two)
            steps[two].add(one)
    lines = []
    while any(steps.values()):
        loose = [cell for cell, others in steps.items() if len(others) % 2]
        line = [min(loose or [cell for cell, others in steps.items() if others])]
        while steps[line[-1]]:
            following = min(steps[line[-1]])
            steps[line[-1]].discard(following)
            steps[following].discard(line[-1])
            line.append(following)
        lines.append(line)
    return lines


def path_of(rings: Sequence[Sequence[Cell]], *, closed: bool = True) -> str:
    """An SVG path of relative whole steps, the shortest way to write it."""
    made = []
    for ring in rings:
        at, steps = ring[0], []
        for point in ring[1:]:
            steps.append(f"{point[0] - at[0]} {point[1] - at[1]}")
            at = point
        made.append(f"M{ring[0][0]} {ring[0][1]}l{' '.join(steps)}{'z' if closed else ''}".replace(" -", "-"))
    return "".join(made)


def inner_point(rings: Sequence[Sequence[Cell]]) -> Cell:
    """A place for a label: the point of a fine grid that lies inside the largest ring and farthest from its edge."""
    ring = max(rings, key=lambda one: abs(area_of(one)))
    xs, ys = [x for x, _ in ring], [y for _, y in ring]
    wide, high = max(xs) - min(xs), max(ys) - min(ys)
    places = [(min(xs) + wide * (i + 0.5) / 24, min(ys) + high * (j + 0.5) / 24) for i in range(24) for j in range(24)]
    inside = [place for place in places if _contains(ring, place)]
    best = max(inside or [(sum(xs) / len(xs), sum(ys) / len(ys))], key=lambda place: _from_edge(ring, place))
    return round(best[0]), round(best[1])


def _contains(ring: Sequence[Cell], place: Point) -> bool:
    inside = False
    for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], *ring[:1]], strict=True):
        if (y1 > place[1]) != (y2 > place[1]) and place[0] < (x2 - x1) * (place[1] - y1) / (y2 - y1) + x1:
            inside = not inside
    return inside


def _from_edge(ring: Sequence[Cell], place: Point) -> float:
    return min(_to_line(place, a, b) for a, b in zip(ring, [*ring[1:], *ring[:1]], strict=True))


def _to_line(place: Point, a: Cell, b: Cell) -> float:
    long = math.dist(a, b) ** 2
    along = 0.0 if long == 0 else ((place[0] - a[0]) * (b[0] - a[0]) + (place[1] - a[1]) * (b[1] - a[1])) / long
    along = max(0.0, min(1.0, along))
    return math.dist(place, (a[0] + along * (b[0] - a[0]), a[1] + along * (b[1] - a[1])))
