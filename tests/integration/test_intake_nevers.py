"""Never to this one: an official, lifting it again; and what cannot be meant by a yes."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.builders import World
from tests.integration.holder import Case, Holder, database, refused, shared_world  # noqa: F401 (fixtures)


@pytest.fixture
async def offered(world: World) -> Case:
    holder = Holder(world)
    return await holder.offered(await holder.house(), await world.ready_person())


async def _never(world: World, entry: str, what: str = "", **body: Any) -> Any:
    return await world.sender.partner.post(f"/intake/entries/{entry}/exclusions{what}", body)


async def _nevers(world: World, entry: str) -> list[dict[str, Any]]:
    return list((await world.sender.partner.get(f"/intake/entries/{entry}/consents"))["exclusions"])


# --- officials, and lifting ---------------------------------------------------------------------------------------------


async def test_for_the_sake_of_an_official_nothing_goes_to_their_organisation_until_it_is_lifted(offered: Case) -> None:
    world, entry, place = offered.holder.world, offered.entries[0], offered.house.id
    for name in ("Captain Sok", "Officer Chan"):
        await _never(world, entry, kind="official", value=place, name=name)
    assert not await offered.may_accept()
    assert (await offered.said())[-1] == "disclosure.stopped"
    named = {"kind": "official", "value": place, "names": ["Captain Sok", "Officer Chan"]}
    assert await _nevers(world, entry) == [named]
    async with database(world) as db:
        rows = await db.fetch("select * from exclusion where entry = $1", entry)
    assert not any("Sok" in str(tuple(row)) or b"Sok" in row["sealed"] for row in rows)
    await _never(world, entry, "/lift", kind="official", value=place)
    assert await _nevers(world, entry) == []
    assert await offered.may_accept()
    with refused("state"):
        await _never(world, entry, "/lift", kind="official", value=place)
    await _never(world, entry, kind="official", value=place, name="Officer Chan")
    assert (await _nevers(world, entry))[0]["names"] == ["Officer Chan"], "who was lifted is forgotten"


async def test_lifting_is_the_persons_and_opens_nothing_else(offered: Case) -> None:
    world, entry = offered.holder.world, offered.entries[0]
    await _never(world, entry, kind="organisation", value=offered.house.id)
    await world.sender.partner.post(f"/intake/entries/{entry}/withdraw", {"what": "sharing"})
    other = (await world.organisation("Somebody else", "border_post", ["intake:send"])).partner
    body = {"kind": "organisation", "value": offered.house.id}
    with refused("not-found"):
        await other.post(f"/intake/entries/{entry}/exclusions/lift", body)
    await _never(world, entry, "/lift", **body)
    assert not await offered.may_accept()


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "official", "value": str(uuid4())},
        {"kind": "official", "value": "the police", "name": "Captain Sok"},
        {"kind": "organisation", "value": str(uuid4()), "name": "Captain Sok"},
    ],
)
async def test_an_official_is_a_name_at_an_organisation(world: World, body: dict[str, Any]) -> None:
    entry = await world.entry()
    with refused("invalid"):
        await _never(world, entry, **body)


# --- what cannot be meant -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"categories": []}, "consent-contradictory"),
        ({"purposes": []}, "consent-contradictory"),
        ({"recipients": {}}, "consent-contradictory"),
        ({"recipients": {"classes": [{"type": "police"}]}}, "consent-contradictory"),
        ({"state": "re-confirmed", "categories": ["health"]}, "consent-contradictory"),
        ({"recipients": {"organisations": [str(uuid4())]}}, "recipient-unknown"),
        ({"notice": "2-khm"}, "notice-unknown"),
        ({"notice": "../1-khm"}, "notice-unknown"),
        ({"notice": "1-eng"}, "notice-language"),
        ({"language": "lao"}, "notice-language"),
    ],
)
async def test_a_yes_that_cannot_be_meant_is_refused_and_nothing_is_written(
    world: World, change: dict[str, Any], code: str
) -> None:
    entry = await world.ready_person()
    with refused(code):
        await world.consent(entry, "share_referral", **change)
    assert len((await world.sender.partner.get(f"/intake/entries/{entry}/consents"))["records"]) == 2


@pytest.mark.parametrize("kind", ["organisation", "official", "organisation_type"])
async def test_nobody_is_both_named_and_never_told(world: World, kind: str) -> None:
    entry, house = await world.ready_person(), await Holder(world).house(type="clinic")
    more = {"name": "Captain Sok"} if kind == "official" else {}
    await _never(world, entry, kind=kind, value="clinic" if kind == "organisation_type" else house.id, **more)
    recipients = {"organisations": [house.id], "classes": [{"type": "clinic"}]}
    with refused("consent-contradictory"):
        await world.consent(entry, "share_referral", recipients=recipients)


async def test_an_interpreter_speaks_the_english_notice_where_there_is_none(world: World) -> None:
    entry = await world.entry()
    await world.consent(entry, "service", language="lao", notice="1-eng", interpreter=True)
    record = (await world.sender.partner.get(f"/intake/entries/{entry}/consents"))["records"][0]
    assert (record["notice"], record["notice_reviewed"]) == ("1-eng", True)


async def test_a_no_needs_no_notice(world: World) -> None:
    entry = await world.ready_person()
    await world.consent(entry, "share_referral", "refused", notice="none that there is")
    record = (await world.sender.partner.get(f"/intake/entries/{entry}/consents"))["records"][-1]
    assert (record["state"], record["notice_reviewed"]) == ("refused", None)
