"""Bounded traffic over the public API, by partners that repeat an unanswered command with the same key until they know,
and a journal of what they were told."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

import httpx

from services.cli.client import ApiProblem, Partner
from tests.builders import CATEGORIES, PURPOSES, Organisation, World

# Longer than any outage that the schedules make, with the services' own waiting on top.
PATIENCE_S = 60.0
LOOK_EVERY_S = 0.25
PLAN_S = 400.0
# How often each story is played: the hand-off goes through, ends early or late, or is left where it is.
PLANS = {
    "through": 8, "cancel-early": 1, "cancel-late": 1, "cancel-race": 1, "stop-early": 1, "stop-late": 1, "service-ends": 2, "stay": 1,
    "wait": 1,
}  # fmt: skip
# What the coordinator does, in turn, about somebody whom nobody can take.
ACTIONS = ("ask-again", "ask-again", "take", "hand-back")
# Refusals that the stories may meet: somebody else was first.
REFUSED = frozenset({"no-longer-available", "place-gone", "state"})
FINAL = frozenset({"completed", "cancelled", "closed"})
# How long a house may think, in seconds: an offer that nobody answers is soon the next house's.
WINDOWS = {"answer_s": dict.fromkeys(("immediate", "emergency", "urgent", "normal"), 3)}
# Refusals of a door whose clock is wrong, or was when it gave the token; and of asking it for another one too often.
CLOCK_REFUSALS = frozenset({"bad-token", "bad-client", "too-often"})
# No clock is wrong for longer; and what a story waits for once all are right: then a time that a wrong one wrote down is in the way.
WRONG_MOST_S, LATE_S = 60.0, 15.0
BEFORE = datetime.min.replace(tzinfo=UTC)
T = TypeVar("T")


class InDoubt(Exception):
    """No answer in all that time: it may have happened or not."""


class Stuck(AssertionError):
    """Something that must come did not come."""


@dataclass
class Journal:
    """What the partners know. Commands are (what, subject); an answer is `done` or a refusal's code."""

    senders: set[str] = field(default_factory=set)
    entries: set[str] = field(default_factory=set)
    consents: Counter[str] = field(default_factory=Counter)
    handoffs: set[str] = field(default_factory=set)
    commands: dict[tuple[str, str], str] = field(default_factory=dict)
    # Person → when the answer to their withdrawal was in hand.
    stopped: dict[str, datetime] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    repeats: Counter[str] = field(default_factory=Counter)
    # Requests whose answer is not in hand: they may have happened or not.
    doubts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    # Since when every clock is right again (monotonic; infinity while one is wrong), and the latest time that one has told.
    right_since: float = -math.inf
    told: datetime = BEFORE

    def clocks_wrong(self, ahead_s: float) -> None:
        self.right_since = math.inf
        self.told = max(self.told, datetime.now(UTC) + timedelta(seconds=ahead_s + WRONG_MOST_S))

    def clocks_right(self) -> None:
        self.right_since = time.monotonic()

    def unsettled(self, began: float) -> bool:
        """Has a wrong clock had its part in what began then (monotonic)?"""
        return began < self.right_since + LATE_S


