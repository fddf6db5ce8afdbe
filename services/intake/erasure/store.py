"""Erasures, legal holds and rules of retention in PostgreSQL: one function per statement."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from schemas.vocabulary import GROUP_OF, ServiceGroup, ServiceType
from services.intake.erasure.domain import Applies, End, Life, Past, Rule, Why
from services.intake.handoffs.store import ENDED
from spean.db import Tx


@dataclass(frozen=True, slots=True)
class Erasure:
    """`done_at`: when the key was gone and what is in the clear was reduced; None: that is under way."""

    entry: UUID
    why: Why
    by: str
    asked_at: datetime
    done_at: datetime | None


async def find(tx: Tx, entry: UUID) -> Erasure | None:
    row = await tx.conn.fetchrow("select entry, why, by, asked_at, done_at from erasure where entry = $1", entry)
    return None if row is None else Erasure(**{**row, "why": Why(row["why"])})


async def insert(tx: Tx, entry: UUID, why: Why, by: str) -> None:
    await tx.conn.execute(
        "insert into erasure (entry, org, why, by, asked_at) select e.id, e.org, $2, $3, $4 from entry e where e.id = $1",
        entry, why, by, tx.now,
    )  # fmt: skip


async def set_done(tx: Tx, entry: UUID) -> None:
    await tx.conn.execute("update erasure set done_at = greatest(asked_at, $2) where entry = $1", entry, tx.now)


async def with_somebody(tx: Tx, entry: UUID) -> bool:
    """Is a hand-off of this person not ended? Where the sender's side has ended it, somebody has them."""
    found: bool = await tx.conn.fetchval(
        """
        select exists (select 1 from handoff h join handoff_member m on m.handoff = h.id
                       where m.entry = $1 and h.state <> all($2::text[]))
        """,
        entry, list(ENDED),
    )  # fmt: skip
    return found


async def is_quiet(tx: Tx, entry: UUID) -> bool:
    """Has the sender's side ended a hand-off of this person's that somebody had accepted? Then nothing may tell them whether the
    person is there, and so not when what they asked for is done."""
    found: bool = await tx.conn.fetchval(
        """
        select exists (select 1 from handoff h join handoff_member m on m.handoff = h.id join packet p on p.handoff = h.id
                       where m.entry = $1 and (h.ending or h.state = 'cancelled'))
        """,
        entry,
    )
    return found


async def live(tx: Tx, entry: UUID) -> list[UUID]:
    """Hand-offs of this person that neither have ended nor were ended by the sender's side, the latest first."""
    rows = await tx.conn.fetch(
        """
        select h.id from handoff h join handoff_member m on m.handoff = h.id
        where m.entry = $1 and h.state <> all($2::text[]) and not h.ending order by h.requested_at desc, h.id
        """,
        entry, list(ENDED),
    )  # fmt: skip
    return [row["id"] for row in rows]


async def done_beside(tx: Tx, entries: Collection[UUID]) -> list[UUID]:
    """Everybody whose erasure is done, without these."""
    rows = await tx.conn.fetch(
        "select entry from erasure where done_at is not null and entry <> all($1::uuid[])", list(entries)
    )
    return [row["entry"] for row in rows]


async def find_unreduced(tx: Tx, entries: Collection[UUID]) -> list[UUID]:
    """Of these people, those of whom something sealed is still here, ids ascending."""
    rows = await tx.conn.fetch("select id from entry where id = any($1) and sealed <> '' order by id", list(entries))
    return [row["id"] for row in rows]


# What the gate never asks for; their own organisation sees the same as when all of it is done.
_PUT_AWAY = (
    """
    update entry set happened_at = date_trunc('month', happened_at at time zone 'UTC') at time zone 'UTC' where id = $1
    """,
    "delete from ask_again where entry = $1",
)


async def put_away(tx: Tx, entry: UUID) -> None:
    """Of somebody who is to be erased when nobody has them any more: what goes at once."""
    for statement in _PUT_AWAY:
        await tx.conn.execute(statement, entry)
    await _close_case(tx, entry)


async def _close_case(tx: Tx, entry: UUID) -> None:
    await tx.conn.execute(
        """update "case" set state = 'closed', closed_at = $2, version = version + 1 where entry = $1 and state = 'open'""",
        entry, tx.now,
    )  # fmt: skip


