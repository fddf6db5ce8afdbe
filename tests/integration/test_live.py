"""Pages that move by themselves: one look for everybody who watches, each sees the own changes, and it ends when it should."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from schemas.rights import StaffRole
from services.cli import installation
from services.cli.installation import Installation
from services.notify.dashboards.figures import Board
from spean.crypto import opener_digest
from spean.web import live
from spean.web.live import Hub
from spean.web.visitor import COOKIE
from tests.browser.visiting import signed_in
from tests.builders import eventually
from tests.integration.apart import installed_apart
from tests.integration.town import Town, found, settle

log = logging.getLogger(__name__)
WATCHERS, AT_ONCE = 200, 20
# Each asks the network who is there, and gives up after three seconds; here all of that is one process.
SHARING = 8
DASHBOARD, INBOX = "/notify/pages/live", "/referral/pages/live"


class Stream:
    """An open stream of a page, read event by event."""

    def __init__(self, response: httpx.Response) -> None:
        self.response, self._lines = response, response.aiter_lines()

    async def next(self, within_s: float = 15.0) -> tuple[str, str]:
        """(event, id) of the next event. Raises EOFError where the stream has ended."""
        event = id_ = ""
        async with asyncio.timeout(within_s):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "id":
                    id_ = value
                elif not line and event:
                    return event, id_
        raise EOFError

    async def left(self, within_s: float = 15.0) -> tuple[str, str]:
        """(event, id) of the goodbye. What the town's making still brings may come before it. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while (said := await self.next(within_s))[0] == "changed":
                pass
        return said

    async def ended(self, within_s: float = 15.0) -> bool:
        async with asyncio.timeout(within_s):
            with contextlib.suppress(httpx.HTTPError):
                async for _ in self._lines:
                    pass
        return True


