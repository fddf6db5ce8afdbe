"""The network after its database was restored from a backup: what each of its own events makes of the rows here.

The same decisions and statements as when it was said first, at the time of the event. Counters of places follow from
holds at the end. Whatever was touched is a coordinator's to look at; what does not fit the rows waits on hold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from schemas import events as e
from schemas.events import EventData
from schemas.registry import ORGANISATIONS, PLACES, PREFIX, REFERRALS
from schemas.vocabulary import EscalationReason, OrganisationStatus, ReasonFamily
from services.referral.approvals import handlers as approvals
from services.referral.partners import closing
from services.referral.partners import store as partners
from services.referral.partners.closing import Named
from services.referral.partners.store import Organisation
from services.referral.people import handlers as people
from services.referral.people.domain import OPERATOR
from services.referral.places import handlers as places
from services.referral.referrals import decisions, domain, handlers, store
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
from services.referral.sessions import store as sessions
from spean.consumer import Poison
from spean.db import Tx
from spean.event import Event
from spean.outbox import say
from spean.rejoin import Causes, Own, Take, Taken

D = TypeVar("D", bound=EventData)
CHECKED_BY = "restored"


@dataclass
class Restoring:
    """What one run has seen on the way. `counted`: what was said last of a place; `moved`: places that a transaction (by
    correlation and time) has counted; `systems`: all that may be closed, by their ids in events."""

    counted: dict[UUID, e.CapacityChangedV1] = field(default_factory=dict)
    moved: dict[tuple[UUID, datetime], list[UUID]] = field(default_factory=lambda: defaultdict(list))
    touched: set[UUID] = field(default_factory=set)
    founded: list[UUID] = field(default_factory=list)
    systems: Mapping[UUID, Named] | None = None

    # --- places and organisations ---------------------------------------------------------------------------------

    async def capacity(self, tx: Tx, event: Event, _: Causes) -> None:
        self.counted[event.subject] = _said(event, e.CapacityChangedV1)
        self.moved[event.correlationid, event.time].append(event.subject)

    async def registered(self, tx: Tx, event: Event, _: Causes) -> None:
        """Its name, its people and its systems are in no event: it is shut until somebody has entered them again."""
        said = _said(event, e.OrganisationRegisteredV1)
        made = Organisation(
            id=event.subject, name=f"Restored {event.subject}", type=said.type, country=said.country,
            law_enforcement=said.law_enforcement, status=OrganisationStatus.SUSPENDED, sample=said.sample, version=1,
        )  # fmt: skip
        await partners.insert_organisation(tx, made)
        await partners.set_status(tx, event.subject, OrganisationStatus.SUSPENDED)
        self.founded.append(event.subject)

    async def suspended(self, tx: Tx, event: Event, _: Causes) -> None:
        await partners.lock_organisation(tx, event.subject)
        await partners.set_status(tx, event.subject, OrganisationStatus.SUSPENDED)

    async def reinstated(self, tx: Tx, event: Event, _: Causes) -> None:
        if event.subject not in self.founded:
            await partners.lock_organisation(tx, event.subject)
            await partners.set_status(tx, event.subject, OrganisationStatus.ACTIVE)

    async def asked(self, tx: Tx, event: Event, _: Causes) -> None:
        """What waited for somebody's agreement is in no event: it opens nothing, and is asked for again."""

    async def closed(self, tx: Tx, event: Event, _: Causes) -> None:
        """Somebody of the staff, a system or a key. Whom this database does not know it opens nothing for."""
        self.systems = self.systems or await closing.named(tx)
        one = self.systems.get(event.subject)
        if one is None:
            await people.close_again(tx, event.subject)
        else:
            await closing.close_again(tx, OPERATOR.name, one)

    # --- referrals ------------------------------------------------------------------------------------------------

    async def received(self, tx: Tx, event: Event, causes: Causes) -> None:
        """Who asked, and through which holder, stands in the event that led to this one."""
        said = _said(event, e.ReferralReceivedV1)
        cause = causes.get(event.causationid) if event.causationid else None
        asked = None if cause is None else cause.newest().data()
        if cause is None or not isinstance(asked, e.HandoffRequestedV1):
            raise Poison("no-cause")
        await handlers.receive(tx, event.subject, cause.source.rpartition("/")[2], asked)
        referral = await _locked(tx, event)
        await store.save_referral(tx, replace(referral, coordinator=said.coordinator, deadline=said.deadline))

    async def offered(self, tx: Tx, event: Event, _: Causes) -> None:
        said, referral = _said(event, e.OfferSentV1), await _locked(tx, event)
        decision = decisions.offered(referral, said.offer, said.organisation, tx.now)
        offer = Offer(
            id=said.offer, referral=referral.id, organisation=said.organisation, coordinator=referral.coordinator,
            place=await _place_of(tx, referral, said.organisation), state=OfferState.SENT, reason=None, sent_at=tx.now,
            answer_by=said.answer_by, answered_at=None, version=1,
        )  # fmt: skip
        await store.insert_offer(tx, offer)
        await store.save_referral(tx, replace(decision.referral, step_at=said.answer_by))

    async def seen(self, tx: Tx, event: Event, _: Causes) -> None:
        offer = await store.lock_offer(tx, _said(event, e.OfferSeenV1).offer)
        await store.save_offer(tx, decisions.answered(offer, OfferAction.SEE, tx.now))

    async def accepted(self, tx: Tx, event: Event, _: Causes) -> None:
        referral = await _locked(tx, event)
        offer = await store.lock_offer(tx, _said(event, e.OfferAcceptedV1).offer)
        for place in self.moved[event.correlationid, event.time]:
            await tx.conn.execute("update offer set place = $2 where id = $1", offer.id, place)
            offer = replace(offer, place=place)
        await store.save_offer(tx, decisions.answered(offer, OfferAction.ACCEPT, tx.now))
        await store.insert_hold(tx, offer, referral.places)
        self.touched.add(offer.place)
        await _became(tx, decisions.accepted(referral, offer, tx.now))

    async def declined(self, tx: Tx, event: Event, _: Causes) -> None:
        said = _said(event, e.OfferDeclinedV1)
        await self._over(tx, event, said.offer, OfferAction.DECLINE, said.reason)

    async def expired(self, tx: Tx, event: Event, _: Causes) -> None:
        said = _said(event, e.OfferExpiredV1)
        await self._over(tx, event, said.offer, OfferAction.EXPIRE, ReasonFamily.NO_ANSWER)

    async def withdrawn(self, tx: Tx, event: Event, _: Causes) -> None:
        said = _said(event, e.OfferWithdrawnV1)
        await self._over(tx, event, said.offer, OfferAction.WITHDRAW, ReasonFamily.STOPPED)

    async def _over(self, tx: Tx, event: Event, offer_id: UUID, action: OfferAction, reason: ReasonFamily) -> None:
        """An offer is over. An open one: the next is asked; an accepted one: what follows it says what becomes of it."""
        referral, offer = await _locked(tx, event), await store.lock_offer(tx, offer_id)
        await store.save_offer(tx, decisions.answered(offer, action, tx.now, reason))
        await self._hold(tx, offer.id, "freed")
        if referral.state is State.OFFERED:
            await _became(tx, decisions.passed_on(referral, e.OfferWithdrawnV1(offer=offer.id), tx.now))

    async def unroutable(self, tx: Tx, event: Event, _: Causes) -> None:
        moved = decisions.moved(await _locked(tx, event), Action.EXHAUST, tx.now)
        await _became(tx, decisions.escalated(moved, EscalationReason.NO_CANDIDATE, tx.now))

    async def held(self, tx: Tx, event: Event, _: Causes) -> None:
        await _became(tx, decisions.paused(await _locked(tx, event), _said(event, e.ReferralHeldV2).reason, tx.now))

    async def reopened(self, tx: Tx, event: Event, _: Causes) -> None:
        await _became(tx, decisions.reopened(await _locked(tx, event), tx.now, anew=True))

    async def ready(self, tx: Tx, event: Event, _: Causes) -> None:
        said = _said(event, e.ReferralReadyV1)
        await _became(tx, decisions.released(await _locked(tx, event), said.offer, tx.now))

    async def departed(self, tx: Tx, event: Event, _: Causes) -> None:
        said = _said(event, e.ReferralDepartedV1)
        await _became(tx, decisions.departed(await _locked(tx, event), said.offer, tx.now))

    async def arrived(self, tx: Tx, event: Event, _: Causes) -> None:
        said, referral = _said(event, e.ReferralArrivedV1), await _locked(tx, event)
        await self._hold(tx, said.offer, "staying")
        await _became(tx, decisions.arrived(referral, said.offer, tx.now, verified=said.verified))

    async def verified(self, tx: Tx, event: Event, _: Causes) -> None:
        said = _said(event, e.ReferralVerifiedV1)
        by = None if said.by_code else CHECKED_BY
        await _became(tx, decisions.verified(await _locked(tx, event), said.offer, tx.now, by=by))

    async def missing(self, tx: Tx, event: Event, _: Causes) -> None:
        said = _said(event, e.ReferralMissingV1)
        await _became(tx, decisions.missed(await _locked(tx, event), said.offer, tx.now))

    async def completed(self, tx: Tx, event: Event, _: Causes) -> None:
        said, referral = _said(event, e.ReferralCompletedV1), await _locked(tx, event)
        await self._hold(tx, said.offer, "freed")
        await _became(tx, decisions.completed(referral, said.offer, tx.now))

    async def cancelled(self, tx: Tx, event: Event, _: Causes) -> None:
        said = _said(event, e.ReferralCancelledV1)
        await _became(tx, decisions.cancelled(await _locked(tx, event), said.reason, tx.now))

    async def escalated(self, tx: Tx, event: Event, _: Causes) -> None:
        said = _said(event, e.ReferralEscalatedV1)
        await _became(tx, decisions.escalated(await _locked(tx, event), said.reason, tx.now))

    async def reassigned(self, tx: Tx, event: Event, _: Causes) -> None:
        said = _said(event, e.ReferralReassignedV1)
        await store.reassign_offers(tx, event.subject, said.coordinator)
        referral = await _locked(tx, event)
        await store.save_referral(tx, replace(referral, coordinator=said.coordinator))

    async def _hold(self, tx: Tx, offer: UUID, state: str) -> None:
        moved = await store.move_hold(tx, offer, state)
        if moved is not None:
            self.touched.add(moved["place"])

    # --- what is said at the end ----------------------------------------------------------------------------------

    async def settle(self, tx: Tx, taken: Taken) -> None:
        """Sessions of before are over, and so is what waited for somebody's agreement: some of them were ended or refused in
        the time that is forgotten. Places are counted and said anew, and whatever was touched is a coordinator's."""
        await sessions.end_all(tx)
        await approvals.lapse_all(tx)
        await people.refuse_recoveries(tx)
        for organisation in self.founded:
            await say(tx, ORGANISATIONS, organisation, e.OrganisationSuspendedV1())
        for place in sorted(self.touched | self.counted.keys()):
            last = self.counted.get(place)
            if not await places.recount(tx, place, last) and last is not None:
                await say(tx, PLACES, place, last.model_copy(update={"usable": 0, "free": 0}))
        unclear = {event.subject for event in taken.unclear}
        for subject in sorted({event.subject for event in taken.events} | taken.discarded):
            referral = await store.lock_referral(tx, subject)
            if referral is not None and referral.state not in domain.FINAL:
                await _look_at(tx, referral, unclear=subject in unclear)


