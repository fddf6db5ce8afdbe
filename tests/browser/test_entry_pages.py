"""Somebody was met: an entry in under a minute, kept step by step; the person's page, corrections, and stopping."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from playwright.async_api import Browser

from schemas.rights import StaffRole
from spean.web.visitor import COOKIE
from tests.browser.meeting import (
    ENTRIES,
    NEW,
    another_session,
    at_check,
    begun,
    draft_in,
    drafts,
    key_is_gone,
)  # fmt: skip
from tests.browser.visiting import Screen, at_browser, signed_in, walker
from tests.builders import World, eventually

SENDER = StaffRole.SENDER
# Invisible breaks between Khmer words, as keyboards there write them.
KHMER = "សុខា\u200bចាន់\u200bរស្មី"
SCRIPT = "<script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">"
TEXTS = (
    "name", "phone", "contact_notes", "safety_notes", "health_notes", "family_notes", "account", "exploitation",
    "means_of_control", "recruiter_notes", "legal_notes", "documents",
)  # fmt: skip


def entry_in(screen: Screen) -> str:
    assert screen.path.startswith(f"{ENTRIES}/"), screen.path
    return screen.path.split("/")[4]


# --- an entry ---------------------------------------------------------------------------------------------------------


async def test_an_entry_takes_three_steps_and_is_saved_once(world: World) -> None:
    async with walker(world, world.sender, SENDER) as worker:
        check = await at_check(worker)
        assert "Check your answers" in check.headings
        assert "24" in check.text
        assert "interpreter" in check.text
        one = await worker.send(check.form("/check"))
        again = await worker.send(check.form("/check"))
        assert worker.clicks == 4, "where, needs, save, and once more"
        assert entry_in(one) == entry_in(again)
        assert "Entry saved" in one.text
    kept = await world.sender.partner.get(f"/intake/entries/{entry_in(one)}")
    assert kept["person"] == {"age_years": 24, "sex": "female", "languages": ["khm"], "needs": ["interpreter"]}
    assert (kept["channel"], kept["area"]) == ("border_post", "KH-1")
    assert await drafts(world) == []


async def test_five_taps_at_once_make_one_entry(world: World) -> None:
    async with walker(world, world.sender, SENDER) as worker:
        check = await at_check(worker)
        sent = await asyncio.gather(*(worker.send(check.form("/check")) for _ in range(5)))
        assert {one.status for one in sent} <= {200, 409}, "saved, or being saved"
        (made,) = {entry_in(one) for one in sent if one.status == 200}
        listed = await worker.get(ENTRIES)
        assert [link for link in listed.links_to if link.startswith(f"{ENTRIES}/") and link != NEW] == [
            f"{ENTRIES}/{made}"
        ]


async def test_only_where_and_how_have_to_be_said(world: World) -> None:
    async with walker(world, world.sender, SENDER) as worker:
        wrong = await worker.send((await worker.get(NEW)).form("/new"), channel="", area="KH-99")
        assert wrong.status == 422
        assert {"channel", "summary"} <= wrong.ids
        nowhere = await worker.send((await worker.get(NEW)).form("/new"), channel="hotline", area="KH-99")
        assert nowhere.status == 422
        assert nowhere.form("/new").get("channel") == ["hotline"]
        assert await drafts(world) == []
        check = await worker.send((await begun(worker)).form("/needs"))
        saved = await worker.send(check.form("/check"))
    assert (await world.sender.partner.get(f"/intake/entries/{entry_in(saved)}"))["person"] == {}


async def test_the_next_entry_begins_where_this_worker_was_last(world: World) -> None:
    async with walker(world, world.sender, SENDER) as worker, walker(world, world.sender, SENDER) as other:
        await worker.send((await worker.get(NEW)).form("/new"), channel="case_manager", area="KH-12")
        form = (await worker.get(NEW)).form("/new")
        assert (form.get("channel"), form.get("area")) == (["case_manager"], ["KH-12"])
        assert (await other.get(NEW)).form("/new").get("area") == [], "somebody else's habit is not taken over"


async def test_provinces_of_the_own_country_come_first(world: World) -> None:
    async with walker(world, world.sender, SENDER) as worker:
        html = (await worker.get(NEW)).html
    assert html.index("Cambodia") < html.index('value="KH-1"') < html.index("Laos") < html.index('value="TH-10"')


async def test_what_was_typed_wrong_is_kept_and_said(world: World) -> None:
    async with walker(world, world.sender, SENDER) as worker:
        wrong = await at_check(worker, age_years="about twenty")
        assert wrong.status == 422
        assert "Write a whole number" in wrong.text
        form = wrong.form("/needs")
        assert form.get("age_years") == ["about twenty"]
        assert form.get("languages") == ["khm"]
        draft = draft_in(wrong)
        at = await worker.get(f"/intake/pages/drafts/{draft}/check")
        assert at.path.endswith("/needs"), "it cannot be saved like that"
        assert at.form("/needs").get("age_years") == ["about twenty"], "kept on the server, too"


async def test_a_draft_survives_the_end_of_the_session(world: World) -> None:
    async with walker(world, world.sender, SENDER) as worker:
        check = await at_check(worker)
        await another_session(world, worker)
        new = await worker.get(NEW)
        assert "You have not finished this" in new.headings
        assert f"/intake/pages/drafts/{draft_in(check)}/needs" in new.links_to
        assert f"/intake/pages/drafts/{draft_in(check)}/needs" in (await worker.get("/intake/pages/handoffs")).links_to
        needs = await worker.get(f"/intake/pages/drafts/{draft_in(check)}/needs")
        assert needs.form("/needs").get("age_years") == ["24"]
        stale = await worker.send(check.form("/check"))
        assert stale.status == 409
        assert "nothing is lost" in stale.text
        saved = await worker.send(stale.form("/check"))
        assert "Entry saved" in saved.text


async def test_two_tabs_take_nothing_from_each_other(world: World) -> None:
    async with walker(world, world.sender, SENDER) as worker:
        check = await at_check(worker)
        draft = f"/intake/pages/drafts/{draft_in(check)}"
        where = await worker.get(f"{draft}/where")
        await worker.send((await worker.get(f"{draft}/needs")).form("/needs"), sex="male")
        await worker.send(where.form("/where"), area="KH-2")
        late = await worker.send(check.form("/check"))
        assert late.status == 412, "not what was checked in this tab"
        assert "changed in another window" in late.text
        assert "male" in late.text
        assert "Nobody yet" in (await worker.get(ENTRIES)).text
        saved = await worker.send(late.form("/check"))
        entry = await world.sender.partner.get(f"/intake/entries/{entry_in(saved)}")
        assert (entry["area"], entry["person"]["sex"], entry["person"]["age_years"]) == ("KH-2", "male", 24)


async def test_a_draft_is_nobody_elses(world: World) -> None:
    house = await world.house("Lotus House")
    async with walker(world, world.sender, SENDER) as worker:
        check = await at_check(worker)
        path = f"/intake/pages/drafts/{draft_in(check)}"
        form = (await worker.get(f"{path}/needs")).form("/needs")
        for org in (world.sender, house):
            async with walker(world, org, SENDER) as other:
                assert "You have not finished" not in (await other.get(NEW)).text
                for step in ("where", "needs", "check", "discard"):
                    assert (await other.get(f"{path}/{step}")).status == 404
                own = (await other.get(NEW)).form("/new")
                for step in ("where", "needs", "check", "discard"):
                    own.action = f"{path}/{step}"
                    tried = await other.send(own, version="1", age_years="99")
                    assert tried.status == 404, (org.name, step)
        assert (await worker.get(f"{path}/needs")).form("/needs").get("age_years") == form.get("age_years") == ["24"]


async def test_a_draft_is_sealed_and_in_no_address(world: World) -> None:
    async with walker(world, world.sender, SENDER) as worker:
        check = await at_check(worker)
        at = urlsplit(check.url)
        assert (at.path, at.query) == (f"/intake/pages/drafts/{UUID(draft_in(check))}/check", "")
        assert set(worker.cookies) == {COOKIE}
    (kept,) = await drafts(world)
    assert b"interpreter" not in kept["sealed"]
    assert "interpreter" not in "".join(str(value) for name, value in kept.items() if name != "sealed")


async def test_a_discarded_draft_can_be_read_by_nobody_ever(world: World) -> None:
    async with walker(world, world.sender, SENDER) as worker:
        check = await at_check(worker)
        draft = draft_in(check)
        ask = await worker.get(f"/intake/pages/drafts/{draft}/discard")
        assert not await key_is_gone(world, draft)
        done = await worker.send(ask.form("/discard"))
        assert "Discarded" in done.text
        assert (await worker.send(ask.form("/discard"))).status == 200, "twice is once"
        assert (await worker.get(f"/intake/pages/drafts/{draft}/needs")).status == 404
    assert await drafts(world) == []
    await eventually(lambda: key_is_gone(world, draft))


async def test_a_finished_drafts_key_is_destroyed(world: World) -> None:
    async with walker(world, world.sender, SENDER) as worker:
        check = await at_check(worker)
        await worker.send(check.form("/check"))
        await eventually(lambda: key_is_gone(world, draft_in(check)))


async def test_drafts_are_destroyed_after_seven_days_and_not_before(world: World) -> None:
    intake = world.made.services["intake"].db
    async with walker(world, world.sender, SENDER) as worker:
        old, young = draft_in(await at_check(worker)), draft_in(await at_check(worker))
        async with intake.transaction("test") as tx:
            for draft, age in ((old, "7 days 1 minute"), (young, "6 days 23 hours")):
                await tx.conn.execute(
                    f"update draft set saved_at = now() - interval '{age}' where id = $1", UUID(draft)
                )
                await tx.conn.execute("update due set at = now() where subject = $1", UUID(draft))
        await eventually(lambda: key_is_gone(world, old))
        assert (await worker.get(f"/intake/pages/drafts/{old}/needs")).status == 404
        assert (await worker.get(f"/intake/pages/drafts/{young}/needs")).status == 200
    assert [str(one["id"]) for one in await drafts(world)] == [young]


# --- the person's page ------------------------------------------------------------------------------------------------


async def test_scripts_are_text_and_khmer_is_kept_whole(world: World) -> None:
    entry = await world.entry()
    async with walker(world, world.sender, SENDER) as worker:
        form = (await worker.get(f"{ENTRIES}/{entry}/correct")).form("/correct")
        saved = await worker.send(form, **dict.fromkeys(TEXTS, f"{KHMER} {SCRIPT}"))
        assert "Correction saved" in saved.text
        assert saved.html.count("&lt;script&gt;") == len(TEXTS) + 1, "each once, and the name in the heading"
        assert "<script>document" not in saved.html
        again = (await worker.get(f"{ENTRIES}/{entry}/correct")).form("/correct")
        assert again.get("name") == [f"{KHMER} {SCRIPT}"]
        assert again.get("account") == [f"{KHMER} {SCRIPT}"]
    person = (await world.sender.partner.get(f"/intake/entries/{entry}"))["person"]
    assert person["name"] == f"{KHMER} {SCRIPT}"
    assert person["exploitation"] == [f"{KHMER} {SCRIPT}"]


async def test_a_correction_replaces_what_was_written_and_says_what_is_wrong(world: World) -> None:
    entry = await world.entry(name="Sok Dara", exploitation=["ForcedLabour", "Servitude"])
    async with walker(world, world.sender, SENDER) as worker:
        form = (await worker.get(f"{ENTRIES}/{entry}/correct")).form("/correct")
        assert form.get("name") == ["Sok Dara"]
        wrong = await worker.send(form, name="x" * 201, account="kept")
        assert wrong.status == 422
        assert "too long" in wrong.text
        assert wrong.form("/correct").get("account") == ["kept"]
        done = await worker.send(wrong.form("/correct"), name="")
        assert "Correction saved" in done.text
    person = (await world.sender.partner.get(f"/intake/entries/{entry}"))["person"]
    assert "name" not in person
    assert person["account"] == "kept"
    assert person["exploitation"] == ["ForcedLabour", "Servitude"]


async def test_a_stale_correction_shows_both_and_overwrites_nothing(world: World) -> None:
    entry = await world.entry(name="Sok Dara")
    async with walker(world, world.sender, SENDER) as one, walker(world, world.sender, SENDER) as other:
        mine = (await one.get(f"{ENTRIES}/{entry}/correct")).form("/correct")
        theirs = (await other.get(f"{ENTRIES}/{entry}/correct")).form("/correct")
        await other.send(theirs, name="Sok Dany")
        stale = await one.send(mine, name="Sok Daro")
        assert stale.status == 412
        assert "Sok Dany" in stale.text
        assert stale.form("/correct").get("name") == ["Sok Daro"]
        assert (await world.sender.partner.get(f"/intake/entries/{entry}"))["person"]["name"] == "Sok Dany"
        assert "Correction saved" in (await one.send(stale.form("/correct"))).text
        without = await one.send(mine, version="", name="unseen")
        assert without.status == 428
    assert (await world.sender.partner.get(f"/intake/entries/{entry}"))["person"]["name"] == "Sok Daro"


async def test_another_organisations_person_is_not_there(world: World) -> None:
    entry, house = await world.ready_person(name="Sok Dara"), await world.house("Lotus House")
    async with walker(world, house, SENDER) as stranger:
        assert "Sok Dara" not in (await stranger.get(ENTRIES)).text
        own = (await stranger.get(NEW)).form("/new")
        paths = ("", "/correct", "/who-gets-what", "/stop/sharing", "/stop/service", "/consent", "/case")
        for path in paths:
            if path not in {"/consent", "/case"}:
                assert (await stranger.get(f"{ENTRIES}/{entry}{path}")).status == 404, path
            if path:
                own.action = f"{ENTRIES}/{entry}{path}"
                assert (await stranger.send(own, version="1", service_type="emergency_bed")).status == 404, path
    async with walker(world, house, StaffRole.RECEIVER) as receiver:
        assert (await receiver.get(f"{ENTRIES}/{entry}")).status == 403


async def test_the_next_right_step_is_shown(world: World) -> None:
    entry = await world.entry()
    path = f"{ENTRIES}/{entry}"
    async with walker(world, world.sender, SENDER) as worker:
        assert "not talked through yet" in (await worker.get(path)).text
        await world.consent(entry, "service")
        case = await worker.get(path)
        assert "Open the case" in case.text
        shown = await worker.send(case.form("/case"))
        assert "they must agree to what may be told" in shown.text
        await world.consent(entry, "share_referral")
        ready = await worker.get(path)
        assert f"{path}/handoff" in ready.links_to
        assert "Nobody is asked for these now" not in ready.text
        handoff = await world.handoff(entry)
        await world.state(handoff, "unroutable")
        waits = await worker.get(path)
        assert "a coordinator looks at it. If the person agrees to more now, tell them" in waits.text
        await world.sender.partner.post(f"/intake/entries/{entry}/withdraw", {"what": "sharing"})
        await world.state(handoff, "on-hold")
        assert "Nobody is asked for these now" not in (await worker.get(path)).text, "first comes the talk"
        await world.consent(entry, "share_referral")
        assert "it waits for you. Open it, and ask the network again." in (await worker.get(path)).text
        await world.sender.partner.post(f"/intake/entries/{entry}/withdraw", {"what": "service"})
        assert "as good an answer as any" in (await worker.get(path)).text


# --- who would get what -----------------------------------------------------------------------------------------------


async def test_what_each_would_get_is_the_gates_answer_and_leaves_no_disclosure(world: World) -> None:
    # Nobody else is like this.
    alone = {"age_years": 70, "sex": "other", "languages": ["zha"], "needs": ["high_security", "nursing"]}
    entry = await world.ready_person(name="Sok Dara", recruiter_notes="somebody", **alone)
    await world.house("Lotus House")
    stranger = await world.organisation("No agreement", "shelter", ["referral:receive"])
    police = await world.organisation("Town police", "police", ["intake:send"], law_enforcement=True)
    for one in (stranger, police):
        await world.admin.post(f"/referral/networks/{world.network}/members", {"organisation": one.id})
    async with walker(world, world.sender, SENDER) as worker:
        ask = await worker.get(f"{ENTRIES}/{entry}/who-gets-what")
        nothing = await worker.send(ask.form("/who-gets-what"))
        assert nothing.status == 422
        shown = (await worker.send(ask.form("/who-gets-what"), service_type="emergency_bed")).text
        asked, _, refused = shown.partition("Who would not be asked")
        assert "Lotus House" in asked
        assert "Name" in asked
        assert "Who did it, Documents: the person did not agree to share this" in asked
        assert "When asked Needs After accepting Age group, Sex, Needs, Languages" in asked
        assert "Age group, Sex, Languages: too few people here share it" in asked
        assert "What we would see of them Who receives the person, Whether the person arrived, Address" in asked
        assert "No agreement" in refused
        assert "no agreement with this organisation" in refused
        assert "Town police" in refused
        assert "did not agree to this organisation" in refused
        none = (await worker.send(ask.form("/who-gets-what"), service_type="interpretation")).text
        assert "Nobody, as it stands now" in none
        act = (await worker.send(ask.form("/who-gets-what"), service_type="forensic_exam")).text
        assert "Nobody can be asked for this yet. This service needs a decision of the person's own" in act
        assert "The person has not agreed to this act itself (A forensic examination)" in act
    async with world.made.services["intake"].db.transaction("test") as tx:
        assert await tx.conn.fetchval("select count(*) from disclosure where entry = $1", UUID(entry)) == 0


async def test_only_the_own_networks_are_listed_by_name(world: World) -> None:
    """Other services' pages name organisations by it."""
    await world.house("Lotus House")
    await world.organisation("In no network", "shelter", ["referral:receive"])
    async with walker(world, world.sender, SENDER) as worker, walker(world, None) as stranger:
        listed = json.loads((await worker.get("/referral/pages/directory")).html)["organisations"]
        assert [one["name"] for one in listed] == ["Border post", "Coordinator", "Lotus House"]
        assert all(set(one) == {"name", "sample", "facts", "networks"} for one in listed), "no address"
        assert (await stranger.get("/referral/pages/directory")).path == "/referral/pages/sign-in"


