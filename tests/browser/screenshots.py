"""`make screenshots`: every page of the tour, in every language, on a phone and at a desk, as pictures to look at."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright

from services.cli import installation
from spean import embedded
from spean.web.words import languages
from tests.browser.conftest import FLAGS, chromium
from tests.browser.tour import CALM, Tour, tour
from tests.builders import network_in, settings_for

WIDTHS = (360, 1280)


async def take(folder: Path, work: Path) -> None:
    """Writes NAME-LANGUAGE-WIDTH.png for every stop of the tour into `folder`. `work`: for the databases meanwhile."""
    running = await embedded.start(work / "pg", password_file=work / "pg-password", fast_unsafe=True)
    try:
        settings = settings_for(work / "main", running.server.dsn("postgres"))
        async with (
            installation.installed(settings) as made, installation.running(made),
            network_in(made, settings, windows=CALM) as world, tour(world) as found,
        ):  # fmt: skip
            await _all(found, folder)
    finally:
        await running.stop()


async def _all(found: Tour, folder: Path) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        for who in dict.fromkeys(stop.who for stop in found.stops):
            for language in languages():
                for width in WIDTHS:
                    async with found.at(browser, who, width=width, language=language) as page:
                        for stop in (one for one in found.stops if one.who == who):
                            await stop.visit(page)
                            await page.screenshot(path=folder / f"{stop.name}-{language}-{width}.png", full_page=True)
        await browser.close()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="spean-") as made_in:
        Path(made_in).chmod(0o755)  # the database's account has to enter it
        asyncio.run(take(target, Path(made_in)))
    print(f"{len(list(target.glob('*.png')))} pictures in {target}")  # noqa: T201 (a program of the command line)
