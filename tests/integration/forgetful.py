"""An installation that is backed up, lives on, and loses one of its databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.cli import backup, installation, restore
from services.cli.installation import Installation
from spean.rejoin import Taken
from spean.settings import Settings
from tests.builders import CATEGORIES, PURPOSES, Organisation, World, eventually, network_in
from tests.faults import checker, snapshot
from tests.faults.cluster import free_port
from tests.faults.load import Journal
from tests.integration.holder import erase
from tests.integration.lived import settings_in
from tests.integration.mailbox import AnyPort, Mailbox


@dataclass
class Forgetful:
    """`made` runs, or nothing does. What is known of `before` (backed up) and of the `lost` minutes is kept by name."""

    settings: Settings
    world: World
    house: Organisation
    mailbox: Mailbox
    made: Installation | None = None
    running: AsyncExitStack = field(default_factory=AsyncExitStack)
    known: dict[str, str] = field(default_factory=dict)

    async def start(self) -> None:
        self.made = await self.running.enter_async_context(installation.installed(self.settings))
        await self.running.enter_async_context(installation.running(self.made))
        self.world.made = self.made

    async def stop(self) -> None:
        await self.running.aclose()
        self.running, self.made = AsyncExitStack(), None

    async def judged(self) -> list[checker.Finding]:
        """Wait until nothing moves; what the checker then finds."""
        assert self.made is not None
        bus = self.made.bus if self.settings.bus else None
        async with snapshot.opened(self.made.cluster, bus) as sources:
            await checker.quiet(sources, self.made.services)
            return checker.judge(await snapshot.read(sources), Journal(), self.made.services)

    async def rows(self, service: str, query: str, *arguments: object) -> list[dict[str, Any]]:
        assert self.made is not None
        async with self.made.services[service].db.transaction("test.rows") as tx:
            return [dict(row) for row in await tx.conn.fetch(query, *arguments)]

    async def accepted(self, handoff: str) -> str:
        offer = await self.world.offer(self.house)
        await self.house.partner.post(f"/referral/offers/{offer['id']}/accept")
        await self.world.state(handoff, "ready")
        return str(offer["id"])

    async def lives_before(self) -> None:
        """What the backup knows: somebody whose packet was read, somebody offered, two without a hand-off."""
        world, known = self.world, self.known
        for name in ("stopped", "arrived", "met late", "erased"):
            known[name] = await world.ready_person(name=f"Person {name}")
        known["stopped hand-off"] = await world.handoff(known["stopped"])
        known["stopped offer"] = await self.accepted(known["stopped hand-off"])
        await self.house.partner.packet(known["stopped offer"])
        known["arrived hand-off"] = await world.handoff(known["arrived"])
        known["arrived offer"] = (await world.offer(self.house))["id"]
        known["rule"], known["other rule"] = await self._agreement(), await self._agreement()
        known["spoken for"] = await world.entry()
        known["basis"], known["other basis"] = await self._vital_interest(), await self._vital_interest()

    async def _agreement(self) -> str:
        """The sender's with somebody who has no place."""
        body = {"sender": self.world.sender.id, "recipient": self.world.coordinator.id, "categories": CATEGORIES}
        return str((await self.world.admin.post("/intake/rules/agreements", {**body, "purposes": PURPOSES}))["id"])

    async def _vital_interest(self) -> str:
        """In force at once, for somebody without a hand-off: no event tells of its end."""
        body = {
            "kind": "vital_interest", "justification": "She cannot be spoken with tonight.",
            "recipients": {"classes": [{"type": "shelter"}], "organisations": []},
        }  # fmt: skip
        path = f"/intake/entries/{self.known['spoken for']}/bases"
        return str((await self.world.sender.partner.post(path, body))["id"])

    async def lives_on(self) -> None:
        """The lost minutes: a withdrawal, an erasure, a rule and a basis ended, an acceptance up to the arrival, and a new hand-off."""
        world, house, known = self.world, self.house.partner, self.known
        await world.sender.partner.post(f"/intake/entries/{known['stopped']}/withdraw", {"what": "sharing"})
        await erase(world, known["erased"])
        await world.admin.post(f"/intake/rules/agreements/{known['rule']}/end")
        await world.sender.partner.post(f"/intake/entries/{known['spoken for']}/bases/{known['basis']}/end")
        await house.post(f"/referral/offers/{known['arrived offer']}/accept")
        shown = await world.state(known["arrived hand-off"], "ready")
        await house.packet(known["arrived offer"])
        await house.post(f"/referral/offers/{known['arrived offer']}/arrived", {"code": shown["hand_over_code"]})
        await world.state(known["arrived hand-off"], "in-progress")
        known["late hand-off"] = await world.handoff(known["met late"])
        known["late offer"] = (await world.offer(self.house))["id"]

    async def told(self) -> int:
        """How many mails have gone out, once nothing waits to be sent."""

        async def none_waits() -> bool:
            return not await self.rows("notify", "select 1 from delivery where state in ('waiting', 'sending')")

        await eventually(none_waits, within_s=60)
        return len(self.mailbox.mails)

    async def loses(self, service: str, folder: Path) -> Taken:
        """Everything stops, and one database is put back from the backup."""
        await self.stop()
        found = await asyncio.to_thread(backup.read, folder, "data")
        _, taken = await restore.put_back(self.settings, folder, found, [service])
        return taken[service]


@asynccontextmanager
async def forgetful(folder: Path, bus: str = "") -> AsyncIterator[Forgetful]:
    """It runs, and every mail goes to a mailbox."""
    mailbox = Mailbox()
    controller = AnyPort(mailbox, hostname="127.0.0.1", port=0)
    controller.start()
    mailbox.server = f"smtp://127.0.0.1:{controller.port}"
    chosen = {"bus": bus, "port": free_port(), "smtp": mailbox.server}
    settings = settings_in(folder).model_copy(update=chosen)
    try:
        async with AsyncExitStack() as running, AsyncExitStack() as network:
            made = await running.enter_async_context(installation.installed(settings))
            await running.enter_async_context(installation.running(made))
            world = await network.enter_async_context(network_in(made, settings))
            house = await world.house("House one", 5)
            for one in (house, world.coordinator):
                await world.admin.post("/notify/addresses", {"organisation": one.id, "email": f"{one.id}@example.org"})
            it = Forgetful(settings, world, house, mailbox, made, running.pop_all())
            try:
                yield it
            finally:
                await it.stop()
    finally:
        await asyncio.to_thread(controller.stop)
