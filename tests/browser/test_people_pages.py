"""The administrator's pages of people: somebody new is registered, invited, changed; and all of it can be read again."""

from __future__ import annotations

import re
from uuid import UUID, uuid4

from schemas.rights import StaffRole
from services.referral.people import store
from tests.browser.visiting import Form, Screen, Walker, walker
from tests.builders import World
from tests.integration.staff import alive, hired, member

PEOPLE = "/referral/pages/people"
ADMINISTRATOR = StaffRole.ADMINISTRATOR


async def register(someone: Walker, at: str, called: str, **other: str | list[str]) -> Screen:
    answers: dict[str, str | list[str]] = {
        "organisation": at, "name": "Sophea Chan", "sign_in_name": called, "language": "km", "roles": ["receiver"],
    }  # fmt: skip
    page = await someone.get(f"{PEOPLE}/new")
    return await someone.send(page.form("/new"), **{**answers, **other})


async def test_somebody_new_is_registered_and_invited(world: World) -> None:
    name = f"Sophea.{uuid4().hex[:8]}"
    async with walker(world, world.coordinator, ADMINISTRATOR) as someone:
        page = await register(someone, world.sender.id, name)
        assert (page.status, page.headings[0]) == (200, "Sophea Chan")
        assert "Cannot sign in yet" in page.text
        page = await someone.send(page.form("/invite"))
        link = re.search(rf"{re.escape(world.made.url)}/referral/pages/set-up/[\w-]{{43}}", page.text)
        assert link is not None
        async with walker(world, None) as stranger:
            assert (await stranger.get(link.group(0))).headings[0] == "Welcome, Sophea Chan"
        page = await someone.get(f"{PEOPLE}?organisation={world.sender.id}")
        assert name.casefold() in page.text
        page = await someone.click(page, "History")
        assert "a link to set up was made" in page.text
        assert "Made Up" in page.text, "who did it"


async def test_a_second_click_makes_no_other_link(world: World) -> None:
    new = await hired(world.made, world.sender.id)
    async with walker(world, world.coordinator, ADMINISTRATOR) as someone:
        form = (await someone.get(f"{PEOPLE}/{new.id}")).form("/invite")
        links = [
            re.findall(r"/pages/set-up/[\w-]{43}", page.text) for page in [await someone.send(form) for _ in range(2)]
        ]
        assert (len(links[0]), links[0]) == (1, links[1])
        page = await someone.get(f"{PEOPLE}/{new.id}")
        assert page.text.count("a link to set up was made") == 1
        other = await someone.send(page.form("/invite"))
        assert links[0][0] not in other.text, "another form, another link"
        async with walker(world, None) as stranger:
            assert (await stranger.get(f"/referral{links[0][0]}")).status == 410, "the one before is replaced"
        # What is sent once more after that is what it was: it opens nothing.
        assert links[0][0] in (await someone.send(form)).text
        async with walker(world, None) as stranger:
            assert (await stranger.get(f"/referral{links[0][0]}")).status == 410


async def test_a_second_click_registers_nobody_else(world: World) -> None:
    name = f"twice.{uuid4().hex[:8]}"
    async with walker(world, world.coordinator, ADMINISTRATOR) as someone:
        page = await someone.get(f"{PEOPLE}/new")
        answers = {
            "organisation": world.sender.id,
            "name": "Twice",
            "sign_in_name": name,
            "language": "en",
            "roles": "sender",
        }
        once = await someone.send(page.form("/new"), **answers)
        twice = await someone.send(page.form("/new"), **answers)
        assert once.path == twice.path
        page = await register(someone, world.sender.id, name)
        assert (page.status, "Somebody has this sign-in name already" in page.text) == (422, True)
        assert page.form("/new").get("sign_in_name") == [name], "what was typed is kept"


