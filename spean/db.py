"""PostgreSQL: two roles, one transaction function, and errors that carry no row.

Every use case is one named transaction. It sets the organisation for row-level security and reads the clock, once, and
again where it has waited for a lock; nothing else in the house asks what time it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import asyncpg
from opentelemetry.trace import SpanKind

from spean import telemetry
from spean.address import connect
from spean.ids import event_id
from spean.problem import Refusal

log = logging.getLogger(__name__)
if TYPE_CHECKING:  # asyncpg's classes are generic to the type checker only
    Connection = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
else:
    Connection = asyncpg.Connection
Role = Literal["api", "worker"]

# A command's transaction is a few statements on local rows; longer than this, something is wrong.
STATEMENT_TIMEOUT_MS = 10_000
LOCK_TIMEOUT_MS = 5_000
# A frozen process must not keep a lock, a partition or a bucket.
IDLE_IN_TRANSACTION_MS = 3_000
# A server that does not take a connection in this time, or does not answer long after its own limits, is not there.
CONNECT_S = 5.0
ANSWER_S = STATEMENT_TIMEOUT_MS / 1000 + 5
CLOSE_S = 10.0
# Answers to partners that are on their way at once, each with a connection of its own: well below either pool's size.
SLOW_READERS = 4
# 08 connection, 25P03 idle in a transaction for too long, 40 serialization and deadlock, 53 resources, 55P03 lock not
# available, 57 operator intervention (also a statement's time limit), 58 disk.
TRANSIENT = ("08", "25P03", "40", "53", "55P03", "57", "58")
# Of these, the ones that say nothing of the statement: it is the server, or the way to it, that is in trouble.
SERVER = ("08", "25P03", "53", "57P", "58")


class DatabaseProblem(Exception):
    """A statement failed. Says the transaction's name and the SQLSTATE, never the statement or a value."""

    def __init__(self, transaction: str, sqlstate: str) -> None:
        super().__init__(f"{transaction}: SQLSTATE {sqlstate}")
        self.sqlstate = sqlstate

    @property
    def transient(self) -> bool:
        """May the same transaction succeed later?"""
        return self.sqlstate.startswith(TRANSIENT)

    @property
    def server(self) -> bool:
        """Is it the server or the connection, whatever the statement was?"""
        return self.sqlstate.startswith(SERVER)


@dataclass(slots=True)
class Tx:
    """One open transaction: its connection, its time (`now`, UTC), what it is caused by, and at a holder its name."""

    conn: Connection
    now: datetime
    org: UUID | None
    correlation: UUID
    causation: UUID | None
    holder: str | None = None
    shift: timedelta = timedelta(0)
    # Events that are still said in an older version (types).
    held_back: frozenset[str] = frozenset()
    said: bool = field(default=False)
    # What is taken over from the log was said already: nothing is said again meanwhile (`spean.rejoin`).
    muted: bool = False
    # Is the lock its own that was asked for as it began? Not where none was.
    alone: bool = False
    # What is on record of the answer that is being composed, and whether some of it is only since this transaction: then the
    # answer may not leave before that is kept (`spean.gated`).
    on_record: set[str] = field(default_factory=set)
    unkept: bool = False

    async def one(self, statement: str, *values: object) -> asyncpg.Record:
        """The only row. Raises Refusal `not-found` where there is none (also where row-level security hides it)."""
        row = await self.conn.fetchrow(statement, *values)
        if row is None:
            raise Refusal("not-found")
        return row

    async def catch_up(self) -> None:
        """For who has waited for a lock: what stood when this transaction began may have ended meanwhile. From here on
        `now` is this moment; it never goes back."""
        self.caught_up(await self.conn.fetchval("select clock_timestamp()"))

    def caught_up(self, moment: datetime) -> None:
        """The same, for who has read the server's clock already, after the lock was had."""
        self.now = max(self.now, moment + self.shift)


