"""Packets, codes and erasure over the public API, by signed tickets and questions."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.cli.client import ApiProblem
from services.intake.handoffs.stopping import ERASURE_DUE
from spean.auth import Kind
from tests.builders import World, eventually
from tests.integration.holder import Case, Holder, database, own_world, refused, said, shared_world, withdraw  # noqa: F401 (fixtures)


@pytest.fixture
async def case(world: World) -> Case:
    """Offered to a house; its packet was not read yet."""
    holder = Holder(world)
    return await holder.offered(await holder.house(), await world.ready_person(health_notes="asthma"))


async def _erasure(case: Case, answer: str) -> Any:
    because = {"reason": "health_records", "law": "Sample Law on Health, article 12"}
    return await case.answer(answer, **(because if answer == "retained_by_law" else {}))


async def _code(case: Case, code: str) -> tuple[str, int]:
    question = {"organisation": case.house.facts, "offer": case.offer, "referral": case.handoff, "code": code}
    answer = await case.holder.ask("hand-over-code", question)
    return answer["result"], answer["tries_left"]


# --- read ---------------------------------------------------------------------------------------------------------


async def test_a_ticket_that_comes_before_the_acceptance_releases_the_packet(case: Case) -> None:
    packet = await case.packet()
    assert packet["members"][0]["health_notes"] == "asthma"
    assert await case.said() == ["handoff.requested", "packet.released", "packet.fetched"]
    assert (await case.seen())["state"] == "accepted"


async def test_a_packet_is_released_once_and_fetched_once_however_often_it_is_read(case: Case) -> None:
    code = None
    for _ in range(3):
        await case.packet()
        shown = await case.seen()
        assert code in {None, shown["hand_over_code"]}
        code = shown["hand_over_code"]
    assert await case.said() == ["handoff.requested", "packet.released", "packet.fetched"]


async def test_a_house_that_was_never_asked_gets_no_packet_whatever_its_ticket_says(case: Case) -> None:
    stranger = Case(case.holder, await case.holder.house(), case.entries, case.handoff)
    with refused("not-allowed-now"):
        await stranger.packet()
    assert await case.said() == ["handoff.requested"]


async def test_a_packet_is_its_own_houses_only(case: Case) -> None:
    await case.packet()
    other = Case(case.holder, await case.holder.house(), case.entries, case.handoff, case.offer)
    assert await case.holder.next_candidate(case.handoff, other.house) == other.house.id
    for attempt in (
        other.packet(), other.packet("PUT", "/whereabouts", {}), other.packet("GET", "/erasure"), other.packet("PUT", "/erasure", {"statement": "none"}),
    ):  # fmt: skip
        with refused("no-longer-available"):
            await attempt


async def test_a_ticket_opens_its_own_offer_only_and_a_question_opens_none(case: Case) -> None:
    elsewhere = f"/intake/packets/{uuid4()}"
    with refused("not-found"):
        await case.sender.get(elsewhere, token=case.holder.ticket(case))
    with refused("bad-token"):
        await case.sender.get(f"/intake/packets/{case.offer}", token=case.holder.question_token())
    with refused("bad-token"):
        await case.sender.get(f"/intake/packets/{case.offer}")
    headers = {"Authorization": f"Bearer {case.holder.ticket(case)}"}
    async with httpx.AsyncClient(base_url=case.holder.world.made.url, timeout=15) as client:
        reply = await client.post("/intake/questions/may-accept", json=case.acceptance(), headers=headers)
    assert reply.status_code == 401


async def test_a_ticket_that_names_somebody_elses_hand_off_opens_nothing(case: Case) -> None:
    """Whatever network has signed that: the packet of the one is not the way to the people of the other."""
    other = await case.holder.offered(case.house, await case.holder.world.ready_person(name="Somebody Else"))
    await case.packet()
    with refused("no-longer-available"):
        await Case(case.holder, case.house, case.entries, other.handoff, case.offer).packet()
    assert (await case.packet())["members"][0]["name"] == "Test Person"


async def test_a_ticket_that_says_nothing_of_a_packet_is_none(case: Case) -> None:
    made = case.holder.signer.sign(Kind.TICKET, f"packet:{case.holder.world.made.settings.holder}", 60, {"sub": "test"})
    with refused("bad-token"):
        await case.sender.get(f"/intake/packets/{case.offer}", token=made)


async def test_the_facts_of_the_moment_count_not_those_of_the_acceptance(case: Case) -> None:
    await case.packet()
    for change in ({"status": "suspended"}, {"law_enforcement": True}, {"country": "TH"}, {"type": "clinic"}):
        changed = Case(
            case.holder, type(case.house)({**case.house.facts, **change}), case.entries, case.handoff, case.offer
        )
        assert (await changed.packet())["members"] == [{}], change


async def test_a_packet_read_after_service_ended_is_gone_and_says_nothing_to_the_network(case: Case) -> None:
    await withdraw(case.holder.world, case.entries[0], "service")
    before = await case.said()
    with refused("no-longer-available"):
        await case.packet()
    assert await case.said() == before


async def test_an_acceptance_heard_after_service_ended_is_refused_to_the_network(own: World) -> None:
    """The acceptance is on its way while the person ends the service: no packet, and the network hears it."""
    house, entry = await own.house("Too late"), await own.ready_person()
    handoff = await own.handoff(entry)
    offer = (await own.offer(house))["id"]
    async with database(own) as db, db.transaction():
        await db.execute("select * from handoff where id = $1 for no key update", handoff)
        await house.partner.post(f"/referral/offers/{offer}/accept")
        await db.execute("update handoff set state = 'cancelled', offer = null where id = $1", handoff)
    case = Case(Holder(own), await Holder(own).house(), [entry], handoff)

    async def told() -> bool:
        return "packet.refused" in await case.said()

    await eventually(told)
    with pytest.raises(ApiProblem, match="no-longer-available"):
        await house.partner.packet(offer)


async def test_a_place_abroad_is_told_what_a_corridor_lets_across(world: World) -> None:
    holder = Holder(world)
    entry = await world.ready_person(health_notes="asthma")
    abroad = await holder.house(country="LA")
    handoff = await holder.requested(entry)
    assert await holder.next_candidate(handoff, abroad) is None
    corridor = {"from_country": "KH", "to_country": "LA", "categories": ["functional_needs", "identity"],
                "legal_basis": "sample"}  # fmt: skip
    rule = (await world.admin.post("/intake/rules/corridors", corridor))["id"]
    assert await holder.next_candidate(handoff, abroad) == abroad.id
    case = Case(holder, abroad, [entry], handoff)
    assert set((await case.packet())["members"][0]) == {"age_band", "sex", "languages", "name", "age_years"}
    await world.admin.post(f"/intake/rules/corridors/{rule}/end")
    assert (await case.packet())["members"] == [{}]


async def test_somebody_of_whom_nothing_is_known_may_be_offered(world: World) -> None:
    holder = Holder(world)
    guardian = {"relationship": "state_guardian", "expressed": "spoken"}
    entry = await world.entry(age_years=None, sex=None, languages=[], name=None)
    for decision in ("service", "share_referral"):
        await world.consent(entry, decision, guardian=guardian)
    await world.sender.partner.post(f"/intake/entries/{entry}/case")
    case = await holder.offered(await holder.house(), entry)
    content = await case.content()
    assert content["readable"]
    assert content["members"] == [{"age_band": None, "sex": None, "needs": None, "languages": None}]
    assert await case.may_accept()
    assert not await case.may_accept(sexes=["female"])


# --- whereabouts --------------------------------------------------------------------------------------------------


async def test_the_sender_is_told_of_what_changed_only(case: Case) -> None:
    await case.packet()
    before = len(await case.said())
    await case.packet("PUT", "/whereabouts", {"meeting_point": "north gate"})
    await case.packet("PUT", "/whereabouts", {"meeting_point": "north gate"})
    assert (await case.seen())["meeting_point"] == "north gate"
    assert (await case.said())[before:] == ["handoff.changed"]
    await case.packet("PUT", "/whereabouts", {"address": "secret street"})
    shown = await case.seen()
    assert (shown["meeting_point"], shown["address"]) == (None, "secret street")
    assert (await case.said())[before:] == ["handoff.changed"] * 3


async def test_whereabouts_without_a_packet_are_refused(case: Case) -> None:
    with refused("no-longer-available"):
        await case.packet("PUT", "/whereabouts", {"meeting_point": "north gate"})


# --- erasure ------------------------------------------------------------------------------------------------------


async def test_who_holds_a_copy_says_what_became_of_it(case: Case) -> None:
    await case.packet()
    await withdraw(case.holder.world, case.entries[0])
    assert (await case.packet())["erasure"] == "requested"
    await _erasure(case, "retained_by_law")
    assert (await case.packet())["erasure"] == "retained_by_law"
    assert (await case.said())[-1] == "erasure.acknowledged"
    async with database(case.holder.world) as db:
        assert not await db.fetchval("select count(*) from due where subject = $1", case.offer)


async def test_an_answer_that_nobody_asked_for_or_that_is_none_is_refused(case: Case) -> None:
    await case.packet()
    with refused("state"):
        await _erasure(case, "erased")
    await withdraw(case.holder.world, case.entries[0])
    for answer in ("requested", "unknown", "eaten"):
        with refused("statement"):
            await _erasure(case, answer)


async def test_the_same_answer_twice_is_said_once_and_another_corrects_it(case: Case) -> None:
    await case.packet()
    await withdraw(case.holder.world, case.entries[0])
    for answer in ("restricted", "restricted", "erased"):
        await _erasure(case, answer)
    assert (await case.said()).count("erasure.acknowledged") == 2


async def test_a_copy_that_was_never_fetched_is_not_asked_back(case: Case) -> None:
    await withdraw(case.holder.world, case.entries[0])
    assert (await case.packet())["members"] == [{}]
    assert "packet.fetched" not in await case.said()
    assert "erasure.requested" not in await case.said()


async def test_a_copy_fetched_again_after_it_was_erased_is_asked_back_again(case: Case) -> None:
    await case.packet()
    await withdraw(case.holder.world, case.entries[0])
    await _erasure(case, "erased")
    await case.holder.world.consent(case.entries[0], "share_referral")
    await case.packet()
    await withdraw(case.holder.world, case.entries[0])
    assert (await case.said()).count("packet.fetched") == 2
    assert (await case.said()).count("erasure.requested") == 2


async def test_nobody_waits_for_an_answer_without_end(case: Case) -> None:
    await case.packet()
    await withdraw(case.holder.world, case.entries[0])
    async with database(case.holder.world) as db:
        due = "update due set at = now() where kind = $1 and subject = $2"
        assert await db.execute(due, ERASURE_DUE, case.offer) == "UPDATE 1"

    async def overdue() -> bool:
        return (await case.said())[-1] == "erasure.overdue"

    await eventually(overdue)
    await _erasure(case, "erased")
    assert (await case.said())[-1] == "erasure.acknowledged"


# --- the hand-over code -------------------------------------------------------------------------------------------


async def test_the_right_code_is_right_as_long_as_tries_are_left(case: Case) -> None:
    await case.packet()
    code = (await case.seen())["hand_over_code"]
    wrong = "000000" if code != "000000" else "111111"
    assert await _code(case, wrong) == ("wrong", 4)
    assert await _code(case, code) == ("right", 4)
    assert [await _code(case, wrong) for _ in range(4)] == [("wrong", 3), ("wrong", 2), ("wrong", 1), ("locked", 0)]
    assert await _code(case, code) == ("locked", 0)


async def test_a_code_is_for_one_offer_and_none_before_it(case: Case) -> None:
    assert (await _code(case, "123456"))[0] == "locked"
    await case.packet()
    code = (await case.seen())["hand_over_code"]
    other = Case(case.holder, case.house, case.entries, case.handoff)
    assert (await _code(other, code))[0] == "locked"


async def test_details_of_who_was_never_asked_or_of_nothing_are_not_kept(case: Case) -> None:
    stranger = await case.holder.house()
    about = {"offer": case.offer, "referral": case.handoff}
    for question in (
        {**about, "organisation": stranger.facts, "outcome": "needs_met"},
        {**about, "organisation": case.house.facts},
        {**about, "organisation": case.house.facts, "referral": str(uuid4()), "outcome": "needs_met"},
    ):
        assert not (await case.holder.ask("detail", question))["recorded"]


async def test_a_hand_off_that_the_holder_does_not_know_has_no_candidate_and_no_content(case: Case) -> None:
    unknown = Case(case.holder, case.house, [], str(uuid4()))
    assert await case.holder.next_candidate(unknown.handoff, case.house) is None
    assert not await unknown.may_accept()
    assert not (await unknown.content())["readable"]


# --- the network looks anew ---------------------------------------------------------------------------------------


async def test_who_had_accepted_reads_no_more_once_the_network_asks_others(own: World) -> None:
    house, entry = await own.house("Suspended house"), await own.ready_person()
    handoff = await own.handoff(entry)
    offer = (await own.offer(house))["id"]
    await house.partner.post(f"/referral/offers/{offer}/accept")
    await own.state(handoff, "ready")
    assert (await house.partner.packet(offer))["members"][0]["name"] == "Test Person"
    await own.admin.post(f"/referral/organisations/{house.id}/suspend")
    assert (await own.state(handoff, "on-hold"))["waits_for"] == "coordinator"
    await own.coordinator.partner.post(f"/referral/escalations/{handoff}/ask-again")

    async def asked_back() -> bool:
        return [name for name, _ in await said(own, handoff)][-1] == "erasure.requested"

    await eventually(asked_back)
    async with database(own) as db:
        assert await db.fetchval("select ended_at is not null from packet where offer = $1", offer)
    shown = await own.state(handoff, "unroutable")
    assert (shown["receiver"], shown["hand_over_code"]) == (None, None)
