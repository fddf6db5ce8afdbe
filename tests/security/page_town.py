"""A network in which each page has something to show, and somebody of each role at a browser without JavaScript."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import asyncpg
import httpx

from schemas.rights import StaffRole
from services.intake.disclosure.pages import COOKIE as PACKET
from services.referral.people import handlers as people
from services.referral.people import store as people_store
from services.referral.people.domain import OPERATOR
from services.referral.sessions import handlers as session_handlers
from services.referral.sessions import store as sessions
from services.referral.sessions.pages import STEP
from services.referral.sessions.store import Passkey
from spean.ids import opaque_id
from spean.web.visitor import COOKIE, Visitor
from tests.browser.visiting import signed_in
from tests.builders import Organisation, World, eventually
from tests.integration import staff
from tests.security.operations import Stage, staged
from tests.security.pages import SENT_FROM_HERE, Route, Shown, addresses, door_of
from tests.security.state import state_of

# What looking at a page may change: when a session was last used, who was vouched for, since when something is new.
_LOOKING = frozenset({"referral.session", "referral.tries", "referral.step", "intake.vouched", "intake.looked"})


@dataclass
class Guest:
    """Somebody at a browser: cookies by name, and the tokens of their forms by service."""

    client: httpx.AsyncClient
    cookies: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def sent_along(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers={"Accept-Language": "en", "Cookie": self.sent_along, **headers})

    async def token(self, service: str) -> str:
        """For forms of this service: of a session, from where scripts of ours ask; else from the sign-in."""
        if service not in self.tokens and COOKIE in self.cookies:
            self.tokens[service] = (await self.get(f"/{service}/pages/token")).json()["csrf"]
        elif service not in self.tokens:
            answer = await self.get("/referral/pages/sign-in")
            for one in answer.headers.get_list("set-cookie"):
                name, _, rest = one.partition("=")
                self.cookies[name] = rest.partition(";")[0]
            sent = next(form for form in Shown(answer.text).forms if form.path.endswith("/sign-in")).filled()
            self.tokens[service] = sent["csrf"][0]
        return self.tokens[service]

    async def post(self, path: str, fields: Mapping[str, Any], *, token: bool = True, **headers: str) -> httpx.Response:
        """A form, with a token of this guest and a key of its own unless `fields` say others."""
        given: dict[str, Any] = {"key": secrets.token_urlsafe(24)}
        if token:
            given["csrf"] = await self.token(path.split("/")[1])
        return await self.send(path, urlencode({**given, **fields}, doseq=True).encode(), **headers)

    async def send(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """These bytes, as a browser would send the body of a form."""
        return await self.client.post(
            path, content=body, headers={**SENT_FROM_HERE, "Cookie": self.sent_along, **headers}
        )


@dataclass
class Town:
    """`objects`: ids by name, also of what pages alone know; `guests`: somebody of each role, and others (see `settle`)."""

    stage: Stage
    guests: dict[str, Guest]
    objects: dict[str, str]

    @property
    def world(self) -> World:
        return self.stage.world

    @property
    def nowhere(self) -> dict[str, str]:
        """An id that nothing has, for each name."""
        return {
            name: secrets.token_urlsafe(32) if name in {"link", "invite"} else str(uuid4()) for name in self.objects
        }

    async def state(self) -> dict[str, str]:
        """What is in every database, but for what looking at a page leaves."""
        return {name: digest for name, digest in (await state_of(self.stage)).items() if name not in _LOOKING}

    def paths(self, route: Route) -> list[str]:
        """The route's addresses with objects of the town."""
        return addresses(route, self.objects)

    def guest_of(self, route: Route) -> Guest:
        """Whose page it is."""
        door = door_of(route)
        assert door is not None
        return self.guests[door.who]

    async def with_roles(self, roles: frozenset[StaffRole]) -> Guest:
        """Somebody who does all this, at the organisation that most objects of the town belong to."""
        name = f"only {sorted(roles)}"
        if name not in self.guests:
            owner = self.stage.people["receiver"] if StaffRole.RECEIVER not in roles else self.world.sender
            cookie = await signed_in(self.world.made, owner, *roles)
            self.guests[name] = Guest(self.stage.client, {COOKIE: cookie})
        return self.guests[name]

    async def guests_page(self, guest: Guest, path: str) -> Shown:
        return Shown((await guest.get(path)).text)


async def settle(world: World) -> Town:
    """A town in a network of its own. Beside the roles: `colleague`, of the same organisations' roles as sender and
    receiver; `neighbour`, who does everything but administer at another organisation; `suspended` and `ended`, who did
    everything."""
    stage = await staged(world)
    town = Town(stage, {}, dict(stage.objects))
    every = tuple(StaffRole)
    gone = await world.organisation("Suspended", "shelter", ["referral:receive"])
    here: dict[str, tuple[Organisation, tuple[StaffRole, ...]]] = {
        "sender": (world.sender, (StaffRole.SENDER,)), "receiver": (stage.people["receiver"], (StaffRole.RECEIVER,)),
        "coordinator": (world.coordinator, (StaffRole.COORDINATOR,)),
        "administrator": (world.coordinator, (StaffRole.ADMINISTRATOR,)),
        "officer": (world.coordinator, (StaffRole.OFFICER,)), "own officer": (world.sender, (StaffRole.OFFICER,)), "colleague": (world.sender, (StaffRole.SENDER,)),
        "house colleague": (stage.people["receiver"], (StaffRole.RECEIVER,)),
        "neighbour": (stage.stranger, (StaffRole.SENDER, StaffRole.RECEIVER, StaffRole.COORDINATOR, StaffRole.OFFICER)),
        "suspended": (gone, every), "ended": (world.coordinator, every),
    }  # fmt: skip
    for name, (organisation, roles) in here.items():
        if name == "sender":  # signs in with all that one can have
            cookie = (await (await staff.member(world.made, organisation.id, *roles)).signs_in()).cookie
        else:
            cookie = await signed_in(world.made, organisation, *roles)
        town.guests[name] = Guest(stage.client, {COOKIE: cookie})
    town.guests["stranger"] = Guest(stage.client)
    for name in ("suspended", "ended"):
        for service in world.made.services:
            await town.guests[name].token(service)
    await world.admin.post(f"/referral/organisations/{gone.id}/suspend")
    await town.guests["ended"].post("/referral/pages/sign-out", {})
    await _papers(town)
    await _somebody_is_here(town)
    await _people(town)
    return town


