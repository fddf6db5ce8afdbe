"""The kit alone: databases with its tables and one table of effects, a writer that says, a reader that takes in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg

from schemas import events as e
from schemas import registry
from schemas.registry import HANDOFF
from spean.bus import Bus, Partition, Producer, Record, Stored, Subscription, partition_of
from spean.consumer import Consumer, Handler
from spean.db import Database, Tx
from spean.event import Event
from spean.ids import event_id
from spean.outbox import Relay, say
from spean.provision import Cluster, Roles, prepare, service_dsns
from spean.service import PARTITIONS
from tests.builders import eventually

ROLES = Roles(b"secret of the tests")
EFFECTS = """
create table effect (
    number bigint generated always as identity primary key,
    id uuid not null, source text not null, aggregate uuid not null, epoch integer not null, sequence bigint not null,
    type text not null, by_member text not null
);
grant select, insert on effect to spean_worker;
grant usage on all sequences in schema public to spean_worker;
"""
STOPPED, RELEASED = "org.spean.disclosure.stopped.v1", "org.spean.packet.released.v1"


@dataclass
class Kit:
    """A database with the kit's tables, as a service has it. `effects` are what its handlers have written."""

    cluster: Cluster
    name: str
    db: Database

    @property
    def dsn(self) -> str:
        """As the superuser, to look at everything."""
        return self.cluster.dsn(self.name)

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        conn = await asyncpg.connect(self.dsn)
        try:
            return await conn.fetch(query, *arguments)
        finally:
            await conn.close()

    async def value(self, query: str, *arguments: object) -> object:
        return (await self.rows(query, *arguments))[0][0]

    async def effects(self, aggregate: UUID) -> list[int]:
        """The sequences that have taken effect, in the order in which they did."""
        rows = await self.rows("select sequence from effect where aggregate = $1 order by number", aggregate)
        return [row["sequence"] for row in rows]

    async def parked(self) -> list[tuple[int, str]]:
        """(sequence, reason) of everything parked, in order."""
        rows = await self.rows("select sequence, reason from parked order by aggregate, epoch, sequence")
        return [(row["sequence"], row["reason"]) for row in rows]

    async def again(self) -> Kit:
        """The same database as another process has it."""
        return replace(self, db=await Database.open(*service_dsns(self.cluster, ROLES, self.name)))


@asynccontextmanager
async def kit(cluster: Cluster, folder: Path, name: str = "") -> AsyncIterator[Kit]:
    """A fresh database with the kit's tables and the effects'."""
    migrations = folder / "effects"
    migrations.mkdir(exist_ok=True)
    (migrations / "0101_effects.sql").write_text(EFFECTS, encoding="utf-8")
    name = name or f"kit_{uuid4().hex[:10]}"
    await prepare(cluster, ROLES, name, migrations)
    made = Kit(cluster, name, await Database.open(*service_dsns(cluster, ROLES, name)))
    try:
        yield made
    finally:
        await made.db.close()


@dataclass
class Line:
    """A holder of its own on a bus: its topic, what is said on it, and consumers of it."""

    bus: Bus
    holder: str = field(default_factory=lambda: f"t{uuid4().hex[:12]}")

    @property
    def topic(self) -> str:
        return HANDOFF.named(self.holder)

    @property
    def source(self) -> str:
        return f"spean/intake/{self.holder}"

    async def say(self, writer: Kit, aggregate: UUID, data: e.EventData | None = None) -> int:
        """In a transaction of its own."""
        writer.db.holder = self.holder
        async with writer.db.transaction("test.say") as tx:
            return await say(tx, HANDOFF, aggregate, data or e.DisclosureStoppedV1())

    def relay(self, writer: Kit, bus: Bus | None = None) -> Relay:
        return Relay(writer.db, bus or self.bus, self.source, PARTITIONS)

    def consumer(self, reader: Kit, handlers: Mapping[str, Handler] | None = None, *, member: str = "1",
                 group: str = "", bus: Bus | None = None) -> Consumer:  # fmt: skip
        handlers = recording(member) if handlers is None else handlers
        return Consumer(reader.db, bus or self.bus, group or f"g-{reader.name}", member, [self.topic], handlers)

    def event(self, aggregate: UUID, sequence: int, type_: str = STOPPED, **other: object) -> Event:
        data = e.PacketReleasedV1(offer=uuid4()) if type_ == RELEASED else e.DisclosureStoppedV1()
        made = Event(
            id=event_id(), type=type_, source=self.source, subject=aggregate, epoch=1, sequence=sequence,
            time=datetime.now(UTC), correlationid=uuid4(), causationid=None, traceparent=None, value=registry.write(data),
        )  # fmt: skip
        return replace(made, **other)

    async def append(self, *events: Event | Record, aggregate: UUID | None = None) -> None:
        """Straight to the bus, as a writer with other habits would. A record goes where `aggregate` goes."""
        producer = await self.bus.producer(self.source)
        try:
            for one in events:
                record, subject = (one.record(), one.subject) if isinstance(one, Event) else (one, aggregate)
                await producer.append(Partition(self.topic, partition_of(str(subject).encode(), PARTITIONS)), [record])
        finally:
            await producer.close()

    async def said(self) -> list[Record]:
        """Everything in the topic."""
        found: list[Record] = []
        for partition, bounds in (await self.bus.bounds(self.topic)).items():
            found += [stored.record for stored in await self.bus.read(partition, bounds.start, limit=10_000)]
        return found


