"""A running installation as its operator sees it: the services' databases (as the services themselves) and the bus.

Nothing is started, migrated or made here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from services.cli import bootstrap
from services.cli.installation import BUILD, open_bus
from services.intake import main as intake
from spean.bus import Bounds, Bus, BusError, BusUnavailable, Partition
from spean.db import Database, DatabaseProblem
from spean.embedded import Server
from spean.provision import AddressedCluster, Cluster, Roles, service_dsns
from spean.service import Parts, Service
from spean.settings import Settings


class NotRunning(Exception):
    """There is no installation to look at. The message says where it was looked for, and what to do."""


@dataclass(frozen=True, slots=True)
class Connected:
    """`databases`: those of the services that run here, in the order of the main line (another operator's holder is not
    among them)."""

    parts: Parts
    databases: Mapping[str, Database]

    @property
    def bus(self) -> Bus:
        return self.parts.bus

    def source(self, name: str) -> str:
        """What a service calls itself in its events."""
        return f"spean/{name}" + (f"/{self.parts.settings.holder}" if name == intake.NAME else "")

    @asynccontextmanager
    async def service(self, name: str) -> AsyncIterator[Service]:
        """One more instance of a service, for its handlers; none of its roles runs."""
        made = await BUILD[name](self.parts)
        try:
            yield made
        finally:
            await made.close()


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Connected]:
    """Connect to the installation that runs with these settings. Raises NotRunning, BusError, DatabaseProblem."""
    try:
        if not (settings.keys / "database-roles").exists():
            raise NotRunning(
                f"{settings.keys} holds no keys of an installation: start one with `spean up`, or set SPEAN_KEYS"
            )
        roles = Roles.load(settings.keys)
    except PermissionError:
        raise NotRunning(f"the keys in {settings.keys} are another account's: ask as that account") from None
    cluster = cluster_of(settings)
    async with AsyncExitStack() as stack:
        databases: dict[str, Database] = {}
        for name in BUILD:
            if (found := await _open(settings, cluster, roles, name)) is not None:
                databases[name] = found
                stack.push_async_callback(found.close)
        if not databases:
            raise NotRunning(
                "none of the services' databases is there: check SPEAN_POSTGRES and SPEAN_KEYS, or run spean migrate"
            )
        bus = await open_bus(settings, cluster, roles)
        stack.push_async_callback(bus.close)
        yield Connected(Parts(settings, cluster, roles, bus, bootstrap.address(settings)), databases)


def cluster_of(settings: Settings) -> Cluster:
    """The PostgreSQL of the installation with these settings, wherever it runs."""
    if settings.postgres:
        return AddressedCluster(settings.postgres)
    folder = settings.data.resolve()
    return Server(folder / "data", folder / "sock", pid=0, password="", superuser="postgres")


async def _open(settings: Settings, cluster: Cluster, roles: Roles, name: str) -> Database | None:
    """None for a service that has no database here."""
    try:
        return await Database.open(*service_dsns(cluster, roles, name), api_size=2, worker_size=3)
    except DatabaseProblem as problem:
        if problem.server and not settings.postgres:
            raise NotRunning(f"Spean does not run on {settings.data}: start it with `spean up`") from None
        # No such database; or, before that is asked, no such account. (A second holder has no network in its PostgreSQL.)
        if problem.sqlstate.startswith(("3D", "28")):
            return None
        raise


async def bounds_of(bus: Bus, partitions: Iterable[Partition]) -> dict[Partition, Bounds]:
    """Of those that there are: a holder may have left the bus, and its topic with it. Raises BusUnavailable."""
    wanted, found = set(partitions), dict[Partition, Bounds]()
    for topic in {partition.topic for partition in wanted}:
        try:
            found |= await bus.bounds(topic)
        except BusUnavailable:
            raise
        except BusError:
            continue
    return {partition: bounds for partition, bounds in found.items() if partition in wanted}
