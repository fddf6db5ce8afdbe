"""Sessions, and what people sign in with, in PostgreSQL: one function per statement. Runs as the service itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from services.referral.sessions.domain import CHALLENGES_MOST, IDLE, LIMITS, TooManyTries
from spean.db import Tx


@dataclass(frozen=True, slots=True)
class Session:
    """A session as its owner may see it; `id` names it and opens nothing. `how`: password, passkey or link."""

    id: UUID
    person: UUID
    how: str
    opened_at: datetime
    seen_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Passkey:
    id: UUID
    credential: bytes
    person: UUID
    public_key: bytes
    sign_count: int
    since: datetime
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Step:
    """What waits between two steps of signing in. `person` None: nobody has said yet who it is."""

    kind: str
    person: UUID | None
    value: bytes
    tries: int


# --- sessions ---------------------------------------------------------------------------------------------------------


def _session(row: asyncpg.Record) -> Session:
    return Session(row["id"], row["person"], row["how"], row["opened_at"], row["seen_at"], row["ends_at"])


async def insert_session(tx: Tx, digest: bytes, s: Session) -> None:
    await tx.conn.execute(
        "insert into session (digest, id, person, how, opened_at, seen_at, ends_at) values ($1, $2, $3, $4, $5, $6, $7)",
        digest, s.id, s.person, s.how, s.opened_at, s.seen_at, s.ends_at,
    )  # fmt: skip


async def live(tx: Tx, digest: bytes) -> asyncpg.Record | None:
    """An open session of somebody who may be signed in, with the person, the organisation (which may be suspended: then
    every page but those that stop something is shut) and its networks."""
    return await tx.conn.fetchrow(
        """
        select s.id as session, s.seen_at, p.id as person, p.name, p.language, p.roles, o.id as organisation,
               o.name as organisation_name, o.type, o.country, o.law_enforcement, o.status, o.sample,
               array(select m.network from member m where m.organisation = o.id order by m.network) as networks
        from session s join person p on p.id = s.person join organisation o on o.id = p.organisation
        where s.digest = $1 and s.ends_at > $2 and s.seen_at > $3 and p.status = 'active'
        """,
        digest, tx.now, tx.now - IDLE,
    )  # fmt: skip


async def seen(tx: Tx, id_: UUID) -> None:
    await tx.conn.execute("update session set seen_at = $2 where id = $1 and seen_at < $2", id_, tx.now)


async def session(tx: Tx, person: UUID, id_: UUID) -> Session | None:
    """One open session of this person."""
    row = await tx.conn.fetchrow(
        "select * from session where id = $1 and person = $2 and ends_at > $3 and seen_at > $4",
        id_, person, tx.now, tx.now - IDLE,
    )  # fmt: skip
    return None if row is None else _session(row)


async def sessions(tx: Tx, person: UUID) -> list[Session]:
    """The open sessions of a person, the last used first."""
    rows = await tx.conn.fetch(
        "select * from session where person = $1 and ends_at > $2 and seen_at > $3 order by seen_at desc, id",
        person, tx.now, tx.now - IDLE,
    )  # fmt: skip
    return [_session(row) for row in rows]


async def end_session(tx: Tx, person: UUID, id_: UUID) -> bool:
    """False where this person has no such session."""
    status = await tx.conn.execute("delete from session where person = $1 and id = $2", person, id_)
    return status == "DELETE 1"


async def end_digest(tx: Tx, digest: bytes) -> UUID | None:
    """End the session that this opens, whoever's it is. Returns whose it was."""
    person: UUID | None = await tx.conn.fetchval("delete from session where digest = $1 returning person", digest)
    return person


async def end_sessions(tx: Tx, person: UUID) -> None:
    """All of this person, and what they had begun."""
    await tx.conn.execute("delete from session where person = $1", person)
    await tx.conn.execute("delete from step where person = $1", person)


async def end_sessions_of(tx: Tx, organisation: UUID) -> None:
    """Everybody of an organisation."""
    for table in ("session", "step"):
        await tx.conn.execute(
            f"delete from {table} where person in (select id from person where organisation = $1)", organisation
        )


