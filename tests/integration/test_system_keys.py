"""Keys of systems: what was registered before a system could have two still opens, under the same name; each has one name."""

from __future__ import annotations

import asyncpg
from joserfc.jwk import OKPKey

from services.referral.main import MIGRATIONS
from spean.crypto import public_jwk
from tests.builders import World, agreed


async def test_keys_from_before_are_carried_over_by_their_names(world: World) -> None:
    """The migration's own statement, on systems as they were."""
    text = (MIGRATIONS / "0104_administration.sql").read_text(encoding="utf-8")
    start = text.index("insert into client_key")
    carry = text[start : text.index(";", start)]
    conn = await asyncpg.connect(world.made.cluster.dsn("referral"))
    transaction = conn.transaction()
    await transaction.start()
    try:
        ours = "select client, thumbprint from client_key where client = $1"
        before = await conn.fetchrow(ours, world.sender.partner.client_id)
        assert before is not None
        assert before["thumbprint"] == world.sender.partner._key.thumbprint()
        await conn.execute(
            """
            update client set public_key = k.public_key from client_key k where k.client = client.id;
            delete from client_key;
            """
        )
        await conn.execute(f"{carry.rstrip()} where public_key is not null")
        assert await conn.fetchrow(ours, world.sender.partner.client_id) == before
    finally:
        await transaction.rollback()
        await conn.close()


async def test_one_key_has_one_name_however_it_is_written(world: World) -> None:
    key = OKPKey.generate_key("Ed25519")
    plain = public_jwk(key)
    path = f"/referral/clients/{world.sender.partner.client_id}/keys"
    added = await world.admin.post(path, {"public_key": {**plain, "kid": "whatever", "use": "sig"}})
    assert added["thumbprint"] == key.thumbprint()
    await agreed(world, added, world.sender.partner)
    found = (await world.admin.get("/referral/clients"))["systems"]
    (system,) = [one for one in found if one["id"] == world.sender.partner.client_id]
    assert {one["thumbprint"] for one in system["keys"]} == {key.thumbprint(), world.sender.partner._key.thumbprint()}
