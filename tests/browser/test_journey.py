"""The whole line as its people go it: border post, house, coordinator, in a browser, by clicking only; in both languages,
on a phone and at a desk, with scripts and without, with the keyboard alone, on a slow line and on one that breaks."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pyotp
import pytest
from playwright.async_api import Browser, expect

from schemas.rights import StaffRole
from services.referral.people import handlers as people
from services.referral.people.domain import OPERATOR
from spean.web.labels import STATES
from spean.web.words import Words
from tests.browser import line
from tests.browser.hands import Hands, Way, at_work
from tests.browser.visiting import at_browser
from tests.builders import Organisation, World
from tests.integration import staff

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
HANDOFFS, NEW = "/intake/pages/handoffs", "/intake/pages/entries/new"
DASHBOARD, ESCALATIONS = "/notify/pages/dashboard", "/referral/pages/escalations"


# Every pair of language, width and scripts is met once.
WAYS = [
    pytest.param(Way("en", 360, scripts=True), id="en-phone-scripts"),
    pytest.param(Way("km", 360, scripts=False), id="km-phone-plain"),
    pytest.param(Way("km", 1280, scripts=True), id="km-desk-scripts", marks=pytest.mark.long),
    pytest.param(Way("en", 1280, scripts=False), id="en-desk-plain", marks=pytest.mark.long),
]


async def one_time_link(world: World, organisation: Organisation, role: StaffRole, language: str) -> str:
    person = await staff.hired(world.made, organisation.id, role, language=language)
    async with staff.desk_of(world.made).db.transaction("test.link") as tx:
        return f"/referral/pages/link/{await people.sign_in_link(tx, OPERATOR, person.sign_in_name)}"


@asynccontextmanager
async def by_link(
    world: World, browser: Browser, way: Way, organisation: Organisation, role: StaffRole
) -> AsyncIterator[Hands]:
    """Somebody new of this organisation, signed in by a one-time link."""
    link = await one_time_link(world, organisation, role, way.language)
    async with at_browser(
        browser, world.made, None, width=way.width, language=way.language, javascript=way.scripts
    ) as page:
        hands = Hands(page, way.language)
        await hands.open(link)
        await hands.press(link)
        yield hands


@pytest.mark.parametrize("way", WAYS)
async def test_a_person_is_handed_to_a_house_and_the_loop_closes(world: World, browser: Browser, way: Way) -> None:
    house_of = await world.house("Lotus House", 3)
    states = {name: Words(way.language).text(text) for name, text in STATES.items()}
    async with (
        by_link(world, browser, way, world.sender, StaffRole.SENDER) as worker,
        by_link(world, browser, way, house_of, StaffRole.RECEIVER) as house,
        by_link(world, browser, way, world.coordinator, StaffRole.COORDINATOR) as coordinator,
    ):
        assert (worker.path, house.path, coordinator.path) == (HANDOFFS, line.INBOX, DASHBOARD)
        await line.meets_somebody(worker)
        await line.talks_consent_through(worker)
        handoff = await line.asks_for_a_bed(worker)
        await line.waits_for_a_request(house, moves=way.scripts)
        tail = await coordinator.page.locator("#tail ol").inner_text()
        offer = await line.accepts(house)
        await _has_moved(coordinator, tail, way)
        await line.opens_the_packet(house, offer, scripts=way.scripts)
        await line.says_where(house, "under the clock at the market")
        await line.sees(worker, handoff, ".code-shown")
        assert "under the clock" in await worker.page.locator("main").inner_text()
        await worker.press("/departed")
        code = (await worker.page.locator(".code-shown").inner_text()).strip()
        await line.confirms_arrival(house, offer, code)
        await line.records_outcome(house)
        await line.sees(worker, handoff, f'.now .tag:text-is("{states["completed"]}")', among="?show=ended")
    place = (await house_of.partner.get("/referral/places"))["places"][0]
    assert (place["held"], place["staying"], place["free"]) == (0, 0, 3)


async def _has_moved(coordinator: Hands, before: str, way: Way) -> None:
    """The dashboard says what has happened: by itself, or when it is looked at again."""
    tail = coordinator.page.locator("#tail ol")
    if way.scripts:
        await expect(tail).not_to_have_text(before, timeout=20_000, use_inner_text=True)
        assert coordinator.seen.count(DASHBOARD) == 1
        return
    for _ in range(40):
        await coordinator.follow(DASHBOARD)
        if await tail.inner_text() != before:
            return
    raise AssertionError("the dashboard never moved")


@pytest.mark.parametrize("way", [WAYS[1], WAYS[0]])
async def test_two_houses_decline_the_coordinator_asks_a_third_and_sharing_stops(
    world: World, browser: Browser, way: Way
) -> None:
    """The third has no room until it says so; its coordinator has called it. Then the person stops sharing: the packet is
    empty, and the bed stays theirs."""
    first, second, third = [await world.house(name, 1) for name in ("Lotus House", "Bamboo House", "Palm House")]
    async with (
        at_work(world, browser, way, world.sender, StaffRole.SENDER) as worker,
        at_work(world, browser, way, world.coordinator, StaffRole.COORDINATOR) as coordinator,
        at_work(world, browser, way, third, StaffRole.RECEIVER) as house,
    ):
        await _says_room(house, world.places[third.id], "0")
        await coordinator.open(DASHBOARD)
        await worker.open(HANDOFFS)
        entry = await line.meets_somebody(worker)
        await line.talks_consent_through(worker)
        handoff = await line.asks_for_a_bed(worker)
        await _both_decline(world, browser, way, first, second)
        await _says_room(house, world.places[third.id], "1")
        await _asks(coordinator, handoff, world.places[third.id], way)
        await house.open(line.INBOX)
        await line.waits_for_a_request(house, moves=way.scripts)
        offer = await line.accepts(house)
        await line.sees(worker, handoff, ".code-shown")
        code = (await worker.page.locator(".code-shown").inner_text()).strip()
        await line.opens_the_packet(house, offer, scripts=way.scripts)
        assert await house.page.locator("section.panel dl.facts").count() == 1
        await worker.open(f"/intake/pages/entries/{entry}")
        await worker.follow("/stop/sharing")
        await worker.press("/stop/sharing")
        await house.page.reload()
        assert await house.page.locator("section.panel dl.facts").count() == 0
        assert await house.page.locator("section.panel .note").count() == 1
        for beds in ((0, 1, 0), (0, 0, 1)):
            await house.open("/referral/pages/places")
            assert await _beds(house) == [Words(way.language).number(n) for n in beds]
            if beds[1]:
                await line.confirms_arrival(house, offer, code)
    await world.state(handoff, "answered")


async def _says_room(house: Hands, place: str, free: str) -> None:
    await house.open("/referral/pages/places")
    await house.write("more_tonight", free)
    await house.press(f"/{place}/count")
    assert (await _beds(house))[0] == Words(house.language).number(int(free))


async def _beds(house: Hands) -> list[str]:
    """Free, promised, taken."""
    return [text.strip() for text in await house.page.locator("dl.beds dd").all_inner_texts()]


async def _both_decline(world: World, browser: Browser, way: Way, *houses: Organisation) -> None:
    """One after the other, in whatever order the network asks them."""
    async with (
        at_work(world, browser, way, houses[0], StaffRole.RECEIVER) as one,
        at_work(world, browser, way, houses[1], StaffRole.RECEIVER) as other,
    ):
        waiting = [one, other]
        for hands in waiting:
            await hands.open(line.INBOX)
        for _ in range(80):
            for hands in list(waiting):
                await hands.follow(line.INBOX)
                if await hands.page.locator("article.offer .act").count():
                    await line.declines(hands, "no_capacity")
                    waiting.remove(hands)
            if not waiting:
                return
    raise AssertionError("not both were asked")


async def _asks(coordinator: Hands, handoff: str, place: str, way: Way) -> None:
    """What nobody could take comes to the coordinator's first page, with or without scripts."""
    wanted = coordinator.link(f"/escalations/{handoff}")
    if way.scripts:
        await expect(wanted).to_be_visible(timeout=20_000)
    for _ in range(40):
        if await wanted.count():
            break
        await coordinator.follow(DASHBOARD)
    await coordinator.follow(f"/escalations/{handoff}")
    await coordinator.press("/take")
    await coordinator.tick("place", place)
    await coordinator.press("/ask")


