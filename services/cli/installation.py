"""An installation: its PostgreSQL, its bus, its services, its one port. What `spean up` runs and the tests run too."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from schemas import versions
from services.cli.certificate import expired, renewed
from services.cli.server import Server
from services.cli.watching import watched
from services.intake import main as intake
from services.intake.keystore import store as keystore
from services.notify import main as notify
from services.referral import main as referral
from spean import embedded, lives
from spean.bus import Bus, TopicSpec, Use
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
from spean.service import PARTITIONS, ROLES, Parts, Role, Service, topics, use_of
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
# Seconds that a connection stays open without a request: longer than those who use it again keep it (the proxy in
# deploy/Caddyfile a minute, most clients less), or one that we close just then fails them.
KEPT_OPEN_S = 75
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
    inside: socket.socket | None = None
    ended: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def until_ended(self) -> None:
        """Wait as long as every part runs. Raises PartEnded."""
        raise PartEnded(f"{await asyncio.shield(self.ended)} ended by itself: see the log, then start again")


def listen(host: str, port: int, tried: int = _PORTS_TRIED, setting: str = "SPEAN_PORT") -> socket.socket:
    """A listening socket on `port`, or on the next free one of `tried`. Raises CannotListen, naming `setting`."""
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
    raise CannotListen(f"port {port} and what was tried after it are taken: set {setting} to a free one")


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
        yield AddressedCluster(settings.postgres_address)
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


def topics_used(parts: Parts, names: Collection[str]) -> tuple[list[TopicSpec], list[Use]]:
    """The topics that these services write or read, and what each of them does there."""
    holders = parts.holders.keys()
    uses = [use_of(name, parts.settings.holder, holders) for name in names]
    used = {topic for use in uses for topic in use.writes | use.reads}
    return [spec for spec in topics(holders) if spec.name in used], uses


@asynccontextmanager
async def installed(
    settings: Settings,
    names: Collection[str] = tuple(BUILD),
    *,
    alone: bool = True,
    listening: bool = True,
    looking: bool = True,
) -> AsyncIterator[Installation]:
    """Everything built, nothing running yet. Without `listening` it takes no port and cannot run the role `api`; without
    `looking` a database may know less than its service has said, and nothing may run until it has rejoined.

    `alone`: all of it is on this machine, so its databases are migrated here and a taken port becomes the next free one.
    One of many machines finds its databases migrated and its topics made, and the port is as set or refused. Raises
    EmbeddedError, BusError, DatabaseProblem, MigrationChanged, BehindCode, CannotListen, BrokenChain, Behind.
    """
    versions.check()
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(database(settings))
        roles = Roles.load(settings.keys)
        if alone:
            await migrate(settings, cluster, roles, names)
        for name in () if alone else names:
            await expect_migrated(cluster, roles, name, MIGRATIONS[name])
        bus = await open_bus(settings, cluster, roles)
        stack.push_async_callback(bus.close)
        # Where other holders know the network, they know it at this very port.
        tried = _PORTS_TRIED if alone and len(settings.holders) < 2 else 1
        listener = listen(settings.host, settings.port, tried) if listening else None
        if listener is not None:
            stack.callback(listener.close)
        inside = None
        if settings.inside:
            host, _, port = settings.inside.rpartition(":")
            inside = listen(host.strip("[]"), int(port), 1, "SPEAN_INSIDE")
            stack.callback(inside.close)
        url = _url(settings, listener)
        parts = Parts(settings, cluster, roles, bus, url)
        if alone:
            await bus.ensure_topics(topics(parts.holders.keys()))
        else:
            await bus.expect_topics(*topics_used(parts, names))
        services: dict[str, Service] = {}
        for name in names:
            services[name] = await BUILD[name](parts)
            stack.push_async_callback(services[name].close)
            if looking and (own := services[name].own) is not None:
                await lives.look(services[name].db, bus, name, own.topics, PARTITIONS)
        yield Installation(settings, cluster, bus, services, url, listener, inside)


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


def _server(installation: Installation) -> Server:
    """Raises CannotListen for a certificate that cannot be used, or that every client would refuse."""
    settings = installation.settings
    config = uvicorn.Config(
        one_app(installation.services, installation.url), http=Protocol, log_config=None, access_log=False, lifespan="off",
        timeout_graceful_shutdown=5, timeout_keep_alive=KEPT_OPEN_S, server_header=False, date_header=False, ssl_certfile=settings.certificate,
        ssl_keyfile=settings.certificate_key,
    )  # fmt: skip
    try:
        config.load()
    except OSError as error:  # also every fault of a certificate: ssl.SSLError is one
        raise CannotListen(f"SPEAN_CERTIFICATE with SPEAN_CERTIFICATE_KEY cannot be used: {error.strerror}") from None
    if settings.certificate is not None and settings.certificate_key is not None and config.ssl is not None:
        if (ended := expired(settings.certificate)) is not None:
            raise CannotListen(f"SPEAN_CERTIFICATE has expired, at {ended:%Y-%m-%d %H:%M} UTC: renew it")
        renewed(config.ssl, settings.certificate, settings.certificate_key)
    return Server(config)


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
    async with (
        watched(installation.settings, installation.services, roles, member, installation.inside),
        _running(installation, roles, member, server),
    ):
        yield installation


@asynccontextmanager
async def _running(
    installation: Installation, roles: Collection[Role], member: str, server: Server | None
) -> AsyncIterator[None]:
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
    if server is not None and installation.listener is not None:
        for service in installation.services.values():
            service.draining.clear()
        serving = asyncio.create_task(server.serve([installation.listener]), name="HTTP")
        await server.started_event.wait()
    for task in (*loops, *([serving] if serving else [])):
        task.add_done_callback(part_ended)
    try:
        yield
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
