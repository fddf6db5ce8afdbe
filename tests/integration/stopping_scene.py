"""Somebody in every state that a hand-off can be in, of a network that one form of stopping has to itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg

from services.intake.cases.fields import OFFER_FIELDS, PACKET_FIELDS, PLACEMENT_FIELDS
from tests.builders import CATEGORIES, PURPOSES, Organisation, World, eventually, organisation
from tests.integration.holder import database

_DAY = dict.fromkeys(("immediate", "emergency", "urgent", "normal"), 86_400)
# A machine that is three times slower, and everybody at once.
PATIENCE_S = 120.0


class Stage(StrEnum):
    """Where a hand-off stands when somebody stops: the states of docs/states.md, with who knows of them so far."""

    NOT_YET = "not yet with the network"
    REQUESTED = "nobody asked yet"
    SENT = "offered"
    SEEN = "offered and seen"
    ACCEPTED = "accepted"
    READY = "ready"
    MISSING = "missing"
    UNVERIFIED = "arrived without the code"
    ARRIVED = "arrived"
    COMPLETED = "completed"
    UNROUTABLE = "nobody can take it"
    ON_HOLD = "on hold"
    CANCELLED = "cancelled"


LATER = {Stage.NOT_YET, Stage.REQUESTED, Stage.SENT}
TAKEN = {Stage.READY, Stage.MISSING, Stage.UNVERIFIED, Stage.ARRIVED, Stage.COMPLETED, Stage.CANCELLED}
AT_THE_HOUSE = {Stage.UNVERIFIED, Stage.ARRIVED, Stage.COMPLETED}
OPEN = {Stage.SENT, Stage.SEEN}


@dataclass
class Cell:
    """One person in one state. `offer`: the first house's."""

    stage: Stage
    entry: str
    handoff: str = ""
    offer: str = ""
    code: bytes | None = None
    basis: str = ""
    said: dict[str, int] = field(default_factory=dict)


@dataclass
class Setting:
    """What a form of stopping needs otherwise. `person`: fields; `sharing`: of the consent, with `first` among the recipients
    by name where `named`."""

    person: dict[str, Any] = field(default_factory=dict)
    sharing: dict[str, Any] = field(default_factory=dict)
    guardian: dict[str, str] | None = None
    named: bool = False
    house: dict[str, Any] = field(default_factory=dict)
    country: str = "KH"
    basis: dict[str, Any] | None = None
    agrees: bool = True


@dataclass
class Scene:
    """`first` is preferred to `second`: it has more places. `whole`: which fields a packet had before."""

    world: World
    setting: Setting
    first: Organisation
    second: Organisation
    cells: dict[Stage, Cell] = field(default_factory=dict)
    rules: dict[str, str] = field(default_factory=dict)
    whole: frozenset[str] = frozenset()

    @property
    def sender(self) -> Any:
        return self.world.sender.partner

    @property
    def facts(self) -> dict[str, Any]:
        """What the network says of the first house."""
        return {"organisation": self.first.id, "type": "shelter", "country": self.setting.country, "status": "active",
                "law_enforcement": bool(self.setting.house.get("law_enforcement"))}  # fmt: skip


async def found(world: World, setting: Setting) -> Scene:
    """A network with a sender and two houses of its own. `world` lends the installation, the administrator and the
    coordinator."""
    admin = world.admin
    body = {"name": "Stopping", "coordinator": world.coordinator.id, "windows": {"answer_s": _DAY}, "sample": True}
    network = str((await admin.post("/referral/networks", body))["id"])
    own = World(world.made, admin, network, world.sender, world.coordinator, stack=world.stack)
    own.sender = await own.organisation("Border post", "border_post", ["intake:send", "referral:send"])
    await admin.post(f"/referral/networks/{network}/members", {"organisation": own.sender.id})
    first = await _house(own, "First", 40, country=setting.country, **setting.house)
    second = await _house(own, "Second", 30)
    scene = Scene(own, setting, first, second)
    for stage, fields in (("offer", OFFER_FIELDS), ("packet", PACKET_FIELDS), ("placement", PLACEMENT_FIELDS)):
        rule = {"network": network, "group": "shelter", "stage": stage, "fields": list(fields)}
        scene.rules[stage] = (await admin.post("/intake/rules/need-to-know", rule))["id"]
    for name, house in (("agreement", first), ("second agreement", second)):
        rule = {"sender": own.sender.id, "recipient": house.id, "categories": CATEGORIES, "purposes": PURPOSES}
        scene.rules[name] = (await admin.post("/intake/rules/agreements", rule))["id"]
        back = {**rule, "sender": house.id, "recipient": own.sender.id}
        await admin.post("/intake/rules/agreements", back)
    if setting.country != "KH":
        way = {"from_country": "KH", "to_country": setting.country, "categories": CATEGORIES, "legal_basis": "test"}
        scene.rules["corridor"] = (await admin.post("/intake/rules/corridors", way))["id"]
    return scene


