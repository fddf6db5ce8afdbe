"""An installation: its PostgreSQL, its bus, its services, its one port. What `spean up` runs and the tests run too."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from services.intake import main as intake
from services.intake.keystore import store as keystore
from services.notify import main as notify
from services.referral import main as referral
from spean import embedded
from spean.bus import Bus
from spean.bus.connect import connect
from spean.provision import AddressedCluster, Cluster, Roles, let_worker_make_tables, prepare, service_dsns
from spean.service import ROLES, Parts, Role, Service, topics
from spean.settings import Settings

log = logging.getLogger(__name__)

BUS_DATABASE = "bus"
BUILD: Mapping[str, Callable[[Parts], Awaitable[Service]]] = {
    referral.NAME: referral.build,
    intake.NAME: intake.build,
    notify.NAME: notify.build,
}
MIGRATIONS: Mapping[str, Path] = {
    referral.NAME: referral.MIGRATIONS,
    intake.NAME: intake.MIGRATIONS,
    notify.NAME: notify.MIGRATIONS,
}
_PORTS_TRIED = 50


class PortsTaken(Exception):
    """No free port near the wanted one."""


@dataclass(slots=True)
class Installation:
    settings: Settings
    cluster: Cluster
    bus: Bus
    services: dict[str, Service]
    url: str
    listener: socket.socket


def listen(host: str, port: int) -> socket.socket:
    """A listening socket on `port`, or on the next free one. Raises PortsTaken."""
    for candidate in [port] if port == 0 else range(port, port + _PORTS_TRIED):
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        listener.listen(512)
        listener.set_inheritable(True)
        return listener
    raise PortsTaken(str(port))


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[Cluster]:
    """The PostgreSQL of an installation: the one at its address, or the embedded one, started and stopped here."""
    if settings.postgres:
        yield AddressedCluster(settings.postgres)
        return
    running = await embedded.start(
        settings.data, password_file=settings.keys / "postgres", fast_unsafe=settings.fast_unsafe
    )
    try:
        yield running.server
    finally:
        await running.stop()


async def migrate(cluster: Cluster, roles: Roles, names: Collection[str]) -> None:
    """Bring every database of these services up to date."""
    for name in names:
        await prepare(cluster, roles, name, MIGRATIONS[name])
    if intake.NAME in names:
        await prepare(cluster, roles, keystore.DATABASE, None)
        await keystore.prepare(cluster.dsn(keystore.DATABASE), f"{keystore.DATABASE}_worker")


async def open_bus(settings: Settings, cluster: Cluster, roles: Roles) -> Bus:
    if settings.bus:
        return await connect(settings.bus)
    await prepare(cluster, roles, BUS_DATABASE, None)
    await let_worker_make_tables(cluster, BUS_DATABASE)
    return await connect(service_dsns(cluster, roles, BUS_DATABASE)[1])


@asynccontextmanager
async def installed(settings: Settings, names: Collection[str] = tuple(BUILD)) -> AsyncIterator[Installation]:
    """Everything built and migrated, nothing running yet. Raises EmbeddedError, BusError, DatabaseProblem, PortsTaken."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(database(settings))
        roles = Roles.load(settings.keys)
        await migrate(cluster, roles, names)
        bus = await open_bus(settings, cluster, roles)
        stack.push_async_callback(bus.close)
        listener = listen(settings.host, settings.port)
        stack.callback(listener.close)
        url = settings.url or f"http://{settings.host}:{listener.getsockname()[1]}"
        parts = Parts(settings, cluster, roles, bus, url)
        await bus.ensure_topics(topics(parts.holders.keys()))
        services: dict[str, Service] = {}
        for name in names:
            services[name] = await BUILD[name](parts)
            stack.push_async_callback(services[name].close)
        yield Installation(settings, cluster, bus, services, url, listener)


def one_app(services: Mapping[str, Service]) -> Starlette:
    """Every service behind one port, each under its name."""

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    mounts = [Mount(f"/{name}", app=service.app) for name, service in services.items()]
    return Starlette(routes=[Route("/health", health), *mounts])


class _Server(uvicorn.Server):
    """Signals are the command line's business; who starts it waits until it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.started_event = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.started_event.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@asynccontextmanager
async def running(
    installation: Installation, roles: Collection[Role] = ROLES, member: str = "1"
) -> AsyncIterator[Installation]:
    """The roles of every service, until the block ends; then drained: requests first, loops after."""
    loops = [
        asyncio.create_task(service.run(roles, member), name=f"{name} loops")
        for name, service in installation.services.items()
    ]
    server: _Server | None = None
    serving: asyncio.Task[None] | None = None
    if "api" in roles:
        config = uvicorn.Config(
            one_app(installation.services), log_config=None, access_log=False, lifespan="off",
            timeout_graceful_shutdown=5, server_header=False, date_header=False,
        )  # fmt: skip
        server = _Server(config)
        serving = asyncio.create_task(server.serve([installation.listener]), name="http")
        await server.started_event.wait()
    try:
        yield installation
    finally:
        if server is not None and serving is not None:
            server.should_exit = True
            await serving
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
