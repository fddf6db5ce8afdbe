"""How large the kit's tables get, and how long its statements take, while a million events pass through them.

The real statements on a real PostgreSQL of its own: saying, moving to `said`, positions and last places; without a bus and
without handlers, which have no part in it. Three ways: with PostgreSQL's usual settings for these tables, with ours
(`spean/migrations/0006_vacuum.sql`), and with `said` partitioned by weeks. Prints a table for docs/postgresql.md.

    .venv/bin/python -m bench.bloat --events 1000000 --limit-s 150
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg

from spean import embedded, order
from spean.bus import Partition
from spean.db import Database
from spean.embedded import Server
from spean.order import Key, Place, Position
from spean.outbox import BATCH_ROWS, Sent, move_to_said, unsent
from spean.provision import Roles, prepare, service_dsns

TABLES = ("outbox", "said", "aggregate", "position", "last", "due")
TOPIC, SOURCE = "spean.referral", "spean/referral"
TAKEN = 500
# Events of one referral, from the request to the outcome.
EVENTS_EACH = 8
PARTITIONED = """
    alter table said rename to said_whole;
    create table said (like said_whole including defaults) partition by range (said_at);
    create table said_1 partition of said for values from (minvalue) to (now() + interval '1 week');
    alter table said add primary key (number, said_at);
    alter table said add unique (id, said_at);
    alter table said add unique (aggregateid, epoch, sequence, said_at);
    create index on said (aggregatetype, "partition", "offset");
    grant select, insert, update, delete on said to spean_worker;
"""


WAYS = {
    "usual": ("usual settings", "usual"),
    "ours": ("our settings", ""),
    "weeks": ("our settings, said by weeks", PARTITIONED),
}


@dataclass
class Run:
    """What one way has shown; times in milliseconds per batch of `BATCH_ROWS`."""

    name: str
    events: int = 0
    seconds: float = 0.0
    say_ms: list[float] = field(default_factory=list)
    move_ms: list[float] = field(default_factory=list)
    take_ms: list[float] = field(default_factory=list)
    idle_ms: float = 0.0
    sizes: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)


async def _usual(conn: asyncpg.Connection[asyncpg.Record]) -> None:
    """Take our settings away again."""
    for table in TABLES:
        options = await conn.fetchval("select reloptions from pg_class where oid = to_regclass($1)", f"public.{table}")
        names = [one.partition("=")[0] for one in options or ()]
        if names:
            await conn.execute(f"alter table {table} reset ({', '.join(names)})")


async def measured(server: Server, name: str, prepared: str, events: int, limit_s: float) -> Run:
    """One way, in a database of its own, until `events` have passed or `limit_s` are over."""
    database = f"bench_{uuid4().hex[:8]}"
    roles, none = Roles(b"bench"), Path(tempfile.mkdtemp(prefix="spean-none-"))
    await prepare(server, roles, database, none)
    admin = await asyncpg.connect(server.dsn(database))
    if prepared == "usual":
        await _usual(admin)
    elif prepared:
        await admin.execute(prepared)
    db = await Database.open(*service_dsns(server, roles, database))
    run, began = Run(name), time.monotonic()
    alive: list[UUID] = [uuid4() for _ in range(BATCH_ROWS)]
    offset, position = 0, Position(0, None)
    async with db.transaction("bench.position") as tx:
        await order.load_positions(tx, [Partition(TOPIC, 0)])
    while run.events < events and time.monotonic() - began < limit_s:
        if run.events % (BATCH_ROWS * EVENTS_EACH) == 0:
            alive = [uuid4() for _ in range(BATCH_ROWS)]
        run.say_ms.append(await _say(db, alive))
        run.move_ms.append(await _move(db, offset))
        position, took = await _take(db, position, alive)
        run.take_ms.append(took)
        offset += BATCH_ROWS
        run.events += BATCH_ROWS
    run.seconds = time.monotonic() - began
    run.idle_ms = await _idle(db)
    run.sizes = await _sizes(admin)
    await db.close()
    await admin.close()
    return run


async def _say(db: Database, aggregates: list[UUID]) -> float:
    began = time.monotonic()
    async with db.transaction("bench.say") as tx:
        await tx.conn.execute(
            """
            select say(gen_random_uuid(), $2, one, 'org.spean.offer.seen.v1', '{"offer":"00000000-0000-4000-8000-000000000000"}',
                       now(), gen_random_uuid(), gen_random_uuid(), null)
            from unnest($1::uuid[]) as one
            """,
            aggregates, TOPIC,
        )  # fmt: skip
    return (time.monotonic() - began) * 1e3


async def _move(db: Database, offset: int) -> float:
    """As the relay does, but for the bus."""
    began = time.monotonic()
    async with db.transaction("bench.move") as tx:
        rows = await unsent(tx.conn, BATCH_ROWS)
        await move_to_said(tx.conn, [Sent(row["number"], 0, offset + index) for index, row in enumerate(rows)])
    return (time.monotonic() - began) * 1e3


async def _take(db: Database, position: Position, aggregates: list[UUID]) -> tuple[Position, float]:
    """As a consumer does, but for the handlers."""
    began = time.monotonic()
    for start in range(0, len(aggregates), TAKEN):
        keys = [Key(SOURCE, one) for one in aggregates[start : start + TAKEN]]
        async with db.transaction("bench.take") as tx:
            to = Position(position.next + len(keys), keys[-1].aggregate)
            assert await order.advance(tx, Partition(TOPIC, 0), position.next, to)
            places = await order.lock_places(tx, keys)
            moved = {key: Place(1, at.sequence + 1) for key, at in places.now.items()}
            await order.save_places(tx, places._replace(now=moved))
        position = to
    return position, (time.monotonic() - began) * 1e3


async def _idle(db: Database) -> float:
    """How long the relay's look takes when nothing waits: over dead rows, if they were left."""
    looks: list[float] = []
    for _ in range(50):
        began = time.monotonic()
        async with db.transaction("bench.idle") as tx:
            await unsent(tx.conn, BATCH_ROWS)
        looks.append((time.monotonic() - began) * 1e3)
    return statistics.median(looks)


