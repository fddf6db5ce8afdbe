"""What happens to referrals and offers. Every handler: (transaction) lock, decide, save, say.

Lock order: referral, offer, place. What needs the holder's answer asks before the transaction opens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID

import asyncpg

from schemas import events as e
from schemas import questions as q
from schemas.registry import REFERRALS
from schemas.vocabulary import (
    FAMILY_OF,
    DeclineReason,
    EscalationReason,
    OrganisationStatus,
    OrganisationType,
    ReasonFamily,
    ServiceType,
)
from services.referral.places import handlers as places
from services.referral.referrals import domain, store
from services.referral.referrals.domain import (
    Action,
    Decision,
    IllegalTransition,
    Offer,
    OfferAction,
    OfferState,
    State,
)
from spean.clock import clear_due
from spean.db import Database, Tx
from spean.ids import opaque_id
from spean.outbox import say
from spean.problem import Refusal

AskNext = Callable[[str, q.NextCandidateQuestion], Awaitable[q.NextCandidateAnswer]]


async def record(tx: Tx, decision: Decision) -> None:
    """Save what a referral became and say it."""
    await store.save_referral(tx, decision.referral)
    await tell(tx, decision)


async def tell(tx: Tx, decision: Decision) -> None:
    for event in decision.events:
        await say(tx, REFERRALS, decision.referral.id, event)


# --- the sender's side, as events of the holder -------------------------------------------------------------------


async def receive(tx: Tx, id_: UUID, holder: str, asked: e.HandoffRequestedV1) -> None:
    """A hand-off was requested. Raises Refusal `unknown-network` where the sender is no member of it."""
    network = await store.network_of(tx, asked.network, asked.sender)
    if network is None:
        raise Refusal("unknown-network")
    decision = domain.received(id_, holder, asked, *network, tx.now)
    if await store.insert_referral(tx, decision.referral):
        await tell(tx, decision)


async def cancel(tx: Tx, id_: UUID, reason: ReasonFamily) -> None:
    """The sender or the person ended it. After arrival nothing is freed: the house speaks with the person."""
    referral = await store.lock_referral(tx, id_)
    if referral is None or (referral.state, Action.CANCEL) not in domain.REFERRAL:
        return
    if referral.offer is not None:
        offer = await store.lock_offer(tx, referral.offer)
        await store.save_offer(tx, domain.answered(offer, OfferAction.WITHDRAW, tx.now, ReasonFamily.STOPPED))
        await say(tx, REFERRALS, id_, e.OfferWithdrawnV1(offer=offer.id))
        await _free(tx, offer.id)
    await record(tx, domain.cancelled(referral, reason, tx.now))


async def stop_disclosure(tx: Tx, id_: UUID) -> None:
    """The gate changed. An open offer is withdrawn and the next is asked; an accepted place stays as it is."""
    referral = await store.lock_referral(tx, id_)
    if referral is None or referral.state is not State.OFFERED or referral.offer is None:
        return
    offer = await store.lock_offer(tx, referral.offer)
    await store.save_offer(tx, domain.answered(offer, OfferAction.WITHDRAW, tx.now, ReasonFamily.STOPPED))
    await record(tx, domain.passed_on(referral, e.OfferWithdrawnV1(offer=offer.id), tx.now))


async def release(tx: Tx, id_: UUID, offer: UUID) -> None:
    """The packet was released for the accepted offer: ready."""
    referral = await store.lock_referral(tx, id_)
    if referral is None or referral.offer != offer or (referral.state, Action.RELEASE) not in domain.REFERRAL:
        return
    await record(tx, domain.released(referral, offer, tx.now))


# --- the clock ----------------------------------------------------------------------------------------------------


async def wake(db: Database, ask: AskNext, id_: UUID) -> None:
    """A referral is due: do what its state asks for. One entry per state that is not final."""
    async with db.transaction("referral.look") as tx:
        referral = await store.find_referral(tx, id_)
    if referral.state is State.REQUESTED:
        await ask_next(db, ask, id_)
        return
    async with db.transaction("referral.wake") as tx:
        locked = await store.lock_referral(tx, id_)
        if locked is None or locked.version != referral.version or locked.wake_at is None or locked.wake_at > tx.now:
            return
        await WAKE[locked.state](tx, locked)


async def ask_next(db: Database, ask: AskNext, id_: UUID) -> None:
    """Ask the holder who may be asked next, then offer it there. The question is asked outside any transaction."""
    async with db.transaction("referral.candidates") as tx:
        referral = await store.find_referral(tx, id_)
        rows = await store.candidates(tx, referral, q.MAX_BATCH)
    chosen: UUID | None = None
    if rows:
        question = q.NextCandidateQuestion(referral=id_, candidates=tuple(candidate(row) for row in rows))
        chosen = (await ask(referral.holder, question)).place
    async with db.transaction("referral.offer") as tx:
        locked = await store.lock_referral(tx, id_)
        if locked is None or locked.version != referral.version:
            return
        row = next((row for row in rows if row["id"] == chosen), None)
        if row is None:
            await record(tx, domain.exhausted(locked, tx.now))
        else:
            await offer_to(tx, locked, row["organisation"], row["id"])


async def offer_to(tx: Tx, referral: domain.Referral, organisation: UUID, place: UUID) -> UUID:
    """Put a locked referral to one organisation. Returns the offer's id."""
    decision = domain.offered(referral, opaque_id(), organisation, tx.now)
    id_ = decision.referral.offer
    assert id_ is not None and decision.referral.wake_at is not None  # noqa: S101, PT018 (offered has both)
    offer = Offer(
        id=id_, referral=referral.id, organisation=organisation, coordinator=referral.coordinator, place=place,
        state=OfferState.SENT, reason=None, sent_at=tx.now, answer_by=decision.referral.wake_at, answered_at=None, version=1,
    )  # fmt: skip
    await store.insert_offer(tx, offer)
    await record(tx, decision)
    return id_


