"""The sender's hand-offs in pages: asked for, found, followed, ended."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from playwright.async_api import Browser

from schemas.rights import StaffRole
from services.intake.handoffs import search
from tests.browser.visiting import Screen, Walker, at_browser, signed_in, walker
from tests.builders import World, eventually
from tests.integration.holder import settled

LIST = "/intake/pages/handoffs"
ASK = {"service_type": "emergency_bed", "urgency": "emergency", "area": "KH-1"}


async def checked(sender: Walker, entry: str, **answers: str | list[str]) -> Screen:
    """The questions answered, and looked at once more."""
    asked = await sender.get(f"/intake/pages/entries/{entry}/handoff")
    return await sender.send(asked.form("/handoff"), ("step", "check"), **{**ASK, **answers})


async def accepted(world: World, *entries: str) -> tuple[str, str]:
    """A hand-off that a house has accepted: its id and the offer's."""
    house = await world.house("Lotus House", 4)
    handoff = await world.handoff(*entries)
    offer = (await world.offer(house))["id"]
    await house.partner.post(f"/referral/offers/{offer}/accept", {})
    await world.state(handoff, "ready", "answered")
    return handoff, str(offer)


# --- asking -----------------------------------------------------------------------------------------------------------


async def test_a_hand_off_is_checked_and_sent_once(world: World) -> None:
    mother, child = await world.ready_person(name="Sok Dara"), await world.ready_person(name="Sok Baby")
    house = await world.house("Lotus House", 4)
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        check = await checked(sender, mother, members=[child])
        assert "Check your answers" in check.headings
        assert "Sok Dara" in check.text
        assert "Sok Baby" in check.text
        assert "2 places together" in check.text
        assert "Bed tonight" in check.text
        send = check.form("/handoff")
        one = await sender.send(send, ("step", "send"))
        again = await sender.send(send, ("step", "send"))
        assert one.path == again.path
        assert one.path.startswith(LIST)
        assert "Sent to the network" in one.text
    assert len((await world.sender.partner.get("/intake/handoffs"))["handoffs"]) == 1
    assert (await world.offer(house))["places"] == 2


async def test_a_missing_answer_is_said_and_the_others_are_kept(world: World) -> None:
    entry = await world.ready_person()
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        wrong = await checked(sender, entry, service_type="", area="KH-12", day="2026-02-31", time="10:00")
        assert wrong.status == 422
        assert {"service_type", "need_by", "summary"} <= wrong.ids
        form = wrong.form("/handoff")
        assert form.get("area") == ["KH-12"]
        assert form.get("urgency") == ["emergency"]
        assert form.get("day") == ["2026-02-31"]
        past = await checked(sender, entry, day="2020-01-01", time="10:00")
        assert past.status == 422
        assert "has passed already" in past.text
        nowhere = await checked(sender, entry, area="KH-99")
        assert nowhere.status == 422
        assert "Choose one of the answers" in nowhere.text


async def test_a_time_is_absolute_and_by_the_local_clock(world: World) -> None:
    entry, day = await world.ready_person(), (datetime.now(UTC) + timedelta(days=2)).date()
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        check = await checked(sender, entry, day=str(day), time="18:30")
        assert "18:30" in check.text
        assert "Phnom Penh" in check.text
        change = await sender.send(check.form("/handoff"), ("step", "change"))
        assert change.form("/handoff").get("time") == ["18:30"]
        sent = await sender.send(check.form("/handoff"), ("step", "send"))
    shown = await world.sender.partner.get(f"/intake/handoffs/{sent.path.rsplit('/', 1)[1]}")
    assert shown["need_by"] == f"{day}T11:30:00Z"


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        ({}, "has not agreed to the service"),
        ({"service": "given"}, "has not agreed to share"),
        ({"service": "given", "share_referral": "given"}, "The case is not open yet"),
    ],
)
async def test_a_missing_step_is_named_with_the_way_to_it(world: World, decisions: dict[str, str], said: str) -> None:
    entry = await world.entry(name="Sok Dara")
    for decision, state in decisions.items():
        await world.consent(entry, decision, state)
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        missing = await checked(sender, entry)
        assert said in missing.text
        assert missing.links["Go to this step"] == f"/intake/pages/entries/{entry}"
        assert "Send to the network" not in missing.text
        forced = await sender.send(missing.form("/handoff"), ("step", "send"))
        assert said in forced.text
    assert not (await world.sender.partner.get("/intake/handoffs"))["handoffs"]


