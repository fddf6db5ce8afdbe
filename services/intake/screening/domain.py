"""A row of a screened group, in the layout of the CTDC global extract, as what may be written down about a person. Pure.

Only codes come out of a row, never its text. A value that is not understood is left out and reported with its column;
a missing value (`-99`, nothing) is left out without a word, except an age: a person of unknown age is presumed a minor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, lru_cache

import pycountry

from schemas.questions import ADULT_YEARS
from schemas.vocabulary import AgeBand, Sex
from services.intake.cases.domain import PersonFields, band_of


class Column(StrEnum):
    """The columns of the extract, in its order."""

    YEAR = "yearOfRegistration"
    SOURCE = "Datasource"
    GENDER = "gender"
    CITIZENSHIP = "citizenship"
    FORCED_LABOUR = "isForcedLabour"
    CONTROL = "ControlCategory"
    RECRUITER = "RecruiterCategory"
    EXPLOITATION = "ExploitType"
    LABOUR = "Labor_Type"
    AGE = "ageCategories"


class Why(StrEnum):
    """What is wrong with a row or a value. `BROKEN` ones refuse the row; the others leave it doubtful."""

    COLUMNS = "wrong_number_of_columns"
    QUOTES = "quotes_not_closed"
    NOT_UTF8 = "not_utf8"
    NUL = "nul_character"
    TOO_LONG = "too_long"
    NOTHING = "nothing_in_the_row"
    UNKNOWN_CODE = "unknown_code"
    NO_YEAR = "no_such_year"
    NO_COUNTRY = "no_such_country"
    CONTRADICTION = "contradicts_another_column"
    INFANT_OR_CHILD = "band_straddles_infant_and_child"
    CHILD_OR_ADOLESCENT = "band_straddles_child_and_adolescent"
    ADULT_OR_OLDER = "band_straddles_adult_and_older"
    MINOR_OR_ADULT = "band_straddles_majority_presumed_minor"
    NO_AGE = "age_not_given_presumed_minor"


BROKEN = frozenset({Why.COLUMNS, Why.QUOTES, Why.NOT_UTF8, Why.NUL, Why.TOO_LONG, Why.NOTHING})
_STRADDLES = {
    (AgeBand.INFANT, AgeBand.CHILD): Why.INFANT_OR_CHILD,
    (AgeBand.INFANT, AgeBand.ADOLESCENT): Why.CHILD_OR_ADOLESCENT,
    (AgeBand.CHILD, AgeBand.ADOLESCENT): Why.CHILD_OR_ADOLESCENT,
    (AgeBand.ADULT, AgeBand.OLDER): Why.ADULT_OR_OLDER,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and in which column; None where it is the line as a whole."""

    column: Column | None
    why: Why

    @property
    def refuses(self) -> bool:
        return self.why in BROKEN


@dataclass(frozen=True, slots=True)
class Reading:
    """What a row says. `person` is None where the row is refused; `registered_at` is the first moment of its year, which
    is all that the extract tells; `suppressed` where its publisher withheld the citizenship; `written` is the person as
    they are kept (`PersonFields.written`)."""

    person: PersonFields | None
    registered_at: datetime | None
    suppressed: bool
    findings: tuple[Finding, ...]
    written: bytes = b""


_COLUMNS = tuple(Column)
# CTDC codebook: -99 is a missing value.
_MISSING = frozenset({"", "-99"})
# In the extract a 0 stands where k-anonymity took the country away: not known here, never "stateless".
_SUPPRESSED = "0"
_EARLIEST_YEAR = 1990
_OLDEST_YEARS = 150

_SOURCES: Mapping[str, None] = {"Hotline": None, "Case Management": None}
_SEXES: Mapping[str, Sex] = {
    "Female": Sex.FEMALE, "Male": Sex.MALE, "Transgender": Sex.OTHER, "Trans": Sex.OTHER, "Other": Sex.OTHER,
}  # fmt: skip
# IOM HTCDS 2.0, vic_TypeOfExploitation.
_FORCED_LABOUR = "ForcedLabour"
_FORCED: Mapping[str, str | None] = {"0": None, "1": _FORCED_LABOUR}
_EXPLOITATION: Mapping[str, str] = {
    "Sexual Exploitation": "SexualExploitation", "Forced Labor": _FORCED_LABOUR, "Forced Marriage": "ForcedMarriage",
    "Slavery And Similar Practices": "Servitude", "Servitude": "Servitude", "Organ Removal": "OrganRemoval",
    "Other": "Other",
}  # fmt: skip
# Kind of work: an ISIC Rev. 4 division or section beside the form of exploitation; begging is a form of its own in HTCDS.
_LABOUR: Mapping[str, str | None] = {
    "Agriculture": "ISIC-A01", "Aquafarming": "ISIC-A03", "Fishing": "ISIC-A03", "Manufacturing": "ISIC-C",
    "Construction": "ISIC-F", "Peddling": "ISIC-G47", "Domestic Work": "ISIC-T97", "Begging": "ForcedBegging",
    "Other": None, "Unknown": None, "Not Specified": None,
}  # fmt: skip
# The extract's own coarse groups; which of HTCDS's single methods was meant can no longer be told.
_CONTROL: Mapping[str, str | None] = {
    "Threats": "Threats", "Financial": "Financial", "Physical": "Physical", "Survival": "Survival", "Other": "Other",
    "Not Specified": None, "Unknown": None,
}  # fmt: skip
_RECRUITERS: Mapping[str, str | None] = {
    "Intimate Partner": "intimate_partner", "Family/Relative": "family_or_relative",
    "Friend/Acquaintance": "friend_or_acquaintance", "Other": "other", "Not Specified": None, "Unknown": None,
}  # fmt: skip
_AGE = re.compile(r"(?:Age )?(\d{1,3})(?:-{1,2}(\d{1,3})|\+)", re.ASCII)
_YEAR = re.compile(r"\d{4}", re.ASCII)


