"""One key per person, wrapped by a key-encryption key that lies in a file of its own; and the fences and endings, kept
twice.

Destroying a person's key makes every copy of their fields unreadable, in tables and in backups alike.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import asyncpg

from services.intake.keystore.kek import KeyFiles
from spean import telemetry
from spean.address import connect
from spean.crypto import Unopenable, new_key, new_keys, seal, sealer, unseal
from spean.db import CONNECT_S, DatabaseProblem, as_it_was, plain_errors
from spean.problem import Refusal

_SCHEMA = Path(__file__).with_name("schema.sql")
DATABASE = "keys"
# One row by its key: a store that needs longer than this, its connection included, is in trouble, and neither a reader's
# lock nor an open transaction (`IDLE_IN_TRANSACTION_MS`) is kept for it.
_ANSWER_S = 2.0
# How long until a key store that was silent is asked again: soon, for a backup restored meanwhile would not know of what it
# is to keep.
AGAIN = timedelta(seconds=5)


class Destroyed(Refusal):
    """The person's key is gone: what it sealed can never be read again."""

    def __init__(self) -> None:
        super().__init__("erased")


class Silent(DatabaseProblem):
    """The key store does not answer, or not as it should: nobody can be read, and what it is to keep has to wait. That says
    nothing of who asked, and passes."""

    transient = server = True


class WrongKey(Exception):
    """A key-encryption key in the keys folder is not the one that wrapped what this key store holds, or is missing: without
    it nobody can be read, and new people would be sealed under another. Put the right file back."""


@dataclass(frozen=True, slots=True)
class Fence:
    """What is shut for a person; a higher generation is later."""

    generation: int
    sharing_shut: bool
    service_shut: bool


