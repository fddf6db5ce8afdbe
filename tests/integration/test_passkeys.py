"""Passkeys: made from an invite or added, one alone signs in; what is wrong in any way opens nothing."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from webauthn.helpers import bytes_to_base64url

from schemas.rights import StaffRole
from services.referral.people import handlers as people
from services.referral.people.domain import OPERATOR, Person, Status
from services.referral.sessions import factors, passkeys, store
from services.referral.sessions.domain import CHALLENGES_MOST
from services.referral.sessions.handlers import Opened
from spean.crypto import opener_digest
from spean.problem import Refusal
from tests.builders import World
from tests.integration.authenticator import USER_PRESENT, SoftKey
from tests.integration.staff import Member, alive, desk_of, hired, invited, member


async def with_passkey(world: World) -> tuple[Person, SoftKey]:
    """Set up with a passkey alone."""
    desk, person = desk_of(world.made), await hired(world.made, world.sender.id, StaffRole.SENDER)
    opener = await invited(world.made, person)
    key = SoftKey(desk.origins[0])
    step, options = await passkeys.offer_to_invited(desk, opener)
    await passkeys.set_up(desk, opener, step, key.create(options))
    return person, key


async def signs_in(world: World, key: SoftKey, **wrong: Any) -> Opened:
    desk = desk_of(world.made)
    step, options = await passkeys.challenge(desk)
    return await passkeys.sign_in(desk, step, key.get(options, **wrong))


async def test_a_passkey_from_an_invite_signs_in_alone(world: World) -> None:
    person, key = await with_passkey(world)
    opened = await signs_in(world, key)
    assert opened.person == person.id
    assert await alive(desk_of(world.made).db, opened.cookie)
    async with desk_of(world.made).db.transaction("test") as tx:
        (kept,) = await store.passkeys(tx, person.id)
        assert (kept.sign_count, kept.used_at is not None) == (1, True)
        (session, _) = await store.sessions(tx, person.id)
        assert session.how == "passkey"


async def test_what_the_browser_is_asked_for(world: World) -> None:
    desk, person = desk_of(world.made), await hired(world.made, world.sender.id)
    _, made = await passkeys.offer_to_invited(desk, await invited(world.made, person))
    assert made["rp"] == {"id": "localhost", "name": "Spean"}, "browsers have no passkeys for an IP address"
    assert desk.origins == (world.made.url.replace("127.0.0.1", "localhost"),)
    assert made["user"]["id"] == bytes_to_base64url(person.id.bytes)
    assert made["authenticatorSelection"]["residentKey"] == "required"
    assert made["authenticatorSelection"]["userVerification"] == "required"
    assert made["attestation"] == "none"
    _, asked = await passkeys.challenge(desk)
    assert asked["userVerification"] == "required"
    assert not asked.get("allowCredentials"), "nobody learns whose keys are known"


async def test_a_challenge_is_for_one_answer_within_five_minutes(world: World) -> None:
    _, key = await with_passkey(world)
    desk = desk_of(world.made)
    step, options = await passkeys.challenge(desk)
    answer = key.get(options)
    await passkeys.sign_in(desk, step, answer)
    wrong, asked = await passkeys.challenge(desk)
    with pytest.raises(Refusal, match="passkey"):
        await passkeys.sign_in(desk, wrong, answer)
    late, again = await passkeys.challenge(desk)
    async with desk.db.transaction("test") as tx:
        assert await tx.conn.fetchval(
            "select ends_at <= now() + interval '5 minutes' from step where digest = $1", opener_digest(late)
        )
        await tx.conn.execute("update step set ends_at = now() where digest = $1", opener_digest(late))
    for opener, given in ((step, options), (wrong, asked), (late, again), ("x", options)):
        with pytest.raises(Refusal, match="step-gone"):
            await passkeys.sign_in(desk, opener, key.get(given))


async def test_challenges_that_nobody_answers_are_bounded(world: World) -> None:
    desk = desk_of(world.made)
    async with desk.db.transaction("test") as tx:
        await tx.conn.execute(
            "insert into step (digest, kind, value, ends_at) select sha256(i::text::bytea), 'passkey', '', "
            "now() + interval '1 minute' + i * interval '1 ms' from generate_series(1, $1::int) i",
            CHALLENGES_MOST + 500,
        )  # fmt: skip
    step, options = await passkeys.challenge(desk)
    async with desk.db.transaction("test") as tx:
        assert await tx.conn.fetchval("select count(*) from step where person is null") <= CHALLENGES_MOST + 1
        assert await store.step(tx, "passkey", opener_digest(step) or b"") is not None, "the newest stays"
        await tx.conn.execute("delete from step where person is null")
    assert options


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "https://spean.example"},
        {"origin": "http://localhost"},
        {"rp": "spean.example"},
        {"challenge": bytes_to_base64url(b"x" * 64)},
        {"type": "webauthn.create"},
        {"signer": ec.generate_private_key(ec.SECP256R1())},
        {"handle": uuid4().bytes},
        {"handle": b""},
    ],
    ids=lambda one: next(iter(one)),
)
async def test_an_answer_that_is_not_for_us_now_by_this_key_opens_nothing(world: World, wrong: dict[str, Any]) -> None:
    _, key = await with_passkey(world)
    with pytest.raises(Refusal, match="passkey"):
        await signs_in(world, key, **wrong)
    await signs_in(world, key)


async def test_a_device_that_did_not_check_who_holds_it_opens_nothing(world: World) -> None:
    person, key = await with_passkey(world)
    key.flags = USER_PRESENT
    with pytest.raises(Refusal, match="passkey"):
        await signs_in(world, key)
    desk = desk_of(world.made)
    other = await hired(world.made, str(person.organisation))
    opener = await invited(world.made, other)
    step, options = await passkeys.offer_to_invited(desk, opener)
    with pytest.raises(Refusal, match="passkey"):
        await passkeys.set_up(desk, opener, step, SoftKey(desk.origins[0], flags=USER_PRESENT).create(options))
    with pytest.raises(Refusal, match="step-gone"):
        await passkeys.set_up(desk, opener, step, SoftKey(desk.origins[0]).create(options))


async def test_a_copy_whose_counter_is_behind_opens_nothing(world: World) -> None:
    _, key = await with_passkey(world)
    key.count = 7
    await signs_in(world, key)
    key.count = 6
    with pytest.raises(Refusal, match="passkey"):
        await signs_in(world, key)


async def test_a_key_that_nobody_has_registered_opens_nothing(world: World) -> None:
    with pytest.raises(Refusal, match="passkey"):
        await signs_in(world, SoftKey(desk_of(world.made).origins[0], handle=uuid4().bytes))


@pytest.mark.parametrize(
    "answer",
    [
        {}, {"rawId": 7, "response": {}}, {"rawId": "AAAA", "response": None}, {"rawId": "AAAA", "response": {"userHandle": 7}},
        {"rawId": "é", "response": {}}, {"rawId": "", "response": {}},
    ],
    ids=json.dumps,
)  # fmt: skip
async def test_what_is_no_answer_opens_nothing(world: World, answer: dict[str, Any]) -> None:
    desk = desk_of(world.made)
    step, _ = await passkeys.challenge(desk)
    with pytest.raises(Refusal, match="passkey"):
        await passkeys.sign_in(desk, step, answer)


async def test_an_answer_with_parts_missing_or_broken_opens_nothing(world: World) -> None:
    _, key = await with_passkey(world)
    desk = desk_of(world.made)
    for name in ("clientDataJSON", "authenticatorData", "signature"):
        for value in (None, "", "AAAA", 7, {"a": "b"}):
            step, options = await passkeys.challenge(desk)
            answer = key.get(options)
            answer["response"][name] = value
            with pytest.raises(Refusal, match="passkey"):
                await passkeys.sign_in(desk, step, answer)


@pytest.mark.parametrize("status", [Status.LOCKED, Status.LEFT])
async def test_who_is_locked_or_has_left_has_no_passkey(world: World, status: Status) -> None:
    person, key = await with_passkey(world)
    async with desk_of(world.made).db.transaction("test") as tx:
        await people.change(tx, OPERATOR, person.id, None, status=status)
    with pytest.raises(Refusal, match="passkey"):
        await signs_in(world, key)


# --- of somebody who is signed in -------------------------------------------------------------------------------------


async def added(someone: Member, opened: Opened) -> tuple[SoftKey, Opened]:
    who = await someone.visitor(opened)
    key = SoftKey(someone.desk.origins[0])
    step, options = await passkeys.offer(someone.desk, who)
    return key, await passkeys.add(someone.desk, who, step, key.create(options))


async def test_a_passkey_is_added_and_other_sessions_end(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    elsewhere, here = await someone.signs_in(), await someone.signs_in()
    key, now = await added(someone, here)
    db = someone.desk.db
    assert [await alive(db, one.cookie) for one in (elsewhere, here, now)] == [False, False, True]
    assert (await signs_in(world, key)).person == someone.id
    assert (await someone.whats())[:3] == ["signed-in", "signed-in", "passkey-added"]


async def test_a_passkey_is_added_twice_to_nobody(world: World) -> None:
    someone, other = await member(world.made, world.sender.id), await member(world.made, world.sender.id)
    key, opened = await added(someone, await someone.signs_in())
    for who, cookie in ((someone, opened), (other, await other.signs_in())):
        visitor = await who.visitor(cookie)
        step, options = await passkeys.offer(who.desk, visitor)
        with pytest.raises(Refusal, match="passkey"):
            await passkeys.add(who.desk, visitor, step, key.create(options))
    excluded = [
        one["id"]
        for one in (await passkeys.offer(someone.desk, await someone.visitor(opened)))[1]["excludeCredentials"]
    ]
    assert excluded == [bytes_to_base64url(key.credential)]


async def test_the_step_of_somebody_else_adds_nothing(world: World) -> None:
    someone, other = await member(world.made, world.sender.id), await member(world.made, world.sender.id)
    mine, theirs = await someone.visitor(await someone.signs_in()), await other.visitor(await other.signs_in())
    step, options = await passkeys.offer(someone.desk, theirs)
    with pytest.raises(Refusal, match="step-gone"):
        await passkeys.add(someone.desk, mine, step, SoftKey(someone.desk.origins[0]).create(options))
    signing_in, asked = await passkeys.challenge(someone.desk)
    _, options = await passkeys.offer(someone.desk, mine)
    with pytest.raises(Refusal, match="step-gone"):
        await passkeys.add(someone.desk, mine, signing_in, SoftKey(someone.desk.origins[0]).create(options))
    assert asked


async def test_only_who_has_just_signed_in_adds_or_removes(world: World) -> None:
    someone = await member(world.made, world.sender.id)
    _, opened = await added(someone, await someone.signs_in())
    who = await someone.visitor(opened)
    async with someone.desk.db.transaction("test") as tx:
        (passkey,) = await store.passkeys(tx, someone.id)
        await tx.conn.execute(
            "update session set opened_at = now() - interval '10 minutes 1 second' where id = $1", who.session
        )
    with pytest.raises(Refusal, match="sign-in-again"):
        await passkeys.offer(someone.desk, who)
    with pytest.raises(Refusal, match="sign-in-again"):
        await factors.remove_passkey(someone.desk, who, passkey.id)


async def test_a_passkey_is_removed_but_never_the_last_way_in(world: World) -> None:
    someone, other = await member(world.made, world.sender.id), await member(world.made, world.sender.id)
    key, opened = await added(someone, await someone.signs_in())
    db = someone.desk.db
    async with db.transaction("test") as tx:
        (passkey,) = await store.passkeys(tx, someone.id)
    with pytest.raises(Refusal, match="not-found"):
        await factors.remove_passkey(other.desk, await other.visitor(await other.signs_in()), passkey.id)
    await factors.remove_passkey(someone.desk, await someone.visitor(opened), passkey.id)
    with pytest.raises(Refusal, match="passkey"):
        await signs_in(world, key)
    person, only = await with_passkey(world)
    alone = Member(someone.desk, person)
    async with db.transaction("test") as tx:
        (last,) = await store.passkeys(tx, person.id)
    with pytest.raises(Refusal, match="last-way-in"):
        await factors.remove_passkey(someone.desk, await alone.visitor(await signs_in(world, only)), last.id)
    await signs_in(world, only)
