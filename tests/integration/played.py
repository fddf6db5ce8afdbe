"""A network in which anything may happen to who may be told what, beside a naive record of it (`leaving`)."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import httpx

from services.cli.client import ApiProblem
from spean.auth import TICKET_S
from tests.builders import CATEGORIES, PURPOSES, eventually
from tests.integration import surfaces
from tests.integration.commanded import Commanded
from tests.integration.halting import done_or_waits, halted
from tests.integration.holder import Reader
from tests.integration.leaving import House, Person, Placed, Side, mark, marked
from tests.integration.naive_gate import LASTS, UNCONFIRMED, Marked, Organisation, Said, Word
from tests.integration.two_lands import HERE

WHY = "Written down for a test, at some length."


@contextmanager
def _as_it_left(person: Person, leaving: Said) -> Iterator[None]:
    """What the person had said by then is what counts."""
    stopped, person.said = person.said, leaving
    try:
        yield
    finally:
        person.said = stopped


@dataclass
class Played(Commanded):
    tickets: list[tuple[House, str, Any]] = field(default_factory=list)
    # The newest of an offer, and until when it will do.
    young: dict[str, tuple[Any, float]] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    # What was proposed to stand in for consent, as it was asked for; `until`: its end at the latest.
    marks: dict[str, Marked] = field(default_factory=dict)

    async def pass_hours(self, hours: int) -> None:
        """Packets are read at once: before the clock has looked at what is over by its time."""
        ready = [(house, offer, await self.ticket(house, offer)) for house, offer in self.accepted[-3:]]
        await self.lands.pass_hours(hours)
        for house, offer, ticket in ready:
            if ticket is not None:
                await self.read_packet(house, offer, ticket)

    # --- what a person says ---------------------------------------------------------------------------------------

    async def agree(
        self, person: Person, decision: str, hours: int | None, parts: dict[str, Any], *, guardian: bool
    ) -> None:
        """`parts`: categories, purposes, organisations (of houses, by number; -1 is the sender), classes."""
        now = self.now()
        until = None if hours is None else now + timedelta(hours=hours, minutes=30)
        word = Word(now, until, guardian)
        body: dict[str, Any] = {"decision": decision, "state": "given", "expressed": "spoken", "language": "khm",
                                "notice": "1-khm", "valid_until": until and until.isoformat()}  # fmt: skip
        if guardian:
            body["guardian"] = {"relationship": "parent", "expressed": "spoken"}
        if decision == "share_referral":
            word.organisations = [self.organisation(one, person.side).id for one in parts["organisations"]]
            word.categories, word.purposes, word.classes = parts["categories"], parts["purposes"], parts["classes"]
            body |= {"categories": word.categories, "purposes": word.purposes,
                     "recipients": {"organisations": word.organisations, "classes": word.classes}}  # fmt: skip
        # What is sent has lists of its own: the word is narrowed later.
        if await self.post(person.side, f"/intake/entries/{person.entry}/consents", copy.deepcopy(body)):
            person.said.agrees(decision, copy.deepcopy(word))
            if decision == "share_referral":
                person.before = None

    async def agree_to_everything(self, person: Person, hours: int | None = None) -> None:
        """For shelters anywhere, and the sender."""
        parts = {"categories": list(CATEGORIES), "purposes": list(PURPOSES), "organisations": [-1],
                 "classes": [{"type": "shelter", "country": None}]}  # fmt: skip
        for decision in ("service", "share_referral"):
            await self.agree(person, decision, hours, parts, guardian=person.said.minor)

    async def stop(self, person: Person, what: str) -> None:
        path = f"/intake/entries/{person.entry}/withdraw"
        assert await self.post(person.side, path, {"what": what}), "a stop is never refused"
        person.said.stops(what)
        self.told[f"stopped: {what}"] += 1

    async def stop_while_it_is_read(self, person: Person, house: House, offer: str, *, by_sender: bool) -> None:
        """A house's packet, or what its sender may see, is on its way when the person stops: it leaves before that is
        acknowledged, or tells nothing of them. (Of the holder that runs in this process: only there an answer can be halted.)"""
        ticket = await self.ticket(house, offer)
        if ticket is None:
            return
        await self.members(offer)
        id_ = self.offers[offer]
        path = f"/handoffs/{id_}" if by_sender else f"/packets/{offer}"
        token = await person.side.here.token() if by_sender else ticket["ticket"]
        leaves, go, pieces = asyncio.Event(), asyncio.Event(), list[bytes]()

        async def sent(piece: bytes) -> None:
            leaves.set()
            await go.wait()
            pieces.append(piece)

        begun = self.now()
        app = self.lands.made.services["intake"].app
        reading = asyncio.create_task(Reader(app, "GET", path, token).run(sent))
        sending = asyncio.create_task(leaves.wait())
        await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
        sending.cancel()
        stopping = asyncio.create_task(self.stop(person, "sharing"))
        watch = await asyncpg.connect(self.lands.dsn(HERE))
        try:
            await eventually(partial(done_or_waits, stopping, watch))
        finally:
            await watch.close()
        # What leaves from here on leaves when this is so.
        leaving = copy.deepcopy(person.said)
        go.set()
        status, _ = await asyncio.gather(reading, stopping)
        whole = b"".join(pieces)
        if status == 200 and whole:
            self.told["stopped while it was read"] += 1
            with _as_it_left(person, leaving):
                if by_sender:
                    self._judge_view(id_, json.loads(whole), begun)
                else:
                    await self.judge_content(house, offer, ticket["dataref"], whole, begun)

    async def stop_while_it_is_composed(self, person: Person, house: House, offer: str) -> None:
        """The same at any holder: what a packet tells is decided, and it has not left, when the person stops."""
        ticket = await self.ticket(house, offer)
        if ticket is None:
            return
        await self.members(offer)
        begun = self.now()
        async with halted(self.lands.dsn(person.side.holder), self._unjudged(ticket)) as reader:
            stopping = None if reader.session is None else asyncio.create_task(self.stop(person, "sharing"))
            if stopping is not None:
                await eventually(partial(reader.done_or_waits, stopping))
            # What leaves from here on leaves when this is so.
            leaving = copy.deepcopy(person.said)
        answer = await reader.reading
        if stopping is not None:
            await stopping
        if answer.status_code == 200:
            self.told["stopped while it was composed"] += stopping is not None
            with _as_it_left(person, leaving):
                await self.judge_content(house, offer, ticket["dataref"], answer.content, begun)

    async def _unjudged(self, ticket: Any) -> httpx.Response:
        """A packet as it arrives: when it left, and what had been said by then, is for who asked for it to know."""
        async with httpx.AsyncClient(timeout=30) as client:
            return await client.get(ticket["dataref"], headers={"Authorization": f"Bearer {ticket['ticket']}"})

    async def take_back(self, person: Person, part: str, value: Any) -> None:
        word = person.said.sharing
        if word is not None and word.until is not None and word.until < self.now():
            return  # over already: whether that is written down by now is the clock's
        path, body = f"/intake/entries/{person.entry}/withdraw", {"what": "sharing", part: value}
        assert await self.post(person.side, path, body), "a stop is never refused"
        person.said.takes_back(part, value)
        self.told["took a part back"] += 1

    async def exclude(self, person: Person, kind: str, value: str, *, lift: bool) -> None:
        path = f"/intake/entries/{person.entry}/exclusions{'/lift' if lift else ''}"
        if await self.post(person.side, path, {"kind": kind, "value": value}):
            (person.said.lifts if lift else person.said.excludes)((kind, value))

    # --- what stands in for it ------------------------------------------------------------------------------------

    async def mark(self, person: Person, kind: str, categories: list[str], house: int) -> None:
        """What may count at once does."""
        recipients: dict[str, Any] = {"organisations": [self.organisation(house, person.side).id], "classes": []}
        body = {"kind": kind, "justification": WHY, "categories": categories, "purposes": PURPOSES[:2],
                "recipients": recipients, "at_once": kind == "court_order", "acting_for": "first"}  # fmt: skip
        said, since = person.said.times, self.now()
        made = await self.post(person.side, f"/intake/entries/{person.entry}/bases", body)
        if made is not None:
            self.proposed.append((person, made["id"]))
            self.marks[made["id"]] = Marked(
                kind, categories, PURPOSES[:2], list(recipients["organisations"]), [], since + LASTS[kind], said
            )
            await self._in_force(person, made, since + UNCONFIRMED)
            if kind == "best_interests_assessment":  # two people's, or nothing
                await self.decide(person, made["id"], agrees=True)

    async def _in_force(self, person: Person, made: Any, latest: datetime) -> None:
        """What it opens is what somebody asked for; its end is what the holder says, and never after `latest`."""
        if made["state"] != "in_force":
            return
        id_ = made["id"]
        all_ = (await person.side.here.get(f"/intake/entries/{person.entry}/bases"))["bases"]
        said = next(one["until"] for one in all_ if one["id"] == id_)
        person.said.marked[id_] = replace(self.marks[id_], until=min(datetime.fromisoformat(said), latest))
        self.told[f"in force: {self.marks[id_].kind}"] += 1

    async def decide(self, person: Person, id_: str, *, agrees: bool) -> None:
        path = f"/intake/entries/{person.entry}/bases/{id_}/decide"
        made = await self.post(
            person.side, path, {"agrees": agrees, "reasons": WHY, "acting_for": "second"}, person.side.second
        )
        if made is not None:
            person.said.marked.pop(id_, None)
            await self._in_force(person, made, self.marks[id_].until)

    async def end_basis(self, person: Person, id_: str) -> None:
        if await self.post(person.side, f"/intake/entries/{person.entry}/bases/{id_}/end"):
            person.said.marked.pop(id_, None)

    def organisation(self, number: int, side: Side) -> Organisation:
        return side.sender if number < 0 else self.houses[number].facts

    # --- the work -------------------------------------------------------------------------------------------------

    async def request(self, people: list[Person]) -> str | None:
        side = people[0].side
        body = {"network": self.network, "service_type": "emergency_bed", "urgency": "emergency", "area": "KH-1",
                "members": [one.entry for one in people]}  # fmt: skip
        for one in people:
            if not one.has_case:
                one.has_case = await self.post(side, f"/intake/entries/{one.entry}/case") is not None
        made = await self.post(side, "/intake/handoffs", body)
        if made is None:
            return None
        self.handoffs[made["id"]] = people
        return str(made["id"])

    async def is_looked_for(self, id_: str) -> bool:
        """Has the network come to the end of looking, as far as that goes by itself?"""
        async with self.lands.made.services["referral"].db.transaction("test.looked") as tx:
            found = await tx.conn.fetchval("select state from referral where id = $1", UUID(id_))
        return found not in {None, "requested"}

    async def cancel(self, id_: str) -> None:
        if await self.post(self.side_of(id_), f"/intake/handoffs/{id_}/cancel"):
            self.cancelled.add(id_)

    async def accept(self, house: House, offer: str) -> None:
        if await self.post(None, f"/referral/offers/{offer}/accept", None, house.partner):
            self.accepted.append((house, offer))
            self.told["accepted"] += 1

    async def ticket(self, house: House, offer: str, *, fresh: bool = True) -> Any:
        """None where the network gives none. Not `fresh`: one that has some time left will do."""
        known = self.young.get(offer)
        if not fresh and known is not None and time.monotonic() < known[1]:
            return known[0]
        try:
            ticket = await house.partner.post(f"/referral/offers/{offer}/ticket")
        except ApiProblem as problem:
            if problem.status >= 500:
                raise
            return None
        self.tickets.append((house, offer, ticket))
        self.young[offer] = ticket, time.monotonic() + TICKET_S / 2
        return ticket

    async def read_now(self, house: House, offer: str) -> None:
        """The packet, with a ticket that has some time left."""
        ticket = await self.ticket(house, offer, fresh=False)
        if ticket is not None:
            await self.read_packet(house, offer, ticket)

    async def read_page(self, house: House, offer: str) -> None:
        """The packet in a browser: not where it leaves sealed."""
        ticket = await self.ticket(house, offer)
        if ticket is None:
            return
        before, party = self.now(), await self.members(offer)
        page = await surfaces.page_of(offer, ticket["dataref"], ticket["ticket"])
        assert page.status_code < 500 or page.status_code == 503, page.text[:300]  # that is busy, as at any door
        self.judge(house.facts, page.text, before, page.request.url.path)
        shown = surfaces.people_on(page.text) if page.status_code == 200 else []
        if shown:
            assert house.seals is None, "a packet in the clear"
            self.told["page"] += 1
            self.judge_packet(house, party, [dict.fromkeys(one) for one in shown], before)

    async def whereabouts(self, house: House, offer: str) -> None:
        ticket = await self.ticket(house, offer)
        if ticket is None:
            return
        await self.members(offer)
        number = marked()
        self.placed[number] = Placed(house, self.offers[offer])
        body = {"meeting_point": mark(number, "meeting_point"), "address": mark(number, "address")}
        try:
            await house.partner.put(f"{ticket['dataref']}/whereabouts", body, token=ticket["ticket"])
            self.told["whereabouts"] += 1
        except ApiProblem as problem:
            if problem.status >= 500:
                raise
