"""Faults, one function each, and what it takes the line to get over them."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import asyncpg

from services.cli.installation import Installation
from spean.bus import Bus
from spean.outbox import RELAY_LOCK, append_all, current_life
from spean.service import PARTITIONS
from tests.builders import network_in
from tests.faults import checker, snapshot
from tests.faults.checker import Finding
from tests.faults.cluster import MEMBERS, RELAYS, Cluster, passed
from tests.faults.load import WINDOWS, Journal, Load
from tests.faults.probe import Probe
from tests.faults.snapshot import Sources

# Longer than every limit after which a frozen process loses its sessions, leases and locks; on Kafka its group is more
# patient.
FROZEN_S, FROZEN_ON_KAFKA_S = 5.0, 9.0
HOUSES = 4
# Events of each service that an old relay says again: about half of those of a short run.
AGAIN = 300
# Findings told one by one; the rest are counted.
SHOWN = 20


class Recovery(NamedTuple):
    """Seconds for what an operator (or a supervisor) does: starting again what died; and then until the line carried the
    probe's hand-offs through. `lasted_s`: how much of that the fault itself went on."""

    start_s: float
    line_s: float
    lasted_s: float = 0.0


Fault = Callable[[Cluster, Probe], Awaitable[Recovery]]


async def killed(name: str, cluster: Cluster, probe: Probe) -> Recovery:
    """One process dies; where it has a twin the line must not wait for its return."""
    await cluster.kill(name)
    if name == "api":
        return await started(cluster.spawn(name), probe)
    took = await probe.seconds()
    await cluster.spawn(name)
    return Recovery(0, took)


async def frozen(name: str, cluster: Cluster, probe: Probe) -> Recovery:
    """One process stops for a while, with everything that it holds, and goes on as if nothing had been."""
    cluster.freeze(name)
    return await lasting(frozen_s(cluster), lambda: cluster.thaw(name), probe)


async def postgres_killed(cluster: Cluster, probe: Probe) -> Recovery:
    """The database dies under everybody; nobody else is started anew."""
    await cluster.kill_postgres()
    return await started(cluster.start_postgres(), probe)


async def all_killed(cluster: Cluster, probe: Probe) -> Recovery:
    """As if the machine had lost its power (but for its disk)."""
    await asyncio.gather(*(cluster.kill(name) for name in MEMBERS))
    await cluster.kill_postgres()

    async def start() -> None:
        await cluster.start_postgres()
        await cluster.spawn_all()

    return await started(start(), probe)


async def relay_killed_between_send_and_move(cluster: Cluster, probe: Probe) -> Recovery:
    """The log has the batch; the database still calls it unsent; the relay is no more."""
    name = await cluster.paused(signal.SIGKILL, RELAYS)
    took = await probe.seconds()
    await cluster.spawn(name)
    return Recovery(0, took)


async def relay_frozen_between_send_and_move(cluster: Cluster, probe: Probe) -> Recovery:
    """The same, but it wakes up later, when the other relay has sent the batch again and gone on."""
    name = await cluster.paused(signal.SIGSTOP, RELAYS)
    return await lasting(frozen_s(cluster), lambda: cluster.thaw(name), probe)


async def locks_lost(cluster: Cluster, probe: Probe) -> Recovery:
    """The sessions that hold the relays' locks end, again and again: two relays are at work at once."""
    conn = await asyncpg.connect(cluster.settings.postgres)
    try:
        for _ in range(10):
            await conn.execute(
                "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = $1", RELAY_LOCK
            )
            await passed(0.2)
    finally:
        await conn.close()
    return Recovery(0, await probe.seconds())


async def said_again(_: Cluster, probe: Probe) -> Recovery:
    """A relay without its lock, as one that was frozen for long: what it had read comes again, behind all that followed.
    Not from each beginning: whoever takes it in again as a whole ends where he was, and nobody would see it."""
    for service in probe.world.made.services.values():
        async with service.db.transaction("faults.said") as tx:
            rows = await tx.conn.fetch("select * from said where sequence in (2, 3) order by number limit $1", AGAIN)
            life = await current_life(tx.conn)
        producer = await service.bus.producer(service.source)
        if rows:
            await append_all(producer, rows, service.source, PARTITIONS, life)
        await producer.close()
    return Recovery(0, await probe.seconds())


FAULTS: Mapping[str, Fault] = {
    **{f"kill {name}": partial(killed, name) for name in MEMBERS},
    **{f"freeze {name}": partial(frozen, name) for name in MEMBERS},
    "kill postgres": postgres_killed,
    "kill everything": all_killed,
    "kill relay between send and move": relay_killed_between_send_and_move,
    "freeze relay between send and move": relay_frozen_between_send_and_move,
    "end the relays' lock sessions": locks_lost,
    "say old events again": said_again,
}


async def started(start: Awaitable[object], probe: Probe) -> Recovery:
    began = time.monotonic()
    await start
    return Recovery(time.monotonic() - began, await probe.seconds())


