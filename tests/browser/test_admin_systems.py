"""The administrator's pages: systems and their keys, the history of every change, the steps that tick themselves off."""

from __future__ import annotations

import json
import re
from uuid import UUID, uuid4

import pytest
from joserfc.jwk import OKPKey

from schemas.rights import SCOPES, StaffRole
from services.cli.client import ApiProblem, Partner
from spean.crypto import public_jwk
from spean.db import DatabaseProblem
from tests.browser.administering import ADMIN, SCRIPT, id_of, register, rows
from tests.browser.visiting import Screen, Walker, walker
from tests.builders import FAST, Organisation, World, eventually

PARTNERS = {"intake:send", "referral:send", "referral:receive", "referral:coordinate", "notify:watch"}


# --- systems ----------------------------------------------------------------------------------------------------------


async def registered(
    administrator: Walker, at: Organisation, key: OKPKey, **other: str | list[str]
) -> tuple[str, Screen]:
    client = f"cases-{uuid4().hex[:8]}"
    page = await administrator.get(f"{ADMIN}/organisations/{at.id}/systems/new")
    answers = {"id": client, "scopes": ["referral:receive"], "public_key": json.dumps(public_jwk(key)), **other}
    return client, await administrator.send(page.form("/new"), **answers)


async def agreed(administrator: Walker, at: Organisation, client: str) -> Screen:
    """The organisation's own system agrees to what waits about this one; its page."""
    found = (await at.partner.get("/referral/approvals"))["approvals"]
    for one in found:
        if (one["client"], one["state"]) == (client, "waiting"):
            await at.partner.post(f"/referral/approvals/{one['id']}/approve")
    return await administrator.get(f"{ADMIN}/systems/{client}")


async def opens(world: World, client: str, key: OKPKey) -> bool:
    """Does a real assertion by this key get a token that opens something?"""
    async with Partner(world.made.url, client, key) as partner:
        try:
            return isinstance(await partner.get("/referral/places"), dict)
        except ApiProblem as problem:
            return problem.code != "bad-client"


async def test_a_system_changes_its_key_without_a_pause(world: World, administrator: Walker) -> None:
    house = await world.house("Digital house")
    first, second, third = (OKPKey.generate_key("Ed25519", auto_kid=True) for _ in range(3))
    client, page = await registered(administrator, house, first)
    assert "It opens nothing before somebody else has agreed." in page.text
    assert not await opens(world, client, first)
    page = await agreed(administrator, house, client)
    assert "answer offers, record arrival and outcome" in page.text
    assert (await opens(world, client, first), await opens(world, client, second)) == (True, False)
    before = page
    page = await administrator.send(page.form("/keys"), public_key=json.dumps(public_jwk(second)))
    assert "It opens nothing before somebody else has agreed." in page.text
    assert second.thumbprint() in page.text, "by this name it is known again where it was made"
    assert not await opens(world, client, second)
    page = await agreed(administrator, house, client)
    assert (await opens(world, client, first), await opens(world, client, second)) == (True, True)
    assert not [form for form in page.forms if form.action.endswith("/keys")], "two at most"
    before.form("/keys").values[:] = [(n, "z" * 32 if n == "key" else v) for n, v in before.form("/keys").values]
    refused = await administrator.send(before.form("/keys"), public_key=json.dumps(public_jwk(third)))
    assert refused.status == 409
    assert not await opens(world, client, third)
    revoke = await administrator.get(f"{ADMIN}/systems/{client}/keys/{first.thumbprint()}/revoke")
    assert "This is the only key" not in revoke.text
    page = await administrator.send(revoke.form("/revoke"))
    assert "It opens nothing more." in page.text
    assert (await opens(world, client, first), await opens(world, client, second)) == (False, True)
    page = await administrator.send(page.form("/keys"), public_key=json.dumps(public_jwk(first)))
    assert (page.status, "a new pair is needed" in page.text) == (422, True), "what is revoked never comes back"
    assert (await administrator.get(f"{ADMIN}/systems/{client}/keys/{first.thumbprint()}/revoke")).status == 404
    page = await administrator.get(f"{ADMIN}/systems/{client}/revoke")
    page = await administrator.send(page.form("/revoke"))
    assert "Shut out for good" in page.text
    assert not await opens(world, client, second)
    said = [
        row["what"] for row in await rows(world, "select what from change where client = $1 order by number", client)
    ]
    assert said == ["system-registered", "key-added", "key-revoked", "system-revoked"]
    about = "select what from change where detail ->> 'system' = $1 order by number"
    assert [row["what"] for row in await rows(world, about, client)] == ["access-asked", "access-approved"] * 2


