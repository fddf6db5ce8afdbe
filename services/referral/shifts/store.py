"""Who has the house now, and what has happened since they took it: one function per statement."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from spean.db import Tx


@dataclass(frozen=True, slots=True)
class Shift:
    number: int
    person: UUID
    name: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Happened:
    """How many since a moment, of an organisation's offers."""

    accepted: int
    declined: int
    missed: int
    arrived: int
    ended: int


async def current(tx: Tx, organisation: UUID) -> Shift | None:
    row = await tx.conn.fetchrow(
        "select number, person, name, since from shift where organisation = $1 order by number desc limit 1",
        organisation,
    )
    return None if row is None else Shift(**row)


async def insert(tx: Tx, organisation: UUID, shift: Shift) -> bool:
    """False where somebody else took over in this moment."""
    status = await tx.conn.execute(
        """
        insert into shift (organisation, number, person, name, since) values ($1, $2, $3, $4, $5) on conflict do nothing
        """,
        organisation, shift.number, shift.person, shift.name, shift.since,
    )  # fmt: skip
    return status == "INSERT 0 1"


async def happened(tx: Tx, organisation: UUID, since: datetime) -> Happened:
    row = await tx.conn.fetchrow(
        """
        select count(*) filter (where o.state = 'accepted' and o.answered_at >= $2) as accepted,
               count(*) filter (where o.state = 'rejected' and o.answered_at >= $2) as declined,
               count(*) filter (where o.state = 'expired' and o.answered_at >= $2) as missed,
               count(*) filter (where r.offer = o.id and r.arrived_at >= $2) as arrived,
               count(*) filter (where r.offer = o.id and r.ended_at >= $2) as ended
        from offer o join referral r on r.id = o.referral where o.organisation = $1
        """,
        organisation, since,
    )  # fmt: skip
    assert row is not None  # noqa: S101 (an aggregate has one row)
    return Happened(**row)
