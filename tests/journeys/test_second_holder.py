"""A second holder as an operator makes one: `spean holder add`, the network started again, `spean holder serve`; then the demo
over the border between the two, with and without a corridor. Real processes, each holder with its own PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.cli import demo_people
from spean import embedded
from tests.commands import START_S, Place, place_in, ready, up
from tests.faults.cluster import free_port

# Some fifteen seconds on a machine that does nothing else.
DEMO_S = 240
pytestmark = [pytest.mark.long, pytest.mark.timeout(480)]


@pytest.fixture
async def place(workspace: Path) -> AsyncIterator[Place]:
    """A network at a port of its own, and a port for the second holder."""
    async with place_in(workspace) as made:
        made.more |= {"SPEAN_PORT": str(free_port())}
        yield made
        data = made.folder / "holders" / "sister" / "data"
        if (data / "data" / "postmaster.pid").exists():
            await (await embedded.start(data, password_file=data.parent / "keys" / "postgres")).stop()


@asynccontextmanager
async def serving(place: Place) -> AsyncIterator[Process]:
    process = await place.spawn("holder", "serve", "sister")
    try:
        await ready(process, "serving intake")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_a_holder_is_added_served_and_handed_over_from(place: Place) -> None:
    add = ("holder", "add", "sister", "--country", "TH", "--url", f"http://127.0.0.1:{free_port()}")
    code, said = await place.run(*add)
    assert (code, "start it here once" in said) == (1, True), said
    async with up(place) as running:
        assert await running.end(signal.SIGTERM) == 0
    code, said = await place.run(*add)
    assert code == 0, said
    code, said = await place.run(*add)
    assert (code, "already" in said) == (1, True), said
    code, said = await place.run("holder", "systems", "--at", "sister")
    assert (code, "holder serve" in said) == (1, True), said

    async with up(place) as running, serving(place) as sister:
        demo = await place.spawn("demo", "--holder", "sister", "--json")
        async with asyncio.timeout(DEMO_S):
            told, _ = await demo.communicate()
        result = json.loads(told)
        assert [one for one in result["expectations"] if not one["held"]] == []
        assert (demo.returncode, result["ok"]) == (0, True)
        _crossed(result["expectations"])
        code, said = await place.run("holder", "systems", "--at", "sister")
        assert (code, said.count("intake:send"), said.count("intake:rules")) == (0, 1, 1), said
        (police,) = (line.split()[0] for line in said.splitlines() if "intake:send" in line)
        assert (await place.run("holder", "dismiss", police, "--at", "sister"))[0] == 0
        assert (await place.run("holder", "dismiss", police, "--at", "sister"))[0] == 1
        sister.send_signal(signal.SIGTERM)
        async with asyncio.timeout(START_S):
            await sister.communicate()
        assert sister.returncode == 0
        assert await running.end(signal.SIGTERM) == 0


def _crossed(expectations: list[dict[str, str]]) -> None:
    """What the two at the second holder were played for was looked at."""
    about = {person.name: [one["what"] for one in expectations if one["person"] == person.name]
             for person in demo_people.ABROAD}  # fmt: skip
    for name, words in (
        ("Somnang", ("bad-token", "nothing was told: corridor", "was not asked", "answered, and not by whom")),
        ("Reaksmey", ("reads who comes", "health stays in the country", "answered, and not by whom")),
    ):
        for said in words:
            assert any(said in what for what in about[name]), (name, said)
