"""A town: a sender, a coordinator and two houses that stay for the whole session, in a network that is new for each
test; and ways to let time pass in it without waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.cli import bootstrap
from services.cli.client import ApiProblem, Partner
from services.cli.installation import Installation
from services.intake.cases.fields import OFFER_FIELDS, PACKET_FIELDS, PLACEMENT_FIELDS
from spean.db import Tx
from spean.settings import Settings
from tests.builders import CATEGORIES, FAST, PURPOSES, Organisation, World, eventually, organisation

RECEIVER = ["referral:receive"]


@dataclass
class Town(World):
    """`first` is preferred to `second`: it has more places (three and two)."""

    first: Organisation = field(kw_only=True)
    second: Organisation = field(kw_only=True)

    async def offer(self, house: Organisation, *, within_s: float = 15.0) -> dict[str, Any]:
        """Wait for an open offer of this network in a house's inbox."""

        async def look() -> Any:
            offers = (await house.partner.get("/referral/offers?state=sent&state=seen"))["offers"]
            return next((one for one in offers if one["place"] in self.places.values()), None)

        found: dict[str, Any] = await eventually(look, within_s=within_s)
        return found

    async def join(self, house: Organisation, places: int, *, area: str = "KH-1", service: str = "emergency_bed",
                   **eligibility: Any) -> str:  # fmt: skip
        """The house joins the network with places. Returns the place."""
        await self.admin.post(f"/referral/networks/{self.network}/members", {"organisation": house.id})
        body = {
            "organisation": house.id, "network": self.network, "service_types": [service], "area": area,
            "usable": places, "eligibility": eligibility,
        }  # fmt: skip
        self.places[house.id] = str((await self.admin.post("/referral/places", body))["id"])
        return self.places[house.id]

    async def place(self, house: Organisation) -> dict[str, Any]:
        found: dict[str, Any] = await house.partner.get(f"/referral/places/{self.places[house.id]}")
        return found

    async def full(self, house: Organisation) -> None:
        """No room tonight."""
        now = await self.place(house)
        await house.partner.put(
            f"/referral/places/{now['id']}/count", {"usable": now["usable"], "more_tonight": 0}, now["version"]
        )

    async def accepted(self, house: Organisation, *entries: str) -> tuple[str, str]:
        """(hand-off, offer) of a person whom a house has just accepted."""
        handoff = await self.handoff(*(entries or (await self.ready_person(),)))
        offer = (await self.offer(house))["id"]
        await house.partner.post(f"/referral/offers/{offer}/accept")
        return handoff, offer

    async def ready(self, house: Organisation) -> tuple[str, str]:
        handoff, offer = await self.accepted(house)
        await self.network_state(handoff, "ready")
        return handoff, offer

    async def escalation(self, handoff: str, **wanted: Any) -> dict[str, Any]:
        """Wait until the coordinator has it, with these values."""

        async def look() -> Any:
            try:
                found = await self.coordinator.partner.get(f"/referral/escalations/{handoff}")
            except ApiProblem:
                return None
            return found if wanted.items() <= found.items() else None

        found: dict[str, Any] = await eventually(look)
        return found

    # --- the network's own records, read and moved as no partner could ------------------------------------------------

    @asynccontextmanager
    async def records(self) -> AsyncIterator[Tx]:
        async with self.made.services["referral"].db.transaction("test") as tx:
            yield tx

    async def referral(self, id_: str) -> asyncpg.Record:
        async with self.records() as tx:
            found: asyncpg.Record | None = await tx.conn.fetchrow("select * from referral where id = $1", UUID(id_))
            assert found is not None
            return found

    async def offer_row(self, id_: str) -> asyncpg.Record:
        async with self.records() as tx:
            found: asyncpg.Record | None = await tx.conn.fetchrow("select * from offer where id = $1", UUID(id_))
            assert found is not None
            return found

    async def network_state(self, handoff: str, *states: str) -> asyncpg.Record:
        """Wait until the network has it in one of these states."""

        async def look() -> Any:
            async with self.records() as tx:
                return await tx.conn.fetchrow(
                    "select * from referral where id = $1 and state = any($2)", UUID(handoff), list(states)
                )

        found: asyncpg.Record = await eventually(look)
        return found

    async def said(self, id_: str, type_: str) -> int:
        """How often the network has said this, in any version, about a referral, a place or an organisation."""
        async with self.records() as tx:
            number: int = await tx.conn.fetchval(
                "select count(*) from (select type from outbox where aggregateid = $1 union all "
                "select type from said where aggregateid = $1) t where type like $2",
                UUID(id_), f"org.spean.{type_}.v%",
            )  # fmt: skip
            return number

    async def time_is_up(self, handoff: str) -> None:
        """The step that the machine waits with is due now, and an open offer's time to answer is over."""
        async with self.records() as tx:
            await tx.conn.execute(
                "update offer set answer_by = now() where referral = $1 and state in ('sent', 'seen')", UUID(handoff)
            )
            await tx.conn.execute("update referral set step_at = now() where id = $1", UUID(handoff))
            await self.due_now(tx, "referral", handoff)

    async def reminder_is_due(self, handoff: str) -> None:
        async with self.records() as tx:
            await tx.conn.execute("update referral set remind_at = now() where id = $1", UUID(handoff))
            await self.due_now(tx, "referral", handoff)

    async def deadline_passes(self, handoff: str) -> None:
        async with self.records() as tx:
            await tx.conn.execute("update referral set deadline = now() where id = $1", UUID(handoff))
            await self.due_now(tx, "deadline", handoff)

    async def due_now(self, tx: Tx, kind: str, subject: str) -> None:
        status = await tx.conn.execute(
            "update due set at = now(), claimed_until = '-infinity' where kind = $1 and subject = $2",
            kind,
            UUID(subject),
        )
        assert status == "UPDATE 1", f"nothing waits for {kind}"


