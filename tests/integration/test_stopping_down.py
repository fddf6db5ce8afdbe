"""Neither the bus nor the network answers: whoever stops is stopped all the same, when the request returns; what follows,
follows when they are back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.cli import installation
from services.cli.client import ApiProblem, trusted
from services.cli.installation import BUS_DATABASE, Installation
from tests.builders import World, eventually, network_in
from tests.integration import stopping_scene as scenes
from tests.integration.apart import installed_apart
from tests.integration.holder import Case, Holder, House, cut_off, withdraw
from tests.integration.stopping_scene import PATIENCE_S, Cell, Scene, Setting, Stage

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def _again(made: Installation, *names: str) -> Installation:
    """The same behind the same port, with these services only."""
    port = int(made.url.rpartition(":")[2])
    services = {name: made.services[name] for name in names or made.services}
    return replace(made, services=services, listener=installation.listen("127.0.0.1", port, 1))


@pytest.fixture
async def scene(workspace: Path) -> AsyncIterator[Scene]:
    """Somebody in every state; nothing runs any more."""
    async with AsyncExitStack() as stack:
        made, settings = await stack.enter_async_context(installed_apart(workspace))
        async with installation.running(made):
            world = await stack.enter_async_context(network_in(made, settings))
            scene = await scenes.found(world, Setting())
            await scenes.people(scene)
            await scenes.opened(scene)
            await scenes.advance(scene)
            # From here on nobody can sign in, and the holder knows the network's keys.
            assert await _case(scene, scene.cells[Stage.SENT]).may_accept()
        yield scene


def _case(scene: Scene, cell: Cell) -> Case:
    return Case(Holder(scene.world), House(scene.facts), [cell.entry], cell.handoff, cell.offer)


async def _exclude(world: World, cell: Cell, house: str) -> None:
    await world.sender.partner.post(
        f"/intake/entries/{cell.entry}/exclusions", {"kind": "organisation", "value": house}
    )


async def _nobody_answers(scene: Scene) -> None:
    async with httpx.AsyncClient(base_url=scene.world.made.url, verify=trusted(), timeout=15) as client:
        assert (await client.get("/referral/offers")).status_code == 404


async def _row(scene: Scene, query: str, cell: Cell) -> Any:
    found = await scenes.one(scene.world, "referral", query, UUID(cell.handoff))
    assert found is not None
    return found


async def test_the_gate_is_shut_without_the_bus_and_without_the_network(scene: Scene) -> None:
    world, cells = scene.world, scene.cells
    sent, seen, ready = (cells[stage] for stage in (Stage.SENT, Stage.SEEN, Stage.READY))
    async with cut_off(world, BUS_DATABASE):
        async with installation.running(_again(world.made, "intake")):
            await _nobody_answers(scene)
            await withdraw(world, sent.entry)
            await _exclude(world, seen, scene.first.id)
            await withdraw(world, ready.entry)
            for cell in (sent, seen):
                assert not await _case(scene, cell).may_accept()
                assert (await _case(scene, cell).content())["readable"] is False
            assert (await _case(scene, ready).packet())["members"] == [{}]
        async with installation.running(_again(world.made)):
            # The network is back and has heard of nothing: it asks the holder before anybody may accept.
            for cell in (sent, seen):
                assert (await _row(scene, "select state from referral where id = $1", cell))["state"] == "offered"
                with pytest.raises(ApiProblem, match="409 no-longer-available"):
                    await scene.first.partner.post(f"/referral/offers/{cell.offer}/accept")
    async with installation.running(_again(world.made)):
        await scenes.until(scene, sent, "on-hold")
        await eventually(lambda: scenes.offer_of(world, seen.handoff, scene.second.id), within_s=PATIENCE_S)
        await eventually(lambda: _erasure_is_asked(scene, ready), within_s=PATIENCE_S)
        assert (await _row(scene, "select state from referral where id = $1", ready))["state"] == "ready"
        hold = await _row(
            scene, "select h.state from hold h join offer o on o.id = h.offer where o.referral = $1", ready
        )
        assert hold["state"] == "held"


async def _erasure_is_asked(scene: Scene, cell: Cell) -> bool:
    """And the house is told."""
    row = await scenes.one(scene.world, "notify", "select 1 from copy_view where offer = $1", UUID(cell.offer))
    return row is not None
