"""A real Apache Kafka on this machine, for tests and for trying out: `python -m deploy.kafka.local up --nodes 3`.

The jars come from Maven Central once (`pom.xml`) and stay in the cache; each node is a Java process, broker and
controller in one, on free ports of the loopback. Not for production: without `Secure`, no TLS and no sign-in.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import uuid
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deploy.ports import free_ports

VERSION = "4.3.1"
HOST = "127.0.0.1"
RESOLVE_S = 300.0
FORMAT_S = 60.0
READY_S = 90.0
STOP_S = 20.0
JAVA = (
    "java",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)

PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners={protocol}://{host}:{client_port},CONTROLLER://{host}:{quorum_port}
advertised.listeners={protocol}://{host}:{client_port}
listener.security.protocol.map={protocol}:{protocol},CONTROLLER:PLAINTEXT
inter.broker.listener.name={protocol}
controller.listener.names=CONTROLLER
log.dirs={logs}
num.network.threads=2
num.io.threads=4
auto.create.topics.enable=false
offsets.topic.num.partitions=8
offsets.topic.replication.factor={replication}
transaction.state.log.replication.factor={replication}
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor={replication}
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""
# The brokers sign in to each other as a client does, with their own certificate.
SECURED = """\
ssl.keystore.type=PEM
ssl.keystore.location={chain}
ssl.truststore.type=PEM
ssl.truststore.location={trusted}
listener.name.sasl_ssl.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
 username="{user}" password="{password}" user_{user}="{password}";
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""
# A second door for clients: whoever comes in by it is sent on to addresses where somebody stands between.
DETOUR = """\
listeners=PLAINTEXT://{host}:{client_port},DETOUR://{host}:{detour_port},CONTROLLER://{host}:{quorum_port}
advertised.listeners=PLAINTEXT://{host}:{client_port},DETOUR://{host}:{told_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,DETOUR:PLAINTEXT,CONTROLLER:PLAINTEXT
"""
# Only the controllers' own listener knows nobody by name.
GUARDED = """\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:{user};User:ANONYMOUS
"""


@dataclass(frozen=True, slots=True)
class Secure:
    """TLS in both directions, and a name with a password. `chain`: a PEM file with the brokers' key (PKCS 8) and
    certificate, valid for 127.0.0.1; `trusted`: PEM, who may sign; names and passwords in letters, digits and dashes.

    `accounts`: others and their passwords, who sign in by SCRAM-SHA-512 and may do nothing until they are permitted to; the
    first name may do everything. Without any, whoever signs in may do everything.
    """

    chain: Path
    trusted: Path
    user: str
    password: str = field(repr=False)
    accounts: Mapping[str, str] = field(default_factory=dict, repr=False)


class LocalKafkaError(Exception):
    """Kafka cannot be had or does not start here; the message says why and what to do."""


