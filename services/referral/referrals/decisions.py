"""What is decided about referrals and offers, and what is said about it. Pure: `now` is an argument, events are returned.

Every function raises IllegalTransition where the tables in `domain` have no such pair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from schemas import events as e
from schemas.events import EventData
from schemas.vocabulary import EscalationReason, ReasonFamily, WaitsFor
from services.referral.referrals.domain import (
    FINAL,
    OFFER,
    REFERRAL,
    Action,
    IllegalTransition,
    Offer,
    OfferAction,
    Referral,
    State,
    Windows,
)

# Each reminder waits twice as long as the one before, up to a day: what nobody takes must not fill inboxes and logs.
REMIND_MOST_S = 86_400
_DOUBLE_MOST = 16
# Why a coordinator has somebody who has arrived, and the house says nothing more.
_SILENT = frozenset({EscalationReason.NO_OUTCOME, EscalationReason.ORGANISATION_SUSPENDED, EscalationReason.RESTORED})


@dataclass(frozen=True, slots=True)
class Decision:
    """What a referral becomes, and what is said about it, in order."""

    referral: Referral
    events: tuple[EventData, ...]


def received(id_: UUID, holder: str, asked: e.HandoffRequestedV1, coordinator: UUID, windows: Windows,
             now: datetime) -> Decision:  # fmt: skip
    """A hand-off reaches the network. Its deadline counts from the sender's `requested_at`; `need_by` beats urgency."""
    latest = asked.requested_at + timedelta(seconds=windows.service_s[asked.urgency])
    deadline = min(latest, asked.need_by) if asked.need_by else latest
    referral = Referral(
        id=id_, network=asked.network, holder=holder, sender=asked.sender, coordinator=coordinator,
        service_group=asked.group, urgency=asked.urgency, area=asked.area, places=asked.places, need_by=asked.need_by,
        requested_at=asked.requested_at, deadline=deadline, windows=windows, state=State.REQUESTED, step_at=now,
        asked_from=now,
    )  # fmt: skip
    said = e.ReferralReceivedV1(
        network=asked.network, coordinator=coordinator, group=asked.group, urgency=asked.urgency, area=asked.area,
        places=asked.places, requested_at=asked.requested_at, deadline=deadline, holder=holder,
    )  # fmt: skip
    return Decision(referral, (said,))


def moved(referral: Referral, action: Action, now: datetime, *, step_s: int | None = None) -> Referral:
    """The referral after an action. The machine's next step is due in `step_s` seconds; None: a person has to act."""
    state = REFERRAL.get((referral.state, action))
    if state is None:
        raise IllegalTransition
    if state in FINAL:
        return replace(_quiet(referral), state=state, step_at=None, ended_at=now)
    step_at = None if step_s is None else now + timedelta(seconds=step_s)
    return replace(referral, state=state, step_at=step_at)


def answered(offer: Offer, action: OfferAction, now: datetime, reason: ReasonFamily | None = None) -> Offer:
    """The offer after an action; `reason` where it ends without a stay."""
    state = OFFER.get((offer.state, action))
    if state is None:
        raise IllegalTransition
    return replace(offer, state=state, reason=reason, answered_at=None if action is OfferAction.SEE else now)


def _quiet(referral: Referral) -> Referral:
    """Nobody has to look at it any more."""
    return replace(referral, escalated=None, taken_by=None, remind_at=None, reminded=0)


def _settled(referral: Referral, now: datetime, *, without_house: bool = False) -> Referral:
    """What it was escalated for is over. Past its deadline, and with nobody arrived, it stays the coordinator's; and so does
    what is theirs because its sender is shut out. `without_house`: it was the house, which has no part in it any more."""
    if referral.escalated is EscalationReason.ORGANISATION_SUSPENDED and not without_house:
        return referral
    if referral.escalated is not None and now >= referral.deadline:
        return replace(referral, escalated=EscalationReason.DEADLINE_PASSED)
    return _quiet(referral)


def answer_by(referral: Referral, now: datetime) -> datetime:
    """By when an organisation asked now has to answer: the network's window, but never past `need_by` while that lies
    ahead."""
    limit = now + timedelta(seconds=referral.windows.answer_s[referral.urgency])
    if referral.need_by is not None and now < referral.need_by < limit:
        return referral.need_by
    return limit


# --- asking ---------------------------------------------------------------------------------------------------------


def offered(referral: Referral, offer: UUID, organisation: UUID, now: datetime) -> Decision:
    until = answer_by(referral, now)
    after = replace(moved(referral, Action.OFFER, now), offer=offer, step_at=until)
    return Decision(after, (e.OfferSentV1(offer=offer, organisation=organisation, answer_by=until),))


def passed_on(referral: Referral, said: EventData, now: datetime) -> Decision:
    """The open offer ended without acceptance: the next is asked at once."""
    return Decision(replace(moved(referral, Action.TRY_NEXT, now, step_s=0), offer=None), (said,))


