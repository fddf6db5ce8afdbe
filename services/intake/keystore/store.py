"""One key per person, wrapped by a key-encryption key that lies in a file of its own; and the fences, kept twice.

Destroying a person's key makes every copy of their fields unreadable, in tables and in backups alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg

from spean.crypto import Unopenable, new_key, private_file, seal, unseal
from spean.db import plain_errors

_SCHEMA = Path(__file__).with_name("schema.sql")
DATABASE = "keys"
# A person's keys are few and asked for in bursts (a page of offers); enough for a country's open cases.
_CACHE_MOST = 2_000


class Destroyed(Exception):
    """The person's key is gone: what it sealed can never be read again."""


@dataclass(frozen=True, slots=True)
class Fence:
    """What is shut for a person; a higher generation is later."""

    generation: int
    sharing_shut: bool
    service_shut: bool


class KeyStore:
    """The key store's database behind one small interface; the key-encryption key comes from a file."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], kek: bytes) -> None:
        self._pool, self._kek, self._kek_name = pool, kek, "file-1"
        self._cache: dict[UUID, bytes] = {}

    @classmethod
    async def open(cls, dsn: str, kek_file: Path) -> KeyStore:
        """Raises DatabaseProblem."""
        kek = bytes.fromhex(private_file(kek_file, new_key().hex().encode()).decode())
        with plain_errors("keystore.open"):
            pool = await asyncpg.create_pool(dsn, min_size=1, max_size=4)
        return cls(pool, kek)

    async def close(self) -> None:
        await self._pool.close()

    async def make(self, person: UUID) -> bytes:
        """A new key for a person, durable before it is used; the same key where there is one. Raises Destroyed."""
        key = new_key()
        wrapped = seal(self._kek, key, _context(person, 1))
        with plain_errors("keystore.make"):
            await self._pool.execute(
                "insert into data_key (person, version, wrapped, kek) values ($1, 1, $2, $3) on conflict do nothing",
                person, wrapped, self._kek_name,
            )  # fmt: skip
        return await self.key(person)

    async def key(self, person: UUID) -> bytes:
        """Raises Destroyed (also for a person that was never known)."""
        cached = self._cache.get(person)
        if cached is not None:
            return cached
        with plain_errors("keystore.key"):
            row = await self._pool.fetchrow(
                "select version, wrapped from data_key where person = $1 order by version desc limit 1", person
            )
        if row is None or row["wrapped"] is None:
            raise Destroyed
        try:
            key = unseal(self._kek, row["wrapped"], _context(person, row["version"]))
        except Unopenable:
            raise Destroyed from None
        if len(self._cache) >= _CACHE_MOST:
            self._cache.clear()
        self._cache[person] = key
        return key

    async def write_fence(self, person: UUID, fence: Fence) -> None:
        """Keep a fence apart from the holder's database; an older generation never replaces a later one."""
        with plain_errors("keystore.fence"):
            await self._pool.execute(
                """
                insert into fence (person, generation, sharing_shut, service_shut) values ($1, $2, $3, $4)
                on conflict (person) do update set generation = excluded.generation, sharing_shut = excluded.sharing_shut,
                    service_shut = excluded.service_shut, at = now()
                where fence.generation < excluded.generation
                """,
                person, fence.generation, fence.sharing_shut, fence.service_shut,
            )  # fmt: skip

    async def fences(self) -> dict[UUID, Fence]:
        """Every fence that shuts something."""
        with plain_errors("keystore.fences"):
            rows = await self._pool.fetch("select * from fence where sharing_shut or service_shut")
        return {row["person"]: Fence(row["generation"], row["sharing_shut"], row["service_shut"]) for row in rows}


async def prepare(dsn: str, owner: str) -> None:
    """Make the key store's tables; `owner` is the role that works with them. Raises DatabaseProblem."""
    with plain_errors("keystore.prepare"):
        conn = await asyncpg.connect(dsn)
        try:
            await conn.execute(_SCHEMA.read_text(encoding="utf-8"))
            await conn.execute(f'grant select, insert, update on data_key, fence to "{owner}"')
        finally:
            await conn.close()


def _context(person: UUID, version: int) -> str:
    return f"data_key/{person}/{version}"