async def _expire(tx: Tx, referral: domain.Referral) -> None:
    assert referral.offer is not None  # noqa: S101 (CHECK offer_where_there_must_be_one)
    offer = await store.lock_offer(tx, referral.offer)
    await store.save_offer(tx, domain.answered(offer, OfferAction.EXPIRE, tx.now, ReasonFamily.NO_ANSWER))
    await record(tx, domain.passed_on(referral, e.OfferExpiredV1(offer=offer.id), tx.now))


async def _not_ready(tx: Tx, referral: domain.Referral) -> None:
    await record(tx, domain.escalated(referral, EscalationReason.NOT_READY, tx.now))


async def _miss(tx: Tx, referral: domain.Referral) -> None:
    assert referral.offer is not None  # noqa: S101 (CHECK offer_where_there_must_be_one)
    await record(tx, domain.missed(referral, referral.offer, tx.now))


async def _no_outcome(tx: Tx, referral: domain.Referral) -> None:
    await record(tx, domain.escalated(referral, EscalationReason.NO_OUTCOME, tx.now))


async def _remind(tx: Tx, referral: domain.Referral) -> None:
    """Nobody has taken it since the last time: tell the coordinator again, for the same reason."""
    reason = referral.escalated or EscalationReason.NO_CANDIDATE
    if referral.state is State.ON_HOLD and referral.escalated is None:
        reason = EscalationReason.SHARING_STOPPED
    await record(tx, domain.escalated(referral, reason, tx.now))


WAKE: dict[State, Callable[[Tx, domain.Referral], Awaitable[None]]] = {
    State.OFFERED: _expire,
    State.ACCEPTED: _not_ready,
    State.READY: _miss,
    State.IN_PROGRESS: _no_outcome,
    State.UNROUTABLE: _remind,
    State.ON_HOLD: _remind,
    State.MISSING: _remind,
}


async def pass_deadline(db: Database, id_: UUID) -> None:
    """The time for service has come: where nobody has arrived, a coordinator is told. Asks nobody."""
    async with db.transaction("referral.deadline") as tx:
        referral = await store.lock_referral(tx, id_)
        await clear_due(tx, store.DEADLINE, id_)
        if referral is None or referral.state in {*domain.FINAL, State.IN_PROGRESS} or referral.escalated is not None:
            return
        await record(tx, domain.escalated(referral, EscalationReason.DEADLINE_PASSED, tx.now))


