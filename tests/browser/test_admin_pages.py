"""The administrator's pages: networks, organisations, places, systems and their keys, and the history of every change."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from joserfc.jwk import OKPKey

from schemas.vocabulary import SCOPES, StaffRole
from services.cli.client import ApiProblem, Partner
from spean.db import DatabaseProblem
from tests.browser.visiting import Screen, Walker, walker
from tests.builders import FAST, Organisation, World, eventually

ADMIN, ADMINISTRATOR = "/referral/pages/admin", StaffRole.ADMINISTRATOR
SCRIPT = '<script>alert("x")</script>'


@pytest.fixture
async def someone(world: World) -> AsyncIterator[Walker]:
    """An administrator at the pages."""
    async with walker(world, world.coordinator, ADMINISTRATOR) as found:
        yield found


async def rows(world: World, query: str, *values: Any) -> list[dict[str, Any]]:
    async with world.made.services["referral"].db.transaction("test") as tx:
        return [dict(row) for row in await tx.conn.fetch(query, *values)]


def public(key: OKPKey) -> dict[str, str]:
    return {name: str(value) for name, value in key.as_dict(private=False).items()}


def id_of(screen: Screen) -> str:
    return screen.path.split("/")[5]


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
    assert (await rows(world, "select status from organisation where id = $1", UUID(organisation))) == [{"status": "active"}]


async def test_what_is_not_there_is_said_on_a_page(someone: Walker) -> None:
    for page in (f"/networks/{uuid4()}", f"/organisations/{uuid4()}", f"/organisations/{uuid4()}/suspend", "/networks/x",
                 f"/organisations/{uuid4()}/places/new", f"/organisations/{uuid4()}/systems/new", "/systems/nobody-at-all",
                 "/history?before=x", "/systems/administrator/keys/none/revoke"):  # fmt: skip
        found = await someone.get(ADMIN + page)
        assert (found.status, found.headings[0]) == (404, "That did not work"), page


async def test_the_overview_counts_and_names_the_next_step(world: World, someone: Walker) -> None:
    page = await someone.get(ADMIN)
    (counted,) = await rows(world, "select count(*) as n from organisation")
    assert re.search(rf"Organisations (None|\d+) of them (is|are) suspended\. {counted['n']} People", page.text)
    assert page.headings[:2] == ["Administration", "The next step"]
    steps = await someone.click(page, "All steps")
    assert "A network done" in steps.text
    assert "Somebody at the house" in steps.text


# --- organisations ----------------------------------------------------------------------------------------------------


async def register(someone: Walker, **other: str | list[str]) -> Screen:
    page = await someone.get(f"{ADMIN}/organisations/new")
    return await someone.send(page.form("/new"), **{"name": "Teak House", "type": "shelter", "country": "KH", **other})


async def test_an_organisation_is_registered_once(world: World, someone: Walker) -> None:
    name = f"Teak House {uuid4().hex[:8]}"
    page = await someone.get(f"{ADMIN}/organisations/new")
    answers: dict[str, str | list[str]] = {"name": name, "type": "police", "country": "TH", "law_enforcement": "yes"}
    once = await someone.send(page.form("/new"), **answers)
    twice = await someone.send(page.form("/new"), **answers)
    assert (once.path, once.headings[0]) == (twice.path, f"{name} sample")
    kept = "select name, type, country, law_enforcement, status, sample from organisation where name = $1"
    assert await rows(world, kept, name) == [
        {"name": name, "type": "police", "country": "TH", "law_enforcement": True, "status": "active", "sample": True}
    ]


async def test_what_an_organisation_cannot_be_is_said_and_what_was_typed_is_kept(someone: Walker) -> None:
    for wrong, field in (({"name": ""}, "name"), ({"name": "x" * 201}, "name"), ({"type": []}, "type"),
                         ({"type": "castle"}, "type"), ({"country": ""}, "country"), ({"country": "Cambodia"}, "country")):  # fmt: skip
        page = await register(someone, **wrong)  # type: ignore[arg-type]
        assert (page.status, f"{field}-error" in page.ids) == (422, True), wrong
        form = page.form("/new")
        if "name" not in wrong:
            assert form.get("name") == ["Teak House"]
        if field != "type":
            assert form.get("type") == ["shelter"]


async def test_a_script_for_a_name_is_a_name(world: World, someone: Walker) -> None:
    page = await register(someone, name=SCRIPT)
    id_ = id_of(page)
    join = (await someone.get(f"{ADMIN}/networks/{world.network}")).form("/members")
    await someone.send(join, organisation=id_)
    for path in (f"/organisations/{id_}", "/organisations", f"/networks/{world.network}", "/history",
                 f"/organisations/{id_}/suspend", "/places", "/networks/new"):  # fmt: skip
        page = await someone.get(ADMIN + path)
        assert "<script>alert" not in page.html, path
        assert SCRIPT in page.text or "&lt;script&gt;" in page.html, path


async def test_it_is_found_by_a_part_of_its_name_however_it_is_typed(someone: Walker) -> None:
    mark = uuid4().hex[:8]
    await register(someone, name=f"ផ្ទះ\u200bសុវត្ថិភាព {mark}")
    await register(someone, name=f"Élan House {mark}")
    page = await someone.get(f"{ADMIN}/organisations")
    for typed, found in ((f"ផ្ទះសុវត្ថិភាព {mark}", 1), (f"E\u0301LAN {mark}", 1), (mark, 2), (f"{mark} nowhere", 0)):
        page = await someone.send(page.form("/organisations"), name=typed)
        assert page.status == 200
        assert page.html.count(mark) - len(page.form("/organisations").get("name")[0].split(mark)) + 1 == found, typed
        assert "?" not in page.url, "what was typed is in no address"
    page = await someone.send(page.form("/organisations"), name=mark, state="suspended")
    assert "None fits" in page.text


async def test_a_suspension_says_first_what_it_does_then_does_it(world: World, someone: Walker) -> None:
    house = await world.house("Doomed house")
    await world.handoff(await world.ready_person())
    await world.offer(house)
    page = await someone.get(f"{ADMIN}/organisations/{house.id}")
    page = await someone.click(page, "Suspend")
    assert "1 request that waits for its answer goes to the next organisation." in page.text
    assert "1 system is shut out." in page.text
    form, stale = page.form("/suspend"), page.form("/suspend")
    page = await someone.send(form)
    assert "Suspended. It is shut out from this moment." in page.text
    with pytest.raises(ApiProblem):
        await house.partner.get("/referral/offers")
    stale.values = [(name, "x" * 32 if name == "key" else value) for name, value in stale.values]
    again = await someone.send(stale)
    assert (again.status, "It has changed since you looked" in again.text) == (412, True)
    # Not before tokens from before are dead, and the page says so.
    page = await someone.get(f"{ADMIN}/organisations/{house.id}/reinstate")
    assert "Come back in a moment" in page.text
    assert [one for one in page.forms if one.action.endswith("/reinstate")] == []
    await rows(world, "update organisation set suspended_at = now() - interval '7 minutes' where id = $1 returning id", UUID(house.id))
    page = await someone.get(f"{ADMIN}/organisations/{house.id}/reinstate")
    page = await someone.send(page.form("/reinstate"))
    assert "Reinstated" in page.text
    assert await house.partner.get("/referral/places")
    history = await someone.get(f"{ADMIN}/history?organisation={house.id}")
    assert re.search(r"reinstated .* Made Up .* suspended .* Made Up .* registered", history.text)


async def test_who_coordinates_is_not_suspended(world: World, someone: Walker) -> None:
    page = await someone.get(f"{ADMIN}/organisations/{world.coordinator.id}/suspend")
    assert "Name another coordinator there first" in page.text
    assert not [one for one in page.forms if one.action.endswith("/suspend")]
    form = (await someone.get(f"{ADMIN}/organisations/{world.sender.id}/suspend")).form("/suspend")
    form.action = f"{ADMIN}/organisations/{world.coordinator.id}/suspend"
    assert (await someone.send(form, version="")).status == 409


# --- networks ---------------------------------------------------------------------------------------------------------


async def test_a_network_is_founded_with_its_times_in_words(world: World, someone: Walker) -> None:
    page = await someone.get(f"{ADMIN}/networks/new")
    assert page.form("/new").get("emergency") == ["60"], "the usual times stand there"
    answers: dict[str, str | list[str]] = {"name": f"Net {SCRIPT}", "coordinator": world.coordinator.id, "immediate": "5"}
    once = await someone.send(page.form("/new"), **answers)
    twice = await someone.send(page.form("/new"), **answers)
    assert once.path == twice.path
    assert "5 minutes" in once.text
    assert "1 hour" in once.text
    assert "14 days" in once.text
    assert "<script>alert" not in once.html
    (kept,) = await rows(world, "select windows, coordinator from network where id = $1", UUID(id_of(once)))
    assert json.loads(kept["windows"])["answer_s"] == {"immediate": 300, "emergency": 3600, "urgent": 14400, "normal": 86400}
    assert id_of(once) in (await someone.get(f"{ADMIN}/networks")).html


async def test_what_a_network_cannot_be(world: World, someone: Walker) -> None:
    right: dict[str, str | list[str]] = {"name": "Net", "coordinator": world.coordinator.id}
    form = (await someone.get(f"{ADMIN}/networks/new")).form("/new")
    house = await world.house("Shut house")
    await world.admin.post(f"/referral/organisations/{house.id}/suspend")
    for wrong, field in (({"name": ""}, "name"), ({"coordinator": ""}, "coordinator"), ({"coordinator": "x"}, "coordinator"),
                         ({"coordinator": str(uuid4())}, "coordinator"), ({"coordinator": house.id}, "coordinator"),
                         ({"urgent": "0"}, "urgent"), ({"urgent": "99999"}, "urgent"), ({"normal": "soon"}, "normal")):  # fmt: skip
        page = await someone.send(form, **{**right, **wrong})
        assert (page.status, f"{field}-error" in page.ids) == (422, True), wrong
        kept = page.form("/new")
        assert kept.get(field)[:1] in ([next(iter(wrong.values()))], [], [""]), wrong


async def test_a_member_is_added_once(world: World, someone: Walker) -> None:
    made = id_of(await register(someone, name="Joining house"))
    page = await someone.get(f"{ADMIN}/networks/{world.network}")
    page = await someone.send(page.form("/members"), organisation="")
    assert (page.status, "organisation-error" in page.ids) == (422, True)
    for _ in range(2):
        page = await someone.send(page.form("/members"), organisation=made)
        assert "Joining house" in page.text
    said = "select what from change where organisation = $1 order by number"
    assert [row["what"] for row in await rows(world, said, UUID(made))] == ["organisation-registered", "member-joined"]
    page = await someone.send(page.form("/members"), organisation=str(uuid4()))
    assert page.status == 404


async def test_another_coordinator_takes_over(world: World, someone: Walker) -> None:
    page = await someone.get(f"{ADMIN}/networks/{world.network}/coordinator")
    form = page.form("/coordinator")
    page = await someone.send(form, organisation="")
    assert (page.status, "organisation-error" in page.ids) == (422, True)
    outsider = id_of(await register(someone, name="Outsider"))
    page = await someone.send(form, organisation=outsider)
    assert (page.status, "Only a member of the network" in page.text) == (422, True)
    page = await someone.send(page.form("/coordinator"), organisation=world.sender.id)
    assert "The network has another coordinator from now on." in page.text
    assert "coordinated by Border post" in page.text
    form.values = [(name, "y" * 32 if name == "key" else value) for name, value in form.values]
    page = await someone.send(form, organisation=world.coordinator.id)
    assert page.status == 412, "somebody changed it meanwhile"


# --- places -----------------------------------------------------------------------------------------------------------


async def test_places_are_added_once_and_asked_for(world: World, someone: Walker) -> None:
    house = await world.house("Roomy house", places=1, service="counselling")
    path = f"{ADMIN}/organisations/{house.id}/places/new"
    page = await someone.get(path)
    assert "What kind of service are the places for?" in page.headings
    page = await someone.get(f"{path}?group=shelter")
    form = page.form("/new")
    answers: dict[str, str | list[str]] = {
        "service_types": ["emergency_bed", "group_home"], "area": "KH-1", "usable": "7", "sexes": ["female"],
        "min_age": "12", "max_age": "60", "needs": ["interpreter"],
    }  # fmt: skip
    for _ in range(2):
        page = await someone.send(form, **answers)
        assert "Places added." in page.text
    assert "Bed tonight, Small group home Banteay Meanchey · 7 places in all · 7 free now" in page.text
    made = await rows(
        world, "select eligibility, usable from place where organisation = $1 and service_group = 'shelter'", UUID(house.id)
    )
    assert [(row["usable"], json.loads(row["eligibility"])) for row in made] == [
        (7, {"sexes": ["female"], "min_age": 12, "max_age": 60, "needs": ["interpreter"]})
    ]
    await world.handoff(await world.ready_person(needs=["interpreter"]))
    assert await world.offer(house)


async def test_what_places_cannot_be(world: World, someone: Walker) -> None:
    house = await world.house("Small house")
    form = (await someone.get(f"{ADMIN}/organisations/{house.id}/places/new?group=health")).form("/new")
    right: dict[str, str | list[str]] = {"service_types": ["emergency_care"], "area": "KH-1", "usable": "2"}
    for wrong, field in (({"service_types": []}, "service_types"), ({"service_types": ["emergency_bed"]}, "service_types"),
                         ({"area": ""}, "area"), ({"area": "KH-99"}, "area"), ({"usable": ""}, "usable"),
                         ({"usable": "10001"}, "usable"), ({"usable": "many"}, "usable"), ({"min_age": "151"}, "min_age"),
                         ({"min_age": "50", "max_age": "20"}, "max_age"), ({"sexes": ["x"]}, "sexes")):  # fmt: skip
        page = await someone.send(form, **{**right, **wrong})  # type: ignore[dict-item]
        assert (page.status, f"{field}-error" in page.ids) == (422, True), wrong
        assert page.form("/new").get("usable") == [wrong.get("usable", "2")], "what was typed is kept"
    form.values = [(name, str(uuid4()) if name == "network" else value) for name, value in form.values]
    assert (await someone.send(form, **right)).status == 404
    assert await rows(world, "select 1 from place where organisation = $1 and service_group = 'health'", UUID(house.id)) == []


# --- systems ----------------------------------------------------------------------------------------------------------


async def registered(someone: Walker, at: Organisation, key: OKPKey, **other: str | list[str]) -> tuple[str, Screen]:
    client = f"cases-{uuid4().hex[:8]}"
    page = await someone.get(f"{ADMIN}/organisations/{at.id}/systems/new")
    answers = {"id": client, "scopes": ["referral:receive"], "public_key": json.dumps(public(key)), **other}
    return client, await someone.send(page.form("/new"), **answers)


async def opens(world: World, client: str, key: OKPKey) -> bool:
    """Does a real assertion by this key get a token that opens something?"""
    async with Partner(world.made.url, client, key) as partner:
        try:
            return isinstance(await partner.get("/referral/places"), dict)
        except ApiProblem as problem:
            assert problem.code == "bad-client"
            return False


async def test_a_system_changes_its_key_without_a_pause(world: World, someone: Walker) -> None:
    house = await world.house("Digital house")
    first, second, third = (OKPKey.generate_key("Ed25519", auto_kid=True) for _ in range(3))
    client, page = await registered(someone, house, first)
    assert "answer offers, record arrival and outcome" in page.text
    assert (await opens(world, client, first), await opens(world, client, second)) == (True, False)
    before = page
    page = await someone.send(page.form("/keys"), public_key=json.dumps(public(second)))
    assert "Both keys open from now on." in page.text
    assert (await opens(world, client, first), await opens(world, client, second)) == (True, True)
    assert not [form for form in page.forms if form.action.endswith("/keys")], "two at most"
    before.form("/keys").values[:] = [(n, "z" * 32 if n == "key" else v) for n, v in before.form("/keys").values]
    refused = await someone.send(before.form("/keys"), public_key=json.dumps(public(third)))
    assert refused.status == 409
    assert not await opens(world, client, third)
    revoke = await someone.get(f"{ADMIN}/systems/{client}/keys/{first.thumbprint()}/revoke")
    assert "This is the only key" not in revoke.text
    page = await someone.send(revoke.form("/revoke"))
    assert "It opens nothing more." in page.text
    assert (await opens(world, client, first), await opens(world, client, second)) == (False, True)
    page = await someone.send(page.form("/keys"), public_key=json.dumps(public(first)))
    assert (page.status, "a new pair is needed" in page.text) == (422, True), "what is revoked never comes back"
    assert (await someone.get(f"{ADMIN}/systems/{client}/keys/{first.thumbprint()}/revoke")).status == 404
    page = await someone.get(f"{ADMIN}/systems/{client}/revoke")
    page = await someone.send(page.form("/revoke"))
    assert "Shut out for good" in page.text
    assert not await opens(world, client, second)
    said = [row["what"] for row in await rows(world, "select what from change where client = $1 order by number", client)]
    assert said == ["system-registered", "key-added", "key-revoked", "system-revoked"]


async def test_the_only_key_may_go_and_another_come(world: World, someone: Walker) -> None:
    house = await world.house("Careless house")
    first, second = (OKPKey.generate_key("Ed25519", auto_kid=True) for _ in range(2))
    client, _ = await registered(someone, house, first)
    page = await someone.get(f"{ADMIN}/systems/{client}/keys/{first.thumbprint()}/revoke")
    assert "This is the only key" in page.text
    page = await someone.send(page.form("/revoke"))
    assert "has no key: it cannot sign in" in (await someone.get(f"{ADMIN}/systems")).text
    assert not await opens(world, client, first)
    await someone.send(page.form("/keys"), public_key=json.dumps(public(second)))
    assert await opens(world, client, second)


async def test_a_private_key_is_refused_and_not_shown_again(world: World, someone: Walker) -> None:
    house = await world.house("Naive house")
    key = OKPKey.generate_key("Ed25519")
    private = {name: str(value) for name, value in key.as_dict(private=True).items()}
    for pasted in (json.dumps(private), json.dumps(private, indent=2), json.dumps({"keys": [private]}), json.dumps(private)[:-1]):
        client, page = await registered(someone, house, key, public_key=pasted)
        assert (page.status, "public_key-error" in page.ids) == (422, True)
        assert private["d"] not in page.html
        assert page.form("/new").get("id") == [client], "the rest is kept"
    assert "This is a private key" in (await registered(someone, house, key, public_key=json.dumps(private)))[1].text
    client, page = await registered(someone, house, key)
    page = await someone.send(page.form("/keys"), public_key=json.dumps(private))
    assert (page.status, private["d"] in page.html) == (422, False)


async def test_what_a_system_cannot_be(world: World, someone: Walker) -> None:
    house = await world.house("Strict house")
    key = OKPKey.generate_key("Ed25519")
    x25519 = json.dumps(public(OKPKey.generate_key("X25519")))
    for wrong, field in (({"id": "Big Name"}, "id"), ({"id": ""}, "id"), ({"scopes": []}, "scopes"),
                         ({"public_key": ""}, "public_key"), ({"public_key": "no json"}, "public_key"),
                         ({"public_key": "[1, 2]"}, "public_key"), ({"public_key": "[" * 1900}, "public_key"),
                         ({"public_key": x25519}, "public_key"), ({"public_key": SCRIPT}, "public_key")):  # fmt: skip
        _, page = await registered(someone, house, key, **wrong)  # type: ignore[arg-type]
        assert (page.status, f"{field}-error" in page.ids) == (422, True), wrong
        assert "<script>alert" not in page.html
        if field != "public_key":
            assert public(key)["x"] in page.html, "what was pasted is kept"
    taken, page = await registered(someone, house, key)
    assert page.status == 200
    _, page = await registered(someone, house, OKPKey.generate_key("Ed25519"), id=taken)
    assert (page.status, "id-error" in page.ids) == (422, True)
    _, page = await registered(someone, house, OKPKey.generate_key("Ed25519"), scopes=["root"])
    assert page.status == 422
    form = (await someone.get(f"{ADMIN}/organisations/{house.id}/systems/new")).html
    assert all(code in form and text in form for code, text in SCOPES.items())


async def test_the_operators_own_system_is_not_shut_out(world: World, someone: Walker) -> None:
    page = await someone.get(f"{ADMIN}/systems/administrator")
    assert "it cannot be shut out" in page.text
    assert f"{ADMIN}/systems/administrator/revoke" not in page.links_to
    with pytest.raises(ApiProblem, match="409 last-administrator"):
        await world.admin.post("/referral/clients/administrator/revoke")
    (key,) = re.findall(r"/systems/administrator/keys/([\w-]{43})/revoke", page.html)
    with pytest.raises(ApiProblem, match="409 last-administrator"):
        await world.admin.post(f"/referral/clients/administrator/keys/{key}/revoke")
    assert await world.admin.get("/referral/clients")


# --- history ----------------------------------------------------------------------------------------------------------


async def test_every_change_is_kept_with_who_and_when(world: World, someone: Walker) -> None:
    made = id_of(await register(someone, name="Remembered house"))
    page = await someone.get(f"{ADMIN}/history?organisation={made}")
    assert re.search(r"Remembered house : registered \w+ \d+ \w+, \d\d:\d\d · Made Up", page.text)
    page = await someone.get(f"{ADMIN}/history?organisation={world.sender.id}")
    assert "the system administrator" in page.text, "what the API did"
    everything = [row["what"] for row in await rows(world, "select what from change where organisation = $1", UUID(world.sender.id))]
    assert sorted(everything) == ["member-joined", "organisation-registered", "system-registered"]
    page = await someone.get(f"{ADMIN}/history?about=systems&organisation={world.sender.id}")
    assert "a system was registered" in page.text
    assert "joined the network" not in page.text
    page = await someone.get(f"{ADMIN}/history")
    for _ in range(100):
        if "Older" not in page.links:
            break
        page = await someone.click(page, "Older")
    assert page.text.count("registered") >= 1
    assert "whoever runs the installation" in page.text, "the first line is the operator's"


async def test_what_is_refused_leaves_no_line_and_no_line_is_ever_changed(world: World) -> None:
    before = await rows(world, "select count(*) as n from change")
    with pytest.raises(ApiProblem):
        await world.admin.post(f"/referral/organisations/{world.coordinator.id}/suspend")
    with pytest.raises(ApiProblem):
        await world.admin.post("/referral/networks", {"name": "No", "coordinator": str(uuid4()), "windows": FAST})
    assert await rows(world, "select count(*) as n from change") == before
    for statement in ("update change set what = what", "delete from change"):
        with pytest.raises(DatabaseProblem):
            await rows(world, statement)
    async with world.made.services["referral"].db.transaction("test", org=UUID(world.sender.id)) as tx:
        seen = await tx.conn.fetch("select distinct organisation from change")
    assert [str(row["organisation"]) for row in seen] == [world.sender.id], "an organisation sees what is about itself"


async def test_the_stranger_of_a_network_sees_its_directory_only_where_the_work_is_about_all(world: World) -> None:
    """Officers and administrators see every network; others their own."""
    outsider = await world.organisation("Outside", "ngo", ["referral:receive"])
    async with walker(world, outsider, StaffRole.OFFICER) as officer, walker(world, outsider, StaffRole.SENDER) as other:
        seen = json.loads((await officer.get("/referral/pages/directory")).html)
        assert world.network in {one["id"] for one in seen["networks"]}
        (listed,) = [one for one in seen["organisations"] if one["facts"]["organisation"] == world.sender.id]
        assert listed["networks"] == [world.network]
        assert json.loads((await other.get("/referral/pages/directory")).html) == {"organisations": [], "networks": []}


async def test_the_steps_tick_themselves_off(world: World, someone: Walker) -> None:
    """The newest network's: here it is asked for and accepted, and the holder says that its rules stand."""
    house = await world.house("First house")
    async with walker(world, world.sender, StaffRole.SENDER), walker(world, house, StaffRole.RECEIVER):
        page = await someone.get(f"{ADMIN}/first")
        assert "The rules: who may be told what done" in page.text
        assert "The first hand-off is asked for done" not in page.text
        await world.handoff(await world.ready_person())
        offer = await world.offer(house)

        async def asked() -> bool:
            return "The first hand-off is asked for done" in (await someone.get(f"{ADMIN}/first")).text

        await eventually(asked)
        assert "The house accepts it done" not in (await someone.get(f"{ADMIN}/first")).text
        await house.partner.post(f"/referral/offers/{offer['id']}/accept")
        assert "The house accepts it done" in (await someone.get(f"{ADMIN}/first")).text
