"""Taking in what others say, each event once and in order, whatever the bus does twice.

Three rules (`docs/decisions/0003-order.md`):
- the first statement of an effect's transaction sets the partition's position from the expected offset to the next one;
  where it is not the expected one, another consumer has been here: roll back, read the position, seek;
- per writer and aggregate the last (epoch, sequence) is kept: what has passed is dropped, a gap parks the key;
- an event that fails is parked with all that follows it for its key. Other keys flow.
Consumers never ask anybody: what needs an answer becomes a due row for the clock.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from uuid import UUID

from opentelemetry.trace import SpanKind

from schemas.registry import TYPES, ReadProblem, Unreadable
from schemas.versions import newest
from spean import lives, order, telemetry
from spean.bus import Bounds, Bus, BusError, BusUnavailable, OutOfRange, Partition, Record, Stored, Subscription
from spean.db import Database, DatabaseProblem, Tx, plain_errors
from spean.event import Event, Malformed, parse, written_by
from spean.loops import back_off
from spean.order import Key, Place, Position, place_of
from spean.problem import Refusal

log = logging.getLogger(__name__)
Handler = Callable[[Tx, Event], Awaitable[None]]
# Gives one event to its handler; the class of what went wrong, or None.
Attempt = Callable[[Tx, Event], Awaitable[str | None]]

BATCH_RECORDS = 500
POLL_S = 1.0
# Positions are shown to the bus (for lag) this often; a tenth of what an autoscaler looks at.
SHOW_EVERY_S = 1.0
# Longer than a round over all partitions with full batches takes.
STALL_S = 15.0
# Then nothing of that partition is read, for what was in between would be skipped; it is looked at again now and then.
TRIMMED = "unread records are gone from the log: say them again with spean replay"
BLOCKED_S = 2.0
# Said by a newer release: parked until this service is upgraded.
NOT_KNOWN = (ReadProblem.UNKNOWN_TYPE.value, ReadProblem.UNKNOWN_VERSION.value)
# A deadlock or a lock that is not to be had passes within a few tries; what has not is the event's own fault.
TRIES_MOST = 8


class Poison(Exception):
    """An event that can never take effect here; `reason` is a class, never content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Moved(Exception):
    """The position is not where this consumer thought: somebody else has taken the batch."""


class _Failed(Exception):
    """Something in a batch has failed: one record at a time."""


