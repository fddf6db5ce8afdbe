"""Every form, sent wrongly in every way that somebody may think of: a page that says what to do, and nothing done."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from spean.guard import MAX_BODY_BYTES, MAX_HEAD_BYTES
from spean.web.forms import _FIELDS_MOST
from tests.security.answers import KHMER, MARK, request_bytes
from tests.security.answers import raw as sent_raw
from tests.security.page_forms import Found
from tests.security.page_town import Guest, Town, sql
from tests.security.pages import FORM, Door, Route, Shown, door_of, page, routes, safe


@pytest.fixture(autouse=True)
async def nothing_done(town: Town) -> AsyncIterator[None]:
    """Whatever a test of this file sends, every database is as it was."""
    before = await town.state()
    yield
    assert await town.state() == before


def posts(town: Town, *, kinds: tuple[str, ...] = ("page",)) -> Iterator[tuple[Route, Door, str, Guest]]:
    """Every address that takes a form: its door, the address with the town's objects, and whoever may send it."""
    for route in routes(town.world.made):
        door = door_of(route)
        assert door is not None, route.id
        if route.method == "POST" and door.kind in kinds:
            yield route, door, town.paths(route)[0], town.guests[door.who]


def some(ways: Sequence[Any], number: int) -> Sequence[Any]:
    """Two of many ways, others for each form; all of them for the first."""
    return ways if number == 0 else (ways[number % len(ways)], ways[(number + 1) % len(ways)])


def body_of(found: list[Found], route: Route) -> dict[str, list[str]]:
    """A real form of this route, filled in, without token and key."""
    form = next((one.form for one in found if one.route.id == route.id), None)
    return {} if form is None else {n: v for n, v in form.filled().items() if n not in {"csrf", "key"}}


def refused(answer: httpx.Response, *statuses: int) -> Shown:
    """A page that says no in plain words, and gives nothing back of what was planted."""
    assert answer.status_code in statuses, (answer.request.url.path, answer.status_code, Shown(answer.text).text[-300:])
    shown = page(answer)
    assert MARK not in answer.text, answer.request.url.path
    assert KHMER not in answer.text, answer.request.url.path
    assert shown.links or shown.forms, answer.request.url.path
    for word in ("JSON", "header", "Idempotency", "If-Match", "token", "application/"):
        assert word not in shown.text, (answer.request.url.path, word)
    return shown


# --- who sends it, and from where ---------------------------------------------------------------------------------


async def test_without_a_token_or_with_anothers(town: Town, found: list[Found]) -> None:
    """Anybody else's, a made-up one, an empty one, half of one, two of them: nothing is done, and it can be sent again."""
    other = await town.guests["neighbour"].token("referral")
    for route, door, path, guest in posts(town):
        if door.guarded == "ticket" and not route.path.endswith(("/whereabouts", "/erasure")):
            continue  # the ticket itself vouches for who brings it
        own = await guest.token(route.service)
        body = body_of(found, route)
        wrong = ({}, {"csrf": other}, {"csrf": ""}, {"csrf": own[:40]}, {"csrf": "A" * 88}, {"csrf": [other, own]})
        for given in wrong:
            answer = await guest.post(path, {**body, **given}, token=False)
            assert answer.status_code == 409, (route.id, given, answer.status_code)
            again = next(form for form in page(answer).forms if form.action == path)
            kept = again.filled()
            assert kept["csrf"] != given.get("csrf"), route.id
            assert "password" not in kept, route.id