# --- the receiver's side, as commands -----------------------------------------------------------------------------


async def see(tx: Tx, ids: list[UUID]) -> None:
    """The organisation has these offers on its screen."""
    for id_ in sorted(ids):
        offer = await store.find_offer(tx, id_)
        if await store.lock_referral(tx, offer.referral) is None:
            continue
        offer = await store.lock_offer(tx, id_)
        if (offer.state, OfferAction.SEE) in domain.OFFER:
            await store.save_offer(tx, domain.answered(offer, OfferAction.SEE, tx.now))
            await say(tx, REFERRALS, offer.referral, e.OfferSeenV1(offer=id_))


async def lock_open(tx: Tx, id_: UUID, organisation: UUID) -> tuple[domain.Referral, Offer]:
    """Lock an offer that this organisation may still answer, and its referral. Raises Refusal `not-found`,
    `no-longer-available` (the same words whatever ended it)."""
    offer = await store.find_offer(tx, id_)
    if offer.organisation != organisation:
        raise Refusal("not-found")
    referral = await store.lock_referral(tx, offer.referral)
    offer = await store.lock_offer(tx, id_)
    if referral is None or referral.offer != id_ or not store.is_open(offer, tx.now):
        raise Refusal("no-longer-available")
    return referral, offer


async def accept(tx: Tx, referral: domain.Referral, offer: Offer) -> None:
    """Accept a locked open offer and take its places, in one transaction. Raises Refusal `place-gone`."""
    await store.save_offer(tx, domain.answered(offer, OfferAction.ACCEPT, tx.now))
    await places.hold(tx, offer.place, referral.places)
    await store.insert_hold(tx, offer, referral.places)
    await record(tx, domain.accepted(referral, offer, tx.now))


async def decline(tx: Tx, referral: domain.Referral, offer: Offer, reason: DeclineReason) -> None:
    """Decline a locked open offer; the network keeps the reason's family only."""
    family = FAMILY_OF[reason]
    await store.save_offer(tx, domain.answered(offer, OfferAction.DECLINE, tx.now, family))
    await record(tx, domain.passed_on(referral, e.OfferDeclinedV1(offer=offer.id, reason=family), tx.now))


async def lock_accepted(tx: Tx, id_: UUID, organisation: UUID) -> tuple[domain.Referral, Offer]:
    """Lock an offer that this organisation has accepted, and its referral. Raises Refusal `not-found`, `state`."""
    offer = await store.find_offer(tx, id_)
    if offer.organisation != organisation:
        raise Refusal("not-found")
    referral = await store.lock_referral(tx, offer.referral)
    offer = await store.lock_offer(tx, id_)
    if referral is None or offer.state is not OfferState.ACCEPTED or referral.offer != id_:
        raise Refusal("state")
    return referral, offer


async def arrive(tx: Tx, referral: domain.Referral, offer: Offer, *, verified: bool) -> None:
    """The person is there; the promised places are taken. Raises Refusal `state`."""
    decision = _legal(lambda: domain.arrived(referral, offer.id, tx.now, verified=verified))
    moved = await store.move_hold(tx, offer.id, "staying")
    if moved is not None:
        await places.occupy(tx, moved["place"], moved["places"])
    await record(tx, decision)


async def depart(tx: Tx, id_: UUID, sender: UUID) -> domain.Referral:
    """The sender says that the person has set out. Raises Refusal `not-found`, `state`."""
    referral = await store.lock_referral(tx, id_)
    if referral is None or referral.sender != sender:
        raise Refusal("not-found")
    offer = referral.offer
    if offer is None:
        raise Refusal("state")
    decision = _legal(lambda: domain.departed(referral, offer, tx.now))
    await record(tx, decision)
    return decision.referral


async def complete(tx: Tx, referral: domain.Referral, offer: Offer) -> None:
    """An outcome was recorded at the holder; the places are free again. Raises Refusal `state`."""
    decision = _legal(lambda: domain.completed(referral, offer.id, tx.now))
    await _free(tx, offer.id)
    await record(tx, decision)


