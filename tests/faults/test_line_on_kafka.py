"""The same installation with its bus on a real Apache Kafka: the main line over the API and on pages, traffic
with the checker, and the demo."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import pytest

from services.cli import bootstrap, demo, installation
from services.cli.installation import Installation
from services.cli.watching import watched
from spean import embedded
from spean.service import ROLES
from spean.settings import Settings
from tests.browser import test_journey
from tests.browser.conftest import a_browser
from tests.browser.hands import Way
from tests.builders import network_in, settings_for
from tests.collector import collecting
from tests.faults import checker, snapshot
from tests.faults.load import WINDOWS, Journal, Load
from tests.integration import test_watching
from tests.integration.mailbox import AnyPort, Mailbox
from tests.journeys import test_main_line

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
async def on_kafka(workspace: Path, kafka_address: str) -> AsyncIterator[tuple[Installation, Settings]]:
    """All roles in this process, and a mail server; a PostgreSQL of its own, for its databases have the same names as
    everybody's."""
    mails = AnyPort(Mailbox(), hostname="127.0.0.1", port=0)
    running = await embedded.start(workspace / "pg-k", password_file=workspace / "pg-k-password", fast_unsafe=True)
    mails.start()
    try:
        settings = settings_for(workspace / "on-kafka", running.server.dsn("postgres"), bus=kafka_address)
        settings = settings.model_copy(update={"smtp": f"smtp://127.0.0.1:{mails.port}"})
        async with installation.installed(settings) as made, installation.running(made):
            yield made, settings
    finally:
        await running.stop()
        mails.stop()


async def test_the_main_line(on_kafka: tuple[Installation, Settings]) -> None:
    async with network_in(*on_kafka) as world:
        await test_main_line.test_a_person_is_handed_to_a_shelter_and_the_loop_closes(world)


async def test_one_trace_from_the_click_to_the_mail(on_kafka: tuple[Installation, Settings]) -> None:
    """Through the outbox, both topics, two services and their clocks; nothing of a trace gets lost in a record's headers."""
    made, settings = on_kafka
    with collecting() as collector:
        told = settings.model_copy(update={"otlp": collector.url})
        async with watched(told, made.services, ROLES, "one", None) as begun, network_in(made, settings) as world:
            assert begun is not None
            house = await world.house("House")
            await world.admin.post("/notify/addresses", {"organisation": house.id, "email": "inbox@sample.example"})
            await world.handoff(await world.ready_person())
            trace = await test_watching.whole(begun, collector, test_watching.ASKED, test_watching.MAILED)
    (click,) = (one for one in trace if not one.parent)
    assert (click.name, click.attributes["http.route"]) == ("http", "/intake/handoffs")


@pytest.mark.browser
async def test_the_main_line_on_pages(on_kafka: tuple[Installation, Settings]) -> None:
    """Border post, house and coordinator, each in a browser, with parts that move by themselves."""
    async with network_in(*on_kafka) as world, a_browser() as browser:
        way = Way("km", 360, scripts=True)
        await test_journey.test_a_person_is_handed_to_a_house_and_the_loop_closes(world, browser, way)


async def test_traffic_leaves_every_invariant_whole(on_kafka: tuple[Installation, Settings]) -> None:
    made, settings = on_kafka
    journal = Journal()
    async with network_in(made, settings, windows=WINDOWS) as world:
        for number in range(3):
            await world.house(f"House {number}", 5)
        await Load(world, journal, seed=3).run(16, 4)
    async with snapshot.opened(made.cluster, made.bus) as sources:
        await checker.quiet(sources, made.services)
        findings = checker.judge(await snapshot.read(sources), journal, made.services)
    assert findings == []
    assert len(journal.handoffs) == 16


async def test_the_demo(on_kafka: tuple[Installation, Settings]) -> None:
    made, settings = on_kafka
    key = await bootstrap.administrator(made.services["referral"].db, settings)
    result = await demo.play(made.url, key)
    assert [one for one in asdict(result)["expectations"] if not one["held"]] == []
    assert result.ok
