"""From the commit of a change to all of 200 watchers of a dashboard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

from bench import wire
from bench.figures import Figure, at_quantile
from bench.ground import REPEATS, SHORT, WRITER
from bench.stage import SERVICES, Stage

WATCHERS = 200
CHANGES = 4 if SHORT else 12
# Not in step with the looks of either side.
EVERY_S = 0.37
SETTLE_S = 3.0


async def measure(on: Stage) -> list[Figure]:
    beside = "a bare stream that looks at one table as often"
    p50 = Figure(f"a change at all {WATCHERS} watchers, p50", on.ground.kind, "ms", "less", beside)
    p99 = Figure(f"a change at all {WATCHERS} watchers, p99", on.ground.kind, "ms", "less", beside)
    async with on.working():
        for repeat in range(REPEATS):
            for figures, way in (((p50.ours, p99.ours), _ours), ((p50.floor, p99.floor), _bare)):
                took = await way(on, repeat)
                figures[0].append(at_quantile(took, 0.5))
                figures[1].append(at_quantile(took, 0.99))
    return [p50, p99]


async def _ours(on: Stage, repeat: int) -> list[float]:
    """What the coordinator's watchers hear of people who are asked for."""
    watch = await on.headers(on.world.coordinator.partner)
    seen: dict[int, list[float]] = {}
    async with _watching(on.url, "/notify/changes", watch, seen):
        began = time.time()
        for person in on.people[repeat * CHANGES : (repeat + 1) * CHANGES]:
            headers = await on.headers(on.world.sender.partner, str(uuid4()))
            await wire.pour(
                on.url,
                [wire.request("POST", on.url, "/intake/handoffs", on.ask(SERVICES[-1], person), **headers)],
                201,
                1,
            )
            await asyncio.sleep(EVERY_S)
        ended = time.time()
        await asyncio.sleep(SETTLE_S)
    conn = await on.ground.connect("notify")
    rows = await conn.fetch("select number, extract(epoch from pg_xact_commit_timestamp(xmin))::float8 as at from tail")
    await conn.close()
    return _until_last(seen, {row["number"]: row["at"] for row in rows}, (began, ended))


async def _bare(on: Stage, repeat: int) -> list[float]:
    conn = await on.ground.connect(WRITER)
    seen: dict[int, list[float]] = {}
    first = 10**15 + repeat * CHANGES
    async with _watching(on.bare, "/changes", {}, seen):
        began = time.time()
        for number in range(first, first + CHANGES):
            await conn.execute("insert into written values ($1)", number)
            await asyncio.sleep(EVERY_S)
        ended = time.time()
        await asyncio.sleep(SETTLE_S)
    rows = await conn.fetch(
        "select id, extract(epoch from pg_xact_commit_timestamp(xmin))::float8 as at from written where id >= $1", first
    )
    await conn.close()
    return _until_last(seen, {row["id"]: row["at"] for row in rows}, (began, ended))


def _until_last(seen: dict[int, list[float]], begun: dict[int, float], when: tuple[float, float]) -> list[float]:
    """Milliseconds until the last of all watchers had what was committed within `when`. Raises ValueError where somebody
    has missed something."""
    counted = [number for number, at in begun.items() if when[0] < at < when[1]]
    missed = [number for number in counted if len(seen.get(number, ())) != WATCHERS]
    if missed or not counted:
        raise ValueError(f"of {len(counted)} changes, {len(missed)} did not reach every watcher")
    return [(max(seen[number]) - begun[number]) * 1000 for number in counted]


@asynccontextmanager
async def _watching(url: str, path: str, headers: dict[str, str], seen: dict[int, list[float]]) -> AsyncIterator[None]:
    """With all watchers at their streams. `seen`: number → when each of them had it, in seconds since 1970."""
    opened = []
    for _ in range(WATCHERS):
        reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
        writer.write(wire.request("GET", url, path, Accept="text/event-stream", **headers))
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head[:16]:
            raise wire.Unexpected(head[:100])
        opened.append((reader, writer))
    listening = [asyncio.create_task(_listen(reader, seen)) for reader, _ in opened]
    await asyncio.sleep(SETTLE_S)
    try:
        yield
    finally:
        for task in listening:
            task.cancel()
        for _, writer in opened:
            writer.close()
        await asyncio.gather(*listening, return_exceptions=True)


async def _listen(reader: asyncio.StreamReader, seen: dict[int, list[float]]) -> None:
    while line := await reader.readline():
        if line.startswith(b"id: "):
            seen.setdefault(int(line[4:]), []).append(time.time())
