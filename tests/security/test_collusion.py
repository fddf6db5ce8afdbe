"""Two organisations that put together everything they ever received find nobody by an id, a number, an ETag or an address.

People go through several houses: declined here and taken there, refused by all, taken by one that is shut out and then by
another; packets, whereabouts, stops, requests to erase, mails, pages and streams on the way. A bystander of the same network
says what is everybody's. That a join is found is shown on sender and coordinator, who share the referral's id by design.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest

from schemas.rights import StaffRole
from services.cli.client import trusted
from services.intake.disclosure.pages import COOKIE as PACKET
from spean.settings import Settings
from spean.web.static import assets
from spean.web.visitor import COOKIE
from tests import builders
from tests.browser.visiting import signed_in
from tests.builders import Organisation, World, eventually
from tests.integration.mailbox import AnyPort, Mailbox
from tests.security.operations import operations
from tests.security.page_town import Guest
from tests.security.pages import Shown, routes
from tests.security.pools import Pool, marks

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]
SLOW = {"answer_s": {"immediate": 3600, "emergency": 3600, "urgent": 3600, "normal": 3600}}
OPEN = "/referral/offers?state=sent&state=seen"


@dataclass
class Party:
    """An organisation: its system, somebody at a browser, and everything that came to either."""

    at: Organisation
    guest: Guest
    pool: Pool = field(default_factory=Pool)
    told: set[str] = field(default_factory=set)

    async def get(self, path: str) -> Any:
        return await self.at.partner.get(path)

    async def look(self, *paths: str) -> None:
        for path in paths:
            answer = await self.guest.get(path)
            assert answer.status_code in {200, 303, 404, 410}, (path, answer.status_code)

    async def open_offers(self) -> list[dict[str, Any]]:
        return list((await self.get(OPEN))["offers"])


@dataclass
class Town:
    world: World
    sender: Party
    coordinator: Party
    houses: list[Party]
    bystander: Party
    places: list[str]
    referrals: list[str] = field(default_factory=list)
    offers: list[str] = field(default_factory=list)

    @property
    def everybodys(self) -> tuple[str, ...]:
        """Organisations and networks are in the directory; a house's places are known to whoever may ask it by hand."""
        parties = (self.sender, self.coordinator, *self.houses, self.bystander)
        return (self.world.network, *self.places, *(one.at.id for one in parties))

    async def asked(self) -> tuple[Party, str]:
        """Who is asked next, and the offer; it has been looked at."""

        async def look() -> Any:
            for house in self.houses:
                if house.at.id in self.world.places:
                    for one in await house.open_offers():
                        if one["id"] not in self.offers:
                            return house, str(one["id"])
            return None

        house, offer = await eventually(look)
        self.offers.append(offer)
        pages = [one.format(offer=offer) for one in self.pages("offer") if one.startswith("/referral/")]
        await house.look("/referral/pages/inbox", "/referral/pages/inbox/now", *pages)
        for path in self.reads("offer"):
            if path.startswith("/referral/"):  # the holder's open with a ticket, once it is accepted
                await house.get(path.format(offer=offer))
        return house, offer

    async def declined(self) -> None:
        house, offer = await self.asked()
        await house.at.partner.post(f"/referral/offers/{offer}/decline", {"reason": "other_reviewed"})
        await house.look(f"/referral/pages/offers/{offer}", "/referral/pages/inbox")
        await house.get("/referral/offers?state=rejected")

    async def accepted(self, handoff: str) -> tuple[Party, str]:
        """The next one says yes and reads the packet, as a system and on pages."""
        house, offer = await self.asked()
        await house.at.partner.post(f"/referral/offers/{offer}/accept")
        await self.world.state(handoff, "ready")
        for path in (one.format(offer=offer) for one in self.reads("offer") if one.startswith("/intake/")):
            ticket = (await house.at.partner.post(f"/referral/offers/{offer}/ticket"))["ticket"]
            await house.at.partner.get(path, token=ticket)
        await self.packet_page(house, offer)
        await house.at.partner.tell(offer, "whereabouts", {"meeting_point": "the north gate"})
        await house.look("/referral/pages/arrivals", f"/referral/pages/offers/{offer}")
        await self.follow(handoff)
        return house, offer

    async def packet_page(self, house: Party, offer: str) -> None:
        passed_on = await house.guest.post(f"/referral/pages/offers/{offer}/packet", {})
        form = next(one for one in Shown(passed_on.text).forms if "/packets/" in one.action)
        path = f"/intake/pages/packets/{offer}"
        opened = await house.guest.send(path, urlencode({"ticket": form.filled()["ticket"][0]}).encode())
        cookie = next(one for one in opened.headers.get_list("set-cookie") if one.startswith(PACKET))
        house.guest.cookies[PACKET] = cookie.partition("=")[2].partition(";")[0]
        assert (await house.guest.get(path)).status_code == 200
        await house.look(*(one.format(offer=offer) for one in self.pages("offer") if one.startswith("/intake/")))

    async def follow(self, handoff: str) -> None:
        """Everything that the sender may ask about a hand-off."""
        for path in self.reads("handoff"):
            await self.sender.get(path.format(handoff=handoff))
        await self.sender.look(
            "/intake/pages/handoffs", *(one.format(handoff=handoff) for one in self.pages("handoff"))
        )
        await self.sender.get("/intake/handoffs")

    def reads(self, name: str) -> list[str]:
        """The address of every read of the API that names one thing of this kind and nothing else."""
        found = [one.template for one in operations(self.world.made) if one.method == "GET"]
        return [path for path in found if path.count("{") == 1 and f"{{{name}}}" in path]

    def pages(self, name: str) -> list[str]:
        """The same for pages."""
        return [one.path for one in routes(self.world.made) if one.method == "GET" and one.names == [name]]

    async def requested(self, number: int) -> tuple[str, str]:
        """(entry, hand-off) of somebody; wanted by a moment that nobody else has."""
        entry = await self.world.ready_person(name=f"Made Up {number}")
        need_by = datetime.now(UTC) + timedelta(minutes=40 + 7 * number, seconds=11, microseconds=1234)
        handoff = await self.world.handoff(entry, need_by=need_by.isoformat())
        self.referrals.append(handoff)
        await self.sender.look(*(one.format(entry=entry) for one in self.pages("entry") if "/entries/" in one))
        return entry, handoff


