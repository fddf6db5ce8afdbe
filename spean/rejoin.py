"""A database that was restored from a backup learns from the log what its service has said since, and goes on.

Six steps (`docs/decisions/0022-restored-databases.md`), before any command, relay or consumer of the service runs:
1. its life is one more than any that its database or its own topics know;
2. a marker of that life goes into every partition of its own: behind it no older life is heard by anybody;
3. what stands between the last that the database has said and the marker is taken over: each unknown event makes of the
   rows here what it says, silently, and is written down as said;
4. what waits to be sent and the log lacks takes the new life and the next numbers, unless its cause was answered already;
5. others' events that were answered in the time forgotten are remembered, and pass without effect when they come again;
6. then the service settles what it cannot know (its own `settle`), and may be started.
All rows change in one transaction: interrupted, it is done again from the beginning, in yet another life.
"""

from __future__ import annotations

import heapq
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from schemas.versions import newest
from spean import lives, order
from spean.bus import Bounds, Bus, BusError, BusUnavailable, Partition, Record, Stored
from spean.consumer import Handler, Poison
from spean.db import Database, DatabaseProblem, Tx, plain_errors
from spean.event import Event, Malformed, parse
from spean.lives import Behind, Known
from spean.outbox import Sent, move_to_said
from spean.problem import Refusal

log = logging.getLogger(__name__)
# Others' events that come again, by id.
Causes = Mapping[UUID, Event]
Take = Callable[[Tx, Event, Causes], Awaitable[None]]


@dataclass(slots=True)
class Taken:
    """What was taken over: others' events that come again (`causes`), the events of our own in their order, those of them
    that the rows here did not fit (`unclear`: a person has to look), and aggregates of which something that waited was
    thrown away."""

    life: int
    causes: Causes
    events: list[Event] = field(default_factory=list)
    unclear: list[Event] = field(default_factory=list)
    discarded: set[UUID] = field(default_factory=set)
    renumbered: int = 0


@dataclass(frozen=True, slots=True)
class Own:
    """How a service knows itself again: the topics that it writes; by type, what an event of its own makes of its rows;
    and what it does last, aloud. `passes`: what it had answered has no other effect here, so it passes when it comes
    again; else it takes effect again, which must be safe."""

    topics: Sequence[str]
    take: Mapping[str, Take]
    settle: Callable[[Tx, Taken], Awaitable[None]]
    passes: bool


async def rejoin(
    db: Database, bus: Bus, source: str, own: Own, reads: Sequence[str], partitions: int, *, what_is_left: bool = False
) -> Taken:
    """Do the six steps. Nothing of this service may run. `what_is_left`: a person has decided to go on without what the log
    no longer holds. Raises Behind where nobody has, BusError, DatabaseProblem."""
    async with db.transaction("rejoin.known") as tx:
        mine, now = await lives.known(tx, own.topics, partitions), tx.now
        places = await order.positions(tx)
    tails, ends = await _tails(db, bus, mine, what_is_left=what_is_left)
    heard_of = [
        life for tail in tails.values() for stored in tail if (life := lives.life_of(stored.record)) < lives.NOW
    ]
    life = 1 + max([mine.life, *heard_of])
    marks = await _mark(bus, source, own.topics, partitions, lives.marker(source, life, now))
    for partition, mark in marks.items():
        tails[partition] += await _read(bus, partition, ends[partition], mark)  # what came in between
    causes = await _causes(bus, places, reads)
    async with db.transaction("rejoin.take") as tx:
        taken = Taken(life, causes)
        await _take_over(tx, own, mine, tails, taken)
        await _renumber(tx, taken)
        await tx.conn.execute("update life set epoch = $1", life)
        await _remember_marks(tx, marks)
        if own.passes:
            await _remember_answered(tx, taken)
        await own.settle(tx, taken)
    log.info("rejoined", extra={"service": source, "count": len(taken.events)})
    return taken


async def passing(db: Database, handlers: Mapping[str, Handler]) -> Mapping[str, Handler]:
    """The handlers of a service, which leave out what it has answered in a life that it does not remember. Raises
    DatabaseProblem."""
    async with db.transaction("rejoin.answered") as tx:
        answered = {row["event"] for row in await tx.conn.fetch("select event from answered")}
    if not answered:
        return handlers

    def leaving_out(handler: Handler) -> Handler:
        async def unless_answered(tx: Tx, event: Event) -> None:
            if event.id not in answered:
                await handler(tx, event)

        return unless_answered

    return {type_: leaving_out(handler) for type_, handler in handlers.items()}


