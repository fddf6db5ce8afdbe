"""What an operator sees of the running house: one trace over the whole line, numbers that move, and nothing that waits for
whoever watches."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from services.cli.installation import Installation, listen
from services.cli.watching import watched
from spean import outbox
from spean import watched as measures
from spean.service import ROLES, UPKEEP
from spean.settings import Settings
from spean.telemetry import span
from spean.telemetry.export import Telemetry
from spean.telemetry.logs import Foreign, JsonLines
from tests.builders import CATEGORIES, World, eventually
from tests.collector import Collector, Told, collecting

CANARIES = {"name": "Canary Dararath", "health_notes": "canary-asthma-77", "recruiter_notes": "canary-recruiter-78"}
# Longer than the whole line takes on the slowest machine that was tried.
SLOW_S = 60.0
# The trace of one hand-off: from the click to the question at the holder, and to telling the house.
CLICK = [
    "http",
    "tx handoff.request",
    "send spean.handoff.main",
    "process org.spean.handoff.requested.v1",
    "clock referral",
]
ASKED = [*CLICK, "ask next-candidate", "answer a question", "tx question.next_candidate"]
TOLD = [*CLICK, "tx referral.offer", "send spean.referral", "process org.spean.offer.sent.v1", "clock delivery"]
MAILED = [*TOLD, "deliver mail"]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture
async def seen(
    installed: tuple[Installation, Settings], collector: Collector
) -> AsyncIterator[tuple[Telemetry, str]]:  # fmt: skip
    """The session's installation, watched; and the address of its inside."""
    made, settings = installed
    inside = listen("127.0.0.1", 0)
    with inside:
        told = settings.model_copy(update={"otlp": collector.url})
        async with watched(told, made.services, ROLES, "one", inside) as begun:
            assert begun is not None
            yield begun, f"http://127.0.0.1:{inside.getsockname()[1]}"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    text, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(text)
    handler.setFormatter(JsonLines())
    handler.addFilter(Foreign())
    root.addHandler(handler)
    yield text
    root.removeHandler(handler)


async def whole(begun: Telemetry, collector: Collector, *ways: list[str]) -> list[Told]:
    """Wait for the trace that goes all of these ways."""

    async def look() -> list[Told]:
        await begun.flush()
        return collector.trace_along(*ways)

    trace: list[Told] = await eventually(look, within_s=SLOW_S)
    return trace


async def test_one_trace_from_the_click_to_the_told_house(
    world: World, seen: tuple[Telemetry, str], collector: Collector, logged: io.StringIO
) -> None:
    begun, inside = seen
    house = await world.house("House")
    await world.admin.post("/notify/addresses", {"organisation": house.id, "email": "inbox@sample.example"})
    entry = await world.entry(**CANARIES)
    await world.consent(entry, "service")
    await world.consent(entry, "share_referral", categories=[one for one in CATEGORIES if one != "health"])
    await world.sender.partner.post(f"/intake/entries/{entry}/case")
    handoff = await world.handoff(entry)
    offer = await world.offer(house)

    trace = await whole(begun, collector, ASKED, TOLD)
    assert [one.name for one in trace if not one.parent] == ["http"]
    assert trace[0].attributes["http.route"] == "/intake/handoffs"
    assert {one.attributes.get("spean.holder") for one in trace} >= {"main"}

    # A refusal by the gate, and what nobody but its own organisation may read: in none of it.
    await house.partner.post(f"/referral/offers/{offer['id']}/accept")
    code = (await world.state(handoff, "ready"))["hand_over_code"]
    packet = (await house.partner.packet(offer["id"]))["members"][0]
    assert (packet["name"], packet.get("health_notes")) == (CANARIES["name"], None)
    with span("planted", reason=CANARIES["name"]):
        logging.getLogger("spean.test").error("said within a trace", extra={"kind": "x"})
    # What reading the packet said is on its way a moment longer; then there is nothing more to say.
    await eventually(lambda: _said(world))
    for service in world.made.services.values():
        await measures.measure(service)
    await begun.flush()
    async with httpx.AsyncClient(base_url=inside, timeout=15) as client:
        text = (await client.get("/metrics")).text
        assert (await client.get("/live")).text == "ok\n"
        assert (await client.get("/ready")).status_code == 200
    assert (await httpx.AsyncClient(timeout=15).get(f"{world.made.url}/metrics")).status_code == 404
    everything = collector.traces_raw + collector.metrics_raw + text.encode() + logged.getvalue().encode()
    for canary in (*CANARIES.values(), entry, "inbox@sample.example"):
        assert canary.encode() not in everything
    texts = [str(value) for one in collector.spans for value in (one.name, *one.attributes.values())]
    assert not any(code in one for one in texts)
    assert {one.events for one in collector.spans} == {0}
    (planted,) = (one for one in collector.spans if one.name == "planted")
    assert planted.attributes == {"spean.reason": "unfit"}
    line = next(json.loads(one) for one in logged.getvalue().splitlines() if "said within a trace" in one)
    assert (line["trace_id"], line["span_id"]) == (planted.trace, planted.id)
    _numbers(collector, text)


