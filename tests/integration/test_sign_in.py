"""Signing in with a password and a code, with an invite, with a one-time link; how often anybody may try."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from statistics import median
from typing import Any
from uuid import UUID, uuid4

import pytest
from argon2 import PasswordHasher

from schemas.rights import StaffRole
from services.referral.people import handlers as people
from services.referral.people import store as people_store
from services.referral.people.domain import OPERATOR
from services.referral.sessions import domain, factors, handlers, store
from services.referral.sessions.domain import TooManyTries
from services.referral.sessions.handlers import Opened
from spean.crypto import opener_digest
from spean.problem import Refusal
from tests.builders import World
from tests.integration.staff import (
    PASSWORD,
    Member,
    alive,
    desk_of,
    hired,
    invited,
    member,
    new_address,
    set_up,
    wait_is_long,
    wait_is_over,
)


async def refused(world: World, name: str, password: str, *, address: str, mark: str = "") -> Refusal:
    """What somebody hears who tries that."""
    with pytest.raises(Refusal) as found:
        await handlers.try_password(desk_of(world.made), name, password, address=address, mark=mark)
    return found.value


async def waited(world: World) -> None:
    async with desk_of(world.made).db.transaction("test") as tx:
        await wait_is_over(tx)


async def waits(world: World) -> None:
    async with desk_of(world.made).db.transaction("test") as tx:
        await wait_is_long(tx)


async def free_tries(world: World, name: str, address: str, *, most: int = 30) -> int:
    """How many wrong tries are made before one has to wait."""
    for number in range(most):
        if (await refused(world, name, "wrong password", address=address)).code == "too-many-tries":
            return number
        await waits(world)
    return most


# --- name, password, code ---------------------------------------------------------------------------------------------


async def test_name_password_and_code_open_a_session(world: World) -> None:
    someone = await member(world.made, world.sender.id, StaffRole.SENDER)
    opened = await someone.signs_in()
    visitor = await someone.visitor(opened)
    assert (visitor.person, visitor.org) == (someone.id, UUID(world.sender.id))
    assert visitor.scopes == {"intake:send", "referral:send"}
    assert visitor.networks == {UUID(world.network)}
    assert visitor.organisation == "Border post"
    assert (await someone.whats())[0] == "signed-in"
    async with someone.desk.db.transaction("test") as tx:
        kept = await tx.conn.fetch("select row_to_json(s)::text as row from session s where person = $1", someone.id)
        assert len(kept) == 2, "one from the set-up, one now"
        assert not any(opened.cookie in row["row"] for row in kept)
        hash_ = await store.password_of(tx, someone.id)
        sealed = await store.authenticator_of(tx, someone.id)
    assert hash_ is not None
    assert hash_.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert sealed is not None
    assert someone.secret.encode() not in sealed


async def test_the_name_is_typed_as_people_type(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    shouted = replace(someone.person, sign_in_name=f" {someone.person.sign_in_name.upper()}\u200b ")
    assert await replace(someone, person=shouted).step()


@pytest.mark.parametrize(
    "change", [str.upper, lambda p: p + " ", lambda p: p[:-1], lambda _: "", lambda _: "x" * 5_000, lambda _: "\ud800"]
)
async def test_another_password_opens_nothing(world: World, change: Any) -> None:
    someone = await member(world.made, world.sender.id)
    with pytest.raises(Refusal, match="sign-in-wrong"):
        await someone.step(change(PASSWORD))
    assert await someone.step(), "the control: the right one does"


async def test_a_code_works_once(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    await someone.forget_codes()
    code = someone.code()
    await handlers.try_code(someone.desk, await someone.step(), code)
    with pytest.raises(Refusal, match="sign-in-wrong"):
        await handlers.try_code(someone.desk, await someone.step(), code)


async def test_an_older_code_than_the_last_one_used_is_no_code(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    await someone.forget_codes()
    now, before = someone.code(1), someone.code(0)
    await handlers.try_code(someone.desk, await someone.step(), now)
    with pytest.raises(Refusal, match="sign-in-wrong"):
        await handlers.try_code(someone.desk, await someone.step(), before)


@pytest.mark.parametrize("aside", [-3, 3])
async def test_a_code_of_another_time_is_no_code(world: World, aside: int) -> None:
    someone = await member(world.made, world.sender.id)
    await someone.forget_codes()
    with pytest.raises(Refusal, match="sign-in-wrong"):
        await handlers.try_code(someone.desk, await someone.step(), someone.code(aside))


async def test_a_code_of_somebody_else_is_no_code(world: World) -> None:
    someone, other = await member(world.made, world.sender.id), await member(world.made, world.sender.id)
    await someone.forget_codes()
    with pytest.raises(Refusal, match="sign-in-wrong"):
        await handlers.try_code(someone.desk, await someone.step(), other.code())


async def test_two_codes_at_once_open_one_session(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    await someone.forget_codes()
    steps, code = [await someone.step() for _ in range(5)], someone.code()
    found = await asyncio.gather(
        *(handlers.try_code(someone.desk, step, code) for step in steps), return_exceptions=True
    )
    assert len([one for one in found if isinstance(one, Opened)]) == 1
    assert all(isinstance(one, Opened | Refusal) for one in found)


async def test_a_second_step_works_once_ends_and_takes_five_tries(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    await someone.forget_codes()
    used = await someone.step()
    await handlers.try_code(someone.desk, used, someone.code())
    late, guessed = await someone.step(), await someone.step()
    async with someone.desk.db.transaction("test") as tx:
        await tx.conn.execute("update step set ends_at = now() where digest = $1", opener_digest(late))
    for _ in range(5):
        with pytest.raises(Refusal, match="sign-in-wrong"):
            await handlers.try_code(someone.desk, guessed, "000000x")
    await someone.forget_codes()
    for step in (used, late, guessed, "", "x" * 43, "not an opener"):
        with pytest.raises(Refusal, match="step-gone"):
            await handlers.try_code(someone.desk, step, someone.code())


async def test_a_password_without_an_authenticator_opens_nothing(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    async with someone.desk.db.transaction("test") as tx:
        await tx.conn.execute("delete from authenticator where person = $1", someone.id)
    with pytest.raises(Refusal, match="sign-in-wrong"):
        await someone.step()


async def test_a_hash_with_other_parameters_is_made_anew(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    async with someone.desk.db.transaction("test") as tx:
        await store.put_password(tx, someone.id, PasswordHasher(time_cost=1, memory_cost=8_192).hash(PASSWORD))
    await someone.step()
    async with someone.desk.db.transaction("test") as tx:
        assert "m=65536" in str(await store.password_of(tx, someone.id))
    await someone.step()


# --- nobody learns who is there ---------------------------------------------------------------------------------------


async def test_an_unknown_name_hears_and_waits_like_a_known_one(world: World) -> None:
    someone, locked = await member(world.made, world.sender.id), await member(world.made, world.sender.id)
    never = await hired(world.made, world.sender.id)
    async with someone.desk.db.transaction("test") as tx:
        await people.change(tx, OPERATOR, locked.id, None, status=people_store.Status.LOCKED)
    names = {
        "known": someone.person.sign_in_name, "locked": locked.person.sign_in_name, "never set up": never.sign_in_name,
        "unknown": f"nobody.{uuid4().hex[:8]}",
    }  # fmt: skip
    heard = {who: await refused(world, name, "wrong password", address=new_address()) for who, name in names.items()}
    assert {(one.code, one.rule, tuple(one.errors)) for one in heard.values()} == {("sign-in-wrong", None, ())}
    right = await refused(world, names["locked"], PASSWORD, address=new_address())
    assert right.code == "sign-in-wrong", "the right password does not tell either"
    assert {who: await free_tries(world, name, new_address()) for who, name in names.items()} == dict.fromkeys(names, 6)


async def test_an_unknown_name_takes_as_long_as_a_known_one(world: World) -> None:
    """Both hash once. Compared by medians, generously: what is looked for is a hash that is left out (50 ms of 55)."""
    someone = await member(world.made, world.sender.id)

    async def took(name: str) -> float:
        began = time.perf_counter()
        await refused(world, name, "wrong password", address=new_address())
        return time.perf_counter() - began

    pairs = [(await took(someone.person.sign_in_name), await took(f"nobody.{uuid4().hex}")) for _ in range(5)]
    known, unknown = median([one for one, _ in pairs]), median([other for _, other in pairs])
    assert 0.5 < known / unknown < 2, (known, unknown)


# --- too many tries ---------------------------------------------------------------------------------------------------


async def test_wrong_tries_cost_time_and_the_right_password_does_not_shorten_it(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    name, address = someone.person.sign_in_name, someone.address
    for _ in range(6):
        assert (await refused(world, name, "wrong password", address=address)).code == "sign-in-wrong"
    await waits(world)
    wait = await refused(world, name, PASSWORD, address=address)
    assert isinstance(wait, TooManyTries)
    assert 0 < wait.wait.total_seconds() <= 60
    assert "sign-in-failed" in await someone.whats()
    noted = [dict(one.detail) for one in await someone.history() if one.what == "sign-in-failed"]
    assert {"step": "password", "tries": 5} in noted
    await waited(world)
    assert await someone.step(), "nothing is locked"
    await refused(world, name, "wrong password", address=address)
    assert await someone.step(), "and the right one began anew"


async def test_many_tries_at_once_are_each_counted(world: World) -> None:
    someone, address = await member(world.made, world.sender.id), new_address()
    found = await asyncio.gather(
        *(refused(world, someone.person.sign_in_name, f"wrong {one}", address=address) for one in range(20))
    )
    assert len([one for one in found if one.code == "sign-in-wrong"]) <= 6


async def test_a_stranger_cannot_keep_somebody_out_of_their_own_browser(world: World) -> None:
    """However many tries come from elsewhere: who has signed in there before is let in at once."""
    someone = await member(world.made, world.sender.id)
    mark = (await someone.signs_in()).mark
    name = someone.person.sign_in_name
    async with someone.desk.db.transaction("test") as tx:
        await tx.conn.execute(
            "insert into tries (kind, bucket, failures, last_at) values ('name', $1, 30, now())"
            "on conflict (kind, bucket) do update set failures = 30, last_at = now(), until = null",
            someone.desk.bucket("name", name),
        )  # fmt: skip
    await refused(world, name, "wrong password", address=new_address())
    await waits(world)
    assert (await refused(world, name, PASSWORD, address=new_address())).code == "too-many-tries"
    assert await someone.step(mark=mark)


async def test_behind_a_proxy_a_name_waits_and_nobody_else_does(world: World) -> None:
    """Everybody comes from its address: what counts is the name."""
    someone, other = await member(world.made, world.sender.id), await member(world.made, world.sender.id)
    proxied, name = replace(other, address="172.18.0.5"), someone.person.sign_in_name
    assert await free_tries(world, name, "172.18.0.5") == 21
    for _ in range(10):
        await handlers.ask_recovery(desk_of(world.made), f"nobody.{uuid4().hex}", address="172.18.0.5")
    assert await proxied.step()


async def test_a_known_browser_is_known_for_its_own_person_and_waits_too(world: World) -> None:
    someone, other = await member(world.made, world.sender.id), await member(world.made, world.sender.id)
    mark = (await someone.signs_in()).mark
    desk = someone.desk
    assert desk.known(someone.id, mark)
    assert not desk.known(other.id, mark)
    # The last three say the same bytes in other letters: each would be counted by itself, and none would ever wait.
    for forged in ("", "x", mark[:-4] + "AAA=", "é", "A" * 44, f".{mark}", f"{mark}=", f"{mark[:5]}\n{mark[5:]}"):
        assert not desk.known(someone.id, forged), forged
    for _ in range(6):
        await refused(world, someone.person.sign_in_name, "wrong password", address=new_address(), mark=mark)
    await waits(world)
    wait = await refused(world, someone.person.sign_in_name, PASSWORD, address=new_address(), mark=mark)
    assert wait.code == "too-many-tries"


async def test_codes_cost_time_too_for_whoever_knows_the_password(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    heard: list[str] = []
    while "too-many-tries" not in heard:
        step = await someone.step()
        for _ in range(3):
            with pytest.raises(Refusal) as found:
                await handlers.try_code(someone.desk, step, "123 45")
            heard.append(found.value.code)
            await waits(world)
    assert heard.count("sign-in-wrong") == 6
    noted = [dict(one.detail) for one in await someone.history() if one.what == "sign-in-failed"]
    assert noted == [{"step": "code", "tries": 5}]


async def test_tries_are_kept_in_few_rows_that_name_nobody(world: World) -> None:
    desk = desk_of(world.made)
    names = [f"nobody.{uuid4().hex}" for _ in range(5)]
    for name in names:
        await refused(world, name, "wrong password", address="9.9.9.9")
    buckets = {desk.bucket("name", name) for name in names}
    assert all(0 <= bucket < 65_536 for bucket in buckets)
    async with desk.db.transaction("test") as tx:
        rows = await tx.conn.fetch("select kind, bucket from tries")
    assert {("name", bucket) for bucket in buckets} <= {tuple(row) for row in rows}


async def test_an_old_failure_is_forgotten(world: World) -> None:
    someone, address = await member(world.made, world.sender.id), new_address()
    for _ in range(6):
        await refused(world, someone.person.sign_in_name, "wrong password", address=address)
    async with someone.desk.db.transaction("test") as tx:
        await tx.conn.execute("update tries set until = null, last_at = now() - interval '25 hours'")
    for _ in range(5):
        found = await refused(world, someone.person.sign_in_name, "wrong password", address=address)
        assert found.code == "sign-in-wrong"


# --- from an invite ---------------------------------------------------------------------------------------------------


async def test_an_invite_is_looked_at_as_often_as_one_likes(world: World) -> None:
    person = await hired(world.made, world.sender.id)
    opener = await invited(world.made, person)
    desk = desk_of(world.made)
    seen = [await factors.look_at_invite(desk, opener) for _ in range(3)]
    assert len({authenticator.secret for _, authenticator in seen}) == 1
    assert seen[0][0] == person
    assert seen[0][1].uri.startswith(f"otpauth://totp/Spean:{person.sign_in_name}?")
    assert await handlers.link_works(desk, people.SET_UP, opener)
    _, opened = await set_up(world.made, person, opener)
    assert await alive(desk.db, opened.cookie)
    assert not await handlers.link_works(desk, people.SET_UP, opener)


async def test_a_wrong_code_or_a_weak_password_leaves_the_invite_as_it_is(world: World) -> None:
    person = await hired(world.made, world.sender.id)
    opener = await invited(world.made, person)
    desk = desk_of(world.made)
    _, authenticator = await factors.look_at_invite(desk, opener)
    someone = Member(desk, person, secret=authenticator.secret)
    for code, password, typed in (
        ("sign-in-wrong", PASSWORD, "000 00x"), ("password", "too short", someone.code()),
        ("password", f"{person.sign_in_name} and more", someone.code()),
    ):  # fmt: skip
        with pytest.raises(Refusal, match=code):
            await factors.set_up_password(desk, opener, password, typed)
    async with desk.db.transaction("test") as tx:
        assert not await people_store.is_set_up(tx, person.id)
    await factors.set_up_password(desk, opener, PASSWORD, someone.code())


@pytest.mark.parametrize("opener", ["", "x" * 43, "é" * 43, "x" * 5_000, "not an opener"])
async def test_what_is_no_invite_opens_nothing(world: World, opener: str) -> None:
    desk = desk_of(world.made)
    with pytest.raises(Refusal, match="link-gone"):
        await factors.look_at_invite(desk, opener)
    with pytest.raises(Refusal, match="link-gone"):
        await factors.set_up_password(desk, opener, PASSWORD, "123456")
    assert not await handlers.link_works(desk, people.SET_UP, opener)


async def test_the_code_of_the_set_up_signs_nobody_in_again(world: World) -> None:
    person = await hired(world.made, world.sender.id)
    someone, _ = await set_up(world.made, person)
    with pytest.raises(Refusal, match="sign-in-wrong"):
        await handlers.try_code(someone.desk, await someone.step(), someone.code())


async def test_two_who_use_an_invite_at_once_are_one(world: World) -> None:
    person = await hired(world.made, world.sender.id)
    opener = await invited(world.made, person)
    desk = desk_of(world.made)
    _, authenticator = await factors.look_at_invite(desk, opener)
    someone = Member(desk, person, secret=authenticator.secret)
    found = await asyncio.gather(
        *(factors.set_up_password(desk, opener, f"{PASSWORD} {one}", someone.code()) for one in range(3)),
        return_exceptions=True,
    )
    assert len([one for one in found if isinstance(one, Opened)]) == 1
    assert {one.code for one in found if isinstance(one, Refusal)} == {"link-gone"}


# --- one-time links of the sample network -----------------------------------------------------------------------------


async def sign_in_link(world: World, name: str) -> str:
    async with desk_of(world.made).db.transaction("test") as tx:
        return await people.sign_in_link(tx, OPERATOR, name)


async def test_a_one_time_link_signs_a_sample_person_in_once(world: World) -> None:
    person = await hired(world.made, world.sender.id, StaffRole.SENDER)
    opener, desk = await sign_in_link(world, person.sign_in_name), desk_of(world.made)
    for _ in range(3):
        assert await handlers.link_works(desk, people.SIGN_IN, opener), "a look uses nothing"
    opened = await handlers.redeem_link(desk, opener)
    assert await alive(desk.db, opened.cookie)
    assert not await handlers.link_works(desk, people.SIGN_IN, opener)
    with pytest.raises(Refusal, match="link-gone"):
        await handlers.redeem_link(desk, opener)


async def test_a_one_time_link_that_is_old_or_replaced_opens_nothing(world: World) -> None:
    person, desk = await hired(world.made, world.sender.id), desk_of(world.made)
    first = await sign_in_link(world, person.sign_in_name)
    second = await sign_in_link(world, person.sign_in_name)
    with pytest.raises(Refusal, match="link-gone"):
        await handlers.redeem_link(desk, first)
    async with desk.db.transaction("test") as tx:
        assert await tx.conn.fetchval(
            "select ends_at between now() + interval '59 minutes' and now() + interval '60 minutes' from link where person = $1",
            person.id,
        )
        await tx.conn.execute("update link set ends_at = now() where person = $1", person.id)
    with pytest.raises(Refusal, match="link-gone"):
        await handlers.redeem_link(desk, second)


async def test_a_one_time_link_is_for_samples_on_this_machine_only(world: World) -> None:
    real = await world.organisation("Real", "ngo", [], sample=False)
    person, sample = await hired(world.made, real.id), await hired(world.made, world.sender.id)
    for name in (person.sign_in_name, "nobody.at.all"):
        with pytest.raises(Refusal, match="not-found"):
            await sign_in_link(world, name)
    opener, desk = await sign_in_link(world, sample.sign_in_name), desk_of(world.made)
    with pytest.raises(Refusal, match="link-gone"):
        await handlers.redeem_link(replace(desk, local=False), opener)
    assert not await handlers.link_works(replace(desk, local=False), people.SIGN_IN, opener)
    async with desk.db.transaction("test") as tx:
        await tx.conn.execute("update organisation set sample = false where id = $1", sample.organisation)
    with pytest.raises(Refusal, match="link-gone"):
        await handlers.redeem_link(desk, opener)
    with pytest.raises(Refusal, match="link-gone"):
        await factors.look_at_invite(desk, opener)


async def test_an_invite_is_no_one_time_link(world: World) -> None:
    person = await hired(world.made, world.sender.id)
    opener = await invited(world.made, person)
    with pytest.raises(Refusal, match="link-gone"):
        await handlers.redeem_link(desk_of(world.made), opener)


def test_the_list_of_common_passwords_holds_what_is_long_enough_and_as_it_is_compared() -> None:
    assert all(len(one) >= domain.PASSWORD.start and one.isalnum() and one == one.casefold() for one in domain._COMMON)
    assert len(domain._COMMON) > 60
