"""A release that knows a second version of an event comes beside the one before, process by process, under load: nothing is
lost, whoever goes first."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.builders import eventually, network_in
from tests.faults import checker, snapshot
from tests.faults.checker import Finding
from tests.faults.cluster import ROOT, Cluster
from tests.faults.load import Load
from tests.faults.older import older_tree
from tests.faults.schedule import HOUSES, Ground

HELD = "org.spean.referral.held.v%d"
READERS = ("consume-1", "consume-2")
# Held back until whoever reads is upgraded.
CAREFUL = {"SPEAN_SAY_AS": "referral.held.v1"}
PEOPLE = 400
# Longer than the door is away while it is started anew on a busy machine: nobody runs out of houses by that.
PATIENT = {"answer_s": dict.fromkeys(("immediate", "emergency", "urgent", "normal"), 20)}


@dataclass
class Holding:
    """People who stop while a house thinks about them: the network puts each on hold, and says so."""

    line: Load
    over: asyncio.Event = field(default_factory=asyncio.Event)
    held: int = 0

    async def run(self) -> None:
        while not self.over.is_set():
            person = await self.line.person()
            handoff = await self.line.request([person])
            await self.line.state(handoff, "offered")
            await self.line.withdraw(person, "sharing")
            shown = await self.line.state(handoff, "on-hold")
            assert shown["waits_for"] == "sender", "whichever version said so"
            await self.line.cancel(handoff)
            self.held += 1

    async def more(self, people: int) -> None:
        """Wait until that many more have been put on hold and have seen it."""
        wanted = self.held + people

        async def there() -> bool:
            return self.held >= wanted

        await eventually(there, within_s=150)


@asynccontextmanager
async def under_load(ground: Ground) -> AsyncIterator[Holding]:
    """All kinds of stories in one network, people who stop in another; both have come to their ends when the block has."""
    enough, settings = asyncio.Event(), ground.cluster.settings
    async with (
        network_in(ground.made, settings, windows=PATIENT) as busy, network_in(ground.made, settings) as silent,
        asyncio.TaskGroup() as tasks,
    ):  # fmt: skip
        for number in range(HOUSES):
            await busy.house(f"House {number}", PEOPLE)
        await silent.house("A house that never answers", PEOPLE)
        holding = Holding(Load(silent, ground.journal, 1))
        tasks.create_task(Load(busy, ground.journal, 2).run(PEOPLE, 1, enough))
        for _ in range(2):
            tasks.create_task(holding.run())
        try:
            yield holding
        finally:
            enough.set()
            holding.over.set()


async def roll(cluster: Cluster, names: Sequence[str], tree: Path, more: dict[str, str] | None = None) -> None:
    """Stop these processes and start them again with the code of `tree`."""
    cluster.tree, cluster.more = tree, more or {}
    await asyncio.gather(*(cluster.end(name) for name in names))
    await asyncio.gather(*(cluster.spawn(name) for name in names))


async def judged(ground: Ground) -> list[Finding]:
    async with snapshot.opened(ground.made.cluster) as sources:
        await checker.quiet(sources, ground.made.services)
        seen = await snapshot.read(sources)
    return checker.judge(seen, ground.journal, ground.made.services)


async def said(ground: Ground) -> Counter[str]:
    async with ground.made.services["referral"].db.transaction("upgrade.said") as tx:
        rows = await tx.conn.fetch("select type, count(*) from said where type like '%.held.%' group by type")
    return Counter({row["type"]: row["count"] for row in rows})


async def not_understood(ground: Ground) -> int:
    """Events that wait because whoever reads does not know their version."""
    counts = []
    for service in ground.made.services.values():
        async with service.db.transaction("upgrade.parked") as tx:
            counts.append(await tx.conn.fetchval("select count(*) from parked where reason = 'unknown-version'"))
    return sum(counts)


def ever_not_understood(cluster: Cluster) -> int:
    return sum((cluster.folder / f"{name}.log").read_text().count("unknown-version") for name in READERS)


@pytest.fixture
async def older(ground: Ground, tmp_path: Path) -> AsyncIterator[Path]:
    """Everything runs as the release before. Its tree; afterwards nothing runs (whoever needs it starts it)."""
    cluster, tree = ground.cluster, older_tree(tmp_path / "older")
    await _stop_all(cluster)
    cluster.tree = tree
    await cluster.spawn("api")
    await asyncio.gather(*(cluster.spawn(name) for name in ("relay-1", "clock-1", *READERS)))
    yield tree
    await _stop_all(cluster)
    cluster.tree, cluster.more = ROOT, {}


async def _stop_all(cluster: Cluster) -> None:
    await asyncio.gather(*(cluster.end(name) for name in list(cluster.members)))


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_an_upgrade_process_by_process_loses_nothing_in_either_order(ground: Ground, older: Path) -> None:
    cluster, before, parked = ground.cluster, await said(ground), ever_not_understood(ground.cluster)
    async with under_load(ground) as holding:
        await holding.more(2)
        # As it should be: readers first, then the others, all still saying version 1; then they are let go. (The relay only
        # carries what was said, and stays a release behind throughout.)
        await roll(cluster, ["consume-1"], ROOT, CAREFUL)
        await holding.more(2)
        await roll(cluster, ["consume-2", "clock-1"], ROOT, CAREFUL)
        await holding.more(2)
        first = await said(ground) - before
        assert first[HELD % 1] >= 6
        assert first[HELD % 2] == 0, "nobody says what not everybody can read"
        await roll(cluster, ["api"], ROOT)
        await roll(cluster, [*READERS, "clock-1"], ROOT)
        await holding.more(2)
        assert (await said(ground) - before)[HELD % 2] >= 2
        assert ever_not_understood(cluster) == parked, "readers first: nothing ever waited"

        # The other way round: readers are taken back a release while writers go on saying version 2.
        await roll(cluster, READERS, older)

        async def waits() -> bool:
            return await not_understood(ground) >= 2

        await eventually(waits, within_s=60)
        await ground.probe.seconds()  # other referrals go on
        assert await not_understood(ground) >= 2, "nobody who cannot read it lets it pass"
        await roll(cluster, READERS, ROOT)

        async def nothing_waits() -> bool:
            return await not_understood(ground) == 0

        await eventually(nothing_waits, within_s=60)
    findings = await judged(ground)
    print(f"{len(ground.journal.handoffs)} hand-offs, {await said(ground)}, {len(findings)} findings")  # noqa: T201
    assert findings == []
