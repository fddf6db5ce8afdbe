"""Real parts for every test: one PostgreSQL for the session, fresh databases where a test asks for them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deploy.kafka import local
from services.cli import installation
from services.cli.installation import Installation
from spean import embedded
from spean.embedded import Server
from spean.settings import Settings
from tests.builders import World, network_in, settings_for


@pytest.fixture(scope="session")
def workspace() -> Iterator[Path]:
    """A folder that the database's account can enter (a root's own temporary folder is closed to it)."""
    with tempfile.TemporaryDirectory(prefix="spean-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="session")
async def postgres(workspace: Path) -> AsyncIterator[Server]:
    running = await embedded.start(workspace / "pg", password_file=workspace / "pg-password", fast_unsafe=True)
    try:
        yield running.server
    finally:
        await running.stop()


def required(part: str) -> bool:
    """Is a skip a failure for this part (CI)?"""
    return part in os.environ.get("SPEAN_REQUIRE", "").split(",")


def without_kafka(reason: str) -> None:
    """Skip, or fail where Kafka is required."""
    if required("kafka"):
        pytest.fail(f"Kafka is required here: {reason}")
    pytest.skip(f"NOT TESTED ON KAFKA: {reason}")


@pytest.fixture(scope="session")
async def kafka_address() -> AsyncIterator[str]:
    given = os.environ.get("SPEAN_TEST_KAFKA")
    if given:
        yield given
        return
    if (lacking := local.missing()) is not None:
        without_kafka(lacking)
    with tempfile.TemporaryDirectory(prefix="spean-kafka-") as folder:
        try:
            kafka = await local.start(Path(folder), 1)
        except local.LocalKafkaError as error:
            without_kafka(str(error))
        else:
            yield kafka.address
            await kafka.stop()


@pytest.fixture(scope="session")
async def installed(workspace: Path, postgres: Server) -> AsyncIterator[tuple[Installation, Settings]]:
    """One running installation for the session, on the Postgres bus, behind one port."""
    settings = settings_for(workspace / "main", postgres.dsn("postgres"))
    async with installation.installed(settings) as made, installation.running(made):
        yield made, settings


@pytest.fixture
async def world(installed: tuple[Installation, Settings]) -> AsyncIterator[World]:
    """A network of its own for one test."""
    made, settings = installed
    async with network_in(made, settings) as found:
        yield found
