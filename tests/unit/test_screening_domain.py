"""What a row of the CTDC layout says: codes only, doubts by column, and never a guess that makes a child an adult."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.vocabulary import AgeBand, Sex
from services.intake.screening.domain import Column, Finding, Reading, Why, read_row

ROW = {
    Column.YEAR: "2017", Column.SOURCE: "Hotline", Column.GENDER: "Female", Column.CITIZENSHIP: "KH",
    Column.FORCED_LABOUR: "0", Column.CONTROL: "Threats", Column.RECRUITER: "Other",
    Column.EXPLOITATION: "Sexual Exploitation", Column.LABOUR: "Unknown", Column.AGE: "Age 21-23",
}  # fmt: skip


def reading(**changed: str) -> Reading:
    return read_row(tuple({**ROW, **{Column[name]: value for name, value in changed.items()}}.values()), 2025)


@pytest.mark.parametrize(
    ("age", "band", "doubt"),
    [
        ("Age 0-1", AgeBand.INFANT, None),
        ("Age 0-8", AgeBand.CHILD, Why.INFANT_OR_CHILD),
        ("Age 2-11", AgeBand.CHILD, None),
        ("Age 9-17", AgeBand.ADOLESCENT, Why.CHILD_OR_ADOLESCENT),
        ("9--17", AgeBand.ADOLESCENT, Why.CHILD_OR_ADOLESCENT),
        ("Age 12-17", AgeBand.ADOLESCENT, None),
        ("Age 0-17", AgeBand.CHILD, Why.CHILD_OR_ADOLESCENT),
        ("Age 17-18", None, Why.MINOR_OR_ADULT),
        ("Age 18-20", AgeBand.ADULT, None),
        ("Age 39-47", AgeBand.ADULT, None),
        ("Age 48+", AgeBand.ADULT, Why.ADULT_OR_OLDER),
        ("Age 60+", AgeBand.OLDER, None),
        ("Age 10+", None, Why.MINOR_OR_ADULT),
        ("Age 20-18", None, Why.UNKNOWN_CODE),
        ("Age 999-1000", None, Why.UNKNOWN_CODE),
        ("Age 200+", None, Why.UNKNOWN_CODE),
        ("adult", None, Why.UNKNOWN_CODE),
        ("Age ٢١-٢٣", None, Why.UNKNOWN_CODE),
        ("-99", None, Why.NO_AGE),
        ("", None, Why.NO_AGE),
    ],
)
def test_ages(age: str, band: AgeBand | None, doubt: Why | None) -> None:
    found = reading(AGE=age)
    assert found.person is not None
    assert found.person.age_band == band
    assert found.findings == (() if doubt is None else (Finding(Column.AGE, doubt),))
    assert found.person.minor == (band not in {AgeBand.ADULT, AgeBand.OLDER})


@pytest.mark.parametrize(
    ("citizenship", "country", "suppressed", "doubt"),
    [
        ("KH", "KH", False, None),
        ("0", None, True, None),
        ("-99", None, False, None),
        ("", None, False, None),
        ("kh", None, False, Why.NO_COUNTRY),
        ("XX", None, False, Why.NO_COUNTRY),
        ("KHM", None, False, Why.NO_COUNTRY),
    ],
)
def test_citizenship(citizenship: str, country: str | None, *, suppressed: bool, doubt: Why | None) -> None:
    found = reading(CITIZENSHIP=citizenship)
    assert found.person is not None
    assert (found.person.citizenship, found.suppressed) == (country, suppressed)
    assert found.findings == (() if doubt is None else (Finding(Column.CITIZENSHIP, doubt),))


@pytest.mark.parametrize(
    ("form", "forced", "labour", "codes"),
    [
        ("Sexual Exploitation", "0", "Unknown", ("SexualExploitation",)),
        ("Forced Labor", "1", "Domestic Work", ("ForcedLabour", "ISIC-T97")),
        ("Forced Labor", "1", "Aquafarming", ("ForcedLabour", "ISIC-A03")),
        ("Other", "1", "Domestic Work", ("ForcedLabour", "Other", "ISIC-T97")),
        ("Forced Labor", "1", "Begging", ("ForcedLabour", "ForcedBegging")),
        ("Forced Marriage", "-99", "Other", ("ForcedMarriage",)),
        ("-99", "-99", "-99", ()),
    ],
)
def test_exploitation(form: str, forced: str, labour: str, codes: tuple[str, ...]) -> None:
    found = reading(EXPLOITATION=form, FORCED_LABOUR=forced, LABOUR=labour)
    assert found.person is not None
    assert found.person.exploitation == codes
    assert found.findings == ()


def test_columns_that_contradict_each_other_are_kept_and_doubted() -> None:
    found = reading(EXPLOITATION="Forced Labor", FORCED_LABOUR="0")
    assert found.person is not None
    assert found.person.exploitation == ("ForcedLabour",)
    assert found.findings == (Finding(Column.FORCED_LABOUR, Why.CONTRADICTION),)


def test_who_recruited_and_how_somebody_was_controlled_are_codes() -> None:
    found = reading(RECRUITER="Family/Relative", CONTROL="Financial", GENDER="Male")
    assert found.person is not None
    assert found.person.recruiter_notes == "recruiter:family_or_relative"
    assert found.person.means_of_control == ("Financial",)
    assert found.person.sex is Sex.MALE
    unsaid = reading(RECRUITER="Not Specified", CONTROL="-99")
    assert unsaid.person is not None
    assert (unsaid.person.recruiter_notes, unsaid.person.means_of_control) == (None, ())


@pytest.mark.parametrize(
    "column", ["GENDER", "SOURCE", "FORCED_LABOUR", "CONTROL", "RECRUITER", "EXPLOITATION", "LABOUR"]
)
def test_an_unknown_code_is_left_out_and_doubted_in_its_column(column: str) -> None:
    found = reading(**{column: "canary value"})
    assert found.findings == (Finding(Column[column], Why.UNKNOWN_CODE),)
    assert found.person is not None
    assert "canary" not in found.person.model_dump_json()


@pytest.mark.parametrize(
    ("year", "known"), [("2017", True), ("2025", True), ("2026", False), ("1989", False), ("x", False)]
)
def test_years(year: str, *, known: bool) -> None:
    found = reading(YEAR=year)
    assert (found.registered_at is not None) == known
    assert found.findings == (() if known else (Finding(Column.YEAR, Why.NO_YEAR),))


def test_a_row_without_any_value_is_refused() -> None:
    found = read_row(("",) * 9 + (" ",), 2025)
    assert found.person is None
    assert found.findings == (Finding(None, Why.NOTHING),)


@given(st.tuples(*[st.one_of(st.text(max_size=12), st.from_regex(r"Age \d{1,3}(-\d{1,3}|\+)", fullmatch=True))] * 10))
def test_any_text_has_a_reading_that_holds_none_of_it(values: tuple[str, ...]) -> None:
    found = read_row(values, 2025)
    if found.person is None:
        assert not any(value.strip() for value in values)
        return
    low = "".join(char for char in values[9].partition("-")[0].partition("+")[0] if char.isascii() and char.isdigit())
    if low and int(low) < 18:
        assert found.person.minor, "somebody who may be under 18 is a minor"
    written = found.person.model_dump(mode="json", exclude_defaults=True)
    assert set(written) <= {
        "age_band", "sex", "citizenship", "exploitation", "means_of_control", "recruiter_notes",
    }  # fmt: skip
