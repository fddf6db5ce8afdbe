"""What becomes of copies: signed statements, receipts, each way to be refused; what is late; and a house that is silent."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey

from services.cli.client import ApiProblem
from services.intake.erasure import copies
from services.intake.handoffs.stopping import ERASURE_DUE
from tests.builders import World, eventually, second_system
from tests.integration.holder import SYSTEM, Case, Holder, database, own_world, refused, said, shared_world, withdraw  # noqa: F401 (fixtures)

LAW = {"reason": "health_records", "law": "Sample Law on Health, article 12"}


async def _asked_back(world: World) -> Case:
    """A copy that is to be erased."""
    holder = Holder(world)
    case = await holder.released(await holder.house(), await world.ready_person())
    await withdraw(world, case.entries[0])
    return case


async def _because(case: Case, statement: str) -> str:
    """Why a statement is refused."""
    with pytest.raises(ApiProblem, match="422 statement") as refusal:
        await case.packet("PUT", "/erasure", {"statement": statement})
    return str(refusal.value.rule)


async def _kept(case: Case) -> list[dict[str, Any]]:
    async with database(case.holder.world) as db:
        rows = await db.fetch("select * from copy_answer where offer = $1 order by at, said_at", UUID(case.offer))
    return [dict(row) for row in rows]


async def test_a_signed_answer_is_kept_as_it_was_signed_and_corrected_by_a_later_one(world: World) -> None:
    case = await _asked_back(world)
    asked = await case.packet("GET", "/erasure")
    assert (asked["organisation"], asked["offer"], asked["answer"]) == (case.house.id, case.offer, "requested")
    first = await case.statement(answer="retained_by_law", iat=int(time.time()) - 1, **LAW)
    for _ in range(2):  # sent again, as after a broken line
        await case.packet("PUT", "/erasure", {"statement": first})
    await case.answer("erased")
    assert (await case.packet("GET", "/erasure"))["answer"] == "erased"
    one, other = await _kept(case)
    assert (one["statement"], one["answer"], one["reason"], one["law"]) == (first, "retained_by_law", *LAW.values())
    assert (one["by"], one["signed_by"], other["answer"]) == (SYSTEM, "system", "erased")
    assert (await case.said()).count("erasure.acknowledged") == 2
    assert await _because(case, first) == "replayed", "the answer that was corrected does not come back"
    late = await case.statement(answer="restricted", iat=int((await _kept(case))[-1]["said_at"].timestamp()) - 2)
    assert await _because(case, late) == "replayed", "nor one that was signed before it and got lost on the way"
    assert len(await _kept(case)) == 2


async def test_what_is_not_this_houses_word_about_this_request_changes_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    case, other = await _asked_back(world), await _asked_back(world)
    thief, theirs = OKPKey.generate_key("Ed25519", auto_kid=True), await other.statement()
    old = case.house.key
    wrong = {
        "rotated-out": await case.statement(thief),
        "wrong-organisation": await case.statement(organisation=other.house.id),
        "wrong-system": await case.statement(iss="another-system"),
        "wrong-request": await case.statement(request=str(uuid4())),
        "wrong-time": await case.statement(iat=int(time.time()) - 3_600),
        "no-statement": "erased",
        "wrong-signature": (await case.statement())[:-8] + "AAAAAAAA",
    }
    assert {why: await _because(case, text) for why, text in wrong.items()} == {why: why for why in wrong}
    told = [record for record in caplog.records if record.name == copies.__name__]
    assert [record.__dict__["reason"] for record in told] == list(wrong), "by its class, and nothing of it"
    assert not any(text in caplog.text for text in (case.offer, case.house.id, *wrong.values()) if text != "erased")
    assert await _because(case, theirs) == "rotated-out", "another house's own"
    case.house.key = OKPKey.generate_key("Ed25519", auto_kid=True)
    assert await _because(case, await case.statement(old)) == "rotated-out"
    assert (await case.packet("GET", "/erasure"))["answer"] == "requested"
    assert await _kept(case) == []
    assert "erasure.acknowledged" not in await case.said()
    await case.answer("nothing_held")
    assert (await case.packet("GET", "/erasure"))["answer"] == "nothing_held"


async def test_an_answer_to_an_earlier_request_is_none_to_the_next(world: World) -> None:
    case = await _asked_back(world)
    earlier = await case.statement()
    await case.packet("PUT", "/erasure", {"statement": earlier})
    await world.consent(case.entries[0], "share_referral")
    await case.packet()
    await withdraw(world, case.entries[0])
    assert await _because(case, earlier) == "wrong-request"
    assert (await case.packet("GET", "/erasure"))["answer"] == "requested"


async def test_nobody_fills_the_holder_with_statements(world: World) -> None:
    case = await _asked_back(world)
    await case.answer("erased")
    async with database(world) as db:
        await db.execute(
            """
            insert into copy_answer (offer, id, handoff, org, request, organisation, by, signed_by, answer, said_at, at, statement,
                public_key)
            select offer, gen_random_uuid(), handoff, org, request, organisation, by, signed_by, answer, said_at, at, statement,
                public_key from copy_answer, generate_series(2, $2) where offer = $1
            """,
            UUID(case.offer), copies.STATEMENTS_MOST,
        )  # fmt: skip
    assert await _because(case, await case.statement(answer="restricted")) == "too-many"
    assert (await case.packet("GET", "/erasure"))["answer"] == "erased", "what was said last stands"
    assert len(await _kept(case)) == copies.STATEMENTS_MOST


async def test_without_a_request_there_is_nothing_to_answer_and_a_strangers_copy_is_nobodys(world: World) -> None:
    holder = Holder(world)
    case = await holder.released(await holder.house(), await world.ready_person())
    assert (await case.packet("GET", "/erasure"))["request"] is None
    with refused("state"):
        await case.packet("PUT", "/erasure", {"statement": await case.statement(request=str(uuid4()))})
    with refused("invalid"):
        await case.packet("PUT", "/erasure", {"answer": "erased"})
    stranger = Case(holder, await holder.house(), case.entries, case.handoff, case.offer)
    with refused("no-longer-available"):
        await stranger.packet("GET", "/erasure")


async def test_the_sender_sees_the_answer_and_the_officer_the_statement(world: World) -> None:
    """Cancelled rather than stopped: so the person still lets the sender know who it is."""
    holder = Holder(world)
    case = await holder.released(await holder.house(), await world.ready_person())
    await case.sender.post(f"/intake/handoffs/{case.handoff}/cancel")
    path = f"/intake/handoffs/{case.handoff}/copies"
    [waits] = (await case.sender.get(path))["copies"]
    assert (waits["organisation"], waits["answer"], waits["late"]) == (case.house.id, None, False)
    text = await case.statement(answer="retained_by_law", **LAW)
    await case.packet("PUT", "/erasure", {"statement": text})
    [copy] = (await case.sender.get(path))["copies"]
    assert {name: copy[name] for name in ("answer", "signed_by", "by", *LAW)} == {
        "answer": "retained_by_law", "signed_by": "system", "by": SYSTEM, **LAW,
    }  # fmt: skip
    assert jwt.decode(copy["statement"], OKPKey.import_key(copy["public_key"]), ["Ed25519"]).claims["law"] == LAW["law"]
    await withdraw(world, case.entries[0])
    [hidden] = (await case.sender.get(path))["copies"]
    assert (hidden["answer"], hidden["reason"]) == ("retained_by_law", "health_records")
    assert [hidden[name] for name in ("organisation", "by", "law", "statement", "public_key")] == [None] * 5
    times = [datetime.fromisoformat(hidden[name]) for name in ("asked_at", "answer_by", "answered_at")]
    assert [(one.second, one.microsecond) for one in times] == [(0, 0)] * 3, "the house knows when it answered"
    officer = await second_system(world, world.sender, ["intake:rules"])
    answers = (await officer.get(f"/intake/cases/{case.entries[0]}/audit"))["answers"]
    [told] = [one["packet"]["statements"] for one in answers if one["packet"]]
    assert [(one["statement"], one["by"], one["law"]) for one in told] == [(text, SYSTEM, LAW["law"])]


async def test_who_is_late_is_seen_by_the_house_and_the_coordinator_and_told_to_both(own: World) -> None:
    house, entry = await own.house("Late house"), await own.ready_person()
    handoff, offer = await own.with_packet(house, entry)
    await withdraw(own, entry)

    async def asked() -> Any:
        return (await house.partner.get("/referral/copies"))["copies"]

    [waits] = await eventually(asked)
    assert (waits["offer"], waits["late"]) == (offer, False)
    late = "/referral/late-copies"
    assert (await own.coordinator.partner.get(late))["copies"] == []
    with refused("scope"):
        await house.partner.get(late)
    ago = timedelta(days=9)
    async with own.made.services["referral"].db.transaction("test.late") as tx:
        await tx.conn.execute(
            "update held_copy set answer_by = answer_by - $2::interval where offer = $1", UUID(offer), ago
        )
    async with database(own) as db:
        await db.execute("update packet set erasure_by = erasure_by - $2::interval where offer = $1", UUID(offer), ago)
        assert (
            await db.execute("update due set at = now() where kind = $1 and subject = $2", ERASURE_DUE, UUID(offer))
            == "UPDATE 1"
        )

    async def told() -> bool:
        async with own.made.services["notify"].db.transaction("test.told") as tx:
            rows = await tx.conn.fetch(
                "select organisation from delivery where organisation = any($1)",
                [UUID(house.id), UUID(own.coordinator.id)],
            )
        by = [str(row["organisation"]) for row in rows]
        # The house: of the offer, of what is asked, of what is late. The coordinator: of what is late.
        return by.count(house.id) == 3 and by.count(own.coordinator.id) == 1

    await eventually(told)
    assert (await asked())[0]["late"]
    [one] = (await own.coordinator.partner.get(late))["copies"]
    assert (one["organisation"], one["referral"], one["network"]) == (house.id, handoff, own.network)
    [seen] = (await own.sender.partner.get(f"/intake/handoffs/{handoff}/copies"))["copies"]
    assert (seen["late"], seen["organisation"]) == (True, None)
    await house.partner.answer_for_copy(offer, "restricted")

    async def over() -> bool:
        return not await asked()

    await eventually(over)
    assert (await own.coordinator.partner.get(late))["copies"] == []


async def test_who_lost_the_person_again_can_still_answer(own: World) -> None:
    """A coordinator asked others after the house was shut out: its offer is withdrawn, and its copy is asked back."""
    house, entry = await own.house("Suspended house"), await own.ready_person()
    handoff, offer = await own.with_packet(house, entry)
    async with own.made.services["referral"].db.transaction("test.lost") as tx:
        await tx.conn.execute(
            "update referral set state = 'on-hold', step_at = null, escalated = 'organisation-suspended', remind_at = now() + interval '1 day' where id = $1",
            UUID(handoff),
        )
    await own.coordinator.partner.post(f"/referral/escalations/{handoff}/ask-again")

    async def asked() -> bool:
        return any(one["offer"] == offer for one in (await house.partner.get("/referral/copies"))["copies"])

    await eventually(asked)
    await house.partner.answer_for_copy(offer, "erased")
    assert [name for name, _ in await said(own, handoff)][-1] == "erasure.acknowledged"


async def test_a_silent_house_keeps_nobody_from_being_erased(own: World) -> None:
    house, entry = await own.house("Silent house", places=3), await own.ready_person()
    handoff, offer = await own.with_packet(house, entry)
    await house.partner.post(f"/referral/offers/{offer}/arrived", {})
    await own.state(handoff, "in-progress")
    coordinator, sender = own.coordinator.partner, own.sender.partner
    close = f"/referral/escalations/{handoff}/close"
    with pytest.raises(ApiProblem, match="409 state"):
        await coordinator.post(close)
    with refused("handoff-live"):
        await sender.post(f"/intake/entries/{entry}/erase", {"why": "person_asked"})
    unverified = (
        "update referral set escalated = 'arrival-unverified', remind_at = now() + interval '1 day' where id = $1"
    )
    async with own.made.services["referral"].db.transaction("test.unverified") as tx:
        await tx.conn.execute(unverified, UUID(handoff))
    with pytest.raises(ApiProblem, match="409 state"):
        await coordinator.post(close)  # of this house something may still be heard
    async with own.made.services["referral"].db.transaction("test.silent") as tx:
        await tx.conn.execute(
            "update referral set arrived_at = arrived_at - interval '99 days', step_at = now() where id = $1",
            UUID(handoff),
        )
        await tx.conn.execute("update due set at = now() where subject = $1", UUID(handoff))

    async def escalated() -> Any:
        found = (await coordinator.get("/referral/escalations"))["escalations"]
        return [one for one in found if one["reason"] == "no-outcome" and one["may_close"]]

    await eventually(escalated)
    place = (await house.partner.get("/referral/places"))["places"][0]
    assert (await coordinator.post(close))["state"] == "completed"
    after = (await house.partner.get("/referral/places"))["places"][0]
    assert (after["staying"], after["outside"], after["free"]) == (
        place["staying"] - 1,
        place["outside"] + 1,
        place["free"],
    )
    await own.state(handoff, "completed")
    await sender.post(f"/intake/entries/{entry}/erase", {"why": "person_asked"})
    assert [name for name, _ in await said(own, handoff)][-1] == "erasure.requested"
    async with own.made.services["referral"].db.transaction("test.who") as tx:
        assert (
            await tx.conn.fetchval("select closed_by from referral where id = $1", UUID(handoff))
            == coordinator.client_id
        )