async def _sizes(conn: asyncpg.Connection[asyncpg.Record]) -> dict[str, tuple[int, int, int, int]]:
    """Table → bytes of its rows, of its indexes, dead rows, and how often it was cleaned."""
    rows = await conn.fetch(
        """
        select relname, pg_relation_size(relid) as rows, pg_indexes_size(relid) as indexes, n_dead_tup as dead,
               autovacuum_count as cleaned from pg_stat_user_tables
        where relname = any($1) or relname = 'said_1'
        """,
        list(TABLES),
    )
    return {row["relname"]: (row["rows"], row["indexes"], row["dead"], row["cleaned"]) for row in rows}


def shown(run: Run) -> str:
    """As lines of Markdown."""
    tenth = max(1, len(run.say_ms) // 10)
    times = [
        f"{what} {statistics.median(ms[:tenth]):.0f} → {statistics.median(ms[-tenth:]):.0f}"
        for what, ms in (("say", run.say_ms), ("move", run.move_ms), ("take in", run.take_ms))
    ]
    lines = [
        f"**{run.name}**: {run.events:,} events in {run.seconds:.0f} s; per {BATCH_ROWS} events, first → last tenth, ms: "
        f"{', '.join(times)}; a look at the empty outbox {run.idle_ms:.2f} ms",
        "",
        "| table | rows MB | indexes MB | dead rows | cleaned |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, (rows, indexes, dead, cleaned) in sorted(run.sizes.items()):
        lines.append(f"| {name} | {rows / 1e6:.1f} | {indexes / 1e6:.1f} | {dead:,} | {cleaned} |")
    return "\n".join([*lines, ""])


async def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--events", type=int, default=1_000_000)
    asked.add_argument("--limit-s", type=float, default=150.0, help="for each of the three ways")
    asked.add_argument("--way", choices=WAYS, action="append", help="may be given several times; default: all three")
    wanted = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="spean-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        running = await embedded.start(folder / "pg", password_file=folder / "password", fast_unsafe=True)
        try:
            for way in wanted.way or WAYS:
                print(shown(await measured(running.server, *WAYS[way], wanted.events, wanted.limit_s)), flush=True)
        finally:
            await running.stop()


if __name__ == "__main__":
    asyncio.run(main())