async def test_what_cannot_be_is_said_at_its_field(world: World) -> None:
    async with walker(world, world.coordinator, ADMINISTRATOR) as someone:
        for answers, field in (
            ({"name": ""}, "name"), ({"roles": []}, "roles"), ({"sign_in_name": "ab"}, "sign_in_name"),
            ({"sign_in_name": "a b c"}, "sign_in_name"), ({"organisation": ""}, "organisation"),
            ({"language": "tlh"}, "language"), ({"roles": ["king"]}, "roles"), ({"roles": ["administrator"]}, "roles"),
            ({"name": "x" * 101}, "name"), ({"organisation": "nowhere"}, "organisation"),
        ):  # fmt: skip
            page = await register(someone, world.sender.id, f"nobody.{uuid4().hex[:8]}", **answers)  # type: ignore[arg-type]
            assert (page.status, f"{field}-error" in page.ids) == (422, True), answers
        page = await register(someone, str(uuid4()), f"nobody.{uuid4().hex[:8]}")
        assert page.status == 404


def agreeing(page: Screen) -> dict[str, Form]:
    """The forms that say yes, by where they go."""
    return {one.action: one for one in page.forms if one.action.endswith("/approve")}


async def test_whose_work_is_changed_on_the_page_is_signed_out(world: World) -> None:
    who = await member(world.made, world.sender.id, StaffRole.SENDER)
    opened = await who.signs_in()
    async with walker(world, world.coordinator, ADMINISTRATOR) as someone:
        page = await someone.get(f"{PEOPLE}/{who.id}")
        form = page.form(str(who.id))
        assert form.get("roles") == ["sender"]
        page = await someone.send(form, roles=["receiver", "sender"])
        assert "Saved." in page.text
        assert "Waits until somebody else has agreed" in page.text
        assert await alive(who.desk.db, opened.cookie), "nothing has changed yet"
        page = await someone.click(page, "Access")
        # An administrator sees what waits everywhere: here, what other tests have asked for, too.
        theirs = agreeing(page)
        async with walker(world, world.coordinator, ADMINISTRATOR) as other:
            page = await other.get("/referral/pages/approvals")
            assert "Answers requests and keeps the places" in page.text
            (agree,) = [form for action, form in agreeing(page).items() if action not in theirs]
            assert "Agreed. It counts from now on." in (await other.send(agree)).text
        page = await someone.get(f"{PEOPLE}/{who.id}")
        assert not await alive(who.desk.db, opened.cookie)
        assert "Answers requests and keeps the places" in page.text
        stale = await someone.send(form, name="Other")
        assert (stale.status, "It has changed since you looked at it" in stale.text) == (412, True)
        page = await someone.send(page.form(str(who.id)), status="left")
        assert "Has left for good" in page.text
        assert [one for one in page.forms if one.action.endswith(str(who.id))] == []
    async with who.desk.db.transaction("test") as tx:
        assert (await store.get(tx, who.id)).status == "left"


async def test_people_are_for_administrators_only(world: World) -> None:
    person = await hired(world.made, world.sender.id)
    for role in set(StaffRole) - {ADMINISTRATOR}:
        async with walker(world, world.coordinator, role) as someone:
            for path in (PEOPLE, f"{PEOPLE}/new", f"{PEOPLE}/history", f"{PEOPLE}/{person.id}"):
                assert (await someone.get(path)).status == 403, (role, path)
    async with walker(world, None) as stranger:
        assert (await stranger.get(PEOPLE)).path == "/referral/pages/sign-in"
    async with walker(world, world.coordinator, ADMINISTRATOR) as someone:
        assert (await someone.get(f"{PEOPLE}/{UUID(int=7)}")).status == 404
        assert (await someone.get(f"{PEOPLE}/history?before=x")).status == 200


async def test_a_name_with_a_script_in_it_is_shown_as_it_is_written(world: World) -> None:
    script = "<script>alert(1)</script>"
    async with walker(world, world.coordinator, ADMINISTRATOR) as someone:
        page = await register(someone, world.sender.id, f"script.{uuid4().hex[:8]}", name=script)
        assert page.headings[0] == script
        assert script not in page.html
        assert script not in (await someone.get(PEOPLE)).html