async def _house(world: World, name: str, places: int, **more: Any) -> Organisation:
    made = await organisation(world.admin, world.stack, world.made.url, name, "shelter", ["referral:receive"], **more)
    await world.admin.post(f"/referral/networks/{world.network}/members", {"organisation": made.id})
    body = {"organisation": made.id, "network": world.network, "service_types": ["emergency_bed"], "area": "KH-1",
            "usable": places, "eligibility": {}}  # fmt: skip
    world.places[made.id] = (await world.admin.post("/referral/places", body))["id"]
    return made


async def people(scene: Scene) -> None:
    for stage in Stage:
        scene.cells[stage] = await _person(scene, stage)


async def _person(scene: Scene, stage: Stage) -> Cell:
    world, how = scene.world, scene.setting
    cell = Cell(stage, await world.entry(**{"health_notes": "asthma", **how.person}))
    guardian = {} if how.guardian is None else {"guardian": how.guardian}
    if how.agrees:
        named = [world.sender.id, *([scene.first.id, scene.second.id] if how.named else [])]
        recipients = {"classes": [{"type": "shelter"}], "organisations": named}
        await world.consent(cell.entry, "service", **guardian)
        await world.consent(cell.entry, "share_referral", recipients=recipients, **guardian, **how.sharing)
    if how.basis is not None:
        recipients = {"classes": [{"type": "shelter"}], "organisations": [world.sender.id]}
        body = {
            "justification": "She was found alone tonight.",
            "recipients": recipients,
            "acting_for": "one",
            **how.basis,
        }
        cell.basis = (await scene.sender.post(f"/intake/entries/{cell.entry}/bases", body))["id"]
    return cell


async def opened(scene: Scene) -> None:
    for cell in scene.cells.values():
        await scene.sender.post(f"/intake/entries/{cell.entry}/case")


async def ask(scene: Scene, *stages: Stage) -> None:
    for stage in stages:
        cell = scene.cells[stage]
        cell.handoff = await scene.world.handoff(cell.entry)


async def offered(scene: Scene, *stages: Stage) -> None:
    """Wait until the first house has its offers."""
    for stage in stages:
        cell = scene.cells[stage]
        row = await eventually(
            lambda cell=cell: offer_of(scene.world, cell.handoff, scene.first.id), within_s=PATIENCE_S
        )
        cell.offer = str(row["id"])


async def offer_of(world: World, handoff: str, house: str) -> asyncpg.Record | None:
    """The latest offer of a hand-off to this house."""
    query = "select * from offer where referral = $1 and organisation = $2 order by sent_at desc limit 1"
    return await one(world, "referral", query, UUID(handoff), UUID(house))


async def one(world: World, service: str, query: str, *arguments: Any) -> asyncpg.Record | None:
    async with world.made.services[service].db.transaction("test.look") as tx:
        return await tx.conn.fetchrow(query, *arguments)


async def advance(scene: Scene) -> None:
    """Everybody who does not wait for later, to where they are to be. Everything runs."""
    early = [stage for stage in Stage if stage not in LATER]
    await ask(scene, *early)
    await offered(scene, *early)
    await scene.first.partner.get("/referral/offers")
    await _refuse(scene)
    for stage in TAKEN:
        await scene.first.partner.post(f"/referral/offers/{scene.cells[stage].offer}/accept")
    for stage in TAKEN:
        await _take(scene, scene.cells[stage])
    await ask(scene, Stage.SENT)
    await offered(scene, Stage.SENT)