async def test_a_consent_taken_back_meanwhile_is_said_at_the_end(world: World) -> None:
    entry = await world.ready_person()
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        check = await checked(sender, entry)
        await world.sender.partner.post(f"/intake/entries/{entry}/withdraw", {"what": "sharing"})
        stopped = await sender.send(check.form("/handoff"), ("step", "send"))
        assert "One step is missing" in stopped.headings
    assert not (await world.sender.partner.get("/intake/handoffs"))["handoffs"]


async def test_the_same_service_is_not_asked_for_twice(world: World) -> None:
    entry = await world.ready_person()
    await world.handoff(entry)
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        check = await checked(sender, entry)
        refused = await sender.send(check.form("/handoff"), ("step", "send"))
        assert refused.status == 422
        assert "is asked for this already" in refused.text


async def test_another_organisation_s_people_are_not_there(world: World) -> None:
    entry, own = await world.ready_person(name="Sok Dara"), await world.ready_person()
    handoff = await world.handoff(entry)
    other = await world.organisation("Other post", "border_post", ["intake:send"])
    await world.admin.post(f"/referral/networks/{world.network}/members", {"organisation": other.id})
    async with walker(world, other, StaffRole.SENDER) as stranger, walker(world, None) as nobody:
        for path in (
            f"/intake/pages/entries/{entry}/handoff", f"{LIST}/{handoff}", f"{LIST}/{handoff}/told",
            f"{LIST}/{handoff}/cancel", f"{LIST}/{uuid4()}",
        ):  # fmt: skip
            refused = await stranger.get(path)
            assert refused.status == 404
            assert "Sok Dara" not in refused.html
        assert "No hand-off is open now" in (await stranger.get(LIST)).text
        assert (await nobody.get(LIST)).path == "/referral/pages/sign-in"
        async with walker(world, world.sender, StaffRole.SENDER) as sender:
            form = (await sender.get(f"/intake/pages/entries/{own}/handoff")).form("/handoff")
            mixed = await sender.send(form, ("step", "check"), **ASK, members=[str(uuid4())])
            assert mixed.status == 409


# --- the list ---------------------------------------------------------------------------------------------------------


async def test_open_mine_and_ended(world: World) -> None:
    entry, other, third = [await world.ready_person() for _ in range(3)]
    await world.house("Lotus House", 4)
    open_, held, ended = [await world.handoff(one) for one in (entry, other, third)]
    await world.state(held, "offered")
    await world.sender.partner.post(f"/intake/entries/{other}/withdraw", {"what": "sharing"})
    await world.state(held, "on-hold")
    await world.sender.partner.post(f"/intake/handoffs/{ended}/cancel", {})
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        shown = {show: await sender.get(f"{LIST}?show={show}") for show in ("open", "mine", "ended")}
    found = {
        show: {one for one in (open_, held, ended) if f"{LIST}/{one}" in screen.links_to}
        for show, screen in shown.items()
    }
    assert found == {"open": {open_, held}, "mine": {held}, "ended": {ended}}


async def test_older_ones_follow_without_gaps(world: World) -> None:
    db, entry = world.made.services["intake"].db, await world.ready_person()
    made = {await world.handoff(entry)}
    async with db.transaction("test.many") as tx:
        rows = await tx.conn.fetch(
            """
            insert into handoff (id, org, network, service_type, urgency, area, places, requested_at, state, changed_at)
            select gen_random_uuid(), org, network, service_type, urgency, area, 1, requested_at, 'received', changed_at
            from handoff, generate_series(1, 60) where org = $1 returning id
            """,
            world.sender.id,
        )
        made |= {str(row["id"]) for row in rows}
        await tx.conn.execute(
            "insert into handoff_member (handoff, entry, place_in_party) select h.id, $2, 0 from handoff h "
            "where h.org = $1 on conflict do nothing", world.sender.id, entry,
        )  # fmt: skip
    seen: list[str] = []
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        page = await sender.get(LIST)
        while True:
            seen += [
                link.rsplit("/", 1)[1] for link in page.links_to if link.startswith(f"{LIST}/") and "?" not in link
            ]
            if "Older ones" not in page.links:
                break
            page = await sender.click(page, "Older ones")
    assert len(seen) == len(set(seen)) == 61
    assert set(seen) == made


