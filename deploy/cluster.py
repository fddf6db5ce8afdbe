"""`make cluster`: what docker-compose.yml starts, on this machine's loopback and without Docker.

Three Kafka nodes, PostgreSQL, every role of every service as the processes that the file names, behind Caddy with TLS from
an authority of its own, and Prometheus. The file is read, not repeated: of it only addresses and folders are changed. What
needs Go, and where there is none, is left out loudly. With `--try` it plays the demo while every process is started anew,
an instance of a role at a time, and says whether anything was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy import binaries, compose, rolling
from deploy.binaries import NotBuilt
from deploy.compose import Ours
from deploy.kafka import local
from deploy.ports import free_ports
from spean import embedded

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"
DOOR = "localhost"
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


async def _had(source: binaries.Source, what: str) -> Path | None:
    """The program, or None, said loudly."""
    if not binaries.kept(source).exists() and shutil.which("go"):
        print(f"building {source.name} {source.version}, once (some minutes) …", flush=True)
    try:
        return await binaries.built(source)
    except NotBuilt as problem:
        print(f"NOT HERE: {source.name}: {problem}. {what}", flush=True)
        return None


def _behind_caddy(cluster: Cluster) -> str:
    """The proxy's own file, at this machine's addresses."""
    text = (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")
    text = text.replace("spean.localhost:8443", cluster.url.removeprefix("https://"))
    for there, port in cluster.ports.items():
        text = re.sub(rf"\b{re.escape(there)}\b", f"{HOST}:{port}", text)
    return text.replace("{", f"{{\n\tdefault_bind {HOST}", 1)


def _scraped(cluster: Cluster) -> str:
    """Prometheus asks every process where the collector would tell it."""
    targets = ", ".join(f'"{HOST}:{cluster.ports[f"{one.name}:8421"]}"' for one in cluster.serving)
    return (
        "global: { scrape_interval: 5s, evaluation_interval: 5s }\n"
        f"rule_files: ['{ROOT / 'deploy' / 'telemetry' / 'alerts.yml'}']\n"
        f"scrape_configs: [{{ job_name: spean, static_configs: [{{ targets: [{targets}] }}] }}]\n"
    )


def _roles(everybody: list[Ours], *, proxied: bool) -> list[Ours]:
    """What runs for long; without a proxy one process has all the doors."""
    serving = [one for one in everybody if one.command[0] == "serve"]
    if proxied:
        return serving
    doors = [one for one in serving if one.option["role"] == "api"]
    door = Ours("doors", ("serve", "--role", "api", "--member", "doors"), doors[0].environment, None, {})
    return [door, *(one for one in serving if one not in doors)]


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[Cluster]:
    """Everything, with its data in `folder` (empty). Raises NotStarted, LocalKafkaError, EmbeddedError."""
    for name in ("logs", "keys", "caddy"):
        (folder / name).mkdir()
    caddy = await _had(binaries.CADDY, "All doors are one process, on the plain loopback.")
    prometheus = await _had(binaries.PROMETHEUS, "Nothing collects metrics: each process shows its own.")
    async with AsyncExitStack() as stack:
        kafka = await local.start(folder / "kafka", 3)
        stack.push_async_callback(kafka.stop)
        print("three Kafka nodes run", flush=True)
        composed = compose.read()
        running = await embedded.start(
            folder / "postgres", password_file=folder / "secrets" / "postgres", more=compose.postgres_settings(composed)
        )
        stack.push_async_callback(running.stop)
        everybody = compose.ours(composed)
        serving = _roles(everybody, proxied=caddy is not None)
        wanted = [f"{one.name}:{port}" for one in serving for port in (8420, 8421)] + ["proxy:8443", "prometheus:9090"]
        ports = dict(zip(wanted, free_ports(len(wanted)), strict=True))
        url = f"https://{DOOR}:{ports['proxy:8443']}" if caddy else f"http://{HOST}:{ports['doors:8420']}"
        cluster = Cluster(folder, running.server, kafka, url, ports, serving, caddy)
        stack.push_async_callback(cluster.stop)
        for one in compose.first(everybody):
            await cluster.once(one)
            print(f"{one.name}: done", flush=True)
        if caddy is not None:
            (folder / "caddy" / "Caddyfile").write_text(_behind_caddy(cluster))
            command = [str(caddy), "run", "--config", str(folder / "caddy" / "Caddyfile"), "--adapter", "caddyfile"]
            at_home = {"XDG_DATA_HOME": str(folder / "caddy" / "data"), "XDG_CONFIG_HOME": str(folder / "caddy")}
            await cluster.start_tool("proxy", command, at_home, ports["proxy:8443"], "")
        doors = [one for one in serving if one.option["role"] == "api"]
        await cluster.start_all(doors)
        await cluster.start_all([one for one in serving if one not in doors])
        print(f"{len(serving)} processes of ours are ready", flush=True)
        if prometheus is not None:
            (folder / "prometheus.yml").write_text(_scraped(cluster))
            command = [
                str(prometheus), f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address={HOST}:{ports['prometheus:9090']}",
            ]  # fmt: skip
            await cluster.start_tool("prometheus", command, {}, ports["prometheus:9090"], "/-/ready")
        yield cluster


def _tell(cluster: Cluster) -> None:
    trust = f"SSL_CERT_FILE={cluster.trust} " if cluster.caddy else ""
    print(f"address     {cluster.url}")
    if "prometheus" in cluster.running:
        print(f"prometheus  http://{HOST}:{cluster.ports['prometheus:9090']}/api/v1/query?query=up")
    print(f"logs, data  {cluster.folder}")
    print(f"make demo   {trust}SPEAN_URL={cluster.url} SPEAN_KEYS={cluster.keys('referral-keys')} make demo")
    print("Ctrl-C ends everything.", flush=True)


async def _run(folder: Path, *, trying: bool) -> bool:
    """Until Ctrl-C; or, when trying, until that is over. False where something was lost."""
    told, task = asyncio.Event(), asyncio.current_task()
    assert task is not None  # noqa: S101 (within a coroutine)

    def stop() -> None:
        if not told.is_set():
            told.set()
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        async with started(folder) as cluster:
            _tell(cluster)
            if trying:
                return await rolling.restarted(cluster)
            await cluster.watch()
    except asyncio.CancelledError:
        print("ended", flush=True)
    return True


def _each(problem: BaseException) -> list[BaseException]:
    """The problems in a group of groups."""
    if isinstance(problem, BaseExceptionGroup):
        return [each for one in problem.exceptions for each in _each(one)]
    return [problem]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="an empty folder for data and logs, kept; default: a temporary one")
    parser.add_argument("--try", dest="trying", action="store_true", help="restart everything under load, then end")
    arguments = parser.parse_args()
    if (lacking := local.missing()) is not None:
        sys.exit(f"make cluster runs on a real Kafka: {lacking}")
    with tempfile.TemporaryDirectory(prefix="spean-cluster-") as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        try:
            whole = asyncio.run(_run(folder, trying=arguments.trying))
        except* (NotStarted, local.LocalKafkaError, embedded.EmbeddedError) as problems:
            sys.exit(" ".join(str(one) for one in _each(problems)))
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
