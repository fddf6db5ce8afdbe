"""The pages of the sign-in as somebody meets them without JavaScript: every way in, and what each refusal says."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from schemas.rights import StaffRole
from services.referral.people import handlers as people
from services.referral.people.domain import OPERATOR
from services.referral.sessions import passkeys
from services.referral.sessions.pages import ELSEWHERE, MARK, STEP
from spean.web.visitor import COOKIE
from tests.browser.visiting import Screen, Walker, walker
from tests.builders import World
from tests.integration.authenticator import SoftKey
from tests.integration.staff import (
    PASSWORD,
    Member,
    alive,
    desk_of,
    exchange,
    hired,
    invited,
    member,
    set_up,
    wait_is_long,
    wait_is_over,
)

SIGN_IN = "/referral/pages/sign-in"
ACCOUNT = "/referral/pages/account"


async def typed_name(someone: Walker, who: Member, password: str = PASSWORD, path: str = SIGN_IN) -> Screen:
    page = await someone.get(path)
    return await someone.send(page.form("/sign-in"), name=who.person.sign_in_name, password=password)


async def signs_in(someone: Walker, who: Member, path: str = SIGN_IN) -> Screen:
    await who.forget_codes()
    page = await typed_name(someone, who, path=path)
    assert page.path == f"{SIGN_IN}/code"
    return await someone.send(page.form("/code"), code=who.code())


async def no_waits(world: World) -> None:
    """Every test of this file comes from one address."""
    async with desk_of(world.made).db.transaction("test") as tx:
        await tx.conn.execute("delete from tries")


@pytest.fixture(autouse=True)
async def fresh(world: World) -> None:
    await no_waits(world)


async def test_name_password_and_code_lead_to_where_the_work_is(world: World) -> None:
    who = await member(world.made, world.coordinator.id, StaffRole.RECEIVER)
    async with walker(world, None) as someone:
        page = await signs_in(someone, who)
        assert (page.status, page.path) == (200, "/referral/pages/inbox")
        assert someone.cookies[STEP][0] in {"", '""'}
        assert len(someone.cookies[COOKIE][0]) == 43
        assert someone.cookies[MARK][0]
        again = await someone.get(SIGN_IN)
        assert again.path == "/referral/pages/inbox", "signed in already"


async def test_the_cookie_is_for_this_origin_and_no_script(world: World) -> None:
    who = await member(world.made, world.sender.id)
    await who.forget_codes()
    async with walker(world, None) as someone:
        page = await typed_name(someone, who)
        headers = {
            "Cookie": "; ".join(f"{name}={value}" for name, (value, _) in someone.cookies.items()),
            "Sec-Fetch-Site": "same-origin",
        }
        form = page.form("/code")
        reply = await someone.client.post(
            world.made.url + form.action, data={**dict(form.values), "code": who.code()}, headers=headers
        )
    (cookie,) = [one for one in reply.headers.get_list("set-cookie") if one.startswith(f"{COOKIE}=")]
    assert COOKIE.startswith("__Host-")
    assert sorted(part.strip().lower() for part in cookie.split(";")[1:]) == [
        "httponly",
        "path=/",
        "samesite=lax",
        "secure",
    ]
    assert reply.headers["cache-control"] == "no-store"


async def test_a_page_that_was_wanted_is_shown_after_signing_in_and_only_one_of_ours(world: World) -> None:
    who = await member(world.made, world.sender.id, StaffRole.RECEIVER)
    async with walker(world, None) as someone:
        page = await someone.get("/referral/pages/arrivals")
        assert page.path == SIGN_IN
        page = await signs_in(someone, who, path=page.url.removeprefix(world.made.url))
        assert page.path == "/referral/pages/arrivals"
    for elsewhere in ("https://evil.example/", "//evil.example", "/referral/pages/../../x", "javascript:alert(1)"):
        async with walker(world, None) as someone:
            page = await signs_in(someone, who, path=f"{SIGN_IN}?next={elsewhere}")
            assert page.path == "/referral/pages/inbox"


async def test_a_passkey_leads_to_a_page_of_ours_only(world: World) -> None:
    desk, person = desk_of(world.made), await hired(world.made, world.sender.id, StaffRole.RECEIVER)
    key, opener = SoftKey(desk.origins[0]), await invited(world.made, person)
    step, options = await passkeys.offer_to_invited(desk, opener)
    await passkeys.set_up(desk, opener, step, key.create(options))
    for wanted, led in (
        ("/referral/pages/arrivals", "/referral/pages/arrivals"), ("https://evil.example/", "/referral/pages/inbox"),
        ("//evil.example", "/referral/pages/inbox"), (7, "/referral/pages/inbox"),
    ):  # fmt: skip
        async with walker(world, None) as someone:
            (token,) = (await someone.get(SIGN_IN)).form("/sign-in/passkey").get("csrf")
            headers = {
                "Cookie": "; ".join(f"{name}={value}" for name, (value, _) in someone.cookies.items()),
                "Sec-Fetch-Site": "same-origin",
            }
            address, said = f"{world.made.url}{SIGN_IN}/passkey", {"csrf": token, "next": wanted}
            offered = (await someone.client.post(f"{address}/options", json=said, headers=headers)).json()
            answer = {**said, "step": offered["step"], "answer": key.get(offered["options"])}
            reply = await someone.client.post(address, json=answer, headers=headers)
        assert (reply.status_code, reply.json()) == (200, {"to": led})
        assert f"{COOKIE}=" in reply.headers["set-cookie"]


async def test_an_unknown_name_gets_the_page_of_a_wrong_password(world: World) -> None:
    who = await member(world.made, world.sender.id)
    shown = []
    for name in (who.person.sign_in_name, "nobody.at.all"):
        async with walker(world, None) as someone:
            page = await someone.get(SIGN_IN)
            page = await someone.send(page.form("/sign-in"), name=name, password="wrong password")
            assert page.status == 422
            assert page.form("/sign-in").get("name") == [name], "what was typed is kept"
            assert page.form("/sign-in").get("password") == [""]
            assert "wrong password" not in page.html
            shown.append(_plain(page, name))
    assert shown[0] == shown[1]


def _plain(page: Screen, name: str) -> str:
    """The page without its tokens and the name that was typed."""
    return re.sub(r'name="(csrf|key)" value="[^"]*"', "", page.html.replace(name, "NAME"))


async def test_who_tries_too_often_is_told_how_long_to_wait(world: World) -> None:
    who = await member(world.made, world.sender.id)
    async with walker(world, None) as someone:
        # From this machine, which might be a proxy, tries are counted by name alone: a score of them is free.
        for _ in range(21):
            page = await typed_name(someone, who, "wrong password")
            assert "Try again in" not in page.text
        async with desk_of(world.made).db.transaction("test") as tx:
            await wait_is_long(tx)
        page = await typed_name(someone, who)
        assert page.status == 422
        assert "Nothing is locked. Try again in" in page.text
        async with desk_of(world.made).db.transaction("test") as tx:
            await wait_is_over(tx)
        assert (await typed_name(someone, who)).path == f"{SIGN_IN}/code"


async def test_a_wrong_code_is_said_and_the_fifth_begins_again(world: World) -> None:
    who = await member(world.made, world.sender.id)
    async with walker(world, None) as someone:
        page = await typed_name(someone, who)
        for _ in range(5):
            page = await someone.send(page.form("/code"), code="12345")
            assert (page.status, "This code is not right" in page.text) == (422, True)
        async with desk_of(world.made).db.transaction("test") as tx:
            await wait_is_over(tx)
        page = await someone.send(page.form("/code"), code="12345")
        assert (page.status, page.headings) == (410, ["That did not work"])


async def test_the_second_step_is_for_the_browser_of_the_first(world: World) -> None:
    who = await member(world.made, world.sender.id)
    await who.forget_codes()
    async with walker(world, None) as someone, walker(world, None) as other:
        await typed_name(someone, who)
        page = await other.get(f"{SIGN_IN}/code")
        assert page.path == SIGN_IN
        other.cookies[STEP] = ("x" * 43, "/")
        page = await other.get(f"{SIGN_IN}/code")
        page = await other.send(page.form("/code"), code=who.code())
        assert page.status == 410
        assert COOKIE not in other.cookies


async def test_a_form_of_another_site_or_an_older_page_signs_nobody_in(world: World) -> None:
    who = await member(world.made, world.sender.id)
    async with walker(world, None) as someone:
        form = (await someone.get(SIGN_IN)).form("/sign-in")
        body = {**dict(form.values), "name": who.person.sign_in_name, "password": PASSWORD}
        cookie = "; ".join(f"{name}={value}" for name, (value, _) in someone.cookies.items())
        for headers, status in (
            ({"Sec-Fetch-Site": "cross-site", "Cookie": cookie}, 403),
            ({"Sec-Fetch-Site": "same-site", "Cookie": cookie}, 403),
            ({"Sec-Fetch-Site": "none", "Cookie": cookie}, 403),
            ({"Origin": "https://evil.example", "Cookie": cookie}, 403),
            ({"Sec-Fetch-Site": "same-origin"}, 409),
        ):
            reply = await someone.client.post(world.made.url + SIGN_IN, data=body, headers=headers)
            assert reply.status_code == status, headers
            assert STEP not in reply.headers.get("set-cookie", "")
            assert PASSWORD not in reply.text, "a password is never shown again"
        for path in ("sign-in/passkey/options", "sign-in/passkey"):
            for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-origin"}):
                reply = await someone.client.post(f"{world.made.url}/referral/pages/{path}", json={}, headers=headers)
                assert reply.status_code in {403, 410}


# --- links ------------------------------------------------------------------------------------------------------------


async def test_a_one_time_link_is_used_by_its_button_only(world: World) -> None:
    person = await hired(world.made, world.sender.id, StaffRole.SENDER)
    async with desk_of(world.made).db.transaction("test") as tx:
        opener = await people.sign_in_link(tx, OPERATOR, person.sign_in_name)
    path = f"/referral/pages/link/{opener}"
    async with walker(world, None) as preview, walker(world, None) as someone:
        for method in ("GET", "HEAD", "GET"):
            await preview.client.request(method, world.made.url + path)
        page = await someone.get(path)
        assert COOKIE not in someone.cookies
        page = await someone.send(page.form(opener))
        assert urlsplit(page.url).path.startswith("/intake/pages/")
        assert await alive(desk_of(world.made).db, someone.cookies[COOKIE][0])
        assert (await preview.get(path)).status == 410


async def test_an_invite_becomes_a_password_with_an_app(world: World) -> None:
    person = await hired(world.made, world.sender.id, StaffRole.RECEIVER)
    opener = await invited(world.made, person)
    path = f"/referral/pages/set-up/{opener}"
    async with walker(world, None) as someone:
        page = await someone.get(path)
        assert person.sign_in_name in page.text
        assert "<path stroke=" in page.html
        assert "style=" not in page.html
        secret = re.search(r'<code class="key">([A-Z2-7 ]+)</code>', page.html)
        assert secret is not None
        who = Member(desk_of(world.made), person, secret=secret.group(1).replace(" ", ""))
        for answers, said in (
            ({"password": "short", "password_again": "short", "code": who.code()}, "at least 12 characters"),
            ({"password": PASSWORD, "password_again": "another one", "code": who.code()}, "not the same"),
            ({"password": PASSWORD, "password_again": PASSWORD, "code": "12345"}, "This code is not right"),
            ({"password": "password1234", "password_again": "password1234", "code": who.code()}, "easy to guess"),
            ({}, "Answer this question"),
        ):
            page = await someone.send(page.form(opener), **answers)
            assert page.status == 422
            assert said in page.text
            assert PASSWORD not in page.html
        page = await someone.send(page.form(opener), password=PASSWORD, password_again=PASSWORD, code=who.code())
        assert page.path == "/referral/pages/inbox"
        assert (await someone.get(path)).status == 410
    async with walker(world, None) as later:
        assert (await signs_in(later, who)).path == "/referral/pages/inbox"


@pytest.mark.parametrize("kind", ["link", "set-up"])
async def test_a_link_that_is_none_says_what_to_do(world: World, kind: str) -> None:
    async with walker(world, None) as someone:
        for opener in ("x" * 43, "%3Cscript%3E", "a"):
            page = await someone.get(f"/referral/pages/{kind}/{opener}")
            assert page.status == 410
            assert "Ask who sent it for a new one" in page.text
            assert "script>" not in page.text


# --- lost -------------------------------------------------------------------------------------------------------------


async def test_two_administrators_give_somebody_a_new_start(world: World) -> None:
    who = await member(world.made, world.sender.id, StaffRole.RECEIVER)
    first, second = [await member(world.made, world.coordinator.id, StaffRole.ADMINISTRATOR) for _ in range(2)]
    async with walker(world, None) as lost, walker(world, None) as one, walker(world, None) as other:
        texts = []
        for name in (who.person.sign_in_name, "nobody.at.all"):
            page = await lost.send((await lost.get("/referral/pages/lost")).form("/lost"), name=name)
            texts.append(page.text)
        assert texts[0] == texts[1]
        for administrator, browser in ((first, one), (second, other)):
            await signs_in(browser, administrator)
        page = await one.get("/referral/pages/recoveries")
        assert who.person.sign_in_name in page.text
        page = await one.send(_of(page, who, "approve"))
        assert "Another administrator has to approve as well" in page.text
        assert [
            form for form in page.forms if form.action.endswith("/approve") and form is _of(page, who, "refuse")
        ] == []
        page = await other.send(_of(await other.get("/referral/pages/recoveries"), who, "approve"))
        link = re.search(rf"{re.escape(world.made.url)}(/referral/pages/set-up/[\w-]{{43}})", page.text)
        assert link is not None
        assert (await lost.get(link.group(1))).headings[0] == "Welcome, Made Up"
        assert (await typed_name(lost, who)).status == 422, "the old password is none any more"


def _of(page: Screen, who: Member, what: str):
    """The form of this person's request."""
    before = page.html.partition(who.person.sign_in_name)[2]
    action = re.search(rf'action="([^"]+/{what})"', before)
    assert action is not None
    return next(form for form in page.forms if form.action == action.group(1))


