"""Networks, organisations and their systems in PostgreSQL: one function per statement."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import asyncpg

from schemas.questions import Eligibility, OrganisationFacts, SealingKey, SigningKey, served_by
from schemas.vocabulary import OrganisationStatus, OrganisationType, Served
from spean.db import Connection, Tx
from spean.problem import Refusal


@dataclass(frozen=True, slots=True)
class Organisation:
    id: UUID
    name: str
    type: OrganisationType
    country: str
    law_enforcement: bool
    status: OrganisationStatus
    sample: bool
    version: int


@dataclass(frozen=True, slots=True)
class Client:
    """A system that may sign in for its organisation, with any of its keys (none: with nothing, for now)."""

    id: str
    organisation: UUID
    public_keys: tuple[Mapping[str, Any], ...]
    scopes: frozenset[str]


class Use(StrEnum):
    """What a key of a system is for, as a JWK says it (RFC 7517, 4.2): to sign in with, or to seal packets to."""

    SIGNING = "sig"
    SEALING = "enc"


_KEYS: Mapping[Use, str] = {Use.SIGNING: "client_key", Use.SEALING: "client_sealing_key"}


@dataclass(frozen=True, slots=True)
class Key:
    """A public key of a system; `thumbprint` (RFC 7638) names it for good."""

    thumbprint: str
    public_key: Mapping[str, str]
    use: Use = Use.SIGNING


@dataclass(frozen=True, slots=True)
class SystemKey:
    """A key as a list shows it; `revoked_at`: None while it opens something."""

    thumbprint: str
    since: datetime
    revoked_at: datetime | None
    use: Use


@dataclass(frozen=True, slots=True)
class System:
    """A client as a list shows it: whose, what it may do, with which keys."""

    id: str
    organisation: UUID
    name: str
    scopes: frozenset[str]
    active: bool
    since: datetime
    keys: tuple[SystemKey, ...]


@dataclass(frozen=True, slots=True)
class Network:
    id: UUID
    coordinator: UUID
    version: int


def _organisation(row: asyncpg.Record) -> Organisation:
    return Organisation(
        id=row["id"], name=row["name"], type=OrganisationType(row["type"]), country=row["country"],
        law_enforcement=row["law_enforcement"], status=OrganisationStatus(row["status"]), sample=row["sample"],
        version=row["version"],
    )  # fmt: skip


async def insert_organisation(tx: Tx, o: Organisation) -> None:
    await tx.conn.execute(
        """
        insert into organisation (id, name, type, country, law_enforcement, sample) values ($1, $2, $3, $4, $5, $6)
        """,
        o.id, o.name, o.type, o.country, o.law_enforcement, o.sample,
    )  # fmt: skip


async def lock_organisation(tx: Tx, id_: UUID) -> Organisation:
    """Raises Refusal `not-found`."""
    return _organisation(await tx.one("select * from organisation where id = $1 for update", id_))


async def organisation(tx: Tx, id_: UUID) -> Organisation:
    """Raises Refusal `not-found`."""
    return _organisation(await tx.one("select * from organisation where id = $1", id_))


async def set_status(tx: Tx, id_: UUID, status: OrganisationStatus) -> None:
    suspended_at = tx.now if status is OrganisationStatus.SUSPENDED else None
    await tx.conn.execute(
        "update organisation set status = $2, suspended_at = $3, version = version + 1 where id = $1",
        id_, status, suspended_at,
    )  # fmt: skip


async def suspended_for(tx: Tx, id_: UUID, seconds: int) -> bool:
    """Has a suspended organisation been so for that long? (Without a time it was suspended before times were kept.)"""
    before = tx.now - timedelta(seconds=seconds)
    found: bool = await tx.conn.fetchval(
        "select coalesce(suspended_at <= $2, true) from organisation where id = $1", id_, before
    )
    return found


async def organisations(tx: Tx, limit: int) -> list[Organisation]:
    return [
        _organisation(row)
        for row in await tx.conn.fetch("select * from organisation order by lower(name), id limit $1", limit)
    ]


async def active(tx: Tx, limit: int) -> list[Organisation]:
    """Organisations to choose from, by name."""
    rows = await tx.conn.fetch(
        "select * from organisation where status = 'active' order by lower(name), id limit $1", limit
    )
    return [_organisation(row) for row in rows]


async def facts_of(tx: Tx, id_: UUID) -> OrganisationFacts:
    """What the network vouches for. Raises Refusal `not-found`."""
    row = await tx.one("select id, type, country, law_enforcement, status from organisation where id = $1", id_)
    return OrganisationFacts(
        organisation=row["id"], type=OrganisationType(row["type"]), country=row["country"],
        law_enforcement=row["law_enforcement"], status=OrganisationStatus(row["status"]),
        serves=(await serves(tx, [id_])).get(id_),
    )  # fmt: skip


async def serves(tx: Tx, ids: Collection[UUID]) -> dict[UUID, tuple[Served, ...]]:
    """Whom these organisations' places take in. One without a place is not among them."""
    rows = await tx.conn.fetch(
        "select organisation, eligibility from place where organisation = any($1) and usable > 0", list(ids)
    )
    rules: dict[UUID, list[Eligibility]] = defaultdict(list)
    for row in rows:
        rules[row["organisation"]].append(Eligibility.model_validate_json(row["eligibility"]))
    return {id_: served_by(found) for id_, found in rules.items()}


