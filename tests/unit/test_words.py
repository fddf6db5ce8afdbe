"""The texts of the pages: every language whole, placeholders kept, times and numbers as the language writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from schemas import vocabulary
from schemas.rights import StaffRole
from services.cli import words as tool
from spean.problem import REFUSALS
from spean.web import labels, refusals
from spean.web.words import Words, catalogue, chosen, languages

OTHERS = [code for code in languages() if code != "en"]
PLACEHOLDER = re.compile(r"%\([a-z_]+\)s|%%|%")
# Met by systems only: no page sends what these are about.
NOT_ON_PAGES = {
    "not-json", "head-too-large", "header-twice", "no-such-operation", "no-token", "bad-token", "bad-client", "bad-grant", "too-often", "too-slow",
    "coordinates-network", "coordinator-unfit", "suspended-lately", "key-missing", "version-missing", "version-unreadable", "no-session", "stale-form",
}  # fmt: skip


def test_no_text_is_missing_in_any_language() -> None:
    assert tool.missing() == {}


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_takes_the_same_values(language: str) -> None:
    for text, forms in catalogue(language).texts.items():
        wanted = set(PLACEHOLDER.findall(text)) - {"%(n)s"}
        for form in forms:
            assert set(PLACEHOLDER.findall(form)) - {"%(n)s"} == wanted, text


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_is_as_the_tool_writes_it(language: str) -> None:
    found = {path.stem: (path, read) for path, read in tool._catalogues()}
    path, read = found[language]
    assert path.read_bytes() == tool.written(tool.brought_up(read, tool.in_code())), "run `spean words update`"


@pytest.mark.parametrize("codes", labels.LABELS, ids=lambda one: one.__name__)
def test_every_code_has_a_label(codes: type) -> None:
    assert set(labels.LABELS[codes]) >= {code.value for code in codes}


def test_every_list_that_a_page_shows_has_labels() -> None:
    lists = {one for one in vars(vocabulary).values() if isinstance(one, type) and issubclass(one, vocabulary.StrEnum)}
    assert lists - {vocabulary.StrEnum, vocabulary.Open} | {StaffRole} == set(labels.LABELS)


def test_every_refusal_is_said_in_words() -> None:
    assert set(REFUSALS) - NOT_ON_PAGES <= set(refusals.PROBLEMS)


def test_the_language_of_a_page() -> None:
    assert chosen("km") == "km"
    assert chosen(None, None, accepted="fr-FR;q=0.9, km-KH;q=0.8") == "km"
    assert chosen("xx", accepted="../../etc") == "en"


def test_times_are_by_the_clock_of_the_place() -> None:
    at = datetime(2026, 3, 1, 18, 5, tzinfo=UTC)
    assert Words("en", "KH").time(at) == "Mon 2 Mar, 01:05"
    assert Words("en", "MM").clock(at) == "00:35"
    assert Words("en", "nowhere").clock(at) == "01:05"
    assert Words("km", "KH").clock(at) == "០១:០៥"
    assert "ភ្នំពេញ" in Words("km", "KH").zone


def test_numbers_and_plurals() -> None:
    english, khmer = Words("en"), Words("km")
    assert english.texts("%(n)s place", "%(n)s places together", 1) == "1 place"
    assert english.texts("%(n)s place", "%(n)s places together", 12) == "12 places together"
    assert "១២" in khmer.texts("%(n)s place", "%(n)s places together", 12)
    assert english.span(timedelta(minutes=-12)) == "12 minutes"