async def test_from_another_site(town: Town, found: list[Found]) -> None:
    """As browsers say it today, and as older ones do; with a good token, as if it had leaked."""
    origin = town.world.made.url
    elsewhere = (
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": ""}, {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
    )  # fmt: skip
    old = ("https://evil.example", "null", origin + ".evil.example", origin.replace("127.0.0.1", "localhost"), "")
    for number, (route, door, path, guest) in enumerate(posts(town)):
        if door.guarded == "ticket" and not route.path.endswith(("/whereabouts", "/erasure")):
            continue
        fields = {**body_of(found, route), "csrf": await guest.token(route.service), "key": secrets.token_urlsafe(24)}
        body = urlencode(fields, doseq=True).encode()
        for headers in some(elsewhere, number):
            refused(await guest.send(path, body, **headers), 403)
        for one in some(old, number):
            answer = await guest.client.post(
                path, content=body, headers={"Origin": one, "Cookie": guest.sent_along, "Content-Type": FORM}
            )
            refused(answer, 403)


async def test_scripts_of_other_sites_ask_in_vain(town: Town) -> None:
    """What our own scripts send as JSON: no form can, nor a page from elsewhere; nothing allows one to."""
    for route, _, path, guest in posts(town, kinds=("script",)):
        token = await guest.token(route.service)
        good = f'{{"csrf": "{token}"}}'.encode()
        ways = (
            (good, {"Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"}),
            (b'{"csrf": ""}', {"Content-Type": "application/json"}),
            (b"[]", {"Content-Type": "application/json"}),
            (urlencode({"csrf": token}).encode(), {}),
        )
        for body, headers in ways:
            answer = await guest.send(path, body, **headers)
            assert 400 <= answer.status_code < 500, (route.id, answer.status_code)
            page(answer)
        asked = await guest.client.request(
            "OPTIONS", path, headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        )
        assert asked.status_code == 405
        assert not [name for name in asked.headers if name.startswith("access-control")]


# --- what is sent -------------------------------------------------------------------------------------------------


async def test_what_is_no_form(town: Town, found: list[Found]) -> None:
    """Too large, of another kind, not UTF-8, more fields than any form has, a NUL: refused before anything is read."""
    kinds = ("text/plain", "multipart/form-data; boundary=x", "application/xml", f"{FORM}; charset=utf-16", "")
    many = "&".join(f"{MARK}{n}=" for n in range(_FIELDS_MOST + 1)).encode()
    broken = (
        b"name=%ff%fe", b"name=%c3%28", b"name=%ed%a0%80", b"name=%00", b"name=a%00" + MARK.encode(), b"name=\xff",
        "name=ស្រី".encode(), many,
    )  # fmt: skip
    for number, (route, _, path, guest) in enumerate(posts(town)):
        good = {**body_of(found, route), "csrf": await guest.token(route.service), "key": secrets.token_urlsafe(24)}
        body = urlencode(good, doseq=True).encode()
        large = body + b"&name=" + MARK.encode() + b"x" * MAX_BODY_BYTES
        refused(await guest.send(path, large), 413)
        for kind in some(kinds, number):
            refused(await guest.send(path, body + f"&a={MARK}".encode(), **{"Content-Type": kind}), 415)
        for one in some(broken, number):
            refused(await guest.send(path, body + b"&" + one), 400)


