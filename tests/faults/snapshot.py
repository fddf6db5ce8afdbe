"""Everything that the invariants are about, read past the services: every table, and the log itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from spean.bus import Bounds, Bus, Partition, Record
from spean.event import Event, parse
from spean.lives import BEGAN
from spean.provision import Cluster
from spean.service import topics
from spean.settings import Settings

BUS, KEYS = "bus", "keys"
KIT = ("aggregate", "outbox", "said", "position", "last", "parked", "due", "idempotency")
TABLES: Mapping[str, Sequence[str]] = {
    "intake": (*KIT, "entry", "case", "fence", "consent", "handoff", "handoff_member", "packet", "disclosure"),
    "referral": (*KIT, "place", "referral", "offer", "hold"),
    "notify": (*KIT, "referral_view", "capacity_view", "copy_view", "tail", "delivery"),
    KEYS: ("fence",),
}
# Records asked for at once where the log is read through its bus.
AT_ONCE = 1_000
Conn = Any  # asyncpg.Connection is generic to the type checker only
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Logged:
    """One record of the log where it stands."""

    topic: str
    partition: int
    offset: int
    event: Event


@dataclass(frozen=True)
class Snapshot:
    """`rows[database][table]`; the log in the order of its offsets, and its bounds; when it was read (database's time).
    `marks`: markers of lives, which are no events."""

    rows: Mapping[str, Mapping[str, list[Row]]]
    log: list[Logged]
    marks: list[Logged]
    bounds: Mapping[Partition, Bounds]
    at: datetime

    def of(self, database: str, table: str) -> list[Row]:
        return self.rows[database][table]


@dataclass(frozen=True)
class Sources:
    """A superuser's connection to each database (row-level security does not apply to it). The log is read in its own
    database where there is one, and through the bus where there is none (`bus`). `ahead`: how far the services' clocks
    have been moved; `holders`: whose topics there are."""

    conns: Mapping[str, Conn]
    bus: Bus | None
    tables: Mapping[str, Sequence[str]] = field(default_factory=lambda: TABLES)
    ahead: timedelta = timedelta(0)
    holders: Collection[str] = field(default_factory=lambda: [Settings().holder])

    async def bounds(self) -> dict[Partition, Bounds]:
        if self.bus is None:
            rows = await self.conns[BUS].fetch("select topic, partition, start, next from head")
            return {Partition(row["topic"], row["partition"]): Bounds(row["start"], row["next"]) for row in rows}
        names = [spec.name for spec in topics(self.holders)]
        return {place: bounds for name in names for place, bounds in (await self.bus.bounds(name)).items()}

    async def log(self) -> list[Logged]:
        if self.bus is None:
            rows = await self.conns[BUS].fetch('select * from log order by topic, partition, "offset"')
            return [
                _logged(Partition(row["topic"], row["partition"]), row["offset"],
                        Record(row["key"], json.loads(row["headers"]), row["value"]))
                for row in rows
            ]  # fmt: skip
        found: list[Logged] = []
        for place, bounds in sorted((await self.bounds()).items()):
            next_ = bounds.start
            while next_ < bounds.end:
                batch = await self.bus.read(place, next_, limit=AT_ONCE)
                found += [_logged(place, stored.offset, stored.record) for stored in batch]
                next_ = batch[-1].offset + 1
        return found


def _logged(place: Partition, offset: int, record: Record) -> Logged:
    return Logged(place.topic, place.number, offset, parse(record))


async def _make_room(cluster: Cluster) -> None:
    """After a fault the pools of all those processes may hold every connection but the few that are kept for a superuser:
    end those that are idle."""
    conn = await asyncpg.connect(cluster.dsn("postgres"), timeout=30)
    try:
        await conn.execute(
            """
            select pg_terminate_backend(pid) from pg_stat_activity
            where state = 'idle' and application_name = 'spean' and
                  (select count(*) > current_setting('max_connections')::int - 20 from pg_stat_activity)
            """
        )
    finally:
        await conn.close()


@asynccontextmanager
async def opened(cluster: Cluster, bus: Bus | None = None) -> AsyncIterator[Sources]:
    """`bus`: where the log is not in this PostgreSQL."""
    await _make_room(cluster)
    async with AsyncExitStack() as stack:
        conns = {}
        for database in (*TABLES, *([BUS] if bus is None else [])):
            conns[database] = await asyncpg.connect(cluster.dsn(database), timeout=30, command_timeout=60)
            stack.push_async_callback(conns[database].close)
        yield Sources(conns, bus)


async def read(sources: Sources) -> Snapshot:
    """What is there now. Each table is read by itself: the installation should be quiet."""
    rows: dict[str, dict[str, list[Row]]] = {}
    for database, tables in sources.tables.items():
        conn = sources.conns[database]
        rows[database] = {table: await conn.fetch(f'select * from "{table}"') for table in tables}
    at = await sources.conns["referral"].fetchval("select clock_timestamp()")
    records = await sources.log()
    log, marks = ([one for one in records if (one.event.type == BEGAN) is marked] for marked in (False, True))
    return Snapshot(rows, log, marks, await sources.bounds(), at + sources.ahead)


async def restless(sources: Sources, reads: Mapping[str, Sequence[str]]) -> str | None:
    """What still moves: something unsent, unread or due; None when nothing was, one place after the other. `reads` is
    topics by service."""
    for service in reads:
        unsent = await sources.conns[service].fetchval("select count(*) from outbox")
        due = await sources.conns[service].fetchval("select count(*) from due where at <= now() + $1", sources.ahead)
        if unsent or due:
            return f"{service}: {unsent} unsent, {due} due"
    bounds = await sources.bounds()
    for service, names in reads.items():
        positions = await sources.conns[service].fetch("select topic, partition, next from position")
        at = {(row["topic"], row["partition"]): row["next"] for row in positions}
        behind = sum(end - at.get(place, start) for place, (start, end) in bounds.items() if place.topic in names)
        if behind:
            return f"{service}: {behind} unread"
    return None
