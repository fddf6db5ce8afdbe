"""The packet in a browser: opened once by a ticket, for ten minutes, gated at every look."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from playwright.async_api import Browser

from schemas.rights import StaffRole
from services.intake.disclosure import visits
from services.intake.disclosure.pages import COOKIE
from spean.db import Database
from tests.browser.visiting import Form, Screen, Walker, at_browser, signed_in, walker
from tests.builders import Organisation, World


async def accepted(world: World, *entries: str) -> tuple[Organisation, str, str]:
    """A house that has accepted: the house, the offer, the hand-off."""
    house = await world.house("Lotus House", 4)
    handoff = await world.handoff(*entries)
    offer = (await world.offer(house))["id"]
    await house.partner.post(f"/referral/offers/{offer}/accept", {})
    await world.state(handoff, "ready")
    return house, str(offer), handoff


@asynccontextmanager
async def opened(world: World, house: Organisation, offer: str) -> AsyncIterator[tuple[Walker, Screen]]:
    """A worker of the house who has the packet open."""
    async with walker(world, house, StaffRole.RECEIVER) as worker:
        yield worker, await worker.send(await ticket(worker, offer))


async def ticket(worker: Walker, offer: str) -> Form:
    """The form that takes the ticket to the holder."""
    shown = await worker.get(f"/referral/pages/offers/{offer}")
    passed_on = await worker.send(shown.form(f"/offers/{offer}/packet"))
    return passed_on.form(f"/packets/{offer}")


async def test_without_javascript_two_clicks_open_it_and_say_why(world: World) -> None:
    house, offer, _ = await accepted(world, await world.ready_person(name="Sok Dara", languages=["khm"]))
    async with opened(world, house, offer) as (worker, packet):
        assert packet.status == 200
        assert packet.path == f"/intake/pages/packets/{offer}"
        assert worker.clicks == 2
        assert "Sok Dara" in packet.text
        assert "Khmer" in packet.text
        assert "24" in packet.text
        assert "the person agreed that you are told" in packet.text
        assert "Health" in packet.text  # is not shown, and no reason is
        assert "Either nothing was written down" in packet.text


async def test_a_ticket_works_once(world: World) -> None:
    house, offer, _ = await accepted(world, await world.ready_person(name="Sok Dara"))
    async with walker(world, house, StaffRole.RECEIVER) as worker:
        form = await ticket(worker, offer)
        assert "Sok Dara" in (await worker.send(form)).text
        again = await worker.send(form)
        assert again.status == 410
        assert "Sok Dara" not in again.text
        assert again.links["Go back and open it again"] == f"/referral/pages/offers/{offer}"


async def test_a_ticket_of_another_offer_opens_nothing(world: World) -> None:
    house, offer, _ = await accepted(world, await world.ready_person(name="Sok Dara"))
    await world.handoff(await world.ready_person(name="Chan Thy"))
    other = str((await world.offer(house))["id"])
    await house.partner.post(f"/referral/offers/{other}/accept", {})
    async with walker(world, house, StaffRole.RECEIVER) as worker:
        form = await ticket(worker, offer)
        form.action = form.action.replace(offer, other)
        refused = await worker.send(form)
        assert refused.status == 404
        assert "Chan Thy" not in refused.text
        assert (await worker.get(f"/intake/pages/packets/{other}")).status == 410


async def test_the_cookie_of_one_offer_opens_no_other(world: World) -> None:
    house, offer, _ = await accepted(world, await world.ready_person(name="Sok Dara"))
    await world.handoff(await world.ready_person(name="Chan Thy"))
    other = str((await world.offer(house))["id"])
    await house.partner.post(f"/referral/offers/{other}/accept", {})
    async with opened(world, house, offer) as (worker, _):
        value, path = worker.cookies[COOKIE]
        assert path == f"/intake/pages/packets/{offer}"
        worker.cookies[COOKIE] = (value, "/")
        refused = await worker.get(f"/intake/pages/packets/{other}")
        assert refused.status == 410
        assert "Chan Thy" not in refused.text


async def test_it_closes_after_ten_minutes(world: World) -> None:
    house, offer, _ = await accepted(world, await world.ready_person(name="Sok Dara"))
    db = world.made.services["intake"].db
    async with opened(world, house, offer) as (worker, packet):
        try:
            db.shift = timedelta(minutes=9, seconds=30)
            assert (await worker.get(packet.path)).status == 200
            db.shift = timedelta(minutes=10, seconds=1)
            over = await worker.get(packet.path)
        finally:
            db.shift = timedelta(0)
        assert over.status == 410
        assert "Sok Dara" not in over.text
        assert over.links["Go back and open it again"] == f"/referral/pages/offers/{offer}"


async def test_what_opened_it_is_kept_as_digests_and_not_for_long(world: World) -> None:
    house, offer, _ = await accepted(world, await world.ready_person())
    db = world.made.services["intake"].db
    await rows_after(db, 60)  # what other tests have left
    db.shift = timedelta(0)
    async with walker(world, house, StaffRole.RECEIVER) as worker:
        form = await ticket(worker, offer)
        await worker.send(form)
        shown = {worker.cookies[COOKIE][0], *form.get("ticket")}
    try:
        kept = [await rows_of(db), *[await rows_after(db, minutes) for minutes in (2, 11)]]
    finally:
        db.shift = timedelta(0)
    assert not [one for one in shown if one in str(kept[0])]
    assert [(len(tickets), len(sessions)) for tickets, sessions in kept] == [(1, 1), (0, 1), (0, 0)]


async def rows_of(db: Database) -> tuple[list[str], list[str]]:
    async with db.transaction("test.rows") as tx:
        tickets, sessions = [await tx.conn.fetch(f"select * from {one}") for one in ("used_ticket", "packet_session")]
        return [str(row) for row in tickets], [str(row) for row in sessions]


async def rows_after(db: Database, minutes: int) -> tuple[list[str], list[str]]:
    db.shift = timedelta(minutes=minutes)
    async with db.transaction("test.forget") as tx:
        await visits.forget(tx)
    return await rows_of(db)


async def test_it_is_bound_to_the_session_that_opened_it(world: World) -> None:
    house, offer, _ = await accepted(world, await world.ready_person(name="Sok Dara"))
    async with opened(world, house, offer) as (worker, packet), walker(world, house, StaffRole.RECEIVER) as colleague:
        colleague.cookies[COOKIE] = worker.cookies[COOKIE]
        for reader in (colleague, Walker(world.made, worker.client, {COOKIE: worker.cookies[COOKIE]})):
            refused = await reader.get(packet.path)
            assert refused.status == 410
            assert "Sok Dara" not in refused.text


async def test_another_organisation_cannot_redeem_the_ticket(world: World) -> None:
    house, offer, _ = await accepted(world, await world.ready_person(name="Sok Dara"))
    other = await world.house("Other House", 1)
    async with walker(world, house, StaffRole.RECEIVER) as worker, walker(world, other, StaffRole.RECEIVER) as thief:
        form = await ticket(worker, offer)
        refused = await thief.send(form)
        assert refused.status == 404
        assert "Sok Dara" not in refused.text
        assert "Sok Dara" in (await worker.send(form)).text  # the refusal has not used it up


async def test_a_browser_without_a_session_here_is_known_by_the_ticket_alone(world: World) -> None:
    """As at a holder of another origin, where nobody has signed in."""
    house, offer, handoff = await accepted(world, await world.ready_person(name="Sok Dara"))
    async with walker(world, house, StaffRole.RECEIVER) as worker, walker(world, None) as elsewhere:
        packet = await elsewhere.send(await ticket(worker, offer))
        assert "Sok Dara" in packet.text
        where = await elsewhere.click(packet, "Say where the person is met")
        assert "Old market" in (await elsewhere.send(where.form("/whereabouts"), meeting_point="Old market")).text
        async with world.made.services["intake"].db.transaction("test.suspend") as tx:
            await tx.conn.execute("insert into suspended (organisation, at) values ($1, now())", house.id)
        refused = await elsewhere.get(packet.path)
        assert refused.status == 403
        assert "Sok Dara" not in refused.html
    assert (await world.sender.partner.get(f"/intake/handoffs/{handoff}"))["meeting_point"] == "Old market"


async def test_a_withdrawal_empties_an_open_packet(world: World) -> None:
    gone, stays = await world.ready_person(name="Sok Dara"), await world.ready_person(name="Chan Thy")
    house, offer, _ = await accepted(world, gone, stays)
    async with opened(world, house, offer) as (worker, packet):
        assert "Sok Dara" in packet.text
        assert "Chan Thy" in packet.text
        await world.sender.partner.post(f"/intake/entries/{gone}/withdraw", {"what": "sharing"})
        after = await worker.get(packet.path)
        assert after.status == 200
        assert "Sok Dara" not in after.text
        assert "Chan Thy" in after.text
        assert "Nothing may be shown of this person now" in after.text


async def test_a_suspended_house_reads_nothing(world: World) -> None:
    house, offer, _ = await accepted(world, await world.ready_person(name="Sok Dara"))
    async with opened(world, house, offer) as (worker, packet):
        async with world.made.services["intake"].db.transaction("test.suspend") as tx:
            await tx.conn.execute("insert into suspended (organisation, at) values ($1, now())", house.id)
        refused = await worker.get(packet.path)
        assert refused.status == 403
        assert "Sok Dara" not in refused.text


async def test_a_meeting_point_is_said_changed_and_reaches_the_sender(world: World) -> None:
    house, offer, handoff = await accepted(world, await world.ready_person())
    async with opened(world, house, offer) as (worker, packet):
        where = await worker.click(packet, "Say where the person is met")
        done = await worker.send(where.form("/whereabouts"), meeting_point="Old market, north gate")
        assert done.path == packet.path
        assert "Old market, north gate" in done.text
    shown = await world.sender.partner.get(f"/intake/handoffs/{handoff}")
    assert shown["meeting_point"] == "Old market, north gate"


async def test_a_meeting_point_written_meanwhile_is_not_overwritten_unseen(world: World) -> None:
    house, offer, handoff = await accepted(world, await world.ready_person())
    async with opened(world, house, offer) as (worker, packet):
        mine = (await worker.get(f"{packet.path}/whereabouts")).form("/whereabouts")
        await worker.send(mine, meeting_point="A colleague's corner")
        stale = await worker.send(mine, meeting_point="My corner")
        assert stale.status == 422
        form = stale.form("/whereabouts")
        assert form.get("meeting_point") == ["My corner"]
        assert "A colleague's corner" in stale.text
        await worker.send(form)
    assert (await world.sender.partner.get(f"/intake/handoffs/{handoff}"))["meeting_point"] == "My corner"


async def test_a_wrong_meeting_point_keeps_what_was_typed(world: World) -> None:
    house, offer, _ = await accepted(world, await world.ready_person())
    async with opened(world, house, offer) as (worker, packet):
        where = await worker.get(f"{packet.path}/whereabouts")
        wrong = await worker.send(where.form("/whereabouts"), meeting_point=" ", address="12 Street")
        assert wrong.status == 422
        assert "Answer this question" in wrong.text
        assert "meeting_point" in wrong.ids
        assert wrong.form("/whereabouts").get("address") == ["12 Street"]
        long = await worker.send(wrong.form("/whereabouts"), meeting_point="x" * 501)
        assert long.status == 422
        assert "shorten it" in long.text
        script = "<script>alert(1)</script>"
        done = await worker.send(where.form("/whereabouts"), meeting_point=script)
        assert script not in done.html
        assert "alert(1)" in done.html


async def test_a_form_from_elsewhere_changes_nothing(world: World) -> None:
    house, offer, handoff = await accepted(world, await world.ready_person())
    async with opened(world, house, offer) as (worker, packet):
        where = (await worker.get(f"{packet.path}/whereabouts")).form("/whereabouts")
        for token in ("", "AAAA"):
            refused = await worker.send(where, csrf=token, meeting_point="Elsewhere")
            assert refused.status == 409
    assert (await world.sender.partner.get(f"/intake/handoffs/{handoff}"))["meeting_point"] is None


async def test_what_became_of_the_copy_is_answered(world: World) -> None:
    entry = await world.ready_person(name="Sok Dara")
    house, offer, _ = await accepted(world, entry)
    async with opened(world, house, offer) as (worker, packet):
        await world.sender.partner.post(f"/intake/entries/{entry}/withdraw", {"what": "sharing"})
        asked = await worker.click(await worker.get(packet.path), "Say what became of your copy")
        assert [one for one in ("Erased", "Locked away", "Kept because a law", "We hold nothing") if one in asked.text]
        nothing = await worker.send(asked.form("/erasure"))
        assert nothing.status == 422
        assert "Choose one of the answers" in nothing.text
        done = await worker.send(asked.form("/erasure"), answer="erased")
        assert done.path == packet.path
        assert "You have answered about your copy" in done.text
        assert (await worker.send(asked.form("/erasure"), answer="erased")).status == 200


async def test_after_a_cancel_only_the_question_about_the_copy_is_left(world: World) -> None:
    house, offer, handoff = await accepted(world, await world.ready_person(name="Sok Dara"))
    async with opened(world, house, offer) as (worker, packet):
        await world.sender.partner.post(f"/intake/handoffs/{handoff}/cancel", {})
        after = await worker.get(packet.path)
        assert after.status == 200
        assert "Sok Dara" not in after.text
        assert "can no longer be read" in after.text
        refused = await worker.get(f"{packet.path}/whereabouts")
        assert refused.status == 409
        asked = await worker.click(after, "Say what became of your copy")
        done = await worker.send(asked.form("/erasure"), answer="nothing_held")
        assert "You have answered" in done.text


async def test_nobody_gets_in_without_a_ticket(world: World) -> None:
    house, offer, _ = await accepted(world, await world.ready_person(name="Sok Dara"))
    async with walker(world, house, StaffRole.RECEIVER) as worker, walker(world, None) as stranger:
        for one in (worker, stranger):
            for page in ("", "/whereabouts", "/erasure"):
                assert (await one.get(f"/intake/pages/packets/{offer}{page}")).status == 410
        for sent in ("", "no.ticket.at-all", "x" * 4000):
            form = Form(f"/intake/pages/packets/{offer}", [("ticket", sent)])
            assert (await worker.send(form)).status == 410
        assert (await worker.get(f"/intake/pages/packets/{uuid4()}")).status == 410


@pytest.mark.browser
async def test_with_javascript_it_opens_in_one_click_and_back_leads_to_the_offer(
    world: World, browser: Browser
) -> None:
    house, offer, _ = await accepted(world, await world.ready_person(name="Sok Dara"))
    cookie = await signed_in(world.made, house, StaffRole.RECEIVER)
    async with at_browser(browser, world.made, cookie) as page:
        await page.goto(f"/referral/pages/offers/{offer}")
        await page.get_by_role("button", name="Open the packet").click()
        await page.wait_for_url(f"**/intake/pages/packets/{offer}")
        assert await page.get_by_text("Sok Dara").is_visible()
        kept = [one for one in await page.context.cookies() if one["name"] == COOKIE]
        assert [(one["path"], one["httpOnly"], one["secure"]) for one in kept] == [
            (f"/intake/pages/packets/{offer}", True, True)
        ]
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await page.go_back()
        assert page.url.endswith(f"/referral/pages/offers/{offer}")
