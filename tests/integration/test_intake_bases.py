"""What stands in for consent, over the public API: proposed by one, decided by others, at the gate, by the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.builders import eventually, second_system
from tests.integration.deciding import (  # noqa: F401 (fixtures)
    GUARDIAN,
    MOST,
    WHY,
    Staff,
    case_of,
    girl_of_fifteen,
    staff_of_one,
    two_systems,
)
from tests.integration.holder import database, refused, shared_world  # noqa: F401 (fixtures)

# --- two people assess a minor's best interests -------------------------------------------------------------------


async def test_two_people_stand_in_for_a_guardian_and_for_what_they_named_only(girl: Staff) -> None:
    with refused("guardian"):
        await girl.first.post(f"/intake/entries/{girl.entry}/case")
    basis = await girl.propose("best_interests_assessment", **MOST)
    with refused("guardian"):
        await girl.first.post(f"/intake/entries/{girl.entry}/case")
    assert await girl.decide(basis, girl.second) == "in_force"
    case = await case_of(girl)
    member = (await case.packet())["members"][0]
    assert member["name"] == "Girl"
    assert "health_notes" not in member, "the assessment does not name health"
    rows = (await girl.first.get(f"/intake/handoffs/{case.handoff}/disclosures"))["disclosures"]
    assert rows[-1]["refused"]["health_notes"] == "guardian"


async def test_an_assessment_is_never_in_place_of_the_young_persons_own_word(staff: Any) -> None:
    boy: Staff = await staff(age_years=15)
    await boy.world.consent(boy.entry, "service")
    await boy.agreed("best_interests_assessment", **MOST)
    await boy.first.post(f"/intake/entries/{boy.entry}/case")
    with refused("sharing-consent"):
        await boy.world.handoff(boy.entry)


async def test_the_same_person_never_decides_twice(girl: Staff) -> None:
    basis = await girl.propose("best_interests_assessment", **MOST)
    with refused("same-person"):
        await girl.decide(basis, girl.first)
    waits = (await girl.waiting())["undecided"]
    assert [(one["id"], one["mine"]) for one in waits] == [(basis, True)]
    assert [one["mine"] for one in (await girl.waiting(girl.second))["undecided"]] == [False]
    assert await girl.decide(basis, girl.second, agrees=False) == "refused"
    with refused("state"):
        await girl.decide(basis, girl.third)
    assert (await girl.waiting())["undecided"] == []
    with refused("guardian"):
        await girl.first.post(f"/intake/entries/{girl.entry}/case")


async def test_two_systems_are_not_two_people(girl: Staff) -> None:
    """Somebody with two credentials is still one: their name counts, whichever system says it, however it is written."""
    dara = {"acting_for": "Dara"}
    basis = await girl.propose("best_interests_assessment", **MOST, **dara)
    for system, named in ((girl.second, None), (girl.second, "dara"), (girl.third, "DARA"), (girl.first, "dara")):
        with refused("same-person"):
            await girl.decide(basis, system, named=named)
    with refused("guardian"):
        await girl.first.post(f"/intake/entries/{girl.entry}/case")
    assert await girl.decide(basis, girl.first, named="bopha") == "in_force", "two people at one system are two"
    (shown,) = await girl.all()
    assert [step["by"] for step in shown["steps"]] == [f"{girl.first.client_id}/dara", f"{girl.first.client_id}/bopha"]


async def test_what_a_system_proposes_for_nobody_needs_two_others(girl: Staff) -> None:
    basis = await girl.propose("best_interests_assessment", **MOST, acting_for=None)
    assert await girl.decide(basis, girl.second, named="dara") == "proposed"
    with refused("same-person"):
        await girl.decide(basis, girl.third, named="dara")
    with refused("same-person"):
        await girl.decide(basis, girl.third, named=None)
    assert await girl.decide(basis, girl.third, named="bopha") == "in_force"


async def test_what_nobody_confirms_in_time_lapses(girl: Staff) -> None:
    basis = await girl.propose("best_interests_assessment", **MOST)
    await girl.late(basis)
    with refused("state"):
        await girl.decide(basis, girl.second)
    await girl.clock(basis)
    await girl.state(basis, "lapsed")


@pytest.mark.parametrize("how", ["ended", "lapsed"])
async def test_when_an_assessment_is_over_everything_it_opened_is_stopped(girl: Staff, how: str) -> None:
    basis = await girl.agreed("best_interests_assessment", **MOST)
    case = await case_of(girl)
    if how == "ended":
        assert await girl.end(basis) == "ended"
    else:
        await girl.late(basis, "valid_until")
        assert (await case.packet())["members"] == [{}], "by its time, before the clock has looked"
        assert not await case.may_accept()
        await girl.clock(basis)
        await girl.state(basis, "lapsed")
    assert (await case.packet())["members"] == [{}]
    assert (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]


async def test_every_step_is_kept_with_its_words_and_shown_to_nobody_else(girl: Staff) -> None:
    basis = await girl.agreed("best_interests_assessment", **MOST)
    steps = (await girl.all())[0]["steps"]
    assert [(one["step"], one["words"]) for one in steps] == [
        ("proposed", WHY), ("agreed", "I spoke with her and read the file."),
    ]  # fmt: skip
    assert len({one["by"] for one in steps}) == 2
    async with database(girl.world) as db:
        sealed = await db.fetchval("select sealed from basis_step where basis = $1 order by number limit 1", basis)
    assert b"uncle" not in sealed
    other = (await girl.world.organisation("Another post", "border_post", ["intake:send"])).partner
    for path, body in (("", {"kind": "court_order", "justification": WHY}),
                       (f"/{basis}/decide", {"agrees": True, "reasons": WHY}),
                       (f"/{basis}/end", {}), (f"/{basis}/told", {})):  # fmt: skip
        with refused("not-found"):
            await other.post(f"/intake/entries/{girl.entry}/bases{path}", body)
    with refused("not-found"):
        await other.get(f"/intake/entries/{girl.entry}/bases")


async def test_an_audit_names_the_basis_beside_the_rules(girl: Staff) -> None:
    basis = await girl.agreed("best_interests_assessment", **MOST)
    case = await case_of(girl)
    await case.packet()
    officer = await second_system(girl.world, girl.world.sender, ["intake:rules"])
    answers = (await officer.get(f"/intake/cases/{girl.entry}/audit"))["answers"]
    rules = {rule["id"]: rule for rule in answers[-1]["rules"]}
    assert rules[basis]["kind"] == "best_interests_assessment"
    assert rules[basis]["in_force"]
    assert set(rules[basis]["opens"]) == set(MOST["categories"])


# --- guardians ----------------------------------------------------------------------------------------------------


async def test_who_may_have_sold_somebody_does_not_agree_for_them_nor_does_anybody_for_themselves(girl: Staff) -> None:
    with refused("guardian-suspected"):
        await girl.world.consent(girl.entry, "service", guardian={**GUARDIAN, "suspected": True})
    with refused("guardian-self"):
        await girl.world.consent(girl.entry, "service", guardian={**GUARDIAN, "entry": girl.entry})
    with refused("not-found"):
        await girl.world.consent(girl.entry, "service", guardian={**GUARDIAN, "entry": str(uuid4())})
    mother = await girl.world.entry(name="Mother")
    await girl.world.consent(girl.entry, "service", guardian={**GUARDIAN, "entry": mother})


async def test_a_panel_of_three_determines_what_lasts(girl: Staff) -> None:
    for decision in ("service", "share_referral"):
        await girl.world.consent(girl.entry, decision, guardian=GUARDIAN)
    await girl.first.post(f"/intake/entries/{girl.entry}/case")
    with refused("determination"):
        await girl.world.handoff(girl.entry, service_type="foster_kinship")
    basis = await girl.propose("best_interests_determination", services=["foster_kinship"], **MOST)
    assert await girl.decide(basis, girl.second) == "proposed"
    with refused("determination"):
        await girl.world.handoff(girl.entry, service_type="foster_kinship")
    assert await girl.decide(basis, girl.third) == "in_force"
    await girl.world.handoff(girl.entry, service_type="foster_kinship")
    await girl.end(basis)
    with refused("determination"):
        await girl.world.handoff(girl.entry, service_type="foster_kinship")


async def test_a_decision_that_ends_by_its_date_is_nothing_that_they_have_said(staff: Any) -> None:
    """Neither keeps them from being put on the list, nor takes them off it."""
    tired: Staff = await staff(name="Tired")
    for decision in ("contact", "medical"):
        await tired.world.consent(
            tired.entry, decision, valid_until=(datetime.now(UTC) + timedelta(days=1)).isoformat()
        )
    basis = await tired.propose("emergency_profile", spoken=True)

    async def ends(decision: str) -> None:
        async def ended() -> bool:
            async with database(tired.world) as db:
                states = await db.fetch(
                    "select state from consent where entry = $1 and decision = $2 order by version",
                    tired.entry,
                    decision,
                )
            return [one["state"] for one in states] == ["given", "expired"]

        async with database(tired.world) as db:
            await db.execute(
                "update consent set valid_until = clock_timestamp() where entry = $1 and decision = $2",
                tired.entry, decision,
            )  # fmt: skip
            await db.execute("update due set at = now() where kind = 'consent-look' and subject = $1", tired.entry)
        await eventually(ended)

    async def asked() -> bool:
        return [one["reason"] for one in (await tired.waiting())["ask_again"]] == ["rested"]

    await ends("contact")
    await tired.late(basis, "ask_again_at")
    await tired.clock(basis)
    await eventually(asked)
    await ends("medical")
    assert await asked()
    await tired.world.consent(tired.entry, "service")
    assert not await asked()


async def test_at_eighteen_a_guardians_consent_ends_and_they_are_asked_anew(girl: Staff) -> None:
    for decision in ("service", "share_referral"):
        await girl.world.consent(girl.entry, decision, guardian=GUARDIAN)
    case = await case_of(girl)
    async with database(girl.world) as db:
        at = await db.fetchval("select at from due where kind = 'consent-look' and subject = $1", girl.entry)
        assert (at - datetime.now(UTC)).days in range(1090, 1100), "three years from fifteen"
        # It was written down three years ago; and they agreed when it was.
        await db.execute("update entry set age_at = age_at - interval '3 years 2 days' where id = $1", girl.entry)
        await db.execute("update consent set valid_from = valid_from - interval '1 year' where entry = $1", girl.entry)
        assert (await case.packet())["members"] == [{}], "by the time, before the clock has looked"
        await db.execute("update due set at = now() where kind = 'consent-look' and subject = $1", girl.entry)

    async def asked() -> bool:
        return [one["reason"] for one in (await girl.waiting())["ask_again"]] == ["of_age"]

    await eventually(asked)
    assert (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]
    assert not (await girl.first.get(f"/intake/entries/{girl.entry}"))["minor"]
    await girl.world.consent(girl.entry, "service")
    await girl.world.consent(girl.entry, "share_referral")
    assert (await girl.waiting())["ask_again"] == []
    assert (await case.packet())["members"][0]["name"] == "Girl"


async def test_somebody_whose_age_is_corrected_is_of_age_at_another_time(girl: Staff) -> None:
    await girl.world.consent(girl.entry, "service", guardian=GUARDIAN)
    read = await girl.first.request("GET", f"/intake/entries/{girl.entry}")
    headers = {"If-Match": read.headers["etag"]}
    await girl.first.request(
        "PUT", f"/intake/entries/{girl.entry}/person", {"age_years": 17, "name": "Girl"}, headers=headers
    )
    async with database(girl.world) as db:
        at = await db.fetchval("select at from due where kind = 'consent-look' and subject = $1", girl.entry)
    assert (at - datetime.now(UTC)).days in range(360, 370)
