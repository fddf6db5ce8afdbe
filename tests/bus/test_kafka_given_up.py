"""Whoever asks the bus may give up waiting (a page does): the next one asks as if nobody had."""

from __future__ import annotations

import asyncio

import pytest

from spean.bus.kafka import KafkaBus
from spean.bus.kafka_access import access_of
from tests.integration.apart import Way


async def test_a_look_that_was_given_up_does_not_spoil_the_next_one() -> None:
    way = Way()
    way.mode = "mute"
    async with way.standing():
        bus = KafkaBus(access_of(f"kafka://127.0.0.1:{way.port}", None))
        bus._partitions["said"] = 1  # known since the brokers answered
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await bus.bounds("said")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await bus.committed("group", ["said"])
        await bus.close()
