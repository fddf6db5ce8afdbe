"""What has to happen at a time: due rows, and the clock that calls their handlers.

A row is claimed for a while (`claimed_until`), so any number of clocks may run and a crashed one delays only what it
held. Handlers may ask others outside a transaction; they then lock, look again, decide, and clear or move the row in
their own transaction. A handler that fails, or takes too long, is called again later and later; the row never disappears
by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from spean import telemetry
from spean.db import Database, DatabaseProblem, Tx
from spean.loops import back_off

log = logging.getLogger(__name__)
Handler = Callable[[UUID], Awaitable[None]]

# Short enough that a crash delays nobody for long. A handler is cut off well before another clock may call it, and may
# wait for one holder (2 s) or one mail server (10 s).
CLAIM_S = 15
HANDLER_S = 12.0
# Handlers side by side: most of them wait for an answer, few hold a connection.
AT_ONCE = 32
LOOK_EVERY_S = 0.1
RETRY_MOST_S = 60
# What is called within this is called in time: a claim of a clock that has died runs out, and the next one looks.
OVERDUE_S = 20
# A second try and a third are still the same story; a deadline in some hours is another one.
SAME_TRACE = timedelta(seconds=30)


async def set_due(tx: Tx, kind: str, subject: UUID, at: datetime) -> None:
    """At `at` the clock calls the handler of `kind`; an earlier row of that kind and subject is replaced. What is due at once
    belongs to what caused it, and to its trace."""
    within = telemetry.traceparent() if at - tx.now <= SAME_TRACE else None
    await tx.conn.execute("select due_set($1, $2, $3, $4)", kind, subject, at, within)


async def clear_due(tx: Tx, kind: str, subject: UUID) -> None:
    await tx.conn.execute("select due_clear($1, $2)", kind, subject)


async def claim(tx: Tx, kinds: list[str], rows: int, seconds: int) -> list[asyncpg.Record]:
    """Rows that are due and nobody's, for `seconds`. A claim that ends later than any may was made before the database's
    clock was set back: it would last as long as that clock was wrong."""
    return await tx.conn.fetch(
        """
        update due set claimed_until = now() + make_interval(secs => $4), tries = tries + 1
        where (kind, subject) in (
            select kind, subject from due
            where at <= $2 and kind = any($1)
              and (claimed_until <= now() or claimed_until > now() + make_interval(secs => $5))
            order by at limit $3 for update skip locked)
        returning kind, subject, at, tries, traceparent
        """,
        kinds, tx.now, rows, seconds, RETRY_MOST_S,
    )  # fmt: skip


async def put_off(tx: Tx, claimed: asyncpg.Record, seconds: int) -> None:
    """Not before `seconds` from now; a row that was set anew since it was claimed stays as it is."""
    await tx.conn.execute(
        """
        update due set claimed_until = now() + make_interval(secs => $5)
        where kind = $1 and subject = $2 and at = $3 and tries = $4
        """,
        claimed["kind"], claimed["subject"], claimed["at"], claimed["tries"], seconds,
    )  # fmt: skip


async def overdue(tx: Tx) -> list[tuple[str, int, datetime]]:
    """Per kind: how many rows should have been called `OVERDUE_S` ago at the latest, and when the first of them."""
    rows = await tx.conn.fetch(
        """
        select kind, count(*) as count, min(at) as oldest from due where at <= $1::timestamptz - make_interval(secs => $2)
        group by kind
        """,
        tx.now, OVERDUE_S,
    )  # fmt: skip
    return [(row["kind"], row["count"], row["oldest"]) for row in rows]


class Clock:
    def __init__(self, db: Database, service: str, handlers: Mapping[str, Handler]) -> None:
        self._db, self._service, self._handlers = db, service, handlers
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled; handlers that are running then are cancelled too, and their rows called again later."""
        failures = 0
        try:
            while True:
                claimed = 0
                try:
                    claimed = await self.tick()
                    failures = 0
                except DatabaseProblem as problem:
                    log.warning("clock looks again", extra={"service": self._service, "sqlstate": problem.sqlstate})
                    await back_off(failures)
                    failures += 1
                if not claimed:
                    await asyncio.sleep(LOOK_EVERY_S)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def tick(self) -> int:
        """Call what is due now, as far as there is room; none of them waits for another. Returns how many were called."""
        free = AT_ONCE - len(self._running)
        if not self._handlers or free == 0:
            return 0
        async with self._db.transaction("clock.claim") as tx:
            rows = await claim(tx, list(self._handlers), free, CLAIM_S)
        for row in rows:
            task = asyncio.create_task(self._call(row), name=f"due {row['kind']}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return len(rows)

    async def _call(self, row: asyncpg.Record) -> None:
        kind, tries = row["kind"], row["tries"]
        try:
            with telemetry.span(f"clock {kind}", parent=row["traceparent"], service=self._service):
                async with asyncio.timeout(HANDLER_S):
                    await self._handlers[kind](row["subject"])
        except Exception as error:  # noqa: BLE001 (second of the two loops: one subject's fault must not stop the others)
            telemetry.add("spean.due.failures", service=self._service, kind=kind)
            log.warning(
                "due handler failed",
                extra={"service": self._service, "kind": kind, "tries": tries, "error_class": type(error).__name__},
            )
            # Where this cannot be written either, the claim runs out by itself.
            with contextlib.suppress(DatabaseProblem):
                async with self._db.transaction("clock.put_off") as tx:
                    await put_off(tx, row, min(2 ** min(tries, 6), RETRY_MOST_S))
