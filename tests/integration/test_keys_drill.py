"""The drill: every key of a running installation is changed by the command, one after the other, while people are handed on.
Nobody is refused, nothing stops; what was sealed before opens after, and every old key opens nothing any more."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from joserfc.jwk import OKPKey

from services.cli import bootstrap, installation
from services.cli.client import ApiProblem, Partner
from services.intake.keystore import store as keystore
from services.intake.keystore.store import context_of
from services.referral.people.domain import authenticator_of
from services.referral.sessions.desk import AUTHENTICATORS
from spean import order, sealing, turning
from spean.auth import ACCESS_TOKEN_S, Kind, Signer
from spean.crypto import Unopenable, public_jwk, unseal
from spean.embedded import Server
from spean.provision import Roles, secret_file
from spean.sealing import About, PrivateKey, Suite, Unopened, Why
from spean.turning import before
from tests.builders import Organisation, World, agreed, eventually, network_in
from tests.commands import Place
from tests.integration.lived import settings_in
from tests.integration.staff import desk_of, member

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
# More than a reader of public keys waits until it looks again (`spean.auth.LOOK_AGAIN_S`).
LEAD = "8"
FIRST, SECOND = PrivateKey(Suite.X25519, b"\x01" * 32), PrivateKey(Suite.HYBRID, b"\x02" * 32)


@dataclass
class Traffic:
    """Somebody is handed on, again and again, by systems that sign in anew each time."""

    world: World
    house: Organisation
    own: dict[str, PrivateKey]
    done: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    ends: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        while not self.ends.is_set():
            try:
                await self._once()
                self.done += 1
            except (ApiProblem, httpx.HTTPError, Unopened) as error:
                self.refused[str(error) or type(error).__name__] += 1

    async def _once(self) -> None:
        world, partner = self.world, self.house.partner
        for one in (world.sender.partner, partner):
            one._until = 0.0
        handoff = await world.handoff(await world.ready_person(health_notes="asthma"))
        offer = (await world.offer(self.house, within_s=60))["id"]
        await partner.post(f"/referral/offers/{offer}/accept")
        code = (await world.state(handoff, "ready", within_s=60))["hand_over_code"]
        assert (await self.packet(offer))["members"][0]["health_notes"] == "asthma"
        await partner.post(f"/referral/offers/{offer}/arrived", {"code": code})
        await partner.post(f"/referral/offers/{offer}/outcome", {"outcome": "needs_met"})
        await world.state(handoff, "completed", within_s=60)

    async def packet(self, offer: str) -> Any:
        """Sealed for the house's system; a signer that is not known is looked for once, as the guide says."""
        ticket = await self.house.partner.post(f"/referral/offers/{offer}/ticket")
        reply = await self.house.partner.request("GET", ticket["dataref"], token=ticket["ticket"])
        signers = await published(self.world, "intake")
        about = About(UUID(offer), UUID(self.house.id))
        return json.loads(sealing.open_sealed(reply.content, self.own, signers, about, time.time()))

    async def goes_on(self) -> None:
        """Twice more, so that one of them began after this."""
        after = self.done + 2

        async def more() -> bool:
            return self.done >= after or bool(self.refused)

        await eventually(more, within_s=120)
        assert not self.refused


async def published(world: World, service: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=world.made.url, timeout=15) as anybody:
        keys = (await anybody.get(f"/{service}/.well-known/jwks.json")).json()["keys"]
    return {key["kid"]: OKPKey.import_key(key).raw_value for key in keys}


@contextlib.asynccontextmanager
async def traffic_in(world: World) -> AsyncIterator[Traffic]:
    house = await world.house("House one", 200)
    own = {one.public.id: one for one in (FIRST, SECOND)}
    keys = f"/referral/clients/{house.partner.client_id}/keys"
    await agreed(world, await world.admin.post(keys, {"public_key": FIRST.public.jwk}), house.partner)
    for one in (world.sender.partner, house.partner, world.admin):
        one.patience_s = 30
    traffic = Traffic(world, house, own)
    task = asyncio.create_task(traffic.run())
    try:
        yield traffic
    finally:
        traffic.ends.set()
        await task


