"""The wires do what the faults say of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.faults.cluster import free_port
from tests.faults.wires import Wire


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(100):
        writer.write(piece)
    writer.close()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    made = await Wire.between_ports(free_port(), server.sockets[0].getsockname()[1])
    yield made
    await made.close()
    server.close()


async def said(wire: Wire, what: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
    writer.write(what)
    return reader, writer


async def test_an_open_wire_carries_both_ways(wire: Wire) -> None:
    reader, _ = await said(wire, b"hello")
    assert await reader.readexactly(5) == b"hello"


async def test_a_cut_wire_breaks_what_is_open_and_lets_nobody_in(wire: Wire) -> None:
    reader, _ = await said(wire, b"hello")
    assert await reader.readexactly(5) == b"hello"
    wire.become("cut")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    reader, _ = await said(wire, b"again")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    wire.become("open")
    reader, _ = await said(wire, b"mended")
    assert await reader.readexactly(6) == b"mended"


async def test_what_a_stalled_wire_has_held_comes_late(wire: Wire) -> None:
    reader, writer = await said(wire, b"one")
    assert await reader.readexactly(3) == b"one"
    wire.become("stalled")
    writer.write(b"two")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(3), 0.2)
    wire.become("open")
    assert await reader.readexactly(3) == b"two"
