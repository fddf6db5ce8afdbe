"""The bus: numbered, durable logs that relays append to and consumer groups read.

A topic has a fixed number of partitions; a partition is a log whose offsets start at 0 and have no holes.
The caller chooses the partition (`partition_of`), so both adapters order by the same key.
A group shares partitions among its members only for liveness. It never decides what has been read: every
consumer keeps its own position in its own database and seeks to it (`spean.consumer`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol


class Partition(NamedTuple):
    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """What is appended: a key, CloudEvents attributes as headers (text), and a value (JSON, at most `MAX_VALUE_BYTES`)."""

    key: bytes
    headers: Mapping[str, str]
    value: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as the log holds it."""

    partition: Partition
    offset: int
    record: Record


class Bounds(NamedTuple):
    """`start` is the offset of the oldest record still kept, `end` the offset that the next record will get."""

    start: int
    end: int

    def left_after(self, position: int) -> int:
        """Records not read yet. A position beyond the end belongs to a log that is gone: this one is read from its start."""
        return self.end - (max(self.start, position) if position <= self.end else self.start)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    name: str
    partitions: int
    retention_days: int


@dataclass(frozen=True, slots=True)
class Use:
    """What one service does on the bus: topics that it writes and reads, and its group; where brokers know accounts, its
    account has the group's name unless the operator says otherwise."""

    group: str
    writes: frozenset[str]
    reads: frozenset[str]


# An event describes work in a handful of ids and codes; anything near this size is a mistake. Kafka's default is 1 MiB.
MAX_VALUE_BYTES = 64 * 1024


class BusError(Exception):
    """The bus cannot be used as asked; the message says what is wrong and what to do. Never carries a payload."""


class BusUnavailable(BusError):
    """The bus does not answer now; the same call may succeed later."""


class OutOfRange(BusError):
    """A seek or read before the oldest kept record, or beyond the end of the log."""


class Producer(Protocol):
    async def append(self, partition: Partition, records: Sequence[Record]) -> int:
        """Append in order, all or (on error) an unknown part. Returns the first record's offset once the records are
        durable on a majority. After any error the producer is worthless: close it and open another.
        """
        ...

    async def close(self) -> None: ...


class Subscription(Protocol):
    """One member's share of a group. Not for use by two tasks at once."""

    def assigned(self) -> frozenset[Partition]:
        """Partitions that this member may read now; changes whenever members come and go."""
        ...

    async def seek(self, partition: Partition, offset: int) -> None:
        """Next `poll` returns this partition from `offset`. Needed once for every newly assigned partition: without it
        the partition is not read. Several may be sought at once. Raises `OutOfRange`. A partition that is not assigned
        any more is ignored."""
        ...

    async def poll(self, *, timeout_s: float, max_records: int) -> dict[Partition, list[Stored]]:
        """Wait up to `timeout_s` for records of sought partitions; per partition contiguous and in order; may be empty.
        Returned records count as read for the next poll. Raises `OutOfRange`, `BusUnavailable`."""
        ...

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """Tell the bus how far the group is, for showing lag only. Best effort: errors are swallowed by the adapter."""
        ...

    async def close(self) -> None: ...


class Bus(Protocol):
    async def ensure_topics(self, topics: Iterable[TopicSpec]) -> None:
        """Create what is missing, and set what differs as it should be (retention). Raises `BusError` when an existing
        topic has another number of partitions."""
        ...

    async def expect_topics(self, topics: Iterable[TopicSpec], uses: Iterable[Use]) -> None:
        """Make sure, changing nothing, that `uses` can do their work on these topics. Raises `BusError` saying all that is
        wrong, and what mends it."""
        ...

    async def bounds(self, topic: str) -> dict[Partition, Bounds]: ...

    async def read(self, partition: Partition, offset: int, *, limit: int) -> list[Stored]:
        """Read outside any group, for replay, trace and checks: up to `limit` records from `offset`, fewer or none at the
        end. Raises `OutOfRange` before the start."""
        ...

    async def committed(self, group: str, topics: Iterable[str]) -> dict[Partition, int]:
        """What `commit` last told, for showing lag."""
        ...

    async def producer(self, name: str) -> Producer: ...

    async def subscribe(self, group: str, member: str, topics: Iterable[str]) -> Subscription:
        """`member` is stable across restarts of one instance (static membership)."""
        ...

    async def trim(self, now: datetime) -> int:
        """Delete records older than their topic's retention at `now`, where brokers do not do it by themselves; returns
        how many. To be called now and then; any number of callers at once do no harm. Raises BusUnavailable."""
        ...

    async def close(self) -> None: ...


def partition_of(key: bytes, partitions: int) -> int:
    """The same on both adapters and in every process: CRC-32 of the key modulo the number of partitions."""
    return zlib.crc32(key) % partitions
