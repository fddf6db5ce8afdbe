"""Every page × every role × another organisation's object, generated from the routes of the running services."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from schemas.rights import StaffRole
from spean.web.pages import local
from spean.web.visitor import COOKIE
from tests.browser.visiting import signed_in
from tests.security.answers import MARK
from tests.security.page_forms import Found
from tests.security.page_town import Guest, Town
from tests.security.pages import DOORS, ROLES, Door, Route, addresses, door_of, page, routes, safe

SIGN_IN = "/referral/pages/sign-in"
# A cookie that opens nothing: none, one of an organisation that was suspended, one that has signed out.
NOBODY = ("stranger", "suspended", "ended")
# For so long a stream that waits for a change has to say nothing.
SILENCE_S = 0.7
# Forms that no page of this town shows, as the state of what they are about does not have them; the tests that need a form
# take an empty one. A form that is not found and not named here fails.
NOT_SHOWN = frozenset(
    {
        "POST /intake/pages/consent/{draft}/check",  # when every step is answered
        "POST /intake/pages/handoffs/{handoff}/ask-again",  # when it was handed back
        "POST /intake/pages/packets/{offer}",  # after the ticket was asked for
        "POST /intake/pages/rules/retention/add",  # when what it would do was read
        "POST /referral/pages/account/authenticator",  # after a new one was asked for
        "POST /referral/pages/escalations/{referral}/close",  # when the house of somebody who arrived is silent
        "POST /referral/pages/escalations/{referral}/ask",  # when a place has room
        "POST /referral/pages/escalations/{referral}/confirm-arrival",  # when an arrival stays unverified
    }
)


def every(town: Town, *methods: str) -> Iterator[tuple[Route, Door]]:
    for route in routes(town.world.made):
        if route.method in methods:
            door = door_of(route)
            assert door is not None, route.id
            yield route, door


def opens(door: Door, role: str) -> bool:
    """Does the role open it? The one place that says so."""
    return door.guarded == "session" or bool(door.scopes & ROLES[role])


def masked(answer: httpx.Response, route: Route, path: str) -> tuple[int, str, list[tuple[str, str]]]:
    """An answer without what differs from one to the next: tokens and keys of forms, and the address itself."""
    text = re.sub(r'(name="(?:csrf|key)" value=")[^"]*', r"\1", answer.text)
    for name, part in zip(route.path.split("/"), path.split("/"), strict=True):
        if name != part:
            text = text.replace(part, name)
    headers = [(name, value) for name, value in answer.headers.items() if name not in {"content-length", "set-cookie"}]
    headers += [("set-cookie", one.partition("=")[0]) for one in answer.headers.get_list("set-cookie")]
    return answer.status_code, text, headers


async def test_every_route_has_a_door_and_every_door_a_route(town: Town) -> None:
    doors = {one.id: door_of(one) for one in routes(town.world.made)}
    assert [id_ for id_, door in doors.items() if door is None] == []
    assert [door.at for door in DOORS if door not in doors.values()] == []
    assert len(doors) > 100
    for route in routes(town.world.made):
        assert addresses(route, town.objects), route.id


async def test_whose_page_it_is_sees_it(town: Town) -> None:
    """The control of this file: each page answers its own people, at every address that it has."""
    for route, door in every(town, "GET"):
        if door.kind == "stream" or route.path.endswith("/leave"):
            continue
        for path in town.paths(route):
            answer = await town.guests[door.who].get(path)
            assert answer.status_code in {200, 303}, (path, answer.status_code)
            if answer.status_code == 303:
                assert local(answer.headers["location"]), path
                assert not answer.headers["location"].startswith(SIGN_IN) or door.who == "stranger", path
            elif door.kind in {"page", "part"}:
                page(answer, part=door.kind == "part")
            else:
                safe(answer)


async def test_nobody_is_led_to_the_sign_in_and_back(town: Town) -> None:
    for route, door in every(town, "GET"):
        if door.guarded not in {"scopes", "session"} or door.kind == "stream":
            continue
        for name in NOBODY:
            for path in town.paths(route):
                asked = f"{path}?done=saved"
                answer = await town.guests[name].get(asked)
                assert answer.status_code == 303, (name, path, answer.status_code)
                safe(answer)
                where = urlsplit(answer.headers["location"])
                assert (where.netloc, where.path) == ("", SIGN_IN), (name, path)
                assert parse_qs(where.query) == {"next": [asked]}, (name, path)
                assert answer.content == b""


async def test_a_form_of_nobody_does_nothing_and_can_be_sent_again(town: Town, found: list[Found]) -> None:
    """Also one with a token: that of the session that has ended, or of the sign-in page."""
    before = await town.state()
    typed = {"reason": "kept as it was", "password": "not given back"}
    for route, door in every(town, "POST"):
        if door.guarded not in {"scopes", "session"} or door.kind != "page":
            continue
        for name in NOBODY:
            for token in (True, False) if name == "ended" else (True,):
                path = town.paths(route)[0]
                answer = await town.guests[name].post(path, typed, token=token)
                assert answer.status_code == 409, (name, path, answer.status_code)
                again = [form for form in page(answer).forms if form.action == path]
                assert len(again) == 1, (name, path)
                kept = again[0].filled()
                assert kept["reason"] == ["kept as it was"]
                assert "password" not in kept
                assert "not given back" not in answer.text
    assert await town.state() == before


async def test_the_wrong_role_is_told_so_and_nothing_is_looked_up(town: Town, found: list[Found]) -> None:
    """All other roles together open nothing, also at the organisation whose page it is: a page that says that the account
    may not do this; the same for what exists and what does not."""
    guests = {door.at: await town.with_roles(_closed_to(door)) for _, door in every(town, "GET", "POST")}
    before = await town.state()
    forms, nowhere, refused = _bodies(found), town.nowhere, 0
    for route, door in every(town, "GET", "POST"):
        if door.guarded != "scopes" or door.kind == "stream":
            continue
        guest, answers = guests[door.at], []
        for path in (town.paths(route)[0], addresses(route, nowhere)[0]):
            if route.method == "GET":
                answer = await guest.get(path)
            else:
                answer = await guest.post(path, forms.get(route.id, {}))
            assert answer.status_code == 403, (route.id, answer.status_code)
            page(answer)
            assert "Your account may not do this" in answer.text, route.id
            answers.append(masked(answer, route, path))
        assert answers[0] == answers[1], route.id
        refused += 1
    assert refused > 100
    assert await town.state() == before


def _closed_to(door: Door) -> frozenset[StaffRole]:
    return frozenset(StaffRole(role) for role in ROLES if not opens(door, role))


def _bodies(found: list[Found]) -> Mapping[str, dict[str, list[str]]]:
    """What somebody who may would send, by route; without token and key, which belong to one page."""
    return {
        one.route.id: {name: value for name, value in one.form.filled().items() if name not in {"csrf", "key"}}
        for one in found
    }


async def test_streams_say_good_bye(town: Town) -> None:
    """A page that watches learns that its session opens this no more; whoever may is not sent away."""
    for route, door in every(town, "GET"):
        if door.kind != "stream":
            continue
        for role in (*ROLES, *NOBODY):
            let_in = role in ROLES and opens(door, role)
            said = await _first_line(town.guests[role], town.paths(route)[0], SILENCE_S if let_in else 30.0)
            assert said == (b"" if let_in else b"event: bye"), (role, route.id)


async def _first_line(guest: Guest, path: str, wait_s: float) -> bytes:
    """What a stream begins with; nothing where it waits for a change for so long."""
    headers = {"Cookie": guest.sent_along, "Accept": "text/event-stream"}
    try:
        async with guest.client.stream("GET", path, headers=headers, timeout=wait_s) as answer:
            assert answer.status_code == 200, path
            assert answer.headers["content-type"].startswith("text/event-stream"), path
            async for chunk in answer.aiter_raw():
                return chunk.strip().splitlines()[0]
    except httpx.ReadTimeout:
        pass
    return b""


async def test_every_form_is_found(town: Town, found: list[Found]) -> None:
    """What the tests of forms are worth: each address that takes one is sent a real one."""
    shown = {one.route.id for one in found}
    missing = {route.id for route, door in every(town, "POST") if door.kind == "page"} - shown
    missing -= {"POST /intake/pages/rules/usual"}  # shown only until the usual rules stand, which other tests see to
    assert missing == NOT_SHOWN, "\n".join(sorted(missing ^ NOT_SHOWN))


async def test_anothers_object_is_nowhere(town: Town, found: list[Found]) -> None:
    """Somebody of the right role, at another organisation, and a colleague where it is one person's own: the same page, the
    same headers as for an id that nothing has; and nothing changes."""
    before, forms, nowhere, compared = await town.state(), _bodies(found), town.nowhere, 0
    for route, door in every(town, "GET", "POST"):
        if door.whose not in {"organisation", "person"} or door.kind not in {"page", "part"} or not route.names:
            continue
        others = ["neighbour"]
        if door.whose == "person":
            others.append("colleague")
        if door.guarded == "ticket":
            others.append("house colleague")
        for name in others:
            guest = town.guests[name]
            for there, missing in zip(town.paths(route), addresses(route, nowhere), strict=True):
                answers = [
                    await guest.get(path) if route.method == "GET" else await guest.post(path, forms.get(route.id, {}))
                    for path in (there, missing)
                ]
                wanted = {404, 410} if door.guarded == "ticket" else {404}
                if route.method == "POST":
                    wanted.add(422)  # an answer is looked at before the object is
                assert answers[0].status_code in wanted, (name, route.id, answers[0].status_code)
                page(answers[0])
                assert masked(answers[0], route, there) == masked(answers[1], route, missing), (name, route.id)
                compared += answers[0].status_code != 422
    assert compared > 60
    assert await town.state() == before


async def test_the_pages_of_no_service_are_as_safe(town: Town) -> None:
    for path in ("/pages/about", "/pages/offline"):
        for name in ("stranger", "sender"):
            answer = await town.guests[name].get(path)
            assert answer.status_code == 200, path
            page(answer)
            assert town.guests[name].cookies.get(COOKIE, "none") not in answer.text
    for path in ("/", "/pages/language?to=km&next=/referral/pages/sign-in"):
        answer = await town.guests["stranger"].get(path)
        safe(answer)
        assert local(answer.headers["location"]), path
    where = (await town.guests["sender"].get("/")).headers["location"]
    assert (await town.guests["sender"].get(where)).headers["location"] == "/intake/pages/handoffs"


async def test_a_packets_cookie_is_worth_nothing_in_another_browser(town: Town) -> None:
    """Neither at a colleague's of the same house, nor without a session."""
    offer = f"/intake/pages/packets/{town.objects['offer']}"
    owner = await town.guests["receiver"].get(offer)
    assert owner.status_code == 200
    stolen = {name: value for name, value in town.guests["receiver"].cookies.items() if name != COOKIE}
    assert stolen
    for name in ("house colleague", "neighbour", "stranger", "ended"):
        guest = town.guests[name]
        thief = Guest(guest.client, {**guest.cookies, **stolen})
        answer = await thief.get(offer)
        assert answer.status_code in {404, 410}, name
        page(answer)


