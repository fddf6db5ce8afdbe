"""Every form of stopping, played in every state on the real services, and what was seen of it.

While somebody stops, nothing but the doors runs: no relay, no consumer, no clock. What is seen then is what holds when the
request returns, whatever becomes of the bus. Then everything runs until nothing moves, and is looked at again.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from services.cli import installation
from services.cli.client import ApiProblem, trusted
from services.cli.installation import Installation
from services.intake.keystore import store as keystore
from spean.settings import Settings
from tests.builders import World, eventually, network_in
from tests.faults import checker, snapshot
from tests.integration import stopping_scene as scenes
from tests.integration.apart import Way, installed_apart
from tests.integration.holder import Holder, cut_off
from tests.integration.stopping_expected import PAGE, Seen, page
from tests.integration.stopping_forms import FORMS, Form
from tests.integration.stopping_scene import OPEN, PATIENCE_S, Cell, Scene, Stage

LOOPS = ("relay", "consume", "clock")
GONE = "closed"
NOTHING_IS_DUE = timedelta(days=-365)
OVER = {Stage.COMPLETED, Stage.CANCELLED}


@asynccontextmanager
async def stood(workspace: Path) -> AsyncIterator[tuple[World, Way]]:
    """An installation of its own whose doors stand open, and nothing else runs yet; its holder is reached through a way."""
    way = Way()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(way.standing())
        holders = {"main": f"http://127.0.0.1:{way.port}/intake"}
        made, settings = await stack.enter_async_context(installed_apart(workspace, holders=holders))
        await stack.enter_async_context(installation.running(made, ("api",)))
        way.to = ("127.0.0.1", int(made.url.rpartition(":")[2]))
        yield await stack.enter_async_context(_lent(made, settings)), way


@asynccontextmanager
async def _lent(made: Installation, settings: Settings) -> AsyncIterator[World]:
    async with network_in(made, settings) as world:
        yield world


async def carried(world: World) -> None:
    """Everything runs until nothing moves: first the holder's clock, then what was said is carried, then all. Where the
    network's clock is faster, a coordinator may hear of what is the sender's a moment later; the end is the same."""
    made = world.made
    holder = replace(made, services={"intake": made.services["intake"]})
    async with installation.running(holder, ("clock",)):
        await eventually(lambda: _nothing(world, "select 1 from due where at <= now()"), within_s=PATIENCE_S)
    async with installation.running(made, ("relay", "consume")):
        await rest(world, ahead=NOTHING_IS_DUE)
    async with installation.running(made, LOOPS):
        await rest(world)


async def _nothing(world: World, query: str, service: str = "intake") -> bool:
    return await scenes.one(world, service, query) is None


async def rest(world: World, ahead: timedelta = timedelta(0)) -> None:
    """Wait until nothing moves; of the clocks' work what is due `ahead`."""
    async with snapshot.opened(world.made.cluster) as sources:
        await checker.quiet(replace(sources, ahead=ahead), world.made.services)


async def prepared(world: World, forms: list[Form]) -> dict[str, Scene]:
    """A scene for each form, with somebody in every state, and nothing under way."""
    made = {form.key: await scenes.found(world, form.setting) for form in forms}
    every = list(made.values())
    async with installation.running(world.made, LOOPS):
        await rest(world)
        for step in (scenes.people, scenes.opened, scenes.advance):
            await scenes.everybody(every, step)
        await rest(world)
    for scene in every:
        await scenes.ask(scene, Stage.REQUESTED)
    async with installation.running(world.made, ("relay", "consume")):
        for scene in every:
            await scenes.until(scene, scene.cells[Stage.REQUESTED], "requested")
    for scene in every:
        await scenes.ask(scene, Stage.NOT_YET)
        await scene.first.partner.post(f"/referral/offers/{scene.cells[Stage.ACCEPTED].offer}/accept")
    return made