def _now() -> int:
    return int(time.time())


async def test_an_invited_worker_sets_up_signs_in_with_a_code_and_begins(world: World, browser: Browser) -> None:
    """An administrator registers and invites somebody; the link, a password and an app lead to the work; the next time the
    password and the app's next code do."""
    way, name = Way("en", 360, scripts=True), f"dara.{uuid4().hex[:8]}"
    async with at_work(world, browser, way, world.coordinator, StaffRole.ADMINISTRATOR) as admin:
        await admin.open(f"/referral/pages/people?organisation={world.sender.id}")
        await admin.follow(f"/people/new?organisation={world.sender.id}")
        await admin.choose("organisation", world.sender.id)
        await admin.write("name", "Dara")
        await admin.write("sign_in_name", name)
        await admin.choose("language", "km")
        await admin.tick("roles", "sender")
        await admin.press("/people/new")
        found = (await world.sender.partner.get("/referral/approvals"))["approvals"]
        (waits,) = [one["id"] for one in found if one["state"] == "waiting"]
        await world.sender.partner.post(f"/referral/approvals/{waits}/approve")
        await admin.press("/invite")
        link = await admin.page.locator("main code").inner_text()
    async with at_browser(browser, world.made, None, language="km") as page:
        dara = Hands(page, "km")
        await dara.open(link)
        app = pyotp.TOTP((await page.locator("code.key").inner_text()).replace(" ", ""))
        await dara.write("password", staff.PASSWORD)
        await dara.write("password_again", staff.PASSWORD)
        await dara.write("code", app.now())
        await dara.press(link.rsplit("/", 1)[1])
        assert dara.path == HANDOFFS
        await dara.follow("/referral/pages/account")
        await dara.press("/sign-out")
        await dara.open(NEW)
        assert dara.path == "/referral/pages/sign-in"
        await dara.write("name", name.upper())
        await dara.write("password", staff.PASSWORD)
        await dara.press("/sign-in")
        await dara.write("code", app.at(_now(), counter_offset=1))
        await dara.press("/code")
        assert dara.path == NEW