@dataclass
class Stubborn:
    """A partner's system that does not give up."""

    partner: Partner
    journal: Journal

    async def get(self, path: str) -> Any:
        return await self._until_answered(lambda: self.partner.get(path))

    async def post(self, path: str, body: Any = None) -> Any:
        key = str(uuid4())
        return await self._until_answered(lambda: self.partner.post(path, body, key=key))

    async def command(self, what: str, subject: str, path: str, body: Any = None) -> Any:
        """A command that the checker follows up. None where it was refused; the journal says why."""
        try:
            answer = await self.post(path, body)
        except ApiProblem as problem:
            if problem.code not in REFUSED:
                raise
            self.journal.commands[what, subject] = problem.code
            return None
        self.journal.commands[what, subject] = "done"
        return answer

    async def packet(self, offer: str) -> Any:
        return await self._until_answered(lambda: self.partner.packet(offer))

    async def meet(self, offer: str) -> Any:
        """Post a meeting point that names the offer, so that the person finds the door."""
        return await self._until_answered(lambda: self.partner.tell(offer, "whereabouts", {"meeting_point": offer}))

    async def _until_answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Raises ApiProblem for a refusal, InDoubt."""
        began = time.monotonic()
        until = began + PATIENCE_S
        while True:
            try:
                return await ask()
            except httpx.TransportError as error:
                self.journal.repeats[type(error).__name__] += 1
            except ApiProblem as problem:
                if problem.status == httpx.codes.INTERNAL_SERVER_ERROR:
                    self.journal.faults[problem.code] += 1
                elif problem.code in CLOCK_REFUSALS and self.journal.unsettled(began):
                    pass
                elif problem.status != httpx.codes.SERVICE_UNAVAILABLE and problem.code != "key-running":
                    raise
                self.journal.repeats[problem.code] += 1
            if time.monotonic() > until:
                raise InDoubt
            await pause()


async def pause(seconds: float = LOOK_EVERY_S, end: asyncio.Event | None = None) -> None:
    """Look again in a while, or at once when `end` comes."""
    try:
        async with asyncio.timeout(seconds):
            await (end or asyncio.Event()).wait()
    except TimeoutError:
        return


class Load:
    """A network's partners at work: senders who play stories, houses that answer, a coordinator who asks again."""

    def __init__(self, world: World, journal: Journal, seed: int) -> None:
        self.world, self.journal = world, journal
        self._random = random.Random(seed)  # noqa: S311
        self._over = asyncio.Event()
        self._sender = Stubborn(world.sender.partner, journal)
        self._house_of: dict[str, Stubborn] = {}
        # Hand-off → when it was asked for (monotonic).
        self._asked: dict[str, float] = {}
        journal.senders.add(world.sender.id)

    async def run(self, people: int, at_once: int, enough: asyncio.Event | None = None) -> None:
        """Play `people` stories (fewer when `enough` comes first), `at_once` at a time; returns when each that has begun
        has come to its end. Raises Stuck, InDoubt."""
        stories = [self._random.choices(list(PLANS), list(PLANS.values()))[0] for _ in range(people)]
        async with asyncio.TaskGroup() as others:
            for number, house in enumerate(self.world.houses):
                others.create_task(self._receive(house, random.Random(number)))  # noqa: S311
            others.create_task(self._coordinate())
            todo = iter(stories)

            async def work() -> None:
                for story in todo:
                    if enough is not None and enough.is_set():
                        return
                    async with asyncio.timeout(PLAN_S):
                        await self._play_or_end(story)

            async with asyncio.TaskGroup() as senders:
                for _ in range(at_once):
                    senders.create_task(work())
            self._over.set()

    # --- the sender -----------------------------------------------------------------------------------------------

    async def _play_or_end(self, story: str) -> None:
        """Where a wrong clock has written down what the story must wait for (hours, perhaps), or has it refused, the sender
        does what a sender can: takes the request back."""
        began, mine = time.monotonic(), list[str]()
        try:
            await self._play(story, mine)
        except (Stuck, ApiProblem) as problem:
            if not self.journal.unsettled(began):
                raise
            self.journal.repeats[f"ended early: {getattr(problem, 'code', 'late')}"] += 1
            for handoff in mine:
                if ("cancel", handoff) not in self.journal.commands:
                    await self.cancel(handoff)

    async def _play(self, story: str, mine: list[str]) -> None:
        """Appends its hand-off to `mine`."""
        began = time.monotonic()
        party = [await self.person() for _ in range(2 if self._random.random() < 0.15 else 1)]
        handoff = await self.request(party)
        mine.append(handoff)
        if story in {"cancel-early", "stop-early"}:
            await pause(self._random.random())
        elif not await self._ready(handoff):
            return
        match story:
            case "through" | "stay":
                await self._arrive(handoff, leave=story == "stay")
            case "cancel-early" | "cancel-late":
                await self.cancel(handoff)
            case "cancel-race":
                await self._cross(handoff)
            case "stop-early":
                await self.withdraw(party[0], "sharing")
                await self.state(handoff, "unroutable", "on-hold", "answered", *FINAL)
            case "stop-late":
                await self.withdraw(party[-1], "sharing")
                await self._arrive(handoff, leave=True)
            case "service-ends":
                await self.withdraw(party[0], "service")
                await self.state(handoff, *FINAL)
            case "wait":
                await self._sender.command("depart", handoff, f"/referral/referrals/{handoff}/departed")
        self.journal.seconds.append(time.monotonic() - began)

    async def _ready(self, handoff: str) -> bool:
        """Whether a house waits; where nobody can take them in the end, the sender takes the request back."""
        shown = await self.state(handoff, "ready", "on-hold", *FINAL)
        if shown["state"] == "on-hold":
            await self.cancel(handoff)
        return bool(shown["state"] == "ready")

    async def person(self) -> str:
        person = {"age_years": 24, "sex": "female", "needs": [], "languages": ["khm"], "name": "Test Person"}
        body = {"channel": "border_post", "area": "KH-1", "person": person}
        self.journal.doubts["entry"] += 1
        entry = str((await self._sender.post("/intake/entries", body))["id"])
        self.journal.entries.add(entry)
        self.journal.doubts["entry"] -= 1
        said = {"state": "given", "expressed": "spoken", "language": "khm", "notice": "1-khm"}
        sharing = {
            "categories": CATEGORIES, "purposes": PURPOSES,
            "recipients": {"classes": [{"type": "shelter"}], "organisations": [self.world.sender.id]},
        }  # fmt: skip
        for consent in ({**said, "decision": "service"}, {**said, **sharing, "decision": "share_referral"}):
            await self._sender.post(f"/intake/entries/{entry}/consents", consent)
            self.journal.consents[entry] += 1
        await self._sender.post(f"/intake/entries/{entry}/case")
        return entry

    async def request(self, party: list[str]) -> str:
        body = {
            "network": self.world.network, "service_type": "emergency_bed", "urgency": "emergency", "area": "KH-1",
            "members": party,
        }  # fmt: skip
        self.journal.doubts["handoff"] += 1
        began = time.monotonic()
        handoff = str((await self._sender.post("/intake/handoffs", body))["id"])
        self.journal.handoffs.add(handoff)
        self._asked[handoff] = began
        self.journal.doubts["handoff"] -= 1
        return handoff

    async def cancel(self, handoff: str) -> None:
        await self._sender.command("cancel", handoff, f"/intake/handoffs/{handoff}/cancel")

    async def withdraw(self, entry: str, what: str) -> None:
        await self._sender.command(f"withdraw-{what}", entry, f"/intake/entries/{entry}/withdraw", {"what": what})
        self.journal.stopped[entry] = datetime.now(UTC)
        # Nothing is shared of a person who wants no service: that is a record of its own.
        self.journal.consents[entry] += 2 if what == "service" else 1

    async def state(self, handoff: str, *states: str, every_s: float = LOOK_EVERY_S) -> dict[str, Any]:
        began = time.monotonic()
        while not self._late(handoff, began):
            shown: dict[str, Any] = await self._sender.get(f"/intake/handoffs/{handoff}")
            if shown["state"] in states:
                return shown
            await pause(every_s)
        raise Stuck(f"hand-off {handoff} never became {states}")

    def _late(self, handoff: str, began: float) -> bool:
        now, right = time.monotonic(), self.journal.right_since
        return now > began + PLAN_S or (self._asked.get(handoff, began) < right < now - LATE_S)

    async def _door(self, handoff: str) -> tuple[str, str] | None:
        """(offer, code) once the house has said where it waits; None where it has ended before."""
        began = time.monotonic()
        while not self._late(handoff, began):
            shown = await self._sender.get(f"/intake/handoffs/{handoff}")
            if shown["state"] in FINAL:
                return None
            if shown["meeting_point"] and shown["hand_over_code"]:
                return shown["meeting_point"], shown["hand_over_code"]
            await pause()
        raise Stuck(f"no house waits for hand-off {handoff}")

    async def _arrive(self, handoff: str, *, leave: bool) -> None:
        door = await self._door(handoff)
        if door is None:
            return
        offer, code = door
        house = self._house_of[offer]
        await house.command("arrive", offer, f"/referral/offers/{offer}/arrived", {"code": code})
        if leave:
            await self.state(handoff, "in-progress", "answered", *FINAL)
            return
        await pause(self._random.random())
        await house.command("outcome", offer, f"/referral/offers/{offer}/outcome", {"outcome": "needs_met"})
        await self.state(handoff, *FINAL)

    async def _cross(self, handoff: str) -> None:
        """They are at the door at the moment at which the sender takes the request back."""
        if (door := await self._door(handoff)) is not None:
            body = {"code": door[1]} if self._random.random() < 0.5 else {}
            arrived = self._house_of[door[0]].command("arrive", door[0], f"/referral/offers/{door[0]}/arrived", body)
            await asyncio.gather(arrived, self.cancel(handoff))

    # --- houses and the coordinator -------------------------------------------------------------------------------

    async def _receive(self, house: Organisation, dice: random.Random) -> None:
        """Answer what comes in: most is accepted, some is declined, some is never answered."""
        mine, answered = Stubborn(house.partner, self.journal), set[str]()
        while not self._over.is_set():
            offers = (await mine.get("/referral/offers?state=sent&state=seen"))["offers"]
            for offer in (one["id"] for one in offers if one["id"] not in answered):
                answered.add(offer)
                await self._answer(mine, offer, dice.random())
            await pause(end=self._over)

    async def _answer(self, house: Stubborn, offer: str, chance: float) -> None:
        if chance < 0.08 and not self.journal.unsettled(time.monotonic()):
            return
        if chance < 0.2:
            await house.command("decline", offer, f"/referral/offers/{offer}/decline", {"reason": "no_capacity"})
        elif await house.command("accept", offer, f"/referral/offers/{offer}/accept"):
            await self._welcome(house, offer)
        elif self.journal.commands["accept", offer] == "place-gone":
            await house.command("decline", offer, f"/referral/offers/{offer}/decline", {"reason": "no_capacity"})

    async def _welcome(self, house: Stubborn, offer: str) -> None:
        self._house_of[offer], began = house, time.monotonic()
        try:
            await house.packet(offer)
            await house.meet(offer)
        except ApiProblem as problem:
            if problem.code not in {"no-longer-available", "state", "not-found"} and not self.journal.unsettled(began):
                raise

    async def _coordinate(self) -> None:
        """Whoever nobody could take is asked for again, some times."""
        mine, asked = Stubborn(self.world.coordinator.partner, self.journal), Counter[str]()
        while not self._over.is_set():
            for one in (await mine.get("/referral/escalations"))["escalations"]:
                referral = one["referral"]
                if one["state"] != "unroutable" or asked[referral] >= len(ACTIONS):
                    continue
                asked[referral] += 1
                what = ACTIONS[asked[referral] - 1]
                await mine.command(f"{what} {asked[referral]}", referral, f"/referral/escalations/{referral}/{what}")
            await pause(1.0, self._over)
