"""What became of copies, in PostgreSQL: one function per statement."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import asyncpg

from services.intake.handoffs.store import Packet
from spean.db import Tx
from spean.statement import Statement

SignedBy = Literal["system", "holder"]


@dataclass(frozen=True, slots=True)
class Kept:
    """A statement as it is kept: as it was signed, and with which key (public, as JWK). `by`: who told it."""

    said: Statement
    text: str
    public_key: Mapping[str, str]
    signed_by: SignedBy
    by: str


async def insert(tx: Tx, packet: Packet, kept: Kept) -> None:
    said = kept.said
    await tx.conn.execute(
        """
        insert into copy_answer (offer, id, handoff, org, request, organisation, by, signed_by, answer, reason, law, said_at, at,
            statement, public_key)
        select $1, $2, h.id, h.org, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14 from handoff h where h.id = $3
        """,
        packet.offer, said.jti, packet.handoff, said.request, packet.organisation, kept.by, kept.signed_by, said.answer,
        said.reason, said.law, datetime.fromtimestamp(said.iat, UTC), tx.now, kept.text, json.dumps(dict(kept.public_key)),
    )  # fmt: skip


async def find(tx: Tx, offer: UUID, id_: UUID) -> asyncpg.Record | None:
    return await tx.conn.fetchrow("select * from copy_answer where offer = $1 and id = $2", offer, id_)


async def count(tx: Tx, offer: UUID, request: UUID) -> int:
    """How many answers to this request are kept."""
    found: int = await tx.conn.fetchval(
        "select count(*) from copy_answer where offer = $1 and request = $2", offer, request
    )
    return found


async def latest(tx: Tx, offer: UUID, request: UUID) -> asyncpg.Record | None:
    """What was said last to this request."""
    return await tx.conn.fetchrow(
        "select * from copy_answer where offer = $1 and request = $2 order by said_at desc, at desc, id limit 1",
        offer, request,
    )  # fmt: skip


async def asked_of(tx: Tx, handoff: UUID) -> list[asyncpg.Record]:
    """Every copy of a hand-off that somebody was asked to erase, with what was said of it last, in the order of the packets."""
    return await tx.conn.fetch(
        """
        select p.offer, p.organisation, p.erasure, p.erasure_asked_at, p.erasure_by, p.erasure_answered_at,
               a.signed_by, a.reason, a.law, a.by, a.statement, a.public_key
        from packet p
        left join lateral (
            select * from copy_answer c where c.offer = p.offer and c.answer = p.erasure and c.said_at >= p.erasure_asked_at - interval '1 minute'
            order by c.said_at desc, c.at desc, c.id limit 1
        ) a on true
        where p.handoff = $1 and p.erasure is not null order by p.released_at, p.offer
        """,
        handoff,
    )


async def statements_of(tx: Tx, handoffs: Collection[UUID], until: datetime) -> list[asyncpg.Record]:
    """All that was said of copies of these hand-offs up to a time, in its order."""
    return await tx.conn.fetch(
        "select * from copy_answer where handoff = any($1) and at <= $2 order by at, said_at, id", list(handoffs), until
    )
