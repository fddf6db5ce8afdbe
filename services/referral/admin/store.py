"""What the administrator's pages show, read as the service: one function per statement. No attribute of a survivor."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from services.referral.partners.changes import What
from services.referral.referrals.domain import Windows
from spean.db import Tx


@dataclass(frozen=True, slots=True)
class Numbers:
    """How much there is of everything; `waiting`: people who were registered and cannot sign in yet."""

    networks: int
    organisations: int
    suspended: int
    people: int
    waiting: int
    recoveries: int
    places: int
    systems: int


@dataclass(frozen=True, slots=True)
class Founded:
    """A network with its coordinator and how many are in it."""

    id: UUID
    name: str
    coordinator: UUID
    coordinator_name: str
    windows: Windows
    sample: bool
    members: int
    places: int
    version: int


@dataclass(frozen=True, slots=True)
class Member:
    """A member: an organisation, and whether it is shut out."""

    id: UUID
    name: str
    suspended: bool


@dataclass(frozen=True, slots=True)
class Joined(Member):
    """A member with what it has."""

    places: int
    people: int


@dataclass(frozen=True, slots=True)
class Work:
    """What a suspension would reach, now: open offers, referrals on their way that it sent, sessions, systems."""

    offers: int
    receiving: int
    sent: int
    sessions: int
    systems: int
    coordinates: tuple[tuple[UUID, str], ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the history, with names as they are now."""

    number: int
    at: datetime
    by: str
    by_name: str | None
    what: What
    organisation: UUID
    organisation_name: str
    network: UUID | None
    network_name: str | None
    client: str | None
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """How far a network has come, from nothing to its first accepted referral. The numbers of people are of its members;
    `receivers_in` and so on: of those who can sign in."""

    administrators: int
    members: int
    senders: int
    senders_in: int
    receivers: int
    receivers_in: int
    coordinators: int
    coordinators_in: int
    places: int
    referrals: int
    accepted: int


async def numbers(tx: Tx) -> Numbers:
    row = await tx.conn.fetchrow(
        """
        select (select count(*) from network) as networks,
               (select count(*) from organisation) as organisations,
               (select count(*) from organisation where status = 'suspended') as suspended,
               (select count(*) from person where status = 'active') as people,
               (select count(*) from person p where status = 'active'
                  and not exists (select 1 from password w where w.person = p.id)
                  and not exists (select 1 from passkey k where k.person = p.id)) as waiting,
               (select count(*) from recovery where done_at is null and refused_at is null) as recoveries,
               (select coalesce(sum(usable), 0) from place) as places,
               (select count(*) from client where status = 'active') as systems
        """
    )
    assert row is not None  # noqa: S101 (a row of numbers is always there)
    return Numbers(**dict(row))


_FOUNDED = """
    select n.id, n.name, n.coordinator, o.name as coordinator_name, n.windows, n.sample, n.version,
           (select count(*) from member m where m.network = n.id) as members,
           (select coalesce(sum(p.usable), 0) from place p where p.network = n.id) as places
    from network n join organisation o on o.id = n.coordinator
"""


def _founded(row: asyncpg.Record) -> Founded:
    return Founded(**{**dict(row), "windows": Windows.model_validate_json(row["windows"])})


async def newest(tx: Tx) -> Founded | None:
    row = await tx.conn.fetchrow(f"{_FOUNDED} order by n.created_at desc, n.id limit 1")
    return None if row is None else _founded(row)


async def names_of_networks(tx: Tx) -> list[tuple[UUID, str]]:
    return [(row["id"], row["name"]) for row in await tx.conn.fetch("select id, name from network")]


async def networks(tx: Tx, ids: Sequence[UUID]) -> list[Founded]:
    """These, in this order."""
    rows = await tx.conn.fetch(f"{_FOUNDED} where n.id = any($1) order by array_position($1, n.id)", list(ids))
    return [_founded(row) for row in rows]


async def network(tx: Tx, id_: UUID) -> Founded:
    """Raises Refusal `not-found`."""
    return _founded(await tx.one(f"{_FOUNDED} where n.id = $1", id_))


async def members(tx: Tx, network: UUID | None) -> list[Member]:
    """Of a network, or of any."""
    rows = await tx.conn.fetch(
        """
        select o.id, o.name, o.status = 'suspended' as suspended from organisation o
        where exists (select 1 from member m where m.organisation = o.id and ($1::uuid is null or m.network = $1))
        """,
        network,
    )
    return [Member(**dict(row)) for row in rows]


async def joined(tx: Tx, ids: Sequence[UUID], network: UUID | None = None) -> list[Joined]:
    """These organisations, in this order, with what they have in a network, or in all of them."""
    rows = await tx.conn.fetch(
        """
        select o.id, o.name, o.status = 'suspended' as suspended,
               (select coalesce(sum(p.usable), 0) from place p
                where p.organisation = o.id and ($2::uuid is null or p.network = $2)) as places,
               (select count(*) from person p where p.organisation = o.id and p.status = 'active') as people
        from organisation o where o.id = any($1) order by array_position($1, o.id)
        """,
        list(ids), network,
    )  # fmt: skip
    return [Joined(**dict(row)) for row in rows]


