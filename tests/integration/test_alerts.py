"""Every condition that somebody is called for, brought about: the number of its alert rises, and falls when it is mended.
The pages of docs/runbooks end with what is done here."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from services.cli.client import ApiProblem
from services.cli.watching import watched
from services.notify.deliveries import handlers as deliveries
from services.notify.deliveries import store
from spean import consumer, order
from spean.ids import opaque_id
from spean.order import Key
from spean.outbox import RELAY_LOCK
from spean.service import ROLES
from spean.telemetry.export import Telemetry
from spean.watched import measure
from tests.builders import World, eventually
from tests.collector import collecting
from tests.integration.mailbox import AnyPort, Mailbox

pytestmark = pytest.mark.long
_TRIP = """
create function trip() returns trigger language plpgsql as $$ begin raise exception using errcode = '23514'; end $$;
create trigger trip before update on {table} for each row execute function trip();
"""


class Watcher:
    def __init__(self, world: World, begun: Telemetry) -> None:
        self._world, self._begun = world, begun

    async def number(self, name: str, **words: str) -> float:
        """The sum of a metric's lines with these labels, measured now."""
        for service in self._world.made.services.values():
            await measure(service)
        lines = [line for line in self._begun.text().splitlines() if re.match(rf"{name}[{{ ]", line)]
        said = [f'{word}="{value}"' for word, value in words.items()]
        return sum(float(line.rpartition(" ")[2]) for line in lines if all(one in line for one in said))

    async def until(self, right: Callable[[float], bool], name: str, within_s: float = 60.0, **words: str) -> None:
        async def seen() -> bool:
            return right(await self.number(name, **words))

        await eventually(seen, within_s=within_s)


@pytest.fixture
async def watcher(world: World) -> AsyncIterator[Watcher]:
    with collecting() as collector:
        told = world.made.settings.model_copy(update={"otlp": collector.url})
        async with watched(told, world.made.services, ROLES, "one", None) as begun:
            assert begun is not None
            yield Watcher(world, begun)


@asynccontextmanager
async def as_owner(world: World, database: str) -> AsyncIterator[Any]:
    conn = await asyncpg.connect(world.made.cluster.dsn(database))
    try:
        yield conn
    finally:
        await conn.close()


@asynccontextmanager
async def tripping(world: World, database: str, table: str) -> AsyncIterator[None]:
    """Every change of a row of this table fails."""
    async with as_owner(world, database) as conn:
        await conn.execute(_TRIP.format(table=table))
        try:
            yield
        finally:
            await conn.execute("drop function trip() cascade")


async def test_the_outbox_grows_old_where_no_relay_works(world: World, watcher: Watcher) -> None:
    name, of = "spean_outbox_age_seconds", {"spean_service": "intake"}
    async with as_owner(world, "intake") as lock, as_owner(world, "intake") as other:
        end = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = $1 and granted"

        async def ours() -> bool:
            await other.execute(end, RELAY_LOCK)
            return bool(await lock.fetchval("select pg_try_advisory_lock($1)", RELAY_LOCK))

        await eventually(ours)
        await world.handoff(await world.ready_person())
        await watcher.until(lambda age_s: age_s > 1, name, **of)
        assert await watcher.number("spean_outbox_length", **of) > 0
    await watcher.until(lambda age_s: age_s == 0, name, **of)


async def test_what_is_not_read_is_counted(world: World, watcher: Watcher) -> None:
    of = {"spean_service": "referral", "messaging_destination_name": "spean.handoff.main"}
    async with as_owner(world, "referral") as conn, conn.transaction():
        await conn.execute("select * from position where topic = 'spean.handoff.main' for update")
        await world.handoff(await world.ready_person())
        await watcher.until(lambda left: left > 0, "spean_consumer_lag", **of)
    await watcher.until(lambda left: left == 0, "spean_consumer_lag", **of)


async def test_a_key_that_stands_still_is_counted(world: World, watcher: Watcher) -> None:
    of = {"spean_service": "intake"}
    house = await world.house("House")
    handoff = await world.handoff(await world.ready_person())
    offer = await world.offer(house)
    async with tripping(world, "intake", "handoff"):
        await house.partner.post(f"/referral/offers/{offer['id']}/decline", {"reason": "other_reviewed"})
        await watcher.until(lambda keys: keys == 1, "spean_parked_keys", **of)
    intake = world.made.services["intake"]
    async with intake.db.transaction("look") as tx:
        (row,) = await order.parked_now(tx)
    assert str(row["aggregate"]) == handoff
    assert await consumer.retry(intake.db, Key(row["source"], row["aggregate"]), intake.events) is None
    await watcher.until(lambda keys: keys == 0, "spean_parked_keys", **of)


