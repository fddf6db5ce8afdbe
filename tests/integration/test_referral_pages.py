"""The house's and the coordinator's pages: done, refused, sent twice, stale, another organisation's, typed wrong."""

from __future__ import annotations

from typing import Any

from schemas.rights import StaffRole
from tests.browser.desk import at_desk, plain
from tests.browser.visiting import Screen, signed_in
from tests.builders import Organisation, World, eventually

BOARD, ESCALATIONS = "/referral/pages/places", "/referral/pages/escalations"


async def at_house(world: World, **house: Any) -> tuple[Organisation, str]:
    made = await world.house("House", **house)
    return made, await signed_in(world.made, made, StaffRole.RECEIVER)


async def test_more_tonight(world: World) -> None:
    house, cookie = await at_house(world, places=4)
    place = world.places[house.id]
    count = f"{BOARD}/{place}/count"
    async with at_desk(world.made, cookie) as visit:
        form = (await visit.get(BOARD)).of(count)
        assert (form["more_tonight"], form["usable"]) == ("4", "4")
        done = await visit.send(count, {**form, "more_tonight": "1"})
        assert done.headers["location"] == f"{BOARD}?done=saved"
        assert (await visit.send(count, {**form, "more_tonight": "1"})).status_code == 303  # the same once more
        shown = await house.partner.get(f"/referral/places/{place}")
        assert (shown["free"], shown["version"]) == (1, 2)
        stale = await visit.send(count, {**form, "more_tonight": "3", "key": form["key"][::-1]})
        assert stale.status_code == 412


async def test_numbers_that_do_not_fit_stay_as_they_were_typed(world: World) -> None:
    house, cookie = await at_house(world, places=4)
    count = f"{BOARD}/{world.places[house.id]}/count"
    async with at_desk(world.made, cookie) as visit:
        form = (await visit.get(BOARD)).of(count)
        for typed, said in (("9", "Look at both numbers"), ("two", "Write a whole number"), ("", "Answer this question"),
                            ("-1", "too small"), ("99999", "too large")):  # fmt: skip
            answer = await visit.send(count, {**form, "more_tonight": typed})
            assert answer.status_code == 422
            assert said in plain(answer.text)
            assert Screen(answer).of(count)["more_tonight"] == typed
        assert (await house.partner.get(f"/referral/places/{world.places[house.id]}"))["version"] == 1


async def test_another_houses_board_is_not_there(world: World) -> None:
    house, _ = await at_house(world, places=4)
    _, other = await at_house(world)
    count = f"{BOARD}/{world.places[house.id]}/count"
    async with at_desk(world.made, other) as visit:
        mine = dict((await visit.get(BOARD)).forms[0].values)
        assert (await visit.send(count, {**mine, "more_tonight": "0"})).status_code == 404


async def test_decline_wants_a_reason_of_the_list(world: World) -> None:
    house, cookie = await at_house(world)
    await world.handoff(await world.ready_person())
    offer = (await world.offer(house))["id"]
    decline = f"/referral/pages/offers/{offer}/decline"
    async with at_desk(world.made, cookie) as visit:
        form = (await visit.get(decline)).of(decline)
        for typed in ({}, {"reason": "bored"}):
            answer = await visit.send(decline, {**form, **typed})
            assert answer.status_code == 422
            assert "Why can you not take this?" in plain(answer.text)
        done = await visit.send(decline, {**form, "reason": "no_capacity"})
        assert done.headers["location"] == "/referral/pages/inbox?done=declined"
        assert (await house.partner.get(f"/referral/offers/{offer}"))["state"] == "rejected"
        late = await visit.send(decline, {**form, "reason": "house_unsafe", "key": form["key"][::-1]})
        assert late.status_code == 409
        assert "no longer available" in plain(late.text)


