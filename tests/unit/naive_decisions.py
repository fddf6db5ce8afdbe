"""Whether a person has agreed to the act itself (an examination, a report, a journey home), judged naively: a list of ifs,
nothing of the gate's own."""

from __future__ import annotations

from hypothesis import strategies as st

from schemas.vocabulary import ConsentDecision, ServiceType
from services.intake.disclosure.domain import Consent, Person
from services.intake.disclosure.rulebook import Ask

_ACT_OF = {
    "forensic_exam": "forensic_exam",
    "police_report": "police",
    "formal_identification": "identification",
    "tracing": "tracing",
    "family_assessment": "family_contact",
    "family_reconciliation": "family_contact",
    "travel_documents": "cross_border_return",
    "escorted_return": "cross_border_return",
    "reception": "cross_border_return",
}
_PAPERS = ["immigration_status", "civil_documents", "nationality_verification", "travel_documents"]


def act_is_agreed(ask: Ask, person: Person) -> bool:
    """Each act that this service is, and dealing with an embassy about papers."""
    acts = []
    if ask.service_type in _ACT_OF:
        acts.append(_ACT_OF[ask.service_type])
    if ask.service_type in _PAPERS and ask.recipient.type == "embassy":
        acts.append("consular")
    for act in acts:
        said = None
        for one in person.others:
            if one.decision == act:
                said = one
        if said is None or not _is_yes(said, ask, person):
            return False
        if act == "family_contact" and not _somebody_checked(ask, person):
            return False
    return True


def _is_yes(said: Consent, ask: Ask, person: Person) -> bool:
    if said.state not in ("given", "re-confirmed"):
        return False
    if said.valid_from > ask.now:
        return False
    if said.valid_until is not None and said.valid_until <= ask.now:
        return False
    if said.guardian and person.of_age is not None and said.valid_from < person.of_age <= ask.now:
        return False
    if not person.minor or said.guardian:
        return True
    for basis in person.bases:
        instead = basis.kind in ("best_interests_assessment", "best_interests_determination")
        if instead and basis.begins <= ask.now < basis.until:
            return True
    return False


def _somebody_checked(ask: Ask, person: Person) -> bool:
    return any(one.kind == "family_risk_check" and one.begins <= ask.now < one.until for one in person.bases)


def others(one: st.SearchStrategy[Consent]) -> st.SearchStrategy[tuple[Consent, ...]]:
    """Some decisions beside service and sharing, each once."""
    return st.lists(one, max_size=4, unique_by=lambda said: said.decision).map(tuple)


_ALL = [one for one in ConsentDecision if one not in {"service", "share_referral"}]
_OFTEN = [ConsentDecision.FORENSIC_EXAM, ConsentDecision.FAMILY_CONTACT, ConsentDecision.CONSULAR]
DECISIONS = st.sampled_from([*_OFTEN * 5, *_ALL])
SERVICES = st.sampled_from([
    ServiceType.FORENSIC_EXAM, ServiceType.FAMILY_ASSESSMENT, ServiceType.IMMIGRATION_STATUS, ServiceType.TRAVEL_DOCUMENTS,
])  # fmt: skip
