"""The network's state machines on real PostgreSQL: any order of what the holder, the houses, the coordinator, the
administrator and the clock may do, with everything that must always hold looked at after each step.

The handlers are called as the services call them; the test plays the holder (who may be asked) and moves the clock.
What is said goes straight to *notify*'s handlers, whose projections must agree.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from schemas import events as e
from schemas import questions as q
from schemas.vocabulary import (
    DeclineReason,
    OrganisationStatus,
    OrganisationType,
    ReasonFamily,
    ServiceGroup,
    ServiceType,
    Urgency,
)
from services.notify import consumers as notify
from services.notify.main import MIGRATIONS as TELLING
from services.referral.escalations import handlers as escalations
from services.referral.main import MIGRATIONS as NETWORK
from services.referral.partners import handlers as partners
from services.referral.partners import store as partner_store
from services.referral.partners.store import Organisation
from services.referral.places import handlers as places
from services.referral.places import store as place_store
from services.referral.places.store import Place
from services.referral.referrals import handlers, store
from services.referral.referrals.domain import FINAL, State, Windows
from spean.ask import HolderSilent
from spean.consumer import handle
from spean.db import Database, Tx
from spean.embedded import Server
from spean.ids import opaque_id
from spean.outbox import event_of
from spean.problem import Refusal
from spean.provision import Roles, prepare, service_dsns

T = TypeVar("T")
HOLDER = "main"
ROLES = Roles(b"secret of the tests")
SHORT = dict.fromkeys(Urgency.__members__.values(), 600)
WINDOWS = Windows(
    answer_s={u: 300 for u in SHORT if u != "unknown"}, service_s={u: 1_800 for u in SHORT if u != "unknown"},
    ready_s=200, arrive_s=900, outcome_s=5_000, remind_s=400, taken_s=2_000,
)  # fmt: skip
ARRIVED = {State.IN_PROGRESS, State.COMPLETED}
STATES_OF_OFFER = {
    State.OFFERED: {"sent", "seen"}, State.ACCEPTED: {"accepted"}, State.READY: {"accepted"}, State.MISSING: {"accepted"},
    State.IN_PROGRESS: {"accepted"}, State.COMPLETED: {"accepted"}, State.ON_HOLD: {"accepted"},
}  # fmt: skip
STATE_OF_HOLD = {
    State.ACCEPTED: "held", State.READY: "held", State.MISSING: "held", State.ON_HOLD: "held",
    State.IN_PROGRESS: "staying", State.COMPLETED: "freed",
}  # fmt: skip


@dataclass
class Databases:
    network: Database
    telling: Database


@pytest.fixture(scope="module")
async def dsns(postgres: Server) -> list[tuple[str, str]]:
    """Two databases of their own in the session's PostgreSQL."""
    made = []
    for name, migrations in (("model_network", NETWORK), ("model_telling", TELLING)):
        await prepare(postgres, ROLES, name, migrations)
        made.append(service_dsns(postgres, ROLES, name))
    return made


@contextlib.asynccontextmanager
async def opened(dsns: list[tuple[str, str]]) -> AsyncIterator[Databases]:
    network, telling = [await Database.open(*one, api_size=2, worker_size=2) for one in dsns]
    try:
        yield Databases(network, telling)
    finally:
        await network.close()
        await telling.close()


