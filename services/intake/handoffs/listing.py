"""A worker's own list of hand-offs in PostgreSQL: one function per statement."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from services.intake.handoffs.domain import NOT_YET_S
from services.intake.handoffs.search import Word
from spean.db import Tx


class Show(StrEnum):
    """Which hand-offs are listed. Ended is what every sender sees as ended, whatever else may be known of it."""

    OPEN = "open"
    MINE = "mine"
    ENDED = "ended"


_ENDED = "(h.state in ('completed', 'cancelled') or h.ending)"
# What waits for the sender: on hold for them, not with the network yet, or not arrived (which not every sender may
# know: whoever shows them looks again at what the gate allows).
_MINE = """(not h.ending and (h.waits_for = 'sender' or h.state = 'missing'
            or (h.state = 'requested' and h.requested_at < $3)))"""


async def page(tx: Tx, show: Show, words: Sequence[Word], after: UUID | None, limit: int) -> list[UUID]:
    """The organisation's hand-offs of that kind that fit every word, the latest first, behind the hand-off `after`."""
    wanted = [{"types": word.types, "areas": word.areas, "number": word.number} for word in words]
    rows = await tx.conn.fetch(
        f"""
        select h.id from handoff h
        where h.org = $1 and case $2 when 'ended' then {_ENDED} when 'mine' then {_MINE} else not {_ENDED} end
          and ($4::uuid is null
               or (h.requested_at, h.id) < (select l.requested_at, l.id from handoff l where l.id = $4))
          and not exists (
            select 1 from jsonb_to_recordset($5::jsonb) as w (types text[], areas text[], number text)
            where not (h.service_type = any(w.types) or h.area = any(w.areas)
                       or (w.number is not null and starts_with(h.id::text, w.number))))
        order by h.requested_at desc, h.id desc limit $6
        """,
        tx.org, show, tx.now - timedelta(seconds=NOT_YET_S), after, json.dumps(wanted), limit,
    )  # fmt: skip
    return [row["id"] for row in rows]


async def looked(tx: Tx, person: UUID, handoffs: Collection[UUID]) -> dict[UUID, bytes]:
    """Hand-off → what this worker was last shown of it (a digest)."""
    rows = await tx.conn.fetch(
        "select handoff, seen from looked where person = $1 and handoff = any($2)", person, list(handoffs)
    )
    return {row["handoff"]: row["seen"] for row in rows}


async def mark(tx: Tx, person: UUID, seen: Mapping[UUID, bytes]) -> None:
    """The worker has been shown this of these hand-offs of their organisation's."""
    await tx.conn.execute(
        """
        insert into looked (person, handoff, org, seen, at)
        select $1, h.id, h.org, new.seen, $2 from unnest($3::uuid[], $4::bytea[]) as new (id, seen)
        join handoff h on h.id = new.id and h.org = $5
        on conflict (person, handoff) do update set seen = excluded.seen, at = excluded.at
        """,
        person, tx.now, list(seen), list(seen.values()), tx.org,
    )  # fmt: skip


async def asked(tx: Tx, handoff: UUID) -> list[tuple[UUID, datetime]]:
    """Who was told what is needed, and when first, in order."""
    rows = await tx.conn.fetch(
        """
        select recipient, min(at) as at from disclosure
        where handoff = $1 and stage = 'offer' and 'needs' = any(allowed) group by recipient order by 2, 1
        """,
        handoff,
    )
    return [(row["recipient"], row["at"]) for row in rows]


async def released_at(tx: Tx, handoff: UUID) -> datetime | None:
    """When whoever accepted it last did."""
    found: datetime | None = await tx.conn.fetchval("select max(released_at) from packet where handoff = $1", handoff)
    return found


async def with_case(tx: Tx, limit: int) -> list[UUID]:
    """The organisation's entries with an open case, the latest first."""
    rows = await tx.conn.fetch(
        """
        select e.id from entry e join "case" c on c.entry = e.id
        where e.org = $1 and c.state = 'open' order by e.created_at desc, e.id limit $2
        """,
        tx.org, limit,
    )  # fmt: skip
    return [row["id"] for row in rows]
