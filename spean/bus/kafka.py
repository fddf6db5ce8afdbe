"""The bus on Apache Kafka. Effects and positions live in PostgreSQL, so Kafka's transactions are not used."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

from spean.bus import (
    Bounds,
    BusError,
    BusUnavailable,
    OutOfRange,
    Partition,
    Stored,
    TopicSpec,
    Use,
    kafka_acls,
    kafka_topics,
)
from spean.bus.kafka_access import Access, why_refused
from spean.bus.kafka_client import (
    CLOSE_S,
    CONNECT_MS,
    native,
    no_topic,
    one_by_one,
    plain_errors,
    stored,
    within,
)
from spean.bus.kafka_group import KafkaSubscription
from spean.bus.kafka_producer import KafkaProducer
from spean.bus.kafka_requests import Acl, load_layouts
from spean.bus.kafka_topics import Difference
from spean.bus.share import check_partitions

log = logging.getLogger(__name__)
READ_S = 10.0
TOPICS_S = 20.0
# What is read outside a group is known to be there. A fetch that waits at the broker for more holds up all that the same
# connection asks next.
FETCH_WAIT_MS = 5
READ_WAIT_MS = 250


class KafkaBus:
    """An admin client and, once something is read outside a group, a consumer without a group; both made anew after an
    error. One call at a time uses each."""

    def __init__(self, access: Access) -> None:
        self._access, self._servers = access, access.servers
        self._admin: AIOKafkaAdminClient | None = None
        self._reader: AIOKafkaConsumer | None = None
        self._admin_lock, self._reader_lock = asyncio.Lock(), asyncio.Lock()
        self._partitions: dict[str, int] = {}
        self._reading: tuple[Partition, int] | None = None

    @classmethod
    async def open(cls, access: Access) -> KafkaBus:
        """Raises BusError where a broker and we do not trust each other, BusUnavailable if none answers."""
        bus = cls(access)
        async with _told_why(access), bus._use_admin():
            return bus

    async def ensure_topics(self, topics: Iterable[TopicSpec]) -> None:
        specs = list(topics)
        await self.apply_topics(specs)
        async with self._use_admin() as admin:
            _, layouts = await load_layouts(admin, [spec.name for spec in specs])
        for spec in specs:
            if (layout := layouts.get(spec.name)) is not None:
                check_partitions(spec.name, len(layout.replicas), spec.partitions)

    async def expect_topics(self, topics: Iterable[TopicSpec], uses: Iterable[Use]) -> None:
        specs, uses = list(topics), list(uses)
        async with self._use_admin() as admin, asyncio.timeout(TOPICS_S):
            brokers, layouts = await load_layouts(admin, [spec.name for spec in specs])
        if told := kafka_topics.unfit(specs, uses, layouts):
            raise BusError(
                f"Kafka at {self._servers} is not ready for {', '.join(use.group for use in uses)}: {'; '.join(told)}. "
                "With an account that administers Kafka, spean topics check shows it all and spean topics apply mends it "
                "(docs/kafka.md)"
            )
        for name, layout in layouts.items():
            if layout is not None and brokers >= kafka_topics.COPIES > min(map(len, layout.replicas)):
                log.warning("a topic has too few copies: run spean topics apply", extra={"topic": name})

    async def topic_differences(self, topics: Iterable[TopicSpec], copies: int | None = None) -> list[Difference]:
        """What differs from what these topics should be, with `copies` of each (by default three, with one broker one).
        Raises BusError, BusUnavailable."""
        specs = list(topics)
        async with self._use_admin() as admin, asyncio.timeout(TOPICS_S):
            found = await kafka_topics.look(admin, [spec.name for spec in specs])
        return kafka_topics.differences(specs, found, kafka_topics.copies_for(found, copies))

    async def apply_topics(self, topics: Iterable[TopicSpec], copies: int | None = None) -> list[Difference]:
        """Make what is missing and mend what differs; returns what has been changed. The number of partitions is changed
        only where a topic has never held a record. Raises BusError, BusUnavailable."""
        specs = list(topics)
        fresh = await self._never_held(specs)
        async with self._use_admin() as admin, asyncio.timeout(TOPICS_S):
            changed = await kafka_topics.apply(admin, specs, copies, fresh)
        self._partitions.clear()
        return changed

    async def acl_report(self, wanted: Collection[Acl]) -> kafka_acls.AclReport:
        """Raises BusError, BusUnavailable."""
        async with self._use_admin() as admin, asyncio.timeout(TOPICS_S):
            return await kafka_acls.report(admin, wanted)

    async def apply_acls(self, wanted: Collection[Acl]) -> kafka_acls.AclReport:
        """Give and take permissions until they are as wanted; returns how they were. Raises BusError, BusUnavailable."""
        async with self._use_admin() as admin, asyncio.timeout(TOPICS_S):
            return await kafka_acls.apply(admin, wanted)

    async def bounds(self, topic: str) -> dict[Partition, Bounds]:
        partitions = [Partition(topic, number) for number in range(await self._count(topic))]
        async with self._use_reader() as reader:
            return await _bounds(reader, partitions)

    async def read(self, partition: Partition, offset: int, *, limit: int) -> list[Stored]:
        if not 0 <= partition.number < await self._count(partition.topic):
            raise no_topic(partition.topic)
        async with self._use_reader() as reader:
            start, end = (await _bounds(reader, [partition]))[partition]
            if offset < start:
                raise OutOfRange(f"{partition.topic}/{partition.number} starts at {start}, asked for {offset}")
            wanted = min(limit, end - offset)
            if wanted <= 0:
                return []
            found: list[Stored] = []
            async with asyncio.timeout(READ_S):
                while len(found) < wanted:
                    found += await self._read_more(reader, partition, offset + len(found), wanted - len(found))
            # What was fetched ahead stays for the next call; nothing more is fetched until then.
            reader.pause(native(partition))
            return found

    async def committed(self, group: str, topics: Iterable[str]) -> dict[Partition, int]:
        partitions = [Partition(topic, number) for topic in topics for number in range(await self._count(topic))]
        async with self._use_admin() as admin:
            found = await admin.list_consumer_group_offsets(group, partitions=[native(each) for each in partitions])
        return {
            partition: found[native(partition)].offset
            for partition in partitions
            if native(partition) in found and found[native(partition)].offset >= 0
        }

    async def producer(self, name: str) -> KafkaProducer:
        producer = KafkaProducer(self._access, name)
        async with _told_why(self._access):
            await producer.start()
        return producer

    async def subscribe(self, group: str, member: str, topics: Iterable[str]) -> KafkaSubscription:
        wanted = sorted(topics)
        for topic in wanted:
            await self._count(topic)
        subscription = KafkaSubscription(self._access, group, member, wanted)
        async with _told_why(self._access):
            await subscription.start()
        return subscription

    async def trim(self, now: datetime) -> int:
        """Brokers delete by the topic's retention.ms."""
        del now
        return 0

    async def close(self) -> None:
        if self._admin is not None:
            await within(CLOSE_S, asyncio.create_task(self._admin.close()))
        if self._reader is not None:
            await within(CLOSE_S, asyncio.create_task(self._reader.stop()))
        self._admin = self._reader = None

    async def _count(self, topic: str) -> int:
        """Partitions of a topic, a number that never changes. Raises BusError when there is no such topic."""
        if topic not in self._partitions:
            async with self._use_admin() as admin:
                _, layouts = await load_layouts(admin, [topic])
            if (layout := layouts.get(topic)) is None:
                raise no_topic(topic)
            self._partitions[topic] = len(layout.replicas)
        return self._partitions[topic]

    async def _never_held(self, specs: Iterable[TopicSpec]) -> frozenset[str]:
        """Topics with too few partitions that have never held a record. Raises BusUnavailable."""
        async with self._use_admin() as admin:
            _, layouts = await load_layouts(admin, [spec.name for spec in specs])
        few = [
            spec.name
            for spec in specs
            if (layout := layouts.get(spec.name)) is not None and len(layout.replicas) < spec.partitions
        ]
        return frozenset([name for name in few if not any(each.end for each in (await self.bounds(name)).values())])

    async def _read_more(self, reader: AIOKafkaConsumer, partition: Partition, offset: int, limit: int) -> list[Stored]:
        """Some records from `offset` on; what aiokafka has fetched ahead is used by the next call where it fits."""
        tp = native(partition)
        if self._reading is None or self._reading[0] != partition:
            reader.assign([tp])
            self._reading = None
        if self._reading != (partition, offset):
            reader.seek(tp, offset)
        reader.resume(tp)
        self._reading = None
        try:
            records = (await reader.getmany(tp, timeout_ms=READ_WAIT_MS, max_records=limit)).get(tp, [])
        except UnicodeDecodeError:
            read = await one_by_one(reader, {partition: offset}, limit=limit, wait_ms=READ_WAIT_MS)
            return read[partition]
        if records and records[0].offset != offset:
            raise BusError(f"topic {partition.topic} has holes: it must not be compacted or written in transactions")
        self._reading = (partition, offset + len(records))
        return [stored(partition, record) for record in records]

    @asynccontextmanager
    async def _use_admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        async with self._admin_lock:
            try:
                with plain_errors(self._servers):
                    if self._admin is None:
                        admin = AIOKafkaAdminClient(
                            bootstrap_servers=self._servers, request_timeout_ms=CONNECT_MS, **self._access.options
                        )
                        await _started(admin.start, admin.close)
                        self._admin = admin
                    yield self._admin
            except BusUnavailable:
                admin_, self._admin = self._admin, None
                if admin_ is not None:
                    await within(CLOSE_S, asyncio.create_task(admin_.close()))
                raise

    @asynccontextmanager
    async def _use_reader(self) -> AsyncIterator[AIOKafkaConsumer]:
        async with self._reader_lock:
            try:
                with plain_errors(self._servers):
                    if self._reader is None:
                        reader = AIOKafkaConsumer(
                            bootstrap_servers=self._servers,
                            enable_auto_commit=False,
                            auto_offset_reset="none",
                            fetch_max_wait_ms=FETCH_WAIT_MS,
                            request_timeout_ms=CONNECT_MS,
                            **self._access.options,
                        )
                        await _started(reader.start, reader.stop)
                        self._reader = reader
                    yield self._reader
            except BusUnavailable:
                reader_, self._reader, self._reading = self._reader, None, None
                if reader_ is not None:
                    await within(CLOSE_S, asyncio.create_task(reader_.stop()))
                raise


async def _started(start: Callable[[], Awaitable[None]], stop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """A client that does not start, or that nobody waits for any more, is ended: half of one answers nothing ever."""
    try:
        await start()
    except BaseException:
        await within(CLOSE_S, asyncio.create_task(stop()))
        raise


@asynccontextmanager
async def _told_why(access: Access) -> AsyncIterator[None]:
    """Where nobody seems to answer, it may be that somebody is not trusted (any more: a certificate ends while we run).
    Raises BusError then."""
    try:
        yield
    except BusUnavailable:
        if (refused := await why_refused(access)) is not None:
            raise refused from None
        raise


async def _bounds(reader: AIOKafkaConsumer, partitions: Sequence[Partition]) -> dict[Partition, Bounds]:
    tps = [native(partition) for partition in partitions]
    starts, ends = await asyncio.gather(reader.beginning_offsets(tps), reader.end_offsets(tps))
    return {each: Bounds(starts[tp], ends[tp]) for each, tp in zip(partitions, tps, strict=True)}
