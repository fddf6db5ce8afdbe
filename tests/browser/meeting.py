"""Somebody is met and spoken with, through the pages: the steps that several tests take."""

from __future__ import annotations

import re
from uuid import UUID

from services.referral.sessions import handlers as sessions
from spean.web.visitor import COOKIE
from tests.browser.visiting import Screen, Walker
from tests.builders import World
from tests.integration import staff

NEW, ENTRIES, TALK = "/intake/pages/entries/new", "/intake/pages/entries", "/intake/pages/consent"
WHERE = {"channel": "border_post", "area": "KH-1"}
NEEDS: dict[str, str | list[str]] = {"age_years": "24", "sex": "female", "languages": ["khm"], "needs": ["interpreter"]}
Answer = dict[str, str | list[str]]


async def begun(worker: Walker) -> Screen:
    """The second step of a new entry."""
    return await worker.send((await worker.get(NEW)).form("/new"), **WHERE)


async def at_check(worker: Walker, **more: str | list[str]) -> Screen:
    return await worker.send((await begun(worker)).form("/needs"), **{**NEEDS, **more})


def draft_in(screen: Screen) -> str:
    return screen.path.split("/")[4]


async def another_session(world: World, worker: Walker) -> None:
    """The worker's session ends, and they sign in again."""
    desk = staff.desk_of(world.made)
    visitor = await sessions.find_visitor(desk.db)(worker.cookies[COOKIE][0])
    assert visitor is not None
    async with desk.db.transaction("test.end") as tx:
        await tx.conn.execute("delete from session where person = $1", visitor.person)
    assert (await worker.get(NEW)).path.startswith("/referral/pages/sign-in"), "the session has ended"
    async with desk.db.transaction("test.again") as tx:
        opened = await sessions.open_session(tx, desk, visitor.person, "password")
    worker.cookies[COOKIE] = (opened.cookie, "/")


async def drafts(world: World) -> list[dict[str, object]]:
    async with world.made.services["intake"].db.transaction("test") as tx:
        rows = await tx.conn.fetch(
            "select * from draft where org = $1 and not over order by begun_at", UUID(world.sender.id)
        )
    return [dict(row) for row in rows]


async def key_is_gone(world: World, draft: str) -> bool:
    keys = world.made.services["intake"].app.state.holder.keys
    return not await keys.keys([UUID(draft)])


def path_of(world: World, **other: Answer) -> dict[str, Answer]:
    """The answers of somebody who agrees to much, with other answers to some steps."""
    answers: dict[str, Answer] = {
        "language": {"language": "khm", "interpreter": "no"}, "notice": {}, "help": {"help": "yes"},
        "share": {"share": "yes"}, "what": {"categories": ["functional_needs", "identity", "placement"]},
        "why": {"purposes": ["referral", "service_provision", "follow_up"]},
        "whom": {"classes": ["shelter KH"], "organisations": [world.sender.id]}, "never": {"never": ["law_enforcement"]},
        "until": {"until": "30-days"}, "guardian": {"guardian": "nobody"}, "how": {"expressed": "spoken"},
    }  # fmt: skip
    return answers | other


async def talk_begun(worker: Walker, entry: str) -> Screen:
    page = await worker.get(f"{ENTRIES}/{entry}")
    return await worker.send(page.form("/consent"))


async def talked(worker: Walker, entry: str, answers: dict[str, Answer], *, to: str = "check") -> Screen:
    """Every step that the pages lead through, up to one of them. What is asked is never answered beforehand."""
    screen = await talk_begun(worker, entry)
    while (step := screen.path.split("/")[5]) != to:
        form = screen.form(f"/{step}")
        assert not re.search(r"\bchecked\b|<option[^>]*selected", screen.html), f"{step} is answered beforehand"
        screen = await worker.send(form, **answers[step])
        assert screen.status == 200, (step, screen.text)
    return screen
