"""What is asked of the gate, and the reviewed rules that count for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from schemas.questions import OrganisationFacts
from schemas.vocabulary import DataCategory, Purpose, ServiceGroup, ServiceType

Stage = Literal["offer", "packet", "placement"]


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
    the organisation whose agreement with the recipient counts, `country` is the holder's. `service_type`: None where only
    its group is asked about."""

    sender: UUID
    network: UUID
    recipient: OrganisationFacts
    stage: Stage
    purpose: Purpose
    group: ServiceGroup
    country: str
    now: datetime
    service_type: ServiceType | None = None
