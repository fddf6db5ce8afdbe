"""The record of what the gate answered: one row per person, recipient and answer."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import asyncpg

from services.intake.disclosure.domain import Ask, Person, Rule
from spean.db import Tx


async def insert(tx: Tx, entry: UUID, handoff: UUID, org: UUID, ask: Ask, person: Person,
                 verdicts: dict[str, Rule]) -> None:  # fmt: skip
    allowed = sorted(field for field, rule in verdicts.items() if rule is Rule.ALLOWED)
    refused = {field: rule for field, rule in sorted(verdicts.items()) if rule is not Rule.ALLOWED}
    await tx.conn.execute(
        """
        insert into disclosure (entry, handoff, org, recipient, stage, purpose, allowed, refused, consent_version, at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        """,
        entry, handoff, org, ask.recipient.organisation, ask.stage, ask.purpose, allowed, json.dumps(refused),
        person.sharing.version if person.sharing else None, tx.now,
    )  # fmt: skip


async def of_handoff(tx: Tx, handoff: UUID, limit: int) -> list[asyncpg.Record]:
    return await tx.conn.fetch("select * from disclosure where handoff = $1 order by number limit $2", handoff, limit)


def shown(row: asyncpg.Record) -> dict[str, Any]:
    """A row as the sender and the auditor read it."""
    names = ("entry", "recipient", "stage", "purpose", "allowed", "consent_version", "at")
    return {**{name: row[name] for name in names}, "refused": json.loads(row["refused"])}
