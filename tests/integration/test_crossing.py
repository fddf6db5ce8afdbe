"""What the sender's side stops against what a house does at the door: every order in which the two services may hear of it.

A service is kept from hearing about one hand-off by holding its place in that hand-off's order; commands go on.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from services.cli.client import ApiProblem
from tests.builders import CATEGORIES, eventually
from tests.integration.holder import database, refused, said
from tests.integration.town import Town

_IDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32}\b")
_TIMES = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+]00:00)")
NO_PLACEMENT = [category for category in CATEGORIES if category != "placement"]
# When the sender cancels: before the person came, at the moment at which they came, and after.
ORDERS = ("before", "crossing", "after")
# What the sender's side may do: its address (with the hand-off or the person in it) and its body.
STOPS: dict[str, tuple[str, Any]] = {
    "cancel": ("/intake/handoffs/{handoff}/cancel", None),
    "service": ("/intake/entries/{entry}/withdraw", {"what": "service"}),
    "sharing": ("/intake/entries/{entry}/withdraw", {"what": "sharing"}),
}
EACH_STOP = pytest.mark.parametrize("stop", STOPS)


@dataclass
class Meeting:
    """A person on the way to a house that waits for them, and has read their packet."""

    town: Town
    entry: str
    handoff: str
    offer: str
    code: str

    async def stop(self, what: str) -> None:
        path, body = STOPS[what]
        await self.town.sender.partner.post(path.format(handoff=self.handoff, entry=self.entry), body)

    async def arrive(self, **body: Any) -> Any:
        return await self.town.first.partner.post(f"/referral/offers/{self.offer}/arrived", body)

    async def at_holder(self) -> Any:
        async with database(self.town) as db:
            return await db.fetchrow("select * from handoff where id = $1", self.handoff)

    async def follows(self, **wanted: Any) -> None:
        """Wait until the holder's row says so."""

        async def look() -> bool:
            row = await self.at_holder()
            return all(row[name] == value for name, value in wanted.items())

        await eventually(look)

    async def packet(self) -> Any:
        return (await self.town.first.partner.packet(self.offer))["members"]

    @asynccontextmanager
    async def unheard(self, by: str, of: str) -> AsyncIterator[None]:
        """Whatever `of` says of this hand-off is taken in by `by` only afterwards."""
        async with database(self.town, by) as db, db.transaction():
            held = "select 1 from last where aggregate = $1 and starts_with(source, $2) for update"
            assert await db.fetchval(held, self.handoff, f"spean/{of}"), "it has heard of it before"
            yield

    async def ends(self) -> None:
        """The house closes it with an outcome, and everybody agrees."""
        await self.town.first.partner.post(f"/referral/offers/{self.offer}/outcome", {"outcome": "needs_met"})
        await self.follows(state="completed")
        assert (await self.town.place(self.town.first))["staying"] == 0


@pytest.fixture
async def meet(town: Town) -> Callable[..., Awaitable[Meeting]]:
    async def made(categories: list[str] = CATEGORIES) -> Meeting:
        entry = await town.ready_person()
        await town.consent(entry, "share_referral", categories=categories)
        handoff, offer = await town.accepted(town.first, entry)
        code = (await town.state(handoff, "ready", "answered"))["hand_over_code"]
        meeting = Meeting(town, entry, handoff, offer, code)
        await meeting.follows(state="ready")
        assert (await meeting.packet())[0]["name"] == "Test Person"
        await town.first.partner.tell(offer, "whereabouts", {"meeting_point": "north gate"})
        return meeting

    return made


Meet = Callable[..., Awaitable[Meeting]]


async def _goes_on(meeting: Meeting, stop: str) -> None:
    """They are there: the holder follows, and the house reads what the person still agrees to."""
    ending = stop != "sharing"
    await meeting.follows(state="in-progress", ending=ending)

    async def told() -> bool:
        shown = await meeting.town.first.partner.get(f"/referral/offers/{meeting.offer}")
        return (shown["referral_state"], shown["speak_with_person"]) == ("in-progress", ending)

    await eventually(told)
    readable = stop == "cancel"
    members = await meeting.packet()
    assert [member.get("name") for member in members] == ["Test Person" if readable else None]
    assert (await meeting.town.place(meeting.town.first))["staying"] == 1
    await meeting.ends()


@EACH_STOP
async def test_arrived_and_heard_by_the_holder_then_stopped(meet: Meet, stop: str) -> None:
    meeting = await meet()
    await meeting.arrive(code=meeting.code)
    await meeting.follows(state="in-progress", arrival_verified=True)
    await meeting.stop(stop)
    await _goes_on(meeting, stop)


