"""Referrals and offers in PostgreSQL: one function per statement. A referral is always saved with its due row."""

from __future__ import annotations

import json
from dataclasses import fields
from uuid import UUID

import asyncpg

from schemas.questions import Candidate, Eligibility, OrganisationFacts, served_by
from schemas.vocabulary import (
    EscalationReason,
    OrganisationStatus,
    OrganisationType,
    ReasonFamily,
    ServiceGroup,
    ServiceType,
    Urgency,
)
from services.referral.referrals.domain import Offer, OfferState, Referral, State, Windows
from spean.clock import clear_due, set_due
from spean.db import Tx

# Kinds of due rows, both with the referral as their subject.
WAKE, DEADLINE = "referral", "deadline"


def _referral(row: asyncpg.Record) -> Referral:
    values = {field.name: row[field.name] for field in fields(Referral)}
    return Referral(
        **{
            **values,
            "service_group": ServiceGroup(row["service_group"]),
            "urgency": Urgency(row["urgency"]),
            "state": State(row["state"]),
            "windows": Windows.model_validate_json(row["windows"]),
            "escalated": EscalationReason(row["escalated"]) if row["escalated"] else None,
        }
    )


def _offer(row: asyncpg.Record) -> Offer:
    values = {field.name: row[field.name] for field in fields(Offer)}
    reason = ReasonFamily(row["reason"]) if row["reason"] else None
    return Offer(**{**values, "state": OfferState(row["state"]), "reason": reason})


def _candidate(row: asyncpg.Record) -> Candidate:
    every = [Eligibility.model_validate(one) for one in json.loads(row["every"] or "[]")]
    facts = OrganisationFacts(
        organisation=row["organisation"],
        type=OrganisationType(row["type"]),
        country=row["country"],
        law_enforcement=row["law_enforcement"],
        status=OrganisationStatus(row["status"]),
        serves=served_by(every) if every else None,
    )
    return Candidate(
        place=row["id"],
        organisation=facts,
        area=row["area"],
        service_types=tuple(ServiceType(code) for code in row["service_types"]),
        eligibility=Eligibility.model_validate_json(row["eligibility"]),
    )


async def insert_referral(tx: Tx, r: Referral) -> bool:
    """False where the network knows this referral already."""
    status = await tx.conn.execute(
        """
        insert into referral (id, network, holder, sender, coordinator, service_group, urgency, area, places, need_by,
                              requested_at, deadline, windows, state, step_at, asked_from, version)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) on conflict do nothing
        """,
        r.id, r.network, r.holder, r.sender, r.coordinator, r.service_group, r.urgency, r.area, r.places, r.need_by,
        r.requested_at, r.deadline, r.windows.model_dump_json(), r.state, r.step_at, r.asked_from, r.version,
    )  # fmt: skip
    if status != "INSERT 0 1":
        return False
    assert r.wake_at is not None  # noqa: S101 (a new referral is not final)
    await set_due(tx, WAKE, r.id, r.wake_at)
    await set_due(tx, DEADLINE, r.id, r.deadline)
    return True


async def find_referral(tx: Tx, id_: UUID) -> Referral:
    """Raises Refusal `not-found` (also where row-level security hides it)."""
    return _referral(await tx.one("select * from referral where id = $1", id_))


async def lock_referral(tx: Tx, id_: UUID) -> Referral | None:
    row = await tx.conn.fetchrow("select * from referral where id = $1 for update", id_)
    return None if row is None else _referral(row)


async def save_referral(tx: Tx, r: Referral) -> None:
    """Write what may change, one version on, and the due row that goes with it."""
    await tx.conn.execute(
        """
        update referral set state = $2, step_at = $3, asked_from = $4, stopped = $5, ending = $6, offer = $7,
            escalated = $8, taken_by = $9, remind_at = $10, reminded = $11, departed_at = $12, arrived_at = $13,
            arrival_verified = $14, ended_at = $15, arrival_checked_by = $16, coordinator = $17, closed_by = $18,
            version = version + 1
        where id = $1
        """,
        r.id, r.state, r.step_at, r.asked_from, r.stopped, r.ending, r.offer, r.escalated, r.taken_by, r.remind_at,
        r.reminded, r.departed_at, r.arrived_at, r.arrival_verified, r.ended_at, r.arrival_checked_by, r.coordinator,
        r.closed_by,
    )  # fmt: skip
    if r.wake_at is None:
        await clear_due(tx, WAKE, r.id)
        await clear_due(tx, DEADLINE, r.id)
    else:
        await set_due(tx, WAKE, r.id, r.wake_at)


