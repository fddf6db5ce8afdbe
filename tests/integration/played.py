"""A network in which anything may happen to who may be told what, beside a naive record of it; every answer that leaves is
judged by that record, at the moment at which it left."""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from services.cli.client import ApiProblem, Partner
from services.cli.installation import Installation
from services.intake.handoffs import store as handoffs
from tests.builders import CATEGORIES, PURPOSES, World, eventually, network_in, second_system
from tests.integration.naive_gate import OFFER, Marked, Organisation, Rules, Said, Word, may_be_told

RECORD = {
    "sex": "female", "needs": ["interpreter"], "languages": ["khm"], "name": "Test Person", "phone": "012", "citizenship": "KH",
    "contact_notes": "c", "safety_notes": "s", "family_notes": "f", "health_notes": "asthma", "account": "a",
    "exploitation": ["e"], "means_of_control": ["m"], "legal_notes": "l", "documents": "d", "recruiter_notes": "r",
}  # fmt: skip
IN_PACKET = {*RECORD, "age_years", "age_band"}
WHY = "Written down for a test, at some length."


@dataclass
class Person:
    entry: str
    said: Said


@dataclass
class House:
    facts: Organisation
    partner: Partner


@dataclass
class Kept:
    """A command that may be sent again as it was."""

    partner: Partner
    path: str
    body: Any
    key: str


