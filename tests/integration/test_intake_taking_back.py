"""A part of what may be shared is taken back: one organisation, one class, one category, one purpose."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.builders import CATEGORIES, World
from tests.integration.holder import Case, Holder, database, own_world, refused, shared_world  # noqa: F401 (fixtures)

SHELTERS = {"type": "shelter", "country": None, "serves": []}


@pytest.fixture
async def case(world: World) -> Case:
    """A person whose packet a house has read, because it is a shelter."""
    holder = Holder(world)
    return await holder.released(await holder.house(), await world.ready_person(health_notes="asthma"))


@pytest.fixture
async def offered(world: World) -> Case:
    holder = Holder(world)
    return await holder.offered(await holder.house(), await world.ready_person())


async def take_back(world: World, entry: str, **part: Any) -> Any:
    headers = {"If-Match": '"v99"'}  # of a stop no version is looked at
    path = f"/intake/entries/{entry}/withdraw"
    return await world.sender.partner.post(path, {"what": "sharing", **part}, headers=headers)


async def _decided(world: World, entry: str) -> tuple[dict[str, Any], list[dict[str, Any]], int]:
    """The latest record, the exclusions, how many records there are."""
    found = await world.sender.partner.get(f"/intake/entries/{entry}/consents")
    return found["records"][-1], found["exclusions"], len(found["records"])


# --- each part ----------------------------------------------------------------------------------------------------------


async def test_a_category_taken_back_empties_it_and_nothing_else(case: Case) -> None:
    world, entry = case.holder.world, case.entries[0]
    assert await take_back(world, entry, category="health") == {"entry": entry, "what": "sharing"}
    member = (await case.packet())["members"][0]
    assert (member["name"], "health_notes" in member) == ("Test Person", False)
    assert (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]
    last, never, many = await _decided(world, entry)
    assert (last["state"], last["taken_back"], many, never) == ("given", {"category": "health"}, 3, [])
    assert sorted(last["categories"]) == sorted(set(CATEGORIES) - {"health"})
    assert (last["notice"], last["language"], last["recipients"]["classes"]) == ("1-khm", "khm", [SHELTERS])


async def test_what_an_offer_needs_taken_back_ends_it_and_keeps_the_rest_of_the_consent(offered: Case) -> None:
    await take_back(offered.holder.world, offered.entries[0], category="functional_needs")
    assert not (await offered.content())["readable"]
    assert not await offered.may_accept()
    assert (await offered.said())[-1] == "disclosure.stopped"
    assert (await offered.seen())["state"] not in {"cancelled", "closed"}


async def test_a_purpose_taken_back_ends_what_it_was_for(case: Case) -> None:
    world = case.holder.world
    assert (await case.seen())["receiver"] == case.house.id
    before = await case.said()
    await take_back(world, case.entries[0], purpose="follow_up")
    seen = await case.seen()
    assert (seen["state"], seen["receiver"]) == ("answered", None)
    assert await case.said() == before, "the house reads on"
    await take_back(world, case.entries[0], purpose="service_provision")
    assert (await case.packet())["members"] == [{}]
    assert (await case.said())[len(before) :] == ["disclosure.stopped", "erasure.requested"]


async def test_an_organisation_taken_back_is_told_nothing_more_though_a_class_would_cover_it(case: Case) -> None:
    world, entry, code = case.holder.world, case.entries[0], (await case.seen())["hand_over_code"]
    other = await case.holder.offered(await case.holder.house(), entry, service_type="medium_term_shelter")
    before = await other.said()
    await take_back(world, entry, recipient=case.house.id)
    assert (await case.packet())["members"] == [{}]
    assert (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]
    assert (await case.seen())["hand_over_code"] == code, "the bed stays"
    assert (await other.content())["readable"], "another shelter is asked on"
    assert await other.said() == before
    last, never, many = await _decided(world, entry)
    assert never == [{"kind": "organisation", "value": case.house.id}]
    assert (many, last["taken_back"]) == (2, None), "no record says less: it was covered by no name"


async def test_a_named_organisation_taken_back_goes_from_the_names(world: World) -> None:
    holder, entry = Holder(world), await world.ready_person()
    clinic = await holder.house(type="clinic")
    recipients = {"organisations": [clinic.id, world.sender.id], "classes": []}
    await world.consent(entry, "share_referral", recipients=recipients)
    case = await holder.offered(clinic, entry)
    await take_back(world, entry, recipient=clinic.id)
    assert not await case.may_accept()
    last, never, _ = await _decided(world, entry)
    assert (last["recipients"]["organisations"], last["taken_back"]) == ([world.sender.id], {"recipient": clinic.id})
    assert never == []


@pytest.mark.parametrize("taken", [{"type": "shelter"}, {"type": "shelter", "country": "KH"}, {"country": "KH"}, {}])
async def test_a_class_taken_back_takes_with_it_whatever_covers_the_same(case: Case, taken: dict[str, str]) -> None:
    world, entry = case.holder.world, case.entries[0]
    classes = [{"type": "shelter"}, {"country": "KH"}, {"type": "shelter", "country": "KH"}]
    organisations = {"organisations": [world.sender.id]}
    await world.consent(entry, "share_referral", recipients={"classes": classes, **organisations})
    await take_back(world, entry, **{"class": taken})
    assert (await case.packet())["members"] == [{}]
    last, _, _ = await _decided(world, entry)
    assert last["recipients"] == {"classes": [], **organisations}


async def test_a_class_of_other_organisations_stays(case: Case) -> None:
    world, entry = case.holder.world, case.entries[0]
    before = await case.said()
    await take_back(world, entry, **{"class": {"type": "clinic", "country": "KH"}})
    assert await case.said() == before
    assert (await _decided(world, entry))[2] == 2


# --- the last part, twice, nothing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "part"),
    [
        ({"categories": ["health"]}, {"category": "health"}),
        ({"purposes": ["referral"]}, {"purpose": "referral"}),
        ({"recipients": {"classes": [{"type": "shelter"}], "organisations": []}}, {"class": {"type": "shelter"}}),
    ],
)
async def test_the_last_part_is_all_of_it(world: World, left: dict[str, Any], part: dict[str, Any]) -> None:
    entry = await world.ready_person()
    await world.consent(entry, "share_referral", **left)
    await take_back(world, entry, **part)
    last, _, many = await _decided(world, entry)
    assert (last["state"], last["taken_back"]) == (
        "withdrawn",
        {next(iter(part)): last["taken_back"][next(iter(part))]},
    )
    async with database(world) as db:
        assert await db.fetchval("select sharing_shut from fence where entry = $1", entry)
    await take_back(world, entry, **part)
    assert (await _decided(world, entry))[2] == many, "there is nothing more to take back"


@pytest.mark.parametrize("part", [{"category": "health"}, {"purpose": "follow_up"}, {"recipient": str(uuid4())}])
async def test_said_twice_it_changes_nothing_more(world: World, part: dict[str, Any]) -> None:
    entry = await world.ready_person()
    first = await take_back(world, entry, **part)
    decided = await _decided(world, entry)
    async with database(world) as db:
        fence = await db.fetchrow("select * from fence where entry = $1", entry)
        assert await take_back(world, entry, **part) == first
        assert await db.fetchrow("select * from fence where entry = $1", entry) == fence
    assert await _decided(world, entry) == decided


async def test_a_part_of_nothing_is_not_refused_and_opens_nothing(world: World) -> None:
    entry = await world.entry()
    await take_back(world, entry, category="health")
    await world.consent(entry, "service")
    await world.consent(entry, "share_referral")
    await world.sender.partner.post(f"/intake/entries/{entry}/withdraw", {"what": "sharing"})
    await take_back(world, entry, category="health")
    async with database(world) as db:
        assert await db.fetchval("select sharing_shut from fence where entry = $1", entry)
    assert (await _decided(world, entry))[0]["state"] == "withdrawn"


# --- what cannot be said ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"what": "service", "category": "health"},
        {"what": "sharing", "category": "health", "purpose": "referral"},
        {"what": "sharing", "category": "shoe_size"},
        {"what": "sharing", "class": {"type": "a type of next year"}},
        {"what": "sharing", "recipient": "everybody"},
    ],
)
async def test_two_parts_at_once_or_none_that_there_is_are_not_understood(world: World, body: dict[str, Any]) -> None:
    entry = await world.ready_person()
    with refused("invalid"):
        await world.sender.partner.post(f"/intake/entries/{entry}/withdraw", body)
    assert (await _decided(world, entry))[2] == 2


# --- a class that says whom it takes in -----------------------------------------------------------------------------------


async def test_shelters_for_girls_are_those_that_the_network_knows_to_take_them_in(own: World) -> None:
    """What the network vouches for comes with each of its questions; who has no such place is in no such class."""
    entry = await own.ready_person(age_years=24)
    recipients = {"classes": [{"type": "shelter", "country": "KH", "serves": ["women"]}], "organisations": []}
    await own.consent(entry, "share_referral", recipients=recipients)
    await own.house("For men", places=9, sexes=["male"])
    await own.house("For girls", places=8, sexes=["female"], max_age=17)
    house = await own.house("For women", sexes=["female"], min_age=18)
    handoff = await own.handoff(entry)
    offer = await own.offer(house)
    assert offer["content"]["readable"]
    await house.partner.post(f"/referral/offers/{offer['id']}/accept")
    await own.state(handoff, "answered")
    assert (await house.partner.packet(offer["id"]))["members"][0]["name"] == "Test Person"
    rows = (await own.sender.partner.get(f"/intake/handoffs/{handoff}/disclosures"))["disclosures"]
    assert {rule for row in rows for rule in row["refused"].values()} >= {"consent-recipient"}, (
        "the others were not asked"
    )


@pytest.mark.parametrize(("serves", "covered"), [(["girls"], False), (["women", "girls"], True), (None, False)])
async def test_whom_it_takes_in_comes_with_the_question(
    world: World, serves: list[str] | None, *, covered: bool
) -> None:
    holder, entry = Holder(world), await world.ready_person()
    recipients = {"classes": [{"serves": ["women", "women"]}], "organisations": []}
    await world.consent(entry, "share_referral", recipients=recipients)
    assert (await _decided(world, entry))[0]["recipients"]["classes"][0]["serves"] == ["women"]
    handoff = await holder.requested(entry)
    house = await holder.house(serves=serves)
    assert await holder.next_candidate(handoff, house) == (house.id if covered else None)


async def test_a_class_of_nobody_that_is_known_is_refused(world: World) -> None:
    entry = await world.ready_person()
    with refused("invalid"):
        await world.consent(entry, "share_referral", recipients={"classes": [{"serves": ["unknown"]}]})