async def networks_of(tx: Tx, organisation: UUID) -> list[tuple[UUID, str]]:
    """Id and name of each network that it is in."""
    rows = await tx.conn.fetch(
        "select n.id, n.name from member m join network n on n.id = m.network where m.organisation = $1 order by n.name, n.id",
        organisation,
    )
    return [(row["id"], row["name"]) for row in rows]


async def work_of(tx: Tx, organisation: UUID) -> Work:
    row = await tx.conn.fetchrow(
        """
        select (select count(*) from offer where organisation = $1 and state in ('sent', 'seen')) as offers,
               (select count(*) from offer f join referral r on r.offer = f.id
                where f.organisation = $1 and f.state = 'accepted' and r.state not in ('completed', 'cancelled')) as receiving,
               (select count(*) from referral where sender = $1 and state not in ('completed', 'cancelled')) as sent,
               (select count(*) from session s join person p on p.id = s.person
                where p.organisation = $1 and s.ends_at > $2) as sessions,
               (select count(*) from client where organisation = $1 and status = 'active') as systems
        """,
        organisation, tx.now,
    )  # fmt: skip
    assert row is not None  # noqa: S101 (a row of numbers is always there)
    coordinated = await tx.conn.fetch(
        "select id, name from network where coordinator = $1 order by lower(name)", organisation
    )
    return Work(**dict(row), coordinates=tuple((one["id"], one["name"]) for one in coordinated))


async def lines(tx: Tx, limit: int, *, whats: tuple[What, ...] = (), organisation: UUID | None = None,
                before: int | None = None) -> list[Line]:  # fmt: skip
    """The history, newest first: all of it, or of these kinds, or about one organisation; `before`: go on from there."""
    rows = await tx.conn.fetch(
        """
        select c.*, o.name as organisation_name, n.name as network_name, b.name as by_name
        from change c join organisation o on o.id = c.organisation left join network n on n.id = c.network
        left join person b on c.by = 'person:' || b.id
        where (cardinality($2::text[]) = 0 or c.what = any($2)) and ($3::uuid is null or c.organisation = $3)
              and ($4::bigint is null or c.number < $4)
        order by c.number desc limit $1
        """,
        limit, list(whats), organisation, before,
    )  # fmt: skip
    return [
        Line(row["number"], row["at"], row["by"], row["by_name"], What(row["what"]), row["organisation"],
             row["organisation_name"], row["network"], row["network_name"], row["client"], json.loads(row["detail"]))
        for row in rows
    ]  # fmt: skip


async def facts(tx: Tx, network: UUID | None) -> Facts:
    """Of a network; None: there is none yet."""
    row = await tx.conn.fetchrow(
        """
        with staff as (
            select p.roles, exists (select 1 from password w where w.person = p.id)
                            or exists (select 1 from passkey k where k.person = p.id) as set_up
            from person p join member m on m.organisation = p.organisation and m.network = $1
            join organisation o on o.id = p.organisation
            where p.status = 'active' and o.status = 'active')
        select (select count(*) from person p where 'administrator' = any(p.roles) and p.status = 'active'
                  and (exists (select 1 from password w where w.person = p.id)
                       or exists (select 1 from passkey k where k.person = p.id))) as administrators,
               (select count(*) from member m join organisation o on o.id = m.organisation
                where m.network = $1 and o.status = 'active') as members,
               (select count(*) from staff where 'sender' = any(roles)) as senders,
               (select count(*) from staff where 'sender' = any(roles) and set_up) as senders_in,
               (select count(*) from staff where 'receiver' = any(roles)) as receivers,
               (select count(*) from staff where 'receiver' = any(roles) and set_up) as receivers_in,
               (select count(*) from staff where 'coordinator' = any(roles)) as coordinators,
               (select count(*) from staff where 'coordinator' = any(roles) and set_up) as coordinators_in,
               (select coalesce(sum(p.usable), 0) from place p join organisation o on o.id = p.organisation
                where p.network = $1 and o.status = 'active') as places,
               (select count(*) from referral where network = $1) as referrals,
               (select count(*) from offer f join referral r on r.id = f.referral
                where r.network = $1 and f.state = 'accepted') as accepted
        """,
        network,
    )
    assert row is not None  # noqa: S101 (a row of numbers is always there)
    return Facts(**dict(row))


async def pairs(tx: Tx, network: UUID, limit: int) -> list[tuple[UUID, UUID, str]]:
    """(sender, house, group of service): members with somebody who sends, and members with places, at most `limit`."""
    rows = await tx.conn.fetch(
        """
        select distinct s.organisation as sender, h.organisation as house, h.service_group
        from place h join organisation o on o.id = h.organisation and o.status = 'active',
             person s join member m on m.organisation = s.organisation and m.network = $1
             join organisation t on t.id = s.organisation and t.status = 'active'
        where h.network = $1 and h.usable > 0 and 'sender' = any(s.roles) and s.status = 'active'
              and s.organisation <> h.organisation
        order by 1, 2, 3 limit $2
        """,
        network, limit,
    )  # fmt: skip
    return [(row["sender"], row["house"], row["service_group"]) for row in rows]
