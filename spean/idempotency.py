"""Answered commands: the same key and request get the same answer, for 72 hours, from the effect's own transaction."""

from __future__ import annotations

from dataclasses import dataclass

from spean.db import Tx
from spean.problem import Refusal

KEPT_HOURS = 72


@dataclass(frozen=True, slots=True)
class Kept:
    status: int
    etag: str | None
    body: str


async def find(tx: Tx, key: str, fingerprint: bytes) -> Kept | None:
    """The answer given before. Raises Refusal `key-running` while another request works on it, `key-reused` when the
    key was used for a different request."""
    if not await tx.conn.fetchval(
        "select pg_try_advisory_xact_lock(hashtextextended($1::text || $2, 0))", str(tx.org), key
    ):
        raise Refusal("key-running")
    row = await tx.conn.fetchrow(
        "select fingerprint, status, etag, body from idempotency where org = $1 and key = $2", tx.org, key
    )
    if row is None:
        return None
    if row["fingerprint"] != fingerprint:
        raise Refusal("key-reused")
    return Kept(row["status"], row["etag"], row["body"])


async def keep(tx: Tx, key: str, fingerprint: bytes, answer: Kept) -> None:
    await tx.conn.execute(
        "insert into idempotency (org, key, fingerprint, status, etag, body) values ($1, $2, $3, $4, $5, $6)",
        tx.org, key, fingerprint, answer.status, answer.etag, answer.body,
    )  # fmt: skip


async def forget_old(tx: Tx) -> None:
    await tx.conn.execute("delete from idempotency where at < now() - make_interval(hours => $1)", KEPT_HOURS)
