"""A person's record at the holder, and what follows from it. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.questions import ADULT_YEARS, Eligibility
from schemas.vocabulary import AgeBand, Country, Language, Need, Sex
from services.intake.cases.fields import OFFER_FIELDS

Text = Annotated[str, Field(max_length=4_000)]
Short = Annotated[str, Field(max_length=200)]

# Upper ends of the bands, in completed years, inclusive (`schemas.vocabulary.AgeBand`).
_BANDS = ((1, AgeBand.INFANT), (11, AgeBand.CHILD), (17, AgeBand.ADOLESCENT), (59, AgeBand.ADULT), (150, AgeBand.OLDER))


# Of age as far back as anybody asks.
_ALWAYS = datetime.min.replace(tzinfo=UTC)


def band_of(years: int) -> AgeBand:
    """The band of an age in completed years (0 to 150)."""
    return next(band for most, band in _BANDS if years <= most)


class PersonFields(BaseModel):
    """What a worker may write down about a person; everything is optional, nothing is asked that is not needed."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    age_years: Annotated[int | None, Field(ge=0, le=150)] = None
    age_band: AgeBand | None = None
    sex: Sex | None = None
    needs: tuple[Need, ...] = ()
    languages: Annotated[tuple[Language, ...], Field(max_length=10)] = ()
    name: Short | None = None
    citizenship: Country | None = None
    phone: Short | None = None
    contact_notes: Text | None = None
    safety_notes: Text | None = None
    family_notes: Text | None = None
    health_notes: Text | None = None
    account: Text | None = None
    exploitation: Annotated[tuple[Short, ...], Field(max_length=20)] = ()
    means_of_control: Annotated[tuple[Short, ...], Field(max_length=20)] = ()
    recruiter_notes: Text | None = None
    legal_notes: Text | None = None
    documents: Text | None = None

    @property
    def band(self) -> AgeBand | None:
        """The band of the age in years where that is known, else the band that was written down."""
        if self.age_years is None:
            return self.age_band
        return band_of(self.age_years)

    @property
    def minor(self) -> bool:
        """Under 18. Where the age is not known the person is presumed to be a minor until it is
        (UN Trafficking Protocol travaux; UNICEF guidelines 2006, 3.1.2)."""
        if self.age_years is not None:
            return self.age_years < ADULT_YEARS
        return self.age_band not in {AgeBand.ADULT, AgeBand.OLDER}

    def written(self) -> bytes:
        """As it is kept, before it is sealed."""
        return self.model_dump_json(exclude_defaults=True).encode()

    def shown(self, fields: set[str]) -> dict[str, Any]:
        """The named fields that hold something, ready for JSON; the band instead of nothing where only years are kept."""
        values = self.model_dump(mode="json")
        values["age_band"] = self.band
        return {name: values[name] for name in sorted(fields) if values.get(name) not in (None, [], ())}


def adult_from(person: PersonFields, age_at: datetime | None) -> datetime | None:
    """From when on a person is surely 18, whose age was written down at `age_at`; None where that is not known. Of completed
    years the latest birthday is taken, and of a band its youngest year: until nobody can be younger any more, they are
    presumed to be a minor. A day more, because the day was another one elsewhere."""
    if not person.minor:
        return _ALWAYS
    if age_at is None or person.band is None:
        return None
    years = _youngest(person.band) if person.age_years is None else person.age_years
    reached = age_at.year + ADULT_YEARS - years
    leap_day = (age_at.month, age_at.day) == (2, 29)
    return age_at.replace(year=reached, day=28 if leap_day else age_at.day) + timedelta(days=2 if leap_day else 1)


def is_minor(adult: datetime | None, now: datetime) -> bool:
    """`adult`: what `adult_from` says."""
    return adult is None or now < adult


def _youngest(band: AgeBand) -> int:
    low = 0
    for most, name in _BANDS:
        if name is band:
            return low
        low = most + 1
    return 0


def same_age(before: PersonFields, after: PersonFields) -> bool:
    return (before.age_years, before.age_band) == (after.age_years, after.age_band)


def described_otherwise(before: PersonFields, after: PersonFields) -> bool:
    """Would the gate, a house's rules or an offer see another person?"""
    fields = {*OFFER_FIELDS, "age_years"}
    return before.shown(fields) != after.shown(fields)


def fits(person: PersonFields, house: Eligibility) -> bool:
    """May the house take this person by its own rules? What is not known about the person does not rule a house out,
    except that a house for one sex is not asked for a person whose sex is not recorded."""
    if house.sexes and person.sex not in house.sexes:
        return False
    if person.age_years is not None:
        if not house.min_age <= person.age_years <= house.max_age:
            return False
    elif person.age_band is not None and not _bands_overlap(person.age_band, house):
        return False
    return set(person.needs) <= set(house.needs)


def _bands_overlap(band: AgeBand, house: Eligibility) -> bool:
    low = 0
    for most, name in _BANDS:
        if name is band:
            return house.min_age <= most and low <= house.max_age
        low = most + 1
    return False
