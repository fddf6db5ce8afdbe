"""Everything that the invariants are about, read past the services: every table, and the log itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from spean.bus import Record
from spean.event import Event, parse
from spean.provision import Cluster

BUS, KEYS = "bus", "keys"
KIT = ("aggregate", "outbox", "said", "position", "last", "parked", "due", "idempotency")
TABLES: Mapping[str, Sequence[str]] = {
    "intake": (*KIT, "entry", "case", "fence", "consent", "handoff", "handoff_member", "packet", "disclosure"),
    "referral": (*KIT, "place", "referral", "offer", "hold"),
    "notify": (*KIT, "referral_view", "capacity_view", "erasure_view", "tail", "delivery"),
    BUS: ("head", "log"),
    KEYS: ("fence",),
}
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
    """`rows[database][table]`; the log in the order of its offsets; when it was read (the database's time)."""

    rows: Mapping[str, Mapping[str, list[Row]]]
    log: list[Logged]
    at: datetime

    def of(self, database: str, table: str) -> list[Row]:
        return self.rows[database][table]


@asynccontextmanager
async def opened(cluster: Cluster) -> AsyncIterator[dict[str, Conn]]:
    """A superuser's connection to each database (row-level security does not apply to it)."""
    async with AsyncExitStack() as stack:
        conns = {}
        for database in TABLES:
            conns[database] = await asyncpg.connect(cluster.dsn(database), timeout=10, command_timeout=30)
            stack.push_async_callback(conns[database].close)
        yield conns


async def read(conns: Mapping[str, Conn]) -> Snapshot:
    """What is there now. Each table is read by itself: the installation should be quiet."""
    rows: dict[str, dict[str, list[Row]]] = {}
    for database, tables in TABLES.items():
        rows[database] = {table: await conns[database].fetch(f'select * from "{table}"') for table in tables}
    log = [
        Logged(row["topic"], row["partition"], row["offset"],
               parse(Record(row["key"], json.loads(row["headers"]), row["value"])))
        for row in sorted(rows[BUS]["log"], key=lambda row: (row["topic"], row["partition"], row["offset"]))
    ]  # fmt: skip
    return Snapshot(rows, log, await conns[BUS].fetchval("select clock_timestamp()"))


async def said_so_far(conns: Mapping[str, Conn]) -> int:
    """How many records the log has ever been given."""
    return int(await conns[BUS].fetchval("select sum(next) from head"))


async def restless(conns: Mapping[str, Conn], reads: Mapping[str, Sequence[str]]) -> str | None:
    """What still moves: something unsent, unread or due; None when nothing was, one place after the other. `reads` is
    topics by service."""
    for service in reads:
        unsent = await conns[service].fetchval("select count(*) from outbox")
        due = await conns[service].fetchval("select count(*) from due where at <= now()")
        if unsent or due:
            return f"{service}: {unsent} unsent, {due} due"
    ends = {(row["topic"], row["partition"]): row["next"] for row in await conns[BUS].fetch("select * from head")}
    for service, topics in reads.items():
        positions = await conns[service].fetch("select topic, partition, next from position")
        at = {(row["topic"], row["partition"]): row["next"] for row in positions}
        behind = sum(end - at.get(place, 0) for place, end in ends.items() if place[0] in topics)
        if behind:
            return f"{service}: {behind} unread"
    return None
