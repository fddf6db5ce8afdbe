"""What the figures stand on: a durable PostgreSQL of its own, a bus, and databases with nothing but the kit's tables."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from deploy.kafka import local
from schemas.registry import REFERRALS
from services.cli import installation
from spean import embedded
from spean.bus import Bus, TopicSpec
from spean.db import Database
from spean.provision import AddressedCluster, Roles, prepare, service_dsns
from spean.service import PARTITIONS
from spean.settings import Settings

ROOT = Path(__file__).parents[1]
SHORT = bool(os.environ.get("SPEAN_BENCH_SHORT"))
REPEATS = 1 if SHORT else 3
WAIT_S = 120.0
EMBEDDED, KAFKA = "embedded", "kafka"
# A writer and a reader with nothing of their own but these.
WRITER, READER = "bench_writer", "bench_reader"
# Where floors on Kafka write.
BARE_TOPIC = "bench.bare"
_TABLES = """
create table if not exists written (id bigint primary key);
create table if not exists effect (id bigint primary key, sequence bigint not null, payload text not null);
create table if not exists bare_outbox (number bigint generated always as identity primary key, key bytea not null, value bytea not null);
create table if not exists bare_log (number bigint generated always as identity primary key, key bytea not null, headers jsonb not null, value bytea not null);
create table if not exists bare_effect (id bigint primary key, sequence bigint not null, payload text not null);
grant select, insert, update, delete, truncate on written, effect, bare_outbox, bare_log, bare_effect to spean_worker;
grant usage on all sequences in schema public to spean_worker;
"""


@dataclass
class Ground:
    """A PostgreSQL that writes to the disk before it answers, and a bus of this kind."""

    kind: str
    folder: Path
    settings: Settings
    cluster: AddressedCluster
    roles: Roles
    bus: Bus

    @property
    def kafka(self) -> str:
        """`host:port,…` of the brokers."""
        return self.settings.bus.removeprefix("kafka://")

    async def open(self, database: str) -> Database:
        return await Database.open(*service_dsns(self.cluster, self.roles, database))

    async def connect(self, database: str) -> asyncpg.Connection[asyncpg.Record]:
        """As the owner of everything: for looking, for filling tables, and for floors."""
        return await asyncpg.connect(self.cluster.dsn(database))


@asynccontextmanager
async def ground(kind: str) -> AsyncIterator[Ground]:
    """Raises LocalKafkaError where Kafka is asked for and cannot be had."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spean-bench-")))
        folder.chmod(0o755)
        address = ""
        if kind == KAFKA:
            kafka = await local.start(folder / "kafka", 1)
            stack.push_async_callback(kafka.stop)
            address = kafka.address
        # The moments of commits are the only clock that both sides of a figure share.
        running = await embedded.start(
            folder / "pg", password_file=folder / "pg-password", more="track_commit_timestamp=on max_connections=200"
        )
        stack.push_async_callback(running.stop)
        server = running.server.dsn("postgres")
        settings = Settings(data=folder / "data", keys=folder / "keys", postgres=server, bus=address, port=0)
        cluster, roles = AddressedCluster(server), Roles.load(settings.keys)
        await installation.migrate(settings, cluster, roles, list(installation.MIGRATIONS))
        bus = await installation.open_bus(settings, cluster, roles)
        stack.push_async_callback(bus.close)
        await bus.ensure_topics(
            [TopicSpec(name, PARTITIONS, REFERRALS.retention_days) for name in (REFERRALS.name, BARE_TOPIC)]
        )
        made = Ground(kind, folder, settings, cluster, roles, bus)
        await _tables(made)
        yield made


async def _tables(made: Ground) -> None:
    for name in (WRITER, READER):
        # No migrations of their own: the folder is not there.
        await prepare(made.cluster, made.roles, name, ROOT / "bench" / "migrations")
        conn = await made.connect(name)
        await conn.execute(_TABLES)
        await conn.close()


async def until(true: Callable[[], Awaitable[object]], within_s: float = WAIT_S, every_s: float = 0.01) -> None:
    """Ask until the answer is true. Raises TimeoutError."""
    end = time.monotonic() + within_s
    while not await true():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {within_s:.0f} s: {true}")
        await asyncio.sleep(every_s)


@asynccontextmanager
async def loops(*running: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Endless loops, for as long as the block lasts. Raises what one of them ends with."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in running]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


@asynccontextmanager
async def process(
    module: Sequence[str], environment: Mapping[str, str], ready: bytes, log: Path
) -> AsyncIterator[Process]:
    """A process of our own (`python -m …`), once it has said `ready`; ended with the block. Raises RuntimeError."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SPEAN_")}
    with log.open("ab") as out:
        started = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *module,
            cwd=ROOT,
            env={**clean, **environment},
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=out,
        )
    assert started.stdout is not None
    reading: asyncio.Task[bytes] | None = None
    try:
        async with asyncio.timeout(WAIT_S):
            while line := await started.stdout.readline():
                if line.lstrip().startswith(ready):
                    break
            else:
                raise RuntimeError(f"{module[0]} did not start: {log.read_text(errors='replace')[-500:]}")
        reading = asyncio.create_task(started.stdout.read())
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.terminate()
        try:
            await asyncio.wait_for(started.wait(), 20)
        except TimeoutError:
            started.kill()
            await started.wait()
        if reading is not None:
            await reading
