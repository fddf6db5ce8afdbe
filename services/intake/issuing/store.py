"""Admitted systems in PostgreSQL: one function per statement."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from schemas.questions import OrganisationFacts
from schemas.vocabulary import OrganisationStatus, OrganisationType
from spean.db import Tx


@dataclass(frozen=True, slots=True)
class System:
    """A system that the holder has admitted; `facts` are what its operator vouches for about its organisation, `networks`
    those in which it may ask (the network looks itself, too)."""

    id: str
    facts: OrganisationFacts
    networks: frozenset[UUID]
    scopes: frozenset[str]
    public_key: Mapping[str, Any]
    ended_at: datetime | None = None


def _system(row: asyncpg.Record) -> System:
    return System(
        id=row["id"],
        facts=OrganisationFacts(
            organisation=row["organisation"], type=OrganisationType(row["type"]), country=row["country"],
            law_enforcement=row["law_enforcement"], status=OrganisationStatus.ACTIVE,
        ),
        networks=frozenset(row["networks"]), scopes=frozenset(row["scopes"]), public_key=json.loads(row["public_key"]),
        ended_at=row["ended_at"],
    )  # fmt: skip


async def insert(tx: Tx, one: System) -> bool:
    """False where there is, or was, a system of this name."""
    facts = one.facts
    done: str = await tx.conn.execute(
        """
        insert into system (id, organisation, type, country, law_enforcement, networks, scopes, public_key, admitted_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing
        """,
        one.id, facts.organisation, facts.type, facts.country, facts.law_enforcement, sorted(one.networks),
        sorted(one.scopes), json.dumps(dict(one.public_key)), tx.now,
    )  # fmt: skip
    return done == "INSERT 0 1"


async def end(tx: Tx, id_: str) -> bool:
    """False where no such system signs in."""
    done: str = await tx.conn.execute("update system set ended_at = $2 where id = $1 and ended_at is null", id_, tx.now)
    return done == "UPDATE 1"


async def active(tx: Tx, id_: str) -> System | None:
    row = await tx.conn.fetchrow("select * from system where id = $1 and ended_at is null", id_)
    return None if row is None else _system(row)


async def listed(tx: Tx) -> list[System]:
    """Every system that was ever admitted, by name."""
    return [_system(row) for row in await tx.conn.fetch("select * from system order by id")]


async def use_assertion(tx: Tx, id_: str, jti: str, expires_at: datetime) -> bool:
    """False where it was used before."""
    done: str = await tx.conn.execute(
        "insert into used_assertion (system, jti, expires_at) values ($1, $2, $3) on conflict do nothing",
        id_, jti, expires_at,
    )  # fmt: skip
    return done == "INSERT 0 1"


async def forget_assertions(tx: Tx) -> None:
    """Those that have expired long ago."""
    await tx.conn.execute("delete from used_assertion where expires_at < now() - interval '1 day'")
