"""What an offer leaves out, against a count that is made the slow way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.vocabulary import AgeBand, Need, Sex
from services.intake.cases.domain import PersonFields
from services.intake.cases.fields import OFFER_FIELDS
from services.intake.disclosure.domain import Rule, allowed
from services.intake.disclosure.rarity import LEFT_OUT, STEPS, hidden, look, looks, spared
from services.intake.disclosure.rarity import shown as offer_of

ENOUGH = 3
PEOPLE = st.builds(
    PersonFields,
    age_band=st.sampled_from([None, AgeBand.INFANT, AgeBand.ADOLESCENT, AgeBand.ADULT]),
    sex=st.sampled_from([None, Sex.FEMALE, Sex.MALE]),
    needs=st.sampled_from(
        [(), (Need.STEP_FREE,), (Need.INTERPRETER, Need.STEP_FREE), (Need.STEP_FREE, Need.INTERPRETER)]
    ),
    languages=st.sampled_from([(), ("khm",), ("khm", "tha"), ("tha", "khm"), ("jra",)]),
)
PARTIES = st.lists(PEOPLE, min_size=1, max_size=2)
YES = dict.fromkeys(OFFER_FIELDS, Rule.ALLOWED)


def shown(person: PersonFields, steps: int) -> dict[str, Any]:
    return {
        name: tuple(sorted(value)) if isinstance(value, list) else value
        for name, value in person.shown(allowed(spared(YES, person, steps))).items()
    }


def same(party: Sequence[PersonFields], steps: int) -> frozenset[tuple[Any, int]]:
    """What somebody sees, whatever the order."""
    return frozenset(Counter(frozenset(shown(one, steps).items()) for one in party).items())


def steps_for(party: Sequence[PersonFields], everybody: Sequence[Sequence[PersonFields]]) -> int:
    """As the holder decides it."""
    alike = Counter[bytes]()
    for one in everybody:
        alike.update(set(looks(one, "KH-1")))
    return next((at for at, found in enumerate(looks(party, "KH-1")) if alike[found] >= ENOUGH), STEPS)


def sharing(party: Sequence[PersonFields], steps: int, everybody: Sequence[Sequence[PersonFields]]) -> int:
    """How many could be what somebody sees here: they hold the same in every field that is shown, or would be shown so."""
    return sum(any(same(party, steps) == same(one, at) for at in range(STEPS)) for one in everybody)


@given(st.lists(PARTIES, min_size=1, max_size=12))
@settings(max_examples=150, deadline=None)
def test_no_offer_shows_a_combination_that_too_few_share_beyond_what_a_house_must_know(
    everybody: list[list[PersonFields]],
) -> None:
    for party in everybody:
        steps = steps_for(party, everybody)
        beyond = any(set(shown(one, steps)) & set(LEFT_OUT) - {"age_band"} for one in party) or any(
            "age_band" in shown(one, steps) and one.band is not AgeBand.INFANT for one in party
        )
        assert not beyond or sharing(party, steps, everybody) >= ENOUGH


@given(st.lists(PARTIES, min_size=1, max_size=8), st.permutations(range(3)))
@settings(max_examples=50, deadline=None)
def test_what_several_offers_showed_of_somebody_is_what_the_fullest_showed(
    everybody: list[list[PersonFields]], order: list[int]
) -> None:
    for one in everybody[0]:
        pooled: dict[str, Any] = {}
        for steps in order[:2]:
            pooled |= shown(one, steps)
        assert pooled == shown(one, min(order[:2]))


@given(PARTIES)
@settings(max_examples=50, deadline=None)
def test_who_looks_the_same_has_the_same_digest_and_nobody_else(party: list[PersonFields]) -> None:
    for steps in range(STEPS + 1):
        assert look(party, "KH-1", steps) == look(list(reversed(party)), "KH-1", steps)
        assert look(party, "KH-1", steps) != look(party, "TH-27", steps)
        other = [PersonFields(age_band=AgeBand.OLDER, sex=Sex.OTHER, languages=("zha",)), *party[1:]]
        assert (look(party, "KH-1", steps) == look(other, "KH-1", steps)) == (same(party, steps) == same(other, steps))


@given(PARTIES, PARTIES)
@settings(max_examples=150, deadline=None)
def test_who_looks_the_same_is_shown_the_same(one: list[PersonFields], other: list[PersonFields]) -> None:
    for steps in range(STEPS + 1):
        told = [
            offer_of(party, [allowed(spared(YES, person, steps)) for person in party])
            for party in (one, list(reversed(one)), other)
        ]
        assert told[0] == told[1]
        assert (told[0] == told[2]) == (look(one, "KH-1", steps) == look(other, "KH-1", steps))


def test_needs_and_that_somebody_is_an_infant_are_never_left_out() -> None:
    infant = PersonFields(age_years=1, sex=Sex.FEMALE, needs=(Need.INFANT_CARE,), languages=("jra",))
    child = PersonFields(age_years=2, sex=Sex.FEMALE, needs=(Need.ONE_TO_ONE_WATCH,), languages=("jra",))
    assert shown(infant, STEPS) == {"age_band": "infant", "needs": ("infant_care",)}
    assert shown(child, STEPS) == {"needs": ("one_to_one_watch",)}
    assert hidden(child, 0) == frozenset()


def test_the_verdict_says_why_and_another_refusal_stays_what_it_was() -> None:
    person = PersonFields(age_years=30, sex=Sex.FEMALE, languages=("jra",))
    verdicts = {**YES, "languages": Rule.AGREEMENT}
    assert spared(verdicts, person, 2) == {
        "age_band": Rule.RARE, "sex": Rule.ALLOWED, "needs": Rule.ALLOWED, "languages": Rule.AGREEMENT,
    }  # fmt: skip


def test_every_field_of_an_offer_is_left_out_at_some_step_but_needs() -> None:
    assert {*LEFT_OUT, "needs"} == set(OFFER_FIELDS)
