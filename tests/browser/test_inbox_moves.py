"""A house's inbox moves by itself, and says politely what is new."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from schemas.rights import StaffRole
from tests.browser.visiting import at_browser, signed_in
from tests.builders import World

pytestmark = pytest.mark.browser
INBOX = "/referral/pages/inbox"


async def test_the_inbox_shows_a_new_request_by_itself(world: World, browser: Browser) -> None:
    house = await world.house("Lotus House", 4)
    other = await world.house("Bamboo House", 1, area="KH-2")
    cookies = [await signed_in(world.made, one, StaffRole.RECEIVER) for one in (house, other)]
    async with (
        at_browser(browser, world.made, cookies[0]) as page,
        at_browser(browser, world.made, cookies[1]) as elsewhere,
    ):
        await page.goto(INBOX)
        await elsewhere.goto(INBOX)
        await expect(page.locator("#news")).to_have_text("")
        await world.handoff(await world.ready_person())
        await expect(page.locator("#news")).to_have_text("1 new request", timeout=15_000)
        await expect(page.locator("h1")).to_have_text("1 request waits for your answer")
        await page.get_by_role("link", name="Decline").focus()
        await world.handoff(await world.ready_person())
        await expect(page.locator("h1")).to_have_text("2 requests wait for your answer", timeout=15_000)
        await expect(page.locator("#news")).to_have_text("1 new request")  # the other one is not new any more
        assert await page.evaluate("document.activeElement.textContent.trim()") == "Decline"  # the place is kept
        await expect(elsewhere.locator("h1")).to_have_text("Nothing waits for your answer")
        await page.locator("article").first.get_by_role("button", name="Accept").click()
        await expect(page.locator(".done")).to_contain_text("Accepted")


async def test_what_another_of_the_house_has_accepted_goes_away(world: World, browser: Browser) -> None:
    house = await world.house("Lotus House", 4)
    await world.handoff(await world.ready_person())
    offer = await world.offer(house)
    cookie = await signed_in(world.made, house, StaffRole.RECEIVER)
    async with at_browser(browser, world.made, cookie) as page:
        await page.goto(INBOX)
        await expect(page.locator("h1")).to_have_text("1 request waits for your answer")
        await expect(page.locator(".needs")).to_contain_text("no special needs written down")
        await house.partner.post(f"/referral/offers/{offer['id']}/accept")
        await expect(page.locator("h1")).to_have_text("Nothing waits for your answer", timeout=15_000)
        await expect(page.locator("#news")).to_have_text("")