async def is_suspended(conn: Connection, id_: UUID) -> bool:
    """True also for an organisation that is not registered."""
    status: str | None = await conn.fetchval("select status from organisation where id = $1", id_)
    return status != OrganisationStatus.ACTIVE


async def insert_network(tx: Tx, id_: UUID, name: str, coordinator: UUID, windows: str, *, sample: bool) -> None:
    await tx.conn.execute(
        "insert into network (id, name, coordinator, windows, sample) values ($1, $2, $3, $4, $5)",
        id_, name, coordinator, windows, sample,
    )  # fmt: skip


async def network_exists(tx: Tx, id_: UUID) -> bool:
    """If so, it is handed to no other coordinator before this transaction ends."""
    return await tx.conn.fetchval("select true from network where id = $1 for share", id_) is not None


async def lock_network(tx: Tx, id_: UUID) -> Network:
    """Raises Refusal `not-found`."""
    row = await tx.one("select id, coordinator, version from network where id = $1 for update", id_)
    return Network(row["id"], row["coordinator"], row["version"])


async def set_coordinator(tx: Tx, id_: UUID, coordinator: UUID) -> None:
    await tx.conn.execute("update network set coordinator = $2, version = version + 1 where id = $1", id_, coordinator)


async def coordinates(tx: Tx, organisation: UUID) -> bool:
    """Is it the coordinator of any network?"""
    found: bool = await tx.conn.fetchval("select exists (select 1 from network where coordinator = $1)", organisation)
    return found


async def networks(tx: Tx, limit: int) -> list[asyncpg.Record]:
    return await tx.conn.fetch(
        "select id, name, coordinator, sample from network order by created_at, id limit $1", limit
    )


async def insert_member(tx: Tx, network: UUID, organisation: UUID) -> bool:
    """False where it is a member already."""
    status = await tx.conn.execute(
        "insert into member (network, organisation) values ($1, $2) on conflict do nothing", network, organisation
    )
    return status == "INSERT 0 1"


async def members(tx: Tx, network: UUID) -> list[UUID]:
    rows = await tx.conn.fetch("select organisation from member where network = $1 order by organisation", network)
    return [row["organisation"] for row in rows]


async def members_of(tx: Tx, networks: Collection[UUID]) -> list[Organisation]:
    """Every organisation of these networks, by name."""
    rows = await tx.conn.fetch(
        """
        select * from organisation where id in (select organisation from member where network = any($1)) order by lower(name), id
        """,
        list(networks),
    )
    return [_organisation(row) for row in rows]


async def memberships(tx: Tx, networks: Collection[UUID]) -> dict[UUID, list[UUID]]:
    """Which of these networks each of their organisations is in."""
    rows = await tx.conn.fetch(
        """
        select organisation, array_agg(network order by network) as networks from member
        where network = any($1) group by organisation
        """,
        list(networks),
    )
    return {row["organisation"]: row["networks"] for row in rows}


async def networks_of(tx: Tx, organisation: UUID) -> list[UUID]:
    rows = await tx.conn.fetch("select network from member where organisation = $1 order by network", organisation)
    return [row["network"] for row in rows]


async def insert_client(tx: Tx, id_: str, organisation: UUID, scopes: Collection[str]) -> None:
    """Raises Refusal `duplicate`."""
    status = await tx.conn.execute(
        "insert into client (id, organisation, scopes) values ($1, $2, $3) on conflict do nothing",
        id_, organisation, sorted(scopes),
    )  # fmt: skip
    if status != "INSERT 0 1":
        raise Refusal("duplicate")


async def lock_client(tx: Tx, id_: str) -> UUID:
    """An active client's organisation. Raises Refusal `not-found`, also for one that is revoked."""
    found: UUID | None = await tx.conn.fetchval(
        "select organisation from client where id = $1 and status = 'active' for update", id_
    )
    if found is None:
        raise Refusal("not-found")
    return found


async def insert_key(tx: Tx, client: str, key: Key) -> None:
    """Raises Refusal `duplicate` for a key that the client has, or had: what is revoked never comes back."""
    status = await tx.conn.execute(
        f"""
        insert into {_KEYS[key.use]} (client, thumbprint, public_key, since) values ($1, $2, $3, $4) on conflict do nothing
        """,
        client, key.thumbprint, json.dumps(dict(key.public_key)), tx.now,
    )  # fmt: skip
    if status != "INSERT 0 1":
        raise Refusal("duplicate")


