"""Row-level security of every database, generated from the catalogue: who sees, who writes, who may connect."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.cli.installation import BUILD, BUS_DATABASE
from services.intake.keystore.store import DATABASE as KEYS
from spean.provision import Roles, service_dsns
from tests.security.operations import Stage
from tests.security.state import tables

SERVICES = tuple(BUILD)
DATABASES = (*SERVICES, KEYS, BUS_DATABASE)
# The same for everybody who may read them at all: reviewed rules, the network, the number of the last change.
SHARED = frozenset({"need_to_know", "corridor", "network", "tail_head", "basis_limit", "crowd", "crowd_limit"})
_ALL = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


def dsn(stage: Stage, database: str, kind: str, *, of: str | None = None) -> str:
    """How the role `kind` (api or worker) of the service `of` would connect to a database."""
    made = stage.world.made
    own = service_dsns(made.cluster, Roles.load(made.settings.keys), of or database)[("api", "worker").index(kind)]
    return own.replace(f"/{of or database}?", f"/{database}?")


@asynccontextmanager
async def connected(address: str, org: UUID | str | None = None) -> AsyncIterator[asyncpg.Connection]:
    """A session in one transaction, which is rolled back; as this organisation, or as none."""
    conn = await asyncpg.connect(address)
    try:
        transaction = conn.transaction()
        await transaction.start()
        if org is not None:
            await conn.execute("select set_config('app.org', $1, true)", str(org))
        yield conn
        await transaction.rollback()
    finally:
        await conn.close()


@asynccontextmanager
async def superuser(stage: Stage, database: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(stage.world.made.cluster.dsn(database)) as conn:
        yield conn


async def granted(conn: asyncpg.Connection, role: str) -> dict[str, set[str]]:
    """What a role may do to each table of any schema (also to single columns), nothing left out."""
    rows = await conn.fetch(
        """
        select n.nspname || '.' || c.relname as name, p.privilege
        from pg_class c join pg_namespace n on n.oid = c.relnamespace,
             unnest($2::text[]) as p(privilege)
        where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
          and (has_table_privilege($1, c.oid, p.privilege)
               or (p.privilege in ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                   and has_any_column_privilege($1, c.oid, p.privilege)))
        """,
        role, list(_ALL),
    )  # fmt: skip
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["name"], set()).add(row["privilege"])
    return found


async def unguarded(conn: asyncpg.Connection, role: str) -> set[str]:
    """Tables that the role may touch although their rows are not guarded, also from their owner."""
    guarded = await conn.fetch(
        """
        select n.nspname || '.' || c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relrowsecurity and c.relforcerowsecurity
        """
    )
    return set(await granted(conn, role)) - {row["name"] for row in guarded}


@pytest.mark.parametrize("database", DATABASES)
async def test_every_table_is_guarded_or_out_of_reach(stage: Stage, database: str) -> None:
    async with superuser(stage, database) as conn:
        assert await unguarded(conn, f"{database}_api") == set()
        if database in {KEYS, BUS_DATABASE}:
            assert await granted(conn, f"{database}_api") == {}


async def test_the_check_finds_a_table_that_was_forgotten(stage: Stage) -> None:
    """The three ways to forget: no row-level security, not forced, a grant on one column."""
    async with superuser(stage, "intake") as conn:
        await conn.execute(
            """
            create table loose (org uuid); grant select on loose to spean_api;
            create table halfway (org uuid); alter table halfway enable row level security;
            grant insert on halfway to spean_api;
            create table one_column (org uuid, secret text); grant select (secret) on one_column to spean_api;
            """
        )
        assert await unguarded(conn, "intake_api") == {"public.loose", "public.halfway", "public.one_column"}


@pytest.mark.parametrize("database", SERVICES)
async def test_without_an_organisation_nothing_is_seen(stage: Stage, database: str) -> None:
    """Not set, set to nothing, or set to somebody unknown: no row of any table; and some rows where it is set."""
    async with superuser(stage, database) as conn:
        readable = [name for name, rights in (await granted(conn, f"{database}_api")).items() if "SELECT" in rights]
    assert readable
    for org in (None, ""):
        async with connected(dsn(stage, database, "api"), org) as conn:
            assert {name: await _count(conn, name) for name in readable} == dict.fromkeys(readable, 0)
    seen = 0
    for role in ("sender", "receiver", "coordinator"):
        async with connected(dsn(stage, database, "api"), stage.people[role].id) as conn:
            seen += sum([await _count(conn, name) for name in readable])
    assert seen > 0


async def _count(conn: asyncpg.Connection, table: str) -> int:
    schema, _, name = table.partition(".")
    count: int = await conn.fetchval(f'select count(*) from "{schema}"."{name}"')
    return count


async def _rows(conn: asyncpg.Connection, table: str) -> set[str]:
    schema, _, name = table.partition(".")
    return {row[0] for row in await conn.fetch(f'select row_to_json(t)::text from "{schema}"."{name}" t')}


@pytest.mark.parametrize("database", SERVICES)
async def test_a_stranger_sees_no_row_of_the_others(stage: Stage, database: str) -> None:
    """What two organisations both see is shared data only, whichever table it is."""
    async with superuser(stage, database) as conn:
        readable = [name for name, rights in (await granted(conn, f"{database}_api")).items() if "SELECT" in rights]
    async with connected(dsn(stage, database, "api"), stage.stranger.id) as conn:
        strange = {name: await _rows(conn, name) for name in readable}
    compared = 0
    for role in ("sender", "receiver", "coordinator"):
        async with connected(dsn(stage, database, "api"), stage.people[role].id) as conn:
            for name in readable:
                mine = await _rows(conn, name)
                compared += len(mine)
                if name.removeprefix("public.") not in SHARED:
                    # An agreement between the two is both's.
                    both = [
                        row
                        for row in mine & strange[name]
                        if stage.people[role].id not in row or stage.stranger.id not in row
                    ]
                    assert both == [], (name, role)
    assert compared > 0


@pytest.mark.parametrize("database", SERVICES)
async def test_nothing_is_written_or_changed_for_another_organisation(stage: Stage, database: str) -> None:
    """A stranger cannot add a row like any that is there, and cannot change or delete any of them."""
    async with superuser(stage, database) as conn:
        rights = await granted(conn, f"{database}_api")
        assert not [name for name, may in rights.items() if may & {"DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"}]
        writable = {name: may for name, may in rights.items() if may & {"INSERT", "UPDATE"}}
        copies = {name: await _examples(conn, name, stage.stranger.id) for name in writable}
        columns = {name: await _columns(conn, database, name) for name in writable}
    assert writable
    assert any(copies.values())
    for name, may in writable.items():
        insertable, updatable = columns[name]
        for copy in copies[name] if "INSERT" in may else []:
            async with connected(dsn(stage, database, "api"), stage.stranger.id) as conn:
                names = ", ".join(f'"{column}"' for column in insertable)
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await conn.execute(
                        f"insert into {_quoted(name)} ({names}) "
                        f"select {names} from jsonb_populate_record(null::{_quoted(name)}, $1)", copy,
                    )  # fmt: skip
        if "UPDATE" in may:
            async with connected(dsn(stage, database, "api"), stage.stranger.id) as conn:
                own = await _count(conn, name)
                first = f'"{updatable[0]}"'
                done = await conn.execute(f"update {_quoted(name)} set {first} = {first}")
                assert done == f"UPDATE {own}", name


def _quoted(table: str) -> str:
    schema, _, name = table.partition(".")
    return f'"{schema}"."{name}"'


async def _examples(conn: asyncpg.Connection, table: str, stranger: str) -> list[str]:
    """Rows that are not the stranger's, as JSON. What hangs on an entry says whose it is by that alone."""
    rows = await conn.fetch(f"select row_to_json(t)::text from {_quoted(table)} t limit 200")
    own = {stranger}
    if await conn.fetchval("select to_regclass('public.entry') is not null"):
        own |= {str(row[0]) for row in await conn.fetch("select id from entry where org = $1", UUID(stranger))}
    return [row[0] for row in rows if not any(id_ in row[0] for id_ in own)][:3]


