"""Proofs: a text planted on purpose in each kind of place, so that a search that finds nothing means something."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from services.cli.installation import BUS_DATABASE
from services.intake.keystore.store import DATABASE as KEYS
from spean.bus import Partition, Record, TopicSpec
from tests.security.canaries import token
from tests.security.watching import Run, bus_of

DATABASES = ("referral", "intake", "notify", KEYS, BUS_DATABASE, "postgres")
PROOF = token(9999)


def databases(bus: str) -> list[str]:
    """Every database of an installation: with a Kafka there is none for the bus."""
    return [name for name in DATABASES if not bus or name != BUS_DATABASE]


async def plant_proofs(run: Run, coordinator: str) -> None:
    """One in each kind of place: so that a search that finds nothing means something."""
    for name in databases(run.settings.bus):
        await run.sql(
            name,
            f"create table scratch_{name} (plain text, sealed bytea, document jsonb); insert into scratch_{name} values "
            f"('{PROOF}', null, null), (null, '{PROOF}'::bytea, null), (null, null, '{{\"a\": [\"{PROOF}\"]}}')",
        )
    await run.sql(
        "notify",
        "with head as (update tail_head set next = next + 1 returning next - 1 as number) "
        f"insert into tail (number, event, coordinator, type, area, at) select number, gen_random_uuid(), '{coordinator}', '{PROOF}', 'KH', now() from head",
    )
    # The embedded server writes what is fatal only: a sign-in that it refuses names who wanted in.
    with pytest.raises(asyncpg.PostgresError):
        await asyncpg.connect(run.made.cluster.dsn("postgres", PROOF, "none"))
    reader, writer = await asyncio.open_connection("127.0.0.1", run.smtp_port)
    writer.write(
        f"HELO a\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<a@b.c>\r\nDATA\r\nSubject: x\r\n\r\n{PROOF}\r\n.\r\nQUIT\r\n".encode()
    )
    await writer.drain()
    await reader.read()
    writer.close()
    await _plant_on_the_bus(run)


async def _plant_on_the_bus(run: Run) -> None:
    """In the key, in a header and in the value, in a topic that nobody reads."""
    async with bus_of(run) as bus:
        await bus.ensure_topics([TopicSpec("scratch", 1, 1)])
        producer = await bus.producer("scratch")
        plain = Record(b"a", {"a": "a"}, b"a")
        records = [
            replace(plain, key=PROOF.encode()),
            replace(plain, headers={"a": PROOF}),
            replace(plain, value=PROOF.encode()),
        ]
        await producer.append(Partition("scratch", 0), records)
        await producer.close()
