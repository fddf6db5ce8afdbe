"""The path of identification over the public API: step by step, with the person's own yes, sealed, told to nobody, and gone
with the person."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.cli.client import ApiProblem
from tests.builders import World, eventually
from tests.integration.holder import Holder, database, refused, said, shared_world, withdraw  # noqa: F401 (fixtures)

NUMBER, NOTES = "Canary file 77", "Canary: she fears the interpreter."


def _step(status: str, by: str = "multidisciplinary_team", days: int = 0, **more: Any) -> dict[str, Any]:
    day = (datetime.now(UTC) + timedelta(days=days)).date().isoformat()
    return {"status": status, "decided_by": by, "decided_on": day, **more}


async def _path(world: World, entry: str) -> dict[str, Any]:
    found: dict[str, Any] = await world.sender.partner.get(f"/intake/entries/{entry}/identification")
    return found


async def test_the_path_is_written_step_by_step_with_the_persons_own_yes(world: World) -> None:
    entry, sender = await world.ready_person(), world.sender.partner
    at = f"/intake/entries/{entry}/identification"
    begun = await _path(world, entry)
    assert (begun.get("status"), begun["next"], begun["steps"]) == (None, ["possible", "presumed"], [])
    with pytest.raises(ApiProblem, match="state") as problem:
        await sender.post(at, _step("in_process"))
    assert problem.value.problem["rule"] == "not_begun"
    made = await sender.post(at, _step("presumed", "helping_organisation", reference=NUMBER, notes=NOTES), key="once")
    assert (
        await sender.post(at, _step("presumed", "helping_organisation", reference=NUMBER, notes=NOTES), key="once")
        == made
    )
    with pytest.raises(ApiProblem, match="decision-missing") as problem:
        await sender.post(at, _step("in_process"))
    assert problem.value.problem["rule"] == "identification"
    await world.consent(entry, "identification")
    await sender.post(at, _step("in_process"))
    for days, why in ((3, "in_the_future"), (-3, "before_the_meeting")):
        with pytest.raises(ApiProblem, match="invalid") as problem:
            await sender.post(at, _step("formally_identified", days=days))
        assert problem.value.problem["errors"] == [{"at": "body.decided_on", "why": why}]
    await withdraw(world, entry, "identification")
    with refused("decision-missing"):
        await sender.post(at, _step("formally_identified"))
    await sender.post(at, _step("not_identified"))
    await sender.post(at, _step("appealed", "person"))
    await world.consent(entry, "identification")
    await sender.post(at, _step("formally_identified", "court"))
    found = await _path(world, entry)
    assert (found["status"], found["next"], found["agreed"]) == ("formally_identified", [], True)
    assert [one["status"] for one in found["steps"]] == [
        "presumed", "in_process", "not_identified", "appealed", "formally_identified",
    ]  # fmt: skip
    first = found["steps"][0]
    assert (first["reference"], first["notes"], first["by"]) == (NUMBER, NOTES, sender.client_id)


async def test_the_answer_that_is_kept_says_nothing_of_the_step(world: World) -> None:
    entry, sender = await world.ready_person(), world.sender.partner
    await sender.post(f"/intake/entries/{entry}/identification", _step("presumed", "police"), key="what-is-kept")
    async with database(world) as db:
        kept = await db.fetchval("select body from idempotency where key = 'what-is-kept'")
    assert json.loads(kept) == {"number": 1}


async def test_whoever_has_stopped_has_agreed_to_nothing_whatever_a_restored_database_says(world: World) -> None:
    entry, sender = await world.ready_person(), world.sender.partner
    await sender.post(f"/intake/entries/{entry}/identification", _step("presumed", "police"))
    await world.consent(entry, "identification")
    async with database(world) as db:
        await db.execute("update fence set service_shut = true where entry = $1", entry)
    assert (await _path(world, entry))["agreed"] is False
    with refused("decision-missing"):
        await sender.post(f"/intake/entries/{entry}/identification", _step("in_process"))


async def test_for_a_young_person_the_guardians_yes_is_needed_too(world: World) -> None:
    entry, sender = await world.entry(age_years=15), world.sender.partner
    at = f"/intake/entries/{entry}/identification"
    await sender.post(at, _step("presumed", "police"))
    await world.consent(entry, "identification")
    with refused("decision-missing"):
        await sender.post(at, _step("in_process"))
    await world.consent(entry, "identification", guardian={"relationship": "parent", "expressed": "spoken"})
    await sender.post(at, _step("in_process"))


async def test_it_is_sealed_told_to_nobody_and_gone_with_the_person(world: World) -> None:
    entry, holder, sender = await world.ready_person(), Holder(world), world.sender.partner
    at = f"/intake/entries/{entry}/identification"
    await sender.post(at, _step("presumed", "police", reference=NUMBER, notes=NOTES))
    case = await holder.released(await holder.house(), entry)
    told = str((await case.packet(), await case.content()))
    assert not [one for one in ("identification", "presumed", NUMBER, NOTES) if one in told]
    count = "select count(*) from identification_step where entry = $1"
    async with database(world) as db:
        row = await db.fetchrow("select * from identification_step where entry = $1", entry)
        assert row is not None
        shown = str({name: value for name, value in row.items() if name != "sealed"})
        assert not [one for one in ("presumed", "police", NUMBER) if one in shown or one.encode() in row["sealed"]]
    events = await said(world, case.handoff)
    assert events
    assert not [one for one in ("presumed", NUMBER) if one in str(events)]
    await sender.post(f"/intake/handoffs/{case.handoff}/cancel")
    await sender.post(f"/intake/entries/{entry}/erase", {"why": "person_asked"})

    async def gone() -> bool:
        async with database(world) as db:
            return bool(await db.fetchval("select done_at from erasure where entry = $1", entry))

    await eventually(gone)
    async with database(world) as db:
        assert await db.fetchval(count, entry) == 0
    for again in (sender.get(at), sender.post(at, _step("presumed"))):
        with refused("erased"):
            await again