# --- reading the log ------------------------------------------------------------------------------------------------


async def _tails(
    db: Database, bus: Bus, mine: Known, *, what_is_left: bool
) -> tuple[dict[Partition, list[Stored]], dict[Partition, int]]:
    """Per partition what stands behind the last that the database has said, and where that ends. Raises Behind."""
    found: dict[Partition, list[Stored]] = {}
    ends: dict[Partition, int] = {}
    for topic in {partition.topic for partition in mine.ends}:
        for partition, bounds in (await bus.bounds(topic)).items():
            begin = mine.ends[partition]
            if begin < bounds.start and what_is_left:
                begin = bounds.start
            if begin < bounds.start:
                raise Behind(
                    f"{topic}/{partition.number} begins at {bounds.start}, and this backup knows it up to {begin} only: what "
                    "lies between is in no log any more. Restore a younger backup (docs/runbooks/restore.md)"
                )
            if not await _is_there(db, bus, partition, begin - 1, bounds):
                begin = bounds.start  # the log was lost meanwhile and has grown anew
            found[partition], ends[partition] = await _read(bus, partition, begin, bounds.end), bounds.end
    return found, ends


async def _is_there(db: Database, bus: Bus, partition: Partition, last: int, bounds: Bounds) -> bool:
    """Does the last that this database has said, or marked, still stand where it remembers it?"""
    if last < bounds.start:
        return True
    if last >= bounds.end:
        return False
    page = await bus.read(partition, last, limit=1)
    if page and lives.is_marker(page[0].record):
        return True
    async with db.transaction("rejoin.there") as tx:
        return not await lives.unknown_among(tx, [event.id for event in lives.events_in(page)])


async def _read(bus: Bus, partition: Partition, begin: int, end: int) -> list[Stored]:
    found: list[Stored] = []
    while begin < end:
        page = await bus.read(partition, begin, limit=min(lives.READ_RECORDS, end - begin))
        if not page:
            # Not the end: to go on would be to forget what stands there.
            raise BusUnavailable(f"{partition.topic}/{partition.number} gives nothing at {begin}, and ends at {end}")
        found += page
        begin = page[-1].offset + 1
    return found


async def _mark(bus: Bus, source: str, topics: Sequence[str], partitions: int, marker: Record) -> dict[Partition, int]:
    """Put the marker into every partition. Returns where it stands."""
    producer = await bus.producer(source)
    try:
        return {
            partition: await producer.append(partition, [marker])
            for topic in topics
            for partition in (Partition(topic, number) for number in range(partitions))
        }
    finally:
        await producer.close()


async def _causes(bus: Bus, places: Mapping[Partition, int], reads: Sequence[str]) -> dict[UUID, Event]:
    """Others' events that come again: what stands behind this service's restored positions."""
    found: dict[UUID, Event] = {}
    for topic in reads:
        try:
            bounds_of = await bus.bounds(topic)
        except BusUnavailable:
            raise
        except BusError:
            continue  # a holder that has left the bus
        for partition, bounds in bounds_of.items():
            begin = max(places.get(partition, 0), bounds.start)
            found |= {event.id: event for event in lives.events_in(await _read(bus, partition, begin, bounds.end))}
    return found


# --- taking over ----------------------------------------------------------------------------------------------------


async def _take_over(tx: Tx, own: Own, mine: Known, tails: Mapping[Partition, list[Stored]], taken: Taken) -> None:
    now, tx.muted = tx.now, True
    for stored, event in _in_order(mine, tails):
        if await _is_known(tx, stored, event):
            continue
        tx.now, tx.correlation, tx.causation = event.time, event.correlationid, event.id
        if not await _applied(tx, own, event, taken.causes):
            taken.unclear.append(event)
        await _write_down(tx, stored, event)
        taken.events.append(event)
    tx.now, tx.muted, tx.causation = now, False, None


def _in_order(mine: Known, tails: Mapping[Partition, list[Stored]]) -> Iterator[tuple[Stored, Event]]:
    """Events of all partitions, each in its order, side by side by their times; without what older lives said late."""
    lines: list[list[tuple[Stored, Event]]] = []
    for tail in tails.values():
        line: list[tuple[Stored, Event]] = []
        for stored in lives.heard(tail, mine.life)[1]:
            try:
                line.append((stored, parse(stored.record)))
            except Malformed:
                log.warning("a record of ours cannot be read", extra={"topic": stored.partition.topic})
        lines.append(line)
    return heapq.merge(*lines, key=lambda one: (one[1].time, one[1].id))


