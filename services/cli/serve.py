"""`spean serve`: one service, or several, in chosen roles, as one of many machines; `spean migrate` before it."""

from __future__ import annotations

import asyncio
import socket
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from services.cli import bootstrap, installation
from services.cli.up import until_told
from spean.db import Database
from spean.provision import Roles, service_dsns
from spean.service import ROLES, Parts, Role
from spean.settings import Settings, WrongSettings
from spean.telemetry import set_up_logs


class Name(StrEnum):
    """The services, as `--service` names them."""

    REFERRAL = "referral"
    INTAKE = "intake"
    NOTIFY = "notify"


class Doing(StrEnum):
    """The roles, as `--role` names them."""

    API = "api"
    RELAY = "relay"
    CONSUME = "consume"
    CLOCK = "clock"


Services = Annotated[list[Name] | None, typer.Option("--service", help="may be given several times; default: all")]


def serve(
    service: Services = None,
    role: Annotated[list[Doing] | None, typer.Option(help="may be given several times; default: all")] = None,
    member: Annotated[str, typer.Option(help="this instance's name among its equals, the same after a restart")] = "",
) -> None:
    """Run services as one of many machines, until told to stop. Needs SPEAN_URL and SPEAN_POSTGRES; run `spean migrate`
    once before. SPEAN_POSTGRES needs no account here: each service signs in as its own two roles, whose passwords follow
    from the keys folder. `SPEAN_HOLDERS` tells the network where its holders answer."""
    set_up_logs("INFO")
    roles = [one for one in ROLES if role is None or one in role]
    until_told(served(_shared(Settings()), service or list(Name), roles, member or socket.gethostname()))


def migrate(service: Services = None) -> None:
    """Make or update the databases and topics of these services, and the network's first administrator. Needs
    SPEAN_POSTGRES with an account that may create roles and databases; safe to run at any time, by several at once."""
    set_up_logs("WARNING")
    asyncio.run(migrated(_shared(Settings()), service or list(Name)))


def _shared(settings: Settings) -> Settings:
    """Raises WrongSettings where these settings only make sense on one machine."""
    if not settings.postgres:
        raise WrongSettings(
            "SPEAN_POSTGRES is needed: several machines share a database at an address (or use spean up)"
        )
    if not settings.url:
        raise WrongSettings("SPEAN_URL is needed: the one address under which partners reach all the services")
    return settings


async def served(settings: Settings, names: list[Name], roles: list[Role], member: str) -> None:
    """Run these services in these roles until told to stop. Raises what `installed` raises, CannotListen, PartEnded."""
    async with (
        installation.installed(settings, names, alone=False, listening="api" in roles) as made,
        installation.running(made, roles, member),
    ):
        Console(soft_wrap=True).print(f"serving {', '.join(names)} as {member}: {', '.join(roles)}", highlight=False)
        await made.until_ended()


async def migrated(settings: Settings, names: list[Name]) -> None:
    """Databases and topics of these services, made or brought up to date. Raises DatabaseProblem, MigrationChanged,
    BusError, EmbeddedError."""
    async with installation.database(settings) as cluster:
        roles = Roles.load(settings.keys)
        await installation.migrate(settings, cluster, roles, names)
        bus = await installation.open_bus(settings, cluster, roles)
        try:
            # At Kafka an account without rights to make topics finds them made (spean topics apply).
            specs, _ = installation.topics_used(Parts(settings, cluster, roles, bus, settings.url), names)
            await bus.ensure_topics(specs)
        finally:
            await bus.close()
        if Name.REFERRAL in names:
            db = await Database.open(*service_dsns(cluster, roles, Name.REFERRAL), api_size=1, worker_size=1)
            try:
                await bootstrap.administrator(db, settings)
            finally:
                await db.close()
    Console(soft_wrap=True).print(f"up to date: {', '.join(names)}", highlight=False)
