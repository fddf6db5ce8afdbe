"""What is written down of the gate's answers: each one that tells anything else, and how often the same one was given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.builders import CATEGORIES, PURPOSES, World
from tests.integration.holder import (
    Case,
    Holder,
    Reader,
    database,
    lists_handoffs,
    reads_handoff,
    reads_offers,
    reads_packet,
    settled,
    shared_world,  # noqa: F401 (fixtures)
    withdraw,
)


@pytest.fixture
async def case(world: World) -> Case:
    holder = Holder(world)
    case = await holder.released(await holder.house(), await world.ready_person(health_notes="asthma"))
    await settled(world)
    return case


async def _rows(case: Case, stage: str = "packet") -> list[dict[str, Any]]:
    await settled(case.holder.world)
    found = (await case.sender.get(f"/intake/handoffs/{case.handoff}/disclosures"))["disclosures"]
    return [row for row in found if row["stage"] == stage]


async def _placement(case: Case) -> None:
    assert (await case.seen())["receiver"] == case.house.id


@pytest.mark.parametrize(
    ("stage", "read"), [("packet", Case.packet), ("offer", Case.content), ("placement", _placement)]
)
async def test_the_same_answer_is_one_row_however_often_it_is_given(
    case: Case, stage: str, read: Callable[[Case], Awaitable[Any]]
) -> None:
    await read(case)
    before = await _rows(case, stage)
    for _ in range(4):
        await read(case)
        await settled(case.holder.world)
    after = await _rows(case, stage)
    assert len(after) == len(before)
    row = after[-1]
    assert row["times"] == before[-1]["times"] + 4
    assert row["at"] < row["last_at"]
    assert row["entry"] == case.entries[0]


async def test_a_refusal_that_is_met_again_and_again_is_one_row_too(case: Case) -> None:
    await withdraw(case.holder.world, case.entries[0])
    for _ in range(3):
        assert not await case.may_accept()
        await settled(case.holder.world)
    (row,) = await _rows(case, "offer")
    assert (row["times"], row["allowed"], set(row["refused"].values())) == (3, [], {"fenced"})


async def test_what_is_asked_for_twice_in_one_question_is_counted_twice(case: Case) -> None:
    offer = {"offer": case.offer, "referral": case.handoff}
    question = {"organisation": case.house.facts, "offers": [offer, offer]}
    for _ in range(2):
        await case.holder.ask("readable-offers", question)
        await settled(case.holder.world)
    assert [row["times"] for row in await _rows(case, "offer")] == [4]


# --- what makes another answer of it ------------------------------------------------------------------------------


async def _corrected(case: Case) -> None:
    body = {"age_years": 24, "sex": "female", "name": "Test Person", "health_notes": "asthma, inhaler at hand"}
    await case.sender.put(f"/intake/entries/{case.entries[0]}/person", body, 1)


async def _consented_anew(case: Case) -> None:
    await case.holder.world.consent(case.entries[0], "share_referral")


async def _agreed_anew(case: Case) -> None:
    """The same agreement under another review: whoever had to erase what came by the first one is told anew."""
    admin = case.holder.world.admin
    rules = (await admin.get("/intake/rules/agreements"))["rules"]
    old = next(one for one in rules if one["recipient"] == case.house.id)
    body = {"sender": case.holder.world.sender.id, "recipient": case.house.id}
    await admin.post("/intake/rules/agreements", {**body, "categories": CATEGORIES, "purposes": PURPOSES})
    await admin.post(f"/intake/rules/agreements/{old['id']}/end")


async def _met_elsewhere(case: Case) -> None:
    await case.packet("PUT", "/whereabouts", {"meeting_point": "south gate"})


CHANGES: dict[str, Callable[[Case], Awaitable[None]]] = {
    "corrected": _corrected,
    "consent given anew": _consented_anew,
    "agreement reviewed anew": _agreed_anew,
    "whereabouts": _met_elsewhere,
}


@pytest.mark.parametrize("name", CHANGES)
async def test_whoever_is_told_anything_else_has_a_row_of_its_own(case: Case, name: str) -> None:
    await case.packet()
    await settled(case.holder.world)
    await CHANGES[name](case)
    await case.packet()
    await settled(case.holder.world)
    await case.packet()
    before, after = await _rows(case)
    assert (before["times"], after["times"]) == (2, 2)
    assert before["last_at"] < after["at"]


async def test_an_answer_that_is_given_again_after_another_is_a_row_of_its_own(case: Case) -> None:
    world, entry = case.holder.world, case.entries[0]
    await withdraw(world, entry)
    await case.packet()
    await world.consent(entry, "share_referral")
    await case.packet()
    rows = await _rows(case)
    assert [("name" in row["allowed"], row["times"]) for row in rows] == [(True, 1), (False, 1), (True, 1)]
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)


async def test_the_rules_that_an_answer_rests_on_are_written_down(case: Case) -> None:
    async with database(case.holder.world) as db:
        found = await db.fetch(
            "select unnest(rules) as id from disclosure where handoff = $1 and stage = 'packet'", case.handoff
        )
        agreement = await db.fetchval("select id from agreement where recipient = $1", case.house.id)
        need = await db.fetchval(
            "select id from need_to_know where network = $1 and service_group = 'shelter' and stage = 'packet'",
            case.holder.world.network,
        )
    assert {agreement, need} <= {row["id"] for row in found}


# --- side by side -------------------------------------------------------------------------------------------------


async def test_readers_side_by_side_lose_no_count(case: Case) -> None:
    await asyncio.gather(*(case.content() for _ in range(24)))
    rows = await _rows(case, "offer")
    assert sum(row["times"] for row in rows) == 24
    await case.content()
    assert len(await _rows(case, "offer")) == len(rows)


async def test_nobody_waits_for_a_reader_whose_answer_is_on_its_way(case: Case) -> None:
    """A row that somebody counts in is theirs until their answer has left; another reader writes a row of its own."""
    await case.content()
    before = len(await _rows(case, "offer"))
    reached, go = asyncio.Event(), asyncio.Event()
    told: list[Any] = []

    async def slowly(piece: bytes) -> None:
        reached.set()
        await go.wait()
        told.append(json.loads(piece))

    reading = asyncio.create_task((await reads_offers(case)).run(slowly))
    await reached.wait()
    await case.content()
    assert not reading.done()
    go.set()
    await reading
    assert told[0]["offers"][0]["readable"]
    assert [row["times"] for row in await _rows(case, "offer")][before - 1 :] == [2, 1]


@pytest.mark.parametrize(
    ("stage", "reads", "says"),
    [
        ("packet", reads_packet, b"inhaler at hand"),
        ("offer", reads_offers, b'"readable":true'),
        ("placement", reads_handoff, b"north gate"),
        ("placement", lists_handoffs, b"north gate"),
    ],
)
async def test_what_left_is_known_whatever_dies_before_its_transaction_is_over(
    case: Case, caplog: pytest.LogCaptureFixture, stage: str, reads: Callable[[Case], Awaitable[Reader]], says: bytes
) -> None:
    """Here the database's session, once the answer has left: what it told for the first time is written down."""
    await case.packet("PUT", "/whereabouts", {"meeting_point": "north gate"})
    await _corrected(case)
    before = await _rows(case, stage)
    told: list[bytes] = []
    read = await reads(case)
    async with database(case.holder.world) as db:

        async def sent(piece: bytes) -> None:
            told.append(piece)
            ended = await db.fetch(
                """
                select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and state = 'idle in transaction' and pid <> pg_backend_pid()
                """
            )
            assert ended

        assert await read.run(sent) == 200
    assert "an answer has left whole, and its transaction failed" in caplog.messages
    assert says in b"".join(told)
    *earlier, row = await _rows(case, stage)
    assert (len(earlier), row["times"]) == (len(before), 1)
    assert row["allowed"]
