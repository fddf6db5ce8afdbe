"""A part of what may be shared is taken back at a page, without a script."""

from __future__ import annotations

import httpx

from schemas.rights import StaffRole
from spean.web.visitor import COOKIE
from tests.browser.meeting import ENTRIES, TALK, draft_in, path_of, talked
from tests.browser.test_suspended_pages import suspended
from tests.browser.visiting import Walker, walker
from tests.builders import World


async def _last(world: World, entry: str) -> dict[str, object]:
    async with world.made.services["intake"].db.transaction("test") as tx:
        row = await tx.conn.fetchrow("select * from consent where entry = $1 order by version desc limit 1", entry)
    return dict(row)


async def test_each_part_is_listed_and_taken_back_by_itself(world: World) -> None:
    entry, house = await world.ready_person(), await world.house("Lotus House")
    async with walker(world, world.sender, StaffRole.SENDER) as worker:
        page = await worker.get(f"{ENTRIES}/{entry}")
        page = await worker.click(page, "Take back only a part of sharing")
        for said in ("Health", "To follow up later", "Shelter in every country", "Border post (us)", "Lotus House"):
            assert said in page.text, said
        missing = await worker.send(page.form("/stop/part"))
        assert (missing.status, "Answer this question." in missing.text) == (422, True)
        done = await worker.send(page.form("/stop/part"), part="category:health")
        assert (done.path, "Taken back. It holds" in done.text) == (page.path, True)
        assert 'value="category:health"' not in done.html
        assert "health" not in (await _last(world, entry))["categories"]
        done = await worker.send(done.form("/stop/part"), part=f"recipient:{house.id}")
        assert f"recipient:{house.id}" not in done.html, "it is excluded now"
        done = await worker.send(done.form("/stop/part"), part=f"recipient:{world.sender.id}")
        assert "Border post (us)" not in done.text
        done = await worker.send(done.form("/stop/part"), part="class:shelter")
        assert "Nothing is shared now" in done.text, "the last one was all of it"
        assert (await _last(world, entry))["state"] == "withdrawn"
        wrong = await worker.send(page.form("/stop/part"), part="class:a house of next year")
        assert wrong.status == 422


async def test_a_group_may_be_those_that_take_in_girls(world: World) -> None:
    entry = await world.entry()
    answers = path_of(world, whom={"classes": ["shelter KH girls"]})
    async with walker(world, world.sender, StaffRole.SENDER) as worker:
        check = await talked(worker, entry, answers)
        whom = await worker.get(f"{TALK}/{draft_in(check)}/whom")
        assert "Shelters in Cambodia that take in girls" in whom.text
        assert (await worker.send(whom.form("/whom"), classes=["shelter KH everybody"])).status == 422
        await worker.send(whom.form("/whom"), classes=["shelter KH girls"])
        check = await worker.get(check.path)
        assert "Shelters in Cambodia that take in girls" in check.text
        await worker.send(check.form("/check"))
        page = await worker.get(f"{ENTRIES}/{entry}/stop/part")
        done = await worker.send(page.form("/stop/part"), part="class:shelter KH girls")
        assert "Nothing is shared now" in done.text
    assert (await _last(world, entry))["state"] == "withdrawn"


async def test_somebody_who_is_shut_out_takes_back_a_part_too(world: World) -> None:
    entry = await world.ready_person()
    someone = await suspended(world, StaffRole.SENDER)
    async with httpx.AsyncClient(timeout=15) as client:
        worker = Walker(world.made, client, {COOKIE: ((await someone.signs_in()).cookie, "/")})
        page = await worker.get(f"{ENTRIES}/{entry}/stop/sharing")
        never = await worker.click(page, "Name somebody who must never be told")
        kept = await worker.send(never.form("/never/new"), never=["organisation_type:embassy"])
        assert (kept.path, "organisation_type:embassy" in kept.html) == (never.path, False), "named already"
        page = await worker.click(page, "Only a part of it: one organisation, one kind of information, one purpose")
        assert "Test Person" not in page.html, "nothing sealed is opened"
        done = await worker.send(page.form("/stop/part"), part="purpose:follow_up")
        assert (done.status, "Taken back. It holds" in done.text) == (200, True)
        assert "To follow up later" not in done.text
    assert (await _last(world, entry))["purposes"] == ["referral", "service_provision"]