@dataclass
class Played:
    """One network, played once. `told`: how many fields left, by stage, and how much was refused."""

    made: Installation
    world: World
    second: Partner
    rules: Rules
    told: Counter[str]
    people: list[Person] = field(default_factory=list)
    houses: list[House] = field(default_factory=list)
    handoffs: dict[str, list[Person]] = field(default_factory=dict)
    accepted: list[tuple[House, str]] = field(default_factory=list)
    tickets: list[tuple[House, str, Any]] = field(default_factory=list)
    proposed: list[tuple[Person, str]] = field(default_factory=list)
    commands: list[Kept] = field(default_factory=list)
    crash_at_next: bool = False

    @property
    def here(self) -> Partner:
        return self.world.sender.partner

    @property
    def sender(self) -> Organisation:
        return Organisation(self.world.sender.id, "border_post", "KH")

    def now(self) -> datetime:
        return datetime.now(UTC) + self.made.services["intake"].db.shift

    # --- commands -------------------------------------------------------------------------------------------------

    async def post(self, path: str, body: Any = None, partner: Partner | None = None) -> Any:
        """None where it was refused. A worker may be cut off meanwhile."""
        kept = Kept(partner or self.here, path, body, f"played-{len(self.commands)}-{self.world.network}")
        crash, self.crash_at_next = self.crash_at_next, False
        try:
            if crash:
                answer, _ = await asyncio.gather(kept.partner.post(path, body, key=kept.key), self.cut_off())
            else:
                answer = await kept.partner.post(path, body, key=kept.key)
        except ApiProblem as problem:
            self.told[f"refused: {problem.code}"] += 1
            if problem.status >= 500:
                raise
            return None
        self.commands.append(kept)
        return answer

    async def again(self, kept: Kept) -> None:
        """Nothing happens a second time."""
        try:
            await kept.partner.post(kept.path, kept.body, key=kept.key)
            self.told["replayed"] += 1
        except ApiProblem as problem:
            if problem.status not in {401, 403}:  # suspended meanwhile
                raise

    async def cut_off(self) -> None:
        """Every session of the services' workers ends wherever it is."""
        conn = await asyncpg.connect(self.made.cluster.dsn("intake"))
        try:
            cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename like '%worker%' and datname = any($1)"
            self.told["sessions cut off"] += await conn.fetchval(cut, ["intake", "referral"])
        finally:
            await conn.close()

    async def pass_hours(self, hours: int) -> None:
        """Packets are read at once: before the clock has looked at what is over by its time."""
        ready = [(house, offer, await self.ticket(house, offer)) for house, offer in self.accepted]
        self.made.services["intake"].db.shift += timedelta(hours=hours)
        for house, offer, ticket in ready:
            if ticket is not None:
                await self.read_packet(house, offer, ticket)

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
            word.organisations = [self.organisation(one).id for one in parts["organisations"]]
            word.categories, word.purposes, word.classes = parts["categories"], parts["purposes"], parts["classes"]
            body |= {"categories": word.categories, "purposes": word.purposes,
                     "recipients": {"organisations": word.organisations, "classes": word.classes}}  # fmt: skip
        # What is sent has lists of its own: the word is narrowed later.
        if await self.post(f"/intake/entries/{person.entry}/consents", copy.deepcopy(body)):
            person.said.agrees(decision, word)

    async def agree_to_everything(self, person: Person, hours: int | None = None) -> None:
        """For shelters anywhere, and the sender."""
        parts = {"categories": list(CATEGORIES), "purposes": list(PURPOSES), "organisations": [-1],
                 "classes": [{"type": "shelter", "country": None}]}  # fmt: skip
        for decision in ("service", "share_referral"):
            await self.agree(person, decision, hours, parts, guardian=person.said.minor)

    async def stop(self, person: Person, what: str) -> None:
        assert await self.post(f"/intake/entries/{person.entry}/withdraw", {"what": what}), "a stop is never refused"
        person.said.stops(what)

    async def take_back(self, person: Person, part: str, value: Any) -> None:
        word = person.said.sharing
        if word is not None and word.until is not None and word.until < self.now():
            return  # over already: whether that is written down by now is the clock's
        body = {"what": "sharing", part: value}
        assert await self.post(f"/intake/entries/{person.entry}/withdraw", body), "a stop is never refused"
        person.said.takes_back(part, value)

    async def exclude(self, person: Person, kind: str, value: str, *, lift: bool) -> None:
        path = f"/intake/entries/{person.entry}/exclusions{'/lift' if lift else ''}"
        if await self.post(path, {"kind": kind, "value": value}):
            (person.said.lifts if lift else person.said.excludes)((kind, value))

    async def mark(self, person: Person, kind: str, categories: list[str], house: int) -> None:
        """What may count at once does."""
        recipients: dict[str, Any] = {"organisations": [self.organisation(house).id], "classes": []}
        body = {"kind": kind, "justification": WHY, "categories": categories, "purposes": PURPOSES[:2],
                "recipients": recipients, "at_once": kind == "court_order"}  # fmt: skip
        path = f"/intake/entries/{person.entry}/bases"
        said = person.said.times
        made = await self.post(path, body)
        if made is not None:
            self.proposed.append((person, made["id"]))
            await self._in_force(person, made["id"], said)
            if kind == "best_interests_assessment":  # two people's, or nothing
                await self.decide(person, made["id"], agrees=True)

    async def _in_force(self, person: Person, id_: str, said: int) -> None:
        all_ = (await self.here.get(f"/intake/entries/{person.entry}/bases"))["bases"]
        one = next(one for one in all_ if one["id"] == id_)
        until = datetime.fromisoformat(one["until"])
        marked = Marked(
            one["kind"], one["categories"], one["purposes"], one["recipients"]["organisations"], [], until, said
        )
        if one["state"] == "in_force":
            person.said.marked[id_] = marked
            self.told[f"in force: {one['kind']}"] += 1

    async def decide(self, person: Person, id_: str, *, agrees: bool) -> None:
        before = person.said.marked.get(id_)
        path = f"/intake/entries/{person.entry}/bases/{id_}/decide"
        if await self.post(path, {"agrees": agrees, "reasons": WHY}, self.second):
            person.said.marked.pop(id_, None)
            await self._in_force(person, id_, before.said if before else 0)

    async def end_basis(self, person: Person, id_: str) -> None:
        if await self.post(f"/intake/entries/{person.entry}/bases/{id_}/end"):
            person.said.marked.pop(id_, None)

    # --- rules ----------------------------------------------------------------------------------------------------

    async def need(self, stage: str, fields: list[str]) -> None:
        body = {"network": self.world.network, "group": "shelter", "stage": stage, "fields": fields}
        made = await self.post("/intake/rules/need-to-know", body, self.world.admin)
        self.rules.needed[stage][made["id"]] = fields

    async def agreement(self, one: str, other: str, categories: list[str], purposes: list[str]) -> None:
        body = {"sender": one, "recipient": other, "categories": categories, "purposes": purposes}
        made = await self.post("/intake/rules/agreements", body, self.world.admin)
        self.rules.agreements[made["id"]] = (one, other, categories, purposes)

    async def corridor(self, country: str, categories: list[str]) -> None:
        body = {"from_country": "KH", "to_country": country, "categories": categories, "legal_basis": "test"}
        made = await self.post("/intake/rules/corridors", body, self.world.admin)
        self.rules.corridors[made["id"]] = (country, categories)

    async def end_rule(self, kind: str, id_: str) -> None:
        await self.post(f"/intake/rules/{kind}/{id_}/end", None, self.world.admin)
        for rules in (*self.rules.needed.values(), self.rules.agreements, self.rules.corridors):
            rules.pop(id_, None)  # type: ignore[attr-defined]

    async def end(self) -> None:
        """Corridors are everybody's: none is left to the next one."""
        for id_ in list(self.rules.corridors):
            await self.end_rule("corridors", id_)

    async def suspend(self, house: House) -> None:
        if await self.post(f"/referral/organisations/{house.facts.id}/suspend", None, self.world.admin):
            await eventually(lambda: self._heard(house))
            house.facts.works = False

    async def _heard(self, house: House) -> bool:
        async with self.made.services["intake"].db.transaction("test.heard") as tx:
            return bool(await handoffs.suspended_among(tx, [UUID(house.facts.id)]))

    def organisation(self, number: int) -> Organisation:
        return self.sender if number < 0 else self.houses[number].facts

    # --- the work -------------------------------------------------------------------------------------------------

    async def request(self, people: list[Person]) -> None:
        body = {"network": self.world.network, "service_type": "emergency_bed", "urgency": "emergency", "area": "KH-1",
                "members": [one.entry for one in people]}  # fmt: skip
        for one in people:
            await self.post(f"/intake/entries/{one.entry}/case")
        made = await self.post("/intake/handoffs", body)
        if made is not None:
            self.handoffs[made["id"]] = people
            await self.world.state(made["id"], "offered", "unroutable", "on-hold", "cancelled", within_s=30)

    async def accept(self, house: House, offer: str) -> None:
        if await self.post(f"/referral/offers/{offer}/accept", None, house.partner):
            self.accepted.append((house, offer))
            self.told["accepted"] += 1

    async def ticket(self, house: House, offer: str) -> Any:
        """The newest ticket; None where the network gives none."""
        try:
            ticket = await house.partner.post(f"/referral/offers/{offer}/ticket")
        except ApiProblem as problem:
            if problem.status >= 500:
                raise
            return None
        self.tickets.append((house, offer, ticket))
        return ticket

    async def whereabouts(self, house: House, offer: str) -> None:
        ticket = await self.ticket(house, offer)
        if ticket is not None:
            try:
                body = {"meeting_point": "gate", "address": "secret street"}
                await house.partner.put(f"{ticket['dataref']}/whereabouts", body, token=ticket["ticket"])
            except ApiProblem as problem:
                if problem.status >= 500:
                    raise

    async def members(self, offer: str) -> list[Person]:
        async with self.made.services["referral"].db.transaction("test.members") as tx:
            row = await tx.one("select referral from offer where id = $1", UUID(offer))
        return self.handoffs[str(row["referral"])]

    # --- what left ------------------------------------------------------------------------------------------------

    def fields(
        self, stage: str, names: Any, teller: str, told: Organisation, person: Person, now: datetime
    ) -> set[str]:
        return {one for one in names if may_be_told(one, stage, teller, told, person.said, self.rules, now)}

    async def read_inbox(self, house: House) -> list[str]:
        """Judged. Returns what is open."""
        before = self.now()
        try:
            offers = (await house.partner.get("/referral/offers"))["offers"]
        except ApiProblem as problem:
            if problem.status not in {401, 403}:  # suspended meanwhile
                raise
            return []
        for one in offers:
            content = one["content"] or {"members": []}
            party = await self.members(one["id"])
            both: set[str] = set()
            for now in (before, self.now()):
                each = [self.fields("offer", OFFER, self.sender.id, house.facts, person, now) for person in party]
                together = set(OFFER).intersection(*each)
                both |= together if "needs" in together else set()
            for member in content["members"]:
                told = {name for name, value in member.items() if value is not None}
                self.told["offer"] += len(told)
                assert told <= both, ("an inbox", told - both, party, house.facts)
            if not both:
                assert not content["members"], "nothing of anybody"
                assert content.get("service_type") is None
        return [one["id"] for one in offers if one["state"] in {"sent", "seen"}]

    async def read_packet(self, house: House, offer: str, ticket: Any) -> None:
        before, party = self.now(), await self.members(offer)
        try:
            shown = (await house.partner.get(ticket["dataref"], token=ticket["ticket"]))["members"]
        except ApiProblem as problem:
            if problem.status >= 500:
                raise
            self.told[f"packet refused: {problem.code}"] += 1
            return
        assert len(shown) == len(party)
        for person, member in zip(party, shown, strict=True):
            judged = [self.fields("packet", IN_PACKET, self.sender.id, house.facts, person, now)
                      for now in (before, self.now())]  # fmt: skip
            self.told["packet"] += len(member)
            self.told["packet: nothing"] += not member
            self.told["packet: a part"] += 0 < len(member) < len(IN_PACKET)
            assert set(member) in judged, ("a packet", set(member) ^ judged[0], person, house.facts)

    async def read_placement(self, id_: str) -> None:
        before = self.now()
        views = [await self.here.get(f"/intake/handoffs/{id_}")]
        views += [one for one in (await self.here.get("/intake/handoffs"))["handoffs"] if one["id"] == id_]
        for view in views:
            houses = [one for one in self.houses if one.facts.id == view["receiver"]] or self.houses
            for name, value in (("receiver", view["receiver"]), ("address", view["address"]),
                                ("arrival", view["arrival_verified"])):  # fmt: skip
                if value is not None:
                    self.told["placement"] += 1
                    assert any(self._placed(name, one, id_, before) for one in houses), ("a placement", name, view)
        rows = (await self.here.get(f"/intake/handoffs/{id_}/disclosures"))["disclosures"]
        # Who was passed over was never asked: that they are named says nothing of where anybody is.
        named = {row["recipient"] for row in rows if row["allowed"]} - {None}
        for house in self.houses:
            if house.facts.id in named:
                self.told["placement: who was asked"] += 1
                assert self._placed("receiver", house, id_, before), ("who was asked", house.facts)

    def _placed(self, name: str, house: House, id_: str, before: datetime) -> bool:
        """Is it the sender's to know, of everybody in the party?"""
        return any(
            all(may_be_told(name, "placement", house.facts.id, self.sender, person.said, self.rules, now)
                for person in self.handoffs[id_])
            for now in (before, self.now())
        )  # fmt: skip


