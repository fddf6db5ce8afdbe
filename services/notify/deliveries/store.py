"""Addresses and deliveries in PostgreSQL: one function per statement."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import asyncpg

from spean.db import Tx


async def save_address(tx: Tx, organisation: UUID, email: str) -> None:
    await tx.conn.execute(
        """
        insert into address as a (organisation, email, changed_at) values ($1, $2, $3)
        on conflict (organisation) do update set email = excluded.email, changed_at = excluded.changed_at,
            version = a.version + 1
        """,
        organisation, email, tx.now,
    )  # fmt: skip


async def find_address(tx: Tx, organisation: UUID) -> str | None:
    email: str | None = await tx.conn.fetchval("select email from address where organisation = $1", organisation)
    return email


async def organisations(tx: Tx) -> list[asyncpg.Record]:
    """Every organisation: since when an address of it is kept (`changed_at`, null: none), and is it `suspended`?"""
    return await tx.conn.fetch(
        """
        select o.id, a.changed_at, s.organisation is not null as suspended from organisation o
        left join address a on a.organisation = o.id left join suspended s on s.organisation = o.id
        """
    )


async def find_organisation(tx: Tx, organisation: UUID) -> asyncpg.Record:
    """The same of one; not `known`: no organisation of this id was registered, as far as has been heard here."""
    found = await tx.conn.fetchrow(
        """
        select exists (select 1 from organisation where id = $1) as known,
               (select changed_at from address where organisation = $1) as changed_at,
               exists (select 1 from suspended where organisation = $1) as suspended
        """,
        organisation,
    )
    assert found is not None  # noqa: S101 (a select without a table has one row)
    return found


async def insert_delivery(
    tx: Tx, id_: UUID, event: UUID, organisation: UUID, until: datetime, coordinator: UUID | None
) -> bool:
    """False where this event was told to this organisation before (a replay)."""
    status = await tx.conn.execute(
        """
        insert into delivery (id, event, organisation, until, state, created_at, coordinator)
        values ($1, $2, $3, $4, 'waiting', $5, $6) on conflict (event, organisation) do nothing
        """,
        id_, event, organisation, until, tx.now, coordinator,
    )  # fmt: skip
    return status == "INSERT 0 1"


async def lock_delivery(tx: Tx, id_: UUID) -> asyncpg.Record | None:
    return await tx.conn.fetchrow("select * from delivery where id = $1 for update", id_)


async def set_delivery(tx: Tx, id_: UUID, state: str, tries: int) -> None:
    await tx.conn.execute(
        "update delivery set state = $2, tries = $3, sent_at = case when $2 = 'sent' then $4::timestamptz end where id = $1",
        id_, state, tries, tx.now,
    )  # fmt: skip


async def set_sending(tx: Tx, id_: UUID) -> None:
    """About to go out; one that is found so was interrupted, and is counted."""
    await tx.conn.execute(
        """
        update delivery set state = 'sending', interrupted = interrupted + (state = 'sending')::int where id = $1
        """,
        id_,
    )


async def unfinished(tx: Tx) -> list[asyncpg.Record]:
    """By state: how many deliveries are not finished, and since when the oldest of them is there."""
    return await tx.conn.fetch(
        """
        select state, count(*) as count, min(created_at) as oldest from delivery
        where state in ('waiting', 'sending') group by state
        """
    )
