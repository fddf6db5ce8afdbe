"""Axe finds nothing on any page, in each language, on a phone and on a desk; nothing is wider than a narrow phone."""

from __future__ import annotations

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page

from spean.web.words import languages
from tests.browser.tour import tour
from tests.builders import World

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
# WCAG 2.2 AA asks for 24 px; people with cold or wet hands on an old phone need more (design: 48).
TARGET_PX = 48
# Of the texts and of the letters: what is too wide is too wide in Khmer first.
LONGEST = "km"
_SMALL = """least => [...document.querySelectorAll(
        'a.button, button, input:not([type=hidden]), select, textarea, summary, nav a, header a')]
    .map(one => one.closest('label.choice') ?? one)
    .filter(one => one.checkVisibility() && !one.classList.contains('skip') && !one.classList.contains('brand'))
    .filter(one => one.getBoundingClientRect().height < least).map(one => one.outerHTML.slice(0, 120))"""
_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def faults(page: Page, *, narrow: bool) -> list[str]:
    """What is wrong with the page that is shown, in words."""
    found = await Axe().run(page)
    said = [f"{one['id']}: {node['html'][:160]}" for one in found.response["violations"] for node in one["nodes"]]
    said += [f"smaller than {TARGET_PX} px: {one}" for one in await page.evaluate(_SMALL, TARGET_PX)]
    if narrow and await page.evaluate(_WIDE) > 0:
        said.append("wider than the screen")
    return said


@pytest.mark.parametrize(
    "language", [pytest.param(one, marks=[] if one == LONGEST else pytest.mark.long) for one in languages()]
)
async def test_every_page(town: World, browser: Browser, language: str) -> None:
    wrong: dict[str, list[str]] = {}
    async with tour(town) as found:
        for who in {stop.who for stop in found.stops}:
            async with found.at(browser, who, width=320, language=language) as page:
                for stop in (one for one in found.stops if one.who == who):
                    await stop.visit(page)
                    if said := await faults(page, narrow=True):
                        wrong[stop.name] = said
    assert wrong == {}


@pytest.mark.long
async def test_at_a_desk_and_at_twice_the_size(town: World, browser: Browser) -> None:
    wrong: dict[str, list[str]] = {}
    desk, twice = {"width": 1280, "height": 740}, {"width": 640, "height": 370}  # the second is the first at 200 %
    async with tour(town) as found:
        for who in {stop.who for stop in found.stops}:
            async with found.at(browser, who, width=desk["width"]) as page:
                for stop in (one for one in found.stops if one.who == who):
                    await page.set_viewport_size(desk)
                    await stop.visit(page)
                    said = await faults(page, narrow=True)
                    await page.set_viewport_size(twice)
                    said += ["wider than the screen at 200 %"] if await page.evaluate(_WIDE) > 0 else []
                    if said:
                        wrong[stop.name] = said
    assert wrong == {}


_MARKS = """() => [...document.querySelectorAll('a.button, button, .tag, .needs li, .done, .warn, .bad, .due, input, select')]
    .filter(one => one.checkVisibility() && one.type !== 'hidden' && one.type !== 'radio' && one.type !== 'checkbox')
    .filter(one => !parseFloat(getComputedStyle(one).borderTopWidth)).map(one => one.outerHTML.slice(0, 120))"""
_MOVES = """() => [...document.querySelectorAll('body *')].filter(one => one.checkVisibility()).map(one => [one, getComputedStyle(one)])
    .filter(([_, style]) => style.animationName !== 'none' || parseFloat(style.transitionDuration))
    .map(([one, _]) => one.outerHTML.slice(0, 120))"""


@pytest.mark.long
async def test_with_colours_of_ones_own_with_large_letters_and_without_motion(town: World, browser: Browser) -> None:
    """Colours that somebody's system forces take away every background: what a state or a button is has an edge then.
    Letters of twice the size need no scrolling sideways; nothing moves for whoever asked for that."""
    wrong: dict[str, list[str]] = {}
    async with tour(town) as found:
        for who in {stop.who for stop in found.stops}:
            async with found.at(browser, who, width=1280) as page:
                await page.emulate_media(forced_colors="active", reduced_motion="reduce")
                cdp = await page.context.new_cdp_session(page)
                await cdp.send("Page.setFontSizes", {"fontSizes": {"standard": 32, "fixed": 26}})
                for stop in (one for one in found.stops if one.who == who):
                    await stop.visit(page)
                    said = [f"no edge: {one}" for one in await page.evaluate(_MARKS)]
                    said += [f"moves: {one}" for one in await page.evaluate(_MOVES)]
                    said += ["wider than the screen"] if await page.evaluate(_WIDE) > 0 else []
                    if said:
                        wrong[stop.name] = said
                size = await page.evaluate("getComputedStyle(document.body).fontSize")
                assert size == "32px", "the letters are twice as large"
    assert wrong == {}
