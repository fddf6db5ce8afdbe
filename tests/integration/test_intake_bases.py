"""What stands in for consent, over the public API: proposed by one, decided by others, at the gate, by the clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.cli.client import Partner
from tests.builders import World, eventually, second_system
from tests.integration.holder import Case, Holder, House, database, own_world, refused, shared_world, withdraw  # noqa: F401 (fixtures)

WHY = "She was found alone tonight, and her uncle is the one who sold her."
GUARDIAN = {"relationship": "state_guardian", "expressed": "written"}


@dataclass
class Staff:
    """A person's bases, as three systems of one organisation work on them."""

    world: World
    entry: str
    first: Partner
    second: Partner
    third: Partner

    async def propose(self, kind: str, by: Partner | None = None, **more: Any) -> str:
        recipients = {"classes": [{"type": "shelter"}], "organisations": [self.world.sender.id]}
        named = {"acting_for": (by or self.first).client_id}
        body = {"kind": kind, "justification": WHY, "recipients": recipients, **named, **more}
        made = await (by or self.first).post(f"/intake/entries/{self.entry}/bases", body)
        return str(made["id"])

    async def decide(self, basis: str, by: Partner, *, agrees: bool = True, named: str | None = "") -> str:
        """`named`: whom the system acts for; usually each for somebody of their own, None for nobody."""
        whom = by.client_id if named == "" else named
        body = {"agrees": agrees, "reasons": "I spoke with her and read the file.", "acting_for": whom}
        return str((await by.post(f"/intake/entries/{self.entry}/bases/{basis}/decide", body))["state"])

    async def agreed(self, kind: str, **more: Any) -> str:
        """Proposed, and in force because a second person has agreed."""
        basis = await self.propose(kind, **more)
        assert await self.decide(basis, self.second) == "in_force"
        return basis

    async def end(self, basis: str) -> str:
        return str((await self.second.post(f"/intake/entries/{self.entry}/bases/{basis}/end"))["state"])

    async def all(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.first.get(f"/intake/entries/{self.entry}/bases"))["bases"]
        return found

    async def waiting(self, of: Partner | None = None) -> dict[str, list[dict[str, Any]]]:
        """What waits for the organisation about this person."""
        system = of or self.first
        found = await system.get(f"/intake/bases/waiting?acting_for={system.client_id}")
        return {name: [one for one in some if one["entry"] == self.entry] for name, some in found.items()}

    async def late(self, basis: str, column: str = "decide_by") -> None:
        """Its time is over, and the clock has not looked yet."""
        async with database(self.world) as db, db.transaction():
            await db.execute("delete from due where subject = $1", basis)
            await db.execute(f"update basis set {column} = clock_timestamp() where id = $1", basis)

    async def clock(self, basis: str) -> None:
        """The clock is called for it now."""
        async with database(self.world) as db:
            await db.execute("insert into due (kind, subject, at) values ('basis', $1, now())", basis)

    async def state(self, basis: str, state: str) -> None:
        async def reached() -> bool:
            return any(one["id"] == basis and one["state"] == state for one in await self.all())

        await eventually(reached)


@pytest.fixture(scope="module")
async def systems(world: World) -> tuple[Partner, Partner]:
    return (
        await second_system(world, world.sender, ["intake:send"]),
        await second_system(world, world.sender, ["intake:send"]),
    )


@pytest.fixture
def staff(world: World, systems: tuple[Partner, Partner]) -> Any:
    async def made(**person: Any) -> Staff:
        return Staff(world, await world.entry(**person), world.sender.partner, *systems)

    return made


@pytest.fixture
async def girl(staff: Any) -> Staff:
    """Fifteen; she has agreed to both, and nobody stands by her."""
    found: Staff = await staff(age_years=15, name="Girl", health_notes="asthma")
    await found.world.consent(found.entry, "service")
    await found.world.consent(found.entry, "share_referral")
    return found


MOST = {"categories": ["functional_needs", "identity"], "purposes": ["referral", "service_provision"]}


async def _case(staff: Staff) -> Case:
    """Their packet was read by a house, under what stands in for consent."""
    await staff.first.post(f"/intake/entries/{staff.entry}/case")
    holder = Holder(staff.world)
    return await holder.released(await holder.house(), staff.entry)


