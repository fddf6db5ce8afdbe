"""Places in PostgreSQL. Counters change only under the place's lock; a CHECK refuses more than there are."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import asyncpg

from schemas.questions import Eligibility
from schemas.vocabulary import ServiceGroup, ServiceType
from spean.db import Tx
from spean.problem import Refusal


@dataclass(frozen=True, slots=True)
class Place:
    """A pool of equal places. `free` = usable − outside − held − staying."""

    id: UUID
    organisation: UUID
    network: UUID
    service_group: ServiceGroup
    service_types: tuple[ServiceType, ...]
    area: str
    eligibility: Eligibility
    usable: int
    outside: int
    held: int
    staying: int
    version: int

    @property
    def free(self) -> int:
        return self.usable - self.outside - self.held - self.staying


def _place(row: asyncpg.Record) -> Place:
    return Place(
        id=row["id"],
        organisation=row["organisation"],
        network=row["network"],
        service_group=ServiceGroup(row["service_group"]),
        service_types=tuple(ServiceType(code) for code in row["service_types"]),
        area=row["area"],
        eligibility=Eligibility.model_validate_json(row["eligibility"]),
        usable=row["usable"],
        outside=row["outside"],
        held=row["held"],
        staying=row["staying"],
        version=row["version"],
    )


async def insert_place(tx: Tx, p: Place) -> None:
    await tx.conn.execute(
        """
        insert into place (id, organisation, network, service_group, service_types, area, eligibility, usable, outside)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        p.id, p.organisation, p.network, p.service_group, list(p.service_types), p.area,
        p.eligibility.model_dump_json(), p.usable, p.outside,
    )  # fmt: skip


async def find_place(tx: Tx, id_: UUID) -> Place:
    """Raises Refusal `not-found` (also where row-level security hides it)."""
    return _place(await tx.one("select * from place where id = $1", id_))


async def lock_place(tx: Tx, id_: UUID) -> Place:
    """Raises Refusal `not-found`."""
    return _place(await tx.one("select * from place where id = $1 for update", id_))


async def places_of(tx: Tx, organisation: UUID) -> list[Place]:
    rows = await tx.conn.fetch("select * from place where organisation = $1 order by area, id", organisation)
    return [_place(row) for row in rows]


async def places_in(tx: Tx, network: UUID) -> list[UUID]:
    """A network's places, ids ascending."""
    rows = await tx.conn.fetch("select id from place where network = $1 order by id", network)
    return [row["id"] for row in rows]


async def save_counts(tx: Tx, p: Place, *, confirmed: bool) -> None:
    """Write the counters, one version on; `confirmed` when a person has just said so."""
    await tx.conn.execute(
        """
        update place set usable = $2, outside = $3, held = $4, staying = $5, version = version + 1,
            confirmed_at = case when $6 then $7 else confirmed_at end
        where id = $1
        """,
        p.id, p.usable, p.outside, p.held, p.staying, confirmed, tx.now,
    )  # fmt: skip


async def held_and_staying(tx: Tx, id_: UUID) -> tuple[int, int]:
    """Places of a pool that holds promise, and those in which somebody stays."""
    row = await tx.conn.fetchrow(
        """
        select coalesce(sum(places) filter (where state = 'held'), 0)::int as held,
               coalesce(sum(places) filter (where state = 'staying'), 0)::int as staying from hold where place = $1
        """,
        id_,
    )
    assert row is not None  # noqa: S101 (an aggregate has one row)
    return row["held"], row["staying"]


async def coordinator_of(tx: Tx, network: UUID) -> UUID:
    """Raises Refusal `not-found`."""
    found: UUID | None = await tx.conn.fetchval("select coordinator from network where id = $1", network)
    if found is None:
        raise Refusal("not-found")
    return found
