"""The code lists that events and questions use. Names follow the field's standards; a code is never reused.

`Open` lists are read leniently: a code that a newer writer knows and this reader does not becomes `unknown`.
Writers never say `unknown` (`schemas.registry.write` refuses it).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

# ISO 3166-1 alpha-2, and ISO 3166-2 (a province, never nearer).
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Area = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}-[A-Z0-9]{1,3}$")]
# What a holder is called: its topic is named so (`spean.handoff.<holder>`), and its events come from it.
HolderName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
# ISO 639-3.
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{3}$")]


class Open(StrEnum):
    """A code list whose readers accept codes they do not know yet."""

    @classmethod
    def _missing_(cls, value: object) -> Open | None:
        return cls.__members__.get("UNKNOWN") if isinstance(value, str) else None


class ServiceGroup(Open):
    """Kind of service as the bus may see it."""

    SHELTER = "shelter"
    HEALTH = "health"
    PSYCHOSOCIAL = "psychosocial"
    LEGAL = "legal"
    IDENTIFICATION = "identification"
    RETURN = "return"
    LIVELIHOOD = "livelihood"
    OTHER = "other"
    UNKNOWN = "unknown"


class ServiceType(StrEnum):
    """Kind of service as the holder knows it; stays behind the gate."""

    SAFE_MIGRATION = "safe_migration"
    AT_RISK_FAMILY = "at_risk_family"
    OUTREACH = "outreach"
    SCREENING = "screening"
    FORMAL_IDENTIFICATION = "formal_identification"
    AGE_ASSESSMENT = "age_assessment"
    NATIONALITY_VERIFICATION = "nationality_verification"
    EMERGENCY_BED = "emergency_bed"
    ASSESSMENT_SHELTER = "assessment_shelter"
    MEDIUM_TERM_SHELTER = "medium_term_shelter"
    GROUP_HOME = "group_home"
    FOSTER_KINSHIP = "foster_kinship"
    INDEPENDENT_LIVING = "independent_living"
    SECURITY_PLAN = "security_plan"
    POLICE_REPORT = "police_report"
    CASE_MANAGEMENT = "case_management"
    EMERGENCY_CARE = "emergency_care"
    POST_ASSAULT_CARE = "post_assault_care"
    HIV_ART = "hiv_art"
    SRH = "srh"
    MENTAL_HEALTH = "mental_health"
    SUBSTANCE_USE = "substance_use"
    FORENSIC_EXAM = "forensic_exam"
    COUNSELLING = "counselling"
    INTERPRETATION = "interpretation"
    TRANSPORT_ESCORT = "transport_escort"
    CASH_NFI = "cash_nfi"
    LEGAL_INFORMATION = "legal_information"
    REPRESENTATION = "representation"
    WAGE_COMPENSATION = "wage_compensation"
    WITNESS_SUPPORT = "witness_support"
    IMMIGRATION_STATUS = "immigration_status"
    CIVIL_DOCUMENTS = "civil_documents"
    DEBT_MEDIATION = "debt_mediation"
    EDUCATION = "education"
    VOCATIONAL = "vocational"
    LIFE_SKILLS = "life_skills"
    TRACING = "tracing"
    FAMILY_ASSESSMENT = "family_assessment"
    RISK_ASSESSMENT = "risk_assessment"
    TRAVEL_DOCUMENTS = "travel_documents"
    ESCORTED_RETURN = "escorted_return"
    RECEPTION = "reception"
    FAMILY_RECONCILIATION = "family_reconciliation"
    LIVELIHOOD = "livelihood"
    JOB_PLACEMENT = "job_placement"
    FOLLOW_UP = "follow_up"


_G, _S = ServiceGroup, ServiceType
GROUP_OF: dict[ServiceType, ServiceGroup] = {
    **dict.fromkeys((_S.EMERGENCY_BED, _S.ASSESSMENT_SHELTER, _S.MEDIUM_TERM_SHELTER, _S.GROUP_HOME), _G.SHELTER),
    **dict.fromkeys((_S.FOSTER_KINSHIP, _S.INDEPENDENT_LIVING), _G.SHELTER),
    **dict.fromkeys((_S.EMERGENCY_CARE, _S.POST_ASSAULT_CARE, _S.HIV_ART, _S.SRH, _S.FORENSIC_EXAM), _G.HEALTH),
    **dict.fromkeys((_S.SUBSTANCE_USE,), _G.HEALTH),
    **dict.fromkeys((_S.MENTAL_HEALTH, _S.COUNSELLING), _G.PSYCHOSOCIAL),
    **dict.fromkeys((_S.LEGAL_INFORMATION, _S.REPRESENTATION, _S.WAGE_COMPENSATION, _S.WITNESS_SUPPORT), _G.LEGAL),
    **dict.fromkeys((_S.IMMIGRATION_STATUS, _S.CIVIL_DOCUMENTS, _S.DEBT_MEDIATION, _S.POLICE_REPORT), _G.LEGAL),
    **dict.fromkeys((_S.SCREENING, _S.FORMAL_IDENTIFICATION, _S.AGE_ASSESSMENT), _G.IDENTIFICATION),
    **dict.fromkeys((_S.NATIONALITY_VERIFICATION,), _G.IDENTIFICATION),
    **dict.fromkeys((_S.RISK_ASSESSMENT, _S.TRAVEL_DOCUMENTS, _S.ESCORTED_RETURN, _S.RECEPTION), _G.RETURN),
    **dict.fromkeys((_S.FAMILY_ASSESSMENT, _S.FAMILY_RECONCILIATION), _G.RETURN),
    **dict.fromkeys((_S.EDUCATION, _S.VOCATIONAL, _S.LIFE_SKILLS, _S.LIVELIHOOD, _S.JOB_PLACEMENT), _G.LIVELIHOOD),
    **dict.fromkeys((_S.SAFE_MIGRATION, _S.AT_RISK_FAMILY, _S.OUTREACH, _S.SECURITY_PLAN), _G.OTHER),
    **dict.fromkeys((_S.CASE_MANAGEMENT, _S.INTERPRETATION, _S.TRANSPORT_ESCORT, _S.CASH_NFI), _G.OTHER),
    **dict.fromkeys((_S.TRACING, _S.FOLLOW_UP), _G.OTHER),
}


class Urgency(Open):
    """Time until service is wanted: 1 h, 24 h, 72 h, 14 d."""

    IMMEDIATE = "immediate"
    EMERGENCY = "emergency"
    URGENT = "urgent"
    NORMAL = "normal"
    UNKNOWN = "unknown"


class ReasonFamily(Open):
    """Why something ended or was refused, as coarse as the bus may see it."""

    FULL = "full"
    NOT_SUITABLE = "not-suitable"
    CLOSED = "closed"
    NO_ANSWER = "no-answer"
    STOPPED = "stopped"
    OTHER = "other"
    UNKNOWN = "unknown"


class WaitsFor(StrEnum):
    """Whose turn it is with what is on hold. Closed: a reader must know whom to tell."""

    SENDER = "sender"
    COORDINATOR = "coordinator"


class DeclineReason(StrEnum):
    """Why an organisation declines; kept at the holder."""

    NO_CAPACITY = "no_capacity"
    WAITLIST_OFFERED = "waitlist_offered"
    OUTSIDE_ELIGIBILITY = "outside_eligibility"
    NEEDS_BEYOND_SERVICE = "needs_beyond_service"
    HOUSE_CONFLICT = "house_conflict"
    HOUSE_UNSAFE = "house_unsafe"
    OUTSIDE_AREA = "outside_area"
    NO_STAFF_OR_INTERPRETER = "no_staff_or_interpreter"
    ADDITIONAL_ASSESSMENT_REQUIRED = "additional_assessment_required"
    AUTHORITY_PAPER_MISSING = "authority_paper_missing"
    ALREADY_SERVED = "already_served"
    OTHER_REVIEWED = "other_reviewed"


_D, _R = DeclineReason, ReasonFamily
FAMILY_OF: dict[DeclineReason, ReasonFamily] = {
    _D.NO_CAPACITY: _R.FULL,
    _D.WAITLIST_OFFERED: _R.FULL,
    _D.OUTSIDE_ELIGIBILITY: _R.NOT_SUITABLE,
    _D.NEEDS_BEYOND_SERVICE: _R.NOT_SUITABLE,
    _D.HOUSE_CONFLICT: _R.NOT_SUITABLE,
    _D.HOUSE_UNSAFE: _R.CLOSED,
    _D.OUTSIDE_AREA: _R.NOT_SUITABLE,
    _D.NO_STAFF_OR_INTERPRETER: _R.CLOSED,
    _D.ADDITIONAL_ASSESSMENT_REQUIRED: _R.NOT_SUITABLE,
    _D.AUTHORITY_PAPER_MISSING: _R.NOT_SUITABLE,
    _D.ALREADY_SERVED: _R.OTHER,
    _D.OTHER_REVIEWED: _R.OTHER,
}


class Outcome(StrEnum):
    """How a referral ended for the person; kept at the holder."""

    NEEDS_MET = "needs_met"
    PARTLY_MET = "partly_met"
    PERSON_DECLINED = "person_declined"
    CHANGED_MIND = "changed_mind"
    LEFT_BY_CHOICE = "left_by_choice"
    MISSING = "missing"
    NOT_REACHED = "not_reached"
    TRANSFERRED = "transferred"
    FAMILY_RETURN = "family_return"
    FOSTER = "foster"
    GROUP_HOME = "group_home"
    INDEPENDENT = "independent"
    RETURNED_VOLUNTARILY = "returned_voluntarily"
    ASYLUM_TRACK = "asylum_track"
    AGED_OUT = "aged_out"
    REMOVED_OR_DETAINED = "removed_or_detained"
    RE_EXPLOITED = "re_exploited"
    DIED = "died"
    NO_SERVICE_FOUND = "no_service_found"
    NOT_TRAFFICKING_REFERRED = "not_trafficking_referred"
    DUPLICATE = "duplicate"
    ENTERED_IN_ERROR = "entered_in_error"


class OrganisationType(Open):
    SHELTER = "shelter"
    CLINIC = "clinic"
    LEGAL_AID = "legal_aid"
    NGO = "ngo"
    HOTLINE = "hotline"
    BORDER_POST = "border_post"
    POLICE = "police"
    MINISTRY = "ministry"
    EMBASSY = "embassy"
    COORDINATION = "coordination"
    UNKNOWN = "unknown"


class OrganisationStatus(Open):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"


class DataCategory(StrEnum):
    FUNCTIONAL_NEEDS = "functional_needs"
    SAFETY = "safety"
    IDENTITY = "identity"
    CONTACT = "contact"
    FAMILY = "family"
    HEALTH = "health"
    ACCOUNT = "account"
    ALLEGED_OFFENDER = "alleged_offender"
    LEGAL_STATUS = "legal_status"
    DOCUMENTS_PHOTO = "documents_photo"
    PLACEMENT = "placement"


class ConsentDecision(StrEnum):
    """What a person decides about; each is asked apart (service and sharing are different things)."""

    SERVICE = "service"
    SHARE_REFERRAL = "share_referral"
    CONTACT = "contact"
    FAMILY_CONTACT = "family_contact"
    TRACING = "tracing"
    IDENTIFICATION = "identification"
    POLICE = "police"
    CONSULAR = "consular"
    LEGAL = "legal"
    MEDICAL = "medical"
    FORENSIC_EXAM = "forensic_exam"
    EVIDENCE_STORAGE = "evidence_storage"
    EVIDENCE_RELEASE = "evidence_release"
    CROSS_BORDER_RETURN = "cross_border_return"
    INTERPRETER = "interpreter"
    CALL_RECORDING = "call_recording"
    RESEARCH = "research"
    STATISTICS = "statistics"


class ConsentState(StrEnum):
    """ISO/IEC TS 27560 states; a new state is a new record. Expired is said by the clock, invalidated where it is found that
    a consent never was one (forced, misunderstood, given by somebody who may not)."""

    REQUESTED = "requested"
    GIVEN = "given"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    RE_CONFIRMED = "re-confirmed"
    INVALIDATED = "invalidated"


# In these a decision is a yes, as long as its dates allow it.
YES = frozenset({ConsentState.GIVEN, ConsentState.RE_CONFIRMED})


class Purpose(StrEnum):
    """What a field may be used for (W3C DPV purposes, narrowed)."""

    REFERRAL = "referral"
    SERVICE_PROVISION = "service_provision"
    FOLLOW_UP = "follow_up"


class Need(StrEnum):
    """Functional needs: what a house must be able to offer, never a diagnosis."""

    NURSING = "nursing"
    ONE_TO_ONE_WATCH = "one_to_one_watch"
    STEP_FREE = "step_free"
    HIGH_SECURITY = "high_security"
    INFANT_CARE = "infant_care"
    INTERPRETER = "interpreter"
    FEMALE_STAFF = "female_staff"
    MALE_STAFF = "male_staff"


class IdentificationStatus(StrEnum):
    """Where somebody stands on the path to being identified formally: steps, never a flag. Services begin at `presumed`."""

    POSSIBLE = "possible"
    PRESUMED = "presumed"
    IN_PROCESS = "in_process"
    FORMALLY_IDENTIFIED = "formally_identified"
    NOT_IDENTIFIED = "not_identified"
    APPEALED = "appealed"
    PROCESS_DECLINED = "process_declined"


class DecidingBody(StrEnum):
    """Who decided a step of that path; in each country other authorities may (field practice, not a legal list)."""

    HELPING_ORGANISATION = "helping_organisation"
    POLICE = "police"
    IMMIGRATION = "immigration"
    LABOUR_INSPECTORATE = "labour_inspectorate"
    SOCIAL_MINISTRY = "social_ministry"
    MULTIDISCIPLINARY_TEAM = "multidisciplinary_team"
    PROSECUTION = "prosecution"
    COURT = "court"
    OTHER_AUTHORITY = "other_authority"
    PERSON = "person"


class AgeBand(StrEnum):
    """Fixed coarse bands, in completed years: 0–1, 2–11, 12–17, 18–59, 60 and more."""

    INFANT = "infant"
    CHILD = "child"
    ADOLESCENT = "adolescent"
    ADULT = "adult"
    OLDER = "older"


class Served(Open):
    """Whom an organisation takes in, as a person may agree to it: under 18 or not, female or male."""

    GIRLS = "girls"
    BOYS = "boys"
    WOMEN = "women"
    MEN = "men"
    UNKNOWN = "unknown"


class Sex(StrEnum):
    """As a house's eligibility rule uses it."""

    FEMALE = "female"
    MALE = "male"
    OTHER = "other"