async def _party(world: World, stack: AsyncExitStack, at: Organisation, *roles: StaffRole) -> Party:
    client = await stack.enter_async_context(httpx.AsyncClient(base_url=world.made.url, timeout=15, verify=trusted()))
    party = Party(at, Guest(client, {COOKIE: await signed_in(world.made, at, *roles)}))
    party.pool.listen(client)
    party.pool.listen(at.partner._http)
    return party


async def _settled(world: World, stack: AsyncExitStack) -> Town:
    houses = [await world.house(name, places=9) for name in ("First house", "Second house")]
    beside = await world.house("House beside", places=9, service="hiv_art", kind="clinic")
    town = Town(
        world,
        await _party(world, stack, world.sender, StaffRole.SENDER),
        await _party(world, stack, world.coordinator, StaffRole.COORDINATOR),
        [await _party(world, stack, one, StaffRole.RECEIVER) for one in houses],
        await _party(world, stack, beside, StaffRole.RECEIVER, StaffRole.SENDER, StaffRole.COORDINATOR),
        list(world.places.values()),
    )
    for number, party in enumerate((*town.houses, town.bystander)):
        body = {"organisation": party.at.id, "email": f"inbox-{number}@sample.example"}
        await world.admin.post("/notify/addresses", body)
        await party.look("/referral/pages/inbox", "/referral/pages/arrivals", "/referral/pages/places")
        for path in ("/referral/offers", "/referral/places"):
            await party.get(path)
    for asset in assets().values():
        town.bystander.pool.take(asset.address, f"{asset.address} {asset.integrity}")
    for path in ("/referral/.well-known/jwks.json", "/intake/.well-known/jwks.json"):  # what anybody may ask for
        await town.bystander.look(path)
    # What nobody has to be told anything for: its pages are like the sender's and the coordinator's.
    await town.bystander.look("/intake/pages/entries", "/intake/pages/handoffs", "/intake/pages/stop")
    await town.bystander.look("/referral/pages/escalations", "/notify/pages/dashboard", "/referral/pages/directory")
    return town


