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

from schemas.vocabulary import ConsentDecision, ConsentState, DataCategory, Purpose
from services.intake.bases import store as bases
from services.intake.cases.domain import is_minor
from services.intake.consent.domain import FENCED, Record
from services.intake.disclosure.domain import Consent, Exclusion, Person
from services.intake.disclosure.recipients import recipients_in
from services.intake.keystore.store import Fence
from spean.db import Tx
from spean.ids import opaque_id


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
    organisations, classes = recipients_in(json.loads(row["recipients"]))
    return Consent(
        decision=ConsentDecision(row["decision"]),
        state=ConsentState(row["state"]),
        version=row["version"],
        categories=frozenset(DataCategory(code) for code in row["categories"]),
        purposes=frozenset(Purpose(code) for code in row["purposes"]),
        organisations=organisations,
        classes=classes,
        valid_from=row["valid_from"],
        valid_until=row["valid_until"],
        guardian=row["guardian"] is not None,
    )


def record_of(row: asyncpg.Record | Mapping[str, Any]) -> Record:
    """A row as it was written down."""
    return Record(
        decision=ConsentDecision(row["decision"]), state=ConsentState(row["state"]),
        categories=tuple(map(DataCategory, row["categories"])), purposes=tuple(map(Purpose, row["purposes"])),
        recipients=json.loads(row["recipients"]), valid_from=row["valid_from"], valid_until=row["valid_until"],
        expressed=row["expressed"], language=row["language"], notice=row["notice"], interpreter=row["interpreter"],
        guardian=json.loads(row["guardian"]) if row["guardian"] else None, recorded_by=row["recorded_by"],
        taken_back=json.loads(row["taken_back"]) if row["taken_back"] else None,
    )  # fmt: skip


async def insert(tx: Tx, entry: UUID, r: Record) -> int:
    """Add a record under the entry's exclusive fence lock. Returns its version."""
    version: int = await tx.conn.fetchval(
        """
        insert into consent (id, entry, org, version, decision, state, categories, purposes, recipients, valid_from,
                             valid_until, expressed, language, notice, interpreter, guardian, recorded_by, recorded_at,
                             taken_back)
        select $1, $2, $3, coalesce(max(version), 0) + 1, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
               $18
        from consent where entry = $2
        returning version
        """,
        opaque_id(), entry, tx.org, r.decision, r.state, list(r.categories), list(r.purposes), json.dumps(r.recipients),
        r.valid_from, r.valid_until, r.expressed, r.language, r.notice, r.interpreter,
        json.dumps(r.guardian) if r.guardian else None, r.recorded_by, tx.now,
        json.dumps(r.taken_back) if r.taken_back else None,
    )  # fmt: skip
    return version


async def history(tx: Tx, entry: UUID) -> list[dict[str, Any]]:
    """Every record, in order; without what is taken out of them (`erasure.store.reduce`) where the person is to be erased."""
    rows = await tx.conn.fetch("select * from consent where entry = $1 order by version", entry)
    if not await tx.conn.fetchval("select exists (select from erasure where entry = $1)", entry):
        return [dict(row) for row in rows]
    less = {"guardian": None, "language": "und", "interpreter": False}
    return [{**row, **less, "notice": row["notice"].partition("-")[0]} for row in rows]


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
        where state in ('given', 're-confirmed') and valid_until > $2
        """,
        entry, tx.now,
    )  # fmt: skip
    return found


async def guarded_since(tx: Tx, entry: UUID) -> datetime | None:
    """Since when the first of the decisions that are given now has been given with a guardian. None where none is."""
    found: datetime | None = await tx.conn.fetchval(
        """
        select min(valid_from) from (
            select distinct on (decision) state, guardian, valid_from from consent where entry = $1
            order by decision, version desc) latest
        where state in ('given', 're-confirmed') and guardian is not null
        """,
        entry,
    )
    return found


async def expire(tx: Tx, entry: UUID) -> None:
    """A record of its own for each decision that has ended by its date, with all that it said."""
    await tx.conn.execute(
        """
        insert into consent (id, entry, org, version, decision, state, categories, purposes, recipients, valid_from,
                             valid_until, expressed, language, notice, interpreter, guardian, recorded_by, recorded_at)
        select gen_random_uuid(), entry, org,
               (select max(version) from consent where entry = $1) + row_number() over (order by decision), decision,
               'expired', categories, purposes, recipients, valid_from, valid_until, expressed, language, notice,
               interpreter, guardian, 'clock', $2
        from (select distinct on (decision) * from consent where entry = $1 order by decision, version desc) latest
        where state in ('given', 're-confirmed') and valid_until <= $2
        """,
        entry, tx.now,
    )  # fmt: skip


async def version(tx: Tx, entry: UUID) -> int:
    """The latest record's version; 0 where nothing was recorded."""
    found: int = await tx.conn.fetchval("select coalesce(max(version), 0) from consent where entry = $1", entry)
    return found


