"""The administrator's pages: who may, organisations, networks and places."""

from __future__ import annotations

import json
import re
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest

from schemas.rights import StaffRole
from services.cli.client import ApiProblem
from tests.browser.administering import ADMIN, ADMINISTRATOR, SCRIPT, id_of, register, rows
from tests.browser.visiting import Walker, walker
from tests.builders import World

# --- who may ----------------------------------------------------------------------------------------------------------


async def test_nobody_else_may(world: World) -> None:
    organisation, system = world.sender.id, world.sender.partner.client_id
    pages = [
        "", "/first", "/history", "/networks", "/networks/new", f"/networks/{world.network}",
        f"/networks/{world.network}/coordinator", "/organisations", "/organisations/new", f"/organisations/{organisation}",
        f"/organisations/{organisation}/suspend", f"/organisations/{organisation}/reinstate", "/places",
        f"/organisations/{organisation}/places/new", "/systems", f"/organisations/{organisation}/systems/new",
        f"/systems/{system}", f"/systems/{system}/revoke",
    ]  # fmt: skip
    others = set(StaffRole) - {ADMINISTRATOR}
    async with walker(world, world.coordinator, *others) as other, walker(world, None) as stranger:
        for page in pages:
            assert (await other.get(ADMIN + page)).status == 403, page
            assert (await stranger.get(ADMIN + page)).path == "/referral/pages/sign-in", page
        form = (await other.get("/referral/pages/account")).form("/sign-out")
        for action in ("/networks/new", "/organisations/new", f"/organisations/{organisation}/suspend",
                       f"/networks/{world.network}/members", f"/systems/{system}/revoke", f"/systems/{system}/keys"):  # fmt: skip
            form.action = ADMIN + action
            assert (await other.send(form)).status == 403, action
    assert (await rows(world, "select status from organisation where id = $1", UUID(organisation))) == [
        {"status": "active"}
    ]


async def test_what_is_not_there_is_said_on_a_page(administrator: Walker) -> None:
    for page in (f"/networks/{uuid4()}", f"/organisations/{uuid4()}", f"/organisations/{uuid4()}/suspend", "/networks/x",
                 f"/organisations/{uuid4()}/places/new", f"/organisations/{uuid4()}/systems/new", "/systems/nobody-at-all",
                 "/history?before=x", "/systems/administrator/keys/none/revoke"):  # fmt: skip
        found = await administrator.get(ADMIN + page)
        assert (found.status, found.headings[0]) == (404, "That did not work"), page


async def test_the_overview_counts_and_names_the_next_step(world: World, administrator: Walker) -> None:
    page = await administrator.get(ADMIN)
    (counted,) = await rows(world, "select count(*) as n from organisation")
    assert re.search(rf"Organisations (None|\d+) of them (is|are) suspended\. {counted['n']} People", page.text)
    assert page.headings[:2] == ["Administration", "The next step"]
    steps = await administrator.click(page, "All steps")
    assert "A network done" in steps.text
    assert "Somebody at the house" in steps.text


# --- organisations ----------------------------------------------------------------------------------------------------


async def test_an_organisation_is_registered_once(world: World, administrator: Walker) -> None:
    name = f"Teak House {uuid4().hex[:8]}"
    page = await administrator.get(f"{ADMIN}/organisations/new")
    answers: dict[str, str | list[str]] = {"name": name, "type": "police", "country": "TH", "law_enforcement": "yes"}
    once = await administrator.send(page.form("/new"), **answers)
    twice = await administrator.send(page.form("/new"), **answers)
    assert (once.path, once.headings[0]) == (twice.path, f"{name} sample")
    kept = "select name, type, country, law_enforcement, status, sample from organisation where name = $1"
    assert await rows(world, kept, name) == [
        {"name": name, "type": "police", "country": "TH", "law_enforcement": True, "status": "active", "sample": True}
    ]


async def test_what_an_organisation_cannot_be_is_said_and_what_was_typed_is_kept(administrator: Walker) -> None:
    for wrong, field in (({"name": ""}, "name"), ({"name": "x" * 201}, "name"), ({"type": []}, "type"),
                         ({"type": "castle"}, "type"), ({"country": ""}, "country"), ({"country": "Cambodia"}, "country")):  # fmt: skip
        page = await register(administrator, **wrong)  # type: ignore[arg-type]
        assert (page.status, f"{field}-error" in page.ids) == (422, True), wrong
        form = page.form("/new")
        if "name" not in wrong:
            assert form.get("name") == ["Teak House"]
        if field != "type":
            assert form.get("type") == ["shelter"]


async def test_a_script_for_a_name_is_a_name(world: World, administrator: Walker) -> None:
    page = await register(administrator, name=SCRIPT)
    id_ = id_of(page)
    join = (await administrator.get(f"{ADMIN}/networks/{world.network}")).form("/members")
    await administrator.send(join, organisation=id_)
    for path in (f"/organisations/{id_}", "/organisations", f"/networks/{world.network}", "/history",
                 f"/organisations/{id_}/suspend", "/places", "/networks/new"):  # fmt: skip
        page = await administrator.get(ADMIN + path)
        assert "<script>alert" not in page.html, path
        assert SCRIPT in page.text or "&lt;script&gt;" in page.html, path


