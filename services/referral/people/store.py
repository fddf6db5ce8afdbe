"""People, their history, their links and recoveries in PostgreSQL: one function per statement."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from schemas.rights import StaffRole
from services.referral.people.domain import By, Person, Recovery, Status, What
from spean.db import Tx
from spean.problem import Refusal


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the history. `by` is `operator`, `clock`, `system:<id>` or `person:<id>`; `by_name` that person's name as it
    is now."""

    number: int
    person: UUID
    name: str
    at: datetime
    by: str
    by_name: str | None
    what: What
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """A person in a list: can they sign in (or is an invite still to be used), and when they last did."""

    person: Person
    organisation: str
    set_up: bool
    seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Link:
    """A link that works once, as its holder finds it. `sealed`: the secret of the authenticator that it offers."""

    person: UUID
    sealed: bytes | None
    ends_at: datetime


def _person(row: asyncpg.Record) -> Person:
    return Person(
        id=row["id"], organisation=row["organisation"], name=row["name"], sign_in_name=row["sign_in_name"],
        language=row["language"], roles=frozenset(StaffRole(role) for role in row["roles"]),
        status=Status(row["status"]), version=row["version"],
    )  # fmt: skip


# --- people -----------------------------------------------------------------------------------------------------------


async def insert(tx: Tx, p: Person) -> None:
    """Raises Refusal `name-taken`."""
    status = await tx.conn.execute(
        """
        insert into person (id, organisation, name, sign_in_name, language, roles, status, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (sign_in_name) do nothing
        """,
        p.id, p.organisation, p.name, p.sign_in_name, p.language, sorted(p.roles), p.status, tx.now,
    )  # fmt: skip
    if status != "INSERT 0 1":
        raise Refusal("name-taken")


async def get(tx: Tx, id_: UUID) -> Person:
    """Raises Refusal `not-found`."""
    return _person(await tx.one("select * from person where id = $1", id_))


async def lock(tx: Tx, id_: UUID) -> Person:
    """Raises Refusal `not-found`."""
    return _person(await tx.one("select * from person where id = $1 for update", id_))


async def update(tx: Tx, p: Person) -> None:
    """What can change of a locked person."""
    await tx.conn.execute(
        "update person set name = $2, language = $3, roles = $4, status = $5, version = $6 where id = $1",
        p.id, p.name, p.language, sorted(p.roles), p.status, p.version,
    )  # fmt: skip


async def find(tx: Tx, sign_in_name: str) -> Person | None:
    """Whoever has this name (as names are compared), whatever their state."""
    row = await tx.conn.fetchrow("select * from person where sign_in_name = $1", sign_in_name)
    return None if row is None else _person(row)


async def may_sign_in(tx: Tx, id_: UUID) -> bool:
    """Active, at an active organisation."""
    found: bool = await tx.conn.fetchval(
        """
        select exists (select 1 from person p join organisation o on o.id = p.organisation
                       where p.id = $1 and p.status = 'active' and o.status = 'active')
        """,
        id_,
    )
    return found


async def may_stop(tx: Tx, id_: UUID) -> bool:
    """Active, also at a suspended organisation, whose people may sign in to stop something for somebody."""
    found: bool = await tx.conn.fetchval(
        "select exists (select 1 from person where id = $1 and status = 'active')", id_
    )
    return found


async def employer(tx: Tx, id_: UUID) -> str:
    """The name of the person's organisation."""
    found: str = await tx.conn.fetchval(
        "select o.name from person p join organisation o on o.id = p.organisation where p.id = $1", id_
    )
    return found


async def is_sample(tx: Tx, id_: UUID) -> bool:
    """Does the person belong to a sample organisation?"""
    found: bool | None = await tx.conn.fetchval(
        "select o.sample from person p join organisation o on o.id = p.organisation where p.id = $1", id_
    )
    return bool(found)


async def is_set_up(tx: Tx, id_: UUID) -> bool:
    """Is there anything that the person can sign in with?"""
    found: bool = await tx.conn.fetchval(
        "select exists (select 1 from password where person = $1) or exists (select 1 from passkey where person = $1)",
        id_,
    )
    return found


async def names(tx: Tx, organisation: UUID | None = None) -> list[tuple[UUID, tuple[str, str, str]]]:
    """Everybody, or the people of one organisation: id; names of the organisation and the person, and to sign in."""
    rows = await tx.conn.fetch(
        """
        select p.id, o.name as organisation, p.name, p.sign_in_name from person p join organisation o on o.id = p.organisation
        where $1::uuid is null or p.organisation = $1
        """,
        organisation,
    )
    return [(row["id"], (row["organisation"], row["name"], row["sign_in_name"])) for row in rows]


async def listed(tx: Tx, ids: Sequence[UUID]) -> list[Listed]:
    """These people, in this order."""
    rows = await tx.conn.fetch(
        """
        select p.*, o.name as organisation_name,
               exists (select 1 from password w where w.person = p.id)
               or exists (select 1 from passkey k where k.person = p.id) as set_up,
               (select max(c.at) from person_change c where c.person = p.id and c.what = 'signed-in') as seen_at
        from person p join organisation o on o.id = p.organisation
        where p.id = any($1) order by array_position($1, p.id)
        """,
        list(ids),
    )
    return [Listed(_person(row), row["organisation_name"], row["set_up"], row["seen_at"]) for row in rows]


async def lock_administrators(tx: Tx) -> list[UUID]:
    """Active administrators; two changes at once cannot each leave the other as the last one."""
    rows = await tx.conn.fetch(
        "select id from person where 'administrator' = any(roles) and status = 'active' order by id for update"
    )
    return [row["id"] for row in rows]


# --- history ----------------------------------------------------------------------------------------------------------


