"""What stands in for consent: what each kind may cover, when it counts, and when somebody comes of age."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from schemas.vocabulary import AgeBand, DataCategory, Purpose, ServiceType
from services.intake.bases import domain
from services.intake.bases.domain import Basis, Kind, Limit, Proposal, State
from services.intake.cases.domain import PersonFields, adult_from
from services.intake.disclosure.domain import Exclusion, Person, Rule, grounds
from spean.problem import Refusal
from tests.unit.test_gate import ASK, HOUR, NOW, PERSON, THEM, verdict

_C = DataCategory
NOBODY = replace(PERSON, service=None, sharing=None)
BASIS = Basis(
    UUID(int=9), Kind.VITAL_INTEREST, frozenset(DataCategory), frozenset(Purpose), frozenset({THEM}), (), frozenset(),
    NOW - HOUR, NOW + HOUR, 0,
)  # fmt: skip


def under(kind: Kind, person: Person = NOBODY, **more: Any) -> Person:
    return replace(person, bases=(replace(BASIS, kind=kind, **more),))


def named(person: Person) -> Rule:
    return verdict("name", person=person)


@pytest.mark.parametrize("kind", [Kind.VITAL_INTEREST, Kind.EMERGENCY])
def test_what_speaks_for_a_person_ends_with_their_next_word(kind: Kind) -> None:
    assert named(under(kind)) is Rule.ALLOWED
    assert named(replace(under(kind), generation=1)) is Rule.SERVICE_CONSENT
    assert named(replace(under(kind), sharing_shut=True)) is Rule.FENCED
    assert named(replace(under(kind), exclusions=(Exclusion("organisation", str(THEM)),))) is Rule.EXCLUDED
    assert named(under(kind, until=NOW)) is Rule.SERVICE_CONSENT
    assert named(under(kind, categories=frozenset({_C.FUNCTIONAL_NEEDS}))) is Rule.SERVICE_CONSENT
    assert grounds(ASK, under(kind)).bases == (BASIS.id,)


@pytest.mark.parametrize("kind", [Kind.COURT_ORDER, Kind.MANDATORY_REPORTING])
def test_the_law_goes_beyond_an_exclusion_and_beyond_a_stop_only_where_it_was_justified_anew(kind: Kind) -> None:
    child = replace(NOBODY, minor=True, exclusions=(Exclusion("organisation", str(THEM)),), generation=3)
    assert named(under(kind, child)) is Rule.ALLOWED, "an exclusion may be older or younger"
    stopped = replace(child, service_shut=True)
    assert named(under(kind, stopped, generation=2)) is Rule.EXCLUDED
    assert named(under(kind, stopped, generation=3)) is Rule.ALLOWED
    assert named(under(kind, stopped, generation=3, organisations=frozenset({UUID(int=3)}))) is Rule.EXCLUDED
    assert named(under(kind, stopped, generation=3, until=NOW)) is Rule.EXCLUDED
    assert under(kind, stopped, generation=2).silent(NOW)
    assert not under(kind, stopped, generation=3).silent(NOW)


def test_only_a_minor_is_reported_on() -> None:
    assert named(under(Kind.MANDATORY_REPORTING, replace(NOBODY, minor=True))) is Rule.ALLOWED
    assert named(under(Kind.MANDATORY_REPORTING)) is Rule.SERVICE_CONSENT


def test_an_emergency_is_no_way_into_a_family_whose_risk_nobody_has_checked() -> None:
    home = replace(ASK, service_type=ServiceType.FAMILY_ASSESSMENT)
    vital = under(Kind.VITAL_INTEREST)
    assert verdict(person=vital, ask=home) is Rule.SERVICE_CONSENT
    checked = replace(vital, bases=(*vital.bases, replace(BASIS, kind=Kind.FAMILY_CHECK)))
    assert verdict(person=checked, ask=home) is Rule.ALLOWED


@pytest.mark.parametrize("kind", [Kind.ASSESSMENT, Kind.DETERMINATION, Kind.FAMILY_CHECK])
def test_nothing_else_speaks_for_a_person(kind: Kind) -> None:
    assert named(under(kind, replace(NOBODY, minor=True))) is Rule.SERVICE_CONSENT


def test_an_assessment_stands_in_for_the_guardian_for_what_it_names() -> None:
    girl, kind = replace(PERSON, minor=True), Kind.ASSESSMENT
    assert named(girl) is Rule.GUARDIAN
    assert named(under(kind, girl)) is Rule.ALLOWED
    assert grounds(ASK, under(kind, girl)).bases == (BASIS.id,)
    for narrower in (
        {"organisations": frozenset({UUID(int=3)})}, {"purposes": frozenset({Purpose.FOLLOW_UP})}, {"until": NOW},
        {"begins": NOW + HOUR}, {"categories": frozenset({_C.FUNCTIONAL_NEEDS})},
    ):  # fmt: skip
        assert named(under(kind, girl, **narrower)) is Rule.GUARDIAN
    less = replace(girl, sharing=replace(girl.sharing, categories=frozenset({_C.HEALTH})))  # type: ignore[type-var]
    assert named(under(kind, less)) is Rule.CONSENT_CATEGORY, "it never goes beyond the young person's own word"


def test_a_panel_is_needed_for_what_lasts_and_stands_in_for_the_guardian_there_only() -> None:
    girl = replace(PERSON, minor=True)
    foster = replace(ASK, service_type=ServiceType.FOSTER_KINSHIP)
    panel = under(Kind.DETERMINATION, girl, services=frozenset({ServiceType.FOSTER_KINSHIP}))
    assert verdict(person=panel, ask=foster) is Rule.ALLOWED
    assert verdict(person=panel, ask=replace(ASK, service_type=ServiceType.ESCORTED_RETURN)) is Rule.DETERMINATION
    assert verdict(person=panel, ask=replace(ASK, service_type=ServiceType.EMERGENCY_BED)) is Rule.GUARDIAN
    assert verdict(person=under(Kind.ASSESSMENT, girl), ask=foster) is Rule.DETERMINATION
    assert verdict(person=under(Kind.VITAL_INTEREST, girl), ask=foster) is Rule.DETERMINATION
    guarded = replace(
        girl,
        service=replace(girl.service, guardian=True),
        sharing=replace(girl.sharing, guardian=True),  # type: ignore[type-var]
    )
    assert verdict(person=guarded, ask=foster) is Rule.DETERMINATION, "a guardian is no panel"


# --- what may be proposed -----------------------------------------------------------------------------------------

LIMIT = Limit(people=2, decide_within=timedelta(hours=24), lasts=timedelta(hours=72))
THEIRS: dict[str, Any] = {"organisations": [str(THEM)], "classes": []}
MADE = Proposal(
    Kind.COURT_ORDER, frozenset({_C.IDENTITY}), frozenset(Purpose), THEIRS, frozenset(), None, "a court has ordered it"
)
VITAL = replace(MADE, kind=Kind.VITAL_INTEREST, categories=frozenset({_C.FUNCTIONAL_NEEDS, _C.SAFETY, _C.HEALTH}))
ASSESSED = replace(MADE, kind=Kind.ASSESSMENT)
QUICK = replace(VITAL, kind=Kind.EMERGENCY, categories=frozenset({_C.FUNCTIONAL_NEEDS}))
CLASSES = {"organisations": [], "classes": [{"type": "shelter"}]}


def check(made: Proposal, *, minor: bool = True, stopped: bool = False) -> datetime:
    return domain.checked(made, minor=minor, stopped=stopped, limit=LIMIT, now=NOW)


@pytest.mark.parametrize(
    ("made", "more", "code"),
    [
        (ASSESSED, {"minor": False}, "not-a-minor"),
        (replace(MADE, kind=Kind.MANDATORY_REPORTING), {"minor": False}, "not-a-minor"),
        (VITAL, {"stopped": True}, "person-stopped"),
        (QUICK, {"stopped": True}, "person-stopped"),
        (replace(QUICK, spoken=True), {}, "guardian"),
        (replace(VITAL, spoken=True), {"minor": False}, "invalid"),
        (replace(VITAL, categories=VITAL.categories | {_C.ACCOUNT}), {}, "invalid"),
        (replace(QUICK, categories=QUICK.categories | {_C.SAFETY}), {}, "invalid"),
        (replace(VITAL, categories=frozenset()), {}, "invalid"),
        (replace(MADE, purposes=frozenset()), {}, "invalid"),
        (replace(MADE, recipients={**THEIRS, "classes": [{"type": "shelter"}]}), {}, "invalid"),
        (replace(MADE, recipients={"organisations": [], "classes": []}), {}, "invalid"),
        (replace(VITAL, recipients={"organisations": [], "classes": []}), {}, "invalid"),
        (replace(MADE, kind=Kind.DETERMINATION), {}, "invalid"),
        (replace(ASSESSED, services=frozenset({ServiceType.GROUP_HOME})), {}, "invalid"),
        (replace(ASSESSED, at_once=True), {}, "invalid"),
        (replace(MADE, valid_until=NOW), {}, "invalid"),
        (replace(MADE, valid_until=NOW + timedelta(hours=73)), {}, "invalid"),
    ],
)
def test_what_a_kind_does_not_allow_is_refused(made: Proposal, more: dict[str, bool], code: str) -> None:
    with pytest.raises(Refusal) as refusal:
        check(made, **more)
    assert refusal.value.code == code


def test_what_may_be_proposed_ends_in_time() -> None:
    assert check(MADE, stopped=True) == NOW + LIMIT.lasts
    assert check(VITAL) == check(replace(VITAL, recipients=CLASSES)) == NOW + LIMIT.lasts
    assert check(replace(QUICK, spoken=True), minor=False) == NOW + LIMIT.lasts
    assert check(replace(ASSESSED, valid_until=NOW + HOUR)) == NOW + HOUR
    nothing = replace(MADE, kind=Kind.FAMILY_CHECK, categories=frozenset(), purposes=frozenset(), recipients=CLASSES)
    assert check(nothing, minor=False) == NOW + LIMIT.lasts


def test_what_is_final_stays_and_everything_else_has_an_end() -> None:
    assert set(State) - {State.PROPOSED, State.IN_FORCE} == domain.FINAL
    assert not domain.AT_ONCE & domain.INSTEAD_OF_GUARDIAN


def test_the_list_for_a_panel_has_a_date() -> None:
    assert ServiceType.FOSTER_KINSHIP in domain.determined(NOW)
    assert domain.determined(datetime(2025, 12, 31, tzinfo=UTC)) == frozenset()


# --- coming of age ------------------------------------------------------------------------------------------------

WRITTEN = datetime(2024, 2, 29, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("person", "adult"),
    [
        (PersonFields(age_years=17), datetime(2025, 3, 2, 8, tzinfo=UTC)),
        (PersonFields(age_years=0), datetime(2042, 3, 2, 8, tzinfo=UTC)),
        (PersonFields(age_band=AgeBand.ADOLESCENT), datetime(2030, 3, 2, 8, tzinfo=UTC)),
        (PersonFields(age_band=AgeBand.CHILD), datetime(2040, 3, 1, 8, tzinfo=UTC)),
        (PersonFields(), None),
    ],
)
def test_somebody_is_of_age_when_nobody_of_that_age_can_be_younger(person: PersonFields, adult: datetime) -> None:
    assert adult_from(person, WRITTEN) == adult
    assert adult_from(person, None) is None, "without a date nobody grows up by themselves"


def test_who_was_of_age_when_it_was_written_always_is() -> None:
    for person in (PersonFields(age_years=18), PersonFields(age_band=AgeBand.ADULT)):
        found = adult_from(person, None)
        assert found is not None
        assert found < datetime(1900, 1, 1, tzinfo=UTC)


def test_a_guardians_consent_ends_with_the_eighteenth_birthday_and_ones_own_does_not() -> None:
    grown = replace(PERSON, of_age=NOW)
    assert named(grown) is Rule.ALLOWED, "an adult's own word, whenever it was given"
    with_guardian = replace(grown, sharing=replace(grown.sharing, guardian=True))  # type: ignore[type-var]
    assert named(with_guardian) is Rule.OF_AGE
    assert named(replace(with_guardian, of_age=NOW + timedelta(microseconds=1))) is Rule.ALLOWED
    assert named(replace(with_guardian, of_age=NOW - HOUR)) is Rule.ALLOWED, "given when they were of age"


@pytest.mark.parametrize(
    ("one", "other", "two"),
    [
        ("person:1", "person:2", True), ("person:1", "person:1", False),
        ("cases/dara", "cases/bopha", True), ("cases/dara", "hotline/bopha", True), ("cases/dara", "hotline/dara", False),
        ("cases", "hotline", False), ("cases/dara", "hotline", False), ("person:1", "cases/dara", False),
        ("person:1", "cases", False),
    ],
)  # fmt: skip
def test_who_are_certainly_two(one: str, other: str, *, two: bool) -> None:
    assert domain.two_people(one, other) == domain.two_people(other, one) == two


def test_whom_a_system_names_is_somebody() -> None:
    assert domain.somebody("cases", None) == "cases"
    assert domain.somebody("cases", "Dara") == domain.somebody("cases", "DARA") == "cases/dara"
    assert domain.somebody("person:1", "dara") == "person:1", "whoever has signed in is who they are"
    assert [domain.is_somebody(one) for one in ("cases", "cases/dara", "person:1")] == [False, True, True]
