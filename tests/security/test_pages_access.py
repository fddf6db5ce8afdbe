"""Every page × every role × another organisation's object, generated from the routes of the running services."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.security.page_town import Town
from tests.security.pages import DOORS, ROLES, Route, addresses, door_of, page, routes, safe

SIGN_IN = "/referral/pages/sign-in"


def every(town: Town, *methods: str) -> Iterator[Route]:
    return (one for one in routes(town.world.made) if not methods or one.method in methods)


async def test_every_route_has_a_door_and_every_door_a_route(town: Town) -> None:
    found = {one.id: door_of(one) for one in every(town)}
    assert [id_ for id_, door in found.items() if door is None] == []
    assert [door.at for door in DOORS if door not in found.values()] == []
    assert len(found) > 100
    for route in every(town):
        assert addresses(route, town.objects), route.id
