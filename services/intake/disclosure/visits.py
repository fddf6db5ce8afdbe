"""A packet in a browser: a ticket is redeemed once and opens the packet of its offer for ten minutes.

Whose session it is, is asked anew for each page; what may be read is the gate's to say each time (`handlers.content`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from schemas.questions import OrganisationFacts, PacketTicket
from spean.auth import LEEWAY_S
from spean.crypto import new_opener, opener_digest
from spean.db import Tx
from spean.problem import Refusal

# Long enough to read and to write down a meeting point; short enough for a phone that is left lying about.
LASTS = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Visit:
    """`visitor`: the session of the network's issuer that it is bound to; None where the browser has none here."""

    ticket: PacketTicket
    visitor: UUID | None
    ends_at: datetime


async def redeem(tx: Tx, ticket: PacketTicket, claims: Mapping[str, Any], visitor: UUID | None) -> str:
    """Use a ticket up. Returns what the browser's cookie holds. Raises Refusal `bad-token` where it was used before."""
    digest = hashlib.sha256(str(claims["jti"]).encode()).digest()
    until = datetime.fromtimestamp(claims["exp"], UTC) + timedelta(seconds=LEEWAY_S)
    # Kept until it would be refused for its age, by this service's own clock.
    status = await tx.conn.execute(
        "insert into used_ticket (digest, until) values ($1, $2) on conflict do nothing", digest, until + tx.shift
    )
    if status != "INSERT 0 1":
        raise Refusal("bad-token")
    opener, kept = new_opener()
    await tx.conn.execute(
        "insert into packet_session (digest, offer, handoff, facts, visitor, ends_at, by) values ($1, $2, $3, $4, $5, $6, $7)",
        kept, ticket.offer, ticket.referral, ticket.facts.model_dump_json(), visitor, tx.now + LASTS, ticket.by,
    )  # fmt: skip
    return opener


async def find(tx: Tx, opener: str, offer: UUID) -> Visit | None:
    """The visit that this cookie opens; None where it has ended, or is for another offer."""
    digest = opener_digest(opener)
    row = digest and await tx.conn.fetchrow(
        "select * from packet_session where digest = $1 and offer = $2 and ends_at > $3", digest, offer, tx.now
    )
    if not row:
        return None
    facts = OrganisationFacts.model_validate_json(row["facts"])
    ticket = PacketTicket(offer=row["offer"], referral=row["handoff"], facts=facts, by=row["by"])
    return Visit(ticket, row["visitor"], row["ends_at"])


async def forget(tx: Tx) -> None:
    """What opens nothing any more is not kept."""
    await tx.conn.execute("delete from used_ticket where until < $1", tx.now)
    await tx.conn.execute("delete from packet_session where ends_at < $1", tx.now)
