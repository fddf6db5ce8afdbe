"""A person's record: which fields there are, what an offer shows of them, and whom a house takes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.questions import Eligibility
from schemas.vocabulary import AgeBand, DataCategory, Need, Sex
from services.intake.cases.domain import PersonFields, described_otherwise, fits
from services.intake.cases.fields import CATEGORY_OF, OFFER_FIELDS, PACKET_FIELDS, PLACEMENT_FIELDS

YEARS_OF = {"infant": (0, 1), "child": (2, 11), "adolescent": (12, 17), "adult": (18, 59), "older": (60, 150)}
SHOWN = set(PACKET_FIELDS)


def test_every_field_has_a_category_and_every_category_but_placement_is_a_persons() -> None:
    assert set(PersonFields.model_fields) == set(PACKET_FIELDS)
    assert set(CATEGORY_OF.values()) == set(DataCategory)
    assert not set(PersonFields.model_fields) & set(PLACEMENT_FIELDS)


def test_an_offer_shows_functional_needs_only() -> None:
    assert {CATEGORY_OF[field] for field in OFFER_FIELDS} == {DataCategory.FUNCTIONAL_NEEDS}
    assert "age_years" not in OFFER_FIELDS


@pytest.mark.parametrize(("band", "years"), YEARS_OF.items())
def test_bands_are_in_completed_years_both_ends_included(band: str, years: tuple[int, int]) -> None:
    for year in years:
        assert PersonFields(age_years=year).band == band


@given(years=st.integers(0, 150))
def test_under_eighteen_is_a_minor(years: int) -> None:
    assert PersonFields(age_years=years).minor == (years < 18)


@pytest.mark.parametrize("band", AgeBand)
def test_a_band_says_whether_it_is_a_minors(band: AgeBand) -> None:
    assert PersonFields(age_band=band).minor == (band in {"infant", "child", "adolescent"})


def test_an_unknown_age_is_a_minors_and_known_years_beat_a_band() -> None:
    assert PersonFields().minor
    assert PersonFields(age_years=16, age_band=AgeBand.ADULT).minor
    assert PersonFields(age_years=16, age_band=AgeBand.ADULT).band is AgeBand.ADOLESCENT


@pytest.mark.parametrize(
    "wrong",
    [{"age_years": -1}, {"age_years": 151}, {"sex": "f"}, {"needs": ["bed"]}, {"languages": ["khmer"]}, {"shoe_size": 38},
     {"name": "x" * 201}, {"account": "x" * 4001}, {"citizenship": "Cambodia"}],
)  # fmt: skip
def test_what_is_no_field_or_no_value_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PersonFields.model_validate(wrong)


def test_only_named_fields_that_hold_something_are_shown() -> None:
    person = PersonFields(age_years=24, name="Test Person", needs=(Need.STEP_FREE,))
    assert person.shown({"name", "phone", "age_band", "needs"}) == {
        "name": "Test Person", "age_band": "adult", "needs": ["step_free"],
    }  # fmt: skip
    assert person.shown(set()) == {}
    assert PersonFields().shown(SHOWN) == {}


@given(fields=st.sets(st.sampled_from(sorted(SHOWN))))
def test_nothing_is_shown_that_was_not_named(fields: set[str]) -> None:
    person = PersonFields(
        age_years=24, sex=Sex.FEMALE, name="n", phone="1", account="a", health_notes="h", documents="d"
    )
    assert set(person.shown(fields)) <= fields


def test_a_zero_is_something() -> None:
    assert PersonFields(age_years=0).shown({"age_years"}) == {"age_years": 0}


@pytest.mark.parametrize(
    ("person", "house", "taken"),
    [
        ({"age_years": 17}, {"min_age": 18}, False),
        ({"age_years": 18}, {"min_age": 18, "max_age": 18}, True),
        ({"age_years": 19}, {"max_age": 18}, False),
        ({"age_band": "adolescent"}, {"min_age": 18}, False),
        ({"age_band": "adolescent"}, {"min_age": 17}, True),
        ({"age_band": "adult"}, {"max_age": 18}, True),
        ({"age_band": "adult"}, {"max_age": 17}, False),
        ({}, {"min_age": 18}, True),
        ({"sex": "female"}, {"sexes": ["female", "other"]}, True),
        ({"sex": "male"}, {"sexes": ["female"]}, False),
        ({}, {"sexes": ["female"]}, False),
        ({}, {"sexes": []}, True),
        ({"needs": ["nursing"]}, {"needs": ["nursing", "step_free"]}, True),
        ({"needs": ["nursing", "step_free"]}, {"needs": ["nursing"]}, False),
    ],
)
def test_a_house_takes_whom_its_rules_fit(person: dict[str, Any], house: dict[str, Any], *, taken: bool) -> None:
    assert fits(PersonFields.model_validate(person), Eligibility.model_validate(house)) is taken


@pytest.mark.parametrize("change", [{"age_years": 25}, {"sex": "male"}, {"needs": ["nursing"]}, {"languages": ["lao"]}])
def test_what_an_offer_shows_describes_the_person(change: dict[str, Any]) -> None:
    before = {"age_years": 24, "sex": "female", "languages": ["khm"]}
    after = PersonFields.model_validate({**before, **change})
    assert described_otherwise(PersonFields.model_validate(before), after)


def test_a_note_does_not_describe_the_person_otherwise() -> None:
    before = PersonFields(age_years=24)
    assert not described_otherwise(before, PersonFields(age_years=24, health_notes="asthma", name="Test Person"))
