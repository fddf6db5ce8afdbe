"""The processes that docker-compose.yml names, on this machine: their settings, started, watched and ended."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.compose import Ours
from deploy.kafka import local
from spean import embedded

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"
READY_S, STOP_S, ONCE_S = 240.0, 30.0, 180.0
ONCE_TRIES = 3
# Starting is work; more at once would only wait for each other.
AT_ONCE = 4
# Those that must not be left behind when this process is killed.
_WITH_US = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()
_CADDY_ROOT = "data/caddy/pki/authorities/local/root.crt"


class NotStarted(Exception):
    """A process did not start. The message says which and ends with its last words."""


@dataclass
class Cluster:
    """What runs, by the names of docker-compose.yml. `ports`: `name:port` there → port here. Without `caddy` one process has
    the doors of all services, so they share a folder of keys."""

    folder: Path
    postgres: embedded.Server
    kafka: local.LocalKafka
    url: str
    ports: dict[str, int]
    serving: list[Ours]
    caddy: Path | None
    running: dict[str, Process] = field(default_factory=dict)

    @property
    def trust(self) -> Path:
        return self.folder / "caddy" / _CADDY_ROOT

    def keys(self, volume: str | None) -> Path:
        return self.folder / "keys" / (volume or "none" if self.caddy else "all")

    def environment(self, one: Ours) -> dict[str, str]:
        """The settings of a container, at this machine's addresses."""
        account = "postgres" if "SPEAN_POSTGRES_PASSWORD_FILE" in one.environment else ""
        here = {
            "SPEAN_POSTGRES": re.sub("//.*@", f"//{account}@" if account else "//", self.postgres.dsn("postgres")),
            "SPEAN_POSTGRES_PASSWORD_FILE": str(self.folder / "secrets" / "postgres"),
            "SPEAN_BUS": self.kafka.address,
            "SPEAN_URL": self.url,
            "SPEAN_HOST": HOST,
            "SPEAN_PORT": str(self.ports.get(f"{one.name}:8420", 0)),
            "SPEAN_INSIDE": f"{HOST}:{self.ports.get(f'{one.name}:8421', 0)}",
            "FORWARDED_ALLOW_IPS": HOST,
            "SSL_CERT_FILE": str(self.trust),
        }
        # No collector is built here: Prometheus asks each process. Without a proxy there is no authority to trust.
        left_out = {"SPEAN_OTLP"} | (set() if self.caddy else {"SSL_CERT_FILE"})
        kept = {name: here.get(name, value) for name, value in one.environment.items() if name not in left_out}
        return {**kept, "SPEAN_KEYS": str(self.keys(one.keys))}

    async def once(self, one: Ours) -> None:
        """Something that is done before the others start; tried again as `restart: on-failure:3` does. Raises NotStarted."""
        for left in range(ONCE_TRIES, -1, -1):
            process = await self._spawn(one.name, self._spean(one), self.environment(one))
            try:
                code = await asyncio.wait_for(process.wait(), ONCE_S)
            except TimeoutError:
                process.kill()
                code = await process.wait()
            if code == 0:
                return
            print(f"{one.name} ended with {code}: {self._last_words(one.name)}", flush=True)
            if not left:
                raise NotStarted(f"{one.name} was not done")

    async def start(self, one: Ours) -> None:
        """Returns when it is ready: its database and the bus answer. Raises NotStarted."""
        self.running[one.name] = process = await self._spawn(one.name, self._spean(one), self.environment(one))
        await self._ready(one.name, process, self.ports[f"{one.name}:8421"], "/ready")

    async def start_all(self, some: Sequence[Ours]) -> None:
        """Raises NotStarted."""
        room = asyncio.Semaphore(AT_ONCE)

        async def start(one: Ours) -> None:
            async with room:
                await self.start(one)

        async with asyncio.TaskGroup() as starting:
            for one in some:
                starting.create_task(start(one))

    async def start_tool(self, name: str, command: Sequence[str], environment: Mapping[str, str], port: int, path: str) -> None:  # fmt: skip
        """Something that is not ours. Raises NotStarted."""
        self.running[name] = process = await self._spawn(name, command, environment)
        await self._ready(name, process, port, path)

    async def end(self, name: str) -> int:
        """SIGTERM; after a limit SIGKILL. Returns the exit code."""
        process = self.running.pop(name)
        if process.returncode is None:
            process.terminate()
        try:
            return await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            return await process.wait()

    async def stop(self) -> None:
        """Everything but Kafka and PostgreSQL: doors last, so that what is on its way comes to its end."""
        last = [name for name in self.running if name in {"proxy", "prometheus"}]
        await asyncio.gather(*(self.end(name) for name in list(self.running) if name not in last))
        await asyncio.gather(*(self.end(name) for name in last))

    async def watch(self) -> None:
        """As `restart: unless-stopped` does: who ends by itself is started anew. Endless."""
        while True:
            await asyncio.sleep(1)
            for one in self.serving:
                process = self.running.get(one.name)
                if process is not None and process.returncode is not None:
                    print(f"{one.name} has ended by itself ({process.returncode}): starting it anew", flush=True)
                    await self.start(one)

    def _spean(self, one: Ours) -> list[str]:
        return [sys.executable, "-m", "services.cli", *one.command]

    async def _spawn(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Process:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("SPEAN_")}
        with self._log(name).open("ab") as out:
            return await asyncio.create_subprocess_exec(
                *_WITH_US, *command, cwd=ROOT, env={**clean, **environment}, stdin=DEVNULL, stdout=out, stderr=STDOUT,
                start_new_session=True,
            )  # fmt: skip

    async def _ready(self, name: str, process: Process, port: int, path: str) -> None:
        until = asyncio.get_running_loop().time() + READY_S
        while process.returncode is None and asyncio.get_running_loop().time() < until:
            if await _answers(port, path):
                return
            await asyncio.sleep(0.1)
        raise NotStarted(f"{name} is not ready: {self._last_words(name)}")

    def _log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def _last_words(self, name: str) -> str:
        return " | ".join(self._log(name).read_text(errors="replace").strip().splitlines()[-3:]) or "(it said nothing)"


async def _answers(port: int, path: str) -> bool:
    """With 200, over plain HTTP; where `path` is empty, at all."""
    try:
        async with asyncio.timeout(3):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                if not path:
                    return True
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
