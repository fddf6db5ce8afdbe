"""Bases in PostgreSQL: one function per statement. Steps are only ever added."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import asyncpg

from schemas.vocabulary import DataCategory, Purpose, ServiceType
from services.intake.bases.domain import FINAL, TO_BE_TOLD, Basis, Kind, Limit, State
from services.intake.disclosure.recipients import recipients_in
from spean.db import Tx

Step = Literal["proposed", "agreed", "refused", "lapsed", "ended", "told"]
Why = Literal["rested", "of_age"]


@dataclass(frozen=True, slots=True)
class Row:
    """A basis as it is written down. `people`: how many different ones have to agree, whoever proposed it included;
    `over_at`: when it was refused, lapsed or ended."""

    id: UUID
    entry: UUID
    org: UUID
    kind: Kind
    state: State
    categories: tuple[DataCategory, ...]
    purposes: tuple[Purpose, ...]
    recipients: dict[str, Any]
    services: tuple[ServiceType, ...]
    generation: int
    people: int
    proposed_by: str
    proposed_at: datetime
    decide_by: datetime
    decided_at: datetime | None
    began_at: datetime | None
    valid_until: datetime
    ask_again_at: datetime | None
    told_at: datetime | None
    over_at: datetime | None

    @property
    def until(self) -> datetime:
        """Its end; as long as it is not decided, the end of the time for that, where it is earlier."""
        return self.valid_until if self.decided_at is not None else min(self.valid_until, self.decide_by)

    @property
    def basis(self) -> Basis:
        """As the gate sees it; only of one that has begun."""
        assert self.began_at is not None  # noqa: S101 (`basis_check` of the table)
        organisations, classes = recipients_in(self.recipients)
        return Basis(
            self.id, self.kind, frozenset(self.categories), frozenset(self.purposes), organisations, classes,
            frozenset(self.services), self.began_at, self.until, self.generation,
        )  # fmt: skip


def _row(row: asyncpg.Record) -> Row:
    return Row(
        **{
            **row,
            "kind": Kind(row["kind"]),
            "state": State(row["state"]),
            "categories": tuple(map(DataCategory, row["categories"])),
            "purposes": tuple(map(Purpose, row["purposes"])),
            "recipients": json.loads(row["recipients"]),
            "services": tuple(map(ServiceType, row["services"])),
        }
    )


async def limit(tx: Tx, kind: Kind) -> Limit:
    """The dated data of a kind that counts now."""
    row = await tx.one(
        """
        select people, decide_within, lasts from basis_limit where kind = $1 and valid_from <= $2
        order by valid_from desc limit 1
        """,
        kind, tx.now,
    )  # fmt: skip
    lasts: timedelta = row["lasts"]
    return Limit(row["people"], row["decide_within"], lasts)


async def insert(tx: Tx, b: Row) -> None:
    await tx.conn.execute(
        """
        insert into basis (id, entry, org, kind, state, categories, purposes, recipients, services, generation, people,
                           proposed_by, proposed_at, decide_by, decided_at, began_at, valid_until, ask_again_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
        """,
        b.id, b.entry, b.org, b.kind, b.state, list(b.categories), list(b.purposes), json.dumps(b.recipients),
        list(b.services), b.generation, b.people, b.proposed_by, b.proposed_at, b.decide_by, b.decided_at, b.began_at,
        b.valid_until, b.ask_again_at,
    )  # fmt: skip


async def insert_step(tx: Tx, b: Row, step: Step, by: str, sealed: bytes | None) -> None:
    await tx.conn.execute(
        "insert into basis_step (basis, org, step, by, sealed, at) values ($1, $2, $3, $4, $5, $6)",
        b.id, b.org, step, by, sealed, tx.now,
    )  # fmt: skip


async def find(tx: Tx, id_: UUID) -> Row:
    """Raises Refusal `not-found` (also where row-level security hides it)."""
    return _row(await tx.one("select * from basis where id = $1", id_))


async def lock(tx: Tx, entry: UUID, id_: UUID) -> Row:
    """One of this person's. Raises Refusal `not-found`."""
    return _row(await tx.one("select * from basis where id = $1 and entry = $2 for no key update", id_, entry))


async def unconfirmed(tx: Tx, entry: UUID, kind: Kind, generation: int) -> tuple[bool, datetime | None]:
    """Of those of a kind that nobody has confirmed since the person's latest word (`generation`): was one refused, and when
    does the first one's time to decide end, where there is any?"""
    row = await tx.one(
        """
        select coalesce(bool_or(state = 'refused'), false) as refused, min(decide_by) filter (where began_at is not null) as first
        from basis where entry = $1 and kind = $2 and generation >= $3 and decided_at is null
        """,
        entry, kind, generation,
    )  # fmt: skip
    return row["refused"], row["first"]


async def open_among(tx: Tx, ids: Collection[UUID]) -> list[tuple[UUID, UUID]]:
    """Of these, those that are not over yet, each with whom it is about."""
    rows = await tx.conn.fetch(
        "select id, entry from basis where id = any($1) and state in ('proposed', 'in_force')", list(ids)
    )
    return [(row["id"], row["entry"]) for row in rows]


async def of_entry(tx: Tx, entry: UUID) -> list[Row]:
    """All of a person's, in the order in which they were proposed."""
    rows = await tx.conn.fetch("select * from basis where entry = $1 order by proposed_at, id", entry)
    return [_row(row) for row in rows]


async def steps(tx: Tx, ids: Collection[UUID]) -> dict[UUID, list[asyncpg.Record]]:
    """Basis → its steps, in order."""
    rows = await tx.conn.fetch("select * from basis_step where basis = any($1) order by number", list(ids))
    found: dict[UUID, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        found[row["basis"]].append(row)
    return found


async def deciders(tx: Tx, id_: UUID) -> set[str]:
    """Who has proposed it or said yes or no to it."""
    rows = await tx.conn.fetch(
        "select by from basis_step where basis = $1 and step in ('proposed', 'agreed', 'refused')", id_
    )
    return {row["by"] for row in rows}


async def taken_by(tx: Tx, ids: Collection[UUID], by: str) -> set[UUID]:
    """Of these, those that somebody has proposed or decided about."""
    rows = await tx.conn.fetch(
        """
        select distinct basis from basis_step
        where basis = any($1) and by = $2 and step in ('proposed', 'agreed', 'refused')
        """,
        list(ids), by,
    )  # fmt: skip
    return {row["basis"] for row in rows}


async def set_decided(tx: Tx, id_: UUID) -> None:
    """Enough people have agreed: it is in force, from now on where it was not before."""
    await tx.conn.execute(
        "update basis set state = 'in_force', decided_at = $2, began_at = coalesce(began_at, $2) where id = $1",
        id_, tx.now,
    )  # fmt: skip


async def set_over(tx: Tx, id_: UUID, state: State) -> None:
    await tx.conn.execute("update basis set state = $2, over_at = $3 where id = $1", id_, state, tx.now)


async def set_told(tx: Tx, id_: UUID) -> None:
    await tx.conn.execute("update basis set told_at = $2 where id = $1", id_, tx.now)


async def standing(tx: Tx, entries: Collection[UUID]) -> dict[UUID, tuple[Basis, ...]]:
    """Entry → those in force; whether one's time is over already is the gate's to see."""
    rows = await tx.conn.fetch(
        "select * from basis where entry = any($1) and state = 'in_force' order by id", list(entries)
    )
    found: dict[UUID, tuple[Basis, ...]] = defaultdict(tuple)
    for row in map(_row, rows):
        found[row.entry] += (row.basis,)
    return found


# --- what waits for somebody of the organisation ------------------------------------------------------------------


async def undecided(tx: Tx, most: int) -> list[Row]:
    """The caller's organisation's that wait for another person, those that lapse first before the others."""
    rows = await tx.conn.fetch(
        """
        select * from basis where org = $1 and state in ('proposed', 'in_force') and decided_at is null and decide_by > $2
          and not exists (select 1 from erasure x where x.entry = basis.entry)
        order by decide_by, id limit $3
        """,
        tx.org, tx.now, most,
    )  # fmt: skip
    return [_row(row) for row in rows]


async def untold(tx: Tx, most: int) -> list[Row]:
    """Those of which the person has not been told yet, though something may have been told of them: the oldest first."""
    rows = await tx.conn.fetch(
        """
        select * from basis where org = $1 and kind = any($2) and began_at is not null and told_at is null
          and not exists (select 1 from erasure x where x.entry = basis.entry)
        order by began_at, id limit $3
        """,
        tx.org, list(TO_BE_TOLD), most,
    )  # fmt: skip
    return [_row(row) for row in rows]


async def set_ask_again(tx: Tx, entry: UUID, why: Why) -> None:
    """Put a person into their organisation's list of those to be asked again."""
    await tx.conn.execute(
        """
        insert into ask_again (entry, reason, org, since) select e.id, $2, e.org, $3 from entry e where e.id = $1
        on conflict (entry, reason) do update set since = excluded.since
        """,
        entry, why, tx.now,
    )  # fmt: skip


async def to_ask_again(tx: Tx, most: int) -> list[asyncpg.Record]:
    """(entry, reason, since) of who has decided nothing since they were to be asked again, the oldest first. That a
    decision has ended by its date is the clock's word, not theirs."""
    return await tx.conn.fetch(
        """
        select a.entry, a.reason, a.since from ask_again a
        where a.org = $1 and not exists (
            select 1 from consent c where c.entry = a.entry and c.recorded_at >= a.since and c.state <> 'expired')
        order by a.since, a.entry limit $2
        """,
        tx.org, most,
    )  # fmt: skip


async def has_decided_since(tx: Tx, entry: UUID, since: datetime) -> bool:
    """Has the person said anything of their own since? The clock writes down what has ended by its date."""
    found: bool = await tx.conn.fetchval(
        "select exists (select 1 from consent where entry = $1 and recorded_at >= $2 and state <> 'expired')",
        entry, since,
    )  # fmt: skip
    return found


def next_due(b: Row, now: datetime) -> datetime | None:
    """When the clock has something to do with it next, if ever."""
    moments = [] if b.state in FINAL else [b.until]
    if b.ask_again_at is not None and b.ask_again_at > now:
        moments.append(b.ask_again_at)
    return min(moments, default=None)
