"""Ids. What is inside the house sorts by time (UUIDv7); what a partner sees tells nothing (UUIDv4)."""

from __future__ import annotations

from uuid import UUID, uuid4

import uuid_utils


def event_id() -> UUID:
    """A UUIDv7: ordered by the millisecond it was made. Never shown to partners, for it tells the minute of a meeting."""
    return UUID(int=uuid_utils.uuid7().int)


def opaque_id() -> UUID:
    """A UUIDv4: says nothing about when, where or about whom."""
    return uuid4()