class Town:
    """A network of three houses with two senders, driven through the handlers."""

    def __init__(self, db: Databases) -> None:
        self.db, self.network = db, opaque_id()
        self.senders: list[UUID] = []
        self.houses: list[UUID] = []
        self.places: list[UUID] = []
        self.coordinator = opaque_id()
        self.allowed: dict[UUID, set[UUID]] = {}
        self.silent = False

    async def found(self, sizes: list[int], windows: Windows = WINDOWS) -> None:
        async with self.db.network.transaction("model.found") as tx:
            self.coordinator = await self._organisation(tx, OrganisationType.COORDINATION)
            await partners.found_network(tx, self.network, "Model", self.coordinator, windows, sample=True)
            self.senders = [await self._organisation(tx, OrganisationType.BORDER_POST) for _ in range(2)]
            self.houses = [await self._organisation(tx, OrganisationType.SHELTER) for _ in sizes]
            for organisation in (*self.senders, *self.houses):
                await partners.join(tx, self.network, organisation)
            for house, usable in zip(self.houses, sizes, strict=True):
                place = Place(
                    opaque_id(), house, self.network, ServiceGroup.SHELTER, (ServiceType.EMERGENCY_BED,), "KH-1",
                    q.Eligibility(), usable, 0, 0, 0, 1,
                )  # fmt: skip
                await places.register(tx, place)
                self.places.append(place.id)

    async def _organisation(self, tx: Tx, kind: OrganisationType) -> UUID:
        made = Organisation(
            opaque_id(),
            "Sample",
            kind,
            "KH",
            law_enforcement=False,
            status=OrganisationStatus.ACTIVE,
            sample=True,
            version=1,
        )
        await partners.register(tx, made)
        return made.id

    async def run(self, act: Callable[[Tx], Awaitable[T]], org: UUID | None = None) -> T:
        async with self.db.network.transaction("model.act", org=org) as tx:
            return await act(tx)

    async def try_(self, act: Callable[[Tx], Awaitable[Any]], org: UUID | None = None) -> str | None:
        """The code of the refusal, or None where it was done."""
        try:
            await self.run(act, org)
        except Refusal as refusal:
            return refusal.code
        return None

    async def ask(self, _: str, question: q.NextCandidateQuestion) -> q.NextCandidateAnswer:
        """The holder's answer: the first candidate that this person's gate allows."""
        if self.silent:
            raise HolderSilent
        allowed = self.allowed[question.referral]
        return q.NextCandidateAnswer(place=next((c.place for c in question.candidates if c.place in allowed), None))

    async def request(self, urgency: Urgency = Urgency.URGENT, number: int = 1, need_by_s: int | None = None,
                      sender: int = 0) -> UUID:  # fmt: skip
        id_ = opaque_id()
        self.allowed[id_] = set(self.places)

        async def receive(tx: Tx) -> None:
            asked = e.HandoffRequestedV1(
                network=self.network, sender=self.senders[sender], group=ServiceGroup.SHELTER, urgency=urgency, area="KH-1",
                places=number, requested_at=tx.now, need_by=tx.now + timedelta(seconds=need_by_s) if need_by_s else None,
            )  # fmt: skip
            await handlers.receive(tx, id_, HOLDER, asked)

        await self.run(receive)
        return id_

    async def referral(self, id_: UUID) -> asyncpg.Record:
        return (await self.rows("select * from referral where id = $1", id_))[0]

    async def offer(self, id_: UUID) -> asyncpg.Record:
        return (await self.rows("select o.* from offer o join referral r on r.offer = o.id where r.id = $1", id_))[0]

    async def rows(self, query: str, *values: object) -> list[asyncpg.Record]:
        async with self.db.network.transaction("model.look") as tx:
            return await tx.conn.fetch(query, *values)

    async def now(self) -> datetime:
        async with self.db.network.transaction("model.now") as tx:
            return tx.now

    async def next_due(self) -> asyncpg.Record | None:
        rows = await self.rows(
            "select d.* from due d join referral r on r.id = d.subject where r.network = $1 order by d.at, d.kind limit 1",
            self.network,
        )
        return rows[0] if rows else None

    async def pass_time_until(self, at: datetime) -> None:
        self.db.network.shift += max(at - await self.now(), timedelta(0)) + timedelta(milliseconds=1)

    async def tick(self) -> asyncpg.Record | None:
        """Move to the next time at which something is due, and let the clock do it."""
        due = await self.next_due()
        if due is None:
            return None
        await self.pass_time_until(due["at"])
        if due["kind"] == store.DEADLINE:
            await handlers.pass_deadline(self.db.network, due["subject"])
        else:
            with contextlib.suppress(HolderSilent):
                await handlers.wake(self.db.network, self.ask, due["subject"])
        return due

    # --- the houses and the coordinator -------------------------------------------------------------------------------

    async def answer(self, offer: asyncpg.Record, answer: str) -> str | None:
        async def act(tx: Tx) -> None:
            referral, mine = await handlers.lock_open(tx, offer["id"], offer["organisation"])
            if answer == "accept":
                await handlers.accept(tx, referral, mine)
            else:
                await handlers.decline(tx, referral, mine, DeclineReason(answer))

        return await self.try_(act, offer["organisation"])

    async def progress(self, offer: asyncpg.Record, step: str) -> str | None:
        async def act(tx: Tx) -> None:
            referral, mine = await handlers.lock_accepted(tx, offer["id"], offer["organisation"])
            if step == "complete":
                await handlers.complete(tx, referral, mine)
            else:
                await handlers.arrive(tx, referral, mine, verified=step == "verified")

        return await self.try_(act, offer["organisation"])

    async def coordinate(self, id_: UUID, action: str, place: UUID | None = None) -> str | None:
        async def act(tx: Tx) -> None:
            locked = await escalations.lock_escalated(tx, id_, self.coordinator)
            if action == "take":
                await escalations.take(tx, locked, "somebody")
            elif action == "ask_again":
                await escalations.ask_again(tx, locked)
            elif action == "hand_back":
                await escalations.hand_back(tx, locked)
            elif place is not None:
                named = await store.candidate_place(tx, locked, place)
                if named is None:
                    raise Refusal("place-gone")
                await escalations.ask_named(tx, locked, named)

        as_itself = action in {"take", "hand_back"}
        return await self.try_(act, self.coordinator if as_itself else None)

    async def suspend(self, organisation: UUID) -> None:
        async def act(tx: Tx) -> None:
            await partners.suspend(tx, await partner_store.lock_organisation(tx, organisation))

        await self.run(act)

    # --- what must always hold ----------------------------------------------------------------------------------------

    async def tell_notify(self) -> None:
        """Give what was said since the last time to *notify*, in the order in which it was said."""
        async with self.db.network.transaction("model.relay") as tx:
            rows = await tx.conn.fetch("delete from outbox returning *")
        async with self.db.telling.transaction("model.tell") as tx:
            for row in sorted(rows, key=lambda row: row["number"]):
                assert await handle(tx, event_of(row, "spean/referral"), notify.HANDLERS) is None

    async def check(self) -> None:
        await self.tell_notify()
        await self._check_places()
        for row in await self.rows("select * from referral where network = $1", self.network):
            await self._check_referral(row)

    async def _check_places(self) -> None:
        rows = await self.rows(
            """
            select p.*, coalesce(sum(h.places) filter (where h.state = 'held'), 0) as in_hold,
                   coalesce(sum(h.places) filter (where h.state = 'staying'), 0) as in_stay
            from place p left join hold h on h.place = p.id where p.network = $1 group by p.id
            """,
            self.network,
        )
        async with self.db.telling.transaction("model.look") as tx:
            told = {
                row["place"]: row
                for row in await tx.conn.fetch("select * from capacity_view where network = $1", self.network)
            }
        for row in rows:
            assert (row["held"], row["staying"]) == (row["in_hold"], row["in_stay"])
            free = row["usable"] - row["outside"] - row["held"] - row["staying"]
            assert free >= 0
            assert (told[row["id"]]["usable"], told[row["id"]]["free"]) == (row["usable"], free)

    async def _check_referral(self, row: asyncpg.Record) -> None:
        state, id_ = State(row["state"]), row["id"]
        offers = {o["id"]: o for o in await self.rows("select * from offer where referral = $1", id_)}
        assert sum(o["state"] in {"sent", "seen", "accepted"} for o in offers.values()) <= 1
        if row["offer"] is not None:
            assert offers[row["offer"]]["state"] in STATES_OF_OFFER[state]
        else:
            assert not any(o["state"] in {"sent", "seen", "accepted"} for o in offers.values())
        holds = {
            h["offer"]: h["state"] for h in await self.rows("select * from hold where offer = any($1)", list(offers))
        }
        for offer, held in holds.items():
            assert held == (STATE_OF_HOLD[state] if offer == row["offer"] else "freed")
        if state in STATE_OF_HOLD and row["offer"] is not None:
            assert row["offer"] in holds

        due = {d["kind"]: d["at"] for d in await self.rows("select * from due where subject = $1", id_)}
        if state in FINAL:
            assert due == {}
        else:
            assert due[store.WAKE] == row["wake_at"] is not None, "nothing waits unseen"
            overdue = store.DEADLINE not in due and state is not State.IN_PROGRESS
            assert not overdue or row["escalated"] is not None, "past its deadline and nobody's"

        async with self.db.telling.transaction("model.look") as tx:
            told = await tx.conn.fetchrow("select * from referral_view where id = $1", id_)
        assert told is not None
        for column in ("network", "coordinator", "places", "deadline", "state", "escalated", "arrived_at", "ended_at"):
            assert told[column] == row[column], column
        assert (told["verified"], told["asked"]) == (row["arrival_verified"], len(offers))


