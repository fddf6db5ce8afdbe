"""The stream of changes: numbers only rise, nothing is missed, it goes on where it broke, and it ends when it should."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from schemas import events as e
from schemas import registry
from schemas.vocabulary import ServiceGroup, Urgency
from services.cli import installation
from services.notify import consumers
from spean.consumer import handle
from spean.event import Event
from spean.ids import event_id
from tests.builders import Organisation, eventually
from tests.integration.apart import installed_apart
from tests.integration.town import Town, found, settle

WRITERS, EACH = 6, 40


class Stream:
    """An open stream, read line by line."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()

    async def next(self, within_s: float = 15.0) -> tuple[int, dict[str, Any]]:
        """The next change: its number and what it says."""
        number = 0
        async with asyncio.timeout(within_s):
            async for line in self._lines:
                if line.startswith("id: "):
                    number = int(line.removeprefix("id: "))
                if line.startswith("data: "):
                    data: dict[str, Any] = json.loads(line.removeprefix("data: "))
                    return number, data
        raise EOFError

    async def ended(self, within_s: float = 15.0) -> bool:
        async with asyncio.timeout(within_s):
            with contextlib.suppress(httpx.HTTPError):
                async for _ in self._lines:
                    pass
        return True


@asynccontextmanager
async def watching(url: str, who: Organisation, after: int | None = None) -> AsyncIterator[Stream]:
    headers = {"Authorization": f"Bearer {await who.partner.token()}"}
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    async with (
        httpx.AsyncClient(base_url=url, timeout=20) as client,
        client.stream("GET", "/notify/changes", headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Stream(response)


async def _end(town: Town) -> int:
    async with town.made.services["notify"].db.transaction("test.end") as tx:
        end: int = await tx.conn.fetchval("select next - 1 from tail_head")
        return end


async def test_a_coordinator_sees_what_happens_and_never_whom_it_is_about(town: Town) -> None:
    start = await _end(town)
    async with watching(town.made.url, town.coordinator, start) as stream:
        handoff, _ = await town.accepted(town.first)
        seen: list[tuple[int, dict[str, Any]]] = []
        while not seen or seen[-1][1]["type"] != "referral.ready.v1":
            seen.append(await stream.next())
    assert [number for number, _ in seen] == sorted({number for number, _ in seen})
    types = [said["type"] for _, said in seen]
    for expected in ("referral.received.v1", "offer.sent.v1", "offer.accepted.v1", "capacity.changed.v1"):
        assert expected in types
    for _, said in seen:
        assert set(said) == {"type", "country", "minute"}
        assert said["country"] == "KH"
        assert datetime.fromisoformat(said["minute"]).second == 0
    assert handoff not in json.dumps([said for _, said in seen])


def _event(referral: UUID, sequence: int, data: e.EventData) -> Event:
    return Event(
        id=event_id(), type=registry.TYPE_OF[type(data)], source="spean/referral", subject=referral, epoch=1,
        sequence=sequence, time=datetime.now(UTC), correlationid=uuid4(), causationid=None, traceparent=None,
        value=registry.write(data),
    )  # fmt: skip


async def _write(town: Town, number: int) -> None:
    """One consumer's work: a referral of this coordinator's, then many changes, a transaction each."""
    referral, now = uuid4(), datetime.now(UTC)
    received = e.ReferralReceivedV1(
        network=UUID(town.network), coordinator=UUID(town.coordinator.id), group=ServiceGroup.SHELTER,
        urgency=Urgency.NORMAL, area="KH-1", places=1, requested_at=now, deadline=now,
    )  # fmt: skip
    db = town.made.services["notify"].db
    for sequence in range(EACH):
        said = received if sequence == 0 else e.OfferSeenV1(offer=uuid4())
        async with db.transaction("test.write") as tx:
            event = _event(referral, sequence + 1, said)
            assert await handle(tx, event, consumers.HANDLERS) is None
            if number % 2:
                await tx.conn.execute("select pg_sleep(0.002)")  # commits later than it began


async def test_nothing_is_missed_while_six_write_and_connections_break(town: Town) -> None:
    start = await _end(town)
    writing = asyncio.gather(*(_write(town, number) for number in range(WRITERS)))
    seen: list[int] = []
    last = start
    while len(seen) < WRITERS * EACH:
        async with watching(town.made.url, town.coordinator, last) as stream:
            for _ in range(min(50, WRITERS * EACH - len(seen))):  # then the connection breaks
                last, _ = await stream.next()
                seen.append(last)
    await writing
    assert seen == sorted(set(seen)), "numbers only rise"
    async with town.made.services["notify"].db.transaction("test.tail") as tx:
        rows = await tx.conn.fetch(
            "select number from tail where coordinator = $1 and number > $2 order by number",
            UUID(town.coordinator.id), start,
        )  # fmt: skip
    assert seen == [row["number"] for row in rows][: len(seen)]
    assert len(rows) >= WRITERS * EACH


async def test_a_stranger_sees_nothing_and_a_number_of_another_life_starts_now(town: Town) -> None:
    other = await town.organisation("Other coordinator", "coordination", ["notify:watch"])
    async with (
        watching(town.made.url, other, 0) as theirs,
        watching(town.made.url, town.coordinator, 10**15) as ahead,
    ):
        await town.handoff(await town.ready_person())
        assert (await ahead.next())[1]["type"]
        with pytest.raises(TimeoutError):
            await theirs.next(within_s=1.0)
    overview = await other.partner.get("/notify/overview")
    assert overview == {"referrals": [], "capacity": [], "erasures": [], "deliveries": []}


@pytest.mark.parametrize("wrong", ["x", "-1", "1.5", "\u00b2", "9" * 30])
async def test_a_number_that_is_none_is_refused(town: Town, wrong: str) -> None:
    headers = {
        "Authorization": f"Bearer {await town.coordinator.partner.token()}",
        "Last-Event-ID": wrong.encode("latin-1"),
    }
    async with httpx.AsyncClient(base_url=town.made.url, timeout=15) as client:
        refused = await client.get("/notify/changes", headers=headers)
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (422, "invalid")
    assert wrong not in refused.text or len(wrong) < 3


async def test_a_suspended_watcher_is_cut_off(town: Town) -> None:
    other = await town.organisation("Watcher", "coordination", ["notify:watch"])
    async with watching(town.made.url, other) as stream:
        await town.admin.post(f"/referral/organisations/{other.id}/suspend")
        assert await stream.ended()


def _open_streams() -> int:
    """Requests that the server, which runs in this process, is busy with."""
    return sum("RequestResponseCycle.run_asgi" in repr(task.get_coro()) for task in asyncio.all_tasks())


async def test_when_the_watcher_goes_the_server_stops_looking(town: Town) -> None:
    before = _open_streams()
    async with watching(town.made.url, town.coordinator, await _end(town)) as stream:
        await town.handoff(await town.ready_person())
        await stream.next()
        assert _open_streams() > before

    async def gone() -> bool:
        return _open_streams() <= before

    await eventually(gone)


async def test_the_overview_counts_what_there_is(town: Town) -> None:
    async def overview() -> dict[str, Any]:
        shown: dict[str, Any] = await town.coordinator.partner.get(f"/notify/overview?network={town.network}")
        return shown

    handoff, _ = await town.ready(town.first)
    await town.network_state(await town.handoff(await town.ready_person()), "offered")

    async def whole() -> Any:
        shown = await overview()
        states = {one["state"]: one["count"] for one in shown["referrals"]}
        return shown if states == {"ready": 1, "offered": 1} and shown["capacity"][0]["free"] == 4 else None

    shown = await eventually(whole)
    assert shown["capacity"] == [{"area": "KH-1", "service_group": "shelter", "usable": 5, "free": 4}]
    assert sum(one["unseen"] for one in shown["referrals"]) == 0
    await town.deadline_passes(handoff)

    async def escalated() -> bool:
        return sum(one["escalated"] for one in (await overview())["referrals"]) == 1

    await eventually(escalated)


async def test_stopping_does_not_wait_for_whoever_watches(workspace: Path) -> None:
    async with installed_apart(workspace) as (made, settings):
        running = installation.running(made)
        await running.__aenter__()
        async with settle(made, settings) as settled:
            town = await found(settled)
            async with watching(made.url, town.coordinator, 0) as stream:
                await stream.next()
                began = time.monotonic()
                await running.__aexit__(None, None, None)
                took = time.monotonic() - began
                assert await stream.ended()
    assert took < 3.0
