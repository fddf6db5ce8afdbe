"""Erasure over the public API, by the clock and from the command line: refused, carried out, reduced, kept shut."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from services.cli.client import Partner
from services.cli.erase import each
from services.intake import main as intake
from services.intake.consent import handlers as consent
from services.intake.drafts import handlers as drafts
from services.intake.drafts.domain import Kind
from services.intake.erasure import handlers, store
from services.intake.erasure.domain import Why
from services.intake.keystore import store as keystore
from spean.provision import Roles
from spean.service import Parts
from tests.builders import World, eventually, second_system
from tests.integration.holder import (
    Holder,
    database,
    erase,
    own_world,  # noqa: F401 (fixtures)
    refused,
    said,
    shared_world,  # noqa: F401 (fixtures)
    waits_for_a_lock,
)

ASKED = {"why": "person_asked"}
REASON = "The court of the province has ordered that nothing is erased."


async def _officer(world: World) -> Partner:
    return await second_system(world, world.sender, ["intake:rules"])


async def _erased(world: World, entry: str) -> dict[str, Any]:
    """The row, once it is done."""

    async def done() -> Any:
        async with database(world) as db:
            return await db.fetchval("select true from erasure where entry = $1 and done_at is not null", entry)

    await eventually(done)
    row: dict[str, Any] = await world.sender.partner.get(f"/intake/entries/{entry}/erasure")
    return row


async def _clear(world: World, entry: str) -> dict[str, Any]:
    """What is left of somebody in the holder's database."""
    async with database(world) as db:
        row = await db.fetchrow(
            """
            select e.sealed, e.age_at, e.happened_at, f.sharing_shut and f.service_shut as shut,
                   (select count(*) from consent where entry = e.id and (guardian is not null or language <> 'und'
                    or notice like '%-%')) as told, (select count(*) from consent where entry = e.id) as decisions,
                   (select count(*) from exclusion where entry = e.id and sealed is not null) as officials,
                   (select count(*) from basis_step s join basis b on b.id = s.basis
                    where b.entry = e.id and s.sealed is not null) as words,
                   (select count(*) from handoff_member m join handoff h on h.id = m.handoff where m.entry = e.id
                    and (m.sealed_key is not null or h.sealed_code is not null)) as codes,
                   (select count(*) from disclosure where entry = e.id) as disclosures
            from entry e join fence f on f.entry = e.id where e.id = $1
            """,
            entry,
        )
    assert row is not None
    return dict(row)


async def test_somebody_is_erased_and_what_must_stay_stays(world: World) -> None:
    entry = await world.ready_person(name="Canary Erased", age_years=24)
    official = {"kind": "official", "value": (await Holder(world).house()).id, "name": "Canary Official"}
    sender = world.sender.partner
    await sender.post(f"/intake/entries/{entry}/exclusions", official)
    case = await Holder(world).released(await Holder(world).house(), entry)
    before = await _clear(world, entry)
    assert before["disclosures"] > 0
    with refused("handoff-live"):
        await sender.post(f"/intake/entries/{entry}/erase", ASKED)
    assert await sender.get(f"/intake/entries/{entry}"), "nothing has changed"
    await sender.post(f"/intake/handoffs/{case.handoff}/cancel")
    await sender.post(f"/intake/entries/{entry}/erase", ASKED)
    row = await _erased(world, entry)
    assert (row["why"], row["by"]) == ("person_asked", sender.client_id)
    with refused("erased"):
        await sender.get(f"/intake/entries/{entry}")
    with refused("no-longer-available"):
        await case.packet()
    left = await _clear(world, entry)
    assert left["sealed"] == b""
    assert left["shut"]
    assert left["age_at"] is None
    assert left["happened_at"] == left["happened_at"].replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    assert [left[name] for name in ("told", "officials", "words", "codes")] == [0, 0, 0, 0]
    assert left["disclosures"] == before["disclosures"]
    assert left["decisions"] == before["decisions"], "no word of theirs is written down that they did not say"
    asked = [kind for kind, _ in await said(world, case.handoff) if "erasure" in kind]
    assert len(asked) == 1, "once, though cancelling has asked already"
    await sender.post(f"/intake/entries/{entry}/erase", {"why": "mistake"})
    assert await _erased(world, entry) == row, "once is enough"


