"""Two who want the same, or opposite things, at the same moment: one of them wins, the other hears it plainly, and the
places are counted right."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.cli.client import ApiProblem, Partner
from tests.builders import Organisation, eventually
from tests.integration.town import Town

RIVALS = 50


async def _code(request: Any) -> str:
    """`done`, or the code of the refusal."""
    try:
        await request
    except ApiProblem as problem:
        return problem.code
    return "done"


async def _inbox(house: Organisation, place: str, many: int) -> list[str]:
    async def look() -> list[str] | None:
        offers = (await house.partner.get("/referral/offers?state=sent&state=seen"))["offers"]
        found = [one["id"] for one in offers if one["place"] == place]
        return found if len(found) == many else None

    offers: list[str] = await eventually(look, within_s=60)
    return offers


async def test_fifty_accept_the_last_bed_and_one_gets_it(town: Town) -> None:
    await town.full(town.first)
    await town.full(town.second)
    house = await town.organisation("One bed", "shelter", ["referral:receive"])
    place = await town.join(house, 1)
    for giver, taker in ((town.sender.id, house.id), (house.id, town.sender.id)):
        agreement = {"sender": giver, "recipient": taker, "categories": ["functional_needs"], "purposes": ["referral"]}
        await town.admin.post("/intake/rules/agreements", agreement)
    people = [await town.ready_person() for _ in range(RIVALS)]
    handoffs = await asyncio.gather(*(town.handoff(entry) for entry in people))
    offers = await _inbox(house, place, RIVALS)
    results = Counter(
        await asyncio.gather(*(_code(_patient(house.partner, f"/referral/offers/{one}/accept")) for one in offers))
    )
    assert results == {"done": 1, "place-gone": RIVALS - 1}
    shown = await town.place(house)
    assert (shown["held"], shown["free"]) == (1, 0)
    async with town.records() as tx:
        held = await tx.conn.fetchval("select sum(places) from hold where place = $1 and state = 'held'", UUID(place))
        states = await tx.conn.fetch("select state from referral where id = any($1)", [UUID(one) for one in handoffs])
    assert held == 1
    assert sum(row["state"] in {"accepted", "ready"} for row in states) == 1


async def _patient(partner: Partner, path: str) -> None:
    """As a partner should: a service that says it is busy is asked again with the same key."""
    key = path[-60:].replace("/", "-")
    while True:
        try:
            await partner.post(path, key=key)
        except ApiProblem as problem:
            if problem.status != 503:
                raise
        else:
            return


async def test_the_database_itself_refuses_to_overbook(town: Town) -> None:
    place = UUID(town.places[town.first.id])
    for change in ("held = 4", "staying = 4", "outside = 4", "held = 2, staying = 2", "usable = -1", "held = -1"):
        async with town.records() as tx:
            with pytest.raises(asyncpg.CheckViolationError):
                await tx.conn.execute(f"update place set {change} where id = $1", place)
            with pytest.raises(asyncpg.InFailedSQLTransactionError):
                await tx.conn.execute("select 1")
    async with town.records() as tx:
        assert await tx.conn.execute("update place set held = 3 where id = $1", place) == "UPDATE 1"
        await tx.conn.execute("update place set held = 0 where id = $1", place)


@pytest.mark.parametrize("delay_ms", [0, 20, 60, 120, 200])
async def test_acceptance_against_expiry_has_one_winner(town: Town, delay_ms: int) -> None:
    """The house accepts at about the moment at which the clock ends its offer."""
    handoff = await town.handoff(await town.ready_person())
    offer = (await town.offer(town.first))["id"]
    async with town.records() as tx:
        soon = f"now() + interval '{delay_ms} ms'"
        await tx.conn.execute(f"update offer set answer_by = {soon} where id = $1", UUID(offer))
        await tx.conn.execute(f"update referral set step_at = {soon} where id = $1", UUID(handoff))
        await tx.conn.execute(f"update due set at = {soon} where kind = 'referral' and subject = $1", UUID(handoff))
    result = await _code(town.first.partner.post(f"/referral/offers/{offer}/accept"))

    async def settled() -> Any:
        row = await town.offer_row(offer)
        return row if row["state"] in {"accepted", "expired"} else None

    row = await eventually(settled)
    assert (result, row["state"]) in {("done", "accepted"), ("no-longer-available", "expired")}
    accepted = row["state"] == "accepted"
    assert (await town.place(town.first))["held"] == int(accepted)
    assert await town.said(handoff, "offer.accepted") == int(accepted)
    assert await town.said(handoff, "offer.expired") == int(not accepted)


@pytest.mark.parametrize("round_", range(4))
async def test_acceptance_against_cancelling_leaves_no_place_behind(town: Town, round_: int) -> None:
    handoff = await town.handoff(await town.ready_person())
    offer = (await town.offer(town.first))["id"]
    accept = _code(town.first.partner.post(f"/referral/offers/{offer}/accept"))
    cancel = _code(town.sender.partner.post(f"/intake/handoffs/{handoff}/cancel"))
    accepted, cancelled = await asyncio.gather(*((accept, cancel) if round_ % 2 else (cancel, accept)))
    assert {accepted, cancelled} <= {"done", "no-longer-available"}
    await town.network_state(handoff, "cancelled")
    assert (await town.offer_row(offer))["state"] == "withdrawn"
    assert (await town.place(town.first))["held"] == 0
    late = await _code(town.first.partner.post(f"/referral/offers/{offer}/accept", key="late-" + offer))
    assert late == "no-longer-available"


async def test_the_same_command_many_times_at_once_is_done_once(town: Town) -> None:
    handoff = await town.handoff(await town.ready_person())
    offer = (await town.offer(town.first))["id"]
    path, key = f"/referral/offers/{offer}/accept", f"once-{offer}"
    results = Counter(await asyncio.gather(*(_code(town.first.partner.post(path, key=key)) for _ in range(12))))
    assert results["done"] >= 1
    assert set(results) <= {"done", "key-running"}
    assert (await town.place(town.first))["held"] == 1
    assert await town.said(handoff, "offer.accepted") == 1


async def test_a_house_suspended_while_it_accepts_keeps_nothing_unseen(town: Town) -> None:
    house = await town.organisation("Hasty", "shelter", ["referral:receive"])
    place = await town.join(house, 9)
    for giver, taker in ((town.sender.id, house.id), (house.id, town.sender.id)):
        agreement = {"sender": giver, "recipient": taker, "categories": ["functional_needs"], "purposes": ["referral"]}
        await town.admin.post("/intake/rules/agreements", agreement)
    handoff = await town.handoff(await town.ready_person())
    (offer,) = await _inbox(house, place, 1)
    accepted, _ = await asyncio.gather(
        _code(house.partner.post(f"/referral/offers/{offer}/accept")),
        town.admin.post(f"/referral/organisations/{house.id}/suspend"),
    )
    row = await town.offer_row(offer)
    if accepted == "done":
        assert row["state"] == "accepted"
        await town.escalation(handoff, reason="organisation-suspended", state="on-hold")
    else:
        assert (accepted in {"suspended", "no-longer-available"}, row["state"]) == (True, "withdrawn")
        await town.offer(town.first)