async def test_it_is_found_by_a_part_of_its_name_however_it_is_typed(administrator: Walker) -> None:
    mark = uuid4().hex[:8]
    await register(administrator, name=f"ផ្ទះ\u200bសុវត្ថិភាព {mark}")
    await register(administrator, name=f"Élan House {mark}")
    for typed, found in ((f"ផ្ទះសុវត្ថិភាព {mark}", 1), (f"E\u0301LAN {mark}", 1), (mark, 2), (f"{mark} nowhere", 0)):
        page = await administrator.get(f"{ADMIN}/organisations?{urlencode({'q': typed})}")
        assert page.status == 200
        assert page.form("/organisations").get("q") == [typed]
        assert len([name for name in page.links if mark in name]) == found, typed
    page = await administrator.get(f"{ADMIN}/organisations?{urlencode({'q': mark, 'state': 'suspended'})}")
    assert "None fits" in page.text


async def test_a_suspension_says_first_what_it_does_then_does_it(world: World, administrator: Walker) -> None:
    house = await world.house("Doomed house")
    await world.handoff(await world.ready_person())
    await world.offer(house)
    page = await administrator.get(f"{ADMIN}/organisations/{house.id}")
    page = await administrator.click(page, "Suspend")
    assert "1 request that waits for its answer goes to the next organisation." in page.text
    assert "1 system is shut out." in page.text
    form, stale = page.form("/suspend"), page.form("/suspend")
    page = await administrator.send(form)
    assert "Suspended. It is shut out from this moment." in page.text
    with pytest.raises(ApiProblem):
        await house.partner.get("/referral/offers")
    stale.values = [(name, "x" * 32 if name == "key" else value) for name, value in stale.values]
    again = await administrator.send(stale)
    assert (again.status, "It has changed since you looked" in again.text) == (412, True)
    # Not before tokens from before are dead, and the page says so.
    page = await administrator.get(f"{ADMIN}/organisations/{house.id}/reinstate")
    assert "Come back in a moment" in page.text
    assert [one for one in page.forms if one.action.endswith("/reinstate")] == []
    await rows(
        world,
        "update organisation set suspended_at = now() - interval '7 minutes' where id = $1 returning id",
        UUID(house.id),
    )
    page = await administrator.get(f"{ADMIN}/organisations/{house.id}/reinstate")
    page = await administrator.send(page.form("/reinstate"))
    assert "Reinstated" in page.text
    assert await house.partner.get("/referral/places")
    history = await administrator.get(f"{ADMIN}/history?organisation={house.id}")
    assert re.search(r"reinstated .* Made Up .* suspended .* Made Up .* registered", history.text)


async def test_who_coordinates_is_not_suspended(world: World, administrator: Walker) -> None:
    page = await administrator.get(f"{ADMIN}/organisations/{world.coordinator.id}/suspend")
    assert "Name another coordinator there first" in page.text
    assert not [one for one in page.forms if one.action.endswith("/suspend")]
    form = (await administrator.get(f"{ADMIN}/organisations/{world.sender.id}/suspend")).form("/suspend")
    form.action = f"{ADMIN}/organisations/{world.coordinator.id}/suspend"
    assert (await administrator.send(form, version="")).status == 409


# --- networks ---------------------------------------------------------------------------------------------------------


async def test_a_network_is_founded_with_its_times_in_words(world: World, administrator: Walker) -> None:
    page = await administrator.get(f"{ADMIN}/networks/new")
    assert page.form("/new").get("emergency") == ["60"], "the usual times stand there"
    answers: dict[str, str | list[str]] = {
        "name": f"Net {SCRIPT}",
        "coordinator": world.coordinator.id,
        "immediate": "5",
    }
    once = await administrator.send(page.form("/new"), **answers)
    twice = await administrator.send(page.form("/new"), **answers)
    assert once.path == twice.path
    assert "5 minutes" in once.text
    assert "1 hour" in once.text
    assert "14 days" in once.text
    assert "<script>alert" not in once.html
    (kept,) = await rows(world, "select windows, coordinator from network where id = $1", UUID(id_of(once)))
    assert json.loads(kept["windows"])["answer_s"] == {
        "immediate": 300,
        "emergency": 3600,
        "urgent": 14400,
        "normal": 86400,
    }
    assert id_of(once) in (await administrator.get(f"{ADMIN}/networks")).html