async def test_who_holds_a_copy_of_an_ended_service_is_asked_to_erase_it(world: World) -> None:
    entry, holder = await world.ready_person(), Holder(world)
    case = await holder.released(await holder.house(), entry)
    assert await case.content()
    async with database(world) as db:
        await db.execute("update handoff set state = 'completed' where id = $1", case.handoff)
    assert not [kind for kind, _ in await said(world, case.handoff) if "erasure" in kind]
    await world.sender.partner.post(f"/intake/entries/{entry}/erase", ASKED)
    await _erased(world, entry)
    assert [kind for kind, _ in await said(world, case.handoff) if "erasure" in kind]


async def test_one_of_a_party_is_erased_and_the_other_is_not(world: World) -> None:
    gone, stays = await world.ready_person(), await world.ready_person(name="Who Stays")
    handoff = await Holder(world).requested(gone, stays)
    await world.sender.partner.post(f"/intake/handoffs/{handoff}/cancel")
    async with database(world) as db:
        await db.execute("update handoff set sealed_code = 'x' where id = $1", handoff)
    await world.sender.partner.post(f"/intake/entries/{gone}/erase", ASKED)
    await _erased(world, gone)
    async with database(world) as db:
        keys = await db.fetch("select entry from handoff_member where handoff = $1 and sealed_key is not null", handoff)
        assert [str(row["entry"]) for row in keys] == [stays]
        assert await db.fetchval("select sealed_code from handoff where id = $1", handoff) == b"x"
    assert (await world.sender.partner.get(f"/intake/entries/{stays}"))["person"]["name"] == "Who Stays"
    await world.sender.partner.post(f"/intake/entries/{stays}/erase", ASKED)
    await _erased(world, stays)
    async with database(world) as db:
        assert await db.fetchval("select sealed_code from handoff where id = $1", handoff) is None


async def test_a_legal_hold_keeps_everybody_from_erasing(world: World) -> None:
    entry, officer, sender = await world.entry(), await _officer(world), world.sender.partner
    until = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    path = f"/intake/entries/{entry}/holds"
    with refused("scope"):
        await sender.post(path, {"reason": REASON, "until": until})
    with refused("invalid"):
        await officer.post(path, {"reason": REASON, "until": "2020-01-01T00:00:00Z"})
    hold = (await officer.post(path, {"reason": REASON, "until": until}))["id"]
    with refused("legal-hold"):
        await sender.post(f"/intake/entries/{entry}/erase", ASKED)
    [shown] = (await officer.get(path))["holds"]
    assert shown["reason"] == REASON
    async with database(world) as db:
        assert REASON.encode() not in await db.fetchval("select sealed from legal_hold where id = $1", hold)
        await _old(db, entry)
        await _rule(db, "met", 10_000)
    service = world.made.services["intake"]
    await handlers.due(service.db, service.app.state.holder, UUID(entry))
    assert await sender.get(f"/intake/entries/{entry}"), "no rule erases either"
    await officer.post(f"{path}/{hold}/lift")
    with refused("not-found"):
        await officer.post(f"{path}/{hold}/lift")
    await sender.post(f"/intake/entries/{entry}/erase", ASKED)
    await _erased(world, entry)
    [shown] = (await officer.get(path))["holds"]
    assert shown.get("reason") is None
    with refused("erased"):
        await officer.post(path, {"reason": REASON, "until": until})


async def _old(db: Any, *entries: str) -> None:
    """So long ago that a rule of theirs reaches nobody else in this database."""
    await db.execute(
        "update entry set created_at = now() - interval '20000 days' where id = any($1::uuid[])", list(entries)
    )


async def _rule(db: Any, applies: str, days: int) -> None:
    await db.execute(
        "insert into retention values (gen_random_uuid(), $1, null, null, $2, now() - interval '1 day', 'test')",
        applies, days,
    )  # fmt: skip


async def test_the_clock_erases_whose_time_is_over_and_nobody_else(own: World) -> None:
    past, fresh, agreed = await own.entry(), await own.entry(), await own.ready_person()
    async with database(own) as db:
        await _old(db, past, agreed)
        await _rule(db, "met", 10_000)
    service = own.made.services["intake"]
    async with service.db.transaction("test.retention") as tx:
        assert UUID(past) in await handlers.overdue(tx, 1_000)
        assert not {UUID(fresh), UUID(agreed)} & set(await handlers.overdue(tx, 1_000)), "decided something since"
        await handlers.look_for_overdue(tx)
    row = await _erased(own, past)
    assert (row["why"], row["by"]) == ("retention", "clock")
    assert await own.sender.partner.get(f"/intake/entries/{fresh}")
    assert await own.sender.partner.get(f"/intake/entries/{agreed}")


