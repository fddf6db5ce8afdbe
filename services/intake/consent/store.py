"""Consent records, exclusions and fences in PostgreSQL: one function per statement. Records are only ever added."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from schemas.vocabulary import ConsentDecision, ConsentState, DataCategory, OrganisationType, Purpose
from services.intake.disclosure.domain import Consent, Exclusion, Person, RecipientClass
from services.intake.keystore.store import Fence
from spean.db import Tx
from spean.ids import opaque_id
from spean.problem import Refusal


@dataclass(frozen=True, slots=True)
class Record:
    """One decision as it is written down (ISO/IEC TS 27560 terms). `recipients` is {organisations, classes}."""

    decision: ConsentDecision
    state: ConsentState
    categories: tuple[DataCategory, ...]
    purposes: tuple[Purpose, ...]
    recipients: dict[str, Any]
    valid_from: datetime
    valid_until: datetime | None
    expressed: str
    language: str
    notice: str
    interpreter: bool
    guardian: dict[str, str] | None
    recorded_by: str


def _consent(row: asyncpg.Record) -> Consent:
    recipients = json.loads(row["recipients"])
    return Consent(
        decision=ConsentDecision(row["decision"]),
        state=ConsentState(row["state"]),
        version=row["version"],
        categories=frozenset(DataCategory(code) for code in row["categories"]),
        purposes=frozenset(Purpose(code) for code in row["purposes"]),
        organisations=frozenset(UUID(one) for one in recipients["organisations"]),
        classes=tuple(
            RecipientClass(OrganisationType(one["type"]) if one.get("type") else None, one.get("country"))
            for one in recipients["classes"]
        ),
        valid_from=row["valid_from"],
        valid_until=row["valid_until"],
        guardian=row["guardian"] is not None,
    )


async def insert(tx: Tx, entry: UUID, org: UUID, r: Record) -> int:
    """Add a record under the entry's exclusive fence lock. Returns its version."""
    version: int = await tx.conn.fetchval(
        """
        insert into consent (id, entry, org, version, decision, state, categories, purposes, recipients, valid_from,
                             valid_until, expressed, language, notice, interpreter, guardian, recorded_by, recorded_at)
        select $1, $2, $3, coalesce(max(version), 0) + 1, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17
        from consent where entry = $2
        returning version
        """,
        opaque_id(), entry, org, r.decision, r.state, list(r.categories), list(r.purposes), json.dumps(r.recipients),
        r.valid_from, r.valid_until, r.expressed, r.language, r.notice, r.interpreter,
        json.dumps(r.guardian) if r.guardian else None, r.recorded_by, tx.now,
    )  # fmt: skip
    return version


async def history(tx: Tx, entry: UUID) -> list[asyncpg.Record]:
    return await tx.conn.fetch("select * from consent where entry = $1 order by version", entry)


async def current(tx: Tx, entry: UUID) -> dict[ConsentDecision, asyncpg.Record]:
    """The latest record of each decision."""
    rows = await tx.conn.fetch(
        "select distinct on (decision) * from consent where entry = $1 order by decision, version desc", entry
    )
    return {ConsentDecision(row["decision"]): row for row in rows}


async def insert_exclusion(tx: Tx, entry: UUID, exclusion: Exclusion, by: str) -> None:
    await tx.conn.execute(
        "insert into exclusion (entry, org, kind, value, recorded_by, recorded_at) values ($1, $2, $3, $4, $5, $6)",
        entry, tx.org, exclusion.kind, exclusion.value, by, tx.now,
    )  # fmt: skip


async def exclusions(tx: Tx, entry: UUID) -> tuple[Exclusion, ...]:
    """Those in force: the latest row of each (kind, value), unless that one lifts it."""
    rows = await tx.conn.fetch(
        """
        select kind, value from (
            select distinct on (kind, value) kind, value, lifted from exclusion where entry = $1
            order by kind, value, number desc) latest
        where not lifted
        """,
        entry,
    )
    return tuple(Exclusion(row["kind"], row["value"]) for row in rows)


async def lock_fence(tx: Tx, entry: UUID, *, share: bool = False) -> Fence:
    """Shared by those who read a person out, exclusive for those who shut or open. Raises Refusal `not-found`."""
    mode = "share" if share else "update"
    row = await tx.conn.fetchrow(
        f"select generation, sharing_shut, service_shut from fence where entry = $1 for {mode}", entry
    )
    if row is None:
        raise Refusal("not-found")
    return Fence(row["generation"], row["sharing_shut"], row["service_shut"])


async def read_fence(tx: Tx, entry: UUID) -> Fence:
    """Raises Refusal `not-found`."""
    row = await tx.conn.fetchrow("select generation, sharing_shut, service_shut from fence where entry = $1", entry)
    if row is None:
        raise Refusal("not-found")
    return Fence(row["generation"], row["sharing_shut"], row["service_shut"])


async def save_fence(tx: Tx, entry: UUID, fence: Fence) -> None:
    """An older generation never replaces a later one."""
    await tx.conn.execute(
        """
        update fence set generation = $2, sharing_shut = $3, service_shut = $4 where entry = $1 and generation < $2
        """,
        entry, fence.generation, fence.sharing_shut, fence.service_shut,
    )  # fmt: skip


async def person(tx: Tx, entry: UUID, *, minor: bool) -> Person:
    """What the gate needs to know of a person, as this transaction sees it."""
    fence = await read_fence(tx, entry)
    records = await current(tx, entry)
    service, sharing = records.get(ConsentDecision.SERVICE), records.get(ConsentDecision.SHARE_REFERRAL)
    return Person(
        minor=minor,
        service=_consent(service) if service else None,
        sharing=_consent(sharing) if sharing else None,
        exclusions=await exclusions(tx, entry),
        sharing_shut=fence.sharing_shut,
        service_shut=fence.service_shut,
    )
