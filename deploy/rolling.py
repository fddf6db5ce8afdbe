"""Every process of ours is ended and started anew, an instance of a role at a time, while demos are played; then what was lost
is counted."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from deploy.compose import Ours
from deploy.processes import Cluster

DEMO_S, QUIET_S = 300.0, 60.0
SERVICES = ("referral", "intake", "notify")


@dataclass
class Load:
    """Demos, each a day at a border post that knows what must become of everybody."""

    played: int = 0
    faults: list[str] = field(default_factory=list)


async def restarted(cluster: Cluster) -> bool:
    """Raises NotStarted. False where something was lost, doubled or stuck, or a process did not end as told."""
    load, enough = Load(), asyncio.Event()
    playing = asyncio.create_task(_play(cluster, load, enough))
    began, slowest = time.monotonic(), 0.0
    try:
        for some in _rounds(cluster.serving):
            at = time.monotonic()
            await asyncio.gather(*(_anew(cluster, one, load) for one in some))
            slowest = max(slowest, time.monotonic() - at)
            print(f"{', '.join(one.name for one in some)}: anew", flush=True)
        enough.set()
        await playing
    finally:
        playing.cancel()
        await asyncio.wait({playing})
    load.faults += await _left(cluster)
    print(
        f"{len(cluster.serving)} processes started anew in {time.monotonic() - began:.0f} s (the slowest round took {slowest:.1f} s), "
        f"{load.played} demos meanwhile: {'nothing was lost' if not load.faults else '; '.join(load.faults)}",
        flush=True,
    )
    return not load.faults


def _rounds(serving: list[Ours]) -> list[list[Ours]]:
    """One instance of one role of every service at a time: the other instance goes on."""
    rounds: dict[tuple[str, str], list[Ours]] = {}
    for one in serving:
        rounds.setdefault((one.option["role"], one.name.rpartition("-")[2]), []).append(one)
    return list(rounds.values())


async def _anew(cluster: Cluster, one: Ours, load: Load) -> None:
    code = await cluster.end(one.name)
    if code != 0:
        load.faults.append(f"{one.name} ended with {code}")
    await cluster.start(one)


async def _play(cluster: Cluster, load: Load, enough: asyncio.Event) -> None:
    """One demo after the other; the last begins when all has been restarted."""
    while True:
        last = enough.is_set()
        load.faults += await _demo(cluster)
        load.played += 1
        if last:
            return


async def _demo(cluster: Cluster) -> list[str]:
    """What did not go as expected in one demo."""
    environment = {"SSL_CERT_FILE": str(cluster.trust)} if cluster.caddy else {}
    key = cluster.keys("referral-keys") / "clients" / "administrator.jwk"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.cli", "demo", "--json", "--url", cluster.url, "--key", str(key),
        env=environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(), DEMO_S)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    try:
        result: dict[str, Any] = json.loads(out)
    except ValueError:
        return [f"a demo ended with {process.returncode}: {err.decode(errors='replace')[-300:]}"]
    return [f"{one['person']}: {one['what']}" for one in result["expectations"] if not one["held"]]


async def _left(cluster: Cluster) -> list[str]:
    """What is still unsent, or parked, after some quiet."""
    until = time.monotonic() + QUIET_S
    while True:
        found = [fault for name in SERVICES for fault in await _waits(cluster, name)]
        if not found or time.monotonic() > until:
            return found
        await asyncio.sleep(0.5)


async def _waits(cluster: Cluster, name: str) -> list[str]:
    conn = await asyncpg.connect(cluster.postgres.dsn(name))
    try:
        unsent = await conn.fetchval("select count(*) from outbox")
        parked = await conn.fetchval("select count(*) from parked")
    finally:
        await conn.close()
    return [f"{name}: {unsent} unsent, {parked} parked"] if unsent or parked else []
