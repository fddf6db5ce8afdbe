"""Ids. What is inside the house sorts by time (UUIDv7); what a partner sees tells nothing (UUIDv4)."""

from __future__ import annotations

import os
from uuid import UUID, uuid4

import uuid_utils
from asyncpg.pgproto import pgproto


def event_id() -> UUID:
    """A UUIDv7: ordered by the millisecond it was made. Never shown to partners, for it tells the minute of a meeting."""
    return UUID(int=uuid_utils.uuid7().int)


def opaque_id() -> UUID:
    """A UUIDv4: says nothing about when, where or about whom."""
    return uuid4()


def opaque_ids(count: int) -> list[UUID]:
    """So many of them, as the database gives ids back: a tenth of the work for each."""
    random = bytearray(os.urandom(16 * count))
    for at in range(0, len(random), 16):
        random[at + 6] = random[at + 6] & 0x0F | 0x40
        random[at + 8] = random[at + 8] & 0x3F | 0x80
    return [pgproto.UUID(bytes(random[at : at + 16])) for at in range(0, len(random), 16)]
