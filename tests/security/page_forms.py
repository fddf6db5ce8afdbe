"""The forms of every page of a town, found by walking: each page of its own guest, then what it links to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from tests.security.page_town import Town
from tests.security.pages import Form, Route, Shown, door_of, page, routes

# Ways out of a page that end a session or leave the installation.
_OUT = ("/referral/pages/leave", "/referral/pages/sign-out", "/pages/language")
_MOST = 400


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


def pattern(route: Route) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{[a-z_]+\\}", r"[^/]+", re.escape(route.path)))


def route_of(every: Sequence[Route], method: str, path: str) -> Route | None:
    """The route that answers; as the applications do, a fixed part comes before a parameter."""
    fitting = [one for one in every if one.method == method and pattern(one).fullmatch(path)]
    return min(fitting, key=lambda one: len(one.names), default=None)


async def walk(town: Town, who: str, starts: Sequence[str]) -> Mapping[str, Shown]:
    """Every page that this guest comes to from these addresses. Each is looked at: see `pages.page`."""
    guest, every = town.guests[who], routes(town.world.made)
    waiting, seen = list(dict.fromkeys(starts)), dict[str, Shown]()
    while waiting and len(seen) < _MOST:
        path = waiting.pop(0)
        if path in seen:
            continue
        answer = await guest.get(path)
        if answer.status_code == 303:
            waiting.append(urljoin(path, answer.headers["location"]))
            seen[path] = Shown("")
            continue
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        seen[path] = page(answer, part="<html" not in answer.text)
        for link in [*seen[path].links, *(one.asked for one in seen[path].forms if one.method == "get")]:
            to = urljoin(path, link)
            parts = urlsplit(to)
            if parts.netloc or parts.path.startswith(_OUT) or route_of(every, "GET", parts.path) is None:
                continue
            waiting.append(to.partition("#")[0])
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
    """Every form that anybody comes to, once for each page's route and each route that it is sent to."""
    every, found = routes(town.world.made), dict[tuple[str, str], Found]()
    for who, paths in starts(town).items():
        for path, shown in (await walk(town, who, paths)).items():
            here = route_of(every, "GET", urlsplit(path).path)
            for form in shown.forms:
                route = route_of(every, "POST", urlsplit(urljoin(path, form.action)).path)
                if form.method != "post" or route is None:
                    continue
                door = door_of(route)
                assert door is not None, route.id
                key = (f"{here and here.path} {here and here.names and path}", route.id)
                found.setdefault(key, Found(who, path, form, route))
    return list(found.values())
