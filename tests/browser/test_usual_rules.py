"""The usual rules of a network: an officer chooses, reads every rule, and adds exactly those."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx

from schemas.rights import StaffRole
from tests.browser.visiting import Screen, Walker, walker
from tests.builders import Organisation, World

PAGE = "/intake/pages/rules/usual"


async def agreements(world: World, *organisations: Organisation) -> list[dict[str, Any]]:
    ids = [UUID(one.id) for one in organisations]
    async with world.made.services["intake"].db.transaction("test") as tx:
        rows = await tx.conn.fetch(
            "select * from agreement where sender = any($1) and recipient = any($1) order by created_at", ids
        )
    return [dict(row) for row in rows]


async def member(world: World, name: str, kind: str, **more: Any) -> Organisation:
    made = await world.organisation(name, kind, ["referral:receive"], **more)
    await world.admin.post(f"/referral/networks/{world.network}/members", {"organisation": made.id})
    return made


async def review(officer: Walker, world: World, *receives: Organisation) -> Screen:
    query = [("network", world.network), ("read", "1"), ("sends", world.sender.id)]
    return await officer.get(f"{PAGE}?{httpx.QueryParams([*query, *(('receives', one.id) for one in receives)])}")


async def test_exactly_what_was_read_is_added_once(world: World) -> None:
    house = await member(world, "New house", "shelter")
    async with walker(world, world.coordinator, StaffRole.OFFICER) as officer:
        page = await review(officer, world, house)
        assert "Each of these Border post may tell each of these New house" in page.text
        form = page.form("/usual")
        assert "Rules added" in (await officer.send(form)).text
        assert "Rules added" in (await officer.send(form)).text, "a second click adds nothing more"
        kept = await agreements(world, world.sender, house)
        assert [(str(one["sender"]), str(one["recipient"])) for one in kept] in (
            [(world.sender.id, house.id), (house.id, world.sender.id)],
            [(house.id, world.sender.id), (world.sender.id, house.id)],
        )
        given = {str(one["sender"]): one for one in kept}
        assert given[house.id]["categories"] == ["placement"]
        assert "account" not in given[world.sender.id]["categories"], "a shelter is not told what happened"
        assert all(one["created_by"].startswith("person:") for one in kept)
        assert "The usual rules are all there" in (await review(officer, world, house)).text


async def test_what_has_changed_since_it_was_read_is_read_again(world: World) -> None:
    house = await member(world, "Changing house", "shelter")
    async with walker(world, world.coordinator, StaffRole.OFFICER) as officer:
        form = (await review(officer, world, house)).form("/usual")
        body = {"sender": house.id, "recipient": world.sender.id, "categories": ["contact"], "purposes": ["referral"]}
        await world.admin.post("/intake/rules/agreements", body)
        page = await officer.send(form)
        assert (page.status, "It has changed since you looked" in page.text) == (412, True)
        forged = await officer.send(form, reviewed="", key="k" * 32)
        assert forged.status == 412
    assert len(await agreements(world, world.sender, house)) == 1, "all of them or none"


async def test_nothing_usual_goes_to_police_over_a_border_or_to_somebody_elsewhere(world: World) -> None:
    police = await member(world, "Police desk", "police", law_enforcement=True)
    guards = await member(world, "Guarded house", "shelter", law_enforcement=True)
    abroad = await member(world, "House abroad", "shelter", country="TH")
    outside = await world.organisation("Outside house", "shelter", ["referral:receive"])
    async with walker(world, world.coordinator, StaffRole.OFFICER) as officer:
        page = await officer.get(f"{PAGE}?network={world.network}")
        assert "House abroad" in page.text
        assert not [name for name in ("Police desk", "Guarded house", "Outside house") if name in page.text]
        page = await review(officer, world, police, guards, abroad, outside)
        assert "1 pair lies across a border." in page.text
        assert "may tell each of these" not in page.text
        await officer.send(page.form("/usual"))
    for one in (police, guards, abroad, outside):
        assert not await agreements(world, world.sender, one)


async def test_only_an_officer_and_only_a_network_that_is_there(world: World) -> None:
    house = await member(world, "Closed book", "shelter")
    others = set(StaffRole) - {StaffRole.OFFICER}
    async with walker(world, world.coordinator, *others) as other, walker(world, None) as stranger:
        assert (await other.get(PAGE)).status == 403
        assert (await stranger.get(PAGE)).path == "/referral/pages/sign-in"
        form = (await other.get("/referral/pages/account")).form("/sign-out")
        form.action = PAGE
        assert (await other.send(form, network=world.network, sends=world.sender.id, receives=house.id)).status == 403
    async with walker(world, world.coordinator, StaffRole.OFFICER) as officer:
        assert (await officer.get(f"{PAGE}?network={uuid4()}")).status == 404
        page = await review(officer, world)
        assert (page.status, "receives-error" in page.ids) == (422, True)
        assert page.form("/usual").get("sends") == [world.sender.id], "what was ticked is kept"
        form = (await review(officer, world, house)).form("/usual")
        for wrong in ({"network": "x"}, {"network": ""}, {"sends": "x"}):
            assert (await officer.send(form, **wrong)).status == 422, wrong
    assert not await agreements(world, world.sender, house)
