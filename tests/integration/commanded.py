"""Commands to the services, which may be struck while they are carried out, sent again, or forgotten; and the rules in force."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx

from services.cli.client import ApiProblem, Partner
from tests.builders import CATEGORIES, PURPOSES, eventually
from tests.integration.leaving import House, Known, Person, Side, marked
from tests.integration.naive_gate import BELONGS, Rules, Said
from tests.integration.two_lands import HERE, THERE

# What says, by its code, that a holder was asked and gave no answer in time: nothing is told, and nothing was done.
SILENT = frozenset({"holder-silent"})


@dataclass
class Kept:
    """A command that may be sent again as it was."""

    side: Side | None
    partner: Partner
    path: str
    body: Any
    key: str


@dataclass
class Earlier:
    """A backup of the other holder's database, and what was so when it was made."""

    folder: Path
    said: dict[str, Said]
    rules: Rules
    commands: int


@dataclass
class Commanded(Known):
    """`proposed`: what stands, or may stand, in for consent."""

    admin: Partner | None = None
    commands: list[Kept] = field(default_factory=list)
    proposed: list[tuple[Person, str]] = field(default_factory=list)
    crash_at_next: bool = False
    earlier: Earlier | None = None

    # --- commands -------------------------------------------------------------------------------------------------

    async def post(self, side: Side | None, path: str, body: Any = None, partner: Partner | None = None) -> Any:
        """None where it was refused. Its holder may be struck meanwhile; then it is asked again until it is known what came
        of it. `side`: None is the network."""
        who = partner or (side.here if side else self.houses[0].partner)
        kept = Kept(side, who, path, body, f"played-{len(self.commands)}-{marked()}")
        crash, self.crash_at_next = self.crash_at_next, False
        try:
            if crash and side is not None:
                answer = await self._struck(side, kept)
            else:
                answer = await who.post(path, body, key=kept.key)
        except ApiProblem as problem:
            self.told[f"refused: {problem.code}"] += 1
            if problem.status >= 500 and problem.code not in SILENT:
                raise
            return None
        self.commands.append(kept)
        return answer

    async def _struck(self, side: Side, kept: Kept) -> Any:
        """While it is carried out: here the workers' sessions end, there the whole process."""
        if side.holder == HERE:
            answer, _ = await asyncio.gather(kept.partner.post(kept.path, kept.body, key=kept.key), self.cut_off(side))
            return answer
        asked = asyncio.create_task(kept.partner.post(kept.path, kept.body, key=kept.key))
        await asyncio.wait({asked}, timeout=(marked() % 20) / 1_000)
        await self.lands.kill()
        first = (await asyncio.gather(asked, return_exceptions=True))[0]
        self.told[
            "killed after its answer" if not isinstance(first, BaseException) else "killed before its answer"
        ] += 1
        if isinstance(first, BaseException) and not isinstance(first, (httpx.HTTPError, ApiProblem)):
            raise first
        await self.lands.start()
        return await kept.partner.post(kept.path, kept.body, key=kept.key)

    async def again(self, kept: Kept) -> None:
        """Nothing happens a second time."""
        try:
            await kept.partner.post(kept.path, kept.body, key=kept.key)
            self.told["replayed"] += 1
        except ApiProblem as problem:
            if problem.status not in {401, 403}:  # suspended meanwhile
                raise

    async def cut_off(self, side: Side) -> None:
        databases = ("intake", "referral") if side.holder == HERE else ("intake",)
        self.told["sessions cut off"] += await self.lands.cut_off(side.holder, *databases)

    async def kill(self) -> None:
        await self.lands.kill()
        await self.lands.start()
        self.told["killed"] += 1

    async def back_up(self) -> None:
        side = self.sides[THERE]
        folder = await self.lands.back_up()
        said = {one.entry: copy.deepcopy(one.said) for one in self.people if one.side is side}
        self.earlier = Earlier(folder, said, copy.deepcopy(side.rules), len(self.commands))
        self.told["backed up"] += 1

    async def put_back(self) -> None:
        """The other holder forgets: what was narrowed is remembered elsewhere; rules, and what stood in for consent, are again
        as they were (the runbook says so)."""
        earlier, side = self.earlier, self.sides[THERE]
        assert earlier is not None
        self.told["taken over from the log"] += await self.lands.put_back(earlier.folder)
        self.told["restored"] += 1
        for person in self.people:
            if person.side is not side:
                continue
            before, person.said = person.said, earlier.said[person.entry]
            person.said.forgets(before)
            before.marked, before.times = copy.deepcopy(person.said.marked), person.said.times
            person.before = before
        side.rules, side.restored, self.earlier = earlier.rules, True, None
        late = self.commands[earlier.commands :]
        self.commands[earlier.commands :] = [one for one in late if one.side is not side]
        self.proposed = [one for one in self.proposed if one[0].side is not side]

    # --- rules ----------------------------------------------------------------------------------------------------

    async def need(self, side: Side, stage: str, fields: list[str]) -> None:
        body = {"network": self.network, "group": "shelter", "stage": stage, "fields": fields}
        made = await self.post(side, "/intake/rules/need-to-know", body, side.admin)
        side.rules.needed[stage][made["id"]] = fields

    async def agreement(self, side: Side, one: str, other: str, categories: list[str], purposes: list[str]) -> None:
        body = {"sender": one, "recipient": other, "categories": categories, "purposes": purposes}
        made = await self.post(side, "/intake/rules/agreements", body, side.admin)
        side.rules.agreements[made["id"]] = (one, other, categories, purposes)

    async def corridor(self, side: Side, country: str, categories: list[str]) -> None:
        body = {
            "from_country": side.rules.country,
            "to_country": country,
            "categories": categories,
            "legal_basis": "test",
        }
        made = await self.post(side, "/intake/rules/corridors", body, side.admin)
        side.rules.corridors[made["id"]] = (country, categories)

    async def end_rule(self, side: Side, kind: str, id_: str) -> None:
        await self.post(side, f"/intake/rules/{kind}/{id_}/end", None, side.admin)
        for rules in (*side.rules.needed.values(), side.rules.agreements, side.rules.corridors):
            rules.pop(id_, None)  # type: ignore[attr-defined]
        self.told[f"ended: {kind}"] += 1

    async def end_alike(self, side: Side, kind: str, id_: str) -> None:
        """And all that say something about the same: nothing else stands in for it."""
        rules = side.rules
        alike: list[str]
        if kind == "agreements":
            alike = [one for one, said in rules.agreements.items() if said[:2] == rules.agreements[id_][:2]]
        elif kind == "corridors":
            alike = list(rules.corridors)
        else:
            alike = next(list(some) for some in rules.needed.values() if id_ in some)
        for one in alike:
            await self.end_rule(side, kind, one)

    async def mend_rules(self, side: Side) -> None:
        """Where there is none, there is one for everything."""
        for stage, some in side.rules.needed.items():
            if not some:
                placed = stage == "placement"
                fields = [one for one, category in BELONGS.items() if (category == "placement") == placed]
                await self.need(side, stage, fields)
        pairs = {said[:2] for said in side.rules.agreements.values()}
        for house in self.houses:
            for one, other in ((side.sender.id, house.facts.id), (house.facts.id, side.sender.id)):
                if (one, other) not in pairs:
                    await self.agreement(side, one, other, list(CATEGORIES), list(PURPOSES))
        if not side.rules.corridors:
            abroad = next(one.rules.country for one in self.sides.values() if one is not side)
            await self.corridor(side, abroad, list(CATEGORIES))

    async def end(self) -> None:
        """Corridors are everybody's: none is left to the next one."""
        for side in self.sides.values():
            for id_ in list(side.rules.corridors):
                await self.end_rule(side, "corridors", id_)

    async def suspend(self, house: House) -> None:
        assert self.admin is not None
        if await self.post(None, f"/referral/organisations/{house.facts.id}/suspend", None, self.admin):
            await eventually(lambda: self._heard(house), within_s=30)
            house.facts.works = False
            self.told["suspended"] += 1

    async def _heard(self, house: House) -> bool:
        """By both holders."""
        for holder in self.sides:
            conn = await asyncpg.connect(self.lands.dsn(holder))
            try:
                if not await conn.fetchval("select 1 from suspended where organisation = $1", UUID(house.facts.id)):
                    return False
            finally:
                await conn.close()
        return True
