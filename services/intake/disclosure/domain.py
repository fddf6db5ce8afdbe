"""The gate: may this field go to this organisation now? Pure, total, and it says why.

consent ∩ need-to-know ∩ agreement ∩ corridor − exclusions, at `now`, where a marked basis may stand in for consent
(`services.intake.bases.domain`). The first rule that refuses gives its name; `allowed` is the only answer that lets a field
out. Everything unknown refuses.
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
    YES,
    ConsentDecision,
    ConsentState,
    DataCategory,
    OrganisationStatus,
    OrganisationType,
    Purpose,
    ServiceType,
)
from services.intake.bases import domain as bases
from services.intake.bases.domain import Basis
from services.intake.cases.fields import CATEGORY_OF
from services.intake.disclosure.decisions import needed
from services.intake.disclosure.recipients import RecipientClass, covered
from services.intake.disclosure.rulebook import Ask, Rules


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
    OF_AGE = "of-age"
    DETERMINATION = "determination"
    SHARING_CONSENT = "sharing-consent"
    CONSENT_EXPIRED = "consent-expired"
    DECISION = "decision"
    FAMILY_CHECK = "family-check"
    CONSENT_CATEGORY = "consent-category"
    CONSENT_PURPOSE = "consent-purpose"
    CONSENT_RECIPIENT = "consent-recipient"
    NEED_TO_KNOW = "need-to-know"
    AGREEMENT = "agreement"
    CORRIDOR = "corridor"
    PARTY = "party"
    RARE = "rare"


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
        return covered(facts, self.organisations, self.classes)


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Never to this: an organisation (its id), a type of organisation, all law enforcement (`value` is "any"), or an official
    at an organisation (its id): who reads there no machine knows, so nothing goes to that organisation at all."""

    kind: Literal["organisation", "organisation_type", "law_enforcement", "official"]
    value: str

    def hits(self, facts: OrganisationFacts) -> bool:
        if self.kind in {"organisation", "official"}:
            return self.value == str(facts.organisation)
        if self.kind == "organisation_type":
            return self.value == facts.type
        return facts.law_enforcement or facts.type is OrganisationType.POLICE


@dataclass(frozen=True, slots=True)
class Person:
    """What the gate knows of a person: decisions, whether they are a minor, and what stands in for consent; no field of
    theirs. `others`: the decisions beside service and sharing. `of_age`: from when on they are surely 18, where they were
    younger when that was written. `generation`: grows with each word of theirs."""

    minor: bool
    service: Consent | None
    sharing: Consent | None
    exclusions: tuple[Exclusion, ...]
    sharing_shut: bool
    service_shut: bool
    bases: tuple[Basis, ...] = ()
    generation: int = 0
    of_age: datetime | None = None
    others: tuple[Consent, ...] = ()

    @property
    def stopped(self) -> bool:
        return self.sharing_shut or self.service_shut

    def obliged(self, now: datetime) -> list[Basis]:
        """The legal obligations that count now."""
        stopped = self.generation if self.stopped else None
        return bases.obliging(self.bases, now, minor=self.minor, stopped=stopped)

    def silent(self, now: datetime) -> bool:
        """Is nothing told of them at all, whoever asks?"""
        return self.stopped and not self.obliged(now)

    def spoken_for(self, now: datetime, service_type: ServiceType | None = None) -> list[Basis]:
        """What stands in for their own word now; nothing does where they have stopped, nor where the risk of contact with
        the family is not checked."""
        unchecked = ConsentDecision.FAMILY_CONTACT in needed(service_type, now) and not bases.family_checked(
            self.bases, now
        )
        return [] if self.stopped or unchecked else bases.speaking(self.bases, now, self.generation)

    def determined(self, service_type: ServiceType | None, now: datetime) -> bool:
        """May they be handed to such a service, as far as a panel has to say so of a minor?"""
        return not self.minor or bases.is_determined(self.bases, service_type, now)

    def undecided(
        self, service_type: ServiceType | None, now: datetime, by: OrganisationType | None = None
    ) -> tuple[Rule, ConsentDecision] | None:
        """What is missing for such a service (from such an organisation), and the rule that asks for it. Family contact is off
        until its risk is checked, whatever the person says."""
        given = {one.decision: one for one in self.others}
        for decision in needed(service_type, now, by):
            if standing(given.get(decision), self, now) is not Rule.ALLOWED:
                return Rule.DECISION, decision
            if decision is ConsentDecision.FAMILY_CONTACT and not bases.family_checked(self.bases, now):
                return Rule.FAMILY_CHECK, decision
        return None


# Whose key is destroyed has stopped everything, whatever is still written elsewhere.
ERASED = Person(minor=True, service=None, sharing=None, exclusions=(), sharing_shut=True, service_shut=True)


