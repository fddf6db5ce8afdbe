"""Every page of every role, each in a state worth looking at: what the accessibility tests and the screenshots visit.

A stop is a name, who looks, and an address. The town behind it is made through the public API and real sign-ins.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from joserfc.jwk import OKPKey
from playwright.async_api import Browser, Page

from schemas.rights import StaffRole
from services.cli.client import trusted
from services.intake.consent.answers import FIELDS
from services.intake.disclosure.pages import COOKIE as PACKET
from services.referral.people import handlers as people
from services.referral.people.domain import OPERATOR
from services.referral.sessions.pages import STEP
from spean.web.visitor import COOKIE
from tests.browser import meeting
from tests.browser.visiting import Walker, at_browser, signed_in
from tests.builders import Organisation, World, eventually
from tests.integration import staff

NEEDS = ["nursing", "interpreter", "one_to_one_watch"]
# Windows of a network that is looked at: nothing runs out meanwhile, and every mark of a countdown is to be seen.
CALM = {"answer_s": {"immediate": 1500, "emergency": 3600, "urgent": 14_400, "normal": 86_400}}
Then = Callable[[Page], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Stop:
    """`who`: a key of `Tour.cookies`; None is a stranger. `then`: what is done there before it is looked at."""

    name: str
    who: str | None
    path: str
    then: Then | None = None

    async def visit(self, page: Page) -> None:
        await page.goto(self.path)
        if self.then is not None:
            await self.then(page)


@dataclass
class Tour:
    """`cookies`: the session of each; `more`: further cookies of theirs, as a browser takes them."""

    world: World
    cookies: dict[str, str] = field(default_factory=dict)
    more: dict[str, list[Any]] = field(default_factory=dict)
    stops: list[Stop] = field(default_factory=list)

    def stop(self, name: str, who: str | None, path: str, then: Then | None = None) -> None:
        self.stops.append(Stop(name, who, path, then))

    def cookie(self, who: str, name: str, value: str, path: str = "/") -> None:
        known = {"name": name, "value": value, "domain": "127.0.0.1", "path": path, "secure": True, "httpOnly": True}
        self.more.setdefault(who, []).append({**known, "sameSite": "Lax"})

    @asynccontextmanager
    async def at(self, browser: Browser, who: str | None, **how: Any) -> AsyncIterator[Page]:
        """A browser of this visitor, as `at_browser`."""
        async with at_browser(browser, self.world.made, self.cookies.get(who or ""), **how) as page:
            await page.context.add_cookies(self.more.get(who or "", []))
            yield page

    @asynccontextmanager
    async def walker(self, who: str) -> AsyncIterator[Walker]:
        async with httpx.AsyncClient(timeout=15, verify=trusted()) as client:
            yield Walker(self.world.made, client, {COOKIE: (self.cookies[who], "/")})


def pressed(form: str, **chosen: str) -> Then:
    """The first button of the form that is sent to an address with this end, after these lines of lists were chosen."""

    async def then(page: Page) -> None:
        for name, value in chosen.items():
            await page.locator(f'select[name="{name}"]').select_option(value)
        async with page.expect_navigation(wait_until="load"):
            await page.locator(f'form[action$="{form}"] button').first.click()

    return then


async def _offered(world: World, house: Organisation, entry: str = "", **more: Any) -> tuple[str, str]:
    """A hand-off, of this entry or of somebody new, that is with this house now: its id and the offer's."""
    known = {one["id"] for one in (await house.partner.get("/referral/offers"))["offers"]}
    handoff = await world.handoff(entry or await world.ready_person(needs=NEEDS[:2]), **more)

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
        "officer": (world.coordinator, StaffRole.OFFICER),
    }  # fmt: skip
    for name, (organisation, role) in roles.items():
        found.cookies[name] = await signed_in(world.made, organisation, role)
    await _packet_stops(found, house)
    await _house_stops(found, house)
    await _met_stops(found)
    await _erasure_stops(found, house)
    await _screening_stops(found)
    await _stuck(found)
    await _people_stops(found)
    await _admin_stops(found, empty)
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
    found.stop("decline-unanswered", "house", f"{pages}/offers/{offer}/decline", pressed("/decline"))
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
    found.stop("handoffs-ended", "sender", "/intake/pages/handoffs?show=ended")
    for page in ("told", "cancel"):
        found.stop(f"handoff-{page}", "sender", f"/intake/pages/handoffs/{on_the_way}/{page}")
    for name, handoff in (("waiting", waiting), ("ready", on_the_way), ("arrived", here_handoff)):
        found.stop(f"handoff-{name}", "sender", f"/intake/pages/handoffs/{handoff}")


