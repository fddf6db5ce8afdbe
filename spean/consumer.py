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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from uuid import UUID

from schemas.registry import TOPIC_OF, TOPICS, TYPES, ReadProblem, Unreadable
from spean import order, telemetry
from spean.bus import Bus, BusError, OutOfRange, Partition, Record, Stored, Subscription
from spean.db import Database, DatabaseProblem, Tx
from spean.event import Event, Malformed, parse
from spean.order import Key, Place, Position

log = logging.getLogger(__name__)
Handler = Callable[[Tx, Event], Awaitable[None]]

BATCH_RECORDS = 500
POLL_S = 1.0
BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0)


class Poison(Exception):
    """An event that can never take effect here; `reason` is a class, never content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Moved(Exception):
    """The position is not where this consumer thought: somebody else has taken the batch."""


class LogTrimmed(BusError):
    """Records that this service has not read are gone from the log: only `spean replay` can say them again."""


class Consumer:
    """One group's member: reads `topics`, gives each event to `handlers[type]` inside the effect's transaction."""

    def __init__(self, db: Database, bus: Bus, group: str, member: str, topics: Sequence[str],
                 handlers: Mapping[str, Handler]) -> None:  # fmt: skip
        self._db, self._bus, self._group, self._member = db, bus, group, member
        self._topics, self._handlers = topics, handlers
        self._positions: dict[Partition, Position] = {}

    async def run(self) -> None:
        """Until cancelled. Anything transient starts again from the positions in the database."""
        failures = 0
        while True:
            self._positions.clear()
            try:
                subscription = await self._bus.subscribe(self._group, self._member, self._topics)
                try:
                    while True:
                        await self._step(subscription)
                        failures = 0
                finally:
                    await subscription.close()
            except (BusError, DatabaseProblem) as error:
                log.warning(
                    "consumer starts again", extra={"service": self._group, "error_class": type(error).__name__}
                )
                await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1

    async def _step(self, subscription: Subscription) -> None:
        assigned = subscription.assigned()
        for partition in self._positions.keys() - assigned:
            del self._positions[partition]
        for partition in assigned - self._positions.keys():
            await self._find_place(subscription, partition)
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
        if batches:
            await subscription.commit({partition: place.next for partition, place in self._positions.items()})

    async def _find_place(self, subscription: Subscription, partition: Partition) -> None:
        """Load the position, make sure that this is still the log it belongs to, and seek to it."""
        async with self._db.transaction("consumer.position") as tx:
            position = await order.load_position(tx, partition)
        start, end = (await self._bus.bounds(partition.topic))[partition]
        if position.next > end or not await self._same_log(partition, position, start):
            log.warning("the log is another one: reading it from its start", extra={"topic": partition.topic})
            async with self._db.transaction("consumer.reset") as tx:
                await order.reset(tx, partition, start)
            position = Position(start, None)
        elif position.next < start:
            log.error("unread records are gone from the log; say them again with spean replay",
                      extra={"topic": partition.topic, "partition": partition.number})  # fmt: skip
            raise LogTrimmed(partition.topic)
        await subscription.seek(partition, position.next)
        self._positions[partition] = position

    async def _same_log(self, partition: Partition, position: Position, start: int) -> bool:
        if position.last_id is None or position.next - 1 < start:
            return True
        found = await self._bus.read(partition, position.next - 1, limit=1)
        return bool(found) and found[0].record.headers.get("ce_id") == str(position.last_id)

    async def _take(self, partition: Partition, batch: Sequence[Stored]) -> None:
        """The whole batch in one transaction; where anything in it fails, one record at a time."""
        try:
            await self._take_together(partition, batch)
        except DatabaseProblem as problem:
            if problem.sqlstate.startswith("08"):
                raise
        except (_Moved, BusError):
            raise
        except Exception as error:  # noqa: BLE001 (first of the two loops: a handler's fault must not stop other keys)
            log.info("batch taken one by one", extra={"topic": partition.topic, "error_class": type(error).__name__})
        else:
            return
        for stored in batch:
            place = self._positions[partition].next
            if stored.offset >= place:
                await self._take_one(partition, stored)

    async def _take_together(self, partition: Partition, batch: Sequence[Stored]) -> None:
        with telemetry.span("consume", topic=partition.topic, partition=partition.number, count=len(batch)):
            async with self._db.transaction("consumer.take") as tx:
                position = await self._advance(tx, partition, batch)
                events = [(stored, event) for stored in batch if (event := await _readable(tx, stored)) is not None]
                keys = {Key(event.source, event.subject) for _, event in events}
                places = await order.lock_places(tx, keys)
                waiting = await order.parked_keys(tx, keys)
                for stored, event in events:
                    await self._place_and_apply(tx, stored, event, places, waiting)
                await order.save_places(tx, places)
        self._positions[partition] = position

    async def _take_one(self, partition: Partition, stored: Stored) -> None:
        """One record; a handler's failure that is not transient parks it."""
        try:
            await self._take_together(partition, [stored])
        except DatabaseProblem as problem:
            if problem.transient:
                raise
            await self._park(partition, stored, f"sqlstate-{problem.sqlstate}")
        except Poison as poison:
            await self._park(partition, stored, poison.reason)
        except (_Moved, BusError):
            raise
        except Exception as error:  # noqa: BLE001 (the class is kept, the text may hold content)
            await self._park(partition, stored, type(error).__name__)

    async def _park(self, partition: Partition, stored: Stored, reason: str) -> None:
        async with self._db.transaction("consumer.park") as tx:
            position = await self._advance(tx, partition, [stored])
            event = await _readable(tx, stored)
            if event is not None:
                await order.lock_places(tx, [Key(event.source, event.subject)])
                await order.park(tx, stored, event, reason)
        self._positions[partition] = position
        log.error("event parked", extra={"topic": partition.topic, "offset": stored.offset, "reason": reason})

    async def _advance(self, tx: Tx, partition: Partition, batch: Sequence[Stored]) -> Position:
        expected, last = self._positions[partition].next, batch[-1]
        position = Position(last.offset + 1, _id_of(last.record))
        if not await order.advance(tx, partition, expected, position.next, position.last_id):
            raise _Moved
        return position

    async def _place_and_apply(self, tx: Tx, stored: Stored, event: Event, places: dict[Key, Place],
                               waiting: dict[Key, str]) -> None:  # fmt: skip
        key = Key(event.source, event.subject)
        verdict = place_of(places[key], Place(event.epoch, event.sequence))
        if verdict == "passed":
            return
        filling = verdict == "next" and waiting.get(key) == "gap"
        if key in waiting and not filling:
            await order.park(tx, stored, event, "behind")
            return
        if verdict != "next":
            waiting[key] = verdict
            await order.park(tx, stored, event, verdict)
            return
        await apply(tx, event, self._handlers)
        places[key] = Place(event.epoch, event.sequence)
        if filling:
            places[key], left = await drain(tx, key, places[key], self._handlers)
            if not left:
                waiting.pop(key)


