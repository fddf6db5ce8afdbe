"""On a real Kafka of three brokers: any of them may die, freeze or lose its disk under load, wires may break, and so may
every process, as on the embedded bus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.kafka import local
from tests.builders import network_in
from tests.conftest import without_kafka
from tests.faults.between import three_brokers
from tests.faults.brokers import CUT_OFF, LOCAL, ON_KAFKA, cut_off
from tests.faults.cluster import split
from tests.faults.load import Journal
from tests.faults.probe import Probe
from tests.faults.schedule import Ground, suffer
from tests.faults.test_recovery import assert_sound

pytestmark = [pytest.mark.kafka, pytest.mark.long, pytest.mark.timeout(900)]

BROKERS = [
    "kill broker 1", "freeze a broker", "kill the controller", "freeze the controller", "wipe a broker",
    "restart every broker", "kill all brokers", CUT_OFF[0],
]  # fmt: skip
WIRES = [name for name in ON_KAFKA if "wires" in name and name not in LOCAL]
# A reader whose session ends while it is frozen, twins at work at once, a batch that is sent twice.
PROCESSES = [
    "freeze consume-1", "kill relay between send and move", "freeze relay between send and move",
    "end the relays' lock sessions", "say old events again", "kill postgres",
]  # fmt: skip


@pytest.fixture(scope="module")
async def on_three(workspace: Path) -> AsyncIterator[Ground]:
    if (lacking := local.missing()) is not None:
        without_kafka(lacking)
    folder = workspace / "three"
    folder.mkdir(mode=0o755)
    async with (
        three_brokers(folder / "kafka") as (kafka, between),
        split(folder, kafka) as (cluster, made),
        network_in(made, cluster.settings) as world,
    ):
        journal = Journal()
        faults = {**ON_KAFKA, **cut_off(between)}
        yield Ground(cluster, made, journal, await Probe.ready(world, journal), faults)


@pytest.mark.parametrize("faults", [BROKERS, WIRES, PROCESSES], ids=["brokers", "wires", "processes"])
async def test_faults_under_load(on_three: Ground, faults: list[str]) -> None:
    report = await suffer(on_three, faults, seed=len(faults), people=200, at_once=3)
    assert_sound(report)
    assert len(report.recovered) == len(faults)
    assert report.handoffs >= 20
