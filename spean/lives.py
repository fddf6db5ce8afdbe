"""The lives of a service's database. Restored from a backup it begins a new one: it has forgotten what it said since.

Every record on the bus carries the life in which its writer said it (not the event's epoch: what a replay says again is
old and yet said now). A restored writer puts a marker of its new life into every partition of its own; whatever an
older life says behind that, a relay of before that was frozen for instance, nobody takes in. See `docs/decisions/0022-restored-databases.md`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from spean.bus import Bounds, Bus, BusUnavailable, Partition, Record, Stored
from spean.db import Database, Tx
from spean.event import LIFE, Event, Malformed, parse
from spean.ids import event_id

log = logging.getLogger(__name__)
# Type of the marker: a record for the kit of every reader, no event of the catalogue.
BEGAN = "org.spean.life.began.v1"
READ_RECORDS = 500
# Of what carries no life.
NOW = 2**31 - 1


class Behind(Exception):
    """A service's database knows less than the service has said. The message says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a database knows of its own words: its life, and per partition of its own topics the offset behind the last
    that it said."""

    life: int
    ends: Mapping[Partition, int]


def in_life(record: Record, life: int) -> Record:
    """The record as said in this life of its writer."""
    return Record(record.key, {**record.headers, LIFE: str(life)}, record.value)


def marker(source: str, life: int, now: datetime) -> Record:
    """What a writer puts into each of its partitions when it begins a life."""
    nobody = uuid4()
    began = Event(
        id=event_id(), type=BEGAN, source=source, subject=nobody, epoch=life, sequence=1, time=now,
        correlationid=nobody, causationid=None, traceparent=None, value=b"{}",
    )  # fmt: skip
    return in_life(began.record(), life)


def is_marker(record: Record) -> bool:
    return record.headers.get("ce_type") == BEGAN


def life_of(record: Record) -> int:
    """In which life of its writer a record was said; records from before there were lives, and what cannot be read,
    count as said now."""
    text = record.headers.get(LIFE, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else NOW


def heard(batch: Iterable[Stored], life: int) -> tuple[int, list[Stored]]:
    """The newest life of the writer after these records of one partition, of which `life` was the newest before; and
    those that are to be taken in: no marker, and nothing that an older life has said behind one."""
    kept: list[Stored] = []
    for stored in batch:
        said_in = life_of(stored.record)
        if is_marker(stored.record):
            life = max(life, said_in) if said_in < NOW else life
        elif said_in < life:
            at = {"topic": stored.partition.topic, "partition": stored.partition.number, "offset": stored.offset}
            log.warning("an older life has said something: dropped", extra=at)
        else:
            kept.append(stored)
    return life, kept


async def known(tx: Tx, topics: Sequence[str], partitions: int) -> Known:
    """What this database knows of what it has said on its own topics."""
    life: int = await tx.conn.fetchval("select epoch from life")
    rows = await tx.conn.fetch(
        """
        select p.topic, p.nr, greatest(
            (select max(s."offset") from said s where s.aggregatetype = p.topic and s."partition" = p.nr),
            (select m."offset" from marked m where m.topic = p.topic and m."partition" = p.nr)) as last
        from (select topic, nr from unnest($1::text[]) as topic, generate_series(0, $2 - 1) as nr) p
        """,
        list(topics), partitions,
    )  # fmt: skip
    return Known(
        life, {Partition(row["topic"], row["nr"]): 0 if row["last"] is None else row["last"] + 1 for row in rows}
    )


async def unknown_among(tx: Tx, ids: Sequence[UUID]) -> set[UUID]:
    """Of these events, those that this database has not said and is not about to say."""
    rows = await tx.conn.fetch(
        """
        select one.id from unnest($1::uuid[]) as one (id)
        where not exists (select from said s where s.id = one.id) and not exists (select from outbox o where o.id = one.id)
        """,
        list(ids),
    )
    return {row["id"] for row in rows}


async def look(db: Database, bus: Bus, name: str, topics: Sequence[str], partitions: int) -> None:
    """At every start, before anything runs: does the log say more in this service's name than its database knows? Raises
    Behind, BusError, DatabaseProblem. Instances that run meanwhile do not disturb: what is on the log was committed
    before."""
    async with db.transaction("lives.look") as tx:
        mine = await known(tx, topics, partitions)
    for topic in topics:
        for partition, bounds in (await bus.bounds(topic)).items():
            if await _says_more(db, bus, partition, mine, bounds):
                raise Behind(
                    f"{topic} holds more of {name} than its database knows. Where that was restored from a backup, run "
                    f"spean rejoin (docs/runbooks/restore.md); where this installation is new, the topics are another's: "
                    "delete them, or use another bus"
                )


async def _says_more(db: Database, bus: Bus, partition: Partition, mine: Known, bounds: Bounds) -> bool:
    """A log that is shorter than this database remembers is another one, which has grown anew since."""
    at = mine.ends[partition] if mine.ends[partition] <= bounds.end else bounds.start
    if at < bounds.start:
        return True
    while at < bounds.end:
        page = await bus.read(partition, at, limit=READ_RECORDS)
        if not page:
            raise BusUnavailable(
                f"{partition.topic}/{partition.number} gives nothing at {at}, and ends at {bounds.end}"
            )
        at = page[-1].offset + 1
        newest, said = heard(page, mine.life)
        async with db.transaction("lives.look") as tx:
            if newest > mine.life or await unknown_among(tx, [event.id for event in events_in(said)]):
                return True
    return False


def events_in(page: Iterable[Stored]) -> list[Event]:
    """The events among these records; markers and what is none are left out."""
    found: list[Event] = []
    for stored in page:
        try:
            event = parse(stored.record)
        except Malformed:
            continue
        if event.type != BEGAN:
            found.append(event)
    return found
