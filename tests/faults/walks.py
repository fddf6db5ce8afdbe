"""Short walks of the property's own machine, one for each way in which the gate or the fences are broken on purpose: what is
said of one person, up to where a whole gate tells nothing more (or a whole fence holds), and the read that its judge looks at.

They are walked at the other holder, for that is a process: it can be of another source."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from tests.builders import CATEGORIES, PURPOSES, eventually
from tests.integration.founding import met
from tests.integration.leaving import House, Person, Side
from tests.integration.played import Played
from tests.integration.two_lands import THERE

# A holder that was started again, a machine that has much else to do, an event that is on its way: for how long at most.
SOON_S = 120.0
# What the judge says where more was told than may be, first word.
FINDINGS = frozenset({
    "a packet", "a text", "an inbox", "a placement", "an address", "who was asked", "who has a copy",
})  # fmt: skip
# All but one, and all but where the person is.
UNNAMED = [one for one in CATEGORIES if one != "identity"]
UNPLACED = [one for one in CATEGORIES if one != "placement"]


@dataclass
class Walk:
    """Somebody whom a house has taken in, on everybody's yes to everything. `number`: which house of the network's."""

    played: Played
    person: Person
    number: int
    offer: str

    @property
    def house(self) -> House:
        return self.played.houses[self.number]

    @property
    def side(self) -> Side:
        return self.person.side

    @property
    def handoff(self) -> str:
        return self.played.offers[self.offer]

    async def agrees(self, hours: int | None = None, **parts: Any) -> None:
        """To sharing with the sender and this house, but for `parts`."""
        usual = {
            "categories": list(CATEGORIES),
            "purposes": list(PURPOSES),
            "organisations": [-1, self.number],
            "classes": [],
        }
        await self.played.agree(self.person, "share_referral", hours, {**usual, **parts}, guardian=False)

    async def until_met(self, what: str, act: Callable[[], Awaitable[object]]) -> None:
        """Do this until it has come to what is counted as `what`: refused or not answered, it has shown nothing. What the judge
        finds meanwhile is raised."""
        before = self.played.told[what]

        async def is_met() -> bool:
            await act()
            return self.played.told[what] > before

        await eventually(is_met, within_s=SOON_S)

    async def read(self) -> int:
        """Until the packet arrives. Returns how many fields were told; the judge has looked at them."""
        before = self.played.told["packet"]
        await self.until_met("packets", lambda: self.played.read_now(self.house, self.offer))
        return self.played.told["packet"] - before

    @asynccontextmanager
    async def clock_waits(self) -> AsyncIterator[None]:
        """The holder's clock passes over what is due of this person: what is over by its time is nowhere written down."""
        conn = await asyncpg.connect(self.played.lands.dsn(THERE))
        try:
            async with conn.transaction():
                await conn.execute(
                    """
                    select 1 from due where subject = $1 or subject in (select id from basis where entry = $1)
                    order by kind, subject for update
                    """,
                    self.person.entry,
                )
                yield
        finally:
            await conn.close()


async def taken_in(played: Played, number: int) -> Walk:
    """Somebody who was met just now, with every rule in force."""
    side, house = played.sides[THERE], played.houses[number]
    walk = Walk(played, await met(played, side, 24), number, "")
    await walk.agrees()
    handoff = await played.request([walk.person])
    assert handoff is not None
    await eventually(lambda: played.is_looked_for(handoff), within_s=SOON_S)

    async def is_accepted() -> bool:
        """Where the holder is silent just now, nobody may accept."""
        for offer in await played.read_inbox(house):
            await played.accept(house, offer)
        walk.offer = next((offer for _, offer in played.accepted if played.offers[offer] == handoff), "")
        return walk.offer != ""

    await eventually(is_accepted, within_s=SOON_S)
    assert await walk.read(), "of who has said yes to everything something is told"
    return walk


# --- what is said of them ---------------------------------------------------------------------------------------------

# How the judge's look goes, once everything is said: it raises the judge's finding, or nothing.
Look = Callable[[], Awaitable[object]]
Way = Callable[[Walk], AbstractAsyncContextManager[Look]]


@asynccontextmanager
async def excluded(walk: Walk) -> AsyncIterator[Look]:
    await walk.played.exclude(walk.person, "organisation", walk.house.facts.id, lift=False)
    yield walk.read


@asynccontextmanager
async def stopped_and_forgotten(walk: Walk) -> AsyncIterator[Look]:
    """The database forgets the stop, and has the yes again: the fence alone is shut."""
    await walk.played.back_up()
    await walk.played.stop(walk.person, "sharing")
    await walk.played.put_back()
    yield walk.read


@asynccontextmanager
async def over_by_its_time(walk: Walk) -> AsyncIterator[Look]:
    await walk.agrees(hours=1)
    async with walk.clock_waits():
        await walk.played.pass_hours(2)
        yield walk.read