async def test_a_rule_begins_with_notice_and_is_listed(world: World) -> None:
    officer = await _officer(world)
    soon = {"applies": "ended", "group": "health", "days": 400}
    for wrong in ({"valid_from": datetime.now(UTC).isoformat()}, {"days": 0}, {"applies": "met"}):
        with refused("invalid"):
            await officer.post("/intake/retention", {**soon, **wrong})
    made = await officer.post("/intake/retention", soon)
    assert made["id"] in [rule["id"] for rule in (await officer.get("/intake/retention"))["rules"]]


async def test_the_operator_erases_a_list_and_is_told_who_is_left(world: World) -> None:
    free, busy, nobody = await world.entry(), await world.ready_person(), "00000000-0000-4000-8000-000000000000"
    await Holder(world).requested(busy)
    service, told = world.made.services["intake"], list[int]()
    entries = [UUID(one) for one in (free, busy, nobody)]
    found = await each(service.db, service.app.state.holder, entries, Why.PERSON_ASKED, lambda: told.append(1))
    assert list(found.values()) == ["erased", "handoff-live", "not-found"]
    assert len(told) == 3
    assert (await _erased(world, free))["by"].startswith("operator:")


async def test_what_was_asked_for_is_carried_out_whoever_stops_half_way(world: World) -> None:
    """The row has committed and nothing else has happened; the clock finishes it, though a consent has opened the fence."""
    entry, service = await world.ready_person(), world.made.services["intake"]
    holder = service.app.state.holder
    async with service.db.transaction("test.begin") as tx:
        await handlers.begin(tx, holder, UUID(entry), Why.MISTAKE, "test")
        fence = await consent.lock(tx, UUID(entry))
        assert fence.sharing_shut
        await tx.conn.execute("update fence set sharing_shut = false, service_shut = false where entry = $1", entry)
    await _erased(world, entry)
    assert (await _clear(world, entry))["shut"]
    async with database(world, keystore.DATABASE) as db:
        assert await db.fetchval("select wrapped from data_key where person = $1", entry) is None


async def _started_again(world: World) -> None:
    made = world.made
    again = await intake.build(Parts(made.settings, made.cluster, Roles.load(made.settings.keys), made.bus, made.url))
    await again.close()


async def test_a_key_that_comes_back_with_a_restored_key_store_is_destroyed_again(world: World) -> None:
    entry, other = await world.entry(), await world.entry()
    wrapped = "select wrapped from data_key where person = $1"
    async with database(world, keystore.DATABASE) as db:
        before = await db.fetchval(wrapped, entry)
        await world.sender.partner.post(f"/intake/entries/{entry}/erase", ASKED)
        await _erased(world, entry)
        await db.execute("update data_key set wrapped = $2, destroyed_at = null where person = $1", entry, before)
        await _started_again(world)
        assert await db.fetchval(wrapped, entry) is None
        assert await db.fetchval(wrapped, other) is not None


async def test_what_comes_back_with_a_restored_database_is_reduced_again(world: World) -> None:
    entry = await world.ready_person(name="Canary Restored")
    async with database(world) as db:
        before = await db.fetchrow("select * from entry where id = $1", entry)
        assert before is not None
    await world.sender.partner.post(f"/intake/entries/{entry}/erase", ASKED)
    await _erased(world, entry)
    async with database(world) as db, db.transaction():
        await db.execute("delete from erasure where entry = $1", entry)
        await db.execute("update entry set sealed = $2, age_at = now() where id = $1", entry, before["sealed"])
        await db.execute(
            "update fence set sharing_shut = false, service_shut = false, generation = 0 where entry = $1", entry
        )
    await _started_again(world)
    row = await _erased(world, entry)
    assert row["why"] == "key_destroyed"
    left = await _clear(world, entry)
    assert left["sealed"] == b""
    assert left["shut"]
    with refused("erased"):
        await world.sender.partner.get(f"/intake/entries/{entry}")


async def test_nothing_is_left_that_waits_until_they_come_of_age(world: World) -> None:
    entry = await world.entry(age_years=15)
    for decision in ("service", "share_referral"):
        await world.consent(entry, decision, guardian={"relationship": "state_guardian", "expressed": "written"})
    waits = "select kind from due where subject = $1"
    async with database(world) as db:
        assert [row["kind"] for row in await db.fetch(waits, entry)] == [consent.LOOK]
        await world.sender.partner.post(f"/intake/entries/{entry}/erase", ASKED)
        await _erased(world, entry)

        async def nothing() -> bool:
            return await db.fetch(waits, entry) == []

        await eventually(nothing)