def frozen_s(cluster: Cluster) -> float:
    return FROZEN_S if cluster.kafka is None else FROZEN_ON_KAFKA_S


async def lasting(seconds: float, end: Callable[[], object], probe: Probe) -> Recovery:
    """Probe while a fault goes on; it ends after its time, whether or not the line could do without."""
    probing = asyncio.create_task(probe.seconds())
    try:
        await passed(seconds)
    finally:
        end()
    return Recovery(0, await probing, seconds)


@dataclass
class Ground:
    """A split installation, and what its partners have been told since it began."""

    cluster: Cluster
    made: Installation
    journal: Journal
    probe: Probe
    faults: Mapping[str, Fault] = field(default_factory=lambda: FAULTS)

    @property
    def bus(self) -> Bus | None:
        """Where the log is not in PostgreSQL."""
        return self.made.bus if self.cluster.kafka is not None else None


@dataclass
class Report:
    """What a run did and found. Times in seconds; `recovered` by fault, in the order of the schedule. `again`: events
    that this run has put on the log more than once."""

    bus: str = "postgres"
    seed: int = 0
    people: int = 0
    findings: list[Finding] = field(default_factory=list)
    recovered: list[tuple[str, Recovery]] = field(default_factory=list)
    usual_s: float = 0.0
    took_s: float = 0.0
    quiet_s: float = 0.0
    handoffs: int = 0
    events: int = 0
    again: int = 0

    def told(self) -> str:
        lines = [
            f"{self.handoffs} hand-offs, {self.events} events in {self.took_s:.0f} s "
            f"({self.events / self.took_s:.0f}/s), {self.again} on the log more than once; "
            f"quiet after {self.quiet_s:.1f} s; {len(self.findings)} findings",
            f"  {self.usual_s:6.2f} s  through the line, nothing broken",
            *(
                f"  {took.line_s:6.2f} s  {name}"
                + f" (started in {took.start_s:.1f} s)" * bool(took.start_s)
                + f" (went on for {took.lasted_s:.0f} s)" * bool(took.lasted_s)
                for name, took in self.recovered
            ),
            *(f"  {count} × {rule}" for rule, count in Counter(one.rule for one in self.findings).items()),
            *(f"  {one.rule}: {one.what}" for one in self.findings[:SHOWN]),
        ]
        return "\n".join(lines)

    def kept(self) -> None:
        """One line more in the file that SPEAN_FAULTS names, if any (`tests.faults.figures` reads it)."""
        if path := os.environ.get("SPEAN_FAULTS"):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps({**asdict(self), "findings": len(self.findings)}) + "\n")


async def suffer(ground: Ground, faults: list[str], *, seed: int, people: int, at_once: int,
                 for_s: float = math.inf, tell: Callable[[str], object] = lambda _: None) -> Report:  # fmt: skip
    """Play up to `people` stories while these faults happen one after the other, none of them begun after `for_s`
    seconds; then judge everything. `tell` hears of each."""
    await ground.cluster.spawn_all()
    report, enough, began = Report("kafka" if ground.bus else "postgres", seed), asyncio.Event(), time.monotonic()
    before, known = len(ground.journal.handoffs), len(ground.journal.entries)
    async with snapshot.opened(ground.made.cluster, ground.bus) as sources:
        events, records = await _said(sources)
    async with network_in(ground.made, ground.cluster.settings, windows=WINDOWS) as world:
        for number in range(HOUSES):
            await world.house(f"House {number}", 3 + people // (3 * HOUSES))
        load = Load(world, ground.journal, seed)
        async with asyncio.TaskGroup() as tasks:
            playing = tasks.create_task(load.run(people, at_once, enough))
            report.usual_s = await ground.probe.seconds()
            for name in faults:
                if time.monotonic() - began > for_s:
                    break
                tell(name)
                report.recovered.append((name, await ground.faults[name](ground.cluster, ground.probe)))
                tell(f"  {report.recovered[-1][1]}")
            enough.set()
            await playing
    report.took_s = time.monotonic() - began
    async with snapshot.opened(ground.made.cluster, ground.bus) as sources:
        report.quiet_s = await checker.quiet(sources, ground.made.services)
        seen = await snapshot.read(sources)
    report.findings = checker.judge(seen, ground.journal, ground.made.services)
    report.handoffs = len(ground.journal.handoffs) - before
    report.events = len({one.event.id for one in seen.log}) - events
    report.again = len(seen.log) - records - report.events
    report.people = len(ground.journal.entries) - known
    report.kept()
    return report


async def _said(sources: Sources) -> tuple[int, int]:
    """How many events there are, and how many records of them on the log."""
    log = await sources.log()
    return len({one.event.id for one in log}), len(log)


def drawn(seed: int, rounds: int, faults: Iterable[str] = FAULTS) -> list[str]:
    """A random schedule: every fault once in each round, in another order."""
    dice, names = random.Random(seed), list(faults)  # noqa: S311
    return [name for _ in range(rounds) for name in dice.sample(names, k=len(names))]
