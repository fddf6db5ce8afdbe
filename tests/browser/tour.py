"""Every page of every role, each in a state worth looking at: what the accessibility tests and the screenshots visit.

A stop is a name, who looks, and an address. The town behind it is made through the public API and real sign-ins.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from schemas.vocabulary import StaffRole
from services.intake.consent.answers import FIELDS
from services.referral.people import handlers as people
from services.referral.people.domain import OPERATOR
from spean.web.visitor import COOKIE
from tests.browser import meeting
from tests.browser.visiting import Walker, signed_in
from tests.builders import Organisation, World, eventually
from tests.integration import staff

NEEDS = ["nursing", "interpreter", "one_to_one_watch"]


@dataclass(frozen=True, slots=True)
class Stop:
    """`who`: a key of `Tour.cookies`; None is a stranger."""

    name: str
    who: str | None
    path: str


@dataclass
class Tour:
    world: World
    cookies: dict[str, str] = field(default_factory=dict)
    stops: list[Stop] = field(default_factory=list)

    def stop(self, name: str, who: str | None, path: str) -> None:
        self.stops.append(Stop(name, who, path))


async def _offered(world: World, house: Organisation, **more: Any) -> tuple[str, str]:
    """A hand-off that is with this house now: its id and the offer's."""
    known = {one["id"] for one in (await house.partner.get("/referral/offers"))["offers"]}
    handoff = await world.handoff(await world.ready_person(needs=NEEDS[:2]), **more)

    async def new() -> Any:
        offers = (await house.partner.get("/referral/offers?state=sent&state=seen"))["offers"]
        return next((one["id"] for one in offers if one["id"] not in known), None)

    return handoff, await eventually(new)


async def _state(house: Organisation, offer: str, wanted: str) -> None:
    async def there() -> bool:
        return bool((await house.partner.get(f"/referral/offers/{offer}"))["referral_state"] == wanted)

    await eventually(there)


@asynccontextmanager
async def tour(world: World) -> AsyncIterator[Tour]:
    """A network with something in each state, and somebody of each role signed in."""
    found = Tour(world)
    house = await world.house("Lotus House", 6, needs=NEEDS)
    empty = await world.house("Bamboo House", 2, area="KH-2", needs=["step_free"])
    roles = {
        "sender": (world.sender, StaffRole.SENDER), "house": (house, StaffRole.RECEIVER),
        "empty": (empty, StaffRole.RECEIVER), "coordinator": (world.coordinator, StaffRole.COORDINATOR),
        "administrator": (world.coordinator, StaffRole.ADMINISTRATOR),
    }  # fmt: skip
    for name, (organisation, role) in roles.items():
        found.cookies[name] = await signed_in(world.made, organisation, role)
    await _house_stops(found, house)
    await _met_stops(found)
    await _stuck(found)
    await _people_stops(found)
    yield found


async def _house_stops(found: Tour, house: Organisation) -> None:
    world = found.world
    on_the_way, coming = await _offered(world, house)
    await house.partner.post(f"/referral/offers/{coming}/accept")
    await _state(house, coming, "ready")
    here_handoff, here = await _offered(world, house)
    await house.partner.post(f"/referral/offers/{here}/accept")
    await _state(house, here, "ready")
    await house.partner.post(f"/referral/offers/{here}/arrived", {})
    waiting, offer = await _offered(world, house, urgency="immediate")
    await _offered(world, house, urgency="normal")
    pages = "/referral/pages"
    found.stop("inbox", "house", f"{pages}/inbox")
    found.stop("inbox-empty", "empty", f"{pages}/inbox")
    found.stop("offer", "house", f"{pages}/offers/{offer}")
    found.stop("decline", "house", f"{pages}/offers/{offer}/decline")
    found.stop("arrivals", "house", f"{pages}/arrivals")
    found.stop("arrival", "house", f"{pages}/offers/{coming}")
    found.stop("stay", "house", f"{pages}/offers/{here}")
    found.stop("outcome", "house", f"{pages}/offers/{here}/outcome")
    found.stop("shift", "house", f"{pages}/shift")
    found.stop("places", "house", f"{pages}/places")
    found.stop("not-found", "house", f"{pages}/offers/{waiting}")
    found.stop("no-line", None, "/pages/offline")
    found.stop("about", None, "/pages/about")
    found.stop("handoffs", "sender", "/intake/pages/handoffs")
    for name, handoff in (("waiting", waiting), ("ready", on_the_way), ("arrived", here_handoff)):
        found.stop(f"handoff-{name}", "sender", f"/intake/pages/handoffs/{handoff}")