async def test_a_body_in_pieces_that_is_too_large(town: Town) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(1 + MAX_BODY_BYTES // 4096):
            yield b"x" * 4096

    refused(await town.guests["sender"].send("/intake/pages/entries/new", pieces()), 413)


async def test_json_to_a_form(town: Town) -> None:
    for _, _, path, guest in posts(town):
        answer = await guest.send(path, b'{"csrf": "a"}', **{"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500, path
        page(answer)
        refused(await guest.send(path, b'{"a": 1, "a": 2}', **{"Content-Type": "application/json"}), 400)


async def test_heads_that_are_too_large_or_said_twice(town: Town) -> None:
    made = town.world.made.url
    for path in ("/referral/pages/sign-in", "/intake/pages/handoffs", "/notify/pages/dashboard", "/pages/about"):
        long = await sent_raw(made, request_bytes("GET", f"{path}?a={'x' * MAX_HEAD_BYTES}", {}))
        twice = await sent_raw(
            made, request_bytes("POST", path, {"Content-Type": FORM, "content-type": FORM, "Content-Length": "1"}, b"a")
        )
        for answer, status in ((long, 431), (twice, 400)):
            answer.request = httpx.Request("GET", made + path)
            refused(answer, status)


async def test_addresses_that_are_none(town: Town) -> None:
    """No id, another thing's id, something long, a script; of every service, and of none."""
    wrong = (
        "x",
        "00000000-0000-0000-0000-00000000000",
        "a" * 3000,
        "%00",
        "%ff",
        "%3Cscript%3E",
        "..%2f..%2fetc",
        MARK,
    )
    guests = [town.guests[name] for name in ("sender", "receiver", "coordinator", "administrator", "stranger")]
    for number, route in enumerate(routes(town.world.made)):
        for name in route.names:
            objects = {**town.nowhere, **town.objects}
            for odd in some(wrong, number):
                door = door_of(route)
                assert door is not None
                there = route.path
                for one in route.names:
                    there = there.replace(f"{{{one}}}", odd if one == name else objects.get(one, "where"))
                guest = town.guests[door.who]
                answer = await guest.get(there) if route.method == "GET" else await guest.post(there, {})
                assert 300 <= answer.status_code < 500, (route.id, odd, answer.status_code)
                if answer.status_code != 303:
                    page(answer)
                    assert MARK not in answer.text
    for path in (
        "/pages/nothing",
        "/intake/pages/nothing",
        "/referral/pages/",
        "/notify/pages/x/y/z",
        "/other/pages/a",
    ):
        for guest in guests:
            refused(await guest.get(path), 404)


async def test_methods_that_no_page_has(town: Town) -> None:
    for number, route in enumerate(routes(town.world.made)):
        door = door_of(route)
        assert door is not None
        for method in some(("PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"), number):
            answer = await town.guests[door.who].client.request(
                method, town.paths(route)[0], headers={"Cookie": town.guests[door.who].sent_along}
            )
            assert answer.status_code in {405, 415}, (method, route.id, answer.status_code)
            page(answer)


async def test_a_fault_of_ours_is_a_page_too(town: Town) -> None:
    """Also where it cannot even be found out whose browser asks: the table of sessions is away for a moment."""
    await sql(town, "referral", "alter table session rename to session_away")
    try:
        for path in ("/referral/pages/account", "/referral/pages/sign-in", "/intake/pages/handoffs"):
            answer = await town.guests["sender"].get(path)
            safe(answer)
            assert answer.status_code in {500, 503}, path
            assert answer.headers["content-type"] == "text/html; charset=utf-8", path
            shown = Shown(answer.text)
            assert (shown.headings, shown.wrong) == (1, [])
            assert "session_away" not in answer.text
    finally:
        await sql(town, "referral", "alter table session_away rename to session")


async def test_what_a_script_sends_is_read_strictly(town: Town) -> None:
    """Answers of passkeys that are none, with a good token: a page that says so, and nothing of it comes back."""
    odd: tuple[Any, ...] = (
        {}, {"answer": None}, {"answer": {}}, {"answer": MARK}, {"answer": [1, 2]}, {"step": 5, "answer": {"id": 1}},
        {"step": MARK, "answer": {"id": MARK, "rawId": "//", "type": "public-key", "response": {}}}, {"step": ["a"]},
        {"step": "a" * 5000, "answer": {"id": "é", "response": {"clientDataJSON": "x", "authenticatorData": "y"}}},
    )  # fmt: skip
    for route, _, path, guest in posts(town, kinds=("script",)):
        if route.path.endswith("/options"):
            continue
        for said in odd:
            body = json.dumps({**said, "csrf": await guest.token(route.service)}).encode()
            answer = await guest.send(path, body, **{"Content-Type": "application/json"})
            assert 400 <= answer.status_code < 500, (route.id, said, answer.status_code)
            assert MARK not in page(answer).html, route.id
            assert not [one for one in answer.headers.get_list("set-cookie") if one.startswith("__Host-spean=")]
