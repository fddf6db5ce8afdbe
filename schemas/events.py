"""Every event of the main line, one frozen model per version. An event describes the work, never the person.

Fields may only be: an opaque id, a code from `schemas.vocabulary`, a count, a time, a flag, a country, a province or a holder
(`tests/contract` walks every model and refuses anything else). What a model says is what its listed readers need
(`schemas.registry`); the referral id is the envelope's `subject`, so it is not said again here.
"""

from __future__ import annotations

from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from schemas.vocabulary import (
    Area,
    Country,
    ErasureAnswer,
    EscalationReason,
    HandoffChange,
    HolderName,
    OrganisationType,
    ReasonFamily,
    ServiceGroup,
    Urgency,
    WaitsFor,
)


class EventData(BaseModel):
    """What one event says. Writers are closed (no other field); readers ignore fields that they do not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class HandoffRequestedV1(EventData):
    """A sender asks the network for a service. Clocks count from `requested_at`."""

    network: UUID
    sender: UUID
    group: ServiceGroup
    urgency: Urgency
    area: Area
    places: PositiveInt
    requested_at: AwareDatetime
    need_by: AwareDatetime | None = None


class HandoffChangedV1(EventData):
    """Something the other side should read again at the holder."""

    offer: UUID
    change: HandoffChange


class HandoffCancelledV1(EventData):
    """The sender, or the person by ending service consent, ended the request."""

    reason: ReasonFamily


class HandoffReopenedV1(EventData):
    """The sender asks anew for a request that waits for them."""


class DisclosureStoppedV1(EventData):
    """The gate changed for this referral: whoever has this offer may not be allowed any more; without `offer`, whoever has
    an open one. Carries no scope."""

    offer: UUID | None = None


class PacketReleasedV1(EventData):
    """The packet may be read by the organisation that accepted, and the person has a hand-over code."""

    offer: UUID


class PacketRefusedV1(EventData):
    """A packet that was due is not released: the service has ended meanwhile."""

    offer: UUID
    reason: ReasonFamily


class PacketFetchedV1(EventData):
    """The packet was read for the first time."""

    offer: UUID


class ErasureRequestedV1(EventData):
    """Who may hold a copy is asked to erase it, and to say by `answer_by` what became of it."""

    offer: UUID
    organisation: UUID
    answer_by: AwareDatetime


class ErasureAcknowledgedV1(EventData):
    """What became of a copy."""

    offer: UUID
    organisation: UUID
    answer: ErasureAnswer


class ErasureOverdueV1(EventData):
    """Nobody has said in time what became of a copy."""

    offer: UUID
    organisation: UUID


class ReferralReceivedV1(EventData):
    """The network has the request. `deadline` is when service should be there; past it the coordinator is told. Nobody but
    `holder` speaks for the sender's side of it."""

    network: UUID
    coordinator: UUID
    group: ServiceGroup
    urgency: Urgency
    area: Area
    places: PositiveInt
    requested_at: AwareDatetime
    deadline: AwareDatetime
    holder: HolderName | None = None


class ReferralUnroutableV1(EventData):
    """Nobody is left who may be asked."""


class ReferralHeldV1(EventData):
    """Waits for the sender or a coordinator; no clock asks anybody."""

    reason: ReasonFamily


class ReferralHeldV2(EventData):
    """Nobody is asked, and no clock asks anybody: it waits for a person, the sender or a coordinator."""

    reason: ReasonFamily
    waits_for: WaitsFor


class ReferralReopenedV1(EventData):
    """Asked anew (by a coordinator, or because the sender answered)."""


class ReferralReadyV1(EventData):
    """The person may set out; past `arrive_by` without arrival a coordinator is told."""

    offer: UUID
    arrive_by: AwareDatetime


class ReferralDepartedV1(EventData):
    """The sender says that the person has set out."""

    offer: UUID


class ReferralArrivedV1(EventData):
    """`verified`: the hand-over code was right; otherwise it is checked later."""

    offer: UUID
    verified: bool


class ReferralVerifiedV1(EventData):
    """An unverified arrival was checked. `by_code`: the hand-over code was right; otherwise a coordinator made sure in
    another way."""

    offer: UUID
    by_code: bool


class ReferralMissingV1(EventData):
    """Ready, and nobody arrived in time. The place stays held."""

    offer: UUID


class ReferralCompletedV1(EventData):
    """An outcome is recorded at the holder."""

    offer: UUID


class ReferralCancelledV1(EventData):
    """Ended before arrival; what was held is free."""

    reason: ReasonFamily


class ReferralEscalatedV1(EventData):
    """A named coordinator owns it."""

    coordinator: UUID
    reason: EscalationReason


class ReferralReassignedV1(EventData):
    """Its network has another coordinator, who owns it from now on."""

    coordinator: UUID


class OfferSentV1(EventData):
    """One organisation is asked; it may answer until `answer_by`."""

    offer: UUID
    organisation: UUID
    answer_by: AwareDatetime


class OfferSeenV1(EventData):
    """The organisation has it on its screen."""

    offer: UUID


class OfferAcceptedV1(EventData):
    """The organisation takes the person, and its places are held."""

    offer: UUID
    organisation: UUID


class OfferDeclinedV1(EventData):
    """The organisation says no; the detailed reason stays at the holder."""

    offer: UUID
    reason: ReasonFamily


class OfferExpiredV1(EventData):
    """No answer in time, also where its holder was silent and no yes could be taken: the next is asked once it answers."""

    offer: UUID


class OfferWithdrawnV1(EventData):
    """No longer available; the organisation is told the same words whatever the cause."""

    offer: UUID


class CapacityChangedV1(EventData):
    """Places of one pool: `usable` in service, `free` to be promised now."""

    network: UUID
    coordinator: UUID
    organisation: UUID
    group: ServiceGroup
    area: Area
    usable: NonNegativeInt
    free: NonNegativeInt


class OrganisationRegisteredV1(EventData):
    """An organisation may be asked from now on. Its name is in no event."""

    type: OrganisationType
    country: Country
    law_enforcement: bool
    sample: bool


class OrganisationSuspendedV1(EventData):
    """Its sessions, tokens and packets are shut at once."""


class OrganisationReinstatedV1(EventData):
    """No longer suspended: it may sign in, ask and be asked again."""


class OrganisationAskedV1(EventData):
    """Somebody is to be given access to what is the organisation's, as soon as another person agrees: whoever may there, or a
    second administrator. To whom and to what is in no event."""

    answer_by: AwareDatetime


class AccessClosedV1(EventData):
    """Its subject, somebody of an organisation's staff, a system or a system's key, may do less from now on, or nothing; what
    that was is in no event. Only its writer takes it in, where its database comes from a backup of before. It is in an order
    of its own: with whoever does not know it yet, nothing waits behind it."""


class DeliverySucceededV1(EventData):
    """An organisation was told that something waits."""

    organisation: UUID


class DeliveryFailedV1(EventData):
    """One try failed; it will be tried again."""

    organisation: UUID
    tries: PositiveInt


class DeliveryParkedV1(EventData):
    """No more tries; a person has to look. Not said where there is no address: the coordinator's page counts those."""

    organisation: UUID
    tries: PositiveInt
