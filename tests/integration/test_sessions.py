"""Sessions: how they end, what they open at the other services, and how one's own ways to sign in are changed."""

from __future__ import annotations

import base64
import contextlib
import json
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from schemas.rights import StaffRole
from schemas.vocabulary import OrganisationStatus
from services.cli.client import trusted
from services.referral.partners import store as partners
from services.referral.sessions import factors, handlers, store
from services.referral.sessions.handlers import Opened
from spean.auth import Kind, Verifier
from spean.crypto import opener_digest
from spean.problem import Refusal
from spean.web.visitor import exchanged_at
from tests.builders import World
from tests.integration.staff import PASSWORD, Member, alive, desk_of, exchange, hired, member, set_up


async def shift(someone: Member, opened: Opened, **columns: str) -> None:
    """Let time pass for one session."""
    sets = ", ".join(f"{name} = now() - interval '{ago}'" for name, ago in columns.items())
    async with someone.desk.db.transaction("test") as tx:
        done = await tx.conn.execute(f"update session set {sets} where digest = $1", opener_digest(opened.cookie))
    assert done == "UPDATE 1"


# --- how they end -----------------------------------------------------------------------------------------------------


async def test_a_session_ends_after_half_an_hour_without_a_page(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    opened = await someone.signs_in()
    await shift(someone, opened, seen_at="29 minutes 50 seconds")
    assert await alive(someone.desk.db, opened.cookie)
    await shift(someone, opened, opened_at="29 minutes")
    async with someone.desk.db.transaction("test") as tx:
        (first, *_) = await store.sessions(tx, someone.id)
        assert (tx.now - first.seen_at).total_seconds() < 5, "the page counted"
    await shift(someone, opened, seen_at="30 minutes 1 second")
    assert not await alive(someone.desk.db, opened.cookie)


async def test_a_session_ends_after_twelve_hours_however_busy(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    opened = await someone.signs_in()
    async with someone.desk.db.transaction("test") as tx:
        assert await tx.conn.fetchval(
            "select ends_at - opened_at = interval '12 hours' from session where digest = $1",
            opener_digest(opened.cookie),
        )
    await shift(someone, opened, ends_at="1 second")
    assert not await alive(someone.desk.db, opened.cookie)


async def test_a_page_every_second_is_no_write_every_second(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    opened = await someone.signs_in()
    await shift(someone, opened, seen_at="30 seconds")
    async with someone.desk.db.transaction("test") as tx:
        before = await store.sessions(tx, someone.id)
    await someone.visitor(opened)
    async with someone.desk.db.transaction("test") as tx:
        assert await store.sessions(tx, someone.id) == before


async def test_signing_in_ends_the_session_that_the_browser_had(world: World) -> None:
    someone, other = await member(world.made, world.sender.id), await member(world.made, world.sender.id)
    theirs = await other.signs_in()
    mine = await someone.signs_in(before=theirs.cookie)
    assert not await alive(someone.desk.db, theirs.cookie), "a cookie that was planted is not taken over"
    assert await alive(someone.desk.db, mine.cookie)


async def test_signing_out_here_and_everywhere(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    one, two, three = [await someone.signs_in() for _ in range(3)]
    db = someone.desk.db
    for _ in range(2):
        async with db.transaction("test") as tx:
            await handlers.sign_out(tx, one.cookie)
    assert [await alive(db, each.cookie) for each in (one, two, three)] == [False, True, True]
    async with db.transaction("test") as tx:
        await handlers.sign_out_everywhere(tx, await someone.visitor(two))
    assert not await alive(db, two.cookie)
    assert not await alive(db, three.cookie)
    assert (await someone.whats())[:2] == ["signed-out", "signed-out"]


async def test_a_list_of_my_sessions_from_which_i_end_one_of_mine(world: World) -> None:
    someone, other = await member(world.made, world.sender.id), await member(world.made, world.sender.id)
    here, there, theirs = await someone.signs_in(), await someone.signs_in(), await other.signs_in()
    me, gone = await someone.visitor(here), (await someone.visitor(there)).session
    foreign = (await other.visitor(theirs)).session
    async with someone.desk.db.transaction("test") as tx:
        assert {me.session, gone} < {one.id for one in await store.sessions(tx, me.person)}
        await handlers.end_one(tx, me, gone)
    for id_ in (gone, foreign, uuid4()):
        with pytest.raises(Refusal, match="not-found"):
            async with someone.desk.db.transaction("test") as tx:
                await handlers.end_one(tx, me, id_)
    assert [await alive(someone.desk.db, one.cookie) for one in (here, there, theirs)] == [True, False, True]


async def test_a_suspended_organisation_is_signed_out_at_once_and_for_good(world: World) -> None:
    """Who signs in again may stop something, and no more (`tests/browser/test_suspended_pages.py`)."""
    house = await world.house("House to be suspended")
    someone, other = await member(world.made, house.id), await member(world.made, world.sender.id)
    opened, theirs, step = await someone.signs_in(), await other.signs_in(), await someone.step()
    await world.admin.post(f"/referral/organisations/{house.id}/suspend")
    db = someone.desk.db
    assert not await alive(db, opened.cookie)
    assert (await exchange(world.made, opened.cookie, "intake")).status_code == 401
    anew = await someone.signs_in()
    assert (await someone.visitor(anew)).only_stops
    async with db.transaction("test") as tx:
        await partners.set_status(tx, UUID(house.id), OrganisationStatus.ACTIVE)
    assert not await alive(db, opened.cookie), "reinstated: what ended stays ended"
    with pytest.raises(Refusal, match="step-gone"):
        await handlers.try_code(someone.desk, step, someone.code())
    assert await alive(db, theirs.cookie)


async def test_a_session_asks_each_time_whether_its_organisation_and_its_person_may(world: World) -> None:
    """Also where nothing has ended it."""
    someone = await member(world.made, (await world.house("House")).id)
    opened, db = await someone.signs_in(), someone.desk.db
    digest = opener_digest(opened.cookie)
    assert digest is not None
    for statement, still in (
        ("update organisation set status = 'suspended', suspended_at = now() where id = $1", True),
        ("update person set status = 'locked' where organisation = $1", False),
    ):
        with contextlib.suppress(KeyError):
            async with db.transaction("test") as tx:
                before = await handlers.visitor(tx, digest)
                assert before is not None
                assert not before.only_stops
                await tx.conn.execute(statement, someone.person.organisation)
                after = await handlers.visitor(tx, digest)
                assert (after is not None and after.only_stops) is still
                raise KeyError  # nothing of it stays


@pytest.mark.parametrize(
    "value", ["", "x" * 43, "é" * 43, "x" * 5_000, "../../etc/passwd", "\x00" * 43, "a" * 42 + "="]
)
async def test_what_is_no_cookie_opens_nothing(world: World, value: str) -> None:
    assert not await alive(desk_of(world.made).db, value)


# --- what they open at the other services -----------------------------------------------------------------------------


def claims_in(token: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return found


async def test_a_session_is_exchanged_for_a_token_of_a_minute_for_one_service(world: World) -> None:
    someone = await member(world.made, world.sender.id, StaffRole.SENDER)
    opened = await someone.signs_in()
    answer = await exchange(world.made, opened.cookie, "intake")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json().keys() == {"token", "expires_in"}
    claims = claims_in(answer.json()["token"])
    assert (claims["aud"], claims["exp"] - claims["iat"], claims["sub"]) == ("intake", 60, str(someone.id))
    assert opened.cookie not in json.dumps(claims)


@pytest.mark.parametrize("service", ["intake", "notify"])
async def test_the_other_services_know_who_it_is_until_the_session_ends(world: World, service: str) -> None:
    someone = await member(world.made, world.sender.id, StaffRole.SENDER)
    opened = await someone.signs_in()
    find = world.made.services[service].app.state.visitors
    assert await find(opened.cookie) == await someone.visitor(opened)
    async with someone.desk.db.transaction("test") as tx:
        await handlers.sign_out(tx, opened.cookie)
    assert await find(opened.cookie) is None


async def test_a_token_for_one_service_is_none_for_another(world: World) -> None:
    someone = await member(world.made, world.sender.id, StaffRole.SENDER)
    cookie = (await someone.signs_in()).cookie
    issuer = f"{world.made.url}/referral"
    async with httpx.AsyncClient(timeout=15, verify=trusted()) as client:

        async def keys() -> dict[str, Any]:
            return dict((await client.get(f"{issuer}/.well-known/jwks.json")).json())

        for_intake = Verifier(issuer, "intake", keys, Kind.SESSION)
        assert await exchanged_at(client, issuer, for_intake, "intake")(cookie) is not None
        with pytest.raises(Refusal, match="bad-token"):
            await exchanged_at(client, issuer, for_intake, "notify")(cookie)
        with pytest.raises(Refusal, match="bad-token"):
            await exchanged_at(client, issuer, Verifier(issuer, "intake", keys, Kind.ACCESS), "intake")(cookie)
        token = (await exchange(world.made, cookie, "intake")).json()["token"]
        for path in ("/intake/handoffs", "/referral/offers", "/notify/overview"):
            answer = await client.get(world.made.url + path, headers={"Authorization": f"Bearer {token}"})
            assert (answer.status_code, answer.json()["title"]) == (401, "Bad token"), "no access token"


@pytest.mark.parametrize("audience", ["referral", "holder:main", "packet:main", "", "INTAKE", "intake,notify"])
async def test_there_is_no_token_for_anybody_else(world: World, audience: str) -> None:
    someone = await member(world.made, world.sender.id)
    answer = await exchange(world.made, (await someone.signs_in()).cookie, audience)
    assert answer.status_code == 422


async def test_a_session_that_opens_nothing_gets_no_token_and_no_echo(world: World) -> None:
    for value in ("x" * 43, "", "not a cookie"):
        answer = await exchange(world.made, value, "intake")
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (401, "no-session")
        assert not value or value not in answer.text
    assert (await exchange(world.made, "x" * 201, "intake")).status_code == 422


async def test_the_exchange_takes_json_only_and_lets_no_other_origin_read(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    cookie = (await someone.signs_in()).cookie
    body = json.dumps({"session": cookie, "audience": "intake"})
    async with httpx.AsyncClient(base_url=world.made.url, timeout=15, verify=trusted()) as client:
        for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
            answer = await client.post("/referral/sessions/exchange", content=body, headers={"Content-Type": kind})
            assert answer.status_code == 415, kind
        for method in ("GET", "OPTIONS"):
            asked = await client.request(
                method, "/referral/sessions/exchange", headers={"Origin": "https://evil.example"}
            )
            assert asked.status_code == 405
        answer = await exchange(world.made, cookie, "intake", Origin="https://evil.example")
        assert not [name for name in answer.headers if name.startswith("access-control")]
        with_cookie = await client.post(
            "/referral/sessions/exchange", json={"audience": "intake"}, headers={"Cookie": f"__Host-spean={cookie}"}
        )
        assert with_cookie.status_code == 422, "a cookie alone is no session here"


async def test_a_cookie_says_for_which_organisation_and_nothing_else_does(world: World) -> None:
    """The organisation comes from the session; the other one's rows do not exist for it."""
    mine = await member(world.made, world.sender.id, StaffRole.SENDER)
    other = await world.organisation("Other post", "border_post", ["intake:send"])
    theirs = await member(world.made, other.id, StaffRole.SENDER)
    entry = UUID(await world.entry())
    for someone, sees in ((mine, True), (theirs, False)):
        visitor = await world.made.services["intake"].app.state.visitors((await someone.signs_in()).cookie)
        assert str(visitor.org) == (world.sender.id if sees else other.id)
        async with world.made.services["intake"].db.transaction("test", org=visitor.org) as tx:
            assert (await tx.conn.fetchval("select count(*) from entry where id = $1", entry) == 1) is sees


# --- one's own password and authenticator -----------------------------------------------------------------------------


async def test_a_changed_password_ends_every_other_session(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    elsewhere, here = await someone.signs_in(), await someone.signs_in()
    begun = await someone.step()
    now = await factors.change_password(someone.desk, await someone.visitor(here), "eight green frogs by noon")
    db = someone.desk.db
    assert [await alive(db, one.cookie) for one in (elsewhere, here, now)] == [False, False, True]
    await someone.forget_codes()
    with pytest.raises(Refusal, match="step-gone"):
        await handlers.try_code(someone.desk, begun, someone.code())
    with pytest.raises(Refusal, match="sign-in-wrong"):
        await someone.step(PASSWORD)
    assert await someone.step("eight green frogs by noon")
    assert "password-changed" in await someone.whats()


async def test_only_who_has_just_signed_in_changes_how(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    opened = await someone.signs_in()
    who = await someone.visitor(opened)
    step, _ = await factors.begin_authenticator(someone.desk, who)
    await shift(someone, opened, opened_at="10 minutes 1 second")
    for attempt in (
        factors.change_password(someone.desk, who, "eight green frogs by noon"),
        factors.begin_authenticator(someone.desk, who),
        factors.change_authenticator(someone.desk, who, step, "123456"),
    ):
        with pytest.raises(Refusal, match="sign-in-again"):
            await attempt
    gone = replace(who, session=uuid4())
    with pytest.raises(Refusal, match="sign-in-again"):
        await factors.change_password(someone.desk, gone, "eight green frogs by noon")


async def test_a_weak_password_changes_nothing(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    opened = await someone.signs_in()
    with pytest.raises(Refusal, match="password"):
        await factors.change_password(someone.desk, await someone.visitor(opened), "password1234")
    assert await alive(someone.desk.db, opened.cookie)
    assert await someone.step()


async def test_an_authenticator_is_changed_once_its_code_is_shown(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    opened = await someone.signs_in()
    who = await someone.visitor(opened)
    step, new = await factors.begin_authenticator(someone.desk, who)
    with pytest.raises(Refusal, match="sign-in-wrong"):
        await factors.change_authenticator(someone.desk, who, step, someone.code())
    assert await factors.look_at_authenticator(someone.desk, who, step) == new
    changed = replace(someone, secret=new.secret)
    now = await factors.change_authenticator(someone.desk, who, step, changed.code())
    assert await alive(someone.desk.db, now.cookie)
    assert not await alive(someone.desk.db, opened.cookie)
    with pytest.raises(Refusal, match="step-gone"):
        await factors.change_authenticator(someone.desk, await someone.visitor(now), step, changed.code())
    assert await alive(someone.desk.db, (await changed.signs_in()).cookie)
    await someone.forget_codes()
    with pytest.raises(Refusal, match="sign-in-wrong"):
        await handlers.try_code(someone.desk, await someone.step(), someone.code())


async def test_the_new_authenticator_of_somebody_else_is_not_mine(world: World) -> None:
    someone, other = await member(world.made, world.sender.id), await member(world.made, world.sender.id)
    mine, theirs = await someone.visitor(await someone.signs_in()), await other.visitor(await other.signs_in())
    step, new = await factors.begin_authenticator(other.desk, theirs)
    with pytest.raises(Refusal, match="step-gone"):
        await factors.look_at_authenticator(someone.desk, mine, step)
    with pytest.raises(Refusal, match="step-gone"):
        await factors.change_authenticator(someone.desk, mine, step, replace(someone, secret=new.secret).code())


async def test_a_password_without_an_authenticator_is_not_taken(world: World) -> None:
    someone, opened = await set_up(world.made, await hired(world.made, world.sender.id))
    who = await someone.visitor(opened)
    async with someone.desk.db.transaction("test") as tx:
        await tx.conn.execute("delete from authenticator where person = $1", someone.id)
    with pytest.raises(Refusal, match="state"):
        await factors.change_password(someone.desk, who, "eight green frogs by noon")
