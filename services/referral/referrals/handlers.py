"""What happens to referrals and offers. Every handler: (transaction) lock, decide, save, say.

Lock order: referral, offer, place. What needs the holder's answer asks before the transaction opens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID

from schemas import events as e
from schemas import questions as q
from schemas.registry import REFERRALS
from schemas.vocabulary import (
    FAMILY_OF,
    DeclineReason,
    EscalationReason,
    ReasonFamily,
)
from services.referral.partners import store as partners
from services.referral.places import handlers as places
from services.referral.referrals import decisions, domain, store
from services.referral.referrals.decisions import Decision
from services.referral.referrals.domain import (
    Action,
    IllegalTransition,
    Offer,
    OfferAction,
    OfferState,
    Referral,
    State,
)
from spean.ask import HolderSilent
from spean.clock import clear_due, set_due
from spean.db import Database, Tx
from spean.ids import opaque_id
from spean.outbox import say
from spean.problem import Refusal

AskNext = Callable[[str, q.NextCandidateQuestion], Awaitable[q.NextCandidateAnswer]]

# Nearest first, twenty questions at most: beyond that a person should decide where to look.
CANDIDATES_MOST = 1_000
# All questions of one look together: less than the clock's claim, so that no second clock starts the same look.
ASK_MOST_S = 10.0


async def record(tx: Tx, decision: Decision) -> None:
    """Save what a referral became and say it."""
    await store.save_referral(tx, decision.referral)
    await tell(tx, decision)


async def tell(tx: Tx, decision: Decision) -> None:
    for event in decision.events:
        await say(tx, REFERRALS, decision.referral.id, event)


# --- the sender's side, as events of the holder -------------------------------------------------------------------


async def receive(tx: Tx, id_: UUID, holder: str, asked: e.HandoffRequestedV1) -> None:
    """A hand-off was requested. Raises Refusal `unknown-network` where the sender is no member of it, `not-found` where
    the id is another holder's."""
    network = await store.network_of(tx, asked.network, asked.sender)
    if network is None:
        raise Refusal("unknown-network")
    decision = decisions.received(id_, holder, asked, *network, tx.now)
    if not await store.insert_referral(tx, decision.referral):
        await lock_of(tx, id_, holder)
        return
    await tell(tx, decision)
    # Looked at after the row is there: a suspension that runs at the same time sees the row, or is seen here.
    if await partners.is_suspended(tx.conn, asked.sender):
        await record(tx, decisions.escalated(decision.referral, EscalationReason.ORGANISATION_SUSPENDED, tx.now))


async def lock_of(tx: Tx, id_: UUID, holder: str) -> Referral | None:
    """Lock a referral that a holder speaks about; None where the network does not know it. Raises Refusal `not-found`
    where it is another holder's: nobody speaks for somebody else's people."""
    referral = await store.lock_referral(tx, id_)
    if referral is not None and referral.holder != holder:
        raise Refusal("not-found")
    return referral


async def cancel(tx: Tx, id_: UUID, holder: str, reason: ReasonFamily) -> None:
    """The sender or the person ended it. After arrival nothing is freed: the house speaks with the person. Raises
    Refusal `not-found`."""
    referral = await lock_of(tx, id_, holder)
    if referral is None:
        return
    if (referral.state, Action.CANCEL) not in domain.REFERRAL:
        if referral.state is State.IN_PROGRESS:
            await store.save_referral(tx, replace(referral, ending=True))
        return
    await withdraw(tx, referral, ReasonFamily.STOPPED)
    await record(tx, decisions.cancelled(referral, reason, tx.now))


async def reopen(tx: Tx, id_: UUID, holder: str) -> None:
    """The sender asks anew for what waits for them. Nothing where it waits for a coordinator: whoever has accepted was shut
    out, or it is not on hold at all. Raises Refusal `not-found`."""
    referral = await lock_of(tx, id_, holder)
    if referral is None or referral.state is not State.ON_HOLD or referral.offer is not None:
        return
    await record(tx, decisions.reopened(referral, tx.now, anew=True))


async def withdraw(tx: Tx, referral: Referral, reason: ReasonFamily) -> None:
    """Take a locked referral's offer back, if it has one, and free what was held for it."""
    if referral.offer is None:
        return
    offer = await store.lock_offer(tx, referral.offer)
    await store.save_offer(tx, decisions.answered(offer, OfferAction.WITHDRAW, tx.now, reason))
    await say(tx, REFERRALS, referral.id, e.OfferWithdrawnV1(offer=offer.id))
    await _free(tx, offer.id)


