"""`schema.sql` of each service is what its migrations make."""

from __future__ import annotations

import asyncpg
import pytest

from services.cli.installation import MIGRATIONS, Installation
from services.cli.schemas import dumped, schema_file
from spean.embedded import Server
from spean.settings import Settings


@pytest.mark.parametrize("service", MIGRATIONS)
async def test_migrations_make_the_schema(
    service: str, postgres: Server, installed: tuple[Installation, Settings]
) -> None:
    kept = schema_file(service).read_text(encoding="utf-8")
    assert await dumped(postgres, service) == kept, "run `spean schemas write`"


@pytest.mark.parametrize("service", MIGRATIONS)
async def test_the_schema_makes_the_same_database(
    service: str, postgres: Server, installed: tuple[Installation, Settings]
) -> None:
    """The file is whole: read into an empty database it gives itself."""
    again = f"{service}_again"
    admin = await asyncpg.connect(postgres.dsn("postgres"))
    await admin.execute(f'create database "{again}"')
    try:
        kept = schema_file(service).read_text(encoding="utf-8")
        conn = await asyncpg.connect(postgres.dsn(again))
        try:
            # As in any dump: functions name tables that come after them.
            await conn.execute("set check_function_bodies = off")
            await conn.execute(kept)
        finally:
            await conn.close()
        assert (await dumped(postgres, again)).split("\n", 1)[1] == kept.split("\n", 1)[1]
    finally:
        await admin.execute(f'drop database "{again}"')
        await admin.close()
