"""What being watched costs: asking for a service with telemetry on and off, in turns, in one process that keeps running.

`python -m bench.watching` prints the pairs; docs/telemetry.md says what came of it. The doors run alone (`api`), or with
everything else of the three services in the same process (`all`), and then each hand-off goes on to a house that is offered
it; a collector that takes everything runs in a process of its own. What a process does also while nothing is asked for is
measured apart and taken off.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import uuid4

from bench import wire
from services.cli import bootstrap
from services.cli.installation import BUILD, Installation, installed, running
from services.cli.watching import watched
from spean.db import Database
from spean.provision import AddressedCluster, Roles, service_dsns
from spean.service import ROLES, Role, use_of
from spean.settings import Settings
from tests.builders import World, network_in
from tests.faults import checker, snapshot

PEOPLE, PAIRS = 160, 8
# What was begun in one round ends before the next one is counted.
SETTLE_S = 1.5
# So long nothing is asked for: what is done then is done whether there is work or not.
IDLE_S = 5.0
COUNT = "count\n"
# The usual ones: no offer runs out while it is measured.
WINDOWS: dict[str, Any] = {}
PLACES = 1_000
SERVICES = ("emergency_bed", "assessment_shelter", "medium_term_shelter", "group_home")


class Round(NamedTuple):
    """Hand-offs a second; processor time for each, in ms; and in ms a second where nothing is asked for (not in the former)."""

    per_s: float
    processor_ms: float
    idle_ms_s: float


def sink() -> None:
    """A collector that takes everything and looks at nothing."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


async def serve(folder: Path, roles: tuple[Role, ...]) -> None:
    """An installation that is watched (a line with a collector's address) or not (an empty line), until its input ends. Says
    each time, and when it is asked to count, how much of a processor it has used, in seconds: that is what telemetry costs, however busy the machine is."""
    settings = Settings(data=folder / "data", keys=folder / "keys", port=0, sample=False, fast_unsafe=True)
    async with installed(settings) as made, running(made, roles):
        await bootstrap.administrator(made.services["referral"].db, settings)
        print(json.dumps({"url": made.url, "postgres": made.cluster.dsn("postgres")}), flush=True)
        on = AsyncExitStack()
        while line := await asyncio.to_thread(sys.stdin.readline):
            await asyncio.sleep(SETTLE_S)
            if line != COUNT:
                await on.aclose()
            if line.startswith("http"):
                told = settings.model_copy(update={"otlp": line.strip()})
                await on.enter_async_context(watched(told, made.services, roles, "1", None))
                await asyncio.sleep(SETTLE_S)
            before = time.process_time()
            if line != COUNT:
                await asyncio.sleep(IDLE_S)
            used = time.process_time()
            print(
                json.dumps({"at_s": time.monotonic(), "used_s": used, "idle_ms_s": (used - before) / IDLE_S * 1000}),
                flush=True,
            )
        await on.aclose()


async def _line(process: Process) -> str:
    assert process.stdout
    return (await asyncio.wait_for(process.stdout.readline(), 120)).decode().strip()


@asynccontextmanager
async def _process(*arguments: str) -> AsyncIterator[Process]:
    command = (sys.executable, "-m", "bench.watching", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def _world(folder: Path, said: dict[str, str]) -> AsyncIterator[World]:
    settings = Settings(data=folder / "data", keys=folder / "keys", postgres=said["postgres"])
    cluster = AddressedCluster(said["postgres"])
    db = await Database.open(*service_dsns(cluster, Roles.load(settings.keys), "referral"), api_size=1, worker_size=1)
    services: Any = {"referral": SimpleNamespace(db=db)}
    made = Installation(settings, cluster, None, services, said["url"], None)  # type: ignore[arg-type]
    try:
        async with network_in(made, settings, windows=WINDOWS) as world:
            yield world
    finally:
        await db.close()


async def measure(roles: str) -> list[tuple[Round, Round]]:
    """Without and with telemetry, pair by pair."""
    with tempfile.TemporaryDirectory(prefix="spean-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        async with _process("sink") as collector, _process("serve", name, roles) as server:
            otlp, said = await _line(collector), json.loads(await _line(server))
            async with _world(folder, said) as world:
                if roles == "all":
                    for number, service in enumerate(SERVICES):
                        await world.house(f"House {number}", PLACES, service=service)
                people = [await world.ready_person() for _ in range(PEOPLE)]
                bodies = [
                    {"network": world.network, "service_type": service, "urgency": "emergency", "area": "KH-1", "members": [one]}
                    for service in SERVICES for one in people
                ]  # fmt: skip
                size = len(bodies) // (2 * PAIRS)
                rounds = [bodies[at * size : (at + 1) * size] for at in range(2 * PAIRS)]
                found: list[tuple[Round, Round]] = []
                for number in range(PAIRS):
                    # Who comes first changes, so that what grows meanwhile weighs on both.
                    order = (False, True) if number % 2 else (True, False)
                    rates = {on: await _post(world, server, roles, otlp if on else "", rounds.pop()) for on in order}
                    found.append((rates[False], rates[True]))
            assert server.stdin
            server.stdin.close()
    return found


async def _turn(server: Process, said: str) -> dict[str, float]:
    assert server.stdin
    server.stdin.write(said.encode())
    found: dict[str, float] = json.loads(await _line(server))
    return found


async def _quiet(world: World) -> None:
    """Wait until everything that was begun has had all its effects."""
    reads: Any = {name: SimpleNamespace(reads=sorted(use_of(name, "main", ["main"]).reads)) for name in BUILD}
    async with snapshot.opened(world.made.cluster) as sources:
        await checker.quiet(sources, reads)


async def _post(world: World, server: Process, roles: str, otlp: str, bodies: list[dict[str, Any]]) -> Round:
    before = await _turn(server, f"{otlp}\n")
    token = await world.sender.partner.token()
    ready = [
        wire.request("POST", world.made.url, "/intake/handoffs", body,
                     Authorization=f"Bearer {token}", Idempotency_Key=str(uuid4()))
        for body in bodies
    ]  # fmt: skip
    began = time.monotonic()
    poured = await wire.pour(world.made.url, ready, 201, at_once=4)
    per_s = poured.per_s
    if roles == "all":
        await _quiet(world)
        per_s = len(bodies) / (time.monotonic() - began)
    after, idle = await _turn(server, COUNT), before["idle_ms_s"]
    for_itself = idle * (after["at_s"] - before["at_s"])
    return Round(per_s, ((after["used_s"] - before["used_s"]) * 1000 - for_itself) / len(bodies), idle)


def main() -> None:
    if sys.argv[1:2] == ["sink"]:
        sink()
    elif sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(Path(sys.argv[2]), ("api",) if sys.argv[3] == "api" else ROLES))
    else:
        for roles in sys.argv[1:] or ("api", "all"):
            pairs = asyncio.run(measure(roles))
            print(f"roles {roles}, {len(pairs)} pairs, without and with telemetry:")
            for name in Round._fields:
                sides = [(getattr(off, name), getattr(on, name)) for off, on in pairs]
                off, on = (statistics.median(side) for side in zip(*sides, strict=True))
                ratio = statistics.median(on / off for off, on in sides)
                print(f"  {name}: medians {off:.2f} and {on:.2f}, median of the ratios {ratio:.3f}", flush=True)
                print("    " + "  ".join(f"{off:.2f}/{on:.2f}" for off, on in sides), flush=True)


if __name__ == "__main__":
    main()
