"""What *notify* makes of events: projections that the events alone decide, and mails that say only that something
waits, to a real mail server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from schemas import events as e
from schemas import registry
from schemas.events import EventData
from schemas.vocabulary import ErasureAnswer, EscalationReason, ReasonFamily, ServiceGroup, Urgency
from services.cli import installation
from services.cli.client import ApiProblem
from services.notify import consumers
from services.notify.dashboards import handlers as dashboards
from services.notify.dashboards import store as dashboard_store
from services.notify.deliveries import handlers as deliveries
from services.notify.deliveries import store
from services.notify.deliveries.handlers import RETRY_S, SEND, Mail, message
from services.notify.main import MIGRATIONS
from services.notify.partners import store as partners
from spean.clock import Clock
from spean.consumer import Together, handle
from spean.db import Database
from spean.embedded import Server
from spean.event import Event
from spean.ids import event_id
from spean.outbox import event_of
from spean.provision import Roles, prepare, service_dsns
from tests.builders import eventually
from tests.integration.apart import installed_apart
from tests.integration.mailbox import INBOX, AnyPort, Mailbox
from tests.integration.town import found, settle

ROLES = Roles(b"secret of the tests")


@pytest.fixture(scope="module")
async def dsns(postgres: Server) -> tuple[str, str]:
    await prepare(postgres, ROLES, "telling_alone", MIGRATIONS)
    return service_dsns(postgres, ROLES, "telling_alone")


@pytest.fixture
async def db(dsns: tuple[str, str]) -> AsyncIterator[Database]:
    """*notify*'s database with nobody else at it, and a clock of its own."""
    opened = await Database.open(*dsns, api_size=1, worker_size=4)
    try:
        async with opened.transaction("test.empty") as tx:
            await tx.conn.execute("delete from due where kind = $1", SEND)
            await tx.conn.execute(
                "truncate referral_view, capacity_view, copy_view, early, tail, delivery, address, suspended, organisation"
            )
        yield opened
    finally:
        await opened.close()


def _writer(data: EventData) -> str:
    return "spean/intake/main" if registry.TOPIC_OF[registry.TYPE_OF[type(data)]].per_holder else "spean/referral"


class Story:
    """Events about one referral, numbered as its writer would."""

    def __init__(self) -> None:
        self.referral, self.network, self.coordinator, self.house = uuid4(), uuid4(), uuid4(), uuid4()
        self.events: list[Event] = []
        self.at = datetime.now(UTC).replace(microsecond=0)

    def say(self, data: EventData, *, after_s: int = 1, subject: UUID | None = None) -> Event:
        self.at += timedelta(seconds=after_s)
        made = Event(
            id=event_id(), type=registry.TYPE_OF[type(data)], source=_writer(data), subject=subject or self.referral,
            epoch=1, sequence=len(self.events) + 1, time=self.at, correlationid=uuid4(), causationid=None, traceparent=None,
            value=registry.write(data),
        )  # fmt: skip
        self.events.append(made)
        return made

    def received(self, deadline_s: int = 3_600) -> Event:
        return self.say(
            e.ReferralReceivedV1(
                network=self.network, coordinator=self.coordinator, group=ServiceGroup.SHELTER, urgency=Urgency.URGENT,
                area="KH-1", places=1, requested_at=self.at, deadline=self.at + timedelta(seconds=deadline_s), holder="main",
            )
        )  # fmt: skip

    def offered(self, answer_s: int = 600) -> Event:
        until = self.at + timedelta(seconds=answer_s)
        return self.say(e.OfferSentV1(offer=uuid4(), organisation=self.house, answer_by=until))

    def whole(self) -> Story:
        """One of everything, with an overdue acceptance in between."""
        offer = uuid4()
        self.received(deadline_s=60)
        self.offered()
        self.say(e.OfferSeenV1(offer=offer))
        self.say(e.OfferDeclinedV1(offer=offer, reason=ReasonFamily.FULL))
        self.say(e.ReferralUnroutableV1())
        self.say(e.ReferralEscalatedV1(coordinator=self.coordinator, reason=EscalationReason.NO_CANDIDATE))
        self.say(e.ReferralReopenedV1())
        self.offered()
        self.say(
            e.ReferralEscalatedV1(coordinator=self.coordinator, reason=EscalationReason.DEADLINE_PASSED), after_s=90
        )
        self.say(e.OfferAcceptedV1(offer=offer, organisation=self.house))
        self.say(e.ReferralReadyV1(offer=offer, arrive_by=self.at + timedelta(days=1)))
        self.say(e.ReferralDepartedV1(offer=offer))
        self.say(e.ReferralArrivedV1(offer=offer, verified=False))
        self.say(e.ReferralEscalatedV1(coordinator=self.coordinator, reason=EscalationReason.ARRIVAL_UNVERIFIED))
        self.say(e.ReferralReassignedV1(coordinator=uuid4()))
        self.say(e.ReferralVerifiedV1(offer=offer, by_code=False))
        self.say(e.ReferralCompletedV1(offer=offer))
        place = e.CapacityChangedV1(
            network=self.network, coordinator=self.coordinator, organisation=self.house, group=ServiceGroup.SHELTER,
            area="KH-1", usable=4, free=3,
        )  # fmt: skip
        pool = uuid4()
        self.say(place, subject=pool)
        self.say(place.model_copy(update={"free": 1, "coordinator": uuid4()}), subject=pool)
        self.say(e.ErasureRequestedV1(offer=offer, organisation=self.house, answer_by=self.at + timedelta(days=3)))
        self.say(e.ErasureOverdueV1(offer=offer, organisation=self.house))
        self.say(e.ErasureAcknowledgedV1(offer=offer, organisation=self.house, answer=ErasureAnswer.ERASED))
        return self


