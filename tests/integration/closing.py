"""Of an installation that loses its network's database: what a backup knows, what is shut in the minutes that are lost, and that
none of it opens afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import pytest
from joserfc.jwk import OKPKey

from schemas.rights import StaffRole
from services.cli import bootstrap, keys_turn
from services.cli.client import ApiProblem, Partner
from services.referral.partners import store as partners
from services.referral.people import handlers as people
from services.referral.people import store
from services.referral.people.domain import OPERATOR, Status
from services.referral.sessions import factors
from spean.crypto import private_file, public_jwk
from spean.problem import Refusal
from spean.sealing import PrivateKey, Suite
from tests.builders import Organisation, agreed, second_system
from tests.integration.forgetful import Forgetful
from tests.integration.staff import Member, alive, desk_of, invited, member, set_up

NEW_PASSWORD = "eight green frogs by noon"


@dataclass
class Closing:
    """`second` signs in with a key of the house's system that is revoked, `revoked` is a system; of the staff somebody is locked,
    somebody loses a role, somebody changes their password, and somebody does nothing."""

    it: Forgetful
    house: Organisation
    second: Partner
    revoked: Partner
    sealing: str
    waits: str
    staff: Sequence[Member]

    @classmethod
    async def of(cls, it: Forgetful) -> Closing:
        """What the backup knows: all of it opens."""
        assert it.made is not None
        world = it.world
        house = await world.organisation("House with keys", "shelter", ["referral:receive"])
        path, key = f"/referral/clients/{house.partner.client_id}/keys", OKPKey.generate_key("Ed25519", auto_kid=True)
        sealing = PrivateKey(Suite.X25519, b"\x01" * 32).public.jwk
        for public in (public_jwk(key), sealing):
            added = await world.admin.post(path, {"public_key": public})
            await agreed(world, added, house.partner)
        second = await world.stack.enter_async_context(Partner(it.made.url, house.partner.client_id, key))
        assert await second.get("/referral/offers") == {"offers": []}
        revoked = await second_system(world, world.sender, ["referral:send"])
        assert await revoked.token()
        waits = await world.admin.post(
            "/referral/clients",
            {
                "id": "never-agreed", "organisation": house.id, "scopes": ["referral:receive"],
                "public_key": public_jwk(OKPKey.generate_key("Ed25519")),
            },
        )  # fmt: skip
        both = StaffRole.SENDER, StaffRole.RECEIVER
        staff = [await member(it.made, world.sender.id, *both) for _ in range(4)]
        return cls(it, house, second, revoked, str(added["thumbprint"]), str(waits["approval"]), staff)

    async def meanwhile(self) -> None:
        """The lost minutes."""
        world, client = self.it.world, self.house.partner.client_id
        for thumbprint in (self.second._key.thumbprint(), self.sealing):
            await world.admin.post(f"/referral/clients/{client}/keys/{thumbprint}/revoke")
        await world.admin.post(f"/referral/clients/{self.revoked.client_id}/revoke")
        await self.house.partner.post(f"/referral/approvals/{self.waits}/refuse")
        locked, less, changed, _ = self.staff
        async with locked.desk.db.transaction("test.closing") as tx:
            await people.change(tx, OPERATOR, locked.id, None, status=Status.LOCKED)
            await people.change(tx, OPERATOR, less.id, None, roles=frozenset({StaffRole.SENDER}))
        await factors.change_password(changed.desk, await changed.visitor(await changed.signs_in()), NEW_PASSWORD)
        rotation = keys_turn.Change(0, leaked=False, services=(), told=lambda _: None, counted=lambda *_: None)
        await keys_turn.administrator(self.it.settings, rotation)

    async def stays_shut(self) -> None:
        """And whom nothing was taken from signs in anew."""
        assert self.it.made is not None
        for shut in (self.second, self.revoked):
            shut._until = 0.0  # it asks for a new token
            with pytest.raises(ApiProblem, match="bad-client"):
                await shut.token()
        self.house.partner._until = 0.0
        with pytest.raises(ApiProblem, match="state"):
            await self.house.partner.post(f"/referral/approvals/{self.waits}/approve")
        for one in self.staff:
            one.desk = desk_of(self.it.made)
        *shut_out, untouched = self.staff
        for one in shut_out:
            await one.forget_codes()
            for password in (one.password, NEW_PASSWORD):
                with pytest.raises(Refusal, match="sign-in-wrong"):
                    await one.step(password)
        assert await alive(untouched.desk.db, (await untouched.signs_in()).cookie)
        async with untouched.desk.db.transaction("test.closing") as tx:
            assert await partners.sealing_key(tx, self.house.partner.client_id) is None
            assert {(await store.get(tx, one.id)).status for one in shut_out} == {Status.LOCKED}

    async def administrators_go_on(self) -> None:
        """The operator's system by today's key, whose revoked one stays so; an administrator lets somebody in again."""
        assert self.it.made is not None
        world, desk = self.it.world, desk_of(self.it.made)
        old = self.it.settings.model_copy(update={"keys": self.it.settings.keys.with_name("old-keys")})
        private_file(bootstrap.key_file(old), json.dumps(world.admin._key.as_dict(private=True)).encode())
        with pytest.raises(bootstrap.OtherKeys, match="was revoked"):
            await bootstrap.administrator(desk.db, old)
        key = await bootstrap.administrator(desk.db, self.it.settings)
        world.admin._until = 0.0
        with pytest.raises(ApiProblem, match="bad-client"):
            await world.admin.token()
        world.admin = await world.stack.enter_async_context(Partner(self.it.made.url, bootstrap.CLIENT, key))
        listed = (await world.admin.get("/referral/approvals"))["approvals"]
        assert {one["state"] for one in listed if one["id"] == self.waits} == {"lapsed"}
        back = self.staff[0]
        async with desk.db.transaction("test.closing") as tx:
            await people.change(tx, OPERATOR, back.id, None, status=Status.ACTIVE)
        again, opened = await set_up(self.it.made, back.person, await invited(self.it.made, back.person))
        assert await alive(desk.db, opened.cookie)
        assert again.secret != back.secret
        assert (await again.visitor(opened)).org == UUID(world.sender.id)