async def test_what_changed_since_i_looked_is_said_to_me_alone(world: World) -> None:
    house = await world.house("Lotus House", 4)
    handoff = await world.handoff(await world.ready_person())
    offer = (await world.offer(house))["id"]
    await world.state(handoff, "offered")
    async with (
        walker(world, world.sender, StaffRole.SENDER) as sender,
        walker(world, world.sender, StaffRole.SENDER) as colleague,
    ):
        first = await sender.get(LIST)
        assert "new to you" in first.text
        quiet = await sender.send(first.form("/seen"))
        assert "new to you" not in quiet.text
        assert "changed since you looked" not in quiet.text
        assert "new to you" in (await colleague.get(LIST)).text
        await house.partner.post(f"/referral/offers/{offer}/accept", {})
        await world.state(handoff, "ready")
        changed = await sender.get(LIST)
        assert "changed since you looked" in changed.text
        late = await sender.send(first.form("/seen"))  # an old page marks what it showed, and no more
        assert "changed since you looked" in late.text
        await sender.get(f"{LIST}/{handoff}")
        await settled(world)  # what was looked at is written down with the page's own transaction
        assert "changed since you looked" not in (await sender.get(LIST)).text


async def test_who_may_not_know_of_an_arrival_is_not_told_by_a_mark(world: World) -> None:
    entry = await world.entry(name="Sok Dara")
    await world.consent(entry, "service")
    await world.consent(entry, "share_referral", categories=["functional_needs"])
    await world.sender.partner.post(f"/intake/entries/{entry}/case")
    handoff, offer = await accepted(world, entry)
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        before = await sender.get(f"{LIST}/{handoff}")
        assert "answered" in before.text
        assert "Lotus House" not in before.text
        await world.houses[0].partner.post(f"/referral/offers/{offer}/arrived", {})
        db = world.made.services["intake"].db

        async def arrived() -> bool:
            async with db.transaction("test.state") as tx:
                return bool(await tx.conn.fetchval("select state = 'in-progress' from handoff where id = $1", handoff))

        await eventually(arrived)
        still = await sender.get(f"{LIST}/{handoff}/now?mark={mark_in(before)}")
        assert still.status == 204, "nor by a page that moves"
        after = await sender.get(LIST)
        assert "changed since you looked" not in after.text
        assert "answered" in after.text
        assert f"{LIST}/{handoff}" not in (await sender.get(f"{LIST}?show=ended")).links_to
        await sender.send((await sender.get(f"{LIST}/{handoff}/cancel")).form("/cancel"))
        shown = {show: await sender.get(f"{LIST}?show={show}") for show in ("open", "mine", "ended")}
        assert [show for show, one in shown.items() if f"{LIST}/{handoff}" in one.links_to] == ["ended"]
        assert "closed" in shown["ended"].text


@pytest.mark.parametrize("may_know", [True, False])
async def test_somebody_missing_needs_me_where_i_may_know_it(world: World, *, may_know: bool) -> None:
    entry = await world.entry()
    await world.consent(entry, "service")
    categories = ["functional_needs", *(["placement"] if may_know else [])]
    await world.consent(entry, "share_referral", categories=categories)
    await world.sender.partner.post(f"/intake/entries/{entry}/case")
    handoff, _ = await accepted(world, entry)
    async with world.made.services["intake"].db.transaction("test.missing") as tx:
        await tx.conn.execute("update handoff set state = 'missing' where id = $1", handoff)
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        mine = await sender.get(f"{LIST}?show=mine")
        assert (f"{LIST}/{handoff}" in mine.links_to) is may_know
        assert ("did not arrive in time" in (await sender.get(LIST)).text) is may_know


KHMER = {"Bed tonight": "គ្រែសម្រាប់យប់នេះ", "Legal help": "ជំនួយ\u200bផ្លូវច្បាប់"}


@pytest.mark.parametrize("hidden", ["", "\u200b", "\u200c", "\ufeff"])
@pytest.mark.parametrize(("said", "found"), [("យប់នេះ", "emergency_bed"), ("ជំនួយផ្លូវ", "legal_information")])
def test_khmer_is_found_with_and_without_marks_that_nobody_sees(hidden: str, said: str, found: str) -> None:
    typed = said[:3] + hidden + said[3:]
    [word] = search.words(typed, lambda text: KHMER.get(text, text))
    assert found in word.types
    assert search.Word.of(word.code) == word


