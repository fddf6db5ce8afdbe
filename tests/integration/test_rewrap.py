"""Another key-encryption key while holders read and write: nobody's key is lost, and the old one opens nothing afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.intake.keystore import rewrap as changing
from services.intake.keystore import store as keystore
from services.intake.keystore.kek import KeyFiles
from services.intake.keystore.rewrap import KeysInUse, NotChanged, rewrap
from services.intake.keystore.store import Destroyed, KeyStore, Silent, context_of
from spean import provision
from spean.crypto import Unopenable, unseal
from spean.embedded import Server
from spean.provision import Roles, service_dsns

ROLES = Roles(b"secret of the tests")


class Stopped(Exception):
    """The command ends here."""


@dataclass
class Store:
    """A key store of its own, with its files; `admin`: of the account that owns it."""

    admin: str
    worker: str
    files: KeyFiles
    stack: AsyncExitStack

    async def opened(self) -> KeyStore:
        made = await KeyStore.open(self.worker, self.files.file(1))
        self.stack.push_async_callback(made.close)
        return made

    async def rewrap(self) -> int:
        return await rewrap(self.admin, KeyFiles(self.files.file(1)), 0, lambda _, __: None)

    @asynccontextmanager
    async def rows(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        conn = await asyncpg.connect(self.admin)
        try:
            yield conn
        finally:
            await conn.close()

    def numbers(self) -> list[int]:
        return self.files.numbers()


@pytest.fixture(name="store")
async def made(postgres: Server, tmp_path: Path) -> AsyncIterator[Store]:
    name = f"keys_{uuid4().hex[:8]}"
    await provision.prepare(postgres, ROLES, name, None)
    await keystore.prepare(postgres.dsn(name), f"{name}_worker")
    async with AsyncExitStack() as stack:
        yield Store(
            postgres.dsn(name), service_dsns(postgres, ROLES, name)[1], KeyFiles(tmp_path / "intake" / "kek-1"), stack
        )


async def people(keys: KeyStore, count: int) -> dict[UUID, bytes]:
    ids = [uuid4() for _ in range(count)]
    return dict(zip(ids, await keys.make_many(ids), strict=True))


async def test_everybodys_key_is_the_same_and_the_old_key_opens_nothing(store: Store) -> None:
    keys = await store.opened()
    known = await people(keys, 1_040)
    erased, *_ = await people(keys, 3)
    await keys.destroy(erased)
    old = bytes.fromhex(store.files.file(1).read_text())
    told: list[tuple[int, int]] = []
    assert await rewrap(store.admin, store.files, 0, lambda done, of: told.append((done, of))) == 1_042
    assert (told[0], told[-1]) == ((0, 1_042), (1_042, 1_042))
    assert await keys.keys(known) == known
    assert await (await store.opened()).keys(known) == known
    with pytest.raises(Destroyed):
        await keys.key(erased)
    assert store.numbers() == [2]
    async with store.rows() as conn:
        assert await conn.fetchval("select array_agg(name) from kek") == ["file-2"]
        for row in await conn.fetch("select * from data_key where wrapped is not null"):
            with pytest.raises(Unopenable):
                unseal(old, row["wrapped"], context_of(row["person"], row["version"]))
    later = uuid4()
    assert await keys.make(later) == await (await store.opened()).key(later)
    assert await store.rewrap() == 1_043
    assert store.numbers() == [3], "a number is never used again"


async def test_whoever_reads_writes_and_erases_meanwhile_notices_nothing(store: Store) -> None:
    here, there = await store.opened(), await store.opened()
    known, gone, done = await people(here, 300), set[UUID](), asyncio.Event()

    async def works(own: KeyStore, other: KeyStore) -> None:
        while not done.is_set():
            person = uuid4()
            known[person] = await own.make(person)
            assert await other.key(person) == known[person]
            one_of_them = next(iter(known))
            await own.destroy(one_of_them)
            del known[one_of_them]
            gone.add(one_of_them)
            assert await other.keys(list(known)[:20]) == {one: known[one] for one in list(known)[:20]}

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(works(here, there))
        for expected in (2, 3, 4):
            await store.rewrap()
            assert store.numbers() == [expected]
        done.set()
    assert gone
    assert await there.keys([*known, *gone]) == known


async def test_stopped_anywhere_it_goes_on(store: Store) -> None:
    keys = await store.opened()
    known = await people(keys, 5)

    def stop(_: int, __: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        await rewrap(store.admin, store.files, 0, stop)
    assert store.numbers() == [2, 1]
    known |= await people(keys, 5)
    assert await keys.keys(known) == known
    assert await store.rewrap() == 5, "those entered since are under the new one already"
    assert store.numbers() == [2]
    # Stopped behind the last row: only the file is left.
    old = store.files.file(1)
    old.write_text("00" * 32)
    assert await store.rewrap() == 0
    assert store.numbers() == [2]
    assert await keys.keys(known) == known


async def test_a_holder_that_sees_only_the_old_file_loses_nobody(store: Store, tmp_path: Path) -> None:
    """Its folder is a copy, which nobody has brought up to date."""
    copy = tmp_path / "copy" / "kek-1"
    copy.parent.mkdir()
    copy.write_bytes(store.files.file(1).read_bytes())
    behind = await KeyStore.open(store.worker, copy)
    store.stack.push_async_callback(behind.close)
    known = await people(behind, 2)
    await store.rewrap()
    with pytest.raises(Silent):
        await behind.make(uuid4())
    for person in known:
        with pytest.raises(Silent):
            await behind.key(person)
    copy.with_name("kek-2").write_bytes(store.files.file(2).read_bytes())
    assert await behind.keys(known) == known
    assert await behind.make(uuid4())


async def test_a_key_that_no_file_opens_keeps_both(store: Store) -> None:
    keys = await store.opened()
    known = await people(keys, 3)
    async with store.rows() as conn:
        await conn.execute("update data_key set wrapped = '\\x00' where person = $1", next(iter(known)))
    with pytest.raises(NotChanged, match="1 keys"):
        await store.rewrap()
    assert store.numbers() == [2, 1]
    async with store.rows() as conn:
        assert await conn.fetchval("select count(*) from kek") == 2
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await conn.execute("delete from kek where name = 'file-1'")


async def test_keys_are_not_changed_while_somebody_copies_them(store: Store) -> None:
    async with store.rows() as backup, store.rows() as other:
        await changing.lock(backup, alone=False)
        await changing.lock(other, alone=False)
        with pytest.raises(KeysInUse):
            await store.rewrap()
    assert store.numbers() == [1]
    assert await store.rewrap() == 0