async def stop_disclosure(tx: Tx, id_: UUID, holder: str, about: UUID | None = None) -> None:
    """The gate changed. The open offer is withdrawn and the next is asked, unless the stop is `about` another one: whoever
    was asked since was asked by the new gate. What nobody could take is the sender's where nobody may be asked any more. An
    accepted place stays as it is. Raises Refusal `not-found`."""
    referral = await lock_of(tx, id_, holder)
    if referral is None or referral.state not in _STOPPABLE:
        return
    if referral.state is not State.OFFERED or referral.offer is None or about not in {None, referral.offer}:
        # Whoever is being chosen now was chosen by the old gate: the version moves on, so the choice is made again.
        wholly = about is None
        told = decisions.stopped_wholly(referral, tx.now) if wholly else Decision(decisions.stopped(referral), ())
        await record(tx, told)
    else:
        offer = await store.lock_offer(tx, referral.offer)
        await store.save_offer(tx, decisions.answered(offer, OfferAction.WITHDRAW, tx.now, ReasonFamily.STOPPED))
        said = e.OfferWithdrawnV1(offer=offer.id)
        await record(tx, decisions.passed_on(decisions.stopped(referral), said, tx.now))


# From these somebody may be asked next, or is asked now.
_STOPPABLE = frozenset({State.REQUESTED, State.OFFERED, State.UNROUTABLE, State.ON_HOLD})


async def release(tx: Tx, id_: UUID, holder: str, offer: UUID) -> None:
    """The packet was released for the accepted offer: ready. Raises Refusal `not-found`."""
    referral = await lock_of(tx, id_, holder)
    if referral is None or referral.offer != offer or (referral.state, Action.RELEASE) not in domain.REFERRAL:
        return
    await record(tx, decisions.released(referral, offer, tx.now))


async def lose_packet(tx: Tx, id_: UUID, holder: str, offer: UUID) -> None:
    """The holder has no packet (any more) for an offer that was ready: the house has the place kept and cannot read who
    comes, so a coordinator looks. Raises Refusal `not-found`."""
    referral = await lock_of(tx, id_, holder)
    if referral is None or referral.offer != offer or referral.state is not State.READY:
        return
    if referral.escalated is None:
        await record(tx, decisions.escalated(referral, EscalationReason.RESTORED, tx.now))


# --- the clock ----------------------------------------------------------------------------------------------------


async def wake(db: Database, ask: AskNext, id_: UUID) -> None:
    """A referral is due: tell the coordinator again, and take the step that its state asks for."""
    async with db.transaction("referral.wake") as tx:
        referral = await store.lock_referral(tx, id_)
        if referral is None or referral.wake_at is None:
            await clear_due(tx, store.WAKE, id_)
            return
        if referral.remind_at is not None and referral.remind_at <= tx.now:
            told = decisions.reminded(referral, tx.now)
            await record(tx, told)
            referral = told.referral
        if referral.step_at is None or referral.step_at > tx.now:
            return
        if referral.state is not State.REQUESTED:
            await STEP[referral.state](tx, referral)
            return
    await ask_next(db, ask, id_)


async def ask_next(db: Database, ask: AskNext, id_: UUID) -> None:
    """Ask the holder who may be asked next, then offer it there. The question is asked outside any transaction. Raises
    HolderSilent."""
    async with db.transaction("referral.candidates") as tx:
        referral = await store.find_referral(tx, id_)
        rows = await store.candidates(tx, referral, CANDIDATES_MOST)
    offer = opaque_id()
    chosen = await _choose(ask, referral, rows, offer)
    async with db.transaction("referral.offer") as tx:
        locked = await store.lock_referral(tx, id_)
        if locked is None or locked.version != referral.version or locked.state is not State.REQUESTED:
            return
        if chosen is None:
            await record(tx, decisions.exhausted(locked, tx.now, refused=bool(rows)))
        elif await store.candidate_place(tx, locked, chosen.place) is None:
            await set_due(tx, store.WAKE, id_, tx.now)  # suspended or full by now: look again
        else:
            await offer_to(tx, locked, chosen, offer)