def stopped(referral: Referral) -> Referral:
    """The gate has changed: if it now refuses everybody, the sender owns the referral."""
    return replace(referral, stopped=True)


def stopped_wholly(referral: Referral, now: datetime) -> Decision:
    """The gate is shut to everybody, and nobody has an offer. What nobody could take is the sender's from now on: whoever
    the coordinator asks would be refused."""
    if referral.state is State.UNROUTABLE:
        return paused(stopped(referral), ReasonFamily.STOPPED, now)
    return Decision(stopped(referral), ())


def exhausted(referral: Referral, now: datetime, *, refused: bool) -> Decision:
    """Nobody is left who may be asked. Where that is because the gate changed (`refused`: it says no to somebody who has
    room), the sender owns it, for only the person can open it again; else a coordinator does."""
    if referral.stopped and refused:
        return paused(referral, ReasonFamily.STOPPED, now)
    told = escalated(moved(referral, Action.EXHAUST, now), EscalationReason.NO_CANDIDATE, now)
    return Decision(told.referral, (e.ReferralUnroutableV1(), *told.events))


def reopened(referral: Referral, now: datetime, *, anew: bool) -> Decision:
    """The network is asked once more. `anew`: also those who declined or did not answer before."""
    after = moved(referral, Action.REOPEN, now, step_s=0)
    after = _settled(after, now, without_house=referral.offer is not None)
    asked_from = now if anew else referral.asked_from
    return Decision(replace(after, offer=None, stopped=False, asked_from=asked_from), (e.ReferralReopenedV1(),))


# --- from acceptance to the outcome ---------------------------------------------------------------------------------


def accepted(referral: Referral, offer: Offer, now: datetime) -> Decision:
    after = _settled(moved(referral, Action.ACCEPT, now, step_s=referral.windows.ready_s), now)
    return Decision(after, (e.OfferAcceptedV1(offer=offer.id, organisation=offer.organisation),))


def released(referral: Referral, offer: UUID, now: datetime) -> Decision:
    """The holder minted the hand-over code and released the packet: the person may set out."""
    after = _settled(moved(referral, Action.RELEASE, now, step_s=referral.windows.arrive_s), now)
    arrive_by = now + timedelta(seconds=referral.windows.arrive_s)
    return Decision(after, (e.ReferralReadyV1(offer=offer, arrive_by=arrive_by),))


def departed(referral: Referral, offer: UUID, now: datetime) -> Decision:
    after = replace(moved(referral, Action.DEPART, now), departed_at=now, step_at=referral.step_at)
    return Decision(after, (e.ReferralDepartedV1(offer=offer),))


def arrived(referral: Referral, offer: UUID, now: datetime, *, verified: bool) -> Decision:
    """They are there. An unverified arrival is looked at again after `verify_s`, and in any case the outcome is awaited."""
    windows = referral.windows
    step_s = windows.outcome_s if verified else min(windows.verify_s, windows.outcome_s)
    after = _quiet(moved(referral, Action.ARRIVE, now, step_s=step_s))
    after = replace(after, arrived_at=now, arrival_verified=verified)
    return Decision(after, (e.ReferralArrivedV1(offer=offer, verified=verified),))


def verified(referral: Referral, offer: UUID, now: datetime, *, by: str | None) -> Decision:
    """An unverified arrival was checked: with the hand-over code (`by` None), or by somebody in another way."""
    if referral.arrival_verified is not False:
        raise IllegalTransition
    after = replace(moved(referral, Action.VERIFY, now), arrival_verified=True, arrival_checked_by=by)
    settled = after.escalated is EscalationReason.ARRIVAL_UNVERIFIED
    if settled or referral.step_at is not None:
        after = replace(after, step_at=_outcome_at(referral))
    after = _quiet(after) if settled else after
    return Decision(after, (e.ReferralVerifiedV1(offer=offer, by_code=by is None),))


def left_open(referral: Referral, now: datetime) -> Decision:
    """Somebody has arrived, and what was awaited since has not come: the check of an unverified arrival, later the outcome.
    Whoever has it for another reason sees that it is unverified."""
    if referral.arrival_verified or now >= _outcome_at(referral):
        return overdue_step(referral, EscalationReason.NO_OUTCOME, now)
    waits = replace(referral, step_at=_outcome_at(referral))
    if referral.escalated is not None:
        return Decision(waits, ())
    return escalated(waits, EscalationReason.ARRIVAL_UNVERIFIED, now)


def _outcome_at(referral: Referral) -> datetime:
    """By when the outcome is awaited of somebody who has arrived."""
    assert referral.arrived_at is not None  # noqa: S101 (CHECK stays_after_arrival)
    return referral.arrived_at + timedelta(seconds=referral.windows.outcome_s)


def missed(referral: Referral, offer: UUID, now: datetime) -> Decision:
    """Ready, and nobody arrived in the transit window. The place stays held."""
    told = escalated(moved(referral, Action.MISS, now), EscalationReason.NOT_ARRIVED, now)
    return Decision(told.referral, (e.ReferralMissingV1(offer=offer), *told.events))