async def _columns(conn: asyncpg.Connection, database: str, table: str) -> tuple[list[str], list[str]]:
    """The columns that an insert may name, and those that the API's role may update."""
    rows = await conn.fetch(
        """
        select attname, attidentity <> '' as identity, has_column_privilege($2, $1::regclass, attname, 'UPDATE') as updatable
        from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped order by attnum
        """,
        _quoted(table), f"{database}_api",
    )  # fmt: skip
    return (
        [row["attname"] for row in rows if not row["identity"]],
        [row["attname"] for row in rows if row["updatable"]],
    )


@pytest.mark.parametrize("database", SERVICES)
async def test_a_row_of_mine_cannot_be_given_to_another_organisation(stage: Stage, database: str) -> None:
    tried = 0
    for role in ("sender", "receiver", "coordinator"):
        for name, column in await _owner_columns(stage, database):
            async with connected(dsn(stage, database, "api"), stage.people[role].id) as conn:
                if not await conn.fetchval(
                    f'select count(*) from {_quoted(name)} where "{column}" = $1', UUID(stage.people[role].id)
                ):
                    continue
                tried += 1
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await conn.execute(f'update {_quoted(name)} set "{column}" = $1', UUID(stage.stranger.id))
    assert tried or database == "notify"


async def _owner_columns(stage: Stage, database: str) -> list[tuple[str, str]]:
    """(table, column) that names the owner of a row and that the API's role may read and update."""
    async with superuser(stage, database) as conn:
        rows = await conn.fetch(
            """
            select n.nspname || '.' || c.relname as name, a.attname
            from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
            where a.attname in ('org', 'organisation') and c.relkind = 'r' and n.nspname = 'public'
              and has_table_privilege($1, c.oid, 'SELECT') and has_column_privilege($1, c.oid, a.attname, 'UPDATE')
            """,
            f"{database}_api",
        )  # fmt: skip
    return [(row["name"], row["attname"]) for row in rows]