# --- stopping ---------------------------------------------------------------------------------------------------------


async def test_stopping_sharing_says_what_happens_and_keeps_the_bed(world: World) -> None:
    entry, house = await world.ready_person(), await world.house("Lotus House", 1)
    handoff = await world.handoff(entry)
    offer = (await world.offer(house))["id"]
    await house.partner.post(f"/referral/offers/{offer}/accept", {})
    await world.state(handoff, "ready")
    async with walker(world, world.sender, SENDER) as worker:
        ask = await worker.get(f"{ENTRIES}/{entry}/stop/sharing")
        assert "A bed or another service that was accepted stays" in ask.text
        done = await worker.send(ask.form("/stop/sharing"))
        assert "Sharing is stopped" in done.headings
        assert "Sharing is stopped" in (await worker.send(ask.form("/stop/sharing"))).headings, "twice is once"
        assert "taken back" in (await worker.get(f"{ENTRIES}/{entry}")).text
    place = await house.partner.get(f"/referral/places/{world.places[house.id]}")
    assert place["free"] == 0
    records = (await world.sender.partner.get(f"/intake/entries/{entry}/consents"))["records"]
    assert [one["state"] for one in records] == ["given", "given", "withdrawn"]


async def test_stopping_the_service_frees_the_bed(world: World) -> None:
    entry, house = await world.ready_person(), await world.house("Lotus House", 1)
    handoff = await world.handoff(entry)
    offer = (await world.offer(house))["id"]
    await house.partner.post(f"/referral/offers/{offer}/accept", {})
    await world.state(handoff, "ready")
    async with walker(world, world.sender, SENDER) as worker:
        ask = await worker.get(f"{ENTRIES}/{entry}/stop/service")
        assert "A bed that was accepted is freed" in ask.text
        assert "The help is stopped" in (await worker.send(ask.form("/stop/service"))).headings

    async def freed() -> bool:
        return bool((await house.partner.get(f"/referral/places/{world.places[house.id]}"))["free"] == 1)

    await eventually(freed)