class Consumer:
    """One group's member: reads `topics`, gives each event to `handlers[type]` inside the effect's transaction."""

    def __init__(self, db: Database, bus: Bus, group: str, member: str, topics: Sequence[str],
                 handlers: Mapping[str, Handler]) -> None:  # fmt: skip
        self._db, self._bus, self._group, self._member = db, bus, group, member
        self._topics, self._handlers = topics, handlers
        self._positions: dict[Partition, Position] = {}
        self._tries: Counter[tuple[Partition, int]] = Counter()
        self._blocked: dict[Partition, float] = {}
        self._shown_at = self._looked_at = 0.0
        self._shown: dict[Partition, int] = {}
        self._behind: dict[Partition, int] = {}

    async def run(self) -> None:
        """Until cancelled. Anything transient starts again from the positions in the database."""
        failures = 0
        while True:
            self._positions.clear()
            self._behind.clear()
            try:
                subscription = await self._bus.subscribe(self._group, self._member, self._topics)
                try:
                    while True:
                        await self._step(subscription)
                        failures = 0
                finally:
                    await subscription.close()
            except (BusError, DatabaseProblem) as error:
                why = {"error_class": type(error).__name__, "reason": str(error)}
                log.warning("consumer starts again", extra={"service": self._group, **why})
                await back_off(failures)
                failures += 1

    async def _step(self, subscription: Subscription) -> None:
        assigned = subscription.assigned()
        for partition in self._positions.keys() - assigned:
            del self._positions[partition]
        now = asyncio.get_running_loop().time()
        new = [each for each in assigned - self._positions.keys() if now >= self._blocked.get(each, 0.0)]
        if new:
            await self._find_places(subscription, new)
        try:
            batches = await subscription.poll(timeout_s=POLL_S, max_records=BATCH_RECORDS)
        except OutOfRange:
            self._positions.clear()
            return
        for partition, batch in batches.items():
            position = self._positions.get(partition)
            if position is None or batch[0].offset != position.next:
                self._positions.pop(partition, None)
                continue
            try:
                await self._take(partition, batch)
            except _Moved:
                self._positions.pop(partition, None)
        await self._show(subscription)
        await self._look_for_stall()

    async def _show(self, subscription: Subscription) -> None:
        """Tell the bus how far this group is. Nothing ever reads it back to decide."""
        now = asyncio.get_running_loop().time()
        positions = {partition: position.next for partition, position in self._positions.items()}
        if positions != self._shown and now >= self._shown_at + SHOW_EVERY_S:
            await subscription.commit(positions)
            self._shown, self._shown_at = positions, now

    async def _look_for_stall(self) -> None:
        """A partition that had records beyond its position at the last look, and has given none since, is stuck: a client
        may return nothing, and no error, for as long as all brokers are away. One whose position somebody has moved (a replay)
        is sought again: where the log has grown anew to just where this consumer waits, nothing else would tell it.
        Raises BusUnavailable, BusError, DatabaseProblem."""
        now = asyncio.get_running_loop().time()
        if now < self._looked_at + STALL_S:
            return
        self._looked_at = now
        async with self._db.transaction("consumer.look") as tx:
            kept = await order.positions(tx)
        self._positions = {at: position for at, position in self._positions.items() if kept.get(at) == position.next}
        behind: dict[Partition, int] = {}
        for topic in self._topics:
            for partition, bounds in (await self._bus.bounds(topic)).items():
                position = self._positions.get(partition)
                if position is not None and position.next < bounds.end:
                    behind[partition] = position.next
                    if self._behind.get(partition) == position.next:
                        raise BusUnavailable(f"{topic}/{partition.number} has records, and none comes")
        self._behind = behind

    async def _find_places(self, subscription: Subscription, partitions: Sequence[Partition]) -> None:
        """All at once: nothing is taken in meanwhile, and one after the other a busy machine might never come to an end."""
        async with self._db.transaction("consumer.positions") as tx:
            positions = await order.load_positions(tx, partitions)
        bounds: dict[Partition, Bounds] = {}
        for topic in sorted({each.topic for each in partitions}):
            bounds |= await self._bus.bounds(topic)
        found = (self._find_place(subscription, each, positions[each], bounds[each]) for each in partitions)
        # All are waited for, whatever happens to one: none may still seek when the consumer starts again.
        for problem in await asyncio.gather(*found, return_exceptions=True):
            if problem is not None:
                raise problem

    async def _find_place(self, subscription: Subscription, partition: Partition, position: Position,
                          bounds: Bounds) -> None:  # fmt: skip
        """Make sure that this is still the log that the position belongs to and that it holds what comes next, and seek to
        it."""
        start, end = bounds
        if position.next > end or not await self._same_log(partition, position, start):
            log.warning("the log is another one: reading it from its start", extra={"topic": partition.topic})
            async with self._db.transaction("consumer.reset") as tx:
                if not await order.advance(tx, partition, position.next, Position(start, None)):
                    return
            position = Position(start, None)
        elif position.next < start:
            log.error(TRIMMED, extra={"service": self._group, "topic": partition.topic, "partition": partition.number})
            self._blocked[partition] = asyncio.get_running_loop().time() + BLOCKED_S
            return
        await self._take_up(partition)
        await subscription.seek(partition, position.next)
        self._positions[partition] = position

    async def _take_up(self, partition: Partition) -> None:
        """What waits because whoever read it was older than its writer, and is known here, goes on by itself. Looked for
        whenever a partition is taken over: also from an older member, which may have parked it a moment ago."""
        async with self._db.transaction("consumer.take_up") as tx:
            keys = await order.parked_as(tx, partition, NOT_KNOWN, list(TYPES))
        for key in keys:
            await retry(self._db, key, self._handlers)
        if keys:
            log.info("known since the upgrade", extra={"topic": partition.topic, "count": len(keys)})

    async def _same_log(self, partition: Partition, position: Position, start: int) -> bool:
        if position.last_id is None or position.next - 1 < start:
            return True
        found = await self._bus.read(partition, position.next - 1, limit=1)
        return bool(found) and _id_of(found[0].record) == position.last_id

    async def _take(self, partition: Partition, batch: Sequence[Stored]) -> None:
        """The whole batch in one transaction; where anything in it fails, one record at a time."""
        try:
            await self._take_in(partition, batch, self._together)
        except _Failed:
            log.info("batch taken one by one", extra={"topic": partition.topic, "count": len(batch)})
        except DatabaseProblem as problem:
            if problem.server:
                raise
        else:
            return
        for stored in batch:
            await self._take_one(partition, stored)

    async def _take_one(self, partition: Partition, stored: Stored) -> None:
        """What fails is parked. What is transient is tried again, by its next delivery, but not for ever."""
        place = partition, stored.offset
        try:
            await self._take_in(partition, [stored], self._alone)
        except DatabaseProblem as problem:
            self._tries[place] += not problem.server
            if problem.server or self._tries[place] < TRIES_MOST:
                raise
            reason = _class_of(problem)

            async def give_up(_: Tx, __: Event) -> str:
                return reason

            await self._take_in(partition, [stored], give_up)
        self._tries.pop(place, None)

    async def _take_in(self, partition: Partition, batch: Sequence[Stored], attempt: Attempt) -> None:
        """Records that begin at the position, in one transaction with it. Raises _Moved, DatabaseProblem, and what
        `attempt` raises."""
        with telemetry.span("consume", topic=partition.topic, partition=partition.number, count=len(batch)):
            async with self._db.transaction("consumer.take") as tx:
                life, heard = lives.heard(batch, self._positions[partition].life)
                position = Position(batch[-1].offset + 1, _id_of(batch[-1].record), life)
                if not await order.advance(tx, partition, self._positions[partition].next, position):
                    raise _Moved
                events = [(stored, event) for stored in heard if (event := await _readable(tx, stored)) is not None]
                keys = {Key(event.source, event.subject) for _, event in events}
                places = await order.lock_places(tx, keys)
                waiting = await order.first_parked(tx, keys)
                became = [
                    (event, await self._place(tx, stored, event, places, waiting, attempt)) for stored, event in events
                ]
                await order.save_places(tx, places)
        self._positions[partition] = position
        for event, outcome in became:
            service, topic = self._db.name, partition.topic
            telemetry.add("messaging.client.consumed.messages", service=service, topic=topic, outcome=outcome)
            if outcome == "taken":
                telemetry.record("spean.event.delay", (tx.now - event.time).total_seconds(), service=service)

    async def _place(self, tx: Tx, stored: Stored, event: Event, places: dict[Key, Place], waiting: dict[Key, Place],
                     attempt: Attempt) -> str:  # fmt: skip
        """Drop it, let it take effect (and what it let wait), or park it. `waiting` is each key's first parked event. Returns
        `passed`, `taken` or `parked`."""
        key, here = Key(event.source, event.subject), Place(event.epoch, event.sequence)
        first = waiting.get(key)
        verdict = place_of(places[key], here)
        if verdict == "passed":
            return verdict
        reason: str | None = verdict
        if first is not None and here >= first:
            reason = "behind"
        elif verdict == "next":
            reason = await attempt(tx, event)
        if reason is None:
            places[key] = here
            if first is not None:
                places[key], left = await drain(tx, key, here, self._handlers)
                waiting.pop(key)
                waiting.update({} if left is None else {key: left})
            return "taken"
        await order.park(tx, stored, event, reason)
        if first is None or here < first:
            waiting[key] = here
            _tell(stored, reason)
        return "parked"

    async def _together(self, tx: Tx, event: Event) -> None:
        if await handle(tx, event, self._handlers) is not None:
            raise _Failed

    async def _alone(self, tx: Tx, event: Event) -> str | None:
        return await handle_alone(tx, event, self._handlers)


