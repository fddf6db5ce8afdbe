"""What is in an installation, as one value that two moments can be compared by."""

from __future__ import annotations

import asyncpg

from tests.builders import at_rest, eventually
from tests.integration.holder import settled
from tests.security.operations import Stage

# Bookkeeping of the machinery: what is due, how far each reader is, which assertions were used, which commands answered,
# the last count of who looks alike.
_BOOKKEEPING = frozenset(
    {"due", "position", "last", "used_assertion", "idempotency", "outbox", "said", "aggregate", "life", "crowd"}
)


async def tables(conn: asyncpg.Connection) -> list[str]:
    """Every table of a database's public schema, by name."""
    rows = await conn.fetch("select tablename from pg_tables where schemaname = 'public' order by tablename")
    return [row["tablename"] for row in rows]


async def state_of(stage: Stage) -> dict[str, str]:
    """A digest of every table that holds something (service.table → MD5 of its rows), once nothing is on its way."""
    made = stage.world.made
    databases = {name: service.db for name, service in made.services.items()}
    await eventually(lambda: at_rest(databases, made.bus))
    await settled(stage.world)
    found: dict[str, str] = {}
    for name in (*made.services, "keys"):
        conn = await asyncpg.connect(made.cluster.dsn(name))
        try:
            query = " union all ".join(
                f"""select '{table}', md5(coalesce(string_agg(t::text, e'\\n' order by t::text), '')) from "{table}" t"""
                for table in await tables(conn)
                if table not in _BOOKKEEPING
            )
            found.update({f"{name}.{table}": digest for table, digest in await conn.fetch(query)})
            if name != "keys":
                found[f"{name} said"] = str(await conn.fetchval("select coalesce(max(sequence), 0) from aggregate"))
        finally:
            await conn.close()
    return found