async def _erasure_stops(found: Tour, house: Organisation) -> None:
    """Somebody who is erased, with a copy that is late; somebody who cannot be, because of a hand-off, and of a legal hold."""
    world, entries = found.world, meeting.ENTRIES
    gone, live = await world.ready_person(), await world.ready_person()
    handoff, offer = await _offered(world, house, gone)
    await house.partner.post(f"/referral/offers/{offer}/accept")
    await _state(house, offer, "ready")
    await house.partner.packet(offer)
    await world.sender.partner.post(f"/intake/handoffs/{handoff}/cancel")
    await world.state(handoff, "cancelled")
    await world.sender.partner.post(f"/intake/entries/{gone}/erase", {"why": "person_asked"})

    async def asked() -> bool:
        return any(one["offer"] == offer for one in (await house.partner.get("/referral/copies"))["copies"])

    await eventually(asked)
    async with world.made.services["referral"].db.transaction("tour.late") as tx:
        await tx.conn.execute(
            "update held_copy set answer_by = now() - interval '26 hours' where offer = $1", UUID(offer)
        )
    async with world.made.services["intake"].db.transaction("tour.late") as tx:
        await tx.conn.execute(
            "update packet set erasure_by = now() - interval '26 hours' where offer = $1", UUID(offer)
        )
    await _offered(world, house, live, urgency="normal")
    found.cookies["own officer"] = await signed_in(world.made, world.sender, StaffRole.OFFICER)
    holds, held = "/intake/pages/holds", await world.ready_person()
    async with found.walker("own officer") as officer:
        form = (await officer.get(f"{holds}/{held}")).form(f"/holds/{held}")
        await officer.send(form, reason="Ordered by the court of the province, file 12.", until="2099-12-31")
    found.stop("erase", "sender", f"{entries}/{await world.ready_person()}/erase")
    found.stop("erase-not-yet", "sender", f"{entries}/{live}/erase")
    found.stop("erased", "sender", f"{entries}/{gone}/erased")
    found.stop("handoff-copies", "sender", f"/intake/pages/handoffs/{handoff}/told")
    found.stop("holds", "own officer", holds)
    found.stop("audit", "own officer", "/intake/pages/audit")
    found.stop("audit-unanswered", "own officer", "/intake/pages/audit", pressed("/audit"))
    found.stop("audit-told", "own officer", "/intake/pages/audit", _asks_about(gone))
    found.stop("hold", "own officer", f"{holds}/{held}")
    found.stop("retention", "own officer", "/intake/pages/rules/retention")
    async with world.made.services["referral"].db.transaction("tour.silent") as tx:
        silent = await tx.conn.fetchval(
            """
            update referral set escalated = 'no-outcome', step_at = null, remind_at = now() + interval '1 day'
            where network = $1 and state = 'in-progress' returning id
            """,
            UUID(world.network),
        )
    found.stop("escalation-close", "coordinator", f"/referral/pages/escalations/{silent}/close")


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
    found.stop("bases", "coordinator", "/referral/pages/bases")


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
    found.cookie("half", STEP, await known.step())
    found.stop("sign-in", None, f"{pages}/sign-in")
    found.stop("sign-in-unanswered", None, f"{pages}/sign-in", pressed("/sign-in"))
    found.stop("sign-in-code", "half", f"{pages}/sign-in/code")
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
    found.stop("people-new-unanswered", "administrator", f"{pages}/people/new", pressed("/people/new"))
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
    async with found.walker("sender") as worker:
        check = await meeting.at_check(worker)
        talk = await meeting.talked(worker, entry, meeting.path_of(world))
    draft, consent = (
        f"/intake/pages/{kind}/{meeting.draft_in(one)}" for kind, one in (("drafts", check), ("consent", talk))
    )
    found.stop("met", "sender", meeting.NEW)
    found.stop("met-unanswered", "sender", meeting.NEW, pressed("/entries/new", area=""))
    for step in ("where", "needs", "check", "discard"):
        found.stop(f"met-{step}", "sender", f"{draft}/{step}")
    for step in (*FIELDS, "check"):
        found.stop(f"consent-{step}", "sender", f"{consent}/{step}")
    found.stop("entries", "sender", meeting.ENTRIES)
    found.stop("stop", "sender", "/intake/pages/stop")
    for name, one in (("begun", entry), ("ready", ready), ("stopped", stopped)):
        found.stop(f"person-{name}", "sender", f"{meeting.ENTRIES}/{one}")
    await world.consent(ready, "medical")
    own_pages = (
        "correct", "who-gets-what", "decisions", "never", "never/new", "stop/sharing", "stop/part", "stop/service",
    )  # fmt: skip
    for page in own_pages:
        found.stop(f"person-{page.replace('/', '-')}", "sender", f"{meeting.ENTRIES}/{ready}/{page}")
    marked = f"{meeting.ENTRIES}/{entry}/bases"
    async with found.walker("sender") as worker:
        form = (await worker.get(f"{marked}/new/best_interests_assessment")).form("/best_interests_assessment")
        why = {"justification": "Nobody of her family can be reached.", "categories": ["functional_needs"]}
        await worker.send(form, classes=["shelter KH"], **why)
    found.stop("in-place-of-consent", "sender", marked)
    found.stop("in-place-of-consent-new", "sender", f"{marked}/new/court_order")
    begun = {"status": "presumed", "decided_by": "police", "decided_on": datetime.now(UTC).date().isoformat()}
    await world.sender.partner.post(f"/intake/entries/{entry}/identification", {**begun, "reference": "A 12/2026"})
    found.stop("identification", "sender", f"{meeting.ENTRIES}/{entry}/identification")
    found.stop("waits-for-us", "sender", "/intake/pages/waiting")
    asked = f"{meeting.ENTRIES}/{ready}/handoff"
    found.stop(
        "person-gets-what",
        "sender",
        f"{meeting.ENTRIES}/{ready}/who-gets-what",
        pressed("/who-gets-what", service_type="emergency_bed"),
    )
    found.stop("ask", "sender", asked)
    found.stop("ask-unanswered", "sender", asked, pressed("/handoff"))
    found.stop("ask-check", "sender", asked, _asks_tonight)


