"""One event in its CloudEvents 1.0 envelope, and its binary form on the bus (attributes in headers, data in the value)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from schemas import registry, versions
from schemas.events import EventData
from spean.bus import Record

_PREFIX = "ce_"
# A type, a source: printable, and no longer than the longest that a registry or a holder's name could make.
_NAME = re.compile(r"[\x21-\x7e]{1,200}")
_COUNT = re.compile(r"[1-9][0-9]{0,18}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
# Headers of an event of ours are below 2 KiB, with the longest names.
MAX_HEADERS_BYTES = 8 * 1024
# What PostgreSQL keeps them in: integer and bigint.
_EPOCH_MOST, _SEQUENCE_MOST = 2**31 - 1, 2**63 - 1


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
        attributes = {
            "specversion": "1.0",
            "id": str(self.id),
            "type": self.type,
            "source": self.source,
            "subject": str(self.subject),
            "time": self.time.isoformat(),
            "dataschema": f"urn:spean:schema:{self.type}",
            "partitionkey": str(self.subject),
            "epoch": str(self.epoch),
            "sequence": str(self.sequence),
            "correlationid": str(self.correlationid),
        }
        if self.causationid:
            attributes["causationid"] = str(self.causationid)
        if self.traceparent:
            attributes["traceparent"] = self.traceparent
        headers = {_PREFIX + name: value for name, value in attributes.items()}
        return Record(str(self.subject).encode(), {**headers, "content-type": "application/json"}, self.value)


def parse(record: Record) -> Event:
    """The event in a record of the bus. Raises `Malformed` for anything that our own database could not keep."""
    headers: Mapping[str, str] = record.headers
    if sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEADERS_BYTES:
        raise Malformed
    if any("\0" in text for pair in headers.items() for text in pair):
        raise Malformed
    try:
        causation = headers.get(_PREFIX + "causationid")
        return Event(
            id=UUID(headers[_PREFIX + "id"]),
            type=_name(headers[_PREFIX + "type"]),
            source=_name(headers[_PREFIX + "source"]),
            subject=UUID(headers[_PREFIX + "subject"]),
            epoch=_count(headers[_PREFIX + "epoch"], _EPOCH_MOST),
            sequence=_count(headers[_PREFIX + "sequence"], _SEQUENCE_MOST),
            time=_time(headers[_PREFIX + "time"]),
            correlationid=UUID(headers[_PREFIX + "correlationid"]),
            causationid=UUID(causation) if causation else None,
            traceparent=_traceparent(headers.get(_PREFIX + "traceparent")),
            value=record.value,
        )
    except (KeyError, ValueError):
        raise Malformed from None


def written_by(topic: str, event: Event) -> bool:
    """Is the source the one writer of this topic, and the type one of this topic's?"""
    declared = registry.TOPIC_OF.get(event.type)
    for known in registry.TOPICS:
        prefix, per_holder, _ = known.name.partition("*")
        if topic == known.name or (per_holder and topic.startswith(prefix)):
            writer = f"spean/{known.writer}" + (f"/{topic.removeprefix(prefix)}" if per_holder else "")
            return event.source == writer and declared in {None, known}
    return False


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError
    return text


def _count(text: str, most: int) -> int:
    if not _COUNT.fullmatch(text) or int(text) > most:
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