# What is sealed is emptied, though nobody can read it; of what is in the clear stays what shows that all was lawful: who was told
# the names of which fields, when, under which decision and rules; never when and in whose company somebody was met to the day,
# their age, their language, their guardian.
_OWN = (
    """
    update entry set sealed = '', age_at = null, version = version + 1,
        happened_at = date_trunc('month', happened_at at time zone 'UTC') at time zone 'UTC'
    where id = $1
    """,
    """
    update consent set guardian = null, language = 'und', interpreter = false, notice = split_part(notice, '-', 1)
    where entry = $1
    """,
    "update exclusion set sealed = null where entry = $1",
    "update basis_step s set sealed = null from basis b where b.id = s.basis and b.entry = $1",
    "delete from ask_again where entry = $1",
    "delete from identification_step where entry = $1",
    "update handoff_member set sealed_key = null where entry = $1",
)
# What belongs to a party as one is emptied with the last of them. Whoever else of it is being erased at the same time is waited
# for, and then seen: of two at once the second is the last.
_LOCKED = """
    select h.id from handoff h where h.id in (select handoff from handoff_member where entry = $1) order by h.id for update
"""
_PARTY = """
    select m.handoff from handoff_member m where m.entry = $1 and not exists (
        select 1 from handoff_member o join entry e on e.id = o.entry where o.handoff = m.handoff and e.sealed <> '')
"""
_SHARED = (
    "update handoff set sealed_code = null, need_by = null where id = any($1)",
    "update packet set meeting_point = null, address = null where handoff = any($1)",
    "update detail set sealed = '' where handoff = any($1)",
)


async def reduce(tx: Tx, entry: UUID) -> None:
    """Keep of somebody whose key is destroyed, and whose fence is locked, only what has to stay."""
    await tx.conn.execute(_LOCKED, entry)
    for statement in _OWN:
        await tx.conn.execute(statement, entry)
    alone = [row["handoff"] for row in await tx.conn.fetch(_PARTY, entry)]
    for statement in _SHARED:
        await tx.conn.execute(statement, alone)
    await tx.conn.execute(
        "update basis set state = 'ended', over_at = $2 where entry = $1 and state in ('proposed', 'in_force')",
        entry, tx.now,
    )  # fmt: skip
    await _close_case(tx, entry)


# --- legal holds ----------------------------------------------------------------------------------------------------

_STANDS = "lifted_at is null and until > $2"


async def held(tx: Tx, entry: UUID) -> bool:
    """Does a legal hold stand?"""
    found: bool = await tx.conn.fetchval(
        f"select exists (select 1 from legal_hold where entry = $1 and {_STANDS})", entry, tx.now
    )
    return found


async def held_until(tx: Tx, entry: UUID) -> datetime | None:
    """When the last of the legal holds that stand ends; None where none does."""
    found: datetime | None = await tx.conn.fetchval(
        f"select max(until) from legal_hold where entry = $1 and {_STANDS}", entry, tx.now
    )
    return found


async def standing_holds(tx: Tx, limit: int) -> list[asyncpg.Record]:
    """Those that stand, of everybody whom this transaction sees, that which ends first on top."""
    return await tx.conn.fetch(
        "select entry, at, until from legal_hold where lifted_at is null and until > $1 order by until, id limit $2",
        tx.now, limit,
    )  # fmt: skip


async def insert_hold(tx: Tx, id_: UUID, entry: UUID, sealed: bytes, until: datetime, by: str) -> None:
    await tx.conn.execute(
        """
        insert into legal_hold (id, entry, org, sealed, by, at, until)
        select $1, e.id, e.org, $3, $4, $5, $6 from entry e where e.id = $2
        """,
        id_, entry, sealed, by, tx.now, until,
    )  # fmt: skip


async def lift(tx: Tx, id_: UUID, entry: UUID, by: str) -> bool:
    """False where there is none that stands."""
    status = await tx.conn.execute(
        f"update legal_hold set lifted_at = $2, lifted_by = $4 where entry = $1 and id = $3 and {_STANDS}",
        entry, tx.now, id_, by,
    )  # fmt: skip
    return status == "UPDATE 1"


