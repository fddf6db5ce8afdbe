"""Erasing at a page, legal holds and retention at the officer's, and what a house and a coordinator see of copies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from joserfc import jwt
from joserfc.jwk import OKPKey

from schemas.rights import StaffRole
from spean.statement import RECEIPT
from tests.browser.visiting import Form, walker
from tests.builders import World, eventually
from tests.integration.holder import database

ENTRIES = "/intake/pages/entries"
LAW = "Sample Law on Health, article 12"


async def test_somebody_is_erased_at_their_page_and_it_says_how_far_it_is(world: World) -> None:
    entry = await world.ready_person(name="Sok Dara")
    async with walker(world, world.sender, StaffRole.SENDER) as worker:
        ask = await worker.click(await worker.get(f"{ENTRIES}/{entry}"), "Erase this person's record")
        assert "It cannot be brought back" in ask.text
        nothing = await worker.send(ask.form("/erase"))
        assert (nothing.status, "Answer this question" in nothing.text) == (422, True)
        done = await worker.send(ask.form("/erase"), why="person_asked")
        assert done.path == f"{ENTRIES}/{entry}/erased"

        async def over() -> bool:
            return "The key is destroyed" in (await worker.get(done.path)).text

        await eventually(over)
        assert "Nobody holds a copy" in (await worker.get(done.path)).text
        assert (await worker.get(f"{ENTRIES}/{entry}/erase")).path == done.path, "once is enough"
        assert (await worker.get(f"{ENTRIES}/{entry}")).path == done.path, "no dead end where they were"
        assert (await worker.get(f"{ENTRIES}/{entry}/decisions")).status == 410
        assert f"{ENTRIES}/{entry}/erased" in (await worker.get(ENTRIES)).links_to
        assert (await worker.get(f"{ENTRIES}/{uuid4()}/erase")).status == 404


async def test_when_it_is_done_is_not_shown_where_they_may_have_arrived_somewhere(world: World) -> None:
    """As it is answered to a system: `integration/test_crossing.py` compares the cases."""
    house, entry = await world.house("House that waited"), await world.ready_person()
    handoff = await world.handoff(entry)
    await house.partner.post(f"/referral/offers/{(await world.offer(house))['id']}/accept")
    await world.state(handoff, "ready")
    await world.sender.partner.post(f"/intake/handoffs/{handoff}/cancel")
    async with walker(world, world.sender, StaffRole.SENDER) as worker:
        done = await worker.send((await worker.get(f"{ENTRIES}/{entry}/erase")).form("/erase"), why="person_asked")
        assert done.path == f"{ENTRIES}/{entry}/erased"
        assert "The key is destroyed as soon as nobody takes care of this person" in done.text
        assert "it would tell where they are" in done.text
        assert "The key is destroyed:" not in done.text


async def test_a_hand_off_under_way_or_a_hold_is_said_before_and_there_is_no_button(world: World) -> None:
    entry = await world.ready_person()
    handoff = await world.handoff(entry)
    async with (
        walker(world, world.sender, StaffRole.SENDER) as worker,
        walker(world, world.sender, StaffRole.OFFICER) as officer,
    ):
        page = await worker.get(f"{ENTRIES}/{entry}/erase")
        assert f"/intake/pages/handoffs/{handoff}" in page.links_to
        assert "Erase for ever" not in page.text
        asked = await officer.send((await officer.get("/intake/pages/holds")).form("/holds"), entry=entry)
        wrong = await officer.send(asked.form(f"/holds/{entry}"))
        assert wrong.status == 422
        assert wrong.text.count("Answer this question") >= 2
        past = (datetime.now(UTC) - timedelta(days=3)).date().isoformat()
        reason = "Ordered by the court of the province, file 12."
        assert (await officer.send(asked.form(f"/holds/{entry}"), reason=reason, until=past)).status == 422
        put = await officer.send(asked.form(f"/holds/{entry}"), reason=reason, until="2099-12-31")
        assert reason in put.text
        assert "31 Dec 2099" in put.text
        held = await worker.get(f"{ENTRIES}/{entry}/erase")
        assert "A legal hold stands" in held.text
        assert reason not in held.text
        assert entry[:8] in (await officer.get("/intake/pages/holds")).text
        lifted = await officer.send(put.form("/lift"))
        assert "Lifted" in lifted.text
        assert entry[:8] not in (await officer.get("/intake/pages/holds")).text
        assert (await officer.get(f"/intake/pages/holds/{uuid4()}")).status == 404
        kept = await officer.click(await officer.get("/intake/pages/rules"), "How long records are kept")
        assert "1825 days" in kept.text


async def test_a_house_answers_from_its_inbox_and_the_holder_signs_what_it_was_told(world: World) -> None:
    house, entry = await world.house("House of copies"), await world.ready_person()
    handoff, offer = await world.with_packet(house, entry)
    await world.sender.partner.post(f"/intake/handoffs/{handoff}/cancel")

    async def asked() -> Any:
        return (await house.partner.get("/referral/copies"))["copies"]

    await eventually(asked)
    async with walker(world, house, StaffRole.RECEIVER) as worker:
        inbox = await worker.get("/referral/pages/inbox")
        assert "1 copy is to be erased" in inbox.text
        passed_on = await worker.send(inbox.form(f"/offers/{offer}/packet"))
        packet = await worker.send(passed_on.form(f"/packets/{offer}"))
        ask = await worker.click(packet, "Say what became of your copy")
        which = await worker.send(ask.form("/erasure"), answer="retained_by_law")
        assert which.status == 422
        done = await worker.send(ask.form("/erasure"), answer="retained_by_law", reason="health_records", law=LAW)
        assert "You have answered about your copy" in done.text
        await worker.send(ask.form("/erasure"), answer="retained_by_law", reason="health_records", law=LAW)
    await eventually(lambda: _none(asked))
    async with database(world) as db:
        [kept] = await db.fetch("select * from copy_answer where offer = $1", UUID(offer))
    async with walker(world, world.sender, StaffRole.SENDER) as worker:
        told = await worker.get(f"/intake/pages/handoffs/{handoff}/told")
        assert f"The law on health records: {LAW}" in told.text
        assert "signed here as a receipt" in told.text
    key = OKPKey.import_key((await world.sender.partner.get("/intake/.well-known/jwks.json"))["keys"][0])
    receipt = jwt.decode(kept["statement"], key, ["Ed25519"])
    assert (receipt.header["typ"], kept["signed_by"]) == (RECEIPT, "holder")
    assert receipt.claims["by"].startswith("person:")
    assert (receipt.claims["organisation"], receipt.claims["answer"], receipt.claims["law"]) == (
        house.id,
        "retained_by_law",
        LAW,
    )


async def _none(asked: Any) -> bool:
    return not await asked()


async def test_a_system_signs_itself_also_at_a_page(world: World) -> None:
    house, entry = await world.house("House with a system"), await world.ready_person()
    _, offer = await world.with_packet(house, entry)
    await world.sender.partner.post(f"/intake/entries/{entry}/withdraw", {"what": "sharing"})
    ticket = await house.partner.post(f"/referral/offers/{offer}/ticket")
    async with walker(world, None) as stranger:
        blank = await stranger.get(f"/intake/pages/packets/{offer}")
        assert blank.status == 410
        packet = await stranger.send(Form(f"/intake/pages/packets/{offer}", [("ticket", ticket["ticket"])]))
        ask = await stranger.click(packet, "Say what became of your copy")
        refused = await stranger.send(ask.form("/erasure"), answer="erased")
        assert refused.status == 422
    assert (await house.partner.packet(offer))["erasure"] == "requested"


async def test_a_coordinator_sees_who_is_late_and_can_end_what_a_silent_house_leaves(world: World) -> None:
    house, entry = await world.house("Silent house"), await world.ready_person()
    handoff = await world.handoff(entry)
    offer = (await world.offer(house))["id"]
    await house.partner.post(f"/referral/offers/{offer}/accept")
    await world.state(handoff, "ready")
    await house.partner.post(f"/referral/offers/{offer}/arrived", {})
    async with world.made.services["referral"].db.transaction("test.silent") as tx:
        await tx.conn.execute(
            """
            update referral set escalated = 'no-outcome', step_at = null, remind_at = now() + interval '1 day' where id = $1
            """,
            UUID(handoff),
        )
        await tx.conn.execute(
            """
            insert into held_copy (offer, referral, organisation, asked_at, answer_by)
            select id, referral, organisation, now() - interval '9 days', now() - interval '6 days' from offer where id = $1
            """,
            UUID(offer),
        )
    async with walker(world, world.coordinator, StaffRole.COORDINATOR) as worker:
        listed = await worker.get("/referral/pages/escalations")
        assert "1 copy is not answered for in time" in listed.text
        assert "Silent house" in listed.text
        close = await worker.click(
            await worker.get(f"/referral/pages/escalations/{handoff}"), "The house is silent: end it"
        )
        done = await worker.send(close.form("/close"))
        assert "count as taken" in done.text
    await world.state(handoff, "completed")