async def arrived_at_the_door(world: World) -> tuple[Organisation, str, str, str]:
    """A house with somebody on the way: house, cookie, offer, hand-over code."""
    house, cookie = await at_house(world)
    handoff = await world.handoff(await world.ready_person())
    offer = await world.offer(house)
    await house.partner.post(f"/referral/offers/{offer['id']}/accept")

    async def code() -> Any:
        return (await world.sender.partner.get(f"/intake/handoffs/{handoff}"))["hand_over_code"]

    found = await eventually(code)

    async def ready() -> bool:
        state = await house.partner.get(f"/referral/offers/{offer['id']}")
        return bool(state["referral_state"] == "ready")

    await eventually(ready)
    return house, cookie, offer["id"], found


async def test_arrival_with_the_code_and_how_it_ended(world: World) -> None:
    house, cookie, offer, code = await arrived_at_the_door(world)
    page = f"/referral/pages/offers/{offer}"
    async with at_desk(world.made, cookie) as visit:
        assert "On the way" in (await visit.get("/referral/pages/arrivals")).text
        form = (await visit.get(page)).of(f"{page}/arrived")
        wrong = "000000" if code != "000000" else "111111"
        for typed, said in (("", "Answer this question"), ("12 x", "look at the example"), (wrong, "not right")):
            answer = await visit.send(
                f"{page}/arrived", {**form, "code": typed, "key": form["key"][::-1] + typed.strip(" x")}
            )
            assert answer.status_code == 422
            assert said in plain(answer.text)
        done = await visit.send(f"{page}/arrived", {**form, "code": f"{code[:3]} {code[3:]}"})
        assert done.status_code == 303
        assert (await house.partner.get(f"/referral/offers/{offer}"))["referral_state"] == "in-progress"
        end = (await visit.get(f"{page}/outcome")).of(f"{page}/outcome")
        assert (await visit.send(f"{page}/outcome", end)).status_code == 422
        assert (await visit.send(f"{page}/outcome", {**end, "outcome": "needs_met"})).status_code == 303
        assert "Nobody who came through" in (await visit.get("/referral/pages/arrivals")).text


async def test_arrival_without_a_code_is_one_button(world: World) -> None:
    house, cookie, offer, _ = await arrived_at_the_door(world)
    page = f"/referral/pages/offers/{offer}"
    async with at_desk(world.made, cookie) as visit:
        form = (await visit.get(page)).of(f"{page}/arrived")
        assert (await visit.send(f"{page}/arrived", {**form, "without": "1"})).status_code == 303
    assert (await house.partner.get(f"/referral/offers/{offer}"))["referral_state"] == "in-progress"


async def escalated(world: World) -> tuple[str, str, list[Organisation]]:
    """A referral that two houses declined: its id, a coordinator's cookie, the houses."""
    houses = [await world.house("One house"), await world.house("Other house")]
    handoff = await world.handoff(await world.ready_person())
    for _ in houses:

        async def asked() -> Any:
            for house in houses:
                for offer in (await house.partner.get("/referral/offers?state=sent&state=seen"))["offers"]:
                    return house, offer["id"]
            return None

        house, offer = await eventually(asked)
        await house.partner.post(f"/referral/offers/{offer}/decline", {"reason": "no_capacity"})

    async def waits() -> Any:
        return (await world.coordinator.partner.get("/referral/escalations"))["escalations"]

    await eventually(waits)
    return handoff, await signed_in(world.made, world.coordinator, StaffRole.COORDINATOR), houses


async def test_a_coordinator_takes_it_and_asks_a_named_house(world: World) -> None:
    referral, cookie, houses = await escalated(world)
    page = f"{ESCALATIONS}/{referral}"
    async with at_desk(world.made, cookie) as visit:
        assert "1 referral needs a person" in (await visit.get(ESCALATIONS)).text
        shown = await visit.get(page)
        assert "Other house" in shown.text
        assert (await visit.send(f"{page}/take", shown.of(f"{page}/take"))).status_code == 303
        stale = await visit.send(f"{page}/ask", {**shown.of(f"{page}/ask"), "place": world.places[houses[1].id]})
        assert stale.status_code == 412
        form = (await visit.get(page)).of(f"{page}/ask")
        assert "you have it" in (await visit.get(page)).text
        assert (await visit.send(f"{page}/ask", form)).status_code == 422  # no house chosen
        done = await visit.send(f"{page}/ask", {**form, "place": world.places[houses[1].id]})
        assert done.status_code == 303
    assert (await world.offer(houses[1]))["state"] in {"sent", "seen"}