# --- roles --------------------------------------------------------------------------------------------------------


async def test_no_role_of_a_service_is_above_the_rules(stage: Stage) -> None:
    async with superuser(stage, "postgres") as conn:
        rows = await conn.fetch(
            """
            select rolname, rolcanlogin from pg_roles
            where not (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication)
            """
        )
        plain = {row["rolname"]: row["rolcanlogin"] for row in rows}
        kinds = {"api": True, "worker": True, "owner": False}
        wanted = {f"{database}_{kind}": login for database in DATABASES for kind, login in kinds.items()}
        assert {name: plain.get(name) for name in wanted} == wanted
        for database in DATABASES:
            for kind in ("api", "worker"):
                groups = await conn.fetch(
                    "select g.rolname from pg_auth_members m join pg_roles g on g.oid = m.roleid "
                    "join pg_roles r on r.oid = m.member where r.rolname = $1",
                    f"{database}_{kind}",
                )  # fmt: skip
                assert {row["rolname"] for row in groups} == {f"spean_{kind}"}


@pytest.mark.parametrize("database", [*SERVICES, KEYS])
async def test_no_role_that_works_with_a_table_owns_it(stage: Stage, database: str) -> None:
    async with superuser(stage, database) as conn:
        rows = await conn.fetch(
            "select c.relname, r.rolname from pg_class c join pg_roles r on r.oid = c.relowner "
            "join pg_namespace n on n.oid = c.relnamespace where n.nspname in ('public', 'upkeep')"
        )
    assert rows
    assert {row["rolname"] for row in rows} & {f"{database}_{kind}" for kind in ("api", "worker")} == set()


