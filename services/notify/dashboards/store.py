"""Projections in PostgreSQL: one function per statement. `PROJECTIONS` can be truncated and rebuilt from the events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from schemas import events as e
from schemas.vocabulary import WaitsFor
from spean.bus import Record
from spean.db import Tx
from spean.event import Event


class Shown(NamedTuple):
    """A line of the tail."""

    event: UUID
    coordinator: UUID | None
    type: str
    area: str | None
    at: datetime


# Not the tail: its numbers are places in a stream that watchers have read already.
PROJECTIONS = ("referral_view", "capacity_view", "copy_view", "early", "organisation")


async def save_referral(tx: Tx, id_: UUID, said: e.ReferralReceivedV1) -> None:
    """As it is when it is received, also where a replay says so again: what follows is said again too."""
    await tx.conn.execute(
        """
        insert into referral_view (id, network, coordinator, service_group, urgency, area, places, requested_at, deadline, holder,
                                   state)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'requested')
        on conflict (id) do update set state = 'requested', asked = 0, escalated = null, verified = null, answered_at = null,
            arrived_at = null, ended_at = null, escalated_at = null, ready_at = null, coordinator = excluded.coordinator,
            holder = coalesce(excluded.holder, referral_view.holder)
        """,
        id_, said.network, said.coordinator, said.group, said.urgency, said.area, said.places, said.requested_at,
        said.deadline, said.holder,
    )  # fmt: skip


async def is_known(tx: Tx, referral: UUID) -> bool:
    """Has the network been heard about it?"""
    found: bool = await tx.conn.fetchval("select exists (select from referral_view where id = $1)", referral)
    return found


async def holder_of(tx: Tx, referral: UUID) -> str | None:
    """None where the network did not say it."""
    holder: str | None = await tx.conn.fetchval("select holder from referral_view where id = $1", referral)
    return holder


async def keep_early(tx: Tx, event: Event, holder: str) -> None:
    """What a holder said of a referral that is not known yet. What it says again is kept once."""
    record = event.record()
    await tx.conn.execute(
        """
        insert into early (referral, holder, epoch, sequence, headers, value, at) values ($1, $2, $3, $4, $5, $6, $7)
        on conflict do nothing
        """,
        event.subject, holder, event.epoch, event.sequence, json.dumps(dict(record.headers)), record.value, tx.now,
    )  # fmt: skip


async def pop_early(tx: Tx, referral: UUID) -> list[tuple[str, Record]]:
    """What was said of a referral before it was known, each holder's in its order, by whom. It is not kept any more."""
    rows = await tx.conn.fetch(
        """
        with gone as (delete from early where referral = $1 returning *) select * from gone order by holder, epoch, sequence
        """,
        referral,
    )
    key = str(referral).encode()
    return [(row["holder"], Record(key, json.loads(row["headers"]), row["value"])) for row in rows]


async def trim_early(tx: Tx, before: datetime) -> None:
    await tx.conn.execute("delete from early where at < $1", before)


async def lock_head(tx: Tx) -> None:
    """Take numbers of the tail alone until this transaction ends."""
    await tx.conn.execute("select from tail_head for update")


# What it was escalated for is over; past its deadline it stays the coordinator's, and so does what is theirs because its
# sender is shut out (as the network decides it).
_OVER = "when escalated is not null and $2 >= deadline then 'deadline-passed' end"
_SETTLED = f"escalated = case when escalated = 'organisation-suspended' then escalated {_OVER}"
# Where it was the house that was shut out, it waited for the coordinator.
_SETTLED_ANEW = (
    "escalated = case when escalated = 'organisation-suspended' "
    f"and not (state = 'on-hold' and waits_for is not distinct from 'coordinator') then escalated {_OVER}"
)


async def set_state(tx: Tx, id_: UUID, state: str) -> None:
    await tx.conn.execute("update referral_view set state = $2 where id = $1", id_, state)


async def set_offered(tx: Tx, id_: UUID) -> None:
    await tx.conn.execute("update referral_view set state = 'offered', asked = asked + 1 where id = $1", id_)


async def set_answered(tx: Tx, id_: UUID, at: datetime) -> None:
    await tx.conn.execute(
        f"update referral_view set state = 'accepted', {_SETTLED}, answered_at = $2 where id = $1", id_, at
    )


