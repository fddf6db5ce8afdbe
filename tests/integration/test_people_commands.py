"""People at the command line: links for the sample's staff where everything is on one machine, and the first administrator."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from services.cli import people
from services.cli.connected import connected
from spean.db import Tx
from spean.web.visitor import COOKIE
from tests.commands import Place, Up, place_in, up


@pytest.fixture
async def place(workspace: Path) -> AsyncIterator[Place]:
    async with place_in(workspace) as made:
        yield made


def links(said: str) -> dict[str, str]:
    """Sign-in name → its one-time link."""
    return dict(re.findall(r"^\s+(\S+)\s+(http\S+/referral/pages/link/\S+)$", said, re.MULTILINE))


async def used(running: Up, link: str) -> httpx.Response:
    """Opened, and its button pressed."""
    async with httpx.AsyncClient(timeout=15) as client:
        page = await client.get(link)
        if page.status_code != 200:
            return page
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text))
        cookie = page.headers["set-cookie"].partition(";")[0]
        return await client.post(link, data=fields, headers={"Cookie": cookie, "Sec-Fetch-Site": "same-origin"})


async def test_the_samples_staff_sign_in_with_what_is_printed(place: Place) -> None:
    async with up(place, SPEAN_SAMPLE="1") as running:
        printed = links(running.said)
        assert printed.keys() == {known.sign_in_name for known in people.SAMPLE}
        homes = {}
        for name, link in printed.items():
            assert link.startswith(running.url)
            reply = await used(running, link)
            assert reply.status_code == 303, name
            assert COOKIE in reply.headers["set-cookie"]
            homes[name] = reply.headers["location"]
            assert (await used(running, link)).status_code == 410, "once"
        assert homes["border-post"].startswith("/intake/pages/")
        assert homes["shelter-girls"] == homes["shelter-women"] == "/referral/pages/inbox"
        assert homes["coordinator"].startswith("/notify/pages/")
        assert homes["sample-administrator"].startswith("/referral/pages/")
        ended, said = await place.run("sign-in-link", "Border-Post", SPEAN_SAMPLE="1")
        assert ended == 0, said
        assert (await used(running, said.strip())).status_code == 303
        for wrong in ("administrator", "nobody"):
            ended, said = await place.run("sign-in-link", wrong, SPEAN_SAMPLE="1")
            assert (ended, "spean: nobody of the sample" in said, "border-post" in said) == (1, True, True), said
        # Somebody else's choice of address: what would open the door from outside is not handed out.
        ended, said = await place.run("sign-in-link", "border-post", SPEAN_URL="https://spean.example.org")
        assert (ended, "spean: one-time links are for" in said, "http" in said) == (1, True, False), said


async def test_the_first_administrator_sets_up_with_what_is_printed_until_it_is_done(place: Place) -> None:
    async with up(place) as running:
        assert not links(running.said)
        (link,) = re.findall(r"first administrator, once, within 72 h: (http\S+)", running.said)
        async with httpx.AsyncClient(timeout=15) as client:
            page = await client.get(link)
        assert "Welcome, administrator" in page.text
        ended, said = await place.run("administrator", "second.one")
        assert (ended, "/referral/pages/set-up/" in said) == (0, True), said
        ended, said = await place.run("administrator", "no")
        assert (ended, "spean: a sign-in name has 3 to 60" in said) == (1, True), said
        assert await running.end(signal.SIGINT) == 0
    async with up(place) as again:
        (another,) = re.findall(r"first administrator, once, within 72 h: (http\S+)", again.said)
        async with httpx.AsyncClient(timeout=15) as client:
            assert (await client.get(again.url + link.removeprefix(running.url))).status_code == 410
            assert (await client.get(another)).status_code == 200


@pytest.mark.long
async def test_it_starts_where_the_first_administrators_name_is_somebody_elses(place: Place) -> None:
    async with up(place) as running:
        async with referral(place) as tx:
            await tx.conn.execute("update person set status = 'left' where sign_in_name = $1", people.FIRST)
        assert await running.end(signal.SIGINT) == 0
    async with up(place) as again:
        assert "spean administrator NAME" in again.said
        ended, said = await place.run("administrator", "another.one")
        assert (ended, "/referral/pages/set-up/" in said) == (0, True), said


@asynccontextmanager
async def referral(place: Place) -> AsyncIterator[Tx]:
    """The network's own records, while it runs."""
    async with connected(place.settings) as found, found.databases["referral"].transaction("test") as tx:
        yield tx