class _Row:
    """The values of one row by column, and what was found wrong with them."""

    def __init__(self, values: tuple[str, ...]) -> None:
        self._values = dict(zip(_COLUMNS, map(str.strip, values), strict=True))
        self.findings: list[Finding] = []

    @property
    def empty(self) -> bool:
        return not any(self._values.values())

    def doubt(self, column: Column, why: Why) -> None:
        self.findings.append(Finding(column, why))

    def value(self, column: Column) -> str | None:
        """None where it is missing."""
        value = self._values[column]
        return None if value in _MISSING else value

    def code(self, column: Column, codes: Mapping[str, str | None]) -> str | None:
        """The code for a value; None where it is missing or says nothing. What is not listed is doubtful."""
        value = self.value(column)
        if value is not None and value not in codes:
            self.doubt(column, Why.UNKNOWN_CODE)
            return None
        return None if value is None else codes[value]


# A file of ten coded columns repeats itself; a reading has codes only and is never changed.
@lru_cache(maxsize=4_096)
def read_row(values: tuple[str, ...], year: int) -> Reading:
    """What a row of ten values, in the order of `Column`, says in this `year`. Total: any text has a reading."""
    row = _Row(values)
    if row.empty:
        return Reading(None, None, suppressed=False, findings=(Finding(None, Why.NOTHING),))
    registered_at = _year(row, year)
    row.code(Column.SOURCE, _SOURCES)
    citizenship, suppressed = _citizenship(row)
    control = row.code(Column.CONTROL, _CONTROL)
    recruiter = row.code(Column.RECRUITER, _RECRUITERS)
    sex = row.code(Column.GENDER, _SEXES)
    person = PersonFields(
        sex=Sex(sex) if sex else None,
        citizenship=citizenship,
        exploitation=_exploitation(row),
        means_of_control=(control,) if control else (),
        recruiter_notes=f"recruiter:{recruiter}" if recruiter else None,
        age_band=_age_band(row),
    )
    return Reading(person, registered_at, suppressed, tuple(row.findings), person.written())


def _year(row: _Row, latest: int) -> datetime | None:
    value = row.value(Column.YEAR)
    if value is None:
        return None
    if not _YEAR.fullmatch(value) or not _EARLIEST_YEAR <= int(value) <= latest:
        row.doubt(Column.YEAR, Why.NO_YEAR)
        return None
    return datetime(int(value), 1, 1, tzinfo=UTC)


@cache
def _countries() -> frozenset[str]:
    """ISO 3166-1, two letters."""
    return frozenset(country.alpha_2 for country in pycountry.countries)


def _citizenship(row: _Row) -> tuple[str | None, bool]:
    """The country, and whether the publisher suppressed it."""
    value = row.value(Column.CITIZENSHIP)
    if value is None or value == _SUPPRESSED:
        return None, value == _SUPPRESSED
    if value not in _countries():
        row.doubt(Column.CITIZENSHIP, Why.NO_COUNTRY)
        return None, False
    return value, False


def _exploitation(row: _Row) -> tuple[str, ...]:
    """Forms of exploitation (HTCDS), then the kind of work (ISIC), each code once."""
    form = row.code(Column.EXPLOITATION, _EXPLOITATION)
    forced = row.code(Column.FORCED_LABOUR, _FORCED)
    if form == _FORCED_LABOUR and row.value(Column.FORCED_LABOUR) == "0":
        row.doubt(Column.FORCED_LABOUR, Why.CONTRADICTION)
    work = row.code(Column.LABOUR, _LABOUR)
    return tuple(dict.fromkeys(code for code in (forced, form, work) if code))


def _age_band(row: _Row) -> AgeBand | None:
    """The band that holds most of the years of the range, and a doubt where the range holds years of another band.

    A range that crosses 18 gets no band, so that the person is presumed a minor (`PersonFields.minor`); one that lies on
    one side of it stays there. Ages of 9 to 17 are six years of the adolescent band and three of the child band.
    """
    value = row.value(Column.AGE)
    found = _AGE.fullmatch(value or "")
    if found is None:
        row.doubt(Column.AGE, Why.NO_AGE if value is None else Why.UNKNOWN_CODE)
        return None
    low = int(found[1])
    high = int(found[2]) if found[2] else _OLDEST_YEARS
    if not low <= high <= _OLDEST_YEARS:
        row.doubt(Column.AGE, Why.UNKNOWN_CODE)
        return None
    if low < ADULT_YEARS <= high:
        row.doubt(Column.AGE, Why.MINOR_OR_ADULT)
        return None
    band, straddled = _band_of_range(low, high, open_ended=found[2] is None)
    if straddled is not None:
        row.doubt(Column.AGE, straddled)
    return band


# The extract has a dozen ranges, and every row has one of them.
@lru_cache(maxsize=256)
def _band_of_range(low: int, high: int, *, open_ended: bool) -> tuple[AgeBand, Why | None]:
    """The band for a range that lies on one side of 18, and what is doubtful about it."""
    straddled = _STRADDLES.get((band_of(low), band_of(high)))
    if straddled is None or open_ended:
        return band_of(low), straddled
    bands = [band_of(years) for years in range(low, high + 1)]
    return max(bands, key=bands.count), straddled
