"""What is due is called once per time by any number of clocks, and never forgotten."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from spean import clock
from spean.clock import HANDLER_S, Clock, claim, clear_due, set_due
from spean.db import Database
from tests.builders import eventually
from tests.integration.kit import Kit, going

KIND = "test"
CANARY = "canary-77e0"
SOON, LATER = timedelta(seconds=0.6), timedelta(hours=1)


@pytest.fixture
async def clocks(writer: Kit) -> AsyncIterator[list[Database]]:
    """The same database as three processes have it."""
    others = [await writer.again() for _ in range(2)]
    yield [writer.db, *(other.db for other in others)]
    for other in others:
        await other.db.close()


async def put(db: Database, subject: UUID, after: timedelta = timedelta(0), kind: str = KIND) -> datetime:
    async with db.transaction("test.due") as tx:
        await set_due(tx, kind, subject, tx.now + after)
        return tx.now + after


async def put_and_fail(db: Database) -> None:
    async with db.transaction("test.undone") as tx:
        await set_due(tx, KIND, uuid4(), tx.now)
        raise ZeroDivisionError


async def clear(db: Database, subject: UUID, kind: str = KIND) -> None:
    async with db.transaction("test.clear") as tx:
        await clear_due(tx, kind, subject)


async def row_of(writer: Kit, subject: UUID) -> dict[str, object] | None:
    rows = await writer.rows(
        "select *, greatest(claimed_until, now()) - now() as wait from due where subject = $1", subject
    )
    return dict(rows[0]) if rows else None


async def test_several_clocks_call_each_row_once(writer: Kit, clocks: list[Database]) -> None:
    called: Counter[UUID] = Counter()
    subjects = [uuid4() for _ in range(150)]

    async def handle(subject: UUID) -> None:
        called[subject] += 1
        await clear(writer.db, subject)

    async def none_left() -> bool:
        return await writer.value("select count(*) from due where kind = $1", KIND) == 0

    await asyncio.gather(*(put(writer.db, subject) for subject in subjects))
    async with going(*(Clock(db, "test", {KIND: handle}).run() for db in clocks)):
        await eventually(none_left)
    assert called == dict.fromkeys(subjects, 1)


async def test_a_row_that_is_moved_is_called_once_for_each_time(writer: Kit, clocks: list[Database]) -> None:
    called: Counter[UUID] = Counter()
    subject = uuid4()

    async def handle(subject: UUID) -> None:
        called[subject] += 1
        await (put(writer.db, subject) if called[subject] < 5 else clear(writer.db, subject))

    async def gone() -> bool:
        return await row_of(writer, subject) is None

    await put(writer.db, subject)
    async with going(*(Clock(db, "test", {KIND: handle}).run() for db in clocks)):
        await eventually(gone)
    assert called[subject] == 5


async def test_not_before_its_time_and_a_later_word_replaces_an_earlier(writer: Kit) -> None:
    called: dict[UUID, datetime] = {}
    first, second, never = uuid4(), uuid4(), uuid4()

    async def handle(subject: UUID) -> None:
        async with writer.db.transaction("test.handle") as tx:
            called[subject] = tx.now
            await clear_due(tx, KIND, subject)

    async def both() -> bool:
        return called.keys() >= {first, second}

    at = await put(writer.db, first, SOON)
    await put(writer.db, second, LATER)
    await put(writer.db, second, timedelta(0))
    await put(writer.db, never, timedelta(0))
    await put(writer.db, never, LATER)
    with pytest.raises(ZeroDivisionError):
        await put_and_fail(writer.db)
    async with going(Clock(writer.db, "test", {KIND: handle}).run()):
        await eventually(both)
    assert called.keys() == {first, second}
    assert called[first] >= at > called[second]
    assert (await row_of(writer, never))["at"] > at


async def test_the_houses_clock_can_be_moved(writer: Kit) -> None:
    subject, called = uuid4(), asyncio.Event()

    async def handle(subject: UUID) -> None:
        await clear(writer.db, subject)
        called.set()

    await put(writer.db, subject, LATER)
    writer.db.shift = 2 * LATER
    async with going(Clock(writer.db, "test", {KIND: handle}).run()), asyncio.timeout(10):
        await called.wait()


async def test_what_a_crashed_clock_held_is_called_again(writer: Kit) -> None:
    """It had claimed the row, and was not heard of again."""
    subject, called = uuid4(), 0

    async def handle(subject: UUID) -> None:
        nonlocal called
        called += 1
        await clear(writer.db, subject)

    async def gone() -> bool:
        return await row_of(writer, subject) is None

    await put(writer.db, subject)
    async with writer.db.transaction("test.claim") as tx:
        claimed = await claim(tx, [KIND], 10, 1)
    assert [row["subject"] for row in claimed] == [subject]
    async with writer.db.transaction("test.claim") as tx:
        assert await claim(tx, [KIND], 10, 1) == []
    async with going(Clock(writer.db, "test", {KIND: handle}).run()):
        await eventually(gone)
    assert called == 1


async def test_a_claim_of_a_time_that_was_set_back_holds_nobody_up(writer: Kit) -> None:
    """As the database's clock was hours ahead when a process claimed, and that process is no more."""
    subject = uuid4()
    await put(writer.db, subject)
    for _ in range(2):
        async with writer.db.transaction("test.claim") as tx:
            assert [row["subject"] for row in await claim(tx, [KIND], 10, 3 * 3600)] == [subject]
    await clear(writer.db, subject)


