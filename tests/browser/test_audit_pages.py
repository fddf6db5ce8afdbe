"""The officer's page of the audit: asked about by the number of a record that stands in no address, and written down."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from schemas.rights import StaffRole
from tests.browser.visiting import walker
from tests.builders import World, eventually, second_system

AUDIT = "/intake/pages/audit"


async def _told(world: World, entry: str, name: str) -> None:
    """A house of this name has read the packet, and that is written down."""
    handoff, _ = await world.with_packet(await world.house(name), entry)

    async def written() -> Any:
        async with world.made.services["intake"].db.transaction("test.told") as tx:
            read = "select true from disclosure where handoff = $1 and stage = 'packet'"
            return await tx.conn.fetchval(read, UUID(handoff))

    await eventually(written)


async def test_an_officer_reads_who_knew_what_and_that_is_written_down(world: World) -> None:
    entry, api = (
        await world.ready_person(health_notes="asthma"),
        await second_system(world, world.sender, ["intake:rules"]),
    )
    await _told(world, entry, "Told house")
    async with walker(world, world.sender, StaffRole.OFFICER) as officer:
        page = await officer.get("/intake/pages/holds")
        page = await officer.click(page, "Who knew what")
        now = await officer.send(page.form("/audit"), case=entry)
        assert (now.status, now.url.endswith(AUDIT)) == (200, True), "the number stands in no address"
        for said in (
            "Told house",
            "After they accepted",
            "Health",
            "Agreement",
            "They hold one",
            "given · version",
            "you",
        ):
            assert said in now.text, said
        assert "asthma" not in now.text
        then = await officer.send(now.form("/audit"), day="2020-01-02", time="10:00")
        assert "Nobody had been told anything." in then.text
        assert "Told house" not in then.text
    asked = (await api.get(f"/intake/cases/{entry}/audit"))["asked"]
    assert asked[0]["by"] == api.client_id
    assert [one["by"].startswith("person:") for one in asked] == [False, True, True]
    assert datetime.fromisoformat(asked[1]["about"]) == datetime(2020, 1, 2, 3, 0, tzinfo=UTC), "by the page's clock"


async def test_what_cannot_be_asked_is_said_and_not_written_down(world: World) -> None:
    entry, api = await world.ready_person(), await second_system(world, world.sender, ["intake:rules"])
    async with walker(world, world.sender, StaffRole.OFFICER) as officer:
        form = (await officer.get(AUDIT)).form("/audit")
        for wrong, field, said in (
            ({"case": ""}, "case", "Answer this question."), ({"case": "12"}, "case", "not written as it should be"),
            ({"day": "2020-01-02"}, "at", "Write a day and a time."), ({"time": "10:00"}, "at", "Write a day and a time."),
            ({"day": "0001-01-01", "time": "00:00"}, "at", "Write a day and a time."),
            ({"day": "2199-01-02", "time": "10:00"}, "at", "This lies in the future."),
        ):  # fmt: skip
            page = await officer.send(form, **{"case": entry, **wrong})
            assert (page.status, f"{field}-error" in page.ids, said in page.text) == (422, True, True), wrong
    async with walker(world, world.coordinator, StaffRole.OFFICER) as other:
        form = (await other.get(AUDIT)).form("/audit")
        theirs, none = [await other.send(form, case=id_) for id_ in (entry, str(uuid4()))]
        assert (theirs.status, none.status) == (404, 404)
        assert theirs.text == none.text, "another organisation's is as one that there is not"
    assert [one["by"] for one in (await api.get(f"/intake/cases/{entry}/audit"))["asked"]] == [api.client_id]
