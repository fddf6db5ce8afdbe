"""From nothing to the first accepted referral, by pages only: an installation without a sample, and a link that is printed."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pyotp
import pytest

from services.cli.installation import Installation
from tests.browser.meeting import at_check, path_of, talked
from tests.browser.visiting import Screen, Walker
from tests.builders import World, eventually
from tests.commands import Place, Up, place_in, up

ADMIN, PEOPLE = "/referral/pages/admin", "/referral/pages/people"
USUAL = "/intake/pages/rules/usual"
PASSWORD = "seven grey herons at dusk"
STEPS = [
    "Your own account", "The organisation that coordinates", "A network",
    "Its members: one that meets people, one that receives them", "Somebody who sends", "Somebody at the house",
    "Somebody who coordinates", "All three have set up how they sign in", "A place at the house",
    "The rules: who may be told what", "The first hand-off is asked for", "The house accepts it",
]  # fmt: skip


@pytest.fixture
async def place(workspace: Path) -> AsyncIterator[Place]:
    async with place_in(workspace) as made:
        yield made


@asynccontextmanager
async def somebody(running: Up) -> AsyncIterator[Walker]:
    async with httpx.AsyncClient(timeout=15) as client:
        yield Walker(cast(Installation, SimpleNamespace(url=running.url)), client)


async def set_up(walker: Walker, link: str) -> Screen:
    """Welcome, a password, an app for codes: signed in, where the work begins."""
    page = await walker.get(link)
    code = app_in(page).now()
    form = next(one for one in page.forms if "/set-up/" in one.action and not one.action.endswith("/passkey"))
    return await walker.send(form, password=PASSWORD, password_again=PASSWORD, code=code)


def app_in(page: Screen) -> pyotp.TOTP:
    """The app that a welcome offers."""
    found = re.search(r'<code class="key">([^<]+)</code>', page.html)
    assert found is not None
    return pyotp.TOTP(found.group(1).replace(" ", ""))


async def sign_in(walker: Walker, name: str, app: pyotp.TOTP) -> Screen:
    """With the password and the app's next code."""
    page = await walker.get("/referral/pages/sign-in")
    page = await walker.send(page.form("/sign-in"), name=name, password=PASSWORD)
    return await walker.send(page.form("/code"), code=app.at(int(time.time()), counter_offset=1))


async def agree_as_a_second(place: Place, running: Up) -> None:
    """The operator makes a second administrator at the command line, who agrees to what waits."""
    _, said = await place.run("administrator", "second", SPEAN_URL=running.url)
    async with somebody(running) as second:
        await set_up(second, said.split()[-1])
        page = await second.get("/referral/pages/approvals")
        assert "Reviews who may be told what" in page.text
        assert "Agreed. It counts from now on." in (await second.send(page.form("/approve"))).text


def done(screen: Screen) -> list[str]:
    """The steps that are ticked off."""
    return [step for step in STEPS if f"{step} done" in screen.text]


def id_of(screen: Screen) -> str:
    return screen.path.split("/")[5]


async def register(administrator: Walker, name: str, kind: str) -> str:
    page = await administrator.get(f"{ADMIN}/organisations/new")
    return id_of(await administrator.send(page.form("/new"), name=name, type=kind, country="KH"))


async def invited(administrator: Walker, at: str, name: str, role: str) -> str:
    """Registered on the organisation's page; the link that is shown once."""
    page = await administrator.get(f"{PEOPLE}/new?organisation={at}")
    assert page.form("/new").get("organisation") == [at], "chosen already"
    page = await administrator.send(page.form("/new"), name=name, sign_in_name=name, roles=[role])
    page = await administrator.send(page.form("/invite"))
    found = re.search(r"http\S+/referral/pages/set-up/[\w-]{43}", page.text)
    assert found is not None
    return found.group(0)


def query(form: Any, **more: str) -> str:
    """What a browser would send with a form that is a GET."""
    return f"{form.action}?{httpx.QueryParams([*form.values, *more.items()])}"


async def add_rules(officer: Walker) -> Screen:
    """Every rule is read before it counts."""
    page = await officer.get(USUAL)
    page = await officer.get(query(page.form("/usual")))
    assert "Each of these Border post may tell each of these First house this" in page.text
    assert "Each of these First house may tell each of these Border post this" in page.text
    assert page.headings[0] == "Read 26 rules, then add them"
    page = await officer.send(page.form("/usual"))
    assert "Rules added." in page.text
    again = await officer.get(query((await officer.get(USUAL)).form("/usual")))
    assert again.headings[0] == "The usual rules are all there"
    return page