async def test_the_last_two_of_a_party_may_be_erased_at_once(world: World) -> None:
    one, other = await world.ready_person(), await world.ready_person()
    handoff = await Holder(world).requested(one, other)
    await world.sender.partner.post(f"/intake/handoffs/{handoff}/cancel")
    db_of = world.made.services["intake"].db

    async def reduced(entry: str) -> None:
        async with db_of.transaction("test.other") as tx:
            await store.reduce(tx, UUID(entry))

    async with database(world) as db:
        await db.execute("update handoff set sealed_code = 'x', need_by = now() where id = $1", handoff)
        for entry in (one, other):
            await erase(world, entry)
        async with db_of.transaction("test.one") as tx:
            await store.reduce(tx, UUID(one))
            beside = asyncio.create_task(reduced(other))

            async def met() -> bool:
                await tx.conn.execute("select")  # nobody idles in a transaction for long
                return beside.done() or await waits_for_a_lock(db)

            await eventually(met)
        await beside
        left = await db.fetchrow("select sealed_code, need_by from handoff where id = $1", handoff)
    assert list(left or ()) == [None, None]


async def test_a_draft_that_was_begun_meanwhile_is_over_too(world: World) -> None:
    entry, service = await world.ready_person(), world.made.services["intake"]
    holder = service.app.state.holder
    async with service.db.transaction("test.begin") as tx:
        tx.org = UUID(world.sender.id)
        await handlers.begin(tx, holder, UUID(entry), Why.MISTAKE, "test")
        draft = await drafts.begin(tx, holder.keys, uuid4(), Kind.CONSENT, {}, UUID(entry))
    await _erased(world, entry)
    async with database(world) as db, database(world, keystore.DATABASE) as keys:

        async def gone() -> bool:
            kept = await keys.fetchval("select wrapped from data_key where person = $1", draft)
            return kept is None and await db.fetchval("select count(*) from draft where id = $1", draft) == 0

        await eventually(gone)


async def test_a_step_of_identification_and_what_stood_in_for_consent_begin_the_time_anew(world: World) -> None:
    identified, helped = await world.entry(), await world.entry()
    today = datetime.now(UTC).date().isoformat()
    step = {"status": "possible", "decided_by": "helping_organisation", "decided_on": today}
    await world.sender.partner.post(f"/intake/entries/{identified}/identification", step)
    async with database(world) as db:
        await db.execute(
            """
            insert into basis (id, entry, org, kind, state, categories, purposes, recipients, services, generation, people,
                proposed_by, proposed_at, decide_by, valid_until)
            select gen_random_uuid(), id, org, 'vital_interest', 'proposed', '{}', '{}', '{}', '{}', 0, 2, 'test', now(),
                now() + interval '1 day', now() + interval '2 days'
            from entry where id = $1
            """,
            helped,
        )
        await _old(db, identified, helped)
    async with world.made.services["intake"].db.transaction("test.lives") as tx:
        for entry in (identified, helped):
            found = await store.life(tx, UUID(entry))
            assert found is not None
            assert found.last > tx.now - timedelta(days=1)
    async with database(world) as db:
        await db.execute("delete from basis where entry = $1", helped)


async def test_what_an_earlier_migration_left_behind_is_carried_over(world: World) -> None:
    """As the tables' owner, which is who migrates: rows that are guarded are seen, and nothing that came since is touched."""
    text = (intake.MIGRATIONS / "0129_carried_over.sql").read_text(encoding="utf-8")
    entry, holder = await world.entry(), Holder(world)
    await world.sender.partner.post(f"/intake/entries/{entry}/erase", ASKED)
    await _erased(world, entry)
    before, since = [await holder.offered(await holder.house(), await world.ready_person()) for _ in range(2)]
    handoffs = [UUID(before.handoff), UUID(since.handoff)]
    async with database(world) as db:
        transaction = db.transaction()
        await transaction.start()
        await db.execute("update upkeep.migration set at = now() where name = '0117_yeses.sql'")
        await db.execute("update asked set at = now() + interval '1 hour' where handoff = $1", handoffs[1])
        await db.execute("delete from yes where handoff = any($1)", handoffs)
        await db.execute("delete from due where subject = $1", UUID(entry))
        await db.execute(
            "insert into due (kind, subject, at) values ($1, $2, now() + interval '3 years')", consent.LOOK, UUID(entry)
        )
        await db.execute("set local role intake_owner")
        await db.execute(text)
        found = await db.fetch("select handoff, organisation from yes where handoff = any($1)", handoffs)
        assert [(row["handoff"], str(row["organisation"])) for row in found] == [(handoffs[0], before.house.id)]
        assert await db.fetchval("select at <= now() from due where subject = $1", UUID(entry))
        await transaction.rollback()
