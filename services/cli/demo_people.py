"""The made-up people of the demo: a screened group as it stands in a file, and what each person tells when met alone.

Nobody here exists. Rows are in the layout of the CTDC global extract; details replace them after the interview.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HEADER = (
    "yearOfRegistration,Datasource,gender,citizenship,isForcedLabour,ControlCategory,RecruiterCategory,ExploitType,"
    "Labor_Type,ageCategories"
)


@dataclass(frozen=True, slots=True)
class Person:
    """One row of the group, and what the person says in an interview of their own."""

    name: str
    row: str
    details: Mapping[str, Any] = field(default_factory=dict)


CHANTHY = Person(
    "Chanthy",
    "2025,Hotline,Female,KH,1,Threats,Other,Forced Labor,Domestic Work,Age 24-26",
    {"age_years": 25, "health_notes": "inhaler for asthma, twice a day", "phone": "made-up 000 000 001"},
)
BOPHA = Person(
    "Bopha",
    "2025,Hotline,Female,KH,0,Financial,Friend/Acquaintance,Sexual Exploitation,Unknown,Age 30-38",
    {"age_years": 33},
)
KANYA = Person(
    "Kanya",
    "2025,Hotline,Female,TH,0,Physical,Intimate Partner,Sexual Exploitation,Unknown,Age 21-23",
    {"age_years": 22, "languages": ["tha"], "safety_notes": "the recruiter has a friend in uniform"},
)
THIDA = Person(
    "Thida",
    "2025,Case Management,Female,MM,1,Threats,Other,Forced Labor,Manufacturing,Age 27-29",
    {"age_years": 28, "languages": ["mya"], "health_notes": "cannot sleep"},
)
MALIS = Person(
    "Malis",
    "2025,Hotline,Female,KH,1,Financial,Family/Relative,Forced Labor,Begging,Age 39-47",
    {"age_years": 41},
)
RATANA = Person(
    "Ratana",
    "2025,Hotline,Female,LA,1,Other,Not Specified,Forced Labor,Agriculture,Age 18-20",
    {"age_years": 19, "languages": ["lao"]},
)
SOPHEAP = Person(
    "Sopheap",
    "2025,Hotline,Female,KH,0,Threats,Other,Forced Marriage,Unknown,Age 21-23",
    {"age_years": 23},
)
NARY = Person("Nary", "2025,Hotline,Female,KH,1,Survival,Other,Forced Labor,Manufacturing,Age 24-26", {"age_years": 24})
PHARY = Person(
    "Phary", "2025,Hotline,Female,KH,1,Survival,Other,Forced Labor,Manufacturing,Age 24-26", {"age_years": 26}
)
LINA = Person(
    "Lina",
    "2025,Hotline,Female,0,0,Other,Friend/Acquaintance,Sexual Exploitation,Unknown,Age 9-17",
    {"age_years": 15},
)
MOM = Person(
    "Mom",
    "2025,Case Management,Female,KH,1,Physical,Family/Relative,Other,Domestic Work,Age 21-23",
    {"age_years": 21, "needs": ["infant_care"], "family_notes": "her son is with her"},
)
INFANT = Person(
    "Mom's infant",
    "2025,Case Management,Male,KH,-99,-99,-99,-99,-99,Age 0-8",
    {"age_years": 0, "needs": ["infant_care"], "languages": []},
)
VUTHY = Person(
    "Vuthy",
    "2025,Case Management,Male,KH,1,Physical,Other,Forced Labor,Aquafarming,Age 27-29",
    {"age_years": 29, "needs": ["nursing"], "health_notes": "an injured hand"},
)
# Found by police in Thailand, with a holder that the police do not run.
SOMNANG = Person(
    "Somnang",
    "2025,Case Management,Male,KH,1,Physical,Other,Forced Labor,Aquafarming,Age 21-23",
    {"age_years": 22, "health_notes": "a cough, since the boat"},
)
REAKSMEY = Person(
    "Reaksmey",
    "2025,Case Management,Female,KH,1,Financial,Other,Forced Labor,Manufacturing,Age 24-26",
    {"age_years": 24, "health_notes": "sees badly without her glasses", "safety_notes": "the broker has her number"},
)
ABROAD = (SOMNANG, REAKSMEY)
GROUP = (CHANTHY, BOPHA, KANYA, THIDA, MALIS, RATANA, SOPHEAP, NARY, PHARY, LINA, MOM, INFANT, VUTHY)
# Lines as a tired hand types them at night: one value nobody knows, one line cut short.
SLIPS = (
    "2025,Hotline,Femal,KH,0,Threats,Other,Sexual Exploitation,Unknown,Age 30-38",
    "2025,Hotline,Female,KH,1,Thr",
)


def group_file(group: Sequence[Person] = GROUP, slips: Sequence[str] = SLIPS) -> str:
    """A group as somebody's list has it: the people in this order, then what a slip of the pen made."""
    return "\n".join([HEADER, *(person.row for person in group), *slips]) + "\n"
