"""A network at work: its doors in a process of their own, its loops here when they are wanted, and a bare app beside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from bench import bare_app, wire
from bench.ground import SHORT, WRITER, Ground, process, until
from deploy.ports import free_port
from schemas.rights import StaffRole
from services.cli import bootstrap, installation
from services.cli.client import Partner
from services.cli.installation import Installation
from services.referral.sessions import handlers as sessions
from spean.service import Parts
from spean.settings import Settings
from tests.builders import CATEGORIES, PURPOSES, Organisation, World, network_in
from tests.integration import staff

# Asked for one after the other, so that the same people do for each.
SERVICES = ("emergency_bed", "assessment_shelter", "medium_term_shelter", "group_home")
PEOPLE = 60 if SHORT else 300
_DAY = dict.fromkeys(("immediate", "emergency", "urgent", "normal"), 86_400)


@dataclass
class Stage:
    """`people` are entries with consents and an open case; nobody has asked for anything yet. One house for each of
    `SERVICES`, with a place for everybody."""

    ground: Ground
    world: World
    settings: Settings
    bare: str
    people: list[str]

    @property
    def url(self) -> str:
        return self.world.made.url

    def house(self, service: str) -> Organisation:
        return self.world.houses[SERVICES.index(service)]

    async def headers(self, partner: Partner, key: str = "") -> dict[str, str]:
        return {"Authorization": f"Bearer {await partner.token()}"} | ({"Idempotency_Key": key} if key else {})

    def ask(self, service: str, person: str) -> dict[str, Any]:
        return {
            "network": self.world.network, "service_type": service, "urgency": "emergency", "area": "KH-1",
            "members": [person],
        }  # fmt: skip

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Relays, consumers and clocks, in this process."""
        async with installation.running(self.world.made, ("relay", "consume", "clock"), "bench"):
            yield

    async def open_offers(self, service: str, count: int) -> list[str]:
        """Their ids, once there are that many; needs `working`. Read where they are kept: pages see but fifty."""
        house = UUID(self.house(service).id)
        conn = await self.ground.connect("referral")

        async def there() -> bool:
            found = await conn.fetchval(
                "select count(*) from offer where organisation = $1 and state in ('sent', 'seen')", house
            )
            return int(found) >= count

        await until(there, every_s=0.1)
        rows = await conn.fetch("select id from offer where organisation = $1 and state in ('sent', 'seen')", house)
        await conn.close()
        return [str(row["id"]) for row in rows]


@asynccontextmanager
async def stage(ground: Ground) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        settings = ground.settings.model_copy(update={"url": f"http://127.0.0.1:{free_port()}", "sample": False})
        specs, _ = installation.topics_used(
            Parts(settings, ground.cluster, ground.roles, ground.bus, settings.url), list(installation.BUILD)
        )
        await ground.bus.ensure_topics(specs)
        made = await stack.enter_async_context(installation.installed(settings, alone=False, listening=False))
        await bootstrap.administrator(made.services["referral"].db, settings)
        environment = {
            "SPEAN_DATA": str(settings.data), "SPEAN_KEYS": str(settings.keys), "SPEAN_POSTGRES": settings.postgres,
            "SPEAN_BUS": settings.bus, "SPEAN_URL": settings.url, "SPEAN_PORT": settings.url.rpartition(":")[2],
        }  # fmt: skip
        serve = ["services.cli", "serve", "--member", "bench-api", "--role", "api"]
        await stack.enter_async_context(process(serve, environment, b"serving", ground.folder / "api.log"))
        bare = await stack.enter_async_context(_bare(ground))
        windows = {"answer_s": _DAY}
        world = await stack.enter_async_context(network_in(made, settings, windows=windows))
        for service in SERVICES:
            await world.house(f"House {service.replace('_', '-')}", places=2 * PEOPLE, service=service)
        found = Stage(ground, world, settings, bare, [])
        async with found.working():
            # Houses and the network are known everywhere before anybody asks.
            found.people += await people(found, PEOPLE)
        yield found


@asynccontextmanager
async def _bare(ground: Ground) -> AsyncIterator[str]:
    conn = await ground.connect(WRITER)
    await conn.execute(bare_app.TABLES)
    await conn.execute("insert into bare_place values ($1, 0) on conflict do nothing", bare_app.PLACE)
    await conn.close()
    port = free_port()
    module = ["bench.bare_app", ground.cluster.dsn(WRITER), str(port)]
    async with process(module, {}, b"serving", ground.folder / "bare.log"):
        yield f"http://127.0.0.1:{port}"


async def people(on: Stage, count: int) -> list[str]:
    """New ones, as senders write them down, over the API."""
    sender = on.world.sender.partner

    async def say(path: str, body: Any) -> bytes:
        return wire.request("POST", on.url, path, body, **await on.headers(sender, str(uuid4())))

    fields = {"age_years": 24, "sex": "female", "needs": [], "languages": ["khm"], "name": "Test Person"}
    entry = {"channel": "border_post", "area": "KH-1", "person": fields}
    made = await wire.pour(on.url, [await say("/intake/entries", entry) for _ in range(count)], 201)
    people = [id_of(body) for body in made.bodies]
    said = {"state": "given", "expressed": "spoken", "language": "khm", "notice": "1-khm"}
    recipients = {"classes": [{"type": "shelter"}], "organisations": [on.world.sender.id]}
    sharing = {"categories": CATEGORIES, "purposes": PURPOSES, "recipients": recipients}
    for decided in ({**said, "decision": "service"}, {**said, **sharing, "decision": "share_referral"}):
        await wire.pour(
            on.url,
            [await say(f"/intake/entries/{one}/consents", decided) for one in people],
            201,
        )
    await wire.pour(on.url, [await say(f"/intake/entries/{one}/case", None) for one in people], 201)
    return people


def id_of(body: bytes) -> str:
    return body.split(b'"id":"', 1)[1][:36].decode()


async def cookie_of(made: Installation, organisation: Organisation, *roles: StaffRole) -> str:
    """A new member of staff of the organisation with an open session. Returns the cookie's value."""
    person = await staff.hired(made, organisation.id, *roles)
    await staff.invited(made, person)
    desk = staff.desk_of(made)
    async with desk.db.transaction("bench.sign_in") as tx:
        await tx.conn.execute("update person set status = 'active' where id = $1", person.id)
        return (await sessions.open_session(tx, desk, person.id, "password")).cookie
