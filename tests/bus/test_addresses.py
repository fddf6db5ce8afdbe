"""What SPEAN_BUS may be, and what is said where it is something else: never any of it but the host."""

from __future__ import annotations

import pytest

from spean.bus import BusError, BusUnavailable
from spean.bus.connect import connect


@pytest.mark.parametrize(
    "address",
    ["postgresql://user:secret@127.0.0.1:1/bus", pytest.param("kafka://127.0.0.1:1", marks=pytest.mark.kafka)],
)
async def test_an_address_where_nobody_answers(address: str) -> None:
    with pytest.raises(
        BusUnavailable, match=r"answers at 127\.0\.0\.1:1; check SPEAN_BUS|127\.0\.0\.1:1 .*check SPEAN_BUS"
    ) as caught:
        await connect(address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["", "redis://secret", "kafka://", "kafka://host", "kafka://host:9092/secret"])
async def test_an_address_of_no_valid_form(address: str) -> None:
    with pytest.raises(BusError, match="SPEAN_BUS must be kafka://host:port") as caught:
        await connect(address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "kafka://host:70000", "kafka://127.0.0.1:9092,127.0.0.1:0", "postgresql://user:secret@127.0.0.1:70000/bus",
        "postgresql://user:secret@127.0.0.1:port/bus", "postgresql://127.0.0.1:5432,[::1]:70000/bus",
    ],
)  # fmt: skip
async def test_an_address_with_a_port_that_is_none(address: str) -> None:
    with pytest.raises(BusError, match="SPEAN_BUS names a port that is none: write a number from 1 to 65535") as caught:
        await connect(address)
    assert not isinstance(caught.value, BusUnavailable)
    assert "secret" not in str(caught.value)


async def test_what_cannot_be_taken_apart_is_no_address() -> None:
    with pytest.raises(BusError, match="SPEAN_BUS is not a PostgreSQL address") as caught:
        await connect("postgresql://user:secret@[::1/bus")
    assert "secret" not in str(caught.value)
