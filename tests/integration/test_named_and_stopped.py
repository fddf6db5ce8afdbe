"""A coordinator asks a named house, and the person stops at that moment: no offer is made from the answer before."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from services.cli.client import ApiProblem
from services.intake.consent import store as consents
from services.intake.handoffs import store as handoffs
from services.referral.referrals import handlers
from tests.builders import eventually
from tests.integration.holder import database
from tests.integration.test_referral_commands import Scene, ask_named
from tests.integration.town import Town

SILENT = 20


async def _asked_while_it_stops(town: Town, scene: Scene, stop: str) -> str:
    """The code of the answer. The holder has to wait with its own until the network has taken in the stop; where that takes
    longer than the network waits for the holder, it is `holder-silent`."""
    network, holder = town.made.services["referral"].db, town.made.services["intake"].db
    async with database(town) as other:
        async with holder.transaction("test.shut") as tx:
            (entry,) = (await handoffs.members(tx, [UUID(scene.referral)]))[UUID(scene.referral)]
            await consents.lock_fence(tx, entry)
            pid = await tx.conn.fetchval("select pg_backend_pid()")
            asked = asyncio.create_task(scene.run())

            async def waits() -> bool:
                return asked.done() or await other.fetchval(
                    "select exists (select from pg_stat_activity where $1 = any (pg_blocking_pids(pid)))", pid
                )

            await eventually(waits)
            if stop != "none":
                about = uuid4() if stop == "of this yes" else None
                async with network.transaction("test.stop") as stopping:
                    await handlers.stop_disclosure(stopping, UUID(scene.referral), town.made.settings.holder, about)
        try:
            await asked
        except ApiProblem as problem:
            return str(problem).split()[1].rstrip(":")
    return "offered"


# What the coordinator hears; of what is stopped wholly: it is not theirs any more, but the sender's.
SAID = {"none": "offered", "of this yes": "not-allowed-now", "wholly": "state"}


@pytest.mark.parametrize("stop", SAID)
async def test_a_stop_after_the_yes_comes_before_the_offer(town: Town, stop: str) -> None:
    scene = await ask_named(town)
    for _ in range(SILENT):
        said = await _asked_while_it_stops(town, scene, stop)
        if said != "holder-silent":
            break
    assert said == SAID[stop]
    assert await town.said(scene.referral, "offer.sent") == (stop == "none")
