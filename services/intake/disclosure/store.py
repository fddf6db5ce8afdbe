"""The record of what the gate answered: one row per person, recipient and answer."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from services.intake.disclosure.domain import Ask, Person, Rule, allowed
from spean.db import Tx


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gate said of one person's fields to one organisation; `org` is the sender, who may read it."""

    entry: UUID
    handoff: UUID
    org: UUID
    ask: Ask
    person: Person
    verdicts: Mapping[str, Rule]


async def insert(tx: Tx, answers: Sequence[Answer]) -> None:
    """Write answers down before they are given."""
    await tx.conn.executemany(
        """
        insert into disclosure (entry, handoff, org, recipient, stage, purpose, allowed, refused, consent_version, at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        """,
        [
            (
                one.entry, one.handoff, one.org, one.ask.recipient.organisation, one.ask.stage, one.ask.purpose,
                sorted(allowed(one.verdicts)),
                json.dumps({field: rule for field, rule in sorted(one.verdicts.items()) if rule is not Rule.ALLOWED}),
                one.person.sharing.version if one.person.sharing else None, tx.now,
            )
            for one in answers
        ],
    )  # fmt: skip


async def of_handoff(tx: Tx, handoff: UUID, after: int, limit: int) -> list[asyncpg.Record]:
    """A hand-off's answers behind the number `after`, in order."""
    return await tx.conn.fetch(
        "select * from disclosure where handoff = $1 and number > $2 order by number limit $3", handoff, after, limit
    )


async def told(tx: Tx, handoffs: Collection[UUID]) -> dict[tuple[UUID, UUID], dict[UUID, set[str]]]:
    """(hand-off, recipient) → entry → the fields that went there with packets."""
    rows = await tx.conn.fetch(
        """
        select handoff, recipient, entry, array_agg(distinct field) as fields
        from disclosure, unnest(allowed) as field where handoff = any($1) and stage = 'packet'
        group by handoff, recipient, entry
        """,
        list(handoffs),
    )
    found: dict[tuple[UUID, UUID], dict[UUID, set[str]]] = defaultdict(dict)
    for row in rows:
        found[row["handoff"], row["recipient"]][row["entry"]] = set(row["fields"])
    return found
