"""The tour misses no page: what is not on it is looked at by nobody."""

from __future__ import annotations

import re

from tests.browser.tour import tour
from tests.builders import World
from tests.security.pages import door_of, routes

# Addresses that only lead on to another page.
_LEAD_ON = frozenset({"/referral/pages", "/referral/pages/leave", "/intake/pages/consent/{draft}"})


async def test_every_page_is_on_the_tour(town: World) -> None:
    async with tour(town) as found:
        paths = [stop.path.partition("?")[0] for stop in found.stops]
        names = [stop.name for stop in found.stops]
    missed = [
        route.path
        for route in routes(town.made)
        if route.method == "GET" and route.path not in _LEAD_ON
        if (door := door_of(route)) is None or door.kind == "page"
        if not any(re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", route.path), path) for path in paths)
    ]
    assert missed == []
    assert len(names) == len(set(names)), "each picture has a name of its own"
