"""Whatever takes access away from somebody says so, once and without saying what; and where the network's database is put back
from before, it takes it away again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from joserfc.jwk import OKPKey

from schemas.registry import PREFIX
from schemas.rights import StaffRole
from services.cli.client import ApiProblem
from services.referral import restored
from services.referral.approvals import handlers as approvals
from services.referral.partners import store as partners
from services.referral.partners.closing import id_of
from services.referral.people import handlers as people
from services.referral.people import store
from services.referral.people.domain import By, Person, Status
from services.referral.sessions import factors, handlers
from services.referral.sessions.store import Passkey, insert_passkey
from spean.crypto import public_jwk
from spean.db import Tx
from spean.event import Event
from spean.problem import Refusal
from spean.sealing import PrivateKey, Suite
from tests.builders import Organisation, World, agreed
from tests.integration.staff import Member, desk_of, hired, member, new_address, set_up

CLOSED = f"{PREFIX}access.closed.v1"
NEW_PASSWORD = "eight green frogs by noon"
SENDER, RECEIVER = frozenset({StaffRole.SENDER}), frozenset({StaffRole.RECEIVER})


async def closed(world: World, id_: UUID, times: int) -> None:
    """So often, and nothing else, was said of this one; and no more than that it happened."""
    async with desk_of(world.made).db.transaction("test.said") as tx:
        rows = await tx.conn.fetch(
            """
            select type, payload from outbox where aggregateid = $1
            union all select type, payload from said where aggregateid = $1
            """,
            id_,
        )
    assert [(row["type"], row["payload"]) for row in rows] == [(CLOSED, "{}")] * times


async def done(world: World, work: Callable[[Tx], Awaitable[Any]]) -> Any:
    async with desk_of(world.made).db.transaction("test") as tx:
        return await work(tx)


async def changed(world: World, person: Person, **what: Any) -> None:
    await done(world, lambda tx: people.change(tx, By(system="system:test"), person.id, None, **what))


async def with_key(world: World, house: Organisation, public_key: dict[str, str]) -> str:
    added = await world.admin.post(f"/referral/clients/{house.partner.client_id}/keys", {"public_key": public_key})
    await agreed(world, added, house.partner)
    return str(added["thumbprint"])


async def two_keys(world: World) -> tuple[Organisation, tuple[str, str]]:
    """A house with another key to sign in with, and one to have packets sealed to."""
    house = await world.house("House with keys")
    signing = await with_key(world, house, public_jwk(OKPKey.generate_key("Ed25519")))
    sealing = await with_key(world, house, PrivateKey(Suite.X25519, uuid4().bytes * 2).public.jwk)
    return house, (signing, sealing)


async def administrator(world: World) -> By:
    one = await hired(world.made, world.coordinator.id, StaffRole.ADMINISTRATOR)
    return By(one.id, one.organisation)


async def lost(world: World, someone: Member) -> UUID:
    await handlers.ask_recovery(someone.desk, someone.person.sign_in_name, address=new_address())
    found = await done(world, lambda tx: store.recoveries(tx, 1_000))
    return next(one.id for one, person, _ in found if person.id == someone.id)


# --- said -------------------------------------------------------------------------------------------------------------


async def test_a_system_or_key_that_is_revoked_is_said_once(world: World) -> None:
    house, keys = await two_keys(world)
    client = house.partner.client_id
    path = f"/referral/clients/{client}"
    for key in keys:
        await closed(world, id_of(client, key), 0)
        await world.admin.post(f"{path}/keys/{key}/revoke", key=f"revoke-{key}")
        await world.admin.post(f"{path}/keys/{key}/revoke", key=f"revoke-{key}")
        with pytest.raises(ApiProblem, match="not-found"):
            await world.admin.post(f"{path}/keys/{key}/revoke")
        await closed(world, id_of(client, key), 1)
    await closed(world, id_of(client), 0)
    await world.admin.post(f"{path}/revoke")
    await closed(world, id_of(client), 1)
    await closed(world, id_of(client, house.partner._key.thumbprint()), 0)
    assert id_of(client) != id_of(f"{client} x") != id_of(client, "x") != id_of(client)


async def test_a_person_who_may_do_less_is_said_and_who_may_do_more_is_not(world: World) -> None:
    person = await hired(world.made, world.sender.id, *SENDER)
    more: list[tuple[dict[str, Any], int]] = [
        ({"name": "Another Name", "language": "km"}, 0),
        ({"roles": SENDER | RECEIVER}, 0),
        ({"roles": SENDER | RECEIVER}, 0),
        ({"roles": SENDER}, 1),
        ({"roles": RECEIVER}, 2),
        ({"status": Status.LOCKED}, 3),
        ({"status": Status.ACTIVE, "roles": SENDER | RECEIVER}, 3),
        ({"status": Status.LOCKED, "roles": SENDER}, 4),
        ({"status": Status.LEFT}, 5),
    ]
    for what, times in more:
        await changed(world, person, **what)
        await closed(world, person.id, times)


async def test_what_somebody_signs_in_with_is_said_when_it_is_another_or_gone(world: World) -> None:
    someone, opened = await set_up(world.made, await hired(world.made, world.sender.id, *SENDER))
    await closed(world, someone.id, 0)
    desk = someone.desk
    opened = await factors.change_password(desk, await someone.visitor(opened), NEW_PASSWORD)
    await closed(world, someone.id, 1)
    step, new = await factors.begin_authenticator(desk, await someone.visitor(opened))
    await closed(world, someone.id, 1)
    code = replace(someone, secret=new.secret).code()
    opened = await factors.change_authenticator(desk, await someone.visitor(opened), step, code)
    await closed(world, someone.id, 2)
    passkey = Passkey(uuid4(), uuid4().bytes, someone.id, b"key", 0, datetime.now(UTC), None)
    await done(world, lambda tx: insert_passkey(tx, passkey))
    opened = await factors.remove_passkey(desk, await someone.visitor(opened), passkey.id)
    await closed(world, someone.id, 3)
    who = await someone.visitor(opened)
    await done(world, lambda tx: handlers.sign_out_everywhere(tx, who))
    await closed(world, someone.id, 3)


async def test_a_new_start_is_said_with_the_second_approval(world: World) -> None:
    someone, sealing = await member(world.made, world.sender.id), desk_of(world.made).sealing
    refused = await lost(world, someone)
    first, second = await administrator(world), await administrator(world)
    await done(world, lambda tx: people.approve_recovery(tx, sealing, first, refused))
    await done(world, lambda tx: people.refuse_recovery(tx, first, refused))
    recovery = await lost(world, someone)
    await done(world, lambda tx: people.approve_recovery(tx, sealing, first, recovery))
    await closed(world, someone.id, 0)
    await done(world, lambda tx: people.approve_recovery(tx, sealing, second, recovery))
    await closed(world, someone.id, 1)


# --- taken over after a restore -----------------------------------------------------------------------------------------


@asynccontextmanager
async def tried(world: World) -> AsyncIterator[tuple[Tx, Callable[[UUID], Awaitable[None]]]]:
    """A transaction that is undone, as others use this installation; and what takes an event about this id over as a restored
    database does."""
    take = restored.own().take[CLOSED]
    async with desk_of(world.made).db.transaction("test.restored") as tx:
        undone = tx.conn.transaction()
        await undone.start()

        async def over(id_: UUID) -> None:
            now = datetime.now(UTC)
            await take(tx, Event(uuid4(), CLOSED, "spean/referral", id_, 1, 1, now, uuid4(), None, None, b"{}"), {})

        try:
            yield tx, over
        finally:
            await undone.rollback()


async def test_a_key_and_a_system_are_shut_again(world: World) -> None:
    house, (signing, sealing) = await two_keys(world)
    other = await world.house("House that keeps its key")
    client = house.partner.client_id
    async with tried(world) as (tx, over):
        for _ in range(2):
            await over(id_of(client, signing))
        assert [key.thumbprint for key in await partners.keys_of(tx, client, partners.Use.SIGNING)] == [
            house.partner._key.thumbprint()
        ]
        assert await partners.sealing_key(tx, client) is not None
        await over(id_of(client, sealing))
        assert await partners.sealing_key(tx, client) is None
        assert await partners.active_client(tx, client) is not None
        await over(id_of(client))
        assert await partners.active_client(tx, client) is None
        found = await partners.active_client(tx, other.partner.client_id)
        assert found is not None
        assert found.public_keys
        noted = await tx.conn.fetch(
            "select what, by from change where client = $1 and by = 'operator' order by number", client
        )
        assert [row["what"] for row in noted] == ["key-revoked", "key-revoked", "system-revoked"]


async def test_a_person_is_locked_and_nothing_that_they_had_opens_anything(world: World) -> None:
    someone, other = await member(world.made, world.sender.id), await member(world.made, world.sender.id)
    gone = await hired(world.made, world.sender.id)
    await changed(world, gone, status=Status.LEFT)
    async with tried(world) as (tx, over):
        for id_ in (someone.id, someone.id, gone.id, uuid4()):
            await over(id_)
        assert (await store.get(tx, someone.id)).status is Status.LOCKED
        assert not await store.is_set_up(tx, someone.id)
        history = await store.history(tx, 10, person=someone.id)
        assert [(one.what, one.by) for one in history][:1] == [("restored", "operator")]
        assert [one.what for one in history].count("restored") == 1
        assert (await store.get(tx, gone.id)).status is Status.LEFT
        assert [str(one.what) for one in await store.history(tx, 10, person=gone.id)] == ["changed", "registered"]
        assert (await store.get(tx, other.id)).status is Status.ACTIVE
        assert await store.is_set_up(tx, other.id)
        # An administrator has looked: two steps, and the person begins anew.
        await people.change(tx, By(system="system:test"), someone.id, None, status=Status.ACTIVE)
        assert await people.invite(tx, someone.desk.sealing, By(system="system:test"), someone.id)


async def test_what_waits_for_somebodys_agreement_waits_no_more(world: World) -> None:
    house = await world.house("House that is asked")
    public = public_jwk(OKPKey.generate_key("Ed25519"))
    added = await world.admin.post(f"/referral/clients/{house.partner.client_id}/keys", {"public_key": public})
    someone = await member(world.made, world.sender.id)
    recovery = await lost(world, someone)
    async with tried(world) as (tx, _):
        await approvals.lapse_all(tx)
        await people.refuse_recoveries(tx)
        assert await tx.conn.fetchval("select state from approval where id = $1", UUID(added["approval"])) == "lapsed"
        assert not await tx.conn.fetchval("select exists (select 1 from approval where state = 'waiting')")
        with pytest.raises(Refusal, match="not-found"):
            await store.lock_recovery(tx, recovery)
        assert await store.insert_recovery(tx, uuid4(), someone.id), "whoever needs it asks anew"
        history = await store.history(tx, 2, person=someone.id)
        assert [(one.what, one.by) for one in history] == [
            ("recovery-refused", "operator"),
            ("recovery-asked", f"person:{someone.id}"),
        ]