def recording(member: str = "1") -> dict[str, Handler]:
    """Handlers that write down what they are given."""

    async def record(tx: Tx, event: Event) -> None:
        await write_effect(tx, event, member)

    return {STOPPED: record, RELEASED: record}


async def write_effect(tx: Tx, event: Event, member: str = "1") -> None:
    await tx.conn.execute(
        "insert into effect (id, source, aggregate, epoch, sequence, type, by_member) values ($1, $2, $3, $4, $5, $6, $7)",
        event.id, event.source, event.subject, event.epoch, event.sequence, event.type, member,
    )  # fmt: skip


@asynccontextmanager
async def going(*loops: Awaitable[None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run loops (of relays, consumers, clocks) during the block; a loop that ends by itself fails the test."""
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        yield tasks
        for task in tasks:
            assert not task.done() or task.cancelled(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def end_session(kit: Kit, pid: object) -> None:
    """End a session of the database, and wait until it is gone."""
    await kit.value("select pg_terminate_backend($1)", pid)

    async def gone() -> bool:
        return await kit.value("select count(*) from pg_stat_activity where pid = $1", pid) == 0

    await eventually(gone)


async def stopped(task: asyncio.Task[None]) -> None:
    """Tell a loop to stop, once; fails when it goes on."""
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled(), "told to stop, it goes on"


# What happens at the seams between the kit and the bus: the real bus, with one moment that the test decides on.


@dataclass
class Around:
    """A real bus; `append`, `polled` and `sought` (before each seek), where given, stand around its producers and
    subscriptions."""

    inner: Bus
    append: Callable[[Producer, Partition, Sequence[Record]], Awaitable[int]] | None = None
    polled: Callable[[dict[Partition, list[Stored]]], Awaitable[dict[Partition, list[Stored]]]] | None = None
    sought: Callable[[], Awaitable[None]] | None = None
    subscribed: int = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    async def producer(self, name: str) -> Producer:
        made = await self.inner.producer(name)
        return made if self.append is None else _Appending(made, self.append)

    async def subscribe(self, group: str, member: str, topics: Sequence[str]) -> Subscription:
        self.subscribed += 1
        made = await self.inner.subscribe(group, member, topics)
        return _Reading(made, self.polled, self.sought)


@dataclass
class _Appending:
    inner: Producer
    around: Callable[[Producer, Partition, Sequence[Record]], Awaitable[int]]

    async def append(self, partition: Partition, records: Sequence[Record]) -> int:
        return await self.around(self.inner, partition, records)

    async def close(self) -> None:
        await self.inner.close()


@dataclass
class _Reading:
    inner: Subscription
    polled: Callable[[dict[Partition, list[Stored]]], Awaitable[dict[Partition, list[Stored]]]] | None
    sought: Callable[[], Awaitable[None]] | None

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    async def seek(self, partition: Partition, offset: int) -> None:
        if self.sought is not None:
            await self.sought()
        await self.inner.seek(partition, offset)

    async def poll(self, *, timeout_s: float, max_records: int) -> dict[Partition, list[Stored]]:
        batches = await self.inner.poll(timeout_s=timeout_s, max_records=max_records)
        return batches if self.polled is None else await self.polled(batches)