async def insert_exclusion(
    tx: Tx, entry: UUID, exclusion: Exclusion, by: str, sealed: bytes | None = None, *, lifted: bool = False
) -> None:
    """`sealed`: an official's name."""
    await tx.conn.execute(
        """
        insert into exclusion (entry, org, kind, value, recorded_by, recorded_at, sealed, lifted)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        entry, tx.org, exclusion.kind, exclusion.value, by, tx.now, sealed, lifted,
    )  # fmt: skip


async def officials(tx: Tx, entry: UUID) -> list[tuple[str, bytes]]:
    """Organisation and sealed name of each official to whom never, in the order in which they were named."""
    rows = await tx.conn.fetch(
        """
        select value, sealed from exclusion one
        where entry = $1 and kind = 'official' and sealed is not null and number > coalesce((
            select max(number) from exclusion l where l.entry = $1 and l.kind = 'official' and l.value = one.value and l.lifted
        ), 0)
        order by number
        """,
        entry,
    )
    return [(row["value"], row["sealed"]) for row in rows]


async def known_organisations(tx: Tx, ids: Collection[UUID]) -> set[UUID]:
    """Those of these that the caller has, or had, an agreement with, or that were asked for somebody of theirs."""
    rows = await tx.conn.fetch(
        """
        select one from unnest($1::uuid[]) as one
        where one = $2 or exists (select 1 from agreement where sender = one or recipient = one)
           or exists (select 1 from asked where organisation = one)
        """,
        list(ids), tx.org,
    )  # fmt: skip
    return {row["one"] for row in rows}


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
    # The clock is read when the last lock is had: the one row comes after all of theirs.
    moment = await tx.conn.fetchval(
        """
        with held as materialized (select pg_advisory_xact_lock_shared(one) from unnest($1::bigint[]) as one)
        select clock_timestamp() from (select count(*) from held) as all_of_them
        """,
        locks,
    )
    tx.caught_up(moment)


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


async def people(tx: Tx, adults: Mapping[UUID, datetime | None]) -> dict[UUID, Person]:
    """What the gate needs to know of these people (entry → from when on they are surely 18, None where that is not known),
    as this transaction sees it, in four statements. A person without a fence is not among them."""
    entries = list(adults)
    fences = await tx.conn.fetch("select * from fence where entry = any($1)", entries)
    records = await tx.conn.fetch(
        """
        select distinct on (entry, decision) * from consent where entry = any($1)
        order by entry, decision, version desc
        """,
        entries,
    )
    latest = {(row["entry"], row["decision"]): _consent(row) for row in records}
    others: dict[UUID, list[Consent]] = defaultdict(list)
    for (entry, _), one in latest.items():
        if one.decision not in FENCED:
            others[entry].append(one)
    never = await exclusions(tx, entries)
    marked = await bases.standing(tx, entries)
    return {
        row["entry"]: Person(
            minor=is_minor(adult := adults[row["entry"]], tx.now),
            service=latest.get((row["entry"], ConsentDecision.SERVICE)),
            sharing=latest.get((row["entry"], ConsentDecision.SHARE_REFERRAL)),
            exclusions=never[row["entry"]],
            sharing_shut=row["sharing_shut"],
            service_shut=row["service_shut"],
            bases=marked[row["entry"]],
            generation=row["generation"],
            of_age=adult,
            others=tuple(others[row["entry"]]),
        )
        for row in fences
    }