async def handle(tx: Tx, event: Event, handlers: Mapping[str, Handler]) -> str | None:
    """Give one event to its handler. Returns the class of what went wrong for good (the transaction is then of no use
    any more), or None. Raises DatabaseProblem for what may pass."""
    try:
        with plain_errors("consumer.handle"):
            await _apply(tx, event, handlers)
    except DatabaseProblem as problem:
        if problem.transient:
            raise
        return _class_of(problem)
    except Poison as poison:
        return poison.reason
    except Refusal as refusal:
        return f"refused-{refusal.code}"
    except Exception as error:  # noqa: BLE001 (first of the two loops: a handler's fault must not stop other keys)
        return type(error).__name__
    return None


async def handle_alone(tx: Tx, event: Event, handlers: Mapping[str, Handler]) -> str | None:
    """The same in a savepoint: what went wrong leaves nothing behind, and the transaction goes on."""
    with plain_errors("consumer.savepoint"):
        savepoint = tx.conn.transaction()
        await savepoint.start()
        reason = await handle(tx, event, handlers)
        await (savepoint.commit() if reason is None else savepoint.rollback())
    return reason


async def _apply(tx: Tx, event: Event, handlers: Mapping[str, Handler]) -> None:
    """A type that the contracts know and this service does not handle has no effect; an older version is handled as the
    newest. Raises Poison for one that cannot be read, and whatever the handler raises."""
    tx.correlation, tx.causation = event.correlationid, event.id
    try:
        if (handler := handlers.get(newest(event.type))) is not None:
            about = {"event": event.id, "event_type": event.type, "operation": "process"}
            within = telemetry.carried(event.traceparent)
            with telemetry.span(f"process {event.type}", SpanKind.CONSUMER, parent=within, **about):
                await handler(tx, event.newest())
        elif event.type not in TYPES:
            event.data()
    except Unreadable as unreadable:
        raise Poison(unreadable.problem.value) from None


