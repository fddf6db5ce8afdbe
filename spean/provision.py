"""Databases, roles and migrations: everything a service needs before it starts. Safe to call at every start."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from spean.address import Address, connect
from spean.db import plain_errors
from spean.turning import Turning

KIT = Path(__file__).parent / "migrations"
_LOCK = 0x5BEA0002


class Cluster(Protocol):
    """A PostgreSQL server: the embedded one, or one at an address."""

    def dsn(self, database: str, user: str | None = None, password: str | None = None) -> str: ...


@dataclass(frozen=True, slots=True)
class AddressedCluster:
    """A server of somebody else's. `address` names an account that may create roles and databases, or none: the services
    sign in as their own roles, and only `prepare` and its like need more."""

    address: str = field(repr=False)

    def dsn(self, database: str, user: str | None = None, password: str | None = None) -> str:
        parts = urlsplit(self.address)
        if user is None:
            return urlunsplit(parts._replace(path=f"/{database}"))
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{user}:{quote(password or '', safe='')}@{host}", path=f"/{database}"))


class MigrationChanged(Exception):
    """A migration that was applied reads differently now: migrations are never edited, a new one is added."""


class BehindCode(Exception):
    """A database lacks migrations that this code has. The message says which database and what to do."""


class Roles:
    """Role passwords of this installation, derived from one secret in the keys folder, and keys for other purposes. The
    secret may be changed while processes run (`spean keys rotate database`): what is made is made with the one in use, what
    is opened or compared may have been made with another that counts."""

    def __init__(self, secret: bytes | Turning) -> None:
        self._secret = secret

    @classmethod
    def load(cls, keys: Path) -> Roles:
        return cls(Turning(secret_file(keys), new_secret, _expect_some))

    @property
    def _secrets(self) -> Sequence[bytes]:
        return self._secret.accepted() if isinstance(self._secret, Turning) else (self._secret,)

    def password(self, role: str) -> str:
        return self.passwords(role)[0]

    def passwords(self, role: str) -> list[str]:
        """Those that the role may have at this moment, the one in use first."""
        return [hmac.new(secret, role.encode(), hashlib.sha256).hexdigest() for secret in self._secrets]

    def key(self, purpose: str) -> bytes:
        """A key (32 bytes) of this installation for a purpose of its own; never equal to a role's password."""
        return self.keys(purpose)[0]

    def keys(self, purpose: str) -> list[bytes]:
        """Those that count at this moment, the one in use first."""
        return [hmac.new(secret, f"key {purpose}".encode(), hashlib.sha256).digest() for secret in self._secrets]


def secret_file(keys: Path) -> Path:
    """Where the secret of the roles lies."""
    return keys / "database-roles"


def new_secret() -> bytes:
    return secrets.token_hex(32).encode()


def _expect_some(secret: bytes) -> None:
    """Raises ValueError: from an empty file everything would follow that anybody can work out."""
    if not secret.strip():
        raise ValueError


def service_dsns(cluster: Cluster, roles: Roles, database: str) -> tuple[str, str]:
    """Addresses for the two roles of a service's database: (api, worker)."""

    def addresses(role: str) -> list[str]:
        return [cluster.dsn(database, role, password) for password in roles.passwords(role)]

    return Address(partial(addresses, f"{database}_api")), Address(partial(addresses, f"{database}_worker"))


async def prepare(cluster: Cluster, roles: Roles, database: str, migrations: Path | None) -> None:
    """Make the database with its owner and its two roles, and bring its tables up to date. Raises DatabaseProblem,
    MigrationChanged."""
    with plain_errors("provision"):
        admin = await asyncpg.connect(cluster.dsn("postgres"))
        try:
            await admin.execute("select pg_advisory_lock($1)", _LOCK)
            await make_roles(admin, roles, database)
            if not await admin.fetchval("select 1 from pg_database where datname = $1", database):
                await admin.execute(f'create database "{database}" owner "{database}_owner"')
            # Every time: a start that ended between these lines must not leave the door open.
            await admin.execute(f'revoke connect, temporary on database "{database}" from public')
            await admin.execute(f'grant connect on database "{database}" to "{database}_api", "{database}_worker"')
        finally:
            await admin.close()
        if migrations is not None:
            await migrate(cluster.dsn(database), f"{database}_owner", [KIT, migrations])