async def _refuse(scene: Scene) -> None:
    """Two whom nobody takes: one is the coordinator's, one was handed back to the sender."""
    declined = {"reason": "no_capacity"}
    silent, handed_back = scene.cells[Stage.UNROUTABLE], scene.cells[Stage.ON_HOLD]
    await _time_is_up(scene, silent)
    await scene.first.partner.post(f"/referral/offers/{handed_back.offer}/decline", declined)
    for cell in (silent, handed_back):
        offer = await eventually(
            lambda cell=cell: offer_of(scene.world, cell.handoff, scene.second.id), within_s=PATIENCE_S
        )
        await scene.second.partner.post(f"/referral/offers/{offer['id']}/decline", declined)
        await until(scene, cell, "unroutable")
    await scene.world.coordinator.partner.post(f"/referral/escalations/{handed_back.handoff}/hand-back")


async def _time_is_up(scene: Scene, cell: Cell) -> None:
    async with scene.world.made.services["referral"].db.transaction("test") as tx:
        await tx.conn.execute(
            "update offer set answer_by = now() where referral = $1 and state in ('sent', 'seen')", UUID(cell.handoff)
        )
        await tx.conn.execute("update referral set step_at = now() where id = $1", UUID(cell.handoff))
        await tx.conn.execute("update due set at = now() where kind = 'referral' and subject = $1", UUID(cell.handoff))


async def until(scene: Scene, cell: Cell, state: str) -> None:
    """Wait until the network has it there."""
    query = "select 1 from referral where id = $1 and state = $2"
    await eventually(lambda: one(scene.world, "referral", query, UUID(cell.handoff), state), within_s=PATIENCE_S)


async def _take(scene: Scene, cell: Cell) -> None:
    """An accepted one goes on; its packet is read."""
    house = scene.first.partner
    await until(scene, cell, "ready")
    read = (await house.packet(cell.offer))["members"][0]
    scene.whole = frozenset(read)
    if cell.stage is Stage.MISSING:
        await _time_is_up(scene, cell)
        await until(scene, cell, "missing")
    if cell.stage in AT_THE_HOUSE:
        shown = await scene.sender.get(f"/intake/handoffs/{cell.handoff}")
        told = {} if cell.stage is Stage.UNVERIFIED else {"code": shown["hand_over_code"]}
        await house.post(f"/referral/offers/{cell.offer}/arrived", told)
    if cell.stage is Stage.COMPLETED:
        await house.post(f"/referral/offers/{cell.offer}/outcome", {"outcome": "needs_met"})
    if cell.stage is Stage.CANCELLED:
        await scene.sender.post(f"/intake/handoffs/{cell.handoff}/cancel")


async def time_of_consent_is_over(scene: Scene) -> None:
    """The end that the consent was given with has come; the clock has not looked yet."""
    async with database(scene.world) as db:
        for cell in scene.cells.values():
            await db.execute(
                "update consent set valid_until = clock_timestamp() where entry = $1 and decision = 'share_referral'",
                cell.entry,
            )
            await _look_now(db, "consent-look", cell.entry)


async def come_of_age(scene: Scene) -> None:
    """They were seventeen when they agreed, with a guardian; now they are eighteen."""
    async with database(scene.world) as db:
        for cell in scene.cells.values():
            await db.execute("update entry set age_at = age_at - interval '3 years 2 days' where id = $1", cell.entry)
            await db.execute(
                "update consent set valid_from = valid_from - interval '1 year' where entry = $1", cell.entry
            )
            await _look_now(db, "consent-look", cell.entry)


async def time_to_decide_is_over(scene: Scene) -> None:
    """Nobody has confirmed in time what stands in for consent."""
    async with database(scene.world) as db:
        for cell in scene.cells.values():
            await db.execute("update basis set decide_by = clock_timestamp() where id = $1", cell.basis)
            await _look_now(db, "basis", cell.basis)


async def time_of_rule_is_over(scene: Scene, table: str, rule: str) -> None:
    async with database(scene.world) as db:
        await db.execute(f"update {table} set valid_until = clock_timestamp() where id = $1", rule)
        await _look_now(db, "rule-ends", rule)


async def _look_now(db: asyncpg.Connection[asyncpg.Record], kind: str, subject: str) -> None:
    await db.execute(
        "insert into due (kind, subject, at) values ($1, $2, now()) on conflict (kind, subject) do update set at = now()",
        kind, subject,
    )  # fmt: skip


async def everybody(scenes: list[Scene], what: Any) -> None:
    """The same for each of them, a few at a time."""
    few = asyncio.Semaphore(6)

    async def one_of(scene: Scene) -> None:
        async with few:
            await what(scene)

    await asyncio.gather(*(one_of(scene) for scene in scenes))
