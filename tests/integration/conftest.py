"""The kit on real PostgreSQL and both buses: databases and topics of its own for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from services.cli import installation
from services.cli.installation import Installation
from spean.bus import TopicSpec
from spean.bus.connect import connect
from spean.embedded import Server
from spean.service import PARTITIONS
from tests.integration.kit import Kit, Line, kit
from tests.integration.lived import Lived, living, settings_in
from tests.integration.model import model_dsns  # noqa: F401 (a fixture)
from tests.integration.town import settled, town  # noqa: F401 (fixtures)


@pytest.fixture(scope="session")
async def kit_bus_dsn(postgres: Server) -> str:
    name = f"kit_bus_{uuid4().hex[:8]}"
    conn = await asyncpg.connect(postgres.dsn("postgres"))
    await conn.execute(f"create database {name}")
    await conn.close()
    return postgres.dsn(name)


@pytest.fixture
async def line(kit_bus_dsn: str) -> AsyncIterator[Line]:
    """A topic of its own on the Postgres bus."""
    async with _line(kit_bus_dsn) as made:
        yield made


@pytest.fixture(params=["postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
def either_address(request: pytest.FixtureRequest) -> str:
    """The address of each bus in turn."""
    return request.getfixturevalue("kit_bus_dsn" if request.param == "postgres" else "kafka_address")


@pytest.fixture
async def either_line(either_address: str) -> AsyncIterator[Line]:
    """A topic of its own on each bus in turn."""
    async with _line(either_address) as made:
        yield made


@asynccontextmanager
async def _line(address: str) -> AsyncIterator[Line]:
    made = Line(await connect(address))
    try:
        await made.bus.ensure_topics([TopicSpec(made.topic, PARTITIONS, 14)])
        yield made
    finally:
        await made.bus.close()


@pytest.fixture
async def kits(postgres: Server, tmp_path: Path) -> AsyncIterator[list[Kit]]:
    """Two databases: a writer's and a reader's."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(kit(postgres, tmp_path)) for _ in range(2)]


@pytest.fixture
def writer(kits: list[Kit]) -> Kit:
    return kits[0]


@pytest.fixture
def reader(kits: list[Kit]) -> Kit:
    return kits[1]


@pytest.fixture
async def made(workspace: Path) -> AsyncIterator[Installation]:
    """Installed in an embedded PostgreSQL of its own, nothing running yet."""
    async with installation.installed(settings_in(workspace / f"lived-{uuid4().hex[:6]}")) as made:
        yield made


@pytest.fixture
async def lived(made: Installation) -> AsyncIterator[Lived]:
    """Running, and with some referrals in it."""
    async with installation.running(made), living(made, made.settings) as found:
        await found.lives()
        yield found
