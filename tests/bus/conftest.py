"""Both buses on real parts: a PostgreSQL database and an Apache Kafka, each started once a session."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from deploy.kafka import local
from spean import embedded
from spean.bus import Bus, TopicSpec
from spean.bus.connect import connect
from tests.bus.authority import ACCOUNTS, PASSWORD, Authority, secured_kafka

POSITIONS = """
create table position (grp text, topic text, partition int, next bigint not null default 0, primary key (grp, topic, partition));
create table effect (grp text, topic text, partition int, "offset" bigint, by_member text);
"""


@pytest.fixture(scope="session")
async def bus_dsn(postgres: embedded.Server) -> str:
    """A fresh database for the bus of this session."""
    name = f"bus_{uuid.uuid4().hex[:8]}"
    conn = await asyncpg.connect(postgres.dsn("postgres"))
    await conn.execute(f"create database {name}")
    await conn.close()
    return postgres.dsn(name)


@pytest.fixture(scope="session")
async def effects_dsn(postgres: embedded.Server) -> str:
    """A consumer's own database: its positions, and effects written together with them."""
    name = f"effects_{uuid.uuid4().hex[:8]}"
    conn = await asyncpg.connect(postgres.dsn("postgres"))
    await conn.execute(f"create database {name}")
    await conn.close()
    conn = await asyncpg.connect(postgres.dsn(name))
    await conn.execute(POSITIONS)
    await conn.close()
    return postgres.dsn(name)


@pytest.fixture(params=["postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
def address(request: pytest.FixtureRequest) -> str:
    """The address of each bus in turn."""
    return request.getfixturevalue("bus_dsn" if request.param == "postgres" else "kafka_address")


@pytest.fixture
async def bus(address: str) -> AsyncIterator[Bus]:
    opened = await connect(address)
    yield opened
    await opened.close()


@pytest.fixture
async def topic(bus: Bus) -> str:
    """A topic of four partitions that no other test knows."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    await bus.ensure_topics([TopicSpec(name, 4, 7)])
    return name


@pytest.fixture(scope="session")
async def secured() -> AsyncIterator[tuple[local.LocalKafka, Authority]]:
    """A Kafka with TLS, accounts and permissions, and who signs certificates for it."""
    async with secured_kafka(dict.fromkeys(ACCOUNTS, PASSWORD)) as made:
        yield made