async def _choose(ask: AskNext, referral: Referral, candidates: list[q.Candidate], offer: UUID) -> q.Candidate | None:
    """The first candidate that the holder allows, asked in batches, each for the same offer. Raises HolderSilent."""
    try:
        async with asyncio.timeout(ASK_MOST_S):
            for start in range(0, len(candidates), q.MAX_BATCH):
                batch = tuple(candidates[start : start + q.MAX_BATCH])
                question = q.NextCandidateQuestion(referral=referral.id, candidates=batch, offer=offer)
                chosen = (await ask(referral.holder, question)).place
                if chosen is None:
                    continue
                for candidate in batch:
                    if candidate.place == chosen:
                        return candidate
                raise HolderSilent  # an answer to another question is no answer
    except TimeoutError:
        raise HolderSilent from None
    return None


async def offer_to(tx: Tx, referral: Referral, to: q.Candidate, id_: UUID) -> None:
    """Put a locked referral to one organisation. `id_`: the offer's, for which the holder has said yes."""
    organisation = to.organisation.organisation
    decision = decisions.offered(referral, id_, organisation, tx.now)
    assert decision.referral.step_at is not None  # noqa: S101 (whoever is offered it has a time to answer)
    offer = Offer(
        id=id_, referral=referral.id, organisation=organisation, coordinator=referral.coordinator, place=to.place,
        state=OfferState.SENT, reason=None, sent_at=tx.now, answer_by=decision.referral.step_at, answered_at=None, version=1,
    )  # fmt: skip
    await store.insert_offer(tx, offer)
    await record(tx, decision)


async def _expire(tx: Tx, referral: Referral) -> None:
    assert referral.offer is not None  # noqa: S101 (CHECK offer_where_there_must_be_one)
    offer = await store.lock_offer(tx, referral.offer)
    await store.save_offer(tx, decisions.answered(offer, OfferAction.EXPIRE, tx.now, ReasonFamily.NO_ANSWER))
    await record(tx, decisions.passed_on(referral, e.OfferExpiredV1(offer=offer.id), tx.now))


async def _not_ready(tx: Tx, referral: Referral) -> None:
    await record(tx, decisions.overdue_step(referral, EscalationReason.NOT_READY, tx.now))


async def _miss(tx: Tx, referral: Referral) -> None:
    assert referral.offer is not None  # noqa: S101 (CHECK offer_where_there_must_be_one)
    await record(tx, decisions.missed(referral, referral.offer, tx.now))


async def _left_open(tx: Tx, referral: Referral) -> None:
    await record(tx, decisions.left_open(referral, tx.now))


# The step that is due in each state in which the machine has one; a requested referral's is `ask_next`.
STEP: dict[State, Callable[[Tx, Referral], Awaitable[None]]] = {
    State.OFFERED: _expire,
    State.ACCEPTED: _not_ready,
    State.READY: _miss,
    State.IN_PROGRESS: _left_open,
}


async def pass_deadline(db: Database, id_: UUID) -> None:
    """The time for service has come: where nobody has arrived, a coordinator is told. Asks nobody."""
    async with db.transaction("referral.deadline") as tx:
        referral = await store.lock_referral(tx, id_)
        await clear_due(tx, store.DEADLINE, id_)
        if referral is None or referral.state in {*domain.FINAL, State.IN_PROGRESS} or referral.escalated is not None:
            return
        await record(tx, decisions.escalated(referral, EscalationReason.DEADLINE_PASSED, tx.now))


# --- the receiver's side, as commands -----------------------------------------------------------------------------


async def see(tx: Tx, ids: set[UUID]) -> dict[UUID, Offer]:
    """The organisation has these offers on its screen. Returns those that changed, as they are now."""
    found = [await store.find_offer(tx, id_) for id_ in ids]
    changed: dict[UUID, Offer] = {}
    for known in sorted(found, key=lambda offer: offer.referral):
        await store.lock_referral(tx, known.referral)
        offer = await store.lock_offer(tx, known.id)
        if (offer.state, OfferAction.SEE) in domain.OFFER:
            seen = decisions.answered(offer, OfferAction.SEE, tx.now)
            await store.save_offer(tx, seen)
            await say(tx, REFERRALS, offer.referral, e.OfferSeenV1(offer=offer.id))
            changed[offer.id] = replace(seen, version=seen.version + 1)
    return changed


async def lock_open(tx: Tx, id_: UUID, organisation: UUID) -> tuple[Referral, Offer]:
    """Lock an offer that this organisation may still answer, and its referral. Raises Refusal `not-found`,
    `no-longer-available` (the same words whatever ended it)."""
    offer = await store.find_offer(tx, id_)
    if offer.organisation != organisation:
        raise Refusal("not-found")
    referral = await store.lock_referral(tx, offer.referral)
    offer = await store.lock_offer(tx, id_)
    if referral is None or referral.offer != id_ or not domain.may_be_answered(offer, tx.now):
        raise Refusal("no-longer-available")
    return referral, offer


