"""Copies that a holder has asked an organisation to erase: what its inbox shows until it has answered, and the coordinator when
that is late. What became of a copy is told to the holder, never here."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from schemas import events as e
from services.referral.referrals import handlers
from spean.db import Tx


async def ask(tx: Tx, referral: UUID, holder: str, said: e.ErasureRequestedV1) -> None:
    """A copy is to be erased; asked anew, it waits anew. Nothing where this network did not make that offer. Raises Refusal
    `not-found` where the referral is another holder's."""
    if await handlers.lock_of(tx, referral, holder) is None:
        return
    await tx.conn.execute(
        """
        insert into held_copy as c (offer, referral, organisation, asked_at, answer_by)
        select o.id, o.referral, o.organisation, $3, $4 from offer o
        where o.id = $1 and o.referral = $2 and o.organisation = $5
        on conflict (offer) do update set asked_at = excluded.asked_at, answer_by = excluded.answer_by, answered_at = null
        """,
        said.offer, referral, tx.now, said.answer_by, said.organisation,
    )  # fmt: skip


async def answered(tx: Tx, referral: UUID, holder: str, said: e.ErasureAcknowledgedV1) -> None:
    """Raises Refusal `not-found` where the referral is another holder's."""
    if await handlers.lock_of(tx, referral, holder) is None:
        return
    await tx.conn.execute(
        "update held_copy set answered_at = $3 where offer = $1 and referral = $2 and answered_at is null",
        said.offer, referral, tx.now,
    )  # fmt: skip


async def was_asked(tx: Tx, offer: UUID) -> bool:
    """Was its organisation asked to erase a copy, whatever became of the offer?"""
    found: bool = await tx.conn.fetchval("select exists (select 1 from held_copy where offer = $1)", offer)
    return found


async def waiting(tx: Tx, organisation: UUID, limit: int) -> list[asyncpg.Record]:
    """What this organisation has not answered for, due first."""
    return await tx.conn.fetch(
        """
        select offer, asked_at, answer_by from held_copy where organisation = $1 and answered_at is null
        order by answer_by, offer limit $2
        """,
        organisation, limit,
    )  # fmt: skip


async def late(tx: Tx, coordinator: UUID, limit: int) -> list[asyncpg.Record]:
    """What nobody has answered for in time in the networks that this organisation coordinates now, the latest first. As the service."""
    return await tx.conn.fetch(
        """
        select c.referral, c.organisation, c.asked_at, c.answer_by, r.network
        from held_copy c join referral r on r.id = c.referral join network n on n.id = r.network
        where n.coordinator = $1 and c.answered_at is null and c.answer_by < $2
        order by c.answer_by, c.offer limit $3
        """,
        coordinator, tx.now, limit,
    )  # fmt: skip
