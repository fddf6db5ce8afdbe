"""Versions of one event beside each other: raised for readers, held back for writers, tried at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

import pytest

from schemas import events as e
from schemas import registry, versions
from schemas.events import EventData
from schemas.registry import PREFIX, TYPES
from schemas.versions import STEPS, Step, faults
from schemas.vocabulary import Area, ReasonFamily, Urgency, WaitsFor
from spean.settings import Settings, WrongSettings

HELD_1, HELD_2 = PREFIX + "referral.held.v1", PREFIX + "referral.held.v2"
STEP = next(step for step in STEPS if step.newer is e.ReferralHeldV2)


def test_the_chain_fits_the_registry() -> None:
    versions.check()
    assert faults(TYPES, STEPS) == []


def test_an_older_event_is_raised_to_what_handlers_know() -> None:
    assert versions.newest(HELD_1) == versions.newest(HELD_2) == HELD_2
    for reason, waits_for in (("closed", "coordinator"), ("stopped", "sender"), ("other", "sender")):
        type_, value = versions.raised(HELD_1, f'{{"reason": "{reason}"}}'.encode())
        assert type_ == HELD_2
        assert registry.read(type_, value) == e.ReferralHeldV2(
            reason=ReasonFamily(reason), waits_for=WaitsFor(waits_for)
        )


def test_a_code_that_this_reader_does_not_know_stays_unknown_on_the_way_up() -> None:
    type_, value = versions.raised(HELD_1, b'{"reason": "flood", "more": 1}')
    said = registry.read(type_, value)
    assert isinstance(said, e.ReferralHeldV2)
    assert said.reason is ReasonFamily.UNKNOWN


def test_what_is_newest_or_not_known_is_not_touched() -> None:
    for type_ in (HELD_2, PREFIX + "referral.held.v3", PREFIX + "weather.changed.v1"):
        assert versions.raised(type_, b"\xff") == (type_, b"\xff")
    with pytest.raises(registry.Unreadable, match="invalid"):
        versions.raised(HELD_1, b"\xff")


def test_a_writer_that_is_held_back_says_the_older_version() -> None:
    said = e.ReferralHeldV2(reason=ReasonFamily.CLOSED, waits_for=WaitsFor.COORDINATOR)
    back = versions.held_back(" referral.held.v1 ,")
    assert back == {HELD_1}
    assert versions.as_said(said, back) == e.ReferralHeldV1(reason=ReasonFamily.CLOSED)
    assert versions.as_said(said, frozenset()) is said
    seen = e.OfferSeenV1(offer=UUID(int=1))
    assert versions.as_said(seen, back) is seen


@pytest.mark.parametrize(
    "names", ["referral.held.v2", "referral.held.v9", "offer.seen.v1", "held", "referral.held.v1,referral.held.v1"]
)
def test_only_an_older_version_can_be_held_back_at(names: str) -> None:
    with pytest.raises(WrongSettings, match=r"SPEAN_SAY_AS: must list events, .*: .*referral\.held\.v1"):
        Settings(say_as=names)


# --- what is tried at start -----------------------------------------------------------------------------------------


class HeldV3(EventData):
    """A version that does not exist."""

    reason: ReasonFamily
    waits_for: WaitsFor
    urgent: bool
    area: Area | None = None


class Twin(HeldV3):
    """The same fields, and another event."""


def _up(said: e.ReferralHeldV2) -> EventData:
    return HeldV3(reason=said.reason, waits_for=said.waits_for, urgent=False)


def _down(said: HeldV3) -> EventData:
    return e.ReferralHeldV2(reason=said.reason, waits_for=said.waits_for)


def _knows_one_code_only(said: e.ReferralHeldV2) -> EventData:
    return HeldV3(reason=said.reason, waits_for=said.waits_for, urgent={WaitsFor.SENDER: False}[said.waits_for])


def _unchecked(said: e.ReferralHeldV2) -> EventData:
    return HeldV3.model_construct(reason=said.reason, waits_for=said.waits_for, urgent="perhaps")


def _twin(said: e.ReferralHeldV2) -> EventData:
    return Twin(reason=said.reason, waits_for=said.waits_for, urgent=False)


def _other_model(_: HeldV3) -> EventData:
    return e.ReferralUnroutableV1()


THIRD = PREFIX + "referral.held.v3"
THREE = {**TYPES, THIRD: HeldV3}
GOOD = Step(e.ReferralHeldV2, HeldV3, up=_up, down=_down)
WITHOUT_SECOND = {type_: model for type_, model in THREE.items() if type_ != HELD_2}
BROKEN: Mapping[str, tuple[Mapping[str, type[EventData]], list[Step], str]] = {
    "no step": (THREE, [STEP], "0 steps from referral.held.v2 to referral.held.v3, not one"),
    "two steps": (THREE, [STEP, GOOD, GOOD], "2 steps from referral.held.v2 to referral.held.v3, not one"),
    "a gap": (WITHOUT_SECOND, [], "referral.held.v2 is missing"),
    "a step over a version": (
        THREE, [STEP, GOOD, Step(e.ReferralHeldV1, HeldV3, up=_up, down=_down)],
        "ReferralHeldV1 to HeldV3 is no step from one version to the next",
    ),
    "a code that it has not thought of": (
        THREE, [STEP, replace(GOOD, up=_knows_one_code_only)],
        "referral.held.v2 to referral.held.v3 fails (KeyError)",
    ),
    "a value that the next version does not allow": (
        THREE, [STEP, replace(GOOD, up=_unchecked)], "referral.held.v2 to referral.held.v3 fails (ValidationError)",
    ),
    "another event on the way down": (
        THREE, [STEP, replace(GOOD, down=_other_model)], "referral.held.v3 to referral.held.v2 fails",
    ),
    "another event with the same fields": (
        THREE, [STEP, replace(GOOD, up=_twin)], "referral.held.v2 to referral.held.v3 makes something else",
    ),
    "the event that it was given": (
        THREE, [STEP, replace(GOOD, up=lambda said: said)], "referral.held.v2 to referral.held.v3 fails",
    ),
}  # fmt: skip


def test_a_third_version_with_its_step_is_right() -> None:
    assert faults(THREE, [STEP, GOOD]) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_chain_that_is_broken_is_told(name: str) -> None:
    types, steps, told = BROKEN[name]
    assert any(told in fault for fault in faults(types, steps)), faults(types, steps)


def test_every_code_and_every_missing_field_is_tried() -> None:
    tried = versions.samples(e.HandoffRequestedV1)
    assert all(isinstance(one, e.HandoffRequestedV1) for one in tried)
    assert {one.urgency for one in tried if isinstance(one, e.HandoffRequestedV1)} == set(Urgency)
    assert {getattr(one, "need_by", 0) is None for one in tried} == {True, False}
    assert all(versions.samples(model) for model in TYPES.values())
