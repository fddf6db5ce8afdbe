"""A packet leaves sealed for a system that has a key for it, through every change of its keys, and in the clear for people."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.cli.client import ApiProblem
from services.cli.installation import Installation
from spean import sealing
from spean.auth import TICKET_S, Kind, Signer
from spean.sealing import PrivateKey, Suite
from spean.settings import Settings
from tests.builders import Organisation, World, agreed, network_in, second_system

OPENER = Path(__file__).parents[2] / "docs" / "partners" / "open_packet.py"


def key(suite: Suite, number: int) -> PrivateKey:
    return PrivateKey(suite, bytes([number]) * 32)


@dataclass
class House:
    """A house that has accepted somebody, and its system."""

    world: World
    own: Organisation
    offer: str

    @property
    def keys(self) -> str:
        return f"/referral/clients/{self.own.partner.client_id}/keys"

    async def add(self, made: PrivateKey) -> None:
        added = await self.world.admin.post(self.keys, {"public_key": made.public.jwk})
        assert added["thumbprint"] == made.public.id
        await agreed(self.world, added, self.own.partner)

    async def revoke(self, made: PrivateKey) -> None:
        await self.world.admin.post(f"{self.keys}/{made.public.id}/revoke")

    async def ticket(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.own.partner.post(f"/referral/offers/{self.offer}/ticket")
        return found

    async def read(self, ticket: dict[str, Any] | None = None) -> httpx.Response:
        shown = ticket or await self.ticket()
        reply: httpx.Response = await self.own.partner.request("GET", shown["dataref"], token=shown["ticket"])
        assert reply.headers["etag"].startswith('"v')
        return reply

    async def opened(self, folder: Path, reply: httpx.Response, *own: PrivateKey) -> dict[str, Any]:
        """By the partner's opener, as a program of its own that has nothing of ours."""
        assert reply.headers["content-type"] == sealing.MEDIA_TYPE
        assert "asthma" not in reply.text
        secrets = [
            {**one.public.jwk, "d" if "x" in one.public.jwk else "priv": sealing._text(one.secret)} for one in own
        ]
        (folder / "own.jwks").write_text(json.dumps({"keys": secrets}))
        async with httpx.AsyncClient(base_url=self.world.made.url, timeout=15) as anybody:
            holder = await anybody.get("/intake/.well-known/jwks.json")
        assert '"d"' not in holder.text
        (folder / "holder.jwks").write_text(holder.text)
        words = ["own.jwks", "holder.jwks", self.offer, self.own.id]
        done = subprocess.run(  # noqa: ASYNC221 (a short one, and nobody else waits)
            [sys.executable, "-I", str(OPENER), *words], input=reply.content, cwd=folder, capture_output=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        packet: dict[str, Any] = json.loads(done.stdout)
        return packet


@pytest.fixture(name="house", scope="module")
async def accepted(installed: tuple[Installation, Settings]) -> AsyncIterator[House]:
    async with network_in(*installed) as world:
        own = await world.house("Sealing house")
        await world.handoff(await world.ready_person(health_notes="asthma"))
        offer = (await world.offer(own))["id"]
        await own.partner.post(f"/referral/offers/{offer}/accept")
        yield House(world, own, offer)


async def test_a_system_changes_its_key_and_every_packet_stays_sealed(house: House, tmp_path: Path) -> None:
    plain = await house.read()
    assert plain.headers["content-type"] == "application/json"
    assert plain.json()["members"][0]["health_notes"] == "asthma"

    first, second, hybrid = key(Suite.X25519, 1), key(Suite.X25519, 2), key(Suite.HYBRID, 3)
    await house.add(first)
    before = await house.ticket()
    assert await house.opened(tmp_path, await house.read(before), first) == plain.json()
    # The next one beside it: what was asked for before is for the first, what is asked for now for the second.
    await house.add(second)
    for ticket, expected in ((before, first), (None, second)):
        reply = await house.read(ticket)
        assert json.loads(sealing._bytes(reply.json()["protected"]))["to"] == expected.public.id
        assert await house.opened(tmp_path, reply, first, second) == plain.json()
    with pytest.raises(ApiProblem, match="two-keys"):
        await house.add(key(Suite.X25519, 4))
    await house.revoke(first)
    with pytest.raises(ApiProblem, match="duplicate"):
        await house.add(first)
    # To the hybrid, which is preferred whatever comes after it.
    await house.add(hybrid)
    await house.revoke(second)
    last = key(Suite.X25519, 5)
    await house.add(last)
    assert await house.opened(tmp_path, await house.read(), hybrid) == plain.json()
    shown = (await house.world.admin.get("/referral/clients"))["systems"]
    (system,) = [one for one in shown if one["id"] == house.own.partner.client_id]
    assert [(one["use"], one["active"]) for one in system["keys"]] == [
        ("sig", True), ("enc", False), ("enc", False), ("enc", True), ("enc", True),
    ]  # fmt: skip
    await house.revoke(hybrid)
    assert await house.opened(tmp_path, await house.read(), last) == plain.json()
    # Another system of the same house has none of these.
    other = await second_system(house.world, house.own, ["referral:receive"])
    ticket = await other.post(f"/referral/offers/{house.offer}/ticket")
    assert (await other.request("GET", ticket["dataref"], token=ticket["ticket"])).json() == plain.json()


async def test_a_sealed_systems_ticket_opens_no_page(house: House) -> None:
    sealing_key = key(Suite.HYBRID, 7)
    system = await second_system(house.world, house.own, ["referral:receive"])
    path = f"/referral/clients/{system.client_id}/keys"

    async def brought() -> httpx.Response:
        ticket = (await system.post(f"/referral/offers/{house.offer}/ticket"))["ticket"]
        async with httpx.AsyncClient(base_url=house.world.made.url, timeout=15) as browser:
            headers = {"Origin": house.world.made.url}
            page = f"/intake/pages/packets/{house.offer}"
            return await browser.post(page, data={"ticket": ticket}, headers=headers)

    assert (await brought()).status_code == 303
    await agreed(house.world, await house.world.admin.post(path, {"public_key": sealing_key.public.jwk}), system)
    assert (await brought()).status_code == 410


async def test_a_key_for_sealing_signs_nobody_in(house: House) -> None:
    body = {"id": "sealing-only", "organisation": house.own.id, "scopes": ["referral:receive"]}
    for suite in Suite:
        with pytest.raises(ApiProblem, match="invalid"):
            await house.world.admin.post("/referral/clients", {**body, "public_key": key(suite, 8).public.jwk})
    with pytest.raises(ApiProblem, match="invalid"):
        await house.world.admin.post(house.keys, {"public_key": {"kty": "OKP", "crv": "X25519", "x": "A" * 43}})


UNSEALABLE = [
    {"kty": "OKP", "crv": "X25519", "x": "A" * 43},  # a point that everybody agrees with
    {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43},
    {"kty": "AKP", "alg": "HPKE-OF-TOMORROW", "pub": "A" * 43},
    {"kty": "AKP", "alg": Suite.HYBRID.value, "pub": "A" * 43},
    {"kty": "none"},
]


@pytest.mark.parametrize("jwk", UNSEALABLE, ids=str)
async def test_a_ticket_with_a_key_that_is_none_opens_nothing(
    house: House, jwk: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Not in the clear either; the class of what was wrong is logged, and no key."""
    ticket = await house.ticket()
    claims = ticket["ticket"].split(".")[1]
    packet = json.loads(sealing._bytes(claims))["packet"]
    signer: Signer = house.world.made.services["referral"].app.state.signer
    for seal_to, status in ((packet.get("seal_to"), 200), (jwk, 401)):
        made = {"sub": house.own.id, "packet": {**packet, "seal_to": seal_to}}
        token = signer.sign(Kind.TICKET, f"packet:{house.world.made.settings.holder}", TICKET_S, made)
        async with httpx.AsyncClient(base_url=house.world.made.url, timeout=15) as anybody:
            reply = await anybody.get(ticket["dataref"], headers={"Authorization": f"Bearer {token}"})
        assert reply.status_code == status
    assert reply.json()["type"].endswith("/bad-token")
    assert "asthma" not in reply.text
    (logged,) = (record for record in caplog.records if record.name == "services.intake.disclosure.sealed")
    assert logged.__dict__["error_class"] == "NoKey"
    assert jwk.get("x", jwk.get("pub", "A" * 43)) not in caplog.text
