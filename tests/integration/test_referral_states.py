"""Every state of a referral, one by one: the clock has it, and in the end a coordinator does."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from schemas import events as e
from schemas.vocabulary import (
    ReasonFamily,
    ServiceGroup,
    Urgency,
)
from services.referral.referrals import handlers, store
from services.referral.referrals.domain import FINAL, State
from tests.builders import eventually
from tests.integration.model import HOLDER, Town, opened

ARRIVED = {State.IN_PROGRESS, State.COMPLETED}


async def _to(town: Town, state: State) -> UUID:
    """A referral in this state, by the shortest way."""
    if state in {State.UNROUTABLE, State.ON_HOLD}:
        id_ = await town.request()
        town.allowed[id_] = set()
        if state is State.ON_HOLD:
            await town.run(lambda tx: handlers.stop_disclosure(tx, id_, HOLDER))
        await town.tick()
        return id_
    id_ = await town.request()
    if state is State.REQUESTED:
        return id_
    await town.tick()
    if state is State.OFFERED:
        return id_
    offer = await town.offer(id_)
    assert await town.answer(offer, "accept") is None
    if state is State.ACCEPTED:
        return id_
    if state is State.CANCELLED:
        await town.run(lambda tx: handlers.cancel(tx, id_, HOLDER, ReasonFamily.OTHER))
        return id_
    await town.run(lambda tx: handlers.release(tx, id_, HOLDER, offer["id"]))
    if state is State.MISSING:
        while (await town.referral(id_))["state"] != State.MISSING:
            await town.tick()
    if state in ARRIVED:
        assert await town.progress(offer, "verified") is None
    if state is State.COMPLETED:
        assert await town.progress(offer, "complete") is None
    return id_


@pytest.mark.parametrize("state", State)
async def test_every_state_that_is_not_final_wakes_somebody(model_dsns: list[tuple[str, str]], state: State) -> None:
    """The due row is there, and what the clock does with it moves the referral on or tells a coordinator, ever after."""
    async with opened(model_dsns) as db:
        town = Town(db)
        await town.found([1, 1, 1])
        id_ = await _to(town, state)
        assert (await town.referral(id_))["state"] == state
        await town.check()
        wakes = await town.rows("select * from due where kind = $1 and subject = $2", store.WAKE, id_)
        if state in FINAL:
            assert wakes == []
            return
        assert [row["at"] for row in wakes] == [(await town.referral(id_))["wake_at"]]
        before = (await town.referral(id_))["version"]
        for _ in range(30):
            await town.tick()
            await town.check()
        after = await town.referral(id_)
        assert after["version"] > before
        # Nobody ever acts: in the end a coordinator has it, and is reminded no more than once in a day.
        assert after["escalated"] is not None
        assert (after["wake_at"] - await town.now()) > timedelta(hours=1)


async def test_an_arrival_that_nobody_has_checked_wakes_the_coordinator_and_then_the_outcome_does(
    model_dsns: list[tuple[str, str]],
) -> None:
    async with opened(model_dsns) as db:
        town = Town(db)
        await town.found([1])
        id_ = await _to(town, State.READY)
        assert await town.progress(await town.offer(id_), "unverified") is None
        await town.check()
        assert await town.coordinate(id_, "confirm_arrival") == "state", "nobody has been told yet"
        there = (await town.referral(id_))["arrived_at"]
        for reason, window_s in (("arrival-unverified", 700), ("no-outcome", 5_000)):
            while (await town.referral(id_))["escalated"] != reason:
                await town.tick()
                await town.check()
            late = await town.now() - there - timedelta(seconds=window_s)
            assert timedelta(0) <= late < timedelta(seconds=1), reason
        assert await town.coordinate(id_, "confirm_arrival") is None
        row = await town.referral(id_)
        assert (row["arrival_verified"], row["arrival_checked_by"], row["escalated"]) == (
            True,
            "somebody",
            "no-outcome",
        )
        await town.check()


@pytest.mark.parametrize("state", State)
async def test_a_sender_who_asks_again_moves_only_what_waits_for_them(
    model_dsns: list[tuple[str, str]], state: State
) -> None:
    async with opened(model_dsns) as db:
        town = Town(db)
        await town.found([1])
        id_ = await _to(town, state)
        before = await town.referral(id_)
        for _ in range(2):
            await town.run(lambda tx: handlers.reopen(tx, id_, HOLDER))
        after = await town.referral(id_)
        if state is not State.ON_HOLD:
            assert after == before, "a recorded no-op"
            return
        assert (after["state"], after["stopped"], after["version"]) == (State.REQUESTED, False, before["version"] + 1)
        town.allowed[id_] = set(town.places)
        await town.tick()
        assert (await town.referral(id_))["state"] == State.OFFERED
        await town.check()


async def test_what_a_suspended_house_had_accepted_is_not_the_senders_to_ask_for_again(
    model_dsns: list[tuple[str, str]],
) -> None:
    async with opened(model_dsns) as db:
        town = Town(db)
        await town.found([1])
        id_ = await _to(town, State.READY)
        await town.suspend(town.houses[0])
        before = await town.referral(id_)
        assert (before["state"], before["escalated"]) == (State.ON_HOLD, "organisation-suspended")
        await town.run(lambda tx: handlers.reopen(tx, id_, HOLDER))
        assert await town.referral(id_) == before
        await town.check()


async def test_a_hand_off_that_is_received_while_its_network_is_handed_over_is_the_new_coordinators(
    model_dsns: list[tuple[str, str]],
) -> None:
    async with opened(model_dsns) as db:
        town = Town(db)
        await town.found([1])
        id_, asked, old = uuid4(), await _request(town), town.coordinator
        town.allowed[id_] = set(town.places)
        async with db.network.transaction("test.receive") as tx:
            await handlers.receive(tx, id_, HOLDER, asked)
            handing = asyncio.create_task(town.hand_over(town.houses[0]))
            # Not by pg_stat_activity: a transaction sees it as it was when it first looked, without connections made since.
            waits = "select exists (select 1 from pg_locks where not granted and pg_backend_pid() = any (pg_blocking_pids(pid)))"

            async def waiting() -> bool:
                return handing.done() or bool(await tx.conn.fetchval(waits))

            await eventually(waiting)
            assert not handing.done(), "it would not see the referral"
        assert await handing is None
        assert (await town.referral(id_))["coordinator"] == town.coordinator != old
        await town.check()


async def test_a_referral_of_another_holder_is_nobody_elses_to_end(model_dsns: list[tuple[str, str]]) -> None:
    async with opened(model_dsns) as db:
        town = Town(db)
        await town.found([1])
        id_ = await _to(town, State.ACCEPTED)
        before = await town.referral(id_)
        offer = before["offer"]
        asked = e.HandoffRequestedV1(
            network=town.network, sender=town.senders[1], group=ServiceGroup.SHELTER, urgency=Urgency.URGENT, area="KH-1",
            places=1, requested_at=await town.now(),
        )  # fmt: skip
        for act in (
            lambda tx: handlers.cancel(tx, id_, "other", ReasonFamily.OTHER),
            lambda tx: handlers.stop_disclosure(tx, id_, "other"),
            lambda tx: handlers.stop_disclosure(tx, id_, "other", offer),
            lambda tx: handlers.lose_packet(tx, id_, "other", offer),
            lambda tx: handlers.receive(tx, id_, "other", asked),
            lambda tx: handlers.release(tx, id_, "other", offer),
            lambda tx: handlers.reopen(tx, id_, "other"),
        ):
            assert await town.try_(act) == "not-found"
        assert await town.referral(id_) == before


async def test_a_stop_takes_back_the_offer_that_it_is_about_however_late_it_comes(
    model_dsns: list[tuple[str, str]],
) -> None:
    async with opened(model_dsns) as db:
        town = Town(db)
        await town.found([1, 1, 1])
        id_ = await _to(town, State.OFFERED)
        first = await town.offer(id_)
        (stop,) = town.narrow(id_, {one for one in town.places if one != first["place"]}, wholly=False)
        assert await town.answer(first, "no_capacity") is None  # before the stop about it arrives
        await town.tick()
        second = await town.offer(id_)
        await town.run(lambda tx: handlers.stop_disclosure(tx, id_, HOLDER, stop))
        assert await town.offer(id_) == second, "who was asked since was asked by the new gate"

        stops = town.narrow(id_, set(town.places) - {first["place"], second["place"]}, wholly=False)
        assert stops == [first["id"], second["id"]]
        for stop in reversed(stops):
            await town.run(lambda tx, stop=stop: handlers.stop_disclosure(tx, id_, HOLDER, stop))
        (row,) = await town.rows("select state, reason from offer where id = $1", second["id"])
        assert tuple(row) == ("withdrawn", "stopped")

        await town.tick()
        third = await town.offer(id_)
        assert town.narrow(id_, set(), wholly=True) == [None]
        await town.run(lambda tx: handlers.stop_disclosure(tx, id_, HOLDER, None))
        (row,) = await town.rows("select state from offer where id = $1", third["id"])
        assert row["state"] == "withdrawn", "whatever is open"
        await town.tick()
        after = await town.referral(id_)
        assert (after["state"], after["stopped"]) == (State.ON_HOLD, True), "the sender's again"


@pytest.mark.parametrize("named", [True, False])
async def test_a_stop_between_a_yes_and_its_offer_comes_first(
    model_dsns: list[tuple[str, str]], *, named: bool
) -> None:
    """The offer is not there yet that the stop names: it is never made."""
    async with opened(model_dsns) as db:
        town = Town(db)
        await town.found([1])
        id_ = await _to(town, State.REQUESTED)

        async def stop(_: UUID) -> None:
            for about in town.narrow(id_, set(), wholly=not named):
                assert (about is not None) == named
                await town.run(lambda tx, about=about: handlers.stop_disclosure(tx, id_, HOLDER, about))

        town.meanwhile = stop
        await town.tick()
        assert await town.rows("select 1 from offer where referral = $1", id_) == []
        assert (await town.referral(id_))["stopped"]


async def test_a_hand_off_that_arrives_after_its_sender_was_suspended_is_the_coordinators(
    model_dsns: list[tuple[str, str]],
) -> None:
    async with opened(model_dsns) as db:
        town = Town(db)
        await town.found([1])
        before = await town.request()
        await town.suspend(town.senders[0])
        after, other = await town.request(), await town.request(sender=1)
        reasons = [(await town.referral(id_))["escalated"] for id_ in (before, after, other)]
        assert reasons == ["organisation-suspended", "organisation-suspended", None]
        assert await town.coordinate(after, "hand_back") == "state", "the sender is shut out"
        await town.tick()
        assert {(await town.referral(id_))["state"] for id_ in (before, after, other)} >= {State.OFFERED}, (
            "asked all the same"
        )
        await town.check()


async def test_two_that_were_made_at_once_share_a_database(model_dsns: list[tuple[str, str]]) -> None:
    """What is received twice is one referral."""
    async with opened(model_dsns) as db:
        town = Town(db)
        await town.found([1])
        id_, asked = uuid4(), await _request(town)
        await town.run(lambda tx: handlers.receive(tx, id_, HOLDER, asked))
        town.allowed[id_] = set(town.places)
        await town.tick()
        before = await town.referral(id_)
        await town.run(lambda tx: handlers.receive(tx, id_, HOLDER, asked))
        assert await town.referral(id_) == before
        assert await town.try_(lambda tx: handlers.receive(tx, id_, "other", asked)) == "not-found"
        stranger = asked.model_copy(update={"sender": town.places[0]})
        assert await town.try_(lambda tx: handlers.receive(tx, uuid4(), HOLDER, stranger)) == "unknown-network"
        await town.check()


async def _request(town: Town) -> e.HandoffRequestedV1:
    return e.HandoffRequestedV1(
        network=town.network, sender=town.senders[0], group=ServiceGroup.SHELTER, urgency=Urgency.URGENT, area="KH-1",
        places=1, requested_at=await town.now(),
    )  # fmt: skip
