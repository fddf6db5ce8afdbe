"""The coordinator's page: what it says, what it keeps to itself, and that it moves by itself."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from schemas import events as e
from schemas import registry
from schemas.rights import StaffRole
from schemas.vocabulary import ReasonFamily, WaitsFor
from services.notify.dashboards.figures import Figures, read
from services.notify.dashboards.handlers import APPLY, project
from services.notify.dashboards.pages import EVENT_WORDS, Shown
from spean.db import Tx
from spean.event import Event
from spean.ids import event_id
from spean.web.visitor import COOKIE
from spean.web.words import Words
from tests.browser.visiting import Screen, at_browser, signed_in, walker
from tests.builders import World, eventually

DASHBOARD = "/notify/pages/dashboard"
# What leads from the request to an arrival, a referral that has come so far has.
_TIMES = ("answered_at", "ready_at", "arrived_at")


@asynccontextmanager
async def _told(world: World) -> AsyncIterator[Tx]:
    """What *notify* has been told, written as no event could."""
    async with world.made.services["notify"].db.transaction("test") as tx:
        yield tx


def _event(referral: UUID, sequence: int, said: e.EventData) -> Event:
    """As the network would say it, now."""
    return Event(
        id=event_id(), type=registry.TYPE_OF[type(said)], source="spean/referral", subject=referral, epoch=1,
        sequence=sequence, time=datetime.now(UTC), correlationid=event_id(), causationid=None, traceparent=None,
        value=registry.write(said),
    )  # fmt: skip


async def _referrals(world: World, number: int, stage: int, *, ended: bool = False, ago: timedelta = timedelta(0),
                     took: timedelta = timedelta(minutes=20), **more: Any) -> list[UUID]:  # fmt: skip
    """So many that have come so far, requested just now."""
    made = [uuid4() for _ in range(number)]
    at = datetime.now(UTC) - ago
    states = ("requested", "offered", "accepted", "ready", "in-progress")
    row = {
        "network": UUID(world.network), "coordinator": UUID(world.coordinator.id), "service_group": "shelter",
        "urgency": "urgent", "area": "KH-1", "places": 1, "requested_at": at, "deadline": at + timedelta(days=2),
        "state": "cancelled" if ended else states[stage], "asked": int(stage > 0),
        **dict.fromkeys(_TIMES[: max(stage - 1, 0)], at + took), **more,
    }  # fmt: skip
    columns = ", ".join(["id", *row])
    values = ", ".join(f"${index}" for index in range(1, len(row) + 2))
    async with _told(world) as tx:
        for id_ in made:
            await tx.conn.execute(f"insert into referral_view ({columns}) values ({values})", id_, *row.values())
    return made


async def _places(world: World, free: Mapping[str, int]) -> None:
    async with _told(world) as tx:
        for area, number in free.items():
            await tx.conn.execute(
                "insert into capacity_view values ($1, $2, $3, $4, 'shelter', $5, $6, $7)", uuid4(), UUID(world.network),
                UUID(world.coordinator.id), uuid4(), area, number + 50, number,
            )  # fmt: skip


def _page_of(screen: Screen, part: str) -> str:
    """The text of one panel."""
    found = re.search(rf'<section class="panel[^"]*" id="{part}">(.*?)</section>', screen.html, re.S)
    assert found is not None, part
    return html.unescape(" ".join(re.sub(r"<[^>]*>", " ", found[1]).split()))


async def _csv(world: World, cookie: str) -> list[list[str]]:
    async with httpx.AsyncClient(base_url=world.made.url, timeout=15) as client:
        reply = await client.get(f"{DASHBOARD}.csv", headers={"Cookie": f"{COOKIE}={cookie}"})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert reply.headers["content-disposition"].startswith("attachment;")
    return list(csv.reader(io.StringIO(reply.text.removeprefix("\ufeff"))))[1:]


async def test_it_says_what_stands_and_hides_what_is_small(world: World) -> None:
    await _referrals(world, 6, 0)
    await _referrals(world, 7, 1)
    await _referrals(world, 2, 1, ended=True)
    await _referrals(world, 3, 3)
    await _referrals(world, 12, 4)
    await _referrals(world, 9, 4, ago=timedelta(days=2))
    await _places(world, {"KH-12": 21, "KH-1": 3, "TH-27": 0})
    async with walker(world, world.coordinator, StaffRole.COORDINATOR) as who:
        screen = await who.get(DASHBOARD)
        rows = await _csv(world, who.cookies[COOKIE][0])
    assert screen.status == 200
    flow = [[row, column, said] for table, row, column, said, _ in rows if table == "flow"]
    assert flow == [
        ["requested", "Came as far", "28–31"], ["requested", "Waiting there", "6"], ["requested", "Ended there", "0"],
        ["asked", "Came as far", "22–25"], ["asked", "Waiting or ended", "9"],
        ["accepted", "Came as far", "13–16"], ["accepted", "Waiting there", "0"], ["accepted", "Ended there", "0"],
        ["ready", "Came as far", "13–16"], ["ready", "Waiting or ended", "<5"],
        ["arrived", "Came as far", "12"],
    ]  # fmt: skip
    places = {row: said for table, row, _, said, _ in rows if table == "places"}
    assert places == {"Phnom Penh": "21", "Banteay Meanchey": "<5", "Sa Kaeo": "0", "All areas": "22–25"}
    assert "20 minutes" in _page_of(screen, "half")
    for one in flow:  # the page says the same as the file
        assert one[2] in _page_of(screen, "flow")
    assert "28–31" not in _page_of(screen, "places")


async def test_every_picture_has_its_numbers_in_words_and_in_a_table(world: World) -> None:
    await _referrals(world, 30, 4)
    await _places(world, {"KH-12": 21, "KH-1": 3})
    async with walker(world, world.coordinator, StaffRole.COORDINATOR) as who:
        screen = await who.get(DASHBOARD)
    for part in ("flow", "answers", "places", "map"):
        inside = re.search(rf'id="{part}">(.*?)</section>', screen.html, re.S)[1]
        for svg in re.findall(r'<svg class="chart chart-.*?</svg>', inside, re.S):
            assert 'role="img"' in svg
            assert re.search(r"<title [^>]*>[^<]+</title><desc [^>]*>[^<]+</desc>", svg), part
        assert part == "map" or "<table" in inside
    assert "Phnom Penh: 21</desc>" in screen.html
    assert "Banteay Meanchey: &lt;5" in screen.html
    assert "Boundaries are indicative." in _page_of(screen, "map")


async def test_dots_are_drawn_only_where_counting_them_says_nothing_more(world: World) -> None:
    async with walker(world, world.coordinator, StaffRole.COORDINATOR) as who:
        await _referrals(world, 6, 2)
        await _referrals(world, 3, 4)  # hidden: 6 and perhaps four more; nine dots would say that they are three
        screen = await who.get(DASHBOARD)
        assert "Too few in 7 days" in _page_of(screen, "answers")
        assert "too few yet" in _page_of(screen, "half")
        await _referrals(world, 1, 4, ago=timedelta(days=3))
        shown = await _figures(world)
        assert len(shown.accepted) == 10
        assert Shown(shown, Words("en")).answers.count('"chart-dot"') == 10


async def test_an_acceptance_that_was_never_read_breaks_nothing(world: World) -> None:
    """Its event lies among the dead letters; what followed was read."""
    await _referrals(world, 6, 3, answered_at=None)
    assert [one.minutes for one in (await _figures(world)).accepted] == [20] * 6


async def _figures(world: World) -> Figures:
    today = Words("en").local(datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0)
    return await read(world.made.services["notify"].db, UUID(world.coordinator.id), today)


async def test_what_must_be_zero_and_what_needs_a_person(world: World) -> None:
    past = datetime.now(UTC) - timedelta(hours=1)
    mine = (await _referrals(world, 1, 1, escalated="no-candidate", escalated_at=past, area="TH-27", deadline=past))[0]
    async with walker(world, world.coordinator, StaffRole.COORDINATOR) as who:
        screen = await who.get(DASHBOARD)
        assert "Nothing is past its deadline unseen." in screen.text
        assert "must be zero" in _page_of(screen, "unseen")
        assert _page_of(screen, "unseen").endswith(" 0")
        assert "of these past their deadline: 1" in _page_of(screen, "escalated")
        said = _page_of(screen, "persons")
        assert "Shelter · Sa Kaeo – Nobody is left to ask" in said
        assert f"with {world.coordinator.name} since " in said
        assert "passed" in said
        assert screen.links["Open Shelter, Sa Kaeo"] == f"/referral/pages/escalations/{mine}"
        await _referrals(world, 2, 1, deadline=past)
        await world.made.services["notify"].app.state.live.now(UUID(world.coordinator.id))
        again = await eventually(lambda: _saying(who, "2 are past their deadline, and nobody was told."))
        assert "Call whoever runs the system now." in _page_of(again, "unseen")


async def test_whose_turn_it_is_with_what_is_on_hold(world: World) -> None:
    at = datetime.now(UTC)
    held = await _referrals(world, 2, 1, escalated="deadline-passed", escalated_at=at, deadline=at)
    senders, mine = "on hold: it is the sender's to go on", "on hold: it is yours to go on"
    async with _told(world) as tx:
        for id_, waits_for in zip(held, WaitsFor, strict=True):
            await project(tx, _event(id_, 1, e.ReferralHeldV2(reason=ReasonFamily.CLOSED, waits_for=waits_for)))
    async with walker(world, world.coordinator, StaffRole.COORDINATOR) as who:
        persons = _page_of(await who.get(DASHBOARD), "persons")
        assert (persons.count(senders), persons.count(mine)) == (1, 1)
        async with _told(world) as tx:
            await project(tx, _event(held[1], 2, e.ReferralReopenedV1()))
        await world.made.services["notify"].app.state.live.now(UUID(world.coordinator.id))
        assert senders in (await eventually(lambda: _without(who, mine))).text


async def _without(who: Any, words: str) -> Screen | None:
    screen = await who.get(DASHBOARD)
    return None if words in screen.text else screen


async def _saying(who: Any, words: str) -> Screen | None:
    screen = await who.get(DASHBOARD)
    return screen if words in screen.text else None


async def test_erasures_and_notices_by_what_became_of_them(world: World) -> None:
    referral = (await _referrals(world, 1, 4))[0]
    now = datetime.now(UTC)
    async with _told(world) as tx:
        for state, answer_by, number in (
            ("requested", now + timedelta(hours=1), 6), ("requested", now - timedelta(hours=1), 5), ("overdue", now, 2),
            ("erased", now, 3),
        ):  # fmt: skip
            for _ in range(number):
                await tx.conn.execute(
                    "insert into copy_view values ($1, $2, $3, $4)", referral, uuid4(), state, answer_by
                )
        for state, tries, number in (("parked", 3, 5), ("waiting", 1, 1), ("waiting", 0, 9), ("sent", 1, 9)):
            for _ in range(number):
                await tx.conn.execute(
                    "insert into delivery (id, event, organisation, until, state, tries, created_at, coordinator) "
                    "values ($1, $2, $3, $4, $5, $6, $4, $7)",
                    uuid4(), uuid4(), uuid4(), now, state, tries, UUID(world.coordinator.id),
                )  # fmt: skip
    cookie = await signed_in(world.made, world.coordinator, StaffRole.COORDINATOR)
    rows = {(table, row): said for table, row, _, said, _ in await _csv(world, cookie)}
    assert rows["erasures", "not answered in time"] == "7"
    assert rows["erasures", "asked, with time left to answer"] == "6"
    assert rows["erasures", "Erased"] == "<5"
    assert rows["erasures", "asked in all"] == "14–17"
    assert rows["notices", "given up: no address, or the mail server refuses"] == "5"
    assert rows["notices", "failed, being tried again"] == "<5"
    assert rows["notices", "too late to be of use"] == "0"


async def test_another_coordinator_sees_nothing_of_it(world: World) -> None:
    await _referrals(world, 9, 1, escalated="no-candidate", escalated_at=datetime.now(UTC))
    await _places(world, {"KH-12": 21})
    other = await world.organisation("Another coordinator", "coordination", ["notify:watch"])
    async with walker(world, world.coordinator, StaffRole.COORDINATOR) as who:  # what is kept for a moment is theirs
        assert "9 requests need a person." in (await who.get(DASHBOARD)).text
        assert "9 requests need a person." in (await who.get(f"{DASHBOARD}/now")).text
    async with walker(world, other, StaffRole.COORDINATOR) as who:
        screen = await who.get(DASHBOARD)
        rows = await _csv(world, who.cookies[COOKIE][0])
        assert "0 requests need a person." in (await who.get(f"{DASHBOARD}/now")).text
    assert "Nothing waits for a person." in screen.text
    assert "No house has told of places yet." in screen.text
    assert "Nothing yet." in screen.text
    assert {said for _, _, _, said, _ in rows} == {"0"}


async def test_the_part_is_shared_by_those_who_read_the_same_language(world: World) -> None:
    cookies = [
        await signed_in(world.made, world.coordinator, StaffRole.COORDINATOR, language=one)
        for one in ("en", "km", "en")
    ]
    async with httpx.AsyncClient(base_url=world.made.url, timeout=15) as client:
        said = [(await client.get(f"{DASHBOARD}/now", headers={"Cookie": f"{COOKIE}={one}"})).text for one in cookies]
    assert "Nothing waits for a person." in said[0]
    assert "Nothing waits for a person." not in said[1]
    assert "Nothing waits for a person." in said[2]
    assert all("csrf" not in one and 'name="key"' not in one for one in said)  # nothing in it is one visitor's own


@pytest.mark.parametrize("path", [DASHBOARD, f"{DASHBOARD}/now", f"{DASHBOARD}/print", f"{DASHBOARD}.csv"])
async def test_only_who_may_watch(world: World, path: str) -> None:
    async with walker(world, world.sender, StaffRole.SENDER) as who:
        assert (await who.get(path)).status == 403
    async with walker(world, None) as stranger:
        assert (await stranger.get(path)).path == "/referral/pages/sign-in"
    async with walker(world, world.coordinator, StaffRole.ADMINISTRATOR) as administrator:
        assert (await administrator.get(path)).status == 200


async def test_a_part_whose_session_has_ended_loads_the_whole_page(world: World) -> None:
    asked = {"HX-Request": "true", "HX-Current-URL": f"{world.made.url}{DASHBOARD}"}
    async with httpx.AsyncClient(base_url=world.made.url, timeout=15) as client:
        reply = await client.get(f"{DASHBOARD}/now", headers=asked)
        led = await client.get(f"{DASHBOARD}/now", headers={**asked, "HX-Current-URL": "https://elsewhere.example/x"})
    assert (reply.status_code, reply.headers["hx-redirect"], reply.content) == (401, DASHBOARD, b"")
    assert led.headers["hx-redirect"] == "/referral/pages"


async def test_the_print_view_is_whole_and_still(world: World) -> None:
    await _referrals(world, 30, 4)
    async with walker(world, world.coordinator, StaffRole.COORDINATOR) as who:
        screen = await who.get(DASHBOARD)
        printed = await who.get(screen.links["To print"])
    assert "<details" not in printed.html
    assert "htmx" not in printed.html
    assert "hx-" not in printed.html
    assert printed.html.count("<table") >= screen.html.count("<table")
    assert world.coordinator.name in printed.text


def test_every_event_of_the_tail_has_words() -> None:
    assert set(EVENT_WORDS) == set(APPLY)


# --- it moves ---------------------------------------------------------------------------------------------------------


@pytest.mark.browser
async def test_it_moves_by_itself_and_breaks_no_rule(world: World, browser: Browser) -> None:
    await _referrals(world, 30, 4)
    cookie = await signed_in(world.made, world.coordinator, StaffRole.COORDINATOR)
    async with at_browser(browser, world.made, cookie, width=1280) as page:
        violations = await _listening(page)
        await page.goto(DASHBOARD)
        said = page.locator("#said")
        await expect(said).to_contain_text("0 requests need a person.")
        await page.locator("#table-flow summary").click()
        region = await said.element_handle()
        await world.handoff(await world.ready_person(), area="TH-27")  # nobody is there to be asked
        await expect(said).to_contain_text("1 request needs a person.", timeout=15_000)
        await expect(page.locator("#persons")).to_contain_text("Sa Kaeo")
        # The same element has changed its words, so they are read out; what was opened stays open.
        assert await said.evaluate("(now, before) => now === before", region)
        assert await said.get_attribute("aria-live") == "polite"
        assert await page.locator("[aria-live]").count() == 1
        assert await page.locator("#table-flow").get_attribute("open") is not None
        assert page.url.endswith(DASHBOARD)
        assert await page.evaluate("window.violations") == []
    assert violations == []


async def _listening(page: Page) -> list[str]:
    """What the page's policy forbids, from the first moment."""
    found: list[str] = []
    await page.expose_function("forbidden", lambda rule: found.append(rule))  # noqa: PLW0108 (Playwright marks it)
    await page.add_init_script(
        "window.violations = []; document.addEventListener('securitypolicyviolation', (e) => {"
        " window.violations.push(e.violatedDirective + ' ' + e.sourceFile); window.forbidden(e.violatedDirective); });"
    )
    return found