async def test_recoveries_are_for_administrators_only(world: World) -> None:
    for role in (StaffRole.SENDER, StaffRole.RECEIVER, StaffRole.COORDINATOR):
        async with walker(world, world.coordinator, role) as someone:
            assert (await someone.get("/referral/pages/recoveries")).status == 403


# --- one's account --------------------------------------------------------------------------------------------------


async def test_my_account_shows_where_i_am_signed_in_and_ends_it_there(world: World) -> None:
    who, opened = await set_up(world.made, await hired(world.made, world.sender.id))
    async with walker(world, None) as someone:
        await signs_in(someone, who)
        page = await someone.get(ACCOUNT)
        assert page.text.count("Another browser") == 1
        page = await someone.send(page.form("/end"))
        assert "Signed out there." in page.text
        assert "Another browser" not in page.text
        assert not await alive(desk_of(world.made).db, opened.cookie)


async def test_a_password_and_an_app_are_changed(world: World) -> None:
    who = await member(world.made, world.sender.id)
    async with walker(world, None) as someone:
        await signs_in(someone, who)
        before = someone.cookies[COOKIE][0]
        page = await someone.get(f"{ACCOUNT}/password")
        new = "eight green frogs by noon"
        page = await someone.send(page.form("/password"), password=new, password_again="x")
        assert page.status == 422
        page = await someone.send(page.form("/password"), password=new, password_again=new)
        assert "The password is changed" in page.text
        assert someone.cookies[COOKIE][0] != before
        page = await someone.send(page.form("/authenticator/new"))
        secret = re.search(r'<code class="key">([A-Z2-7 ]+)</code>', page.html)
        assert secret is not None
        page = await someone.send(page.form("/authenticator"), code="12345")
        assert (page.status, secret.group(1) in page.html) == (422, True)
        who.secret = secret.group(1).replace(" ", "")
        page = await someone.send(page.form("/authenticator"), code=who.code())
        assert "The new authenticator app counts" in page.text
        page = await someone.send(page.form("/sign-out-everywhere"))
        assert page.headings == ["You are signed out"]
    who.password = new
    async with walker(world, None) as later:
        await who.forget_codes()
        page = await typed_name(later, who, new)
        assert (await later.send(page.form("/code"), code=who.code())).status == 200


