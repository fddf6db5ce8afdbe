"""The record of what the gate answered: one row per person, recipient and answer."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from services.intake.disclosure.domain import Ask, Person, Rule, allowed
from spean import telemetry
from spean.db import Tx


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gate said of one person's fields to one organisation, by which rules; `org` is the sender, who may read it.
    `content` is the version of what was told: whoever is told it again learns nothing more."""

    entry: UUID
    handoff: UUID
    org: UUID
    ask: Ask
    person: Person
    verdicts: Mapping[str, Rule]
    rules: Sequence[UUID]
    content: str


async def write(tx: Tx, answers: Sequence[Answer]) -> None:
    """Write answers down before they are given. Where the last one about the same was the same in every respect, it is
    counted there; not where another reader is counting in that row just now, for nobody waits here with a fence held.
    """
    if not answers:
        return
    refusals = Counter((rule, one.ask.stage) for one in answers for rule in one.verdicts.values())
    for (rule, stage), count in refusals.items():
        if rule is not Rule.ALLOWED:
            telemetry.add("spean.gate.refusals", count, rule=rule, stage=stage)
    times = Counter(json.dumps(_written(one), sort_keys=True) for one in answers)
    await tx.conn.execute(
        """
        with given as (
            select * from jsonb_to_recordset($1) as given (
                entry uuid, handoff uuid, org uuid, recipient uuid, stage text, purpose text, allowed text[],
                refused jsonb, consent_version integer, rules uuid[], content text, times bigint)
        ), same as (
            select last.number, given.times from given, lateral (
                select d.* from disclosure d
                where d.number = (
                    select max(number) from disclosure one
                    where (one.entry, one.handoff, one.recipient, one.stage, one.purpose)
                        = (given.entry, given.handoff, given.recipient, given.stage, given.purpose))
                  and (d.allowed, d.refused, d.rules, d.content)
                    = (given.allowed, given.refused, given.rules, given.content)
                  and d.consent_version is not distinct from given.consent_version
                for update skip locked) last
        ), counted as (
            update disclosure d set times = d.times + same.times, last_at = greatest(d.last_at, $2)
            from same where d.number = same.number
            returning d.entry, d.handoff, d.recipient, d.stage, d.purpose
        )
        insert into disclosure (entry, handoff, org, recipient, stage, purpose, allowed, refused, consent_version, rules,
                                content, times, at, last_at)
        select entry, handoff, org, recipient, stage, purpose, allowed, refused, consent_version, rules, content, times, $2, $2
        from given where (entry, handoff, recipient, stage, purpose) not in (select * from counted)
        """,
        json.dumps([{**json.loads(one), "times": count} for one, count in times.items()]), tx.now,
    )  # fmt: skip


def _written(one: Answer) -> dict[str, Any]:
    return {
        "entry": str(one.entry), "handoff": str(one.handoff), "org": str(one.org),
        "recipient": str(one.ask.recipient.organisation), "stage": one.ask.stage, "purpose": one.ask.purpose,
        "allowed": sorted(allowed(one.verdicts)),
        "refused": {field: rule for field, rule in one.verdicts.items() if rule is not Rule.ALLOWED},
        "consent_version": one.person.sharing.version if one.person.sharing else None,
        "rules": [str(rule) for rule in one.rules], "content": one.content,
    }  # fmt: skip


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
