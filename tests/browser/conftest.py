"""A real browser: Debian's Chromium, driven by Playwright. Skipped loudly where there is none; required in CI."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright, expect

from schemas.rights import StaffRole
from services.cli.installation import Installation
from spean.settings import Settings
from tests.browser.tour import CALM
from tests.browser.visiting import Walker, walker
from tests.builders import World, network_in
from tests.conftest import required

# Chromium looks for its makers' hosts otherwise; this machine's tests talk to themselves only.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
# What a page has to become it may become late: other tests run beside these.
expect.set_options(timeout=15_000)


def chromium() -> str | None:
    """Where the browser is; None where there is none."""
    return os.environ.get("SPEAN_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@asynccontextmanager
async def a_browser() -> AsyncIterator[Browser]:
    """A running Chromium. Skips, or fails where one is required."""
    path = chromium()
    if path is None:
        reason = "no Chromium is installed: `make deps` adds it (Debian's package chromium)"
        if required("browser"):
            pytest.fail(f"a browser is required here: {reason}")
        pytest.skip(f"NOT TESTED IN A BROWSER: {reason}")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield started
        finally:
            await started.close()


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with a_browser() as started:
        yield started


@pytest.fixture
async def administrator(world: World) -> AsyncIterator[Walker]:
    """Somebody who administers, at the pages without a browser."""
    async with walker(world, world.coordinator, StaffRole.ADMINISTRATOR) as found:
        yield found


@pytest.fixture
async def town(installed: tuple[Installation, Settings]) -> AsyncIterator[World]:
    """A network of its own in which nothing runs out while it is looked at."""
    made, settings = installed
    async with network_in(made, settings, windows=CALM) as found:
        yield found
