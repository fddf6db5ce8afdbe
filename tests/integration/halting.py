"""A packet's reader, halted at any holder: what is told is decided, and has not left. And whether a stop waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx

from tests.builders import eventually

# A reader asks who is suspended once all is known of the people; of those who ask it, packets' alone have looked at `packet`.
# No stop asks it.
_SHUT = "begin; lock table suspended in access exclusive mode"
_HALTED = """
    select pid from pg_locks waits where not granted and relation = 'suspended'::regclass and exists (
        select from pg_locks had where had.pid = waits.pid and had.granted and had.relation = 'packet'::regclass)
"""
# An organisation's own command, for a fence: clocks wait for fences too, but as the service.
_STOP_WAITS = """
    select exists (
        select from pg_locks join pg_stat_activity using (pid)
        where not granted and locktype = 'advisory' and mode = 'ExclusiveLock' and usename = 'intake_api'
          and ($1::integer is null or $1 = any(pg_blocking_pids(pid))))
"""


async def done_or_waits(
    stopping: asyncio.Task[None], watch: asyncpg.Connection[asyncpg.Record], reader: int | None = None
) -> bool:
    """Has a stop come to its end, or does it wait at a fence (for this session)? `watch`: outside of any transaction, for
    within one the sessions stay as they were first seen."""
    return stopping.done() or bool(await watch.fetchval(_STOP_WAITS, reader))


@dataclass
class Halted:
    """`session`: the reader's. None where they came to an end before."""

    reading: asyncio.Task[httpx.Response]
    session: int | None
    watch: asyncpg.Connection[asyncpg.Record]

    async def done_or_waits(self, stopping: asyncio.Task[None]) -> bool:
        return await done_or_waits(stopping, self.watch, self.session)


@asynccontextmanager
async def halted(dsn: str, read: Coroutine[Any, Any, httpx.Response]) -> AsyncIterator[Halted]:
    """Somebody reads a packet; until this is left they have decided, and wait. (It is decided twice: that it is about to be told
    is written down first.)"""
    async with AsyncExitStack() as stack:
        first, second, watch = [await asyncpg.connect(dsn) for _ in range(3)]
        for one in (first, second, watch):
            stack.callback(one.terminate)
        await first.execute(_SHUT)
        reading = asyncio.create_task(read)

        async def is_halted() -> Any:
            return await watch.fetchval(_HALTED) or reading.done()

        await eventually(is_halted)
        # Whoever comes next waits behind them, and is in before they come again.
        shutting = asyncio.create_task(second.execute(_SHUT))

        async def is_next() -> bool:
            waits = "select exists (select from pg_locks where not granted and pid = $1)"
            return shutting.done() or bool(await watch.fetchval(waits, second.get_server_pid()))

        await eventually(is_next)
        await first.execute("commit")
        await shutting
        found = await eventually(is_halted)
        yield Halted(reading, None if found is True else found, watch)
        await second.execute("commit")
