"""A withdrawal against a reader who is halted at every point at which it waits, on the real database: what is told leaves
before the withdrawal is acknowledged, or is not told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.intake.consent import store as consents
from spean.db import Tx
from spean.gated import SEND_LIMIT_S
from tests.builders import World, eventually
from tests.integration.holder import (
    Case,
    Holder,
    House,
    Pausing,
    Reader,
    database,
    lists_handoffs,
    reads_handoff,
    reads_offers,
    reads_packet,
    shared_world,  # noqa: F401 (fixtures)
    waiting,
    waits_for_a_lock,
    withdraw,
)

# What a loaded machine may add to a wait of SEND_LIMIT_S.
SLACK_S = 2.0


@pytest.fixture
async def case(world: World) -> Case:
    """A person in the house's hands: offered, accepted, with an address that the sender may know."""
    holder = Holder(world)
    house = await holder.house()
    case = await holder.released(house, await world.ready_person(health_notes="asthma"))
    await case.packet("PUT", "/whereabouts", {"meeting_point": "north gate", "address": "secret street"})
    return case


async def _may_accept(case: Case) -> Reader:
    return Reader(case.app, "POST", "/questions/may-accept", case.holder.question_token(), case.acceptance())


async def _next_candidate(case: Case, house: House | None = None) -> Reader:
    candidate = {"place": case.offer, "organisation": (house or case.house).facts, "area": "KH-1",
                 "service_types": ["emergency_bed"], "eligibility": {}}  # fmt: skip
    question = {"referral": case.handoff, "candidates": [candidate]}
    return Reader(case.app, "POST", "/questions/next-candidate", case.holder.question_token(), question)


# The reader, and whether its answer tells anything that the person's consent is needed for.
READERS: dict[str, tuple[Callable[[Case], Any], Callable[[Any], bool]]] = {
    "packet": (reads_packet, lambda told: any(told.get("members", ()))),
    "offers page": (reads_offers, lambda told: told["offers"][0]["readable"]),
    "may accept": (_may_accept, lambda told: told["allowed"]),
    "next candidate": (_next_candidate, lambda told: told["place"] is not None),
    "placement": (reads_handoff, lambda told: told["receiver"] is not None or told["address"] is not None),
    "placement in the list": (lists_handoffs, lambda told: told["handoffs"][0]["receiver"] is not None),
}


async def _race(case: Case, reader: Reader, tells: Callable[[Any], bool], at: int) -> tuple[bool, list[str]]:
    """Halt a reader behind its `at`-th wait, withdraw, let it go on. Returns whether it got so far, and what happened in
    which order."""
    order: list[str] = []

    async def sent(piece: bytes) -> None:
        if piece:
            order.append("told" if tells(json.loads(piece)) else "told nothing")

    async def stop() -> None:
        await withdraw(case.holder.world, case.entries[0])
        order.append("acknowledged")

    pausing = Pausing(reader.run(sent), at)
    reading = asyncio.create_task(_awaited(pausing))
    halted = asyncio.create_task(pausing.halted.wait())
    await asyncio.wait({reading, halted}, return_when=asyncio.FIRST_COMPLETED)
    if not pausing.halted.is_set():
        halted.cancel()
        await reading
        return False, order
    async with database(case.holder.world) as db:
        stopping = asyncio.create_task(stop())

        async def done_or_waiting() -> bool:
            return stopping.done() or await waits_for_a_lock(db)

        await eventually(done_or_waiting)
        pausing.go.set()
        await asyncio.gather(reading, stopping)
    return True, order


async def _awaited(work: Pausing) -> Any:
    return await work


