"""Two roles, one transaction function, one time, and errors that carry no row."""

from __future__ import annotations

import asyncio
import traceback
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from spean import embedded
from spean.address import Address
from spean.db import CLOSE_S, IDLE_IN_TRANSACTION_MS, Database, DatabaseProblem
from spean.provision import service_dsns
from tests.builders import eventually
from tests.integration.kit import ROLES, Kit

CANARY = "canary-93be"
KEEP = "insert into idempotency (org, key, fingerprint, status, body) values ($1, $2, '', 200, $3)"


async def problem_of(db: Database, query: str, *arguments: object) -> DatabaseProblem:
    with pytest.raises(DatabaseProblem) as raised:
        async with db.transaction("test.fails") as tx:
            await tx.conn.execute(query, *arguments)
    return raised.value


@pytest.mark.parametrize(
    ("query", "arguments", "sqlstate"),
    [
        (KEEP, (uuid4(), CANARY * 50, CANARY), "23514"),
        ("insert into due (kind, subject, at) values ($1, null, now())", (CANARY,), "23502"),
        ("select $1::int", (CANARY,), "22000"),
        ("select $1::text::int", (CANARY,), "22P02"),
        ("select $1::text", (f"{CANARY}\0",), "22021"),
        ("select $1::int", (2**40,), "22000"),
        (f"select {CANARY.replace('-', '_')} from due", (), "42703"),
        (f"do $$ begin raise exception '{CANARY}' using detail = '{CANARY}'; end $$", (), "P0001"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) == 5 else "",
)
async def test_a_problem_says_the_class_and_never_a_value(
    writer: Kit, query: str, arguments: tuple[object, ...], sqlstate: str
) -> None:
    problem = await problem_of(writer.db, query, *arguments)
    told = "".join(traceback.format_exception(problem)) + repr(problem) + str(problem) + repr(problem.args)
    assert CANARY not in told
    assert CANARY.replace("-", "_") not in told
    assert str(problem) == f"test.fails: SQLSTATE {sqlstate}"
    assert not problem.transient


async def test_a_row_that_is_there_already_is_not_told(writer: Kit) -> None:
    subject = uuid4()
    put = "insert into due (kind, subject, at) values ($1, $2, now())"
    async with writer.db.transaction("test") as tx:
        await tx.conn.execute(put, CANARY, subject)
    problem = await problem_of(writer.db, put, CANARY, subject)
    assert problem.sqlstate == "23505"
    told = "".join(traceback.format_exception(problem))
    assert CANARY not in told
    assert str(subject) not in told


@pytest.mark.parametrize(
    ("sqlstate", "transient", "server"),
    [
        ("40001", True, False), ("40P01", True, False), ("55P03", True, False), ("57014", True, False),
        ("08006", True, True), ("57P01", True, True), ("57P03", True, True), ("57P05", True, True), ("53300", True, True),
        ("25P03", True, True), ("58030", True, True), ("23505", False, False), ("22P02", False, False),
        ("42501", False, False), ("XX000", False, False), ("25006", False, False),
    ],
)  # fmt: skip
def test_what_may_pass_and_whose_trouble_it_is(sqlstate: str, transient: bool, server: bool) -> None:  # noqa: FBT001
    problem = DatabaseProblem("test", sqlstate)
    assert (problem.transient, problem.server) == (transient, server)


async def test_an_organisation_sees_and_writes_its_own_rows_only(writer: Kit) -> None:
    one, other = uuid4(), uuid4()
    for org in (one, other):
        async with writer.db.transaction("test", org=org) as tx:
            await tx.conn.execute(KEEP, org, "k", "{}")
    async with writer.db.transaction("test", org=one) as tx:
        rows = await tx.conn.fetch("select org from idempotency")
    assert [row["org"] for row in rows] == [one]
    async with writer.db.transaction("test") as tx:
        assert await tx.conn.fetchval("select count(*) from idempotency") == 2

    async def foreign() -> None:
        async with writer.db.transaction("test", org=one) as tx:
            await tx.conn.execute(KEEP, other, "k2", "{}")

    with pytest.raises(DatabaseProblem, match="42501"):
        await foreign()


async def test_an_organisation_reaches_no_table_of_the_service(writer: Kit) -> None:
    """Not what is said, read, parked or due: only through the functions that are granted."""

    async def read(table: str) -> None:
        async with writer.db.transaction("test", org=uuid4()) as tx:
            await tx.conn.fetch(f"select * from {table}")

    for table in ("outbox", "said", "aggregate", "position", "last", "parked", "due", "life", "effect"):
        with pytest.raises(DatabaseProblem, match="42501"):
            await read(table)


async def test_neither_role_is_more_than_it_seems(writer: Kit) -> None:
    rows = await writer.rows(
        "select rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb from pg_roles where rolname = any($1)",
        [f"{writer.name}_api", f"{writer.name}_worker"],
    )
    assert len(rows) == 2
    for row in rows:
        assert not any((row["rolsuper"], row["rolbypassrls"], row["rolcreaterole"], row["rolcreatedb"]))


async def test_a_transaction_has_one_time_and_the_house_may_move_it(writer: Kit) -> None:
    async with writer.db.transaction("test") as tx:
        await tx.conn.execute("select pg_sleep(0.01)")
        assert tx.now == await tx.conn.fetchval("select now()")
        assert tx.now.utcoffset() == timedelta(0)
    writer.db.shift = timedelta(days=3)
    async with writer.db.transaction("test") as tx:
        assert tx.now == await tx.conn.fetchval("select now() + interval '3 days'")


async def test_an_error_rolls_back_and_the_organisation_is_forgotten(writer: Kit) -> None:
    org = uuid4()

    async def fails() -> None:
        async with writer.db.transaction("test", org=org) as tx:
            await tx.conn.execute(KEEP, org, "k", "{}")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    assert await writer.value("select count(*) from idempotency") == 0
    pool = writer.db._pools["api"]
    for _ in range(20):
        async with pool.acquire() as conn:
            assert await conn.fetchval("select current_org()") is None


async def test_whoever_freezes_inside_a_transaction_is_put_out(writer: Kit) -> None:
    """So that a lock is not kept for ever; the transaction then says that it may be tried again."""

    async def freezes() -> None:
        async with writer.db.transaction("test.frozen") as tx:
            pid = await tx.conn.fetchval("select pg_backend_pid()")

            async def gone() -> bool:
                return await writer.value("select count(*) from pg_stat_activity where pid = $1", pid) == 0

            await eventually(gone, within_s=IDLE_IN_TRANSACTION_MS / 1000 + 5)
            await tx.conn.execute("select 1")

    with pytest.raises(DatabaseProblem) as raised:
        await freezes()
    assert raised.value.transient
    assert raised.value.server
    async with writer.db.transaction("test") as tx:
        assert await tx.conn.fetchval("select 1") == 1


async def test_a_server_that_is_not_there_is_one_of_our_problems(workspace: Path) -> None:
    """Also while its socket's file is missing, as during a restart."""
    folder = workspace / f"gone-{uuid4().hex[:6]}"
    running = await embedded.start(folder, password_file=workspace / f"{folder.name}-password", fast_unsafe=True)
    dsn = running.server.dsn("postgres")
    db = await Database.open(dsn, dsn)
    await running.stop()
    with pytest.raises(DatabaseProblem) as raised:
        await problem_free(db)
    assert raised.value.server
    with pytest.raises(DatabaseProblem):
        await db.worker_connection()
    with pytest.raises(DatabaseProblem):
        await Database.open(dsn, dsn)
    await db.close()


async def problem_free(db: Database) -> None:
    async with db.transaction("test") as tx:
        await tx.conn.execute("select 1")


async def test_a_session_that_was_kept_is_given_back_as_new(writer: Kit) -> None:
    """Who holds a session for longer than a transaction may have set and locked what does not end by itself."""
    before = await writer.db.worker_connection()
    session = await before.fetchval("select pg_backend_pid()")
    await before.execute("set idle_session_timeout = 3600000")
    await before.execute("select pg_advisory_lock(7)")
    await writer.db.release(before)
    after = await writer.db.worker_connection()  # the one that was used last is given out first
    try:
        assert await after.fetchval("select pg_backend_pid()") == session
        assert await after.fetchval("show idle_session_timeout") == "0"
        held = "select count(*) from pg_locks where locktype = 'advisory' and pid = $1"
        assert await after.fetchval(held, session) == 0
    finally:
        await writer.db.release(after)


async def test_a_wrong_password_is_told_without_it(writer: Kit) -> None:
    api, worker = service_dsns(writer.cluster, ROLES, writer.name)
    wrong = worker.replace(ROLES.password(f"{writer.name}_worker"), CANARY)
    assert wrong != worker
    with pytest.raises(DatabaseProblem) as raised:
        await Database.open(api, wrong)
    assert CANARY not in "".join(traceback.format_exception(raised.value))
    assert raised.value.sqlstate == "28P01"


async def test_while_a_password_is_changed_each_that_may_hold_is_tried(writer: Kit) -> None:
    api, worker = service_dsns(writer.cluster, ROLES, writer.name)
    wrong, passwords = worker.replace(ROLES.password(f"{writer.name}_worker"), CANARY), [worker, worker]
    db = await Database.open(api, Address(lambda: passwords))
    try:
        passwords[:] = [wrong, wrong, worker]
        async with db.transaction("first"), db.transaction("second") as tx:
            assert await tx.conn.fetchval("select 1") == 1
        passwords[:] = [wrong, wrong]
        with pytest.raises(DatabaseProblem) as raised:
            await Database.open(api, Address(lambda: passwords))
        assert raised.value.sqlstate == "28P01"
    finally:
        await db.close()


@pytest.mark.long
async def test_closing_waits_for_nobody_for_ever(writer: Kit) -> None:
    again = await writer.again()
    kept = await again.db.worker_connection()
    pid = await kept.fetchval("select pg_backend_pid()")
    async with asyncio.timeout(CLOSE_S + 5):
        await again.db.close()

    async def gone() -> bool:
        return await writer.value("select count(*) from pg_stat_activity where pid = $1", pid) == 0

    await eventually(gone)
