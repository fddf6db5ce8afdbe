"""Reviewed rules in PostgreSQL: dated, ended rather than edited, read as they stand at a moment."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from schemas.vocabulary import DataCategory, Purpose, ServiceGroup
from services.intake.disclosure.rulebook import Agreement, Corridor, NeedToKnow, Rules
from services.intake.handoffs.store import Reach
from spean.db import Tx

Dates = tuple[datetime, datetime | None]


async def insert_need_to_know(tx: Tx, id_: UUID, network: UUID | None, group: ServiceGroup, stage: str,
                              fields: list[str], dates: Dates, by: str) -> None:  # fmt: skip
    """`network`: None is every network of this holder."""
    await tx.conn.execute(
        """
        insert into need_to_know (id, network, service_group, stage, fields, valid_from, valid_until, created_by)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        id_, network, group, stage, fields, *dates, by,
    )  # fmt: skip


async def insert_agreement(tx: Tx, id_: UUID, sender: UUID, recipient: UUID, categories: list[DataCategory],
                           purposes: list[Purpose], dates: Dates, by: str) -> None:  # fmt: skip
    await tx.conn.execute(
        """
        insert into agreement (id, sender, recipient, categories, purposes, valid_from, valid_until, created_by)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        id_, sender, recipient, categories, purposes, *dates, by,
    )  # fmt: skip


async def insert_corridor(tx: Tx, id_: UUID, from_country: str, to_country: str, categories: list[DataCategory],
                          legal_basis: str, dates: Dates, by: str) -> None:  # fmt: skip
    await tx.conn.execute(
        """
        insert into corridor (id, from_country, to_country, categories, legal_basis, valid_from, valid_until, created_by)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        id_, from_country, to_country, categories, legal_basis, *dates, by,
    )  # fmt: skip


async def end(tx: Tx, table: str, id_: UUID) -> bool:
    """A rule ends now. `table` is one of this module's three. False where there is none that still runs."""
    status = await tx.conn.execute(
        f'update "{table}" set valid_until = $2 where id = $1 and (valid_until is null or valid_until > $2)',
        id_,
        tx.now,
    )
    return status == "UPDATE 1"


async def running(tx: Tx, ids: Collection[UUID]) -> list[tuple[str, UUID]]:
    """Of these, the rules that have not ended yet, each with its table."""
    rows = await tx.conn.fetch(
        """
        select name, id from (
            select 'need_to_know' as name, id, valid_until from need_to_know
            union all select 'agreement', id, valid_until from agreement
            union all select 'corridor', id, valid_until from corridor) rules
        where id = any($1) and (valid_until is null or valid_until > $2) order by name, id
        """,
        list(ids), tx.now,
    )  # fmt: skip
    return [(row["name"], row["id"]) for row in rows]


async def listed(tx: Tx, table: str, limit: int, before: int = 0) -> list[dict[str, Any]]:
    """Rules with their history, the newest first, without those `before`."""
    rows = await tx.conn.fetch(
        f'select * from "{table}" order by created_at desc, id limit $1 offset $2', limit, before
    )
    return [dict(row) for row in rows]


async def find(tx: Tx, table: str, id_: UUID) -> dict[str, Any]:
    """Raises Refusal `not-found`."""
    return dict(await tx.one(f'select * from "{table}" where id = $1', id_))


async def agreements_about(
    tx: Tx, organisations: Collection[UUID], limit: int, before: int = 0
) -> list[dict[str, Any]]:
    """As `listed`, of agreements that one of these has."""
    rows = await tx.conn.fetch(
        """
        select * from agreement where sender = any($1) or recipient = any($1) order by created_at desc, id limit $2 offset $3
        """,
        list(organisations), limit, before,
    )  # fmt: skip
    return [dict(row) for row in rows]


async def reach(tx: Tx, id_: UUID) -> Reach | None:
    """Whom a rule of any of the three tables is about."""
    row = await tx.conn.fetchrow(
        """
        select null::uuid as network, sender, recipient, null as country, null as service_group from agreement where id = $1
        union all select null, null, null, to_country, null from corridor where id = $1
        union all select network, null, null, null, service_group from need_to_know where id = $1
        """,
        id_,
    )
    if row is None:
        return None
    group = row["service_group"] and ServiceGroup(row["service_group"])
    return Reach(row["network"], row["sender"], row["recipient"], row["country"], group)


async def in_force(tx: Tx, networks: Collection[UUID], groups: Collection[ServiceGroup], senders: Collection[UUID],
                   recipients: Collection[UUID]) -> Rules:  # fmt: skip
    """The rules that stand now in these networks, for these kinds of service, between these organisations."""
    needs = await tx.conn.fetch(
        """
        select id, network, service_group, stage, fields from need_to_know
        where (network is null or network = any($1)) and service_group = any($2)
          and valid_from <= $3 and (valid_until is null or valid_until > $3)
        """,
        list(networks), list(groups), tx.now,
    )  # fmt: skip
    agreements = await tx.conn.fetch(
        """
        select id, sender, recipient, categories, purposes from agreement
        where sender = any($1) and recipient = any($2) and valid_from <= $3 and (valid_until is null or valid_until > $3)
        """,
        list(senders), list(recipients), tx.now,
    )  # fmt: skip
    corridors = await tx.conn.fetch(
        """
        select id, from_country, to_country, categories from corridor
        where valid_from <= $1 and (valid_until is null or valid_until > $1)
        """,
        tx.now,
    )
    return Rules(tuple(map(_need, needs)), tuple(map(_agreement, agreements)), tuple(map(_corridor, corridors)))


def _need(row: asyncpg.Record) -> NeedToKnow:
    group = ServiceGroup(row["service_group"])
    return NeedToKnow(row["id"], row["network"], group, row["stage"], frozenset(row["fields"]))


def _agreement(row: asyncpg.Record) -> Agreement:
    categories = frozenset(DataCategory(code) for code in row["categories"])
    purposes = frozenset(Purpose(code) for code in row["purposes"])
    return Agreement(row["id"], row["sender"], row["recipient"], categories, purposes)


def _corridor(row: asyncpg.Record) -> Corridor:
    categories = frozenset(DataCategory(code) for code in row["categories"])
    return Corridor(row["id"], row["from_country"], row["to_country"], categories)
