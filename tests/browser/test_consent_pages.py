"""Consent talked through step by step: what is asked, what is recorded of it, and what stays the person's own."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from playwright.async_api import Browser

from schemas.rights import StaffRole
from services.intake.consent.notices import FOLDER, english, notice_in, written_languages
from spean.web.network import listed_at
from tests.browser.meeting import (
    ENTRIES,
    TALK,
    Answer,
    another_session,
    draft_in,
    drafts,
    key_is_gone,
    path_of,
    talk_begun,
    talked,
)  # fmt: skip
from tests.browser.visiting import at_browser, signed_in, walker
from tests.builders import World, eventually

SENDER = StaffRole.SENDER


async def recorded(world: World, entry: str) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """The latest record of each decision, and the exclusions."""
    found = await world.sender.partner.get(f"/intake/entries/{entry}/consents")
    return {one["decision"]: one for one in found["records"]}, found["exclusions"]


# --- the notice -------------------------------------------------------------------------------------------------------


def test_every_notice_says_the_same_parts_and_who_confirmed_it() -> None:
    assert {"eng", "khm"} <= set(written_languages())
    for language in written_languages():
        notice = notice_in(language)
        assert len(notice.paragraphs) == len(english().paragraphs), language
        assert (FOLDER / f"{notice.name}.txt").is_file()
    assert not notice_in("khm").reviewed
    assert "៖" in "".join(notice_in("khm").paragraphs)
    assert notice_in("vie") == english(), "for an interpreter to speak"


async def test_the_notice_stands_in_the_persons_language_beside_the_english(world: World) -> None:
    entry = await world.entry()
    async with walker(world, world.sender, SENDER) as worker:
        notice = await talked(worker, entry, path_of(world), to="notice")
        assert f'<p lang="km">{notice_in("khm").paragraphs[0]}' in notice.html
        assert english().paragraphs[-1] in notice.text
        assert "Nobody who speaks this language has confirmed" in notice.text
        changed = await worker.get(f"{TALK}/{draft_in(notice)}/language")
        spoken = await worker.send(changed.form("/language"), language="vie", interpreter="yes")
        assert "have the interpreter say each part" in spoken.text
        kept = await worker.send(notice.form("/notice"))
        assert kept.status == 422, "it was read in another language"


# --- yes, no, and what is recorded ------------------------------------------------------------------------------------


async def test_yes_is_recorded_as_it_was_said_and_opens_the_case(world: World) -> None:
    entry, house = await world.entry(), await world.house("Lotus House")
    answers = path_of(
        world, never={"never": ["law_enforcement", "organisation_type:embassy", f"organisation:{house.id}"]}
    )
    async with walker(world, world.sender, SENDER) as worker:
        check = await talked(worker, entry, answers)
        for said in (
            "Shelters in Cambodia",
            "Border post (us)",
            "Embassy",
            "Lotus House",
            "for 30 days from now",
            "Khmer",
        ):
            assert said in check.text, said
        done = await worker.send(check.form("/check"))
        assert done.path == f"{ENTRIES}/{entry}"
        assert "The decision is recorded" in done.text
        assert f"{ENTRIES}/{entry}/handoff" in done.links_to, "the case is open"
        again = await worker.send(check.form("/check"))
        assert again.path == done.path, "twice is once"
        await eventually(lambda: key_is_gone(world, draft_in(check)))
    records, never = await recorded(world, entry)
    assert (records["service"]["version"], records["share_referral"]["version"]) == (1, 2)
    sharing = records["share_referral"]
    assert sharing["state"] == "given"
    assert sorted(sharing["categories"]) == ["functional_needs", "identity", "placement"]
    assert sorted(sharing["purposes"]) == ["follow_up", "referral", "service_provision"]
    assert (sharing["notice"], sharing["language"], sharing["interpreter"]) == ("1-khm", "khm", False)
    assert sharing["valid_until"] is not None
    assert records["service"]["valid_until"] is None
    assert sharing["recorded_by"].startswith("person:")
    assert {(one["kind"], one["value"]) for one in never} == {
        ("law_enforcement", "any"), ("organisation_type", "embassy"), ("organisation", house.id)
    }  # fmt: skip


async def test_a_hand_off_goes_through_with_what_was_recorded(world: World) -> None:
    entry, house = await world.entry(), await world.house("Lotus House")
    async with walker(world, world.sender, SENDER) as worker:
        await worker.send((await talked(worker, entry, path_of(world))).form("/check"))
    await world.handoff(entry)
    assert (await world.offer(house))["content"]["readable"]


async def test_no_is_as_easy_as_yes_and_as_good(world: World) -> None:
    entry = await world.entry()
    async with walker(world, world.sender, SENDER) as worker:
        ask = await talked(worker, entry, path_of(world), to="help")
        (form,) = (one for one in ask.forms if one.action.endswith("/help"))
        assert [(name, value) for name, value, _ in form.buttons] == [("help", "yes"), ("help", "no")]
        assert 'class="go"' not in ask.html.partition("<form")[2], "neither is made to look like the right one"
        how = await worker.send(form, ("help", "no"))
        assert how.path.endswith("/how"), "nothing more is asked"
        check = await worker.send(how.form("/how"), expressed="spoken")
        assert "as good an answer" in check.text
        done = await worker.send(check.form("/check"))
        assert "as good an answer as any" in done.text
    records, never = await recorded(world, entry)
    assert {one: row["state"] for one, row in records.items()} == {"service": "refused"}
    assert never == []


async def test_help_without_sharing_is_recorded_as_that(world: World) -> None:
    entry = await world.ready_person()
    async with walker(world, world.sender, SENDER) as worker:
        check = await talked(worker, entry, path_of(world, share={"share": "no"}))
        assert "nothing is told to anybody" in check.text
        await worker.send(check.form("/check"))
    records, _ = await recorded(world, entry)
    assert (records["service"]["state"], records["share_referral"]["state"]) == ("given", "refused")


async def test_an_answer_that_has_become_needless_is_not_recorded(world: World) -> None:
    entry = await world.entry()
    async with walker(world, world.sender, SENDER) as worker:
        check = await talked(worker, entry, path_of(world))
        share = await worker.get(f"{TALK}/{draft_in(check)}/share")
        assert "Answered before" in share.text
        how = await worker.send(share.form("/share"), share="no")
        await worker.send((await worker.send(how.form("/how"))).form("/check"))
    records, never = await recorded(world, entry)
    assert records["share_referral"]["state"] == "refused"
    assert records["share_referral"]["categories"] == []
    assert never == []


async def test_a_step_without_an_answer_says_so_and_keeps_the_rest(world: World) -> None:
    entry = await world.entry()
    wrong: dict[str, tuple[Answer, str]] = {
        "language": ({"language": "khm", "interpreter": ""}, "interpreter"), "help": ({"help": "perhaps"}, "help"),
        "what": ({"categories": []}, "categories"), "why": ({"purposes": ["curiosity"]}, "purposes"),
        "whom": ({"classes": ["police KH2"]}, "classes"), "never": ({"never": ["organisation:me"]}, "never"),
        "until": ({}, "until"), "how": ({"expressed": "nodded"}, "expressed"),
    }  # fmt: skip
    async with walker(world, world.sender, SENDER) as worker:
        screen = await talk_begun(worker, entry)
        while (step := screen.path.split("/")[5]) != "check":
            if step in wrong:
                answers, name = wrong[step]
                said = await worker.send(screen.form(f"/{step}"), **answers)
                assert said.status == 422, step
                assert {"summary", name} <= said.ids, step
                if step == "language":
                    assert said.form("/language").get("language") == ["khm"]
                early = await worker.get(f"{TALK}/{draft_in(screen)}/check")
                assert early.path.endswith(f"/{step}"), "nothing is recorded before it is answered"
            screen = await worker.send(screen.form(f"/{step}"), **path_of(world)[step])
    assert await recorded(world, entry) == ({}, [])


async def test_an_emergency_ends_after_72_hours(world: World) -> None:
    entry = await world.entry()
    async with walker(world, world.sender, SENDER) as worker:
        check = await talked(worker, entry, path_of(world, until={"until": "72-hours"}))
        await worker.send(check.form("/check"))
    async with world.made.services["intake"].db.transaction("test") as tx:
        hours = await tx.conn.fetchval(
            "select extract(epoch from valid_until - valid_from) / 3600 from consent "
            "where entry = $1 and decision = 'share_referral'", UUID(entry),
        )  # fmt: skip
    assert abs(hours - 72) < 0.01


# --- somebody under 18 ------------------------------------------------------------------------------------------------


async def test_a_young_person_needs_a_guardian_too(world: World) -> None:
    entry = await world.entry(age_years=15)
    async with walker(world, world.sender, SENDER) as worker:
        check = await talked(worker, entry, path_of(world))
        assert "A guardian has agreed not yet" in check.text
        waits = await worker.send(check.form("/check"))
        assert "needs a guardian's agreement beside their own" in waits.text
        assert f"{ENTRIES}/{entry}/handoff" not in waits.links_to
        missing = await talked(worker, entry, path_of(world), to="guardian")
        half = await worker.send(missing.form("/guardian"), guardian="parent")
        assert half.status == 422
        assert "guardian_expressed" in half.ids
        sold = await worker.send(
            half.form("/guardian"), guardian="parent", guardian_expressed="spoken", guardian_suspected=["yes"]
        )
        assert (sold.status, "cannot agree for them" in sold.text) == (422, True)
        half = await worker.send(missing.form("/guardian"), guardian="parent")
        how = await worker.send(half.form("/guardian"), guardian="state_guardian", guardian_expressed="written")
        check = await worker.send(how.form("/how"), expressed="spoken")
        assert "A guardian of the state" in check.text
        how = await worker.get(f"{TALK}/{draft_in(check)}/how")
        back = await worker.click(how, "Back")
        assert back.path.endswith("/guardian")
        assert (await worker.click(back, "Back")).path.endswith("/until")
        done = await worker.send(check.form("/check"))
        assert f"{ENTRIES}/{entry}/handoff" in done.links_to, "the case has opened now"


async def test_without_an_age_a_guardian_is_asked_for_until_it_is_written(world: World) -> None:
    made = await world.sender.partner.post("/intake/entries", {"channel": "hotline", "area": "KH-1"})
    entry = str(made["id"])
    async with walker(world, world.sender, SENDER) as worker:
        guardian = await talked(worker, entry, path_of(world), to="guardian")
        assert "presumed to be under 18" in guardian.text
        form = (await worker.click(guardian, "Write down the age")).form("/correct")
        person = await worker.send(form, age_years="30")
        on = await worker.click(person, "Go on talking")
        assert on.path.endswith("/how"), "what was asked before is kept, and the guardian is asked for no more"


async def test_an_adult_is_asked_for_no_guardian(world: World) -> None:
    entry = await world.entry(age_years=18)
    async with walker(world, world.sender, SENDER) as worker:
        assert "guardian" not in (await talked(worker, entry, path_of(world))).text


# --- nothing lost, nothing overtaken ----------------------------------------------------------------------------------


async def test_a_talk_survives_the_end_of_the_session_and_goes_on_where_it_was(world: World) -> None:
    entry = await world.entry()
    async with walker(world, world.sender, SENDER) as worker:
        what = await talked(worker, entry, path_of(world), to="what")
        await another_session(world, worker)
        person = await worker.get(f"{ENTRIES}/{entry}")
        assert "You have begun to talk consent through" in person.text
        on = await worker.get(f"{TALK}/{draft_in(what)}")
        assert on.path.endswith("/what")
        listed = await worker.get(f"{ENTRIES}/new")
        assert f"{TALK}/{draft_in(what)}" in listed.links_to


async def test_a_talk_is_its_workers_alone_and_sealed(world: World) -> None:
    entry = await world.entry()
    async with walker(world, world.sender, SENDER) as worker, walker(world, world.sender, SENDER) as other:
        check = await talked(worker, entry, path_of(world))
        path = f"{TALK}/{draft_in(check)}"
        own = (await other.get(f"{ENTRIES}/new")).form("/new")
        for step in ("", "/language", "/what", "/guardian", "/check"):
            assert (await other.get(f"{path}{step}")).status == 404
            if step:
                own.action = f"{path}{step}"
                assert (await other.send(own, version="1")).status == 404, step
        assert "You have begun" not in (await other.get(f"{ENTRIES}/{entry}")).text
    (kept,) = await drafts(world)
    assert b"law_enforcement" not in kept["sealed"]
    assert await recorded(world, entry) == ({}, [])


async def test_a_talk_about_somebody_erased_is_destroyed_with_them(world: World) -> None:
    async with walker(world, world.sender, SENDER) as worker:
        where = await worker.get("/intake/pages/screenings/new")
        group = await worker.send(where.form("/screenings"), area="KH-1")
        alone = await worker.get(f"{group.path}/people")
        listed = await worker.send(alone.form("/people"), sex="male")
        entry = next(link for link in listed.links_to if link.startswith(f"{ENTRIES}/") and not link.endswith("/new"))
        what = await talked(worker, entry.split("/")[4], path_of(world), to="help")
        ask = await worker.get(f"{group.path}/people/{entry.split('/')[4]}/erase")
        await worker.send(ask.form("/erase"))
        assert (await worker.get(what.path)).status == 404
        await eventually(lambda: key_is_gone(world, draft_in(what)))
        gone = await worker.get(entry)
        assert (gone.path, "Nobody holds a copy" in gone.text) == (f"{entry}/erased", True)


async def test_a_stop_during_the_talk_is_not_undone_by_it(world: World) -> None:
    """A colleague hears the person say stop while an older talk lies open in a tab."""
    entry = await world.ready_person()
    async with walker(world, world.sender, SENDER) as worker:
        check = await talked(worker, entry, path_of(world))
        await world.sender.partner.post(f"/intake/entries/{entry}/withdraw", {"what": "sharing"})
        late = await worker.send(check.form("/check"))
        assert late.status == 412
        assert "perhaps that they have stopped" in late.text
        assert not [one for one in late.forms if one.action.endswith("/check")], "it cannot be sent again"
        person = await worker.get(f"{ENTRIES}/{entry}")
        assert "taken back" in person.text
    records, never = await recorded(world, entry)
    assert records["share_referral"]["state"] == "withdrawn"
    assert never == []


async def test_what_was_changed_in_another_tab_is_checked_again(world: World) -> None:
    entry = await world.entry()
    async with walker(world, world.sender, SENDER) as worker:
        check = await talked(worker, entry, path_of(world))
        until = await worker.get(f"{TALK}/{draft_in(check)}/until")
        await worker.send(until.form("/until"), until="72-hours")
        late = await worker.send(check.form("/check"))
        assert late.status == 412
        assert "for 72 hours from now" in late.text
        assert "recorded" in (await worker.send(late.form("/check"))).text


async def test_a_network_that_is_silent_hinders_no_talk(world: World) -> None:
    """Organisations cannot be named then; what was named before is kept."""
    entry, house = await world.entry(), await world.house("Lotus House")
    app = world.made.services["intake"].app
    asked, answers = app.state.directory, path_of(world, whom={"organisations": [house.id]})
    async with walker(world, world.sender, SENDER) as worker:
        check = await talked(worker, entry, answers)
        assert "Lotus House" in check.text

        # Nobody listens on the discard port.
        app.state.directory = listed_at(worker.client, "http://127.0.0.1:9/referral")
        try:
            whom = await worker.get(f"{TALK}/{draft_in(check)}/whom")
            assert "The network does not answer now" in whom.text
            assert whom.form("/whom").get("organisations") == [house.id]
            again = await worker.get(f"{TALK}/{draft_in(check)}/check")
            assert "an organisation that is not listed now" in again.text
            assert "The decision is recorded" in (await worker.send(again.form("/check"))).text
        finally:
            app.state.directory = asked


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.parametrize("javascript", [True, False])
async def test_consent_by_tapping_on_a_phone(world: World, browser: Browser, *, javascript: bool) -> None:
    entry = await world.entry(name="Sok Dara")
    cookie = await signed_in(world.made, world.sender, SENDER)
    async with at_browser(browser, world.made, cookie, javascript=javascript) as page:

        async def tap(name: str) -> None:
            await page.get_by_role("button", name=name).click()
            wide = await page.evaluate("document.documentElement.scrollWidth") if javascript else 360
            assert wide <= 360, page.url

        await page.goto(f"{ENTRIES}/{entry}")
        await tap("Talk consent through")
        await page.get_by_label("Which language").select_option("khm")
        await page.get_by_label("No", exact=True).check()
        await tap("Go on")
        size = (
            await page.locator(".aloud p[lang=km]").first.evaluate("one => getComputedStyle(one).fontSize")
            if javascript
            else "19px"
        )
        assert float(size.removesuffix("px")) >= 19
        await tap("I have read it aloud")
        await tap("Yes, they want help")
        await tap("No, nothing")
        await page.get_by_label("In spoken words").check()
        await tap("Go on")
        await tap("Record it")
        assert await page.get_by_text("The decision is recorded").is_visible()
    records, _ = await recorded(world, entry)
    assert (records["service"]["state"], records["share_referral"]["state"]) == ("given", "refused")