async def tell(db: Database, *events: Event) -> None:
    for event in events:
        async with db.transaction("test.tell") as tx:
            assert await handle(tx, event, consumers.HANDLERS) is None


async def projections(db: Database) -> dict[str, list[tuple[Any, ...]]]:
    async with db.transaction("test.look") as tx:
        tables = (*dashboard_store.PROJECTIONS, "tail")
        return {
            table: [tuple(row) for row in await tx.conn.fetch(f"select * from {table} order by 1")] for table in tables
        }


# --- projections ------------------------------------------------------------------------------------------------------


async def test_the_same_events_give_the_same_however_often_and_whenever_they_are_told(db: Database) -> None:
    story = Story().whole()
    await tell(db, *story.events)
    once = await projections(db)
    (row,) = once["referral_view"]
    assert "completed" in row
    assert len(once["tail"]) == len(story.events)
    db.shift = timedelta(days=40)
    await tell(db, *story.events)
    assert await projections(db) == once, "told again, forty days later"
    async with db.transaction("test.truncate") as tx:
        await tx.conn.execute(f"truncate {', '.join(dashboard_store.PROJECTIONS)}")
    await tell(db, *story.events)
    assert await projections(db) == once, "rebuilt from nothing"


async def test_overdue_and_accepted_is_still_seen_to_by_somebody(db: Database) -> None:
    story = Story()
    story.received(deadline_s=60)
    story.offered()
    story.say(e.ReferralEscalatedV1(coordinator=story.coordinator, reason=EscalationReason.NO_CANDIDATE))
    story.say(e.OfferAcceptedV1(offer=uuid4(), organisation=story.house), after_s=120)
    await tell(db, *story.events)
    db.shift = timedelta(minutes=10)
    async with db.transaction("test.counts", org=story.coordinator) as tx:
        (counted,) = await dashboard_store.counts(tx, None)
        assert dict(counted) == {"state": "accepted", "count": 1, "overdue": 1, "unseen": 0, "escalated": 1}
    await tell(db, story.say(e.ReferralArrivedV1(offer=uuid4(), verified=True)))
    async with db.transaction("test.counts", org=story.coordinator) as tx:
        (counted,) = await dashboard_store.counts(tx, story.network)
        assert dict(counted) == {"state": "in-progress", "count": 1, "overdue": 0, "unseen": 0, "escalated": 0}
    async with db.transaction("test.counts", org=uuid4()) as tx:
        assert await dashboard_store.counts(tx, None) == [], "another coordinator counts nothing of it"


def test_every_event_for_coordinators_has_its_effect() -> None:
    told = {name.removeprefix(registry.PREFIX) for name in consumers.HANDLERS}
    assert told == set(dashboards.APPLY) | {
        "organisation.asked.v1",
        "organisation.registered.v1",
        "organisation.suspended.v1",
        "organisation.reinstated.v1",
    }


