"""The key store: keys that are destroyed, missing, or not the right ones; fences that outlive the holder's database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from services.intake import main as intake
from services.intake.keystore import store as keystore
from services.intake.keystore.store import Destroyed, Fence, KeyStore, WrongKey
from spean.crypto import Unopenable, seal, unseal
from spean.provision import Roles, service_dsns
from spean.service import Parts
from tests.builders import World, eventually
from tests.integration.holder import (
    Case,
    Holder,
    database,
    erase,
    refused,
    shared_world,  # noqa: F401 (fixtures)
    withdraw,
)


def _dsn(world: World) -> str:
    roles = Roles.load(world.made.settings.keys)
    return service_dsns(world.made.cluster, roles, keystore.DATABASE)[1]


def _kek(world: World) -> Path:
    return world.made.settings.keys / intake.NAME / "kek-1"


async def _opened(world: World) -> KeyStore:
    return await KeyStore.open(_dsn(world), _kek(world))


async def test_a_person_keeps_one_key_and_everybody_has_their_own(world: World) -> None:
    keys = await _opened(world)
    one, two = uuid4(), uuid4()
    first = await keys.make(one)
    assert await keys.make(one) == first == await keys.key(one)
    assert await keys.keys([one, two]) == {one: first}
    assert await keys.make(two) != first
    await keys.close()


async def test_a_destroyed_key_is_gone_for_every_process_and_is_not_made_again(world: World) -> None:
    here, there, person = await _opened(world), await _opened(world), uuid4()
    await here.make(person)
    assert await there.key(person)
    await erase(world, str(person))
    for keys in (here, there):
        with pytest.raises(Destroyed):
            await keys.key(person)
        with pytest.raises(Destroyed):
            await keys.make(person)
        assert await keys.keys([person]) == {}
        await keys.close()


async def test_somebody_elses_wrapped_key_opens_nothing(world: World) -> None:
    keys, one, two = await _opened(world), uuid4(), uuid4()
    await keys.make(one)
    await keys.make(two)
    async with database(world, keystore.DATABASE) as db:
        await db.execute(
            "update data_key set wrapped = (select wrapped from data_key where person = $2) where person = $1", one, two
        )
    with pytest.raises(Destroyed):
        await keys.key(one)
    assert await keys.key(two)
    await keys.close()


async def test_a_key_opens_only_what_was_sealed_there(world: World) -> None:
    keys = await _opened(world)
    key = await keys.make(uuid4())
    sealed = seal(key, b"asthma", "entry/1/fields/1")
    assert unseal(key, sealed, "entry/1/fields/1") == b"asthma"
    with pytest.raises(Unopenable):
        unseal(key, sealed, "entry/2/fields/1")
    await keys.close()


async def test_a_key_store_does_not_open_with_another_key_encryption_key(world: World, tmp_path: Path) -> None:
    await world.entry()
    with pytest.raises(WrongKey):
        await KeyStore.open(_dsn(world), tmp_path / "kek-1")


async def test_the_keys_are_not_where_the_data_is(world: World) -> None:
    """Nothing in the holder's database holds a wrapped key, and the worker of the one cannot enter the other."""
    entry = await world.entry()
    async with database(world, keystore.DATABASE) as db:
        wrapped = await db.fetchval("select wrapped from data_key where person = $1", entry)
    async with database(world) as db:
        sealed = await db.fetchval("select sealed from entry where id = $1", entry)
        assert not await db.fetchval("select to_regclass('data_key')")
    assert wrapped not in sealed
    assert _kek(world).stat().st_mode & 0o077 == 0


async def test_an_older_fence_never_replaces_a_later_one(world: World) -> None:
    keys, person = await _opened(world), uuid4()
    await keys.write_fence(person, Fence(3, sharing_shut=True, service_shut=True))
    await keys.write_fence(person, Fence(2, sharing_shut=True, service_shut=False))
    assert (await keys.fences())[person] == Fence(3, sharing_shut=True, service_shut=True)
    await keys.close()


# --- a holder's database that is older than the key store ---------------------------------------------------------


@pytest.fixture
async def case(world: World) -> Case:
    holder = Holder(world)
    return await holder.released(await holder.house(), await world.ready_person())