class ErasureAnswer(Open):
    ERASED = "erased"
    RESTRICTED = "restricted"
    RETAINED_BY_LAW = "retained_by_law"
    NOTHING_HELD = "nothing_held"
    UNKNOWN = "unknown"


class KeptBecause(Open):
    """Why a law keeps a copy that the person wants erased; which law is said beside it."""

    COURT_ORDER = "court_order"
    CRIMINAL_PROCEEDINGS = "criminal_proceedings"
    HEALTH_RECORDS = "health_records"
    CHILD_PROTECTION_RECORDS = "child_protection_records"
    ACCOUNTS = "accounts"
    OTHER_LAW = "other_law"
    UNKNOWN = "unknown"


class HandoffChange(Open):
    """What of a hand-off changed; the content is read at the holder."""

    MEETING_POINT = "meeting_point"
    ADDRESS = "address"
    UNKNOWN = "unknown"


class EscalationReason(Open):
    NO_CANDIDATE = "no-candidate"
    DEADLINE_PASSED = "deadline-passed"
    NOT_READY = "not-ready"
    NOT_ARRIVED = "not-arrived"
    SHARING_STOPPED = "sharing-stopped"
    ORGANISATION_SUSPENDED = "organisation-suspended"
    NO_OUTCOME = "no-outcome"
    ARRIVAL_UNVERIFIED = "arrival-unverified"
    RESTORED = "restored"
    UNKNOWN = "unknown"