async def test_what_was_unverified_is_settled_once_it_is_verified_and_nothing_else_is(db: Database) -> None:
    for reason, after in ((EscalationReason.ARRIVAL_UNVERIFIED, None), (EscalationReason.NO_OUTCOME, "no-outcome")):
        story = Story()
        story.received()
        story.say(e.ReferralArrivedV1(offer=uuid4(), verified=False))
        story.say(e.ReferralEscalatedV1(coordinator=story.coordinator, reason=reason))
        story.say(e.ReferralVerifiedV1(offer=uuid4(), by_code=True))
        await tell(db, *story.events)
        async with db.transaction("test.look") as tx:
            row = await tx.conn.fetchrow("select * from referral_view where id = $1", story.referral)
        assert row is not None
        assert (row["verified"], row["escalated"], row["state"]) == (True, after, "in-progress")


async def test_what_was_handed_over_is_the_other_coordinators_with_its_places(db: Database) -> None:
    story, other, pool = Story(), uuid4(), uuid4()
    story.received()
    place = e.CapacityChangedV1(
        network=story.network, coordinator=story.coordinator, organisation=story.house, group=ServiceGroup.SHELTER,
        area="KH-1", usable=4, free=3,
    )  # fmt: skip
    story.say(place, subject=pool)
    story.say(e.ReferralReassignedV1(coordinator=other))
    story.say(place.model_copy(update={"coordinator": other}), subject=pool)
    await tell(db, *story.events)
    for coordinator, seen in ((story.coordinator, 0), (other, 1)):
        async with db.transaction("test.look", org=coordinator) as tx:
            assert len(await dashboard_store.counts(tx, None)) == seen
            assert len(await dashboard_store.capacity(tx, None)) == seen


async def test_many_changes_of_places_show_what_they_would_one_by_one(db: Database) -> None:
    story, pools = Story(), [uuid4(), uuid4()]
    place = e.CapacityChangedV1(
        network=story.network, coordinator=story.coordinator, organisation=story.house, group=ServiceGroup.SHELTER,
        area="KH-1", usable=4, free=3,
    )  # fmt: skip
    for free, coordinator in ((3, story.coordinator), (2, story.coordinator), (1, uuid4())):
        for pool in pools:
            story.say(place.model_copy(update={"free": free, "coordinator": coordinator}), subject=pool)
    story.events[1] = replace(story.events[1], time=story.at - dashboards.TAIL_FOR - timedelta(days=1))
    await tell(db, *story.events)
    alone = await projections(db)
    async with db.transaction("test.empty") as tx:
        await tx.conn.execute("truncate capacity_view, tail")
    handler = consumers.HANDLERS[story.events[0].type]
    assert isinstance(handler, Together)
    for events in (story.events[:4], story.events):
        async with db.transaction("test.together") as tx:
            await handler.take(tx, events)
    together = await projections(db)
    assert together["capacity_view"] == alone["capacity_view"]
    assert [line[1:] for line in together["tail"]] == [line[1:] for line in alone["tail"]]
    numbers = [line[0] for line in together["tail"]]
    assert numbers == list(range(numbers[0], numbers[0] + 5)), "each its own, none twice and none left out"
    assert numbers[0] == alone["tail"][-1][0] + 1


async def test_whoever_is_reinstated_is_shut_out_no_more(db: Database) -> None:
    story, gone = Story(), uuid4()
    for said, shut in ((e.OrganisationSuspendedV1(), True), (e.OrganisationReinstatedV1(), False)):
        await tell(db, story.say(said, subject=gone))
        async with db.transaction("test.look") as tx:
            assert await partners.is_suspended(tx, gone) is shut


# --- mail -------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    made = Mailbox()
    controller = AnyPort(made, hostname="127.0.0.1", port=0)
    await asyncio.to_thread(controller.start)
    made.server = f"smtp://127.0.0.1:{controller.port}"
    try:
        yield made
    finally:
        await asyncio.to_thread(controller.stop)


async def tick(db: Database, mail: Mail) -> int:
    """Let the clock do what is due now. Returns how much that was."""
    clock = Clock(db, "notify", {SEND: partial(deliveries.deliver, db, mail)})
    called = await clock.tick()
    await asyncio.gather(*clock._running)
    return called


