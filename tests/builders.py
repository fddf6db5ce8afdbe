"""What tests are built from: an installation, a small network in it, and people made up for the test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from joserfc.jwk import OKPKey

from schemas.registry import TOPICS
from services.cli import bootstrap, installation
from services.cli.client import Partner
from services.cli.connected import bounds_of
from services.cli.installation import Installation
from services.intake.cases.fields import OFFER_FIELDS, PACKET_FIELDS, PLACEMENT_FIELDS
from services.referral.partners import handlers as partners
from services.referral.people.domain import OPERATOR
from spean import order
from spean.bus import Bus
from spean.crypto import public_jwk
from spean.db import Database
from spean.settings import Settings

CATEGORIES = [
    "functional_needs", "safety", "identity", "contact", "family", "health", "account", "legal_status", "placement",
]  # fmt: skip
PURPOSES = ["referral", "service_provision", "follow_up"]
FAST = {"answer_s": {"immediate": 60, "emergency": 60, "urgent": 60, "normal": 60}}


async def eventually(found: Callable[[], Awaitable[Any]], *, within_s: float = 30.0) -> Any:
    """Ask again until the answer is true. Raises AssertionError when it never is."""
    until = time.monotonic() + within_s
    while True:
        answer = await found()
        if answer:
            return answer
        assert time.monotonic() < until, f"never became true: {found}"
        await asyncio.sleep(0.02)


@dataclass
class Organisation:
    id: str
    name: str
    partner: Partner


@dataclass
class World:
    """An installation with one network: a sender, a coordinator, and as many houses as a test asks for."""

    made: Installation
    admin: Partner
    network: str
    sender: Organisation
    coordinator: Organisation
    houses: list[Organisation] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    other: Partner | None = None

    async def organisation(self, name: str, kind: str, scopes: list[str], **more: Any) -> Organisation:
        async def agree(waits: Mapping[str, Any]) -> None:
            await agreed(self, waits)

        return await organisation(self.admin, self.stack, self.made.url, name, kind, scopes, agree=agree, **more)

    async def house(self, name: str, places: int = 2, *, area: str = "KH-1", service: str = "emergency_bed",
                    kind: str = "shelter", **eligibility: Any) -> Organisation:  # fmt: skip
        """A house with places, in the network, with agreements both ways with the sender."""
        made = await self.organisation(name, kind, ["referral:receive"])
        await self.admin.post(f"/referral/networks/{self.network}/members", {"organisation": made.id})
        body = {
            "organisation": made.id, "network": self.network, "service_types": [service], "area": area,
            "usable": places, "eligibility": eligibility,
        }  # fmt: skip
        place = await self.admin.post("/referral/places", body)
        for one, other in ((self.sender.id, made.id), (made.id, self.sender.id)):
            agreement = {"sender": one, "recipient": other, "categories": CATEGORIES, "purposes": PURPOSES}
            await self.admin.post("/intake/rules/agreements", agreement)
        self.houses.append(made)
        self.places[made.id] = place["id"]
        return made

    async def entry(self, **person: Any) -> str:
        fields = {"age_years": 24, "sex": "female", "needs": [], "languages": ["khm"], "name": "Test Person", **person}
        body = {"channel": "border_post", "area": "KH-1", "person": fields}
        made = await self.sender.partner.post("/intake/entries", body)
        return str(made["id"])

    async def consent(self, entry: str, decision: str, state: str = "given", **more: Any) -> None:
        body: dict[str, Any] = {
            "decision": decision, "state": state, "expressed": "spoken", "language": "khm", "notice": "1-khm", **more,
        }  # fmt: skip
        if decision == "share_referral" and state == "given":
            sharing = {
                "categories": CATEGORIES, "purposes": PURPOSES,
                "recipients": {"classes": [{"type": "shelter"}], "organisations": [self.sender.id]},
            }  # fmt: skip
            body = {**sharing, **body}
        await self.sender.partner.post(f"/intake/entries/{entry}/consents", body)

    async def ready_person(self, **person: Any) -> str:
        """An entry with both consents and an open case."""
        entry = await self.entry(**person)
        await self.consent(entry, "service")
        await self.consent(entry, "share_referral")
        await self.sender.partner.post(f"/intake/entries/{entry}/case")
        return entry

    async def crowd(self, **person: Any) -> None:
        """As many people alike as an offer needs before it shows what they are like, counted as the clock does."""
        for _ in range(5):
            await self.ready_person(**person)
        await self.made.services["intake"].due["crowd"](UUID(int=0))

    async def handoff(self, *entries: str, **more: Any) -> str:
        body = {
            "network": self.network, "service_type": "emergency_bed", "urgency": "emergency", "area": "KH-1",
            "members": list(entries), **more,
        }  # fmt: skip
        made = await self.sender.partner.post("/intake/handoffs", body)
        return str(made["id"])

    async def offer(self, house: Organisation, *, within_s: float = 15.0) -> dict[str, Any]:
        """Wait for an offer in a house's inbox."""

        async def look() -> Any:
            offers = (await house.partner.get("/referral/offers?state=sent&state=seen"))["offers"]
            return offers and offers[0]

        found: dict[str, Any] = await eventually(look, within_s=within_s)
        return found

    async def with_packet(self, house: Organisation, entry: str) -> tuple[str, str]:
        """A hand-off of this person that the house has accepted, and whose packet it has read; and its offer."""
        handoff = await self.handoff(entry)
        offer: str = (await self.offer(house))["id"]
        await house.partner.post(f"/referral/offers/{offer}/accept")
        await self.state(handoff, "ready")
        await house.partner.packet(offer)
        return handoff, offer

    async def state(self, handoff: str, *states: str, within_s: float = 15.0) -> dict[str, Any]:
        """Wait until the sender sees one of these states."""

        async def look() -> Any:
            shown = await self.sender.partner.get(f"/intake/handoffs/{handoff}")
            return shown if shown["state"] in states else None

        found: dict[str, Any] = await eventually(look, within_s=within_s)
        return found