async def visitor(town: Town, name: str) -> Visitor:
    """Who a guest is to the network."""
    found = await town.world.made.services["referral"].app.state.visitors(town.guests[name].cookies[COOKIE])
    assert isinstance(found, Visitor)
    return found


def _led_to(answer: httpx.Response) -> str:
    assert answer.status_code == 303, (answer.request.url.path, answer.status_code, Shown(answer.text).text[:400])
    return answer.headers["location"].partition("?")[0]


async def _papers(town: Town) -> None:
    """Somebody who is never told, a draft, a talk about consent, a screening by hand with somebody in it, an open packet."""
    sender, receiver, own = town.guests["sender"], town.guests["receiver"], town.objects
    never = {"kind": "law_enforcement", "value": "any"}
    await town.world.sender.partner.post(f"/intake/entries/{own['entry']}/exclusions", never)
    made = await sender.post("/intake/pages/entries/new", {"channel": "border_post", "area": "KH-1"})
    own["draft"] = _led_to(made).split("/")[4]
    talk = await sender.post(f"/intake/pages/entries/{own['entry']}/consent", {})
    own["talk"] = _led_to(talk).split("/")[4]
    screening = _led_to(await sender.post("/intake/pages/screenings", {"area": "KH-1"}))
    own["session_of_screening"] = screening.split("/")[4]
    _led_to(await sender.post(f"{screening}/people", {"age_band": "adult", "sex": "female", "languages": "khm"}))
    statement = "select id from entry where screening = $1"
    own["screened"] = str(await sql(town, "intake", statement, UUID(own["session_of_screening"])))
    offer = own["offer"] = own["accepted"]
    passed_on = await receiver.post(f"/referral/pages/offers/{offer}/packet", {})
    forms = [form for form in Shown(passed_on.text).forms if "/packets/" in form.action]
    assert forms, (passed_on.status_code, passed_on.text)
    ticket = forms[0].filled()["ticket"][0]
    own["ticket"] = ticket
    opened = await receiver.send(f"/intake/pages/packets/{offer}", urlencode({"ticket": ticket}).encode())
    _led_to(opened)
    found = next(one for one in opened.headers.get_list("set-cookie") if one.startswith(PACKET))
    receiver.cookies[PACKET] = found.partition("=")[2].partition(";")[0]


async def _somebody_is_here(town: Town) -> None:
    """An arrival without a code, and an entry whose case is not open yet."""
    world, own, house = town.world, town.objects, town.stage.people["receiver"].partner
    handoff = await world.handoff(await world.ready_person())

    async def asked() -> Any:
        offers = (await house.get("/referral/offers?state=sent&state=seen"))["offers"]
        return next((one["id"] for one in offers if one["id"] != own["open"]), None)

    offer = own["here"] = str(await eventually(asked))
    await house.post(f"/referral/offers/{offer}/accept")
    await world.state(handoff, "ready")
    await house.post(f"/referral/offers/{offer}/arrived", {})
    own["uncased"] = await world.entry()
    await world.consent(own["uncased"], "service")


async def _people(town: Town) -> None:
    """Somebody who is invited, somebody who lost a phone and has given a password, a link; and of the sender's own: another
    session, two passkeys."""
    made, own = town.world.made, town.objects
    desk, sender = staff.desk_of(made), await visitor(town, "sender")
    invited = await staff.hired(made, town.world.sender.id, StaffRole.SENDER)
    lost = await staff.member(made, town.stage.people["receiver"].id, StaffRole.RECEIVER)
    own["person"], own["invite"] = str(invited.id), await staff.invited(made, invited)
    town.guests["half"] = Guest(town.stage.client, {STEP: await lost.step()})
    async with desk.db.transaction("test.people") as tx:
        await people.ask_recovery(tx, lost.person.sign_in_name)
        waiting = await people_store.recoveries(tx, 1000)
        own["recovery"] = next(str(one.id) for one, person, _ in waiting if person.id == lost.id)
        own["link"] = await people.sign_in_link(tx, OPERATOR, lost.person.sign_in_name)
        for _ in range(2):
            passkey = Passkey(opaque_id(), secrets.token_bytes(32), sender.person, b"key", 0, tx.now, None)
            assert await sessions.insert_passkey(tx, passkey)
            own["passkey"] = str(passkey.id)
        await session_handlers.open_session(tx, desk, sender.person, "password")
        own["session"] = next(
            str(one.id) for one in await sessions.sessions(tx, sender.person) if one.id != sender.session
        )


async def sql(town: Town, database: str, statement: str, *values: Any) -> Any:
    """One value from a service's database."""
    conn = await asyncpg.connect(town.world.made.cluster.dsn(database))
    try:
        return await conn.fetchval(statement, *values)
    finally:
        await conn.close()