@EACH_STOP
async def test_arrived_and_not_yet_heard_by_the_holder_then_stopped(meet: Meet, stop: str) -> None:
    meeting = await meet()
    async with meeting.unheard("intake", "referral"):
        await meeting.arrive(code=meeting.code)
        await meeting.stop(stop)
        assert (await meeting.at_holder())["state"] == ("ready" if stop == "sharing" else "cancelled")
    await _goes_on(meeting, stop)


@EACH_STOP
async def test_stopped_and_not_yet_heard_by_the_network_then_arrived_with_the_code(meet: Meet, stop: str) -> None:
    """The code is checked as what it is: a wrong one is wrong, the right one is right."""
    meeting = await meet()
    async with meeting.unheard("referral", "intake"):
        await meeting.stop(stop)
        with refused("code-wrong"):
            await meeting.arrive(code="000000" if meeting.code != "000000" else "000001")
        await meeting.arrive(code=meeting.code)
    assert (await meeting.town.referral(meeting.handoff))["arrival_verified"] is True
    await _goes_on(meeting, stop)


@EACH_STOP
async def test_stopped_and_heard_by_the_network_then_arrived(meet: Meet, stop: str) -> None:
    meeting = await meet()
    await meeting.stop(stop)
    if stop == "sharing":
        await meeting.arrive(code=meeting.code)
        await _goes_on(meeting, stop)
        return
    await meeting.town.network_state(meeting.handoff, "cancelled")
    with refused("state"):
        await meeting.arrive(code=meeting.code)
    await meeting.follows(state="cancelled", ending=False)
    with pytest.raises(ApiProblem, match="no-longer-available"):
        await meeting.packet()
    assert (await meeting.town.place(meeting.town.first))["held"] == 0


@EACH_STOP
async def test_an_arrival_without_the_code_that_crosses_is_verified_afterwards(meet: Meet, stop: str) -> None:
    meeting = await meet()
    async with meeting.unheard("intake", "referral"):
        await meeting.arrive()
        await meeting.stop(stop)
    await meeting.follows(state="in-progress", arrival_verified=False)
    path = f"/referral/offers/{meeting.offer}/verify-arrival"
    await meeting.town.first.partner.post(path, {"code": meeting.code})
    await meeting.follows(arrival_verified=True)
    await _goes_on(meeting, stop)


async def test_only_the_packet_that_the_crossing_ended_is_opened_again(meet: Meet) -> None:
    """A house that had the referral before, and lost it, reads nothing more."""
    meeting = await meet()
    earlier = "00000000-0000-4000-8000-000000000000"
    async with database(meeting.town) as db:
        await db.execute(
            """
            insert into packet (offer, handoff, organisation, facts, released_at, ended_at)
            select $1::text::uuid, handoff, organisation, facts, released_at - interval '1 hour', now() from packet
            where offer = $2::text::uuid
            """,
            earlier, meeting.offer,
        )  # fmt: skip
        try:
            async with meeting.unheard("intake", "referral"):
                await meeting.arrive()
                await meeting.stop("cancel")
            await meeting.follows(state="in-progress")
            rows = await db.fetch("select offer, ended_at from packet where handoff = $1", meeting.handoff)
            ended = {str(row["offer"]): row["ended_at"] is not None for row in rows}
            assert ended == {earlier: True, meeting.offer: False}
        finally:
            await db.execute("delete from packet where offer = $1", earlier)


async def test_before_the_packet_was_released_the_houses_ticket_releases_it(meet: Meet, town: Town) -> None:
    """Cancelled before the holder has heard of the acceptance; by then somebody stands at the door."""
    entry = await town.ready_person()
    handoff = await town.handoff(entry)
    offer = (await town.offer(town.first))["id"]
    meeting = Meeting(town, entry, handoff, offer, "")
    await meeting.follows(state="offered")
    async with meeting.unheard("referral", "intake"):
        async with meeting.unheard("intake", "referral"):
            await town.first.partner.post(f"/referral/offers/{offer}/accept")
            await meeting.stop("cancel")
            await meeting.arrive()
        await meeting.follows(state="in-progress", ending=True)
        assert (await meeting.packet())[0]["name"] == "Test Person"
        assert (await meeting.at_holder())["state"] == "in-progress"
    await _goes_on(meeting, "cancel")


async def test_what_the_house_had_ended_is_completed_whoever_cancelled_meanwhile(meet: Meet) -> None:
    """Nobody came, and the house has said so, while the sender takes the request back."""
    meeting = await meet()
    await meeting.town.time_is_up(meeting.handoff)
    await meeting.follows(state="missing")
    async with meeting.unheard("intake", "referral"):
        path = f"/referral/offers/{meeting.offer}/outcome"
        await meeting.town.first.partner.post(path, {"outcome": "not_reached"})
        await meeting.stop("cancel")
    await meeting.follows(state="completed", ending=True)
    with pytest.raises(ApiProblem, match="no-longer-available"):
        await meeting.packet()