@pytest.mark.parametrize("database", SERVICES)
async def test_a_migration_sees_every_row_of_every_table(stage: Stage, database: str) -> None:
    """It runs as the owner, whom the rules of rows do not leave out either: else what it carries over is nothing, in silence."""
    async with superuser(stage, database) as conn:
        await conn.execute("set transaction isolation level repeatable read")
        counts = [f"select '{name}' as name, count(*) as rows from public.\"{name}\"" for name in await tables(conn)]
        all_of_them = " union all ".join(counts)
        before = {row["name"]: row["rows"] for row in await conn.fetch(all_of_them)}
        assert sum(rows > 0 for rows in before.values()) > 10
        await conn.execute(f'set local role "{database}_owner"')
        assert {row["name"]: row["rows"] for row in await conn.fetch(all_of_them)} == before


async def test_the_roles_of_one_service_cannot_enter_the_databases_of_another(stage: Stage) -> None:
    for of in DATABASES:
        for kind in ("api", "worker"):
            async with connected(dsn(stage, of, kind)) as conn:  # the control: its own opens
                assert await conn.fetchval("select current_database()") == of
            for database in set(DATABASES) - {of}:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await asyncpg.connect(dsn(stage, database, kind, of=of))


async def test_the_api_cannot_use_the_key_store(stage: Stage) -> None:
    """Its role of the same name has no right on any table, and the one that has them cannot delete a key's row."""
    async with superuser(stage, KEYS) as conn:
        found = await tables(conn)
        rights = await granted(conn, f"{KEYS}_worker")
    assert set(found) == {"data_key", "ended", "fence", "kek"}
    assert rights == {
        **{f"public.{name}": {"SELECT", "INSERT"} for name in ("kek", "ended")},
        **{f"public.{name}": {"SELECT", "INSERT", "UPDATE"} for name in ("data_key", "fence")},
    }
    for name in found:
        async with connected(dsn(stage, KEYS, "api"), stage.people["sender"].id) as conn:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(f"select * from {name}")


@pytest.mark.parametrize("database", SERVICES)
async def test_functions_with_the_owners_rights_are_few_and_look_nowhere_else(stage: Stage, database: str) -> None:
    async with superuser(stage, database) as conn:
        rows = await conn.fetch(
            """
            select p.proname, p.prosecdef, p.proconfig, has_function_privilege($1, p.oid, 'EXECUTE') as api,
                   exists (select 1 from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0) as anybody
            from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = 'public'
            """,
            f"{database}_api",
        )  # fmt: skip
    definers = {row["proname"]: row for row in rows if row["prosecdef"]}
    assert set(definers) == {"say", "due_set", "due_clear"}
    assert all("search_path=public, pg_temp" in row["proconfig"] for row in definers.values())
    # A trigger's function runs with its table; calling it by name is an error in itself.
    assert {row["proname"] for row in rows if row["anybody"]} <= {"refuse_unless_listed"}


# --- what the code does with it -----------------------------------------------------------------------------------


async def test_the_organisation_ends_with_its_transaction(stage: Stage) -> None:
    """A session goes back to the pool without an organisation, also after an error."""
    db = stage.world.made.services["intake"].db
    for fails in (False, True):
        try:
            async with db.transaction("test.org", org=UUID(stage.people["sender"].id)) as tx:
                assert await tx.conn.fetchval("select count(*) from entry") > 0
                session = await tx.conn.fetchval("select pg_backend_pid()")
                if fails:
                    raise KeyError
        except KeyError:
            assert fails
        held: list[Any] = []
        try:
            # The pool gives out the session that was used last first.
            while session not in {pid for _, pid in held}:
                conn = await db._pools["api"].acquire()
                held.append((conn, await conn.fetchval("select pg_backend_pid()")))
            again = next(conn for conn, pid in held if pid == session)
            assert await again.fetchval("select coalesce(current_setting('app.org', true), '')") == ""
            assert await again.fetchval("select count(*) from entry") == 0
        finally:
            for conn, _ in held:
                await db._pools["api"].release(conn)


async def test_an_organisation_that_is_no_id_is_refused_by_the_database(stage: Stage) -> None:
    async with connected(dsn(stage, "intake", "api"), json.dumps({"any": "thing"})) as conn:
        with pytest.raises(asyncpg.DataError):
            await conn.fetch("select * from entry")
