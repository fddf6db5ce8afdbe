"""Who is asked for already, in PostgreSQL: one function per statement."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from schemas.vocabulary import ServiceType
from spean.db import Tx


async def lock_asking(tx: Tx, entries: Collection[UUID]) -> None:
    """For who asks for a service for these people: nobody else does before this transaction ends."""
    await tx.conn.execute(
        """
        select pg_advisory_xact_lock(one) from (
            select distinct hashtextextended('spean asking ' || entry, 0) as one from unnest($1::text[]) as entry
            order by 1) ordered
        """,
        [str(entry) for entry in entries],
    )


async def is_asked_for(tx: Tx, entries: Collection[UUID], service_type: ServiceType) -> bool:
    """Does anybody of them have a hand-off for this service that neither side has ended?"""
    found: bool = await tx.conn.fetchval(
        """
        select exists (
            select 1 from handoff h join handoff_member m on m.handoff = h.id
            where m.entry = any($1) and h.service_type = $2 and h.state not in ('completed', 'cancelled') and not h.ending)
        """,
        list(entries), service_type,
    )  # fmt: skip
    return found
