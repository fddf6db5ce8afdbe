"""Whose a referral is: a suspension that is lifted, and a network that gets another coordinator."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from services.cli.client import ApiProblem
from tests.builders import Organisation, eventually
from tests.integration.holder import database, refused
from tests.integration.town import Town

# --- reinstating ------------------------------------------------------------------------------------------------------


async def _house(town: Town) -> Organisation:
    """A third house that a test may suspend, preferred to the others."""
    made = await town.organisation("Third house", "shelter", ["referral:receive", "intake:send", "notify:watch"])
    await town.join(made, 9)
    for giver, taker in ((town.sender.id, made.id), (made.id, town.sender.id)):
        agreement = {
            "sender": giver, "recipient": taker, "categories": ["functional_needs", "identity", "placement"],
            "purposes": ["referral", "service_provision", "follow_up"],
        }  # fmt: skip
        await town.admin.post("/intake/rules/agreements", agreement)
    return made


async def _suspended(town: Town, *, minutes: int) -> Organisation:
    """A house that was suspended so long ago."""
    house = await _house(town)
    await town.admin.post(f"/referral/organisations/{house.id}/suspend")
    await _since(town, house, minutes)
    return house


async def _since(town: Town, house: Organisation, minutes: int) -> None:
    async with town.records() as tx:
        await tx.conn.execute(
            "update organisation set suspended_at = now() - make_interval(mins => $2) where id = $1",
            UUID(house.id), minutes,
        )  # fmt: skip


def _path(house: Organisation) -> str:
    return f"/referral/organisations/{house.id}/reinstate"


async def test_a_reinstated_house_signs_in_everywhere_and_is_asked_again(town: Town) -> None:
    house = await _house(town)
    handoff, _ = await town.ready(house)
    await town.admin.post(f"/referral/organisations/{house.id}/suspend")
    for service in ("intake", "notify"):

        async def shut(service: str = service) -> bool:
            async with database(town, service) as db:
                return bool(await db.fetchval("select count(*) from suspended where organisation = $1", house.id))

        await eventually(shut)
    await _since(town, house, 7)
    assert (await town.admin.post(_path(house)))["status"] == "active"
    house.partner._until = 0.0  # what it had before is over by now: it signs in anew
    for path in ("/referral/offers", "/intake/handoffs", "/notify/overview"):

        async def open_(path: str = path) -> bool:
            try:
                await house.partner.get(path)
            except ApiProblem:
                return False
            return True

        await eventually(open_)
    kept = await town.escalation(handoff, reason="organisation-suspended")
    assert kept["state"] == "on-hold", "what went to a coordinator stays there"
    await town.handoff(await town.ready_person())
    assert (await town.offer(house))["content"]["readable"] is True


async def test_nobody_is_reinstated_while_a_token_from_before_may_live(town: Town) -> None:
    house = await _house(town)
    await house.partner.get("/referral/offers")
    await town.admin.post(f"/referral/organisations/{house.id}/suspend")
    for minutes in (0, 5):
        await _since(town, house, minutes)
        with refused("suspended-lately"):
            await town.admin.post(_path(house))
    with refused("suspended"):
        await house.partner.get("/referral/offers")
    assert await town.said(house.id, "organisation.reinstated") == 0
    with refused("not-found"):
        await town.admin.post(f"/referral/organisations/{uuid4()}/reinstate")


async def test_reinstating_twice_says_it_once_and_it_may_be_suspended_again(town: Town) -> None:
    house, key = await _suspended(town, minutes=7), str(uuid4())
    first = await town.admin.post(_path(house), key=key)
    assert await town.admin.post(_path(house), key=key) == first
    assert await town.admin.post(_path(house)) == first
    with refused("key-reused"):
        await town.admin.post(f"/referral/organisations/{uuid4()}/reinstate", key=key)
    assert await town.said(house.id, "organisation.reinstated") == 1
    assert (await town.admin.post(f"/referral/organisations/{house.id}/suspend"))["status"] == "suspended"
    with refused("suspended-lately"):
        await town.admin.post(_path(house))
    assert await town.said(house.id, "organisation.suspended") == 2


async def test_reinstating_an_older_version_changes_nothing(town: Town) -> None:
    house = await _suspended(town, minutes=7)
    with refused("version"):
        await town.admin.post(_path(house), headers={"If-Match": '"v1"'})
    assert await town.said(house.id, "organisation.reinstated") == 0
    assert (await town.admin.post(_path(house), headers={"If-Match": '"v2"'}))["version"] == 3


# --- another coordinator ----------------------------------------------------------------------------------------------


async def _desk(town: Town, *, member: bool = True) -> Organisation:
    made = await town.organisation("Second desk", "coordination", ["referral:coordinate", "notify:watch"])
    if member:
        await town.admin.post(f"/referral/networks/{town.network}/members", {"organisation": made.id})
    return made


async def _name(town: Town, desk: Organisation, **more: Any) -> Any:
    path = f"/referral/networks/{town.network}/coordinator"
    return await town.admin.post(path, {"organisation": desk.id}, **more)


async def _nobody_left(town: Town) -> str:
    """A referral that needs the coordinator: nobody can nurse here."""
    for house in (town.first, town.second):
        await town.full(house)
    handoff = await town.handoff(await town.ready_person())
    await town.escalation(handoff, reason="no-candidate")
    return handoff


async def test_another_coordinator_has_everything_that_is_open_and_is_told(town: Town) -> None:
    stays, offer = await town.ready(town.first)
    handoff = await _nobody_left(town)
    await town.coordinator.partner.post(f"/referral/escalations/{handoff}/take")
    old, new = town.coordinator, await _desk(town)
    named = await _name(town, new)
    assert (named["coordinator"], named["version"]) == (new.id, 2)
    (found,) = (await new.partner.get("/referral/escalations"))["escalations"]
    assert (found["referral"], found["taken_by"]) == (handoff, None)
    with refused("not-found"):
        await old.partner.get(f"/referral/escalations/{handoff}")
    with refused("not-found"):
        await old.partner.post(f"/referral/escalations/{handoff}/take")
    await new.partner.post(f"/referral/escalations/{handoff}/take")
    assert str((await town.offer_row(offer))["coordinator"]) == new.id
    assert [await town.said(one, "referral.reassigned") for one in (stays, handoff)] == [1, 1]
    assert [await town.said(one, "referral.escalated") for one in (stays, handoff)] == [0, 2]

    async def seen(desk: Organisation) -> tuple[dict[str, int], int]:
        shown = await desk.partner.get(f"/notify/overview?network={town.network}")
        states = {row["state"]: row["count"] for row in shown["referrals"]}
        return states, sum(row["usable"] for row in shown["capacity"])

    async def moved() -> bool:
        return (await seen(new), await seen(old)) == (({"ready": 1, "unroutable": 1}, 5), ({}, 0))

    await eventually(moved)

    async def noticed() -> bool:
        async with database(town, "notify") as db:
            return bool(await db.fetchval("select count(*) from delivery where organisation = $1", new.id))

    await eventually(noticed)
    town.coordinator = new
    after = await town.handoff(await town.ready_person())
    await town.escalation(after, reason="no-candidate")


async def test_a_coordinator_is_suspended_only_when_another_is_named(town: Town) -> None:
    first, second = await _desk(town), await _desk(town)
    await _name(town, first)
    path = f"/referral/organisations/{first.id}/suspend"
    with refused("coordinates-network"):
        await town.admin.post(path)
    assert await town.said(first.id, "organisation.suspended") == 0
    await first.partner.get("/referral/escalations")
    await _name(town, second)
    assert (await town.admin.post(path))["status"] == "suspended"
    with refused("coordinator-unfit"):
        await _name(town, first)
    with refused("coordinator-unfit"):
        await town.admin.post("/referral/networks", {"name": "Nobody's", "coordinator": first.id})


async def test_only_a_member_coordinates_a_network_that_there_is(town: Town) -> None:
    stranger = await _desk(town, member=False)
    with refused("coordinator-unfit"):
        await _name(town, stranger)
    for network, organisation in ((uuid4(), stranger.id), (town.network, uuid4())):
        with refused("not-found"):
            await town.admin.post(f"/referral/networks/{network}/coordinator", {"organisation": str(organisation)})
    async with town.records() as tx:
        kept = await tx.conn.fetchval("select coordinator from network where id = $1", UUID(town.network))
    assert str(kept) == town.coordinator.id


async def test_naming_the_same_coordinator_twice_moves_nothing_more(town: Town) -> None:
    handoff, desk, key = await _nobody_left(town), await _desk(town), str(uuid4())
    first = await _name(town, desk, key=key)
    assert await _name(town, desk, key=key) == first
    assert await _name(town, desk) == first
    with refused("key-reused"):
        await _name(town, town.coordinator, key=key)
    assert await town.said(handoff, "referral.reassigned") == 1


async def test_naming_a_coordinator_of_an_older_version_changes_nothing(town: Town) -> None:
    handoff, desk = await _nobody_left(town), await _desk(town)
    with refused("version"):
        await _name(town, desk, headers={"If-Match": '"v7"'})
    assert await town.said(handoff, "referral.reassigned") == 0
    assert (await _name(town, desk, headers={"If-Match": '"v1"'}))["version"] == 2
