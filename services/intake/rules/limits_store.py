"""The holder's limits in PostgreSQL: dated, never changed; the latest that has begun counts."""

from __future__ import annotations

from datetime import datetime, timedelta

import asyncpg

from services.intake.bases.domain import Kind
from spean.db import Tx


async def crowd(tx: Tx, limit: int) -> list[asyncpg.Record]:
    """How many people have to look the same in an offer, with the history; what begins last first."""
    return await tx.conn.fetch(
        "select people, valid_from, created_by from crowd_limit order by valid_from desc limit $1", limit
    )


async def bases(tx: Tx, limit: int) -> list[asyncpg.Record]:
    """What stands in for consent, with the history: kind by kind, what begins last first."""
    return await tx.conn.fetch(
        """
        select kind, people, decide_within, lasts, valid_from, created_by from basis_limit
        order by kind, valid_from desc limit $1
        """,
        limit,
    )


async def insert_crowd(tx: Tx, people: int, valid_from: datetime, by: str) -> bool:
    """False where another begins at the same moment."""
    status = await tx.conn.execute(
        "insert into crowd_limit (valid_from, people, created_by) values ($1, $2, $3) on conflict do nothing",
        valid_from, people, by,
    )  # fmt: skip
    return status == "INSERT 0 1"


async def insert_basis(tx: Tx, kind: Kind, people: int, decide_within: timedelta, lasts: timedelta,
                       valid_from: datetime, by: str) -> bool:  # fmt: skip
    """False where another of this kind begins at the same moment."""
    status = await tx.conn.execute(
        """
        insert into basis_limit (kind, valid_from, people, decide_within, lasts, created_by) values ($1, $2, $3, $4, $5, $6)
        on conflict do nothing
        """,
        kind, valid_from, people, decide_within, lasts, by,
    )  # fmt: skip
    return status == "INSERT 0 1"
