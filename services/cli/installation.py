"""An installation: its PostgreSQL, its bus, its services, its one port. What `spean up` runs and the tests run too."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from services.intake import main as intake
from services.intake.keystore import store as keystore
from services.notify import main as notify
from services.referral import main as referral
from spean import embedded
from spean.bus import Bus
from spean.bus.connect import connect
from spean.embedded import EmbeddedError
from spean.guard import Guard, Protocol
from spean.http import PROBLEMS
from spean.provision import (
    AddressedCluster,
    Cluster,
    Roles,
    expect_migrated,
    let_worker_make_tables,
    prepare,
    service_dsns,
)
from spean.service import ROLES, Parts, Role, Service, topics
from spean.settings import Settings
from spean.web import static
from spean.web.pages import HOME, about, choose_language, offline, say_outside

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
# How often the embedded database is looked at, and how long a failed start of it waits for the next.
_WATCH_S, _START_AGAIN_S = 0.2, 2.0


class CannotListen(Exception):
    """No port to listen on, or no way to. The message says why and what to do."""


class PartEnded(Exception):
    """A part of the running installation has ended by itself. The message says which; its log says why."""


@dataclass(slots=True)
class Installation:
    settings: Settings
    cluster: Cluster
    bus: Bus
    services: dict[str, Service]
    url: str
    listener: socket.socket | None
    ended: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def until_ended(self) -> None:
        """Wait as long as every part runs. Raises PartEnded."""
        raise PartEnded(f"{await asyncio.shield(self.ended)} ended by itself: see the log, then start again")


def listen(host: str, port: int, tried: int = _PORTS_TRIED) -> socket.socket:
    """A listening socket on `port`, or on the next free one of `tried`. Raises CannotListen."""
    for candidate in [port] if port == 0 else range(port, min(port + tried, 2**16)):
        # With its protocol named, asyncio sends each answer at once; else every answer waits 40 ms for an acknowledgement.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise CannotListen(f"cannot listen on {host} port {candidate}: {error.strerror}") from None
            continue
        listener.listen(512)
        listener.set_inheritable(True)
        return listener
    raise CannotListen(f"port {port} and what was tried after it are taken: set SPEAN_PORT to a free one")


def _url(settings: Settings, listener: socket.socket | None) -> str:
    """The address as people use it: the one that was set, or the one listened on."""
    if settings.url or listener is None:
        return settings.url
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if settings.certificate else 'http'}://{host}:{listener.getsockname()[1]}"


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[Cluster]:
    """The PostgreSQL of an installation: the one at its address, or the embedded one, started, watched and stopped here.

    Raises EmbeddedError.
    """
    if settings.postgres:
        yield AddressedCluster(settings.postgres)
        return
    start = partial(
        embedded.start, settings.data, password_file=settings.keys / "postgres", fast_unsafe=settings.fast_unsafe
    )
    running = await start()

    async def watch() -> None:
        nonlocal running
        while True:
            await asyncio.sleep(_WATCH_S)
            if running.alive():
                continue
            log.error("PostgreSQL has ended by itself: starting it again")
            try:
                await running.stop()  # gives the folder back, so that it can be taken again
                running = await start()
            except EmbeddedError:
                log.exception("PostgreSQL does not start again", extra={"folder": str(settings.data)})
                await asyncio.sleep(_START_AGAIN_S)

    watcher = asyncio.create_task(watch(), name="database watch")
    try:
        yield running.server
    finally:
        watcher.cancel()
        await asyncio.wait({watcher})
        await running.stop()


async def migrate(settings: Settings, cluster: Cluster, roles: Roles, names: Collection[str]) -> None:
    """Bring every database of these services up to date, and the bus's where it lies in PostgreSQL. Raises
    DatabaseProblem, MigrationChanged."""
    for name in names:
        await prepare(cluster, roles, name, MIGRATIONS[name])
    if intake.NAME in names:
        await prepare(cluster, roles, keystore.DATABASE, None)
        await keystore.prepare(cluster.dsn(keystore.DATABASE), f"{keystore.DATABASE}_worker")
    if not settings.bus:
        await prepare(cluster, roles, BUS_DATABASE, None)
        await let_worker_make_tables(cluster, BUS_DATABASE)


async def open_bus(settings: Settings, cluster: Cluster, roles: Roles) -> Bus:
    """Raises BusError."""
    return await connect(settings.bus or service_dsns(cluster, roles, BUS_DATABASE)[1], settings)


@asynccontextmanager
async def installed(
    settings: Settings, names: Collection[str] = tuple(BUILD), *, alone: bool = True, listening: bool = True
) -> AsyncIterator[Installation]:
    """Everything built, nothing running yet. Without `listening` it takes no port and cannot run the role `api`.

    `alone`: all of it is on this machine, so its databases are migrated here and a taken port becomes the next free one.
    One of many machines finds its databases migrated, and the port is as set or refused. Raises EmbeddedError, BusError,
    DatabaseProblem, MigrationChanged, BehindCode, CannotListen.
    """
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(database(settings))
        roles = Roles.load(settings.keys)
        if alone:
            await migrate(settings, cluster, roles, names)
        for name in () if alone else names:
            await expect_migrated(cluster, roles, name, MIGRATIONS[name])
        bus = await open_bus(settings, cluster, roles)
        stack.push_async_callback(bus.close)
        listener = listen(settings.host, settings.port, _PORTS_TRIED if alone else 1) if listening else None
        if listener is not None:
            stack.callback(listener.close)
        url = _url(settings, listener)
        parts = Parts(settings, cluster, roles, bus, url)
        await bus.ensure_topics(topics(parts.holders.keys()))
        services: dict[str, Service] = {}
        for name in names:
            services[name] = await BUILD[name](parts)
            stack.push_async_callback(services[name].close)
        yield Installation(settings, cluster, bus, services, url, listener)


def one_app(services: Mapping[str, Service], url: str) -> Guard:
    """Every service behind one port, each under its name. `url`: the installation's public address."""

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def home(_: Request) -> Response:
        return RedirectResponse(HOME, 303)

    mounts = [Mount(f"/{name}", app=service.app) for name, service in services.items()]
    pages = [
        Route("/", home), Route("/pages/language", choose_language),
        Route("/pages/about", about), Route("/pages/offline", offline), Route("/worker.js", static.worker), Route("/static/{digest}/{name}", static.serve),
    ]  # fmt: skip
    app = Starlette(routes=[Route("/health", health), *pages, *mounts], exception_handlers=dict(PROBLEMS))
    app.router.redirect_slashes = False  # a redirect would repeat what was sent
    app.state.say_problem = say_outside
    return Guard(app, https=url.startswith("https://"), pages=say_outside)


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


