"""For which offer the gate has said yes to whom, as long as that offer may be open at the network. One function per
statement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from schemas.questions import OrganisationFacts
from spean.db import Tx


@dataclass(frozen=True, slots=True)
class Yes:
    """`offer` None: the network did not say for which it asked. `facts` None: it was not kept here who was asked."""

    offer: UUID | None
    facts: OrganisationFacts | None


async def remember(tx: Tx, handoff: UUID, organisation: UUID, offer: UUID | None) -> None:
    """The gate says yes: whoever this is may be asked next."""
    await tx.conn.execute(
        "insert into yes (handoff, organisation, offer) values ($1, $2, $3) on conflict do nothing",
        handoff, organisation, offer,
    )  # fmt: skip


async def sent(tx: Tx, handoff: UUID, organisation: UUID, offer: UUID) -> None:
    """The network says that it is open. What it was told before that is over: it has one offer open at a time, and makes
    none from an answer to a question that it asked before the last."""
    gone = await tx.conn.execute(
        """
        delete from yes where handoff = $1 and offer is distinct from $2
            and number < (select number from yes where handoff = $1 and organisation = $3 and offer = $2)
        """,
        handoff, offer, organisation,
    )  # fmt: skip
    if gone == "DELETE 0":
        await remember(tx, handoff, organisation, offer)


async def over(tx: Tx, handoff: UUID, offer: UUID) -> None:
    await tx.conn.execute("delete from yes where handoff = $1 and offer = $2", handoff, offer)


async def standing(tx: Tx, handoffs: Collection[UUID]) -> dict[UUID, list[Yes]]:
    """Hand-off → what may be open, in the order of the answers."""
    rows = await tx.conn.fetch(
        """
        select y.handoff, y.offer, a.facts from yes y
            left join asked a on a.handoff = y.handoff and a.organisation = y.organisation
        where y.handoff = any($1) order by y.number
        """,
        list(handoffs),
    )
    found: defaultdict[UUID, list[Yes]] = defaultdict(list)
    for row in rows:
        facts = None if row["facts"] is None else OrganisationFacts.model_validate_json(row["facts"])
        found[row["handoff"]].append(Yes(row["offer"], facts))
    return found