@asynccontextmanager
async def without_agreement(walk: Walk) -> AsyncIterator[Look]:
    """Rules are everybody's: what ends for the look is in force again after it."""
    pair = (walk.side.sender.id, walk.house.facts.id)

    async def look() -> None:
        rules = walk.side.rules.agreements
        await walk.played.end_alike(walk.side, "agreements", next(id_ for id_ in rules if rules[id_][:2] == pair))
        try:
            await walk.read()
        finally:
            await walk.played.agreement(walk.side, *pair, list(CATEGORIES), list(PURPOSES))

    yield look


@asynccontextmanager
async def without_corridor(walk: Walk) -> AsyncIterator[Look]:
    async def look() -> None:
        await walk.played.end_alike(walk.side, "corridors", next(iter(walk.side.rules.corridors)))
        try:
            await walk.read()
        finally:
            await walk.played.corridor(walk.side, walk.house.facts.country, list(CATEGORIES))

    yield look


@asynccontextmanager
async def for_another_purpose(walk: Walk) -> AsyncIterator[Look]:
    await walk.agrees(purposes=["referral"])
    yield walk.read


@asynccontextmanager
async def nobody_confirmed_it(walk: Walk) -> AsyncIterator[Look]:
    """A court order, after a stop, that no second person has looked at in time."""
    await walk.played.stop(walk.person, "sharing")
    await walk.played.mark(walk.person, "court_order", ["functional_needs", "safety"], walk.number)
    assert await walk.read(), "as long as it counts it opens what it names"
    async with walk.clock_waits():
        await walk.played.pass_hours(25)
        yield walk.read


@asynccontextmanager
async def stops_while_it_is_composed(walk: Walk) -> AsyncIterator[Look]:
    async def stops() -> None:
        await walk.agrees()
        await walk.played.stop_while_it_is_composed(walk.person, walk.house, walk.offer)

    yield lambda: walk.until_met("stopped while it was composed", stops)


# --- what shows it ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def on_the_page(walk: Walk) -> AsyncIterator[Look]:
    await walk.agrees(categories=UNNAMED)
    yield lambda: walk.until_met("page", lambda: walk.played.read_page(walk.house, walk.offer))


@asynccontextmanager
async def in_a_sealed_packet(walk: Walk) -> AsyncIterator[Look]:
    await walk.agrees(categories=UNNAMED)
    assert walk.house.seals is not None
    yield walk.read


@asynccontextmanager
async def in_the_inbox(walk: Walk) -> AsyncIterator[Look]:
    await walk.played.exclude(walk.person, "organisation", walk.house.facts.id, lift=False)

    async def answered() -> bool:
        await walk.played.read_inbox(walk.house)
        return walk.offer not in walk.played.silent

    yield lambda: eventually(answered, within_s=SOON_S)


@asynccontextmanager
async def to_the_sender(walk: Walk) -> AsyncIterator[Look]:
    await walk.until_met("whereabouts", lambda: walk.played.whereabouts(walk.house, walk.offer))
    await walk.agrees(categories=UNPLACED)
    yield lambda: walk.played.read_placement(walk.handoff)


@asynccontextmanager
async def in_the_list_of_who_was_asked(walk: Walk) -> AsyncIterator[Look]:
    await walk.agrees(categories=UNPLACED)
    yield lambda: walk.played.read_who_was_asked(walk.handoff)


@asynccontextmanager
async def in_the_list_of_copies(walk: Walk) -> AsyncIterator[Look]:
    await walk.played.stop(walk.person, "sharing")
    yield lambda: walk.until_met("copies", lambda: walk.played.read_copies(walk.handoff))


# Which house takes them in, where it is not the one in the holder's own country, to which packets leave sealed.
HOUSE: Mapping[Way, int] = {without_corridor: 0, on_the_page: 0}


async def turn(played: Played, tree: Path) -> None:
    """The other holder goes on as what this source is."""
    await played.lands.kill()
    played.lands.grounds.tree = tree
    await played.lands.start()


async def found_by_the_judge(look: Look) -> str:
    """The first word of the judge's finding; empty where there is none. Whatever else is wrong is raised."""
    try:
        await look()
    except AssertionError as error:
        said = error.args[0] if error.args else None
        if isinstance(said, tuple) and said[0] in FINDINGS:
            return str(said[0])
        raise
    return ""


@dataclass
class Walked:
    """The walks at their ends: how the judge looks there, and what it has found where nothing is broken."""

    played: Played
    looks: dict[str, Look]
    whole: dict[str, str]


@asynccontextmanager
async def walked(played: Played, ways: Mapping[str, Way]) -> AsyncIterator[Walked]:
    """All of them are walked beside each other, on a whole tree."""
    looks: dict[str, Look] = {}
    async with AsyncExitStack() as stack:
        for name, way in ways.items():
            walk = await taken_in(played, HOUSE.get(way, 1))
            looks[name] = await stack.enter_async_context(way(walk))
        yield Walked(played, looks, {name: await found_by_the_judge(look) for name, look in looks.items()})