async def drain(tx: Tx, key: Key, place: Place, handlers: Mapping[str, Handler]) -> tuple[Place, Place | None]:
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


async def retry(db: Database, key: Key, handlers: Mapping[str, Handler]) -> str | None:
    """Try a parked key again, in one transaction. Returns why its first event still waits; None when all have taken
    effect. A record that is nobody's stays as it is. Raises DatabaseProblem."""
    async with db.transaction("consumer.retry") as tx:
        if key.source != order.NOBODY:
            places = await order.lock_places(tx, [key])
            places[key], _ = await drain(tx, key, places[key], handlers)
            await order.save_places(tx, places)
        return await order.why_parked(tx, key)


def _class_of(problem: DatabaseProblem) -> str:
    return f"sqlstate-{problem.sqlstate}"


def _id_of(record: Record) -> UUID | None:
    try:
        return UUID(record.headers["ce_id"])
    except (KeyError, ValueError):
        return None


async def _readable(tx: Tx, stored: Stored) -> Event | None:
    """The event, or None for a record that is none or that its topic's writer cannot have written: such a record belongs
    to no key, so it is parked alone and holds up nobody."""
    try:
        event = parse(stored.record)
    except Malformed:
        await _park_alone(tx, stored, "malformed")
        return None
    if not written_by(stored.partition.topic, event):
        await _park_alone(tx, stored, ReadProblem.WRONG_TOPIC.value)
        return None
    return event


async def _park_alone(tx: Tx, stored: Stored, reason: str) -> None:
    await order.park_alone(tx, stored, reason)
    _tell(stored, reason)


def _tell(stored: Stored, reason: str) -> None:
    at = {"topic": stored.partition.topic, "partition": stored.partition.number, "offset": stored.offset}
    log.error("event parked", extra={**at, "reason": reason})
