"""A line that breaks: what was done waits in the browser, is shown honestly, is sent once, and holds nobody's data."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, expect

from schemas.rights import StaffRole
from services.cli.installation import Installation
from spean.web.visitor import COOKIE
from tests.browser.visiting import signed_in
from tests.builders import Organisation, World, eventually


@asynccontextmanager
async def at_browser(
    browser: Browser, made: Installation, cookie: str, *, javascript: bool = True
) -> AsyncIterator[Page]:
    """A browser of its own, signed in. A broken line is no fault here; a breach of the security policy is."""
    context = await browser.new_context(locale="en", java_script_enabled=javascript, base_url=made.url)
    secure = made.url.replace("http:", "https:")  # browsers count loopback as secure; the tool wants to see https
    kept = {"name": COOKIE, "value": cookie, "url": secure, "httpOnly": True, "secure": True, "sameSite": "Lax"}
    await context.add_cookies([kept])
    page = await context.new_page()
    breaches: list[str] = []
    page.on("console", lambda said: breaches.append(said.text) if "Content Security Policy" in said.text else None)
    page.on("pageerror", lambda error: breaches.append(str(error)))
    try:
        yield page
    finally:
        await context.close()
    assert breaches == []


pytestmark = pytest.mark.browser
INBOX = "/referral/pages/inbox"


async def house_with_offer(world: World) -> tuple[Organisation, str, str]:
    """The house, the offer's id and a cookie of somebody there."""
    house = await world.house("House")
    await world.handoff(await world.ready_person())
    offer = await world.offer(house)
    return house, offer["id"], await signed_in(world.made, house, StaffRole.RECEIVER)


async def at_inbox(page: Page) -> None:
    """The inbox, once the browser keeps what it needs without a line."""
    await page.goto(INBOX)
    await page.evaluate("navigator.serviceWorker.ready")
    await expect(page.locator("article.offer")).to_be_visible()


async def kept(page: Page) -> str:
    return str(await page.evaluate("localStorage.getItem('spean-queue')"))


async def test_an_acceptance_without_a_line_is_sent_when_it_is_back(world: World, browser: Browser) -> None:
    house, offer, cookie = await house_with_offer(world)
    async with at_browser(browser, world.made, cookie) as page:
        await at_inbox(page)
        await page.context.set_offline(True)
        await page.get_by_role("button", name="Accept").click()
        await page.wait_for_url("**/pages/offline")
        await expect(page.locator("#queue")).to_contain_text("waits for a line")
        [waits] = json.loads(await kept(page))
        assert set(waits) == {"path", "action", "at", "person", "key", "fields"}
        assert set(waits["fields"]) <= {"key", "version"}  # neither a token nor anything about a person
        assert (await house.partner.get(f"/referral/offers/{offer}"))["state"] == "seen"
        await page.context.set_offline(False)
        await expect(page.locator("#queue")).to_contain_text("Nothing waits")
        assert (await house.partner.get(f"/referral/offers/{offer}"))["state"] == "accepted"


async def test_a_late_acceptance_is_refused_and_says_so(world: World, browser: Browser) -> None:
    house, offer, cookie = await house_with_offer(world)
    async with at_browser(browser, world.made, cookie) as page:
        await at_inbox(page)
        await page.context.set_offline(True)
        await page.get_by_role("button", name="Accept").click()
        await page.wait_for_url("**/pages/offline")
        await house.partner.post(f"/referral/offers/{offer}/decline", {"reason": "no_capacity"})
        await page.context.set_offline(False)
        await expect(page.locator("#queue")).to_contain_text("was not taken: This request is no longer available")
        await page.get_by_role("button", name="Delete").click()
        await expect(page.locator("#queue")).to_contain_text("Nothing waits")
        assert json.loads(await kept(page)) == []


async def test_what_waits_is_sent_for_nobody_else(world: World, browser: Browser) -> None:
    house, offer, cookie = await house_with_offer(world)
    other = await signed_in(world.made, house, StaffRole.RECEIVER)
    async with at_browser(browser, world.made, cookie) as page:
        await at_inbox(page)
        await page.context.set_offline(True)
        await page.get_by_role("button", name="Accept").click()
        await page.wait_for_url("**/pages/offline")
        [mine] = await page.context.cookies()
        await page.context.add_cookies([{**mine, "value": other}])
        await page.context.set_offline(False)
        await expect(page.locator("#queue")).to_contain_text("belongs to somebody else")
        assert (await house.partner.get(f"/referral/offers/{offer}"))["state"] == "seen"
        await page.context.add_cookies([mine])
        await page.goto(INBOX)

        async def accepted() -> bool:
            return (await house.partner.get(f"/referral/offers/{offer}"))["state"] == "accepted"

        await eventually(accepted)


async def test_no_page_with_data_is_kept(world: World, browser: Browser) -> None:
    _, _, cookie = await house_with_offer(world)
    async with at_browser(browser, world.made, cookie) as page:
        await at_inbox(page)
        addresses = await page.evaluate(
            "caches.keys().then(names => Promise.all(names.map(name => caches.open(name).then(one => one.keys()))))"
            ".then(all => all.flat().map(request => new URL(request.url).pathname))"
        )
        assert addresses
        assert all(one.startswith("/static/") or one == "/pages/offline" for one in addresses)
        await page.context.set_offline(True)
        await page.goto("/referral/pages/arrivals")
        await expect(page.get_by_role("heading", level=1)).to_have_text("There is no line to the service now")


async def test_with_a_line_and_without_javascript_the_same_is_done(world: World, browser: Browser) -> None:
    house, offer, cookie = await house_with_offer(world)
    async with at_browser(browser, world.made, cookie, javascript=False) as page:
        await page.goto(INBOX)
        await page.get_by_role("button", name="Accept").click()
        await expect(page.get_by_role("status")).to_contain_text("Accepted")
    assert (await house.partner.get(f"/referral/offers/{offer}"))["state"] == "accepted"
