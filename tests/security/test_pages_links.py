"""Where pages lead, and what works once: no open redirect, no second use of a link, an invite, a code or a ticket."""

from __future__ import annotations

from urllib.parse import parse_qs, quote, urlencode, urlsplit

import httpx
import pytest

from schemas.rights import StaffRole
from services.referral.people import handlers as people
from services.referral.people.domain import OPERATOR
from services.referral.sessions.pages import ELSEWHERE, STEP
from spean.web.pages import local
from spean.web.visitor import COOKIE
from tests.integration import staff
from tests.security.page_town import Guest, Town
from tests.security.pages import page, routes, safe

PAGES = "/referral/pages"
EVIL = (
    "https://evil.example/", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "https:evil.example",
    "javascript:alert(1)", "data:text/html,x", "/referral/pages/../../evil", "/referral/pages@evil.example", "/referral/pagesevil",
    "/referral/pages/\r\nSet-Cookie: evil=1", "/referral/pages/inbox#@evil.example", "\t//evil.example", " /evil.example",
    "/static/evil", "/referral/oauth/token?evil", "/evil/pages/x", "%2f%2fevil.example", "/referral/pages/inbox\x00evil",
    "/intake/pages/\u202eevil",
)  # fmt: skip


def led(answer: httpx.Response) -> str:
    """Where an answer leads: to a page of ours."""
    assert answer.status_code == 303, (answer.status_code, answer.request.url)
    safe(answer)
    location = str(answer.headers["location"])
    assert location == "/" or local(location.partition("?")[0]), location
    # The sign-in may be told the page that was asked for, with its own questions: it is checked as every other.
    wanted = parse_qs(urlsplit(location).query).get("next", [""])[0]
    assert "evil" not in location or local(wanted), location
    return location


@pytest.fixture
async def member(town: Town) -> staff.Member:
    """Somebody with a password and an app, who was signed in nowhere lately."""
    return await staff.member(town.world.made, town.world.sender.id, StaffRole.SENDER)


async def signs_in(town: Town, member: staff.Member, wanted: str) -> tuple[Guest, httpx.Response]:
    """Through the pages, with a place to go on to. Returns the answer to the code."""
    guest = Guest(town.stage.client, {})
    await guest.token("referral")
    password = {"name": member.person.sign_in_name, "password": member.password, "next": wanted}
    first = await guest.post(f"{PAGES}/sign-in", password)
    assert first.status_code == 303, first.status_code
    query = parse_qs(urlsplit(first.headers["location"]).query)
    assert query.get("next") in (None, [wanted]), first.headers["location"]
    assert "evil" not in first.headers["location"]
    guest.cookies[STEP] = _cookie(first, STEP)
    await member.forget_codes()
    return guest, await guest.post(f"{PAGES}/sign-in/code", {"code": member.code(), "next": wanted})


def _cookie(answer: httpx.Response, name: str) -> str:
    found = next(one for one in answer.headers.get_list("set-cookie") if one.startswith(f"{name}="))
    return found.partition("=")[2].partition(";")[0]


@pytest.mark.parametrize("wanted", EVIL)
async def test_nothing_leads_away(town: Town, wanted: str) -> None:
    """Every address that is asked to go on somewhere: as whoever is signed in, as a stranger, in every form of the page."""
    query = f"next={quote(wanted, safe='')}&to=km&again=1"
    for route in routes(town.world.made):
        if route.method != "GET" or not route.path.startswith(
            (f"{PAGES}/sign-in", f"{PAGES}/lost", f"{PAGES}/account")
        ):
            continue
        for name in ("stranger", "half", "sender"):
            answer = await town.guests[name].get(f"{town.paths(route)[0]}?{query}")
            if answer.status_code == 303:
                led(answer)
            else:
                assert "evil" not in page(answer).html, route.id
    led(await town.guests["sender"].get(f"{PAGES}/sign-in?next={quote(wanted, safe='')}"))
    led(await town.guests["stranger"].get(f"/pages/language?{query}"))
    stale = await town.guests["stranger"].get(f"/intake/pages/handoffs?{query}")
    assert urlsplit(stale.headers["location"]).netloc == ""
    part = {"HX-Request": "true", "HX-Current-URL": f"https://evil.example{wanted}"}
    moved = await town.guests["stranger"].get("/notify/pages/dashboard/now", **{k: quote(v) for k, v in part.items()})
    assert "evil" not in moved.headers.get("HX-Redirect", ""), moved.headers


async def test_signing_in_leads_to_a_page_of_ours(town: Town, member: staff.Member) -> None:
    _, wanted = await signs_in(town, member, "/intake/pages/handoffs")
    assert led(wanted) == "/intake/pages/handoffs"
    for evil in EVIL[:4]:
        guest, answer = await signs_in(town, member, evil)
        assert led(answer) == "/intake/pages/handoffs"  # where a sender begins
        new = _cookie(answer, COOKIE)
        assert new != guest.cookies.get(COOKIE)
        assert answer.headers["location"].isascii()


