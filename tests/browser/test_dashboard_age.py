"""The coordinator's page says how old it is, and when it cannot know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest

from schemas.questions import OrganisationFacts
from schemas.rights import StaffRole
from schemas.vocabulary import OrganisationStatus, OrganisationType
from services.cli import installation
from services.cli.installation import Installation
from services.notify.dashboards.figures import Board
from spean import order
from spean.bus import Partition, Stored
from spean.event import Event
from spean.ids import event_id
from spean.web.visitor import COOKIE, Visitor
from tests.browser.visiting import Screen
from tests.integration.lived import settings_in

DASHBOARD = "/notify/pages/dashboard"


@pytest.fixture
async def alone(workspace: Path) -> AsyncIterator[Installation]:
    """Installed, and nothing runs: what the network says is read by nobody."""
    async with installation.installed(settings_in(workspace / f"alone-{uuid4().hex[:6]}"), listening=False) as made:
        yield made


async def _looked(made: Installation) -> str:
    """The page's text, as a coordinator's member of staff has it."""
    facts = OrganisationFacts(
        organisation=uuid4(), type=OrganisationType.COORDINATION, country="KH", law_enforcement=False,
        status=OrganisationStatus.ACTIVE,
    )  # fmt: skip
    who = Visitor(
        person=uuid4(), session=uuid4(), name="Test Person", organisation="Coordinator", sample=True,
        roles=frozenset({StaffRole.COORDINATOR}), networks=frozenset(), facts=facts, language="en",
    )  # fmt: skip

    async def find(_: str) -> Visitor:
        return who

    notify = made.services["notify"]
    notify.app.state.visitors = find
    notify.app.state.board = Board(notify.db, made.bus, notify.reads)  # a new look, not the one of a moment ago
    transport = httpx.ASGITransport(app=installation.one_app(made.services, "http://spean.test"))
    async with httpx.AsyncClient(transport=transport, base_url="http://spean.test") as client:
        reply = await client.get(DASHBOARD, headers={"Cookie": f"{COOKIE}=x"})
    assert reply.status_code == 200
    return Screen(reply).text


async def test_it_says_how_old_it_is_and_when_it_cannot_know(alone: Installation) -> None:
    fresh = await _looked(alone)
    assert "Stale" not in fresh
    assert "old: what happened since" not in fresh
    said = Event(
        id=event_id(), type="org.spean.offer.seen.v1", source="spean/referral", subject=uuid4(), epoch=1, sequence=1,
        time=datetime.now(UTC) - timedelta(seconds=40), correlationid=uuid4(), causationid=None, traceparent=None,
        value=b"{}",
    )  # fmt: skip
    producer = await alone.bus.producer("test")
    await producer.append(Partition("spean.referral", 0), [said.record()])
    await producer.close()
    assert "seconds old: what happened since is on its way." in await _looked(alone)
    notify = alone.services["notify"]
    async with notify.db.transaction("test.park") as tx:
        await order.park(tx, Stored(Partition("spean.referral", 0), 0, said.record()), said, "gap")
        await tx.conn.execute("insert into position (topic, partition, next) values ('spean.referral', 0, 1)")
    behind = await _looked(alone)
    assert "1 thing that happened could not be read" in behind
    assert "old: what happened since" not in behind
    admin = await asyncpg.connect(alone.cluster.dsn("postgres"))
    try:  # the bus is away
        await admin.execute("alter database bus allow_connections false")
        await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'bus'")
    finally:
        await admin.close()
    assert "Stale: it cannot be known now how old this is." in await _looked(alone)
