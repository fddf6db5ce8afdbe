"""Code lists: no list changes without a new version, and every code is said in both languages."""

from __future__ import annotations

import json
from enum import StrEnum

import pytest

from services.cli import code_lists
from services.cli.code_lists import LISTS, digest
from spean.web.labels import LABELS
from spean.web.words import languages


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_that_of_its_last_version_and_versions_are_never_taken_back(name: str) -> None:
    codes, versions = LISTS[name]
    assert digest(codes) == versions[-1], "the list has changed: add the digest of its new version behind the others"
    assert len(set(versions)) == len(versions)


@pytest.mark.parametrize("name", LISTS)
def test_every_code_has_a_label_in_every_language(name: str) -> None:
    for code in LISTS[name][0]:
        said = code_lists.labels(code)
        assert said.keys() == languages().keys(), code
        assert code.value in LABELS[type(code)], "a label of its own, also where it is the code's word"


def test_one_code_more_or_less_or_another_is_another_list() -> None:
    class Before(StrEnum):
        ONE = "one"
        TWO = "two"

    class Sorted(StrEnum):
        TWO = "two"
        ONE = "one"

    class After(StrEnum):
        ONE = "one"

    assert digest(Before) == digest(Sorted) != digest(After)


def test_the_document_tells_name_version_and_labels() -> None:
    found = {one["name"]: one for one in json.loads(code_lists.document())["lists"]}
    assert found.keys() == LISTS.keys()
    decisions = {one["code"]: one["labels"] for one in found["consent-decision"]["codes"]}
    assert found["consent-decision"]["version"] == 1
    assert decisions["share_referral"]["en"] == "Sharing for a referral"
    assert decisions["share_referral"]["km"]