def _server(installation: Installation) -> _Server:
    """Raises CannotListen for a certificate that cannot be used."""
    settings = installation.settings
    config = uvicorn.Config(
        one_app(installation.services, installation.url), http=Protocol, log_config=None, access_log=False, lifespan="off",
        timeout_graceful_shutdown=5, server_header=False, date_header=False, ssl_certfile=settings.certificate,
        ssl_keyfile=settings.certificate_key,
    )  # fmt: skip
    try:
        config.load()
    except OSError as error:  # also every fault of a certificate: ssl.SSLError is one
        raise CannotListen(f"SPEAN_CERTIFICATE with SPEAN_CERTIFICATE_KEY cannot be used: {error.strerror}") from None
    return _Server(config)


@asynccontextmanager
async def running(
    installation: Installation, roles: Collection[Role] = ROLES, member: str = "1"
) -> AsyncIterator[Installation]:
    """The roles of every service, until the block ends; then drained: requests first, loops after. A part that ends by
    itself is told by `until_ended`. Raises CannotListen."""
    listener = installation.listener if "api" in roles else None
    if listener is None and "api" in roles:
        raise CannotListen("no port was taken for the role api")
    server = None if listener is None else _server(installation)
    stopping = False

    def part_ended(task: asyncio.Task[None]) -> None:
        if not stopping and not installation.ended.done():
            error = None if task.cancelled() else task.exception()
            first = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
            log.error("a part has ended by itself", exc_info=first, extra={"service": task.get_name()})
            installation.ended.set_result(task.get_name())

    loops = [
        asyncio.create_task(service.run(roles, member), name=f"{name}'s loops")
        for name, service in (installation.services.items() if set(roles) - {"api"} else ())
    ]
    serving = None
    if server is not None and listener is not None:
        for service in installation.services.values():
            service.draining.clear()
        serving = asyncio.create_task(server.serve([listener]), name="HTTP")
        await server.started_event.wait()
    for task in (*loops, *([serving] if serving else [])):
        task.add_done_callback(part_ended)
    try:
        yield installation
    finally:
        stopping = True
        if server is not None and serving is not None:
            for service in installation.services.values():
                service.draining.set()
            server.should_exit = True
            await asyncio.wait({serving})
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
