"""What every page weighs on the line, in the script that weighs most."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser

from tests.browser.tour import tour
from tests.browser.weights import weights
from tests.builders import World

pytestmark = [pytest.mark.browser, pytest.mark.long, pytest.mark.timeout(300)]
# Bytes as transferred, with their heads: for who was never here, with the font of the script; and for every page after.
FIRST_MOST, LATER_MOST = 90_000, 10_000


async def test_no_page_is_too_heavy_for_a_poor_line(town: World, browser: Browser) -> None:
    heavy: dict[str, tuple[int, int]] = {}
    async with tour(town) as found:
        for who in dict.fromkeys(stop.who for stop in found.stops):
            async for stop, first, later in weights(found, browser, who, "km"):
                assert first > 25_000, (stop.name, "not everything was counted: a font alone is more")
                assert 500 < later < first, stop.name
                if first > FIRST_MOST or later > LATER_MOST:
                    heavy[stop.name] = (first, later)
    assert heavy == {}
