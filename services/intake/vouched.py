"""Stopping while the issuer of sessions does not answer: whoever it vouched for in the last hours may still shut things.

A stop is never blocked. What is remembered opens nothing: pages that show or share ask the issuer each time.
"""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta

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
        async with db.transaction("visitor.vouched") as tx:
            if visitor is None:
                await forget(tx, _digest(value))
            else:
                await keep(tx, _digest(value), visitor)
        return visitor

    return found


def remembered(db: Database) -> FindVisitor:
    """Whom the issuer vouched for in the last hours; None for anybody else."""

    async def find(value: str) -> Visitor | None:
        async with db.transaction("visitor.remembered") as tx:
            claims = await kept(tx, _digest(value))
        return None if claims is None else visitor_in(json.loads(claims))

    return find


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode()).digest()


async def keep(tx: Tx, digest: bytes, visitor: Visitor) -> None:
    await tx.conn.execute(
        """
        insert into vouched (digest, claims, at) values ($1, $2, $3)
        on conflict (digest) do update set claims = excluded.claims, at = excluded.at where vouched.at < $3 - $4::interval
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