async def test_a_clock_that_is_stopped_leaves_its_rows_to_others(writer: Kit, clocks: list[Database]) -> None:
    subject, begun, cut_off = uuid4(), asyncio.Event(), False

    async def hangs(_: UUID) -> None:
        nonlocal cut_off
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut_off = True

    await put(writer.db, subject)
    async with going(Clock(writer.db, "test", {KIND: hangs}).run()):
        await begun.wait()
    assert cut_off
    left = await row_of(writer, subject)
    assert left["tries"] == 1
    assert left["wait"] > timedelta(seconds=1)


async def test_a_failing_handler_is_called_later_and_later(writer: Kit, caplog: pytest.LogCaptureFixture) -> None:
    subject, good = uuid4(), uuid4()
    called: list[float] = []

    async def handle(subject_: UUID) -> None:
        if subject_ == good:
            await clear(writer.db, good)
            return
        called.append(asyncio.get_running_loop().time())
        raise ValueError(CANARY)

    async def three() -> bool:
        return len(called) == 3

    async def put_off() -> bool:
        return (await row_of(writer, subject))["wait"] > timedelta(seconds=6)

    await put(writer.db, subject)
    await put(writer.db, good)
    with caplog.at_level(logging.INFO):
        async with going(Clock(writer.db, "test", {KIND: handle}).run()):
            await eventually(three)
            await eventually(put_off)
    waits = [after - before for before, after in itertools.pairwise(called)]
    assert 1.9 < waits[0] < 3.5 < waits[1] < 6
    assert (await row_of(writer, subject))["tries"] == 3
    assert await row_of(writer, good) is None
    assert CANARY not in caplog.text
    assert {record.error_class for record in caplog.records if hasattr(record, "error_class")} == {"ValueError"}


async def test_a_failure_does_not_put_off_what_was_set_anew_meanwhile(writer: Kit) -> None:
    """A person did something while the handler was failing for the hour before."""
    subject, called = uuid4(), 0

    async def handle(subject: UUID) -> None:
        nonlocal called
        called += 1
        if called == 1:
            await put(writer.db, subject)
            raise ValueError(CANARY)
        await clear(writer.db, subject)

    async def gone() -> bool:
        return await row_of(writer, subject) is None

    await put(writer.db, subject)
    async with writer.db.transaction("test.tried") as tx:
        await tx.conn.execute("update due set tries = 5 where subject = $1", subject)
    async with going(Clock(writer.db, "test", {KIND: handle}).run()):
        await eventually(gone, within_s=5)
    assert called == 2


async def test_a_slow_handler_holds_up_nobody(writer: Kit) -> None:
    slow, gate, begun = uuid4(), asyncio.Event(), asyncio.Event()
    others = [uuid4() for _ in range(100)]

    async def handle(subject: UUID) -> None:
        if subject == slow:
            begun.set()
            await gate.wait()
        await clear(writer.db, subject)

    async def only_the_slow_one() -> bool:
        return [row["subject"] for row in await writer.rows("select subject from due where kind = $1", KIND)] == [slow]

    await put(writer.db, slow)
    async with going(Clock(writer.db, "test", {KIND: handle}).run()):
        await begun.wait()
        for other in others:
            await put(writer.db, other)
        await eventually(only_the_slow_one, within_s=HANDLER_S - 4)
        gate.set()

        async def gone() -> bool:
            return await row_of(writer, slow) is None

        await eventually(gone)


@pytest.mark.long
async def test_a_handler_that_never_ends_is_cut_off(writer: Kit) -> None:
    subject, cut_off = uuid4(), asyncio.Event()

    async def hangs(_: UUID) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cut_off.set()

    await put(writer.db, subject)
    async with going(Clock(writer.db, "test", {KIND: hangs}).run()), asyncio.timeout(clock.CLAIM_S):
        await cut_off.wait()
    assert await row_of(writer, subject) is not None


async def test_only_kinds_that_it_knows_are_claimed(writer: Kit) -> None:
    subject, known = uuid4(), uuid4()

    async def handle(subject: UUID) -> None:
        await clear(writer.db, subject)

    async def gone() -> bool:
        return await row_of(writer, known) is None

    await put(writer.db, subject, kind="another")
    await put(writer.db, known)
    async with going(Clock(writer.db, "test", {KIND: handle}).run()):
        await eventually(gone)
    assert (await row_of(writer, subject))["tries"] == 0