async def _started_again(world: World) -> None:
    """What a start of the holder does before anything else runs."""
    made = world.made
    parts = Parts(made.settings, made.cluster, Roles.load(made.settings.keys), made.bus, made.url)
    service = await intake.build(parts)
    await service.close()


async def _put_back(world: World, entry: str, generation: int) -> None:
    """The rows of a backup from before the withdrawal."""
    async with database(world) as db:
        await db.execute("update fence set generation = $2, sharing_shut = false, service_shut = false where entry = $1",
                         entry, generation)  # fmt: skip
        await db.execute("delete from consent where entry = $1 and state = 'withdrawn'", entry)


async def test_a_restored_database_does_not_open_the_gate_again(case: Case) -> None:
    world, entry = case.holder.world, case.entries[0]
    async with database(world) as db:
        before = await db.fetchval("select generation from fence where entry = $1", entry)
    await withdraw(world, entry)
    await _put_back(world, entry, before)
    assert (await case.packet())["members"][0]["name"] == "Test Person", "the backup alone would tell"
    await _started_again(world)
    assert (await case.packet())["members"] == [{}]


@asynccontextmanager
async def _a_database_that_saves_no_fence(world: World) -> AsyncIterator[None]:
    async with database(world) as db:
        await db.execute(
            """
            create function no_fence() returns trigger language plpgsql as $$ begin raise exception 'full'; end $$;
            create trigger no_fence before update on fence execute function no_fence();
            """
        )
        try:
            yield
        finally:
            await db.execute("drop trigger no_fence on fence; drop function no_fence")


async def test_a_withdrawal_is_in_the_key_store_before_it_is_in_the_holder(case: Case) -> None:
    """Where the holder fails after that, nothing was acknowledged; the next start shuts it, too much rather than too
    little, and the clock tells the network."""
    world, entry = case.holder.world, case.entries[0]
    async with _a_database_that_saves_no_fence(world):
        with refused("fault"):
            await withdraw(world, entry)
    assert (await case.packet())["members"][0]["name"] == "Test Person"
    await _started_again(world)
    assert (await case.packet())["members"] == [{}]

    async def told() -> bool:
        return (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]

    await eventually(told)


async def test_what_was_given_again_stays_given_at_the_next_start(case: Case) -> None:
    world, entry = case.holder.world, case.entries[0]
    await withdraw(world, entry)
    await world.consent(entry, "share_referral")
    await _started_again(world)
    assert (await case.packet())["members"][0]["name"] == "Test Person"


async def test_a_backup_from_before_two_withdrawals_is_shut_by_the_last(case: Case) -> None:
    world, entry = case.holder.world, case.entries[0]
    await withdraw(world, entry)
    await world.consent(entry, "share_referral")
    await withdraw(world, entry)
    await _put_back(world, entry, 0)
    await _started_again(world)
    assert (await case.packet())["members"] == [{}]
    await world.consent(entry, "share_referral")
    assert (await case.packet())["members"][0]["name"] == "Test Person"


async def _excluded(world: World, case: Case) -> None:
    body = {"kind": "organisation", "value": case.house.id}
    await world.sender.partner.post(f"/intake/entries/{case.entries[0]}/exclusions", body)


async def _narrowed(world: World, case: Case) -> None:
    await world.consent(case.entries[0], "share_referral", categories=["identity"])


@pytest.mark.parametrize("narrow", [_excluded, _narrowed])
async def test_what_was_narrowed_and_is_forgotten_shuts_until_they_were_asked_again(
    case: Case, narrow: Callable[[World, Case], Awaitable[None]]
) -> None:
    world, entry = case.holder.world, case.entries[0]
    async with database(world) as db:
        before = await db.fetchval("select generation from fence where entry = $1", entry)
    await narrow(world, case)
    told = (await case.packet())["members"]
    await _started_again(world)
    assert (await case.packet())["members"] == told, "a start alone changes nothing"
    async with database(world) as db:
        await db.execute("update fence set generation = $2 where entry = $1", entry, before)
        await db.execute("delete from exclusion where entry = $1", entry)
        await db.execute("delete from consent where entry = $1 and version > 2", entry)
    assert (await case.packet())["members"][0]["name"] == "Test Person", "the backup alone would tell"
    await _started_again(world)
    assert (await case.packet())["members"] == [{}]
