"""The same command twice is one effect and one answer; and what is too old is forgotten, hourly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
from fastapi import FastAPI, Response
from pydantic import BaseModel

from schemas.questions import OrganisationFacts
from schemas.vocabulary import OrganisationStatus, OrganisationType
from spean import idempotency
from spean.auth import Caller
from spean.http import Command, Reply
from spean.idempotency import KEPT_HOURS
from spean.problem import REFUSALS, Refusal
from spean.service import UPKEEP, UPKEEP_EVERY, Service
from tests.builders import eventually
from tests.integration.kit import Kit, Line, going

FIRST, OTHER = b"one request", b"another request"


class Answer(BaseModel):
    number: int


class Work:
    """A command's work that counts how often it was really done."""

    def __init__(self, wait_for: asyncio.Event | None = None) -> None:
        self.done, self.begun, self.wait_for = 0, asyncio.Event(), wait_for

    async def __call__(self, _: object) -> Reply:
        self.begun.set()
        if self.wait_for is not None:
            await self.wait_for.wait()
        self.done += 1
        return Reply(Answer(number=self.done), version=self.done, status=201)


def command(kit: Kit, org: UUID, key: str, fingerprint: bytes = FIRST) -> Command:
    facts = OrganisationFacts(
        organisation=org, type=OrganisationType.SHELTER, country="KH", law_enforcement=False,
        status=OrganisationStatus.ACTIVE,
    )  # fmt: skip
    return Command(kit.db, Caller(org, "test", frozenset(), frozenset(), facts, 0.0), key, (fingerprint,), None)


async def refused(work: Awaitable[object]) -> str:
    with pytest.raises(Refusal) as raised:
        await work
    return raised.value.code


@pytest.mark.parametrize("as_service", [False, True], ids=["organisation", "service"])
async def test_the_same_key_gives_the_same_answer(writer: Kit, as_service: bool) -> None:  # noqa: FBT001
    org, work = uuid4(), Work()

    async def run() -> tuple[int, str | None, object]:
        made = command(writer, org, "k1")
        answer = await (made.run_as_service("test", work) if as_service else made.run("test", work))
        return answer.status_code, answer.headers["etag"], json.loads(bytes(answer.body))

    assert await run() == await run() == (201, '"v1"', {"number": 1})
    assert work.done == 1
    kept = await command(writer, org, "k1").answered()
    assert kept is not None
    assert json.loads(bytes(kept.body)) == {"number": 1}
    assert await command(writer, org, "k2").answered() is None
    again = await command(writer, org, "k1").before("test", work)
    assert isinstance(again, Response)
    assert json.loads(bytes(again.body)) == {"number": 1}
    assert await command(writer, org, "k2").before("test", work) == Reply(Answer(number=2), version=2, status=201)


async def test_a_command_is_known_again_by_the_secret_that_was_before(writer: Kit) -> None:
    org, work = uuid4(), Work()
    await command(writer, org, "k1").run("test", work)
    caller = command(writer, org, "k1").caller
    with_both = Command(writer.db, caller, "k1", (OTHER, FIRST), None)
    assert json.loads(bytes((await with_both.run("test", work)).body)) == {"number": 1}
    assert await refused(Command(writer.db, caller, "k1", (OTHER,), None).run("test", work)) == "key-reused"
    assert work.done == 1


async def test_nothing_is_looked_up_by_who_did_not_ask_to_be_alone(writer: Kit) -> None:
    org = uuid4()
    async with writer.db.transaction("test", org=org) as tx:
        assert await refused(idempotency.find(tx, "k", FIRST)) == "key-running"
    async with writer.db.transaction("test", org=org, alone=idempotency.lock_of(org, "other")) as tx:
        assert tx.alone


async def test_another_request_under_the_same_key_is_refused(writer: Kit) -> None:
    org, work = uuid4(), Work()
    await command(writer, org, "k").run("test", work)
    assert await refused(command(writer, org, "k", OTHER).run("test", work)) == "key-reused"
    assert await refused(command(writer, org, "k", OTHER).answered()) == "key-reused"
    assert REFUSALS["key-reused"][0] == 422
    assert work.done == 1


async def test_while_it_is_carried_out_the_second_is_told_to_wait(writer: Kit) -> None:
    org, gate = uuid4(), asyncio.Event()
    work, second = Work(gate), Work()
    running = asyncio.create_task(command(writer, org, "k").run("test", work))
    await work.begun.wait()
    assert await refused(command(writer, org, "k").run("test", second)) == "key-running"
    assert await refused(command(writer, org, "k").answered()) == "key-running"
    assert REFUSALS["key-running"][0] == 409
    # Another organisation's key of that name, and another key, are free.
    await command(writer, uuid4(), "k").run("test", second)
    await command(writer, org, "k2").run("test", second)
    gate.set()
    first = await running
    assert (await command(writer, org, "k").run("test", second)).body == first.body
    assert (work.done, second.done) == (1, 2)


async def test_many_at_once_are_one_effect(writer: Kit) -> None:
    org, work = uuid4(), Work()

    async def once() -> bytes | str:
        try:
            return bytes((await command(writer, org, "k").run("test", work)).body)
        except Refusal as refusal:
            return refusal.code

    answers = await asyncio.gather(*(once() for _ in range(40)))
    assert work.done == 1
    assert set(answers) <= {b'{"number":1}', "key-running"}
    assert b'{"number":1}' in answers


async def test_what_failed_was_not_answered(writer: Kit) -> None:
    org, work = uuid4(), Work()

    async def fails(_: object) -> Reply:
        raise Refusal("state")

    assert await refused(command(writer, org, "k").run("test", fails)) == "state"
    assert (await command(writer, org, "k").run("test", work)).status_code == 201
    assert work.done == 1


async def test_the_clock_forgets_what_is_too_old(line: Line, kit_bus_dsn: str, writer: Kit) -> None:
    """Answers after 72 hours, and on the Postgres bus records after their topic's days; then again in an hour."""
    org, work = uuid4(), Work()
    await command(writer, org, "old").run("test", work)
    await command(writer, org, "new").run("test", work)
    at = f"now() - interval '{KEPT_HOURS} hours 1 minute'"
    await writer.rows(f"update idempotency set at = {at} where key = 'old'")
    await line.append(*(line.event(org, n) for n in (1, 2)))
    conn = await asyncpg.connect(kit_bus_dsn)
    await conn.execute("update log set at = at - interval '15 days' where topic = $1 and \"offset\" = 0", line.topic)
    await conn.close()

    async def set_again() -> bool:
        return bool(
            await writer.value("select at > now() + $2::interval / 2 from due where kind = $1", UPKEEP, UPKEEP_EVERY)
        )

    service = Service(
        name="test", source=line.source, db=writer.db, bus=line.bus, app=FastAPI(), reads=[], events={}, due={}
    )
    async with going(service.run(["clock"])):
        await eventually(set_again)
    rows = await writer.rows("select key from idempotency")
    assert [row["key"] for row in rows] == ["new"]
    bounds = await line.bus.bounds(line.topic)
    assert sorted((start, end) for start, end in bounds.values())[-1] == (1, 2)
    assert (await writer.value("select at - now() from due where kind = $1", UPKEEP)) > timedelta(minutes=50)
