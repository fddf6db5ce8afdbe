"""What *referral* asks a holder, and what the holder answers. Synchronous, signed, at most 60 seconds old.

These models evolve by the rules of the events: a field may be added with a default, none may be renamed or removed
within a version. Answers say what may be read now; nothing in them may be stored by the asker except who was asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NonNegativeInt, StringConstraints

from schemas.vocabulary import (
    AgeBand,
    Area,
    Country,
    DeclineReason,
    Language,
    Need,
    OrganisationStatus,
    OrganisationType,
    Outcome,
    Served,
    ServiceGroup,
    ServiceType,
    Sex,
    Urgency,
)

# Candidates per question and offers per page; the asker filters before it asks.
MAX_BATCH = 50
# Completed years at which a person decides alone (CRC article 1; a country's law may set an earlier age as dated data).
ADULT_YEARS = 18


JwkMember = Annotated[str, StringConstraints(max_length=2_000)]


class Question(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OrganisationFacts(Question):
    """What the network vouches for about the asking organisation. `serves`: whom any of its places takes in; None where
    that is not known."""

    organisation: UUID
    type: OrganisationType
    country: Country
    law_enforcement: bool
    status: OrganisationStatus
    serves: tuple[Served, ...] | None = None


class Eligibility(Question):
    """Whom a place serves. Ages in completed years, both inclusive; an empty list of sexes serves everybody."""

    sexes: tuple[Sex, ...] = ()
    min_age: NonNegativeInt = 0
    max_age: NonNegativeInt = 150
    needs: tuple[Need, ...] = ()


def served_by(places: Iterable[Eligibility]) -> tuple[Served, ...]:
    """Whom any of these places takes in."""
    groups = (
        (Served.GIRLS, Sex.FEMALE, True), (Served.BOYS, Sex.MALE, True),
        (Served.WOMEN, Sex.FEMALE, False), (Served.MEN, Sex.MALE, False),
    )  # fmt: skip
    rules = list(places)
    return tuple(
        group for group, sex, minor in groups
        if any(
            (not one.sexes or sex in one.sexes) and (one.min_age < ADULT_YEARS if minor else one.max_age >= ADULT_YEARS)
            for one in rules
        )
    )  # fmt: skip


class Candidate(Question):
    """One place that could be asked; candidates come in the order of preference."""

    place: UUID
    organisation: OrganisationFacts
    area: Area
    service_types: tuple[ServiceType, ...]
    eligibility: Eligibility


class NextCandidateQuestion(Question):
    """`offer`: the id that the offer to whoever is chosen will have, so that a stop can name it before it was sent."""

    referral: UUID
    candidates: Annotated[tuple[Candidate, ...], Field(max_length=MAX_BATCH)]
    offer: UUID | None = None


class NextCandidateAnswer(Answer):
    """The first candidate that may be asked, or none. Why the others may not is told to nobody outside the holder."""

    place: UUID | None


class OfferReference(Question):
    offer: UUID
    referral: UUID


class ReadableOffersQuestion(Question):
    organisation: OrganisationFacts
    offers: Annotated[tuple[OfferReference, ...], Field(max_length=MAX_BATCH)]


class MemberContent(Answer):
    """One person of the party, in coarse bands only; a field is absent where the gate refuses it."""

    age_band: AgeBand | None = None
    sex: Sex | None = None
    needs: tuple[Need, ...] | None = None
    languages: tuple[Language, ...] | None = None


class OfferContent(Answer):
    """`readable` false: not available to this organisation now; then nothing else is said."""

    offer: UUID
    readable: bool
    service_type: ServiceType | None = None
    urgency: Urgency | None = None
    area: Area | None = None
    need_by: AwareDatetime | None = None
    members: tuple[MemberContent, ...] = ()


class ReadableOffersAnswer(Answer):
    offers: tuple[OfferContent, ...]


class MayAcceptQuestion(Question):
    organisation: OrganisationFacts
    offer: UUID
    referral: UUID
    place: UUID
    eligibility: Eligibility


class MayAcceptAnswer(Answer):
    allowed: bool


class HandOverCodeQuestion(Question):
    organisation: OrganisationFacts
    offer: UUID
    referral: UUID
    code: Annotated[str, StringConstraints(min_length=4, max_length=12, pattern=r"^[0-9]+$")]


class CodeResult(StrEnum):
    RIGHT = "right"
    WRONG = "wrong"
    LOCKED = "locked"


class HandOverCodeAnswer(Answer):
    result: CodeResult
    tries_left: NonNegativeInt


class DetailQuestion(Question):
    """A detail that only the holder keeps: exactly one of the two codes."""

    organisation: OrganisationFacts
    offer: UUID
    referral: UUID
    decline: DeclineReason | None = None
    outcome: Outcome | None = None


class DetailAnswer(Answer):
    recorded: bool


class RulesStandQuestion(Question):
    """Do the holder's rules let a person of this sender be handed to this recipient for such a service at all?"""

    network: UUID
    group: ServiceGroup
    sender: OrganisationFacts
    recipient: OrganisationFacts


