"""The path of identification in PostgreSQL: one function per statement. Steps are only ever added."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from spean.db import Tx


async def of_entry(tx: Tx, entry: UUID) -> list[asyncpg.Record]:
    """number, sealed, by, at of every step, in order."""
    return await tx.conn.fetch(
        "select number, sealed, by, at from identification_step where entry = $1 order by number", entry
    )


async def insert(tx: Tx, entry: UUID, number: int, sealed: bytes, by: str) -> None:
    await tx.conn.execute(
        """
        insert into identification_step (entry, number, org, sealed, by, at)
        select e.id, $2, e.org, $3, $4, $5 from entry e where e.id = $1
        """,
        entry, number, sealed, by, tx.now,
    )  # fmt: skip