def test_a_letter_with_its_accent_apart_is_the_same_letter() -> None:
    [word] = search.words("Re\u0301gion", lambda text: "R\u00e9gion" if text == "Bed tonight" else text)
    assert "emergency_bed" in word.types


async def test_search_finds_by_service_area_and_number_and_keeps_what_was_typed_out_of_addresses(world: World) -> None:
    bed = await world.handoff(await world.ready_person())
    legal = await world.handoff(await world.ready_person(), service_type="legal_information", area="KH-12")
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        page = await sender.get(LIST)

        async def found(typed: str) -> tuple[Screen, set[str]]:
            shown = await sender.send(page.form(LIST), text=typed)
            return shown, {one for one in (bed, legal) if f"{LIST}/{one}" in shown.links_to}

        for typed, expected in (
            ("legal information", {legal}), ("LEGAL", {legal}), ("phnom", {legal}), ("bed", {bed}), ("", {bed, legal}),
            (legal[:8], {legal}), ("bed phnom", set()), ("shel\u200bter", {bed}),
        ):  # fmt: skip
            _shown, got = await found(typed)
            assert got == expected, typed
            lost, _ = await found("Sok Dara")
        assert lost.status == 422
        assert "Nothing is called that" in lost.text
        assert lost.form(LIST).get("text") == ["Sok Dara"]
        assert "Dara" not in lost.url
        for code in ("x'; drop table handoff", "%", "id-%", "a" * 3000):
            assert (await sender.client.get(f"{world.made.url}{LIST}", params={"find": code})).status_code < 500


async def test_not_yet_with_the_network_has_a_number_to_call(world: World) -> None:
    app, db = world.made.services["intake"].app, world.made.services["intake"].db
    handoff = await world.handoff(await world.ready_person())
    await world.state(handoff, "unroutable")
    async with db.transaction("test.not_yet") as tx:
        await tx.conn.execute(
            "update handoff set state = 'requested', requested_at = requested_at - interval '3 minutes' where id = $1",
            handoff,
        )
    app.state.duty_phone = "+855 23 000 000"
    try:
        async with walker(world, world.sender, StaffRole.SENDER) as sender:
            for path in (LIST, f"{LIST}?show=mine", f"{LIST}/{handoff}"):
                shown = await sender.get(path)
                assert "Not yet with the network" in shown.text
                assert shown.links["+855 23 000 000"] == "tel:+85523000000"
    finally:
        app.state.duty_phone = ""


# --- one hand-off -----------------------------------------------------------------------------------------------------


async def test_one_hand_off_says_what_happened_and_who_was_told_what(world: World) -> None:
    refuses = await world.house("Mekong House", 1)
    handoff = await world.handoff(await world.ready_person())
    offer = (await world.offer(refuses))["id"]
    takes = await world.house("Lotus House", 4)
    await refuses.partner.post(f"/referral/offers/{offer}/decline", {"reason": "no_staff_or_interpreter"})
    taken = (await world.offer(takes))["id"]
    await takes.partner.post(f"/referral/offers/{taken}/accept", {})
    code = (await world.state(handoff, "ready"))["hand_over_code"]
    async with walker(world, world.sender, StaffRole.SENDER) as sender:

        async def declined() -> Screen | None:
            shown = await sender.get(f"{LIST}/{handoff}")
            return shown if "No staff or interpreter" in shown.text else None

        one: Screen = await eventually(declined)
        steps = ["You asked the network", "Asked: Mekong House", "Declined: No staff", "Asked: Lotus House",
                 "Accepted: Lotus House"]  # fmt: skip
        places = [one.text.index(step) for step in steps]
        assert places == sorted(places)
        assert code in one.text
        assert "ready to go" in one.text
        told = await sender.click(one, "Who was told what, and why")
        assert "Lotus House" in told.text
        assert "Needs" in told.text
        assert "To ask whether they can help" in told.text


async def test_what_moves_is_sent_only_where_it_says_something_else(world: World) -> None:
    house = await world.house("Moving house")
    handoff = await world.handoff(await world.ready_person())
    offer = (await world.offer(house))["id"]
    await world.state(handoff, "offered")
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        page = await sender.get(f"{LIST}/{handoff}")
        again = f"{LIST}/{handoff}/now?mark={mark_in(page)}"
        assert (await sender.get(again)).status == 204
        await house.partner.post(f"/referral/offers/{offer}/accept", {})

        async def moved() -> Screen | None:
            part = await sender.get(again)
            return part if part.status == 200 else None

        part = await eventually(moved)
        assert part is not None
        assert ("<html" in part.html, "What happened" in part.headings) == (False, True)
        assert mark_in(part) != mark_in(page)
    async with walker(world, None) as stranger:
        assert (await stranger.get(again)).path == "/referral/pages/sign-in"


