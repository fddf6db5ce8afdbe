"""Hand-offs and packets in PostgreSQL: one function per statement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from schemas.questions import OrganisationFacts
from schemas.vocabulary import GROUP_OF, ErasureAnswer, ServiceGroup, ServiceType, Urgency, WaitsFor
from spean.db import Connection, Tx

ENDED = ("completed", "cancelled")


@dataclass(frozen=True, slots=True)
class Handoff:
    """The sender's request; `state` is what the network last said of it."""

    id: UUID
    org: UUID
    network: UUID
    service_type: ServiceType
    urgency: Urgency
    area: str
    places: int
    need_by: datetime | None
    requested_at: datetime
    state: str
    offer: UUID | None
    sealed_code: bytes | None
    code_tries: int
    version: int
    ending: bool = False
    arrival_verified: bool | None = None
    # Of what is on hold: whose turn it is.
    waits_for: WaitsFor | None = None

    @property
    def group(self) -> ServiceGroup:
        return GROUP_OF[self.service_type]


@dataclass(frozen=True, slots=True)
class Packet:
    offer: UUID
    handoff: UUID
    organisation: UUID
    facts: OrganisationFacts
    fetched_at: datetime | None
    ended_at: datetime | None
    meeting_point: bytes | None
    address: bytes | None
    erasure: str | None
    erasure_by: datetime | None
    erasure_asked_at: datetime | None
    version: int


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom a rule is about; None is everybody."""

    network: UUID | None
    sender: UUID | None
    recipient: UUID | None
    country: str | None
    group: ServiceGroup | None


def _handoff(row: asyncpg.Record) -> Handoff:
    return Handoff(
        id=row["id"], org=row["org"], network=row["network"], service_type=ServiceType(row["service_type"]),
        urgency=Urgency(row["urgency"]), area=row["area"], places=row["places"], need_by=row["need_by"],
        requested_at=row["requested_at"], state=row["state"], offer=row["offer"], sealed_code=row["sealed_code"],
        code_tries=row["code_tries"], version=row["version"], ending=row["ending"],
        arrival_verified=row["arrival_verified"],
        waits_for=None if row["waits_for"] is None else WaitsFor(row["waits_for"]),
    )  # fmt: skip


def _packet(row: asyncpg.Record) -> Packet:
    return Packet(
        offer=row["offer"], handoff=row["handoff"], organisation=row["organisation"],
        facts=OrganisationFacts.model_validate_json(row["facts"]), fetched_at=row["fetched_at"],
        ended_at=row["ended_at"], meeting_point=row["meeting_point"], address=row["address"], erasure=row["erasure"],
        erasure_by=row["erasure_by"], erasure_asked_at=row["erasure_asked_at"], version=row["version"],
    )  # fmt: skip


async def insert_handoff(tx: Tx, h: Handoff, members: Mapping[UUID, bytes]) -> None:
    """`members`: entry → the party's key, sealed for this member; in the sender's order."""
    await tx.conn.execute(
        """
        insert into handoff (id, org, network, service_type, urgency, area, places, need_by, requested_at, state, changed_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        """,
        h.id, h.org, h.network, h.service_type, h.urgency, h.area, h.places, h.need_by, h.requested_at, h.state, tx.now,
    )  # fmt: skip
    await tx.conn.executemany(
        "insert into handoff_member (handoff, entry, place_in_party, sealed_key) values ($1, $2, $3, $4)",
        [(h.id, entry, number, sealed) for number, (entry, sealed) in enumerate(members.items())],
    )


async def find_handoff(tx: Tx, id_: UUID) -> Handoff:
    """Raises Refusal `not-found` (also where row-level security hides it)."""
    return _handoff(await tx.one("select * from handoff where id = $1", id_))


async def find_all(tx: Tx, ids: Collection[UUID]) -> list[Handoff]:
    """Those of these hand-offs that are here."""
    return [_handoff(row) for row in await tx.conn.fetch("select * from handoff where id = any($1)", list(ids))]


async def lock_handoff(tx: Tx, id_: UUID) -> Handoff:
    """Raises Refusal `not-found`. The lock does not hinder rows that refer to the hand-off."""
    return _handoff(await tx.one("select * from handoff where id = $1 for no key update", id_))


async def handoffs_of(tx: Tx, org: UUID, before: datetime | None, limit: int) -> list[UUID]:
    """An organisation's hand-offs, the latest first."""
    rows = await tx.conn.fetch(
        """
        select id from handoff where org = $1 and ($2::timestamptz is null or requested_at < $2)
        order by requested_at desc, id limit $3
        """,
        org, before, limit,
    )  # fmt: skip
    return [row["id"] for row in rows]


async def members(tx: Tx, handoffs: Collection[UUID]) -> dict[UUID, list[UUID]]:
    """Each party's entries, in the sender's order."""
    rows = await tx.conn.fetch(
        "select handoff, entry from handoff_member where handoff = any($1) order by handoff, place_in_party",
        list(handoffs),
    )
    found: dict[UUID, list[UUID]] = defaultdict(list)
    for row in rows:
        found[row["handoff"]].append(row["entry"])
    return found


async def party_keys(tx: Tx, handoffs: Collection[UUID]) -> dict[UUID, dict[UUID, bytes | None]]:
    """Hand-off → entry → the party's key, sealed for this member (none in hand-offs of before); in the sender's order."""
    rows = await tx.conn.fetch(
        "select handoff, entry, sealed_key from handoff_member where handoff = any($1) order by handoff, place_in_party",
        list(handoffs),
    )
    found: dict[UUID, dict[UUID, bytes | None]] = defaultdict(dict)
    for row in rows:
        found[row["handoff"]][row["entry"]] = row["sealed_key"]
    return found


# Not ended, or somebody still holds a copy who was not asked to erase it.
_CONCERNED = """
    (h.state not in ('completed', 'cancelled') or exists (
        select 1 from packet p where p.handoff = h.id and p.fetched_at is not null and p.erasure is null))
"""


async def lock_concerned(tx: Tx, entry: UUID) -> list[Handoff]:
    """Hand-offs of this person that a stop concerns, locked, ids ascending."""
    rows = await tx.conn.fetch(
        f"""
        select h.* from handoff h
        where {_CONCERNED} and exists (select 1 from handoff_member m where m.handoff = h.id and m.entry = $1)
        order by h.id for no key update
        """,
        entry,
    )
    return [_handoff(row) for row in rows]


async def lock_reached(tx: Tx, reach: Reach, after: UUID, limit: int) -> list[Handoff]:
    """Hand-offs behind the id `after` that a rule reached: those put to somebody whom it concerns. Locked, ids ascending."""
    types = None if reach.group is None else [type_ for type_, group in GROUP_OF.items() if group is reach.group]
    rows = await tx.conn.fetch(
        f"""
        select h.* from handoff h
        where h.id > $1 and {_CONCERNED} and ($2::uuid is null or h.org = $2) and ($7::uuid is null or h.network = $7)
          and ($3::text[] is null or h.service_type = any($3))
          and exists (select 1 from asked a where a.handoff = h.id
                      and ($4::uuid is null or a.organisation = $4) and ($5::text is null or a.facts ->> 'country' = $5))
        order by h.id limit $6 for no key update
        """,
        after, reach.sender, types, reach.recipient, reach.country, limit, reach.network,
    )  # fmt: skip
    return [_handoff(row) for row in rows]


async def set_state(tx: Tx, id_: UUID, state: str, offer: UUID | None, *, visible: bool = True,
                    waits_for: WaitsFor | None = None) -> None:  # fmt: skip
    """`visible`: a sender who may not know where the person is would see another word now; only then is there a new
    version, or its number would tell them what the word does not. `waits_for`: with `on-hold`, and with nothing else."""
    await tx.conn.execute(
        "update handoff set state=$2, offer=$3, changed_at=$4, version=version + $5, waits_for=$6 where id = $1",
        id_, state, offer, tx.now, int(visible), waits_for,
    )  # fmt: skip


async def set_ending(tx: Tx, id_: UUID, *, visible: bool) -> None:
    """The sender's side has ended it, and a house has the person. `visible` as in `set_state`."""
    await tx.conn.execute(
        "update handoff set ending = true, changed_at = $2, version = version + $3 where id = $1",
        id_, tx.now, int(visible),
    )  # fmt: skip


async def set_arrival(tx: Tx, id_: UUID, *, verified: bool) -> None:
    """No new version: not every sender may know that somebody has arrived."""
    await tx.conn.execute("update handoff set arrival_verified = $2 where id = $1", id_, verified)


async def set_code(tx: Tx, id_: UUID, sealed: bytes) -> None:
    await tx.conn.execute("update handoff set sealed_code = $2, code_tries = 0 where id = $1", id_, sealed)


async def count_try(tx: Tx, id_: UUID) -> int:
    """One more wrong try of the code. Returns how many there were."""
    tries: int = await tx.conn.fetchval(
        "update handoff set code_tries = code_tries + 1 where id = $1 returning code_tries", id_
    )
    return tries


async def waits_for_network(tx: Tx, id_: UUID) -> bool:
    """Has nothing of this hand-off reached the network yet, as far as the holder knows?"""
    found: bool = await tx.conn.fetchval("select state = 'requested' from handoff where id = $1", id_)
    return found


async def remember_asked(tx: Tx, handoff: UUID, facts: OrganisationFacts) -> None:
    await tx.conn.execute(
        """
        insert into asked (handoff, organisation, facts, at) values ($1, $2, $3, $4)
        on conflict (handoff, organisation) do update set facts = excluded.facts, at = excluded.at
        """,
        handoff, facts.organisation, facts.model_dump_json(), tx.now,
    )  # fmt: skip


async def asked_facts(tx: Tx, handoff: UUID, organisation: UUID) -> OrganisationFacts | None:
    value = await tx.conn.fetchval(
        "select facts from asked where handoff = $1 and organisation = $2", handoff, organisation
    )
    return None if value is None else OrganisationFacts.model_validate_json(value)


async def asked_among(tx: Tx, handoffs: Collection[UUID], organisation: UUID) -> set[UUID]:
    """Of these hand-offs, those that this organisation was asked about."""
    rows = await tx.conn.fetch(
        "select handoff from asked where handoff = any($1) and organisation = $2", list(handoffs), organisation
    )
    return {row["handoff"] for row in rows}


async def asked_of(tx: Tx, handoff: UUID) -> set[UUID]:
    """Every organisation that was ever asked."""
    rows = await tx.conn.fetch("select organisation from asked where handoff = $1", handoff)
    return {row["organisation"] for row in rows}


async def insert_packet(tx: Tx, offer: UUID, handoff: UUID, facts: OrganisationFacts) -> bool:
    """False where it was released before."""
    status = await tx.conn.execute(
        """
        insert into packet (offer, handoff, organisation, facts, released_at) values ($1, $2, $3, $4, $5)
        on conflict do nothing
        """,
        offer, handoff, facts.organisation, facts.model_dump_json(), tx.now,
    )  # fmt: skip
    return status == "INSERT 0 1"


async def lock_packet(tx: Tx, offer: UUID) -> Packet | None:
    row = await tx.conn.fetchrow("select * from packet where offer = $1 for update", offer)
    return None if row is None else _packet(row)


async def handoff_of_offer(tx: Tx, offer: UUID) -> UUID | None:
    """Which hand-off an offer is of: it has a packet, or the gate has said yes to it, or the network that it
    was sent."""
    found: UUID | None = await tx.conn.fetchval(
        """
        select handoff from packet where offer = $1
        union all select handoff from yes where offer = $1
        limit 1
        """,
        offer,
    )
    return found


async def find_packet(tx: Tx, offer: UUID) -> Packet | None:
    row = await tx.conn.fetchrow("select * from packet where offer = $1", offer)
    return None if row is None else _packet(row)


async def packets_of(tx: Tx, handoffs: Collection[UUID]) -> dict[UUID, list[Packet]]:
    """Hand-off → its packets, in the order of their release."""
    rows = await tx.conn.fetch(
        "select * from packet where handoff = any($1) order by handoff, released_at, offer", list(handoffs)
    )
    found: dict[UUID, list[Packet]] = defaultdict(list)
    for row in rows:
        found[row["handoff"]].append(_packet(row))
    return found


async def set_fetched(tx: Tx, offer: UUID) -> bool:
    """A copy may be held from now on. False where one was already, and nobody has answered for it."""
    status = await tx.conn.execute(
        """
        update packet set fetched_at = $2, erasure = null, erasure_by = null, erasure_asked_at = null,
            erasure_answered_at = null
        where offer = $1 and (fetched_at is null or erasure <> 'requested')
        """,
        offer, tx.now,
    )  # fmt: skip
    return status == "UPDATE 1"


async def end_packets(tx: Tx, offers: Collection[UUID]) -> None:
    await tx.conn.execute(
        "update packet set ended_at = $2, version = version + 1 where offer = any($1) and ended_at is null",
        list(offers), tx.now,
    )  # fmt: skip


async def reopen_packet(tx: Tx, offer: UUID) -> None:
    await tx.conn.execute(
        "update packet set ended_at = null, version = version + 1 where offer = $1 and ended_at is not null", offer
    )


async def set_whereabouts(tx: Tx, offer: UUID, meeting_point: bytes | None, address: bytes | None) -> None:
    await tx.conn.execute(
        "update packet set meeting_point = $2, address = $3, version = version + 1 where offer = $1",
        offer, meeting_point, address,
    )  # fmt: skip


async def request_erasure(tx: Tx, offer: UUID, answer_by: datetime) -> bool:
    """False where one is running or was answered."""
    status = await tx.conn.execute(
        """
        update packet set erasure = 'requested', erasure_by = $2, erasure_asked_at = $3, version = version + 1
        where offer = $1 and fetched_at is not null and erasure is null
        """,
        offer, answer_by, tx.now,
    )  # fmt: skip
    return status == "UPDATE 1"


async def answer_erasure(tx: Tx, offer: UUID, answer: ErasureAnswer) -> None:
    await tx.conn.execute(
        "update packet set erasure = $2, erasure_answered_at = $3, version = version + 1 where offer = $1",
        offer, answer, tx.now,
    )  # fmt: skip


async def insert_detail(tx: Tx, handoff: Handoff, offer: UUID, kind: str, sealed: bytes) -> None:
    await tx.conn.execute(
        """
        insert into detail (handoff, org, offer, kind, sealed, at) values ($1, $2, $3, $4, $5, $6)
        on conflict (offer, kind) do update set sealed = excluded.sealed, at = excluded.at
        """,
        handoff.id, handoff.org, offer, kind, sealed, tx.now,
    )  # fmt: skip


async def details_of(tx: Tx, handoff: UUID) -> list[asyncpg.Record]:
    return await tx.conn.fetch("select * from detail where handoff = $1 order by number", handoff)


async def is_suspended(conn: Connection, organisation: UUID) -> bool:
    found: bool = await conn.fetchval("select exists (select 1 from suspended where organisation = $1)", organisation)
    return found


async def suspended_among(tx: Tx, organisations: Collection[UUID]) -> set[UUID]:
    rows = await tx.conn.fetch("select organisation from suspended where organisation = any($1)", list(organisations))
    return {row["organisation"] for row in rows}


async def set_suspended(tx: Tx, organisation: UUID) -> None:
    await tx.conn.execute(
        "insert into suspended (organisation, at) values ($1, $2) on conflict do nothing", organisation, tx.now
    )


async def forget_suspended(tx: Tx, organisation: UUID) -> None:
    await tx.conn.execute("delete from suspended where organisation = $1", organisation)