async def accept(tx: Tx, referral: Referral, offer: Offer) -> None:
    """Accept a locked open offer and take its places, in one transaction. Raises Refusal `place-gone`."""
    await store.save_offer(tx, decisions.answered(offer, OfferAction.ACCEPT, tx.now))
    await places.hold(tx, offer.place, referral.places)
    await store.insert_hold(tx, offer, referral.places)
    await record(tx, decisions.accepted(referral, offer, tx.now))


async def decline(tx: Tx, referral: Referral, offer: Offer, reason: DeclineReason) -> None:
    """Decline a locked open offer; the network keeps the reason's family only."""
    family = FAMILY_OF[reason]
    await store.save_offer(tx, decisions.answered(offer, OfferAction.DECLINE, tx.now, family))
    await record(tx, decisions.passed_on(referral, e.OfferDeclinedV1(offer=offer.id, reason=family), tx.now))


async def lock_accepted(tx: Tx, id_: UUID, organisation: UUID) -> tuple[Referral, Offer]:
    """Lock an offer that this organisation has accepted, and its referral. Raises Refusal `not-found`, `state`."""
    offer = await store.find_offer(tx, id_)
    if offer.organisation != organisation:
        raise Refusal("not-found")
    referral = await store.lock_referral(tx, offer.referral)
    offer = await store.lock_offer(tx, id_)
    if referral is None or offer.state is not OfferState.ACCEPTED or referral.offer != id_:
        raise Refusal("state")
    return referral, offer


async def arrive(tx: Tx, referral: Referral, offer: Offer, *, verified: bool) -> None:
    """The person is there; the promised places are taken. Raises Refusal `state`."""
    decision = legal(lambda: decisions.arrived(referral, offer.id, tx.now, verified=verified))
    moved = await store.move_hold(tx, offer.id, "staying")
    if moved is not None:
        await places.occupy(tx, moved["place"], moved["places"])
    await record(tx, decision)


async def verify(tx: Tx, referral: Referral, offer: UUID, *, by: str | None = None) -> None:
    """An unverified arrival at a locked referral was checked: the hand-over code was right, or `by` somebody in another
    way. Raises Refusal `state`."""
    await record(tx, legal(lambda: decisions.verified(referral, offer, tx.now, by=by)))


async def lock_sent(tx: Tx, id_: UUID, sender: UUID) -> Referral:
    """Lock a referral that this organisation has sent. Raises Refusal `not-found`."""
    referral = await store.lock_referral(tx, id_)
    if referral is None or referral.sender != sender:
        raise Refusal("not-found")
    return referral


async def depart(tx: Tx, referral: Referral) -> Referral:
    """The sender says that the person has set out. Raises Refusal `state`."""
    offer = referral.offer
    if offer is None:
        raise Refusal("state")
    decision = legal(lambda: decisions.departed(referral, offer, tx.now))
    await record(tx, decision)
    return decision.referral


async def complete(tx: Tx, referral: Referral, offer: Offer) -> None:
    """An outcome was recorded at the holder; the places are free again. Raises Refusal `state`."""
    decision = legal(lambda: decisions.completed(referral, offer.id, tx.now))
    await _free(tx, offer.id)
    await record(tx, decision)


async def close(tx: Tx, referral: Referral, by: str) -> None:
    """A coordinator ends a locked referral of somebody whose house is silent. Nobody knows whether their places are free: they
    count as taken until the house counts anew. Raises Refusal `state`."""
    offer = referral.offer
    if offer is None:
        raise Refusal("state")
    decision = legal(lambda: decisions.closed(referral, offer, by, tx.now))
    moved = await store.move_hold(tx, offer, "freed")
    if moved is not None:
        await places.leave_taken(tx, moved["place"], moved["places"])
    await record(tx, decision)


async def _free(tx: Tx, offer: UUID) -> None:
    moved = await store.move_hold(tx, offer, "freed")
    if moved is not None:
        await places.free(tx, moved["place"], moved["places"], before=moved["before"])


def legal(decide: Callable[[], Decision]) -> Decision:
    """What was decided. Raises Refusal `state` where the tables have no such pair."""
    try:
        return decide()
    except IllegalTransition:
        raise Refusal("state") from None