async def insert_offer(tx: Tx, o: Offer) -> None:
    await tx.conn.execute(
        """
        insert into offer (id, referral, organisation, coordinator, place, state, sent_at, answer_by)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        o.id, o.referral, o.organisation, o.coordinator, o.place, o.state, o.sent_at, o.answer_by,
    )  # fmt: skip


async def find_offer(tx: Tx, id_: UUID) -> Offer:
    """Raises Refusal `not-found` (also where row-level security hides it)."""
    return _offer(await tx.one("select * from offer where id = $1", id_))


async def lock_offer(tx: Tx, id_: UUID) -> Offer:
    """Raises Refusal `not-found`."""
    return _offer(await tx.one("select * from offer where id = $1 for update", id_))


async def save_offer(tx: Tx, o: Offer) -> None:
    await tx.conn.execute(
        "update offer set state = $2, reason = $3, answered_at = $4, version = version + 1 where id = $1",
        o.id, o.state, o.reason, o.answered_at,
    )  # fmt: skip


async def offers_for(
    tx: Tx, organisation: UUID, states: list[str], after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """An organisation's offers with what the network knows of each referral: the open ones first, what is due first on
    top; `after` goes on behind that offer. Accepted ones are listed until their referral has ended."""
    return await tx.conn.fetch(
        """
        select o.*, r.holder, r.places, r.state as referral_state, r.service_group, r.ending, r.offer as current,
               r.arrival_verified
        from offer o join referral r on r.id = o.referral
        where o.organisation = $1 and o.state = any($2) and (o.state <> 'accepted' or r.ended_at is null)
          and ($3::uuid is null or (o.state = 'accepted', o.answer_by, o.id)
               > (select l.state = 'accepted', l.answer_by, l.id from offer l where l.id = $3))
        order by o.state = 'accepted', o.answer_by, o.id limit $4
        """,
        organisation, states, after, limit,
    )  # fmt: skip


async def offer_for(tx: Tx, organisation: UUID, offer: UUID) -> asyncpg.Record:
    """One of an organisation's offers, as in `offers_for`. Raises Refusal `not-found`."""
    return await tx.one(
        """
        select o.*, r.holder, r.places, r.state as referral_state, r.service_group, r.ending, r.offer as current,
               r.arrival_verified
        from offer o join referral r on r.id = o.referral where o.organisation = $1 and o.id = $2
        """,
        organisation, offer,
    )  # fmt: skip


async def open_in(tx: Tx, network: UUID) -> list[UUID]:
    """Referrals of a network that have not ended, ids ascending."""
    rows = await tx.conn.fetch("select id from referral where network = $1 and ended_at is null order by id", network)
    return [row["id"] for row in rows]


async def reassign_offers(tx: Tx, referral: UUID, coordinator: UUID) -> None:
    await tx.conn.execute("update offer set coordinator = $2 where referral = $1", referral, coordinator)


async def in_hand(tx: Tx, organisation: UUID) -> list[UUID]:
    """Referrals that an organisation has been offered, has accepted or has sent, and that have not ended, ids ascending."""
    rows = await tx.conn.fetch(
        """
        select r.id from referral r
        where r.ended_at is null and (r.sender = $1 or exists (
            select 1 from offer o where o.id = r.offer and o.organisation = $1 and o.state in ('sent', 'seen', 'accepted')))
        order by r.id
        """,
        organisation,
    )
    return [row["id"] for row in rows]


# Places with room, of active members of the referral's network ($1) other than its sender ($2), for so many ($3).
_ROOM = """
    select p.id, p.area, p.service_types, p.eligibility,
           o.id as organisation, o.type, o.country, o.law_enforcement, o.status,
           (select jsonb_agg(one.eligibility) from place one where one.organisation = o.id and one.usable > 0) as every
    from place p
    join organisation o on o.id = p.organisation and o.status = 'active'
    join member m on m.network = p.network and m.organisation = o.id
    where p.network = $1 and o.id <> $2 and p.usable - p.outside - p.held - p.staying >= $3
"""


async def candidates(tx: Tx, r: Referral, limit: int) -> list[Candidate]:
    """Places that could be asked next: with room, of the group, not asked before; nearest first (the same province, then
    the same country), then the freest. Who declined is not asked for that place again, who did not answer for none; an
    offer withdrawn by a stop or a correction counts as not asked."""
    rows = await tx.conn.fetch(
        f"""
        {_ROOM} and p.service_group = $4
          and not exists (
            select 1 from offer f where f.referral = $5 and f.sent_at >= $6
              and (f.place = p.id and f.state = 'rejected' or f.organisation = o.id and f.state = 'expired'))
        order by (p.area = $7) desc, (left(p.area, 2) = left($7, 2)) desc,
                 p.usable - p.outside - p.held - p.staying desc, p.id
        limit $8
        """,
        r.network, r.sender, r.places, r.service_group, r.id, r.asked_from, r.area, limit,
    )  # fmt: skip
    return [_candidate(row) for row in rows]


async def candidate_place(tx: Tx, r: Referral, place: UUID) -> Candidate | None:
    """One named place of the referral's network with room, whether or not it was asked before. Its organisation cannot
    be suspended before this transaction ends."""
    row = await tx.conn.fetchrow(f"{_ROOM} and p.id = $4 for key share of o", r.network, r.sender, r.places, place)
    return None if row is None else _candidate(row)


async def insert_hold(tx: Tx, offer: Offer, places: int) -> None:
    await tx.conn.execute(
        "insert into hold (offer, place, places, state, since) values ($1, $2, $3, 'held', $4)",
        offer.id, offer.place, places, tx.now,
    )  # fmt: skip


async def move_hold(tx: Tx, offer: UUID, state: str) -> asyncpg.Record | None:
    """Held → staying → freed. Returns (place, places, before), or None where there is nothing to move."""
    return await tx.conn.fetchrow(
        """
        with old as (select offer, state from hold where offer = $1 and state <> 'freed' and state <> $2 for update)
        update hold h set state = $2, freed_at = case when $2 = 'freed' then $3::timestamptz end
        from old where h.offer = old.offer returning h.place, h.places, old.state as before
        """,
        offer, state, tx.now,
    )  # fmt: skip


async def escalated_for(tx: Tx, coordinator: UUID, after: UUID | None, limit: int) -> list[Referral]:
    """What needs a person: first what nobody has taken, the nearest deadline on top; `after` goes on behind that one."""
    rows = await tx.conn.fetch(
        """
        select r.* from referral r where r.coordinator = $1 and r.escalated is not null
          and ($2::uuid is null or (r.taken_by is not null, r.deadline, r.id)
               > (select l.taken_by is not null, l.deadline, l.id from referral l where l.id = $2))
        order by r.taken_by is not null, r.deadline, r.id limit $3
        """,
        coordinator, after, limit,
    )  # fmt: skip
    return [_referral(row) for row in rows]


async def was_accepted(tx: Tx, offer: UUID) -> bool:
    """Did its organisation accept it once, whatever became of it?"""
    found: bool = await tx.conn.fetchval("select exists (select 1 from hold where offer = $1)", offer)
    return found


async def offers_of(tx: Tx, referral: UUID) -> list[Offer]:
    rows = await tx.conn.fetch("select * from offer where referral = $1 order by sent_at, id", referral)
    return [_offer(row) for row in rows]


async def network_of(tx: Tx, network: UUID, sender: UUID) -> tuple[UUID, Windows] | None:
    """The coordinator and windows of a network that the sender belongs to; it is handed to no other coordinator before
    this transaction ends."""
    row = await tx.conn.fetchrow(
        """
        select n.coordinator, n.windows from network n join member m on m.network = n.id
        where n.id = $1 and m.organisation = $2 for share of n
        """,
        network, sender,
    )  # fmt: skip
    return None if row is None else (row["coordinator"], Windows.model_validate_json(row["windows"]))


async def inbox_marks(tx: Tx, organisations: list[UUID]) -> dict[UUID, str]:
    """What the inbox of each shows: its open offers, and its places as they are counted. Another mark, another inbox."""
    rows = await tx.conn.fetch(
        """
        select organisation, concat_ws(' ',
            (select string_agg(concat(o.id, o.answer_by), ' ' order by o.id) from offer o
             where o.organisation = asked.organisation and o.state in ('sent', 'seen')),
            (select string_agg(concat(p.id, ':', p.version), ' ' order by p.id) from place p
             where p.organisation = asked.organisation)) as mark
        from unnest($1::uuid[]) as asked (organisation)
        """,
        organisations,
    )
    return {row["organisation"]: row["mark"] for row in rows}
