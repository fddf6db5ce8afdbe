"""What a coordinator does with a referral that was escalated. Every handler: lock, decide, save, say."""

from __future__ import annotations

from uuid import UUID

from schemas.questions import Candidate
from schemas.vocabulary import ReasonFamily
from services.referral.referrals import decisions, handlers, store
from services.referral.referrals.domain import Referral
from spean.db import Tx
from spean.problem import Refusal


async def lock_escalated(tx: Tx, id_: UUID, coordinator: UUID) -> Referral:
    """Lock a referral that is escalated to this coordinator. Raises Refusal `not-found`, `state`."""
    referral = await store.lock_referral(tx, id_)
    if referral is None or referral.coordinator != coordinator:
        raise Refusal("not-found")
    if referral.escalated is None:
        raise Refusal("state")
    return referral


async def take(tx: Tx, referral: Referral, by: str) -> None:
    """Somebody named owns it now: no reminders for a while."""
    await store.save_referral(tx, decisions.taken(referral, by, tx.now))


async def ask_again(tx: Tx, referral: Referral) -> None:
    """Everybody may be asked again, also who declined or did not answer. Raises Refusal `state`."""
    await _reopen(tx, referral, anew=True)


async def ask_named(tx: Tx, referral: Referral, to: Candidate, offer: UUID) -> None:
    """Offer a locked escalated referral to a named place that the gate allows, for this offer. Raises Refusal `state`."""
    await handlers.offer_to(tx, await _reopen(tx, referral, anew=False), to, offer)


async def _reopen(tx: Tx, referral: Referral, *, anew: bool) -> Referral:
    """A house that was shut out after it had accepted loses the offer and the places held for it here, by a person's
    decision."""
    decision = handlers.legal(lambda: decisions.reopened(referral, tx.now, anew=anew))
    await handlers.withdraw(tx, referral, ReasonFamily.CLOSED)
    await handlers.record(tx, decision)
    return decision.referral


async def confirm_arrival(tx: Tx, referral: Referral, by: str) -> None:
    """An unverified arrival was checked in another way. Raises Refusal `state` where nobody has arrived unverified."""
    if referral.offer is None:
        raise Refusal("state")
    await handlers.verify(tx, referral, referral.offer, by=by)


async def close(tx: Tx, referral: Referral, by: str) -> None:
    """The house says nothing more of somebody who arrived there: the referral ends, and how is not known. Raises Refusal
    `state` where it may still be heard of."""
    await handlers.close(tx, referral, by)


async def hand_back(tx: Tx, referral: Referral) -> None:
    """The sender owns it again. Raises Refusal `state`, also where a house has accepted or the sender is suspended."""
    await handlers.record(tx, handlers.legal(lambda: decisions.handed_back(referral, tx.now)))
