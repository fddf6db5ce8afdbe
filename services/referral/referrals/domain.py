"""What a referral and its offers are, and what they may become. Pure: nothing is read, no clock is asked.

The two tables below are the state machines (FHIR ServiceRequest and Task); a pair that is missing refuses a command and
makes an event a recorded no-op. The diagrams in the documents are drawn from them, and CHECKs refuse the same.
What is decided and said at each step is in `decisions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator

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
    VERIFY = "verify"
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
    (_S.MISSING, _A.PAUSE): _S.ON_HOLD,
    (_S.IN_PROGRESS, _A.VERIFY): _S.IN_PROGRESS,
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


# No step of the work takes longer than a year; a typing error must not make a referral sleep for ever.
Seconds = Annotated[int, Field(gt=0, le=366 * 86_400)]
_URGENCIES = frozenset({Urgency.IMMEDIATE, Urgency.EMERGENCY, Urgency.URGENT, Urgency.NORMAL})


class Windows(BaseModel):
    """How long each step may take, in seconds; per network, frozen when a referral is received.

    `service_s` is the field's meaning of each urgency (1 h, 24 h, 72 h, 14 d); answer windows are far shorter.
    A coordinator is told again after `remind_s`, then ever more rarely; `taken_s` is how long it is quiet once somebody
    has taken it. An arrival without a code may stay unverified for `verify_s`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer_s: dict[Urgency, Seconds] = Field(
        default={Urgency.IMMEDIATE: 600, Urgency.EMERGENCY: 3_600, Urgency.URGENT: 14_400, Urgency.NORMAL: 86_400}
    )
    service_s: dict[Urgency, Seconds] = Field(
        default={
            Urgency.IMMEDIATE: 3_600, Urgency.EMERGENCY: 86_400, Urgency.URGENT: 259_200, Urgency.NORMAL: 1_209_600,
        }
    )  # fmt: skip
    ready_s: Seconds = 600
    arrive_s: Seconds = 86_400
    verify_s: Seconds = 86_400
    outcome_s: Seconds = 30 * 86_400
    remind_s: Seconds = 3_600
    taken_s: Seconds = 86_400

    @field_validator("answer_s", "service_s")
    @classmethod
    def _every_urgency(cls, given: dict[Urgency, int]) -> dict[Urgency, int]:
        if given.keys() != _URGENCIES:
            msg = "one window for each urgency"
            raise ValueError(msg)
        return given


@dataclass(frozen=True, slots=True)
class Referral:
    """`step_at`: when the machine takes its next step; None where a person has to act. `remind_at`: when the coordinator
    is told (again). One of the two is set while the state is not final, so nothing waits unseen.

    `stopped`: the gate has changed since the network was last asked. `ending`: the sender or the person ended it after
    arrival. Offers sent before `asked_from` do not count as asked. `reminded`: how often the coordinator was told again.
    `arrival_checked_by`: who made sure of an arrival without the hand-over code. `closed_by`: the coordinator who ended a stay
    of whose house nothing was heard.
    """

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
    step_at: datetime | None
    asked_from: datetime
    stopped: bool = False
    ending: bool = False
    offer: UUID | None = None
    escalated: EscalationReason | None = None
    taken_by: str | None = None
    remind_at: datetime | None = None
    reminded: int = 0
    departed_at: datetime | None = None
    arrived_at: datetime | None = None
    arrival_verified: bool | None = None
    arrival_checked_by: str | None = None
    ended_at: datetime | None = None
    closed_by: str | None = None
    version: int = 1

    @property
    def wake_at(self) -> datetime | None:
        """When the clock looks at it next; None where it has ended."""
        return min((at for at in (self.step_at, self.remind_at) if at is not None), default=None)


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


def may_be_answered(offer: Offer, now: datetime) -> bool:
    """Is it open, and is there still time? Past `answer_by` it is over, whether or not the clock has been here."""
    return offer.state in OPEN and now <= offer.answer_by