@dataclass
class Before:
    """What each key was, and what was made with it."""

    world: World
    files: dict[str, bytes]
    made: dict[str, Any]

    @classmethod
    async def of(cls, world: World) -> Before:
        keys, sender = world.made.settings.keys, world.sender.partner
        files = {str(file.relative_to(keys)): file.read_bytes() for file in keys.rglob("*") if file.is_file()}
        said, key = {"channel": "border_post", "area": "KH-1", "person": {"name": "Who Was Here"}}, str(uuid4())
        answer = await sender.post("/intake/entries", said, key=key)
        staff = await member(world.made, world.sender.id)
        mark = (await staff.signs_in()).mark
        browser = httpx.AsyncClient(base_url=world.made.url, headers={"Origin": world.made.url}, timeout=15)
        page = await browser.get("/referral/pages/sign-in")
        # A browser sends them to this machine also without TLS.
        browser.headers["Cookie"] = "; ".join(one.partition(";")[0] for one in page.headers.get_list("set-cookie"))
        token = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert token is not None
        form = {"csrf": token.group(1), "name": "nobody-here", "password": "a wrong one, surely"}
        made = {
            "said": said,
            "key": key,
            "answer": answer,
            "staff": staff,
            "mark": mark,
            "browser": browser,
            "form": form,
        }
        return cls(world, files, made)

    async def counts(self) -> None:
        """What was made with the old keys is taken, and opens."""
        sender, made = self.world.sender.partner, self.made
        assert await sender.post("/intake/entries", made["said"], key=made["key"]) == made["answer"]
        assert (await sender.get(f"/intake/entries/{made['answer']['id']}"))["person"]["name"] == "Who Was Here"
        await made["staff"].signs_in()
        assert desk_of(self.world.made).known(made["staff"].id, made["mark"])
        async with desk_of(self.world.made).db.transaction("test") as tx:
            await tx.conn.execute("delete from tries")
        sent = await made["browser"].post("/referral/pages/sign-in", data=made["form"])
        assert (sent.status_code, "nobody-here" in sent.text) == (422, True), "the form is read; only the name is wrong"

    def jwk(self, name: str) -> OKPKey:
        return OKPKey.import_key(json.loads(self.files[name]))

    async def token(self, key: OKPKey) -> str:
        """The sender's, as this key of the network's would sign it."""
        part = (await self.world.sender.partner.token()).split(".")[1]
        said = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        kept = {name: said[name] for name in ("scope", "networks", "facts", "sub", "org")}
        return Signer(key, said["iss"]).sign(Kind.ACCESS, said["aud"], ACCESS_TOKEN_S, kept)

    async def status(self, key: OKPKey) -> int:
        """What the holder answers to a token of that key. A stranger's comes first: its key is looked for."""
        async with httpx.AsyncClient(base_url=self.world.made.url, timeout=15) as anybody:
            for one in (turning.new_signing_key(), key):
                shown = {"Authorization": f"Bearer {await self.token(one)}"}
                reply = await anybody.get(f"/intake/entries/{self.made['answer']['id']}", headers=shown)
        return reply.status_code


async def rotated(place: Place, traffic: Traffic, which: str, *words: str) -> None:
    code, said = await place.run("keys", "rotate", which, *words, SPEAN_URL=traffic.world.made.url)
    assert code == 0, said
    await traffic.goes_on()


async def partners_keys(traffic: Traffic) -> None:
    """The house's system gets another key for sealing and another to sign in with; the old ones are revoked."""
    world, house = traffic.world, traffic.house
    old, client = house.partner, house.partner.client_id
    keys = f"/referral/clients/{client}/keys"
    await agreed(world, await world.admin.post(keys, {"public_key": SECOND.public.jwk}), old)
    await traffic.goes_on()
    await world.admin.post(f"{keys}/{FIRST.public.id}/revoke")
    del traffic.own[FIRST.public.id]
    await traffic.goes_on()
    key = turning.new_signing_key()
    public = public_jwk(key)
    await agreed(world, await world.admin.post(keys, {"public_key": public}), old)
    house.partner = await world.stack.enter_async_context(Partner(world.made.url, client, key, patience_s=30))
    await traffic.goes_on()
    await world.admin.post(f"{keys}/{old._key.thumbprint()}/revoke")
    await traffic.goes_on()
    with pytest.raises(ApiProblem, match="bad-client"):
        await Partner(world.made.url, client, old._key).token()