async def test_who_signed_in_long_ago_signs_in_once_more_first(world: World) -> None:
    who = await member(world.made, world.sender.id)
    async with walker(world, None) as someone:
        await signs_in(someone, who)
        async with desk_of(world.made).db.transaction("test") as tx:
            await tx.conn.execute(
                "update session set opened_at = now() - interval '11 minutes' where person = $1", who.id
            )
        page = await someone.get(ACCOUNT)
        assert "Change the password" not in page.text
        page = await someone.get(f"{ACCOUNT}/password")
        assert (page.path, page.form("/sign-in").get("next")) == (SIGN_IN, [f"{ACCOUNT}/password"])
        await who.forget_codes()
        page = await someone.send(page.form("/sign-in"), name=who.person.sign_in_name, password=PASSWORD)
        page = await someone.send(page.form("/code"), code=who.code())
        assert page.path == f"{ACCOUNT}/password"


async def test_the_language_of_the_pages_is_ones_own(world: World) -> None:
    who = await member(world.made, world.sender.id)
    async with walker(world, None) as someone:
        await signs_in(someone, who)
        page = await someone.send((await someone.get(ACCOUNT)).form("/language"), language="km")
        assert '<html lang="km"' in page.html
        opened = await who.visitor_of(someone.cookies[COOKIE][0])
        assert opened.language == "km"


