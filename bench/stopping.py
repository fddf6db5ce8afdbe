"""How soon a withdrawal is everywhere, while nothing else is done and under load: the gate, the offer, the copies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from bench import wire
from bench.figures import Figure, at_quantile
from bench.ground import SHORT, WAIT_S, until
from bench.stage import SERVICES, Stage, id_of, people

IDLE = 10 if SHORT else 40
STOPS = 10 if SHORT else 110
STOPS_PER_S = 6
# What this machine bears beside the withdrawals: each is asked for, offered, told, and accepted.
LOAD_PER_S = 6
# How often the house that gets them looks.
LOOK_S = 0.25
PACE = {"stops": STOPS, "stops_per_s": STOPS_PER_S, "load_per_s": LOAD_PER_S, "idle": IDLE}
# A packet was read by the house of one, the offer is open at that of the other.
READ, OPEN, LOAD = SERVICES[:3]
_QUANTILES = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
# Everything out within two seconds, and nothing after five.
_LIMIT_MS = {"p50": 2_000.0, "p99": 2_000.0, "max": 5_000.0}
_BESIDE = "the same while nothing else is done"


@dataclass(frozen=True, slots=True)
class Stopping:
    """Somebody who will stop: the hand-off whose offer is open, and the accepted offer whose packet was read."""

    person: str
    open: UUID
    read: UUID


async def measure(on: Stage) -> list[Figure]:
    kind = on.ground.kind
    figures = {
        (what, name): Figure(f"withdrawn → {what}, {name}", kind, "ms", "less", _BESIDE, limit=_LIMIT_MS[name])
        for what in ("answered, gate shut", "offer withdrawn", "house told to erase")
        for name, _ in _QUANTILES
    }
    async with on.working():
        stopping = await _ready(on, IDLE + STOPS)
        alone = await _stop(on, stopping[:IDLE])
        async with _loaded(on):
            loaded = await _stop(on, stopping[IDLE:])
    for (what, name), figure in figures.items():
        quantile = dict(_QUANTILES)[name]
        figure.ours.append(at_quantile(loaded[what], quantile))
        figure.floor.append(at_quantile(alone[what], quantile))
    return list(figures.values())


async def _ready(on: Stage, count: int) -> list[Stopping]:
    """New people with an open offer at one house and a packet that another has read."""
    persons = await people(on, count)
    read, open_ = [await _asked(on, service, persons) for service in (READ, OPEN)]
    offers = await _offers(on, read)
    await _accepted(on, READ, list(offers.values()))
    house = on.house(READ).partner
    for offer in offers.values():
        await house.packet(str(offer))
    opened = await _offers(on, open_)
    return [
        Stopping(person, opened[asked], offers[was_read])
        for person, asked, was_read in zip(persons, open_, read, strict=True)
    ]


async def _asked(on: Stage, service: str, persons: Sequence[str]) -> list[UUID]:
    """Hand-offs for them, in their order."""
    found: list[UUID] = []
    for person in persons:
        headers = await on.headers(on.world.sender.partner, str(uuid4()))
        made = await wire.pour(
            on.url, [wire.request("POST", on.url, "/intake/handoffs", on.ask(service, person), **headers)], 201, 1
        )
        found.append(UUID(id_of(made.bodies[0])))
    return found


async def _offers(on: Stage, handoffs: Sequence[UUID]) -> dict[UUID, UUID]:
    """Hand-off → its open offer, once each has one."""
    conn = await on.ground.connect("referral")
    found: dict[UUID, UUID] = {}

    async def there() -> bool:
        query = "select referral, id from offer where referral = any($1) and state in ('sent', 'seen')"
        found.update({row["referral"]: row["id"] for row in await conn.fetch(query, list(handoffs))})
        return len(found) == len(handoffs)

    try:
        await until(there, every_s=0.1)
    finally:
        await conn.close()
    return found


async def _accepted(on: Stage, service: str, offers: Sequence[UUID]) -> None:
    house = on.house(service).partner
    ready = [
        wire.request("POST", on.url, f"/referral/offers/{offer}/accept", **await on.headers(house, str(uuid4())))
        for offer in offers
    ]
    if ready:
        await wire.pour(on.url, ready, 200)


async def _stop(on: Stage, stopping: Sequence[Stopping]) -> dict[str, list[float]]:
    """They take sharing back, one every so often, whether or not the last has its answer. Returns how many ms each took,
    for each of what follows."""
    began: dict[str, float] = {}
    answered: list[float] = []

    async def one(who: Stopping) -> None:
        headers = await on.headers(on.world.sender.partner, str(uuid4()))
        path = f"/intake/entries/{who.person}/withdraw"
        ready = wire.request("POST", on.url, path, {"what": "sharing"}, **headers)
        began[who.person] = time.time()
        answered.extend((await wire.pour(on.url, [ready], 200, 1)).each)

    await _at_pace(STOPS_PER_S, [one(who) for who in stopping])
    withdrawn = await _committed(
        on, "referral", "select id, {at} as at from offer where id = any($1) and state = 'withdrawn'",
        [who.open for who in stopping],
    )  # fmt: skip
    told = await _committed(
        on, "notify", "select offer as id, {at} as at from copy_view where offer = any($1)",
        [who.read for who in stopping],
    )  # fmt: skip
    return {
        "answered, gate shut": [seconds * 1000 for seconds in answered],
        "offer withdrawn": [(withdrawn[who.open] - began[who.person]) * 1000 for who in stopping],
        "house told to erase": [(told[who.read] - began[who.person]) * 1000 for who in stopping],
    }


async def _at_pace(per_s: float, todo: Sequence[Any]) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for at, one in enumerate(todo):
            await asyncio.sleep(max(start + at / per_s - loop.time(), 0))
            tasks.create_task(one)


async def _committed(on: Stage, database: str, query: str, ids: Sequence[UUID]) -> dict[UUID, float]:
    """When each of these rows was committed, once all of them are: seconds since 1970, by PostgreSQL."""
    at = "extract(epoch from pg_xact_commit_timestamp(xmin))::float8"
    conn = await on.ground.connect(database)
    found: dict[UUID, float] = {}

    async def there() -> bool:
        found.update({row["id"]: row["at"] for row in await conn.fetch(query.format(at=at), list(ids))})
        return len(found) == len(ids)

    try:
        await until(there, every_s=0.1)
    finally:
        await conn.close()
    return found


@asynccontextmanager
async def _loaded(on: Stage) -> AsyncIterator[None]:
    """Hand-offs at a steady rate, each offered, told and accepted, for as long as the block lasts. Raises TimeoutError where
    the machine does not bear it."""
    persons = await people(on, LOAD_PER_S * (STOPS // STOPS_PER_S + 4))
    loading = asyncio.create_task(_load(on, persons))
    await asyncio.sleep(1)
    try:
        yield
    finally:
        await loading


async def _load(on: Stage, persons: Sequence[str]) -> None:
    asking = asyncio.create_task(_at_pace(LOAD_PER_S, [_asked(on, LOAD, [person]) for person in persons]))
    conn = await on.ground.connect("referral")
    house = UUID(on.house(LOAD).id)

    async def in_state(*states: str) -> list[UUID]:
        query = "select id from offer where organisation = $1 and state = any($2)"
        return [row["id"] for row in await conn.fetch(query, house, states)]

    wanted = len(await in_state("accepted")) + len(persons)
    try:
        async with asyncio.timeout(WAIT_S):
            while len(await in_state("accepted")) < wanted:
                try:
                    await _accepted(on, LOAD, await in_state("sent", "seen"))
                except* wire.Unexpected:
                    pass  # whoever finds the holder too busy looks again, as every house does
                if asking.done():
                    await asking
                await asyncio.sleep(LOOK_S)
    finally:
        asking.cancel()
        await conn.close()
