"""What stands in for consent, at a desk: marked by one person, confirmed by another, told to the survivor."""

from __future__ import annotations

from schemas.vocabulary import StaffRole
from tests.browser.meeting import ENTRIES
from tests.browser.visiting import walker
from tests.builders import World

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
        assert "2 different people have to agree, you included. They have 24 hours." in asked.text
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
        done = await second.send(listed.form("/decide"), ("agrees", "yes"), reasons="I spoke with her alone.")
        assert "in force" in done.text
        person = await second.get(f"{ENTRIES}/{entry}")
        assert "Open the case" in person.text
        assert "guardian's agreement" not in person.text
        ended = await second.send((await second.get(own)).form("/end"))
        assert "Ended" in ended.text
        assert [form.action for form in ended.forms if form.action.endswith(("/end", "/decide", "/told"))] == []


async def test_at_night_needs_alone_are_marked_and_the_person_is_told_later(world: World) -> None:
    entry = await world.entry(age_years=None, name="Night")
    own = f"{ENTRIES}/{entry}/bases"
    async with walker(world, world.sender, SENDER) as worker:
        asked = await worker.click(await worker.get(own), "Emergency profile (at night)")
        assert "It ends after 3 days at the latest." in asked.text
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
