"""What a referral and its offers may become. Pure: `now` is an argument, events are returned, nothing is read.

The two tables below are the state machines (FHIR ServiceRequest and Task); a pair that is missing refuses a command and
makes an event a recorded no-op. The diagrams in the documents are drawn from them, and CHECKs refuse the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from schemas import events as e
from schemas.events import EventData
from schemas.vocabulary import EscalationReason, ReasonFamily, ServiceGroup, Urgency


class State(StrEnum):
    REQUESTED = "requested"
    OFFERED = "offered"
    ACCEPTED = "accepted"
    READY = "ready"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    UNROUTABLE = "unroutable"
    ON_HOLD = "on-hold"
    MISSING = "missing"
    CANCELLED = "cancelled"


class OfferState(StrEnum):
    SENT = "sent"
    SEEN = "seen"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Action(StrEnum):
    OFFER = "offer"
    ACCEPT = "accept"
    TRY_NEXT = "try_next"
    EXHAUST = "exhaust"
    RELEASE = "release"
    DEPART = "depart"
    ARRIVE = "arrive"
    MISS = "miss"
    COMPLETE = "complete"
    CANCEL = "cancel"
    PAUSE = "pause"
    REOPEN = "reopen"


_S, _A = State, Action
FINAL = frozenset({State.COMPLETED, State.CANCELLED})
REFERRAL: Mapping[tuple[State, Action], State] = {
    (_S.REQUESTED, _A.OFFER): _S.OFFERED,
    (_S.REQUESTED, _A.EXHAUST): _S.UNROUTABLE,
    (_S.REQUESTED, _A.PAUSE): _S.ON_HOLD,
    (_S.OFFERED, _A.ACCEPT): _S.ACCEPTED,
    (_S.OFFERED, _A.TRY_NEXT): _S.REQUESTED,
    (_S.ACCEPTED, _A.RELEASE): _S.READY,
    (_S.ACCEPTED, _A.ARRIVE): _S.IN_PROGRESS,
    (_S.ACCEPTED, _A.PAUSE): _S.ON_HOLD,
    (_S.READY, _A.DEPART): _S.READY,
    (_S.READY, _A.ARRIVE): _S.IN_PROGRESS,
    (_S.READY, _A.MISS): _S.MISSING,
    (_S.READY, _A.PAUSE): _S.ON_HOLD,
    (_S.MISSING, _A.ARRIVE): _S.IN_PROGRESS,
    (_S.MISSING, _A.COMPLETE): _S.COMPLETED,
    (_S.IN_PROGRESS, _A.COMPLETE): _S.COMPLETED,
    (_S.UNROUTABLE, _A.REOPEN): _S.REQUESTED,
    (_S.UNROUTABLE, _A.PAUSE): _S.ON_HOLD,
    (_S.ON_HOLD, _A.REOPEN): _S.REQUESTED,
    **{
        (state, _A.CANCEL): _S.CANCELLED
        for state in (_S.REQUESTED, _S.OFFERED, _S.ACCEPTED, _S.READY, _S.UNROUTABLE, _S.ON_HOLD, _S.MISSING)
    },
}


class OfferAction(StrEnum):
    SEE = "see"
    ACCEPT = "accept"
    DECLINE = "decline"
    EXPIRE = "expire"
    WITHDRAW = "withdraw"


_O, _P = OfferState, OfferAction
OPEN = frozenset({OfferState.SENT, OfferState.SEEN})
OFFER: Mapping[tuple[OfferState, OfferAction], OfferState] = {
    (_O.SENT, _P.SEE): _O.SEEN,
    **{(state, _P.ACCEPT): _O.ACCEPTED for state in OPEN},
    **{(state, _P.DECLINE): _O.REJECTED for state in OPEN},
    **{(state, _P.EXPIRE): _O.EXPIRED for state in OPEN},
    **{(state, _P.WITHDRAW): _O.WITHDRAWN for state in (_O.SENT, _O.SEEN, _O.ACCEPTED)},
}


class IllegalTransition(Exception):
    """The table has no such pair."""


class Windows(BaseModel):
    """How long each step may take, in seconds; per network, frozen when a referral is received.

    `service_s` is the field's meaning of each urgency (1 h, 24 h, 72 h, 14 d); answer windows are far shorter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer_s: dict[Urgency, PositiveInt] = Field(
        default={Urgency.IMMEDIATE: 600, Urgency.EMERGENCY: 3_600, Urgency.URGENT: 14_400, Urgency.NORMAL: 86_400}
    )
    service_s: dict[Urgency, PositiveInt] = Field(
        default={
            Urgency.IMMEDIATE: 3_600, Urgency.EMERGENCY: 86_400, Urgency.URGENT: 259_200, Urgency.NORMAL: 1_209_600,
        }
    )  # fmt: skip
    ready_s: PositiveInt = 600
    arrive_s: PositiveInt = 86_400
    outcome_s: PositiveInt = 30 * 86_400
    remind_s: PositiveInt = 3_600
    taken_s: PositiveInt = 86_400


