"""Pages that move by themselves: one look at the database for everybody who watches on this node.

A hub asks, while somebody watches, for the number of the newest change of each organisation watched: one query a look,
however many watch. A page opens a stream (`stream_for`) that says nothing but "changed" with that number, and fetches
its moving part again; what it shows passes the same doors as the page itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

from fastapi import Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from spean.db import DatabaseProblem
from spean.loops import back_off
from spean.problem import Refusal
from spean.web.pages import at_with
from spean.web.visitor import Visitor

log = logging.getLogger(__name__)
V = TypeVar("V")

LOOK_EVERY_S = 0.5
PING_S = 15
# A watcher that takes nothing for this long is gone.
SEND_S = 10
# A session that has ended is noticed within this; well below a minute.
CHECK_S = 45.0
# Changes that come closer than this are one for a page.
REST_S = 1.0
# Many pages do not come for their part in the same moment: so many a second, and nobody waits longer than this.
PAGES_PER_S, SPREAD_S = 50, 4.0
# Organisations that are remembered after nobody watches for them any more.
REMEMBERED = 1000
_NUMBERS = 2**63
# The session opens this no more: the page goes away from what it shows. Anything else may pass.
_OVER = frozenset({"no-session", "bad-token", "scope", "suspended"})

# Organisations → the number of the newest change of each; one that has none is left out. Numbers only rise.
Look = Callable[[frozenset[UUID]], Awaitable[Mapping[UUID, int]]]


class Hub:
    """What changes, fanned out to who watches on this node. `looks` counts the queries; `check_s`, how often a page's
    session is looked at."""

    def __init__(self, look: Look, draining: asyncio.Event, every_s: float = LOOK_EVERY_S) -> None:
        self._look, self._every_s, self.draining = look, every_s, draining
        self._watchers: Counter[UUID] = Counter()
        self._numbers: dict[UUID, int] = {}
        self._moved: dict[UUID, asyncio.Event] = {}
        self._poller: asyncio.Task[None] | None = None
        self.looks = 0
        self.check_s = CHECK_S

    @property
    def watched(self) -> int:
        """How many watch now."""
        return self._watchers.total()

    async def now(self, organisation: UUID) -> int:
        """The newest change's number, 0 before the first. A page says it when it opens its stream. Raises
        DatabaseProblem."""
        await self._refresh(frozenset({organisation}))
        return self._numbers.get(organisation, 0)

    async def latest(self, organisation: UUID) -> int:
        """The same as far as this node has looked lately, without another look where somebody watches. Raises
        DatabaseProblem."""
        known = self._numbers.get(organisation) if organisation in self._watchers else None
        return await self.now(organisation) if known is None else known

    @contextmanager
    def watching(self, organisation: UUID) -> Iterator[None]:
        """For as long as somebody watches for this organisation."""
        self._watchers[organisation] += 1
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="live")
        try:
            yield
        finally:
            self._watchers[organisation] -= 1
            if not self._watchers[organisation]:
                del self._watchers[organisation]

    async def wait(self, organisation: UUID, after: int, within_s: float) -> int:
        """The newest number, at once where it is above `after`; else the next one, or `after` when the time is over or
        the service is about to stop."""
        if self._numbers.get(organisation, 0) <= after and not self.draining.is_set():
            moved = self._moved.setdefault(organisation, asyncio.Event())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(moved.wait(), within_s)
        return max(self._numbers.get(organisation, 0), after)

    async def _poll(self) -> None:
        """Until nobody watches or the service is about to stop."""
        failures = 0
        while self._watchers and not self.draining.is_set():
            try:
                await self._refresh(frozenset(self._watchers))
            except DatabaseProblem as problem:
                log.warning("not seen what changed", extra={"sqlstate": problem.sqlstate})
                await back_off(failures)
                failures += 1
                continue
            failures = 0
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.draining.wait(), self._every_s)
        self._wake(list(self._moved))

    async def _refresh(self, organisations: frozenset[UUID]) -> None:
        self.looks += 1
        found = await self._look(organisations)
        risen = [one for one, number in found.items() if number > self._numbers.get(one, 0)]
        self._numbers.update({one: found[one] for one in risen})
        self._wake(risen)
        while len(self._numbers) > REMEMBERED + len(self._watchers):
            del self._numbers[next(one for one in self._numbers if one not in self._watchers)]

    def _wake(self, organisations: list[UUID]) -> None:
        for one in organisations:
            moved = self._moved.pop(one, None)
            if moved is not None:
                moved.set()


class Rising:
    """Numbers for a look at something that has none: another mark is a higher number, the database's milliseconds, so it
    rises over restarts and from node to node."""

    def __init__(self, marks: Callable[[frozenset[UUID]], Awaitable[tuple[datetime, Mapping[UUID, str]]]]) -> None:
        self._marks = marks
        self._seen: dict[UUID, tuple[str, int]] = {}

    async def __call__(self, organisations: frozenset[UUID]) -> Mapping[UUID, int]:
        """Raises DatabaseProblem."""
        at, marks = await self._marks(organisations)
        for one, mark in marks.items():
            known = self._seen.pop(one, ("", 0))
            number = known[1] if known[0] == mark else max(known[1] + 1, int(at.timestamp() * 1000))
            self._seen[one] = (mark, number)
        while len(self._seen) > REMEMBERED + len(organisations):
            del self._seen[next(iter(self._seen))]
        return {one: self._seen[one][1] for one in marks}


class Shared(Generic[V]):
    """What many ask for at once is made once and serves for `for_s`; a failure serves nobody else."""

    def __init__(self, for_s: float, most: int = 256) -> None:
        self._for_s, self._most = for_s, most
        self._made: dict[Hashable, tuple[float, asyncio.Task[V]]] = {}
        self.made = 0

    async def get(self, key: Hashable, make: Callable[[], Awaitable[V]]) -> V:
        """Raises what `make` raises."""
        found = self._made.get(key)
        if found is None or time.monotonic() - found[0] > self._for_s or _failed(found[1]):
            self._made.pop(key, None)
            self.made += 1
            found = (time.monotonic(), asyncio.create_task(_awaited(make)))
            self._made[key] = found
            while len(self._made) > self._most:
                del self._made[next(iter(self._made))]
        # Whoever leaves early takes nothing away from the others.
        return await asyncio.shield(found[1])


async def _awaited(make: Callable[[], Awaitable[V]]) -> V:
    return await make()


def _failed(task: asyncio.Task[V]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


async def stream_for(request: Request, *scopes: str) -> Response:
    """The stream of a page whose visitor may do one of `scopes`: `changed` with a number, a ping every 15 s, and `bye`
    when the session opens it no more. It goes on behind `Last-Event-ID`, or behind `?after=`, what the page has shown.
    The hub is `app.state.live`. Raises Refusal `busy`."""
    hub: Hub = request.app.state.live
    visitor = await _allowed(request, scopes)
    if visitor is None:
        return _events(_bye())
    newest = await hub.now(visitor.org)
    after = _number(request.headers.get("last-event-id") or request.query_params.get("after"), newest)
    return _events(_stream(request, hub, visitor, after, scopes))


def _events(stream: AsyncIterator[ServerSentEvent]) -> EventSourceResponse:
    return EventSourceResponse(stream, ping=PING_S, send_timeout=SEND_S)


def _number(said: str | None, newest: int) -> int:
    """Where to go on. What is no number, or one that nobody has been given yet, is another life's: from now on."""
    if said is None or not (said.isascii() and said.isdecimal()) or len(said) > len(str(_NUMBERS)):
        return newest
    return min(int(said), newest)


