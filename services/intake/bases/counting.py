"""How many people something other than consent stands in for: counts for whoever coordinates, from which nobody can be told.

Three things keep them from that, together. They are said in steps of five, so one person more or less changes nothing but at a
step. They are of the beginning of the day (UTC), so no number can be held against what happened a moment ago. And no sums are
said, of kinds, networks or holders, so none can be taken from another.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from schemas import questions as q
from services.intake.bases.domain import Kind
from spean.db import Tx

# Kinds that open something for somebody; the check of a family's risk opens no field.
COUNTED = tuple(kind for kind in Kind if kind is not Kind.FAMILY_CHECK)
LAPSED_WITHIN = timedelta(weeks=4)
Counts = Mapping[tuple[UUID, str], tuple[int, int]]


def said(count: int) -> int | None:
    """As it may be said: in whole steps; None for less than one."""
    return count // q.COUNTED_IN * q.COUNTED_IN or None


async def answer(tx: Tx, asked: q.BasesCountedQuestion) -> q.BasesCountedAnswer:
    day = tx.now.replace(hour=0, minute=0, second=0, microsecond=0)
    counts = await _counts(tx, asked.networks, day)
    return q.BasesCountedAnswer(
        at=day,
        counts=tuple(
            q.BasisCount(network=network, kind=kind, in_force=said(force), lapsed=said(lapsed))
            for network in dict.fromkeys(asked.networks)
            for kind in COUNTED
            for force, lapsed in [counts.get((network, kind), (0, 0))]
        ),
    )


async def _counts(tx: Tx, networks: tuple[UUID, ...], day: datetime) -> Counts:
    """(network, kind) → how many people, of those with a hand-off in the network by then, had one in force at `day`, and had
    one lapse unconfirmed in the weeks before. Of several of one kind for a person one counts."""
    rows = await tx.conn.fetch(
        """
        select h.network, b.kind,
               count(distinct b.entry) filter (
                   where b.began_at <= $2 and (b.over_at is null or b.over_at > $2) and b.valid_until > $2
                         and (b.decided_at <= $2 or b.decide_by > $2)) as force,
               count(distinct b.entry) filter (
                   where b.state = 'lapsed' and b.decided_at is null and b.over_at > $3 and b.over_at <= $2) as lapsed
        from basis b join handoff_member m on m.entry = b.entry join handoff h on h.id = m.handoff
        where h.network = any($1) and h.requested_at <= $2 and b.proposed_at <= $2
        group by h.network, b.kind
        """,
        list(networks), day, day - LAPSED_WITHIN,
    )  # fmt: skip
    return {(row["network"], row["kind"]): (row["force"], row["lapsed"]) for row in rows}