async def test_what_a_network_cannot_be(world: World, administrator: Walker) -> None:
    right: dict[str, str | list[str]] = {"name": "Net", "coordinator": world.coordinator.id}
    form = (await administrator.get(f"{ADMIN}/networks/new")).form("/new")
    house = await world.house("Shut house")
    await world.admin.post(f"/referral/organisations/{house.id}/suspend")
    for wrong, field in (({"name": ""}, "name"), ({"coordinator": ""}, "coordinator"), ({"coordinator": "x"}, "coordinator"),
                         ({"coordinator": str(uuid4())}, "coordinator"), ({"coordinator": house.id}, "coordinator"),
                         ({"urgent": "0"}, "urgent"), ({"urgent": "99999"}, "urgent"), ({"normal": "soon"}, "normal")):  # fmt: skip
        page = await administrator.send(form, **{**right, **wrong})
        assert (page.status, f"{field}-error" in page.ids) == (422, True), wrong
        kept = page.form("/new")
        assert kept.get(field)[:1] in ([next(iter(wrong.values()))], [], [""]), wrong


async def test_a_member_is_added_once(world: World, administrator: Walker) -> None:
    made = id_of(await register(administrator, name="Joining house"))
    page = await administrator.get(f"{ADMIN}/networks/{world.network}")
    page = await administrator.send(page.form("/members"), organisation="")
    assert (page.status, "organisation-error" in page.ids) == (422, True)
    for _ in range(2):
        page = await administrator.send(page.form("/members"), organisation=made)
        assert "Joining house" in page.text
    said = "select what from change where organisation = $1 order by number"
    assert [row["what"] for row in await rows(world, said, UUID(made))] == ["organisation-registered", "member-joined"]
    page = await administrator.send(page.form("/members"), organisation=str(uuid4()))
    assert page.status == 404


async def test_another_coordinator_takes_over(world: World, administrator: Walker) -> None:
    page = await administrator.get(f"{ADMIN}/networks/{world.network}/coordinator")
    form = page.form("/coordinator")
    page = await administrator.send(form, organisation="")
    assert (page.status, "organisation-error" in page.ids) == (422, True)
    outsider = id_of(await register(administrator, name="Outsider"))
    page = await administrator.send(form, organisation=outsider)
    assert (page.status, "Only a member of the network" in page.text) == (422, True)
    page = await administrator.send(page.form("/coordinator"), organisation=world.sender.id)
    assert "The network has another coordinator from now on." in page.text
    assert "coordinated by Border post" in page.text
    form.values = [(name, "y" * 32 if name == "key" else value) for name, value in form.values]
    page = await administrator.send(form, organisation=world.coordinator.id)
    assert page.status == 412, "somebody changed it meanwhile"


# --- places -----------------------------------------------------------------------------------------------------------


async def test_places_are_added_once_and_asked_for(world: World, administrator: Walker) -> None:
    house = await world.house("Roomy house", places=1, service="counselling")
    path = f"{ADMIN}/organisations/{house.id}/places/new"
    page = await administrator.get(path)
    assert "What kind of service are the places for?" in page.headings
    page = await administrator.get(f"{path}?group=shelter")
    form = page.form("/new")
    answers: dict[str, str | list[str]] = {
        "service_types": ["emergency_bed", "group_home"], "area": "KH-1", "usable": "7", "sexes": ["female"],
        "min_age": "12", "max_age": "60", "needs": ["interpreter"],
    }  # fmt: skip
    for _ in range(2):
        page = await administrator.send(form, **answers)
        assert "Places added." in page.text
    assert "Bed tonight, Small group home Banteay Meanchey · 7 places in all · 7 free now" in page.text
    made = await rows(
        world,
        "select eligibility, usable from place where organisation = $1 and service_group = 'shelter'",
        UUID(house.id),
    )
    assert [(row["usable"], json.loads(row["eligibility"])) for row in made] == [
        (7, {"sexes": ["female"], "min_age": 12, "max_age": 60, "needs": ["interpreter"]})
    ]
    await world.handoff(await world.ready_person(needs=["interpreter"]))
    assert await world.offer(house)


async def test_what_places_cannot_be(world: World, administrator: Walker) -> None:
    house = await world.house("Small house")
    form = (await administrator.get(f"{ADMIN}/organisations/{house.id}/places/new?group=health")).form("/new")
    right: dict[str, str | list[str]] = {"service_types": ["emergency_care"], "area": "KH-1", "usable": "2"}
    for wrong, field in (({"service_types": []}, "service_types"), ({"service_types": ["emergency_bed"]}, "service_types"),
                         ({"area": ""}, "area"), ({"area": "KH-99"}, "area"), ({"usable": ""}, "usable"),
                         ({"usable": "10001"}, "usable"), ({"usable": "many"}, "usable"), ({"min_age": "151"}, "min_age"),
                         ({"min_age": "50", "max_age": "20"}, "max_age"), ({"sexes": ["x"]}, "sexes")):  # fmt: skip
        page = await administrator.send(form, **{**right, **wrong})  # type: ignore[dict-item]
        assert (page.status, f"{field}-error" in page.ids) == (422, True), wrong
        assert page.form("/new").get("usable") == [wrong.get("usable", "2")], "what was typed is kept"
    form.values = [(name, str(uuid4()) if name == "network" else value) for name, value in form.values]
    assert (await administrator.send(form, **right)).status == 404
    assert (
        await rows(world, "select 1 from place where organisation = $1 and service_group = 'health'", UUID(house.id))
        == []
    )
