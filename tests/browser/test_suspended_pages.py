"""An organisation is shut out: its people may still stop something for somebody, and do nothing else."""

from __future__ import annotations

from uuid import UUID

import httpx
import pytest

from schemas.rights import StaffRole
from spean.problem import Refusal
from spean.web.visitor import COOKIE
from tests.browser.meeting import ENTRIES
from tests.browser.visiting import Walker
from tests.builders import World
from tests.integration.staff import Member, hired, set_up

STOP = "/intake/pages/stop"
HANDOFFS = "/intake/pages/handoffs"


async def suspended(world: World, *roles: StaffRole) -> Member:
    """Somebody of the sender's, which is shut out."""
    someone, _ = await set_up(world.made, await hired(world.made, world.sender.id, *roles))
    await world.admin.post(f"/referral/organisations/{world.sender.id}/suspend")
    return someone


async def test_they_sign_in_again_and_stop_for_somebody(world: World) -> None:
    entry, other = await world.ready_person(), await world.ready_person()
    handoff = await world.handoff(entry)
    someone = await suspended(world, StaffRole.SENDER)
    async with httpx.AsyncClient(timeout=15) as client:
        worker = Walker(world.made, client, {COOKIE: ((await someone.signs_in()).cookie, "/")})
        page = await worker.get("/referral/pages")
        assert (page.path, page.status) == (STOP, 200), "there they begin"
        assert "Test Person" not in page.html, "nothing sealed is opened"
        assert page.text.count("Stop sharing") == 2
        page = await worker.get(f"{STOP}?q={handoff[:8].upper()}")
        assert (entry[:8] in page.text, other[:8] in page.text) == (True, False)
        page = await worker.get(f"{ENTRIES}/{entry}/stop/sharing")
        page = await worker.send(page.form("/stop/sharing"))
        assert "Sharing is stopped" in page.headings
        page = await worker.click(page, "Back")
        assert page.path == STOP
        page = await worker.send((await worker.get(f"{HANDOFFS}/{handoff}/cancel")).form("/cancel"))
        assert (page.status, "It has ended already" in page.text) == (200, True)
        page = await worker.send((await worker.get(f"{ENTRIES}/{other}/stop/service")).form("/stop/service"))
        assert "The help is stopped" in page.headings
    async with world.made.services["intake"].db.transaction("test") as tx:
        shut = await tx.conn.fetch(
            "select sharing_shut, service_shut from fence where entry = any($1) order by entry = $2",
            [UUID(entry), UUID(other)], UUID(other),
        )  # fmt: skip
        assert [tuple(row) for row in shut] == [(True, False), (True, True)]
        assert await tx.conn.fetchval("select state from handoff where id = $1", UUID(handoff)) == "cancelled"


async def test_they_open_and_do_nothing_else(world: World) -> None:
    entry = await world.ready_person()
    someone = await suspended(world, *StaffRole)
    async with httpx.AsyncClient(timeout=15) as client:
        worker = Walker(world.made, client, {COOKIE: ((await someone.signs_in()).cookie, "/")})
        for path in (HANDOFFS, ENTRIES, f"{ENTRIES}/{entry}", f"{ENTRIES}/new", "/intake/pages/rules",
                     "/referral/pages/inbox", "/referral/pages/account", "/referral/pages/admin", "/referral/pages/people",
                     "/referral/pages/escalations", "/referral/pages/directory", "/notify/pages/dashboard"):  # fmt: skip
            page = await worker.get(path)
            assert (page.status, page.links.get("Go on from here")) in {(403, STOP), (403, None)}, path
            assert "suspended" in page.text, path
        form = (await worker.get(f"{ENTRIES}/{entry}/stop/sharing")).form("/stop/sharing")
        form.action = f"{ENTRIES}/{entry}/consent"
        assert (await worker.send(form)).status == 403


async def test_who_is_locked_as_well_does_not_sign_in(world: World) -> None:
    someone = await suspended(world, StaffRole.SENDER)
    async with someone.desk.db.transaction("test") as tx:
        await tx.conn.execute("update person set status = 'locked' where id = $1", someone.id)
    with pytest.raises(Refusal, match="sign-in-wrong"):
        await someone.signs_in()