async def end_all(tx: Tx) -> None:
    """Everybody signs in anew, and every link that was handed out is void: after a restore nobody knows which of them had
    been used up or ended."""
    for table in ("session", "step", "link"):
        await tx.conn.execute(f"delete from {table}")


async def forget_ended(tx: Tx) -> None:
    """Sessions and steps that open nothing any more."""
    await tx.conn.execute("delete from session where ends_at < $1 or seen_at < $2", tx.now, tx.now - IDLE)
    await tx.conn.execute("delete from step where ends_at < $1", tx.now)


# --- what people sign in with -----------------------------------------------------------------------------------------


async def password_of(tx: Tx, person: UUID) -> str | None:
    """The hash."""
    found: str | None = await tx.conn.fetchval("select hash from password where person = $1", person)
    return found


async def put_password(tx: Tx, person: UUID, hash_: str) -> None:
    await tx.conn.execute(
        """
        insert into password (person, hash, since) values ($1, $2, $3)
        on conflict (person) do update set hash = excluded.hash, since = excluded.since
        """,
        person, hash_, tx.now,
    )  # fmt: skip


async def authenticator_of(tx: Tx, person: UUID) -> bytes | None:
    """The sealed secret."""
    found: bytes | None = await tx.conn.fetchval("select sealed from authenticator where person = $1", person)
    return found


async def put_authenticator(tx: Tx, person: UUID, sealed: bytes, last_step: int) -> None:
    await tx.conn.execute(
        """
        insert into authenticator (person, sealed, last_step, since) values ($1, $2, $3, $4)
        on conflict (person) do update
        set sealed = excluded.sealed, last_step = excluded.last_step, since = excluded.since
        """,
        person, sealed, last_step, tx.now,
    )  # fmt: skip


async def use_time_step(tx: Tx, person: UUID, step: int) -> bool:
    """False where the code of this step, or of a later one, was used before."""
    status = await tx.conn.execute(
        "update authenticator set last_step = $2 where person = $1 and last_step < $2", person, step
    )
    return status == "UPDATE 1"


def _passkey(row: asyncpg.Record) -> Passkey:
    return Passkey(
        row["id"], row["credential"], row["person"], row["public_key"], row["sign_count"], row["since"], row["used_at"]
    )


async def insert_passkey(tx: Tx, p: Passkey) -> bool:
    """False where the credential is known already."""
    status = await tx.conn.execute(
        """
        insert into passkey (credential, id, person, public_key, sign_count, since) values ($1, $2, $3, $4, $5, $6)
        on conflict do nothing
        """,
        p.credential, p.id, p.person, p.public_key, p.sign_count, p.since,
    )  # fmt: skip
    return status == "INSERT 0 1"


async def passkeys(tx: Tx, person: UUID) -> list[Passkey]:
    rows = await tx.conn.fetch("select * from passkey where person = $1 order by since, id", person)
    return [_passkey(row) for row in rows]


async def lock_passkey(tx: Tx, credential: bytes) -> Passkey | None:
    row = await tx.conn.fetchrow("select * from passkey where credential = $1 for update", credential)
    return None if row is None else _passkey(row)


async def passkey_used(tx: Tx, credential: bytes, sign_count: int) -> None:
    await tx.conn.execute(
        "update passkey set sign_count = $2, used_at = $3 where credential = $1", credential, sign_count, tx.now
    )


async def drop_passkey(tx: Tx, person: UUID, id_: UUID) -> bool:
    """False where this person has no such passkey."""
    status = await tx.conn.execute("delete from passkey where person = $1 and id = $2", person, id_)
    return status == "DELETE 1"


# Where secrets of authenticators are sealed: table, column, and which of its rows.
SEALED = (
    ("authenticator", "sealed", "true"),
    ("link", "sealed", "sealed is not null"),
    ("step", "value", "kind = 'new-authenticator'"),
)


async def sealed(tx: Tx, kept: tuple[str, str, str]) -> list[tuple[UUID, bytes]]:
    """Whose, and the sealed secret; one of `SEALED`."""
    table, column, which = kept
    rows = await tx.conn.fetch(f"select person, {column} as sealed from {table} where {which}")
    return [(row["person"], row["sealed"]) for row in rows]


