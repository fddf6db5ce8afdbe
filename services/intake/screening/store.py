"""Screened groups in PostgreSQL: one function per statement; rows go in by the chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from services.intake.screening.domain import Finding
from spean.db import Tx


@dataclass(frozen=True, slots=True)
class Screening:
    """How far a group has been taken in: a file, or person by person (`by_hand`). `rows_done` = `entries` + `refused`;
    `doubtful` and `suppressed` count rows."""

    id: UUID
    area: str
    rows_done: int
    entries: int
    refused: int
    doubtful: int
    suppressed: int
    finished_at: datetime | None
    version: int
    by_hand: bool = False


@dataclass(frozen=True, slots=True)
class NewEntry:
    """One row that became an entry; `row` counts from 0."""

    id: UUID
    row: int
    happened_at: datetime
    sealed: bytes


def _screening(row: asyncpg.Record) -> Screening:
    return Screening(
        id=row["id"], area=row["area"], rows_done=row["rows_done"], entries=row["entries"], refused=row["refused"],
        doubtful=row["doubtful"], suppressed=row["suppressed"], finished_at=row["finished_at"], version=row["version"],
        by_hand=row["by_hand"],
    )  # fmt: skip


async def insert_screening(tx: Tx, id_: UUID, area: str, digest: str) -> bool:
    """False where the organisation has one of this content already."""
    status = await tx.conn.execute(
        """
        insert into screening (id, org, area, source_digest, created_at) values ($1, $2, $3, $4, $5)
        on conflict (org, source_digest) do nothing
        """,
        id_, tx.org, area, digest, tx.now,
    )  # fmt: skip
    return status == "INSERT 0 1"


async def insert_by_hand(tx: Tx, id_: UUID, area: str) -> None:
    """Its own id stands for the content that a file would have."""
    await tx.conn.execute(
        "insert into screening (id, org, area, source_digest, created_at, by_hand) values ($1, $2, $3, $4, $5, true)",
        id_, tx.org, area, str(id_), tx.now,
    )  # fmt: skip


async def latest(tx: Tx, limit: int, after: UUID | None = None) -> list[tuple[Screening, datetime]]:
    """The organisation's screenings with when they began, the latest first; `after` goes on behind that one."""
    rows = await tx.conn.fetch(
        """
        select * from screening where org = $1
          and ($3::uuid is null or (created_at, id) < (select l.created_at, l.id from screening l where l.id = $3))
        order by created_at desc, id desc limit $2
        """,
        tx.org, limit, after,
    )  # fmt: skip
    return [(_screening(row), row["created_at"]) for row in rows]


async def find_by_digest(tx: Tx, digest: str) -> Screening:
    """Raises Refusal `not-found`."""
    return _screening(await tx.one("select * from screening where org = $1 and source_digest = $2", tx.org, digest))


async def find_screening(tx: Tx, id_: UUID) -> Screening:
    """Raises Refusal `not-found` (also where row-level security hides it)."""
    return _screening(await tx.one("select * from screening where id = $1", id_))


async def lock_screening(tx: Tx, id_: UUID) -> Screening:
    """Raises Refusal `not-found`."""
    return _screening(await tx.one("select * from screening where id = $1 for update", id_))


async def save_counts(tx: Tx, s: Screening) -> None:
    """Write a locked screening's counts, one version on."""
    await tx.conn.execute(
        """
        update screening set rows_done = $2, entries = $3, refused = $4, doubtful = $5, suppressed = $6,
            finished_at = $7, version = version + 1
        where id = $1
        """,
        s.id, s.rows_done, s.entries, s.refused, s.doubtful, s.suppressed, s.finished_at,
    )  # fmt: skip


async def insert_entries(tx: Tx, screening: Screening, entries: Sequence[NewEntry]) -> None:
    """Entries with their fences, in two statements."""
    ids = [one.id for one in entries]
    await tx.conn.execute(
        """
        insert into entry (id, org, channel, happened_at, area, screening, screening_row, sealed, key_version, created_at)
        select new.id, $1, 'screening', new.happened_at, $2, $3, new.number, new.sealed, 1, $4
        from unnest($5::uuid[], $6::timestamptz[], $7::bigint[], $8::bytea[]) as new (id, happened_at, number, sealed)
        """,
        tx.org, screening.area, screening.id, tx.now, ids, [one.happened_at for one in entries],
        [one.row for one in entries], [one.sealed for one in entries],
    )  # fmt: skip
    await tx.conn.execute("insert into fence (entry) select unnest($1::uuid[])", ids)


async def insert_findings(tx: Tx, screening: UUID, found: Sequence[tuple[int, Finding]]) -> None:
    """(line, finding) in the order of the file."""
    await tx.conn.execute(
        """
        insert into screening_finding (screening, org, line, "column", why, refused)
        select $1, $2, new.* from unnest($3::bigint[], $4::text[], $5::text[], $6::boolean[]) as new
        """,
        screening, tx.org, [line for line, _ in found], [one.column for _, one in found],
        [one.why for _, one in found], [one.refuses for _, one in found],
    )  # fmt: skip


async def findings(tx: Tx, screening: UUID, after: int, limit: int) -> list[dict[str, Any]]:
    """(number, line, column, why, refused) in the order of the file."""
    rows = await tx.conn.fetch(
        """
        select number, line, "column", why, refused from screening_finding
        where screening = $1 and number > $2 order by number limit $3
        """,
        screening, after, limit,
    )  # fmt: skip
    return [dict(row) for row in rows]


async def entries_of(tx: Tx, screening: UUID, from_row: int, limit: int) -> list[dict[str, Any]]:
    """(row, entry) in the order of the file; refused rows have none."""
    rows = await tx.conn.fetch(
        """
        select screening_row as "row", id as entry from entry
        where screening = $1 and screening_row >= $2 order by screening_row limit $3
        """,
        screening, from_row, limit,
    )  # fmt: skip
    return [dict(row) for row in rows]


async def standing(tx: Tx, screening: UUID, from_row: int, limit: int) -> list[dict[str, Any]]:
    """(row, entry, service, case, asked) in order: what was decided about the service, whether the case is open, whether
    a service was asked for."""
    rows = await tx.conn.fetch(
        """
        select e.screening_row as "row", e.id as entry, decided.state as service,
               exists (select 1 from "case" c where c.entry = e.id and c.state = 'open') as "case",
               exists (select 1 from handoff_member m where m.entry = e.id) as asked
        from entry e left join lateral (
            select state from consent where entry = e.id and decision = 'service' order by version desc limit 1
        ) decided on true
        where e.screening = $1 and e.screening_row >= $2 order by e.screening_row limit $3
        """,
        screening, from_row, limit,
    )  # fmt: skip
    return [dict(row) for row in rows]
