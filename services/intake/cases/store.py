"""Entries and cases in PostgreSQL: one function per statement."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import asyncpg

from services.intake.cases.domain import PersonFields, adult_from
from services.intake.keystore.store import Destroyed, KeyStore
from spean.crypto import Unopenable, seal, unseal
from spean.db import Tx
from spean.problem import Refusal

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """`age_at`: when the person's age was written down; None where that is not known."""

    id: UUID
    org: UUID
    channel: str
    happened_at: datetime
    area: str
    screening: UUID | None
    sealed: bytes
    key_version: int
    version: int
    age_at: datetime | None = None


def _context(entry: UUID) -> str:
    return f"entry/{entry}/fields/1"


async def sealed_fields(keys: KeyStore, entry: UUID, person: PersonFields) -> bytes:
    """A person's fields under their key. Raises Destroyed."""
    return sealed_under(await keys.key(entry), entry, person.written())


def sealed_under(key: bytes, entry: UUID, written: bytes) -> bytes:
    """`written`: `PersonFields.written`."""
    return seal(key, written, _context(entry))


async def opened_fields(keys: KeyStore, entry: Entry) -> PersonFields:
    """Raises Destroyed, also from the moment at which they are to be erased; Unopenable."""
    if not entry.sealed:
        raise Destroyed
    return _opened(await keys.key(entry.id), entry)


def _opened(key: bytes, entry: Entry) -> PersonFields:
    return PersonFields.model_validate_json(unseal(key, entry.sealed, _context(entry.id)))


@dataclass(frozen=True, slots=True)
class Opened:
    """An entry with its person's fields, and the key that opens what else is sealed for them."""

    key: bytes
    fields: PersonFields
    entry: Entry

    @property
    def adult_from(self) -> datetime | None:
        """From when on they are surely 18; None where that is not known."""
        return adult_from(self.fields, self.entry.age_at)


async def open_all(tx: Tx, keys: KeyStore, ids: Collection[UUID]) -> dict[UUID, Opened]:
    """These entries, opened, in two statements. Who was erased is not among them, nor who cannot be opened: that is a
    fault to look into, but no reason to keep others from being read."""
    rows = await tx.conn.fetch("select * from entry where id = any($1)", list(ids))
    known = await keys.keys(ids)
    found: dict[UUID, Opened] = {}
    for entry in (_entry(row) for row in rows if row["id"] in known):
        try:
            found[entry.id] = Opened(known[entry.id], _opened(known[entry.id], entry), entry)
        except Unopenable:
            log.error("an entry does not open with its person's key")
    return found


async def open_own(tx: Tx, keys: KeyStore, ids: Collection[UUID]) -> dict[UUID, Opened]:
    """As `open_all`, to show or to use at their own organisation: without those who are to be erased."""
    rows = await tx.conn.fetch("select entry from erasure where entry = any($1)", list(ids))
    return await open_all(tx, keys, set(ids) - {row["entry"] for row in rows})


async def own_key(tx: Tx, keys: KeyStore, id_: UUID) -> bytes:
    """What opens, and seals, what else is known of somebody at their own organisation. Raises Destroyed, also from the moment at
    which they are to be erased; Silent."""
    if await tx.conn.fetchval("select exists (select from erasure where entry = $1)", id_):
        raise Destroyed
    return await keys.key(id_)


# At their own organisation somebody is erased from the moment at which it was asked for, whenever it is carried out.
_OWN = "select e.*, exists (select from erasure x where x.entry = e.id) as erasing from entry e where e.id = $1"


def _own(row: asyncpg.Record) -> Entry:
    entry = _entry(row)
    return replace(entry, sealed=b"") if row["erasing"] else entry


def _entry(row: asyncpg.Record) -> Entry:
    return Entry(
        id=row["id"], org=row["org"], channel=row["channel"], happened_at=row["happened_at"], area=row["area"],
        screening=row["screening"], sealed=row["sealed"], key_version=row["key_version"], version=row["version"],
        age_at=row["age_at"],
    )  # fmt: skip


async def insert_entry(tx: Tx, e: Entry) -> None:
    await tx.conn.execute(
        """
        insert into entry (id, org, channel, happened_at, area, screening, sealed, key_version, created_at, age_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
        """,
        e.id, e.org, e.channel, e.happened_at, e.area, e.screening, e.sealed, e.key_version, tx.now,
    )  # fmt: skip
    await tx.conn.execute("insert into fence (entry) values ($1)", e.id)


async def find_entry(tx: Tx, id_: UUID) -> Entry:
    """Raises Refusal `not-found` (also where row-level security hides it)."""
    return _own(await tx.one(_OWN, id_))


async def lock_entry(tx: Tx, id_: UUID) -> Entry:
    """Raises Refusal `not-found`. The lock does not hinder rows that refer to the entry."""
    return _own(await tx.one(f"{_OWN} for no key update of e", id_))


async def save_sealed(tx: Tx, id_: UUID, sealed: bytes) -> None:
    await tx.conn.execute("update entry set sealed = $2, version = version + 1 where id = $1", id_, sealed)


async def set_age_at(tx: Tx, id_: UUID) -> None:
    """The person's age is written down otherwise, as of now."""
    await tx.conn.execute("update entry set age_at = $2 where id = $1", id_, tx.now)


async def insert_case(tx: Tx, id_: UUID, entry: UUID) -> None:
    """Raises Refusal `duplicate` where the entry has one."""
    status = await tx.conn.execute(
        """
        insert into "case" (id, entry, org, state, opened_at) values ($1, $2, $3, 'open', $4)
        on conflict (entry) do nothing
        """,
        id_, entry, tx.org, tx.now,
    )  # fmt: skip
    if status != "INSERT 0 1":
        raise Refusal("duplicate")


async def latest(tx: Tx, limit: int, after: UUID | None = None) -> list[Entry]:
    """The caller's entries of single people (a screened group has a list of its own), the latest first; `after` goes on
    behind that one."""
    rows = await tx.conn.fetch(
        """
        select * from entry where org = $1 and screening is null
          and ($3::uuid is null or (created_at, id) < (select l.created_at, l.id from entry l where l.id = $3))
        order by created_at desc, id desc limit $2
        """,
        tx.org, limit, after,
    )  # fmt: skip
    return [_entry(row) for row in rows]


async def handoffs_with(tx: Tx, entry: UUID) -> list[UUID]:
    """The hand-offs of a person, the latest first."""
    rows = await tx.conn.fetch(
        """
        select h.id from handoff h join handoff_member m on m.handoff = h.id where m.entry = $1
        order by h.requested_at desc, h.id
        """,
        entry,
    )
    return [row["id"] for row in rows]


async def open_cases(tx: Tx, entries: list[UUID]) -> set[UUID]:
    """Of these entries, those with an open case that the caller may see."""
    rows = await tx.conn.fetch("""select entry from "case" where entry = any($1) and state = 'open'""", entries)
    return {row["entry"] for row in rows}
