"""What the threat model says is left, shown: whoever mends it changes this file and that page."""

from __future__ import annotations

import base64
import json
from uuid import UUID, uuid4

import asyncpg

from services.intake.cases.store import _context
from services.intake.keystore.store import DATABASE as KEYS
from services.intake.keystore.store import KeyStore
from spean.auth import ACCESS_TOKEN_S, Kind
from spean.crypto import unseal
from spean.provision import Roles, service_dsns
from tests.builders import eventually
from tests.security.operations import Stage

# What a dump of the holder's database says about somebody to whoever has no key: table → columns that differ from one
# person to another by what they said, decided or need. A new column in one of these tables has to be thought about.
IN_THE_CLEAR = {
    "entry": {"channel", "area", "happened_at", "age_at", "screening", "screening_row", "created_at"},
    "consent": {"decision", "state", "categories", "purposes", "recipients", "valid_from", "valid_until", "expressed", "language",
                "notice", "interpreter", "guardian", "recorded_by", "recorded_at", "taken_back"},
    "exclusion": {"kind", "value", "lifted", "recorded_by", "recorded_at"},
    "handoff": {"service_type", "urgency", "area", "places", "need_by", "requested_at", "state", "ending",
                "arrival_verified", "waits_for", "changed_at"},
    "disclosure": {"recipient", "facts", "stage", "purpose", "allowed", "refused", "at", "last_at", "times"},
}  # fmt: skip
# Ids of the work, counters, and what is sealed.
_NOTHING = {"id", "org", "number", "version", "key_version", "sealed", "entry", "handoff", "network", "offer", "sealed_code",
            "code_tries", "consent_version", "service_version", "rules", "content"}  # fmt: skip


async def test_the_networks_key_opens_every_record(stage: Stage) -> None:
    """A token that nobody asked for, for the sender's organisation and a system that does not exist."""
    part = (await stage.stranger.partner.token()).split(".")[1]
    granted = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    said = {name: granted[name] for name in ("scope", "networks", "facts")} | {"sub": f"nobody-{uuid4().hex[:8]}"}
    path, read = f"/intake/entries/{stage.objects['entry']}", {}
    for org in (stage.people["sender"].id, stage.stranger.id):  # the second is the control
        token = stage.signer.sign(Kind.ACCESS, granted["aud"], ACCESS_TOKEN_S, {**said, "org": org})
        read[org] = await stage.client.get(path, headers={"Authorization": f"Bearer {token}"})
    assert [one.status_code for one in read.values()] == [200, 404]
    assert read[stage.people["sender"].id].json()["person"]["health_notes"] == "asthma"


async def test_a_token_that_is_shown_at_one_service_opens_the_others(stage: Stage) -> None:
    """Whoever runs a holder and is shown one could use it at the network for as long as it lives."""
    headers = {"Authorization": f"Bearer {await stage.stranger.partner.token()}"}
    paths = ("/intake/handoffs", "/referral/offers", "/notify/overview")
    assert [(await stage.client.get(path, headers=headers)).status_code for path in paths] == [200, 200, 200]


async def test_what_was_erased_is_read_with_keys_from_before(stage: Stage) -> None:
    """A dump of both databases and the file: erasing reaches no copy of a key that somebody made."""
    world = stage.world
    entry = await world.entry(name="Kept By Somebody")
    data, keys = (world.made.cluster.dsn(name) for name in ("intake", KEYS))
    before = (await _value(data, "select sealed from entry where id = $1", entry),
              await _value(keys, "select wrapped from data_key where person = $1", entry))  # fmt: skip
    await world.sender.partner.post(f"/intake/entries/{entry}/erase", {"why": "person_asked"})
    gone = "select wrapped is null from data_key where person = $1"
    await eventually(lambda: _value(keys, gone, entry))
    await _value(keys, "update data_key set wrapped = $2, destroyed_at = null where person = $1", entry, before[1])
    settings = world.made.settings
    roles = Roles.load(settings.keys)
    store = await KeyStore.open(service_dsns(world.made.cluster, roles, KEYS)[1], settings.keys / "intake" / "kek-1")
    try:
        read = unseal(await store.key(UUID(entry)), before[0], _context(UUID(entry)))
    finally:
        await store.destroy(UUID(entry))
        await store.close()
    assert b"Kept By Somebody" in read


async def test_what_a_dump_of_the_holder_says_about_somebody(stage: Stage) -> None:
    data = stage.world.made.cluster.dsn("intake")
    for table, said in IN_THE_CLEAR.items():
        columns = set(await _value(data, "select array_agg(attname::text) from pg_attribute where attrelid = $1::regclass "
                                         "and attnum > 0 and not attisdropped", table))  # fmt: skip
        assert columns - _NOTHING == said, table
    row = json.loads(
        await _value(data, "select row_to_json(h)::text from handoff h where id = $1", stage.objects["handoff"])
    )
    assert (row["service_type"], row["area"], row["state"]) == ("emergency_bed", "KH-1", "ready")


async def _value(address: str, statement: str, *values: object) -> object:
    conn = await asyncpg.connect(address)
    try:
        return await conn.fetchval(statement, *values)
    finally:
        await conn.close()
