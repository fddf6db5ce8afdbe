"""Who knew what about a case at a time, under which consent and rule: one question, answered to the officer alone."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from services.cli.client import ApiProblem, Partner
from services.cli.main import app
from services.intake.disclosure import store
from tests.builders import CATEGORIES, PURPOSES, World, second_system
from tests.integration.holder import (
    Case,
    Holder,
    database,
    refused,
    settled,
    shared_world,  # noqa: F401 (fixtures)
    withdraw,
)


@pytest.fixture
async def officer(world: World) -> Partner:
    return await second_system(world, world.sender, ["intake:rules"])


async def _now(world: World) -> str:
    async with database(world) as db:
        found: datetime = await db.fetchval("select clock_timestamp()")
    return found.isoformat()


async def _audit(officer: Partner, case: str, at: str = "") -> dict[str, Any]:
    found: dict[str, Any] = await officer.get(
        f"/intake/cases/{case}/audit{f'?at={at}' if at else ''}".replace("+", "%2B")
    )
    return found


async def _reviewed_anew(case: Case) -> tuple[str, str]:
    """The agreement with the house ends and another begins, without the account. Returns both."""
    admin, both = case.holder.world.admin, {"sender": case.holder.world.sender.id, "recipient": case.house.id}
    rules = (await admin.get("/intake/rules/agreements"))["rules"]
    old = next(one["id"] for one in rules if one["recipient"] == case.house.id)
    body = {**both, "categories": [one for one in CATEGORIES if one != "health"], "purposes": PURPOSES}
    new = (await admin.post("/intake/rules/agreements", body))["id"]
    await admin.post(f"/intake/rules/agreements/{old}/end")
    return old, new


def _of(found: dict[str, Any], stage: str = "packet") -> list[dict[str, Any]]:
    return [one for one in found["answers"] if one["stage"] == stage]


def _agreements(answer: dict[str, Any]) -> dict[str, bool]:
    """The agreements that an answer rests on: was each in force at the time that is asked about?"""
    return {one["id"]: one["in_force"] for one in answer["rules"] if one["kind"] == "agreements"}


async def test_at_each_time_what_was_known_then(world: World, officer: Partner) -> None:
    """Told by one agreement, told less by the next, stopped, copy asked back, copy erased: five moments, five answers."""
    holder, house = Holder(world), await Holder(world).house()
    entry = await world.ready_person(health_notes="asthma")
    moments = [await _now(world)]
    case = await holder.released(house, entry)
    await case.content()
    await settled(world)
    moments.append(await _now(world))
    old, new = await _reviewed_anew(case)
    await case.packet()
    await settled(world)
    moments.append(await _now(world))
    await withdraw(world, entry)
    await case.packet()
    await settled(world)
    moments.append(await _now(world))
    await case.answer("erased")
    moments.append(await _now(world))
    before, first, second, third, last = [await _audit(officer, entry, at) for at in moments]

    assert (before["answers"], before["entry"], before["whole"]) == ([], entry, True)
    assert {(one["decision"], one["state"], one["stands"]) for one in before["decisions"]} == {
        ("service", "given", True), ("share_referral", "given", True),
    }  # fmt: skip

    (offer,) = _of(first, "offer")
    assert offer["recipient"] == house.id
    assert "needs" in offer["told"]
    assert "name" not in offer["told"]
    (told,) = _of(first)
    assert {"name", "health_notes"} <= set(told["told"])
    assert told["recipient_as"] == {key: value for key, value in house.facts.items() if key != "organisation"}
    assert (told["sharing"]["decision"], told["sharing"]["state"]) == ("share_referral", "given")
    assert (told["service"]["decision"], told["service"]["state"]) == ("service", "given")
    assert (told["times"], told["entry_version"], told["complete"]) == (1, 1, True)
    assert _agreements(told) == {old: True}
    assert told["packet"] == {"erasure": None, "asked_at": None, "answered_at": None, "statements": []}

    earlier, later = _of(second)
    assert _agreements(earlier) == {old: False}
    assert _agreements(later) == {new: True}
    assert set(earlier["told"]) - set(later["told"]) == {"health_notes"} | (
        {field for field, rule in later["refused"].items() if rule == "agreement"} & set(earlier["told"])
    )
    assert later["refused"]["health_notes"] == "agreement"
    assert later["sharing"]["version"] == earlier["sharing"]["version"]

    *before_it, stopped = _of(third)
    assert [one["told"] for one in before_it] == [earlier["told"], later["told"]]
    assert (stopped["told"], set(stopped["refused"].values()), stopped["packet"]) == ([], {"fenced"}, None)
    (sharing,) = [one for one in third["decisions"] if one["decision"] == "share_referral"]
    assert (sharing["state"], sharing["stands"]) == ("withdrawn", False)
    assert sharing["version"] > later["sharing"]["version"]
    assert (before_it[0]["packet"]["erasure"], before_it[0]["packet"]["answered_at"]) == ("requested", None)
    assert moments[1] < before_it[0]["packet"]["asked_at"] < moments[3].replace("+00:00", "Z")

    assert _of(last)[0]["packet"]["erasure"] == "erased"
    assert _of(last)[0]["packet"]["answered_at"] > before_it[0]["packet"]["asked_at"]


async def test_what_was_told_again_later_was_known_since_the_first_time(world: World, officer: Partner) -> None:
    case = await Holder(world).released(await Holder(world).house(), await world.ready_person())
    await settled(world)
    between = await _now(world)
    await case.packet()
    await settled(world)
    (then,), (now,) = [_of(await _audit(officer, case.entries[0], at)) for at in (between, "")]
    assert (then["times"], now["times"]) == (None, 2)
    assert then["first_at"] == then["last_at"] == now["first_at"] < now["last_at"]


async def test_what_was_not_kept_is_said_to_be_unknown(world: World, officer: Partner) -> None:
    """A row and a copy of before the officer's question could be asked."""
    case = await Holder(world).released(await Holder(world).house(), await world.ready_person())
    await settled(world)
    await withdraw(world, case.entries[0])
    async with database(world) as db:
        await db.execute(
            "update disclosure set facts = null, service_version = null, rules = '{}', content = '' where handoff = $1",
            case.handoff,
        )
        await db.execute("update packet set erasure_asked_at = null where handoff = $1", case.handoff)
    told = _of(await _audit(officer, case.entries[0]))[0]
    assert (told["complete"], told["recipient_as"], told["service"], told["entry_version"]) == (False, None, None, None)
    assert told["rules"] == []
    assert told["sharing"]["state"] == "given"
    assert told["packet"] == {"erasure": "requested", "asked_at": None, "answered_at": None, "statements": []}