def place_of(last: Place, new: Place) -> str:
    """Where a new event stands to the last one taken: `next`, `passed`, `gap`, or `fork`.

    Within a life the numbers have no holes; a later life goes on counting where the last event stood.
    """
    if new <= last or new.epoch < last.epoch:
        return "passed"
    if new.epoch > last.epoch > 0 and new.sequence <= last.sequence:
        return "fork"
    return "next" if new.sequence == last.sequence + 1 else "gap"


async def apply(tx: Tx, event: Event, handlers: Mapping[str, Handler]) -> None:
    """Give one event to its handler. A type that the contracts know and this service does not handle has no effect.

    Raises Poison for one that cannot be read.
    """
    handler = handlers.get(event.type)
    if handler is None:
        if event.type not in TYPES:
            try:
                event.data()
            except Unreadable as unreadable:
                raise Poison(unreadable.problem.value) from None
        return
    tx.correlation, tx.causation = event.correlationid, event.id
    try:
        await handler(tx, event)
    except Unreadable as unreadable:
        raise Poison(unreadable.problem.value) from None


async def drain(tx: Tx, key: Key, place: Place, handlers: Mapping[str, Handler]) -> tuple[Place, int]:
    """Give a key's parked events to their handlers, in order, up to the first gap. Returns the new last place and how
    many still wait.

    Raises whatever the handler raises: the transaction then keeps them all parked.
    """
    rows = await order.parked_of(tx, key)
    left = len(rows)
    for row in rows:
        record = Record(str(key.aggregate).encode(), json.loads(row["headers"]), row["value"])
        verdict = place_of(place, Place(row["epoch"], row["sequence"]))
        if verdict == "next":
            await apply(tx, parse(record), handlers)
            place = Place(row["epoch"], row["sequence"])
        elif verdict != "passed":
            break
        await order.unpark(tx, row["number"])
        left -= 1
    return place, left


async def retry(db: Database, key: Key, handlers: Mapping[str, Handler]) -> int:
    """Try a parked key again, in one transaction. Returns how many of its events still wait. Raises Poison,
    DatabaseProblem, or the handler's own error."""
    async with db.transaction("consumer.retry") as tx:
        places = await order.lock_places(tx, [key])
        places[key], left = await drain(tx, key, places[key], handlers)
        await order.save_places(tx, places)
        return left


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
        await order.park_alone(tx, stored, "malformed")
        return None
    if not _written_by(stored.partition.topic, event):
        await order.park_alone(tx, stored, ReadProblem.WRONG_TOPIC.value)
        return None
    return event


def _written_by(topic: str, event: Event) -> bool:
    """Is the source the one writer of this topic, and the type one of this topic's?"""
    declared = TOPIC_OF.get(event.type)
    for known in TOPICS:
        prefix, per_holder, _ = known.name.partition("*")
        if topic == known.name or (per_holder and topic.startswith(prefix)):
            writer = f"spean/{known.writer}" + (f"/{topic.removeprefix(prefix)}" if per_holder else "")
            return event.source == writer and declared in {None, known}
    return False