async def _look_at(tx: Tx, referral: Referral, *, unclear: bool) -> None:
    """A coordinator is told; the machine goes on where it knows how a referral stands, and nowhere else."""
    if unclear and referral.state is State.OFFERED and referral.offer is not None:
        offer = await store.lock_offer(tx, referral.offer)
        await store.save_offer(tx, decisions.answered(offer, OfferAction.WITHDRAW, tx.now, ReasonFamily.OTHER))
        referral = await _aloud(tx, decisions.passed_on(referral, e.OfferWithdrawnV1(offer=offer.id), tx.now))
    if unclear and (referral.state, Action.PAUSE) in domain.REFERRAL:
        referral = await _aloud(tx, decisions.paused(referral, ReasonFamily.OTHER, tx.now))
    await _aloud(tx, decisions.escalated(referral, referral.escalated or EscalationReason.RESTORED, tx.now))


async def _aloud(tx: Tx, decision: Decision) -> Referral:
    await handlers.record(tx, decision)
    return decision.referral


async def _became(tx: Tx, decision: Decision) -> None:
    await store.save_referral(tx, decision.referral)


async def _locked(tx: Tx, event: Event) -> Referral:
    """Raises Poison where the network does not know the referral any more."""
    referral = await store.lock_referral(tx, event.subject)
    if referral is None:
        raise Poison("unknown-referral")
    return referral