async def _without_a_number(page: Page) -> None:
    await page.locator('input[name="people"]').fill("")
    await pressed("/crowd")(page)


def _asks_about(record: str) -> Then:
    async def then(page: Page) -> None:
        await page.locator('input[name="case"]').fill(record)
        await pressed("/audit")(page)

    return then


async def _keeps_short(page: Page) -> None:
    await page.locator('input[name="applies"][value="met"]').check()
    await page.locator('input[name="days"]').fill("90")
    await pressed("/retention/check")(page)


async def _a_rule(world: World) -> str:
    return str((await world.admin.get("/intake/rules/need-to-know"))["rules"][0]["id"])


async def _asks_tonight(page: Page) -> None:
    await page.locator('input[name="urgency"][value="emergency"]').check()
    await pressed("/handoff", service_type="emergency_bed")(page)


async def _packet_stops(found: Tour, house: Organisation) -> None:
    """An open packet with a meeting point, and one of somebody who has stopped sharing since."""
    world, told = found.world, {"name": "Sok Dara", "phone": "012 000 000", "health_notes": "Asthma; has her inhaler."}
    for name in ("packet", "packet-stopped"):
        entry = await world.ready_person(needs=NEEDS[:2], languages=["khm", "tha"], **told)
        _, offer = await _offered(world, house, entry)
        await house.partner.post(f"/referral/offers/{offer}/accept")
        await _state(house, offer, "ready")
        async with found.walker("house") as worker:
            shown = await worker.get(f"/referral/pages/offers/{offer}")
            passed_on = await worker.send(shown.form(f"/offers/{offer}/packet"))
            await worker.send(passed_on.form(f"/packets/{offer}"))
            where = await worker.get(f"/intake/pages/packets/{offer}/whereabouts")
            await worker.send(where.form("/whereabouts"), meeting_point="Under the clock at the market")
        path = f"/intake/pages/packets/{offer}"
        found.cookie("house", PACKET, worker.cookies[PACKET][0], path)
        if name == "packet-stopped":
            await world.sender.partner.post(f"/intake/entries/{entry}/withdraw", {"what": "sharing"})
            found.stop("packet-erasure", "house", f"{path}/erasure")
        else:
            found.stop("packet-whereabouts", "house", f"{path}/whereabouts")
        found.stop(name, "house", path)
    found.stop("packet-over", "empty", path)