async def keys_of(tx: Tx, client: str, use: Use) -> list[Key]:
    """The keys that count now, the oldest first."""
    rows = await tx.conn.fetch(
        f"""
        select thumbprint, public_key from {_KEYS[use]} where client = $1 and status = 'active' order by since, thumbprint
        """,
        client,
    )
    return [Key(row["thumbprint"], json.loads(row["public_key"]), use) for row in rows]


async def sealing_key(tx: Tx, client: str) -> SealingKey | None:
    """What this system's packets are sealed to: the hybrid before the other, then the latest. None: they are not sealed."""
    found: str | None = await tx.conn.fetchval(
        """
        select public_key from client_sealing_key where client = $1 and status = 'active'
        order by (public_key ->> 'kty' = 'AKP') desc, since desc, thumbprint limit 1
        """,
        client,
    )
    return None if found is None else SealingKey.model_validate_json(found)


async def signing_keys(tx: Tx, client: str) -> tuple[SigningKey, ...]:
    """What counts as signed by this system now; none for somebody of the staff."""
    found = [key.public_key for key in await keys_of(tx, client, Use.SIGNING)]
    return tuple(SigningKey(kty=str(key["kty"]), crv=str(key["crv"]), x=str(key["x"])) for key in found)


async def names_of_systems(tx: Tx, organisation: UUID | None = None) -> list[tuple[str, str]]:
    """Id and organisation's name of each system, of one organisation or of all."""
    rows = await tx.conn.fetch(
        """
        select c.id, o.name from client c join organisation o on o.id = c.organisation
        where $1::uuid is null or c.organisation = $1
        """,
        organisation,
    )
    return [(row["id"], row["name"]) for row in rows]


async def systems(tx: Tx, limit: int, ids: Collection[str] | None = None) -> list[System]:
    """Every system, or these, with all its keys, by organisation and id; revoked ones last."""
    rows = await tx.conn.fetch(
        """
        with key as (
            select client, thumbprint, since, revoked_at, 'sig' as use from client_key
            union all select client, thumbprint, since, revoked_at, 'enc' from client_sealing_key
        )
        select c.id, c.organisation, o.name, c.scopes, c.status = 'active' as active, c.created_at,
               coalesce((select array_agg(k.thumbprint order by k.since, k.thumbprint) from key k
                         where k.client = c.id), '{}') as prints,
               coalesce((select array_agg(k.since order by k.since, k.thumbprint) from key k
                         where k.client = c.id), '{}') as sinces,
               coalesce((select array_agg(k.revoked_at order by k.since, k.thumbprint) from key k
                         where k.client = c.id), '{}') as ends,
               coalesce((select array_agg(k.use order by k.since, k.thumbprint) from key k
                         where k.client = c.id), '{}') as uses
        from client c join organisation o on o.id = c.organisation where $2::text[] is null or c.id = any($2)
        order by c.status, o.name, c.id limit $1
        """,
        limit, None if ids is None else list(ids),
    )  # fmt: skip
    return [
        System(row["id"], row["organisation"], row["name"], frozenset(row["scopes"]), row["active"], row["created_at"],
               tuple(SystemKey(print_, since, end, Use(use)) for print_, since, end, use
                     in zip(row["prints"], row["sinces"], row["ends"], row["uses"], strict=True)))
        for row in rows
    ]  # fmt: skip


async def revoke_key(tx: Tx, client: str, thumbprint: str, use: Use) -> bool:
    """False where it is not the client's, or revoked already."""
    status = await tx.conn.execute(
        f"""
        update {_KEYS[use]} set status = 'revoked', revoked_at = $3
        where client = $1 and thumbprint = $2 and status = 'active'
        """,
        client, thumbprint, tx.now,
    )  # fmt: skip
    return status == "UPDATE 1"


async def active_client(tx: Tx, id_: str) -> Client | None:
    """A client that may sign in: active, of an active organisation."""
    row = await tx.conn.fetchrow(
        """
        select c.id, c.organisation, c.scopes from client c join organisation o on o.id = c.organisation
        where c.id = $1 and c.status = 'active' and o.status = 'active'
        """,
        id_,
    )
    if row is None:
        return None
    keys = tuple(key.public_key for key in await keys_of(tx, id_, Use.SIGNING))
    return Client(row["id"], row["organisation"], keys, frozenset(row["scopes"]))


async def revoke_client(tx: Tx, id_: str) -> None:
    """A locked one."""
    await tx.conn.execute("update client set status = 'revoked' where id = $1", id_)


async def use_assertion(tx: Tx, client: str, jti: str, expires_at: datetime) -> bool:
    """False when it was used before."""
    status = await tx.conn.execute(
        "insert into used_assertion (client, jti, expires_at) values ($1, $2, $3) on conflict do nothing",
        client, jti, expires_at,
    )  # fmt: skip
    return status == "INSERT 0 1"


async def forget_assertions(tx: Tx) -> None:
    """A day after they ended: what a clock that runs hours ahead has forgotten could be used again when it is set right."""
    await tx.conn.execute("delete from used_assertion where expires_at < now() - interval '1 day'")
