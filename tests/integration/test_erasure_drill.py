"""The drill: a backup is made, somebody is erased, the holder's database is put back from the backup. Nothing of them can be
read then, by no key that there is; their fence is shut; what was reduced is reduced again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.cli import backup, installation
from services.intake import main as intake
from services.intake.keystore.store import DATABASE, KeyStore
from spean.crypto import Unopenable, unseal
from spean.provision import Cluster, Roles, service_dsns
from spean.settings import Settings
from tests.builders import eventually
from tests.commands import Place
from tests.integration.forgetful import Forgetful, forgetful
from tests.integration.holder import refused

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]
CANARY, WHY = "Canary Drill", "Her uncle is the one who sold her, says Canary Drill."


@pytest.fixture
async def it(workspace: Path) -> AsyncIterator[Forgetful]:
    async with forgetful(workspace / f"drill-{uuid4().hex[:6]}") as made:
        yield made


async def _opened(cluster: Cluster, settings: Settings, entry: str) -> list[bytes]:
    """What any key of the key store opens of what the holder's database has of a person, whoever it was sealed for."""
    roles = Roles.load(settings.keys)
    keys = await KeyStore.open(service_dsns(cluster, roles, DATABASE)[1], settings.keys / intake.NAME / "kek-1")
    conn = await asyncpg.connect(cluster.dsn(DATABASE))
    everybody = [row["person"] for row in await conn.fetch("select person from data_key")]
    await conn.close()
    known = list((await keys.keys(everybody)).values())
    await keys.close()
    assert known, "others' keys are there"
    conn = await asyncpg.connect(cluster.dsn(intake.NAME))
    rows = await conn.fetch(
        """
        select sealed, 'entry/' || id || '/fields/1' as context from entry where id = $1
        union all select s.sealed, 'basis/' || b.id || '/' || s.step || '/' || s.by || '/1'
        from basis_step s join basis b on b.id = s.basis where b.entry = $1
        """,
        UUID(entry),
    )
    await conn.close()
    found: list[bytes] = []
    for row in rows:
        for key in known:
            try:
                found.append(unseal(key, row["sealed"] or b"", row["context"]))
            except Unopenable:
                continue
    return found


async def test_whoever_is_erased_stays_erased_after_a_restore(it: Forgetful, workspace: Path) -> None:
    world, sender, folder = it.world, it.world.sender.partner, workspace / f"backup-{uuid4().hex[:6]}"
    assert it.made is not None
    entry, other = await world.ready_person(name=CANARY), await world.entry(name="Who Stays")
    handoff = await world.handoff(entry)
    offer = await it.accepted(handoff)
    await it.house.partner.packet(offer)
    told = {"kind": "vital_interest", "justification": WHY, "recipients": {"organisations": [it.house.id]}}
    await sender.post(f"/intake/entries/{entry}/bases", told)
    assert len(found := await _opened(it.made.cluster, it.settings, entry)) == 2
    assert all(CANARY.encode() in one for one in found), "before, they are read in this very way"
    await backup.save(it.settings, folder, "data")
    await sender.post(f"/intake/handoffs/{handoff}/cancel")
    await world.state(handoff, "cancelled", "closed")
    operator, nobody = Place(it.settings.data.parent), str(uuid4())
    code, printed = await operator.run("erase", "--yes", "--json", entry, nobody)
    assert (code, json.loads(printed)) == (3, {entry: "erased", nobody: "not-found"})
    assert await operator.run("erase", "--due", "--json") == (0, "{}\n"), "nobody's time is over, and nothing is asked"
    assert await it.judged() == []
    taken = await it.loses("intake", folder)
    assert taken.unclear == []
    async with installation.database(it.settings) as cluster:
        conn = await asyncpg.connect(cluster.dsn(intake.NAME))
        assert await conn.fetchval("select length(sealed) from entry where id = $1", UUID(entry)) > 0, "it is back"
        await conn.close()
        assert await _opened(cluster, it.settings, entry) == [], "and no key opens it"
    await it.start()
    shown = await it.rows("intake", "select * from fence where entry = $1", UUID(entry))
    assert [(row["sharing_shut"], row["service_shut"]) for row in shown] == [(True, True)]
    with refused("erased"):
        await sender.get(f"/intake/entries/{entry}")

    async def reduced() -> bool:
        rows = await it.rows("intake", "select done_at from erasure where entry = $1", UUID(entry))
        return bool(rows) and rows[0]["done_at"] is not None

    await eventually(reduced, within_s=30)
    left = await it.rows("intake", "select sealed, age_at from entry where id = $1", UUID(entry))
    assert [(row["sealed"], row["age_at"]) for row in left] == [(b"", None)]
    assert not await it.rows(
        "intake", "select 1 from basis_step s join basis b on b.id = s.basis where b.entry = $1 and s.sealed is not null",
        UUID(entry),
    )  # fmt: skip
    assert it.made is not None
    assert await _opened(it.made.cluster, it.settings, entry) == []
    assert await it.judged() == []
    assert (await sender.get(f"/intake/entries/{other}"))["person"]["name"] == "Who Stays"
