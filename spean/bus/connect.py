"""The bus behind an address (`SPEAN_BUS`)."""

from __future__ import annotations

from spean.bus import Bus, BusError
from spean.bus.kafka import KafkaBus
from spean.bus.kafka_access import access_of
from spean.bus.postgres import PostgresBus
from spean.settings import Settings


async def connect(address: str, settings: Settings | None = None) -> Bus:
    """Open the bus at `kafka://host:port[,host:port]` or in the database of a `postgresql://…` address. `settings` say how
    Kafka is reached over TLS; without, it is reached in the clear.

    Raises BusError for another form and for certificates that are not to be trusted, BusUnavailable when nothing answers
    there.
    """
    if address.startswith("kafka://"):
        return await KafkaBus.open(access_of(address, settings))
    if address.startswith(("postgresql://", "postgres://")):
        return await PostgresBus.open(address)
    raise BusError("SPEAN_BUS must be kafka://host:port[,host:port] or postgresql://user:password@host:port/bus")
