"""Clocks that jump by hours, a disk that is slow, and wires of the door, of a clock and to the holder that break: all under
load, on the embedded bus."""

from __future__ import annotations

import pytest

from tests.conftest import required
from tests.faults.bending import BENT
from tests.faults.bent import missing
from tests.faults.brokers import LOCAL
from tests.faults.schedule import Ground, suffer
from tests.faults.test_recovery import assert_sound

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

# The others come in the random schedule and in `make soak`.
JUMPS = [name for name in BENT if "workers" not in name]
WIRES = [name for name in LOCAL if name not in BENT and "slow" not in name]


async def test_clocks_that_jump_and_a_slow_disk(ground: Ground) -> None:
    if (lacking := missing()) is not None:
        if required("compiler"):
            pytest.fail(f"a compiler is required here: {lacking}")
        pytest.skip(f"NOT TESTED WITH CLOCKS THAT JUMP AND A SLOW DISK: {lacking}")
    report = await suffer(ground, JUMPS, seed=len(JUMPS), people=200, at_once=4)
    assert_sound(report)
    assert len(report.recovered) == len(JUMPS)
    assert report.handoffs >= 30


async def test_wires_of_the_door_and_of_a_clock(ground: Ground) -> None:
    report = await suffer(ground, WIRES, seed=len(WIRES), people=200, at_once=4)
    assert_sound(report)
    assert len(report.recovered) == len(WIRES)
    assert report.handoffs >= 30