def cache_folder() -> Path:
    """Where the jars are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spean" / f"kafka-{VERSION}"


def missing() -> str | None:
    """What this machine lacks, with the one command that adds it; None when Kafka can be run."""
    lacking = [] if shutil.which("java") else ["java (17 or later)"]
    if not shutil.which("mvn") and not cache_folder().exists():
        lacking.append("mvn")
    if not lacking:
        return None
    add = "brew install openjdk maven" if sys.platform == "darwin" else "apt-get install -y default-jre-headless maven"
    return f"{' and '.join(lacking)} missing; add with: {add}"


@dataclass(slots=True)
class LocalKafka:
    """`nodes` running or killed processes, one per node; `address` names them all, `kafka://host:port,…`. `detours`: the
    ports of their second doors, where there are any, and `told` what clients are told these were."""

    address: str
    folder: Path
    nodes: list[Process] = field(default_factory=list)
    detours: Sequence[int] = ()
    told: Sequence[int] = ()

    async def kill(self, node: int) -> None:
        """SIGKILL to a node (0 is the first), as a machine that loses power."""
        if self.nodes[node].returncode is None:
            self.nodes[node].kill()
        await self.nodes[node].wait()

    def freeze(self, node: int) -> None:
        self.nodes[node].send_signal(signal.SIGSTOP)

    def thaw(self, node: int) -> None:
        self.nodes[node].send_signal(signal.SIGCONT)

    async def end(self, node: int) -> None:
        """Tell a node to stop, and wait until it has handed over what it led."""
        self.nodes[node].terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await self.nodes[node].wait()
        except TimeoutError:
            await self.kill(node)

    async def wipe(self, node: int) -> None:
        """Give a killed node an empty disk, as one that joins the same cluster anew."""
        data = self.folder / f"data-{node}"
        known = (data / "meta.properties").read_text().splitlines()
        cluster = next(line.partition("=")[2] for line in known if line.startswith("cluster.id="))
        shutil.rmtree(data)
        await _format(cache_folder(), self.folder, node, cluster, {})

    def controller(self) -> int:
        """The node that leads the quorum, as the youngest of their notes says."""
        notes = [json.loads(path.read_text()) for path in self.folder.glob("data-*/__cluster_metadata-0/quorum-state")]
        return int(max(notes, key=lambda note: (note["leaderEpoch"], note["leaderId"]))["leaderId"]) - 1

    async def spawn_node(self, node: int) -> None:
        """Start a killed node again, on its old data and ports, without waiting: alone it may have no quorum yet."""
        self.nodes[node] = await _spawn(self.folder, node)

    async def start_node(self, node: int) -> None:
        """Start a killed node again; returns when it accepts connections."""
        await self.spawn_node(node)
        await _accepts(self.nodes[node], _client_port(self.address, node), self.folder / f"node-{node}.log")

    async def stop(self) -> None:
        """All nodes, cleanly; whoever has not ended in time is killed."""
        for process in self.nodes:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await asyncio.gather(*(process.wait() for process in self.nodes))
        except TimeoutError:
            for node in range(len(self.nodes)):
                await self.kill(node)


async def start(
    folder: Path, nodes: int, secure: Secure | None = None, *, detours: Sequence[int] = (),
    prepared: Callable[[Path], Awaitable[None]] | None = None,
) -> LocalKafka:  # fmt: skip
    """A new cluster of `nodes` with its data in `folder` (made, must be empty). `detours`: a port per node that its second
    door tells clients to come to (not with `secure`). `prepared` may add to the settings (`node-0.properties` …) before
    they are read. Raises LocalKafkaError."""
    if (lacking := missing()) is not None:
        raise LocalKafkaError(lacking)
    jars = await _jars()
    ports = free_ports(3 * nodes)
    clients, quorum, doors = ports[:nodes], ports[nodes : 2 * nodes], ports[2 * nodes :]
    kafka = LocalKafka("kafka://" + ",".join(f"{HOST}:{port}" for port in clients), folder)
    _write_settings(folder, clients, quorum, secure)
    if detours:
        kafka.detours, kafka.told = doors, detours
        for node, its in enumerate(zip(clients, quorum, doors, detours, strict=True)):
            names = ("client_port", "quorum_port", "detour_port", "told_port")
            with (folder / f"node-{node}.properties").open("a") as settings:
                settings.write(DETOUR.format(host=HOST, **dict(zip(names, its, strict=True))))
    if prepared is not None:
        await prepared(folder)
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    accounts = {} if secure is None else secure.accounts
    await asyncio.gather(*(_format(jars, folder, node, cluster, accounts) for node in range(nodes)))
    try:
        for node in range(nodes):
            kafka.nodes.append(await _spawn(folder, node))
        await asyncio.gather(
            *(_accepts(kafka.nodes[node], clients[node], folder / f"node-{node}.log") for node in range(nodes))
        )
    except BaseException:
        await kafka.stop()
        raise
    return kafka


def _write_settings(folder: Path, clients: list[int], quorum: list[int], secure: Secure | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    voters = ",".join(f"{node + 1}@{HOST}:{port}" for node, port in enumerate(quorum))
    for node, (client_port, quorum_port) in enumerate(zip(clients, quorum, strict=True)):
        settings = PROPERTIES.format(
            node=node + 1, voters=voters, host=HOST, client_port=client_port, quorum_port=quorum_port,
            logs=folder / f"data-{node}", replication=min(3, len(clients)), protocol="SASL_SSL" if secure else "PLAINTEXT",
        )  # fmt: skip
        if secure is not None:
            settings += (SECURED + (GUARDED if secure.accounts else "")).format(**asdict(secure))
        (folder / f"node-{node}.properties").write_text(settings)


async def _jars() -> Path:
    """The folder of jars, resolved once: a half-filled folder never gets the final name."""
    jars = cache_folder()
    if jars.exists():
        return jars
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix="resolving-") as temporary:
        target = Path(temporary) / "jars"
        command = (
            "mvn", "--batch-mode", "--quiet", "--file", str(Path(__file__).with_name("pom.xml")),
            "dependency:copy-dependencies", f"-DoutputDirectory={target}", "-DincludeScope=runtime",
        )  # fmt: skip
        await _run(command, RESOLVE_S, Path(temporary) / "mvn.log", "Maven could not fetch Kafka")
        with contextlib.suppress(OSError):  # somebody else has been quicker: theirs is the same
            target.rename(jars)
    return jars


async def _format(jars: Path, folder: Path, node: int, cluster: str, accounts: Mapping[str, str]) -> None:
    properties = str(folder / f"node-{node}.properties")
    # As one word: an id may begin with a dash.
    tool = (*JAVA, "-cp", f"{jars}/*", "kafka.tools.StorageTool")
    known = [
        word
        for name, password in accounts.items()
        for word in ("--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]")
    ]
    command = (*tool, "format", f"--cluster-id={cluster}", "-c", properties, *known)
    await _run(command, FORMAT_S, folder / f"format-{node}.log", "Kafka could not format its storage")


async def _run(command: tuple[str, ...], limit_s: float, log: Path, failure: str) -> None:
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=out, stderr=STDOUT)
    try:
        async with asyncio.timeout(limit_s):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    if process.returncode != 0:
        raise LocalKafkaError(f"{failure}: {_tail(log)}")


async def _spawn(folder: Path, node: int) -> Process:
    # A killed parent must not leave Java processes behind; its own session keeps Ctrl-C from reaching them first.
    with_parent = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
    properties = str(folder / f"node-{node}.properties")
    command = (*with_parent, *JAVA, "-cp", f"{cache_folder()}/*", "kafka.Kafka", properties)
    with (folder / f"node-{node}.log").open("ab") as out:
        return await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=out, stderr=STDOUT, start_new_session=True
        )


async def _accepts(process: Process, port: int, log: Path) -> None:
    """Return once the node's broker listens: Kafka opens that port when it is ready for clients."""
    deadline = asyncio.get_running_loop().time() + READY_S
    while asyncio.get_running_loop().time() < deadline:
        if process.returncode is not None:
            raise LocalKafkaError(f"Kafka ended: {_tail(log)}")
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise LocalKafkaError(f"Kafka did not accept connections within {READY_S:.0f} s: {_tail(log)}")


def _tail(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-3:]) or "(no output)"


def _client_port(address: str, node: int) -> int:
    return int(address.removeprefix("kafka://").split(",")[node].rsplit(":", 1)[1])


async def _up(folder: Path, nodes: int) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    kafka = await start(folder, nodes)
    try:
        print(kafka.address, flush=True)
        await ended.wait()
    finally:
        await kafka.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    up = parser.add_subparsers(required=True).add_parser("up", help="start, print the address, run until Ctrl-C")
    up.add_argument("--nodes", type=int, choices=(1, 3), default=1)
    up.add_argument("--folder", type=Path, help="an empty folder for the data; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spean-kafka-") as temporary:
        try:
            asyncio.run(_up(arguments.folder or Path(temporary), arguments.nodes))
        except LocalKafkaError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
