"""The line on a telephone far away: slow, and cut in the middle of what somebody does; and without a pointer at all."""

from __future__ import annotations

import json
import re

import pytest
from playwright.async_api import Browser, Page, expect

from schemas.rights import StaffRole
from spean.web.words import Words
from tests.browser import line
from tests.browser.hands import Hands, Way, at_work
from tests.builders import World

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]
ENTRIES, NEW = "/intake/pages/entries", "/intake/pages/entries/new"
PHONE = Way("km", 360, scripts=True)
# What a telephone has at the edge of its net: bytes a second each way, and milliseconds to an answer.
SLOW = {"offline": False, "latency": 800, "downloadThroughput": 50_000 / 8, "uploadThroughput": 50_000 / 8}


async def slow_line(page: Page) -> None:
    cdp = await page.context.new_cdp_session(page)
    await cdp.send("Network.enable")
    await cdp.send("Network.emulateNetworkConditions", SLOW)


async def test_an_entry_and_an_answer_on_a_slow_line(world: World, browser: Browser) -> None:
    house_of = await world.house("Lotus House", 1)
    async with (
        at_work(world, browser, PHONE, world.sender, StaffRole.SENDER) as worker,
        at_work(world, browser, PHONE, house_of, StaffRole.RECEIVER) as house,
    ):
        for hands in (worker, house):
            await slow_line(hands.page)
        await worker.open(NEW)
        entry = await line.meets_somebody(worker)
        await world.consent(entry, "service")
        await world.consent(entry, "share_referral")
        await world.sender.partner.post(f"{ENTRIES.replace('/pages', '')}/{entry}/case")
        await world.handoff(entry)
        await world.offer(house_of)
        await house.open(line.INBOX)
        await line.waits_for_a_request(house, moves=True)
        await line.accepts(house)
        await expect(house.page.locator(".done")).to_be_visible()


async def test_a_cut_in_the_middle_of_an_entry_loses_nothing_that_was_typed(world: World, browser: Browser) -> None:
    async with at_work(world, browser, PHONE, world.sender, StaffRole.SENDER) as worker:
        page = worker.page
        await worker.open(NEW)
        await page.evaluate("navigator.serviceWorker.ready")
        await worker.choose("area", "KH-1")
        await worker.press("/entries/new")
        await worker.write("age_years", "24")
        await page.context.set_offline(True)
        await worker.button("/needs").click()
        await expect(page.locator("#cut")).to_be_visible()
        assert worker.path.endswith("/needs")
        await page.context.set_offline(False)
        await expect(page.locator("#cut")).to_be_hidden()
        await worker.press("/needs")
        assert Words("km").number(24) in await page.locator("dl.facts").nth(1).inner_text()
        await page.context.set_offline(True)
        await worker.button("/check").click()
        await expect(page.locator("#cut")).to_be_visible()
        await page.goto(NEW)
        await expect(page.locator("#no-line")).to_be_visible()
        await page.context.set_offline(False)
        await worker.open(NEW)
        await worker.follow("/needs")
        assert await page.locator('[name="age_years"]').input_value() == "24"
        await worker.press("/needs")
        await worker.press("/check")
        assert worker.path.startswith(ENTRIES)


async def test_a_cut_in_the_middle_of_an_acceptance_queues_it(world: World, browser: Browser) -> None:
    """In Khmer, on the offer's own page: what waits is said, and counts once when the line is back."""
    house_of = await world.house("Lotus House", 1)
    await world.handoff(await world.ready_person())
    offer = (await world.offer(house_of))["id"]
    async with at_work(world, browser, PHONE, house_of, StaffRole.RECEIVER) as house:
        page = house.page
        await house.open(f"/referral/pages/offers/{offer}")
        await page.evaluate("navigator.serviceWorker.ready")
        await page.context.set_offline(True)
        await house.button("/accept").click()
        await page.wait_for_url("**/pages/offline")
        await expect(page.locator("#queue button")).to_have_count(1)
        [waits] = json.loads(await page.evaluate("localStorage.getItem('spean-queue')"))
        assert (waits["path"], waits["action"]) == (f"/referral/pages/offers/{offer}/accept", "accept")
        await page.context.set_offline(False)
        await expect(page.locator("#queue button")).to_have_count(0)
        await house.open("/referral/pages/arrivals")
        await house.follow(f"/offers/{offer}")
        assert await house.form("/packet").count() == 1