async def test_another_coordinators_referral_is_not_there(world: World) -> None:
    referral, mine, _ = await escalated(world)
    other = await world.organisation("Other coordinator", "coordination", ["referral:coordinate"])
    cookie = await signed_in(world.made, other, StaffRole.COORDINATOR)
    page = f"{ESCALATIONS}/{referral}"
    async with at_desk(world.made, mine) as visit:
        form = (await visit.get(page)).of(f"{page}/take")
    async with at_desk(world.made, cookie) as visit:
        await visit.get(page, 404)
        again = Screen(await visit.send(f"{page}/take", form)).of(f"{page}/take")
        assert (await visit.send(f"{page}/take", again)).status_code == 404


async def test_the_code_of_somebody_who_came_without_it(world: World) -> None:
    house, cookie, offer, code = await arrived_at_the_door(world)
    page = f"/referral/pages/offers/{offer}"
    async with at_desk(world.made, cookie) as visit:
        form = (await visit.get(page)).of(f"{page}/arrived")
        await visit.send(f"{page}/arrived", {**form, "without": "1"})
        shown = await visit.get(page)
        assert "Arrived without the code" in shown.text
        check = shown.of(f"{page}/verify")
        wrong = "000000" if code != "000000" else "111111"
        for typed, said in (("", "Answer this question"), (wrong, "not right")):
            answer = await visit.send(f"{page}/verify", {**check, "code": typed, "key": check["key"][::-1] + typed})
            assert answer.status_code == 422
            assert said in plain(answer.text)
        assert (await visit.send(f"{page}/verify", {**check, "code": code})).status_code == 303
        assert "Arrived without the code" not in (await visit.get(page)).text
    del house


async def test_a_shift_is_taken_over_by_one(world: World) -> None:
    house, cookie, _, _ = await arrived_at_the_door(world)
    other = await signed_in(world.made, house, StaffRole.RECEIVER)
    shift = "/referral/pages/shift"
    async with at_desk(world.made, cookie) as visit, at_desk(world.made, other) as next_visit:
        assert "Nobody has taken over" in (await visit.get(shift)).text
        mine, theirs = (await visit.get(shift)).of(shift), (await next_visit.get(shift)).of(shift)
        assert (await visit.send(shift, mine)).status_code == 303
        late = await next_visit.send(shift, theirs)
        assert late.status_code == 412
        assert shift not in {form.action for form in (await visit.get(shift)).forms}  # who has it need not take it
        seen = await next_visit.get(shift)
        assert "has the house since" in seen.text
        assert (await next_visit.send(shift, seen.of(shift))).status_code == 303
    stranger = await signed_in(world.made, await world.house("Other"), StaffRole.RECEIVER)
    async with at_desk(world.made, stranger) as visit:
        assert "Nobody has taken over" in (await visit.get(shift)).text


async def test_names_stand_in_the_order_of_their_script(world: World) -> None:
    """Latin letters whatever their case, then Khmer by its alphabet: ក before ខ before ស."""
    names = ["ស្ទឹងមានជ័យ", "beta", "Alpha", "ខេត្ត", "Gamma", "ក្រចេះ"]
    for name in names:
        made = await world.admin.post("/referral/organisations", {"name": name, "type": "ngo", "country": "KH"})
        await world.admin.post(f"/referral/networks/{world.network}/members", {"organisation": made["id"]})
    cookie = await signed_in(world.made, world.sender, StaffRole.SENDER)
    async with at_desk(world.made, cookie) as visit:
        listed = (await visit.client.get("/referral/pages/directory")).json()["organisations"]
    shown = [one["name"] for one in listed if one["name"] in names]
    assert shown == ["Alpha", "beta", "Gamma", "ក្រចេះ", "ខេត្ត", "ស្ទឹងមានជ័យ"]