@asynccontextmanager
async def watching(url: str, path: str, cookie: str | None, **headers: str) -> AsyncIterator[Stream]:
    if cookie is not None:
        headers["Cookie"] = f"{COOKIE}={cookie}"
    async with (
        httpx.AsyncClient(base_url=url, timeout=30) as client,
        client.stream("GET", path, headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        yield Stream(response)


def hub_of(made: Installation, service: str = "notify") -> Hub:
    found: Hub = made.services[service].app.state.live
    return found


async def _change(town: Town) -> None:
    """Something that this coordinator sees, and no house is asked."""
    await town.handoff(await town.ready_person(), area="TH-27")


async def _newest(town: Town) -> int:
    return await hub_of(town.made).now(UUID(town.coordinator.id))


async def test_two_hundred_watchers_cost_one_look(town: Town) -> None:
    """200 real connections: looks are counted in the hub, and in PostgreSQL, which counts what touches the tail."""
    hub, cookie = hub_of(town.made), await signed_in(town.made, town.coordinator, StaffRole.COORDINATOR)
    async with AsyncExitStack() as stack:
        streams: list[Stream] = []
        while len(streams) < WATCHERS:  # not all in the same moment: sessions are asked for one by one
            opening = (stack.enter_async_context(watching(town.made.url, DASHBOARD, cookie)) for _ in range(AT_ONCE))
            streams += await asyncio.gather(*opening)
        assert hub.watched >= WATCHERS
        began, looks, scans = time.monotonic(), hub.looks, await _scans(town)
        await _change(town)
        first = await asyncio.gather(*(stream.next(within_s=30) for stream in streams))
        took, looked, scanned = time.monotonic() - began, hub.looks - looks, await _scans(town) - scans
        assert {event for event, _ in first} == {"changed"}
        assert looked <= took / live.LOOK_EVERY_S + 2
        # The consumer looks at the tail for each event that it takes in; 200 watchers would be thousands.
        assert scanned < WATCHERS / 2
        log.info("watchers %d, looks %d, scans of the tail %d, in %.1f s", WATCHERS, looked, scanned, took)


async def test_who_fetches_the_same_part_at_once_shares_what_was_read(town: Town) -> None:
    cookie = await signed_in(town.made, town.coordinator, StaffRole.COORDINATOR)
    board: Board = town.made.services["notify"].app.state.board
    before = board.read
    async with httpx.AsyncClient(
        base_url=town.made.url, headers={"Cookie": f"{COOKIE}={cookie}"}, timeout=30
    ) as client:
        replies = await asyncio.gather(*(client.get("/notify/pages/dashboard/now") for _ in range(SHARING)))
    assert [reply.status_code for reply in replies] == [200] * SHARING
    assert board.read - before <= 3  # one, and one more for each change that the town's making still brings


async def _scans(town: Town) -> int:
    async with town.made.services["notify"].db.transaction("test.scans") as tx:
        await tx.conn.execute("select pg_stat_clear_snapshot()")
        await tx.conn.execute("select pg_stat_force_next_flush()")
        number: int = await tx.conn.fetchval(
            "select coalesce(sum(idx_scan + coalesce(seq_scan, 0)), 0)::bigint from pg_stat_all_tables where relname = 'tail'"
        )
        return number


async def test_it_goes_on_where_it_broke_and_numbers_only_rise(town: Town) -> None:
    cookie = await signed_in(town.made, town.coordinator, StaffRole.COORDINATOR)
    start = await _newest(town)
    seen = [start]
    for _ in range(3):
        await _change(town)

        async def risen() -> bool:
            return await _newest(town) > seen[-1]

        await eventually(risen)
        # Nothing happens any more: what is said was missed while the line was down.
        async with watching(town.made.url, DASHBOARD, cookie, **{"Last-Event-ID": str(seen[-1])}) as stream:
            event, id_ = await stream.next()
            assert event == "changed"
            seen.append(int(id_))
    assert seen == sorted(set(seen))
    async with watching(town.made.url, f"{DASHBOARD}?after={start}", cookie) as stream:
        assert int((await stream.next())[1]) >= seen[-1]


@pytest.mark.parametrize("wrong", ["x", "-1", "²", "9" * 30, "99999999999999"])
async def test_a_number_that_nobody_has_been_given_starts_now(town: Town, wrong: str) -> None:
    cookie = await signed_in(town.made, town.coordinator, StaffRole.COORDINATOR)
    async with watching(town.made.url, f"{DASHBOARD}?after={wrong}", cookie) as stream:
        await _change(town)
        assert (await stream.next())[0] == "changed"


async def test_each_watches_the_own_networks_only(town: Town) -> None:
    other = await town.organisation("Another coordinator", "coordination", ["notify:watch"])
    theirs = await signed_in(town.made, other, StaffRole.COORDINATOR)
    mine = await signed_in(town.made, town.coordinator, StaffRole.COORDINATOR)
    async with (
        watching(town.made.url, f"{DASHBOARD}?after=0", theirs) as quiet,
        watching(town.made.url, DASHBOARD, mine) as stream,
    ):
        await _change(town)
        assert (await stream.next())[0] == "changed"
        with pytest.raises(TimeoutError):
            await quiet.next(within_s=1.5)


async def test_a_house_is_told_of_its_own_inbox_only(town: Town) -> None:
    cookies = [await signed_in(town.made, house, StaffRole.RECEIVER) for house in (town.first, town.second)]
    # Whoever comes first to an inbox that nobody watched may be told once for nothing.
    numbers = [await hub_of(town.made, "referral").now(UUID(house.id)) for house in (town.first, town.second)]
    async with (
        watching(town.made.url, f"{INBOX}?after={numbers[0]}", cookies[0]) as asked,
        watching(town.made.url, f"{INBOX}?after={numbers[1]}", cookies[1]) as quiet,
    ):
        await town.handoff(await town.ready_person())
        event, id_ = await asked.next()
        assert (event, int(id_) > numbers[0]) == ("changed", True)
        with pytest.raises(TimeoutError):
            await quiet.next(within_s=1.5)


async def test_a_stranger_and_who_may_not_are_sent_away_at_once(town: Town) -> None:
    house = await signed_in(town.made, town.first, StaffRole.RECEIVER)
    for path, cookie in ((DASHBOARD, None), (DASHBOARD, "x" * 43), (DASHBOARD, house), (INBOX, None)):
        async with watching(town.made.url, path, cookie) as stream:
            assert await stream.next() == ("bye", "")
            assert await stream.ended()


@pytest.fixture
def checked_often(town: Town) -> AsyncIterator[None]:
    hub = hub_of(town.made)
    usual, hub.check_s = hub.check_s, 0.2
    yield
    hub.check_s = usual


async def test_it_says_goodbye_when_the_session_has_ended(town: Town, checked_often: None) -> None:
    cookie = await signed_in(town.made, town.coordinator, StaffRole.COORDINATOR)
    async with watching(town.made.url, DASHBOARD, cookie) as stream:
        with pytest.raises(TimeoutError):  # as long as the session is open
            await stream.left(within_s=1.0)
    async with watching(town.made.url, DASHBOARD, cookie) as stream:
        async with town.records() as tx:
            await tx.conn.execute("delete from session")
        assert await stream.left() == ("bye", "")
        assert await stream.ended()


async def test_it_says_goodbye_when_the_organisation_is_suspended(town: Town, checked_often: None) -> None:
    other = await town.organisation("Watcher", "coordination", ["notify:watch"])
    cookie = await signed_in(town.made, other, StaffRole.COORDINATOR)
    async with watching(town.made.url, DASHBOARD, cookie) as stream:
        await town.admin.post(f"/referral/organisations/{other.id}/suspend")
        assert (await stream.left())[0] == "bye"


@pytest.mark.parametrize("service", ["notify", "referral"])
async def test_what_a_page_that_looks_by_itself_does_to_its_session(town: Town, service: str) -> None:
    """Nobody may sit before a dashboard: its session ends as if it were shut. An inbox must not sign itself out at night."""
    who, role = {
        "notify": (town.coordinator, StaffRole.COORDINATOR), "referral": (town.first, StaffRole.RECEIVER),
    }[service]  # fmt: skip
    page = {"notify": "/notify/pages/dashboard", "referral": "/referral/pages/inbox"}[service]
    cookie = await signed_in(town.made, who, role)
    digest = opener_digest(cookie)

    async def seen(shift: str = "0") -> datetime:
        async with town.records() as tx:
            at: datetime = await tx.conn.fetchval(
                "update session set seen_at = seen_at - $2::text::interval where digest = $1 returning seen_at",
                digest,
                shift,
            )
            return at

    before = await seen("20 minutes")
    async with httpx.AsyncClient(
        base_url=town.made.url, headers={"Cookie": f"{COOKIE}={cookie}"}, timeout=15
    ) as client:
        assert (await client.get(f"{page}/now", headers={"HX-Request": "true"})).status_code == 200
        async with watching(town.made.url, f"/{service}/pages/live", cookie, **{"HX-Request": "true"}):
            pass
        assert (await seen() > before) == (service == "referral")
        assert (await client.get(page)).status_code == 200
        assert await seen() > before


def test_a_session_is_looked_at_once_a_minute_at_least():
    assert live.CHECK_S <= 60
    assert live.PING_S == 15


async def test_when_the_watcher_goes_the_hub_forgets_it(town: Town) -> None:
    hub, cookie = hub_of(town.made), await signed_in(town.made, town.coordinator, StaffRole.COORDINATOR)
    before = hub.watched
    async with watching(town.made.url, DASHBOARD, cookie):

        async def there() -> bool:
            return hub.watched == before + 1

        await eventually(there)

    async def gone() -> bool:
        return hub.watched == before

    await eventually(gone)


async def test_stopping_does_not_wait_for_whoever_watches(workspace: Path) -> None:
    async with installed_apart(workspace) as (made, settings):
        running = installation.running(made)
        await running.__aenter__()
        async with settle(made, settings) as settled:
            town = await found(settled)
            cookie = await signed_in(made, town.coordinator, StaffRole.COORDINATOR)
            async with watching(made.url, DASHBOARD, cookie) as one, watching(made.url, DASHBOARD, cookie) as two:
                began = time.monotonic()
                await running.__aexit__(None, None, None)
                took = time.monotonic() - began
                assert await one.ended()
                assert await two.ended()
    assert took < 3.0
