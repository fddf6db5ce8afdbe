"""Entries and cases over the public API: written down, corrected, opened, and what is left of a person who was erased."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.cli.client import ApiProblem
from tests.builders import World, eventually
from tests.integration.holder import (
    Case,
    Holder,
    database,
    erase,
    own_world,  # noqa: F401 (a fixture)
    refused,
    shared_world,  # noqa: F401 (a fixture)
    waits_for_a_lock,
)

BODY = {"channel": "border_post", "area": "KH-1", "person": {"age_years": 24, "name": "Test Person"}}


async def _read(world: World, entry: str) -> dict[str, Any]:
    found: dict[str, Any] = await world.sender.partner.get(f"/intake/entries/{entry}")
    return found


# --- enter --------------------------------------------------------------------------------------------------------


async def test_an_entry_is_written_down_and_read_whole_by_who_made_it(world: World) -> None:
    made = await world.sender.partner.post("/intake/entries", BODY)
    found = await _read(world, made["id"])
    assert found["person"] == {"age_years": 24, "name": "Test Person"}
    assert (found["minor"], found["version"]) == (False, 1)


async def test_what_is_sealed_is_nowhere_in_the_holders_row(world: World) -> None:
    made = await world.sender.partner.post("/intake/entries", BODY)
    async with database(world) as db:
        row = await db.fetchrow("select * from entry where id = $1", made["id"])
    assert b"Test Person" not in row["sealed"]
    assert "Test Person" not in str(dict(row))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"area": "KH-99"}, "unknown-area"),
        ({"happened_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}, "invalid"),
        ({"happened_at": "0001-01-01T00:00:00+14:00"}, "invalid"),
        ({"person": {"age_years": 151}}, "invalid"),
        ({"person": {"shoe_size": 38}}, "invalid"),
    ],
)
async def test_an_entry_that_cannot_be_is_refused(world: World, change: dict[str, Any], code: str) -> None:
    with refused(code):
        await world.sender.partner.post("/intake/entries", {**BODY, **change})


async def test_the_same_entry_command_makes_one_entry(world: World) -> None:
    key = str(uuid4())
    first = await world.sender.partner.post("/intake/entries", BODY, key=key)
    assert await world.sender.partner.post("/intake/entries", BODY, key=key) == first
    with refused("key-reused"):
        await world.sender.partner.post("/intake/entries", {**BODY, "area": "TH-27"}, key=key)


# --- correct ------------------------------------------------------------------------------------------------------


async def test_a_correction_replaces_all_that_was_there(world: World) -> None:
    entry = await world.entry(health_notes="asthma")
    await world.sender.partner.put(f"/intake/entries/{entry}/person", {"age_years": 25}, 1)
    assert (await _read(world, entry))["person"] == {"age_years": 25}


async def test_a_correction_of_somebody_elses_entry_is_refused(world: World) -> None:
    entry = await world.entry()
    other = await world.organisation("Another post", "border_post", ["intake:send"])
    with refused("not-found"):
        await other.partner.put(f"/intake/entries/{entry}/person", {}, 1)
    with refused("not-found"):
        await other.partner.get(f"/intake/entries/{entry}")


async def test_the_same_correction_twice_says_that_it_has_changed(world: World) -> None:
    entry = await world.entry()
    await world.sender.partner.put(f"/intake/entries/{entry}/person", {"age_years": 25}, 1)
    with refused("version"):
        await world.sender.partner.put(f"/intake/entries/{entry}/person", {"age_years": 25}, 1)
    assert (await _read(world, entry))["version"] == 2


async def test_a_correction_of_an_older_reading_is_refused(world: World) -> None:
    entry = await world.entry()
    await world.sender.partner.put(f"/intake/entries/{entry}/person", {"age_years": 30}, 1)
    with refused("version"):
        await world.sender.partner.put(f"/intake/entries/{entry}/person", {"age_years": 31}, 1)
    with refused("version-missing"):
        await world.sender.partner.put(f"/intake/entries/{entry}/person", {"age_years": 31})
    assert (await _read(world, entry))["person"]["age_years"] == 30


async def test_who_is_found_to_be_a_minor_is_under_the_guardian_rule_at_once(world: World) -> None:
    holder = Holder(world)
    case = await holder.offered(await holder.house(), await world.ready_person())
    assert await case.may_accept()
    await world.sender.partner.put(f"/intake/entries/{case.entries[0]}/person", {"age_years": 15}, 1)
    assert not await case.may_accept()
    assert not (await case.content())["readable"]
    assert (await case.said())[-1] == "disclosure.stopped"


async def test_who_is_described_otherwise_is_put_to_the_network_anew(own: World) -> None:
    house = await own.house("First house")
    entry = await own.ready_person()
    await own.handoff(entry)
    before = await own.offer(house)
    await own.sender.partner.put(
        f"/intake/entries/{entry}/person", {"age_years": 24, "sex": "female", "needs": ["step_free"]}, 1
    )

    async def gone() -> bool:
        return bool((await house.partner.get(f"/referral/offers/{before['id']}"))["state"] == "withdrawn")

    await eventually(gone)


async def test_a_note_that_no_offer_shows_disturbs_nobody(world: World) -> None:
    holder = Holder(world)
    case = await holder.offered(await holder.house(), await world.ready_person())
    body = {"age_years": 24, "sex": "female", "languages": ["khm"], "health_notes": "asthma"}
    await world.sender.partner.put(f"/intake/entries/{case.entries[0]}/person", body, 1)
    assert await case.said() == ["handoff.requested"]


# --- open a case --------------------------------------------------------------------------------------------------


async def test_a_case_opens_where_the_person_agreed_to_the_service(world: World) -> None:
    entry = await world.entry()
    await world.consent(entry, "service")
    opened = await world.sender.partner.post(f"/intake/entries/{entry}/case")
    assert (opened["entry"], opened["state"]) == (entry, "open")


async def test_a_case_without_consent_to_the_service_is_refused(world: World) -> None:
    entry = await world.entry()
    with refused("service-consent"):
        await world.sender.partner.post(f"/intake/entries/{entry}/case")
    await world.consent(entry, "service", "refused")
    with refused("service-consent"):
        await world.sender.partner.post(f"/intake/entries/{entry}/case")


@pytest.mark.parametrize("age", [{"age_years": 15}, {"age_years": None, "age_band": "adolescent"}, {"age_years": None}])
async def test_a_minors_case_needs_the_guardian_and_an_unknown_age_is_a_minors(
    world: World, age: dict[str, Any]
) -> None:
    entry = await world.entry(**age)
    await world.consent(entry, "service")
    with refused("guardian"):
        await world.sender.partner.post(f"/intake/entries/{entry}/case")
    await world.consent(entry, "service", guardian={"relationship": "state_guardian", "expressed": "written"})
    await world.sender.partner.post(f"/intake/entries/{entry}/case")


async def test_the_same_case_command_opens_one_case_and_another_is_a_duplicate(world: World) -> None:
    entry, key = await world.entry(), str(uuid4())
    await world.consent(entry, "service")
    first = await world.sender.partner.post(f"/intake/entries/{entry}/case", key=key)
    assert await world.sender.partner.post(f"/intake/entries/{entry}/case", key=key) == first
    with refused("duplicate"):
        await world.sender.partner.post(f"/intake/entries/{entry}/case")


async def test_a_case_for_an_older_reading_of_the_entry_is_refused(world: World) -> None:
    entry = await world.entry()
    await world.consent(entry, "service")
    await world.sender.partner.put(f"/intake/entries/{entry}/person", {"age_years": 25}, 1)
    with refused("version"):
        await world.sender.partner.request("POST", f"/intake/entries/{entry}/case", headers={"If-Match": '"v1"'})


# --- erased -------------------------------------------------------------------------------------------------------


async def test_of_an_erased_person_nothing_can_be_read_or_done(world: World) -> None:
    entry = await world.ready_person()
    await erase(world, entry)
    sender = world.sender.partner
    for attempt in (
        sender.get(f"/intake/entries/{entry}"),
        sender.put(f"/intake/entries/{entry}/person", {"age_years": 25}, 1),
        world.handoff(entry),
    ):
        with refused("erased"):
            await attempt


async def test_an_erased_person_has_stopped_everything_and_the_rest_of_the_party_goes_on(own: World) -> None:
    holder = Holder(own)
    case = await holder.released(await holder.house(), await own.ready_person(), await own.ready_person())
    await case.packet("PUT", "/whereabouts", {"meeting_point": "north gate"})
    await erase(own, case.entries[0])
    mother, child = (await case.packet())["members"]
    assert mother == {}
    assert child["name"] == "Test Person"
    assert not await case.may_accept()
    assert not (await case.content())["readable"]
    assert await holder.next_candidate(case.handoff, case.house) is None
    assert (await case.seen())["receiver"] is None
    shown = await own.sender.partner.get("/intake/handoffs")
    assert [one["id"] for one in shown["handoffs"]] == [case.handoff]


async def _code(case: Case, code: str) -> str:
    question = {"organisation": case.house.facts, "offer": case.offer, "referral": case.handoff, "code": code}
    return str((await case.holder.ask("hand-over-code", question))["result"])


async def _keep(case: Case, **detail: str) -> bool:
    question = {"organisation": case.house.facts, "offer": case.offer, "referral": case.handoff, **detail}
    return bool((await case.holder.ask("detail", question))["recorded"])


async def _details(case: Case) -> list[str]:
    found = (await case.sender.get(f"/intake/handoffs/{case.handoff}/details"))["details"]
    return [one["code"] for one in found]


@pytest.mark.parametrize("first", [0, 1, 2])
async def test_what_belongs_to_a_party_lives_as_long_as_one_of_them_is_not_erased(own: World, first: int) -> None:
    """Whichever of them is erased first: the others still have to be handed over."""
    holder = Holder(own)
    case = await holder.released(await holder.house(), *[await own.ready_person() for _ in range(3)])
    await case.packet("PUT", "/whereabouts", {"meeting_point": "north gate"})
    assert await _keep(case, decline="no_capacity")
    code = (await case.seen())["hand_over_code"]
    order = [*case.entries[first:], *case.entries[:first]]
    for entry in order[:2]:
        await erase(own, entry)
        seen = await case.seen()
        assert (seen["hand_over_code"], seen["meeting_point"]) == (code, "north gate")
        assert await _code(case, code) == "right"
        assert await _details(case) == ["no_capacity"]
    assert await _keep(case, outcome="needs_met")
    await case.packet("PUT", "/whereabouts", {"meeting_point": "south gate"})
    assert (await case.seen())["meeting_point"] == "south gate"

    await erase(own, order[2])
    seen = await case.seen()
    assert (seen["hand_over_code"], seen["meeting_point"], seen["receiver"]) == (None, None, None)
    assert await _code(case, code) == "locked"
    assert await _details(case) == []
    assert not await _keep(case, outcome="needs_met")
    with refused("erased"):
        await case.packet("PUT", "/whereabouts", {"meeting_point": "west gate"})


async def test_a_partys_key_opens_nothing_of_another_party(own: World) -> None:
    holder = Holder(own)
    one, two = [await holder.released(await holder.house(), await own.ready_person()) for _ in range(2)]
    async with database(own) as db:
        assert await db.fetchval("select count(distinct sealed_key) from handoff_member where handoff = any($1)",
                                 [one.handoff, two.handoff]) == 2  # fmt: skip
        await db.execute(
            "update handoff set sealed_code = (select sealed_code from handoff where id = $2) where id = $1",
            one.handoff, two.handoff,
        )  # fmt: skip
        await db.execute(
            "update handoff_member set sealed_key = (select sealed_key from handoff_member where handoff = $2) "
            "where handoff = $1", one.handoff, two.handoff,
        )  # fmt: skip
    assert (await one.seen())["hand_over_code"] is None
    assert (await two.seen())["hand_over_code"] is not None


async def test_a_hand_off_from_before_parties_had_keys_is_read_with_its_first_members(own: World) -> None:
    holder = Holder(own)
    case = await holder.offered(await holder.house(), await own.ready_person(), await own.ready_person())
    async with database(own) as db:
        await db.execute("update handoff_member set sealed_key = null where handoff = $1", case.handoff)
    await case.packet()
    code = (await case.seen())["hand_over_code"]
    assert await _code(case, code) == "right"
    await erase(own, case.entries[0])
    assert (await case.seen())["hand_over_code"] is None


async def test_a_person_erased_before_the_acceptance_is_never_released(own: World) -> None:
    house = await own.house("Late house")
    entry = await own.ready_person()
    handoff = await own.handoff(entry)
    offer = await own.offer(house)
    await erase(own, entry)
    with pytest.raises(ApiProblem, match="no-longer-available"):
        await house.partner.post(f"/referral/offers/{offer['id']}/accept")
    async with database(own) as db:
        assert not await waits_for_a_lock(db)
        assert not await db.fetchval("select count(*) from packet where handoff = $1", handoff)


async def test_an_entry_that_does_not_open_keeps_nobody_else_from_being_read(world: World) -> None:
    holder = Holder(world)
    case = await holder.released(await holder.house(), await world.ready_person(), await world.ready_person())
    async with database(world) as db:
        other = await db.fetchval("select sealed from entry where id = $1", case.entries[1])
        await db.execute("update entry set sealed = $2 where id = $1", case.entries[0], other)
    swapped, own = (await case.packet())["members"]
    assert swapped == {}
    assert own["name"] == "Test Person"