async def _allowed(request: Request, scopes: tuple[str, ...]) -> Visitor | None:
    """Who watches; None where the session opens this no more. Raises Refusal `busy`."""
    try:
        return (await at_with(*scopes)(request)).who
    except Refusal as refusal:
        if refusal.code in _OVER:
            return None
        raise


async def _bye() -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent("-", event="bye")


async def _stream(
    request: Request, hub: Hub, visitor: Visitor, number: int, scopes: tuple[str, ...]
) -> AsyncIterator[ServerSentEvent]:
    check_at = time.monotonic() + hub.check_s
    with hub.watching(visitor.org):
        while not hub.draining.is_set():
            left = check_at - time.monotonic()
            if left <= 0:
                try:
                    still = await _allowed(request, scopes)
                except (Refusal, DatabaseProblem):
                    return  # nobody can tell: the browser comes back, and is asked who it is
                if still is None or still.org != visitor.org:
                    yield ServerSentEvent("-", event="bye")
                    return
                check_at = time.monotonic() + hub.check_s
                continue
            if await hub.wait(visitor.org, number, left) > number:
                await _pause(hub, visitor.session.int % 997 / 997 * min(hub.watched / PAGES_PER_S, SPREAD_S))
                number = await hub.wait(visitor.org, number, 0)
                yield ServerSentEvent("-", event="changed", id=str(number))
                await _pause(hub, REST_S)


async def _pause(hub: Hub, seconds: float) -> None:
    """Unless the service is about to stop."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(hub.draining.wait(), seconds)