async def test_each_house_answers_for_its_own_copy(world: World, officer: Partner) -> None:
    holder = Holder(world)
    first = await holder.released(await holder.house(), await world.ready_person())
    second = Case(holder, await holder.house(), first.entries, first.handoff)
    assert await holder.next_candidate(first.handoff, second.house) == second.house.id
    await second.packet()
    await settled(world)
    await withdraw(world, first.entries[0])
    await first.answer("retained_by_law", reason="court_order", law="Sample order 12/2026")
    answers = _of(await _audit(officer, first.entries[0]))
    assert {one["recipient"]: one["packet"]["erasure"] for one in answers} == {
        first.house.id: "retained_by_law", second.house.id: "requested",
    }  # fmt: skip


async def test_asking_is_written_down(world: World, officer: Partner) -> None:
    entry = await world.ready_person()
    about = await _now(world)
    await _audit(officer, entry, about)
    asked = (await _audit(officer, entry))["asked"]
    assert [one["by"] for one in asked] == [officer.client_id] * 2
    assert datetime.fromisoformat(asked[1]["about"]) == datetime.fromisoformat(about)
    assert asked[1]["at"] < asked[0]["at"]


async def test_of_another_organisation_nothing_is_said_and_nothing_written(world: World, officer: Partner) -> None:
    entry = await world.ready_person()
    other = (await world.organisation("Other", "ngo", ["intake:rules"])).partner
    said = []
    for id_ in (entry, str(uuid4())):
        with refused("not-found") as problem:
            await _audit(other, id_)
        said.append(problem.value.problem)
    assert said[0] == said[1]
    with refused("not-found"):
        await _audit(world.admin, entry)
    assert len((await _audit(officer, entry))["asked"]) == 1
    with pytest.raises(ApiProblem, match="scope"):
        await _audit(world.sender.partner, entry)


async def test_row_security_alone_keeps_a_case_from_others(world: World) -> None:
    """The same statement, as another organisation and as none that is set."""
    case = await Holder(world).released(await Holder(world).house(), await world.ready_person())
    await settled(world)
    db, at = world.made.services["intake"].db, datetime.now(UTC) + timedelta(minutes=1)
    seen = {}
    for org in (world.sender.id, case.house.id, str(uuid4())):
        async with db.transaction("test.audit", org=UUID(org)) as tx:
            seen[org] = len(await store.known(tx, UUID(case.entries[0]), at, 10))
    assert list(map(bool, seen.values())) == [True, False, False]


async def test_of_too_many_answers_the_latest_are_told(world: World) -> None:
    case = await Holder(world).released(await Holder(world).house(), await world.ready_person())
    await settled(world)
    await withdraw(world, case.entries[0])
    await case.packet()
    await settled(world)
    async with world.made.services["intake"].db.transaction("test.audit", org=UUID(world.sender.id)) as tx:
        every, last = [await store.known(tx, UUID(case.entries[0]), tx.now, most) for most in (10, 1)]
    assert len(every) > 1
    assert last == every[-1:]
    assert last[0]["allowed"] == []


async def test_a_time_to_come_is_refused(world: World, officer: Partner) -> None:
    entry = await world.ready_person()
    with refused("invalid"):
        await _audit(officer, entry, (datetime.now(UTC) + timedelta(hours=1)).isoformat())
    assert len((await _audit(officer, entry))["asked"]) == 1


async def test_the_command_line_asks_and_shows(world: World, officer: Partner, tmp_path: Path) -> None:
    case = await Holder(world).released(await Holder(world).house(), await world.ready_person(health_notes="asthma"))
    await settled(world)
    key = tmp_path / "officer.jwk"
    key.write_text(json.dumps(officer._key.as_dict(private=True)), encoding="utf-8")
    more = ["--as", officer.client_id, "--key", str(key), "--url", world.made.url]

    async def run(*words: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, app, ["audit", case.entries[0], *words, *more])

    told = await run()
    assert told.exit_code == 0, told.output
    shown = told.stdout.replace("\n", " ")
    for wanted in (case.house.id, "health_notes", "agreements", "holds one", officer.client_id, "asthma"):
        assert (wanted in shown) is (wanted != "asthma"), wanted
    answer = json.loads((await run("--json", "--at", datetime.now(UTC).isoformat())).stdout)
    assert _of(answer)[0]["recipient"] == case.house.id
    assert (await run("--at", "yesterday")).exit_code == 2