async def address(db: Database, organisation: UUID, email: str) -> None:
    async with db.transaction("test.address") as tx:
        await store.save_address(tx, organisation, email)


async def state(db: Database) -> list[tuple[str, int]]:
    async with db.transaction("test.look") as tx:
        return [
            (row["state"], row["tries"]) for row in await tx.conn.fetch("select * from delivery order by created_at")
        ]


async def said(db: Database, type_: str) -> int:
    async with db.transaction("test.look") as tx:
        number: int = await tx.conn.fetchval("select count(*) from outbox where type = $1", f"org.spean.{type_}.v1")
        return number


async def test_the_mail_says_that_something_waits_and_nothing_else(db: Database, mailbox: Mailbox) -> None:
    server, mail = mailbox, mailbox.mail
    story = Story()
    await address(db, story.house, "inbox@house.example.org")
    await tell(db, story.received(), story.offered())
    assert await tick(db, mail) == 1
    (envelope,) = server.mails
    assert (envelope.mail_from, envelope.rcpt_tos) == ("no-reply@spean.example.org", ["inbox@house.example.org"])
    content = envelope.content
    assert isinstance(content, bytes)
    headers, _, body = content.decode().replace("\r\n", "\n").partition("\n\n")
    assert body.strip() == f"Something waits in your inbox.\n\n{INBOX}"
    found = {line.partition(":")[0]: line.partition(": ")[2] for line in headers.splitlines()}
    assert re.fullmatch(r"<[0-9a-f]{32}@spean\.example\.org>", found.pop("Message-ID"))
    assert found == {
        "From": "no-reply@spean.example.org",
        "To": "inbox@house.example.org",
        "Subject": "Something waits in your inbox",
        "Auto-Submitted": "auto-generated",
        "Content-Type": 'text/plain; charset="utf-8"',
        "Content-Transfer-Encoding": "7bit",
        "MIME-Version": "1.0",
    }
    assert server.greeted == ["spean.example.org"], "not this machine's name"
    assert await state(db) == [("sent", 1)]
    assert await said(db, "delivery.succeeded") >= 1


async def test_an_event_that_is_said_again_is_not_mailed_again(db: Database, mailbox: Mailbox) -> None:
    server, mail = mailbox, mailbox.mail
    story = Story()
    await address(db, story.house, "inbox@house.example.org")
    await address(db, story.coordinator, "coordinator@example.org")
    events = [
        story.received(), story.offered(),
        story.say(e.ReferralEscalatedV1(coordinator=story.coordinator, reason=EscalationReason.NO_CANDIDATE)),
    ]  # fmt: skip
    for _ in range(3):
        await tell(db, *events)
        await tick(db, mail)
    assert sorted(one.rcpt_tos[0] for one in server.mails) == ["coordinator@example.org", "inbox@house.example.org"]
    await tell(
        db, story.say(e.ReferralEscalatedV1(coordinator=story.coordinator, reason=EscalationReason.NO_CANDIDATE))
    )
    await tick(db, mail)
    assert len(server.mails) == 3, "a reminder is an event of its own"


async def test_a_server_that_fails_is_tried_ever_more_rarely_and_then_a_person_has_to_look(
    db: Database, mailbox: Mailbox
) -> None:
    server, mail = mailbox, mailbox.mail
    server.answer = "451 come back later"
    story = Story()
    await address(db, story.house, "inbox@house.example.org")
    await tell(db, story.received(), story.offered(answer_s=10 * 86_400))
    parked, failed = await said(db, "delivery.parked"), await said(db, "delivery.failed")
    for tries, wait_s in enumerate((0, *RETRY_S)):
        assert await tick(db, mail) == 1
        assert await state(db) == [("waiting" if tries < len(RETRY_S) else "parked", tries + 1)]
        assert await tick(db, mail) == 0, "not before its time"
        db.shift += timedelta(seconds=RETRY_S[min(tries, len(RETRY_S) - 1)] - 1)
        assert await tick(db, mail) == 0, wait_s
        db.shift += timedelta(seconds=2)
    assert await tick(db, mail) == 0
    assert await said(db, "delivery.parked") == parked + 1
    assert await said(db, "delivery.failed") == failed + len(RETRY_S)
    assert server.mails == []