async def set_held(tx: Tx, id_: UUID, waits_for: WaitsFor, at: datetime) -> None:
    await tx.conn.execute(
        f"update referral_view set state = 'on-hold', {_SETTLED}, waits_for = $3 where id = $1", id_, at, waits_for
    )


async def set_reopened(tx: Tx, id_: UUID, at: datetime) -> None:
    await tx.conn.execute(f"update referral_view set state = 'requested', {_SETTLED_ANEW} where id = $1", id_, at)


async def set_ready(tx: Tx, id_: UUID, at: datetime) -> None:
    await tx.conn.execute(f"update referral_view set state = 'ready', {_SETTLED}, ready_at = $2 where id = $1", id_, at)


async def set_arrived(tx: Tx, id_: UUID, *, at: datetime, verified: bool) -> None:
    await tx.conn.execute(
        """
        update referral_view set state = 'in-progress', escalated = null, verified = $2, arrived_at = $3 where id = $1
        """,
        id_, verified, at,
    )  # fmt: skip


async def set_verified(tx: Tx, id_: UUID) -> None:
    """Whoever was told only because it was not verified has nothing to look at any more."""
    await tx.conn.execute(
        "update referral_view set verified = true, escalated = nullif(escalated, 'arrival-unverified') where id = $1",
        id_,
    )


async def set_coordinator(tx: Tx, id_: UUID, coordinator: UUID) -> None:
    await tx.conn.execute("update referral_view set coordinator = $2 where id = $1", id_, coordinator)


async def set_ended(tx: Tx, id_: UUID, state: str, at: datetime) -> None:
    await tx.conn.execute(
        "update referral_view set state = $2, escalated = null, ended_at = $3 where id = $1", id_, state, at
    )


async def set_escalated(tx: Tx, id_: UUID, reason: str, at: datetime) -> None:
    """Since when: since the first reason, where another one follows it."""
    await tx.conn.execute(
        """
        update referral_view set escalated = $2, escalated_at = case when escalated is null then $3 else escalated_at end
        where id = $1
        """,
        id_, reason, at,
    )  # fmt: skip


async def save_capacities(tx: Tx, said: Mapping[UUID, e.CapacityChangedV1]) -> None:
    """By place."""
    await tx.conn.execute(
        """
        insert into capacity_view (place, network, coordinator, organisation, service_group, area, usable, free)
        select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::int[], $8::int[])
        on conflict (place) do update set usable = excluded.usable, free = excluded.free,
            coordinator = excluded.coordinator
        """,
        list(said), *(
            [getattr(one, name) for one in said.values()]
            for name in ("network", "coordinator", "organisation", "group", "area", "usable", "free")
        ),
    )  # fmt: skip


async def save_erasure(tx: Tx, referral: UUID, offer: UUID, state: str, answer_by: datetime | None = None) -> None:
    await tx.conn.execute(
        """
        insert into copy_view (offer, referral, state, answer_by) values ($1, $2, $3, $4)
        on conflict (referral, offer) do update
            set state = excluded.state, answer_by = coalesce(excluded.answer_by, copy_view.answer_by)
        """,
        offer, referral, state, answer_by,
    )  # fmt: skip


async def append_tail(tx: Tx, shown: Sequence[Shown]) -> None:
    """Numbers are taken under the head row's lock: they commit in order. What is said again has its number already."""
    await tx.conn.execute(
        """
        with new as (
            select t.*, row_number() over (order by nth) as place
            from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[])
                with ordinality as t (event, coordinator, type, area, at, nth)
            where not exists (select from tail where tail.event = t.event)
        ), head as (
            update tail_head set next = next + added.count
            from (select count(*) as count from new) as added where added.count > 0
            returning next - added.count as first)
        insert into tail (number, event, coordinator, type, area, at)
        select head.first + place - 1, event, coordinator, type, area, at from new, head
        """,
        *([one[column] for one in shown] for column in range(len(Shown._fields))),
    )


async def coordinator_and_area(tx: Tx, referral: UUID) -> tuple[UUID | None, str | None]:
    row = await tx.conn.fetchrow("select coordinator, area from referral_view where id = $1", referral)
    return (None, None) if row is None else (row["coordinator"], row["area"])


async def coordinator_of_delivery(tx: Tx, delivery: UUID) -> UUID | None:
    found: UUID | None = await tx.conn.fetchval("select coordinator from delivery where id = $1", delivery)
    return found


