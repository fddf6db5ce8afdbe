"""`make first-time`: what it takes somebody new, from `make up` to an accepted referral, by clicking only: counted, printed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from tests.browser import line
from tests.browser.conftest import FLAGS, chromium
from tests.browser.hands import Hands

_UP_S = 180
_LINK = re.compile(r"^\s+([a-z-]+)\s+(http\S+/referral/pages/link/\S+)$")


async def up(folder: Path) -> tuple[Process, dict[str, str]]:
    """A new installation with the sample network, as `make up` starts it. Returns it and its printed links by name."""
    own = {"SPEAN_DATA": str(folder / "data"), "SPEAN_KEYS": str(folder / "keys"), "SPEAN_PORT": "0"}
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.cli", "up", stdout=PIPE, stderr=STDOUT, env={**os.environ, **own}
    )
    links: dict[str, str] = {}
    assert started.stdout is not None
    async with asyncio.timeout(_UP_S):
        async for said in started.stdout:
            if found := _LINK.match(said.decode()):
                links[found.group(1)] = found.group(2)
            if b"Ctrl-C" in said:
                return started, links
    raise SystemExit(f"it did not come up: {started.returncode}")


@asynccontextmanager
async def hands(browser: Browser, link: str) -> AsyncIterator[Hands]:
    """Somebody with a telephone opens the link that the terminal shows, and signs in."""
    context = await browser.new_context(viewport={"width": 360, "height": 740}, locale="en")
    found = Hands(await context.new_page())
    await found.open(link)
    await found.press(link.rsplit("/", 1)[1])
    yield found
    await context.close()


@dataclass
class Table:
    """What was done, with its seconds, clicks, fields that were typed, and pages that were seen."""

    rows: list[tuple[str, float, int, int, int]] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)

    def add(self, what: str, one: Hands | None = None) -> None:
        """What was done since the row before, by one person."""
        now = time.monotonic()
        self.rows.append((what, now - self.since, *((one.clicks, one.typed, len(one.seen)) if one else (0, 0, 0))))
        if one is not None:
            one.clicks, one.typed = 0, 0
            one.seen.clear()
        self.since = now

    def __str__(self) -> str:
        together = ("together", *(sum(column) for column in list(zip(*self.rows, strict=True))[1:]))
        lines = [f"{'':42}{'seconds':>8}{'clicks':>8}{'typed':>8}{'pages':>8}"]
        lines += [f"{a:42}{b:>8.1f}{c:>8}{d:>8}{e:>8}" for a, b, c, d, e in (*self.rows, together)]
        return "\n".join(lines)


async def walk(browser: Browser, links: dict[str, str], table: Table) -> None:
    async with hands(browser, links["border-post"]) as worker:
        table.add("border post: signs in", worker)
        await line.meets_somebody(worker)
        table.add("border post: somebody was met", worker)
        await line.talks_consent_through(worker)
        table.add("border post: consent is talked through", worker)
        handoff = await line.asks_for_a_bed(worker)
        table.add("border post: the network is asked", worker)
        async with hands(browser, links["shelter-women"]) as house:
            table.add("house: signs in", house)
            await line.waits_for_a_request(house, moves=True)
            await line.accepts(house)
            table.add("house: accepts", house)
        await line.sees(worker, handoff, ".code-shown")
        table.add("border post: sees it, with the code", worker)


async def main(folder: Path) -> None:
    table = Table()
    started, links = await up(folder)
    table.add("make up")
    try:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
            await walk(browser, links, table)
            await browser.close()
    finally:
        started.send_signal(signal.SIGINT)
        await started.communicate()
    print(table)  # noqa: T201 (a program of the command line)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="spean-first-") as made_in:
        Path(made_in).chmod(0o755)  # the database's account has to enter it
        asyncio.run(main(Path(made_in)))
