"""What waits for a second one's agreement, in PostgreSQL: one function per statement."""

from __future__ import annotations

import json
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from schemas.rights import StaffRole
from services.referral.approvals.domain import Approval, Kind, State
from spean.db import Tx
from spean.problem import Refusal


@dataclass(frozen=True, slots=True)
class Listed:
    """One in a list, with names: of the organisation, of the person whose roles it is about, and of persons who asked and
    decided."""

    approval: Approval
    organisation: str
    person: str | None
    asked_by: str | None
    decided_by: str | None


def _approval(row: asyncpg.Record) -> Approval:
    return Approval(
        id=row["id"], kind=Kind(row["kind"]), organisation=row["organisation"], client=row["client"],
        person=row["person"], scopes=frozenset(row["scopes"]), asked=json.loads(row["asked"]), asked_by=row["asked_by"],
        asked_of=row["asked_of"], asked_at=row["asked_at"], decide_by=row["decide_by"], state=State(row["state"]),
        decided_by=row["decided_by"], decided_at=row["decided_at"],
    )  # fmt: skip


async def insert(tx: Tx, a: Approval) -> None:
    """Raises Refusal `duplicate` where the same waits already."""
    status = await tx.conn.execute(
        """
        insert into approval (id, kind, organisation, client, person, scopes, asked, asked_by, asked_of, asked_at, decide_by)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict do nothing
        """,
        a.id, a.kind, a.organisation, a.client, a.person, sorted(a.scopes), json.dumps(a.asked), a.asked_by, a.asked_of,
        a.asked_at, a.decide_by,
    )  # fmt: skip
    if status != "INSERT 0 1":
        raise Refusal("duplicate")


async def lock(tx: Tx, id_: UUID) -> Approval:
    """Raises Refusal `not-found`."""
    return _approval(await tx.one("select * from approval where id = $1 for update", id_))


async def find(tx: Tx, id_: UUID) -> Approval:
    """Raises Refusal `not-found`."""
    return _approval(await tx.one("select * from approval where id = $1", id_))


async def waiting(tx: Tx) -> list[Approval]:
    """All that wait, locked."""
    rows = await tx.conn.fetch("select * from approval where state = 'waiting' order by id for update")
    return [_approval(row) for row in rows]


async def waiting_roles(tx: Tx, person: UUID) -> Approval | None:
    """The roles that wait for this person, locked."""
    row = await tx.conn.fetchrow("select * from approval where person = $1 and state = 'waiting' for update", person)
    return None if row is None else _approval(row)


async def roles_asked(tx: Tx, person: UUID) -> frozenset[StaffRole]:
    """Which roles wait for this person."""
    asked: str | None = await tx.conn.fetchval(
        "select asked from approval where person = $1 and state = 'waiting' and decide_by > $2", person, tx.now
    )
    return frozenset[StaffRole]() if asked is None else frozenset(map(StaffRole, json.loads(asked)["roles"]))


async def set_decided(tx: Tx, id_: UUID, state: State, by: str) -> None:
    await tx.conn.execute(
        "update approval set state = $2, decided_by = $3, decided_at = $4 where id = $1", id_, state, by, tx.now
    )


async def is_first(tx: Tx, organisation: UUID) -> bool:
    """Could nobody ever sign in for this (locked) organisation, and was nobody asked for?"""
    found: bool = await tx.conn.fetchval(
        """
        select not exists (select 1 from client where organisation = $1)
               and not exists (select 1 from person where organisation = $1)
               and not exists (select 1 from approval where organisation = $1)
        """,
        organisation,
    )
    return found


async def client_exists(tx: Tx, id_: str) -> bool:
    found: bool = await tx.conn.fetchval("select exists (select 1 from client where id = $1)", id_)
    return found


async def listed(tx: Tx, organisation: UUID | None, limit: int) -> list[Listed]:
    """Of one organisation or of all: what waits first, that which lapses soonest before the rest; then what was decided,
    newest first."""
    rows = await tx.conn.fetch(
        """
        select a.*, o.name as organisation_name, p.name as person_name, b.name as asked_name, d.name as decided_name
        from approval a join organisation o on o.id = a.organisation left join person p on p.id = a.person
        left join person b on a.asked_by = 'person:' || b.id left join person d on a.decided_by = 'person:' || d.id
        where $1::uuid is null or a.organisation = $1
        order by a.decided_at is not null, a.decided_at desc, a.decide_by, a.id limit $2
        """,
        organisation, limit,
    )  # fmt: skip
    return [
        Listed(_approval(row), row["organisation_name"], row["person_name"], row["asked_name"], row["decided_name"])
        for row in rows
    ]


async def waiting_for(tx: Tx, organisation: UUID | None = None) -> int:
    """How many wait, about one organisation or all."""
    found: int = await tx.conn.fetchval(
        """
        select count(*) from approval
        where state = 'waiting' and decide_by > $2 and ($1::uuid is null or organisation = $1)
        """,
        organisation, tx.now,
    )  # fmt: skip
    return found