async def played(world: World, way: Way, forms: list[Form] = FORMS) -> dict[tuple[str, Stage], Seen]:
    """(form, state) → what was seen."""
    made = await prepared(world, forms)
    at_once: dict[tuple[str, Stage], tuple[str, str, str]] = {}
    before: dict[tuple[str, Stage], tuple[str, str]] = {}
    for form in forms:
        scene = made[form.key]
        for stage, cell in scene.cells.items():
            before[form.key, stage] = await _before(scene, cell)
        for stage, found in (await _stopped(form, scene, way)).items():
            at_once[form.key, stage] = found
    await carried(world)
    return {
        (key, stage): await _after(made[key], made[key].cells[stage], found, before[key, stage])
        for (key, stage), found in at_once.items()
    }


async def _before(scene: Scene, cell: Cell) -> tuple[str, str]:
    """State and offer's state; what was said so far is remembered."""
    for service in ("intake", "referral"):
        query = """
            select coalesce(max(sequence), 0) as last from (select sequence, aggregateid from outbox
            union all select sequence, aggregateid from said) t where aggregateid = $1
            """
        row = await scenes.one(scene.world, service, query, UUID(cell.handoff))
        assert row is not None
        cell.said[service] = row["last"]
    handoff = await scenes.one(scene.world, "intake", "select * from handoff where id = $1", UUID(cell.handoff))
    assert handoff is not None
    cell.code = handoff["sealed_code"]
    return await _states(scene, cell)


async def _states(scene: Scene, cell: Cell) -> tuple[str, str]:
    referral = await scenes.one(scene.world, "referral", "select state from referral where id = $1", UUID(cell.handoff))
    offer = await scenes.one(scene.world, "referral", "select state from offer where id = $1", _id(cell.offer))
    return (referral["state"] if referral else "unknown"), (offer["state"] if offer else "")


def _id(text: str) -> UUID | None:
    return UUID(text) if text else None


async def _stopped(form: Form, scene: Scene, way: Way) -> dict[Stage, tuple[str, str, str]]:
    """Stop, and look at once: (what was answered, may the open offer be answered, what the packet shows)."""
    async with AsyncExitStack() as during:
        if form.during == "key store":
            await during.enter_async_context(cut_off(scene.world, keystore.DATABASE))
        if form.during == "holder":
            await way.set("shut")
            during.push_async_callback(way.set, "open")
        refused = await form.stop(scene)
        return {
            stage: (refused.get(stage, "done"), await _open(form, scene, cell), await packet(scene, cell))
            for stage, cell in scene.cells.items()
        }


async def _open(form: Form, scene: Scene, cell: Cell) -> str:
    """Of an open offer: `open` where it is readable and may be accepted, `unanswerable` where it is neither."""
    if cell.stage not in OPEN:
        return ""
    readable = await _readable(form, scene, cell)
    may = await _may_accept(form, scene, cell)
    if may and readable:
        return "open"
    try:
        await scene.first.partner.post(f"/referral/offers/{cell.offer}/accept")
    except ApiProblem:
        return "unanswerable" if not (may or readable) else f"readable {readable}, may be accepted {may}"
    return "accepted all the same"


async def _asked(form: Form, scene: Scene, path: str, question: Mapping[str, Any]) -> Any:
    """The holder's answer to the network; None where it has none."""
    if form.during == "holder":
        return None
    facts = {**scene.facts, "status": "suspended" if form.key == "receiver" else "active"}
    headers = {"Authorization": f"Bearer {Holder(scene.world).question_token()}"}
    async with httpx.AsyncClient(base_url=scene.world.made.url, verify=trusted(), timeout=15) as client:
        reply = await client.post(
            f"/intake/questions/{path}", json={"organisation": facts, **question}, headers=headers
        )
    assert reply.status_code in {200, 503}, reply.text
    return reply.json() if reply.status_code == 200 else None


async def _readable(form: Form, scene: Scene, cell: Cell) -> bool:
    question = {"offers": [{"offer": cell.offer, "referral": cell.handoff}]}
    answer = await _asked(form, scene, "readable-offers", question)
    return bool(answer and answer["offers"][0]["readable"])


async def _may_accept(form: Form, scene: Scene, cell: Cell) -> bool:
    place = scene.world.places[scene.first.id]
    question = {"offer": cell.offer, "referral": cell.handoff, "place": place, "eligibility": {}}
    answer = await _asked(form, scene, "may-accept", question)
    return bool(answer and answer["allowed"])


