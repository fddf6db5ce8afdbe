"""What remains of a consent of which a part is taken back; whom a network's places take in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.questions import Eligibility, OrganisationFacts, served_by
from schemas.vocabulary import ConsentDecision, ConsentState, DataCategory, OrganisationType, Purpose, Served, Sex
from services.intake.consent import checks, notices
from services.intake.consent.domain import Part, Record, narrowed
from services.intake.disclosure.recipients import covered, recipients_in
from spean.problem import Refusal

ONE, OTHER = UUID(int=1), UUID(int=2)
GIVEN = Record(
    decision=ConsentDecision.SHARE_REFERRAL, state=ConsentState.GIVEN, categories=tuple(DataCategory),
    purposes=tuple(Purpose), recipients={"organisations": [str(ONE)], "classes": []},
    valid_from=datetime(2026, 3, 1, tzinfo=UTC), valid_until=None, expressed="spoken", language="khm", notice="1-khm",
    interpreter=True, guardian=None, recorded_by="test",
)  # fmt: skip
GROUPS = [one for one in Served if one is not Served.UNKNOWN]
TYPES = ["shelter", "clinic"]
CLASS = st.fixed_dictionaries({
    "type": st.sampled_from([None, *TYPES]), "country": st.sampled_from([None, "KH", "TH"]),
    "serves": st.lists(st.sampled_from([one.value for one in GROUPS]), max_size=2, unique=True),
})  # fmt: skip
FACTS = st.builds(
    OrganisationFacts, organisation=st.sampled_from([ONE, OTHER]), type=st.sampled_from(TYPES).map(OrganisationType),
    country=st.sampled_from(["KH", "TH"]), law_enforcement=st.sampled_from([False]), status=st.just("active"),
    serves=st.one_of(st.none(), st.lists(st.sampled_from(GROUPS), max_size=1).map(tuple)),
)  # fmt: skip


def reaches(recipients: dict[str, Any], facts: OrganisationFacts) -> bool:
    return covered(facts, *recipients_in(recipients))


@settings(max_examples=200, deadline=None)
@given(classes=st.lists(CLASS, max_size=3), taken=CLASS, facts=FACTS)
def test_who_is_of_a_class_that_was_taken_back_is_in_none_that_remains(
    classes: list[dict[str, Any]], taken: dict[str, Any], facts: OrganisationFacts
) -> None:
    """Of organisations that take in one kind of people; who takes in several may be in another class still."""
    left = narrowed(replace(GIVEN, recipients={"organisations": [], "classes": classes}), Part("class", taken))
    if reaches({"organisations": [], "classes": [taken]}, facts):
        assert not reaches(left.recipients, facts)
    elif not reaches({"organisations": [], "classes": classes}, facts):
        assert not reaches(left.recipients, facts), "nothing is opened by it"


def test_each_part_goes_alone() -> None:
    left = narrowed(GIVEN, Part("category", DataCategory.HEALTH))
    assert set(GIVEN.categories) - set(left.categories) == {DataCategory.HEALTH}
    assert replace(left, categories=GIVEN.categories) == GIVEN
    left = narrowed(GIVEN, Part("purpose", Purpose.FOLLOW_UP))
    assert set(GIVEN.purposes) - set(left.purposes) == {Purpose.FOLLOW_UP}
    assert narrowed(GIVEN, Part("recipient", OTHER)) == GIVEN
    assert narrowed(GIVEN, Part("recipient", ONE)).empty
    assert not GIVEN.empty


def test_houses_for_others_stay_where_those_for_girls_are_taken_back() -> None:
    girls, boys = ({"type": "shelter", "country": "KH", "serves": [one]} for one in ("girls", "boys"))
    every = {"type": "shelter", "country": "KH"}
    given_ = replace(GIVEN, recipients={"organisations": [], "classes": [girls, boys, every]})
    assert narrowed(given_, Part("class", girls)).recipients["classes"] == [boys]
    assert narrowed(given_, Part("class", every)).recipients["classes"] == []


def test_whom_places_take_in_is_read_off_their_rules() -> None:
    girls = Eligibility(sexes=(Sex.FEMALE,), max_age=17)
    men = Eligibility(sexes=(Sex.MALE,), min_age=18)
    assert served_by([girls]) == (Served.GIRLS,)
    assert served_by([girls, men]) == (Served.GIRLS, Served.MEN)
    assert set(served_by([Eligibility()])) == set(GROUPS)
    assert served_by([Eligibility(sexes=(Sex.FEMALE,), min_age=17, max_age=18)]) == (Served.GIRLS, Served.WOMEN)
    assert served_by([Eligibility(sexes=(Sex.OTHER,))]) == served_by([]) == ()


def test_a_notice_may_be_taken_out_of_force(tmp_path: Path) -> None:
    path = tmp_path / "1-khm.txt"
    path.write_text("# Tag: km\n# Reviewed: no\n# Ended: 2026-03-02\n\nOne.\n", encoding="utf-8")
    notice = notices.read(path)
    checks.expect_heard(GIVEN, notice, datetime(2026, 3, 1, 23, tzinfo=UTC))
    with pytest.raises(Refusal, match="notice-expired"):
        checks.expect_heard(GIVEN, notice, datetime(2026, 3, 2, tzinfo=UTC))
