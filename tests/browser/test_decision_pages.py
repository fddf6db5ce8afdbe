"""Decisions about single acts, at a page: asked by themselves, recorded as they were answered, taken back. Who is never told,
and how that is lifted."""

from __future__ import annotations

from schemas.rights import StaffRole
from tests.browser.meeting import ENTRIES, TALK, draft_in, path_of, talked
from tests.browser.visiting import walker
from tests.builders import World

ANSWER = {
    "decision": "forensic_exam",
    "state": "given",
    "expressed": "thumbprint",
    "language": "khm",
    "interpreter": "no",
}


async def test_an_act_is_agreed_to_and_taken_back(world: World) -> None:
    entry = await world.ready_person()
    async with walker(world, world.sender, StaffRole.SENDER) as worker:
        page = await worker.get(f"{ENTRIES}/{entry}")
        page = await worker.click(page, "Decisions about single things")
        missing = await worker.send(page.form("/decisions"))
        assert (missing.status, {"summary", "decision", "state", "language"} <= missing.ids) == (422, True)
        assert "guardian" not in page.ids, "of an adult no guardian is asked"
        done = await worker.send(page.form("/decisions"), **ANSWER)
        assert "The decision is recorded" in done.text
        again = await worker.send(done.form("/decisions"), **{**ANSWER, "state": "requested"})
        assert again.status == 422, "their yes stands already"
        person = await worker.get(f"{ENTRIES}/{entry}")
        assert "A forensic examination" in person.text
        taking = await worker.get(f"{ENTRIES}/{entry}/stop/part")
        after = await worker.send(taking.form("/stop/part"), part="decision:forensic_exam")
        assert "decision:forensic_exam" not in after.html
        wrong = await worker.send(taking.form("/stop/part"), part="decision:everything")
        assert wrong.status == 422
    records = (await world.sender.partner.get(f"/intake/entries/{entry}/consents"))["records"]
    assert [one["state"] for one in records if one["decision"] == "forensic_exam"] == ["given", "withdrawn"]
    given = next(one for one in records if one["decision"] == "forensic_exam")
    assert (given["notice"], given["expressed"]) == ("1-khm", "thumbprint")


async def test_a_service_that_lacks_its_own_yes_says_so_at_its_question(world: World) -> None:
    entry = await world.ready_person()
    asked = {"service_type": "forensic_exam", "urgency": "urgent", "area": "KH-1"}
    async with walker(world, world.sender, StaffRole.SENDER) as worker:
        page = await worker.get(f"{ENTRIES}/{entry}/handoff")
        check = await worker.send(page.form("/handoff"), **asked)
        said = await worker.send(check.form("/handoff"), ("step", "send"))
        assert (said.status, "service_type" in said.ids) == (422, True)
        assert "needs a decision of the person's own" in said.text


async def test_for_a_young_person_the_guardian_is_asked_too(world: World) -> None:
    entry = await world.entry(age_years=15)
    async with walker(world, world.sender, StaffRole.SENDER) as worker:
        page = await worker.get(f"{ENTRIES}/{entry}/decisions")
        half = await worker.send(page.form("/decisions"), **ANSWER, guardian="state_guardian")
        assert (half.status, "guardian_expressed" in half.ids) == (422, True)
        done = await worker.send(half.form("/decisions"), guardian_expressed="written")
        assert "The decision is recorded" in done.text
        alone = {**ANSWER, "decision": "medical", "guardian": "nobody"}
        done = await worker.send(done.form("/decisions"), **alone)
        assert "a guardian's agreement is missing" in done.text


async def test_an_official_is_never_told_and_neither_is_their_organisation_until_it_is_lifted(world: World) -> None:
    entry, house = await world.entry(), await world.house("Lotus House")
    answers = path_of(world, never={"official_at": house.id, "official_name": "Captain Sok"})
    async with walker(world, world.sender, StaffRole.SENDER) as worker:
        check = await talked(worker, entry, answers)
        said = "Captain Sok at Lotus House. Nobody can know which official reads there, so nothing goes to this organisation"
        assert said in check.text
        never = await worker.get(f"{TALK}/{draft_in(check)}/never")
        half = await worker.send(never.form("/never"), official_name="")
        assert (half.status, "official_name" in half.ids) == (422, True)
        whom = await worker.get(f"{TALK}/{draft_in(check)}/whom")
        await worker.send(whom.form("/whom"), organisations=[house.id])
        both = await worker.send(never.form("/never"), official_name="Captain Sok")
        assert (both.status, "Take it from one of the two" in both.text) == (422, True)
        await worker.send(whom.form("/whom"), organisations=[])
        await worker.send(never.form("/never"))
        check = await worker.get(check.path)
        person = await worker.send(check.form("/check"))
        assert said in person.text
        page = await worker.click(person, "Lift one")
        assert said in page.text
        form = page.form("/never")
        done = await worker.send(form)
        assert ("Captain Sok" in done.text, "Lifted." in done.text) == (False, True)
        assert (await worker.send(form)).status == 200, "twice is once"
    assert (await world.sender.partner.get(f"/intake/entries/{entry}/consents"))["exclusions"] == []


async def test_somebody_is_named_at_any_time_who_must_never_be_told_and_lifting_is_asked_twice(world: World) -> None:
    entry, house = await world.ready_person(), await world.house("Lotus House")
    async with walker(world, world.sender, StaffRole.SENDER) as worker:
        page = await worker.click(await worker.get(f"{ENTRIES}/{entry}"), "Name somebody who must never be told")
        nothing = await worker.send(page.form("/never/new"))
        assert (nothing.status, {"summary", "never"} <= nothing.ids) == (422, True)
        chosen = ["law_enforcement", f"organisation:{house.id}"]
        half = await worker.send(page.form("/never/new"), never=chosen, official_name="Captain Sok")
        assert (half.status, "official_at" in half.ids, "Captain Sok" in half.html) == (422, True, True)
        assert half.form("/never/new").get("never") == chosen, "what was chosen stays"
        done = await worker.send(half.form("/never/new"), official_name="")
        assert (done.path, "They are never told anything" in done.text) == (f"{ENTRIES}/{entry}/never", True)
        assert ("Police and every other law enforcement" in done.text, "Lotus House" in done.text) == (True, True)
        assert done.html.count("Has the person said so, alone with you?") == 2, "lifting is no single touch"
        more = await worker.get(f"{ENTRIES}/{entry}/never/new")
        assert ('value="law_enforcement"' in more.html, house.id in more.html) == (False, False), "named already"
        assert 'value="organisation_type:ministry"' in more.html
    never = (await world.sender.partner.get(f"/intake/entries/{entry}/consents"))["exclusions"]
    assert {(one["kind"], one["value"]) for one in never} == {("law_enforcement", "any"), ("organisation", house.id)}


async def test_a_glance_at_a_persons_page_gives_away_no_more_than_what_they_need(world: World) -> None:
    """On a screen that others see, the story is folded; without a script, too."""
    told = {"health_notes": "Asthma", "phone": "012 000 000", "account": "Sold at the border"}
    entry = await world.entry(name="Sok Dara", needs=["interpreter"], **told)
    async with walker(world, world.sender, StaffRole.SENDER) as worker:
        page = (await worker.get(f"{ENTRIES}/{entry}")).html
    before, _, folded = page.partition("open them when nobody looks over your shoulder")
    for written in ("Asthma", "012 000 000", "Sold at the border"):
        assert (written in before, written in folded.partition("</details>")[0]) == (False, True), written
    assert "interpreter" in before.rpartition("What was written")[2], "needs are in the open"
