"""Which event goes where: type, version, topic, writer, readers, retention; and how data is written and read.

This table is the catalogue: topics, JSON Schemas and the documents are generated from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from pydantic import ValidationError

from schemas import events as e
from schemas.events import EventData
from schemas.vocabulary import Open

INTAKE, REFERRAL, NOTIFY = "intake", "referral", "notify"


@dataclass(frozen=True, slots=True)
class Topic:
    """`name` may end in `.*`: one topic per holder. `key` says which id orders the topic."""

    name: str
    writer: str
    readers: tuple[str, ...]
    key: str
    retention_days: int = 14
    partitions: int = 6

    @property
    def per_holder(self) -> bool:
        """Is there one of it for each holder?"""
        return self.name.endswith(".*")

    def named(self, holder: str | None = None) -> str:
        """The topic's name at a holder; for a topic that is not per holder, just its name."""
        if not self.per_holder:
            return self.name
        if holder is None:
            msg = f"{self.name} is one topic per holder: name the holder"
            raise ValueError(msg)
        return self.name.removesuffix("*") + holder


HANDOFF = Topic("spean.handoff.*", INTAKE, (REFERRAL, NOTIFY), "referral")
REFERRALS = Topic("spean.referral", REFERRAL, (INTAKE, NOTIFY), "referral")
PLACES = Topic("spean.place", REFERRAL, (NOTIFY,), "place")
ORGANISATIONS = Topic("spean.organisation", REFERRAL, (INTAKE, NOTIFY), "organisation")
DELIVERIES = Topic("spean.delivery", NOTIFY, (NOTIFY,), "delivery")
TOPICS = (HANDOFF, REFERRALS, PLACES, ORGANISATIONS, DELIVERIES)

_EVENTS: dict[str, tuple[type[EventData], Topic]] = {
    "handoff.requested.v1": (e.HandoffRequestedV1, HANDOFF),
    "handoff.changed.v1": (e.HandoffChangedV1, HANDOFF),
    "handoff.cancelled.v1": (e.HandoffCancelledV1, HANDOFF),
    "handoff.reopened.v1": (e.HandoffReopenedV1, HANDOFF),
    "disclosure.stopped.v1": (e.DisclosureStoppedV1, HANDOFF),
    "packet.released.v1": (e.PacketReleasedV1, HANDOFF),
    "packet.refused.v1": (e.PacketRefusedV1, HANDOFF),
    "packet.fetched.v1": (e.PacketFetchedV1, HANDOFF),
    "erasure.requested.v1": (e.ErasureRequestedV1, HANDOFF),
    "erasure.acknowledged.v1": (e.ErasureAcknowledgedV1, HANDOFF),
    "erasure.overdue.v1": (e.ErasureOverdueV1, HANDOFF),
    "referral.received.v1": (e.ReferralReceivedV1, REFERRALS),
    "referral.unroutable.v1": (e.ReferralUnroutableV1, REFERRALS),
    "referral.held.v1": (e.ReferralHeldV1, REFERRALS),
    "referral.held.v2": (e.ReferralHeldV2, REFERRALS),
    "referral.reopened.v1": (e.ReferralReopenedV1, REFERRALS),
    "referral.ready.v1": (e.ReferralReadyV1, REFERRALS),
    "referral.departed.v1": (e.ReferralDepartedV1, REFERRALS),
    "referral.arrived.v1": (e.ReferralArrivedV1, REFERRALS),
    "referral.verified.v1": (e.ReferralVerifiedV1, REFERRALS),
    "referral.missing.v1": (e.ReferralMissingV1, REFERRALS),
    "referral.completed.v1": (e.ReferralCompletedV1, REFERRALS),
    "referral.cancelled.v1": (e.ReferralCancelledV1, REFERRALS),
    "referral.escalated.v1": (e.ReferralEscalatedV1, REFERRALS),
    "referral.reassigned.v1": (e.ReferralReassignedV1, REFERRALS),
    "offer.sent.v1": (e.OfferSentV1, REFERRALS),
    "offer.seen.v1": (e.OfferSeenV1, REFERRALS),
    "offer.accepted.v1": (e.OfferAcceptedV1, REFERRALS),
    "offer.declined.v1": (e.OfferDeclinedV1, REFERRALS),
    "offer.expired.v1": (e.OfferExpiredV1, REFERRALS),
    "offer.withdrawn.v1": (e.OfferWithdrawnV1, REFERRALS),
    "capacity.changed.v1": (e.CapacityChangedV1, PLACES),
    "organisation.registered.v1": (e.OrganisationRegisteredV1, ORGANISATIONS),
    "organisation.suspended.v1": (e.OrganisationSuspendedV1, ORGANISATIONS),
    "organisation.reinstated.v1": (e.OrganisationReinstatedV1, ORGANISATIONS),
    "organisation.asked.v1": (e.OrganisationAskedV1, ORGANISATIONS),
    "access.closed.v1": (e.AccessClosedV1, ORGANISATIONS),
    "delivery.succeeded.v1": (e.DeliverySucceededV1, DELIVERIES),
    "delivery.failed.v1": (e.DeliveryFailedV1, DELIVERIES),
    "delivery.parked.v1": (e.DeliveryParkedV1, DELIVERIES),
}
PREFIX = "org.spean."
# Read by nobody but their writer, when its database comes from a backup of before.
FOR_RESTORES = frozenset({PREFIX + "access.closed.v1"})
TYPES: Mapping[str, type[EventData]] = MappingProxyType({PREFIX + name: model for name, (model, _) in _EVENTS.items()})
TOPIC_OF: Mapping[str, Topic] = MappingProxyType({PREFIX + name: topic for name, (_, topic) in _EVENTS.items()})
TYPE_OF: Mapping[type[EventData], str] = MappingProxyType({model: name for name, model in TYPES.items()})


class ReadProblem(StrEnum):
    """Why an event cannot be read; the class is all that is ever logged."""

    UNKNOWN_TYPE = "unknown-type"
    UNKNOWN_VERSION = "unknown-version"
    WRONG_TOPIC = "wrong-topic"
    INVALID = "invalid"


class Unreadable(Exception):
    """An event that this reader cannot understand. Carries no content."""

    def __init__(self, problem: ReadProblem) -> None:
        super().__init__(problem.value)
        self.problem = problem


def write(data: EventData) -> bytes:
    """The event's JSON, UTF-8. Raises ValueError for a code `unknown`, which only readers may hold."""
    for name, value in data:
        if isinstance(value, Open) and value.value == "unknown":
            msg = f"{type(data).__name__}.{name} may not be written as unknown"
            raise ValueError(msg)
    return data.model_dump_json(exclude_none=True).encode()


def read(type_: str, value: bytes) -> EventData:
    """What an event says. Unknown fields are ignored, unknown codes become `unknown`. Raises `Unreadable`."""
    model = TYPES.get(type_)
    if model is None:
        family = type_.rpartition(".v")[0]
        known = any(name.rpartition(".v")[0] == family for name in TYPES)
        raise Unreadable(ReadProblem.UNKNOWN_VERSION if known else ReadProblem.UNKNOWN_TYPE)
    try:
        return model.model_validate_json(value, extra="ignore")
    except ValidationError:
        raise Unreadable(ReadProblem.INVALID) from None
