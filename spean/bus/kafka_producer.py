"""Appending to Kafka: batches of our own making, acknowledged by a majority, numbered by the broker."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from spean.bus import BusError, BusUnavailable, Partition, Record
from spean.bus.kafka_access import Access
from spean.bus.kafka_client import CLOSE_S, CONNECT_MS, no_topic, plain_errors, within
from spean.bus.share import check_records

# A quarter of the broker's default limit for a batch (message.max.bytes), four records of the largest allowed size.
BATCH_BYTES = 256 * 1024
# An idempotent producer tries for ever; the relay would rather begin anew.
APPEND_S = 10.0


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
            except BaseException as error:
                self._broken = True
                if isinstance(error, BusUnavailable) and (few := await self._too_few(partition)) is not None:
                    raise few from None
                raise

    async def _too_few(self, partition: Partition) -> BusUnavailable | None:
        """Says so where copies of a partition are missing: brokers then answer nothing, and aiokafka tries for ever."""
        client = self._producer.client
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await client.force_metadata_update()
        there = client.cluster._partitions.get(partition.topic, {}).get(partition.number)  # noqa: SLF001
        if there is None or len(there.isr) == len(there.replicas):
            return None
        return BusUnavailable(
            f"only {len(there.isr)} of {len(there.replicas)} copies of {partition.topic}/{partition.number} are in sync: what is "
            "said waits in the database until enough brokers are back; nothing is lost"
        )

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