class KeyStore:
    """The key store's database behind one small interface; the key-encryption key comes from a file, and may be changed for
    another while processes run (`rewrap`): each looks for a file that it does not know.

    No key is kept in memory: a key that was destroyed by any process is gone for every process at once. Shut until the
    holder has taken over the fences that are kept here: until then no key is given or made, and stops are taken.
    """

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], files: KeyFiles) -> None:
        self._pool, self._files, self._shut = pool, files, True

    @classmethod
    async def begin(cls, dsn: str, kek_file: Path) -> KeyStore:
        """Shut, and perhaps not there. `kek_file`: where the first key-encryption key lies, and those after it beside it."""
        files = KeyFiles(kek_file)
        with plain_errors("keystore.open"):
            pool = await asyncpg.create_pool(
                dsn,
                connect=connect,
                min_size=0,
                max_size=4,
                timeout=CONNECT_S,
                command_timeout=_ANSWER_S,
                reset=as_it_was,
            )
        return cls(pool, files)

    @classmethod
    async def open(cls, dsn: str, kek_file: Path) -> KeyStore:
        """For who looks at keys alone. Raises Silent, WrongKey."""
        keys = await cls.begin(dsn, kek_file)
        try:
            await keys.look()
        except BaseException:
            await keys.close()
            raise
        keys.unshut()
        return keys

    async def look(self) -> dict[UUID, Fence]:
        """Are these the key-encryption keys of what is kept here? Returns every fence that shuts something. Raises Silent,
        WrongKey."""
        newest = self._files.newest_first()[0][0]
        async with _asked("keystore.look"):
            rows = await self._pool.fetch(
                """
                select one.* from kek cross join lateral (
                    select person, version, wrapped, kek from data_key where kek = kek.name and wrapped is not null limit 1
                ) one
                """
            )
            # Where the key store was lost with everybody in it, the next person is the first.
            await self._pool.execute(
                "insert into kek (name) select $1 where not exists (select from data_key) on conflict do nothing",
                newest,
            )
        if any(self._files.get(row["kek"]) is None or self._unwrapped(row) is None for row in rows):
            raise WrongKey
        return await self.fences()

    def unshut(self) -> None:
        """The holder has taken over the fences: keys are given from now on."""
        self._shut = False

    def _expect_open(self, name: str) -> None:
        if self._shut:
            raise Silent(name, "08006")

    async def close(self) -> None:
        await self._pool.close()

    async def make(self, person: UUID) -> bytes:
        """A new key for a person, durable before it is used; the same key where there is one. Raises Destroyed, Silent."""
        self._expect_open("keystore.make")
        key = new_key()

        async def insert(name: str, kek: bytes) -> None:
            await self._pool.execute(
                "insert into data_key (person, version, wrapped, kek) values ($1, 1, $2, $3) on conflict do nothing",
                person, seal(kek, key, context_of(person, 1)), name,
            )  # fmt: skip

        async with _asked("keystore.make"):
            await self._with_newest(insert)
        return await self.key(person)

    async def make_many(self, people: Sequence[UUID]) -> list[bytes]:
        """A new key for each of these people, of whom none has one yet, in one statement. Raises Silent."""
        self._expect_open("keystore.make_many")
        keys = new_keys(len(people))

        async def insert(name: str, kek: bytes) -> None:
            wrap = sealer(kek)
            wrapped = [wrap(key, context_of(person, 1)) for person, key in zip(people, keys, strict=True)]
            await self._pool.execute(
                """
                insert into data_key (person, version, wrapped, kek)
                select new.person, 1, new.wrapped, $3 from unnest($1::uuid[], $2::bytea[]) as new (person, wrapped)
                """,
                people, wrapped, name,
            )  # fmt: skip

        async with _asked("keystore.make_many"):
            await self._with_newest(insert)
        return keys

    async def _with_newest(self, insert: Callable[[str, bytes], Awaitable[None]]) -> None:
        """Under the newest key that may wrap: one whose file lies there already may not yet, one that is on its way out may
        not any more."""
        *newer, oldest = self._files.newest_first()
        for name, kek in newer:
            with contextlib.suppress(asyncpg.ForeignKeyViolationError):
                await insert(name, kek)
                return
        await insert(*oldest)

    async def key(self, person: UUID) -> bytes:
        """Raises Destroyed (also for a person that was never known), Silent."""
        found = await self.keys([person])
        if person not in found:
            raise Destroyed
        return found[person]

    async def keys(self, people: Collection[UUID]) -> dict[UUID, bytes]:
        """The keys of these people, in one statement; who has none was erased, or never known. Raises Silent."""
        self._expect_open("keystore.keys")
        async with _asked("keystore.keys"):
            rows = await self._pool.fetch(
                """
                select distinct on (person) person, version, wrapped, kek from data_key where person = any($1)
                order by person, version desc
                """,
                list(people),
            )
        unwrapped = {row["person"]: self._unwrapped(row) for row in rows}
        return {person: key for person, key in unwrapped.items() if key is not None}

    def _unwrapped(self, row: asyncpg.Record) -> bytes | None:
        """The key in a row (person, version, wrapped, kek); None where it was destroyed or is another's. Raises Silent where
        the file is not there (yet): that says nothing of the person."""
        if row["wrapped"] is None:
            return None
        kek = self._files.get(row["kek"])
        if kek is None:
            raise Silent("keystore.file", "58P01")
        try:
            return unseal(kek, row["wrapped"], context_of(row["person"], row["version"]))
        except Unopenable:
            return None

    async def destroy(self, *people: UUID) -> None:
        """What was sealed under these keys can never be read again, wherever a copy of it lies. Raises Silent."""
        async with _asked("keystore.destroy"):
            await self._pool.execute(
                "update data_key set wrapped = null, destroyed_at = now() where person = any($1) and wrapped is not null",
                people,
            )

    async def destroyed(self) -> set[UUID]:
        """Whose key was destroyed. Raises Silent."""
        async with _asked("keystore.destroyed"):
            rows = await self._pool.fetch("select person from data_key group by person having count(wrapped) = 0")
        return {row["person"] for row in rows}

    async def write_fence(self, person: UUID, fence: Fence) -> None:
        """Keep a fence that shuts something apart from the holder's database; an older generation never replaces a later
        one. Raises Silent."""
        async with _asked("keystore.fence"):
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
        """Every fence that shuts something. Raises Silent."""
        async with _asked("keystore.fences"):
            rows = await self._pool.fetch("select * from fence where sharing_shut or service_shut")
        return {row["person"]: Fence(row["generation"], row["sharing_shut"], row["service_shut"]) for row in rows}

    async def write_ended(self, id_: UUID) -> None:
        """Keep apart from the holder's database that a rule, or what stood in for consent, was ended or refused; for ever, for
        neither begins again. Raises Silent."""
        async with _asked("keystore.end"):
            await self._pool.execute("insert into ended (id) values ($1) on conflict do nothing", id_)

    async def ended(self) -> list[UUID]:
        """Every rule and basis that was ended or refused. Raises Silent."""
        async with _asked("keystore.ended"):
            rows = await self._pool.fetch("select id from ended")
        return [row["id"] for row in rows]


@asynccontextmanager
async def _asked(name: str) -> AsyncIterator[None]:
    """Raises Silent for whatever keeps the key store from answering within `_ANSWER_S`."""
    try:
        with plain_errors(name):
            async with asyncio.timeout(_ANSWER_S):
                yield
    except DatabaseProblem as problem:
        telemetry.add("spean.keystore.silent")
        raise Silent(name, problem.sqlstate) from None


async def prepare(dsn: str, owner: str) -> None:
    """Make the key store's tables; `owner` is the role that works with them. Raises DatabaseProblem."""
    with plain_errors("keystore.prepare"):
        conn = await asyncpg.connect(dsn)
        try:
            await conn.execute(_SCHEMA.read_text(encoding="utf-8"))
            await conn.execute(f'grant select, insert, update on data_key, fence to "{owner}"')
            await conn.execute(f'grant select, insert on kek, ended to "{owner}"')
        finally:
            await conn.close()


def context_of(person: UUID, version: int) -> str:
    """Where a wrapped key belongs: it opens nowhere else."""
    return f"data_key/{person}/{version}"
