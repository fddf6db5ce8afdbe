"""What is known of a network in which anything may happen, and the judge of every byte that leaves: whatever any organisation
is answered, mailed or streamed. Each text of each person is made so that it is found wherever it stands."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID

import httpx

from services.cli.client import ApiProblem, Partner
from spean.sealing import PrivateKey
from tests.integration import surfaces
from tests.integration.naive_gate import OFFER, Organisation, Rules, Said, may_be_told
from tests.integration.two_lands import Lands

TEXTS = ("name", "phone", "contact_notes", "safety_notes", "family_notes", "health_notes", "account", "exploitation",
         "means_of_control", "legal_notes", "documents", "recruiter_notes")  # fmt: skip
CODES = {"sex": "female", "needs": ["interpreter"], "languages": ["khm"], "citizenship": "KH"}
IN_PACKET = {*TEXTS, *CODES, "age_years", "age_band"}
# Which of them it is of, and the field.
_MARK = re.compile(r"zq(\d{6})q([a-z_]+)")
_numbers = count(100_000)
# What has to have been met in 10,000 steps, and how often at least, or nothing was proved: a tenth, at most, of what runs of
# 2,000 steps come to. What they come to in few of their networks only (an agreement that ended) is left to `tests.faults.walks`.
MET = {
    "offer at a": 100, "offer at b": 100, "packet at a": 1_000, "packet at b": 1_000, "packet across a border": 500,
    "packet: a part": 3, "placement": 30, "placement: who was asked": 3, "accepted": 30, "whereabouts": 3,
    "nothing for: stopped": 15, "nothing for: never": 5, "nothing for: expired": 5, "nothing for: no corridor": 1,
    "nothing for: no rule for it": 1, "nothing for: guardian": 1, "in force: court_order": 5, "in force: vital_interest": 5,
    "in force: best_interests_assessment": 2, "took a part back": 10, "suspended": 1, "ended: corridors": 3,
    "ended: agreements": 3, "ended: need-to-know": 3, "stopped while it was read": 10, "replayed": 10,
    "sessions cut off": 50, "struck there": 3, "restored": 1, "looked at": 2, "mails": 10, "streamed": 20,
    "packet: sealed": 100, "page": 10, "page: a hand-off": 10, "page: a hand-off, by name": 3, "page: an offer, 200": 20,
    "copies": 10, "placement: who has a copy": 2, "stopped while it was composed": 10,
}  # fmt: skip


def marked() -> int:
    return next(_numbers)


def mark(number: int, name: str) -> str:
    return f"zq{number}q{name}"


@dataclass
class Person:
    """`number`: in their texts. `side`: who met them. `before`: what they had said when a database forgot it."""

    entry: str
    number: int
    said: Said
    side: Side = field(repr=False)
    before: Said | None = None
    has_case: bool = False


@dataclass
class Side:
    """A border post, its holder, and who sees to the rules there. `restored`: it has forgotten something. `cookie`: as a
    house's."""

    holder: str
    sender: Organisation
    here: Partner
    second: Partner
    admin: Partner
    rules: Rules
    restored: bool = False
    cookie: str = field(default="", repr=False)


@dataclass
class House:
    """`seals`: its system's key, where packets leave sealed to it. `cookie`: of somebody of theirs who has signed in."""

    facts: Organisation
    partner: Partner
    seals: PrivateKey | None = field(default=None, repr=False)
    cookie: str = field(default="", repr=False)


@dataclass
class Placed:
    """Where a house has said that it is, for a hand-off."""

    house: House
    handoff: str


