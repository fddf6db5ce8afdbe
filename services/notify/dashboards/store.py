"""Projections in PostgreSQL: one function per statement. `PROJECTIONS` can be truncated and rebuilt from the events."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import asyncpg

from schemas import events as e
from spean.db import Tx

# Not the tail: its numbers are places in a stream that watchers have read already.
PROJECTIONS = ("referral_view", "capacity_view", "erasure_view")


async def save_referral(tx: Tx, id_: UUID, said: e.ReferralReceivedV1) -> None:
    """As it is when it is received, also where a replay says so again: what follows is said again too."""
    await tx.conn.execute(
        """
        insert into referral_view (id, network, coordinator, service_group, urgency, area, places, requested_at, deadline, state)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'requested')
        on conflict (id) do update set state = 'requested', asked = 0, escalated = null, verified = null, answered_at = null,
            arrived_at = null, ended_at = null
        """,
        id_, said.network, said.coordinator, said.group, said.urgency, said.area, said.places, said.requested_at,
        said.deadline,
    )  # fmt: skip


# What it was escalated for is over; past its deadline it stays the coordinator's (as the network decides it).
_SETTLED = "escalated = case when escalated is not null and $2 >= deadline then 'deadline-passed' end"


async def set_state(tx: Tx, id_: UUID, state: str) -> None:
    await tx.conn.execute("update referral_view set state = $2 where id = $1", id_, state)


async def set_offered(tx: Tx, id_: UUID) -> None:
    await tx.conn.execute("update referral_view set state = 'offered', asked = asked + 1 where id = $1", id_)


async def set_answered(tx: Tx, id_: UUID, at: datetime) -> None:
    await tx.conn.execute(
        f"update referral_view set state = 'accepted', {_SETTLED}, answered_at = $2 where id = $1", id_, at
    )


async def set_settled(tx: Tx, id_: UUID, state: str, at: datetime) -> None:
    await tx.conn.execute(f"update referral_view set state = $3, {_SETTLED} where id = $1", id_, at, state)


async def set_arrived(tx: Tx, id_: UUID, *, at: datetime, verified: bool) -> None:
    await tx.conn.execute(
        """
        update referral_view set state = 'in-progress', escalated = null, verified = $2, arrived_at = $3 where id = $1
        """,
        id_, verified, at,
    )  # fmt: skip


async def set_ended(tx: Tx, id_: UUID, state: str, at: datetime) -> None:
    await tx.conn.execute(
        "update referral_view set state = $2, escalated = null, ended_at = $3 where id = $1", id_, state, at
    )


async def set_escalated(tx: Tx, id_: UUID, reason: str) -> None:
    await tx.conn.execute("update referral_view set escalated = $2 where id = $1", id_, reason)


async def save_capacity(tx: Tx, place: UUID, said: e.CapacityChangedV1) -> None:
    await tx.conn.execute(
        """
        insert into capacity_view (place, network, coordinator, organisation, service_group, area, usable, free)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (place) do update set usable = excluded.usable, free = excluded.free
        """,
        place, said.network, said.coordinator, said.organisation, said.group, said.area, said.usable, said.free,
    )  # fmt: skip


async def save_erasure(tx: Tx, referral: UUID, offer: UUID, state: str, answer_by: datetime | None = None) -> None:
    await tx.conn.execute(
        """
        insert into erasure_view (offer, referral, state, answer_by) values ($1, $2, $3, $4)
        on conflict (offer) do update set state = excluded.state
        """,
        offer, referral, state, answer_by,
    )  # fmt: skip


async def append_tail(
    tx: Tx, event: UUID, coordinator: UUID | None, type_: str, area: str | None, at: datetime
) -> None:
    """Numbers are taken under the head row's lock: they commit in order. What is said again has its number already."""
    await tx.conn.execute(
        """
        with head as (
            update tail_head set next = next + 1 where not exists (select 1 from tail where event = $1)
            returning next - 1 as number)
        insert into tail (number, event, coordinator, type, area, at) select number, $1, $2, $3, $4, $5 from head
        """,
        event, coordinator, type_, area, at,
    )  # fmt: skip


async def coordinator_and_area(tx: Tx, referral: UUID) -> tuple[UUID | None, str | None]:
    row = await tx.conn.fetchrow("select coordinator, area from referral_view where id = $1", referral)
    return (None, None) if row is None else (row["coordinator"], row["area"])


async def tail_after(tx: Tx, number: int, limit: int) -> list[asyncpg.Record]:
    """What has happened since, in the order of the numbers; row-level security picks the coordinator's own."""
    return await tx.conn.fetch(
        "select number, type, area, at from tail where number > $1 order by number limit $2", number, limit
    )


async def tail_end(tx: Tx) -> int:
    """The last number that was given to anybody; 0 before the first."""
    number: int = await tx.conn.fetchval("select next - 1 from tail_head")
    return number


async def counts(tx: Tx, network: UUID | None) -> list[asyncpg.Record]:
    """Referrals by state: how many, how many past their deadline without arrival, how many escalated."""
    return await tx.conn.fetch(
        """
        select state, count(*) as count,
               count(*) filter (where deadline < $2 and state not in ('in-progress', 'completed', 'cancelled')) as overdue,
               count(*) filter (where deadline < $2 and escalated is null
                                and state not in ('in-progress', 'completed', 'cancelled')) as unseen,
               count(*) filter (where escalated is not null) as escalated
        from referral_view where $1::uuid is null or network = $1 group by state order by state
        """,
        network, tx.now,
    )  # fmt: skip


async def capacity(tx: Tx, network: UUID | None) -> list[asyncpg.Record]:
    return await tx.conn.fetch(
        """
        select area, service_group, sum(usable)::int as usable, sum(free)::int as free from capacity_view
        where $1::uuid is null or network = $1 group by area, service_group order by area, service_group
        """,
        network,
    )


async def erasures(tx: Tx) -> list[asyncpg.Record]:
    return await tx.conn.fetch("select state, count(*) as count from erasure_view group by state order by state")
