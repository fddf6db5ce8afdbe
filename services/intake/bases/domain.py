"""What stands in for consent: which kinds there are, what each may cover, and when one counts at the gate. Pure.

Guardians: an assessment or a determination stands in for a minor's guardian, never for the minor's own agreement.
Vital interest and the emergency profile stand in for a person who cannot be asked, or for a talk that has to wait: never
over what the person has said since, an exclusion or a stop. A legal obligation alone overrides those, and a stop only
where it was justified anew after it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from schemas.vocabulary import DataCategory, Purpose, ServiceType
from services.intake.disclosure.recipients import RecipientClass, covered
from services.intake.disclosure.rulebook import Ask
from spean.problem import Refusal


class Kind(StrEnum):
    """What a basis is."""

    ASSESSMENT = "best_interests_assessment"
    DETERMINATION = "best_interests_determination"
    VITAL_INTEREST = "vital_interest"
    MANDATORY_REPORTING = "mandatory_reporting"
    COURT_ORDER = "court_order"
    EMERGENCY = "emergency_profile"
    FAMILY_CHECK = "family_risk_check"


class State(StrEnum):
    """The last three are final."""

    PROPOSED = "proposed"
    IN_FORCE = "in_force"
    REFUSED = "refused"
    LAPSED = "lapsed"
    ENDED = "ended"


FINAL = frozenset({State.REFUSED, State.LAPSED, State.ENDED})
OBLIGATIONS = frozenset({Kind.MANDATORY_REPORTING, Kind.COURT_ORDER})
# Instead of the person's own word.
WITHOUT_THEIR_WORD = frozenset({Kind.VITAL_INTEREST, Kind.EMERGENCY})
# Instead of the guardian's.
INSTEAD_OF_GUARDIAN = frozenset({Kind.ASSESSMENT, Kind.DETERMINATION})
# May be in force before a second person has looked at it; the others wait for the decision.
AT_ONCE = OBLIGATIONS | WITHOUT_THEIR_WORD
MINORS_ONLY = INSTEAD_OF_GUARDIAN | {Kind.MANDATORY_REPORTING}
# Something was told of a person without their word: they are told so, when it is safe.
TO_BE_TOLD = OBLIGATIONS | WITHOUT_THEIR_WORD
# At most; health only where it is named with the reasons.
CATEGORIES: Mapping[Kind, frozenset[DataCategory]] = {
    Kind.VITAL_INTEREST: frozenset({DataCategory.FUNCTIONAL_NEEDS, DataCategory.SAFETY, DataCategory.HEALTH}),
    Kind.EMERGENCY: frozenset({DataCategory.FUNCTIONAL_NEEDS}),
}
# What is meant where nothing is said.
USUAL_CATEGORIES: Mapping[Kind, frozenset[DataCategory]] = {
    Kind.VITAL_INTEREST: frozenset({DataCategory.FUNCTIONAL_NEEDS, DataCategory.SAFETY}),
    Kind.EMERGENCY: frozenset({DataCategory.FUNCTIONAL_NEEDS}),
}
USUAL_PURPOSES = frozenset({Purpose.REFERRAL, Purpose.SERVICE_PROVISION})
# Durable placement, separation, return: for a minor never without a panel's determination (UNHCR, Best Interests Procedure
# Guidelines, 2021, on when a determination is needed; which of our service types that means is this holder's dated data).
_DETERMINED: tuple[tuple[date, frozenset[ServiceType]], ...] = (
    (
        date(2026, 1, 1),
        frozenset({
            ServiceType.FOSTER_KINSHIP, ServiceType.GROUP_HOME, ServiceType.INDEPENDENT_LIVING,
            ServiceType.ESCORTED_RETURN, ServiceType.RECEPTION, ServiceType.FAMILY_RECONCILIATION,
        }),
    ),
)  # fmt: skip
# After as long as this a person is asked again who was met exhausted, sedated or at night (field practice).
REST = timedelta(hours=10)


def determined(now: datetime) -> frozenset[ServiceType]:
    """Kinds of service that a minor is not handed to without a determination."""
    return next((types for since, types in reversed(_DETERMINED) if since <= now.astimezone(UTC).date()), frozenset())


@dataclass(frozen=True, slots=True)
class Basis:
    """One that is in force, as the gate sees it. `until`: its end, or where nobody has confirmed it yet, the end of the time
    for that. `generation`: how much the person had decided when it was written."""

    id: UUID
    kind: Kind
    categories: frozenset[DataCategory]
    purposes: frozenset[Purpose]
    organisations: frozenset[UUID]
    classes: tuple[RecipientClass, ...]
    services: frozenset[ServiceType]
    begins: datetime
    until: datetime
    generation: int

    def stands(self, now: datetime) -> bool:
        return self.begins <= now < self.until

    def covers(self, ask: Ask) -> bool:
        """Does it stand, for this recipient and purpose?"""
        reaches = covered(ask.recipient, self.organisations, self.classes)
        return self.stands(ask.now) and ask.purpose in self.purposes and reaches


def obliging(bases: Collection[Basis], now: datetime, *, minor: bool, stopped: int | None) -> list[Basis]:
    """The legal obligations that count now, for whomever they name. `stopped`: the generation at which the person has stopped;
    one that was justified before it counts no more. None where they have not."""
    return [
        one for one in bases
        if one.kind in OBLIGATIONS and one.stands(now) and (minor or one.kind not in MINORS_ONLY)
        and (stopped is None or one.generation >= stopped)
    ]  # fmt: skip


def speaking(bases: Collection[Basis], now: datetime, spoken: int) -> list[Basis]:
    """Those that stand in for the person's own word now, for whomever they name: only as long as they have said nothing since
    (`spoken`, the generation of their latest word)."""
    return [one for one in bases if one.kind in WITHOUT_THEIR_WORD and one.generation >= spoken and one.stands(now)]


def guarding(bases: Collection[Basis], ask: Ask) -> list[Basis]:
    """Those that stand in for a guardian, for a question. What needs a determination has no other."""
    return [
        one for one in bases
        if one.covers(ask) and (
            (one.kind is Kind.DETERMINATION and ask.service_type in one.services)
            or (one.kind is Kind.ASSESSMENT and ask.service_type not in determined(ask.now))
        )
    ]  # fmt: skip


def guarded(bases: Collection[Basis], now: datetime) -> bool:
    """Does anything stand in for a guardian now, whatever is asked?"""
    return any(one.kind in INSTEAD_OF_GUARDIAN and one.stands(now) for one in bases)


def family_checked(bases: Collection[Basis], now: datetime) -> bool:
    """Has the risk of contact with the family been checked, and found bearable?"""
    return any(one.kind is Kind.FAMILY_CHECK and one.stands(now) for one in bases)


def is_determined(bases: Collection[Basis], service_type: ServiceType | None, now: datetime) -> bool:
    """Has a panel determined that a minor is handed to such a service, or does it need none?"""
    return service_type not in determined(now) or any(
        one.kind is Kind.DETERMINATION and service_type in one.services and one.stands(now) for one in bases
    )


# --- what may be proposed -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limit:
    """Dated data of the holder: how many different people, the time they have, and how long it lasts at most."""

    people: int
    decide_within: timedelta
    lasts: timedelta


@dataclass(frozen=True, slots=True)
class Proposal:
    """What somebody proposes. `spoken`: the person has said yes (emergency profile); `at_once`: it cannot wait for the
    second person. `recipients` is {organisations, classes}, as in a consent."""

    kind: Kind
    categories: frozenset[DataCategory]
    purposes: frozenset[Purpose]
    recipients: Mapping[str, Collection[object]]
    services: frozenset[ServiceType]
    valid_until: datetime | None
    justification: str
    spoken: bool = False
    at_once: bool = False


def checked(made: Proposal, *, minor: bool, stopped: bool, limit: Limit, now: datetime) -> datetime:
    """When it will end. Raises Refusal `invalid`, `not-a-minor`, `person-stopped`, `guardian`."""
    if made.kind in MINORS_ONLY and not minor:
        raise Refusal("not-a-minor")
    if made.kind in WITHOUT_THEIR_WORD and stopped:
        raise Refusal("person-stopped")
    if made.spoken and (made.kind is not Kind.EMERGENCY or minor):
        raise Refusal("guardian" if made.kind is Kind.EMERGENCY else "invalid")
    wrong = _wrong(made)
    latest = now + limit.lasts
    ends = latest if made.valid_until is None else made.valid_until
    if not now < ends <= latest:
        wrong = (*wrong, ("valid_until", "out_of_range"))
    if wrong:
        raise Refusal("invalid", errors=[{"at": f"body.{at}", "why": why} for at, why in wrong])
    return ends


def _wrong(made: Proposal) -> tuple[tuple[str, str], ...]:
    """What this kind does not allow: (field, reason)."""
    found: list[tuple[str, str]] = []
    if made.at_once and made.kind not in AT_ONCE:
        found.append(("at_once", "waits_for_a_second_person"))
    if made.kind is Kind.FAMILY_CHECK:
        return tuple(found)  # it opens family contact, and no field
    if not made.categories <= CATEGORIES.get(made.kind, frozenset(DataCategory)) or not made.categories:
        found.append(("categories", "not_for_this_basis"))
    if not made.purposes:
        found.append(("purposes", "missing"))
    if not made.recipients["organisations"] and (made.kind in OBLIGATIONS or not made.recipients["classes"]):
        found.append(("recipients", "missing"))
    if made.kind in OBLIGATIONS and made.recipients["classes"]:
        found.append(("recipients.classes", "name_the_authority"))
    if (made.kind is Kind.DETERMINATION) != bool(made.services):
        found.append(("services", "for_a_determination"))
    return tuple(found)


def somebody(client: str, acting_for: str | None) -> str:
    """Who does something: a person who has signed in (`person:ID`), or, of a system, whom it names; else the system itself,
    which is nobody in particular."""
    return client if acting_for is None or client.startswith("person:") else f"{client}/{acting_for.casefold()}"


def is_somebody(by: str) -> bool:
    """Is it known which person that was?"""
    return by.startswith("person:") or "/" in by


def two_people(one: str, other: str) -> bool:
    """Are they certainly two? Those who sign in are told apart, and so are those whom an organisation's systems name,
    whichever system it is. Somebody of the one kind may be somebody of the other."""
    if not (is_somebody(one) and is_somebody(other)) or one.startswith("person:") != other.startswith("person:"):
        return False
    return one != other if one.startswith("person:") else one.rpartition("/")[2] != other.rpartition("/")[2]
