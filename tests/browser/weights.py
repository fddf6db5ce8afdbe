"""`make weights`: how many bytes each page of the tour is on the line, in a real browser, as they are transferred.

First: somebody who was never here before, everything with the page. Later: the page itself, everything else kept.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

from services.cli import installation
from spean import embedded
from spean.web.words import languages
from tests.browser.conftest import FLAGS, chromium
from tests.browser.tour import CALM, Stop, Tour, tour
from tests.builders import network_in, settings_for

# Bytes with their heads: with the font of the page's script; and every page after that.
FIRST_MOST, LATER_MOST = 90_000, 10_000


@asynccontextmanager
async def counted(page: Page) -> AsyncIterator[list[int]]:
    """Bytes of each answer to this page, with its head, as they came over the line; nothing for what the browser kept."""
    cdp = await page.context.new_cdp_session(page)
    await cdp.send("Network.enable")
    found: list[int] = []
    cdp.on("Network.loadingFinished", lambda event: found.append(int(event["encodedDataLength"])))
    yield found
    await cdp.detach()


async def weight(found: Tour, browser: Browser, stop: Stop, language: str) -> tuple[int, int]:
    """First and later. What a page fetches again by itself while it is open is no part of it."""
    async with found.at(browser, stop.who, language=language) as page, counted(page) as bytes_:
        await page.goto(stop.path, wait_until="load")
        await page.evaluate("document.fonts.ready")
        first = sum(bytes_)
        bytes_.clear()
        await page.goto(stop.path, wait_until="load")
        return first, sum(bytes_)


async def weights(found: Tour, browser: Browser) -> dict[tuple[str, str], tuple[int, int]]:
    """By stop and language."""
    return {
        (stop.name, language): await weight(found, browser, stop, language)
        for stop in found.stops
        for language in languages()
    }


async def main(work: Path) -> None:
    running = await embedded.start(work / "pg", password_file=work / "pg-password", fast_unsafe=True)
    try:
        settings = settings_for(work / "main", running.server.dsn("postgres"))
        async with (
            installation.installed(settings) as made, installation.running(made),
            network_in(made, settings, windows=CALM) as world, tour(world) as found, async_playwright() as playwright,
        ):  # fmt: skip
            browser = await playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
            table = await weights(found, browser)
            await browser.close()
    finally:
        await running.stop()
    print(f"{'':30}" + "".join(f"{one + ' first':>12}{one + ' later':>12}" for one in languages()))  # noqa: T201
    for stop in found.stops:
        print(  # noqa: T201 (a program of the command line)
            f"{stop.name:30}" + "".join(f"{n:>12,}" for one in languages() for n in table[stop.name, one])
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="spean-") as made_in:
        Path(made_in).chmod(0o755)  # the database's account has to enter it
        asyncio.run(main(Path(made_in)))