# --- leaving ----------------------------------------------------------------------------------------------------------


async def test_leaving_ends_the_session_and_leads_away(world: World) -> None:
    who = await member(world.made, world.sender.id)
    async with walker(world, None) as someone:
        await signs_in(someone, who)
        cookie = someone.cookies[COOKIE][0]
        address, sent = f"{world.made.url}/referral/pages/leave", {"Cookie": f"{COOKIE}={cookie}"}
        for other in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Purpose": "prefetch;prerender"}):
            reply = await someone.client.get(address, headers={**sent, **other})
            assert await alive(desk_of(world.made).db, cookie), "not by somebody else's link, nor by looking ahead"
        reply = await someone.client.get(address, headers={**sent, "Sec-Fetch-Site": "same-origin"})
        assert (reply.status_code, reply.headers["location"]) == (303, ELSEWHERE)
        assert reply.headers["clear-site-data"] == '"cache", "cookies", "storage"'
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert not await alive(desk_of(world.made).db, cookie)
        assert (await someone.client.get(f"{world.made.url}/referral/pages/leave")).status_code == 303


async def test_a_session_that_ended_opens_no_page_at_any_service(world: World) -> None:
    who = await member(world.made, world.sender.id, StaffRole.SENDER)
    async with walker(world, None) as someone:
        page = await signs_in(someone, who)
        assert page.path.startswith("/intake/pages/")
        cookie = someone.cookies[COOKIE]
        page = await someone.send((await someone.get(ACCOUNT)).form("/sign-out"))
        assert page.headings == ["You are signed out"]
        someone.cookies[COOKIE] = cookie
        for path in ("/intake/pages/handoffs", ACCOUNT, "/referral/pages/inbox"):
            assert (await someone.get(path)).path == SIGN_IN
        assert (await exchange(world.made, cookie[0], "intake")).status_code == 401
