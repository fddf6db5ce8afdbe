"""One service as the command line starts it: an application, what it reads, what it does at a time; in roles."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, get_args
from uuid import UUID

from fastapi import FastAPI

from schemas.registry import TOPICS
from spean import clock, consumer, idempotency
from spean.bus import Bus, TopicSpec, Use
from spean.db import Database, Tx
from spean.outbox import Relay
from spean.provision import Cluster, Roles
from spean.rejoin import Own
from spean.settings import Settings

Role = Literal["api", "relay", "consume", "clock"]
ROLES: tuple[Role, ...] = get_args(Role)
PARTITIONS = TOPICS[0].partitions
# Kind of due row: every database has one (`migrations/0002_upkeep.sql`).
UPKEEP = "upkeep"
UPKEEP_EVERY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Parts:
    """What every service is built from. `url` is this installation's address, without a trailing slash."""

    settings: Settings
    cluster: Cluster
    roles: Roles
    bus: Bus
    url: str

    @property
    def holders(self) -> dict[str, str]:
        """Every holder on the bus and its address."""
        return self.settings.holders or {self.settings.holder: f"{self.url}/intake"}

    def audience_of(self, holder: str) -> str:
        """Whom an access token for this holder is for. A holder elsewhere than the network, one of several, has an audience of
        its own: what it is shown opens nothing at another's door."""
        own = self.holders.get(holder) == f"{self.url}/intake"
        return "intake" if own or len(self.holders) == 1 else f"intake:{holder}"


@dataclass(slots=True)
class Service:
    name: str
    source: str
    db: Database
    bus: Bus
    app: FastAPI
    reads: Sequence[str]
    events: Mapping[str, consumer.Handler]
    due: Mapping[str, clock.Handler]
    # Asked once an hour, each in the same transaction, to forget what is too old.
    old: Sequence[Callable[[Tx], Awaitable[None]]] = ()
    # Asked now and then while somebody watches (`spean.watched`), each in the same transaction, to show how it stands.
    shows: Sequence[Callable[[Tx], Awaitable[None]]] = ()
    close_with: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    own: Own | None = None
    # Once this process runs that role.
    relay: Relay | None = None
    # Set when the API is about to stop: an answer without an end (a stream of changes) ends then.
    draining: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.db.name = self.name

    @property
    def group(self) -> str:
        return self.source.replace("/", "-")

    async def run(self, roles: Collection[Role], member: str = "1") -> None:
        """Run the roles other than `api` until cancelled. `member` names this instance among its equals."""
        async with asyncio.TaskGroup() as tasks:
            if "relay" in roles:
                self.relay = Relay(self.db, self.bus, self.source, PARTITIONS)
                tasks.create_task(self.relay.run())
            if "consume" in roles and self.reads:
                reader = consumer.Consumer(self.db, self.bus, self.group, member, self.reads, self.events)
                tasks.create_task(reader.run())
            if "clock" in roles:
                tasks.create_task(clock.Clock(self.db, self.name, {**self.due, UPKEEP: self._keep_up}).run())

    async def _keep_up(self, _: UUID) -> None:
        """The clock, once an hour: forget what is too old, in this database and (whichever service comes first) on the
        bus."""
        async with self.db.transaction("upkeep.forget") as tx:
            for forget_old in (idempotency.forget_old, *self.old):
                await forget_old(tx)
        await self.bus.trim(tx.now)
        async with self.db.transaction("upkeep.again") as tx:
            await clock.set_due(tx, UPKEEP, UUID(int=0), tx.now + UPKEEP_EVERY)

    async def close(self) -> None:
        for close in self.close_with:
            await close()
        await self.db.close()


def topics(holders: Collection[str]) -> list[TopicSpec]:
    """Every topic of an installation with these holders."""
    names = {
        (topic.named(holder), topic.partitions, topic.retention_days) for topic in TOPICS for holder in holders
    }  # a topic that is not per holder has the same name for each
    return [TopicSpec(*name) for name in sorted(names)]


def use_of(name: str, holder: str, holders: Collection[str]) -> Use:
    """What one service does on a bus with these holders; the holder's own service is that of `holder`."""
    own = [topic for topic in TOPICS if topic.writer == name]
    group = f"spean-{name}-{holder}" if any(topic.per_holder for topic in own) else f"spean-{name}"
    reads = {topic.named(each) for topic in TOPICS if name in topic.readers for each in holders}
    return Use(group, frozenset(topic.named(holder) for topic in own), frozenset(reads))


def uses(holders: Collection[str]) -> list[Use]:
    """What everybody does on a bus with these holders, each once."""
    writers = sorted({topic.writer for topic in TOPICS})
    return sorted({use_of(name, holder, holders) for name in writers for holder in holders}, key=lambda use: use.group)
