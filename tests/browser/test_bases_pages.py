"""What stands in for consent, at a desk: marked by one person, confirmed by another, told to the survivor."""

from __future__ import annotations

from uuid import UUID

from schemas.rights import StaffRole
from tests.browser.meeting import ENTRIES, path_of, talked
from tests.browser.visiting import walker
from tests.builders import World
from tests.integration.holder import database

SENDER = StaffRole.SENDER
WHY = "Her uncle sold her; nobody else of her family is known."


async def test_two_people_at_one_desk_stand_in_for_a_guardian(world: World) -> None:
    entry = await world.entry(age_years=15)
    for decision in ("service", "share_referral"):
        await world.consent(entry, decision)
    own = f"{ENTRIES}/{entry}/bases"
    async with walker(world, world.sender, SENDER) as first:
        person = await first.get(f"{ENTRIES}/{entry}")
        listed = await first.click(person, "In place of consent: emergency, guardian, law")
        asked = await first.click(listed, "Best interests assessment (emergency, two people)")
        assert "2 different people have to agree, you included. The others have until" in asked.text
        empty = await first.send(asked.form("/best_interests_assessment"))
        assert {"justification", "categories", "recipients"} <= {one[1:] for one in empty.links_to if one[:1] == "#"}
        half = await first.send(asked.form("/best_interests_assessment"), justification=WHY)
        assert half.status == 422
        assert {"categories", "recipients"} <= half.ids
        assert WHY in half.html, "what was typed stays"
        done = await first.send(
            half.form("/best_interests_assessment"), categories=["functional_needs"], classes=["shelter KH"]
        )
        assert done.path == own
        assert "waits for another person" in done.text
        assert not [form for form in done.forms if form.action.endswith("/decide")], "not by the same person"
        waits = await first.get("/intake/pages/waiting")
        assert "you have decided; it waits for somebody else" in waits.text
    async with walker(world, world.sender, SENDER) as second:
        waits = await second.get("/intake/pages/waiting")
        listed = await second.click(waits, "Best interests assessment (emergency, two people)")
        assert WHY in listed.text
        short = await second.send(listed.form("/decide"), ("agrees", "yes"), reasons="No <way")
        assert (short.status, "Write your reasons in a sentence" in short.text) == (422, True)
        assert "No &lt;way</textarea>" in short.html, "what was typed stays"
        neither = await second.send(listed.form("/decide"), reasons="I spoke with her alone.")
        assert neither.status == 422, "no button is no answer"
        done = await second.send(listed.form("/decide"), ("agrees", "yes"), reasons="I spoke with her alone.")
        assert "in force" in done.text
        person = await second.get(f"{ENTRIES}/{entry}")
        assert "Open the case" in person.text
        assert "guardian's agreement" not in person.text
        asked = await second.get(own)
        assert "It cannot be taken up again" in asked.text
        ended = await second.send(asked.form("/end"))
        assert "Ended" in ended.text
        assert [form.action for form in ended.forms if form.action.endswith(("/end", "/decide", "/told"))] == []


async def test_at_night_needs_alone_are_marked_and_the_person_is_told_later(world: World) -> None:
    entry = await world.entry(age_years=None, name="Night")
    own = f"{ENTRIES}/{entry}/bases"
    async with walker(world, world.sender, SENDER) as worker:
        asked = await worker.click(await worker.get(own), "Emergency profile (at night)")
        assert "It ends at the latest on" in asked.text
        answers = {"justification": WHY, "classes": ["shelter KH"], "spoken": "no"}
        done = await worker.send(asked.form("/emergency_profile"), **answers)
        assert "counts now; another person has to confirm it" in done.text
        person = await worker.get(f"{ENTRIES}/{entry}")
        assert f"{ENTRIES}/{entry}/case" in [form.action for form in person.forms]
        assert f"{ENTRIES}/{entry}/stop/sharing" in person.links_to, "who was not asked can stop it all the same"
        opened = await worker.send(person.form("/case"))
        assert f"{ENTRIES}/{entry}/handoff" in opened.links_to
        waits = await worker.get("/intake/pages/waiting")
        assert waits.links_to.count(own) == 2, "to be confirmed, and to be told"
        told = await worker.send((await worker.get(own)).form("/told"))
        assert "The person was told" in told.text


async def test_who_has_come_of_age_is_asked_anew_and_the_page_says_why(world: World) -> None:
    entry, guardian = await world.entry(age_years=15), {"relationship": "parent", "expressed": "spoken"}
    for decision in ("service", "share_referral"):
        await world.consent(entry, decision, guardian=guardian)
    async with database(world) as db:
        # It was written down three years ago; and they agreed when it was.
        await db.execute("update entry set age_at = age_at - interval '3 years 2 days' where id = $1", UUID(entry))
        await db.execute("update consent set valid_from = valid_from - interval '1 year' where entry = $1", UUID(entry))
    async with walker(world, world.sender, SENDER) as worker:
        person = await worker.get(f"{ENTRIES}/{entry}")
    assert person.text.count("was yes with a guardian; they are 18 now and decide anew") == 2
    assert "ended by its date" not in person.text
    assert "Talk consent through" in person.text


async def test_an_obligation_names_authorities_first_and_each_organisation_once(world: World) -> None:
    entry, house = await world.entry(), await world.house("Lotus House")
    police = await world.organisation("Town police", "police", ["intake:send"], law_enforcement=True)
    await world.admin.post(f"/referral/networks/{world.network}/members", {"organisation": police.id})
    async with walker(world, world.sender, SENDER) as worker:
        page = (await worker.get(f"{ENTRIES}/{entry}/bases/new/court_order")).html
    first, _, folded = page.partition("All organisations by name")
    assert (police.id in first, police.id in folded) == (True, False)
    assert (house.id in first, house.id in folded) == (False, True)


async def test_groups_of_other_countries_are_folded(world: World) -> None:
    entry = await world.entry()
    abroad = await world.organisation("House abroad", "shelter", ["referral:receive"], country="TH")
    await world.admin.post(f"/referral/networks/{world.network}/members", {"organisation": abroad.id})
    async with walker(world, world.sender, SENDER) as worker:
        whom = await talked(worker, entry, path_of(world), to="whom")
        first, _, folded = whom.html.partition("Groups of helpers in other countries")
        assert ('value="shelter KH"' in first, 'value="shelter TH"' in first) == (True, False)
        assert ('value="shelter KH"' in folded, 'value="shelter TH girls"' in folded) == (False, True)
        check = await worker.send(whom.form("/whom"), classes=["shelter TH girls"])
        again = await worker.get(whom.path)
        assert "<details open><summary>Groups of helpers in other countries" in again.html, "what is chosen is seen"
        assert check.path.endswith("/never")
