"""Wires that can be cut: what passes between a process and its database or brokers goes through here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

# `cut`: whatever is open breaks, nobody gets through. `stalled`: everybody is let in, and nothing passes until it is
# `open` again; then all of it does. `slow`: each piece on its way waits.
State = Literal["open", "cut", "stalled", "slow"]
SLOW_S = 0.15
PIECE_BYTES = 64 * 1024
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Wire:
    """Takes connections and passes each on to the other end."""

    reach: Callable[[], Awaitable[Ends]]
    port: int = 0
    state: State = "open"
    # Process whose connections are cut while everybody else's are not.
    shut_out: int | None = None
    _opened: asyncio.Event = field(default_factory=asyncio.Event)
    _live: set[asyncio.StreamWriter] = field(default_factory=set)
    _server: asyncio.Server | None = None

    @classmethod
    async def between_ports(cls, port: int, other: int) -> Wire:
        """From one port of the loopback to another."""
        wire = cls(lambda: asyncio.open_connection("127.0.0.1", other), port)
        wire._server = await asyncio.start_server(wire._pass_on, "127.0.0.1", port)
        return wire

    @classmethod
    async def between_sockets(cls, path: Path, other: Path) -> Wire:
        """From one Unix socket to another."""
        wire = cls(lambda: asyncio.open_unix_connection(other))
        path.parent.mkdir(exist_ok=True)
        wire._server = await asyncio.start_unix_server(wire._pass_on, path)
        return wire

    def become(self, state: State) -> None:
        self.state = state
        if state == "stalled":
            self._opened.clear()
        else:
            self._opened.set()
        if state == "cut":
            self._break()

    def shut(self, process: int | None) -> None:
        """Nothing passes between that process and the other end any more; None: it does again."""
        self.shut_out = process
        for writer in self._live:
            if self._is_shut_out(writer):
                writer.transport.abort()

    def _is_shut_out(self, writer: asyncio.StreamWriter) -> bool:
        peer = writer.get_extra_info("peername")
        if self.shut_out is None or not peer:
            return False
        # By its port alone: Java says the loopback's address as one of IPv6.
        connections = psutil.Process(self.shut_out).net_connections("tcp")
        return peer[1] in {one.laddr.port for one in connections if one.laddr}

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._break()

    def _break(self) -> None:
        for writer in self._live:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._live.add(writer)
        try:
            if self.state == "cut" or self._is_shut_out(writer):
                return
            await self._passes()
            back, forth = await self.reach()
            self._live.add(forth)
            try:
                async with asyncio.TaskGroup() as ways:
                    ways.create_task(self._carry(reader, forth))
                    ways.create_task(self._carry(back, writer))
            finally:
                self._live.discard(forth)
                forth.transport.abort()
        except* OSError:  # either end has broken off: so does the other
            pass
        finally:
            self._live.discard(writer)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE_BYTES):
            await self._passes()
            writer.write(piece)
            await writer.drain()
        writer.transport.abort()

    async def _passes(self) -> None:
        if self.state == "stalled":
            await self._opened.wait()
        if self.state == "slow":
            await asyncio.sleep(SLOW_S)
