"""How a service stands, measured now and then while somebody watches: what waits in its databases and on the bus.

Every process of a service measures all of it, whatever its roles: that a relay stands still is seen by those who do not. Two
of them measure the same, and say the same.
"""

from __future__ import annotations

import asyncio
import logging
import time

from spean import clock, order, outbox, telemetry
from spean.bus import BusError
from spean.db import DatabaseProblem, Tx
from spean.service import Service

log = logging.getLogger(__name__)

EVERY_S = 5.0
# A database or a bus in trouble is measured by its silence.
LIMIT_S = 4.0


async def watch(service: Service) -> None:
    """Until cancelled. What cannot be measured is soon shown no more (`telemetry.metrics.STALE_S`)."""
    while True:
        try:
            async with asyncio.timeout(LIMIT_S):
                await measure(service)
        except (DatabaseProblem, BusError, TimeoutError) as error:
            log.warning("not measured", extra={"service": service.name, "error_class": type(error).__name__})
        await asyncio.sleep(EVERY_S)


async def measure(service: Service) -> None:
    """Raises DatabaseProblem, BusError."""
    async with service.db.transaction("watched.measure") as tx:
        await _outbox(tx, service.name)
        await _due(tx, service.name)
        telemetry.show("spean.parked.keys", len(await order.parked_now(tx)), service=service.name)
        for show in service.shows:
            await show(tx)
        places = await order.positions(tx)
    for topic in service.reads:
        for partition, bounds in (await service.bus.bounds(topic)).items():
            left, number = bounds.left_after(places.get(partition, 0)), str(partition.number)
            telemetry.show("spean.consumer.lag", left, service=service.name, topic=topic, partition=number)
    telemetry.show("spean.measured.time", time.time(), service=service.name)


async def _outbox(tx: Tx, service: str) -> None:
    count, oldest = await outbox.waiting(tx)
    telemetry.show("spean.outbox.length", count, service=service)
    age_s = 0.0 if oldest is None else (tx.now - oldest).total_seconds()
    telemetry.show("spean.outbox.age", age_s, service=service)


async def _due(tx: Tx, service: str) -> None:
    late = await clock.overdue(tx)
    telemetry.forget(("spean.due.overdue", "spean.due.age"), service=service)
    for kind, count, oldest in late:
        telemetry.show("spean.due.overdue", count, service=service, kind=kind)
        telemetry.show("spean.due.age", (tx.now - oldest).total_seconds(), service=service, kind=kind)