async def _declined_then_taken(town: Town) -> None:
    """No here, yes there; arrived with the code, and an outcome."""
    _, handoff = await town.requested(0)
    await town.declined()
    house, offer = await town.accepted(handoff)
    code = (await town.sender.get(f"/intake/handoffs/{handoff}"))["hand_over_code"]
    await house.at.partner.post(f"/referral/offers/{offer}/arrived", {"code": code})
    await town.world.state(handoff, "in-progress")
    await house.at.partner.post(f"/referral/offers/{offer}/outcome", {"outcome": "needs_met"})
    await town.world.state(handoff, "completed")
    await town.follow(handoff)


async def _taken_then_stopped(town: Town) -> None:
    """The person takes their yes back; the copy is asked for and accounted for."""
    entry, handoff = await town.requested(1)
    house, offer = await town.accepted(handoff)
    await town.world.sender.partner.post(f"/intake/entries/{entry}/withdraw", {"what": "sharing"})
    await house.at.partner.packet(offer)
    page = f"/intake/pages/packets/{offer}"
    await house.look(page, f"{page}/erasure")
    ticket = await house.at.partner.post(f"/referral/offers/{offer}/ticket")
    await house.at.partner.get(f"{ticket['dataref']}/erasure", token=ticket["ticket"])
    answered = await house.guest.post(f"{page}/erasure", {"answer": "erased"})
    assert answered.status_code == 303, Shown(answered.text).text
    await town.follow(handoff)


async def _refused_by_all(town: Town) -> None:
    """A coordinator has it, and gives it back."""
    _, handoff = await town.requested(2)
    await town.declined()
    await town.declined()
    await town.world.state(handoff, "unroutable")
    path = f"/referral/escalations/{handoff}"
    await town.coordinator.look("/referral/pages/escalations", f"/referral/pages/escalations/{handoff}")
    await town.coordinator.get("/referral/escalations")
    await town.coordinator.at.partner.post(f"{path}/take")
    await town.coordinator.at.partner.post(f"{path}/hand-back")
    await town.world.state(handoff, "on-hold")
    await town.follow(handoff)


async def _taken_twice(town: Town) -> None:
    """A house that has read the packet is shut out, and another takes the same person: both have held it."""
    _, handoff = await town.requested(3)
    house, _ = await town.accepted(handoff)
    del town.world.places[house.at.id]
    await town.world.admin.post(f"/referral/organisations/{house.at.id}/suspend")
    await town.world.state(handoff, "on-hold")
    await town.coordinator.look(f"/referral/pages/escalations/{handoff}")
    await town.coordinator.at.partner.post(f"/referral/escalations/{handoff}/ask-again")
    again, _ = await town.accepted(handoff)
    assert again is not house


async def _stream(party: Party, path: str) -> None:
    """The beginning of a stream, with all that was missed."""
    async with party.guest.client.stream(
        "GET", f"{path}?after=0", headers={"Cookie": party.guest.sent_along}
    ) as answer:
        async for chunk in answer.aiter_raw():
            party.pool.take(path, chunk.decode())
            if b"event: " in chunk:
                return


async def _changes(party: Party) -> None:
    """The coordinator's stream from the beginning, as far as it goes."""
    headers = {"Authorization": f"Bearer {await party.at.partner.token()}", "Last-Event-ID": "0"}
    request = party.guest.client.stream("GET", "/notify/changes", headers=headers, timeout=5)
    try:
        async with request as answer:
            async for chunk in answer.aiter_raw():
                party.pool.take("/notify/changes", chunk.decode())
    except httpx.ReadTimeout:
        return


@pytest.fixture(scope="module")
async def town(workspace: Path) -> AsyncIterator[Town]:
    """Everything has happened, everybody has looked at everything, and every mail is there."""
    folder = workspace / f"collusion-{uuid4().hex[:6]}"
    folder.mkdir(mode=0o755)
    box = Mailbox()
    server = AnyPort(box, hostname="127.0.0.1", port=0)
    await asyncio.to_thread(server.start)
    settings = Settings(
        data=folder / "data", keys=folder / "keys", port=0, sample=False, fast_unsafe=True,
        smtp=f"smtp://127.0.0.1:{server.port}",
    )  # fmt: skip
    try:
        async with builders.world(settings, windows=SLOW) as world, AsyncExitStack() as stack:
            found = await _settled(world, stack)
            for scene in (_declined_then_taken, _taken_then_stopped, _refused_by_all, _taken_twice):
                await scene(found)
            for house in found.houses:
                await _stream(house, "/referral/pages/live")
            await _stream(found.coordinator, "/notify/pages/live")
            await _changes(found.coordinator)
            await found.coordinator.look("/notify/pages/dashboard", "/notify/pages/dashboard.csv")
            await found.coordinator.get("/notify/overview")
            await eventually(lambda: _mailed(found, box))
            yield found
    finally:
        await asyncio.to_thread(server.stop)