async def _stuck(found: Tour) -> None:
    """One that nobody can take."""
    world = found.world
    handoff = await world.handoff(await world.ready_person(needs=["high_security"]))

    async def waits() -> Any:
        return (await world.coordinator.partner.get("/referral/escalations"))["escalations"]

    await eventually(waits)
    found.stop("escalations", "coordinator", "/referral/pages/escalations")
    found.stop("escalation", "coordinator", f"/referral/pages/escalations/{handoff}")
    found.stop("dashboard", "coordinator", "/notify/pages/dashboard")
    found.stop("dashboard-print", "coordinator", "/notify/pages/dashboard/print")


async def _people_stops(found: Tour) -> None:
    """The sign-in, one's account, and the administrator's pages of people."""
    made, pages = found.world.made, "/referral/pages"
    new = await staff.hired(made, found.world.sender.id, StaffRole.SENDER)
    opener = await staff.invited(made, new)
    desk = staff.desk_of(made)
    async with desk.db.transaction("test.link") as tx:
        link = await people.sign_in_link(tx, OPERATOR, new.sign_in_name)
    known, opened = await staff.set_up(made, await staff.hired(made, found.world.sender.id, StaffRole.SENDER))
    found.cookies["known"] = opened.cookie
    async with desk.db.transaction("test.recovery") as tx:
        await people.ask_recovery(tx, known.person.sign_in_name)
    found.stop("sign-in", None, f"{pages}/sign-in")
    found.stop("set-up", None, f"{pages}/set-up/{opener}")
    found.stop("one-time-link", None, f"{pages}/link/{link}")
    found.stop("link-gone", None, f"{pages}/link/gone")
    found.stop("lost", None, f"{pages}/lost")
    found.stop("lost-asked", None, f"{pages}/lost?asked=1")
    found.stop("signed-out", None, f"{pages}/signed-out")
    found.stop("account", "known", f"{pages}/account")
    found.stop("password", "known", f"{pages}/account/password")
    found.stop("people", "administrator", f"{pages}/people")
    found.stop("people-new", "administrator", f"{pages}/people/new")
    found.stop("person-invited", "administrator", f"{pages}/people/{new.id}")
    found.stop("person", "administrator", f"{pages}/people/{known.id}")
    found.stop("people-history", "administrator", f"{pages}/people/history")
    found.stop("recoveries", "administrator", f"{pages}/recoveries")


async def _met_stops(found: Tour) -> None:
    """Somebody was met, step by step; consent talked through, step by step; and people with whom it has come to something."""
    world = found.world
    entry, ready, stopped = await world.entry(age_years=15), await world.ready_person(), await world.ready_person()
    await world.sender.partner.post(f"/intake/entries/{ready}/exclusions", {"kind": "law_enforcement", "value": "any"})
    await world.sender.partner.post(f"/intake/entries/{stopped}/withdraw", {"what": "service"})
    async with httpx.AsyncClient(timeout=15) as client:
        worker = Walker(world.made, client, {COOKIE: (found.cookies["sender"], "/")})
        check = await meeting.at_check(worker)
        talk = await meeting.talked(worker, entry, meeting.path_of(world))
    draft, consent = (
        f"/intake/pages/{kind}/{meeting.draft_in(one)}" for kind, one in (("drafts", check), ("consent", talk))
    )
    found.stop("met", "sender", meeting.NEW)
    for step in ("where", "needs", "check", "discard"):
        found.stop(f"met-{step}", "sender", f"{draft}/{step}")
    for step in (*FIELDS, "check"):
        found.stop(f"consent-{step}", "sender", f"{consent}/{step}")
    found.stop("people", "sender", meeting.ENTRIES)
    for name, one in (("begun", entry), ("ready", ready), ("stopped", stopped)):
        found.stop(f"person-{name}", "sender", f"{meeting.ENTRIES}/{one}")
    for page in ("correct", "who-gets-what", "stop/sharing", "stop/service"):
        found.stop(f"person-{page.replace('/', '-')}", "sender", f"{meeting.ENTRIES}/{ready}/{page}")
