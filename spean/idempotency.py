"""Answered commands: the same key and request get the same answer, for 72 hours, from the effect's own transaction."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from spean.db import Tx
from spean.problem import Refusal

KEPT_HOURS = 72


@dataclass(frozen=True, slots=True)
class Kept:
    status: int
    etag: str | None
    body: str


def lock_of(org: UUID, key: str) -> str:
    """What the transaction of a command has to be alone with (`Database.transaction`)."""
    return f"{org}{key}"


async def find(tx: Tx, key: str, *fingerprints: bytes) -> Kept | None:
    """The answer given before, in a transaction that is alone with `lock_of` or refused. `fingerprints`: of the request, with
    each secret that counts. Raises Refusal `key-running` while another request works on it, `key-reused` when the key was
    used for a different request."""
    if not tx.alone:
        raise Refusal("key-running")
    row = await tx.conn.fetchrow(
        "select fingerprint, status, etag, body from idempotency where org = $1 and key = $2", tx.org, key
    )
    if row is None:
        return None
    if row["fingerprint"] not in fingerprints:
        raise Refusal("key-reused")
    return Kept(row["status"], row["etag"], row["body"])


async def keep(tx: Tx, key: str, fingerprint: bytes, answer: Kept) -> None:
    await tx.conn.execute(
        "insert into idempotency (org, key, fingerprint, status, etag, body) values ($1, $2, $3, $4, $5, $6)",
        tx.org, key, fingerprint, answer.status, answer.etag, answer.body,
    )  # fmt: skip


async def forget_old(tx: Tx) -> None:
    await tx.conn.execute("delete from idempotency where at < now() - make_interval(hours => $1)", KEPT_HOURS)