async def seal_anew(tx: Tx, kept: tuple[str, str, str], person: UUID, old: bytes, new: bytes) -> None:
    """Unless it is another by now."""
    table, column, _ = kept
    await tx.conn.execute(
        f"update {table} set {column} = $3 where person = $1 and {column} = $2",
        person, old, new,
    )  # fmt: skip


async def drop_factors(tx: Tx, person: UUID) -> None:
    """Everything that the person can sign in with."""
    for table in ("password", "authenticator", "passkey"):
        await tx.conn.execute(f"delete from {table} where person = $1", person)


# --- steps ------------------------------------------------------------------------------------------------------------


def _step(row: asyncpg.Record | None) -> Step | None:
    return None if row is None else Step(row["kind"], row["person"], row["value"], row["tries"])


async def insert_step(tx: Tx, digest: bytes, kind: str, person: UUID | None, value: bytes, ends_at: datetime) -> None:
    await tx.conn.execute(
        "insert into step (digest, kind, person, value, ends_at) values ($1, $2, $3, $4, $5)",
        digest, kind, person, value, ends_at,
    )  # fmt: skip


async def trim_challenges(tx: Tx) -> None:
    """The newest of those that anybody may ask for."""
    await tx.conn.execute(
        """
        delete from step where person is null and ends_at < (
            select ends_at from step where person is null order by ends_at desc offset $1 limit 1)
        """,
        CHALLENGES_MOST,
    )


async def step(tx: Tx, kind: str, digest: bytes) -> Step | None:
    """A step that still waits, left as it is."""
    row = await tx.conn.fetchrow(
        "select kind, person, value, tries from step where digest = $1 and kind = $2 and ends_at > $3",
        digest, kind, tx.now,
    )  # fmt: skip
    return _step(row)


async def try_step(tx: Tx, kind: str, digest: bytes) -> Step | None:
    """A step that still waits; `tries` counts this one."""
    row = await tx.conn.fetchrow(
        """
        update step set tries = tries + 1 where digest = $1 and kind = $2 and ends_at > $3
        returning kind, person, value, tries
        """,
        digest, kind, tx.now,
    )  # fmt: skip
    return _step(row)


async def use_step(tx: Tx, kind: str, digest: bytes) -> Step | None:
    """A step that still waited; from now on it does not."""
    row = await tx.conn.fetchrow(
        "delete from step where digest = $1 and kind = $2 and ends_at > $3 returning kind, person, value, tries",
        digest, kind, tx.now,
    )  # fmt: skip
    return _step(row)


# --- tries ------------------------------------------------------------------------------------------------------------


async def count_try(tx: Tx, kind: str, bucket: int) -> int:
    """Count a try as failed before it is made (`forgive_try` takes it back): of many at once each is counted. Returns how
    many that are in a row. Raises TooManyTries, and then nothing is counted."""
    limit = LIMITS[kind]
    failures: int | None = await tx.conn.fetchval(
        """
        insert into tries as t (kind, bucket, failures, last_at) values ($1, $2, 1, $3)
        on conflict (kind, bucket) do update
        set failures = case when t.last_at < $4 then 1 else t.failures + 1 end, last_at = $3
        where t.until is null or t.until <= $3
        returning failures
        """,
        kind, bucket, tx.now, tx.now - limit.forget,
    )  # fmt: skip
    if failures is None:
        until: datetime = await tx.conn.fetchval(
            "select until from tries where kind = $1 and bucket = $2", kind, bucket
        )
        raise TooManyTries(until - tx.now)
    await tx.conn.execute(
        "update tries set until = $3 where kind = $1 and bucket = $2", kind, bucket, tx.now + limit.wait(failures)
    )
    return failures


async def forgive_try(tx: Tx, kind: str, bucket: int) -> None:
    """The try was right: it was no failure."""
    await tx.conn.execute(
        "update tries set failures = failures - 1, until = null where kind = $1 and bucket = $2 and failures > 0",
        kind, bucket,
    )  # fmt: skip


async def forget_tries(tx: Tx, kind: str, bucket: int) -> None:
    """Everything before counts no longer."""
    await tx.conn.execute("delete from tries where kind = $1 and bucket = $2", kind, bucket)
