"""An installation split into processes of the operating system, each of which can be killed, frozen and started again."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psutil

from deploy.kafka.local import LocalKafka
from services.cli import installation
from services.cli.installation import Installation
from spean import embedded
from spean.embedded import Running
from spean.settings import Settings
from tests.builders import eventually
from tests.faults.bent import Bend, bends
from tests.faults.wires import Wire

# Processes that start at once on a busy machine.
READY_S = 120.0
STOP_S = 15.0
# A process that is stopped, or has ended and has not been waited for.
DOWN = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE})
ROOT = Path(__file__).parents[2]
# One door, two of everything that may run twice. Relays have a pause built in; the others are `spean serve` itself.
MEMBERS: dict[str, tuple[str, ...]] = {
    "api": ("api",),
    "relay-1": ("relay",), "relay-2": ("relay",),
    "consume-1": ("consume",), "consume-2": ("consume",),
    "clock-1": ("clock",), "clock-2": ("clock",),
}  # fmt: skip
RELAYS = ("relay-1", "relay-2")
# Who reaches the database through which wire that can be cut. Of each pair it is one; they reach the brokers by wires, too.
WIRED = {
    "relay-1": "database",
    "consume-1": "database",
    "api": "door to the database",
    "clock-1": "clock to the database",
}
SOCKET = ".s.PGSQL.5432"


def free_port() -> int:
    """A port that no client is given by chance (below the range of outgoing connections)."""
    while True:
        port = random.randint(20_000, 29_999)  # noqa: S311
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) != 0:
                return port


async def passed(seconds: float) -> None:
    """Let real time pass: a frozen process is frozen for that long."""
    until = time.monotonic() + seconds

    async def over() -> bool:
        return time.monotonic() >= until

    await eventually(over, within_s=seconds + 5)


def _command(name: str) -> list[str]:
    if name in RELAYS:
        return ["tests.faults.run_roles", name, *MEMBERS[name]]
    return ["services.cli", "serve", "--member", name, *(f"--role={role}" for role in MEMBERS[name])]


def _down(process: Process) -> bool:
    try:
        return process.returncode is not None or psutil.Process(process.pid).status() in DOWN
    except psutil.NoSuchProcess:
        return True


@dataclass
class Cluster:
    """`members` are our own child processes; every signal goes to one of them by its process number. Whoever is spawned
    next runs the code of `tree`, with `more` in its environment. `kafka`: where the bus is not in PostgreSQL. `wires`: to
    the database, from the clocks to the holder and, on Kafka, to each broker. `bends`: whose time and disk can be bent, by
    name; nobody's where there is no compiler."""

    folder: Path
    settings: Settings
    postgres: Running
    members: dict[str, Process] = field(default_factory=dict)
    tree: Path = ROOT
    more: dict[str, str] = field(default_factory=dict)
    kafka: LocalKafka | None = None
    wires: dict[str, list[Wire]] = field(default_factory=dict)
    bends: Mapping[str, Bend] = field(default_factory=dict)

    @property
    def pause(self) -> Path:
        return self.folder / "pause"

    async def spawn(self, name: str) -> None:
        """Start the process of that name and wait until its roles run. Raises AssertionError when they do not."""
        settings = self.settings
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("SPEAN_")},
            "SPEAN_DATA": str(settings.data), "SPEAN_KEYS": str(settings.keys), **self._addresses(name),
            "SPEAN_URL": settings.url, "SPEAN_PAUSE": str(self.pause),
            # Only the door listens where everybody knocks.
            "SPEAN_PORT": settings.url.rpartition(":")[2] if "api" in MEMBERS[name] else "0",
            **(self.bends[name].environment if name in self.bends else {}), **self.more,
        }  # fmt: skip
        with (self.folder / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *_command(name), cwd=self.tree, env=environment, stdout=PIPE, stderr=log
            )
        self.members[name] = process
        assert process.stdout is not None
        try:
            said = await asyncio.wait_for(process.stdout.readline(), READY_S)
        except TimeoutError:
            said = b""
        assert said.startswith(b"serving"), f"{name} did not start; its log ends with {self._last_words(name)}"

    def _addresses(self, name: str) -> dict[str, str]:
        """Of the database and the bus, as this member reaches them."""
        postgres, bus, more = self.settings.postgres, self.settings.bus, dict[str, str]()
        if name in WIRED:
            straight, around = self.postgres.server.socket_folder, self._around(WIRED[name])
            postgres = postgres.replace(quote(str(straight), safe=""), quote(str(around), safe=""))
        if WIRED.get(name) == "database":
            ports = [wire.port for wire in self.wires.get("broker", ())]
            bus = "kafka://" + ",".join(f"127.0.0.1:{port}" for port in ports) if ports else bus
        if "clock" in MEMBERS[name]:
            address = f"http://127.0.0.1:{self.wires['holder'][0].port}/intake"
            more["SPEAN_HOLDERS"] = json.dumps({self.settings.holder: address})
        return {"SPEAN_POSTGRES": postgres, "SPEAN_BUS": bus, **more}

    def _around(self, what: str) -> Path:
        return self.folder / f"wire-{sorted(set(WIRED.values())).index(what)}"

    async def lay_wires(self) -> None:
        straight = self.postgres.server.socket_folder / SOCKET
        for what in set(WIRED.values()):
            self.wires[what] = [await Wire.between_sockets(self._around(what) / SOCKET, straight)]
        door = int(self.settings.url.rpartition(":")[2])
        self.wires["holder"] = [await Wire.between_ports(free_port(), door)]
        if self.kafka is not None:
            ports = zip(self.kafka.told, self.kafka.detours, strict=True)
            self.wires["broker"] = [await Wire.between_ports(*each) for each in ports]

    def _last_words(self, name: str) -> list[str]:
        return (self.folder / f"{name}.log").read_text().splitlines()[-3:]

    async def spawn_all(self) -> None:
        """Whoever is missing, the door first: the others ask through it."""
        missing = [name for name in MEMBERS if name not in self.members]
        if "api" in missing:
            await self.spawn("api")
        await asyncio.gather(*(self.spawn(name) for name in missing if name != "api"))

    async def start_ended(self) -> None:
        """Start again whoever has ended by itself, as a supervisor does: brokers first."""
        if self.kafka is not None:
            for node, process in enumerate(self.kafka.nodes):
                if process.returncode is not None:
                    await self.kafka.spawn_node(node)
        for name in [name for name, process in self.members.items() if process.returncode is not None]:
            await self.spawn(name)

    async def kill(self, name: str) -> None:
        """SIGKILL, and gone."""
        process = self.members.pop(name)
        if process.returncode is None:
            process.kill()
        await process.wait()

    async def end(self, name: str) -> None:
        """Tell it to stop, and wait until it has."""
        process = self.members.pop(name)
        process.terminate()
        await asyncio.wait_for(process.wait(), READY_S)

    def freeze(self, name: str) -> None:
        self.members[name].send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        self.members[name].send_signal(signal.SIGCONT)

    async def paused(self, number: signal.Signals, of: Collection[str]) -> str:
        """Ask for a pause by this signal (SIGKILL, SIGSTOP); returns which of these members has come to it."""
        self.pause.write_text(number.name)

        async def there() -> str | None:
            return next((name for name in of if _down(self.members[name])), None)

        name: str = await eventually(there, within_s=STOP_S)
        if number is signal.SIGKILL:
            await self.kill(name)
        return name

    async def kill_postgres(self) -> None:
        os.kill(self.postgres.server.pid, signal.SIGKILL)
        await self.postgres.stop()

    async def start_postgres(self) -> None:
        self.postgres = await _postgres(self.folder, self.bends)

    async def stop(self) -> None:
        for process in self.members.values():
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for name in list(self.members):
            try:
                await asyncio.wait_for(self.members[name].wait(), STOP_S)
            except TimeoutError:
                await self.kill(name)
        self.members.clear()
        for wire in itertools.chain(*self.wires.values()):
            await wire.close()
        await self.postgres.stop()


async def _postgres(folder: Path, bends: Mapping[str, Bend]) -> Running:
    """Durable: after a kill -9 nothing that was answered may be missing."""
    bent = bends["postgres"].environment if bends else {}
    return await embedded.start(folder / "pg", password_file=folder / "keys" / "postgres", environment=bent)


@asynccontextmanager
async def split(folder: Path, kafka: LocalKafka | None = None) -> AsyncIterator[tuple[Cluster, Installation]]:
    """A split installation, and a view of it from here (its databases, its bus, its address; nothing runs here)."""
    bent = bends(folder, ("postgres", *MEMBERS))
    running = await _postgres(folder, bent)
    try:
        settings = Settings(
            data=folder / "data", keys=folder / "keys", postgres=running.server.dsn("postgres"), port=0,
            url=f"http://127.0.0.1:{free_port()}", bus="" if kafka is None else kafka.address,
        )  # fmt: skip
        cluster = Cluster(folder, settings, running, kafka=kafka, bends=bent)
        await cluster.lay_wires()
    except BaseException:
        await running.stop()
        raise
    try:
        async with installation.installed(settings) as made:
            await cluster.spawn_all()
            yield cluster, made
    finally:
        await cluster.stop()
