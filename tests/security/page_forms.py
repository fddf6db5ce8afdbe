"""The forms of every page of a town, found by walking: each page of its own guest, then what it links to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urljoin, urlsplit

from tests.security.page_town import Town
from tests.security.pages import Form, Route, Shown, door_of, page, routes

# Ways out of a page that end a session or leave the installation.
_OUT = ("/referral/pages/leave", "/referral/pages/sign-out", "/pages/language")
_OF_ONE_KIND = 3


@dataclass(frozen=True)
class Found:
    """A form of a page: who may send it, from which page, to which route."""

    who: str
    page: str
    form: Form
    route: Route

    @property
    def id(self) -> str:
        return f"{self.route.id} from {self.page.partition('?')[0]}"


def shape(path: str) -> str:
    """An address without what tells one thing from the next: ids, and the values of questions."""
    where = urlsplit(path)
    parts = ["*" if re.search(r"\d", part) else part for part in where.path.split("/")]
    return "/".join(parts) + "".join(f"?{name}" for name in parse_qs(where.query))


def route_of(every: Sequence[Route], method: str, path: str) -> Route | None:
    """The route that answers; as the applications do, a fixed part comes before a parameter."""
    parts = path.split("/")
    fitting = [one for one in every if one.method == method and _fits(one.path.split("/"), parts)]
    return min(fitting, key=lambda one: len(one.names), default=None)


def _fits(template: list[str], parts: list[str]) -> bool:
    if len(template) != len(parts):
        return False
    return all(own.startswith("{") or own == part for own, part in zip(template, parts, strict=True))


async def walk(town: Town, who: str, starts: Sequence[str]) -> Mapping[str, Shown]:
    """These pages, and what this guest comes to from them: of many things of one kind, a few. Each page is looked at, see
    `pages.page`."""
    guest, every = town.guests[who], routes(town.world.made)
    waiting, seen, times = list(dict.fromkeys(starts)), dict[str, Shown](), Counter[str]()
    times.update(map(shape, waiting))
    while waiting:
        path = waiting.pop(0)
        if path in seen:
            continue
        answer, seen[path] = await guest.get(path), Shown("")
        to = [answer.headers["location"]] if answer.status_code == 303 else []
        if answer.headers.get("content-type", "").startswith("text/html"):
            shown = seen[path] = page(answer, part="<html" not in answer.text)
            to = [*shown.links, *(one.asked for one in shown.forms if one.method == "get")]
        for link in to:
            there = urljoin(path, link).partition("#")[0]
            where, kind = urlsplit(there), shape(there)
            if where.netloc or where.path.startswith(_OUT) or route_of(every, "GET", where.path) is None:
                continue
            if there not in seen and times[kind] < _OF_ONE_KIND:
                times[kind] += 1
                waiting.append(there)
    return seen


def starts(town: Town) -> Mapping[str, list[str]]:
    """Every page with the town's objects, by who comes there."""
    found: dict[str, list[str]] = {}
    for route in routes(town.world.made):
        door = door_of(route)
        assert door is not None, route.id
        if route.method == "GET" and door.kind == "page" and not route.path.startswith(_OUT):
            found.setdefault(door.who, []).extend(town.paths(route))
    return found


async def forms_of(town: Town) -> list[Found]:
    """Every form that anybody comes to, once for each kind of page and each route that it is sent to."""
    every, found = routes(town.world.made), dict[tuple[str, str], Found]()
    for who, paths in starts(town).items():
        for path, shown in (await walk(town, who, paths)).items():
            for form in shown.forms:
                route = route_of(every, "POST", urlsplit(urljoin(path, form.action)).path)
                if form.method != "post" or route is None:
                    continue
                door = door_of(route)
                assert door is not None, route.id
                found.setdefault((shape(path.partition("?")[0]), route.id), Found(who, path, form, route))
    return list(found.values())