async def test_what_is_due_and_fails_is_overdue(world: World, watcher: Watcher) -> None:
    of = {"spean_service": "notify", "spean_due_kind": "delivery"}
    house = await world.house("House")
    failures = await watcher.number("spean_due_failures_total", **of)
    async with tripping(world, "notify", "delivery"):
        await world.handoff(await world.ready_person())
        await world.offer(house)
        await watcher.until(lambda age_s: age_s > 20, "spean_due_age_seconds", **of)
        assert await watcher.number("spean_due_failures_total", **of) > failures
    await watcher.until(lambda age_s: age_s == 0, "spean_due_age_seconds", 120, **of)


async def test_mails_that_do_not_go_out_are_counted(world: World, watcher: Watcher) -> None:
    box, db = Mailbox(), world.made.services["notify"].db
    server = AnyPort(box, hostname="127.0.0.1", port=0)
    server.start()
    try:
        box.server, box.answer, id_ = f"smtp://127.0.0.1:{server.port}", "451 not now", opaque_id()
        organisation = (await world.house("House")).id
        await world.admin.post("/notify/addresses", {"organisation": organisation, "email": "inbox@sample.example"})
        async with db.transaction("prepare") as tx:
            await store.insert_delivery(tx, id_, opaque_id(), organisation, tx.now + timedelta(hours=1), None)
        await deliveries.deliver(db, box.mail, id_)
        assert await watcher.number("spean_deliveries_total", spean_outcome="failed") == 1
        assert await watcher.number("spean_deliveries_waiting", spean_state="waiting") > 0
        box.answer = None
        await deliveries.deliver(db, box.mail, id_)
        assert await watcher.number("spean_deliveries_total", spean_outcome="sent") == 1
    finally:
        server.stop()


async def test_a_house_that_gave_no_address_calls_nobody(world: World, watcher: Watcher) -> None:
    """It looks at its inbox; its coordinator's page says that the notice did not go out."""
    db, id_ = world.made.services["notify"].db, opaque_id()
    house = (await world.house("House without an address")).id
    async with db.transaction("prepare") as tx:
        await store.insert_delivery(tx, id_, opaque_id(), house, tx.now + timedelta(hours=1), None)
    await deliveries.deliver(db, Mailbox().mail, id_)
    assert await watcher.number("spean_deliveries_total", spean_outcome="no-address") >= 1, (
        "others' houses have none either"
    )
    assert await watcher.number("spean_deliveries_total", spean_outcome="parked") == 0


async def test_a_silent_key_store_is_counted(world: World, watcher: Watcher) -> None:
    entry = await world.entry()
    assert await watcher.number("spean_keystore_silent_total") == 0
    async with as_owner(world, "postgres") as conn:
        await conn.execute("alter role keys_worker nologin")
        try:
            await conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'keys_worker'")

            async def refused() -> bool:
                with suppress(ApiProblem):
                    await world.sender.partner.get(f"/intake/entries/{entry}")
                return await watcher.number("spean_keystore_silent_total") > 0

            await eventually(refused)
        finally:
            await conn.execute("alter role keys_worker login")

    async def read() -> bool:
        with suppress(ApiProblem):
            return bool(await world.sender.partner.get(f"/intake/entries/{entry}"))
        return False

    await eventually(read)


async def test_a_rule_that_refuses_is_counted(world: World, watcher: Watcher) -> None:
    """Nobody may be offered anywhere without the agreement: the rule says so each time."""
    of = {"spean_gate_rule": "agreement", "spean_gate_stage": "offer"}
    house = await world.organisation("House", "shelter", ["referral:receive"])
    await world.admin.post(f"/referral/networks/{world.network}/members", {"organisation": house.id})
    place = {
        "organisation": house.id, "network": world.network, "service_types": ["emergency_bed"], "area": "KH-1",
        "usable": 1, "eligibility": {},
    }  # fmt: skip
    await world.admin.post("/referral/places", place)
    await world.handoff(await world.ready_person())
    await watcher.until(lambda fields: fields > 0, "spean_gate_refusals_total", **of)
