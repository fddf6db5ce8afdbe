"""A split installation for all of these tests, and one short run of faults under load that several of them look at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.builders import network_in
from tests.faults.brokers import ON_POSTGRES
from tests.faults.cluster import split
from tests.faults.disk import small_disk
from tests.faults.load import Journal
from tests.faults.probe import Probe
from tests.faults.schedule import Ground, Report, suffer

SEED = 1
# Each role once, the relay at its worst moment; then most of what was said comes again, in its old order.
SHORT = ["kill relay between send and move", "kill consume-1", "kill clock-1", "kill api", "say old events again"]


@pytest.fixture(scope="package")
async def ground(workspace: Path) -> AsyncIterator[Ground]:
    folder = workspace / "split"
    folder.mkdir(mode=0o755)
    with small_disk(folder) as disk:
        async with split(folder) as (cluster, made), network_in(made, cluster.settings) as world:
            journal = Journal()
            yield Ground(cluster, made, journal, await Probe.ready(world, journal), {**ON_POSTGRES, **disk})


@pytest.fixture(scope="package")
async def short_run(ground: Ground) -> Report:
    """Some twenty seconds of traffic while one process of each role dies."""
    return await suffer(ground, SHORT, seed=SEED, people=40, at_once=4)