@dataclass(frozen=True, slots=True)
class Referral:
    """`wake_at` is when the clock looks at it next: never None while the state is not final."""

    id: UUID
    network: UUID
    holder: str
    sender: UUID
    coordinator: UUID
    service_group: ServiceGroup
    urgency: Urgency
    area: str
    places: int
    need_by: datetime | None
    requested_at: datetime
    deadline: datetime
    windows: Windows
    state: State
    wake_at: datetime | None
    offer: UUID | None
    escalated: EscalationReason | None
    taken_by: str | None
    departed_at: datetime | None
    arrived_at: datetime | None
    arrival_verified: bool | None
    ended_at: datetime | None
    version: int


@dataclass(frozen=True, slots=True)
class Offer:
    id: UUID
    referral: UUID
    organisation: UUID
    coordinator: UUID
    place: UUID
    state: OfferState
    reason: ReasonFamily | None
    sent_at: datetime
    answer_by: datetime
    answered_at: datetime | None
    version: int


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
        requested_at=asked.requested_at, deadline=deadline, windows=windows, state=State.REQUESTED, wake_at=now,
        offer=None, escalated=None, taken_by=None, departed_at=None, arrived_at=None, arrival_verified=None,
        ended_at=None, version=1,
    )  # fmt: skip
    said = e.ReferralReceivedV1(
        network=asked.network, coordinator=coordinator, group=asked.group, urgency=asked.urgency, area=asked.area, places=asked.places,
        requested_at=asked.requested_at, deadline=deadline,
    )  # fmt: skip
    return Decision(referral, (said,))


def moved(referral: Referral, action: Action, now: datetime, *, wake_s: int | None = 0) -> Referral:
    """The referral after an action; it wakes `wake_s` seconds from now (ignored where it ends). Raises
    IllegalTransition."""
    state = REFERRAL.get((referral.state, action))
    if state is None:
        raise IllegalTransition
    if state in FINAL:
        return replace(referral, state=state, wake_at=None, ended_at=now, escalated=None)
    return replace(referral, state=state, wake_at=now + timedelta(seconds=wake_s or 0))


def answered(offer: Offer, action: OfferAction, now: datetime, reason: ReasonFamily | None = None) -> Offer:
    """The offer after an action. Raises IllegalTransition."""
    state = OFFER.get((offer.state, action))
    if state is None:
        raise IllegalTransition
    return replace(offer, state=state, reason=reason, answered_at=None if action is OfferAction.SEE else now)


def answer_by(referral: Referral, now: datetime) -> datetime:
    """By when an organisation asked now has to answer: the network's window, but never past `need_by` while that lies
    ahead."""
    limit = now + timedelta(seconds=referral.windows.answer_s[referral.urgency])
    if referral.need_by is not None and now < referral.need_by < limit:
        return referral.need_by
    return limit


def offered(referral: Referral, offer: UUID, organisation: UUID, now: datetime) -> Decision:
    until = answer_by(referral, now)
    after = replace(moved(referral, Action.OFFER, now), offer=offer, wake_at=until)
    return Decision(after, (e.OfferSentV1(offer=offer, organisation=organisation, answer_by=until),))


