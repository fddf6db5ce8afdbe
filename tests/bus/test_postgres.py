"""What only the Postgres bus has to bear: its server restarting, texts of database errors, two processes of one name."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from spean import embedded
from spean.bus import BusError, BusUnavailable, Partition, Record, TopicSpec
from spean.bus.postgres import PostgresBus
from spean.bus.postgres_group import LEASE_S
from spean.bus.share import STALL_S
from tests.bus.reader import Reader, until

SPEC = TopicSpec("t", 2, 7)
P0 = Partition("t", 0)


def records(count: int) -> list[Record]:
    return [Record(b"k", {"ce_id": str(number)}, b"{}") for number in range(count)]


@pytest.fixture
async def bus(bus_dsn: str) -> AsyncIterator[PostgresBus]:
    opened = await PostgresBus.open(bus_dsn)
    await opened.ensure_topics([SPEC])
    yield opened
    await opened.close()


async def test_readers_and_wakes_survive_a_restart_of_the_server() -> None:
    folder = Path(tempfile.gettempdir()) / f"spean-bus-{uuid.uuid4().hex[:8]}"
    running = await embedded.start(folder, password_file=folder / "password", fast_unsafe=True)
    bus = await PostgresBus.open(running.server.dsn("postgres"))
    await bus.ensure_topics([SPEC])
    old = await bus.producer("old")
    await old.append(P0, records(5))
    reader = Reader(await bus.subscribe("g", "a", ["t"]))
    await reader.until(lambda: len(reader.got) == 5 and bus._wakes.listening)

    await running.stop()
    with pytest.raises(BusUnavailable):
        await old.append(P0, records(1))
    with pytest.raises(BusUnavailable):
        await reader.until(lambda: False)

    running = await embedded.start(folder, password_file=folder / "password", fast_unsafe=True)
    with pytest.raises(BusError, match="failed before"):
        await old.append(P0, records(1))
    new = await bus.producer("new")
    assert await new.append(P0, records(5)) == 5
    await reader.until(lambda: len(reader.got) == 10 and bus._wakes.listening)
    waiting = asyncio.create_task(reader.step(timeout_s=10))
    await new.append(P0, records(1))
    assert await waiting
    for each in (old, new, reader.subscription, bus):
        await each.close()
    await running.stop()
    shutil.rmtree(folder)


async def test_a_lost_listening_connection_is_opened_again(bus: PostgresBus, bus_dsn: str) -> None:
    reader = Reader(await bus.subscribe("g", "a", ["t"]))
    await reader.until(lambda: bus._wakes.listening)
    conn = await asyncpg.connect(bus_dsn)
    await conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%'")
    await conn.close()
    await reader.until(lambda: not bus._wakes.listening)
    await reader.until(lambda: bus._wakes.listening)
    await reader.subscription.close()


async def test_errors_name_class_and_sqlstate_and_no_content(bus: PostgresBus) -> None:
    producer = await bus.producer("test")
    with pytest.raises(BusError, match="SQLSTATE 22P05") as caught:
        await producer.append(P0, [Record(b"canary", {"canary": "canary\0"}, b"canary")])
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    await producer.close()


async def test_the_older_of_two_processes_of_one_name_is_told(bus: PostgresBus) -> None:
    older = Reader(await bus.subscribe("twins", "a", ["t"]))
    await older.until(lambda: len(older.sought) == 2)
    newer = Reader(await bus.subscribe("twins", "a", ["t"]))
    with pytest.raises(BusError, match="another process has become member a"):
        await until(lambda: False, older)
    await newer.until(lambda: len(newer.sought) == 2)
    await older.subscription.close()
    assert len(newer.subscription.assigned()) == 2
    await newer.subscription.close()


async def test_a_member_that_leaves_makes_room_at_once(bus: PostgresBus) -> None:
    leaving = Reader(await bus.subscribe("leaving", "a", ["t"]))
    staying = Reader(await bus.subscribe("leaving", "b", ["t"]))
    await until(lambda: len(leaving.sought) == len(staying.sought) == 1, leaving, staying)
    await leaving.subscription.close()
    async with asyncio.timeout(LEASE_S / 2):
        await staying.until(lambda: len(staying.sought) == 2)
    await staying.subscription.close()


async def test_a_member_that_does_not_poll_makes_room_and_may_come_back(bus: PostgresBus) -> None:
    stuck = await bus.subscribe("stuck", "a", ["t"])
    stuck._polled -= STALL_S + 1
    other = Reader(await bus.subscribe("stuck", "b", ["t"]))
    await other.until(lambda: len(other.sought) == 2)
    assert stuck.assigned() == frozenset()
    back = Reader(stuck)
    await until(lambda: len(back.sought) == len(other.sought) == 1, back, other)
    await stuck.close()
    await other.subscription.close()
