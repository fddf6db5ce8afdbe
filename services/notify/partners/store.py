"""Which organisations there are, and which the network has suspended, in PostgreSQL: one function per statement."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from spean.db import Tx


async def save_organisation(tx: Tx, organisation: UUID) -> None:
    await tx.conn.execute("insert into organisation (id) values ($1) on conflict do nothing", organisation)


async def set_suspended(tx: Tx, organisation: UUID, at: datetime) -> None:
    await tx.conn.execute(
        "insert into suspended (organisation, at) values ($1, $2) on conflict do nothing", organisation, at
    )


async def is_suspended(tx: Tx, organisation: UUID) -> bool:
    found: bool = await tx.conn.fetchval(
        "select exists (select 1 from suspended where organisation = $1)", organisation
    )
    return found


async def forget_suspended(tx: Tx, organisation: UUID) -> None:
    await tx.conn.execute("delete from suspended where organisation = $1", organisation)