# --- without a pointer ------------------------------------------------------------------------------------------------


async def tab_to(page: Page, wanted: str, *, most: int = 90) -> None:
    """On with Tab until the focus is on what matches; every stop on the way can be seen to have it."""
    for _ in range(most):
        await page.keyboard.press("Tab")
        if await page.evaluate("wanted => document.activeElement?.matches(wanted)", wanted):
            ring = await page.evaluate(
                "() => { const one = document.activeElement; const near = getComputedStyle(one.closest('label.choice') ?? one);"
                " const own = getComputedStyle(one); return own.outlineStyle !== 'none' || near.outlineStyle !== 'none'"
                " || own.boxShadow !== 'none' || near.boxShadow !== 'none'; }"
            )
            assert ring, ("the focus cannot be seen", wanted)
            return
    raise AssertionError(f"not reached with Tab at {page.url}: {wanted}")


async def key(hands: Hands, wanted: str, pressed: str) -> None:
    await tab_to(hands.page, wanted)
    async with hands.page.expect_navigation(wait_until="load"):
        await hands.page.keyboard.press(pressed)
    await hands.look()


async def test_an_entry_and_an_acceptance_with_the_keyboard_alone(world: World, browser: Browser) -> None:
    house_of = await world.house("Lotus House", 1)
    way = Way("en", 1280, scripts=True)
    async with at_work(world, browser, way, world.sender, StaffRole.SENDER) as worker:
        page = worker.page
        await worker.open("/intake/pages/handoffs")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.matches('a.skip')"), "the first stop leads to the content"
        await page.keyboard.press("Enter")
        await key(worker, 'a[href="/intake/pages/entries/new"]', "Enter")
        await tab_to(page, 'input[name="channel"]')
        await page.keyboard.press("Space")
        await tab_to(page, 'select[name="area"]')
        await page.keyboard.press("ArrowDown")
        await key(worker, 'form[action$="/entries/new"] button', "Enter")
        await tab_to(page, 'input[name="age_years"]')
        await page.keyboard.type("24")
        await tab_to(page, 'input[name="age_band"]')
        await tab_to(page, 'input[name="sex"]')
        await page.keyboard.press("Space")
        await tab_to(page, 'input[name="languages"][value="khm"]')
        await page.keyboard.press("Space")
        await tab_to(page, 'input[name="needs"]')
        await key(worker, 'form[action$="/needs"] button', "Space")
        await key(worker, 'form[action$="/check"] button', "Enter")
        entry = worker.path.rsplit("/", 1)[1]
    written = await world.sender.partner.get(f"/intake/entries/{entry}")
    assert (written["person"]["age_years"], written["person"]["languages"]) == (24, ["khm"])
    await world.handoff(await world.ready_person())
    offer = (await world.offer(house_of))["id"]
    async with at_work(world, browser, way, house_of, StaffRole.RECEIVER) as house:
        await house.open(line.INBOX)
        await key(house, 'form[action$="/accept"] button', "Enter")
        assert house.path.endswith(offer)
        await key(house, 'form[action$="/packet"] button', "Space")
        await house.page.wait_for_url(re.compile("/intake/pages/packets/"))
        await key(house, 'a[href$="/whereabouts"]', "Enter")
        await tab_to(house.page, 'textarea[name="meeting_point"]')
        await house.page.keyboard.type("the clock at the market")
        await key(house, 'form[action$="/whereabouts"] button', "Enter")
        assert "the clock" in await house.page.locator("main").inner_text()