@pytest.mark.browser
async def test_when_the_session_ends_nothing_stays_on_the_screen(world: World, browser: Browser) -> None:
    hub = world.made.services["notify"].app.state.live
    usual, hub.check_s = hub.check_s, 0.3
    cookie = await signed_in(world.made, world.coordinator, StaffRole.COORDINATOR)
    try:
        async with at_browser(browser, world.made, cookie) as page:
            await page.goto(DASHBOARD)
            await expect(page.locator("#said")).to_be_visible()
            async with world.made.services["referral"].db.transaction("test") as tx:
                await tx.conn.execute("delete from session")
            await page.wait_for_url(re.compile("/referral/pages/sign-in"), timeout=15_000)
            assert f"next={DASHBOARD.replace('/', '%2F')}" in page.url
    finally:
        hub.check_s = usual


@pytest.mark.browser
async def test_without_javascript_a_link_looks_again(world: World, browser: Browser) -> None:
    cookie = await signed_in(world.made, world.coordinator, StaffRole.COORDINATOR)
    async with at_browser(browser, world.made, cookie, javascript=False) as page:
        await page.goto(DASHBOARD)
        await expect(page.locator("#said")).to_contain_text("0 requests need a person.")
        await world.handoff(await world.ready_person(), area="TH-27")

        async def seen() -> bool:
            await page.get_by_role("link", name="Look again").click()
            return "1 request needs a person." in await page.locator("#said").inner_text()

        await eventually(seen)
