"""The rules that most networks begin with, and which of them a network lacks. Pure: a data-protection officer reviews what
comes of it and adds it, or something else; nothing here is in force by itself.

Police, ministries and embassies are in none of these: what they may be told is agreed one by one. Neither is any border:
which legal basis lets something cross it is a lawyer's to say.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from schemas.questions import OrganisationFacts
from schemas.vocabulary import DataCategory, OrganisationStatus, OrganisationType, Purpose, ServiceGroup
from services.intake.cases.fields import OFFER_FIELDS, PLACEMENT_FIELDS
from services.intake.disclosure.rulebook import Rules, Stage

_C, _P, _T = DataCategory, Purpose, OrganisationType
# Who meets people, as a rule.
SENDS = frozenset({_T.BORDER_POST, _T.HOTLINE})

# Need-to-know: what a kind of service reads after it has accepted. Before, everybody sees the offer's bands alone.
_BANDS = ("age_band", "sex", "needs", "languages")
_WHO = (*_BANDS, "name", "age_years", "phone", "contact_notes", "safety_notes")
_STORY = ("account", "exploitation", "means_of_control")
PACKET: Mapping[ServiceGroup, tuple[str, ...]] = {
    ServiceGroup.SHELTER: (*_WHO, "citizenship", "family_notes", "health_notes"),
    ServiceGroup.HEALTH: (*_WHO, "health_notes"),
    ServiceGroup.PSYCHOSOCIAL: (*_WHO, "family_notes", "health_notes", *_STORY),
    ServiceGroup.LEGAL: (*_WHO, "citizenship", "legal_notes", "documents", "recruiter_notes", *_STORY),
    ServiceGroup.IDENTIFICATION: (*_WHO, "citizenship", "legal_notes", "documents", *_STORY),
    ServiceGroup.RETURN: (*_WHO, "citizenship", "family_notes", "documents"),
    ServiceGroup.LIVELIHOOD: (*_BANDS, "name", "phone", "contact_notes"),
    ServiceGroup.OTHER: (*_BANDS, "name", "phone", "contact_notes", "safety_notes"),
}

# Agreements: what a sender may give to a kind of organisation, and what comes back about where the person is.
BASIC = (_C.FUNCTIONAL_NEEDS, _C.SAFETY, _C.IDENTITY, _C.CONTACT)
_LEGAL = (_C.ACCOUNT, _C.ALLEGED_OFFENDER, _C.LEGAL_STATUS, _C.DOCUMENTS_PHOTO)
GIVEN_TO: Mapping[OrganisationType, tuple[DataCategory, ...]] = {
    _T.SHELTER: (*BASIC, _C.FAMILY, _C.HEALTH),
    _T.CLINIC: (*BASIC, _C.HEALTH),
    _T.LEGAL_AID: (*BASIC, *_LEGAL),
    _T.NGO: (*BASIC, _C.FAMILY, _C.HEALTH, _C.ACCOUNT),
}
GIVEN_BACK = (_C.PLACEMENT,)
PURPOSES = (_P.REFERRAL, _P.SERVICE_PROVISION, _P.FOLLOW_UP)


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """Fields that a kind of service needs at a stage."""

    group: ServiceGroup
    stage: Stage
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class Give:
    """What one organisation may tell another."""

    sender: UUID
    recipient: UUID
    categories: tuple[DataCategory, ...]


@dataclass(frozen=True, slots=True)
class Alike:
    """Each of these senders may tell each of these recipients the same."""

    senders: tuple[UUID, ...]
    recipients: tuple[UUID, ...]
    categories: tuple[DataCategory, ...]


@dataclass(frozen=True, slots=True)
class Lacking:
    """What is usual and not there yet. `abroad`: how many pairs lie across a border, for which nothing is proposed."""

    needs: tuple[Need, ...]
    gives: tuple[Give, ...]
    abroad: int

    @property
    def together(self) -> list[Alike]:
        """The same agreements, fewer to read: every pair stands in exactly one of these."""
        told: dict[tuple[UUID, tuple[DataCategory, ...]], list[UUID]] = defaultdict(list)
        for give in self.gives:
            told[give.sender, give.categories].append(give.recipient)
        alike: dict[tuple[tuple[UUID, ...], tuple[DataCategory, ...]], list[UUID]] = defaultdict(list)
        for (sender, categories), recipients in told.items():
            alike[tuple(sorted(recipients)), categories].append(sender)
        return [Alike(tuple(senders), to, categories) for (to, categories), senders in alike.items()]

    @property
    def digest(self) -> str:
        """Of exactly these rules: what was reviewed is what is added."""
        return hashlib.sha256(repr((self.needs, self.gives)).encode()).hexdigest()


def may_send(facts: OrganisationFacts) -> bool:
    return _fit(facts)


def may_receive(facts: OrganisationFacts) -> bool:
    return _fit(facts) and facts.type in GIVEN_TO


def _fit(facts: OrganisationFacts) -> bool:
    reserved = facts.law_enforcement or facts.type in {_T.POLICE, _T.MINISTRY, _T.EMBASSY}
    return facts.status is OrganisationStatus.ACTIVE and not reserved


def lacking(senders: Sequence[OrganisationFacts], receivers: Sequence[OrganisationFacts], standing: Rules) -> Lacking:
    """Of the usual rules for handing people from these senders to these receivers, those that do not stand. A rule of the
    same kind that says something else counts as one: somebody has decided so."""
    known = {(rule.group, rule.stage) for rule in standing.need_to_know}
    agreed = {(rule.sender, rule.recipient) for rule in standing.agreements}
    pairs = [
        (sender, receiver)
        for sender in senders for receiver in receivers
        if may_send(sender) and may_receive(receiver) and sender.organisation != receiver.organisation
    ]  # fmt: skip
    here = [(sender, receiver) for sender, receiver in pairs if sender.country == receiver.country]
    gives = {give for sender, receiver in here for give in _both_ways(sender, receiver)}
    return Lacking(
        needs=tuple(sorted(need for need in _needs() if (need.group, need.stage) not in known)),
        gives=tuple(sorted(give for give in gives if (give.sender, give.recipient) not in agreed)),
        abroad=len(pairs) - len(here),
    )


def _needs() -> Iterable[Need]:
    for group, packet in PACKET.items():
        yield Need(group, "offer", OFFER_FIELDS)
        yield Need(group, "packet", packet)
        yield Need(group, "placement", PLACEMENT_FIELDS)


def _both_ways(sender: OrganisationFacts, receiver: OrganisationFacts) -> Iterable[Give]:
    yield Give(sender.organisation, receiver.organisation, GIVEN_TO[receiver.type])
    yield Give(receiver.organisation, sender.organisation, GIVEN_BACK)
