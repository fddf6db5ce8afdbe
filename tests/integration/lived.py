"""An installation of its own, in an embedded PostgreSQL, in which something has happened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from services.cli import installation
from services.cli.connected import Connected, connected
from services.cli.installation import Installation
from services.notify.dashboards.store import PROJECTIONS
from spean.provision import service_dsns
from spean.settings import Settings
from tests.builders import Organisation, World, at_rest, eventually, network_in

EXTENT = {
    "referral": ("referral", "offer", "hold", "place"),
    "intake": ("handoff", "packet", "disclosure"),
    "notify": ("delivery", "suspended", *PROJECTIONS, "tail"),
}
# A delivery goes on by itself, with its mail server or without; that there is one, of what and to whom, does not.
COLUMNS = {"delivery": "id, event, organisation, created_at"}


@dataclass
class Lived:
    """A running installation of its own in which something has happened."""

    world: World
    house: Organisation
    here: Connected

    async def rows(self, service: str, query: str, *arguments: object) -> list[dict[str, Any]]:
        async with self.here.databases[service].transaction("test.rows") as tx:
            return [dict(row) for row in await tx.conn.fetch(query, *arguments)]

    async def bus(self, *statements: str) -> None:
        """Straight to the bus's tables, as something that destroys them would."""
        parts = self.here.parts
        conn = await asyncpg.connect(service_dsns(parts.cluster, parts.roles, installation.BUS_DATABASE)[1])
        try:
            for statement in statements:
                await conn.execute(statement)
        finally:
            await conn.close()

    async def quiet(self) -> bool:
        """Nothing moves, and nothing was parked."""
        rests = await at_rest(self.here.databases, self.here.bus)
        return rests and not await self.rows("notify", "select 1 from parked")

    async def everything(self) -> dict[str, list[str]]:
        """Every row of the tables that matter, as text, in one order."""
        await eventually(self.quiet, within_s=30)
        found: dict[str, list[str]] = {}
        for service, tables in EXTENT.items():
            for table in tables:
                what = COLUMNS.get(table, "t")
                rows = await self.rows(service, f'select ({what})::text as row from "{table}" t order by 1')
                found[f"{service}.{table}"] = [row["row"] for row in rows]
        return found

    async def lives(self) -> None:
        """A few referrals, each ending elsewhere: waiting, completed, and stopped with copies to be erased."""
        waiting, served, stopped = [await self.world.ready_person() for _ in range(3)]
        done = await self.world.handoff(served)
        offer = await self.answered(done)
        shown = await self.world.state(done, "ready")
        partner = self.house.partner
        await partner.post(f"/referral/offers/{offer}/arrived", {"code": shown["hand_over_code"]})
        await self.world.state(done, "in-progress")
        await partner.post(f"/referral/offers/{offer}/outcome", {"outcome": "needs_met"})
        await self.world.state(done, "completed")
        second = await self.world.handoff(stopped)
        offer = await self.answered(second)
        await self.world.state(second, "ready")
        await partner.packet(offer)
        await self.world.sender.partner.post(f"/intake/entries/{stopped}/withdraw", {"what": "sharing"})
        await self.world.handoff(waiting)
        await self.world.offer(self.house)

    async def answered(self, handoff: str) -> str:
        offer = await self.world.offer(self.house)
        await self.house.partner.post(f"/referral/offers/{offer['id']}/accept")
        await self.world.state(handoff, "ready")
        return str(offer["id"])


def settings_in(folder: Path) -> Settings:
    return Settings(data=folder / "data", keys=folder / "keys", port=0, sample=False, fast_unsafe=True)


@asynccontextmanager
async def living(made: Installation, settings: Settings) -> AsyncIterator[Lived]:
    async with network_in(made, settings) as world, connected(settings) as here:
        yield Lived(world, await world.house("House one", 5), here)
