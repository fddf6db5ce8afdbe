"""In place of consent: what the law obliges to, and what counts at once where somebody cannot be asked."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from tests.builders import eventually
from tests.integration.deciding import (  # noqa: F401 (fixtures)
    GUARDIAN,
    MOST,
    Staff,
    case_of,
    girl_of_fifteen,
    staff_of_one,
    two_systems,
)
from tests.integration.holder import Case, Holder, House, refused, shared_world, withdraw  # noqa: F401 (fixtures)

# --- the law ------------------------------------------------------------------------------------------------------


async def _police(staff: Staff) -> House:
    return await Holder(staff.world).house(type="police", law_enforcement=True)


async def _ordered(staff: Staff, police: House, kind: str = "court_order") -> str:
    """In force at once, and nobody else has looked at it yet."""
    recipients = {"organisations": [police.id]}
    return await staff.propose(kind, categories=["functional_needs", "identity"], at_once=True, recipients=recipients)


async def test_a_court_order_reaches_whom_the_person_has_excluded_until_nobody_confirms_it(girl: Staff) -> None:
    police = await _police(girl)
    path = f"/intake/entries/{girl.entry}/exclusions"
    await girl.first.post(path, {"kind": "law_enforcement", "value": "any"})
    order = await _ordered(girl, police)
    await girl.first.post(f"/intake/entries/{girl.entry}/case")
    holder = Holder(girl.world)
    other = await holder.house()
    handoff = await holder.requested(girl.entry)
    assert await holder.next_candidate(handoff, other) is None, "nobody but the authority that it names"
    assert await holder.next_candidate(handoff, police) == police.id
    case = Case(holder, police, [girl.entry], handoff)
    assert (await case.packet())["members"][0]["name"] == "Girl"
    await girl.late(order)
    assert (await case.packet())["members"] == [{}], "by its time, before the clock has looked"
    await girl.clock(order)
    await girl.state(order, "lapsed")
    assert (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]


async def test_after_a_stop_the_law_has_to_be_justified_anew(staff: Any) -> None:
    boy: Staff = await staff(age_years=12, name="Boy")
    police = await _police(boy)
    await _ordered(boy, police)
    await withdraw(boy.world, boy.entry, "service")
    with refused("service-consent"):
        await boy.first.post(f"/intake/entries/{boy.entry}/case")
    with refused("person-stopped"):
        await boy.propose("vital_interest")
    report = await _ordered(boy, police, "mandatory_reporting")
    assert await boy.decide(report, boy.second) == "in_force"
    await boy.first.post(f"/intake/entries/{boy.entry}/case")
    holder = Holder(boy.world)
    handoff = await holder.requested(boy.entry)
    assert await holder.next_candidate(handoff, police) == police.id
    case = Case(holder, police, [boy.entry], handoff)
    assert (await case.packet())["members"][0]["name"] == "Boy"
    await boy.world.sender.partner.post(
        f"/intake/entries/{boy.entry}/exclusions", {"kind": "law_enforcement", "value": "any"}
    )
    assert (await case.packet())["members"] == [{}], "they have said it again"


async def test_whoever_was_told_of_is_told_so_and_it_waits_until_then(staff: Any) -> None:
    boy: Staff = await staff(age_years=12)
    order = await _ordered(boy, await _police(boy))
    assert [one["id"] for one in (await boy.waiting())["untold"]] == [order]
    assert await boy.end(order) == await boy.end(order) == "ended"
    assert [one["id"] for one in (await boy.waiting())["untold"]] == [order], "it was shared for a while"
    told = f"/intake/entries/{boy.entry}/bases/{order}/told"
    for _ in range(2):
        await boy.second.post(told)
    assert (await boy.waiting())["untold"] == []
    assert [one["step"] for one in (await boy.all())[0]["steps"]] == ["proposed", "ended", "told"]
    check = await boy.agreed("family_risk_check", recipients={})
    with refused("state"):
        await boy.second.post(f"/intake/entries/{boy.entry}/bases/{check}/told")


async def test_what_was_not_marked_to_count_at_once_waits_for_the_second_person(staff: Any) -> None:
    boy: Staff = await staff(age_years=12)
    police = await _police(boy)
    order = await boy.propose("court_order", categories=["identity"], recipients={"organisations": [police.id]})
    with refused("guardian|service-consent"):
        await boy.first.post(f"/intake/entries/{boy.entry}/case")
    assert await boy.decide(order, boy.second) == "in_force"
    await boy.first.post(f"/intake/entries/{boy.entry}/case")


# --- two in the morning -------------------------------------------------------------------------------------------


async def test_an_emergency_profile_finds_a_bed_with_needs_alone_until_the_person_says_something(staff: Any) -> None:
    tired: Staff = await staff(age_years=15, name="Tired")
    basis = await tired.propose("emergency_profile")
    case = await case_of(tired)
    member = (await case.packet())["members"][0]
    assert member["languages"] == ["khm"]
    assert "name" not in member
    await tired.late(basis, "ask_again_at")
    await tired.clock(basis)

    async def asked() -> bool:
        return [one["reason"] for one in (await tired.waiting())["ask_again"]] == ["rested"]

    await eventually(asked)
    await tired.world.consent(tired.entry, "service", guardian=GUARDIAN)
    assert (await tired.waiting())["ask_again"] == []
    assert (await case.packet())["members"] == [{}], (
        "their own word counts from now on, and they have not agreed to share"
    )
    assert (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]


async def test_a_never_that_is_lifted_is_their_word_and_ends_what_spoke_for_them(staff: Any) -> None:
    tired: Staff = await staff(name="Tired")
    never = {"kind": "organisation_type", "value": "clinic"}
    await tired.first.post(f"/intake/entries/{tired.entry}/exclusions", never)
    await tired.propose("emergency_profile")
    case = await case_of(tired)
    assert (await case.packet())["members"][0]["languages"] == ["khm"]
    await tired.first.post(f"/intake/entries/{tired.entry}/exclusions/lift", never)
    assert (await case.packet())["members"] == [{}]
    assert (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]


async def test_an_adult_who_says_yes_at_night_needs_no_second_person_and_a_minor_does(staff: Any) -> None:
    tired: Staff = await staff(age_years=24)
    await tired.propose("emergency_profile", spoken=True)
    assert [one["decided_at"] is not None for one in await tired.all()] == [True]
    assert (await tired.waiting())["undecided"] == []
    await (await case_of(tired)).packet()
    child: Staff = await staff(age_years=9)
    with refused("guardian"):
        await child.propose("emergency_profile", spoken=True)


async def test_vital_interest_ends_when_the_second_person_says_no(staff: Any) -> None:
    hurt: Staff = await staff(name="Hurt", safety_notes="hide her", health_notes="bleeding")
    basis = await hurt.propose("vital_interest", categories=["functional_needs", "safety", "health"])
    case = await case_of(hurt)
    member = (await case.packet())["members"][0]
    assert (member["health_notes"], member["safety_notes"], member.get("name")) == ("bleeding", "hide her", None)
    assert await hurt.decide(basis, hurt.second, agrees=False) == "refused"
    assert (await case.packet())["members"] == [{}]
    assert (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]


async def test_one_person_alone_keeps_nothing_in_force_by_marking_it_again(staff: Any) -> None:
    hurt: Staff = await staff(name="Hurt")

    async def until(basis: str) -> tuple[str, str]:
        (one,) = [one for one in await hurt.all() if one["id"] == basis]
        return one["state"], one["until"]

    first = await hurt.propose("vital_interest")
    assert await until(await hurt.propose("vital_interest")) == await until(first), "no more time than the first has"
    await hurt.late(first)
    again = await hurt.propose("vital_interest")
    assert (await until(again))[0] == "proposed"
    assert (await until(await hurt.propose("emergency_profile")))[0] == "in_force", "another kind has its own time"
    assert await hurt.decide(again, hurt.second) == "in_force"
    await hurt.end(again)
    assert (await until(await hurt.propose("vital_interest")))[0] == "proposed", (
        "nobody has confirmed the first one yet"
    )
    await hurt.world.consent(hurt.entry, "service", "refused")
    await hurt.world.consent(hurt.entry, "service")
    await hurt.world.consent(hurt.entry, "share_referral")
    since = await hurt.propose("vital_interest")
    assert (await until(since))[0] == "in_force", "they have spoken since: this is something new"
    assert await hurt.decide(since, hurt.second, agrees=False) == "refused"
    assert (await until(await hurt.propose("vital_interest")))[0] == "proposed", "one no is a no, also to the next try"


async def test_a_basis_names_whom_somebody_knows(girl: Staff) -> None:
    with refused("recipient-unknown"):
        await girl.propose("court_order", recipients={"organisations": [str(uuid4())]}, **MOST)
    assert await girl.all() == []