PICK = st.integers(0, 1_000_000)


class Machine(RuleBasedStateMachine):
    def __init__(self, runner: asyncio.Runner, db: Databases) -> None:
        super().__init__()
        self.runner, self.town = runner, Town(db)
        self.asked: list[UUID] = []

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def some(self, pick: int) -> UUID:
        return self.asked[pick % len(self.asked)]

    def offers(self, *states: str) -> list[asyncpg.Record]:
        query = "select o.* from offer o join referral r on r.id = o.referral where r.network = $1 and o.state = any($2) order by o.sent_at, o.id"
        return self.do(self.town.rows(query, self.town.network, list(states)))

    @initialize(sizes=st.lists(st.integers(0, 3), min_size=3, max_size=3))
    def found(self, sizes: list[int]) -> None:
        self.do(self.town.found(sizes))

    @rule(urgency=st.sampled_from(["immediate", "normal"]), number=st.integers(1, 2),
          need_by_s=st.none() | st.integers(1, 900), sender=st.integers(0, 1))  # fmt: skip
    def request(self, urgency: str, number: int, need_by_s: int | None, sender: int) -> None:
        if len(self.asked) < 6:
            self.asked.append(self.do(self.town.request(Urgency(urgency), number, need_by_s, sender)))

    @rule(steps=st.integers(1, 3))
    def clock(self, steps: int) -> None:
        for _ in range(steps):
            due = self.do(self.town.tick())
            if due is None:
                return
            after = self.do(self.town.next_due())
            repeated = after is not None and (after["kind"], after["subject"], after["at"]) == (
                due["kind"],
                due["subject"],
                due["at"],
            )
            assert self.town.silent or not repeated, "the clock would do the same again at once, for ever"

    @precondition(lambda self: self.asked)
    @rule(silent=st.booleans())
    def holder_falls_silent_or_speaks(self, *, silent: bool) -> None:
        self.town.silent = silent

    @precondition(lambda self: self.asked)
    @rule(pick=PICK, keep=st.sets(st.integers(0, 2)))
    def gate_changes(self, pick: int, keep: set[int]) -> None:
        id_ = self.some(pick)
        self.town.allowed[id_] = {self.town.places[number] for number in keep}
        before = self.do(self.town.referral(id_))
        self.do(self.town.run(lambda tx: handlers.stop_disclosure(tx, id_, HOLDER)))
        after = self.do(self.town.referral(id_))
        if before["state"] == State.OFFERED:
            assert (after["state"], after["offer"], after["stopped"]) == (State.REQUESTED, None, True)
        else:
            assert (after["state"], after["offer"]) == (before["state"], before["offer"]), "a stop never costs a bed"

    @precondition(lambda self: self.asked)
    @rule(pick=PICK, answer=st.sampled_from(["accept", "accept", "accept", "no_capacity", "house_conflict"]),
          late=st.booleans())  # fmt: skip
    def house_answers(self, pick: int, answer: str, *, late: bool) -> None:
        found = self.offers("sent", "seen")
        if not found:
            return
        offer = found[pick % len(found)]
        if late:
            self.do(self.town.pass_time_until(offer["answer_by"]))
        in_time = self.do(self.town.now()) <= offer["answer_by"]
        place = self.do(self.town.rows("select * from place where id = $1", offer["place"]))[0]
        referral = self.do(self.town.referral(offer["referral"]))
        room = place["usable"] - place["outside"] - place["held"] - place["staying"] >= referral["places"]
        refused = self.do(self.town.answer(offer, answer))
        expected = None if in_time else "no-longer-available"
        if in_time and answer == "accept" and not room:
            expected = "place-gone"
        assert refused == expected

    @precondition(lambda self: self.asked)
    @rule(house=st.integers(0, 2))
    def house_looks(self, house: int) -> None:
        organisation = self.town.houses[house]
        mine = {o["id"] for o in self.offers("sent", "seen", "expired") if o["organisation"] == organisation}
        unseen = {o["id"] for o in self.offers("sent") if o["organisation"] == organisation}
        changed = self.do(self.town.run(lambda tx: handlers.see(tx, mine), organisation))
        assert set(changed) == unseen

    @precondition(lambda self: self.asked)
    @rule(pick=PICK)
    def packet_is_released(self, pick: int) -> None:
        for offer in self.offers("accepted", "withdrawn"):
            if offer["referral"] == self.some(pick):
                before = self.do(self.town.referral(offer["referral"]))
                self.do(self.town.run(lambda tx, o=offer: handlers.release(tx, o["referral"], HOLDER, o["id"])))
                after = self.do(self.town.referral(offer["referral"]))
                legal = before["state"] == State.ACCEPTED and before["offer"] == offer["id"]
                assert after["state"] == (State.READY if legal else before["state"])

    @precondition(lambda self: self.asked)
    @rule(pick=PICK, step=st.sampled_from(["verified", "unverified", "complete"]))
    def house_goes_on(self, pick: int, step: str) -> None:
        found = self.offers("accepted", "withdrawn", "expired")
        if not found:
            return
        offer = found[pick % len(found)]
        before = self.do(self.town.referral(offer["referral"]))
        refused = self.do(self.town.progress(offer, step))
        before_arrival = {State.ACCEPTED, State.READY, State.MISSING}
        from_states = {State.MISSING, State.IN_PROGRESS} if step == "complete" else before_arrival
        legal = before["state"] in from_states and before["offer"] == offer["id"]
        assert refused == (None if legal else "state")
        after = self.do(self.town.referral(offer["referral"]))
        if legal and step != "complete":
            assert (after["state"], after["arrival_verified"]) == (State.IN_PROGRESS, step == "verified")

    @precondition(lambda self: self.asked)
    @rule(pick=PICK)
    def sender_cancels(self, pick: int) -> None:
        id_ = self.some(pick)
        before = self.do(self.town.referral(id_))
        self.do(self.town.run(lambda tx: handlers.cancel(tx, id_, HOLDER, ReasonFamily.OTHER)))
        after = self.do(self.town.referral(id_))
        if State(before["state"]) in ARRIVED:
            assert after["state"] == before["state"], "after arrival no event frees a place"
            assert after["ending"] == (before["state"] == State.IN_PROGRESS or before["ending"])
        else:
            assert after["state"] == State.CANCELLED

    @precondition(lambda self: self.asked)
    @rule(pick=PICK, action=st.sampled_from(["take", "ask_again", "hand_back", "ask_named"]), place=st.integers(0, 2))
    def coordinator_acts(self, pick: int, action: str, place: int) -> None:
        id_ = self.some(pick)
        before = self.do(self.town.referral(id_))
        refused = self.do(self.town.coordinate(id_, action, self.town.places[place]))
        after = self.do(self.town.referral(id_))
        if before["escalated"] is None:
            assert refused == "state"
        elif action == "take":
            assert (refused, after["taken_by"]) == (None, "somebody")
        elif action in {"ask_again", "ask_named"} and refused is None:
            assert before["state"] in {State.UNROUTABLE, State.ON_HOLD}
            assert after["state"] == (State.REQUESTED if action == "ask_again" else State.OFFERED)
        elif refused is None:
            assert (after["state"], before["offer"]) == (State.ON_HOLD, None)

    @precondition(lambda self: self.asked)
    @rule(pick=PICK)
    def sender_says_departed(self, pick: int) -> None:
        id_ = self.some(pick)
        before = self.do(self.town.referral(id_))

        async def act(tx: Tx) -> None:
            await handlers.depart(tx, await handlers.lock_sent(tx, id_, before["sender"]))

        refused = self.do(self.town.try_(act, before["sender"]))
        assert refused == (None if before["state"] == State.READY else "state")

    @precondition(lambda self: self.asked)
    @rule(place=st.integers(0, 2), usable=st.integers(0, 5), more=st.integers(0, 3))
    def house_counts(self, place: int, usable: int, more: int) -> None:
        id_ = self.town.places[place]
        before = self.do(self.town.rows("select * from place where id = $1", id_))[0]

        async def act(tx: Tx) -> None:
            await places.count(tx, await place_store.lock_place(tx, id_), usable, more)

        refused = self.do(self.town.try_(act, before["organisation"]))
        assert refused == ("places-in-use" if before["held"] + before["staying"] + more > usable else None)

    @precondition(lambda self: len(self.asked) > 2)
    @rule(who=st.integers(0, 4), really=st.integers(0, 3))
    def organisation_is_suspended(self, who: int, really: int) -> None:
        if really:
            return
        organisation = [*self.town.houses, *self.town.senders][who]
        self.do(self.town.suspend(organisation))
        open_ = [o for o in self.offers("sent", "seen") if o["organisation"] == organisation]
        assert open_ == []
        sent = "select * from referral where network = $1 and sender = $2 and ended_at is null and escalated is null"
        assert self.do(self.town.rows(sent, self.town.network, organisation)) == []

    @invariant()
    def everything_holds(self) -> None:
        if self.town.places:
            self.do(self.town.check())