async def _screening_stops(found: Tour) -> None:
    pages = "/intake/pages/screenings"
    async with found.walker("sender") as worker:
        session = await worker.send((await worker.get(f"{pages}/new")).form("/screenings"), area="KH-1")
        for answers in ({"age_band": "adult", "sex": "female"}, {"age_band": "adolescent", "sex": "male"}):
            alone = await worker.get(f"{session.path}/people")
            session = await worker.send(alone.form("/people"), languages="khm", **answers)
    erase = next(link for link in session.links_to if link.endswith("/erase"))
    found.stop("screenings", "sender", pages)
    found.stop("screening-new", "sender", f"{pages}/new")
    found.stop("screening", "sender", session.path)
    found.stop("screening-person", "sender", f"{session.path}/people")
    found.stop("screening-erase", "sender", erase)


async def _admin_stops(found: Tour, house: Organisation) -> None:
    """The administrator's own pages, with a house that is shut out; and the rules."""
    world, admin = found.world, "/referral/pages/admin"
    gone = await world.organisation("Former House", "shelter", ["referral:receive"])
    await world.admin.post(f"/referral/organisations/{gone.id}/suspend")
    system = f"{admin}/systems/{house.partner.client_id}"
    another = OKPKey.generate_key("Ed25519").as_dict(private=False)
    body = {"public_key": {name: str(value) for name, value in another.items()}}
    await world.admin.post(f"/referral/clients/{house.partner.client_id}/keys", body)
    async with found.walker("administrator") as someone:
        keys = [link for link in (await someone.get(system)).links_to if "/keys/" in link]
    at = f"{admin}/organisations/{house.id}"
    stops = {
        "admin": admin, "admin-first": f"{admin}/first", "admin-history": f"{admin}/history",
        "networks": f"{admin}/networks", "network-new": f"{admin}/networks/new",
        "network": f"{admin}/networks/{world.network}", "network-coordinator": f"{admin}/networks/{world.network}/coordinator",
        "organisations": f"{admin}/organisations", "organisation-new": f"{admin}/organisations/new", "organisation": at,
        "organisation-suspend": f"{at}/suspend", "organisation-gone": f"{admin}/organisations/{gone.id}",
        "organisation-reinstate": f"{admin}/organisations/{gone.id}/reinstate", "admin-places": f"{admin}/places",
        "place-new": f"{at}/places/new", "systems": f"{admin}/systems", "system-new": f"{at}/systems/new",
        "approvals": "/referral/pages/approvals", "mail-addresses": "/notify/pages/addresses",
        "mail-address": f"/notify/pages/addresses/{house.id}", "system": system, "system-key-revoke": keys[0], "system-revoke": f"{system}/revoke",
    }  # fmt: skip
    for name, path in stops.items():
        found.stop(name, "administrator", path)
    found.stop(
        "organisation-new-unanswered", "administrator", f"{admin}/organisations/new", pressed("/organisations/new")
    )
    found.stop("rules", "officer", "/intake/pages/rules")
    found.stop("rules-usual", "officer", "/intake/pages/rules/usual")
    found.stop("limits", "officer", "/intake/pages/rules/limits")
    found.stop("limit", "officer", "/intake/pages/rules/limits/court_order")
    found.stop("limit-unanswered", "officer", "/intake/pages/rules/limits/crowd", _without_a_number)
    found.stop("retention-check", "officer", "/intake/pages/rules/retention", _keeps_short)
    found.stop("rule-end", "officer", f"/intake/pages/rules/need-to-know/{await _a_rule(world)}/end")
