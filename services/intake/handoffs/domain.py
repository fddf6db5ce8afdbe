"""A hand-off at the holder: what the sender may ask for, and how the network's words reach the sender. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from services.intake.disclosure.domain import Person, Rule, standing
from spean.problem import Refusal

# What each event of the network makes of a hand-off. The holder follows; it never decides these.
STATE_AFTER: Mapping[str, str] = {
    "org.spean.referral.received.v1": "received",
    "org.spean.offer.sent.v1": "offered",
    "org.spean.offer.accepted.v1": "accepted",
    "org.spean.offer.declined.v1": "received",
    "org.spean.offer.expired.v1": "received",
    "org.spean.offer.withdrawn.v1": "received",
    "org.spean.referral.unroutable.v1": "unroutable",
    "org.spean.referral.held.v1": "on-hold",
    "org.spean.referral.reopened.v1": "received",
    "org.spean.referral.ready.v1": "ready",
    "org.spean.referral.arrived.v1": "in-progress",
    "org.spean.referral.missing.v1": "missing",
    "org.spean.referral.completed.v1": "completed",
    "org.spean.referral.cancelled.v1": "cancelled",
}
# Where the person did not agree that the sender knows where they are, the sender sees only these two words.
WITHOUT_PLACEMENT: Mapping[str, str] = {
    "accepted": "answered",
    "ready": "answered",
    "in-progress": "answered",
    "missing": "answered",
    "completed": "closed",
    "cancelled": "closed",
}


def may_request(person: Person, now: datetime) -> None:
    """May a hand-off be asked for this person? Raises Refusal `service-consent`, `sharing-consent`, `guardian`, each with
    the rule that refused."""
    if person.service_shut:
        raise Refusal("service-consent", rule=Rule.FENCED)
    service = standing(person.service, person, now)
    if service is Rule.GUARDIAN:
        raise Refusal("guardian", rule=service)
    if service is not Rule.ALLOWED:
        raise Refusal("service-consent", rule=Rule.SERVICE_CONSENT)
    if person.sharing_shut:
        raise Refusal("sharing-consent", rule=Rule.FENCED)
    sharing = standing(person.sharing, person, now)
    if sharing is Rule.GUARDIAN:
        raise Refusal("guardian", rule=sharing)
    if sharing is not Rule.ALLOWED:
        raise Refusal("sharing-consent", rule=sharing)


def shown_state(state: str, *, placement: bool) -> str:
    """The state as the sender may see it."""
    return state if placement else WITHOUT_PLACEMENT.get(state, state)
