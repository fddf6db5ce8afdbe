"""A group in pages, person by person; and the rules to look at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from playwright.async_api import Browser

from schemas.rights import StaffRole
from tests.browser.visiting import Screen, Walker, at_browser, signed_in, walker
from tests.builders import World

LIST, RULES = "/intake/pages/screenings", "/intake/pages/rules"


async def begun(sender: Walker) -> Screen:
    where = await sender.get(f"{LIST}/new")
    return await sender.send(where.form("/screenings"), area="KH-1")


async def add(sender: Walker, session: Screen, **answers: str | list[str]) -> Screen:
    """One more person, on the page for one person."""
    alone = await sender.get(f"{session.path}/people")
    return await sender.send(alone.form("/people"), **answers)


async def entries(session: Screen) -> list[str]:
    start = "/intake/pages/entries/"
    return [link.removeprefix(start) for link in session.links_to if link.startswith(start) and "new" not in link]


async def test_a_session_is_begun_and_people_are_added_one_by_one(world: World) -> None:
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        session = await begun(sender)
        assert "Nobody yet" in session.text
        assert "Banteay Meanchey" in session.text
        form = (await sender.click(session, "The next person, alone")).form("/people")
        first = await sender.send(form, age_band="adolescent", sex="female", languages=["khm", "vie"], name="Sok Dara")
        assert "Entry saved" in first.text
        assert len(await entries(await sender.send(form, age_band="adolescent", sex="female", languages=["khm", "vie"],
                                                   name="Sok Dara"))) == 1  # fmt: skip
        second = await add(sender, first, sex="male")
        [one, other] = await entries(second)
        assert "Sok Dara" not in second.html  # a list may be seen by others
        assert second.text.count("not talked with yet") == 2
        assert "2 people" in (await sender.get(LIST)).text
    person = await world.sender.partner.get(f"/intake/entries/{one}")
    assert person["person"] == {
        "age_band": "adolescent", "sex": "female", "languages": ["khm", "vie"], "name": "Sok Dara"
    }  # fmt: skip
    assert person["channel"] == "screening"
    assert (await world.sender.partner.get(f"/intake/entries/{other}"))["minor"]


async def test_nothing_typed_is_said_and_too_much_is_kept(world: World) -> None:
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        session = await begun(sender)
        empty = await add(sender, session)
        assert empty.status == 422
        assert "Answer this question" in empty.text
        long = await sender.send(empty.form("/people"), sex="male", name="x" * 201)
        assert long.status == 422
        assert long.form("/people").get("sex") == ["male"]
        assert long.form("/people").get("name") == ["x" * 201]
        nowhere = await sender.send((await sender.get(f"{LIST}/new")).form("/screenings"), area="KH-99")
        assert nowhere.status == 422


async def test_how_each_stands(world: World) -> None:
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        session = await begun(sender)
        for _ in range(4):
            session = await add(sender, session, age_band="adult")
        _, refuses, opens, asks = await entries(session)
        await world.consent(refuses, "service", "refused")
        for entry in (opens, asks):
            await world.consent(entry, "service")
            await world.consent(entry, "share_referral")
            await world.sender.partner.post(f"/intake/entries/{entry}/case")
        await world.handoff(asks)
        shown = (await sender.get(session.path)).text
        words = ["not talked with yet", "wants no service", "case open", "asked for a service"]
        assert sorted(words, key=shown.index) == words


async def test_a_finished_session_takes_nobody_more(world: World) -> None:
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        session = await begun(sender)
        session = await add(sender, session, sex="male")
        late = session.form("/finish")
        session = await add(sender, session, sex="male")
        assert (await sender.send(late)).status == 409  # somebody was added since this page was opened
        alone = await sender.get(f"{session.path}/people")
        done = await sender.send(session.form("/finish"))
        assert "The session is finished" in done.text
        assert "The next person, alone" not in done.links
        assert (await sender.send(alone.form("/people"), sex="male")).status == 409


async def test_who_is_not_concerned_is_erased_and_who_agreed_is_not(world: World) -> None:
    async with walker(world, world.sender, StaffRole.SENDER) as sender:
        session = await begun(sender)
        session = await add(sender, session, name="Not Concerned")
        session = await add(sender, session, name="Concerned", age_band="adult")
        gone, stays = await entries(session)
        ask = await sender.get(f"{session.path}/people/{gone}/erase")
        done = await sender.send(ask.form("/erase"))
        assert "Erased" in done.text
        assert (await entries(done)) == [stays]
        again = await sender.send(ask.form("/erase"))
        assert again.status == 200
        page = await sender.get(f"/intake/pages/entries/{gone}")
        assert page.path == f"/intake/pages/entries/{gone}/erased"
        assert "Not Concerned" not in page.html
        refuse = await sender.get(f"{session.path}/people/{stays}/erase")
        await world.consent(stays, "service")
        assert (await sender.send(refuse.form("/erase"))).status == 409
        assert f"{session.path}/people/{stays}/erase" not in (await sender.get(session.path)).links_to
    assert (await world.sender.partner.get(f"/intake/entries/{stays}"))["person"]["name"] == "Concerned"


async def test_another_organisation_sees_no_session(world: World) -> None:
    other = await world.organisation("Other post", "border_post", ["intake:send"])
    async with walker(world, world.sender, StaffRole.SENDER) as sender, walker(world, other, StaffRole.SENDER) as them:
        session = await begun(sender)
        session = await add(sender, session, sex="male")
        [entry] = await entries(session)
        for path in (
            session.path,
            f"{session.path}/people",
            f"{session.path}/people/{entry}/erase",
            f"{LIST}/{uuid4()}",
        ):
            assert (await them.get(path)).status == 404
        own = await begun(them)
        mine = (await them.get(f"{own.path}/people")).form("/people")
        mine.action = f"{session.path}/people"
        assert (await them.send(mine, sex="male")).status == 404
        assert "No session yet" not in (await them.get(LIST)).text
    async with walker(world, world.coordinator, StaffRole.COORDINATOR) as coordinator:
        assert (await coordinator.get(LIST)).status == 403


@pytest.mark.browser
async def test_a_session_on_a_small_phone(world: World, browser: Browser) -> None:
    cookie = await signed_in(world.made, world.sender, StaffRole.SENDER)
    async with at_browser(browser, world.made, cookie, width=320) as page:
        await page.goto(f"{LIST}/new")
        await page.get_by_label("Province").select_option("KH-1")
        await page.get_by_role("button", name="Begin").click()
        await page.get_by_role("link", name="The next person, alone").click()
        await page.get_by_text("12–17 years").click()
        await page.get_by_role("button", name="Save this person").click()
        assert await page.get_by_role("link", name="Person 1", exact=True).is_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 320


# --- rules ------------------------------------------------------------------------------------------------------------


async def test_rules_are_read_with_their_history_by_an_administrator(world: World) -> None:
    await world.house("Lotus House")
    later = (datetime.now(UTC) + timedelta(days=400)).isoformat()
    rule = {"from_country": "KH", "to_country": "TH", "categories": ["health"], "legal_basis": "Memorandum, article 4"}
    made = (await world.admin.post("/intake/rules/corridors", rule))["id"]
    await world.admin.post(f"/intake/rules/corridors/{made}/end", {})
    await world.admin.post("/intake/rules/corridors", {**rule, "valid_from": later, "legal_basis": "<b>New</b> basis"})
    async with walker(world, world.coordinator, StaffRole.ADMINISTRATOR) as administrator:
        needs = await administrator.get(RULES)
        assert "Shelter · after they accepted" in needs.text
        assert "in force" in needs.text
        agreements = await administrator.get(f"{RULES}?kind=agreements")
        assert "Border post → Lotus House" in agreements.text
        corridors = await administrator.get(f"{RULES}?kind=corridors")
        assert "Cambodia → Thailand" in corridors.text
        assert "Memorandum, article 4" in corridors.text
        assert "ended" in corridors.text
        assert "not yet in force" in corridors.text
        assert "<b>New</b>" not in corridors.html
        assert str(datetime.now(UTC).year) in corridors.text
        assert not [form for form in corridors.forms if "/rules" in form.action]
        assert (await administrator.get(f"{RULES}?kind=nothing")).status == 404


@pytest.mark.parametrize("role", [StaffRole.SENDER, StaffRole.RECEIVER, StaffRole.COORDINATOR])
async def test_nobody_else_reads_them(world: World, role: StaffRole) -> None:
    async with walker(world, world.coordinator, role) as worker:
        assert (await worker.get(RULES)).status == 403
    async with walker(world, None) as stranger:
        assert (await stranger.get(RULES)).path == "/referral/pages/sign-in"
