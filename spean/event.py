"""One event in its CloudEvents 1.0 envelope, and its binary form on the bus (attributes in headers, data in the value)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from schemas import registry
from schemas.events import EventData
from spean.bus import Record

_PREFIX = "ce_"


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
    """The event in a record of the bus. Raises `Malformed`."""
    headers: Mapping[str, str] = record.headers
    try:
        causation = headers.get(_PREFIX + "causationid")
        return Event(
            id=UUID(headers[_PREFIX + "id"]),
            type=headers[_PREFIX + "type"],
            source=headers[_PREFIX + "source"],
            subject=UUID(headers[_PREFIX + "subject"]),
            epoch=int(headers[_PREFIX + "epoch"]),
            sequence=int(headers[_PREFIX + "sequence"]),
            time=datetime.fromisoformat(headers[_PREFIX + "time"]),
            correlationid=UUID(headers[_PREFIX + "correlationid"]),
            causationid=UUID(causation) if causation else None,
            traceparent=headers.get(_PREFIX + "traceparent"),
            value=record.value,
        )
    except (KeyError, ValueError):
        raise Malformed from None
