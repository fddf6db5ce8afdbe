"""Drafts in PostgreSQL: one function per statement. Everywhere but in the clock's, the worker who began it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from services.intake.drafts.domain import Kind
from spean.db import Tx


@dataclass(frozen=True, slots=True)
class Sealed:
    """A draft as it lies there."""

    id: UUID
    kind: Kind
    entry: UUID | None
    sealed: bytes
    begun_at: datetime
    saved_at: datetime
    version: int


def _draft(row: asyncpg.Record) -> Sealed:
    return Sealed(
        row["id"], Kind(row["kind"]), row["entry"], row["sealed"], row["begun_at"], row["saved_at"], row["version"]
    )


async def insert(tx: Tx, id_: UUID, worker: UUID, kind: Kind, entry: UUID | None, sealed: bytes) -> None:
    await tx.conn.execute(
        """
        insert into draft (id, org, worker, kind, entry, sealed, begun_at, saved_at) values ($1, $2, $3, $4, $5, $6, $7, $7)
        """,
        id_, tx.org, worker, kind, entry, sealed, tx.now,
    )  # fmt: skip


async def find(tx: Tx, id_: UUID, worker: UUID, kind: Kind | None = None) -> Sealed:
    """`kind`: None for any. Raises Refusal `not-found`, also for another worker's."""
    row = await tx.one(
        "select * from draft where (id, worker, kind) = ($1, $2, coalesce($3, kind)) and not over", id_, worker, kind
    )
    return _draft(row)


async def lock(tx: Tx, id_: UUID, worker: UUID) -> Sealed:
    """Raises Refusal `not-found`, also for another worker's."""
    return _draft(
        await tx.one("select * from draft where (id, worker) = ($1, $2) and not over for update", id_, worker)
    )


async def lock_any(tx: Tx, id_: UUID) -> Sealed | None:
    """For the clock: a draft that may still be written in. None where it is over."""
    row = await tx.conn.fetchrow("select * from draft where id = $1 and not over for update", id_)
    return None if row is None else _draft(row)


async def of_worker(tx: Tx, worker: UUID, limit: int) -> list[Sealed]:
    """The latest first."""
    rows = await tx.conn.fetch(
        "select * from draft where org = $1 and worker = $2 and not over order by begun_at desc, id limit $3",
        tx.org,
        worker,
        limit,
    )
    return [_draft(row) for row in rows]


async def about(tx: Tx, entry: UUID) -> list[UUID]:
    """Every worker's drafts about a person, locked."""
    rows = await tx.conn.fetch("select id from draft where entry = $1 and not over order by id for update", entry)
    return [row["id"] for row in rows]


async def save(tx: Tx, id_: UUID, sealed: bytes) -> None:
    await tx.conn.execute(
        "update draft set sealed = $2, saved_at = $3, version = version + 1 where id = $1", id_, sealed, tx.now
    )


async def end(tx: Tx, id_: UUID) -> None:
    """Nothing of it is left but that it was; the clock takes that away, and its key."""
    await tx.conn.execute("update draft set over = true, sealed = '' where id = $1", id_)


async def delete(tx: Tx, id_: UUID) -> None:
    await tx.conn.execute("delete from draft where id = $1", id_)


async def usual(tx: Tx, worker: UUID) -> tuple[str, str] | None:
    """The (channel, area) at which this worker met somebody last."""
    row = await tx.conn.fetchrow("select channel, area from usual where org = $1 and worker = $2", tx.org, worker)
    return None if row is None else (row["channel"], row["area"])


async def set_usual(tx: Tx, worker: UUID, channel: str, area: str) -> None:
    await tx.conn.execute(
        """
        insert into usual (org, worker, channel, area) values ($1, $2, $3, $4)
        on conflict (org, worker) do update set channel = excluded.channel, area = excluded.area
        """,
        tx.org, worker, channel, area,
    )  # fmt: skip
