"""The bus on Apache Kafka. Effects and positions live in PostgreSQL, so Kafka's transactions are not used."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.producer.message_accumulator import BatchBuilder

from spean.bus import Bounds, BusError, BusUnavailable, OutOfRange, Partition, Record, Stored, TopicSpec
from spean.bus.kafka_access import Access, why_refused
from spean.bus.kafka_client import (
    CONNECT_MS,
    DENIED,
    native,
    no_topic,
    one_by_one,
    plain_errors,
    stored,
    within,
)
from spean.bus.kafka_group import KafkaSubscription
from spean.bus.share import check_partitions, check_records

DAY_MS = 86_400_000
# A quarter of the broker's default limit for a batch (message.max.bytes), four records of the largest allowed size.
BATCH_BYTES = 256 * 1024
# An idempotent producer tries for ever; the relay would rather begin anew.
APPEND_S = 10.0
READ_S = 10.0
TOPICS_S = 20.0
CLOSE_S = 3.0
RETRY_S = 0.05
FETCH_WAIT_MS = 250


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
        try:
            async with bus._use_admin():
                return bus
        except BusUnavailable:
            if (refused := await why_refused(access)) is not None:
                raise refused from None
            raise

    async def ensure_topics(self, topics: Iterable[TopicSpec]) -> None:
        """Replicated on three brokers where there are as many; retention is set on creation only."""
        wanted = {spec.name: spec for spec in topics}
        async with self._use_admin() as admin, asyncio.timeout(TOPICS_S):
            brokers = len((await admin.describe_cluster())["brokers"])
            known = await _describe(admin, wanted)
            missing = [spec for name, spec in wanted.items() if name not in known]
            if missing:
                made = await admin.create_topics([_new_topic(spec, brokers) for spec in missing])
                for name, code, *_ in made.topic_errors:
                    _check_made(name, code)
            while not _ready(known, wanted):
                await asyncio.sleep(RETRY_S)
                known = await _describe(admin, wanted)
        for spec in wanted.values():
            check_partitions(spec.name, len(known[spec.name]["partitions"]), spec.partitions)

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
        await producer.start()
        return producer

    async def subscribe(self, group: str, member: str, topics: Iterable[str]) -> KafkaSubscription:
        wanted = sorted(topics)
        for topic in wanted:
            await self._count(topic)
        subscription = KafkaSubscription(self._access, group, member, wanted)
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
                known = await _describe(admin, [topic])
            if topic not in known:
                raise no_topic(topic)
            self._partitions[topic] = len(known[topic]["partitions"])
        return self._partitions[topic]

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
            records = (await reader.getmany(tp, timeout_ms=FETCH_WAIT_MS, max_records=limit)).get(tp, [])
        except UnicodeDecodeError:
            read = await one_by_one(reader, {partition: offset}, limit=limit, wait_ms=FETCH_WAIT_MS)
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
                        await admin.start()
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
                        self._reader = reader
                        await reader.start()
                    yield self._reader
            except BusUnavailable:
                reader_, self._reader, self._reading = self._reader, None, None
                if reader_ is not None:
                    await within(CLOSE_S, asyncio.create_task(reader_.stop()))
                raise


class KafkaProducer:
    """One batch in flight per partition. Acknowledged by a majority, and not doubled by the client's own retries."""

    def __init__(self, access: Access, name: str) -> None:
        self._servers = access.servers
        self._producer = AIOKafkaProducer(
            bootstrap_servers=access.servers,
            client_id=name,
            acks="all",
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=CONNECT_MS,
            **access.options,
        )
        self._locks: dict[Partition, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._broken = False

    async def start(self) -> None:
        """Raises BusUnavailable, BusError."""
        try:
            with plain_errors(self._servers):
                async with asyncio.timeout(APPEND_S):
                    await self._producer.start()
        except BaseException:
            await self.close()
            raise

    async def append(self, partition: Partition, records: Sequence[Record]) -> int:
        check_records(partition, records)
        async with self._locks[partition]:
            # Asked here, not before: nothing may follow a batch that has failed while this one waited.
            if self._broken:
                raise BusError("this producer has failed before: close it and open another")
            try:
                with plain_errors(self._servers):
                    async with asyncio.timeout(APPEND_S):
                        return await self._append(partition, records)
            except BaseException:
                self._broken = True
                raise

    async def _append(self, partition: Partition, records: Sequence[Record]) -> int:
        if partition.number not in await self._producer.partitions_for(partition.topic):
            raise no_topic(partition.topic)
        first: int | None = None
        done = 0
        for batch in self._batches(records):
            count = batch.record_count()
            sent = await (await self._producer.send_batch(batch, partition.topic, partition=partition.number))
            # The broker knows the batch as a duplicate but no longer its offset (-1); or somebody else wrote in between,
            # which leaves the records in order but not one after the other. Either way only the log can tell.
            if sent.offset < 0 or (first is not None and sent.offset != first + done):
                raise BusUnavailable("appended, but at an unknown offset")
            first = sent.offset if first is None else first
            done += count
        if first is None:
            raise ValueError("nothing to append")
        return first

    def _batches(self, records: Sequence[Record]) -> Iterable[BatchBuilder]:
        batch = self._producer.create_batch()
        for record in records:
            if not _add(batch, record):
                batch.close()
                yield batch
                batch = self._producer.create_batch()
                if not _add(batch, record):
                    raise BusError("a record does not fit into an empty batch")
        batch.close()
        yield batch

    async def close(self) -> None:
        if not self._broken and await within(CLOSE_S, asyncio.create_task(self._producer.stop())):
            return
        # Stopping waits for batches that can never be delivered. So only its tasks and connections are ended.
        self._producer._closed = True  # noqa: SLF001
        await within(CLOSE_S, asyncio.create_task(self._producer.client.close()))
        await within(CLOSE_S, asyncio.create_task(self._producer._sender.close()))  # noqa: SLF001


def _add(batch: BatchBuilder, record: Record) -> bool:
    headers = [(name, value.encode()) for name, value in record.headers.items()]
    return batch.append(timestamp=None, key=record.key, value=record.value, headers=headers) is not None


async def _bounds(reader: AIOKafkaConsumer, partitions: Sequence[Partition]) -> dict[Partition, Bounds]:
    tps = [native(partition) for partition in partitions]
    starts, ends = await asyncio.gather(reader.beginning_offsets(tps), reader.end_offsets(tps))
    return {each: Bounds(starts[tp], ends[tp]) for each, tp in zip(partitions, tps, strict=True)}


async def _describe(admin: AIOKafkaAdminClient, topics: Iterable[str]) -> Mapping[str, Any]:
    """Kafka's description of those of `topics` that exist. Raises KafkaError for one that may not be seen."""
    wanted = frozenset(topics)
    # All topics are asked for, because naming one would create it on a broker with auto.create.topics.enable.
    known = {each["topic"]: each for each in await admin.describe_topics() if each["topic"] in wanted}
    for each in known.values():
        kind = errors.for_code(each["error_code"])
        if issubclass(kind, DENIED):
            raise kind
    return known


def _new_topic(spec: TopicSpec, brokers: int) -> NewTopic:
    replicas = min(3, brokers)
    settings = {"cleanup.policy": "delete", "retention.ms": str(spec.retention_days * DAY_MS)}
    if replicas == 3:
        settings["min.insync.replicas"] = "2"
    return NewTopic(spec.name, spec.partitions, replicas, topic_configs=settings)


def _check_made(topic: str, code: int) -> None:
    """Somebody else may have been quicker. Raises KafkaError, BusError."""
    kind = errors.for_code(code)
    if kind in (errors.NoError, errors.TopicAlreadyExistsError):
        return
    if issubclass(kind, DENIED) or kind.retriable:
        raise kind
    raise BusError(f"Kafka refuses to create topic {topic} ({kind.__name__})")


def _ready(known: Mapping[str, Any], wanted: Mapping[str, TopicSpec]) -> bool:
    """Whether every topic is known and each of its partitions has a leader."""
    return all(
        name in known
        and known[name]["error_code"] == 0
        and known[name]["partitions"]
        and all(each["leader"] >= 0 for each in known[name]["partitions"])
        for name in wanted
    )