async def holds(tx: Tx, entry: UUID) -> list[asyncpg.Record]:
    """All of a person's, in the order in which they were made."""
    return await tx.conn.fetch("select * from legal_hold where entry = $1 order by at, id", entry)


# --- rules of retention -----------------------------------------------------------------------------------------------


async def insert_rule(tx: Tx, id_: UUID, rule: Rule, valid_from: datetime, by: str) -> None:
    await tx.conn.execute(
        """
        insert into retention (id, applies, service_group, ended, days, valid_from, created_by)
        values ($1, $2, $3, $4, $5, $6, $7)
        """,
        id_, rule.applies, rule.group, rule.end, rule.days, valid_from, by,
    )  # fmt: skip


async def rules(tx: Tx, limit: int) -> list[asyncpg.Record]:
    """Rules with their history, those that begin last first."""
    return await tx.conn.fetch("select * from retention order by valid_from desc, created_at desc, id limit $1", limit)


async def cancel_rule(tx: Tx, id_: UUID, by: str) -> bool:
    """False where there is none that has not begun yet."""
    status = await tx.conn.execute(
        """
        update retention set cancelled_at = $2, cancelled_by = $3
        where id = $1 and valid_from > $2 and cancelled_at is null
        """,
        id_, tx.now, by,
    )  # fmt: skip
    return status == "UPDATE 1"


async def in_force(tx: Tx) -> list[Rule]:
    """One of each scope: that which began last, without those that were taken back."""
    rows = await tx.conn.fetch(
        """
        select distinct on (applies, service_group, ended) applies, service_group, ended, days from retention
        where valid_from <= $1 and cancelled_at is null
        order by applies, service_group, ended, valid_from desc, created_at desc
        """,
        tx.now,
    )
    return [
        Rule(
            Applies(row["applies"]),
            None if row["service_group"] is None else ServiceGroup(row["service_group"]),
            None if row["ended"] is None else End(row["ended"]),
            row["days"],
        )
        for row in rows
    ]


_LIFE = """
    select e.id, greatest(e.created_at,
               (select max(recorded_at) from consent where entry = e.id),
               (select max(coalesce(closed_at, opened_at)) from "case" where entry = e.id),
               (select max(at) from identification_step where entry = e.id),
               (select max(greatest(proposed_at, decided_at, over_at, told_at)) from basis where entry = e.id)) as last,
           e.screening is not null and not exists (select 1 from "case" where entry = e.id)
               and not exists (select 1 from consent where entry = e.id and state in ('given', 're-confirmed')) as screened,
           (select json_agg(json_build_array(h.service_type, h.state, h.changed_at))
            from handoff h join handoff_member m on m.handoff = h.id where m.entry = e.id) as past
    from entry e
    where {which} and e.created_at < $2 and not exists (select 1 from erasure x where x.entry = e.id)
      and not exists (select 1 from legal_hold l where l.entry = e.id and l.lifted_at is null and l.until > $3)
      and not exists (select 1 from handoff h join handoff_member m on m.handoff = h.id
                      where m.entry = e.id and h.state <> all($4::text[]))
    order by e.id
"""


async def lives(tx: Tx, after: UUID, since: datetime, limit: int) -> list[Life]:
    """People behind the id `after`, met before `since`, who may be erased: no hand-off is under way, no hold stands."""
    rows = await tx.conn.fetch(f"{_LIFE.format(which='e.id > $1')} limit $5", after, since, tx.now, list(ENDED), limit)
    return [_life(row) for row in rows]


async def life(tx: Tx, entry: UUID) -> Life | None:
    """None where somebody may not be erased, or was."""
    row = await tx.conn.fetchrow(_LIFE.format(which="e.id = $1"), entry, tx.now, tx.now, list(ENDED))
    return None if row is None else _life(row)


def _life(row: asyncpg.Record) -> Life:
    past = json.loads(row["past"] or "[]")
    return Life(
        row["id"], row["last"], row["screened"],
        tuple(Past(GROUP_OF[ServiceType(type_)], End(state), datetime.fromisoformat(at)) for type_, state, at in past),
    )  # fmt: skip
