"""Sessions of the Postgres bus: reconnecting, with errors that carry no row, and the wake-ups that end waiting."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

import asyncpg

from spean.address import connect
from spean.bus import BusError, BusUnavailable
from spean.bus.share import check_ports

log = logging.getLogger(__name__)
# As text: asyncpg's class takes a type argument only in its stubs.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
# A notification: (channel, payload). `None` after a reconnection, when any number may have been missed.
Note = tuple[str, str] | None

NO_ADDRESS = "SPEAN_BUS is not a PostgreSQL address like postgresql://user:password@host:5432/bus"
TOPIC_CHANNEL = "spean_bus_topic"
GROUP_CHANNEL = "spean_bus_group"
CONNECT_S = 5.0
STATEMENT_S = 10.0
CLOSE_S = 2.0
RECONNECT_S = 0.25
# 08 connection, 40 serialization and deadlock, 53 resources, 57 operator intervention, 58 disk, 25P03 idle in a
# transaction for too long, 55P03 lock not available: all may pass.
TRANSIENT = ("08", "40", "53", "57", "58", "25P03", "55P03")
# Wrong sign-in, no such role, no such database.
REFUSED = ("28", "3D")

WORKER_SETTINGS = {
    "application_name": "spean-bus",
    "timezone": "UTC",
    "idle_in_transaction_session_timeout": "3000",
    "lock_timeout": "5000",
    # Statements are planned while the log is small and kept when it is large: the primary key is always right.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}
# What is said with these is durable once acknowledged.
DURABLE = {"synchronous_commit": "on"}
# Heartbeats, leases and shown positions may be lost in a crash.
FLEETING = {"synchronous_commit": "off"}


def check_address(dsn: str) -> None:
    """Raises BusError for what is no address at all, and for a port that is none; asyncpg checks the rest."""
    try:
        hosts = urlsplit(dsn).netloc.rpartition("@")[2]
    except ValueError:
        raise BusError(NO_ADDRESS) from None
    check_ports(hosts)


def place_of(dsn: str) -> str:
    """Host and port, or the socket's folder, of a DSN, for messages; never its user or password."""
    parts = urlsplit(dsn)
    folder = parse_qs(parts.query).get("host", [""])[0]
    return folder or parts.netloc.rpartition("@")[2] or "localhost"


@contextmanager
def plain_errors(place: str) -> Iterator[None]:
    """Turn database errors into BusError or BusUnavailable with class and SQLSTATE: asyncpg's texts carry row values."""
    try:
        yield
    except asyncpg.PostgresError as error:
        state = error.sqlstate or "XX000"
        told = f"{type(error).__name__}, SQLSTATE {state}"
        if state.startswith(REFUSED):
            raise BusError(f"PostgreSQL at {place} refuses the bus ({told}); check SPEAN_BUS") from None
        if state.startswith(TRANSIENT):
            raise BusUnavailable(f"PostgreSQL at {place}: {told}") from None
        raise BusError(f"PostgreSQL at {place}: {told}") from None
    except asyncpg.ClientConfigurationError:
        raise BusError(NO_ADDRESS) from None
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
        raise BusUnavailable(f"no PostgreSQL answers at {place} ({type(error).__name__}); check SPEAN_BUS") from None


async def _connect(dsn: str, settings: Mapping[str, str]) -> Connection:
    return await connect(
        dsn, timeout=CONNECT_S, command_timeout=STATEMENT_S, server_settings={**WORKER_SETTINGS, **settings}
    )


async def _disconnect(conn: Connection) -> None:
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        await conn.close(timeout=CLOSE_S)


class Session:
    """One connection, opened when first used and again after it was lost; one user at a time."""

    def __init__(self, dsn: str, settings: Mapping[str, str]) -> None:
        self._dsn, self._settings = dsn, settings
        self._place = place_of(dsn)
        self._lock = asyncio.Lock()
        self._conn: Connection | None = None

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Connection]:
        """Raises BusUnavailable, BusError."""
        async with self._lock:
            with plain_errors(self._place):
                if self._conn is None or self._conn.is_closed():
                    self._conn = await _connect(self._dsn, self._settings)
                yield self._conn

    async def close(self) -> None:
        async with self._lock:
            if self._conn is not None:
                await _disconnect(self._conn)
                self._conn = None


class Wakes:
    """Listens for both channels on one connection and calls everyone who asked. Starts listening for the first."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._calls: set[Callable[[Note], None]] = set()
        self._task: asyncio.Task[None] | None = None
        self.listening = False

    def add(self, call: Callable[[Note], None]) -> None:
        self._calls.add(call)
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def remove(self, call: Callable[[Note], None]) -> None:
        self._calls.discard(call)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                log.info("the bus cannot listen now", extra={"error_class": type(error).__name__})
            await asyncio.sleep(RECONNECT_S)

    async def _listen(self) -> None:
        """Until the connection is lost."""
        conn = await _connect(self._dsn, FLEETING)
        lost = asyncio.Event()
        try:
            conn.add_termination_listener(lambda _: lost.set())
            for channel in (TOPIC_CHANNEL, GROUP_CHANNEL):
                await conn.add_listener(channel, self._notified)
            self.listening = True
            self._tell(None)
            await lost.wait()
        finally:
            self.listening = False
            conn.terminate()

    def _notified(self, _conn: object, _pid: int, channel: str, payload: object) -> None:
        self._tell((channel, str(payload)))

    def _tell(self, note: Note) -> None:
        for call in tuple(self._calls):
            call(note)