# --- two people assess a minor's best interests -------------------------------------------------------------------


async def test_two_people_stand_in_for_a_guardian_and_for_what_they_named_only(girl: Staff) -> None:
    with refused("guardian"):
        await girl.first.post(f"/intake/entries/{girl.entry}/case")
    basis = await girl.propose("best_interests_assessment", **MOST)
    with refused("guardian"):
        await girl.first.post(f"/intake/entries/{girl.entry}/case")
    assert await girl.decide(basis, girl.second) == "in_force"
    case = await _case(girl)
    member = (await case.packet())["members"][0]
    assert member["name"] == "Girl"
    assert "health_notes" not in member, "the assessment does not name health"
    rows = (await girl.first.get(f"/intake/handoffs/{case.handoff}/disclosures"))["disclosures"]
    assert rows[-1]["refused"]["health_notes"] == "guardian"


async def test_an_assessment_is_never_in_place_of_the_young_persons_own_word(staff: Any) -> None:
    boy: Staff = await staff(age_years=15)
    await boy.world.consent(boy.entry, "service")
    await boy.agreed("best_interests_assessment", **MOST)
    await boy.first.post(f"/intake/entries/{boy.entry}/case")
    with refused("sharing-consent"):
        await boy.world.handoff(boy.entry)


async def test_the_same_person_never_decides_twice(girl: Staff) -> None:
    basis = await girl.propose("best_interests_assessment", **MOST)
    with refused("same-person"):
        await girl.decide(basis, girl.first)
    waits = (await girl.waiting())["undecided"]
    assert [(one["id"], one["mine"]) for one in waits] == [(basis, True)]
    assert [one["mine"] for one in (await girl.waiting(girl.second))["undecided"]] == [False]
    assert await girl.decide(basis, girl.second, agrees=False) == "refused"
    with refused("state"):
        await girl.decide(basis, girl.third)
    assert (await girl.waiting())["undecided"] == []
    with refused("guardian"):
        await girl.first.post(f"/intake/entries/{girl.entry}/case")


async def test_two_systems_are_not_two_people(girl: Staff) -> None:
    """Somebody with two credentials is still one: their name counts, whichever system says it, however it is written."""
    dara = {"acting_for": "Dara"}
    basis = await girl.propose("best_interests_assessment", **MOST, **dara)
    for system, named in ((girl.second, None), (girl.second, "dara"), (girl.third, "DARA"), (girl.first, "dara")):
        with refused("same-person"):
            await girl.decide(basis, system, named=named)
    with refused("guardian"):
        await girl.first.post(f"/intake/entries/{girl.entry}/case")
    assert await girl.decide(basis, girl.first, named="bopha") == "in_force", "two people at one system are two"
    (shown,) = await girl.all()
    assert [step["by"] for step in shown["steps"]] == [f"{girl.first.client_id}/dara", f"{girl.first.client_id}/bopha"]


async def test_what_a_system_proposes_for_nobody_needs_two_others(girl: Staff) -> None:
    basis = await girl.propose("best_interests_assessment", **MOST, acting_for=None)
    assert await girl.decide(basis, girl.second, named="dara") == "proposed"
    with refused("same-person"):
        await girl.decide(basis, girl.third, named="dara")
    with refused("same-person"):
        await girl.decide(basis, girl.third, named=None)
    assert await girl.decide(basis, girl.third, named="bopha") == "in_force"


async def test_what_nobody_confirms_in_time_lapses(girl: Staff) -> None:
    basis = await girl.propose("best_interests_assessment", **MOST)
    await girl.late(basis)
    with refused("state"):
        await girl.decide(basis, girl.second)
    await girl.clock(basis)
    await girl.state(basis, "lapsed")


@pytest.mark.parametrize("how", ["ended", "lapsed"])
async def test_when_an_assessment_is_over_everything_it_opened_is_stopped(girl: Staff, how: str) -> None:
    basis = await girl.agreed("best_interests_assessment", **MOST)
    case = await _case(girl)
    if how == "ended":
        assert await girl.end(basis) == "ended"
    else:
        await girl.late(basis, "valid_until")
        assert (await case.packet())["members"] == [{}], "by its time, before the clock has looked"
        assert not await case.may_accept()
        await girl.clock(basis)
        await girl.state(basis, "lapsed")
    assert (await case.packet())["members"] == [{}]
    assert (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]