async def founded(made: Installation, stack: AsyncExitStack, told: Counter[str]) -> Played:
    """Three houses (one abroad, one of the police), a grown-up and a girl, everything in force and both agreed."""
    world = await stack.enter_async_context(network_in(made, made.settings))
    played = Played(made, world, await second_system(world, world.sender, ["intake:send"]), Rules(), told)
    for partner in (played.here, played.second):
        partner.patience_s = 30
    listed = (await world.admin.get("/intake/rules/need-to-know"))["rules"]
    for rule in listed:
        if rule["network"] == world.network and rule["service_group"] == "shelter":
            played.rules.needed[rule["stage"]][rule["id"]] = rule["fields"]
    stack.push_async_callback(played.end)
    for name, type_, country in (("House", "shelter", "KH"), ("Abroad", "shelter", "TH"), ("Police", "police", "KH")):
        await _house(played, name, type_, country)
    await played.corridor("TH", CATEGORIES)
    for age in (24, 15):
        person = Person(await world.entry(**{**RECORD, "age_years": age}), Said(minor=age < 18))
        played.people.append(person)
        await played.agree_to_everything(person)
    return played


async def _house(played: Played, name: str, type_: str, country: str) -> None:
    world = played.world
    made = await world.organisation(name, type_, ["referral:receive"], country=country)
    made.partner.patience_s = 30
    await world.admin.post(f"/referral/networks/{world.network}/members", {"organisation": made.id})
    body = {"organisation": made.id, "network": world.network, "service_types": ["emergency_bed"], "area": "KH-1",
            "usable": 6, "eligibility": {"needs": ["interpreter"]}}  # fmt: skip
    await world.admin.post("/referral/places", body)
    played.houses.append(House(Organisation(made.id, type_, country), made.partner))
    for one, other in ((world.sender.id, made.id), (made.id, world.sender.id)):
        await played.agreement(one, other, list(CATEGORIES), list(PURPOSES))
