"""Somebody's hands at a browser: clicks, choices and typing, counted. They find their way by what is the same in every
language: where links lead, where forms are sent, how answers are called."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.async_api import Browser, Locator, Page

from schemas.rights import StaffRole
from tests.browser.visiting import at_browser, signed_in
from tests.builders import Organisation, World

_WIDER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Way:
    """How somebody looks at the pages."""

    language: str
    width: int
    scripts: bool


@dataclass
class Hands:
    """`seen`: the paths of the pages that were opened, in order."""

    page: Page
    language: str = "en"
    clicks: int = 0
    typed: int = 0
    seen: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        return urlsplit(self.page.url).path

    def form(self, ending: str) -> Locator:
        """The form that is sent to an address with this end."""
        return self.page.locator(f'form[action$="{ending}"]')

    def button(self, ending: str, name: str = "", value: str = "") -> Locator:
        """The first button of that form; `name` and `value` where it has several."""
        which = f'button[name="{name}"][value="{value}"]' if name else "button"
        return self.form(ending).locator(which).first

    def link(self, ending: str) -> Locator:
        """The first link that leads to an address with this end and can be seen."""
        return self.page.locator(f'a[href$="{ending}"]:not(.lang):visible').first

    async def open(self, address: str) -> None:
        """By a link that somebody was given, or by one's own list of pages: it counts as a click."""
        self.clicks += 1
        reply = await self.page.goto(address)
        assert reply is not None
        assert reply.status < 400, (address, reply.status)
        await self.look()

    async def follow(self, ending: str) -> None:
        await self._and_wait(self.link(ending))

    async def press(self, ending: str, name: str = "", value: str = "") -> None:
        await self._and_wait(self.button(ending, name, value))

    async def tick(self, name: str, *values: str) -> None:
        """Radio buttons and boxes, by their words, as a finger would. What is ticked already costs nothing."""
        for value in values:
            box = self.page.locator(f'input[name="{name}"][value="{value}"]')
            if not await box.is_checked():
                self.clicks += 1
                await self.page.locator("label.choice").filter(has=box).click()

    async def choose(self, name: str, value: str) -> None:
        """From a list that opens: one click for the list, one for the line. What is chosen already costs nothing."""
        chosen = self.page.locator(f'select[name="{name}"]')
        if await chosen.input_value() != value:
            self.clicks += 2
            await chosen.select_option(value)

    async def write(self, name: str, text: str) -> None:
        self.clicks += 1
        self.typed += 1
        await self.page.locator(f'[name="{name}"]:visible').fill(text)

    async def _and_wait(self, what: Locator) -> None:
        self.clicks += 1
        async with self.page.expect_navigation(wait_until="load") as led_to:
            await what.click()
        reply = await led_to.value
        assert reply is None or reply.status < 400, (self.page.url, reply.status)
        await self.look()

    async def look(self) -> None:
        """What holds for every page that somebody sees on the way."""
        self.seen.append(self.path)
        spoken = await self.page.locator("html").get_attribute("lang")
        assert spoken == self.language, (self.path, spoken)
        assert await self.page.locator("h1").count() == 1, self.path
        assert await self.page.locator("#summary").count() == 0, (self.path, "the form was refused")
        assert await self.page.evaluate(_WIDER) <= 0, (self.path, "wider than the screen")


@asynccontextmanager
async def at_work(
    world: World, browser: Browser, way: Way, organisation: Organisation, role: StaffRole
) -> AsyncIterator[Hands]:
    """Somebody of this organisation with an open session, at a browser of their own."""
    cookie = await signed_in(world.made, organisation, role, language=way.language)
    async with at_browser(
        browser, world.made, cookie, width=way.width, language=way.language, javascript=way.scripts
    ) as page:
        yield Hands(page, way.language)
