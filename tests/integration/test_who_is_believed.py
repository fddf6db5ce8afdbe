"""*notify* believes about a referral only the network and the one holder that it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from schemas import events as e
from schemas import registry
from schemas.events import EventData
from schemas.vocabulary import ErasureAnswer, HandoffChange, ReasonFamily, ServiceGroup, Urgency
from services.notify import consumers
from services.notify.dashboards import handlers as dashboards
from services.notify.dashboards import store
from services.notify.main import MIGRATIONS
from spean.consumer import Handler, handle
from spean.db import Database
from spean.embedded import Server
from spean.event import Event
from spean.ids import event_id
from spean.provision import Roles, prepare, service_dsns
from tests.builders import eventually

ROLES = Roles(b"secret of the tests")
NETWORK, OURS, OTHER = "spean/referral", "spean/intake/ours", "spean/intake/other"


@pytest.fixture(scope="module")
async def dsns(postgres: Server) -> tuple[str, str]:
    await prepare(postgres, ROLES, "believing_alone", MIGRATIONS)
    return service_dsns(postgres, ROLES, "believing_alone")


@pytest.fixture
async def db(dsns: tuple[str, str]) -> AsyncIterator[Database]:
    opened = await Database.open(*dsns, api_size=1, worker_size=4)
    try:
        async with opened.transaction("test.empty") as tx:
            await tx.conn.execute(f"truncate {', '.join(store.PROJECTIONS)}, tail, delivery")
        yield opened
    finally:
        await opened.close()


class Line:
    """A referral of the holder `ours`, one offer of it, and who has it."""

    def __init__(self) -> None:
        self.referral, self.offer, self.house, self.coordinator = uuid4(), uuid4(), uuid4(), uuid4()
        self.at, self.said = datetime.now(UTC).replace(microsecond=0), 0

    @property
    def told(self) -> list[tuple[UUID, str]]:
        """The house that it is asked to erase, and again that it is late; the coordinator that the house is late."""
        return sorted([(self.house, "waiting"), (self.house, "waiting"), (self.coordinator, "waiting")])

    def event(self, source: str, data: EventData, subject: UUID | None = None) -> Event:
        self.said += 1
        return Event(
            id=event_id(), type=registry.TYPE_OF[type(data)], source=source, subject=subject or self.referral, epoch=1,
            sequence=self.said, time=self.at, correlationid=uuid4(), causationid=None, traceparent=None,
            value=registry.write(data),
        )  # fmt: skip

    def received(self, holder: str | None = "ours", subject: UUID | None = None) -> Event:
        said = e.ReferralReceivedV1(
            network=uuid4(), coordinator=self.coordinator, group=ServiceGroup.SHELTER, urgency=Urgency.URGENT, area="KH-1",
            places=1, requested_at=self.at, deadline=self.at + timedelta(hours=1), holder=holder,
        )  # fmt: skip
        return self.event(NETWORK, said, subject)

    def asked(self, source: str, subject: UUID | None = None) -> Event:
        until = self.at + timedelta(days=3)
        return self.event(
            source, e.ErasureRequestedV1(offer=self.offer, organisation=self.house, answer_by=until), subject
        )

    def of_holder(self, source: str) -> list[Event]:
        """One of everything that a holder says and that *notify* takes in."""
        offer, house = self.offer, self.house
        return [
            self.event(source, e.HandoffChangedV1(offer=offer, change=HandoffChange.MEETING_POINT)),
            self.event(source, e.PacketRefusedV1(offer=offer, reason=ReasonFamily.STOPPED)),
            self.event(source, e.PacketFetchedV1(offer=offer)),
            self.asked(source),
            self.event(source, e.ErasureOverdueV1(offer=offer, organisation=house)),
            self.event(source, e.ErasureAcknowledgedV1(offer=offer, organisation=house, answer=ErasureAnswer.ERASED)),
        ]


SEVERAL = consumers.handlers_for(None)


async def taken(db: Database, event: Event, handlers: dict[str, Handler] = SEVERAL) -> str | None:
    """None where it took effect (perhaps none), else why it is parked; then nothing of it stays."""
    async with db.transaction("test.tell") as tx:
        inner = tx.conn.transaction()
        await inner.start()
        reason = await handle(tx, event, handlers)
        await (inner.commit() if reason is None else inner.rollback())
    return reason


async def known(db: Database) -> dict[str, list[tuple[object, ...]]]:
    async with db.transaction("test.look") as tx:
        return {
            name: [tuple(row) for row in await tx.conn.fetch(f"select {columns} from {name} order by 1, 2")]
            for name, columns in (("copy_view", "referral, offer, state"), ("delivery", "organisation, state"),
                                  ("tail", "type, coordinator"), ("early", "referral, holder"))
        }  # fmt: skip


async def test_another_holder_is_not_believed_whatever_it_says(db: Database) -> None:
    line = Line()
    assert await taken(db, line.received()) is None
    before = await known(db)
    for event in line.of_holder(OTHER):
        assert await taken(db, event) == "refused-not-found", event.type
    assert await known(db) == before
    ours = line.of_holder(OURS)
    assert {event.type for event in ours} == {
        name for name in consumers.HANDLERS if registry.TOPIC_OF[name] is registry.HANDOFF
    }, "one of everything"
    for event in ours:
        assert await taken(db, event) is None, event.type
    after = await known(db)
    assert after["copy_view"] == [(line.referral, line.offer, "erased")]
    assert after["delivery"] == line.told
    assert len(after["tail"]) == 1 + len(ours)


async def test_a_holder_cannot_say_of_anothers_offer_by_way_of_its_own_referral(db: Database) -> None:
    line, own = Line(), uuid4()
    for event in (line.received(), line.received("other", own), line.asked(OTHER, own)):
        assert await taken(db, event) is None
    assert await taken(db, line.asked(OURS)) is None
    erased = e.ErasureAcknowledgedV1(offer=line.offer, organisation=line.house, answer=ErasureAnswer.ERASED)
    assert await taken(db, line.event(OTHER, erased, own)) is None
    states = {row[0]: row[2] for row in (await known(db))["copy_view"]}
    assert states == {line.referral: "requested", own: "erased"}


async def test_what_is_said_before_the_referral_is_known_waits_for_it(db: Database) -> None:
    """Between topics there is no order: a holder may be heard before the network. Nobody is told until it is known."""
    line = Line()
    false, true = line.of_holder(OTHER), line.of_holder(OURS)
    for event in (*false, *true, *true):
        assert await taken(db, event) is None
    before = await known(db)
    assert (before["copy_view"], before["delivery"], before["tail"]) == ([], [], [])
    assert len(before["early"]) == len(false) + len(true), "what is said again waits once"
    assert await taken(db, line.received()) is None
    after = await known(db)
    assert after["copy_view"] == [(line.referral, line.offer, "erased")], "in the order in which it was said"
    assert after["delivery"] == line.told
    assert len(after["tail"]) == 1 + len(true)
    assert after["early"] == []
    assert {row[1] for row in after["tail"]} == {line.coordinator}


async def test_what_waits_for_a_referral_that_never_comes_is_forgotten(db: Database) -> None:
    line = Line()
    assert await taken(db, line.asked(OTHER)) is None
    async with db.transaction("test.upkeep") as tx:
        await dashboards.forget_old(tx)
    assert len((await known(db))["early"]) == 1
    db.shift = dashboards.TAIL_FOR + timedelta(days=1)
    async with db.transaction("test.upkeep") as tx:
        await dashboards.forget_old(tx)
    assert (await known(db))["early"] == []


async def test_of_a_referral_without_a_holder_the_only_one_is_believed_and_of_several_none(db: Database) -> None:
    """The network did not say it until now; it never guesses."""
    line = Line()
    assert await taken(db, line.received(None)) is None
    before = await known(db)
    for source in (OURS, OTHER):
        assert await taken(db, line.asked(source)) == "unknown-holder"
    assert await known(db) == before
    alone = consumers.handlers_for("ours")
    assert await taken(db, line.asked(OTHER), alone) == "refused-not-found"
    assert await taken(db, line.asked(OURS), alone) is None
    assert (await known(db))["copy_view"] == [(line.referral, line.offer, "requested")]
    assert await taken(db, replace(line.received(None), sequence=1), alone) is None
    assert await taken(db, line.received("other")) is None
    assert await taken(db, line.asked(OURS)) == "refused-not-found", "what the network says counts, once it says it"


@pytest.mark.parametrize("first", ["network", "holder"])
async def test_two_processes_that_hear_them_at_the_same_moment_miss_nothing(db: Database, first: str) -> None:
    line = Line()
    words = [line.received(), line.asked(OURS)]
    before, after = words if first == "network" else reversed(words)

    async def waits() -> bool:
        async with db.transaction("test.waits") as tx:
            return await tx.conn.fetchval(
                "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')"
            )

    async with db.transaction("test.first") as tx:
        assert await handle(tx, before, SEVERAL) is None
        second = asyncio.create_task(taken(db, after))
        await eventually(waits)
    assert await second is None
    assert (await known(db))["copy_view"] == [(line.referral, line.offer, "requested")]
    assert (await known(db))["early"] == []


async def test_a_process_of_the_release_before_is_heard_too(db: Database) -> None:
    """While an upgrade rolls on it writes where copies were kept until now."""
    line = Line()
    assert await taken(db, line.received()) is None
    async with db.transaction("test.older") as tx:
        for state in ("requested", "overdue"):
            await tx.conn.execute(
                "insert into erasure_view (offer, referral, state, answer_by) values ($1, $2, $3, $4) on conflict (offer)"
                " do update set state = excluded.state", line.offer, line.referral, state, line.at,
            )  # fmt: skip
    assert (await known(db))["copy_view"] == [(line.referral, line.offer, "overdue")]
