"""A key store that is not there, or does not answer: nobody is read, and everybody can stop."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from schemas.vocabulary import ConsentDecision
from services.cli import installation
from services.intake import main as intake
from services.intake.consent import handlers as consent
from services.intake.disclosure import handlers as disclosure
from services.intake.keystore import store as keystore
from services.intake.keystore.store import Silent
from spean.provision import Roles
from spean.service import Parts
from tests.builders import World, eventually, network_in
from tests.integration.holder import (
    Case,
    Holder,
    cut_off,
    database,
    refused,
    shared_world,  # noqa: F401 (fixtures)
    withdraw,
)
from tests.integration.lived import settings_in

# What a loaded machine may add to a wait for a key store that does not answer.
SLACK_S = 2.0
NAMES = "generation, sharing_shut, service_shut"


@pytest.fixture
async def case(world: World) -> Case:
    holder = Holder(world)
    return await holder.released(await holder.house(), await world.ready_person(health_notes="asthma"))


def _unreachable(world: World) -> AbstractAsyncContextManager[None]:
    return cut_off(world, keystore.DATABASE)


@asynccontextmanager
async def _mute(world: World) -> AsyncIterator[None]:
    """The key store's database takes connections and questions, and answers none."""
    async with database(world, keystore.DATABASE) as db, db.transaction():
        await db.execute("lock table data_key, fence in access exclusive mode")
        yield


SILENT = {"unreachable": _unreachable, "mute": _mute}


async def _fence(world: World, entry: str) -> tuple[Any, ...]:
    async with database(world) as db:
        return tuple(await db.fetchrow(f"select {NAMES} from fence where entry = $1", entry))


async def _kept(world: World, entry: str) -> tuple[Any, ...] | None:
    async with database(world, keystore.DATABASE) as db:
        row = await db.fetchrow(f"select {NAMES} from fence where person = $1", entry)
    return None if row is None else tuple(row)


async def _due(world: World, entry: str) -> list[str]:
    async with database(world) as db:
        return [row["kind"] for row in await db.fetch("select kind from due where subject = $1", entry)]


async def _settled(world: World, entry: str) -> None:
    """Nothing waits for the key store any more."""

    async def nothing_due() -> bool:
        return await _due(world, entry) == []

    await eventually(nothing_due)


# --- stop ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", SILENT)
@pytest.mark.parametrize("what", ["sharing", "service"])
async def test_a_stop_is_carried_out_without_the_key_store_and_kept_there_once_it_answers(
    case: Case, how: str, what: str
) -> None:
    world, entry = case.holder.world, case.entries[0]
    async with SILENT[how](world):
        began = time.monotonic()
        assert await withdraw(world, entry, what) == {"entry": entry, "what": what}
        assert time.monotonic() - began < 2 + SLACK_S
        shut = await _fence(world, entry)
        assert shut[1:] == (True, what == "service")
        assert await _due(world, entry) == [consent.KEEP]
        with refused("no-longer-available" if what == "service" else "busy"):
            await case.packet()
    if what == "sharing":
        assert (await case.packet())["members"] == [{}]
    await _settled(world, entry)
    assert await _kept(world, entry) == shut == await _fence(world, entry)
    names = await case.said()
    assert "erasure.requested" in names
    assert ("handoff.cancelled" if what == "service" else "disclosure.stopped") in names
    assert names.count("erasure.requested") == 1


async def test_a_place_is_given_back_at_once_where_the_service_ends_without_the_key_store(own_case: Case) -> None:
    world, entry = own_case.holder.world, own_case.entries[0]
    async with _unreachable(world):
        await withdraw(world, entry, "service")
        assert (await own_case.said())[-1] == "handoff.cancelled"


@pytest.fixture
async def own_case(world: World) -> Case:
    holder = Holder(world)
    return await holder.offered(await holder.house(), await world.ready_person())


async def _exclude(case: Case) -> None:
    body = {"kind": "organisation", "value": case.house.id}
    await case.sender.post(f"/intake/entries/{case.entries[0]}/exclusions", body)


async def _narrow(case: Case) -> None:
    await case.holder.world.consent(case.entries[0], "share_referral", categories=["identity"])


async def _refuse(case: Case) -> None:
    await case.holder.world.consent(case.entries[0], "share_referral", "refused")


async def _take_back(case: Case) -> None:
    body = {"what": "sharing", "category": "health"}
    await case.sender.post(f"/intake/entries/{case.entries[0]}/withdraw", body)


STOPS: dict[str, Callable[[Case], Awaitable[None]]] = {
    "exclude": _exclude, "narrow": _narrow, "refuse": _refuse, "take back": _take_back,
}  # fmt: skip


@pytest.mark.parametrize("name", STOPS)
async def test_every_other_stop_is_carried_out_too_and_told_once_the_key_store_answers(case: Case, name: str) -> None:
    world, entry = case.holder.world, case.entries[0]
    before = await case.said()
    async with _unreachable(world):
        await STOPS[name](case)
        at_once = ["disclosure.stopped"] if name == "refuse" else []
        assert (await case.said())[len(before) :] == at_once
    assert "health_notes" not in (await case.packet())["members"][0]
    await _settled(world, entry)
    assert (await case.said())[len(before) :] == [*at_once, "disclosure.stopped", "erasure.requested"]


