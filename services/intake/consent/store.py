"""Consent records, exclusions and fences in PostgreSQL: one function per statement. Records are only ever added."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Mapping
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


@dataclass(frozen=True, slots=True)
class ToStop:
    """Somebody whom the organisation met, by nothing that is sealed. `handoffs`: the beginnings of their numbers."""

    entry: UUID
    area: str
    channel: str
    happened_at: datetime
    sharing_shut: bool
    service_shut: bool
    handoffs: list[str]


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


async def insert(tx: Tx, entry: UUID, r: Record) -> int:
    """Add a record under the entry's exclusive fence lock. Returns its version."""
    version: int = await tx.conn.fetchval(
        """
        insert into consent (id, entry, org, version, decision, state, categories, purposes, recipients, valid_from,
                             valid_until, expressed, language, notice, interpreter, guardian, recorded_by, recorded_at)
        select $1, $2, $3, coalesce(max(version), 0) + 1, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17
        from consent where entry = $2
        returning version
        """,
        opaque_id(), entry, tx.org, r.decision, r.state, list(r.categories), list(r.purposes), json.dumps(r.recipients),
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


async def next_end(tx: Tx, entry: UUID) -> datetime | None:
    """When the next of the person's consents that stand now ends by its date."""
    found: datetime | None = await tx.conn.fetchval(
        """
        select min(valid_until) from (
            select distinct on (decision) state, valid_until from consent where entry = $1
            order by decision, version desc) latest
        where state = 'given' and valid_until > $2
        """,
        entry, tx.now,
    )  # fmt: skip
    return found


async def version(tx: Tx, entry: UUID) -> int:
    """The latest record's version; 0 where nothing was recorded."""
    found: int = await tx.conn.fetchval("select coalesce(max(version), 0) from consent where entry = $1", entry)
    return found


async def insert_exclusion(tx: Tx, entry: UUID, exclusion: Exclusion, by: str) -> None:
    await tx.conn.execute(
        "insert into exclusion (entry, org, kind, value, recorded_by, recorded_at) values ($1, $2, $3, $4, $5, $6)",
        entry, tx.org, exclusion.kind, exclusion.value, by, tx.now,
    )  # fmt: skip


async def exclusions(tx: Tx, entries: Collection[UUID]) -> dict[UUID, tuple[Exclusion, ...]]:
    """Those in force, by entry: the latest row of each (kind, value), unless that one lifts it."""
    rows = await tx.conn.fetch(
        """
        select entry, kind, value from (
            select distinct on (entry, kind, value) entry, kind, value, lifted from exclusion where entry = any($1)
            order by entry, kind, value, number desc) latest
        where not lifted
        """,
        list(entries),
    )
    found: dict[UUID, list[Exclusion]] = defaultdict(list)
    for row in rows:
        found[row["entry"]].append(Exclusion(row["kind"], row["value"]))
    return {entry: tuple(found[entry]) for entry in entries}


# What readers hold shared and those who shut or open hold alone: one advisory lock for the rules, one per person. Not
# `for share` on the row: PostgreSQL lets a stream of such readers pass a writer that waits, so that a stop could wait
# for ever; advisory locks queue in order, so it waits only for those who came before it.
def _lock(name: str) -> int:
    """A signed 64-bit number; two names that share one would only wait for each other."""
    return int.from_bytes(hashlib.sha256(f"spean fence {name}".encode()).digest()[:8], signed=True)


_RULES = _lock("rules")


async def hold(tx: Tx, entries: Collection[UUID]) -> None:
    """For who reads: no rule and none of these people's fences changes until this transaction ends. One statement, in an
    order that is the same for everybody; whatever is decided from is read by later statements, and judged at a time that
    is not before the locks were had."""
    locks = sorted({_RULES, *(_lock(str(entry)) for entry in entries)})
    await tx.conn.execute("select pg_advisory_xact_lock_shared(one) from unnest($1::bigint[]) as one", locks)
    await tx.catch_up()


async def lock_rules(tx: Tx) -> None:
    """For who changes a rule: wait for every reader who decided by it, and keep others out until this ends. It changes
    after the last of them was told."""
    await tx.conn.execute("select pg_advisory_xact_lock($1)", _RULES)
    await tx.catch_up()


async def lock_fence(tx: Tx, entry: UUID) -> Fence:
    """For who shuts or opens: wait for every reader of the person, and keep others out. Raises Refusal `not-found`."""
    await tx.conn.execute("select pg_advisory_xact_lock($1)", _lock(str(entry)))
    await tx.catch_up()
    return await find_fence(tx, entry)


async def find_fence(tx: Tx, entry: UUID) -> Fence:
    """Raises Refusal `not-found`."""
    return _fence(await tx.one("select generation, sharing_shut, service_shut from fence where entry = $1", entry))


async def save_fence(tx: Tx, entry: UUID, fence: Fence) -> None:
    """An older generation never replaces a later one."""
    await tx.conn.execute(
        """
        update fence set generation = $2, sharing_shut = $3, service_shut = $4 where entry = $1 and generation < $2
        """,
        entry, fence.generation, fence.sharing_shut, fence.service_shut,
    )  # fmt: skip


async def apply_fences(tx: Tx, kept: Mapping[UUID, Fence]) -> list[UUID]:
    """Take over every fence of a later generation than the one here. Returns whose it was, ids ascending."""
    fences = list(kept.values())
    rows = await tx.conn.fetch(
        """
        update fence f set generation = kept.generation, sharing_shut = kept.sharing, service_shut = kept.service
        from unnest($1::uuid[], $2::bigint[], $3::boolean[], $4::boolean[]) as kept (entry, generation, sharing, service)
        where f.entry = kept.entry and f.generation < kept.generation returning f.entry
        """,
        list(kept), [one.generation for one in fences], [one.sharing_shut for one in fences],
        [one.service_shut for one in fences],
    )  # fmt: skip
    return sorted(row["entry"] for row in rows)


def _fence(row: asyncpg.Record) -> Fence:
    return Fence(row["generation"], row["sharing_shut"], row["service_shut"])


async def met(tx: Tx, number: str, after: UUID | None, limit: int) -> list[ToStop]:
    """The caller's entries whose number, or a hand-off's, begins like that, the latest first, behind the entry `after`."""
    rows = await tx.conn.fetch(
        """
        select e.id as entry, e.area, e.channel, e.happened_at, coalesce(f.sharing_shut, false) as sharing_shut,
               coalesce(f.service_shut, false) as service_shut,
               array(select left(m.handoff::text, 8) from handoff_member m where m.entry = e.id order by 1) as handoffs
        from entry e left join fence f on f.entry = e.id
        where e.org = $1
          and (starts_with(e.id::text, $2) or exists (
            select 1 from handoff_member m where m.entry = e.id and starts_with(m.handoff::text, $2)))
          and ($3::uuid is null or (e.created_at, e.id) < (select l.created_at, l.id from entry l where l.id = $3))
        order by e.created_at desc, e.id desc limit $4
        """,
        tx.org, number, after, limit,
    )  # fmt: skip
    return [ToStop(**dict(row)) for row in rows]


async def people(tx: Tx, minors: Mapping[UUID, bool]) -> dict[UUID, Person]:
    """What the gate needs to know of these people (entry → minor), as this transaction sees it, in three statements.
    A person without a fence is not among them."""
    entries = list(minors)
    fences = await tx.conn.fetch("select * from fence where entry = any($1)", entries)
    records = await tx.conn.fetch(
        """
        select distinct on (entry, decision) * from consent where entry = any($1)
        order by entry, decision, version desc
        """,
        entries,
    )
    latest = {(row["entry"], row["decision"]): _consent(row) for row in records}
    never = await exclusions(tx, entries)
    return {
        row["entry"]: Person(
            minor=minors[row["entry"]],
            service=latest.get((row["entry"], ConsentDecision.SERVICE)),
            sharing=latest.get((row["entry"], ConsentDecision.SHARE_REFERRAL)),
            exclusions=never[row["entry"]],
            sharing_shut=row["sharing_shut"],
            service_shut=row["service_shut"],
        )
        for row in fences
    }
