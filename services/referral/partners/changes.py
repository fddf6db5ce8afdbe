"""What administrators change in the network, kept with the change itself: who, what, when. Nothing here is about a person
whom the network serves; what is done to staff is in the history of people."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any
from uuid import UUID

from spean.db import Tx


class What(StrEnum):
    """What the history says of networks, organisations, members, places and systems."""

    ORGANISATION_REGISTERED = "organisation-registered"
    ORGANISATION_SUSPENDED = "organisation-suspended"
    ORGANISATION_REINSTATED = "organisation-reinstated"
    NETWORK_FOUNDED = "network-founded"
    COORDINATOR_NAMED = "coordinator-named"
    MEMBER_JOINED = "member-joined"
    PLACE_REGISTERED = "place-registered"
    SYSTEM_REGISTERED = "system-registered"
    SYSTEM_REVOKED = "system-revoked"
    KEY_ADDED = "key-added"
    KEY_REVOKED = "key-revoked"
    ACCESS_ASKED = "access-asked"
    ACCESS_APPROVED = "access-approved"
    ACCESS_REFUSED = "access-refused"
    ACCESS_LAPSED = "access-lapsed"


async def note(tx: Tx, by: str, what: What, organisation: UUID, *, network: UUID | None = None,
               place: UUID | None = None, client: str | None = None, **detail: Any) -> None:  # fmt: skip
    """One line of the history, about this organisation. `by`: `person:ID`, `system:ID`, `operator` or `clock`."""
    await tx.conn.execute(
        """
        insert into change (at, by, what, organisation, network, place, client, detail)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        tx.now, by, what, organisation, network, place, client, json.dumps(detail),
    )  # fmt: skip
