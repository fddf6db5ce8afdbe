"""A network that a test drives through its handlers, on databases of its own: the test plays the holder and moves the
clock, and everything that must always hold can be looked at after each step."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import pytest

from schemas import events as e
from schemas import questions as q
from schemas.vocabulary import (
    DeclineReason,
    OrganisationStatus,
    OrganisationType,
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
BY = "operator"
ROLES = Roles(b"secret of the tests")
SHORT = dict.fromkeys(Urgency.__members__.values(), 600)
WINDOWS = Windows(
    answer_s={u: 300 for u in SHORT if u != "unknown"}, service_s={u: 1_800 for u in SHORT if u != "unknown"},
    ready_s=200, arrive_s=900, verify_s=700, outcome_s=5_000, remind_s=400, taken_s=2_000,
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


@pytest.fixture(scope="session")
async def model_dsns(postgres: Server) -> list[tuple[str, str]]:
    """Two databases of their own in the session's PostgreSQL."""
    made = []
    for name, migrations in (("model_network", NETWORK), ("model_telling", TELLING)):
        await prepare(postgres, ROLES, name, migrations)
        made.append(service_dsns(postgres, ROLES, name))
    return made


@contextlib.asynccontextmanager
async def opened(model_dsns: list[tuple[str, str]]) -> AsyncIterator[Databases]:
    network, telling = [await Database.open(*one, api_size=2, worker_size=2) for one in model_dsns]
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
        # The holder's: for which offer it said yes to which place; and what happens between its answer and the offer.
        self.yes: defaultdict[UUID, dict[UUID, UUID]] = defaultdict(dict)
        self.meanwhile: Callable[[UUID], Awaitable[None]] | None = None
        self.silent = False

    async def found(self, sizes: list[int], windows: Windows = WINDOWS) -> None:
        async with self.db.network.transaction("model.found") as tx:
            self.coordinator = await self._organisation(tx, OrganisationType.COORDINATION)
            await partners.found_network(tx, BY, self.network, "Model", self.coordinator, windows, sample=True)
            self.senders = [await self._organisation(tx, OrganisationType.BORDER_POST) for _ in range(2)]
            self.houses = [await self._organisation(tx, OrganisationType.SHELTER) for _ in sizes]
            for organisation in (*self.senders, *self.houses):
                await partners.join(tx, BY, self.network, organisation)
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
        await partners.register(tx, BY, made)
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
        place = next((c.place for c in question.candidates if c.place in allowed), None)
        if place is not None and question.offer is not None:
            self.yes[question.referral][question.offer] = place
        if self.meanwhile is not None:
            await self.meanwhile(question.referral)
        return q.NextCandidateAnswer(place=place)

    def narrow(self, id_: UUID, keep: set[UUID], *, wholly: bool) -> list[UUID | None]:
        """The person decides anew. Returns what the holder says of it: which offers it stops, or (None) whatever is open."""
        self.allowed[id_] = set() if wholly else keep
        return [None] if wholly else [offer for offer, place in self.yes[id_].items() if place not in keep]

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
            elif step == "verify":
                await handlers.verify(tx, referral, mine.id)
            else:
                await handlers.arrive(tx, referral, mine, verified=step == "verified")

        return await self.try_(act, offer["organisation"])

    async def coordinate(self, id_: UUID, action: str, place: UUID | None = None) -> str | None:
        async def act(tx: Tx) -> None:
            locked = await escalations.lock_escalated(tx, id_, self.coordinator)
            if action == "take":
                await escalations.take(tx, locked, "somebody")
            elif action == "confirm_arrival":
                await escalations.confirm_arrival(tx, locked, "somebody")
            elif action == "ask_again":
                await escalations.ask_again(tx, locked)
            elif action == "hand_back":
                await escalations.hand_back(tx, locked)
            elif place is not None:
                named = await store.candidate_place(tx, locked, place)
                if named is None:
                    raise Refusal("place-gone")
                offer = opaque_id()
                await escalations.ask_named(tx, locked, named, offer)
                self.allowed[id_].add(place)  # a house is named only where the gate allows it
                self.yes[id_][offer] = place

        as_itself = action in {"take", "hand_back", "confirm_arrival"}
        return await self.try_(act, self.coordinator if as_itself else None)

    async def suspend(self, organisation: UUID) -> str | None:
        async def act(tx: Tx) -> None:
            await partners.suspend(tx, BY, await partner_store.lock_organisation(tx, organisation))

        return await self.try_(act)

    async def reinstate(self, organisation: UUID) -> str | None:
        async def act(tx: Tx) -> None:
            await partners.reinstate(tx, BY, await partner_store.lock_organisation(tx, organisation))

        return await self.try_(act)

    async def hand_over(self, organisation: UUID) -> str | None:
        """Name another coordinator of the network."""

        async def act(tx: Tx) -> None:
            named = await partner_store.lock_organisation(tx, organisation)
            await partners.hand_over(tx, BY, await partner_store.lock_network(tx, self.network), named)

        refused = await self.try_(act)
        self.coordinator = self.coordinator if refused else organisation
        return refused

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
            view = told[row["id"]]
            assert (view["usable"], view["free"], view["coordinator"]) == (row["usable"], free, self.coordinator)

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

        if state not in FINAL:
            assert {row["coordinator"], *(o["coordinator"] for o in offers.values())} == {self.coordinator}

        due = {d["kind"]: d["at"] for d in await self.rows("select * from due where subject = $1", id_)}
        if state in FINAL:
            assert due == {}
        else:
            assert due[store.WAKE] == row["wake_at"] is not None, "nothing waits unseen"
            overdue = store.DEADLINE not in due and state is not State.IN_PROGRESS
            assert not overdue or row["escalated"] is not None, "past its deadline and nobody's"
        if state is State.IN_PROGRESS and not row["arrival_verified"] and row["escalated"] is None:
            windows = Windows.model_validate_json(row["windows"])
            assert due[store.WAKE] <= row["arrived_at"] + timedelta(seconds=windows.verify_s), "unverified, and unseen"

        async with self.db.telling.transaction("model.look") as tx:
            told = await tx.conn.fetchrow("select * from referral_view where id = $1", id_)
        assert told is not None
        for column in ("network", "coordinator", "places", "deadline", "state", "escalated", "arrived_at", "ended_at"):
            assert told[column] == row[column], column
        assert (told["verified"], told["asked"]) == (row["arrival_verified"], len(offers))
