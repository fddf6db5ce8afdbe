"""What was ended stays ended where the holder's database is put back from before: rules, and what stood in for consent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from services.cli.client import Partner
from services.intake import main as intake
from services.intake.keystore import endings
from services.intake.keystore import store as keystore
from spean.provision import Roles
from spean.service import Parts
from tests.builders import CATEGORIES, PURPOSES, World, eventually, second_system
from tests.integration.holder import (
    Case,
    Holder,
    cut_off,
    database,
    refused,
    shared_world,  # noqa: F401 (fixtures)
)

WHY = "He is unconscious, and the ward has to know what he takes."
DECIDES = "I was there and read the file."


@asynccontextmanager
async def started_again(world: World) -> AsyncIterator[None]:
    """What a start of the holder does before anything else runs."""
    made = world.made
    service = await intake.build(Parts(made.settings, made.cluster, Roles.load(made.settings.keys), made.bus, made.url))
    try:
        yield
    finally:
        await service.close()


async def _end(world: World, kind: str, rule: str) -> None:
    await world.admin.post(f"/intake/rules/{kind}/{rule}/end")


async def _agreed(world: World, recipient: str, categories: list[str]) -> str:
    body = {"sender": world.sender.id, "recipient": recipient, "categories": categories, "purposes": PURPOSES}
    return str((await world.admin.post("/intake/rules/agreements", body))["id"])


async def _put_back(world: World, table: str, *rules: str) -> None:
    """The rows of a backup from before these were ended."""
    async with database(world) as db:
        await db.execute(f"update {table} set valid_until = null where id = any($1::uuid[])", rules)


async def _runs(world: World, table: str, rule: str) -> bool:
    async with database(world) as db:
        found: bool = await db.fetchval(f"select valid_until is null from {table} where id = $1", rule)
    return found


async def _kept(world: World, id_: str) -> bool:
    async with database(world, keystore.DATABASE) as db:
        found: bool = await db.fetchval("select exists (select from ended where id = $1)", id_)
    return found


async def _waits(world: World, id_: str) -> bool:
    """Is the key store still to be told of it?"""
    async with database(world) as db:
        found: bool = await db.fetchval(
            "select exists (select from due where kind = $1 and subject = $2)", endings.KEEP, id_
        )
    return found


@pytest.fixture
async def case(world: World) -> tuple[Case, str]:
    """Somebody whose packet a house may read, and the only agreement by which it may."""
    holder = Holder(world)
    house = await holder.house(agreed=False)
    wide = await _agreed(world, house.id, CATEGORIES)
    return await holder.released(house, await world.ready_person()), wide


async def _told_after(it: Case, before: list[str]) -> None:
    """The clock has told the network that something may not be told any more."""

    async def told() -> bool:
        return "disclosure.stopped" in (await it.said())[len(before) :]

    await eventually(told)


async def test_an_agreement_replaced_by_a_narrower_one_does_not_come_back(case: tuple[Case, str]) -> None:
    it, wide = case
    world = it.holder.world
    narrow = await _agreed(world, it.house.id, ["functional_needs"])
    await it.packet()
    before = await it.said()
    await _end(world, "agreements", wide)
    await _told_after(it, before)
    assert "name" not in (await it.packet())["members"][0]
    await _put_back(world, "agreement", wide)
    async with database(world) as db:
        await db.execute("delete from agreement where id = $1", narrow)
    assert (await it.packet())["members"][0]["name"] == "Test Person", "the backup alone would tell"
    before = await it.said()
    async with started_again(world):
        assert (await it.packet())["members"] == [{}], "what is forgotten opens nothing"
    assert not await _runs(world, "agreement", wide)
    await _told_after(it, before)


async def test_every_kind_of_rule_stays_ended_and_another_goes_on(world: World) -> None:
    bodies = {
        "need_to_know": ("need-to-know", {"group": "livelihood", "stage": "offer", "fields": ["needs"]}),
        "corridor": ("corridors", {"from_country": "VN", "to_country": "LA", "categories": ["health"],
                                   "legal_basis": "sample"}),
    }  # fmt: skip
    for table, (kind, body) in bodies.items():
        ended, other = [(await world.admin.post(f"/intake/rules/{kind}", body))["id"] for _ in range(2)]
        await _end(world, kind, ended)
        await _put_back(world, table, ended)
        assert await _runs(world, table, ended)
        async with started_again(world):
            assert not await _runs(world, table, ended)
            assert await _runs(world, table, other)
        await _end(world, kind, other)


async def test_an_ending_waits_for_nobody_and_is_kept_once_the_key_store_answers(case: tuple[Case, str]) -> None:
    it, rule = case
    world = it.holder.world
    async with cut_off(world, keystore.DATABASE):
        await _end(world, "agreements", rule)
        assert await _waits(world, rule)
    assert (await it.packet())["members"] == [{}]

    async def kept() -> bool:
        return not await _waits(world, rule)

    await eventually(kept)
    assert await _kept(world, rule)


async def test_what_failed_to_end_was_in_the_key_store_first(case: tuple[Case, str]) -> None:
    """Nothing was acknowledged: the next start ends it, too much rather than too little."""
    it, rule = case
    world = it.holder.world
    async with database(world) as db:
        await db.execute(
            """
            create function no_end() returns trigger language plpgsql as $$ begin raise exception 'full'; end $$;
            create trigger no_end before insert or update on due for each row when (new.kind = 'rule-ends')
                execute function no_end();
            """
        )
        try:
            with refused("fault"):
                await _end(world, "agreements", rule)
        finally:
            await db.execute("drop trigger no_end on due; drop function no_end")
    assert (await it.packet())["members"][0]["name"] == "Test Person"
    assert await _kept(world, rule)
    async with started_again(world):
        assert (await it.packet())["members"] == [{}]


# --- what stands in for consent -----------------------------------------------------------------------------------


@pytest.fixture
async def second(world: World) -> Partner:
    return await second_system(world, world.sender, ["intake:send"])


@pytest.mark.parametrize("how", ["ended", "refused"])
async def test_what_stood_in_for_consent_and_was_over_stays_over(world: World, second: Partner, how: str) -> None:
    sender, holder = world.sender.partner, Holder(world)
    entry = await world.entry()
    basis = (await sender.post(f"/intake/entries/{entry}/bases", {
        "kind": "vital_interest", "justification": WHY, "recipients": {"classes": [{"type": "shelter"}],
        "organisations": []}, "acting_for": sender.client_id,
    }))["id"]  # fmt: skip
    await sender.post(f"/intake/entries/{entry}/case")
    it = await holder.released(await holder.house(), entry)
    told = (await it.packet())["members"]
    assert told != [{}]
    path = f"/intake/entries/{entry}/bases/{basis}"
    if how == "ended":
        await second.post(f"{path}/end")
    else:
        await second.post(f"{path}/decide", {"agrees": False, "reasons": DECIDES, "acting_for": second.client_id})
    assert (await it.packet())["members"] == [{}]
    async with database(world) as db:
        await db.execute("update basis set state = 'in_force', over_at = null where id = $1", basis)
        await db.execute("delete from basis_step where basis = $1 and step = $2", basis, how)
    assert (await it.packet())["members"] == told, "the backup alone would tell"
    async with started_again(world):
        assert (await it.packet())["members"] == [{}]
    (shown,) = (await sender.get(f"/intake/entries/{entry}/bases"))["bases"]
    assert shown["state"] == "refused", "which of the two it was is forgotten"
    assert [step["step"] for step in shown["steps"]] == ["proposed", "ended"]


async def test_what_was_refused_before_it_began_is_not_decided_anew(world: World, second: Partner) -> None:
    sender = world.sender.partner
    entry = await world.entry(age_years=15)
    path = f"/intake/entries/{entry}/bases"
    basis = (await sender.post(path, {
        "kind": "best_interests_assessment", "justification": WHY, "categories": ["functional_needs"],
        "purposes": ["referral"], "recipients": {"classes": [{"type": "shelter"}], "organisations": []},
        "acting_for": sender.client_id,
    }))["id"]  # fmt: skip
    no = {"agrees": False, "reasons": DECIDES, "acting_for": second.client_id}
    await second.post(f"{path}/{basis}/decide", no)
    async with database(world) as db:
        await db.execute("update basis set state = 'proposed', over_at = null where id = $1", basis)
        await db.execute("delete from basis_step where basis = $1 and step = 'refused'", basis)
    async with started_again(world):
        with refused("state"):
            await second.post(f"{path}/{basis}/decide", {**no, "agrees": True, "acting_for": str(uuid4())})
