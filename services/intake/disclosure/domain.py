"""The gate: may this field go to this organisation now? Pure, total, and it says why.

consent ∩ need-to-know ∩ agreement ∩ corridor − exclusions, at `now`. The first rule that refuses gives its name;
`allowed` is the only answer that lets a field out. Everything unknown refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from schemas.questions import OrganisationFacts
from schemas.vocabulary import (
    ConsentDecision,
    ConsentState,
    DataCategory,
    OrganisationStatus,
    OrganisationType,
    Purpose,
    ServiceGroup,
)
from services.intake.cases.fields import CATEGORY_OF

Stage = Literal["offer", "packet", "placement"]
# Completed years at which a person decides alone (CRC article 1; a country's law may set an earlier age as dated data).
ADULT_YEARS = 18


class Rule(StrEnum):
    """Why a field may go, or the first rule that refused it."""

    ALLOWED = "allowed"
    UNKNOWN_FIELD = "unknown-field"
    ORGANISATION_SUSPENDED = "organisation-suspended"
    ORGANISATION_UNKNOWN = "organisation-unknown"
    EXCLUDED = "excluded"
    FENCED = "fenced"
    SERVICE_CONSENT = "service-consent"
    GUARDIAN = "guardian"
    SHARING_CONSENT = "sharing-consent"
    CONSENT_EXPIRED = "consent-expired"
    CONSENT_CATEGORY = "consent-category"
    CONSENT_PURPOSE = "consent-purpose"
    CONSENT_RECIPIENT = "consent-recipient"
    NEED_TO_KNOW = "need-to-know"
    AGREEMENT = "agreement"
    CORRIDOR = "corridor"
    PARTY = "party"


@dataclass(frozen=True, slots=True)
class RecipientClass:
    """A class such as "shelters in KH": each part that is given must fit."""

    type: OrganisationType | None = None
    country: str | None = None

    def fits(self, facts: OrganisationFacts) -> bool:
        return (self.type in {None, facts.type}) and (self.country in {None, facts.country})


@dataclass(frozen=True, slots=True)
class Consent:
    """The current record of one decision. Law enforcement is covered only where it is named as an organisation."""

    decision: ConsentDecision
    state: ConsentState
    version: int
    categories: frozenset[DataCategory]
    purposes: frozenset[Purpose]
    organisations: frozenset[UUID]
    classes: tuple[RecipientClass, ...]
    valid_from: datetime
    valid_until: datetime | None
    guardian: bool

    def covers(self, facts: OrganisationFacts) -> bool:
        if facts.organisation in self.organisations:
            return True
        reserved = facts.law_enforcement or facts.type in _NEVER_BY_CLASS
        return not reserved and any(one.fits(facts) for one in self.classes)


# Nothing goes to these by default (privacy; field practice): a class never covers them, only a name does.
_NEVER_BY_CLASS = frozenset({OrganisationType.POLICE, OrganisationType.EMBASSY, OrganisationType.MINISTRY})


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Never to this: an organisation (its id), a type of organisation, or all law enforcement (`value` is "any")."""

    kind: Literal["organisation", "organisation_type", "law_enforcement"]
    value: str

    def hits(self, facts: OrganisationFacts) -> bool:
        if self.kind == "organisation":
            return self.value == str(facts.organisation)
        if self.kind == "organisation_type":
            return self.value == facts.type
        return facts.law_enforcement or facts.type is OrganisationType.POLICE


@dataclass(frozen=True, slots=True)
class Person:
    """What the gate knows of a person: decisions and whether they are a minor; no field of theirs."""

    minor: bool
    service: Consent | None
    sharing: Consent | None
    exclusions: tuple[Exclusion, ...]
    sharing_shut: bool
    service_shut: bool

    @property
    def stopped(self) -> bool:
        return self.sharing_shut or self.service_shut


# Whose key is destroyed has stopped everything, whatever is still written elsewhere.
ERASED = Person(minor=True, service=None, sharing=None, exclusions=(), sharing_shut=True, service_shut=True)


@dataclass(frozen=True, slots=True)
class NeedToKnow:
    """`network`: for its hand-offs only; None is every network of this holder."""

    id: UUID
    network: UUID | None
    group: ServiceGroup
    stage: Stage
    fields: frozenset[str]


@dataclass(frozen=True, slots=True)
class Agreement:
    id: UUID
    sender: UUID
    recipient: UUID
    categories: frozenset[DataCategory]
    purposes: frozenset[Purpose]


@dataclass(frozen=True, slots=True)
class Corridor:
    id: UUID
    from_country: str
    to_country: str
    categories: frozenset[DataCategory]


