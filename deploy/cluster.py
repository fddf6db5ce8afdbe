"""`make cluster`: what docker-compose.yml starts, on this machine's loopback and without Docker.

Three Kafka nodes, PostgreSQL, every role of every service as the processes that the file names, behind Caddy with TLS from
an authority of its own, and Prometheus. The file is read, not repeated: of it only addresses and folders are changed. What
needs Go, and where there is none, is left out loudly. With `--try` it plays the demo while every process is started anew,
an instance of a role at a time, and says whether anything was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from deploy import binaries, compose, rolling
from deploy.binaries import NotBuilt
from deploy.compose import Ours
from deploy.kafka import local
from deploy.ports import free_ports
from deploy.processes import HOST, ROOT, Cluster, NotStarted
from spean import embedded

DOOR = "localhost"


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