async def _place_of(tx: Tx, referral: Referral, organisation: UUID) -> UUID:
    """The event does not say which of a house's places was asked for; acceptance will. Raises Poison where it has none."""
    place: UUID | None = await tx.conn.fetchval(
        """
        select id from place where network = $1 and organisation = $2
        order by service_group = $3 desc, usable - outside - held - staying desc, id limit 1
        """,
        referral.network, organisation, referral.service_group,
    )  # fmt: skip
    if place is None:
        raise Poison("unknown-place")
    return place


def _said(event: Event, model: type[D]) -> D:
    data = event.data()
    assert isinstance(data, model)  # noqa: S101 (the registry gave this model for this type)
    return data


def _where_it_fits(take: Take) -> Take:
    async def tried(tx: Tx, event: Event, causes: Causes) -> None:
        try:
            await take(tx, event, causes)
        except IllegalTransition:
            raise Poison("transition") from None

    return tried


def own() -> Own:
    """For one run."""
    run = Restoring()
    takes: Mapping[str, Take] = {
        "capacity.changed.v1": run.capacity,
        "organisation.registered.v1": run.registered,
        "organisation.suspended.v1": run.suspended,
        "organisation.reinstated.v1": run.reinstated,
        "organisation.asked.v1": run.asked,
        "access.closed.v1": run.closed,
        "referral.received.v1": run.received,
        "offer.sent.v1": run.offered,
        "offer.seen.v1": run.seen,
        "offer.accepted.v1": run.accepted,
        "offer.declined.v1": run.declined,
        "offer.expired.v1": run.expired,
        "offer.withdrawn.v1": run.withdrawn,
        "referral.unroutable.v1": run.unroutable,
        "referral.held.v2": run.held,
        "referral.reopened.v1": run.reopened,
        "referral.ready.v1": run.ready,
        "referral.departed.v1": run.departed,
        "referral.arrived.v1": run.arrived,
        "referral.verified.v1": run.verified,
        "referral.missing.v1": run.missing,
        "referral.completed.v1": run.completed,
        "referral.cancelled.v1": run.cancelled,
        "referral.escalated.v1": run.escalated,
        "referral.reassigned.v1": run.reassigned,
    }
    return Own(
        topics=[topic.name for topic in (ORGANISATIONS, PLACES, REFERRALS)],
        take={PREFIX + name: _where_it_fits(take) for name, take in takes.items()},
        settle=run.settle,
        passes=True,
    )