async def have_rules(place: Place, running: Up, administrator: Walker) -> None:
    """The operator's officer adds them, as soon as a second administrator has agreed to that officer."""
    page = await administrator.get(f"{ADMIN}/organisations")
    operator = re.findall(r'/organisations/([0-9a-f-]{36})">Operator of', page.html)[0]
    async with somebody(running) as officer:
        link = await invited(administrator, operator, "rithy", "officer")
        app = app_in(await officer.get(link))
        page = await set_up(officer, link)
        assert page.path == "/referral/pages/account", "nobody else has agreed yet"
        await agree_as_a_second(place, running)
        page = await sign_in(officer, "rithy", app)
        assert page.path == "/intake/pages/rules"
        await add_rules(officer)


async def hand_over(sender: Walker, border_post: str) -> None:
    """Somebody is met, agrees, and a bed is asked for."""
    page = await at_check(sender)
    page = await sender.send(page.form("/check"))
    entry = page.path.split("/")[4]
    world = cast(World, SimpleNamespace(sender=SimpleNamespace(id=border_post)))
    page = await talked(sender, entry, path_of(world))
    await sender.send(page.form("/check"))
    page = await sender.get(f"/intake/pages/entries/{entry}")
    page = await sender.click(page, "Ask for a service")
    page = await sender.send(
        page.form("/handoff"), ("step", "check"), service_type="emergency_bed", urgency="emergency"
    )
    assert page.headings[0] == "Check your answers", page.text
    page = await sender.send(page.form("/handoff"), ("step", "send"))
    assert page.status == 200, page.text


async def test_from_nothing_to_an_accepted_referral(place: Place) -> None:
    async with up(place) as running, somebody(running) as administrator:
        (link,) = re.findall(r"first administrator, once, within 72 h: (http\S+)", running.said)
        page = await set_up(administrator, link)
        assert (page.path, page.headings[:2]) == (ADMIN, ["Administration", "The next step"])
        assert (await administrator.get(link)).status == 410, "once"
        first = await administrator.click(page, "All steps")
        assert done(first) == STEPS[:1]
        assert first.links["Register an organisation"] == f"{ADMIN}/organisations/new"

        desk = await register(administrator, "Desk", "coordination")
        assert done(await administrator.get(f"{ADMIN}/first")) == STEPS[:2]
        page = await administrator.get(f"{ADMIN}/networks/new")
        network = id_of(await administrator.send(page.form("/new"), name="First network", coordinator=desk))
        assert done(await administrator.get(f"{ADMIN}/first")) == STEPS[:3]
        post, house = (
            await register(administrator, "Border post", "border_post"),
            await register(administrator, "First house", "shelter"),
        )
        for member in (post, house):
            page = await administrator.get(f"{ADMIN}/networks/{network}")
            await administrator.send(page.form("/members"), organisation=member)
        assert done(await administrator.get(f"{ADMIN}/first")) == STEPS[:4]

        links = [await invited(administrator, at, name, role) for at, name, role in (
            (post, "dara", "sender"), (house, "bopha", "receiver"), (desk, "vanna", "coordinator"))]  # fmt: skip
        assert done(await administrator.get(f"{ADMIN}/first")) == STEPS[:7]
        async with somebody(running) as sender, somebody(running) as receiver, somebody(running) as coordinator:
            homes = [
                (await set_up(who, link)).path for who, link in zip((sender, receiver, coordinator), links, strict=True)
            ]
            assert homes == ["/intake/pages/handoffs", "/referral/pages/inbox", "/notify/pages/dashboard"]
            assert done(await administrator.get(f"{ADMIN}/first")) == STEPS[:8]
            page = await administrator.get(f"{ADMIN}/organisations/{house}/places/new?group=shelter")
            await administrator.send(page.form("/new"), service_types=["emergency_bed"], area="KH-1", usable="3",
                                     needs=["interpreter"])  # fmt: skip
            page = await administrator.get(f"{ADMIN}/first")
            assert done(page) == STEPS[:9]
            assert (await administrator.get(USUAL)).status == 403, "rules are not an administrator's to add"

            await have_rules(place, running, administrator)
            assert done(await administrator.get(f"{ADMIN}/first")) == STEPS[:10]
            assert STEPS[10] in (await administrator.get(ADMIN)).text, "the overview names the step after them"

            await hand_over(sender, post)

            async def offered() -> Any:
                found = await receiver.get("/referral/pages/inbox")
                return found if any(one.action.endswith("/accept") for one in found.forms) else None

            page = await eventually(offered)
            assert done(await administrator.get(f"{ADMIN}/first")) == STEPS[:11]
            page = await receiver.send(page.form("/accept"))
            assert "Accepted. The places are held for this person." in page.text
            page = await administrator.get(f"{ADMIN}/first")
            assert done(page) == STEPS
            assert "All of it is done: the network works." in page.text