async def test_nobody_is_read_while_the_key_store_is_silent_and_everybody_afterwards(case: Case) -> None:
    async with _unreachable(case.holder.world):
        for read in (case.packet, case.seen):
            with refused("busy"):
                await read()
    assert (await case.packet())["members"][0]["health_notes"] == "asthma"
    assert (await case.seen())["receiver"] == case.house.id


# --- several decisions before it answers --------------------------------------------------------------------------


async def test_the_last_of_several_stops_is_what_the_key_store_keeps(case: Case) -> None:
    world, entry = case.holder.world, case.entries[0]
    async with _unreachable(world):
        for what in ("sharing", "service"):
            await withdraw(world, entry, what)
    await _settled(world, entry)
    kept = await _kept(world, entry)
    assert kept == await _fence(world, entry)
    assert kept is not None
    assert kept[1:] == (True, True)


async def test_what_was_given_again_before_the_key_store_answers_is_not_shut_there(case: Case) -> None:
    world, entry = case.holder.world, case.entries[0]
    async with _unreachable(world):
        await withdraw(world, entry)
        await world.consent(entry, "share_referral")
    await _settled(world, entry)
    kept = await _kept(world, entry)
    # Where the clock had read the older fence, and the key store answered just then: that means nothing beside a later one.
    assert kept is None or kept[0] < (await _fence(world, entry))[0]
    assert (await case.packet())["members"][0]["health_notes"] == "asthma"


async def test_a_fence_that_comes_late_does_not_replace_a_later_one(case: Case) -> None:
    """The clock has read the older fence when the later one is written."""
    world, entry = case.holder.world, case.entries[0]
    await withdraw(world, entry, "service")
    later = await _kept(world, entry)
    async with database(world) as db:
        await db.execute("update fence set generation = 1, service_shut = false where entry = $1", entry)
        await db.execute("insert into due (kind, subject, at) values ($1, $2, now())", consent.KEEP, entry)
    await _settled(world, entry)
    assert await _kept(world, entry) == later


# --- a start without it -----------------------------------------------------------------------------------------------


async def test_the_holder_starts_without_the_key_store_and_stops_are_taken(case: Case) -> None:
    """Its database is an old backup, which knows nothing of a withdrawal. Nobody is read before the key store has told."""
    world, entry = case.holder.world, case.entries[0]
    before = await _fence(world, entry)
    await withdraw(world, entry)
    async with database(world) as db:
        await db.execute("update fence set generation = $2, sharing_shut = false where entry = $1", entry, before[0])
    made = world.made
    parts = Parts(made.settings, made.cluster, Roles.load(made.settings.keys), made.bus, made.url)
    other = await world.ready_person()
    async with _unreachable(world):
        service = await intake.build(parts)
        holder: disclosure.Holder = service.app.state.holder
        async with service.db.transaction("test.stop", org=UUID(world.sender.id)) as tx:
            await consent.withdraw(tx, holder, UUID(other), ConsentDecision.SHARE_REFERRAL, "test")
        with pytest.raises(Silent):
            await holder.keys.keys([UUID(entry)])
        blocker = await asyncpg.connect(made.cluster.dsn("intake"))
        await blocker.execute("begin; lock table fence in share row exclusive mode")
    try:

        async def answers() -> bool:
            try:
                return bool(await holder.keys.fences())
            except Silent:
                return False

        async def opens() -> bool:
            try:
                return bool(await holder.keys.keys([UUID(entry)]))
            except Silent:
                return False

        await eventually(answers)
        assert not await opens(), "it answers, and its fences are not taken over yet"
        await blocker.close()
        await eventually(opens, within_s=30)
        assert (await _fence(world, entry))[1] is True, "the fence was taken over before the first key was given"
        assert (await _fence(world, other))[1] is True
    finally:
        await service.close()


# --- a start in between -------------------------------------------------------------------------------------------


async def test_a_fence_that_waits_is_kept_after_a_start_too(workspace: Path) -> None:
    settings = settings_in(workspace / f"silent-{uuid4().hex[:6]}")
    async with installation.installed(settings) as made, AsyncExitStack() as silent:
        async with installation.running(made), network_in(made, settings) as world:
            holder = Holder(world)
            case = await holder.released(await holder.house(), await world.ready_person())
            entry = case.entries[0]
            await silent.enter_async_context(_unreachable(world))
            await withdraw(world, entry)
        # It has ended before the key store answered: nobody is left who could have kept it.
        assert await _due(world, entry) == [consent.KEEP]
    async with installation.installed(settings) as made:
        again = World(made, world.admin, world.network, world.sender, world.coordinator)
        assert await _kept(again, entry) is None
        assert (await _fence(again, entry))[1:] == (True, False)
        async with installation.running(made):
            await _settled(again, entry)
            assert await _kept(again, entry) == await _fence(again, entry)
