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
from spean.bus import Bus, TopicSpec
from spean.db import Database, Tx
from spean.outbox import Relay
from spean.provision import Cluster, Roles
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
    close_with: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    # Set when the API is about to stop: an answer without an end (a stream of changes) ends then.
    draining: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def group(self) -> str:
        return self.source.replace("/", "-")

    async def run(self, roles: Collection[Role], member: str = "1") -> None:
        """Run the roles other than `api` until cancelled. `member` names this instance among its equals."""
        async with asyncio.TaskGroup() as tasks:
            if "relay" in roles:
                tasks.create_task(Relay(self.db, self.bus, self.source, PARTITIONS).run())
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