async def test_every_step_is_kept_with_its_words_and_shown_to_nobody_else(girl: Staff) -> None:
    basis = await girl.agreed("best_interests_assessment", **MOST)
    steps = (await girl.all())[0]["steps"]
    assert [(one["step"], one["words"]) for one in steps] == [
        ("proposed", WHY), ("agreed", "I spoke with her and read the file."),
    ]  # fmt: skip
    assert len({one["by"] for one in steps}) == 2
    async with database(girl.world) as db:
        sealed = await db.fetchval("select sealed from basis_step where basis = $1 order by number limit 1", basis)
    assert b"uncle" not in sealed
    other = (await girl.world.organisation("Another post", "border_post", ["intake:send"])).partner
    for path, body in (("", {"kind": "court_order", "justification": WHY}),
                       (f"/{basis}/decide", {"agrees": True, "reasons": WHY}),
                       (f"/{basis}/end", {}), (f"/{basis}/told", {})):  # fmt: skip
        with refused("not-found"):
            await other.post(f"/intake/entries/{girl.entry}/bases{path}", body)
    with refused("not-found"):
        await other.get(f"/intake/entries/{girl.entry}/bases")


async def test_an_audit_names_the_basis_beside_the_rules(girl: Staff) -> None:
    basis = await girl.agreed("best_interests_assessment", **MOST)
    case = await _case(girl)
    await case.packet()
    officer = await second_system(girl.world, girl.world.sender, ["intake:rules"])
    answers = (await officer.get(f"/intake/cases/{girl.entry}/audit"))["answers"]
    rules = {rule["id"]: rule for rule in answers[-1]["rules"]}
    assert rules[basis]["kind"] == "best_interests_assessment"
    assert rules[basis]["in_force"]
    assert set(rules[basis]["opens"]) == set(MOST["categories"])


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
    case = await _case(tired)
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


async def test_an_adult_who_says_yes_at_night_needs_no_second_person_and_a_minor_does(staff: Any) -> None:
    tired: Staff = await staff(age_years=24)
    await tired.propose("emergency_profile", spoken=True)
    assert [one["decided_at"] is not None for one in await tired.all()] == [True]
    assert (await tired.waiting())["undecided"] == []
    await (await _case(tired)).packet()
    child: Staff = await staff(age_years=9)
    with refused("guardian"):
        await child.propose("emergency_profile", spoken=True)


async def test_vital_interest_ends_when_the_second_person_says_no(staff: Any) -> None:
    hurt: Staff = await staff(name="Hurt", safety_notes="hide her", health_notes="bleeding")
    basis = await hurt.propose("vital_interest", categories=["functional_needs", "safety", "health"])
    case = await _case(hurt)
    member = (await case.packet())["members"][0]
    assert (member["health_notes"], member["safety_notes"], member.get("name")) == ("bleeding", "hide her", None)
    assert await hurt.decide(basis, hurt.second, agrees=False) == "refused"
    assert (await case.packet())["members"] == [{}]
    assert (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]


# --- guardians ----------------------------------------------------------------------------------------------------


async def test_who_may_have_sold_somebody_does_not_agree_for_them_nor_does_anybody_for_themselves(girl: Staff) -> None:
    with refused("guardian-suspected"):
        await girl.world.consent(girl.entry, "service", guardian={**GUARDIAN, "suspected": True})
    with refused("guardian-self"):
        await girl.world.consent(girl.entry, "service", guardian={**GUARDIAN, "entry": girl.entry})
    with refused("not-found"):
        await girl.world.consent(girl.entry, "service", guardian={**GUARDIAN, "entry": str(uuid4())})
    mother = await girl.world.entry(name="Mother")
    await girl.world.consent(girl.entry, "service", guardian={**GUARDIAN, "entry": mother})