@pytest.mark.parametrize("name", READERS)
async def test_no_field_is_told_after_the_withdrawal_was_acknowledged(case: Case, name: str) -> None:
    build, tells = READERS[name]
    orders: list[list[str]] = []
    at = 0
    halted = True
    while halted:
        at += 1
        halted, order = await _race(case, await build(case), tells, at)
        orders.append(order)
        if halted:
            await case.holder.world.consent(case.entries[0], "share_referral")
    assert orders.pop() == ["told"], "undisturbed, the reader is told"
    assert len(orders) > 10
    for order in orders:
        assert order in (["told", "acknowledged"], ["acknowledged", "told nothing"], ["acknowledged"])
    # Both outcomes were met: who came first decides.
    assert orders[0][0] == "acknowledged"
    assert orders[-1] == ["told", "acknowledged"]


@asynccontextmanager
async def _fence_of_somebody_else(case: Case) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Whoever stops or opens, and does not come to an end."""
    async with database(case.holder.world) as db, db.transaction():
        await consents.lock_fence(Tx(db, datetime.now(UTC), None, uuid4(), None), UUID(case.entries[0]))
        yield db


@pytest.mark.parametrize("name", READERS)
async def test_a_consent_that_ends_while_a_reader_waits_has_ended_for_the_reader(case: Case, name: str) -> None:
    build, tells = READERS[name]
    told: list[Any] = []

    async def sent(piece: bytes) -> None:
        if piece:
            told.append(json.loads(piece))

    reader = await build(case)
    ends = datetime.now(UTC) + timedelta(seconds=1)
    await case.holder.world.consent(case.entries[0], "share_referral", valid_until=ends.isoformat())
    async with _fence_of_somebody_else(case) as db:
        reading = asyncio.create_task(reader.run(sent))
        await eventually(lambda: waits_for_a_lock(db))
        assert await db.fetchval("select clock_timestamp() < $1", ends), "it stood when the reader came"
        await eventually(lambda: db.fetchval("select clock_timestamp() > $1", ends))
        assert not reading.done()
    assert await reading == 200
    assert not tells(told[0])


class Slow:
    """Takes an answer as a slow receiver does: not before it is let go on."""

    def __init__(self) -> None:
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        self.told: list[Any] = []

    async def sent(self, piece: bytes) -> None:
        self.reached.set()
        await self.go.wait()
        if piece:
            self.told.append(json.loads(piece))


async def _narrow(case: Case) -> None:
    await case.holder.world.consent(case.entries[0], "share_referral", categories=["functional_needs"])


async def _exclude(case: Case) -> None:
    body = {"kind": "organisation", "value": case.house.id}
    await case.sender.post(f"/intake/entries/{case.entries[0]}/exclusions", body)


async def _end_service(case: Case) -> None:
    await withdraw(case.holder.world, case.entries[0], "service")


async def _find_to_be_a_minor(case: Case) -> None:
    await case.sender.put(f"/intake/entries/{case.entries[0]}/person", {"age_years": 15, "health_notes": "asthma"}, 1)


async def _end_agreement(case: Case) -> None:
    rules = (await case.holder.world.admin.get("/intake/rules/agreements"))["rules"]
    rule = next(one for one in rules if one["recipient"] == case.house.id)
    await case.holder.world.admin.post(f"/intake/rules/agreements/{rule['id']}/end")


STOPS: dict[str, Callable[[Case], Awaitable[None]]] = {
    "narrower consent": _narrow,
    "exclusion": _exclude,
    "service withdrawn": _end_service,
    "found to be a minor": _find_to_be_a_minor,
    "agreement ended": _end_agreement,
}


@pytest.mark.parametrize("name", STOPS)
async def test_every_stop_waits_for_who_is_being_told_and_nobody_is_told_after_it(case: Case, name: str) -> None:
    slow, again = Slow(), Slow()
    again.go.set()
    reading = asyncio.create_task((await reads_packet(case)).run(slow.sent))
    await slow.reached.wait()
    async with database(case.holder.world) as db:
        stopping = asyncio.ensure_future(STOPS[name](case))
        await eventually(lambda: waits_for_a_lock(db))
        assert not stopping.done()
        slow.go.set()
        await asyncio.gather(reading, stopping)
    assert slow.told[0]["members"][0]["health_notes"] == "asthma"
    await (await reads_packet(case)).run(again.sent)
    assert "asthma" not in json.dumps(again.told)


async def test_a_withdrawal_waits_for_a_stuck_reader_no_longer_than_the_limit(case: Case) -> None:
    slow = Slow()
    reading = asyncio.create_task((await reads_packet(case)).run(slow.sent))
    await slow.reached.wait()
    began = time.monotonic()
    await withdraw(case.holder.world, case.entries[0])
    assert 0.5 < time.monotonic() - began < SEND_LIMIT_S + SLACK_S
    await reading
    assert slow.told == []


async def test_whoever_comes_after_a_withdrawal_waits_behind_it(case: Case) -> None:
    """Else readers who come one after the other would keep it waiting for ever."""
    before, after = Slow(), Slow()
    reading = [asyncio.create_task((await reads_packet(case)).run(before.sent))]
    await before.reached.wait()
    async with database(case.holder.world) as db:
        stopping = asyncio.create_task(withdraw(case.holder.world, case.entries[0]))
        await eventually(lambda: waits_for_a_lock(db))
        reading.append(asyncio.create_task((await reads_packet(case)).run(after.sent)))

        async def waits_too() -> bool:
            return after.reached.is_set() or await waiting(db) > 1

        await eventually(waits_too)
        assert not after.reached.is_set()
        for one in (before, after):
            one.go.set()
        await asyncio.gather(*reading, stopping)
    assert before.told[0]["members"][0]["health_notes"] == "asthma"
    assert after.told[0]["members"] == [{}]


async def test_stuck_readers_leave_a_connection_for_the_withdrawal(case: Case) -> None:
    stuck = [Slow() for _ in range(20)]
    reading = [asyncio.create_task((await reads_handoff(case)).run(one.sent)) for one in stuck]

    async def some_are_stuck() -> bool:
        return sum(one.reached.is_set() for one in stuck) >= 4

    await eventually(some_are_stuck)
    began = time.monotonic()
    await withdraw(case.holder.world, case.entries[0])
    assert time.monotonic() - began < SEND_LIMIT_S + SLACK_S
    for one in stuck:
        one.go.set()
    await asyncio.gather(*reading)
    told = [answer for one in stuck for answer in one.told]
    assert told
    assert not any(answer["receiver"] for answer in told)


async def test_two_members_withdraw_while_both_orders_of_them_are_read(world: World) -> None:
    """Nobody waits for somebody who waits for them, whatever the order of a party or of a page."""
    holder = Holder(world)
    house = await holder.house()
    one, two = await world.ready_person(), await world.ready_person()
    again = {"service_type": "medium_term_shelter"}
    cases = [await holder.offered(house, one, two), await holder.offered(house, two, one, **again)]
    offers = [{"offer": case.offer, "referral": case.handoff} for case in cases]

    async def page(order: list[dict[str, str]]) -> list[bool]:
        answer = await holder.ask("readable-offers", {"organisation": house.facts, "offers": order})
        return [offer["readable"] for offer in answer["offers"]]

    pages = [page(offers if number % 2 else offers[::-1]) for number in range(8)]
    await asyncio.gather(*pages[:4], withdraw(world, one), withdraw(world, two), *pages[4:])
    assert await page(offers) == [False, False]


async def test_whoever_is_asked_next_may_answer_as_soon_as_the_network_knows(case: Case) -> None:
    """The network asks them at once; the answer's own transaction is still open then, and may fail."""
    house = await case.holder.house()
    read = await _next_candidate(case, house)
    readable: list[Any] = []

    async def sent(piece: bytes) -> None:
        assert json.loads(piece)["place"] == case.offer
        readable.append(await replace(case, house=house).content())

    assert await read.run(sent) == 200
    assert [one["readable"] for one in readable] == [True]
