"""The only words that may stand beside a log line, a span or a number, and what OpenTelemetry calls them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePath
from uuid import UUID

# Ids of events, referrals and organisations are the work's; none is a person's.
NAMES: Mapping[str, str] = {
    "service": "spean.service",
    "role": "spean.role",
    "holder": "spean.holder",
    "event": "messaging.message.id",
    "event_type": "cloudevents.event_type",
    "system": "messaging.system",
    "operation": "messaging.operation.type",
    "topic": "messaging.destination.name",
    "partition": "messaging.destination.partition.id",
    "offset": "messaging.kafka.offset",
    "count": "messaging.batch.message_count",
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
    "error_class": "error.type",
    "sqlstate": "db.response.status_code",
    "database": "db.system.name",
    "pool": "db.client.connection.pool.name",
    "duration_ms": "spean.duration_ms",
    "kind": "spean.due.kind",
    "tries": "spean.tries",
    "reason": "spean.reason",
    "rule": "spean.gate.rule",
    "stage": "spean.gate.stage",
    "outcome": "spean.outcome",
    "state": "spean.state",
}
# Of this machine: they belong into its log and nowhere else.
ALLOWED = frozenset(NAMES) | {"name", "address", "folder"}
# A code, an id, a template of a route: no spaces, no letters of any other script, no sentence.
_FIT = re.compile(r"[\x21-\x7e]{0,120}")


def plain(value: object) -> str:
    """Ids, times and places as text; of anything else its class."""
    return str(value) if isinstance(value, (UUID, datetime, PurePath)) else type(value).__name__


def fit(value: object) -> str | int | float | bool:
    """A value that a span or a number may carry; what is none becomes the name of its class. A code of ours (an enum) is
    its own text."""
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return (value if type(value) is str else str.__str__(value)) if _FIT.fullmatch(value) else "unfit"
    return plain(value)


def named(values: Mapping[str, object]) -> dict[str, str | int | float | bool]:
    """Ours → OpenTelemetry's. Raises KeyError for a word that is not listed."""
    refused = values.keys() - NAMES.keys()
    if refused:
        raise KeyError(*sorted(refused))
    return {NAMES[name]: fit(value) for name, value in values.items()}