async def note(tx: Tx, person: UUID, by: By | UUID | str, what: What, **detail: Any) -> None:
    """One line of the history; `by` a person's id for what they do themselves, or as the history has it."""
    name = by if isinstance(by, str) else (By(by) if isinstance(by, UUID) else by).name
    await tx.conn.execute(
        """
        insert into person_change (person, organisation, at, by, what, detail)
        select $1, organisation, $2, $3, $4, $5 from person where id = $1
        """,
        person, tx.now, name, what, json.dumps(detail),
    )  # fmt: skip


async def history(tx: Tx, limit: int, *, organisation: UUID | None = None, person: UUID | None = None,
                  before: int | None = None) -> list[Change]:  # fmt: skip
    """Newest first: of one person, of one organisation, or of all; `before`: the number to go on from."""
    rows = await tx.conn.fetch(
        """
        select c.*, p.name, b.name as by_name
        from person_change c join person p on p.id = c.person left join person b on c.by = 'person:' || b.id
        where ($2::uuid is null or c.organisation = $2) and ($3::uuid is null or c.person = $3)
              and ($4::bigint is null or c.number < $4)
        order by c.number desc limit $1
        """,
        limit, organisation, person, before,
    )  # fmt: skip
    return [
        Change(row["number"], row["person"], row["name"], row["at"], row["by"], row["by_name"], What(row["what"]),
               json.loads(row["detail"]))
        for row in rows
    ]  # fmt: skip


# --- links ------------------------------------------------------------------------------------------------------------


def _link(row: asyncpg.Record | None) -> Link | None:
    return None if row is None else Link(row["person"], row["sealed"], row["ends_at"])


async def put_link(
    tx: Tx, person: UUID, kind: str, digest: bytes, sealed: bytes | None, by: By, ends_at: datetime
) -> None:
    """The person's only link of this kind from now on."""
    await tx.conn.execute(
        """
        insert into link (person, kind, digest, sealed, made_by, ends_at) values ($1, $2, $3, $4, $5, $6)
        on conflict (person, kind) do update
        set digest = excluded.digest, sealed = excluded.sealed, made_by = excluded.made_by, ends_at = excluded.ends_at
        """,
        person, kind, digest, sealed, by.name, ends_at,
    )  # fmt: skip


async def link(tx: Tx, kind: str, digest: bytes) -> Link | None:
    """A link that still works, left as it is: looking is not using."""
    row = await tx.conn.fetchrow(
        "select person, sealed, ends_at from link where digest = $1 and kind = $2 and ends_at > $3",
        digest, kind, tx.now,
    )  # fmt: skip
    return _link(row)


async def use_link(tx: Tx, kind: str, digest: bytes) -> Link | None:
    """A link that still worked; from now on it does not."""
    row = await tx.conn.fetchrow(
        "delete from link where digest = $1 and kind = $2 and ends_at > $3 returning person, sealed, ends_at",
        digest, kind, tx.now,
    )  # fmt: skip
    return _link(row)


async def drop_links(tx: Tx, person: UUID) -> None:
    await tx.conn.execute("delete from link where person = $1", person)


# --- recoveries -------------------------------------------------------------------------------------------------------


def _recovery(row: asyncpg.Record) -> Recovery:
    return Recovery(row["id"], row["person"], row["asked_at"], row["first_by"], row["first_at"])


async def insert_recovery(tx: Tx, id_: UUID, person: UUID) -> bool:
    """False when one is open already."""
    status = await tx.conn.execute(
        """
        insert into recovery (id, person, asked_at) values ($1, $2, $3)
        on conflict (person) where done_at is null and refused_at is null do nothing
        """,
        id_, person, tx.now,
    )  # fmt: skip
    return status == "INSERT 0 1"


async def lock_recovery(tx: Tx, id_: UUID) -> Recovery:
    """An open one. Raises Refusal `not-found`."""
    row = await tx.one(
        "select * from recovery where id = $1 and done_at is null and refused_at is null for update", id_
    )
    return _recovery(row)


async def recoveries(tx: Tx, limit: int) -> list[tuple[Recovery, Person, str]]:
    """Open ones with the person and the organisation's name, oldest first."""
    rows = await tx.conn.fetch(
        """
        select r.id as recovery, r.person as who, r.asked_at, r.first_by, r.first_at, p.*, o.name as organisation_name
        from recovery r join person p on p.id = r.person join organisation o on o.id = p.organisation
        where r.done_at is null and r.refused_at is null order by r.asked_at, r.id limit $1
        """,
        limit,
    )
    return [
        (Recovery(row["recovery"], row["who"], row["asked_at"], row["first_by"], row["first_at"]), _person(row),
         row["organisation_name"])
        for row in rows
    ]  # fmt: skip


async def waiting(tx: Tx) -> int:
    """How many recoveries are open."""
    found: int = await tx.conn.fetchval("select count(*) from recovery where done_at is null and refused_at is null")
    return found


async def approve_first(tx: Tx, id_: UUID, by: UUID) -> None:
    await tx.conn.execute("update recovery set first_by = $2, first_at = $3 where id = $1", id_, by, tx.now)


async def approve_second(tx: Tx, id_: UUID, by: UUID) -> None:
    await tx.conn.execute("update recovery set second_by = $2, done_at = $3 where id = $1", id_, by, tx.now)


async def refuse_recovery(tx: Tx, id_: UUID) -> None:
    await tx.conn.execute("update recovery set refused_at = $2 where id = $1", id_, tx.now)


async def refuse_recoveries(tx: Tx) -> list[UUID]:
    """All that are open. Returns whose."""
    rows = await tx.conn.fetch(
        "update recovery set refused_at = $1 where done_at is null and refused_at is null returning person", tx.now
    )
    return [row["person"] for row in rows]
