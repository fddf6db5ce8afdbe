"""Whose a referral is when an organisation is suspended, or a network gets another coordinator."""

from __future__ import annotations

from uuid import UUID

from schemas import events as e
from schemas.vocabulary import EscalationReason, ReasonFamily
from services.referral.referrals import decisions, domain, handlers, store
from services.referral.referrals.domain import OfferAction
from spean.db import Tx


async def suspend_work(tx: Tx, organisation: UUID) -> None:
    """Its open offers go to the next; what it has accepted goes on hold and to a coordinator, and so does what it has
    sent, for it cannot look after its hand-offs any more. Nobody is moved."""
    for id_ in await store.in_hand(tx, organisation):
        referral = await store.lock_referral(tx, id_)
        if referral is None or referral.state in domain.FINAL:
            continue
        if referral.sender == organisation:
            told = decisions.escalated(referral, EscalationReason.ORGANISATION_SUSPENDED, tx.now)
            await handlers.record(tx, told)
            continue
        if referral.offer is None:
            continue
        offer = await store.lock_offer(tx, referral.offer)
        if offer.organisation != organisation:
            continue
        if offer.state in domain.OPEN:
            await store.save_offer(tx, decisions.answered(offer, OfferAction.WITHDRAW, tx.now, ReasonFamily.CLOSED))
            await handlers.record(tx, decisions.passed_on(referral, e.OfferWithdrawnV1(offer=offer.id), tx.now))
        else:
            await handlers.record(tx, decisions.receiver_suspended(referral, tx.now))


async def hand_over(tx: Tx, network: UUID, coordinator: UUID) -> None:
    """Every open referral of a locked network, with its offers, is this coordinator's from now on."""
    for id_ in await store.open_in(tx, network):
        referral = await store.lock_referral(tx, id_)
        if referral is None or referral.state in domain.FINAL:
            continue
        await store.reassign_offers(tx, id_, coordinator)
        await handlers.record(tx, decisions.reassigned(referral, coordinator, tx.now))