@dataclass(frozen=True, slots=True)
class Rules:
    """The reviewed rules in force now: dated rows outside their dates are not here."""

    need_to_know: tuple[NeedToKnow, ...]
    agreements: tuple[Agreement, ...]
    corridors: tuple[Corridor, ...]

    def counting(self, ask: Ask) -> Rules:
        """Those that count for a question. A kind of service that we do not know needs to know nothing."""
        known = ask.group is not ServiceGroup.UNKNOWN
        return Rules(
            tuple(
                rule for rule in self.need_to_know
                if known and rule.group is ask.group and rule.stage == ask.stage and rule.network in {None, ask.network}
            ),
            tuple(
                rule for rule in self.agreements
                if rule.sender == ask.sender and rule.recipient == ask.recipient.organisation
                and ask.purpose in rule.purposes
            ),
            tuple(
                rule for rule in self.corridors
                if rule.from_country == ask.country and rule.to_country == ask.recipient.country
            ),
        )  # fmt: skip

    @property
    def ids(self) -> list[UUID]:
        return sorted(rule.id for rules in (self.need_to_know, self.agreements, self.corridors) for rule in rules)


@dataclass(frozen=True, slots=True)
class Ask:
    """Who asks, at which stage, for what purpose, for which kind of service, about a hand-off in which network; `sender` is
    the organisation whose agreement with the recipient counts, `country` is the holder's."""

    sender: UUID
    network: UUID
    recipient: OrganisationFacts
    stage: Stage
    purpose: Purpose
    group: ServiceGroup
    country: str
    now: datetime


def disclose(fields: Iterable[str], ask: Ask, person: Person, rules: Rules) -> dict[str, Rule]:
    """For each field `allowed`, or the first rule that refused it."""
    whole = _whole(ask, person)
    if whole is not Rule.ALLOWED:
        return dict.fromkeys(fields, whole)
    counting = rules.counting(ask)
    needed = frozenset[str]().union(*(rule.fields for rule in counting.need_to_know))
    agreed = frozenset[DataCategory]().union(*(rule.categories for rule in counting.agreements))
    crosses = ask.recipient.country != ask.country
    crossing = frozenset[DataCategory]().union(*(rule.categories for rule in counting.corridors))
    consented = person.sharing.categories if person.sharing else frozenset[DataCategory]()
    verdicts: dict[str, Rule] = {}
    for field in fields:
        category = CATEGORY_OF.get(field)
        if category is None:
            verdicts[field] = Rule.UNKNOWN_FIELD
        elif category not in consented:
            verdicts[field] = Rule.CONSENT_CATEGORY
        elif field not in needed:
            verdicts[field] = Rule.NEED_TO_KNOW
        elif category not in agreed:
            verdicts[field] = Rule.AGREEMENT
        elif crosses and category not in crossing:
            verdicts[field] = Rule.CORRIDOR
        else:
            verdicts[field] = Rule.ALLOWED
    return verdicts


def together(party: Sequence[Mapping[str, Rule]]) -> list[dict[str, Rule]]:
    """For what is told of a party as one: a field goes only where every member allows it."""
    refused = {field for verdicts in party for field, rule in verdicts.items() if rule is not Rule.ALLOWED}
    return [
        {field: Rule.PARTY if rule is Rule.ALLOWED and field in refused else rule for field, rule in verdicts.items()}
        for verdicts in party
    ]


def as_offer(party: Sequence[Mapping[str, Rule]]) -> list[dict[str, Rule]]:
    """For an offer: every member's yes, and nothing at all where what they need may not be told."""
    return [
        {field: verdicts["needs"] if rule is Rule.ALLOWED else rule for field, rule in verdicts.items()}
        for verdicts in together(party)
    ]


def allowed(verdicts: Mapping[str, Rule]) -> set[str]:
    """The fields that may go."""
    return {field for field, rule in verdicts.items() if rule is Rule.ALLOWED}


def _whole(ask: Ask, person: Person) -> Rule:
    """The rules that refuse every field alike, in their order of weight."""
    if ask.recipient.status is not OrganisationStatus.ACTIVE:
        return Rule.ORGANISATION_SUSPENDED
    if ask.recipient.type is OrganisationType.UNKNOWN:
        return Rule.ORGANISATION_UNKNOWN
    if any(exclusion.hits(ask.recipient) for exclusion in person.exclusions):
        return Rule.EXCLUDED
    if person.stopped:
        return Rule.FENCED
    service = standing(person.service, person, ask.now)
    if service is not Rule.ALLOWED:
        return Rule.SERVICE_CONSENT if service is Rule.SHARING_CONSENT else service
    sharing = standing(person.sharing, person, ask.now)
    if sharing is not Rule.ALLOWED or person.sharing is None:
        return sharing
    if ask.purpose not in person.sharing.purposes:
        return Rule.CONSENT_PURPOSE
    if not person.sharing.covers(ask.recipient):
        return Rule.CONSENT_RECIPIENT
    return Rule.ALLOWED


def standing(consent: Consent | None, person: Person, now: datetime) -> Rule:
    """Does a decision stand now: given, begun, not ended, and for a minor with a guardian's consent?"""
    if consent is None or consent.state is not ConsentState.GIVEN or now < consent.valid_from:
        return Rule.SHARING_CONSENT
    if consent.valid_until is not None and now >= consent.valid_until:
        return Rule.CONSENT_EXPIRED
    if person.minor and not consent.guardian:
        return Rule.GUARDIAN
    return Rule.ALLOWED
