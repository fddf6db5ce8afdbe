"""What stands in for consent, counted on the coordinator's dashboard: by the holder, so that nobody can be told from it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from schemas.rights import StaffRole
from services.cli.client import ApiProblem
from services.intake.bases.counting import said
from tests.browser.visiting import walker
from tests.builders import World
from tests.integration.holder import database

WHY = "She was found unconscious, and nobody knows her."


def test_a_count_is_said_in_whole_steps_only() -> None:
    assert [said(count) for count in (0, 1, 4, 5, 9, 10, 14, 15)] == [None, None, None, 5, 5, 10, 10, 15]


async def somebody(world: World, kind: str) -> str:
    """With a hand-off that nobody can take, and something of this kind in force at once."""
    entry = await world.ready_person()
    await world.state(await world.handoff(entry, service_type="representation"), "unroutable")
    body = {
        "kind": kind, "justification": WHY, "categories": ["functional_needs"], "at_once": kind == "court_order",
        "recipients": {"organisations": [world.sender.id]}, "acting_for": "dara",
    }  # fmt: skip
    await world.sender.partner.post(f"/intake/entries/{entry}/bases", body)
    return entry


async def since_yesterday(world: World, *entries: str, lapsed: bool = False) -> None:
    """As if it had been marked a day before; `lapsed`: and nobody had confirmed it by the end of that day."""
    async with database(world) as db, db.transaction():
        ids = list(entries)
        await db.execute(
            """
            update handoff set requested_at = requested_at - interval '1 day'
            where id in (select handoff from handoff_member where entry = any($1::text[]::uuid[]))
            """,
            ids,
        )
        await db.execute(
            """
            update basis set proposed_at = proposed_at - interval '1 day', began_at = began_at - interval '1 day',
                state = case when $2 then 'lapsed' else state end,
                over_at = case when $2 then date_trunc('day', now(), 'UTC') - interval '1 second' end
            where entry = any($1::text[]::uuid[])
            """,
            ids, lapsed,
        )  # fmt: skip


async def counted(world: World) -> dict[str, tuple[int | None, int | None]]:
    found: dict[str, Any] = await world.coordinator.partner.get("/referral/bases")
    assert found["silent"] == []
    assert {one["network"] for one in found["counts"]} == {world.network}
    return {one["kind"]: (one["in_force"], one["lapsed"]) for one in found["counts"]}


async def test_the_coordinator_sees_how_many_and_nobody_can_be_told_from_it(world: World) -> None:
    ill = await asyncio.gather(*(somebody(world, "vital_interest") for _ in range(9)))
    ordered = await asyncio.gather(*(somebody(world, "court_order") for _ in range(4)))
    assert set((await counted(world)).values()) == {(None, None)}, "today's are counted from tomorrow on"
    await since_yesterday(world, *ill, *ordered)
    first = await counted(world)
    assert first.pop("vital_interest") == (5, None)
    assert set(first.values()) == {(None, None)}, "four are too few, and so is nobody"
    # Somebody who knows of one more person, and asks before and after, learns nothing: neither today, nor tomorrow.
    before = await world.coordinator.partner.get("/referral/bases")
    await somebody(world, "vital_interest")
    assert await world.coordinator.partner.get("/referral/bases") == before
    await since_yesterday(world, await somebody(world, "emergency_profile"))
    assert await world.coordinator.partner.get("/referral/bases") == before
    # One who has two of a kind is one.
    for _ in range(2):
        body = {"kind": "vital_interest", "justification": WHY, "recipients": {"organisations": [world.sender.id]}}
        await world.sender.partner.post(f"/intake/entries/{ill[0]}/bases", body)
    await since_yesterday(world, ill[0])
    assert (await counted(world))["vital_interest"] == (5, None)
    # What lapsed because nobody confirmed it, is not in force any more.
    await since_yesterday(world, *ill[:6], lapsed=True)
    assert (await counted(world))["vital_interest"] == (None, 5)


async def test_whose_network_it_is_not_sees_nothing_of_it(world: World) -> None:
    other = await world.organisation("Another desk", "coordination", ["referral:coordinate"])
    await world.admin.post(f"/referral/networks/{world.network}/members", {"organisation": other.id})
    assert await other.partner.get("/referral/bases") == {"counts": [], "silent": []}
    with pytest.raises(ApiProblem, match="scope"):
        await world.sender.partner.get("/referral/bases")


async def test_the_dashboard_has_it(world: World) -> None:
    async with walker(world, world.coordinator, StaffRole.COORDINATOR) as coordinator:
        page = await coordinator.get("/notify/pages/dashboard")
        page = await coordinator.click(page, "How many people something other than their own consent stands in for")
        assert page.headings[0] == "In place of consent"
        assert "Vital interest <5 <5" in page.text
        part = await coordinator.get("/referral/pages/bases/now")
        assert "Order of a court <5 <5" in part.text
    async with walker(world, world.coordinator, StaffRole.ADMINISTRATOR) as administrator:
        assert "/referral/pages/bases" not in (await administrator.get("/notify/pages/dashboard")).html
