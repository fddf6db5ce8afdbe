"""What may stand in for consent, judged naively from the rules on consent: a list of ifs, nothing of the gate's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import strategies as st

from schemas.questions import OrganisationFacts
from schemas.vocabulary import DataCategory, OrganisationType, Purpose, ServiceType
from services.intake.bases.domain import Basis, Kind
from services.intake.disclosure.domain import Person
from services.intake.disclosure.recipients import RecipientClass
from services.intake.disclosure.rulebook import Ask

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
# Durable placement, separation, return.
_FOR_A_PANEL = (
    "foster_kinship", "group_home", "independent_living", "escorted_return", "reception", "family_reconciliation",
)  # fmt: skip


def _reaches(basis: Basis, ask: Ask) -> bool:
    if ask.now < basis.begins or ask.now >= basis.until:
        return False
    if ask.purpose not in basis.purposes:
        return False
    if ask.recipient.organisation in basis.organisations:
        return True
    if _authority(ask.recipient):
        return False
    for kind in basis.classes:
        if kind.type not in (None, ask.recipient.type) or kind.country not in (None, ask.recipient.country):
            continue
        if all(group != "unknown" and group in (ask.recipient.serves or ()) for group in kind.serves):
            return True
    return False


def _authority(asker: OrganisationFacts) -> bool:
    return asker.law_enforcement or asker.type in {"police", "embassy", "ministry"}


def _names(basis: Basis, category: str) -> bool:
    return category in [one.value for one in basis.categories]


def law_demands(category: str, ask: Ask, person: Person) -> bool:
    """A court, or the duty to report on a minor; after a stop only if somebody justified it anew."""
    for basis in person.bases:
        if basis.kind == "mandatory_reporting" and not person.minor:
            continue
        if basis.kind not in ("mandatory_reporting", "court_order"):
            continue
        if (person.sharing_shut or person.service_shut) and basis.generation < person.generation:
            continue
        if _reaches(basis, ask) and _names(basis, category):
            return True
    return False


def somebody_speaks(category: str, ask: Ask, person: Person) -> bool:
    """For who cannot be asked, until they say something themselves; never into a family whose risk nobody has checked.
    Exclusions and stops were heard before."""
    checked = any(one.kind == "family_risk_check" and one.begins <= ask.now < one.until for one in person.bases)
    if ask.service_type in ("family_assessment", "family_reconciliation") and not checked:
        return False
    for basis in person.bases:
        instead = basis.kind in ("vital_interest", "emergency_profile")
        if instead and basis.generation >= person.generation and _reaches(basis, ask) and _names(basis, category):
            return True
    return False


def panel_has_said(ask: Ask, person: Person) -> bool:
    """Where a minor would be placed for good, separated or returned, a panel has determined just that."""
    if not person.minor or ask.service_type not in _FOR_A_PANEL:
        return True
    for basis in person.bases:
        if basis.kind != "best_interests_determination" or ask.service_type not in basis.services:
            continue
        if basis.begins <= ask.now < basis.until:
            return True
    return False


def stands_for_a_guardian(category: str, ask: Ask, person: Person) -> bool:
    for basis in person.bases:
        if not _reaches(basis, ask) or not _names(basis, category):
            continue
        if basis.kind == "best_interests_assessment" and ask.service_type not in _FOR_A_PANEL:
            return True
        if basis.kind == "best_interests_determination" and ask.service_type in basis.services:
            return True
    return False


def instead(kind: Kind, organisation: UUID, generation: int = 0) -> Basis:
    """One that stands now and names everything, for one organisation."""
    return Basis(
        UUID(int=9), kind, frozenset(DataCategory), frozenset(Purpose), frozenset({organisation}), (), frozenset(),
        NOW - HOUR, NOW + HOUR, generation,
    )  # fmt: skip


# --- any basis ----------------------------------------------------------------------------------------------------

_PURPOSES = st.one_of(st.just(frozenset(Purpose)), st.frozensets(st.sampled_from(Purpose)))
_CATEGORIES = st.one_of(st.just(frozenset(DataCategory)), st.frozensets(st.sampled_from(DataCategory)))
_CLASSES = st.sampled_from([(), (RecipientClass(OrganisationType.SHELTER, "KH"),), (RecipientClass(),)])
SERVICES = st.sampled_from(
    [
        None,
        ServiceType.EMERGENCY_BED,
        ServiceType.EMERGENCY_BED,
        ServiceType.FOSTER_KINSHIP,
        ServiceType.ESCORTED_RETURN,
    ]
)
GENERATIONS = st.integers(0, 2)


def bases(organisations: st.SearchStrategy[UUID]) -> st.SearchStrategy[tuple[Basis, ...]]:
    one = st.builds(
        Basis, st.uuids(version=4), st.sampled_from(Kind), _CATEGORIES, _PURPOSES,
        st.frozensets(organisations, max_size=2), _CLASSES,
        st.frozensets(st.sampled_from([ServiceType.FOSTER_KINSHIP, ServiceType.ESCORTED_RETURN])),
        st.sampled_from([NOW - HOUR, NOW - HOUR, NOW, NOW + HOUR]), st.sampled_from([NOW + HOUR, NOW + HOUR, NOW]),
        GENERATIONS,
    )  # fmt: skip
    return st.one_of(st.just(()), st.lists(one, max_size=3).map(tuple))