async def old_keys_open_nothing(was: Before, new: Server) -> None:
    world, settings = was.world, was.world.made.settings
    first = was.jwk("referral/signing.jwk")
    assert await was.status(first) == 200, "what lives that it signed is still taken"
    for service in ("referral", "intake"):
        path = settings.keys / service / "signing.jwk"
        assert len(await published(world, service)) == 2
        assert b'"d"' not in before(path).read_bytes()
        turning.put(before(path), before(path).read_bytes().rpartition(b"\n")[0] + f"\n{time.time()}".encode())
        assert str(was.jwk(f"{service}/signing.jwk").kid) not in await published(world, service)

    async def refused() -> bool:
        return await was.status(first) == 401

    await eventually(refused, within_s=30)
    key, about = PrivateKey(Suite.X25519, b"\x05" * 32), About(uuid4(), uuid4())
    envelope = sealing.seal(b"{}", key.public, about, was.jwk("intake/signing.jwk"), time.time())
    with pytest.raises(Unopened) as caught:
        sealing.open_sealed(envelope, {key.public.id: key}, await published(world, "intake"), about, time.time())
    assert caught.value.why is Why.UNKNOWN_SIGNER

    db, staff = desk_of(world.made).db, was.made["staff"].id
    async with db.transaction("test") as tx:
        sealed = await tx.conn.fetchval("select sealed from authenticator where person = $1", staff)
    assert unseal(Roles(secret_file(settings.keys).read_bytes()).key(AUTHENTICATORS), sealed, authenticator_of(staff))
    roles = Roles(was.files["database-roles"])
    with pytest.raises(Unopenable):
        unseal(roles.key(AUTHENTICATORS), sealed, authenticator_of(staff))
    for database, kind in (
        ("referral", "api"),
        ("intake", "worker"),
        ("notify", "worker"),
        ("keys", "worker"),
        ("bus", "worker"),
    ):
        role = f"{database}_{kind}"
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(new.dsn(database, role, roles.password(role)))
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(new.dsn("postgres", "postgres", was.files["postgres"].decode().strip()))
    with pytest.raises(ApiProblem, match="bad-client"):
        await Partner(world.made.url, bootstrap.CLIENT, was.jwk("clients/administrator.jwk")).token()
    kek = bytes.fromhex(was.files["intake/kek-1"].decode())
    conn = await asyncpg.connect(new.dsn(keystore.DATABASE))
    rows = await conn.fetch("select * from data_key where wrapped is not null")
    await conn.close()
    assert len(rows) > 5
    for row in rows:
        with pytest.raises(Unopenable):
            unseal(kek, row["wrapped"], context_of(row["person"], row["version"]))
    left = {
        str(file.relative_to(settings.keys)): file.read_bytes() for file in settings.keys.rglob("*") if file.is_file()
    }
    secret = {name for name, content in was.files.items() if content in left.values()}
    assert not secret & {*was.files} - {"address", "sample.json"}


async def restarted_sessions(new: Server) -> None:
    """Pools keep the sessions that they have; these end, so that those of all roles are opened anew, with the new password."""
    admin = await asyncpg.connect(new.dsn("postgres"))
    try:
        ended = await admin.fetchval(
            r"select count(pg_terminate_backend(pid)) from pg_stat_activity where usename ~ '_(api|worker)$'"
        )
        assert ended > 5
    finally:
        await admin.close()


def faults(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as one; that somebody was asked to try again (on a slow machine) is none."""
    ours = (record for record in caplog.records if record.name.startswith(("spean", "services")))
    return [record.getMessage() for record in ours if getattr(record, "status", 500) == 500]


async def test_every_key_is_changed_and_nobody_notices(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = Place(workspace / f"keys-{uuid4().hex[:6]}")
    settings = settings_in(place.folder)
    caplog.set_level(logging.ERROR)
    async with (
        installation.installed(settings) as made,
        installation.running(made),
        network_in(made, settings) as world,
    ):
        was = await Before.of(world)
        async with traffic_in(world) as traffic:
            await traffic.goes_on()
            await partners_keys(traffic)
            await rotated(place, traffic, "network", "--lead", LEAD)
            await rotated(place, traffic, "holder", "--lead", LEAD)
            for which in ("records", "database", "postgres", "administrator"):
                await rotated(place, traffic, which, "--lead", "1")
        assert not traffic.refused
        assert faults(caplog) == []
        assert isinstance(made.cluster, Server)
        new = replace(made.cluster, password=(settings.keys / "postgres").read_text().strip())
        await restarted_sessions(new)
        await was.counts()
        await old_keys_open_nothing(was, new)
        for service in made.services.values():
            async with service.db.transaction("test.parked") as tx:
                assert await order.parked_now(tx) == []
        await was.made["browser"].aclose()
    entry = was.made["answer"]["id"]
    sender = world.sender.partner
    async with (
        installation.installed(settings) as again,
        installation.running(again),
        Partner(again.url, sender.client_id, sender._key) as partner,
    ):
        assert (await partner.get(f"/intake/entries/{entry}"))["person"]["name"] == "Who Was Here"