async def test_lists_show_nothing_of_anybody_else(town: Town) -> None:
    """Pages that name no object show a neighbour who does the same work none of the town's."""
    ids = {id_ for name, id_ in town.objects.items() if name not in {"kind", "network", "organisation", "client"}}
    looked = 0
    for route, door in every(town, "GET"):
        if door.guarded != "scopes" or route.names or door.whose != "organisation" or door.kind == "stream":
            continue
        answer = await town.guests["neighbour"].get(route.path)
        assert answer.status_code == 200, route.id
        assert [id_ for id_ in ids if id_ in answer.text] == [], route.id
        looked += 1
    assert looked > 10


async def test_questions_in_an_address_that_mean_nothing(town: Town) -> None:
    """Every page, with values for every name that pages know, and for some that they do not."""
    names = ("before", "after", "kind", "from_row", "organisation", "group", "about", "state", "done", "shown", "next",
             "again", "asked", "mark", "filter", "page", "what", "q", "show", "changed")  # fmt: skip
    odd = ("", "-1", "9" * 20, "nan", "1e3", "<script>alert(1)</script>", "\u202e", "' or 1=1", "x" * 2000, "\x00")
    for number, (route, door) in enumerate(every(town, "GET")):
        if door.kind == "stream" or route.path.endswith("/leave"):
            continue
        for value in (odd[number % len(odd)], odd[(number + 5) % len(odd)]):
            asked = urlencode(dict.fromkeys(names, value) | {"x": MARK})
            answer = await town.guests[door.who].get(f"{town.paths(route)[0]}?{asked}")
            assert answer.status_code < 500, (route.id, value, answer.status_code)
            assert MARK not in answer.text, route.id
            assert "<script>alert" not in answer.text, route.id
            if answer.headers.get("content-type", "").startswith("text/html") and answer.status_code != 303:
                page(answer, part=door.kind == "part" and answer.status_code == 200)


async def test_a_session_that_ends_opens_nothing_from_that_moment(town: Town) -> None:
    cookie = await signed_in(town.world.made, town.world.sender, *())
    guest = Guest(town.stage.client, {COOKIE: cookie})
    paths = ("/referral/pages/account", "/intake/pages/token", "/notify/pages/token")
    assert [(await guest.get(path)).status_code for path in paths] == [200, 200, 200]
    await guest.post("/referral/pages/account/sign-out-everywhere", {})
    assert [(await guest.get(path)).status_code for path in paths] == [303, 303, 303]