async def _cancelled(meeting: Meeting, order: str) -> Any:
    """The sender's answer; the holder has heard of everything."""
    if order == "after":
        await meeting.arrive(code=meeting.code)
        await meeting.follows(state="in-progress")
    async with meeting.unheard("intake", "referral"):
        if order == "crossing":
            await meeting.arrive(code=meeting.code)
        answer = await meeting.town.sender.partner.post(f"/intake/handoffs/{meeting.handoff}/cancel")
    await meeting.follows(state="cancelled" if order == "before" else "in-progress", ending=order != "before")
    return answer


async def test_a_sender_who_may_not_know_cannot_tell_an_arrival_from_the_cancelling(meet: Meet) -> None:
    """Cancelled before they came, at the moment at which they came, and after: the sender reads the same."""
    shown: list[dict[str, Any]] = []
    for order in ORDERS:
        meeting = await meet(NO_PLACEMENT)
        sender, path = meeting.town.sender.partner, f"/intake/handoffs/{meeting.handoff}"
        answer = await _cancelled(meeting, order)
        with refused("state"):
            await sender.post(f"{path}/cancel")
        seen = await sender.get(path)
        same = {"id": "", "requested_at": ""}
        shown += [answer | same, seen | same]
        assert [name for name, _ in await said(meeting.town, meeting.handoff)].count("handoff.cancelled") == 1
        if order == "before":
            await meeting.town.network_state(meeting.handoff, "cancelled")
        else:
            await meeting.ends()
    assert {one["state"] for one in shown} == {"closed"}
    assert all(one == shown[0] for one in shown)


async def _answered(meeting: Meeting) -> list[str]:
    """All that the sender is answered about the person's erasure and, from then on, about the person; without ids and times."""
    entry, told = f"/intake/entries/{meeting.entry}", []
    again = {
        "network": meeting.town.network, "service_type": "emergency_bed", "urgency": "emergency", "area": "KH-1",
        "members": [meeting.entry],
    }  # fmt: skip
    for method, path, body in (
        ("POST", f"{entry}/erase", {"why": "person_asked"}),
        ("GET", f"{entry}/erasure", None),
        ("GET", entry, None),
        ("GET", f"{entry}/consents", None),
        ("GET", f"{entry}/bases", None),
        ("GET", f"{entry}/identification", None),
        ("POST", f"{entry}/case", None),
        ("POST", "/intake/handoffs", again),
        ("GET", f"/intake/handoffs/{meeting.handoff}", None),
    ):
        try:
            answer = await meeting.town.sender.partner.request(method, path, body)
            headers = {name: value for name, value in answer.headers.items() if name not in {"date", "content-length"}}
            text = f"{answer.status_code} {headers} {answer.text}"
        except ApiProblem as problem:
            text = f"{problem.status} {problem.problem}"
        told.append(f"{method} {path}: {text}")
    return [re.sub(_TIMES, "…", re.sub(_IDS, "…", text)) for text in told]


async def _erased(meeting: Meeting) -> bool:
    async with database(meeting.town) as db:
        return bool(await db.fetchval("select done_at from erasure where entry = $1", meeting.entry))


async def test_nor_by_having_them_erased_and_who_has_them_reads_on(meet: Meet) -> None:
    """It is asked for in each case, carried out once nobody has the person, and the sender is answered the same, byte by byte."""
    asked: list[list[str]] = []
    for order in ORDERS:
        meeting = await meet(NO_PLACEMENT)
        never = {"kind": "official", "value": meeting.town.second.id, "name": "Test Official"}
        await meeting.town.sender.partner.post(f"/intake/entries/{meeting.entry}/exclusions", never)
        await _cancelled(meeting, order)
        asked.append(await _answered(meeting))
        assert asked[-1] == asked[0]
        assert await _erased(meeting) is (order == "before")
        if order == "before":
            continue
        assert (await meeting.packet())[0]["name"] == "Test Person"
        assert (await meeting.town.place(meeting.town.first))["staying"] == 1
        await meeting.ends()
        async with database(meeting.town) as db:
            await db.execute("update due set at = now() where kind = 'erase' and subject = $1", meeting.entry)

        async def erased(meeting: Meeting = meeting) -> bool:
            return await _erased(meeting)

        await eventually(erased)
        assert await _answered(meeting) == asked[0], "nor when it is carried out"
    assert asked[0][0].startswith("POST /intake/entries/…/erase: 200")
    assert sum(": 410 " in told for told in asked[0]) == 3, "the person, their identification, a case"