def mark_in(screen: Screen) -> str:
    """What a page says that moves by itself."""
    found = re.search(r'id="mark" name="mark" value="([0-9a-f]{64})"', screen.html)
    assert found is not None
    return found.group(1)


async def test_who_is_not_to_be_known_is_not_named(world: World) -> None:
    entry = await world.entry()
    await world.consent(entry, "service")
    await world.consent(entry, "share_referral", categories=["functional_needs", "identity"])
    await world.sender.partner.post(f"/intake/entries/{entry}/case")
    handoff, _ = await accepted(world, entry)
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        for path in (f"{LIST}/{handoff}", f"{LIST}/{handoff}/told"):
            shown = await sender.get(path)
            assert shown.status == 200
            assert "Lotus House" not in shown.html
        assert "the person did not agree to share this" in shown.text


async def test_setting_out_is_said_to_the_network(world: World) -> None:
    handoff, _ = await accepted(world, await world.ready_person())
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        one = await sender.get(f"{LIST}/{handoff}")
        done = await sender.send(one.form("/departed"))
        again = await sender.send(one.form("/departed"))
        assert done.path == again.path == f"{LIST}/{handoff}"
        assert "on the way" in done.text
    async with world.made.services["referral"].db.transaction("test.departed") as tx:
        assert await tx.conn.fetchval("select departed_at is not null from referral where id = $1", handoff)


async def test_cancelling_says_what_will_happen_first(world: World) -> None:
    handoff = await world.handoff(await world.ready_person())
    await world.state(handoff, "unroutable")
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        ask = await sender.click(await sender.get(f"{LIST}/{handoff}"), "Cancel this hand-off")
        assert "Nobody is asked any more" in ask.text
        stale = ask.form("/cancel")
        stale.values = [(name, "77" if name == "version" else value) for name, value in stale.values]
        assert (await sender.send(stale)).status == 412
        done = await sender.send((await sender.get(f"{LIST}/{handoff}/cancel")).form("/cancel"))
        assert done.path == f"{LIST}/{handoff}"
        assert "cancelled" in done.text
        assert "Cancel this hand-off" not in done.links
        assert "ended already" in (await sender.get(f"{LIST}/{handoff}/cancel")).text


async def test_what_is_on_hold_can_be_asked_again(world: World) -> None:
    entry = await world.ready_person()
    house = await world.house("Lotus House")
    handoff = await world.handoff(entry)
    await world.state(handoff, "offered")
    await world.sender.partner.post(f"/intake/entries/{entry}/withdraw", {"what": "sharing"})
    await world.state(handoff, "on-hold")
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        one = await sender.get(f"{LIST}/{handoff}")
        refused = await sender.send(one.form("/ask-again"))
        assert refused.status == 409
        assert "has not agreed to share" in refused.text
        await world.consent(entry, "share_referral")
        done = await sender.send((await sender.get(f"{LIST}/{handoff}")).form("/ask-again"))
        assert done.path == f"{LIST}/{handoff}"
        assert "asked again" in done.text
    assert (await world.offer(house))["places"] == 1


@pytest.mark.browser
@pytest.mark.parametrize("javascript", [True, False])
async def test_a_border_worker_asks_on_a_phone(world: World, browser: Browser, *, javascript: bool) -> None:
    entry = await world.ready_person(name="<script>document.title='ran'</script>")
    cookie = await signed_in(world.made, world.sender, StaffRole.SENDER)
    async with at_browser(browser, world.made, cookie, width=320, javascript=javascript) as page:
        await page.goto(f"/intake/pages/entries/{entry}/handoff")
        await page.get_by_label("What is needed?").select_option("emergency_bed")
        await page.get_by_text("Today (within 24 hours)").click()
        await page.get_by_role("button", name="Go on").click()
        await page.get_by_role("button", name="Send to the network").click()
        await page.wait_for_url("**/intake/pages/handoffs/*")
        assert "ran" not in await page.title()
        for path in (page.url, LIST):
            await page.goto(path)
            width = await page.locator("html").evaluate("e => e.scrollWidth") if javascript else 320
            assert width <= 320