async def _said(world: World) -> bool:
    """Nothing waits in an outbox."""
    for service in world.made.services.values():
        async with service.db.transaction("test.waiting") as tx:
            if (await outbox.waiting(tx))[0]:
                return False
    return True


def _numbers(collector: Collector, text: str) -> None:
    """What a collector gets and what a Prometheus reads are the same numbers."""
    assert collector.number("spean.gate.refusals", spean_gate_stage="packet", spean_gate_rule="consent-category")
    assert (
        collector.number("http.server.request.duration", http_route="/intake/handoffs", http_request_method="POST") == 1
    )
    assert (
        collector.number("messaging.client.consumed.messages", spean_service="notify", spean_outcome="taken") or 0
    ) > 3
    assert collector.number("spean.parked.keys", spean_service="referral") is not None
    assert collector.number("spean.outbox.length", spean_service="intake") == 0
    assert 'spean_outbox_age_seconds{spean_service="intake"} 0' in text
    assert (
        'http_server_request_duration_seconds_count{http_request_method="POST",http_response_status_code="201",' in text
    )
    assert 'spean_consumer_lag{messaging_destination_name="spean.handoff.main"' in text


async def test_a_collector_that_does_not_answer_holds_nobody_up(world: World, workspace: object) -> None:
    """Nor at the end: what could not be sent is lost."""
    made = world.made
    with collecting(answers=False) as collector:
        told = made.settings.model_copy(update={"otlp": collector.url})
        async with watched(told, made.services, ROLES, "one", None):
            house = await world.house("House")
            handoff = await world.handoff(await world.ready_person())
            offer = await world.offer(house)
            await house.partner.post(f"/referral/offers/{offer['id']}/accept")
            assert (await world.state(handoff, "ready"))["hand_over_code"]

            async def held() -> bool:
                return collector.requests > 0

            await eventually(held)
        assert collector.spans == []


def test_whoever_is_called_for_what_is_overdue_finds_what_it_is(installed: tuple[Installation, Settings]) -> None:
    page = (Path(__file__).parents[2] / "docs/runbooks/overdue.md").read_text(encoding="utf-8")
    kinds = {kind for service in installed[0].services.values() for kind in service.due} | {UPKEEP}
    assert [kind for kind in sorted(kinds) if f"`{kind}`" not in page] == []


async def test_a_trace_stays_within_its_organisation(world: World, collector: Collector) -> None:
    """With holders of other organisations nothing of a trace leaves a service; nobody's header begins one."""
    made = world.made
    told = made.settings.model_copy(update={"otlp": collector.url, "one_operator": False})
    foreign = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    async with watched(told, made.services, ROLES, "one", None) as begun:
        assert begun is not None
        house = await world.house("House")
        handoff = await world.handoff(await world.ready_person())
        await world.offer(house)
        async with httpx.AsyncClient(base_url=made.url, headers={"traceparent": foreign}, timeout=15) as client:
            await client.get("/health")

        async def processed() -> bool:
            await begun.flush()
            return bool(collector.trace_of("process org.spean.offer.sent.v1"))

        await eventually(processed)
    said = [
        stored.record.headers
        for partition, bounds in (await made.bus.bounds("spean.handoff.main")).items()
        for stored in await made.bus.read(partition, bounds.start, limit=bounds.end - bounds.start or 1)
        if stored.record.key == handoff.encode()
    ]
    assert said
    assert not any("ce_traceparent" in headers for headers in said)
    handed = {one.trace for one in collector.trace_of("tx handoff.request")}
    received = {one.trace for one in collector.trace_of("process org.spean.handoff.requested.v1")}
    assert handed
    assert received
    assert not handed & received
    assert not any(one.name == "answer a question" for one in collector.spans)
    assert not any(one.trace == "a" * 32 for one in collector.spans)