async def test_a_server_that_comes_back_gets_it_and_one_that_is_gone_is_a_failed_try(
    db: Database, mailbox: Mailbox
) -> None:
    server, mail = mailbox, mailbox.mail
    story = Story()
    await address(db, story.house, "inbox@house.example.org")
    await tell(db, story.received(), story.offered(answer_s=3_600))
    gone = replace(mail, server="smtp://127.0.0.1:1")
    await tick(db, gone)
    assert await state(db) == [("waiting", 1)]
    db.shift += timedelta(seconds=RETRY_S[0])
    await tick(db, mail)
    assert (await state(db), len(server.mails)) == ([("sent", 2)], 1)


async def test_what_nobody_waits_for_any_more_is_told_to_nobody(db: Database, mailbox: Mailbox) -> None:
    """No server for a day; then one: what has lapsed stays unsent, what still waits is sent."""
    server, mail = mailbox, mailbox.mail
    story = Story()
    await address(db, story.house, "inbox@house.example.org")
    await tell(db, story.received(), story.offered(answer_s=600), story.offered(answer_s=5 * 86_400))
    assert await tick(db, replace(mail, server="")) == 2
    assert await state(db) == [("waiting", 0)] * 2
    db.shift += timedelta(days=1)
    assert await tick(db, mail) == 2
    assert (sorted(await state(db)), len(server.mails)) == ([("lapsed", 0), ("sent", 1)], 1)


async def cut_off(db: Database, mail: Mail, server: Mailbox, mails: int) -> None:
    """Let the clock send, and let its process die when the server has taken the mail."""
    task = asyncio.create_task(tick(db, mail))

    async def taken() -> bool:
        return len(server.mails) == mails

    server.taken.clear()
    await eventually(taken)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    server.taken.set()
    async with db.transaction("test.claim") as tx:
        await tx.conn.execute("update due set claimed_until = '-infinity' where kind = $1", SEND)


async def test_after_a_crash_it_goes_out_once_more_under_the_same_id_and_then_a_person_has_to_look(
    db: Database, mailbox: Mailbox
) -> None:
    server, mail = mailbox, mailbox.mail
    story = Story()
    await address(db, story.house, "inbox@house.example.org")
    await tell(db, story.received(), story.offered())
    await cut_off(db, mail, server, 1)
    assert await state(db) == [("sending", 0)], "noted before it went out"
    await cut_off(db, mail, server, 2)
    parked = await said(db, "delivery.parked")
    assert await tick(db, mail) == 1
    assert await state(db) == [("parked", 1)]
    assert await said(db, "delivery.parked") == parked + 1
    assert await tick(db, mail) == 0
    ids = [
        line for one in server.mails for line in bytes(one.content).splitlines() if line.startswith(b"Message-ID: <")
    ]
    assert len(ids) == 2
    assert len(set(ids)) == 1


async def test_after_one_crash_it_is_sent(db: Database, mailbox: Mailbox) -> None:
    server, mail = mailbox, mailbox.mail
    story = Story()
    await address(db, story.house, "inbox@house.example.org")
    await tell(db, story.received(), story.offered())
    await cut_off(db, mail, server, 1)
    assert await tick(db, mail) == 1
    assert (await state(db), len(server.mails)) == ([("sent", 1)], 2)


async def test_a_coordinator_sees_the_notices_that_did_not_go_out_and_reads_of_them_in_the_tail(
    db: Database, mailbox: Mailbox
) -> None:
    mail = mailbox.mail
    mine, other = Story(), Story()
    for story in (mine, other):
        await tell(db, story.received(), story.offered())
    await address(db, other.house, "inbox@house.example.org")
    mailbox.answer = "451 come back later"
    assert await tick(db, mail) == 2
    for story, expected in ((mine, {"parked": 1}), (other, {"failing": 1}), (Story(), {})):
        async with db.transaction("test.seen", org=story.coordinator) as tx:
            assert {row["state"]: row["count"] for row in await dashboard_store.deliveries(tx)} == expected
    async with db.transaction("test.seen", org=other.house) as tx:
        assert await dashboard_store.deliveries(tx) == [], "what was for oneself is no dashboard's"
    async with db.transaction("test.failed") as tx:
        row = await tx.conn.fetchrow("select * from outbox where type like '%delivery.failed.v1' order by number desc")
        assert row is not None
    await tell(db, event_of(row, "spean/notify"))
    async with db.transaction("test.tail", org=other.coordinator) as tx:
        assert [one["type"] for one in await dashboard_store.tail_after(tx, 0, 10)][-1] == "delivery.failed.v1"
    async with db.transaction("test.tail", org=mine.coordinator) as tx:
        assert "delivery.failed.v1" not in [one["type"] for one in await dashboard_store.tail_after(tx, 0, 10)]