async def test_the_only_key_may_go_and_another_come(world: World, administrator: Walker) -> None:
    house = await world.house("Careless house")
    first, second = (OKPKey.generate_key("Ed25519", auto_kid=True) for _ in range(2))
    client, _ = await registered(administrator, house, first)
    await agreed(administrator, house, client)
    page = await administrator.get(f"{ADMIN}/systems/{client}/keys/{first.thumbprint()}/revoke")
    assert "This is the only key" in page.text
    page = await administrator.send(page.form("/revoke"))
    assert "has no key: it cannot sign in" in (await administrator.get(f"{ADMIN}/systems?q={client}")).text
    assert not await opens(world, client, first)
    await administrator.send(page.form("/keys"), public_key=json.dumps(public_jwk(second)))
    await agreed(administrator, house, client)
    assert await opens(world, client, second)


async def test_a_private_key_is_refused_and_not_shown_again(world: World, administrator: Walker) -> None:
    house = await world.house("Naive house")
    key = OKPKey.generate_key("Ed25519")
    private = {name: str(value) for name, value in key.as_dict(private=True).items()}
    for pasted in (
        json.dumps(private),
        json.dumps(private, indent=2),
        json.dumps({"keys": [private]}),
        json.dumps(private)[:-1],
    ):
        client, page = await registered(administrator, house, key, public_key=pasted)
        assert (page.status, "public_key-error" in page.ids) == (422, True)
        assert private["d"] not in page.html
        assert page.form("/new").get("id") == [client], "the rest is kept"
    assert (
        "This is a private key" in (await registered(administrator, house, key, public_key=json.dumps(private)))[1].text
    )
    client, _ = await registered(administrator, house, key)
    page = await agreed(administrator, house, client)
    page = await administrator.send(page.form("/keys"), public_key=json.dumps(private))
    assert (page.status, private["d"] in page.html) == (422, False)


async def test_what_a_system_cannot_be(world: World, administrator: Walker) -> None:
    house = await world.house("Strict house")
    key = OKPKey.generate_key("Ed25519")
    x25519 = json.dumps(public_jwk(OKPKey.generate_key("X25519")))
    for wrong, field in (({"id": "Big Name"}, "id"), ({"id": ""}, "id"), ({"scopes": []}, "scopes"),
                         ({"public_key": ""}, "public_key"), ({"public_key": "no json"}, "public_key"),
                         ({"public_key": "[1, 2]"}, "public_key"), ({"public_key": "[" * 1900}, "public_key"),
                         ({"public_key": x25519}, "public_key"), ({"public_key": SCRIPT}, "public_key")):  # fmt: skip
        _, page = await registered(administrator, house, key, **wrong)  # type: ignore[arg-type]
        assert (page.status, f"{field}-error" in page.ids) == (422, True), wrong
        assert "<script>alert" not in page.html
        if field != "public_key":
            assert public_jwk(key)["x"] in page.html, "what was pasted is kept"
    taken, page = await registered(administrator, house, key)
    assert page.status == 200
    _, page = await registered(administrator, house, OKPKey.generate_key("Ed25519"), id=taken)
    assert (page.status, "id-error" in page.ids) == (422, True)
    _, page = await registered(administrator, house, OKPKey.generate_key("Ed25519"), scopes=["root"])
    assert page.status == 422
    for at, more in ((house, False), (world.coordinator, True)):
        form = (await administrator.get(f"{ADMIN}/organisations/{at.id}/systems/new")).html
        assert all(text in form for code, text in SCOPES.items() if code in form)
        assert {code for code in SCOPES if f'value="{code}"' in form} == (set(SCOPES) if more else PARTNERS)
    for everywhere in set(SCOPES) - PARTNERS:
        _, page = await registered(administrator, house, OKPKey.generate_key("Ed25519"), scopes=[everywhere])
        assert (page.status, "scopes-error" in page.ids) == (422, True), "not for somebody else's system"