def completed(referral: Referral, offer: UUID, now: datetime) -> Decision:
    return Decision(moved(referral, Action.COMPLETE, now), (e.ReferralCompletedV1(offer=offer),))


def may_close(referral: Referral) -> bool:
    """Is it a stay whose house is silent: no outcome in its time, or shut out, or it is to end and a coordinator has it?"""
    return referral.state is State.IN_PROGRESS and (
        referral.escalated in _SILENT or (referral.ending and referral.escalated is not None)
    )


def closed(referral: Referral, offer: UUID, by: str, now: datetime) -> Decision:
    """A coordinator ends a stay whose house is silent: nobody knows how it ended."""
    if not may_close(referral):
        raise IllegalTransition
    done = completed(referral, offer, now)
    return replace(done, referral=replace(done.referral, closed_by=by))


def cancelled(referral: Referral, reason: ReasonFamily, now: datetime) -> Decision:
    return Decision(replace(moved(referral, Action.CANCEL, now), offer=None), (e.ReferralCancelledV1(reason=reason),))


# --- who has to look ------------------------------------------------------------------------------------------------


def escalated(referral: Referral, reason: EscalationReason, now: datetime) -> Decision:
    """A named coordinator owns it from now on. A step that the machine has before it stays where it is."""
    remind_at = now + timedelta(seconds=referral.windows.remind_s)
    after = replace(referral, escalated=reason, taken_by=None, remind_at=remind_at, reminded=0)
    return Decision(after, (e.ReferralEscalatedV1(coordinator=referral.coordinator, reason=reason),))


def reassigned(referral: Referral, coordinator: UUID, now: datetime) -> Decision:
    """Another coordinator owns it from now on, and is told of what needs a person."""
    after, said = replace(referral, coordinator=coordinator), e.ReferralReassignedV1(coordinator=coordinator)
    if after.escalated is None:
        return Decision(after, (said,))
    told = escalated(after, after.escalated, now)
    return Decision(told.referral, (said, *told.events))


def overdue_step(referral: Referral, reason: EscalationReason, now: datetime) -> Decision:
    """A step that others had to take was not taken in time: the machine has no further step, a coordinator looks."""
    return escalated(replace(referral, step_at=None), reason, now)


def reminded(referral: Referral, now: datetime) -> Decision:
    """Nobody has taken it, or nothing came of it: the coordinator is told again. What the sender owned and left is told
    for the first time."""
    unowned = EscalationReason.SHARING_STOPPED if referral.stopped else EscalationReason.NO_CANDIDATE
    reason, count = referral.escalated or unowned, referral.reminded + 1
    first_s = referral.windows.remind_s
    wait_s = min(first_s * 2 ** min(count, _DOUBLE_MOST), max(first_s, REMIND_MOST_S))
    after = replace(
        referral, escalated=reason, taken_by=None, remind_at=now + timedelta(seconds=wait_s), reminded=count
    )
    return Decision(after, (e.ReferralEscalatedV1(coordinator=referral.coordinator, reason=reason),))


def taken(referral: Referral, by: str, now: datetime) -> Referral:
    """Somebody named has it: no reminder for `taken_s`."""
    return replace(referral, taken_by=by, remind_at=now + timedelta(seconds=referral.windows.taken_s), reminded=0)


def paused(referral: Referral, reason: ReasonFamily, now: datetime, waits_for: WaitsFor = WaitsFor.SENDER) -> Decision:
    """Waits for the sender; a coordinator is told when nothing has come of it after a reminder's time. `waits_for`: for
    the coordinator at once, who is told by whoever decides that."""
    after = _settled(moved(referral, Action.PAUSE, now), now)
    if after.remind_at is None:
        after = replace(after, remind_at=now + timedelta(seconds=referral.windows.remind_s))
    return Decision(after, (e.ReferralHeldV2(reason=reason, waits_for=waits_for),))


def handed_back(referral: Referral, now: datetime) -> Decision:
    """The coordinator gives it back to the sender. Not while a house has it, nor to a sender who is shut out."""
    if referral.offer is not None or referral.escalated is EscalationReason.ORGANISATION_SUSPENDED:
        raise IllegalTransition
    return paused(referral, ReasonFamily.OTHER, now)


def receiver_suspended(referral: Referral, now: datetime) -> Decision:
    """The house that has accepted is shut out. Nobody is moved by the machine: a coordinator decides."""
    if (referral.state, Action.PAUSE) not in REFERRAL:
        return escalated(referral, EscalationReason.ORGANISATION_SUSPENDED, now)
    held = paused(referral, ReasonFamily.CLOSED, now, WaitsFor.COORDINATOR)
    told = escalated(held.referral, EscalationReason.ORGANISATION_SUSPENDED, now)
    return Decision(told.referral, (*held.events, *told.events))