async def at_rest(databases: Mapping[str, Database], bus: Bus) -> bool:
    """All that was said is sent, all that was sent is taken in by these services, and nothing is due."""
    for name, db in databases.items():
        async with db.transaction("test.quiet") as tx:
            if await tx.conn.fetchval(
                "select (select count(*) from outbox) + (select count(*) from due where at <= $1)", tx.now
            ):
                return False
            places = await order.positions(tx)
        bounds = await bounds_of(bus, places)
        # A reader that has only just begun has not found all of its places yet.
        found = len(places) >= sum(topic.partitions for topic in TOPICS if name in topic.readers)
        if not found or any(bounds[at].left_after(places[at]) for at in bounds):
            return False
    return True


async def organisation(admin: Partner, stack: AsyncExitStack, url: str, name: str, kind: str, scopes: list[str],
                       country: str = "KH", agree: Callable[[Mapping[str, Any]], Awaitable[None]] | None = None,
                       **more: Any) -> Organisation:  # fmt: skip
    """Register an organisation and a system that signs in for it. `agree`: somebody else, where its scopes reach everywhere."""
    body = {"name": name, "type": kind, "country": country, "sample": True, **more}
    made = await admin.post("/referral/organisations", body)
    key = OKPKey.generate_key("Ed25519", auto_kid=True)
    client = f"{name.lower().replace(' ', '-')}-{uuid4().hex[:8]}"
    public = public_jwk(key)
    waits = await admin.post(
        "/referral/clients", {"id": client, "organisation": made["id"], "public_key": public, "scopes": scopes}
    )
    if agree is not None:
        await agree(waits)
    partner = await stack.enter_async_context(Partner(url, client, key))
    return Organisation(str(made["id"]), name, partner)


async def second_administrator(world: World) -> Partner:
    """An administrator's system of an organisation of its own, registered by whoever runs the installation."""
    if world.other is None:
        body = {"name": "Second desk", "type": "coordination", "country": "KH", "sample": True}
        made = await world.admin.post("/referral/organisations", body)
        key, client = OKPKey.generate_key("Ed25519", auto_kid=True), f"second-desk-{uuid4().hex[:8]}"
        public = public_jwk(key)
        async with world.made.services["referral"].db.transaction("test.administrator") as tx:
            await partners.register_client(tx, OPERATOR.name, client, UUID(made["id"]), public, ["referral:admin"])
        world.other = await world.stack.enter_async_context(Partner(world.made.url, client, key))
    return world.other


async def agreed(world: World, made: Mapping[str, Any], own: Partner | None = None) -> None:
    """What waits for a second one is agreed to: by the organisation's `own` system, or by a second administrator."""
    if made["approval"] is not None:
        who = own or await second_administrator(world)
        await who.post(f"/referral/approvals/{made['approval']}/approve")


async def second_system(world: World, employer: Organisation, scopes: list[str]) -> Partner:
    """Another system of an organisation, with scopes of its own, to which a second administrator has agreed."""
    key = OKPKey.generate_key("Ed25519", auto_kid=True)
    client = f"second-{uuid4().hex[:8]}"
    public = public_jwk(key)
    body = {"id": client, "organisation": employer.id, "public_key": public, "scopes": scopes}
    await agreed(world, await world.admin.post("/referral/clients", body))
    return await world.stack.enter_async_context(Partner(world.made.url, client, key))


@asynccontextmanager
async def world(settings: Settings, **network: Any) -> AsyncIterator[World]:
    """A running installation with a network that has a sender and a coordinator."""
    async with (
        installation.installed(settings) as made,
        installation.running(made),
        network_in(made, settings, **network) as found,
    ):
        yield found


@asynccontextmanager
async def network_in(made: Installation, settings: Settings, **network: Any) -> AsyncIterator[World]:
    """A network of its own in a running installation."""
    key = await bootstrap.administrator(made.services["referral"].db, settings)
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(Partner(made.url, bootstrap.CLIENT, key, patience_s=30))
        coordinator = await organisation(
            admin, stack, made.url, "Coordinator", "coordination", ["referral:coordinate", "notify:watch"]
        )
        founded = {"name": "Test network", "coordinator": coordinator.id, "windows": FAST, "sample": True, **network}
        id_ = (await admin.post("/referral/networks", founded))["id"]
        sender = await organisation(
            admin, stack, made.url, "Border post", "border_post", ["intake:send", "referral:send"]
        )
        await admin.post(f"/referral/networks/{id_}/members", {"organisation": sender.id})
        for group in ("shelter", "health", "legal", "psychosocial"):
            stages = (("offer", OFFER_FIELDS), ("packet", PACKET_FIELDS), ("placement", PLACEMENT_FIELDS))
            for stage, fields in stages:
                rule = {"network": id_, "group": group, "stage": stage, "fields": list(fields)}
                await admin.post("/intake/rules/need-to-know", rule)
        yield World(made, admin, id_, sender, coordinator, stack=stack)


def settings_for(folder: Path, postgres: str, bus: str = "") -> Settings:
    """An installation of its own in a running PostgreSQL (databases are named by service, so one server serves one)."""
    return Settings(data=folder / "data", keys=folder / "keys", postgres=postgres, bus=bus, port=0)
