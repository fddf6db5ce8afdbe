"""One event in its CloudEvents 1.0 envelope, and its binary form on the bus (attributes in headers, data in the value)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

from asyncpg.pgproto import pgproto

from schemas import registry, versions
from schemas.events import EventData
from spean.bus import Record

# In which life its writer said it (`spean.lives`); no attribute of the event.
LIFE = "ce_life"
# A type, a source: printable, and no longer than the longest that a registry or a holder's name could make.
_NAME = re.compile(r"[\x21-\x7e]{1,200}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
# Headers of an event of ours are below 2 KiB, with the longest names.
MAX_HEADERS_BYTES = 8 * 1024
# What PostgreSQL keeps them in: integer and bigint.
_EPOCH_MOST, _SEQUENCE_MOST, _DIGITS_MOST = 2**31 - 1, 2**63 - 1, 19


class Malformed(Exception):
    """A record on the bus that is not an event of ours: an attribute is missing or unreadable. Carries no content."""


@dataclass(frozen=True, slots=True)
class Event:
    """`subject` is the aggregate; `sequence` counts from 1 per (source, subject) without gaps within an `epoch`.

    `correlationid` names the whole chain, `causationid` the event or command that led to this one.
    """

    id: UUID
    type: str
    source: str
    subject: UUID
    epoch: int
    sequence: int
    time: datetime
    correlationid: UUID
    causationid: UUID | None
    traceparent: str | None
    value: bytes

    def data(self) -> EventData:
        """What it says. Raises `schemas.registry.Unreadable`."""
        return registry.read(self.type, self.value)

    def newest(self) -> Event:
        """The same event as its newest version says it, which is what handlers know. Raises
        `schemas.registry.Unreadable`."""
        if self.type not in versions.NEWER:
            return self
        type_, value = versions.raised(self.type, self.value)
        return replace(self, type=type_, value=value)

    def record(self) -> Record:
        return envelope(
            self.id, self.type, self.source, self.subject, self.epoch, self.sequence, self.time, self.correlationid,
            self.causationid, self.traceparent, self.value,
        )  # fmt: skip


def envelope(
    id_: UUID, type_: str, source: str, subject: UUID, epoch: int, sequence: int, time: datetime, correlationid: UUID,
    causationid: UUID | None, traceparent: str | None, value: bytes, life: int | None = None,
) -> Record:  # fmt: skip
    """The record of an event with these attributes, said in this life of its writer (`spean.lives`)."""
    about = str(subject)
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(id_),
        "ce_type": type_,
        "ce_source": source,
        "ce_subject": about,
        "ce_time": time.isoformat(),
        "ce_dataschema": f"urn:spean:schema:{type_}",
        "ce_partitionkey": about,
        "ce_epoch": str(epoch),
        "ce_sequence": str(sequence),
        "ce_correlationid": str(correlationid),
        "content-type": "application/json",
    }
    if causationid is not None:
        headers["ce_causationid"] = str(causationid)
    if traceparent:
        headers["ce_traceparent"] = traceparent
    if life is not None:
        headers[LIFE] = str(life)
    return Record(about.encode(), headers, value)


def parse(record: Record) -> Event:
    """The event in a record of the bus. Raises `Malformed` for anything that our own database could not keep."""
    headers: Mapping[str, str] = record.headers
    everything = "".join([*headers, *headers.values()])
    if len(everything) > MAX_HEADERS_BYTES or "\0" in everything:
        raise Malformed
    try:
        causation = headers.get("ce_causationid")
        return Event(
            # Ids as PostgreSQL's client makes them: the same, read and compared several times as fast.
            id=pgproto.UUID(headers["ce_id"]),
            type=_name(headers["ce_type"]),
            source=_name(headers["ce_source"]),
            subject=pgproto.UUID(headers["ce_subject"]),
            epoch=_count(headers["ce_epoch"], _EPOCH_MOST),
            sequence=_count(headers["ce_sequence"], _SEQUENCE_MOST),
            time=_time(headers["ce_time"]),
            correlationid=pgproto.UUID(headers["ce_correlationid"]),
            causationid=pgproto.UUID(causation) if causation else None,
            traceparent=_traceparent(headers.get("ce_traceparent")),
            value=record.value,
        )
    except (KeyError, ValueError):
        raise Malformed from None


def written_by(topic: str, event: Event) -> bool:
    """Is the source the one writer of this topic, and the type one of this topic's?"""
    return _may_say(topic, event.source, event.type)


@lru_cache(maxsize=256)
def _may_say(topic: str, source: str, type_: str) -> bool:
    declared = registry.TOPIC_OF.get(type_)
    for known in registry.TOPICS:
        prefix, per_holder, _ = known.name.partition("*")
        if topic == known.name or (per_holder and topic.startswith(prefix)):
            writer = f"spean/{known.writer}" + (f"/{topic.removeprefix(prefix)}" if per_holder else "")
            return source == writer and declared in {None, known}
    return False


@lru_cache(maxsize=256)
def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError
    return text


def _count(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or text[0] == "0" or len(text) > _DIGITS_MOST or int(text) > most:
        raise ValueError
    return int(text)


def _time(text: str) -> datetime:
    """In UTC. Raises ValueError where the zone is missing, or where it would leave the calendar."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError
    try:
        return found.astimezone(UTC)
    except OverflowError:
        raise ValueError from None


def _traceparent(text: str | None) -> str | None:
    """A trace that cannot be followed does no harm to the event."""
    return text if text is not None and _TRACEPARENT.fullmatch(text) else None