@dataclass
class Known:
    """One network, played once. `told`: how many fields left, by stage, and how much was refused."""

    lands: Lands
    told: Counter[str]
    network: str = ""
    sides: dict[str, Side] = field(default_factory=dict)
    people: list[Person] = field(default_factory=list)
    houses: list[House] = field(default_factory=list)
    handoffs: dict[str, list[Person]] = field(default_factory=dict)
    # Offer → hand-off.
    offers: dict[str, str] = field(default_factory=dict)
    accepted: list[tuple[House, str]] = field(default_factory=list)
    placed: dict[int, Placed] = field(default_factory=dict)
    # Everybody who may look at whatever there is.
    lookers: list[Partner] = field(default_factory=list)
    # What the houses are called.
    names: dict[str, str] = field(default_factory=dict)
    # Offers of which the last inbox showed nothing: whoever holds them did not answer in time.
    silent: set[str] = field(default_factory=set)
    judged_mails: int = 0
    streamed: list[str] = field(default_factory=list)

    def now(self) -> datetime:
        return self.lands.now()

    def side_of(self, handoff: str) -> Side:
        return self.handoffs[handoff][0].side

    # --- every byte -----------------------------------------------------------------------------------------------

    def watch(self, partner: Partner, to: Organisation) -> None:
        """Judge everything that they are answered, whatever they ask."""

        async def begun(request: httpx.Request) -> None:
            request.extensions["begun"] = self.now()

        async def answered(response: httpx.Response) -> None:
            await response.aread()
            head = " ".join(f"{name}: {value}" for name, value in response.headers.items())
            self.told["answers"] += 1
            path = response.request.url.path
            self.judge(to, f"{head} {response.text}", response.request.extensions["begun"], path)
            if to.type != "border_post" and "/packets/" not in path and path != "/referral/offers":
                assert not surfaces.codes_in(response), ("codes", path, to)

        partner._http.event_hooks = {"request": [begun], "response": [answered]}

    def judge(self, to: Organisation, text: str, begun: datetime, path: str = "") -> None:
        """`begun`: when it was asked for; it may have been decided at any moment since."""
        for number, name in _MARK.findall(text):
            self.told["marks found"] += 1
            place = self.placed.get(int(number))
            if place is not None:
                self._judge_place(to, place, name, begun, path)
                continue
            person = next((one for one in self.people if one.number == int(number)), None)
            assert person is not None, ("somebody of another network", path, to)
            if person.side.sender.id == to.id:
                continue  # their own record of who they met
            assert "/packets/" in path, ("a text outside of a packet", name, path, to)
            mine = {self.offers[offer] for house, offer in self.accepted if house.facts.id == to.id}
            assert any(person in self.handoffs[id_] for id_ in mine), ("never accepted", name, to)
            assert any(self.may(name, "packet", person.side.sender.id, to, person, now) for now in (begun, self.now())), (
                "a text", name, path, to, person)  # fmt: skip

    def _judge_place(self, to: Organisation, place: Placed, name: str, begun: datetime, path: str) -> None:
        """The house's own; of the sender's to know a point to meet at, and the address where it may be."""
        side = self.side_of(place.handoff)
        if place.house.facts.id == to.id:
            return
        assert side.sender.id == to.id, ("whereabouts", name, path, to)
        if name == "address":
            assert self.is_placed("address", place.house, place.handoff, begun), ("an address", path)

    def judge_mails(self) -> None:
        """Nothing of anybody is in a mail, whoever gets it."""
        mails = self.lands.mailbox.mails
        for mail in mails[self.judged_mails :]:
            content = mail.content.encode() if isinstance(mail.content, str) else bytes(mail.content or b"")
            read = surfaces.read_mail(content)
            ids = {*self.handoffs, *self.offers, *(one.entry for one in self.people)}
            assert not _MARK.search(read), ("a mail", mail.rcpt_tos)
            assert not any(one in read for one in ids), ("a mail, a number", mail.rcpt_tos)
            self.told["mails"] += 1
        self.judged_mails = len(mails)

    def judge_streams(self) -> None:
        """Nor in what is streamed."""
        self.told["streamed"] += len(self.streamed)
        assert not _MARK.search("".join(self.streamed)), "a stream"

    async def look_at_anything(self, pick: int) -> None:
        """Somebody asks for whatever there is, of anybody: what they get is judged where it arrives."""
        services = self.lands.made.services
        paths = [f"/{name}{path}" for name in services for path, does in services[name].app.openapi()["paths"].items()
                 if "get" in does and path not in {"/changes", "/offers"}]  # fmt: skip
        ids = [*self.handoffs, *self.offers, *(one.entry for one in self.people)]
        path = paths[pick % len(paths)].replace("{kind}", "agreements")
        path = re.sub(r"{\w+}", ids[pick // 7 % len(ids)], path)
        try:
            await self.lookers[pick // 3 % len(self.lookers)].request("GET", path)
            self.told["looked at"] += 1
        except ApiProblem as problem:
            if problem.status >= 500:
                raise
            self.told["looked at, refused"] += 1

    def may(self, name: str, stage: str, teller: str, to: Organisation, person: Person, now: datetime) -> bool:
        """By what they have said and what is in force at who met them. What a database has forgotten counts as well, until
        they have been asked again."""
        rules = person.side.rules
        return may_be_told(name, stage, teller, to, person.said, rules, now) and (
            person.before is None or may_be_told(name, stage, teller, to, person.before, rules, now)
        )

    # --- what left, field by field --------------------------------------------------------------------------------

    def fields(self, stage: str, names: Any, to: Organisation, person: Person, now: datetime) -> set[str]:
        return {one for one in names if self.may(one, stage, person.side.sender.id, to, person, now)}

    async def members(self, offer: str) -> list[Person]:
        if offer not in self.offers:
            async with self.lands.made.services["referral"].db.transaction("test.members") as tx:
                self.offers[offer] = str(
                    (await tx.one("select referral from offer where id = $1", UUID(offer)))["referral"]
                )
        return self.handoffs[self.offers[offer]]

    async def read_inbox(self, house: House) -> list[str]:
        """Returns what is open."""
        before = self.now()
        try:
            offers = (await house.partner.get("/referral/offers"))["offers"]
        except ApiProblem as problem:
            if problem.status not in {401, 403}:  # suspended meanwhile
                raise
            self.told["inbox refused"] += 1
            return []
        self.silent = {one["id"] for one in offers if one["content"] is None}
        for one in offers:
            content = one["content"] or {"members": []}
            members = [{name for name, value in each.items() if value is not None} for each in content["members"]]
            if not await self.judge_offer(house, one["id"], members, before):
                assert content.get("service_type") is None
        return [one["id"] for one in offers if one["state"] in {"sent", "seen"}]

    async def judge_offer(self, house: House, offer: str, members: list[set[str]], before: datetime) -> bool:
        """Returns whether anything may be told."""
        party, both = await self.members(offer), set[str]()
        for now in (before, self.now()):
            each = [self.fields("offer", OFFER, house.facts, person, now) for person in party]
            together = set(OFFER).intersection(*each)
            both |= together if "needs" in together else set()
        for told in members:
            self.told["offer"] += len(told)
            self.told[f"offer at {party[0].side.holder}"] += len(told)
            assert told <= both, ("an inbox", told - both, party, house.facts)
        if not both:
            self.told["offer: nothing"] += 1
            assert not members, ("an inbox", "nothing of anybody", party, house.facts)
        return bool(both)

    async def read_packet(self, house: House, offer: str, ticket: Any) -> None:
        before = self.now()
        try:
            reply = await house.partner.request("GET", ticket["dataref"], token=ticket["ticket"])
        except ApiProblem as problem:
            if problem.status >= 500:
                raise
            self.told[f"packet refused: {problem.code}"] += 1
            return
        await self.judge_content(house, offer, ticket["dataref"], reply.content, before)

    async def judge_content(self, house: House, offer: str, dataref: str, content: bytes, before: datetime) -> None:
        """A packet as it arrived; where the house has a key it left sealed."""
        whole = await surfaces.opened(house.seals, house.facts.id, offer, dataref, content)
        self.told["packets"] += 1
        self.told["packet: sealed"] += house.seals is not None
        self.judge(house.facts, whole.decode(), before, dataref)
        self.judge_packet(house, await self.members(offer), json.loads(whole)["members"], before)

    def judge_packet(self, house: House, party: list[Person], shown: list[dict[str, Any]], before: datetime) -> None:
        """Neither more than may be told, nor less, unless something was forgotten."""
        if party[0].side.restored and not shown:
            return
        assert len(shown) == len(party)
        for person, member in zip(party, shown, strict=True):
            now = self.now()
            judged = [self.fields("packet", IN_PACKET, house.facts, person, one) for one in (before, now)]
            self.told["packet"] += len(member)
            self.told["packet: nothing"] += not member
            self.told["packet: a part"] += 0 < len(member) < len(IN_PACKET) - 2
            self.told[f"packet at {person.side.holder}"] += len(member)
            self.told["packet across a border"] += len(member) * (house.facts.country != person.side.rules.country)
            if not member:
                self.told[f"nothing for: {self.why_not(house, person, now)}"] += 1
            fits = set(member) <= judged[0] | judged[1] if person.side.restored else set(member) in judged
            assert fits, ("a packet", set(member) ^ judged[1], person, house.facts)

    def why_not(self, house: House, person: Person, now: datetime) -> str:
        """In one word, roughly: so that every reason is met."""
        said, rules, to = person.said, person.side.rules, house.facts
        pair = [one for one in rules.agreements.values() if one[:2] == (person.side.sender.id, to.id)]
        over = any(
            word is not None and word.until is not None and now >= word.until for word in (said.service, said.sharing)
        )
        crosses = to.country != rules.country
        reasons = {
            "suspended": not to.works, "never": any(one[1] in {to.id, to.type, "any"} for one in said.never),
            "stopped": said.sharing_shut or said.service_shut, "expired": over,
            "no agreement": not pair, "no corridor": crosses and not rules.corridors,
            "no rule for it": not rules.needed["packet"],
            "guardian": said.minor and any(word is not None and not word.guardian for word in (said.service, said.sharing)),
            "purpose": said.sharing is not None and "service_provision" not in said.sharing.purposes,
        }  # fmt: skip
        return next((name for name, holds in reasons.items() if holds), "another reason")

    async def read_placement(self, id_: str) -> None:
        before = self.now()
        view = await self._of_sender(id_)
        if view is not None:
            self._judge_view(id_, view, before)

    async def read_list(self, side: Side) -> None:
        before = self.now()
        for view in (await side.here.get("/intake/handoffs"))["handoffs"]:
            if view["id"] in self.handoffs:
                self._judge_view(view["id"], view, before)

    def _judge_view(self, id_: str, view: Any, before: datetime) -> None:
        houses = [one for one in self.houses if one.facts.id == view["receiver"]] or self.houses
        for name, value in (("receiver", view["receiver"]), ("address", view["address"]),
                            ("arrival", view["arrival_verified"])):  # fmt: skip
            if value is not None:
                self.told["placement"] += 1
                assert any(self.is_placed(name, one, id_, before) for one in houses), ("a placement", name, view)

    async def read_senders_page(self, id_: str) -> None:
        """And the same from the API: by name, too, nobody is told who has the person, or was asked."""
        await self.read_placement(id_)
        side, before = self.side_of(id_), self.now()
        if not side.cookie:
            return
        page = await surfaces.shown_to(side.cookie, f"{self.lands.made.url}/intake/pages/handoffs/{id_}")
        assert page.status_code == 200, page.text[:300]
        self.judge(side.sender, page.text, before, page.request.url.path)
        self.told["page: a hand-off"] += 1
        for house in self.houses:
            if house.facts.id in page.text or self.names[house.facts.id] in page.text:
                self.told["page: a hand-off, by name"] += 1
                assert self.is_placed("receiver", house, id_, before), ("who was asked", house.facts)

    async def read_offers_page(self, house: House, offer: str) -> None:
        if not house.cookie:
            return
        before = self.now()
        page = await surfaces.shown_to(house.cookie, f"{self.lands.made.url}/referral/pages/offers/{offer}")
        self.judge(house.facts, page.text, before, page.request.url.path)
        self.told[f"page: an offer, {page.status_code}"] += 1
        if page.status_code == 200:
            await self.judge_offer(house, offer, surfaces.needs_on(page.text), before)

    async def _of_sender(self, id_: str, what: str = "") -> Any:
        """None where the hand-off was forgotten before anybody had heard of it."""
        side = self.side_of(id_)
        try:
            return await side.here.get(f"/intake/handoffs/{id_}{what}")
        except ApiProblem as problem:
            if problem.status != 404 or not side.restored:
                raise
            return None

    async def read_who_was_asked(self, id_: str) -> None:
        before = self.now()
        answer = await self._of_sender(id_, "/disclosures")
        rows = [] if answer is None else answer["disclosures"]
        # Who was passed over was never asked: that they are named says nothing of where anybody is.
        named = {row["recipient"] for row in rows if row["allowed"]} - {None}
        for house in self.houses:
            if house.facts.id in named:
                self.told["placement: who was asked"] += 1
                assert self.is_placed("receiver", house, id_, before), ("who was asked", house.facts)

    async def read_copies(self, id_: str) -> None:
        before = self.now()
        for copy in (await self._of_sender(id_, "/copies") or {"copies": []})["copies"]:
            self.told["copies"] += 1
            named = [copy[name] for name in ("organisation", "by", "law", "statement", "public_key")]
            assert named[0] or not any(named), ("a copy, and who holds it by another name", copy)
            for house in self.houses:
                if house.facts.id == named[0]:
                    self.told["placement: who has a copy"] += 1
                    assert self.is_placed("receiver", house, id_, before), ("who has a copy", house.facts)

    def is_placed(self, name: str, house: House, id_: str, before: datetime) -> bool:
        """Is it the sender's to know, of everybody in the party?"""
        sender = self.side_of(id_).sender
        return any(
            all(self.may(name, "placement", house.facts.id, sender, person, now) for person in self.handoffs[id_])
            for now in (before, self.now())
        )  # fmt: skip