class Database:
    """A service's database behind its two roles. `shift` moves the house's clock (sandbox and simulation only)."""

    def __init__(self, api: asyncpg.Pool[asyncpg.Record], worker: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pools: dict[Role, asyncpg.Pool[asyncpg.Record]] = {"api": api, "worker": worker}
        self.shift = timedelta(0)
        self.slow_readers = asyncio.Semaphore(SLOW_READERS)
        self.holder: str | None = None
        self.held_back: frozenset[str] = frozenset()
        # Whose it is, for who watches; set by `Service`.
        self.name = "none"
        self.appended = asyncio.Event()

    @classmethod
    async def open(cls, api_dsn: str, worker_dsn: str, *, api_size: int = 8, worker_size: int = 6) -> Database:
        """Raises DatabaseProblem when the database does not answer."""
        with _plain("open"):
            # Only the role `api` works as an organisation: other processes keep no session for it.
            api = await _pool(api_dsn, api_size, kept=0)
            try:
                return cls(api, await _pool(worker_dsn, worker_size, kept=1))
            except BaseException:
                api.terminate()
                raise

    async def close(self) -> None:
        """Give the sessions in use `CLOSE_S` to end, then cut them off."""
        for pool in self._pools.values():
            try:
                async with asyncio.timeout(CLOSE_S):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    @asynccontextmanager
    async def transaction(
        self,
        name: str,
        *,
        org: UUID | None = None,
        correlation: UUID | None = None,
        causation: UUID | None = None,
        alone: str | None = None,
    ) -> AsyncIterator[Tx]:
        """A transaction as the organisation `org` (role api, sees its own rows) or, without one, as the service itself
        (role worker). Commits on leaving, rolls back on any error. `alone`: a name; one transaction at a time has
        `Tx.alone` for it, and nobody waits. Raises DatabaseProblem.
        """
        async with self._session(name, "worker" if org is None else "api") as conn:
            async with conn.transaction():
                now, is_alone = await begin(conn, org, alone)
                tx = Tx(
                    conn, now + self.shift, org, correlation or event_id(), causation, self.holder, self.shift,
                    self.held_back, alone=is_alone,
                )  # fmt: skip
                yield tx
            if tx.said:
                self.appended.set()

    @asynccontextmanager
    async def statement(self, name: str) -> AsyncIterator[Connection]:
        """A session for a single statement as the service itself, which is its own transaction. Raises DatabaseProblem."""
        async with self._session(name, "worker") as conn:
            yield conn

    @asynccontextmanager
    async def _session(self, name: str, role: Role) -> AsyncIterator[Connection]:
        with _plain(name), telemetry.step(f"tx {name}", SpanKind.CLIENT, database="postgresql", pool=role):
            began = time.monotonic()
            async with self._pools[role].acquire() as conn:
                waited_s = time.monotonic() - began
                telemetry.record("db.client.connection.wait_time", waited_s, service=self.name, pool=role)
                yield conn

    async def worker_connection(self) -> Connection:
        """A session of its own for a loop that holds a lock; give it back with `release`. Raises DatabaseProblem."""
        with _plain("connect"):
            return await self._pools["worker"].acquire()

    async def release(self, conn: Connection, *, broken: bool = False) -> None:
        """Give a session back to the pool, or end it (`broken`). Raises DatabaseProblem."""
        with _plain("release"):
            try:
                if broken:
                    with contextlib.suppress(asyncpg.InterfaceError):  # it was lost, and the pool knows already
                        conn.terminate()
                elif not conn.is_closed():
                    await conn.reset()
            finally:
                await self._pools["worker"].release(conn)  # type: ignore[arg-type]


_BEGIN = "select set_config('app.org', $1, true), now() as now"
_ALONE = f"{_BEGIN}, pg_try_advisory_xact_lock(hashtextextended($2::text, 0)) as alone"


async def begin(conn: Connection, org: UUID | None, alone: str | None = None) -> tuple[datetime, bool]:
    """Set the organisation for this transaction, read its time, and try the lock of that name: is it ours?"""
    as_org = "" if org is None else str(org)
    row = await (conn.fetchrow(_BEGIN, as_org) if alone is None else conn.fetchrow(_ALONE, as_org, alone))
    assert row is not None  # noqa: S101 (a select without from has one row)
    return row["now"], alone is not None and row["alone"]


async def as_it_was(_: Connection) -> None:
    """Nothing to put right in a session that is given back: what a transaction sets or locks ends with it, and who had a
    session for longer (`worker_connection`) has it reset. asyncpg's own way costs a round trip for each transaction."""


async def _pool(dsn: str, size: int, *, kept: int) -> asyncpg.Pool[asyncpg.Record]:
    return await asyncpg.create_pool(
        dsn,
        connect=connect,
        min_size=kept,
        max_size=size,
        timeout=CONNECT_S,
        command_timeout=ANSWER_S,
        reset=as_it_was,
        server_settings={
            "application_name": "spean",
            "timezone": "UTC",
            "statement_timeout": str(STATEMENT_TIMEOUT_MS),
            "lock_timeout": str(LOCK_TIMEOUT_MS),
            "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
        },
    )


class _plain:  # noqa: N801 (reads as a statement)
    """Turn every database error into DatabaseProblem: asyncpg's texts carry row values."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, asyncpg.PostgresError):
            raise DatabaseProblem(self._name, error.sqlstate or "XX000") from None
        # OSError: no such socket, refused, reset, no such host, out of time.
        if isinstance(error, (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
            raise DatabaseProblem(self._name, "08006") from None


plain_errors = _plain