async def test_a_panel_of_three_determines_what_lasts(girl: Staff) -> None:
    for decision in ("service", "share_referral"):
        await girl.world.consent(girl.entry, decision, guardian=GUARDIAN)
    await girl.first.post(f"/intake/entries/{girl.entry}/case")
    with refused("determination"):
        await girl.world.handoff(girl.entry, service_type="foster_kinship")
    basis = await girl.propose("best_interests_determination", services=["foster_kinship"], **MOST)
    assert await girl.decide(basis, girl.second) == "proposed"
    with refused("determination"):
        await girl.world.handoff(girl.entry, service_type="foster_kinship")
    assert await girl.decide(basis, girl.third) == "in_force"
    await girl.world.handoff(girl.entry, service_type="foster_kinship")
    await girl.end(basis)
    with refused("determination"):
        await girl.world.handoff(girl.entry, service_type="foster_kinship")


async def test_a_decision_that_ends_by_its_date_is_nothing_that_they_have_said(staff: Any) -> None:
    """Neither keeps them from being put on the list, nor takes them off it."""
    tired: Staff = await staff(name="Tired")
    for decision in ("contact", "medical"):
        await tired.world.consent(
            tired.entry, decision, valid_until=(datetime.now(UTC) + timedelta(days=1)).isoformat()
        )
    basis = await tired.propose("emergency_profile", spoken=True)

    async def ends(decision: str) -> None:
        async def ended() -> bool:
            async with database(tired.world) as db:
                states = await db.fetch(
                    "select state from consent where entry = $1 and decision = $2 order by version",
                    tired.entry,
                    decision,
                )
            return [one["state"] for one in states] == ["given", "expired"]

        async with database(tired.world) as db:
            await db.execute(
                "update consent set valid_until = clock_timestamp() where entry = $1 and decision = $2",
                tired.entry, decision,
            )  # fmt: skip
            await db.execute("update due set at = now() where kind = 'consent-look' and subject = $1", tired.entry)
        await eventually(ended)

    async def asked() -> bool:
        return [one["reason"] for one in (await tired.waiting())["ask_again"]] == ["rested"]

    await ends("contact")
    await tired.late(basis, "ask_again_at")
    await tired.clock(basis)
    await eventually(asked)
    await ends("medical")
    assert await asked()
    await tired.world.consent(tired.entry, "service")
    assert not await asked()


async def test_at_eighteen_a_guardians_consent_ends_and_they_are_asked_anew(girl: Staff) -> None:
    for decision in ("service", "share_referral"):
        await girl.world.consent(girl.entry, decision, guardian=GUARDIAN)
    case = await _case(girl)
    async with database(girl.world) as db:
        at = await db.fetchval("select at from due where kind = 'consent-look' and subject = $1", girl.entry)
        assert (at - datetime.now(UTC)).days in range(1090, 1100), "three years from fifteen"
        # It was written down three years ago; and they agreed when it was.
        await db.execute("update entry set age_at = age_at - interval '3 years 2 days' where id = $1", girl.entry)
        await db.execute("update consent set valid_from = valid_from - interval '1 year' where entry = $1", girl.entry)
        assert (await case.packet())["members"] == [{}], "by the time, before the clock has looked"
        await db.execute("update due set at = now() where kind = 'consent-look' and subject = $1", girl.entry)

    async def asked() -> bool:
        return [one["reason"] for one in (await girl.waiting())["ask_again"]] == ["of_age"]

    await eventually(asked)
    assert (await case.said())[-2:] == ["disclosure.stopped", "erasure.requested"]
    assert not (await girl.first.get(f"/intake/entries/{girl.entry}"))["minor"]
    await girl.world.consent(girl.entry, "service")
    await girl.world.consent(girl.entry, "share_referral")
    assert (await girl.waiting())["ask_again"] == []
    assert (await case.packet())["members"][0]["name"] == "Girl"


async def test_somebody_whose_age_is_corrected_is_of_age_at_another_time(girl: Staff) -> None:
    await girl.world.consent(girl.entry, "service", guardian=GUARDIAN)
    read = await girl.first.request("GET", f"/intake/entries/{girl.entry}")
    headers = {"If-Match": read.headers["etag"]}
    await girl.first.request(
        "PUT", f"/intake/entries/{girl.entry}/person", {"age_years": 17, "name": "Girl"}, headers=headers
    )
    async with database(girl.world) as db:
        at = await db.fetchval("select at from due where kind = 'consent-look' and subject = $1", girl.entry)
    assert (at - datetime.now(UTC)).days in range(360, 370)
