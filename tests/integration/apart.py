"""An installation of its own, whose holder is reached through a door that a test can shut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from services.cli import installation
from services.cli.installation import Installation
from spean import embedded
from spean.settings import Settings
from tests.builders import settings_for

CHUNK_BYTES = 65_536


class Way:
    """A TCP forwarder. `shut`: nobody gets through any more, and whoever was on the way is cut off; `mute`: connections
    are taken and nothing is ever answered."""

    def __init__(self) -> None:
        self.to: tuple[str, int] = ("127.0.0.1", 1)
        self.mode = "open"
        self._server: asyncio.Server | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def set(self, mode: str) -> None:
        self.mode = mode
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    @asynccontextmanager
    async def standing(self) -> AsyncIterator[Way]:
        self._server = await asyncio.start_server(self._taken, "127.0.0.1", 0)
        try:
            yield self
        finally:
            self._server.close()
            await self.set("shut")

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            if self.mode == "open":
                await self._forward(reader, writer)
            elif self.mode == "mute":
                await asyncio.Event().wait()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._under_way.discard(task)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(*self.to)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_copy(reader, inner_writer))
                tasks.create_task(_copy(inner_reader, writer))
        except* OSError:
            pass
        finally:
            inner_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


@asynccontextmanager
async def installed_apart(workspace: Path, **chosen: Any) -> AsyncIterator[tuple[Installation, Settings]]:
    """Built, not running; its PostgreSQL is its own."""
    folder = workspace / f"apart-{uuid4().hex[:6]}"
    folder.mkdir(mode=0o755)
    server = await embedded.start(folder / "pg", password_file=folder / "pg-password", fast_unsafe=True)
    try:
        settings = settings_for(folder / "main", server.server.dsn("postgres")).model_copy(update=chosen)
        async with installation.installed(settings) as made:
            yield made, settings
    finally:
        await server.stop()
