"""Places in the order: one service's position in each partition, the last number taken per writer and aggregate, and
what waits because its number is not the next.

One function per statement. The rules are in `spean.consumer`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

import asyncpg

from spean.bus import Partition, Stored
from spean.db import DatabaseProblem, Tx
from spean.event import Event


class Key(NamedTuple):
    """Whose order: events of one writer about one aggregate."""

    source: str
    aggregate: UUID


class Place(NamedTuple):
    epoch: int
    sequence: int


class Position(NamedTuple):
    """`life` is the newest life of the partition's writer that was heard before `next` (`spean.lives`)."""

    next: int
    last_id: UUID | None
    life: int = 0


class Places(NamedTuple):
    """Of each key the last place `now`, and where it was before (`known`) when it had been heard of."""

    now: dict[Key, Place]
    known: dict[Key, Place]


NOWHERE = Place(0, 0)
# Whose order a record belongs to that no writer of its topic can have written: nobody's.
NOBODY = "unknown"
# Of a record that is no event, enough of the headers is kept to see where it came from.
_HEADERS_KEPT, _HEADER_KEPT = 40, 200


def place_of(last: Place, new: Place) -> str:
    """Where a new event stands to the last one taken: `next`, `passed`, `gap`, or `fork`.

    Within a life (epoch) the numbers have no holes; a later life goes on counting where the last event stood.
    """
    if new <= last:
        return "passed"
    if new.epoch > last.epoch > 0 and new.sequence <= last.sequence:
        return "fork"
    return "next" if new.sequence == last.sequence + 1 else "gap"


async def load_positions(tx: Tx, partitions: Iterable[Partition]) -> dict[Partition, Position]:
    """Where this service goes on in each of these; one that it has never read is at 0."""
    ordered = sorted(partitions)
    rows = await tx.conn.fetch(
        """
        insert into position as p (topic, "partition") select * from unnest($1::text[], $2::int[])
        on conflict (topic, "partition") do update set next = p.next returning topic, "partition", next, last_id, life
        """,
        [each.topic for each in ordered], [each.number for each in ordered],
    )  # fmt: skip
    return {
        Partition(row["topic"], row["partition"]): Position(row["next"], row["last_id"], row["life"]) for row in rows
    }


async def positions(tx: Tx) -> dict[Partition, int]:
    """Where this service is in each partition that it has read."""
    rows = await tx.conn.fetch('select topic, "partition", next from position')
    return {Partition(row["topic"], row["partition"]): row["next"] for row in rows}


async def advance(tx: Tx, partition: Partition, expected: int, to: Position) -> bool:
    """Compare and set. False: somebody else has been here; roll back and read the position again."""
    status = await tx.conn.execute(
        'update position set next = $4, last_id = $5, life = $6 where topic = $1 and "partition" = $2 and next = $3',
        *partition, expected, *to,
    )  # fmt: skip
    return status == "UPDATE 1"


async def lock_places(tx: Tx, keys: Iterable[Key]) -> Places:
    """Lock the last place of each key, in one order for all consumers; a key never heard of is nowhere, and what is saved
    of it is its lock."""
    wanted = list(set(keys))
    rows = await tx.conn.fetch(
        """
        select source, aggregate, epoch, sequence from last
        join unnest($1::text[], $2::uuid[]) as t(s, a) on source = s and aggregate = a
        order by source, aggregate for update of last
        """,
        [key.source for key in wanted], [key.aggregate for key in wanted],
    )  # fmt: skip
    known = {Key(row["source"], row["aggregate"]): Place(row["epoch"], row["sequence"]) for row in rows}
    return Places({key: known.get(key, NOWHERE) for key in wanted}, known)


async def save_places(tx: Tx, places: Places) -> None:
    """Raises DatabaseProblem, as one that may pass, where somebody else has taken the first event of a key meanwhile."""
    changed = [(key, place, key in places.known) for key, place in places.now.items() if places.known.get(key) != place]
    begun: int = await tx.conn.fetchval(
        """
        with given as (select * from unnest($1::text[], $2::uuid[], $3::int[], $4::bigint[], $5::bool[]) as t(s, a, e, n, known)),
        moved as (
            update last set epoch = given.e, sequence = given.n from given
            where given.known and source = given.s and aggregate = given.a
        ), begun as (
            insert into last (source, aggregate, epoch, sequence)
            select s, a, e, n from given where not known order by s, a on conflict do nothing returning 1
        )
        select count(*) from begun
        """,
        [key.source for key, _, _ in changed], [key.aggregate for key, _, _ in changed],
        [place.epoch for _, place, _ in changed], [place.sequence for _, place, _ in changed],
        [known for _, _, known in changed],
    )  # fmt: skip
    if begun < sum(not known for _, _, known in changed):
        raise DatabaseProblem("consumer.places", "40001")


