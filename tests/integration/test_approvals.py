"""What opens records takes effect when a second one has agreed; until then, and if nobody does, it opens nothing."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from joserfc.jwk import OKPKey

from schemas.rights import StaffRole
from services.cli.client import ApiProblem, Partner
from services.referral.approvals import handlers
from services.referral.approvals.domain import Who
from services.referral.people import store as people
from spean.crypto import public_jwk
from spean.problem import Refusal
from tests.builders import Organisation, World, eventually, second_administrator
from tests.integration.staff import Member, alive, desk_of, hired, member


async def asked(world: World, of: Organisation, *scopes: str) -> tuple[str, str, Partner]:
    """A second system of an organisation, as an administrator alone registers it: its id, what waits, and what it could be."""
    key, client = OKPKey.generate_key("Ed25519", auto_kid=True), f"asked-{uuid4().hex[:8]}"
    body = {"id": client, "organisation": of.id, "public_key": public_jwk(key), "scopes": list(scopes)}
    made = await world.admin.post("/referral/clients", body)
    return client, made["approval"], await world.stack.enter_async_context(Partner(world.made.url, client, key))


async def refused(partner: Partner, path: str, code: str = "bad-client") -> None:
    with pytest.raises(ApiProblem, match=code):
        await partner.get(path)


async def shown(partner: Partner, id_: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = (await partner.get("/referral/approvals"))["approvals"]
    return next(one for one in found if one["id"] == id_)


async def whats(world: World, organisation: str) -> list[tuple[str, str]]:
    async with world.made.services["referral"].db.transaction("test") as tx:
        rows = await tx.conn.fetch(
            "select what, by from change where organisation = $1::text::uuid order by number", organisation
        )
    return [(row["what"], row["by"]) for row in rows]


async def test_an_administrator_alone_reads_no_record(world: World) -> None:
    """The attack: a system of one's own for somebody else's organisation."""
    entry = await world.entry(name="Nobody Else's")
    client, waits, thief = await asked(world, world.sender, "intake:send", "referral:send")
    await refused(thief, f"/intake/entries/{entry}")
    for own in (world.admin, thief):
        with pytest.raises(ApiProblem, match=r"same-person|bad-client"):
            await own.post(f"/referral/approvals/{waits}/approve")
    # Another system at the administrator's own organisation, to agree with, waits as well.
    operator = next(
        one["organisation"]
        for one in (await world.admin.get("/referral/clients"))["systems"]
        if one["id"] == "administrator"
    )
    accomplice = Organisation(operator, "Operator", world.admin)
    _, also, other = await asked(world, accomplice, "referral:admin")
    await refused(other, "/referral/approvals")
    with pytest.raises(ApiProblem, match="same-person"):
        await world.admin.post(f"/referral/approvals/{also}/approve")
    await world.admin.post(f"/referral/approvals/{also}/refuse")
    await refused(thief, f"/intake/entries/{entry}")
    # The organisation sees it, and whose key it is not; the name is not taken for good.
    seen = await shown(world.sender.partner, waits)
    assert (seen["client"], seen["state"], seen["mine"], seen["scopes"]) == (client, "waiting", True, ["intake:send"])
    assert (await world.sender.partner.post(f"/referral/approvals/{waits}/refuse"))["state"] == "refused"
    with pytest.raises(ApiProblem, match="state"):
        await (await second_administrator(world)).post(f"/referral/approvals/{waits}/approve")
    assert client not in {one["id"] for one in (await world.admin.get("/referral/clients"))["systems"]}
    said = await whats(world, world.sender.id)
    assert said[-2:] == [
        ("access-asked", "system:administrator"),
        ("access-refused", f"system:{world.sender.partner.client_id}"),
    ]


async def test_the_organisation_or_a_second_administrator_agrees(world: World) -> None:
    entry = await world.entry()
    for second in (world.sender.partner, await second_administrator(world)):
        _, waits, system = await asked(world, world.sender, "intake:send", "referral:send")
        await refused(system, f"/intake/entries/{entry}")
        assert (await second.post(f"/referral/approvals/{waits}/approve"))["state"] == "approved"
        assert (await system.get(f"/intake/entries/{entry}"))["id"] == entry
        with pytest.raises(ApiProblem, match="state"):
            await second.post(f"/referral/approvals/{waits}/refuse")
    # A house may not agree to what it may not do itself, nor a stranger to anything.
    house = await world.house("House that receives")
    _, waits, system = await asked(world, house, "referral:receive", "intake:send")
    for who, code in (
        (house.partner, "scope"),
        (world.sender.partner, "not-found"),
        (world.coordinator.partner, "not-found"),
    ):
        with pytest.raises(ApiProblem, match=code):
            await who.post(f"/referral/approvals/{waits}/approve")
    await refused(system, "/referral/offers")
    listed = (await world.coordinator.partner.get("/referral/approvals"))["approvals"]
    assert waits not in {one["id"] for one in listed}


async def test_a_second_key_waits_for_whoever_has_the_first(world: World) -> None:
    house = await world.house("House with a key")
    stolen = OKPKey.generate_key("Ed25519", auto_kid=True)
    path = f"/referral/clients/{house.partner.client_id}/keys"
    added = await world.admin.post(path, {"public_key": public_jwk(stolen)})
    thief = await world.stack.enter_async_context(Partner(world.made.url, house.partner.client_id, stolen))
    await refused(thief, "/referral/offers")
    with pytest.raises(ApiProblem, match="same-person"):
        await world.admin.post(f"/referral/approvals/{added['approval']}/approve")
    assert (await shown(house.partner, added["approval"]))["thumbprint"] == added["thumbprint"]
    await house.partner.post(f"/referral/approvals/{added['approval']}/approve")
    assert await thief.get("/referral/offers") == {"offers": []}
    with pytest.raises(ApiProblem, match="two-keys"):
        await world.admin.post(path, {"public_key": public_jwk(OKPKey.generate_key("Ed25519"))})
    assert [what for what, _ in await whats(world, house.id)][-3:] == ["access-asked", "key-added", "access-approved"]
    # A system that reads of nobody changes its key without anybody.
    desk = f"/referral/clients/{world.coordinator.partner.client_id}/keys"
    assert (await world.admin.post(desk, {"public_key": public_jwk(stolen)}))["approval"] is None


async def test_what_nobody_agreed_to_lapses(world: World) -> None:
    client, waits, system = await asked(world, world.sender, "intake:send")
    db = world.made.services["referral"].db
    async with db.transaction("test.late") as tx:
        await tx.conn.execute("update approval set decide_by = now() - interval '1 minute' where id = $1", UUID(waits))
    with pytest.raises(ApiProblem, match="state"):
        await world.sender.partner.post(f"/referral/approvals/{waits}/approve")
    await handlers.lapse(db, UUID(waits))
    seen = await shown(world.sender.partner, waits)
    assert (seen["state"], seen["decided_by"], seen["mine"]) == ("lapsed", "clock", False)
    await refused(system, "/intake/handoffs")
    async with db.transaction("test.due") as tx:
        assert (
            await tx.conn.fetchval(
                "select count(*) from due where kind = $1 and subject = $2", handlers.DUE, UUID(waits)
            )
            == 0
        )
    assert (await whats(world, world.sender.id))[-1] == ("access-lapsed", "clock")
    key = public_jwk(OKPKey.generate_key("Ed25519"))
    again = {"id": client, "organisation": world.sender.id, "public_key": key, "scopes": ["intake:send"]}
    assert (await world.admin.post("/referral/clients", again))["approval"] not in {None, waits}
    with pytest.raises(ApiProblem, match="duplicate"):
        await world.admin.post("/referral/clients", again)


async def test_the_organisation_is_told_that_something_waits(world: World) -> None:
    """Of whom and what, the mail and the event say nothing."""
    await world.admin.post("/notify/addresses", {"organisation": world.sender.id, "email": "post@sample.example"})
    await asked(world, world.sender, "intake:send")
    async with world.made.services["referral"].db.transaction("test.said") as tx:
        said = await tx.conn.fetchval(
            """
            select payload from (select aggregateid, type, payload from outbox
                                 union all select aggregateid, type, payload from said) t
            where aggregateid = $1::text::uuid and type like '%organisation.asked%'
            """,
            world.sender.id,
        )
    assert set(json.loads(said)) == {"answer_by"}

    async def prepared() -> bool:
        async with world.made.services["notify"].db.transaction("test.told") as tx:
            count: int = await tx.conn.fetchval(
                "select count(*) from delivery where organisation = $1::text::uuid and coordinator is null",
                world.sender.id,
            )
            return count == 1

    await eventually(prepared)


# --- staff ------------------------------------------------------------------------------------------------------------


def by(someone: Member, *scopes: str) -> Who:
    return Who(f"person:{someone.id}", someone.person.organisation, frozenset(scopes))


async def test_a_role_waits_for_a_colleague_who_has_it(world: World) -> None:
    first = await member(world.made, world.coordinator.id, StaffRole.ADMINISTRATOR)
    colleague = await member(world.made, world.sender.id, StaffRole.SENDER)
    admin, sends = by(first, "referral:admin"), by(colleague, "intake:send", "referral:send")
    db, name = desk_of(world.made).db, f"new.{uuid4().hex[:8]}"
    async with db.transaction("test.register") as tx:
        roles = frozenset({StaffRole.SENDER, StaffRole.COORDINATOR})
        new = await handlers.register_person(tx, admin, UUID(world.sender.id), "Made Up", name, "en", roles)
    assert new.roles == {StaffRole.COORDINATOR}
    found = (await world.sender.partner.get("/referral/approvals"))["approvals"]
    waits = UUID(next(one["id"] for one in found if one["person"] == str(new.id)))
    for who, code in (
        (admin, "same-person"),
        (Who(f"person:{uuid4()}", uuid4(), frozenset({"intake:send"})), "not-found"),
    ):
        with pytest.raises(Refusal, match=code):
            async with db.transaction("test.no") as tx:
                await handlers.approve(tx, who, waits)
    async with db.transaction("test.yes") as tx:
        await handlers.approve(tx, sends, waits)
        after = await people.get(tx, new.id)
        said = [str(one.what) for one in await people.history(tx, 10, person=new.id)]
    assert after.roles == {StaffRole.SENDER, StaffRole.COORDINATOR}
    assert said == ["roles-approved", "changed", "roles-asked", "registered"]


async def test_a_role_that_is_added_opens_nothing_before_and_ends_sessions_then(world: World) -> None:
    first = await member(world.made, world.coordinator.id, StaffRole.ADMINISTRATOR)
    second = await member(world.made, world.coordinator.id, StaffRole.ADMINISTRATOR)
    someone = await member(world.made, world.sender.id, StaffRole.COORDINATOR)
    cookie = (await someone.signs_in()).cookie
    admin, db = by(first, "referral:admin"), desk_of(world.made).db

    async def change(*roles: StaffRole, **more: Any) -> None:
        async with db.transaction("test.change") as tx:
            before = await people.get(tx, someone.id)
            told = {"name": before.name, "status": before.status, **more}
            await handlers.change_person(tx, admin, someone.id, before.version, roles=frozenset(roles), **told)

    await change(StaffRole.COORDINATOR, StaffRole.SENDER)
    assert (await someone.visitor_of(cookie)).roles == {StaffRole.COORDINATOR}
    await change(StaffRole.COORDINATOR, StaffRole.SENDER, name="Renamed")  # the same waits on
    await change(StaffRole.COORDINATOR, StaffRole.RECEIVER)  # that takes its place
    found = [
        one
        for one in (await world.sender.partner.get("/referral/approvals"))["approvals"]
        if one["person"] == str(someone.id)
    ]
    assert [(one["state"], one["roles"]) for one in found] == [("waiting", ["receiver"]), ("refused", ["sender"])]
    async with db.transaction("test.yes") as tx:
        await handlers.approve(tx, by(second, "referral:admin"), UUID(found[0]["id"]))
    assert not await alive(db, cookie)
    assert (await someone.visitor(await someone.signs_in())).roles == {StaffRole.COORDINATOR, StaffRole.RECEIVER}


async def test_the_first_of_a_new_organisation_needs_nobody(world: World) -> None:
    first = await member(world.made, world.coordinator.id, StaffRole.ADMINISTRATOR)
    made = await world.admin.post(
        "/referral/organisations", {"name": "New", "type": "shelter", "country": "KH", "sample": True}
    )
    admin, db, receives = by(first, "referral:admin"), desk_of(world.made).db, frozenset({StaffRole.RECEIVER})
    async with db.transaction("test.first") as tx:
        one = await handlers.register_person(
            tx, admin, UUID(made["id"]), "Made Up", f"a.{uuid4().hex[:8]}", "en", receives
        )
        two = await handlers.register_person(
            tx, admin, UUID(made["id"]), "Made Up", f"b.{uuid4().hex[:8]}", "en", receives
        )
    assert (one.roles, two.roles) == (receives, frozenset())
    body = {
        "id": f"new-{uuid4().hex[:8]}",
        "organisation": made["id"],
        "public_key": public_jwk(OKPKey.generate_key("Ed25519")),
    }
    assert (await world.admin.post("/referral/clients", {**body, "scopes": ["referral:receive"]}))[
        "approval"
    ] is not None
    # What reaches everywhere always needs a second one, also as the first of its organisation.
    other = await world.admin.post(
        "/referral/organisations", {"name": "Newer", "type": "ngo", "country": "KH", "sample": True}
    )
    for scope in ("intake:rules", "referral:admin"):
        body = {
            "id": f"new-{uuid4().hex[:8]}",
            "organisation": other["id"],
            "public_key": public_jwk(OKPKey.generate_key("Ed25519")),
        }
        assert (await world.admin.post("/referral/clients", {**body, "scopes": [scope]}))["approval"] is not None
    await hired(world.made, other["id"], StaffRole.OFFICER)  # whoever runs the installation, at its command line
