"""What becomes of the records of one partition in the transaction that takes them in. For `spean.consumer`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from schemas.registry import ReadProblem
from spean import order, telemetry
from spean.bus import Stored
from spean.db import Tx
from spean.event import Event, Malformed, parse, written_by
from spean.handling import Attempt, Handlers, drain
from spean.order import Key, Place, Places, place_of

log = logging.getLogger(__name__)


class Read(NamedTuple):
    """A record, and the event in it; or why there is none."""

    stored: Stored
    event: Event | None
    reason: str = ""


class Became(NamedTuple):
    """What became of an event: `passed`, `taken` or `parked`."""

    event: Event
    outcome: str


def read(stored: Stored) -> Read:
    """A record that is no event, or that its topic's writer cannot have written, belongs to no key."""
    try:
        event = parse(stored.record)
    except Malformed:
        return Read(stored, None, "malformed")
    if not written_by(stored.partition.topic, event):
        return Read(stored, None, ReadProblem.WRONG_TOPIC.value)
    return Read(stored, event)


async def take(tx: Tx, reads: Iterable[Read], attempt: Attempt, handlers: Handlers) -> list[Became]:
    """Give each event that is the next of its key to its handler, drop what has passed, park what cannot take effect; what
    is nobody's is parked alone and holds up nobody. Raises DatabaseProblem, and what `attempt` raises."""
    events: list[tuple[Stored, Event]] = []
    for stored, event, reason in reads:
        if event is None:
            await order.park_alone(tx, stored, reason)
            _tell(stored, reason)
        else:
            events.append((stored, event))
    keys = {Key(event.source, event.subject) for _, event in events}
    batch = _Batch(tx, attempt, handlers, await order.lock_places(tx, keys), await order.first_parked(tx, keys))
    became = [Became(event, await batch.place(stored, event)) for stored, event in events]
    await attempt.settle(tx)
    await order.save_places(tx, batch.places)
    return became


def count(service: str, topic: str, tx: Tx, became: Sequence[Became]) -> None:
    """For who watches."""
    for outcome, events in Counter(one.outcome for one in became).items():
        telemetry.add("messaging.client.consumed.messages", events, service=service, topic=topic, outcome=outcome)
    if telemetry.began():
        for event, outcome in became:
            if outcome == "taken":
                telemetry.record("spean.event.delay", (tx.now - event.time).total_seconds(), service=service)


class _Batch(NamedTuple):
    """Events of one transaction. `waiting` is each key's first parked event."""

    tx: Tx
    attempt: Attempt
    handlers: Handlers
    places: Places
    waiting: dict[Key, Place]

    async def place(self, stored: Stored, event: Event) -> str:
        """Drop it, let it take effect (and what it let wait), or park it. Returns what became of it."""
        key, here, places = Key(event.source, event.subject), Place(event.epoch, event.sequence), self.places.now
        first = self.waiting.get(key)
        verdict = place_of(places[key], here)
        if verdict == "passed":
            return verdict
        reason: str | None = verdict
        if first is not None and here >= first:
            reason = "behind"
        elif verdict == "next":
            reason = await self.attempt.give(self.tx, event)
        if reason is None:
            places[key] = here
            if first is not None:
                await self._drain(key, here)
            return "taken"
        await order.park(self.tx, stored, event, reason)
        if first is None or here < first:
            self.waiting[key] = here
            _tell(stored, reason)
        return "parked"

    async def _drain(self, key: Key, here: Place) -> None:
        await self.attempt.settle(self.tx)
        self.places.now[key], left = await drain(self.tx, key, here, self.handlers)
        self.waiting.pop(key)
        self.waiting.update({} if left is None else {key: left})


def _tell(stored: Stored, reason: str) -> None:
    at = {"topic": stored.partition.topic, "partition": stored.partition.number, "offset": stored.offset}
    log.error("event parked", extra={**at, "reason": reason})