async def test_a_forged_host_leads_nowhere_else(town: Town) -> None:
    for path in (
        "/",
        f"{PAGES}",
        f"{PAGES}/sign-in",
        "/intake/pages/handoffs",
        "/pages/language?to=km",
        f"{PAGES}/leave",
    ):
        answer = await town.stage.client.get(path, headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
        assert "evil" not in answer.text, path
        assert "evil" not in str(answer.headers), path


async def test_a_code_works_once(town: Town, member: staff.Member) -> None:
    """Neither the same code in another browser, nor the same step again."""
    guest, first = await signs_in(town, member, "")
    led(first)
    again = await guest.post(f"{PAGES}/sign-in/code", {"code": member.code()})
    assert again.status_code in {410, 422}
    page(again)
    other = Guest(town.stage.client, {STEP: await member.step()})
    refused = await other.post(f"{PAGES}/sign-in/code", {"code": member.code()})
    assert refused.status_code == 422
    assert COOKIE not in str(refused.headers.get_list("set-cookie"))


async def test_a_link_works_once(town: Town, member: staff.Member) -> None:
    """Looking at it, as a preview does, uses nothing; its use opens one session."""
    desk = staff.desk_of(town.world.made)
    async with desk.db.transaction("test.link") as tx:
        opener = await people.sign_in_link(tx, OPERATOR, member.person.sign_in_name)
    guest = Guest(town.stage.client, {})
    await guest.token("referral")
    address = f"{PAGES}/link/{opener}"
    for _ in range(2):
        assert opener not in page(await guest.get(address)).title
    first = await guest.post(address, {})
    led(first)
    assert opener not in first.headers["location"]
    assert await staff.alive(desk.db, _cookie(first, COOKIE))
    for again in (await guest.post(address, {}), await guest.get(address)):
        assert again.status_code == 410
        assert not [one for one in again.headers.get_list("set-cookie") if one.startswith(f"{COOKIE}=")]
        page(again)


async def test_an_invite_works_once_and_a_new_one_ends_it(town: Town) -> None:
    made = town.world.made
    person = await staff.hired(made, town.world.sender.id, StaffRole.SENDER)
    old = await staff.invited(made, person)
    opener = await staff.invited(made, person)
    guest = Guest(town.stage.client, {})
    await guest.token("referral")
    assert (await guest.get(f"{PAGES}/set-up/{old}")).status_code == 410
    await staff.set_up(made, person, opener)
    answers = {"password": staff.PASSWORD, "password_again": staff.PASSWORD, "code": "123456"}
    for gone in (old, opener, "x" * 43):
        for answer in (await guest.get(f"{PAGES}/set-up/{gone}"), await guest.post(f"{PAGES}/set-up/{gone}", answers)):
            assert answer.status_code == 410, gone[:5]
            page(answer)
        for way in ("passkey", "passkey/options"):
            body = f'{{"csrf": "{await guest.token("referral")}"}}'.encode()
            json = {"Content-Type": "application/json"}
            assert (await guest.send(f"{PAGES}/set-up/{gone}/{way}", body, **json)).status_code in {403, 410}


async def test_a_ticket_works_once(town: Town) -> None:
    """In the same browser, in a colleague's, in a neighbour's, in nobody's."""
    path = f"/intake/pages/packets/{town.objects['offer']}"
    for name in ("receiver", "house colleague", "neighbour", "stranger", "ended"):
        guest = town.guests[name]
        answer = await guest.send(path, urlencode({"ticket": town.objects["ticket"]}).encode())
        assert answer.status_code in {404, 410}, name
        assert not [one for one in answer.headers.get_list("set-cookie") if "packet" in one]
        page(answer)


async def test_leaving_ends_the_session_and_wipes(town: Town, member: staff.Member) -> None:
    """A plain link, of our own pages; no other site and no look ahead can do it."""
    opened = await member.signs_in()
    guest = Guest(town.stage.client, {COOKIE: opened.cookie})
    for another in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Purpose": "prefetch"}):
        assert (await guest.get(f"{PAGES}/leave", **another)).headers["location"] == ELSEWHERE
        assert (await guest.get(f"{PAGES}/account")).status_code == 200
    answer = await guest.get(f"{PAGES}/leave", **{"Sec-Fetch-Site": "same-origin"})
    safe(answer)
    assert (answer.status_code, answer.headers["location"]) == (303, ELSEWHERE)
    wiped = {one.strip() for one in answer.headers["clear-site-data"].split(",")}
    assert wiped == {'"cache"', '"cookies"', '"storage"'}
    assert _cookie(answer, COOKIE) in {"", '""'}
    assert not await staff.alive(staff.desk_of(town.world.made).db, opened.cookie)
    assert (await guest.get(f"{PAGES}/account")).status_code == 303
