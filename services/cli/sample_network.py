"""The sample network as tables: who is in it, which places there are, and the rules between them.

Every organisation is made up. Codes of provinces are ISO 3166-2, those of services and needs `schemas.vocabulary`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.vocabulary import DataCategory, Need, OrganisationType, ServiceType, Sex
from services.intake.rules import usual

_T, _S, _N, _C = OrganisationType, ServiceType, Need, DataCategory


@dataclass(frozen=True, slots=True)
class Pool:
    """Equal places of one organisation: `usable` of them in the province `area`. `eligibility` as in `schemas.questions`."""

    key: str
    area: str
    usable: int
    service_types: tuple[ServiceType, ...]
    eligibility: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Known:
    """One organisation of the sample; `key` names it for good."""

    key: str
    name: str
    type: OrganisationType
    country: str
    pools: tuple[Pool, ...] = ()


_BEDS = (_S.EMERGENCY_BED, _S.ASSESSMENT_SHELTER)
_LONGER = (_S.EMERGENCY_BED, _S.ASSESSMENT_SHELTER, _S.MEDIUM_TERM_SHELTER)
_CARE = (_S.EMERGENCY_CARE, _S.POST_ASSAULT_CARE, _S.SRH, _S.HIV_ART)
_LAW = (_S.LEGAL_INFORMATION, _S.REPRESENTATION, _S.WAGE_COMPENSATION, _S.CIVIL_DOCUMENTS)
_TALK = (_S.COUNSELLING, _S.MENTAL_HEALTH)
_WORK = (_S.VOCATIONAL, _S.LIFE_SKILLS, _S.LIVELIHOOD, _S.JOB_PLACEMENT)
_BACK = (_S.RISK_ASSESSMENT, _S.FAMILY_ASSESSMENT, _S.ESCORTED_RETURN, _S.RECEPTION)
_STATE = (_S.FORMAL_IDENTIFICATION, _S.AGE_ASSESSMENT)
_WOMEN = {"sexes": (Sex.FEMALE,), "min_age": 18, "needs": (_N.FEMALE_STAFF, _N.INTERPRETER)}
_GIRLS = {"sexes": (Sex.FEMALE,), "min_age": 10, "max_age": 17, "needs": (_N.FEMALE_STAFF, _N.INTERPRETER)}
_MEN = {"sexes": (Sex.MALE,), "min_age": 18, "needs": (_N.MALE_STAFF, _N.INTERPRETER)}
_BOYS = {"sexes": (Sex.MALE,), "min_age": 10, "max_age": 17, "needs": (_N.MALE_STAFF, _N.INTERPRETER)}
# A mother comes with infants of either sex, and an eligibility rule cannot tell whose child somebody is.
_FAMILIES = {"needs": (_N.INFANT_CARE, _N.NURSING, _N.FEMALE_STAFF, _N.INTERPRETER)}
_STEP_FREE = {"needs": (_N.STEP_FREE, _N.NURSING, _N.ONE_TO_ONE_WATCH, _N.FEMALE_STAFF, _N.MALE_STAFF, _N.INTERPRETER)}
_SAFE = {"sexes": (Sex.FEMALE,), "needs": (_N.HIGH_SECURITY, _N.ONE_TO_ONE_WATCH, _N.FEMALE_STAFF, _N.INTERPRETER)}
_ANYBODY = {"needs": tuple(Need)}

NETWORK_NAME = "Mekong network (sample)"
COORDINATOR = "kh-desk"
ORGANISATIONS = (
    Known("kh-desk", "Referral desk Phnom Penh", _T.COORDINATION, "KH"),
    Known("kh-poipet", "Border post Poipet", _T.BORDER_POST, "KH"),
    Known("kh-bavet", "Border post Bavet", _T.BORDER_POST, "KH"),
    Known("kh-hotline", "Hotline Phnom Penh", _T.HOTLINE, "KH"),
    Known("kh-police", "Police desk for protection, Phnom Penh", _T.POLICE, "KH",
          (Pool("reports", "KH-12", 20, (_S.POLICE_REPORT,), _ANYBODY),)),
    Known("kh-ministry", "Ministry desk for identification, Phnom Penh", _T.MINISTRY, "KH",
          (Pool("identification", "KH-12", 20, _STATE, _ANYBODY),)),
    Known("kh-jasmine", "Jasmine House for girls", _T.SHELTER, "KH", (Pool("girls", "KH-1", 8, _LONGER, _GIRLS),)),
    Known("kh-lotus", "Lotus House for women", _T.SHELTER, "KH", (Pool("women", "KH-1", 10, _LONGER, _WOMEN),)),
    Known("kh-frangipani", "Frangipani House for mothers with infants", _T.SHELTER, "KH",
          (Pool("families", "KH-2", 6, _LONGER, _FAMILIES),)),
    Known("kh-banyan", "Banyan House for men", _T.SHELTER, "KH",
          (Pool("men", "KH-12", 12, _BEDS, _MEN), Pool("boys", "KH-12", 4, _BEDS, _BOYS))),
    Known("kh-palm", "Sugar Palm House, step-free", _T.SHELTER, "KH", (Pool("all", "KH-12", 6, _BEDS, _STEP_FREE),)),
    Known("kh-mango", "Mango House, guarded", _T.SHELTER, "KH", (Pool("guarded", "KH-17", 4, _BEDS, _SAFE),)),
    Known("kh-clinic", "Clinic at the border, Poipet", _T.CLINIC, "KH", (Pool("slots", "KH-1", 30, _CARE, _ANYBODY),)),
    Known("kh-listening", "Listening Room Battambang", _T.NGO, "KH", (Pool("slots", "KH-2", 15, _TALK, _ANYBODY),)),
    Known("kh-legal", "Legal aid Phnom Penh", _T.LEGAL_AID, "KH", (Pool("slots", "KH-12", 25, _LAW, _ANYBODY),)),
    Known("kh-weavers", "Weavers' Workshop Siem Reap", _T.NGO, "KH", (Pool("seats", "KH-17", 20, _WORK, _ANYBODY),)),
    Known("kh-homeward", "Homeward Cambodia", _T.NGO, "KH", (Pool("journeys", "KH-12", 10, _BACK, _ANYBODY),)),
    Known("kh-embassy-th", "Consular desk of Cambodia, Bangkok", _T.EMBASSY, "KH",
          (Pool("documents", "TH-10", 20, (_S.TRAVEL_DOCUMENTS,), _ANYBODY),
           Pool("nationality", "TH-10", 20, (_S.NATIONALITY_VERIFICATION,), _ANYBODY))),
    Known("th-aranya", "Border post Aranyaprathet", _T.BORDER_POST, "TH"),
    Known("th-hotline", "Hotline Bangkok", _T.HOTLINE, "TH"),
    Known("th-police", "Police desk for protection, Bangkok", _T.POLICE, "TH",
          (Pool("reports", "TH-10", 20, (_S.POLICE_REPORT,), _ANYBODY),)),
    Known("th-orchid", "Orchid House for women and girls", _T.SHELTER, "TH",
          (Pool("women", "TH-27", 12, _BEDS, _WOMEN), Pool("girls", "TH-27", 8, _BEDS, _GIRLS))),
    Known("th-harbour", "Harbour House for fishers", _T.SHELTER, "TH", (Pool("men", "TH-74", 15, _BEDS, _MEN),)),
    Known("th-clinic", "Clinic Mae Sot", _T.CLINIC, "TH", (Pool("slots", "TH-63", 30, _CARE, _ANYBODY),)),
    Known("th-legal", "Legal aid Samut Sakhon", _T.LEGAL_AID, "TH", (Pool("slots", "TH-74", 20, _LAW, _ANYBODY),)),
    Known("vn-mocbai", "Border post Moc Bai", _T.BORDER_POST, "VN"),
    Known("vn-peace", "Peace House for women and girls", _T.SHELTER, "VN",
          (Pool("women", "VN-SG", 10, _LONGER, _WOMEN), Pool("girls", "VN-SG", 8, _LONGER, _GIRLS))),
    Known("vn-legal", "Legal aid Ha Noi", _T.LEGAL_AID, "VN", (Pool("slots", "VN-HN", 15, _LAW, _ANYBODY),)),
    Known("la-bokeo", "Border post Bokeo", _T.BORDER_POST, "LA"),
    Known("la-mekong", "Mekong House", _T.SHELTER, "LA", (Pool("all", "LA-BK", 8, _BEDS, _STEP_FREE),)),
    Known("la-homeward", "Homeward Laos", _T.NGO, "LA", (Pool("journeys", "LA-VT", 8, _BACK, _ANYBODY),)),
    Known("mm-myawaddy", "Border post Myawaddy", _T.BORDER_POST, "MM"),
    Known("mm-thazin", "Thazin House for women and girls", _T.SHELTER, "MM",
          (Pool("women", "MM-13", 8, _BEDS, _WOMEN), Pool("girls", "MM-13", 6, _BEDS, _GIRLS))),
    Known("mm-clinic", "Clinic Hpa-an", _T.CLINIC, "MM", (Pool("slots", "MM-13", 20, _CARE, _ANYBODY),)),
    Known("cn-ruili", "Border post Ruili", _T.BORDER_POST, "CN"),
    Known("cn-kunming", "Reception house Kunming", _T.SHELTER, "CN", (Pool("all", "CN-YN", 10, _BEDS, _STEP_FREE),)),
    Known("cn-legal", "Legal aid Nanning", _T.LEGAL_AID, "CN", (Pool("slots", "CN-GX", 15, _LAW, _ANYBODY),)),
)  # fmt: skip

SENDS = usual.SENDS | {_T.POLICE}
_SEND, _RECEIVE = ("intake:send", "referral:send"), ("referral:receive",)
SCOPES: Mapping[OrganisationType, tuple[str, ...]] = {
    **dict.fromkeys((_T.BORDER_POST, _T.HOTLINE), _SEND),
    _T.POLICE: _SEND + _RECEIVE,
    **dict.fromkeys((_T.SHELTER, _T.CLINIC, _T.LEGAL_AID, _T.NGO, _T.MINISTRY, _T.EMBASSY), _RECEIVE),
    _T.COORDINATION: ("referral:coordinate", "notify:watch"),
}

# As is usual (`services.intake.rules.usual`), and for police, ministries and embassies besides, which nobody may be told of
# unless the person names them.
PACKET, GIVEN_BACK, PURPOSES = usual.PACKET, usual.GIVEN_BACK, usual.PURPOSES
GIVEN_TO: Mapping[OrganisationType, tuple[DataCategory, ...]] = {
    **usual.GIVEN_TO,
    _T.MINISTRY: (*usual.BASIC, _C.ACCOUNT, _C.LEGAL_STATUS, _C.DOCUMENTS_PHOTO),
    _T.EMBASSY: (_C.FUNCTIONAL_NEEDS, _C.IDENTITY, _C.CONTACT, _C.DOCUMENTS_PHOTO),
    _T.POLICE: (_C.FUNCTIONAL_NEEDS, _C.SAFETY, _C.IDENTITY, _C.CONTACT, _C.ALLEGED_OFFENDER),
}

# Corridors. The Memorandum of Understanding of 2004 (COMMIT) was signed by all six; the years are those of the bilateral
# texts. Whether any of them is a sufficient basis is for each operator's lawyer to say, so each row says that it is a sample.
CORRIDORS: Mapping[tuple[str, str], str] = {
    ("KH", "TH"): "Cambodia–Thailand memorandum of 2003, revised 2014",
    ("KH", "VN"): "Cambodia–Viet Nam agreement of 2005",
    ("KH", "LA"): "no bilateral text named here",
    ("KH", "CN"): "no bilateral text named here",
    ("KH", "MM"): "no bilateral text named here",
    ("LA", "TH"): "Lao–Thai memorandum of 2005",
    ("TH", "VN"): "Thai–Vietnamese agreement of 2008",
    ("MM", "TH"): "Myanmar–Thailand memorandum of 2009",
    ("CN", "TH"): "China–Thailand memorandum of 2018",
    ("CN", "MM"): "China–Myanmar memorandum of 2009",
    ("CN", "VN"): "China–Viet Nam agreement of 2010",
    ("LA", "VN"): "Lao–Vietnamese agreement of 2010",
}
CROSSING = (*usual.BASIC, _C.FAMILY, _C.HEALTH, _C.LEGAL_STATUS, _C.PLACEMENT)
