"""What only a browser can tell: what it keeps of us, what leaving does to it, and that nothing typed runs in it."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import Browser, Page, Route

from schemas.rights import StaffRole
from services.referral.sessions.pages import ELSEWHERE
from spean.web.visitor import COOKIE
from tests.browser.conftest import browser as browser  # noqa: PLC0414 (a fixture)
from tests.browser.visiting import at_browser, signed_in
from tests.integration import staff
from tests.security.page_town import Town

pytestmark = pytest.mark.browser
NAME = "Zqsok Zqdara"
# Everything that a browser keeps for an origin, as one text.
_KEPT = """async () => JSON.stringify([
  Object.entries(localStorage), Object.entries(sessionStorage), document.cookie, document.title, location.href, history.state,
  await indexedDB.databases(), await Promise.all((await caches.keys()).map(async (name) => {
    const cache = await caches.open(name);
    return Promise.all((await cache.keys()).map(async (one) => [one.url, await (await cache.match(one)).text()]));
  })),
])"""
_LEAVE = """() => {
  document.getElementById("leave").click();
  return [document.documentElement.childElementCount, document.title];
}"""
PAYLOADS = ('"><img src=x onerror="window.ran=1">', "<script>window.ran=1</script>", "'><svg/onload=window.ran=1>")


async def _elsewhere(route: Route) -> None:
    await route.fulfill(body="<title>Elsewhere</title><h1>Elsewhere</h1>", content_type="text/html")


async def test_nothing_personal_is_kept_and_leaving_wipes_all(browser: Browser, town: Town) -> None:
    """Blank at once, before anything has answered; then elsewhere; Back shows nothing; the session is over."""
    world = town.world
    entry = await world.ready_person(name=NAME)
    cookie = await signed_in(world.made, world.sender, StaffRole.SENDER)

    async with at_browser(browser, world.made, cookie) as page:
        await page.context.route(f"{ELSEWHERE}**", _elsewhere)
        await page.goto("/intake/pages/handoffs")
        await page.goto(f"/intake/pages/entries/{entry}")
        assert NAME in await page.inner_text("main")
        await page.evaluate("navigator.serviceWorker.ready.then(() => 1)")
        kept = await page.evaluate(_KEPT)
        assert NAME.split(maxsplit=1)[0] not in kept
        assert cookie not in kept
        assert json.loads(kept)[2] == ""
        await page.evaluate("localStorage.setItem('proof', '1')")
        # In the same moment as the click, before anything can have answered.
        assert await page.evaluate(_LEAVE) == [0, ""]
        await page.wait_for_url(ELSEWHERE)
        assert not await staff.alive(staff.desk_of(world.made).db, cookie)
        assert not [one for one in await page.context.cookies(world.made.url) if one["name"] == COOKIE]
        await page.go_back()
        assert NAME not in await page.content()
        assert "/entries/" not in page.url
        await page.goto("/referral/pages/signed-out")
        assert "proof" not in await page.evaluate(_KEPT)


async def test_without_scripts_leaving_does_the_same(browser: Browser, town: Town) -> None:
    world = town.world
    cookie = await signed_in(world.made, world.sender, StaffRole.SENDER)
    entry = await world.ready_person(name=NAME)
    async with at_browser(browser, world.made, cookie, javascript=False) as page:
        await page.context.route(f"{ELSEWHERE}**", _elsewhere)
        await page.goto(f"/intake/pages/entries/{entry}")
        await page.click("#leave")
        await page.wait_for_url(ELSEWHERE)
        assert not await staff.alive(staff.desk_of(world.made).db, cookie)
        await page.go_back()
        assert NAME not in await page.content()


async def test_no_page_shows_in_a_frame(browser: Browser, town: Town) -> None:
    """Of another site, nor of our own."""
    world = town.world
    cookie = await signed_in(world.made, world.sender, StaffRole.SENDER)
    context = await browser.new_context()
    try:
        page = await context.new_page()
        await page.route("http://evil.example/", lambda route: route.fulfill(
            content_type="text/html",
            body=f'<iframe src="{world.made.url}/referral/pages/sign-in"></iframe><iframe src="{world.made.url}/nothing"></iframe>',
        ))  # fmt: skip
        await page.goto("http://evil.example/")
        for frame in page.frames[1:]:
            await frame.wait_for_load_state()
            assert "Sign in" not in await frame.content()
            assert "password" not in await frame.content()
    finally:
        await context.close()
    assert await staff.alive(staff.desk_of(world.made).db, cookie)


async def test_a_script_that_somebody_typed_does_not_run(browser: Browser, town: Town) -> None:
    """A name and notes that are scripts, on the pages of the sender and of the house; `at_browser` fails for what the page's
    policy had to stop."""
    world = town.world
    sender = await signed_in(world.made, world.sender, StaffRole.SENDER)
    entry = await world.ready_person(name=PAYLOADS[0], health_notes=PAYLOADS[1], account=PAYLOADS[2])
    async with at_browser(browser, world.made, sender) as page:
        for path in ("", "/correct", "/handoff"):
            await page.goto(f"/intake/pages/entries/{entry}{path}")
            await _nothing_ran(page)
            assert "window.ran" in await page.content()


async def _nothing_ran(page: Page) -> None:
    assert await page.evaluate("window.ran") is None
    assert await page.locator("img[src=x], script:not([src]), svg[onload]").count() == 0