async def trim_tail(tx: Tx, before: datetime) -> None:
    await tx.conn.execute("delete from tail where at < $1", before)


async def deliveries(tx: Tx) -> list[asyncpg.Record]:
    """Notices in my networks that have not gone out, by what became of them: `failing` is tried again."""
    return await tx.conn.fetch(
        """
        select case state when 'waiting' then 'failing' else state end as state, count(*) as count from delivery
        where coordinator = current_org() and (state in ('parked', 'lapsed') or (state = 'waiting' and tries > 0))
        group by 1 order by 1
        """
    )


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
    return await tx.conn.fetch("select state, count(*) as count from copy_view group by state order by state")


# --- the coordinator's page --------------------------------------------------------------------------------------------


async def newest_of(tx: Tx, coordinators: list[UUID]) -> dict[UUID, int]:
    """The number of the newest change of each, where there is one. As the service."""
    rows = await tx.conn.fetch(
        """
        select coordinator, number from unnest($1::uuid[]) as c (coordinator),
            lateral (select number from tail where tail.coordinator = c.coordinator order by number desc limit 1) as newest
        """,
        coordinators,
    )
    return {row["coordinator"]: row["number"] for row in rows}


async def tail_last(tx: Tx, limit: int) -> list[asyncpg.Record]:
    """What happened last, newest first."""
    return await tx.conn.fetch("select type, area, at from tail order by number desc limit $1", limit)


_OPEN = "state not in ('in-progress', 'completed', 'cancelled')"


async def overdue(tx: Tx) -> asyncpg.Record:
    """How many are past their deadline without arrival (`overdue`), and of them escalated to nobody (`unseen`); how many
    are escalated, whatever for."""
    row = await tx.conn.fetchrow(
        f"""
        select count(*) filter (where deadline < $1 and {_OPEN}) as overdue,
               count(*) filter (where deadline < $1 and {_OPEN} and escalated is null) as unseen,
               count(*) filter (where escalated is not null) as escalated
        from referral_view
        """,
        tx.now,
    )
    assert row is not None  # noqa: S101 (an aggregate has one row)
    return row


async def escalated(tx: Tx, limit: int) -> list[asyncpg.Record]:
    """What needs a person, whatever waits longest on top."""
    return await tx.conn.fetch(
        """
        select id, service_group, area, escalated as reason, escalated_at as since, deadline, waits_for from referral_view
        where escalated is not null order by escalated_at nulls first, deadline, id limit $1
        """,
        limit,
    )


async def stages_since(tx: Tx, since: datetime) -> list[asyncpg.Record]:
    """Referrals requested since then: how far each has come (0 to 4, as `domain.STAGES`) and whether it has ended."""
    return await tx.conn.fetch(
        """
        select case when arrived_at is not null then 4 when ready_at is not null then 3
                    when answered_at is not null then 2 when asked > 0 then 1 else 0 end as stage,
               state in ('completed', 'cancelled') as ended, count(*)::int as count
        from referral_view where requested_at >= $1 group by 1, 2
        """,
        since,
    )


async def accepted_since(tx: Tx, since: datetime) -> list[asyncpg.Record]:
    """Of the same referrals, those that a house has taken: when each was requested, and when it was accepted (where that
    was never read, it was by the time of what follows it)."""
    return await tx.conn.fetch(
        """
        select requested_at, coalesce(answered_at, ready_at, arrived_at) as answered_at from referral_view
        where requested_at >= $1 and coalesce(answered_at, ready_at, arrived_at) is not null
        """,
        since,
    )


async def free_by_area(tx: Tx) -> dict[str, int]:
    rows = await tx.conn.fetch("select area, sum(free)::int as free from capacity_view group by area order by area")
    return {row["area"]: row["free"] for row in rows}


async def erasures_by_state(tx: Tx) -> dict[str, int]:
    """`late`: asked, and the time to answer has passed; else `requested`, or what was answered."""
    rows = await tx.conn.fetch(
        """
        select case when state = 'overdue' or (state = 'requested' and answer_by < $1) then 'late' else state end as state,
               count(*)::int as count
        from copy_view group by 1 order by 1
        """,
        tx.now,
    )
    return {row["state"]: row["count"] for row in rows}
