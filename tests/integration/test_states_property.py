"""The network's state machines on real PostgreSQL: any order of what the holder, the houses, the coordinator, the
administrator and the clock may do, with everything that must always hold looked at after each step.

The handlers are called as the services call them. What is said goes straight to *notify*'s handlers, whose projections
must agree.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Coroutine, Iterator
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

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

from schemas.vocabulary import (
    ReasonFamily,
    Urgency,
)
from services.referral.partners.handlers import SUSPENDED_LEAST_S
from services.referral.places import handlers as places
from services.referral.places import store as place_store
from services.referral.referrals import handlers
from services.referral.referrals.domain import State
from spean.db import Tx
from tests.integration.model import HOLDER, Databases, Town, opened

T = TypeVar("T")
ARRIVED = {State.IN_PROGRESS, State.COMPLETED}
PICK = st.integers(0, 1_000_000)


class Machine(RuleBasedStateMachine):
    def __init__(self, runner: asyncio.Runner, db: Databases) -> None:
        super().__init__()
        self.runner, self.town = runner, Town(db)
        self.asked: list[UUID] = []
        self.suspended: dict[UUID, datetime] = {}
        self.stops: defaultdict[UUID, list[UUID | None]] = defaultdict(list)

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
    @rule(pick=PICK, keep=st.sets(st.integers(0, 2)), wholly=st.sampled_from([False, False, True]), late=st.booleans())
    def gate_changes(self, pick: int, keep: set[int], *, wholly: bool, late: bool) -> None:
        id_ = self.some(pick)
        self.stops[id_] += self.town.narrow(id_, {self.town.places[number] for number in keep}, wholly=wholly)
        if not late:
            self.stops_arrive(pick)

    @precondition(lambda self: any(self.stops.values()))
    @rule(pick=PICK)
    def stops_arrive(self, pick: int) -> None:
        """In their order; perhaps long after they were said, when another house has the offer."""
        id_ = self.some(pick)
        while self.stops[id_]:
            about = self.stops[id_].pop(0)
            before = self.do(self.town.referral(id_))
            self.do(self.town.run(lambda tx, about=about: handlers.stop_disclosure(tx, id_, HOLDER, about)))
            after = self.do(self.town.referral(id_))
            if before["state"] == State.OFFERED and about in {None, before["offer"]}:
                assert (after["state"], after["offer"], after["stopped"]) == (State.REQUESTED, None, True)
            elif before["state"] == State.UNROUTABLE and about is None:
                assert (after["state"], after["offer"], after["stopped"]) == (State.ON_HOLD, None, True), "the sender's"
            else:
                kept = "a stop never costs a bed, nor another's offer"
                assert (after["state"], after["offer"]) == (before["state"], before["offer"]), kept

    @precondition(lambda self: self.asked)
    @rule(keep=st.sets(st.integers(0, 2)), wholly=st.booleans())
    def gate_changes_between_a_yes_and_its_offer(self, keep: set[int], *, wholly: bool) -> None:
        async def narrow(id_: UUID) -> None:
            for about in [
                *self.stops[id_], *self.town.narrow(id_, {self.town.places[one] for one in keep}, wholly=wholly)
            ]:  # fmt: skip
                await self.town.run(lambda tx, about=about: handlers.stop_disclosure(tx, id_, HOLDER, about))
            self.stops[id_] = []

        self.town.meanwhile = narrow
        try:
            self.do(self.town.tick())
        finally:
            self.town.meanwhile = None

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
    @rule(pick=PICK, step=st.sampled_from(["verified", "unverified", "verify", "complete"]))
    def house_goes_on(self, pick: int, step: str) -> None:
        found = self.offers("accepted", "withdrawn", "expired")
        if not found:
            return
        offer = found[pick % len(found)]
        before = self.do(self.town.referral(offer["referral"]))
        refused = self.do(self.town.progress(offer, step))
        before_arrival = {State.ACCEPTED, State.READY, State.MISSING}
        from_states = {"complete": {State.MISSING, State.IN_PROGRESS}, "verify": {State.IN_PROGRESS}}
        legal = before["state"] in from_states.get(step, before_arrival) and before["offer"] == offer["id"]
        legal = legal and (step != "verify" or before["arrival_verified"] is False)
        assert refused == (None if legal else "state")
        after = self.do(self.town.referral(offer["referral"]))
        if legal and step != "complete":
            assert (after["state"], after["arrival_verified"]) == (State.IN_PROGRESS, step != "unverified")

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
    @rule(pick=PICK, place=st.integers(0, 2),
          action=st.sampled_from(["take", "ask_again", "hand_back", "ask_named", "confirm_arrival"]))  # fmt: skip
    def coordinator_acts(self, pick: int, action: str, place: int) -> None:
        id_ = self.some(pick)
        before = self.do(self.town.referral(id_))
        refused = self.do(self.town.coordinate(id_, action, self.town.places[place]))
        after = self.do(self.town.referral(id_))
        if before["escalated"] is None:
            # What had ended before its network was handed over is the earlier coordinator's.
            assert refused == ("state" if before["coordinator"] == self.town.coordinator else "not-found")
        elif action == "take":
            assert (refused, after["taken_by"]) == (None, "somebody")
        elif action in {"ask_again", "ask_named"} and refused is None:
            assert before["state"] in {State.UNROUTABLE, State.ON_HOLD}
            assert after["state"] == (State.REQUESTED if action == "ask_again" else State.OFFERED)
        elif action == "confirm_arrival":
            legal = (before["state"], before["arrival_verified"]) == (State.IN_PROGRESS, False)
            assert refused == (None if legal else "state")
            assert after["arrival_checked_by"] == ("somebody" if legal else before["arrival_checked_by"])
        elif refused is None:
            assert (after["state"], before["offer"]) == (State.ON_HOLD, None)

    @precondition(lambda self: self.asked)
    @rule(pick=PICK)
    def sender_asks_again(self, pick: int) -> None:
        id_ = self.some(pick)
        before = self.do(self.town.referral(id_))
        self.do(self.town.run(lambda tx: handlers.reopen(tx, id_, HOLDER)))
        after = self.do(self.town.referral(id_))
        waits = (before["state"], before["offer"]) == (State.ON_HOLD, None)
        assert after["state"] == (State.REQUESTED if waits else before["state"])
        assert waits or after == before, "nothing in any other state"

    @precondition(lambda self: self.asked)
    @rule(who=st.integers(0, 2))
    def network_is_handed_over(self, who: int) -> None:
        organisation = self.town.houses[who]
        refused = self.do(self.town.hand_over(organisation))
        assert refused == ("coordinator-unfit" if organisation in self.suspended else None)

    @precondition(lambda self: self.suspended)
    @rule(pick=PICK, lately=st.booleans())
    def organisation_is_reinstated(self, pick: int, *, lately: bool) -> None:
        organisation = sorted(self.suspended)[pick % len(self.suspended)]
        since = self.suspended[organisation]
        if not lately:
            self.do(self.town.pass_time_until(since + timedelta(seconds=SUSPENDED_LEAST_S)))
        late = self.do(self.town.now()) >= since + timedelta(seconds=SUSPENDED_LEAST_S)
        refused = self.do(self.town.reinstate(organisation))
        assert refused == (None if late else "suspended-lately")
        if late:
            del self.suspended[organisation]

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
        refused = self.do(self.town.suspend(organisation))
        if organisation == self.town.coordinator:
            assert refused == "coordinates-network"
            return
        self.suspended.setdefault(organisation, self.do(self.town.now()))
        open_ = [o for o in self.offers("sent", "seen") if o["organisation"] == organisation]
        assert open_ == []
        sent = "select * from referral where network = $1 and sender = $2 and ended_at is null and escalated is null"
        assert self.do(self.town.rows(sent, self.town.network, organisation)) == []

    @invariant()
    def everything_holds(self) -> None:
        if self.town.places:
            self.do(self.town.check())
            for offer in self.offers("sent", "seen"):
                id_ = offer["referral"]
                assert self.stops[id_] or offer["place"] in self.town.allowed[id_], "nothing that was stopped is open"


def _run(model_dsns: list[tuple[str, str]], examples: int, steps: int, *, derandomize: bool) -> None:
    """In a thread of its own: hypothesis is not asynchronous, and the session's own loop goes on meanwhile."""
    with asyncio.Runner() as runner, _entered(runner, opened(model_dsns)) as db:
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


async def test_any_order_of_what_may_happen_keeps_every_rule(model_dsns: list[tuple[str, str]]) -> None:
    await asyncio.to_thread(_run, model_dsns, 15, 40, derandomize=True)


@pytest.mark.long
@pytest.mark.timeout(1_500)
async def test_any_order_at_length(model_dsns: list[tuple[str, str]]) -> None:
    await asyncio.to_thread(_run, model_dsns, 100, 60, derandomize=False)