def _run(dsns: list[tuple[str, str]], examples: int, steps: int, *, derandomize: bool) -> None:
    """In a thread of its own: hypothesis is not asynchronous, and the session's own loop goes on meanwhile."""
    with asyncio.Runner() as runner, _entered(runner, opened(dsns)) as db:
        run_state_machine_as_test(
            lambda: Machine(runner, db),
            settings=settings(
                max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=derandomize, database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip


@contextlib.contextmanager
def _entered(runner: asyncio.Runner, context: contextlib.AbstractAsyncContextManager[T]) -> Iterator[T]:
    entered = runner.run(_enter(context))
    try:
        yield entered
    finally:
        runner.run(_leave(context))


async def _enter(context: contextlib.AbstractAsyncContextManager[T]) -> T:
    return await context.__aenter__()


async def _leave(context: contextlib.AbstractAsyncContextManager[Any]) -> None:
    await context.__aexit__(None, None, None)


async def test_any_order_of_what_may_happen_keeps_every_rule(dsns: list[tuple[str, str]]) -> None:
    await asyncio.to_thread(_run, dsns, 30, 40, derandomize=True)


@pytest.mark.long
@pytest.mark.timeout(1_500)
async def test_any_order_at_length(dsns: list[tuple[str, str]]) -> None:
    await asyncio.to_thread(_run, dsns, 150, 60, derandomize=False)


# --- every state, one by one ------------------------------------------------------------------------------------------


async def _to(town: Town, state: State) -> UUID:
    """A referral in this state, by the shortest way."""
    if state in {State.UNROUTABLE, State.ON_HOLD}:
        id_ = await town.request()
        town.allowed[id_] = set()
        if state is State.ON_HOLD:
            await town.run(lambda tx: handlers.stop_disclosure(tx, id_, HOLDER))
        await town.tick()
        return id_
    id_ = await town.request()
    if state is State.REQUESTED:
        return id_
    await town.tick()
    if state is State.OFFERED:
        return id_
    offer = await town.offer(id_)
    assert await town.answer(offer, "accept") is None
    if state is State.ACCEPTED:
        return id_
    if state is State.CANCELLED:
        await town.run(lambda tx: handlers.cancel(tx, id_, HOLDER, ReasonFamily.OTHER))
        return id_
    await town.run(lambda tx: handlers.release(tx, id_, HOLDER, offer["id"]))
    if state is State.MISSING:
        while (await town.referral(id_))["state"] != State.MISSING:
            await town.tick()
    if state in ARRIVED:
        assert await town.progress(offer, "verified") is None
    if state is State.COMPLETED:
        assert await town.progress(offer, "complete") is None
    return id_


@pytest.mark.parametrize("state", State)
async def test_every_state_that_is_not_final_wakes_somebody(dsns: list[tuple[str, str]], state: State) -> None:
    """The due row is there, and what the clock does with it moves the referral on or tells a coordinator, ever after."""
    async with opened(dsns) as db:
        town = Town(db)
        await town.found([1, 1, 1])
        id_ = await _to(town, state)
        assert (await town.referral(id_))["state"] == state
        await town.check()
        wakes = await town.rows("select * from due where kind = $1 and subject = $2", store.WAKE, id_)
        if state in FINAL:
            assert wakes == []
            return
        assert [row["at"] for row in wakes] == [(await town.referral(id_))["wake_at"]]
        before = (await town.referral(id_))["version"]
        for _ in range(30):
            await town.tick()
            await town.check()
        after = await town.referral(id_)
        assert after["version"] > before
        # Nobody ever acts: in the end a coordinator has it, and is reminded no more than once in a day.
        assert after["escalated"] is not None
        assert (after["wake_at"] - await town.now()) > timedelta(hours=1)


async def test_a_referral_of_another_holder_is_nobody_elses_to_end(dsns: list[tuple[str, str]]) -> None:
    async with opened(dsns) as db:
        town = Town(db)
        await town.found([1])
        id_ = await _to(town, State.ACCEPTED)
        before = await town.referral(id_)
        offer = before["offer"]
        for act in (
            lambda tx: handlers.cancel(tx, id_, "other", ReasonFamily.OTHER),
            lambda tx: handlers.stop_disclosure(tx, id_, "other"),
            lambda tx: handlers.release(tx, id_, "other", offer),
        ):
            assert await town.try_(act) == "not-found"
        assert await town.referral(id_) == before


async def test_a_hand_off_that_arrives_after_its_sender_was_suspended_is_the_coordinators(
    dsns: list[tuple[str, str]],
) -> None:
    async with opened(dsns) as db:
        town = Town(db)
        await town.found([1])
        before = await town.request()
        await town.suspend(town.senders[0])
        after, other = await town.request(), await town.request(sender=1)
        reasons = [(await town.referral(id_))["escalated"] for id_ in (before, after, other)]
        assert reasons == ["organisation-suspended", "organisation-suspended", None]
        assert await town.coordinate(after, "hand_back") == "state", "the sender is shut out"
        await town.tick()
        assert {(await town.referral(id_))["state"] for id_ in (before, after, other)} >= {State.OFFERED}, (
            "asked all the same"
        )
        await town.check()


async def test_two_that_were_made_at_once_share_a_database(dsns: list[tuple[str, str]]) -> None:
    """What is received twice is one referral."""
    async with opened(dsns) as db:
        town = Town(db)
        await town.found([1])
        id_, asked = uuid4(), await _request(town)
        await town.run(lambda tx: handlers.receive(tx, id_, HOLDER, asked))
        town.allowed[id_] = set(town.places)
        await town.tick()
        before = await town.referral(id_)
        await town.run(lambda tx: handlers.receive(tx, id_, HOLDER, asked))
        assert await town.referral(id_) == before
        assert await town.try_(lambda tx: handlers.receive(tx, id_, "other", asked)) == "not-found"
        stranger = asked.model_copy(update={"sender": town.places[0]})
        assert await town.try_(lambda tx: handlers.receive(tx, uuid4(), HOLDER, stranger)) == "unknown-network"
        await town.check()


async def _request(town: Town) -> e.HandoffRequestedV1:
    return e.HandoffRequestedV1(
        network=town.network, sender=town.senders[0], group=ServiceGroup.SHELTER, urgency=Urgency.URGENT, area="KH-1",
        places=1, requested_at=await town.now(),
    )  # fmt: skip
