"""Events to say: that an offer was sent, some 200 bytes of content each, over as many referrals as there are events."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from schemas import registry
from schemas.events import OfferSentV1
from schemas.registry import REFERRALS

DATA = OfferSentV1(offer=UUID(int=1), organisation=UUID(int=2), answer_by=datetime(2030, 1, 1, tzinfo=UTC))
TYPE = registry.TYPE_OF[OfferSentV1]
SOURCE = "spean/referral"


def subject(number: int) -> UUID:
    """A referral's id that tells its number."""
    return UUID(int=(0xBE << 120) | number)


def number_of(subject: UUID) -> int:
    return subject.int & ((1 << 64) - 1)


async def fill_outbox(conn: asyncpg.Connection[asyncpg.Record], first: int, count: int) -> None:
    """As `say` writes them, in one statement: numbers from `first` on."""
    await conn.execute(
        """
        insert into outbox (id, aggregatetype, aggregateid, type, payload, epoch, sequence, time, correlationid)
        select gen_random_uuid(), $1, subject, $2, $3, 1, 1, now(), gen_random_uuid() from unnest($4::uuid[]) as t (subject)
        """,
        REFERRALS.name, TYPE, registry.write(DATA).decode(), [subject(first + at) for at in range(count)],
    )  # fmt: skip