async def packet(scene: Scene, cell: Cell) -> str:
    """What the first house reads of it now, beside what it had read of such a person before."""
    if cell.stage not in scenes.TAKEN | {Stage.ACCEPTED}:
        return ""
    try:
        shown = set((await scene.first.partner.packet(cell.offer))["members"][0])
    except (ApiProblem, httpx.TransportError):
        return GONE
    if not shown:
        return "empty"
    return "whole" if shown == scene.whole else "less" if shown < scene.whole else f"more: {shown - scene.whole}"


async def _after(scene: Scene, cell: Cell, at_once: tuple[str, str, str], before: tuple[str, str]) -> Seen:
    stop, open_, packet_at_once = at_once
    referral = await scenes.one(scene.world, "referral", "select * from referral where id = $1", UUID(cell.handoff))
    handoff = await scenes.one(scene.world, "intake", "select * from handoff where id = $1", UUID(cell.handoff))
    hold = await scenes.one(scene.world, "referral", "select state from hold where offer = $1", _id(cell.offer))
    assert referral is not None
    assert handoff is not None
    state, offer = await _states(scene, cell)
    coordinators = referral["escalated"] is not None
    senders = state == "on-hold" and handoff["waits_for"] == "sender"
    return Seen(
        stop=stop, offer_at_once=open_, packet_at_once=packet_at_once,
        referral="as before" if state == before[0] else state,
        whose="coordinator" if coordinators else "sender" if senders else "",
        offer="" if not offer else "as before" if offer == before[1] else offer,
        bed="" if hold is None else "kept" if hold["state"] in {"held", "staying"} else "free",
        code="" if cell.code is None or cell.stage in OVER else "works" if await _works(scene, cell) else "works no more",
        packet=await packet(scene, cell), copies=await _copies(scene, cell),
        told=await _told(scene, cell, speak=referral["ending"]),
    )  # fmt: skip


async def _works(scene: Scene, cell: Cell) -> bool:
    """Is the hand-over code the same, and would it be looked at? A wrong one is shown."""
    row = await scenes.one(scene.world, "intake", "select sealed_code from handoff where id = $1", UUID(cell.handoff))
    assert row is not None
    question = {"organisation": scene.facts, "offer": cell.offer, "referral": cell.handoff, "code": "no code"}
    answer = await Holder(scene.world).ask("hand-over-code", {**question, "code": "000000"})
    return row["sealed_code"] == cell.code and answer["result"] == "wrong"


async def _said(scene: Scene, cell: Cell, service: str) -> list[Any]:
    """(id, type) of what was said since."""
    async with scene.world.made.services[service].db.transaction("test.said") as tx:
        return await tx.conn.fetch(
            "select id, type from said where aggregateid = $1 and sequence > $2 order by sequence",
            UUID(cell.handoff), cell.said[service],
        )  # fmt: skip


async def _copies(scene: Scene, cell: Cell) -> str:
    asked = any("erasure.requested" in row["type"] for row in await _said(scene, cell, "intake"))
    return "asked to erase" if asked else ""


async def _told(scene: Scene, cell: Cell, *, speak: bool) -> tuple[str, ...]:
    """To whom a notice goes out because of what was said since; and whether the house is to speak with the person."""
    ids = [row["id"] for service in ("intake", "referral") for row in await _said(scene, cell, service)]
    names = {
        UUID(scene.first.id): "the house", UUID(scene.second.id): "the next house",
        UUID(scene.world.coordinator.id): "coordinator",
    }  # fmt: skip
    async with scene.world.made.services["notify"].db.transaction("test.told") as tx:
        rows = await tx.conn.fetch("select organisation from delivery where event = any($1)", ids)
    found = {names[row["organisation"]] for row in rows} | ({"the house, to speak with the person"} if speak else set())
    return tuple(sorted(found))


async def _all_of_it(workspace: Path) -> dict[tuple[str, Stage], Seen]:
    async with stood(workspace) as (world, way):
        return await played(world, way)


def main() -> None:
    """Write the page from what is seen."""
    with tempfile.TemporaryDirectory(prefix="spean-stopping-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the database's account has to enter
        PAGE.write_text(page(asyncio.run(_all_of_it(folder))), encoding="utf-8")


if __name__ == "__main__":
    main()
