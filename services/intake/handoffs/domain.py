"""A hand-off at the holder: what the sender may ask for, and how the network's words reach the sender. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from schemas.vocabulary import DataCategory, Purpose, ServiceType
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
    "org.spean.referral.held.v2": "on-hold",
    "org.spean.referral.reopened.v1": "received",
    "org.spean.referral.ready.v1": "ready",
    "org.spean.referral.arrived.v1": "in-progress",
    "org.spean.referral.verified.v1": "in-progress",
    "org.spean.referral.missing.v1": "missing",
    "org.spean.referral.completed.v1": "completed",
    "org.spean.referral.cancelled.v1": "cancelled",
}
# Events that end an offer; the network looks for another.
OFFER_ENDS = frozenset({"org.spean.offer.declined.v1", "org.spean.offer.expired.v1", "org.spean.offer.withdrawn.v1"})
# From here the network looks anew: whoever had accepted before has no part in it any more.
ANEW = frozenset({"org.spean.referral.reopened.v1"})
# What a house did is a fact: it counts also where the sender had ended the hand-off before hearing of it.
FACTS = frozenset({"org.spean.referral.arrived.v1", "org.spean.referral.completed.v1"})
BEFORE_ACCEPTANCE = frozenset({"requested", "received", "offered"})
# Somebody may be asked now, also by a coordinator, before the holder has heard of it.
MAY_BE_OFFERED = BEFORE_ACCEPTANCE | {"unroutable", "on-hold"}
BEFORE_ARRIVAL = BEFORE_ACCEPTANCE | {"accepted", "ready", "unroutable", "on-hold", "missing"}
# Past this, a request that has not reached the network is shown as such (with a phone number on pages).
NOT_YET_S = 120
# Where the person did not agree that the sender knows where they are, the sender sees only these two words.
ANSWERED, CLOSED = "answered", "closed"
WITHOUT_PLACEMENT: Mapping[str, str] = {
    **dict.fromkeys(("accepted", "ready", "in-progress", "missing"), ANSWERED),
    **dict.fromkeys(("completed", "cancelled"), CLOSED),
}


def may_request(person: Person, now: datetime, service_type: ServiceType | None = None) -> None:
    """May a hand-off be asked for this person, with their consents or with what stands in for them? Raises Refusal
    `service-consent`, `sharing-consent`, `guardian`, `determination`, each with the rule that refused;
    `decision-missing`, `family-unchecked`, with the decision that is missing."""
    if person.obliged(now):
        return
    if not person.stopped and not person.determined(service_type, now):
        raise Refusal("determination", rule=Rule.DETERMINATION)
    if not person.spoken_for(now, service_type):
        _has_agreed(person, now)
        _has_decided(person, service_type, now)


def _has_decided(person: Person, service_type: ServiceType | None, now: datetime) -> None:
    """Has the person decided what this service needs beside their consent? The refusal names what is missing."""
    missing = person.undecided(service_type, now)
    if missing is None:
        return
    rule, decision = missing
    raise Refusal("family-unchecked" if rule is Rule.FAMILY_CHECK else "decision-missing", rule=decision)


def _has_agreed(person: Person, now: datetime) -> None:
    if person.service_shut:
        raise Refusal("service-consent", rule=Rule.FENCED)
    service = standing(person.service, person, now)
    if service is Rule.GUARDIAN:
        raise Refusal("guardian", rule=service)
    if service is not Rule.ALLOWED:
        raise Refusal("service-consent", rule=Rule.SERVICE_CONSENT if service is Rule.SHARING_CONSENT else service)
    if person.sharing_shut:
        raise Refusal("sharing-consent", rule=Rule.FENCED)
    sharing = standing(person.sharing, person, now)
    if sharing is Rule.GUARDIAN:
        raise Refusal("guardian", rule=sharing)
    if sharing is not Rule.ALLOWED:
        raise Refusal("sharing-consent", rule=sharing)


def offers_nobody(person: Person, now: datetime, service_type: ServiceType, sender: UUID) -> bool:
    """Does the person's own word, or the end of what stood in for it, leave nobody to be asked, whoever that is?"""
    try:
        may_request(person, now, service_type)
    except Refusal:
        return True
    if person.obliged(now) or person.spoken_for(now, service_type) or person.sharing is None:
        return False
    told, never = person.sharing, {(one.kind, one.value) for one in person.exclusions}
    classes = [one for one in told.classes if ("organisation_type", one.type) not in never]
    named = [one for one in told.organisations - {sender} if ("organisation", str(one)) not in never]
    offerable = Purpose.REFERRAL in told.purposes and DataCategory.FUNCTIONAL_NEEDS in told.categories
    return not (offerable and (classes or named))


def offer_after(type_: str, before: UUID | None, said: UUID | None) -> UUID | None:
    """The offer that a hand-off stands at after an event that names the offer `said`, or none."""
    if type_ in OFFER_ENDS or type_ in ANEW:
        return None
    return said or before


def not_yet_with_network(state: str, requested_at: datetime, now: datetime) -> bool:
    """Should the sender be told that the request has not reached anybody yet?"""
    return state == "requested" and (now - requested_at).total_seconds() > NOT_YET_S


def shown_state(state: str, *, placement: bool, ending: bool = False) -> str:
    """The state as the sender may see it. `ending`: the sender's side has ended it; whether somebody had arrived by then
    is no more theirs to know than before."""
    if placement:
        return state
    return CLOSED if ending else WITHOUT_PLACEMENT.get(state, state)
