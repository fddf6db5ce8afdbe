"""The judge: waits until the installation is quiet, reads everything, and names each invariant that does not hold."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from spean.provision import Cluster
from spean.service import Service
from tests.builders import eventually
from tests.faults import snapshot
from tests.faults.load import Journal
from tests.faults.rules_log import LOG_RULES
from tests.faults.rules_truth import TRUTH_RULES
from tests.faults.snapshot import Snapshot

# Longer than the longest wait of the services' own after an outage (a due handler that failed is called again later).
QUIET_S = 90.0


@dataclass(frozen=True, slots=True)
class Finding:
    """An invariant (the rule's name) that does not hold, and where."""

    rule: str
    what: str


def judge(seen: Snapshot, journal: Journal, services: Mapping[str, Service]) -> list[Finding]:
    """Everything that is wrong; an empty list where all is well."""
    rules = (*LOG_RULES, *TRUTH_RULES)
    findings = [Finding(rule.__name__, what) for rule in rules for what in rule(seen, journal, services)]
    findings += [Finding("no_faults", f"{count} × {code}") for code, count in journal.faults.items()]
    return findings


async def quiet(cluster: Cluster, services: Mapping[str, Service]) -> float:
    """Wait until nothing moves any more. Returns how many seconds that took. Raises AssertionError."""
    began = time.monotonic()
    reads = {name: service.reads for name, service in services.items()}
    async with snapshot.opened(cluster) as conns:

        async def rests() -> bool:
            """Twice, with nothing said in between: what moves may slip past one look."""
            before = await snapshot.said_so_far(conns)
            moving = [await snapshot.restless(conns, reads) for _ in range(2)]
            return moving == [None, None] and await snapshot.said_so_far(conns) == before

        try:
            await eventually(rests, within_s=QUIET_S)
        except AssertionError:
            raise AssertionError(f"never quiet: {await snapshot.restless(conns, reads)}") from None
    return time.monotonic() - began


async def check(cluster: Cluster, journal: Journal, services: Mapping[str, Service]) -> list[Finding]:
    """Wait until quiet, then judge."""
    await quiet(cluster, services)
    async with snapshot.opened(cluster) as conns:
        return judge(await snapshot.read(conns), journal, services)