async def _is_known(tx: Tx, stored: Stored, event: Event) -> bool:
    """Known and said: it stands here, too (further on). Known and not yet said: it was sent, so it is moved."""
    moved = await tx.conn.fetchval(
        'update said set "partition" = $2, "offset" = $3 where id = $1 returning number',
        event.id, stored.partition.number, stored.offset,
    )  # fmt: skip
    if moved is not None:
        return True
    waiting = await tx.conn.fetchval("select number from outbox where id = $1", event.id)
    if waiting is not None:
        await move_to_said(tx.conn, [Sent(waiting, stored.partition.number, stored.offset)])
    return waiting is not None


async def _applied(tx: Tx, own: Own, event: Event, causes: Causes) -> bool:
    """Let an event of our own make of the rows here what it says. False where it does not fit them: nothing is changed
    then, and a person has to look."""
    savepoint = tx.conn.transaction()
    with plain_errors("rejoin.savepoint"):
        await savepoint.start()
    try:
        with plain_errors("rejoin.apply"):
            if (take := own.take.get(newest(event.type))) is not None:
                await take(tx, event.newest(), causes)
    except (Refusal, Poison, ValueError, LookupError, AssertionError) as error:
        reason = type(error).__name__
    except DatabaseProblem as problem:
        if problem.transient:
            raise
        reason = f"sqlstate-{problem.sqlstate}"
    else:
        await savepoint.commit()
        return True
    await savepoint.rollback()
    log.warning("an event of our own does not fit", extra={"type": event.type, "reason": reason})
    return False


async def _write_down(tx: Tx, stored: Stored, event: Event) -> None:
    await tx.conn.execute(
        """
        insert into said (number, id, aggregatetype, aggregateid, type, payload, epoch, sequence, time, correlationid,
                          causationid, traceparent, "partition", "offset")
        values (nextval(pg_get_serial_sequence('outbox', 'number')), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        """,
        event.id, stored.partition.topic, event.subject, event.type, event.value.decode(), event.epoch, event.sequence,
        event.time, event.correlationid, event.causationid, event.traceparent, *stored.partition[1:], stored.offset,
    )  # fmt: skip


async def _renumber(tx: Tx, taken: Taken) -> None:
    """What waits and was never sent goes on behind what was taken over; what its cause has led to already is thrown away."""
    answered = [event.causationid for event in taken.events if event.causationid is not None]
    gone = await tx.conn.fetch("delete from outbox where causationid = any($1) returning aggregateid", answered)
    taken.discarded = {row["aggregateid"] for row in gone}
    waiting: dict[UUID, list[asyncpg.Record]] = defaultdict(list)
    for row in await tx.conn.fetch("select number, aggregateid from outbox order by number"):
        waiting[row["aggregateid"]].append(row)
    touched = {event.subject for event in taken.events} | taken.discarded | waiting.keys()
    for aggregate in touched:
        sequence = await tx.conn.fetchval(
            "select coalesce(max(sequence), 0) from said where aggregateid = $1", aggregate
        )
        for row in waiting[aggregate]:
            sequence += 1
            await tx.conn.execute(
                "update outbox set number = default, epoch = $2, sequence = $3 where number = $1",
                row["number"], taken.life, sequence,
            )  # fmt: skip
            taken.renumbered += 1
        if sequence:
            await tx.conn.execute(
                "insert into aggregate values ($1, $2) on conflict (id) do update set sequence = excluded.sequence",
                aggregate, sequence,
            )  # fmt: skip
        else:
            await tx.conn.execute("delete from aggregate where id = $1", aggregate)


async def _remember_marks(tx: Tx, marks: Mapping[Partition, int]) -> None:
    await tx.conn.executemany(
        """
        insert into marked (topic, "partition", "offset") values ($1, $2, $3)
        on conflict (topic, "partition") do update set "offset" = excluded."offset"
        """,
        [(*partition, offset) for partition, offset in marks.items()],
    )


async def _remember_answered(tx: Tx, taken: Taken) -> None:
    causes = {event.causationid for event in taken.events if event.causationid is not None}
    await tx.conn.execute("insert into answered select unnest($1::uuid[]) on conflict do nothing", list(causes))
