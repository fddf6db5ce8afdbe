"""The judge: waits until the installation is quiet, then names each invariant that does not hold of what was read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from spean.service import Service
from tests.builders import eventually
from tests.faults import snapshot
from tests.faults.load import Journal
from tests.faults.rules_log import LOG_RULES
from tests.faults.rules_truth import TRUTH_RULES
from tests.faults.snapshot import Snapshot, Sources

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


async def quiet(sources: Sources, services: Mapping[str, Service]) -> float:
    """Wait until nothing moves any more. Returns how many seconds that took. Raises AssertionError."""
    began = time.monotonic()
    reads = {name: service.reads for name, service in services.items()}

    async def rests() -> bool:
        """Twice, with nothing said in between: what moves may slip past one look."""
        before = await sources.bounds()
        moving = [await snapshot.restless(sources, reads) for _ in range(2)]
        return moving == [None, None] and await sources.bounds() == before

    try:
        await eventually(rests, within_s=QUIET_S)
    except AssertionError:
        raise AssertionError(f"never quiet: {await snapshot.restless(sources, reads)}") from None
    return time.monotonic() - began