async def test_a_suspended_organisation_may_still_stop(world: World) -> None:
    entry = await world.ready_person()
    intake = world.made.services["intake"]
    async with walker(world, world.sender, SENDER) as worker:
        # Its session would end with the suspension; the holder may hear of it earlier.
        async with intake.db.transaction("test") as tx:
            await tx.conn.execute("insert into suspended values ($1, now())", UUID(world.sender.id))
        assert (await worker.get(f"{ENTRIES}/{entry}")).status == 403
        ask = await worker.get(f"{ENTRIES}/{entry}/stop/sharing")
        assert ask.status == 200
        assert "Sharing is stopped" in (await worker.send(ask.form("/stop/sharing"))).headings


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.parametrize("javascript", [True, False])
async def test_an_entry_by_tapping_on_a_phone(world: World, browser: Browser, *, javascript: bool) -> None:
    cookie = await signed_in(world.made, world.sender, SENDER)
    async with at_browser(browser, world.made, cookie, javascript=javascript) as page:
        await page.goto(NEW)
        await page.get_by_label("Where?").select_option("KH-1")
        await page.get_by_role("button", name="Go on").click()
        await page.get_by_label("12–17 years").check()
        await page.get_by_label("female", exact=True).check()
        await page.get_by_role("button", name="Go on").click()
        await page.get_by_role("button", name="Save the entry").click()
        assert await page.get_by_role("heading", level=1).inner_text() == "A person without a written name"
        await page.get_by_role("link", name="Correct or add").click()
        await page.get_by_label("Name", exact=True).fill(SCRIPT)
        await page.get_by_role("button", name="Save").click()
        assert await page.get_by_role("heading", level=1).inner_text() == SCRIPT
        assert "ran" not in await page.title()
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, "nothing has to be pushed aside"
        if javascript:
            assert await page.evaluate("localStorage.length + sessionStorage.length") == 0