def disclose(fields: Iterable[str], ask: Ask, person: Person, rules: Rules) -> dict[str, Rule]:
    """For each field `allowed`, or the first rule that refused it."""
    lawful = grounds(ask, person)
    if not lawful.categories and lawful.otherwise is not Rule.CONSENT_CATEGORY:
        return dict.fromkeys(fields, lawful.otherwise)
    counting = rules.counting(ask)
    needed = frozenset[str]().union(*(rule.fields for rule in counting.need_to_know))
    agreed = frozenset[DataCategory]().union(*(rule.categories for rule in counting.agreements))
    crosses = ask.recipient.country != ask.country
    crossing = frozenset[DataCategory]().union(*(rule.categories for rule in counting.corridors))
    verdicts: dict[str, Rule] = {}
    for field in fields:
        category = CATEGORY_OF.get(field)
        if category is None:
            verdicts[field] = Rule.UNKNOWN_FIELD
        elif category not in lawful.categories:
            verdicts[field] = Rule.GUARDIAN if category in lawful.unguarded else lawful.otherwise
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


@dataclass(frozen=True, slots=True)
class Grounds:
    """On what something may be told: which categories, and why all others are refused; `unguarded` are those that only a
    guardian's word is missing for. `bases`: what stood in for consent."""

    otherwise: Rule
    categories: frozenset[DataCategory] = frozenset()
    unguarded: frozenset[DataCategory] = frozenset()
    bases: tuple[UUID, ...] = ()

    def beside(self, more: Sequence[Basis]) -> Grounds:
        """The same with what these bases cover."""
        if not more:
            return self
        wider = self.categories.union(*(one.categories for one in more))
        return Grounds(self.otherwise, wider, self.unguarded, (*self.bases, *(one.id for one in more)))


def grounds(ask: Ask, person: Person) -> Grounds:
    """Consent, or what stands in for it. A legal obligation alone counts beside an exclusion or a stop."""
    if ask.recipient.status is not OrganisationStatus.ACTIVE:
        return Grounds(Rule.ORGANISATION_SUSPENDED)
    if ask.recipient.type is OrganisationType.UNKNOWN:
        return Grounds(Rule.ORGANISATION_UNKNOWN)
    return _agreed(ask, person).beside([one for one in person.obliged(ask.now) if one.covers(ask)])


def _agreed(ask: Ask, person: Person) -> Grounds:
    """As far as the person's own word goes, and what speaks for those who cannot be asked."""
    if any(exclusion.hits(ask.recipient) for exclusion in person.exclusions):
        return Grounds(Rule.EXCLUDED)
    if person.stopped:
        return Grounds(Rule.FENCED)
    if not person.determined(ask.service_type, ask.now):
        return Grounds(Rule.DETERMINATION)
    return _consented(ask, person).beside(
        [one for one in person.spoken_for(ask.now, ask.service_type) if one.covers(ask)]
    )


def _consented(ask: Ask, person: Person) -> Grounds:
    service = standing(person.service, person, ask.now)
    if service is not Rule.ALLOWED:
        return Grounds(Rule.SERVICE_CONSENT if service is Rule.SHARING_CONSENT else service)
    missing = person.undecided(ask.service_type, ask.now, ask.recipient.type)
    if missing is not None:
        return Grounds(missing[0])
    sharing = standing(person.sharing, person, ask.now)
    if sharing is not Rule.ALLOWED or person.service is None or person.sharing is None:
        return Grounds(sharing)
    if ask.purpose not in person.sharing.purposes:
        return Grounds(Rule.CONSENT_PURPOSE)
    if not person.sharing.covers(ask.recipient):
        return Grounds(Rule.CONSENT_RECIPIENT)
    agreed = person.sharing.categories
    if not person.minor or (person.service.guardian and person.sharing.guardian):
        return Grounds(Rule.CONSENT_CATEGORY, agreed)
    instead = bases.guarding(person.bases, ask)
    if not instead:
        return Grounds(Rule.GUARDIAN)
    covered_too = agreed & frozenset[DataCategory]().union(*(one.categories for one in instead))
    return Grounds(Rule.CONSENT_CATEGORY, covered_too, agreed - covered_too, tuple(one.id for one in instead))


def standing(consent: Consent | None, person: Person, now: datetime) -> Rule:
    """Does a decision stand now: given, begun, not ended, and for a minor with a guardian's consent or what stands in for
    it? What was decided with a guardian ends when the person comes of age."""
    if consent is not None and consent.state is ConsentState.EXPIRED:
        return Rule.CONSENT_EXPIRED
    if consent is None or consent.state not in YES or now < consent.valid_from:
        return Rule.SHARING_CONSENT
    if consent.valid_until is not None and now >= consent.valid_until:
        return Rule.CONSENT_EXPIRED
    if consent.guardian and person.of_age is not None and consent.valid_from < person.of_age <= now:
        return Rule.OF_AGE
    if person.minor and not consent.guardian and not bases.guarded(person.bases, now):
        return Rule.GUARDIAN
    return Rule.ALLOWED
