"""An answer that leaves while the transaction that allowed it is still open.

*Return* means that bytes leave: they are rendered whole and sent under the locks of the transaction, so a withdrawal
waits until they have left or comes first and is seen. The transaction commits even where the receiver has gone away:
what was allowed may have arrived.

What an answer puts on record for the first time (who is told what, that a copy may be out) is kept before it leaves: that
transaction commits unsent, and the answer is composed anew in another. Whatever dies as it leaves, nothing is out that
nobody knows of.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

from fastapi import Response
from starlette.types import Receive, Scope, Send

from spean.db import Database, DatabaseProblem, Tx
from spean.http import Reply, read_reply
from spean.problem import Refusal

log = logging.getLogger(__name__)
# Longer than a slow phone needs for a few kB; a withdrawal never waits longer than this for a reader.
SEND_LIMIT_S = 2.0
# Each but the first follows a change that came between: a few in a row are no accident any more.
TRIES = 5


class GatedResponse(Response):
    """Opens a transaction, lets `work` decide and compose, sends, then commits. What `work` raises becomes a problem. `work`
    is run again where it says that what it wrote must be kept first (`Tx.unkept`).

    Partners may read slowly, each holding a connection for as long as `SEND_LIMIT_S`; `Database.slow_readers` keeps them
    few, so that a stop always finds a connection. `network`: the network asks, which reads as fast as we do. `render`: how
    the answer is written (JSON, or a page).
    """

    def __init__(
        self, db: Database, name: str, work: Callable[[Tx], Awaitable[Reply]], org: UUID | None = None, *,
        network: bool = False, render: Callable[[Reply], Response] = read_reply,
    ) -> None:  # fmt: skip
        super().__init__()
        self._db, self._name, self._work, self._org, self._render = db, name, work, org, render
        self._room = contextlib.nullcontext() if network else db.slow_readers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        on_record: set[str] = set()
        left = False
        try:
            async with self._room:
                for _ in range(TRIES):
                    async with self._db.transaction(self._name, org=self._org) as tx:
                        tx.on_record = on_record
                        reply = await self._work(tx)
                        left = not tx.unkept and await _left(self._render(reply), scope, receive, send)
                    if not tx.unkept:
                        return
                raise Refusal("busy")
        except DatabaseProblem as problem:
            if not left:
                raise
            log.error("an answer has left whole, and its transaction failed", extra={"sqlstate": problem.sqlstate})


async def _left(answer: Response, scope: Scope, receive: Receive, send: Send) -> bool:
    """Send it. Has it left whole?"""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(SEND_LIMIT_S):
            await answer(scope, receive, send)
            return True
    return False
