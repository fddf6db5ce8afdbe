"""Another key-encryption key while everything runs: each person's key is unwrapped with the old one and wrapped with the new.

Stopped anywhere it is called again and goes on. The old key is destroyed last, and the key store itself (a foreign key from
each row to the table `kek`) refuses that as long as one row is wrapped with it, and refuses any row after that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

import asyncpg

from services.intake.keystore.kek import KeyFiles, name_of, number_of
from services.intake.keystore.store import context_of
from spean.address import Connection
from spean.crypto import Unopenable, new_key, private_file, seal, unseal
from spean.db import plain_errors

# Who changes keys holds it alone, who copies them (a backup) together with others.
LOCK = "select pg_try_advisory_lock({0})", "select pg_try_advisory_lock_shared({0})"
LOCKED = 0x5BEA0004
_AT_ONCE = 500
_NOBODY = UUID(int=0)


class KeysInUse(Exception):
    """Somebody else changes or copies the keys just now."""


class NotChanged(Exception):
    """The change did not come to its end. The message says why, and what stays."""


async def lock(conn: Connection, *, alone: bool) -> None:
    """Until the connection is closed. Raises KeysInUse."""
    statement = LOCK[0 if alone else 1].format(LOCKED)
    if not await conn.fetchval(statement):
        raise KeysInUse("the keys are being changed or copied just now: try again when that has ended")


async def rewrap(dsn: str, files: KeyFiles, lead_s: float, told: Callable[[int, int], None]) -> int:
    """Wrap everybody's key anew and destroy the old key-encryption key. `dsn`: the key store's, of an account that owns its
    tables; `lead_s`: for how long the new file lies there before it is used; `told`: how many of how many. Returns how many.
    Raises KeysInUse, NotChanged, DatabaseProblem."""
    with plain_errors("keystore.rewrap"):
        conn = await asyncpg.connect(dsn, timeout=10)
        try:
            await lock(conn, alone=True)
            new = await _begun(conn, files, lead_s)
            moved = await _all(conn, files, new, told)
            _remove(files, new)
            return moved
        finally:
            await conn.close()


def _remove(files: KeyFiles, new: str) -> None:
    """The older ones, while nobody else changes or copies them."""
    for number in files.numbers():
        if number < number_of(new):
            try:
                files.file(number).unlink()
            except OSError:
                raise NotChanged(
                    f"everybody's key is wrapped anew, but {files.file(number)} stays: remove it"
                ) from None


async def _begun(conn: Connection, files: KeyFiles, lead_s: float) -> str:
    """The name of the new key: in its file first, for every process to see, and only then allowed to wrap. One that was
    begun before is taken up again."""
    allowed = {number_of(row["name"]) for row in await conn.fetch("select name from kek")}
    newest = files.numbers()[0]
    if len(allowed | set(files.numbers())) == 1:
        newest += 1
        private_file(files.file(newest), new_key().hex().encode())
    if newest not in allowed:
        await asyncio.sleep(lead_s)
        await conn.execute("insert into kek (name) values ($1)", name_of(newest))
    return name_of(newest)


async def _all(conn: Connection, files: KeyFiles, new: str, told: Callable[[int, int], None]) -> int:
    moved = 0
    while True:
        left = await conn.fetchval("select count(*) from data_key where kek <> $1 and wrapped is not null", new)
        told(moved, moved + left)
        stuck, last = 0, (_NOBODY, 0)
        while rows := await conn.fetch(
            """
            select person, version, wrapped, kek from data_key
            where kek <> $1 and wrapped is not null and (person, version) > ($2, $3)
            order by person, version limit $4
            """,
            new, *last, _AT_ONCE,
        ):  # fmt: skip
            last = rows[-1]["person"], rows[-1]["version"]
            done = await _some(conn, files, new, rows)
            moved, stuck = moved + done[0], stuck + done[1]
            told(moved, max(moved, left))
        if stuck:
            raise NotChanged(f"{stuck} keys are not opened by the file that they name: put that file back. Both stay")
        await conn.execute("update data_key set kek = $1 where kek <> $1 and wrapped is null", new)
        try:
            await conn.execute("delete from kek where name <> $1", new)
        except asyncpg.ForeignKeyViolationError:
            continue  # somebody was entered under the old one meanwhile
        return moved


async def _some(conn: Connection, files: KeyFiles, new: str, rows: list[asyncpg.Record]) -> tuple[int, int]:
    """How many were wrapped anew, and how many cannot be. A key that is destroyed meanwhile stays so."""
    with_ = files.get(new)
    if with_ is None:
        raise NotChanged("the file of the new key is gone: put it back. Nothing was destroyed")
    made: list[tuple[UUID, int, bytes, bytes]] = []
    for row in rows:
        context, old = context_of(row["person"], row["version"]), files.get(row["kek"])
        try:
            key = unseal(old or b"", row["wrapped"], context)
        except (Unopenable, ValueError):
            continue
        made.append((row["person"], row["version"], row["wrapped"], seal(with_, key, context)))
    await conn.executemany(
        "update data_key set wrapped = $4, kek = $5 where person = $1 and version = $2 and wrapped = $3",
        [(*one, new) for one in made],
    )
    return len(made), len(rows) - len(made)
