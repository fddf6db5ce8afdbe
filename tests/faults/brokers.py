"""What happens to the brokers of a real Kafka, and to the wires: faults for a split installation, by name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient

from deploy.kafka.local import LocalKafka
from tests.builders import eventually
from tests.faults.bending import BENT
from tests.faults.bent import missing
from tests.faults.between import NODES, Between
from tests.faults.cluster import Cluster
from tests.faults.probe import Probe
from tests.faults.schedule import FAULTS, Fault, Recovery, frozen_s, lasting
from tests.faults.wires import State

# Longer than a broker's session with the controller (9 s): a frozen one wakes up to find that others lead.
BROKER_FROZEN_S = 12.0
IN_SYNC_S = 120.0
CUT_OFF = ("cut the controller off from the other brokers", "cut a broker off from the others")
Which = Callable[[LocalKafka], int]


def of(cluster: Cluster) -> LocalKafka:
    assert cluster.kafka is not None
    return cluster.kafka


async def in_sync(kafka: LocalKafka) -> None:
    """Wait until every partition has all its replicas: the next fault meets a whole cluster."""

    async def whole() -> bool:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address.removeprefix("kafka://"), request_timeout_ms=5_000)
        try:
            await admin.start()
            parts = [part for topic in await admin.describe_topics() for part in topic["partitions"]]
        except errors.KafkaError:
            return False
        finally:
            await admin.close()
        return bool(parts) and all(len(part["isr"]) == len(part["replicas"]) for part in parts)

    await eventually(whole, within_s=IN_SYNC_S)


async def broker_killed(which: Which, cluster: Cluster, probe: Probe, *, wiped: bool = False) -> Recovery:
    """A broker loses its power (and, `wiped`, its disk); the line must do with the others."""
    kafka = of(cluster)
    node = which(kafka)
    await kafka.kill(node)
    took = await probe.seconds()
    if wiped:
        await kafka.wipe(node)
    await kafka.start_node(node)
    await in_sync(kafka)
    return Recovery(0, took)


async def broker_frozen(which: Which, cluster: Cluster, probe: Probe) -> Recovery:
    """A broker stops for longer than the others wait for it, and goes on as if it still led."""
    kafka = of(cluster)
    node = which(kafka)
    kafka.freeze(node)
    took = await lasting(BROKER_FROZEN_S, lambda: kafka.thaw(node), probe)
    await in_sync(kafka)
    return took


async def broker_cut_off(between: Between, which: Which, cluster: Cluster, probe: Probe) -> Recovery:
    """A broker and the others do not reach each other; clients reach them all, and may ask the one that is alone."""
    kafka = of(cluster)
    between.cut_off(which(kafka), kafka)
    took = await lasting(BROKER_FROZEN_S, between.join, probe)
    await in_sync(kafka)
    return took


async def all_restarted(cluster: Cluster, probe: Probe) -> Recovery:
    """One after the other, as an upgrade does. The time is the longest that the line took meanwhile."""
    kafka, longest, began = of(cluster), 0.0, time.monotonic()
    for node in range(NODES):
        probing = asyncio.create_task(probe.seconds())
        await kafka.end(node)
        await kafka.start_node(node)
        await in_sync(kafka)
        longest = max(longest, await probing)
    return Recovery(0, longest, time.monotonic() - began)


async def all_killed(cluster: Cluster, probe: Probe) -> Recovery:
    """All brokers at once, as when a rack loses its power."""
    kafka, began = of(cluster), time.monotonic()
    for node in range(NODES):
        await kafka.kill(node)
    for node in range(NODES):
        await kafka.spawn_node(node)
    await in_sync(kafka)
    return Recovery(time.monotonic() - began, await probe.seconds())


async def wire(what: str, state: State, cluster: Cluster, probe: Probe) -> Recovery:
    """Whoever goes by these wires cannot reach what is at the other end. Slow wires stay up."""
    for each in cluster.wires[what]:
        each.become(state)

    def mend() -> None:
        for each in cluster.wires[what]:
            each.become("open")

    return await lasting(frozen_s(cluster), mend, probe)


def cut_off(between: Between) -> dict[str, Fault]:
    """Faults where there are wires between the brokers."""
    whose: tuple[Which, ...] = (LocalKafka.controller, lambda kafka: (kafka.controller() + 1) % NODES)
    return {name: partial(broker_cut_off, between, which) for name, which in zip(CUT_OFF, whose, strict=True)}


def _wires(what: str, name: str = "") -> dict[str, Fault]:
    states: tuple[State, ...] = ("cut", "stalled", "slow")
    return {f"{state} wires {name or f'to the {what}'}": partial(wire, what, state) for state in states}


# Nothing of these is the bus's.
LOCAL: Mapping[str, Fault] = {
    **_wires("door to the database", "of the door to the database"),
    **_wires("clock to the database", "of a clock to the database"),
    **_wires("holder", "of the clocks to the holder"),
    **({} if missing() else BENT),
}
ON_KAFKA: Mapping[str, Fault] = {
    **{f"kill broker {node + 1}": partial(broker_killed, lambda _, node=node: node) for node in range(NODES)},
    "kill the controller": partial(broker_killed, LocalKafka.controller),
    "wipe a broker": partial(broker_killed, LocalKafka.controller, wiped=True),
    "freeze a broker": partial(broker_frozen, lambda kafka: (kafka.controller() + 1) % NODES),
    "freeze the controller": partial(broker_frozen, LocalKafka.controller),
    "restart every broker": all_restarted,
    "kill all brokers": all_killed,
    **_wires("broker"),
    **_wires("database"),
    **LOCAL,
    **FAULTS,
}
ON_POSTGRES: Mapping[str, Fault] = {**FAULTS, **_wires("database"), **LOCAL}
