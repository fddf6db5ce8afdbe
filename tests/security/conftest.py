"""One stage for every test of this folder: a network in which each operation has something to act on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.cli.installation import Installation
from spean.settings import Settings
from tests.builders import network_in
from tests.security.operations import Stage, staged
from tests.security.page_forms import Found, forms_of
from tests.security.page_town import Town, settle
from tests.security.state import state_of

# Long enough that no offer of the stage runs out while it is looked at.
SLOW = {"answer_s": {"immediate": 3600, "emergency": 3600, "urgent": 3600, "normal": 3600}}


@pytest.fixture(scope="package")
async def stage(installed: tuple[Installation, Settings]) -> AsyncIterator[Stage]:
    made, settings = installed
    async with network_in(made, settings, windows=SLOW) as world:
        yield await staged(world)


@pytest.fixture(scope="package")
async def town(installed: tuple[Installation, Settings]) -> AsyncIterator[Town]:
    """One town for every test of pages."""
    made, settings = installed
    async with network_in(made, settings, windows=SLOW) as world:
        yield await settle(world)


@pytest.fixture(scope="package")
async def found(town: Town) -> list[Found]:
    """Every form of the town's pages, found once."""
    return await forms_of(town)


@pytest.fixture(scope="module")
async def before(stage: Stage) -> AsyncIterator[None]:
    """For a file of which nothing may change anything."""
    first = await state_of(stage)
    yield
    assert await state_of(stage) == first