async def _mailed(town: Town, box: Mailbox) -> bool:
    """Both houses have been told by mail; each mail goes to the pool of whom it was for."""
    for number, house in enumerate(town.houses):
        mine = [one for one in box.mails if one.rcpt_tos == [f"inbox-{number}@sample.example"]]
        if not mine:
            return False
        for mail in mine:
            content = bytes(mail.content or b"") if not isinstance(mail.content, str) else mail.content.encode()
            house.pool.take("mail", content.decode())
    return True


async def test_two_houses_find_nobody_in_both_heaps(town: Town) -> None:
    first, second = town.houses
    assert first.pool.common(second.pool, *town.everybodys, bystander=town.bystander.pool) == {}


async def test_a_house_and_the_sender_find_nobody_in_both_heaps(town: Town) -> None:
    """The sender's side has the referral's id and the entry's, a house its offers': neither has ever come to the other."""
    for house in town.houses:
        assert house.pool.common(town.sender.pool, *town.everybodys, bystander=town.bystander.pool) == {}
        seen = house.pool.marks()
        assert [one for one in town.referrals if one.replace("-", "") in seen] == []
    assert [one for one in town.offers if one.replace("-", "") in town.sender.pool.marks()] == []


async def test_what_is_shared_by_design_is_found(town: Town) -> None:
    """The control: the coordinator who owns a referral has its id as the sender has, and no offer's."""
    common = town.coordinator.pool.common(town.sender.pool, *town.everybodys, bystander=town.bystander.pool)
    escalated = {one.replace("-", "") for one in town.referrals[2:]}
    assert escalated <= common.keys()
    assert common.keys() <= escalated, common
    for house in town.houses:
        assert house.pool.common(town.coordinator.pool, *town.everybodys, bystander=town.bystander.pool) == {}


async def test_every_kind_of_thing_is_in_the_heaps(town: Town) -> None:
    """What finding nothing is worth: both houses had offers, packets, tickets, streams and mails."""
    for house in town.houses:
        seen = house.pool.marks()
        assert sum(one.replace("-", "") in seen for one in town.offers) >= 2
        places = {place for place, _ in house.pool.received}
        for part in (
            "mail",
            "/referral/pages/live",
            "/intake/packets/",
            "/ticket",
            "/intake/pages/packets/",
            "head of ",
        ):
            assert any(part in place for place in places), part
    told = {one.replace("-", "") for one in (*town.offers, *town.referrals)}
    assert told & town.bystander.pool.marks().keys() == set()  # or it would excuse what it must not


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("/x/0C6F6F4E-93a6-4f7b-8f16-7c86d1d6f3f5?a", "0c6f6f4e93a64f7b8f167c86d1d6f3f5"),
        ("a%3D0c6f6f4e93a64f7b8f167c86d1d6f3f5", "0c6f6f4e93a64f7b8f167c86d1d6f3f5"),
        ('etag: W/"abc"', 'W/"abc"'), ("number 48213 of", "48213"), ("x=Zk3_aQ9-rtLmQw", "Zk3_aQ9-rtLmQw"),
        ('"2031-02-03T10:00:01.5Z"', "2031-02-03T10:00:01.500000+00:00"),
        ("eyJhbGciOiJFZERTQSJ9.eyJyIjoiMGM2ZjZmNGUtOTNhNi00ZjdiLThmMTYtN2M4NmQxZDZmM2Y1In0.x",
         "0c6f6f4e93a64f7b8f167c86d1d6f3f5"),
    ],
)  # fmt: skip
def test_a_mark_is_seen_in_every_spelling(text: str, mark: str) -> None:
    assert mark in marks(text)


@pytest.mark.parametrize(
    "text", ['etag: "v12"', "2031-02-03T10:00:00Z", "one_to_one_watch", "12 places", "emergency_bed"]
)
def test_what_many_have_is_no_mark(text: str) -> None:
    assert marks(text) == set()
