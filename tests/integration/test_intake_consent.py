"""What a person decides over the public API: given, narrowed, refused, withdrawn, excluded, ended by its date."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.builders import CATEGORIES, World, eventually
from tests.integration.holder import Case, Holder, database, own_world, refused, said, settled, shared_world, withdraw  # noqa: F401 (fixtures)

GIVEN = {"decision": "service", "state": "given", "expressed": "spoken", "language": "khm", "notice": "1-khm"}


@pytest.fixture
async def case(world: World) -> Case:
    """A person whose packet a house has read."""
    holder = Holder(world)
    return await holder.released(await holder.house(), await world.ready_person(health_notes="asthma"))


async def _record(world: World, entry: str, body: dict[str, Any] | None = None, **more: Any) -> Any:
    return await world.sender.partner.post(f"/intake/entries/{entry}/consents", body or GIVEN, **more)


async def _consents(world: World, entry: str) -> list[tuple[str, str]]:
    found = await world.sender.partner.get(f"/intake/entries/{entry}/consents")
    return [(one["decision"], one["state"]) for one in found["records"]]


def _soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


# --- record -------------------------------------------------------------------------------------------------------


async def test_every_decision_is_a_record_and_the_old_ones_stay(world: World) -> None:
    entry = await world.entry()
    assert (await _record(world, entry))["version"] == 1
    assert (await _record(world, entry, {**GIVEN, "state": "refused"}))["version"] == 2
    assert await _consents(world, entry) == [("service", "given"), ("service", "refused")]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"valid_from": _soon(3600)}, "consent-dates"),
        ({"valid_until": _soon(-3600)}, "consent-dates"),
        ({"state": "withdrawn"}, "invalid"),
        ({"categories": ["shoe_size"]}, "invalid"),
        ({"recipients": {"classes": [{"type": "a type of next year"}]}}, "invalid"),
        ({"language": "khmer"}, "invalid"),
    ],
)
async def test_a_record_that_cannot_be_is_refused(world: World, change: dict[str, Any], code: str) -> None:
    entry = await world.entry()
    with refused(code):
        await _record(world, entry, {**GIVEN, **change})
    assert await _consents(world, entry) == []


async def test_somebody_elses_person_is_not_found(world: World) -> None:
    entry = await world.entry()
    other = (await world.organisation("Another post", "border_post", ["intake:send"])).partner
    for path, body in (
        ("consents", GIVEN),
        ("withdraw", {"what": "sharing"}),
        ("exclusions", {"kind": "law_enforcement", "value": "any"}),
    ):
        with refused("not-found"):
            await other.post(f"/intake/entries/{entry}/{path}", body)
    with refused("not-found"):
        await other.get(f"/intake/entries/{entry}/consents")


async def test_the_same_record_command_writes_one_record(world: World) -> None:
    entry, key = await world.entry(), str(uuid4())
    first = await _record(world, entry, key=key)
    assert await _record(world, entry, key=key) == first
    assert len(await _consents(world, entry)) == 1


async def test_a_record_on_top_of_an_older_reading_is_refused(world: World) -> None:
    entry = await world.entry()
    read = await world.sender.partner.request("GET", f"/intake/entries/{entry}/consents")
    assert read.headers["etag"] == '"v0"'
    await _record(world, entry, headers={"If-Match": '"v0"'})
    with refused("version"):
        await _record(world, entry, headers={"If-Match": '"v0"'})
    assert len(await _consents(world, entry)) == 1


async def test_narrower_consent_leaves_the_rest_readable_and_asks_for_the_copy_back(case: Case) -> None:
    narrow = ["functional_needs", "identity"]
    await case.holder.world.consent(case.entries[0], "share_referral", categories=narrow)
    member = (await case.packet())["members"][0]
    assert member["name"] == "Test Person"
    assert "health_notes" not in member
    assert (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]


async def test_consent_given_again_as_wide_or_wider_disturbs_nobody(case: Case) -> None:
    before = await case.said()
    await case.holder.world.consent(case.entries[0], "share_referral")
    await case.holder.world.consent(case.entries[0], "share_referral", categories=[*CATEGORIES, "alleged_offender"])
    await case.holder.world.consent(case.entries[0], "service")
    assert await case.said() == before
    assert (await case.packet())["members"][0]["health_notes"] == "asthma"


async def test_consent_for_other_houses_only_stops_this_one(case: Case) -> None:
    other = await case.holder.house()
    recipients = {"organisations": [other.id], "classes": [{"type": "clinic"}]}
    await case.holder.world.consent(case.entries[0], "share_referral", recipients=recipients)
    packet = await case.packet()
    assert packet["members"] == [{}]
    assert (packet["service_type"], packet["need_by"]) == (None, None)


async def test_sharing_refused_after_it_was_given_is_a_stop(case: Case) -> None:
    await case.holder.world.consent(case.entries[0], "share_referral", "refused")
    assert (await case.packet())["members"] == [{}]
    assert (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]


async def test_service_refused_after_it_was_given_ends_the_service(world: World) -> None:
    holder = Holder(world)
    case = await holder.offered(await holder.house(), await world.ready_person())
    await world.consent(case.entries[0], "service", "refused")
    assert (await case.said())[-2:] == ["handoff.cancelled", "disclosure.stopped"]
    assert (await case.seen())["state"] == "cancelled"


# --- ended by its date --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decision", ["service", "share_referral"])
async def test_a_consent_ends_by_its_date_and_the_clock_tells_the_network(case: Case, decision: str) -> None:
    await case.holder.world.consent(case.entries[0], decision, valid_until=_soon(0.7))

    async def told() -> bool:
        return (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]

    await eventually(told)
    assert (await case.packet())["members"] == [{}]
    async with database(case.holder.world) as db:
        assert not await db.fetchval("select count(*) from due where subject = $1", case.entries[0])


async def test_a_consent_given_anew_before_its_date_goes_on(case: Case) -> None:
    entry, world = case.entries[0], case.holder.world
    await world.consent(entry, "share_referral", valid_until=_soon(60))
    async with database(world) as db:
        due = "select count(*) from due where kind = 'consent-look' and subject = $1"
        assert await db.fetchval(due, entry) == 1
        await world.consent(entry, "share_referral")
        assert await db.fetchval(due, entry) == 0


# --- withdraw -----------------------------------------------------------------------------------------------------


async def test_withdrawn_sharing_shuts_the_gate_and_keeps_code_and_place(case: Case) -> None:
    code = (await case.seen())["hand_over_code"]
    await withdraw(case.holder.world, case.entries[0])
    assert (await case.packet())["members"] == [{}]
    assert not await case.may_accept()
    assert (await case.content()) == {"offer": case.offer, "readable": False, "service_type": None, "urgency": None,
                                      "area": None, "need_by": None, "members": []}  # fmt: skip
    assert (await case.seen())["hand_over_code"] == code
    assert (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]
    assert "handoff.cancelled" not in await case.said()


async def test_withdrawn_service_ends_the_hand_off_and_all_sharing_for_good(case: Case) -> None:
    world, entry = case.holder.world, case.entries[0]
    await withdraw(world, entry, "service")
    with refused("no-longer-available"):
        await case.packet()
    assert (await case.said())[-3:] == ["handoff.cancelled", "disclosure.stopped", "erasure.requested"]
    assert await _consents(world, entry) == [
        ("service", "given"), ("share_referral", "given"), ("service", "withdrawn"), ("share_referral", "withdrawn"),
    ]  # fmt: skip
    await world.consent(entry, "service")
    with refused("sharing-consent"):
        await world.handoff(entry)
    await world.consent(entry, "share_referral")
    await world.handoff(entry)


async def test_a_withdrawal_said_twice_changes_nothing_more(case: Case) -> None:
    world, entry, key = case.holder.world, case.entries[0], str(uuid4())
    first = await withdraw(world, entry, key=key)
    before = await case.said()
    assert await withdraw(world, entry, key=key) == first
    assert await withdraw(world, entry) == first
    assert await case.said() == before
    assert len(await _consents(world, entry)) == 3


async def test_a_withdrawal_looks_at_no_version_and_at_no_earlier_consent(world: World) -> None:
    entry = await world.entry()
    await withdraw(world, entry, "service", headers={"If-Match": '"v9"'})
    assert await _consents(world, entry) == [("service", "withdrawn")]


async def test_a_suspended_senders_people_can_still_stop_while_its_token_lives(world: World) -> None:
    sender = await world.organisation("Post to be suspended", "border_post", ["intake:send"])
    made = await sender.partner.post("/intake/entries", {"channel": "border_post", "area": "KH-1"})
    await world.admin.post(f"/referral/organisations/{sender.id}/suspend")

    async def heard() -> bool:
        async with database(world) as db:
            return bool(await db.fetchval("select count(*) from suspended where organisation = $1", sender.id))

    await eventually(heard)
    with refused("suspended"):
        await sender.partner.get(f"/intake/entries/{made['id']}")
    stopped = await sender.partner.post(f"/intake/entries/{made['id']}/withdraw", {"what": "sharing"})
    assert stopped["what"] == "sharing"


async def test_a_copy_is_asked_back_after_the_hand_off_has_ended_too(own: World) -> None:
    house, entry = await own.house("Ended stay"), await own.ready_person()
    handoff, offer = await own.with_packet(house, entry)
    await house.partner.post(f"/referral/offers/{offer}/arrived", {})
    await house.partner.post(f"/referral/offers/{offer}/outcome", {"outcome": "needs_met"})
    await own.state(handoff, "completed")
    await withdraw(own, entry)
    names = [name for name, _ in await said(own, handoff)]
    assert names[-2:] == ["disclosure.stopped", "erasure.requested"]


async def test_both_hand_offs_of_a_person_are_stopped_at_once(world: World) -> None:
    holder = Holder(world)
    house, entry = await holder.house(), await world.ready_person()
    services = ("emergency_bed", "medium_term_shelter")
    cases = [await holder.offered(house, entry, service_type=service) for service in services]
    await withdraw(world, entry)
    for case in cases:
        assert (await case.said())[-1] == "disclosure.stopped"
        assert not await case.may_accept()


async def test_a_member_of_a_party_who_stops_empties_one_section_but_ends_the_offer(world: World) -> None:
    holder = Holder(world)
    mother, child = await world.ready_person(name="Mother"), await world.ready_person(name="Child")
    case = await holder.released(await holder.house(), mother, child)
    offer = await holder.offered(case.house, mother, child, service_type="medium_term_shelter")
    await withdraw(world, child)
    assert [member.get("name") for member in (await case.packet())["members"]] == ["Mother", None]
    assert not (await offer.content())["readable"]
    assert not await offer.may_accept()
    await settled(world)
    rows = (await world.sender.partner.get(f"/intake/handoffs/{offer.handoff}/disclosures"))["disclosures"]
    last = {row["entry"]: row for row in rows}
    assert set(last[child]["refused"].values()) == {"fenced"}
    assert set(last[mother]["refused"].values()) == {"party"}
    assert last[mother]["allowed"] == []


# --- exclude ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["organisation", "organisation_type"])
async def test_an_exclusion_during_an_open_offer_ends_it_at_once(world: World, kind: str) -> None:
    holder = Holder(world)
    case = await holder.offered(await holder.house(), await world.ready_person())
    assert (await case.content())["readable"]
    value = case.house.id if kind == "organisation" else "shelter"
    await world.sender.partner.post(f"/intake/entries/{case.entries[0]}/exclusions", {"kind": kind, "value": value})
    assert not (await case.content())["readable"]
    assert not await case.may_accept()
    assert (await case.said())[-1] == "disclosure.stopped"


async def test_an_exclusion_of_somebody_else_disturbs_nobody(case: Case) -> None:
    before = await case.said()
    path = f"/intake/entries/{case.entries[0]}/exclusions"
    await case.sender.post(path, {"kind": "law_enforcement", "value": "any"})
    await case.sender.post(path, {"kind": "organisation_type", "value": "embassy"})
    assert await case.said() == before
    assert (await case.packet())["members"][0]["name"] == "Test Person"


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "organisation", "value": "police"},
        {"kind": "organisation_type", "value": "unknown"},
        {"kind": "organisation_type", "value": "a type of next year"},
    ],
)
async def test_an_exclusion_that_names_nothing_is_refused(world: World, body: dict[str, str]) -> None:
    entry = await world.entry()
    with refused("invalid"):
        await world.sender.partner.post(f"/intake/entries/{entry}/exclusions", body)


async def test_the_same_exclusion_command_is_written_once(world: World) -> None:
    entry, key = await world.entry(), str(uuid4())
    body = {"kind": "law_enforcement", "value": "any"}
    first = await world.sender.partner.post(f"/intake/entries/{entry}/exclusions", body, key=key)
    assert await world.sender.partner.post(f"/intake/entries/{entry}/exclusions", body, key=key) == first
    async with database(world) as db:
        assert await db.fetchval("select count(*) from exclusion where entry = $1", entry) == 1


@pytest.mark.parametrize("named", [False, True])
async def test_police_are_asked_only_where_they_are_named(world: World, named: bool) -> None:  # noqa: FBT001 (a case)
    holder, entry = Holder(world), await world.ready_person()
    police = await holder.house(type="police", law_enforcement=True)
    organisations = [world.sender.id, *([police.id] if named else [])]
    await world.consent(entry, "share_referral", recipients={"classes": [{}], "organisations": organisations})
    handoff = await holder.requested(entry)
    assert await holder.next_candidate(handoff, police) == (police.id if named else None)
