"""The administrator's commands: who is registered, in which network, with which systems, and who is shut out."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from joserfc.jwk import OctKey, OKPKey

from services.cli.client import ApiProblem, Partner
from spean.crypto import public_jwk
from tests.builders import eventually
from tests.integration.town import Town

ORGANISATION = {"name": "Sample shelter", "type": "shelter", "country": "KH", "sample": True}


async def _registered(town: Town) -> dict[str, Any]:
    made: dict[str, Any] = await town.admin.post("/referral/organisations", ORGANISATION)
    return made


async def test_an_organisation_is_registered_once_for_each_key(town: Town) -> None:
    key = str(uuid4())
    made = await town.admin.post("/referral/organisations", ORGANISATION, key=key)
    assert made | {"id": ""} == {**ORGANISATION, "law_enforcement": False, "status": "active", "version": 1, "id": ""}
    assert await town.admin.post("/referral/organisations", ORGANISATION, key=key) == made
    assert await town.said(made["id"], "organisation.registered") == 1
    with pytest.raises(ApiProblem, match="key-reused"):
        await town.admin.post("/referral/organisations", {**ORGANISATION, "country": "TH"}, key=key)
    listed = (await town.admin.get("/referral/organisations"))["organisations"]
    assert sum(one["id"] == made["id"] for one in listed) == 1


@pytest.mark.parametrize(
    "change", [{"type": "castle"}, {"country": "Cambodia"}, {"name": ""}, {"name": "x" * 201}, {"police": True}]
)
async def test_an_organisation_that_cannot_be(town: Town, change: dict[str, Any]) -> None:
    with pytest.raises(ApiProblem, match="422 invalid") as caught:
        await town.admin.post("/referral/organisations", {**ORGANISATION, **change})
    assert str(next(iter(change.values()))) not in str(caught.value.problem.get("errors", "")) or change == {"name": ""}


async def test_suspending_twice_says_it_once_and_an_old_version_is_refused(town: Town) -> None:
    made = await _registered(town)
    path = f"/referral/organisations/{made['id']}/suspend"
    with pytest.raises(ApiProblem, match="412 version"):
        await town.admin.post(path, headers={"If-Match": '"v9"'})
    assert await town.said(made["id"], "organisation.suspended") == 0
    key = str(uuid4())
    first = await town.admin.post(path, key=key, headers={"If-Match": '"v1"'})
    assert (first["status"], first["version"]) == ("suspended", 2)
    assert await town.admin.post(path, key=key) == first
    assert await town.admin.post(path) == first
    assert await town.said(made["id"], "organisation.suspended") == 1
    with pytest.raises(ApiProblem, match="404 not-found"):
        await town.admin.post(f"/referral/organisations/{uuid4()}/suspend")


async def test_a_network_needs_a_coordinator_and_whole_windows(town: Town) -> None:
    with pytest.raises(ApiProblem, match="404 not-found"):
        await town.admin.post("/referral/networks", {"name": "Nobody's", "coordinator": str(uuid4())})
    partly = {"name": "Partly", "coordinator": town.coordinator.id, "windows": {"answer_s": {"immediate": 60}}}
    with pytest.raises(ApiProblem, match="422 invalid"):
        await town.admin.post("/referral/networks", partly)
    key = str(uuid4())
    body = {"name": "Whole", "coordinator": town.coordinator.id}
    made = await town.admin.post("/referral/networks", body, key=key)
    assert await town.admin.post("/referral/networks", body, key=key) == made


async def test_joining_twice_is_joining_once(town: Town) -> None:
    made = await _registered(town)
    path = f"/referral/networks/{town.network}/members"
    for _ in range(2):
        assert await town.admin.post(path, {"organisation": made["id"]}) == {"id": town.network}
    async with town.records() as tx:
        members = "select count(*) from member where network = $1::text::uuid and organisation = $2::text::uuid"
        assert await tx.conn.fetchval(members, town.network, made["id"]) == 1
    for wrong, organisation in ((str(uuid4()), made["id"]), (town.network, str(uuid4()))):
        with pytest.raises(ApiProblem, match="404 not-found"):
            await town.admin.post(f"/referral/networks/{wrong}/members", {"organisation": organisation})


async def test_a_system_is_registered_signs_in_and_is_revoked(town: Town) -> None:
    made = await _registered(town)
    key, client = OKPKey.generate_key("Ed25519", auto_kid=True), f"system-{uuid4().hex[:8]}"
    body = {"id": client, "organisation": made["id"], "public_key": public_jwk(key), "scopes": ["referral:receive"]}
    assert await town.admin.post("/referral/clients", body) == {
        "id": client,
        "organisation": made["id"],
        "approval": None,
    }
    with pytest.raises(ApiProblem, match="409 duplicate"):
        await town.admin.post("/referral/clients", body)
    async with Partner(town.made.url, client, key) as partner:
        assert await partner.get("/referral/places") == {"places": []}
        revoke = str(uuid4())
        assert await town.admin.post(f"/referral/clients/{client}/revoke", key=revoke) == {"id": client}
        assert await town.admin.post(f"/referral/clients/{client}/revoke", key=revoke) == {"id": client}
        with pytest.raises(ApiProblem, match="404 not-found"):
            await town.admin.post(f"/referral/clients/{client}/revoke")
        partner._until = 0.0
        with pytest.raises(ApiProblem, match="401 bad-client"):
            await partner.get("/referral/places")


async def test_a_key_that_is_none_is_refused(town: Town) -> None:
    made = await _registered(town)
    private = OKPKey.generate_key("Ed25519").as_dict(private=True)
    wrong: list[dict[str, Any]] = [
        {name: str(value) for name, value in private.items()},
        public_jwk(OKPKey.generate_key("X25519")),
        {name: str(value) for name, value in OctKey.generate_key(256).as_dict(private=True).items()},
        {"kty": "OKP", "crv": "Ed25519", "x": "too-short"},
        {"kty": "RSA"},
        {},
    ]
    for public_key in wrong:
        body = {"id": f"w-{uuid4().hex[:8]}", "organisation": made["id"], "public_key": public_key, "scopes": []}
        with pytest.raises(ApiProblem, match="422 invalid") as caught:
            await town.admin.post("/referral/clients", body)
        assert private["d"] not in str(caught.value.problem), "a key that was sent by mistake is not echoed"
    body = {
        "id": "ok",
        "organisation": made["id"],
        "public_key": public_jwk(OKPKey.generate_key("Ed25519")),
        "scopes": ["root"],
    }
    with pytest.raises(ApiProblem, match="422 invalid"):
        await town.admin.post("/referral/clients", body)


async def test_a_suspension_reaches_the_holder_and_the_dashboard(town: Town) -> None:
    """Tokens that were handed out before are refused everywhere, not only where they came from."""
    other = await town.organisation("Watcher", "coordination", ["notify:watch", "intake:send", "referral:coordinate"])
    for path in ("/notify/overview", "/intake/handoffs", "/referral/escalations"):
        await other.partner.get(path)
    await town.admin.post(f"/referral/organisations/{other.id}/suspend")
    with pytest.raises(ApiProblem, match="403 suspended"):
        await other.partner.get("/referral/escalations")

    for path in ("/notify/overview", "/intake/handoffs"):

        async def shut(path: str = path) -> bool:
            try:
                await other.partner.get(path)
            except ApiProblem as problem:
                return problem.code == "suspended"
            return False

        await eventually(shut)