async def first_parked(tx: Tx, keys: Iterable[Key]) -> dict[Key, Place]:
    """Of these keys, those that wait, with the place of the first event that waits."""
    wanted = list(set(keys))
    rows = await tx.conn.fetch(
        """
        select distinct on (source, aggregate) source, aggregate, epoch, sequence from parked
        join unnest($1::text[], $2::uuid[]) as t(s, a) on source = s and aggregate = a
        order by source, aggregate, epoch, sequence
        """,
        [key.source for key in wanted], [key.aggregate for key in wanted],
    )  # fmt: skip
    return {Key(row["source"], row["aggregate"]): Place(row["epoch"], row["sequence"]) for row in rows}


async def park(tx: Tx, stored: Stored, event: Event, reason: str) -> None:
    """Keep an event until its key can go on. One that is kept already (it was said again) is not kept twice."""
    await tx.conn.execute(
        """
        insert into parked (topic, "partition", "offset", source, aggregate, epoch, sequence, type, headers, value, reason)
        select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
        where not exists (select from parked where source = $4 and aggregate = $5 and epoch = $6 and sequence = $7)
        """,
        *stored.partition, stored.offset, event.source, event.subject, event.epoch, event.sequence, event.type,
        json.dumps(dict(stored.record.headers)), stored.record.value, reason,
    )  # fmt: skip


async def park_alone(tx: Tx, stored: Stored, reason: str) -> None:
    """Keep a record that belongs to no key of ours under a key of its own (derived from where it stood)."""
    place = f"{stored.partition.topic}/{stored.partition.number}/{stored.offset}"
    headers = {
        _storable(name): _storable(value) for name, value in islice(stored.record.headers.items(), _HEADERS_KEPT)
    }
    await tx.conn.execute(
        """
        insert into parked (topic, "partition", "offset", source, aggregate, epoch, sequence, type, headers, value, reason)
        values ($1, $2, $3, $4, $5, 0, 0, '', $6, $7, $8)
        on conflict (source, aggregate, epoch, sequence, "offset") do nothing
        """,
        *stored.partition, stored.offset, NOBODY, uuid5(NAMESPACE_URL, place), json.dumps(headers),
        stored.record.value, reason,
    )  # fmt: skip


def _storable(text: str) -> str:
    """PostgreSQL holds no NUL character."""
    return text[:_HEADER_KEPT].replace("\0", "\ufffd")


async def parked_of(tx: Tx, key: Key) -> list[asyncpg.Record]:
    """What waits for a key, in the order of its numbers."""
    return await tx.conn.fetch(
        "select * from parked where source = $1 and aggregate = $2 order by epoch, sequence for update", *key
    )


async def parked_as(tx: Tx, partition: Partition, reasons: Sequence[str], types: Sequence[str]) -> list[Key]:
    """Keys of which an event of one of these types waits for one of these reasons; it came from this partition."""
    rows = await tx.conn.fetch(
        """
        select distinct source, aggregate from parked
        where topic = $1 and "partition" = $2 and reason = any($3) and type = any($4) and source <> $5
        order by source, aggregate
        """,
        *partition, reasons, types, NOBODY,
    )  # fmt: skip
    return [Key(row["source"], row["aggregate"]) for row in rows]


async def set_reason(tx: Tx, number: int, reason: str) -> None:
    await tx.conn.execute("update parked set reason = $2 where number = $1", number, reason)


async def why_parked(tx: Tx, key: Key) -> str | None:
    """Why the first event of this key waits; None where none does."""
    reason: str | None = await tx.conn.fetchval(
        "select reason from parked where source = $1 and aggregate = $2 order by epoch, sequence limit 1", *key
    )
    return reason


async def parked_now(tx: Tx) -> list[asyncpg.Record]:
    """Every key that waits, longest first: topic, source, aggregate, count, why its first event waits, since when."""
    return await tx.conn.fetch(
        """
        select source, aggregate, count(*) as count, min(parked_at) as since,
               (array_agg(topic order by epoch, sequence))[1] as topic,
               (array_agg(type order by epoch, sequence))[1] as type,
               (array_agg(reason order by epoch, sequence))[1] as reason
        from parked group by source, aggregate order by since, source, aggregate
        """
    )


async def unpark(tx: Tx, number: int) -> None:
    await tx.conn.execute("delete from parked where number = $1", number)


async def discard(tx: Tx, aggregate: UUID, account: str, because: str) -> int:
    """Throw away a record that is nobody's, and note who did and why (each within the lengths that the table allows).
    Returns how many there were: 0 or 1. What belongs to a key stays: what follows it could never take effect."""
    status = await tx.conn.execute(
        """
        with gone as (delete from parked where source = $1 and aggregate = $2 returning *)
        insert into discarded (topic, "partition", "offset", reason, parked_at, by_account, because, discarded_at)
        select topic, "partition", "offset", reason, parked_at, $3, $4, $5 from gone
        """,
        NOBODY, aggregate, account, because, tx.now,
    )  # fmt: skip
    return int(status.rpartition(" ")[2])
