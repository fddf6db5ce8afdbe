"""The record of what the gate answered: one row per person, recipient and answer."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from services.intake.disclosure.domain import Person, Rule, allowed
from services.intake.disclosure.rulebook import Ask
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
    """Put answers on record, but for what is (`Tx.on_record`). Where the last one about the same was the same in every
    respect, it is counted there; not where another reader is counting in that row just now, for nobody waits here with a
    fence held. What is written for the first time is kept before it is given (`Tx.unkept`).
    """
    worded = [(_words(one), one) for one in answers]
    given = [(said, one) for said, one in worded if said not in tx.on_record]
    if not given:
        return
    refusals = Counter((rule, one.ask.stage) for _, one in given for rule in one.verdicts.values())
    for (rule, stage), count in refusals.items():
        # What few people share is left out day after day, and is nothing to look into.
        if rule not in {Rule.ALLOWED, Rule.RARE}:
            telemetry.add("spean.gate.refusals", count, rule=rule, stage=stage)
    times = Counter(said for said, _ in given)
    written = await tx.conn.fetchval(
        """
        with given as (
            select * from jsonb_to_recordset($1) as given (
                entry uuid, handoff uuid, org uuid, recipient uuid, stage text, purpose text, allowed text[],
                refused jsonb, consent_version integer, service_version integer, facts jsonb, rules uuid[], content text,
                times bigint)
        ), same as (
            select last.number, given.times from given, lateral (
                select d.* from disclosure d
                where d.number = (
                    select max(number) from disclosure one
                    where (one.entry, one.handoff, one.recipient, one.stage, one.purpose)
                        = (given.entry, given.handoff, given.recipient, given.stage, given.purpose))
                  and (d.allowed, d.refused, d.rules, d.content)
                    = (given.allowed, given.refused, given.rules, given.content)
                  and (d.consent_version, d.service_version, d.facts)
                    is not distinct from (given.consent_version, given.service_version, given.facts)
                for update skip locked) last
        ), counted as (
            update disclosure d set times = d.times + same.times, last_at = greatest(d.last_at, $2)
            from same where d.number = same.number
            returning d.entry, d.handoff, d.recipient, d.stage, d.purpose
        ), written as (
            insert into disclosure (entry, handoff, org, recipient, stage, purpose, allowed, refused, consent_version,
                                    service_version, facts, rules, content, times, at, last_at)
            select entry, handoff, org, recipient, stage, purpose, allowed, refused, consent_version, service_version,
                   facts, rules, content, times, $2, $2
            from given where (entry, handoff, recipient, stage, purpose) not in (select * from counted)
            returning true
        )
        select count(*) from written
        """,
        json.dumps([{**json.loads(one), "times": count} for one, count in times.items()]), tx.now,
    )  # fmt: skip
    tx.on_record.update(times)
    tx.unkept |= written > 0


def _words(one: Answer) -> str:
    """All that is written down of it: two answers with the same words are the same."""
    return json.dumps(_written(one), sort_keys=True)


def _written(one: Answer) -> dict[str, Any]:
    return {
        "entry": str(one.entry), "handoff": str(one.handoff), "org": str(one.org),
        "recipient": str(one.ask.recipient.organisation), "stage": one.ask.stage, "purpose": one.ask.purpose,
        "allowed": sorted(allowed(one.verdicts)),
        "refused": {field: rule for field, rule in one.verdicts.items() if rule is not Rule.ALLOWED},
        "consent_version": one.person.sharing.version if one.person.sharing else None,
        "service_version": one.person.service.version if one.person.service else None,
        "facts": one.ask.recipient.model_dump(mode="json", exclude={"organisation"}, exclude_none=True),
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


async def known(tx: Tx, id_: UUID, at: datetime, limit: int) -> list[asyncpg.Record]:
    """Who had been told what about a case (its id, or its entry's) at `at`: answers that rest on the same consents, rules,
    fields and version of the entry are one row, from the first to the last; the latest `limit` of them, oldest first. One
    row with nothing told (`recipient` null) where nobody was told anything; none where the case is not the organisation's.
    """
    return await tx.conn.fetch(
        """
        with subject as (
            select id, entry from "case" where id = $1 or entry = $1
        ), told as (
            select d.handoff, d.recipient, d.facts, d.stage, d.purpose, d.allowed, d.refused, d.consent_version,
                   d.service_version, d.rules, nullif(split_part(d.content, '/', 1), '')::integer as entry_version,
                   min(d.at) as first_at, max(case when d.last_at <= $2 then d.last_at else d.at end) as last_at,
                   case when bool_and(d.last_at <= $2) then sum(d.times)::bigint end as times
            from disclosure d join subject s on s.entry = d.entry where d.at <= $2
            group by d.handoff, d.recipient, d.facts, d.stage, d.purpose, d.allowed, d.refused, d.consent_version,
                     d.service_version, d.rules, entry_version
            order by first_at desc limit $3
        )
        select s.id as "case", s.entry, t.*, h.service_type, now_.decisions, sharing.record as sharing,
               service.record as service, because.rules as rested_on, p.fetched_at, p.erasure, p.erasure_asked_at,
               p.erasure_answered_at
        from subject s
        left join told t on true
        left join handoff h on h.id = t.handoff
        left join lateral (
            select to_jsonb(c) as record from consent c where c.entry = s.entry and c.version = t.consent_version
        ) sharing on true
        left join lateral (
            select to_jsonb(c) as record from consent c where c.entry = s.entry and c.version = t.service_version
        ) service on true
        left join lateral (
            select jsonb_agg(to_jsonb(latest) order by decision) as decisions from (
                select distinct on (decision) * from consent c where c.entry = s.entry and c.recorded_at <= $2
                order by decision, version desc) latest
        ) now_ on true
        left join lateral (
            select jsonb_agg(jsonb_build_object(
                'id', one.id,
                'kind', case when n.id is not null then 'need-to-know' when a.id is not null then 'agreements'
                             when c.id is not null then 'corridors' else b.kind end,
                'opens', coalesce(n.fields, a.categories, c.categories, b.categories), 'legal_basis', c.legal_basis,
                'valid_from', coalesce(n.valid_from, a.valid_from, c.valid_from, b.began_at),
                'valid_until', case when n.id is not null then n.valid_until when a.id is not null then a.valid_until
                                    when c.id is not null then c.valid_until
                                    else least(b.over_at, b.valid_until, case when b.decided_at is null then b.decide_by end)
                               end,
                'created_by', coalesce(n.created_by, a.created_by, c.created_by, b.proposed_by)) order by one.id) as rules
            from unnest(t.rules) as one (id)
            left join need_to_know n on n.id = one.id left join agreement a on a.id = one.id
            left join corridor c on c.id = one.id left join basis b on b.id = one.id
        ) because on true
        left join lateral (
            select * from packet k where t.stage = 'packet' and k.handoff = t.handoff and k.organisation = t.recipient
              and k.released_at <= $2
            order by k.released_at desc, k.offer limit 1
        ) p on true
        order by t.first_at, t.recipient, t.stage
        """,
        id_, at, limit,
    )  # fmt: skip


async def write_audited(tx: Tx, case: UUID, by: str, about: datetime) -> None:
    """Somebody of the organisation asks what was known of a case at a time."""
    await tx.conn.execute(
        'insert into audited ("case", org, asked_by, about, at) values ($1, $2, $3, $4, $5)',
        case, tx.org, by, about, tx.now,
    )  # fmt: skip


async def audited(tx: Tx, case: UUID, limit: int) -> list[asyncpg.Record]:
    """Who asked that, the latest first."""
    return await tx.conn.fetch('select * from audited where "case" = $1 order by number desc limit $2', case, limit)
