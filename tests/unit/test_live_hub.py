"""The hub of pages that move, by itself: numbers only rise, nobody is asked for nobody, what many want is made once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

from spean.db import DatabaseProblem
from spean.web.live import Hub, Rising, Shared
from tests.builders import eventually


class Numbers:
    """A look at numbers that a test sets."""

    def __init__(self) -> None:
        self.numbers: dict[UUID, int] = {}
        self.asked: list[frozenset[UUID]] = []
        self.broken = False

    async def __call__(self, organisations: frozenset[UUID]) -> Mapping[UUID, int]:
        self.asked.append(organisations)
        if self.broken:
            raise DatabaseProblem("test", "08006")
        return {one: self.numbers[one] for one in organisations if one in self.numbers}


async def test_numbers_only_rise_and_each_sees_the_own():
    numbers, one, other = Numbers(), uuid4(), uuid4()
    hub = Hub(numbers, asyncio.Event(), every_s=0.01)
    numbers.numbers = {one: 7}
    assert (await hub.now(one), await hub.now(other)) == (7, 0)
    with hub.watching(one), hub.watching(other):
        assert await hub.wait(one, 3, within_s=5) == 7
        waiting = asyncio.create_task(hub.wait(other, 0, within_s=0.3))
        numbers.numbers[one] = 9
        assert await hub.wait(one, 7, within_s=5) == 9
        numbers.numbers[one] = 2  # a reader of an older copy
        assert await hub.wait(one, 9, within_s=0.1) == 9
        assert await hub.now(one) == 9
        assert await waiting == 0


async def test_nobody_is_asked_while_nobody_watches():
    numbers = Numbers()
    hub = Hub(numbers, asyncio.Event(), every_s=0.01)
    with hub.watching(uuid4()):
        await hub.wait(uuid4(), 0, within_s=0.05)
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "live"))
    asked = len(numbers.asked)
    await hub.wait(uuid4(), 0, within_s=0.1)
    assert len(numbers.asked) == asked
    assert hub.watched == 0


async def test_a_database_that_is_away_for_a_moment_ends_nothing():
    numbers, one = Numbers(), uuid4()
    hub = Hub(numbers, asyncio.Event(), every_s=0.01)
    numbers.broken = True
    with hub.watching(one):
        waiting = asyncio.create_task(hub.wait(one, 0, within_s=10))

        async def tried() -> bool:
            return len(numbers.asked) > 1

        await eventually(tried)
        numbers.broken, numbers.numbers = False, {one: 4}
        assert await waiting == 4


async def test_who_waits_goes_home_when_the_service_stops():
    draining = asyncio.Event()
    hub = Hub(Numbers(), draining, every_s=60)
    one = uuid4()
    with hub.watching(one):
        waiting = asyncio.create_task(hub.wait(one, 0, within_s=60))
        looked = asyncio.create_task(hub.wait(one, 0, within_s=0.01))
        await looked
        draining.set()
        assert await asyncio.wait_for(waiting, 15) == 0


async def test_another_mark_is_a_higher_number_also_after_a_restart():
    one, at, marked = uuid4(), datetime.now(UTC), iter("aabbaca")

    async def marks(organisations: frozenset[UUID]) -> tuple[datetime, Mapping[UUID, str]]:
        return at, dict.fromkeys(organisations, next(marked))

    rising = Rising(marks)
    seen = [(await rising(frozenset({one})))[one] for _ in range(6)]
    assert [later - earlier for earlier, later in pairwise(seen)] == [0, 1, 0, 1, 1]
    at += timedelta(seconds=1)
    assert (await Rising(marks)(frozenset({one})))[one] > seen[-1]


async def test_what_many_ask_for_at_once_is_made_once_and_a_failure_is_nobody_elses():
    shared: Shared[int] = Shared(for_s=60)
    made, gate = 0, asyncio.Event()

    async def make() -> int:
        nonlocal made
        made += 1
        await gate.wait()
        if made == 1:
            raise DatabaseProblem("test", "08006")
        return made

    asking = [asyncio.create_task(shared.get("key", make)) for _ in range(50)]
    leaving = asyncio.create_task(shared.get("key", make))
    await asyncio.wait([leaving], timeout=0.01)
    leaving.cancel()  # takes nothing away from the others
    gate.set()
    failed = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(one, DatabaseProblem) for one in failed)
    assert await asyncio.gather(*(shared.get("key", make) for _ in range(50))) == [2] * 50
    assert await shared.get("other", make) == 3
