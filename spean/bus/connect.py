"""The bus behind an address (`SPEAN_BUS`)."""

from __future__ import annotations

from spean.bus import Bus, BusError
from spean.bus.kafka import KafkaBus
from spean.bus.postgres import PostgresBus


async def connect(address: str) -> Bus:
    """Open the bus at `kafka://host:port[,host:port]` or in the database of a `postgresql://…` address.

    Raises BusError for another form, BusUnavailable when nothing answers there.
    """
    if address.startswith("kafka://"):
        return await KafkaBus.open(address)
    if address.startswith(("postgresql://", "postgres://")):
        return await PostgresBus.open(address)
    raise BusError("SPEAN_BUS must be kafka://host:port[,host:port] or postgresql://user:password@host:port/bus")
