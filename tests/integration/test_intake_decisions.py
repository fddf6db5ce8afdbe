"""Decisions about single acts, and every state that a decision may be in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.cli.client import ApiProblem
from tests.builders import World, eventually, second_system
from tests.integration.holder import Case, Holder, database, refused, shared_world, withdraw  # noqa: F401 (fixtures)


def _soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def _records(world: World, entry: str) -> list[dict[str, Any]]:
    found = await world.sender.partner.get(f"/intake/entries/{entry}/consents")
    return list(found["records"])


async def _states(world: World, entry: str) -> list[tuple[str, str]]:
    return [(one["decision"], one["state"]) for one in await _records(world, entry)]


@pytest.fixture
async def examined(world: World) -> Case:
    """A house is asked for an examination to which the person has agreed."""
    holder, entry = Holder(world), await world.ready_person()
    await world.consent(entry, "forensic_exam")
    return await holder.offered(await holder.house(), entry, service_type="forensic_exam")


# --- acts ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "decision"),
    [("forensic_exam", "forensic_exam"), ("police_report", "police"), ("formal_identification", "identification"),
     ("tracing", "tracing"), ("travel_documents", "cross_border_return")],
)  # fmt: skip
async def test_a_service_that_is_an_act_of_its_own_needs_its_own_yes(world: World, service: str, decision: str) -> None:
    entry = await world.ready_person()
    with pytest.raises(ApiProblem, match="decision-missing") as problem:
        await world.handoff(entry, service_type=service)
    assert problem.value.problem["rule"] == decision
    await world.consent(entry, decision, "refused")
    with refused("decision-missing"):
        await world.handoff(entry, service_type=service)
    await world.consent(entry, decision)
    assert await world.handoff(entry, service_type=service)


@pytest.mark.parametrize("service", ["family_assessment", "family_reconciliation"])
async def test_family_contact_is_off_until_somebody_has_checked_its_risk(world: World, service: str) -> None:
    entry = await world.ready_person()
    with refused("decision-missing"):
        await world.handoff(entry, service_type=service)
    await world.consent(entry, "family_contact")
    with pytest.raises(ApiProblem, match="family-unchecked") as problem:
        await world.handoff(entry, service_type=service)
    assert problem.value.problem["rule"] == "family_contact"


async def test_family_contact_needs_the_check_of_two_and_the_persons_own_yes(world: World) -> None:
    entry, colleague = await world.ready_person(), await second_system(world, world.sender, ["intake:send"])
    body = {"kind": "family_risk_check", "justification": "made up for this test", "acting_for": "dara"}
    check = (await world.sender.partner.post(f"/intake/entries/{entry}/bases", body))["id"]
    await world.consent(entry, "family_contact")
    with refused("family-unchecked"):
        await world.handoff(entry, service_type="family_assessment")
    decided = {"agrees": True, "reasons": "made up for this test", "acting_for": "bopha"}
    await colleague.post(f"/intake/entries/{entry}/bases/{check}/decide", decided)
    assert await world.handoff(entry, service_type="family_assessment")
    await withdraw(world, entry, "family_contact")
    with refused("decision-missing"):
        await world.handoff(entry, service_type="family_reconciliation")


async def test_an_act_taken_back_ends_the_offer_and_what_is_shared_otherwise_goes_on(examined: Case) -> None:
    world, entry = examined.holder.world, examined.entries[0]
    other = await examined.holder.offered(await examined.holder.house(), entry)
    assert await withdraw(world, entry, "forensic_exam") == {"entry": entry, "what": "forensic_exam"}
    assert not await examined.may_accept()
    assert (await examined.said())[-1] == "disclosure.stopped"
    assert (await other.content())["readable"]
    assert (await _states(world, entry))[-1] == ("forensic_exam", "withdrawn")
    await withdraw(world, entry, "forensic_exam")
    assert len(await _records(world, entry)) == 4, "there is nothing more to take back"


async def test_whoever_wants_no_service_agrees_to_no_act_either(examined: Case) -> None:
    world, entry = examined.holder.world, examined.entries[0]
    await withdraw(world, entry, "service")
    assert sorted(await _states(world, entry))[-6:] == [
        ("forensic_exam", "given"), ("forensic_exam", "withdrawn"), ("service", "given"), ("service", "withdrawn"),
        ("share_referral", "given"), ("share_referral", "withdrawn"),
    ]  # fmt: skip


async def test_an_act_that_is_agreed_to_opens_nothing_that_was_shut(world: World) -> None:
    entry = await world.ready_person()
    await withdraw(world, entry)
    await world.consent(entry, "forensic_exam")
    with refused("sharing-consent"):
        await world.handoff(entry, service_type="forensic_exam")
    async with database(world) as db:
        assert await db.fetchval("select sharing_shut from fence where entry = $1", entry), "the fence itself, too"


async def test_a_part_of_an_act_is_not_understood(world: World) -> None:
    entry = await world.ready_person()
    with refused("invalid"):
        await world.sender.partner.post(f"/intake/entries/{entry}/withdraw", {"what": "legal", "category": "health"})


# --- states -------------------------------------------------------------------------------------------------------------


async def test_what_was_asked_and_not_decided_is_no_yes(world: World) -> None:
    entry = await world.entry()
    await world.consent(entry, "service", "requested")
    with refused("service-consent"):
        await world.sender.partner.post(f"/intake/entries/{entry}/case")
    await world.consent(entry, "service")
    with refused("state"):
        await world.consent(entry, "service", "requested")
    assert await _states(world, entry) == [("service", "requested"), ("service", "given")]


async def test_a_yes_said_again_is_about_what_it_was_about(world: World) -> None:
    entry = await world.ready_person()
    with refused("state"):
        await world.consent(entry, "legal", "re-confirmed")
    until = _soon(3600)
    await world.consent(entry, "share_referral", "re-confirmed", valid_until=until, language="eng", notice="1-eng")
    before, after = (one for one in await _records(world, entry) if one["decision"] == "share_referral")
    same = ("categories", "purposes", "recipients")
    assert [after[name] for name in same] == [before[name] for name in same]
    assert (after["state"], after["language"], after["valid_until"] is not None) == ("re-confirmed", "eng", True)
    assert await world.handoff(entry)


async def test_an_ended_consent_has_a_record_of_its_own_and_can_be_confirmed(world: World) -> None:
    entry = await world.ready_person()
    await world.consent(entry, "share_referral", valid_until=_soon(0.5))

    async def ended() -> bool:
        return (await _states(world, entry))[-1] == ("share_referral", "expired")

    await eventually(ended)
    last = (await _records(world, entry))[-1]
    assert (last["recorded_by"], "health" in last["categories"]) == ("clock", True)
    with pytest.raises(ApiProblem, match="sharing-consent") as problem:
        await world.handoff(entry)
    assert problem.value.problem["rule"] == "consent-expired"
    await world.consent(entry, "share_referral", "re-confirmed")
    assert await world.handoff(entry)


async def test_what_is_found_to_be_no_consent_stops_like_a_withdrawal(world: World) -> None:
    holder = Holder(world)
    case = await holder.released(await holder.house(), await world.ready_person(health_notes="asthma"))
    await world.consent(case.entries[0], "share_referral", "invalidated")
    assert (await case.packet())["members"] == [{}]
    assert (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]
    with refused("state"):
        await world.consent(case.entries[0], "share_referral", "re-confirmed")
    assert (await _states(world, case.entries[0]))[-1] == ("share_referral", "invalidated")
