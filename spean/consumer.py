"""Taking in what others say, each event once and in order, whatever the bus does twice.

Three rules (`docs/decisions/0003-order.md`):
- the first statement of an effect's transaction sets the partition's position from the expected offset to the next one;
  where it is not the expected one, another consumer has been here: roll back, read the position, seek;
- per writer and aggregate the last (epoch, sequence) is kept: what has passed is dropped, a gap parks the key;
- an event that fails is parked with all that follows it for its key. Other keys flow.
Consumers never ask anybody: what needs an answer becomes a due row for the clock.

While one batch is taken in, the next is read. Here is who reads what, and from where; what becomes of a batch in its
transaction is in `spean.taking`, giving events to handlers in `spean.handling`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

from schemas.registry import TYPES, ReadProblem
from spean import lives, order, taking, telemetry
from spean.bus import Bounds, Bus, BusError, BusUnavailable, OutOfRange, Partition, Record, Subscription
from spean.db import Database, DatabaseProblem
from spean.handling import (
    Alone,
    AsOne,
    Attempt,
    Failed,
    GivenUp,
    Handler,
    Handlers,
    Poison,
    Together,
    class_of,
    handle,
    retry,
)
from spean.loops import back_off
from spean.order import Position
from spean.taking import Read

__all__ = ["Consumer", "Handler", "Handlers", "Poison", "Together", "handle", "retry"]
log = logging.getLogger(__name__)
Batches = dict[Partition, list[Read]]

BATCH_RECORDS = 500
# As many records in one answer: more are likely to wait, and are read while these are taken in.
MORE_WAITS = BATCH_RECORDS // 2
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


class _Moved(Exception):
    """The position is not where this consumer thought: somebody else has taken the batch."""


class Consumer:
    """One group's member: reads `topics`, gives each event to `handlers[type]` inside the effect's transaction."""

    def __init__(self, db: Database, bus: Bus, group: str, member: str, topics: Sequence[str],
                 handlers: Handlers) -> None:  # fmt: skip
        self._db, self._bus, self._group, self._member = db, bus, group, member
        self._topics, self._handlers = topics, handlers
        self._positions: dict[Partition, Position] = {}
        self._tries: Counter[tuple[Partition, int]] = Counter()
        self._blocked: dict[Partition, float] = {}
        self._shown_at = self._looked_at = 0.0
        self._shown: dict[Partition, int] = {}
        self._behind: dict[Partition, int] = {}
        self._ahead: asyncio.Task[Batches | None] | None = None

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
                    await self._stop_reading()
                    await subscription.close()
            except (BusError, DatabaseProblem) as error:
                why = {"error_class": type(error).__name__, "reason": str(error)}
                log.warning("consumer starts again", extra={"service": self._group, **why})
                await back_off(failures)
                failures += 1

    async def _step(self, subscription: Subscription) -> None:
        batches = await self._next(subscription)
        if batches is None:
            self._positions.clear()
            return
        if sum(map(len, batches.values())) >= MORE_WAITS and not self._has_to_look():
            self._ahead = asyncio.create_task(self._read(subscription))
        for partition, batch in batches.items():
            position = self._positions.get(partition)
            if position is None or batch[0].stored.offset != position.next:
                self._positions.pop(partition, None)
                continue
            try:
                await self._take(partition, batch)
            except _Moved:
                self._positions.pop(partition, None)
        if self._ahead is None:
            await self._show(subscription)
            await self._look_for_stall()

    async def _next(self, subscription: Subscription) -> Batches | None:
        """What was read ahead and is still this member's, or what is read now. None where a position is not in the log."""
        ahead = self._ahead
        try:
            # A subscription is not for two at once: what reads ahead has ended before anything else is asked of it.
            read = {} if ahead is None else await ahead
        finally:
            self._ahead = None
        if read is None:
            return None
        kept = await self._look_what_is_mine(subscription, read)
        return await self._read(subscription) if ahead is None else kept

    async def _look_what_is_mine(self, subscription: Subscription, read: Batches) -> Batches:
        """Forget what is another's now and find the places of what is new. Returns what was `read` ahead without what is
        read again from there."""
        assigned = subscription.assigned()
        for partition in self._positions.keys() - assigned:
            del self._positions[partition]
        kept = {partition: batch for partition, batch in read.items() if partition in self._positions}
        now = asyncio.get_running_loop().time()
        new = [each for each in assigned - self._positions.keys() if now >= self._blocked.get(each, 0.0)]
        if new:
            await self._find_places(subscription, new)
        return kept

    async def _read(self, subscription: Subscription) -> Batches | None:
        try:
            batches = await subscription.poll(timeout_s=POLL_S, max_records=BATCH_RECORDS)
        except OutOfRange:
            return None
        return {partition: [taking.read(stored) for stored in batch] for partition, batch in batches.items()}

    async def _stop_reading(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
            await asyncio.wait({ahead})
            with suppress(asyncio.CancelledError, BusError):
                ahead.result()

    def _has_to_look(self) -> bool:
        """At the subscription or at the bus, which has to wait until nothing is read ahead."""
        now = asyncio.get_running_loop().time()
        return now >= min(self._shown_at + SHOW_EVERY_S, self._looked_at + STALL_S)

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

    async def _take(self, partition: Partition, batch: Sequence[Read]) -> None:
        """The whole batch in one transaction; where anything in it fails, one record at a time."""
        try:
            await self._take_in(partition, batch, AsOne(self._handlers))
        except Failed:
            log.info("batch taken one by one", extra={"topic": partition.topic, "count": len(batch)})
        except DatabaseProblem as problem:
            if problem.server:
                raise
        else:
            return
        for one in batch:
            await self._take_one(partition, one)

    async def _take_one(self, partition: Partition, one: Read) -> None:
        """What fails is parked. What is transient is tried again, by its next delivery, but not for ever."""
        place = partition, one.stored.offset
        try:
            await self._take_in(partition, [one], Alone(self._handlers))
        except DatabaseProblem as problem:
            self._tries[place] += not problem.server
            if problem.server or self._tries[place] < TRIES_MOST:
                raise
            await self._take_in(partition, [one], GivenUp(class_of(problem)))
        self._tries.pop(place, None)

    async def _take_in(self, partition: Partition, batch: Sequence[Read], attempt: Attempt) -> None:
        """Records that begin at the position, in one transaction with it. Raises _Moved, DatabaseProblem, and what
        `attempt` raises."""
        with telemetry.span("consume", topic=partition.topic, partition=partition.number, count=len(batch)):
            async with self._db.transaction("consumer.take") as tx:
                before, last = self._positions[partition], batch[-1].stored
                life, heard = lives.heard((one.stored for one in batch), before.life)
                position = Position(last.offset + 1, _id_of(last.record), life)
                if not await order.advance(tx, partition, before.next, position):
                    raise _Moved
                kept = {stored.offset for stored in heard}
                reads = (one for one in batch if one.stored.offset in kept)
                became = await taking.take(tx, reads, attempt, self._handlers)
        self._positions[partition] = position
        taking.count(self._db.name, partition.topic, tx, became)


def _id_of(record: Record) -> UUID | None:
    try:
        return UUID(record.headers["ce_id"])
    except (KeyError, ValueError):
        return None
