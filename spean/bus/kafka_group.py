"""Groups on Kafka: reading only what was sought, in order and without holes.

aiokafka starts fetching before its rebalance listener has ended, and swallows the listener's exceptions. So the listener
only notes what was lost and gained; the reader seeks; `poll` takes a batch only where it begins at the expected offset.
Committed offsets and the reset policy decide nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition, errors

from spean.bus import BusError, BusUnavailable, OutOfRange, Partition, Stored
from spean.bus.kafka_access import Access
from spean.bus.kafka_client import CLOSE_S, REQUEST_MS, native, one_by_one, plain_errors, stored, within
from spean.bus.share import STALL_S, Share

log = logging.getLogger(__name__)

# The least that a broker allows by default (group.min.session.timeout.ms): how long a vanished member keeps its share.
SESSION_MS = 6_000
# Also how soon members hear of a rebalance.
HEARTBEAT_MS = 1_000
# A fetch that waits at the broker holds up the first fetch of a partition sought meanwhile.
FETCH_WAIT_MS = 250
# How soon a member finds a topic that was lost and made anew; until it looks again, it has no share of it.
METADATA_MS = 5_000
COMMIT_S = 2.0
# Batches that begin elsewhere than expected: a race at first; a log that is not ours when it goes on.
MISMATCHES = 20
NEVER_MS = 2**31 - 1


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, subscription: KafkaSubscription, consumer: AIOKafkaConsumer) -> None:
        self._subscription, self._consumer = subscription, consumer

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self._subscription.revoked(self._consumer)

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._subscription.gained(self._consumer, {Partition(tp.topic, tp.partition) for tp in assigned})


class KafkaSubscription:
    """A static member of a group: after a restart within `SESSION_MS` it has its share again without a rebalance.

    Its share is therefore free for others only `SESSION_MS` after `close`. A consumer that has failed or that nobody
    asked for `STALL_S` is thrown away; the next `poll` joins again.
    """

    def __init__(self, access: Access, group: str, member: str, topics: Sequence[str]) -> None:
        self._access, self._servers = access, access.servers
        self._group, self._member, self._topics = group, member, topics
        self._share = Share()
        self._consumer: Any = None
        self._closing: set[asyncio.Task[bool]] = set()
        self._stall: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Timeout | None = None
        self._mismatches = 0

    async def start(self) -> None:
        """Connect and begin to join; `assigned` is empty until the group has agreed. Raises BusUnavailable, BusError."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            client_id=self._member,
            group_id=self._group,
            group_instance_id=self._member,
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            max_poll_interval_ms=NEVER_MS,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            request_timeout_ms=REQUEST_MS,
            metadata_max_age_ms=METADATA_MS,
            **self._access.options,
        )
        try:
            with plain_errors(self._servers):
                await consumer.start()
                consumer.subscribe(self._topics, listener=_Listener(self, consumer))
        except BaseException:
            await within(CLOSE_S, asyncio.create_task(consumer.stop()))
            raise
        self._consumer = consumer
        self._watch()

    def assigned(self) -> frozenset[Partition]:
        return self._share.assigned()

    async def seek(self, partition: Partition, offset: int) -> None:
        consumer = self._consumer
        if consumer is None or partition not in self._share.held:
            return
        tp = native(partition)
        with plain_errors(self._servers):
            starts, ends = await asyncio.gather(consumer.beginning_offsets([tp]), consumer.end_offsets([tp]))
        start, end = starts[tp], ends[tp]
        if self._consumer is not consumer or partition not in self._share.held:
            return
        if not start <= offset <= end:
            raise OutOfRange(f"{partition.topic}/{partition.number} holds {start} to {end}, asked for {offset}")
        try:
            consumer.seek(tp, offset)
            consumer.resume(tp)
        except errors.IllegalStateError:
            return
        self._share.expected[partition] = offset

    async def poll(self, *, timeout_s: float, max_records: int) -> dict[Partition, list[Stored]]:
        self._watch()
        if self._consumer is None:
            await self.start()
        self._share.enter_poll()
        if self._share.changed():
            await asyncio.sleep(0)
            return {}
        found: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]] = {}
        try:
            async with asyncio.timeout(timeout_s) as self._waiting:
                with plain_errors(self._servers):
                    found = await self._fetch(timeout_s, max_records)
        except TimeoutError:
            pass
        except UnicodeDecodeError:
            return await self._around_unreadable(max_records)
        except OutOfRange:
            raise
        except BusError:
            self._drop()
            raise
        finally:
            self._waiting = None
        # True here only to end this call early: the reader looks at `assigned` before it comes back.
        self._share.changed()
        return self._checked(found)

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        held = {native(partition): next_ for partition, next_ in positions.items() if partition in self._share.held}
        if self._consumer is None or not held:
            return
        try:
            with plain_errors(self._servers):
                async with asyncio.timeout(COMMIT_S):
                    await self._consumer.commit(held)
        except BusError as error:
            log.info("shown positions not saved", extra={"error_class": type(error).__name__})

    async def close(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
        self._drop()
        if self._closing:
            await asyncio.wait(self._closing)

    def revoked(self, consumer: AIOKafkaConsumer) -> None:
        """A rebalance takes everything, also what will come back: another may have read it in between."""
        if self._consumer is consumer:
            self._share.lose(self._share.held)
            self._end_poll()

    def gained(self, consumer: AIOKafkaConsumer, partitions: set[Partition]) -> None:
        if self._consumer is consumer:
            # Until it is sought: whatever aiokafka would read from the committed offset is of no use.
            consumer.pause(*map(native, partitions))
            self._share.gain(partitions)
            self._end_poll()

    def _end_poll(self) -> None:
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def _fetch(
        self, timeout_s: float, max_records: int
    ) -> dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]:
        consumer = self._consumer
        if consumer is None:
            raise BusUnavailable("the member was thrown away while it waited")
        # Named partitions only: errors and records of one that was not sought stay where they are. Where there is none to
        # name, a partition that cannot be: aiokafka tells of a broken group membership only when it is asked for records.
        sought = [native(partition) for partition in self._share.expected] or [TopicPartition(self._topics[0], -1)]
        timeout_ms = max(1, int(timeout_s * 1000))
        got: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]
        got = await consumer.getmany(*sought, timeout_ms=timeout_ms, max_records=max_records)
        return got

    async def _around_unreadable(self, max_records: int) -> dict[Partition, list[Stored]]:
        """Everything that was fetched is read again, each partition for itself. Raises BusUnavailable."""
        consumer, expected = self._consumer, dict(self._share.expected)
        if consumer is None:
            return {}
        try:
            with plain_errors(self._servers):
                read = await one_by_one(consumer, expected, limit=max_records, wait_ms=FETCH_WAIT_MS)
        except BusError:
            self._drop()
            raise
        batches = {
            one: batch for one, batch in read.items() if batch and self._share.expected.get(one) == expected[one]
        }
        for partition, batch in batches.items():
            self._share.expected[partition] = batch[-1].offset + 1
        return batches

    def _checked(
        self, found: Mapping[TopicPartition, list[ConsumerRecord[bytes, bytes]]]
    ) -> dict[Partition, list[Stored]]:
        """The records that begin at the expected offset and follow each other. The rest is sought again. Raises BusError
        when it never fits."""
        batches: dict[Partition, list[Stored]] = {}
        for tp, records in found.items():
            partition = Partition(tp.topic, tp.partition)
            expected = self._share.expected.get(partition)
            if expected is None:
                continue
            batch = [
                stored(partition, record) for index, record in enumerate(records) if record.offset == expected + index
            ]
            if batch:
                batches[partition] = batch
                self._share.expected[partition] = batch[-1].offset + 1
                self._mismatches = 0
            if len(batch) < len(records):
                self._seek_again(tp, expected + len(batch))
        return batches

    def _seek_again(self, tp: TopicPartition, offset: int) -> None:
        self._mismatches += 1
        if self._mismatches > MISMATCHES:
            raise BusError(f"topic {tp.topic} has holes: it must not be compacted or written in Kafka transactions")
        if self._consumer is not None and tp in self._consumer.assignment():
            self._consumer.seek(tp, offset)

    def _watch(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
        self._stall = asyncio.get_running_loop().call_later(STALL_S, self._drop)

    def _drop(self) -> None:
        """Throw the consumer away; closing it goes on by itself."""
        consumer, self._consumer = self._consumer, None
        self._share.lose(self._share.held)
        if consumer is not None:
            task = asyncio.create_task(within(CLOSE_S, asyncio.create_task(consumer.stop())))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