# --- the coordinator's actions ------------------------------------------------------------------------------------


async def lock_escalated(tx: Tx, id_: UUID, coordinator: UUID) -> domain.Referral:
    """Lock a referral that is escalated to this coordinator. Raises Refusal `not-found`, `state`."""
    referral = await store.lock_referral(tx, id_)
    if referral is None or referral.coordinator != coordinator:
        raise Refusal("not-found")
    if referral.escalated is None:
        raise Refusal("state")
    return referral


async def take(tx: Tx, referral: domain.Referral, by: str) -> domain.Referral:
    """Somebody named owns it now: no more reminders until the next step of its own is due."""
    after = domain.taken(referral, by, tx.now)
    await store.save_referral(tx, after)
    return after


async def ask_again(tx: Tx, referral: domain.Referral) -> domain.Referral:
    decision = _legal(lambda: domain.reopened(referral, tx.now))
    await record(tx, decision)
    return decision.referral


async def ask_named(tx: Tx, referral: domain.Referral, organisation: UUID, place: UUID) -> UUID:
    """Offer a locked escalated referral to a named place that the gate allows. Returns the offer. Raises Refusal `state`."""
    decision = _legal(lambda: domain.reopened(referral, tx.now))
    await record(tx, decision)
    return await offer_to(tx, decision.referral, organisation, place)


async def hand_back(tx: Tx, referral: domain.Referral) -> domain.Referral:
    """The sender owns it again."""
    decision = _legal(lambda: domain.paused(replace(referral, escalated=None), ReasonFamily.OTHER, tx.now))
    await record(tx, decision)
    return decision.referral


# --- an organisation is suspended ---------------------------------------------------------------------------------


async def suspend_work(tx: Tx, organisation: UUID) -> None:
    """Its open offers go to the next; what it has accepted goes on hold and to a coordinator. Nobody is moved."""
    for row in await store.open_offers_of(tx, organisation):
        referral = await store.lock_referral(tx, row["referral"])
        if referral is None or referral.offer is None:
            continue
        offer = await store.lock_offer(tx, referral.offer)
        if offer.organisation != organisation:
            continue
        if offer.state in domain.OPEN:
            await store.save_offer(tx, domain.answered(offer, OfferAction.WITHDRAW, tx.now, ReasonFamily.CLOSED))
            await record(tx, domain.passed_on(referral, e.OfferWithdrawnV1(offer=offer.id), tx.now))
        elif referral.state in {State.ACCEPTED, State.READY}:
            held = domain.paused(referral, ReasonFamily.CLOSED, tx.now)
            told = domain.escalated(held.referral, EscalationReason.ORGANISATION_SUSPENDED, tx.now)
            await record(tx, Decision(told.referral, (*held.events, *told.events)))
        elif referral.state is State.IN_PROGRESS:
            await record(tx, domain.escalated(referral, EscalationReason.ORGANISATION_SUSPENDED, tx.now))


async def _free(tx: Tx, offer: UUID) -> None:
    moved = await store.move_hold(tx, offer, "freed")
    if moved is not None:
        await places.free(tx, moved["place"], moved["places"], before=moved["before"])


def _legal(decide: Callable[[], Decision]) -> Decision:
    try:
        return decide()
    except IllegalTransition:
        raise Refusal("state") from None


def candidate(row: asyncpg.Record) -> q.Candidate:
    return q.Candidate(
        place=row["id"],
        organisation=facts(row),
        area=row["area"],
        service_types=tuple(ServiceType(code) for code in row["service_types"]),
        eligibility=q.Eligibility.model_validate_json(row["eligibility"]),
    )


def facts(row: asyncpg.Record) -> q.OrganisationFacts:
    """What the network vouches for about an organisation (columns organisation, type, country, law_enforcement, status)."""
    return q.OrganisationFacts(
        organisation=row["organisation"],
        type=OrganisationType(row["type"]),
        country=row["country"],
        law_enforcement=row["law_enforcement"],
        status=OrganisationStatus(row["status"]),
    )
