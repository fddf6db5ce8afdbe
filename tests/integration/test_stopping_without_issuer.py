"""The issuer of sessions does not answer: a worker whom it vouched for can still stop for a person, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from schemas.rights import StaffRole
from services.intake import vouched
from spean.crypto import opener_digest
from spean.problem import Refusal
from spean.web.visitor import Visitor
from tests.browser.desk import at_desk, plain
from tests.browser.visiting import signed_in
from tests.builders import World


@asynccontextmanager
async def silent_issuer(world: World) -> AsyncIterator[None]:
    """The exchange of sessions fails as it does when nothing listens there."""
    state = world.made.services["intake"].app.state
    asks = state.visitors

    async def silent(_: str) -> Visitor | None:
        raise Refusal("busy")

    state.visitors = vouched.remembering(world.made.services["intake"].db, silent)
    try:
        yield
    finally:
        state.visitors = asks


async def test_stopping_goes_on_and_reading_does_not(world: World) -> None:
    entry = await world.ready_person()
    cookie = await signed_in(world.made, world.sender, StaffRole.SENDER)
    stop = f"/intake/pages/entries/{entry}/stop/sharing"
    async with at_desk(world.made, cookie) as visit:
        await visit.get("/intake/pages/handoffs")  # vouched for
        async with silent_issuer(world):
            refused = await visit.client.get("/intake/pages/handoffs")
            assert refused.status_code == 503
            form = (await visit.get(stop)).of(stop)
            done = await visit.send(stop, form)
            assert done.status_code == 303, plain(done.text)
            assert "Stopped" in (await visit.get(f"{stop}?done=withdrawn")).text
    async with world.made.services["intake"].db.transaction("test.fence") as tx:
        assert await tx.conn.fetchval("select sharing_shut from fence where entry = $1", entry)


async def test_nobody_else_may(world: World) -> None:
    entry = await world.ready_person()
    stop = f"/intake/pages/entries/{entry}/stop/sharing"
    never_seen = await signed_in(world.made, world.sender, StaffRole.SENDER)
    earlier = await signed_in(world.made, world.sender, StaffRole.SENDER)
    db = world.made.services["intake"].db
    async with at_desk(world.made, never_seen) as visit, silent_issuer(world):
        assert (await visit.client.get(stop)).status_code == 303  # to the sign-in
    async with at_desk(world.made, earlier) as visit:
        await visit.get("/intake/pages/handoffs")
        async with silent_issuer(world):
            db.shift = timedelta(hours=13)
            try:
                assert (await visit.client.get(stop)).status_code == 303
            finally:
                db.shift = timedelta(0)


async def test_a_session_that_was_ended_is_forgotten(world: World) -> None:
    entry = await world.ready_person()
    stop = f"/intake/pages/entries/{entry}/stop/sharing"
    cookie = await signed_in(world.made, world.sender, StaffRole.SENDER)
    async with at_desk(world.made, cookie) as visit:
        await visit.get("/intake/pages/handoffs")
        async with world.made.services["referral"].db.transaction("test.end") as tx:
            await tx.conn.execute("update person set status = 'left' where organisation = $1", world.sender.id)
        assert (await visit.client.get("/intake/pages/handoffs")).status_code == 303
        async with silent_issuer(world):
            assert (await visit.client.get(stop)).status_code == 303


async def test_the_next_page_only_reads_it_and_one_after_a_while_writes_it_anew(world: World) -> None:
    cookie = await signed_in(world.made, world.sender, StaffRole.SENDER)
    db = world.made.services["intake"].db

    async def row() -> tuple[str, str]:
        """Which transactions have written and locked it."""
        async with db.transaction("test.vouched") as tx:
            found = await tx.one("select xmin::text, xmax::text from vouched where digest = $1", opener_digest(cookie))
            return found["xmin"], found["xmax"]

    async with at_desk(world.made, cookie) as visit:
        await visit.get("/intake/pages/handoffs")
        first = await row()
        await visit.get("/intake/pages/handoffs")
        assert await row() == first
        db.shift = timedelta(minutes=11)
        try:
            await visit.get("/intake/pages/handoffs")
        finally:
            db.shift = timedelta(0)
        assert await row() != first
