"""`make weights`: how many bytes each page of the tour is on the line, in a real browser, as they are transferred.

First: somebody who was never here before, everything with the page. Later: the page itself, everything else kept.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, async_playwright

from services.cli import installation
from spean import embedded
from spean.web.words import languages
from tests.browser.conftest import FLAGS, chromium
from tests.browser.tour import CALM, Stop, Tour, tour
from tests.builders import eventually, network_in, settings_for

STILL_S = 3.0


@dataclass
class Line:
    """What is on its way to a browser, but for streams, and what has come."""

    bytes: int = 0
    waits: set[str] = field(default_factory=set)
    moved: float = 0.0

    def sent(self, event: dict[str, Any]) -> None:
        self.moved = time.monotonic()
        if "/live" not in event["request"]["url"]:
            self.waits.add(event["requestId"])

    def came(self, event: dict[str, Any]) -> None:
        self.bytes += int(event["encodedDataLength"])
        self.over(event)

    def over(self, event: dict[str, Any]) -> None:
        self.moved = time.monotonic()
        self.waits.discard(event["requestId"])

    async def quiet(self) -> bool:
        """Nothing waits; or nothing has moved for long (what the page before asked for is never told to have ended)."""
        return not self.waits or time.monotonic() - self.moved > STILL_S


async def weights(
    found: Tour, browser: Browser, who: str | None, language: str
) -> AsyncIterator[tuple[Stop, int, int]]:
    """First and later of every stop of this visitor. A later page brings itself alone: a browser keeps what is named by its
    content. Without the service worker, so that what it fetches ahead is counted with nobody's page."""
    async with found.at(browser, who, language=language) as page:
        cdp = await page.context.new_cdp_session(page)
        await cdp.send("Network.enable")
        await cdp.send("Network.setBypassServiceWorker", {"bypass": True})
        line = Line()
        cdp.on("Network.requestWillBeSent", line.sent)
        cdp.on("Network.loadingFinished", line.came)
        for name in ("loadingFailed", "requestServedFromCache"):
            cdp.on(f"Network.{name}", line.over)
        for stop in (one for one in found.stops if one.who == who):
            await cdp.send("Network.clearBrowserCache")
            both: list[int] = []
            for _ in range(2):
                line.bytes = 0
                line.waits.clear()  # what the page before no longer waits for
                await page.goto(stop.path, wait_until="load")
                await page.evaluate("document.fonts.ready")
                await eventually(line.quiet)
                both.append(line.bytes)
            yield stop, both[0], both[1]


async def main(work: Path) -> None:
    running = await embedded.start(work / "pg", password_file=work / "pg-password", fast_unsafe=True)
    try:
        settings = settings_for(work / "main", running.server.dsn("postgres"))
        async with (
            installation.installed(settings) as made, installation.running(made),
            network_in(made, settings, windows=CALM) as world, tour(world) as found, async_playwright() as playwright,
        ):  # fmt: skip
            browser = await playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
            print(f"{'':30}{'':4}{'first':>10}{'later':>10}")  # noqa: T201 (a program of the command line)
            for who in dict.fromkeys(stop.who for stop in found.stops):
                for language in languages():
                    async for stop, first, later in weights(found, browser, who, language):
                        print(f"{stop.name:30}{language:4}{first:>10,}{later:>10,}", flush=True)  # noqa: T201
            await browser.close()
    finally:
        await running.stop()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="spean-") as made_in:
        Path(made_in).chmod(0o755)  # the database's account has to enter it
        asyncio.run(main(Path(made_in)))
