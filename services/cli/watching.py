"""What an operator's machines see of a process: `/metrics`, `/live` and `/ready` on a port of their own, and what goes to a
collector. None of it is behind the public door."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.cli.server import Server
from spean.bus import BusError
from spean.db import DatabaseProblem
from spean.guard import Protocol
from spean.service import Role, Service
from spean.settings import Settings
from spean.telemetry.export import Telemetry, Whose, start
from spean.watched import watch

log = logging.getLogger(__name__)

# Who asks whether a process is ready gives up after some seconds.
READY_S = 2.0


@asynccontextmanager
async def watched(
    settings: Settings, services: Mapping[str, Service], roles: Collection[Role], member: str,
    inside: socket.socket | None,
) -> AsyncIterator[Telemetry | None]:  # fmt: skip
    """As long as the block lasts: measure, send to the collector that is set, answer on `inside`. None where nothing of it
    is wanted. Faults of it are logged and end nothing else."""
    if not settings.otlp and inside is None:
        yield None
        return
    begun = start(settings.otlp, settings.trace_share, Whose(list(services), member), through=settings.traces_go_on)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(begun.stop)
        for service in services.values():
            _beside(stack, watch(service), f"{service.name} is watched")
        if inside is not None:
            await _serve(stack, _app(services, roles, begun), inside)
        yield begun


def _beside(stack: AsyncExitStack, work: Coroutine[object, object, None], name: str) -> None:
    task = asyncio.create_task(work, name=name)

    def ended(_: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("not watched any more", exc_info=error)

    async def end() -> None:
        task.cancel()
        await asyncio.wait({task})

    task.add_done_callback(ended)
    stack.push_async_callback(end)


async def _serve(stack: AsyncExitStack, app: Starlette, inside: socket.socket) -> None:
    server = Server(
        uvicorn.Config(
            app, http=Protocol, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1,
            server_header=False, date_header=False,
        )
    )  # fmt: skip
    serving = asyncio.create_task(server.serve([inside]), name="HTTP inside")

    async def end() -> None:
        server.should_exit = True
        await asyncio.wait({serving})

    stack.push_async_callback(end)
    await server.started_event.wait()


def _app(services: Mapping[str, Service], roles: Collection[Role], begun: Telemetry) -> Starlette:
    async def metrics(_: Request) -> Response:
        return PlainTextResponse(begun.text(), media_type="text/plain; version=0.0.4")

    async def live(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        silent = [text for service in services.values() for text in await _silent(service, roles)]
        return PlainTextResponse("".join(f"{text}\n" for text in silent or ["ok"]), 503 if silent else 200)

    return Starlette(routes=[Route("/metrics", metrics), Route("/live", live), Route("/ready", ready)])


async def _silent(service: Service, roles: Collection[Role]) -> list[str]:
    """What a service needs and does not get an answer from, or not the one it needs. Without the bus requests are still taken;
    loops stand still."""
    found = []
    try:
        async with asyncio.timeout(READY_S), service.db.transaction("ready"):
            pass
    except (DatabaseProblem, TimeoutError):
        found.append(f"{service.name}: the database does not answer")
    if service.reads and {"relay", "consume"} & set(roles):
        try:
            async with asyncio.timeout(READY_S):
                await service.bus.bounds(service.reads[0])
        except (BusError, TimeoutError):
            found.append(f"{service.name}: the bus does not answer")
    if service.relay is not None and service.relay.trouble:
        found.append(f"{service.name}: what is said waits: {service.relay.trouble}")
    return found
