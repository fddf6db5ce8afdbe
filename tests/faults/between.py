"""Wires between the brokers of a real Kafka: one of them is cut off from the others, and clients reach it all the same."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.kafka import local
from deploy.kafka.local import LocalKafka
from tests.faults.cluster import free_port
from tests.faults.wires import Wire

NODES = 3
# What brokers say to each other has a listener of its own, and all of them are told to go by the wires.
APART = """
listeners={doors},BETWEEN://{host}:{own}
advertised.listeners={told},BETWEEN://{host}:{wire},CONTROLLER://{host}:{quorum_wire}
listener.security.protocol.map={protocols},BETWEEN:PLAINTEXT
inter.broker.listener.name=BETWEEN
controller.quorum.voters={voters}
"""


@dataclass
class Between:
    """`wires[node]`: in front of that node, for copies of partitions and for the quorum."""

    wires: list[list[Wire]] = field(default_factory=list)

    async def lay(self, folder: Path) -> None:
        """Before the nodes start: put wires in front of each."""
        files = [folder / f"node-{node}.properties" for node in range(NODES)]
        known = [dict(re.findall(r"^([a-z.]+)=(.*)$", file.read_text(), re.MULTILINE)) for file in files]
        own = [free_port() for _ in files]
        for settings, port in zip(known, own, strict=True):
            quorum = int(settings["listeners"].rpartition(":")[2])
            self.wires.append([await Wire.between_ports(free_port(), to) for to in (port, quorum)])
        voters = ",".join(f"{node + 1}@{local.HOST}:{wires[1].port}" for node, wires in enumerate(self.wires))
        for file, settings, port, (copies, quorum) in zip(files, known, own, self.wires, strict=True):
            with file.open("a") as out:
                out.write(
                    APART.format(
                        doors=settings["listeners"], told=settings["advertised.listeners"], host=local.HOST, own=port,
                        protocols=settings["listener.security.protocol.map"], wire=copies.port,
                        quorum_wire=quorum.port, voters=voters,
                    )
                )  # fmt: skip

    def cut_off(self, node: int, kafka: LocalKafka) -> None:
        """Nobody of the others reaches it, and it reaches none of them."""
        for number, wires in enumerate(self.wires):
            for wire in wires:
                if number == node:
                    wire.become("cut")
                else:
                    wire.shut(kafka.nodes[node].pid)

    def join(self) -> None:
        for wires in self.wires:
            for wire in wires:
                wire.become("open")
                wire.shut(None)


@asynccontextmanager
async def three_brokers(folder: Path) -> AsyncIterator[tuple[LocalKafka, Between]]:
    """With wires to each of them and between them. Raises LocalKafkaError."""
    between = Between()
    try:
        kafka = await local.start(folder, NODES, detours=[free_port() for _ in range(NODES)], prepared=between.lay)
        try:
            yield kafka, between
        finally:
            await kafka.stop()
    finally:
        for wires in between.wires:
            for wire in wires:
                await wire.close()
