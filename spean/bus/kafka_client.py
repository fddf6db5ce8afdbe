"""What the Kafka adapter's parts share: the address, the names, and errors without content."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition, errors

from spean.bus import BusError, BusUnavailable, OutOfRange, Partition, Record, Stored
from spean.bus.share import check_ports

CONNECT_MS = 5_000
CLOSE_S = 3.0
# Above the broker's wait for a rebalance (the session timeout), so that a join is not given up too early.
REQUEST_MS = 15_000
# aiokafka's tasks await each other when cancelled; each cancellation reaches one deeper.
CUTS = 5
ADDRESS = re.compile(r"kafka://([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:]+\]):\d+(,([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:]+\]):\d+)*")
DENIED = (
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
    errors.TransactionalIdAuthorizationFailed,
    errors.AuthenticationFailedError,
)

# At DEBUG it writes keys and values of what it sends; no setting of the process may turn that on.
logging.getLogger("aiokafka").setLevel(logging.INFO)


def servers_of(address: str) -> str:
    """`host:port[,host:port]` of a bus address. Raises BusError for another form, and for a port that is none."""
    if not ADDRESS.fullmatch(address):
        raise BusError("SPEAN_BUS must be kafka://host:port[,host:port] for Kafka")
    servers = address.removeprefix("kafka://")
    check_ports(servers)
    return servers


@contextmanager
def plain_errors(servers: str) -> Iterator[None]:
    """Turn Kafka's errors into BusUnavailable, OutOfRange or BusError with the error's class alone."""
    try:
        yield
    except errors.OffsetOutOfRangeError:
        raise OutOfRange("asked for an offset that the log does not hold") from None
    except DENIED as error:
        raise BusError(
            f"Kafka at {servers} denies it ({type(error).__name__}): this account lacks a right; spean topics apply, with an "
            "account that administers Kafka, gives each service what it needs (docs/kafka.md)"
        ) from None
    except errors.MessageSizeTooLargeError:
        raise BusError(
            f"Kafka at {servers} takes only smaller messages than a batch of ours: the topic's max.message.bytes has been lowered; "
            "spean topics apply sets it right"
        ) from None
    except errors.KafkaConnectionError:
        raise BusUnavailable(f"no Kafka answers at {servers}; check SPEAN_BUS") from None
    except (errors.KafkaError, errors.ConsumerStoppedError, errors.IllegalOperation, OSError, TimeoutError) as error:
        raise BusUnavailable(f"Kafka at {servers}: {type(error).__name__}") from None


def no_topic(topic: str) -> BusError:
    return BusError(
        f"Kafka has no topic {topic}, or not that partition of it, or this account may not see it; spean topics check tells, "
        "spean topics apply mends it"
    )


def native(partition: Partition) -> TopicPartition:
    return TopicPartition(partition.topic, partition.number)


def stored(partition: Partition, record: ConsumerRecord[bytes, bytes]) -> Stored:
    # Anybody's bytes: what is not UTF-8, or null, must not stop the reader; the event's parser refuses it.
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    return Stored(partition, record.offset, Record(record.key or b"", headers, record.value or b""))


# In place of a record that aiokafka cannot decode; no event, so its reader keeps it as a dead letter and goes on.
_UNREADABLE = Record(b"", {"unreadable": "the name of a header is not UTF-8"}, b"")


async def one_by_one(
    consumer: AIOKafkaConsumer, expected: Mapping[Partition, int], *, limit: int, wait_ms: int
) -> dict[Partition, list[Stored]]:
    """After a UnicodeDecodeError: what can be read of each partition from its offset on, up to what cannot be decoded;
    where that is the first, a stand-in for it (its content stays in the log alone).

    aiokafka decodes a batch from its beginning, so what follows in the same batch is as unreadable. No batch of ours holds
    such a record: a producer of ours writes all of it, and names every header. Raises what aiokafka raises otherwise.
    """

    async def read(partition: Partition, offset: int) -> list[Stored]:
        tp = native(partition)
        consumer.seek(tp, offset)
        found: list[Stored] = []
        try:
            while len(found) < limit:
                records = (await consumer.getmany(tp, timeout_ms=wait_ms, max_records=1)).get(tp, [])
                if not records or records[0].offset != offset + len(found):
                    break
                found.append(stored(partition, records[0]))
        except UnicodeDecodeError:
            if not found:
                found.append(Stored(partition, offset, _UNREADABLE))
        # What was decoded in vain is fetched again, from here.
        consumer.seek(tp, offset + len(found))
        return found

    read_all = await asyncio.gather(*(read(*one) for one in expected.items()), return_exceptions=True)
    batches: dict[Partition, list[Stored]] = {}
    for partition, found in zip(expected, read_all, strict=True):
        if isinstance(found, BaseException):
            raise found
        batches[partition] = found
    return batches


async def within(limit_s: float, task: asyncio.Task[None]) -> bool:
    """Wait for a task that closes something; cut it off at the limit. Its errors are of no interest any more.

    False when it had to be cut off.
    """
    done, _ = await asyncio.wait({task}, timeout=limit_s)
    finished = bool(done)
    for _ in range(CUTS):
        if done:
            break
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=0.2)
    if done and not task.cancelled():
        task.exception()
    return finished