@dataclass
class Settled:
    """Those who stay for the session."""

    made: Installation
    admin: Partner
    sender: Organisation
    coordinator: Organisation
    houses: tuple[Organisation, Organisation]
    stack: AsyncExitStack


@asynccontextmanager
async def settle(made: Installation, settings: Settings) -> AsyncIterator[Settled]:
    """Register a sender, a coordinator and two houses that have agreed with the sender."""
    key = await bootstrap.administrator(made.services["referral"].db, settings)
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(Partner(made.url, bootstrap.CLIENT, key, patience_s=30))

        async def one(name: str, kind: str, scopes: list[str]) -> Organisation:
            return await organisation(admin, stack, made.url, name, kind, scopes)

        sender = await one("Border post", "border_post", ["intake:send", "referral:send"])
        coordinator = await one("Coordinator", "coordination", ["referral:coordinate", "notify:watch"])
        houses = (await one("First house", "shelter", RECEIVER), await one("Second house", "shelter", RECEIVER))
        for house in houses:
            for giver, taker in ((sender.id, house.id), (house.id, sender.id)):
                agreement = {"sender": giver, "recipient": taker, "categories": CATEGORIES, "purposes": PURPOSES}
                await admin.post("/intake/rules/agreements", agreement)
        yield Settled(made, admin, sender, coordinator, houses, stack)


async def found(settled: Settled, windows: dict[str, Any] | None = None) -> Town:
    """A network of its own with everybody in it."""
    s = settled
    body = {"name": "Town", "coordinator": s.coordinator.id, "windows": {**FAST, **(windows or {})}, "sample": True}
    network = str((await s.admin.post("/referral/networks", body))["id"])
    for stage, fields in (("offer", OFFER_FIELDS), ("packet", PACKET_FIELDS), ("placement", PLACEMENT_FIELDS)):
        rule = {"network": network, "group": "shelter", "stage": stage, "fields": list(fields)}
        await s.admin.post("/intake/rules/need-to-know", rule)
    await s.admin.post(f"/referral/networks/{network}/members", {"organisation": s.sender.id})
    first, second = s.houses
    town = Town(s.made, s.admin, network, s.sender, s.coordinator, stack=s.stack, first=first, second=second)
    await town.join(first, 3)
    await town.join(second, 2)
    s.sender.partner._until = 0.0  # a token names the networks of its organisation: ask for a new one
    return town


@pytest.fixture(scope="module")
async def settled(installed: tuple[Installation, Settings]) -> AsyncIterator[Settled]:
    async with settle(*installed) as everybody:
        yield everybody


@pytest.fixture
async def town(settled: Settled) -> Town:
    return await found(settled)