async def test_the_operators_own_system_is_not_shut_out(world: World, administrator: Walker) -> None:
    page = await administrator.get(f"{ADMIN}/systems/administrator")
    assert "it cannot be shut out" in page.text
    assert f"{ADMIN}/systems/administrator/revoke" not in page.links_to
    with pytest.raises(ApiProblem, match="409 last-administrator"):
        await world.admin.post("/referral/clients/administrator/revoke")
    (key,) = re.findall(r"/systems/administrator/keys/([\w-]{43})/revoke", page.html)
    with pytest.raises(ApiProblem, match="409 last-administrator"):
        await world.admin.post(f"/referral/clients/administrator/keys/{key}/revoke")
    assert await world.admin.get("/referral/clients")


# --- history ----------------------------------------------------------------------------------------------------------


async def test_every_change_is_kept_with_who_and_when(world: World, administrator: Walker) -> None:
    made = id_of(await register(administrator, name="Remembered house"))
    page = await administrator.get(f"{ADMIN}/history?organisation={made}")
    assert re.search(r"Remembered house : registered \w+ \d+ \w+, \d\d:\d\d · Made Up", page.text)
    page = await administrator.get(f"{ADMIN}/history?organisation={world.sender.id}")
    assert "the system administrator" in page.text, "what the API did"
    everything = [
        row["what"]
        for row in await rows(world, "select what from change where organisation = $1", UUID(world.sender.id))
    ]
    assert sorted(everything) == ["member-joined", "organisation-registered", "system-registered"]
    page = await administrator.get(f"{ADMIN}/history?about=systems&organisation={world.sender.id}")
    assert "a system was registered" in page.text
    assert "joined the network" not in page.text
    page = await administrator.get(f"{ADMIN}/history")
    for _ in range(100):
        if "Older" not in page.links:
            break
        page = await administrator.click(page, "Older")
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
    async with (
        walker(world, outsider, StaffRole.OFFICER) as officer,
        walker(world, outsider, StaffRole.SENDER) as other,
    ):
        seen = json.loads((await officer.get("/referral/pages/directory")).html)
        assert world.network in {one["id"] for one in seen["networks"]}
        (listed,) = [one for one in seen["organisations"] if one["facts"]["organisation"] == world.sender.id]
        assert listed["networks"] == [world.network]
        assert json.loads((await other.get("/referral/pages/directory")).html) == {"organisations": [], "networks": []}


async def test_the_steps_tick_themselves_off(world: World, administrator: Walker) -> None:
    """The newest network's: here it is asked for and accepted, and the holder says that its rules stand."""
    house = await world.house("First house")
    async with walker(world, world.sender, StaffRole.SENDER), walker(world, house, StaffRole.RECEIVER):
        page = await administrator.get(f"{ADMIN}/first")
        assert "The rules: who may be told what done" in page.text
        assert "The first hand-off is asked for done" not in page.text
        await world.handoff(await world.ready_person())
        offer = await world.offer(house)

        async def asked() -> bool:
            return "The first hand-off is asked for done" in (await administrator.get(f"{ADMIN}/first")).text

        await eventually(asked)
        assert "The house accepts it done" not in (await administrator.get(f"{ADMIN}/first")).text
        await house.partner.post(f"/referral/offers/{offer['id']}/accept")
        assert "The house accepts it done" in (await administrator.get(f"{ADMIN}/first")).text
