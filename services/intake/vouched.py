"""Stopping while the issuer of sessions does not answer: whoever it vouched for in the last hours may still shut things.

A stop is never blocked. What is remembered opens nothing: pages that show or share ask the issuer each time.
"""

from __future__ import annotations

import json
from datetime import timedelta

from spean.crypto import opener_digest
from spean.db import Database, Tx
from spean.web.visitor import FindVisitor, Visitor, claims_of, visitor_in

# A working day: whoever began a shift with a line can end sharing for a person at its end without one.
REMEMBERED = timedelta(hours=12)
# Often enough that a visit in a shift counts for the next twelve hours, seldom enough not to write at every page.
_AGAIN = timedelta(minutes=10)


def remembering(db: Database, find: FindVisitor) -> FindVisitor:
    """The same as `find`, and whom it found is remembered."""

    async def found(value: str) -> Visitor | None:
        visitor = await find(value)
        if (digest := opener_digest(value)) is None:
            return visitor
        async with db.transaction("visitor.vouched") as tx:
            if visitor is None:
                await forget(tx, digest)
            else:
                await keep(tx, digest, visitor)
        return visitor

    return found


def remembered(db: Database) -> FindVisitor:
    """Whom the issuer vouched for in the last hours; None for anybody else."""

    async def find(value: str) -> Visitor | None:
        if (digest := opener_digest(value)) is None:
            return None
        async with db.transaction("visitor.remembered") as tx:
            claims = await kept(tx, digest)
        return None if claims is None else visitor_in(json.loads(claims))

    return find


async def keep(tx: Tx, digest: bytes, visitor: Visitor) -> None:
    """Only reads where it was kept lately (a conflict would lock the row): every page comes by here."""
    await tx.conn.execute(
        """
        insert into vouched (digest, claims, at)
        select $1, $2::jsonb, $3::timestamptz
        where not exists (select 1 from vouched where digest = $1 and at >= $3 - $4::interval)
        on conflict (digest) do update set claims = excluded.claims, at = excluded.at
        """,
        digest, json.dumps(claims_of(visitor)), tx.now, _AGAIN,
    )  # fmt: skip


async def forget(tx: Tx, digest: bytes) -> None:
    """This session has ended; and whatever is too old goes with it."""
    await tx.conn.execute("delete from vouched where digest = $1 or at < $2", digest, tx.now - REMEMBERED)


async def kept(tx: Tx, digest: bytes) -> str | None:
    found: str | None = await tx.conn.fetchval(
        "select claims from vouched where digest = $1 and at >= $2", digest, tx.now - REMEMBERED
    )
    return found
