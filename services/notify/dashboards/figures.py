"""What a coordinator's page is made of: read from this service's own database, said as `domain` allows, once per change
for everybody who looks."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from schemas.vocabulary import WaitsFor
from services.notify.dashboards import store
from services.notify.dashboards.domain import LEAST, STAGES, Step, came_as_far, protected, rounded_minutes, steps_said
from services.notify.partners import store as partners
from spean import order
from spean.bus import Bus, BusError, Partition, Stored
from spean.db import Database, DatabaseProblem
from spean.event import Malformed, parse
from spean.web.live import Shared

TAIL_SHOWN = 12
ESCALATED_SHOWN = 50
# Time passes also where nothing happens: a deadline is seen to have passed within this.
FIGURES_S = 5.0
AGE_S, AGE_LIMIT_S = 2.0, 2.0
# How long a yes takes is looked at over a week, which ends today.
DAYS_BEFORE = timedelta(days=6)
# Of partitions that are behind, the oldest record of so many is looked at.
BEHIND_READ = 8

# Changes that are read at once.
BATCH = 200
# A watcher whose organisation was suspended goes within this and a moment.
SUSPENDED_S = 1.0


@dataclass(frozen=True, slots=True)
class Overdue:
    """Exact: each is somebody's work, and the coordinator's own."""

    unseen: int
    overdue: int
    escalated: int


@dataclass(frozen=True, slots=True)
class Escalation:
    """`waits_for`: whose turn it is where it is on hold."""

    referral: UUID
    service_group: str
    area: str
    reason: str
    since: datetime | None
    deadline: datetime
    waits_for: WaitsFor | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """When it was requested, and after how many minutes (rounded) a house took it."""

    at: datetime
    minutes: int


@dataclass(frozen=True, slots=True)
class Happened:
    type: str
    country: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Figures:
    """Of my networks, at one moment. `steps`: referrals of the day by where they are; `accepted`: those of the week, empty
    where they are too few; `free`: places by area; `erasures`, `deliveries`: by state."""

    at: datetime
    since: datetime
    overdue: Overdue
    escalations: Sequence[Escalation]
    steps: Mapping[Step, int | None]
    accepted: Sequence[Accepted]
    free: Mapping[str, int | None]
    erasures: Mapping[str, int | None]
    deliveries: Mapping[str, int | None]
    tail: Sequence[Happened]


@dataclass(frozen=True, slots=True)
class Age:
    """How far this service is behind what the others have said, and how many keys wait because one of their events could
    not be taken in."""

    behind: timedelta
    parked: int


async def read(db: Database, organisation: UUID, since: datetime) -> Figures:
    """`since`: when the day began where it is looked at. Raises DatabaseProblem."""
    async with db.transaction("dashboard.read", org=organisation) as tx:
        due = await store.overdue(tx)
        steps = _steps(await store.stages_since(tx, since))
        return Figures(
            at=tx.now, since=since, overdue=Overdue(due["unseen"], due["overdue"], due["escalated"]),
            escalations=[_escalation(row) for row in await store.escalated(tx, ESCALATED_SHOWN)],
            steps=steps, accepted=_accepted(await store.accepted_since(tx, since - DAYS_BEFORE), steps),
            free=protected(await store.free_by_area(tx)), erasures=protected(await store.erasures_by_state(tx)),
            deliveries=protected({row["state"]: row["count"] for row in await store.deliveries(tx)}),
            tail=[Happened(row["type"], row["area"], row["at"]) for row in await store.tail_last(tx, TAIL_SHOWN)],
        )  # fmt: skip


def _escalation(row: asyncpg.Record) -> Escalation:
    waits_for = None if row["waits_for"] is None else WaitsFor(row["waits_for"])
    return Escalation(
        row["id"], row["service_group"], row["area"], row["reason"], row["since"], row["deadline"], waits_for
    )


def _steps(rows: Sequence[asyncpg.Record]) -> Mapping[Step, int | None]:
    waiting = {STAGES[row["stage"]]: row["count"] for row in rows if not row["ended"]}
    return steps_said(waiting, {STAGES[row["stage"]]: row["count"] for row in rows if row["ended"]})


def _accepted(rows: Sequence[asyncpg.Record], steps: Mapping[Step, int | None]) -> list[Accepted]:
    """Each is drawn as a dot, and dots can be counted: only where they are as many as today's could be at the most, for
    whoever reads what is said of them; else their number would say more."""
    if len(rows) < max(came_as_far(steps, "accepted").most, LEAST):
        return []
    return [
        Accepted(row["requested_at"], rounded_minutes((row["answered_at"] - row["requested_at"]).total_seconds() / 60))
        for row in rows
    ]


class Board:
    """The figures of this node: whoever looks at the same number of changes sees the same ones, read once."""

    def __init__(self, db: Database, bus: Bus, topics: Collection[str]) -> None:
        self._db, self._bus, self._topics = db, bus, topics
        self._figures: Shared[Figures] = Shared(FIGURES_S)
        self._ages: Shared[Age | None] = Shared(AGE_S)
        # The moving part of the page as HTML; the same for everybody of an organisation who reads the same language.
        self.parts: Shared[str] = Shared(FIGURES_S)
        self._changes: Shared[list[asyncpg.Record]] = Shared(FIGURES_S)
        self._suspended: Shared[bool] = Shared(SUSPENDED_S)

    @property
    def read(self) -> int:
        """How often figures were read from the database."""
        return self._figures.made

    async def figures(self, organisation: UUID, number: int, since: datetime) -> Figures:
        """As they stood at the change `number` or after it. Raises DatabaseProblem."""
        return await self._figures.get((organisation, number, since), lambda: read(self._db, organisation, since))

    async def changes(self, organisation: UUID, after: int, newest: int) -> list[asyncpg.Record]:
        """What has happened since the change `after`, at least to `newest`, `BATCH` at most. Raises DatabaseProblem."""

        async def look() -> list[asyncpg.Record]:
            async with self._db.transaction("changes.read", org=organisation) as tx:
                return await store.tail_after(tx, after, BATCH)

        return await self._changes.get((organisation, after, newest), look)

    async def end(self, organisation: UUID) -> int:
        """The last number that was given to anybody. Raises DatabaseProblem."""
        async with self._db.transaction("changes.start", org=organisation) as tx:
            return await store.tail_end(tx)

    async def suspended(self, organisation: UUID) -> bool:
        """Raises DatabaseProblem."""

        async def look() -> bool:
            async with self._db.transaction("changes.status", org=organisation) as tx:
                return await partners.is_suspended(tx, organisation)

        return await self._suspended.get(organisation, look)

    async def age(self) -> Age | None:
        """None where it cannot be known, because the bus or the database does not answer."""
        return await self._ages.get("", self._age)

    async def _age(self) -> Age | None:
        try:
            async with asyncio.timeout(AGE_LIMIT_S):
                async with self._db.transaction("dashboard.position") as tx:
                    places, parked, now = await order.positions(tx), len(await order.parked_now(tx)), tx.now
                behind = (await self._behind(places))[:BEHIND_READ]
                unread = [await self._bus.read(partition, offset, limit=1) for partition, offset in behind]
        except (BusError, DatabaseProblem, TimeoutError):
            return None
        times = [at for found in unread if found and (at := _said_at(found[0])) is not None]
        if behind and not times:
            return None
        return Age(max((now - at for at in times), default=timedelta(0)), parked)

    async def _behind(self, places: Mapping[Partition, int]) -> list[tuple[Partition, int]]:
        """Where something has not been read yet, and from which offset. Raises BusError."""
        bounds = [one for topic in self._topics for one in (await self._bus.bounds(topic)).items()]
        return [
            (partition, max(places.get(partition, 0), kept.start))
            for partition, kept in bounds
            if max(places.get(partition, 0), kept.start) < kept.end
        ]


def _said_at(stored: Stored) -> datetime | None:
    try:
        return parse(stored.record).time
    except Malformed:
        return None