async def test_the_tail_is_kept_for_two_weeks_and_what_is_older_does_not_come_back(db: Database) -> None:
    old, new = Story(), Story()
    new.at += timedelta(days=10)
    await tell(db, old.received(), old.offered())
    db.shift = timedelta(days=10)
    await tell(db, new.received())
    db.shift = timedelta(days=15)

    async def shown() -> list[tuple[int, UUID]]:
        async with db.transaction("test.tail") as tx:
            return [tuple(row) for row in await tx.conn.fetch("select number, coordinator from tail order by number")]

    assert len(await shown()) == 3
    async with db.transaction("test.forget") as tx:
        await dashboards.forget_old(tx)
    (left,) = await shown()
    assert left[1] == new.coordinator
    await tell(db, *old.events, *new.events)
    assert await shown() == [left], "said again, it is no news"
    await tell(db, new.offered())
    assert (await shown())[1][0] == left[0] + 1, "numbers go on"


async def test_without_an_address_nothing_is_sent(db: Database, mailbox: Mailbox) -> None:
    server, mail = mailbox, mailbox.mail
    story = Story()
    await tell(db, story.received(), story.offered())
    await tick(db, mail)
    assert (await state(db), server.mails) == ([("parked", 0)], [])


async def test_a_password_never_goes_out_in_the_clear(db: Database, mailbox: Mailbox) -> None:
    server, mail = mailbox, mailbox.mail
    story = Story()
    await address(db, story.house, "inbox@house.example.org")
    await tell(db, story.received(), story.offered())
    await tick(db, replace(mail, server=mail.server.replace("smtp://", "smtp://user:secret@")))
    assert (await state(db), server.mails) == ([("waiting", 1)], [])


def test_the_mail_is_the_same_for_everybody() -> None:
    mail = Mail("", "no-reply@spean.example.org", INBOX)
    id_ = uuid4()
    one, other = message(mail, "a@example.org", id_), message(mail, "b@example.org", id_)
    assert one.as_string().replace("a@example.org", "") == other.as_string().replace("b@example.org", "")
    third = message(replace(mail, sender="Spean <no-reply@spean.example.org>"), "a@example.org", uuid4())
    assert third["Message-ID"] != one["Message-ID"]
    assert third["Message-ID"].endswith("@spean.example.org>")
    assert str(id_) not in one.as_string()


# --- a whole installation with a mail server ---------------------------------------------------------------------------


async def test_a_house_is_told_and_addresses_are_the_administrators(workspace: Path, mailbox: Mailbox) -> None:
    async with (
        installed_apart(workspace, smtp=mailbox.server) as (made, chosen),
        installation.running(made),
        settle(made, chosen) as settled,
    ):
        town = await found(settled)
        key = str(uuid4())
        body = {"organisation": town.first.id, "email": "inbox@house.example.org"}
        assert await town.admin.post("/notify/addresses", body, key=key) == {"organisation": town.first.id}
        assert await town.admin.post("/notify/addresses", body, key=key) == {"organisation": town.first.id}
        for wrong in ("nobody", "a@b\r\nBcc: c@d.org", "a b@c.org", '"x"@c.org', "a@b,c@d.org", "ä@c.org", ""):
            with pytest.raises(ApiProblem, match="422 invalid"):
                await town.admin.post("/notify/addresses", {"organisation": town.first.id, "email": wrong})
        with pytest.raises(ApiProblem, match="403 scope"):
            await town.coordinator.partner.post("/notify/addresses", body)
        handoff = await town.handoff(await town.ready_person())

        async def mailed() -> bool:
            return len(mailbox.mails) == 1

        await eventually(mailed)
        content = mailbox.mails[0].content
        assert isinstance(content, bytes)
        for secret in (handoff, town.network, town.first.id, "Test Person", "KH-1", "female", "emergency"):
            assert secret not in content.decode()
