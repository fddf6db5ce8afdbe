"""Every form of stopping in every state: played on the real services beside what the rules say, and the page of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.referral.referrals.domain import OfferState, State
from tests.integration import stopping_played
from tests.integration.stopping_expected import COLUMNS, GATE, PAGE, expected, page
from tests.integration.stopping_forms import FORMS
from tests.integration.stopping_scene import Stage

# Which state of docs/states.md each stage is, and in which states the offers are that somebody in it has had.
STATES = {
    Stage.NOT_YET: State.REQUESTED, Stage.REQUESTED: State.REQUESTED, Stage.SENT: State.OFFERED,
    Stage.SEEN: State.OFFERED, Stage.ACCEPTED: State.ACCEPTED, Stage.READY: State.READY, Stage.MISSING: State.MISSING,
    Stage.UNVERIFIED: State.IN_PROGRESS, Stage.ARRIVED: State.IN_PROGRESS, Stage.COMPLETED: State.COMPLETED,
    Stage.UNROUTABLE: State.UNROUTABLE, Stage.ON_HOLD: State.ON_HOLD, Stage.CANCELLED: State.CANCELLED,
}  # fmt: skip
OFFERS = {
    Stage.SENT: OfferState.SENT, Stage.SEEN: OfferState.SEEN, Stage.ACCEPTED: OfferState.ACCEPTED,
    Stage.UNROUTABLE: OfferState.EXPIRED, Stage.ON_HOLD: OfferState.REJECTED, Stage.CANCELLED: OfferState.WITHDRAWN,
}  # fmt: skip
WHEN_REFUSED = {"erase", "cancel"}


def test_the_page_says_what_the_rules_say() -> None:
    by_rule = {(form.key, stage): expected(form.key, stage) for form in FORMS for stage in Stage}
    assert PAGE.read_text(encoding="utf-8") == page(by_rule), "run python -m tests.integration.stopping_played"


def test_no_state_is_left_out() -> None:
    assert set(STATES) == set(Stage)
    assert set(STATES.values()) == set(State)
    assert set(OFFERS.values()) == set(OfferState)
    assert [stage for stages in COLUMNS.values() for stage in stages] == sorted(Stage, key=_place_in_table)


def _place_in_table(stage: Stage) -> int:
    return next(number for number, stages in enumerate(COLUMNS.values()) if stage in stages)


def test_withdrawn_sharing_never_costs_a_bed_by_the_rules_either() -> None:
    for key in GATE:
        for stage in (Stage.ACCEPTED, Stage.READY, Stage.MISSING, Stage.UNVERIFIED, Stage.ARRIVED):
            found = expected(key, stage)
            assert (found.bed, found.offer, found.code) == ("kept", "as before", found.code and "works"), (key, stage)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_every_form_in_every_state_is_as_the_rules_say(workspace: Path) -> None:
    async with stopping_played.stood(workspace) as (world, way):
        seen = await stopping_played.played(world, way)
    assert seen.keys() == {(form.key, stage) for form in FORMS for stage in Stage}
    otherwise = {pair: (found, expected(*pair)) for pair, found in seen.items() if found != expected(*pair)}
    assert otherwise == {}
    assert page(seen) == PAGE.read_text(encoding="utf-8")