def accepted(referral: Referral, offer: Offer, now: datetime) -> Decision:
    after = moved(referral, Action.ACCEPT, now, wake_s=referral.windows.ready_s)
    return Decision(
        replace(after, escalated=None), (e.OfferAcceptedV1(offer=offer.id, organisation=offer.organisation),)
    )


def passed_on(referral: Referral, said: EventData, now: datetime) -> Decision:
    """The open offer ended without acceptance: the next is asked at once."""
    return Decision(replace(moved(referral, Action.TRY_NEXT, now), offer=None), (said,))


def escalated(referral: Referral, reason: EscalationReason, now: datetime) -> Decision:
    """A named coordinator owns it from now on; told again after `remind_s` as long as nobody has taken it."""
    wake = referral.wake_at
    remind = now + timedelta(seconds=referral.windows.remind_s)
    after = replace(
        referral, escalated=reason, taken_by=None, wake_at=min(wake, remind) if wake and wake > now else remind
    )
    return Decision(after, (e.ReferralEscalatedV1(coordinator=referral.coordinator, reason=reason),))


def exhausted(referral: Referral, now: datetime) -> Decision:
    """Nobody is left who may be asked."""
    told = escalated(moved(referral, Action.EXHAUST, now), EscalationReason.NO_CANDIDATE, now)
    return Decision(told.referral, (e.ReferralUnroutableV1(), *told.events))


def released(referral: Referral, offer: UUID, now: datetime) -> Decision:
    """The holder minted the hand-over code and released the packet: the person may set out."""
    after = moved(referral, Action.RELEASE, now, wake_s=referral.windows.arrive_s)
    assert after.wake_at is not None  # noqa: S101 (ready is not final)
    return Decision(replace(after, escalated=None), (e.ReferralReadyV1(offer=offer, arrive_by=after.wake_at),))


def taken(referral: Referral, by: str, now: datetime) -> Referral:
    """Somebody named has it: reminders stop for `taken_s`, unless its own next step is due before."""
    quiet = now + timedelta(seconds=referral.windows.taken_s)
    waits = referral.state in {State.UNROUTABLE, State.ON_HOLD, State.MISSING}
    return replace(referral, taken_by=by, wake_at=quiet if waits else referral.wake_at)


def departed(referral: Referral, offer: UUID, now: datetime) -> Decision:
    after = replace(moved(referral, Action.DEPART, now), departed_at=now, wake_at=referral.wake_at)
    return Decision(after, (e.ReferralDepartedV1(offer=offer),))


def arrived(referral: Referral, offer: UUID, now: datetime, *, verified: bool) -> Decision:
    after = moved(referral, Action.ARRIVE, now, wake_s=referral.windows.outcome_s)
    after = replace(after, arrived_at=now, arrival_verified=verified, escalated=None)
    return Decision(after, (e.ReferralArrivedV1(offer=offer, verified=verified),))


def missed(referral: Referral, offer: UUID, now: datetime) -> Decision:
    """Ready, and nobody arrived in the transit window. The place stays held."""
    told = escalated(moved(referral, Action.MISS, now), EscalationReason.NOT_ARRIVED, now)
    return Decision(told.referral, (e.ReferralMissingV1(offer=offer), *told.events))


def completed(referral: Referral, offer: UUID, now: datetime) -> Decision:
    return Decision(moved(referral, Action.COMPLETE, now), (e.ReferralCompletedV1(offer=offer),))


def cancelled(referral: Referral, reason: ReasonFamily, now: datetime) -> Decision:
    return Decision(replace(moved(referral, Action.CANCEL, now), offer=None), (e.ReferralCancelledV1(reason=reason),))


def paused(referral: Referral, reason: ReasonFamily, now: datetime) -> Decision:
    """Waits for the sender; a coordinator is told when that takes longer than a reminder."""
    after = moved(referral, Action.PAUSE, now, wake_s=referral.windows.remind_s)
    return Decision(after, (e.ReferralHeldV1(reason=reason),))


def reopened(referral: Referral, now: datetime) -> Decision:
    after = replace(moved(referral, Action.REOPEN, now), escalated=None, taken_by=None, offer=None)
    return Decision(after, (e.ReferralReopenedV1(),))
