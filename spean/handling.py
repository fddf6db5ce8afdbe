"""Giving events to their handlers: one, one in a savepoint, many at once, and what had to wait. For `spean.consumer`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from opentelemetry.trace import SpanKind

from schemas.registry import TYPES, Unreadable
from schemas.versions import newest
from spean import order, telemetry
from spean.bus import Record
from spean.db import Database, DatabaseProblem, Tx, plain_errors
from spean.event import Event, parse
from spean.order import Key, Place, place_of
from spean.problem import Refusal

Handler = Callable[[Tx, Event], Awaitable[None]]
Handlers = Mapping[str, Handler]


class Poison(Exception):
    """An event that can never take effect here; `reason` is a class, never content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Together:
    """A handler that takes many events with a few statements: `many` is given events of one partition that follow each other,
    in order, several of one aggregate among them. It changes rows and says nothing, for what is said has one cause. Where
    any of them fails all are undone and given to it one by one."""

    many: Callable[[Tx, Sequence[Event]], Awaitable[None]]

    async def __call__(self, tx: Tx, event: Event) -> None:
        await self.take(tx, [event])

    async def take(self, tx: Tx, events: Sequence[Event]) -> None:
        """Raises TypeError where something was said, and whatever `many` raises."""
        said, tx.said = tx.said, False
        await self.many(tx, events)
        if tx.said:
            msg = "a handler of many events has said one: nobody could tell what caused it"
            raise TypeError(msg)
        tx.said = said


class Failed(Exception):
    """Something in a batch has failed: one record at a time."""


class Alone:
    """Each event in a savepoint of its own: what fails leaves nothing behind."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers

    async def give(self, tx: Tx, event: Event) -> str | None:
        """Returns the class of what went wrong, or None. Raises DatabaseProblem for what may pass."""
        return await handle_alone(tx, event, self._handlers)

    async def settle(self, tx: Tx) -> None:
        """Nothing was kept back."""


class AsOne:
    """A batch that takes effect wholly or not at all. Neighbours with one handler for many are kept back until they are
    all there."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._kept: list[Event] = []
        self._whose: Together | None = None

    async def give(self, tx: Tx, event: Event) -> str | None:
        """Always None. Raises Failed, DatabaseProblem."""
        handler = self._handlers.get(newest(event.type))
        if not isinstance(handler, Together):
            if handler is not None:
                await self.settle(tx)
            if await handle(tx, event, self._handlers) is not None:
                raise Failed
            return None
        if handler is not self._whose:
            await self.settle(tx)
            self._whose = handler
        self._kept.append(event)
        return None

    async def settle(self, tx: Tx) -> None:
        """What was kept back takes effect now. Raises Failed, DatabaseProblem."""
        whose, kept = self._whose, self._kept
        if whose is None or not kept:
            return
        self._kept = []
        if await _classed(_apply_together(tx, kept, whose)) is not None:
            raise Failed


class GivenUp:
    """An event that has been tried often enough; `reason` is the class of what went wrong."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def give(self, _: Tx, __: Event) -> str | None:
        return self._reason

    async def settle(self, _: Tx) -> None:
        """Nothing was kept back."""


Attempt = Alone | AsOne | GivenUp


async def handle(tx: Tx, event: Event, handlers: Handlers) -> str | None:
    """Give one event to its handler. Returns the class of what went wrong for good (the transaction is then of no use
    any more), or None. Raises DatabaseProblem for what may pass."""
    return await _classed(_apply(tx, event, handlers))


async def handle_alone(tx: Tx, event: Event, handlers: Handlers) -> str | None:
    """The same in a savepoint: what went wrong leaves nothing behind, and the transaction goes on."""
    with plain_errors("consumer.savepoint"):
        savepoint = tx.conn.transaction()
        await savepoint.start()
        reason = await handle(tx, event, handlers)
        await (savepoint.commit() if reason is None else savepoint.rollback())
    return reason


async def _classed(effect: Awaitable[None]) -> str | None:
    try:
        with plain_errors("consumer.handle"):
            await effect
    except DatabaseProblem as problem:
        if problem.transient:
            raise
        return class_of(problem)
    except Poison as poison:
        return poison.reason
    except Refusal as refusal:
        return f"refused-{refusal.code}"
    except Exception as error:  # noqa: BLE001 (first of the two loops: a handler's fault must not stop other keys)
        return type(error).__name__
    return None


def class_of(problem: DatabaseProblem) -> str:
    return f"sqlstate-{problem.sqlstate}"


async def _apply(tx: Tx, event: Event, handlers: Handlers) -> None:
    """A type that the contracts know and this service does not handle has no effect; an older version is handled as the
    newest. Raises Poison for one that cannot be read, and whatever the handler raises."""
    tx.correlation, tx.causation = event.correlationid, event.id
    try:
        if (handler := handlers.get(newest(event.type))) is not None:
            with _processing(event):
                await handler(tx, event.newest())
        elif event.type not in TYPES:
            event.data()
    except Unreadable as unreadable:
        raise Poison(unreadable.problem.value) from None


async def _apply_together(tx: Tx, events: Sequence[Event], handler: Together) -> None:
    """Raises as `_apply`."""
    try:
        with telemetry.processing((event.type, event.traceparent, event.id) for event in events):
            await handler.take(tx, [event.newest() for event in events])
    except Unreadable as unreadable:
        raise Poison(unreadable.problem.value) from None


def _processing(event: Event) -> AbstractContextManager[object]:
    about = {"event": event.id, "event_type": event.type, "operation": "process"}
    within = telemetry.carried(event.traceparent)
    return telemetry.span(f"process {event.type}", SpanKind.CONSUMER, parent=within, **about)


async def drain(tx: Tx, key: Key, place: Place, handlers: Handlers) -> tuple[Place, Place | None]:
    """Give a key's parked events to their handlers, in order, up to the first gap or failure, which is noted. Returns
    the new last place, and that of the first event that still waits. Raises DatabaseProblem for what may pass."""
    for row in await order.parked_of(tx, key):
        here = Place(row["epoch"], row["sequence"])
        verdict = place_of(place, here)
        if verdict != "passed":
            record = Record(str(key.aggregate).encode(), json.loads(row["headers"]), row["value"])
            reason = await handle_alone(tx, parse(record), handlers) if verdict == "next" else verdict
            if reason is not None:
                await order.set_reason(tx, row["number"], reason)
                return place, here
            place = here
        await order.unpark(tx, row["number"])
    return place, None


async def retry(db: Database, key: Key, handlers: Handlers) -> str | None:
    """Try a parked key again, in one transaction. Returns why its first event still waits; None when all have taken
    effect. A record that is nobody's stays as it is. Raises DatabaseProblem."""
    async with db.transaction("consumer.retry") as tx:
        if key.source != order.NOBODY:
            places = await order.lock_places(tx, [key])
            places.now[key], _ = await drain(tx, key, places.now[key], handlers)
            await order.save_places(tx, places)
        return await order.why_parked(tx, key)