async def make_roles(admin: asyncpg.Connection[asyncpg.Record], roles: Roles, database: str) -> None:
    for group in ("spean_api", "spean_worker"):
        if not await admin.fetchval("select 1 from pg_roles where rolname = $1", group):
            await admin.execute(f'create role "{group}" nologin')
    if not await admin.fetchval("select 1 from pg_roles where rolname = $1", f"{database}_owner"):
        await admin.execute(f'create role "{database}_owner" nologin')
    # Its own tables' rules leave it no row either: what a migration carries over it sees as the service does.
    if not await admin.fetchval("select pg_has_role($1, 'spean_worker', 'usage')", f"{database}_owner"):
        await admin.execute(f'grant spean_worker to "{database}_owner"')
    for kind in ("api", "worker"):
        role = f"{database}_{kind}"
        if not await admin.fetchval("select 1 from pg_roles where rolname = $1", role):
            await admin.execute(f'create role "{role}" login nobypassrls in role "spean_{kind}"')
        # Utility statements take no parameters; the password is hexadecimal.
        await admin.execute(f"alter role \"{role}\" password '{roles.password(role)}'")


async def migrate(dsn: str, owner: str, folders: Sequence[Path]) -> list[str]:
    """Apply what is missing, in order, each file in a transaction of its own. Returns the names applied."""
    conn = await asyncpg.connect(dsn)
    applied: list[str] = []
    try:
        await conn.execute("select pg_advisory_lock($1)", _LOCK)
        await conn.execute(
            "create schema if not exists upkeep; create table if not exists upkeep.migration "
            "(name text primary key, sha256 text not null, at timestamptz not null default now())"
        )
        await conn.execute(f'grant create on schema public to "{owner}"')
        await conn.execute("grant usage on schema upkeep to spean_worker")
        await conn.execute("grant select on upkeep.migration to spean_worker")
        done = {row["name"]: row["sha256"] for row in await conn.fetch("select name, sha256 from upkeep.migration")}
        for file in (file for folder in folders for file in sorted(folder.glob("*.sql"))):
            text = file.read_text(encoding="utf-8")
            digest = hashlib.sha256(text.encode()).hexdigest()
            if file.name in done:
                if done[file.name] != digest:
                    raise MigrationChanged(
                        f"{file.name} was applied here as it read before, and reads differently now: go back to the release "
                        "that made this data, or start in another folder (SPEAN_DATA, SPEAN_KEYS)"
                    )
                continue
            async with conn.transaction():
                await conn.execute(f'set local role "{owner}"')
                await conn.execute(text)
                await conn.execute("reset role")
                await conn.execute("insert into upkeep.migration (name, sha256) values ($1, $2)", file.name, digest)
            applied.append(file.name)
    finally:
        await conn.close()
    return applied


async def expect_migrated(cluster: Cluster, roles: Roles, database: str, migrations: Path) -> None:
    """For a process that may not migrate: it works only with tables as new as its code. Raises BehindCode,
    DatabaseProblem."""
    wanted = {file.name for folder in (KIT, migrations) for file in folder.glob("*.sql")}
    with plain_errors("provision"):
        conn = await connect(service_dsns(cluster, roles, database)[1])
        try:
            done = {row["name"] for row in await conn.fetch("select name from upkeep.migration")}
        finally:
            await conn.close()
    if not wanted <= done:
        raise BehindCode(f"the database {database} is older than this program: run spean migrate first")


async def let_worker_make_tables(cluster: Cluster, database: str) -> None:
    """The worker of a database without migrations (the bus) keeps its own tables. Raises DatabaseProblem."""
    with plain_errors("provision"):
        conn = await asyncpg.connect(cluster.dsn(database))
        try:
            await conn.execute(f'grant usage, create on schema public to "{database}_worker"')
        finally:
            await conn.close()
