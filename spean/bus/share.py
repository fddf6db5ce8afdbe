"""What one member of a group may read now, and how a loss is made visible to it. Used by both adapters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from spean.bus import MAX_VALUE_BYTES, BusError, Partition, Record

# A member that has not asked for records this long is stuck: its partitions go to others.
STALL_S = 30.0


class Share:
    """Partitions held, and per sought partition the offset expected next.

    A partition may be lost and come back between two looks at `assigned`. Its reader must learn of it, or it would wait
    for ever for a partition that is no longer sought. So a lost partition stays hidden until the reader has looked at
    `assigned` and come back to `poll`.
    """

    def __init__(self) -> None:
        self.expected: dict[Partition, int] = {}
        self._held: frozenset[Partition] = frozenset()
        self._hidden: frozenset[Partition] = frozenset()
        self._told: frozenset[Partition] = frozenset()
        self._looked = True
        self._changed = False

    @property
    def held(self) -> frozenset[Partition]:
        return self._held

    def assigned(self) -> frozenset[Partition]:
        self._told = self._held - self._hidden
        self._looked = True
        return self._told

    def gain(self, partitions: Iterable[Partition]) -> None:
        gained = frozenset(partitions) - self._held
        self._held |= gained
        self._changed |= bool(gained)

    def lose(self, partitions: Iterable[Partition]) -> None:
        lost = frozenset(partitions) & self._held
        self._held -= lost
        for partition in lost:
            self.expected.pop(partition, None)
        if lost & self._told:
            self._hidden |= lost & self._told
            self._looked = False
        self._changed |= bool(lost)

    def enter_poll(self) -> None:
        """The reader comes back: what it has seen missing may be shown again."""
        if self._looked and self._hidden:
            self._changed |= bool(self._hidden & self._held)
            self._hidden = frozenset()

    def changed(self) -> bool:
        """Whether `assigned` has something new to say; true once for each change, so that no reader spins on it."""
        changed, self._changed = self._changed, False
        return changed


def check_records(partition: Partition, records: Iterable[Record]) -> None:
    """Raises BusError for a value above `MAX_VALUE_BYTES`, ValueError for no records at all."""
    empty = True
    for record in records:
        empty = False
        if len(record.value) > MAX_VALUE_BYTES:
            raise BusError(
                f"a record of {len(record.value)} bytes for topic {partition.topic}; at most {MAX_VALUE_BYTES} are allowed"
            )
    if empty:
        raise ValueError("nothing to append")


def check_ports(hosts: str) -> None:
    """Raises BusError where one of `host:port,host:port,…` has a port that is none. A port may be left out."""
    for host in hosts.split(","):
        _, colon, port = host.rpartition(":")
        if colon and not host.endswith("]") and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
            raise BusError("SPEAN_BUS names a port that is none: write a number from 1 to 65535 behind host and colon")


def check_partitions(topic: str, found: int, wanted: int) -> None:
    """Raises BusError when an existing topic has another number of partitions."""
    if found != wanted:
        raise BusError(
            f"topic {topic} has {found} partitions, not {wanted}: keys would change their partition and lose their order; "
            f"keep {found}, or use another topic"
        )


def quotas(members: Mapping[str, frozenset[str]], partitions: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """How many partitions of each topic each member should hold: {(member, topic): number}.

    `members` are the topics each one reads, `partitions` the number of each topic. Every topic is shared evenly among its
    readers; what is left over goes round, so that no member gets the rest of every topic.
    """
    shares: dict[tuple[str, str], int] = {}
    turn = 0
    for topic, count in sorted(partitions.items()):
        readers = sorted(member for member, topics in members.items() if topic in topics)
        if not readers:
            continue
        each, rest = divmod(count, len(readers))
        for index, member in enumerate(readers):
            shares[member, topic] = each + ((index - turn) % len(readers) < rest)
        turn += rest
    return shares
