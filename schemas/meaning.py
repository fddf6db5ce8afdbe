"""What the fields of events mean, for whoever reads the catalogue. A name means the same in every event."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Every field of every event (a test holds it): a field without words here is not understood by anybody else.
FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "answer": "what became of the copy",
        "answer_by": "until when an answer is awaited; past it the work goes on without one",
        "area": "province where the service is wanted, or where the place is",
        "arrive_by": "past this without an arrival a coordinator is told",
        "by_code": "the hand-over code was right; otherwise a coordinator made sure in another way",
        "change": "what is to be read again at the holder",
        "coordinator": "organisation that coordinates the network and owns what needs a person",
        "country": "where the organisation is",
        "deadline": "when service should be there; past it a coordinator is told",
        "free": "places that can be promised now",
        "group": "kind of service, as coarse as the bus may see it",
        "holder": "the one holder that speaks for the sender's side of it",
        "law_enforcement": "whether it is police or the like",
        "need_by": "the sender's own limit; it beats the deadline that follows from the urgency",
        "network": "set of organisations that refer to each other",
        "offer": "the referral as put to one organisation; another id for each",
        "organisation": "whom it concerns: who is asked, has accepted, holds a copy or has the place",
        "places": "how many travel together and need a place each",
        "reason": "why, as a family: the detail stays at the holder, or with the coordinator",
        "requested_at": "when the sender asked; all clocks count from it",
        "sample": "invented, for trying out",
        "sender": "organisation that asked",
        "tries": "how often it was tried",
        "type": "kind of organisation",
        "urgency": "time within which service is wanted: 1 hour, 24 hours, 72 hours, 14 days",
        "usable": "places that are in service, taken or not",
        "verified": "the hand-over code was right; otherwise the arrival is checked later",
        "waits_for": "whose turn it is",
    }
)
# The attributes of the envelope: CloudEvents' own names.
ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        "specversion": "version of CloudEvents",
        "id": "this event (UUIDv7); the same when it is said again",
        "type": "what has happened, with the version of its data",
        "source": "the one writer of the topic",
        "subject": "what it is about: the topic's key",
        "time": "when it happened, with its zone",
        "dataschema": "name of the JSON Schema of the data",
        "partitionkey": "the same as the subject: what is about one thing stays in one order",
        "epoch": "life of the writer's database; a restore begins a new one",
        "sequence": "number of this event about this subject, from 1, without gaps",
        "correlationid": "the whole chain that it belongs to",
        "causationid": "the event or command that led to it",
        "traceparent": "trace of the request behind it (W3C)",
    }
)