class RulesStandAnswer(Answer):
    stand: bool


# Counts of people are said in such steps, rounded down; fewer than one step are not said.
COUNTED_IN = 5


class BasesCountedQuestion(Question):
    """How many people of these networks does something other than their consent stand in for?"""

    networks: Annotated[tuple[UUID, ...], Field(max_length=100)]


class BasisCount(Answer):
    """Of one network and one kind of basis: people for whom it was in force when the day began (`in_force`), and for whom one
    lapsed in the four weeks before because nobody had confirmed it (`lapsed`). In steps of five, rounded down; null for
    fewer than five, and for none."""

    network: UUID
    kind: str
    in_force: int | None
    lapsed: int | None


class BasesCountedAnswer(Answer):
    """`at`: when the day began for which they were counted. Every kind of every network that was asked about."""

    at: AwareDatetime
    counts: tuple[BasisCount, ...]


class SealingKey(Question):
    """The public key of a system as JWK: `OKP` with `crv` and `x`, or `AKP` with `alg` and `pub`."""

    kty: JwkMember
    crv: JwkMember | None = None
    x: JwkMember | None = None
    alg: JwkMember | None = None
    pub: JwkMember | None = None


class SigningKey(Question):
    """The public key that a system signs with, as JWK (Ed25519)."""

    kty: JwkMember
    crv: JwkMember
    x: JwkMember


class PacketTicketV2(BaseModel):
    """Claims of the short-lived ticket with which a receiver reads a packet at the holder: `exp` is 60 s at most. `seal_to`:
    the key of the system that asked, where it has one; the packet is for that key alone. `by`: who asked, a system or
    `person:ID`; `signs`: the keys that count for what that system signs. It is signed and not sealed, so
    it names nothing that its bearer must not know: the holder knows which referral the offer is of."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    offer: UUID
    facts: OrganisationFacts
    seal_to: SealingKey | None = None
    by: str | None = None
    signs: tuple[SigningKey, ...] = ()


class PacketTicket(PacketTicketV2):
    """The ticket of before, which named the referral. Still read, no longer given."""

    referral: UUID


# Every question by the end of its address at a holder, with its answer.
QUESTIONS: Mapping[str, tuple[type[Question], type[Answer]]] = MappingProxyType(
    {
        "next-candidate": (NextCandidateQuestion, NextCandidateAnswer),
        "readable-offers": (ReadableOffersQuestion, ReadableOffersAnswer),
        "may-accept": (MayAcceptQuestion, MayAcceptAnswer),
        "hand-over-code": (HandOverCodeQuestion, HandOverCodeAnswer),
        "detail": (DetailQuestion, DetailAnswer),
        "rules-stand": (RulesStandQuestion, RulesStandAnswer),
        "bases-counted": (BasesCountedQuestion, BasesCountedAnswer),
    }
)
