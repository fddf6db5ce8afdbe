"""What has to happen at a time: due rows, and the clock that calls their handlers.

A row is claimed for a while (`claimed_until`), so any number of clocks may run and a crashed one delays only what it
held. Handlers may ask others outside a transaction; they then lock, look again, decide, and clear or move the row in
their own transaction. A handler that fails is called again later and later; the row never disappears by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from uuid import UUID

import asyncpg

from spean import telemetry
from spean.db import Database, Tx

log = logging.getLogger(__name__)
Handler = Callable[[UUID], Awaitable[None]]

# Longer than any handler may take (it asks with a limit of 2 s), short enough that a crash delays nobody for long.
CLAIM_S = 15
CLAIM_ROWS = 32
LOOK_EVERY_S = 0.1
RETRY_MOST_S = 60


async def set_due(tx: Tx, kind: str, subject: UUID, at: datetime) -> None:
    """At `at` the clock calls the handler of `kind`; an earlier row of that kind and subject is replaced."""
    await tx.conn.execute("select due_set($1, $2, $3)", kind, subject, at)


async def clear_due(tx: Tx, kind: str, subject: UUID) -> None:
    await tx.conn.execute("select due_clear($1, $2)", kind, subject)


async def claim(tx: Tx, kinds: list[str], rows: int, seconds: int) -> list[asyncpg.Record]:
    return await tx.conn.fetch(
        """
        update due set claimed_until = now() + make_interval(secs => $4), tries = tries + 1
        where (kind, subject) in (
            select kind, subject from due where at <= $2 and claimed_until <= now() and kind = any($1)
            order by at limit $3 for update skip locked)
        returning kind, subject, at, tries
        """,
        kinds, tx.now, rows, seconds,
    )  # fmt: skip


async def put_off(tx: Tx, kind: str, subject: UUID, seconds: int) -> None:
    await tx.conn.execute(
        "update due set claimed_until = now() + make_interval(secs => $3) where kind = $1 and subject = $2",
        kind, subject, seconds,
    )  # fmt: skip


class Clock:
    def __init__(self, db: Database, service: str, handlers: Mapping[str, Handler]) -> None:
        self._db, self._service, self._handlers = db, service, handlers

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                called = await self.tick()
            except Exception as error:  # noqa: BLE001 (second of the two loops: the clock never stops)
                log.warning("clock looks again", extra={"service": self._service, "error_class": type(error).__name__})
                called = 0
                await asyncio.sleep(1)
            if not called:
                await asyncio.sleep(LOOK_EVERY_S)

    async def tick(self) -> int:
        """Call every handler that is due now, side by side. Returns how many were called."""
        if not self._handlers:
            return 0
        async with self._db.transaction("clock.claim") as tx:
            rows = await claim(tx, list(self._handlers), CLAIM_ROWS, CLAIM_S)
        await asyncio.gather(*(self._call(row["kind"], row["subject"], row["tries"]) for row in rows))
        return len(rows)

    async def _call(self, kind: str, subject: UUID, tries: int) -> None:
        try:
            with telemetry.span(f"clock {kind}"):
                await self._handlers[kind](subject)
        except Exception as error:  # noqa: BLE001 (one subject's fault must not stop the others)
            log.warning(
                "due handler failed",
                extra={"service": self._service, "kind": kind, "tries": tries, "error_class": type(error).__name__},
            )
            async with self._db.transaction("clock.put_off") as tx:
                await put_off(tx, kind, subject, min(2**tries, RETRY_MOST_S))
