"""What is written down about a person is nowhere but under that person's key: not on the bus, not in any other table, not
in mails, streams, errors, logs, spans, nor in the files of PostgreSQL.

One run of the whole line with a canary in every field, with refusals and with things going wrong, in a process that logs
everything it can. Then every place is searched; a proof planted on purpose in each kind of place shows that it would be
found.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from deploy.kafka import local
from services.cli.client import ApiProblem, Partner
from services.intake.cases.store import _context
from services.intake.keystore.store import DATABASE as KEYS
from services.intake.keystore.store import KeyStore
from spean.crypto import seal
from spean.provision import Roles, service_dsns
from spean.service import topics
from spean.telemetry.words import NAMES
from tests.builders import Organisation, World, eventually, network_in, second_system
from tests.collector import Collector, collecting
from tests.conftest import without_kafka
from tests.security.canaries import WORDS, Search, person, texts, token, word
from tests.security.planted import PROOF, databases, plant_proofs
from tests.security.watched import SPANS, WRITTEN
from tests.security.watching import Run, bus_of, watched

# A plain column at the holder says to whom nothing may go: that is not secret there.
EXCLUDED = str(uuid4())
ALLOWED = {("intake.exclusion", EXCLUDED)}
# How a table's values get into an error: the text of the exception is the row.
_TRIP = """
create function trip() returns trigger language plpgsql as $$
begin raise exception 'tripped over %', new using errcode = '{code}', detail = new::text; end $$;
create trigger trip before {event} on {table} for each row execute function trip();
"""
_UNTRIP = "drop function trip() cascade"


# --- the line -----------------------------------------------------------------------------------------------------


async def _the_line(run: Run, world: World, house: Organisation, fields: dict[str, Any]) -> dict[str, Any]:
    """From entry to outcome; every text that somebody may type is a canary. Returns what is to be searched for."""
    sender = world.sender.partner
    entry = await world.entry(**fields)
    shown = (await sender.get(f"/intake/entries/{entry}"))["person"]
    assert texts(shown) >= texts(fields)  # the control: it is all there, for its own organisation
    await world.consent(entry, "service")
    await world.consent(entry, "share_referral")
    official = word(802)
    await sender.post(f"/intake/entries/{entry}/exclusions", {"kind": "organisation", "value": EXCLUDED})
    await sender.post(f"/intake/entries/{entry}/exclusions", {"kind": "official", "value": EXCLUDED, "name": official})
    never = (await sender.get(f"/intake/entries/{entry}/consents"))["exclusions"]
    assert {"kind": "official", "value": EXCLUDED, "names": [official]} in never
    await sender.post(f"/intake/entries/{entry}/case")
    handoff = await world.handoff(entry)
    offer = (await world.offer(house))["id"]
    await house.partner.post(f"/referral/offers/{offer}/accept")
    await world.state(handoff, "ready")
    packet = (await house.partner.packet(offer))["members"][0]
    assert packet["health_notes"] == fields["health_notes"]  # the control: what may be read is read
    meeting, address = word(800), word(801)
    await house.partner.tell(offer, "whereabouts", {"meeting_point": meeting, "address": address})
    seen = await sender.get(f"/intake/handoffs/{handoff}")
    assert seen["meeting_point"] == meeting
    return {
        "entry": entry,
        "handoff": handoff,
        "offer": offer,
        "code": seen["hand_over_code"],
        "texts": {meeting, address, official},
    }


async def _to_the_end(run: Run, world: World, house: Organisation, line: dict[str, Any]) -> None:
    """Wrong codes, arrival, a cancellation after it, sharing withdrawn, the outcome."""
    wrong = "000000" if line["code"] != "000000" else "000001"
    offer, sender = line["offer"], world.sender.partner
    await run.refused(house.partner.post(f"/referral/offers/{offer}/arrived", {"code": wrong}), "code-wrong")
    await house.partner.post(f"/referral/offers/{offer}/arrived", {"code": line["code"]})
    await world.state(line["handoff"], "in-progress")
    await sender.post(f"/intake/handoffs/{line['handoff']}/cancel")
    await sender.post(f"/intake/entries/{line['entry']}/withdraw", {"what": "sharing"})
    await house.partner.post(f"/referral/offers/{offer}/outcome", {"outcome": "needs_met"})
    await sender.get("/intake/handoffs")


async def _refusals(run: Run, world: World, line: dict[str, Any], fields: dict[str, Any]) -> None:
    """Whatever can be wrong with what is typed."""
    sender, some = world.sender.partner, next(iter(texts(fields)))
    good = {"channel": "border_post", "area": "KH-1", "person": fields}
    for body in (
        {**good, some: some}, {**good, "channel": some}, {**good, "area": some}, {**good, "happened_at": some},
        {**good, "person": {**fields, some: 1}}, {**good, "person": {**fields, "name": some * 20}}, [some], some,
        {**good, "person": {**fields, "age_years": some}}, {**good, "person": {**fields, "needs": [some]}},
    ):  # fmt: skip
        await run.refused(sender.post("/intake/entries", body), "invalid")
    await run.refused(sender.post("/intake/entries", {**good, "person": {"name": some + "\0"}}), "unreadable")
    await run.refused(sender.post("/intake/entries", {**good, "area": "KH-ZZ9"}), "unknown-area")
    await run.refused(sender.put(f"/intake/entries/{line['entry']}/person", fields, version=99), "version")
    await run.refused(sender.put(f"/intake/entries/{uuid4()}/person", fields, version=1), "not-found")
    key = str(uuid4())
    await sender.post("/intake/entries", good, key=key)
    await run.refused(sender.post("/intake/entries", {**good, "area": "KH-2"}, key=key), "key-reused")
    minor = await world.entry(**{**fields, "age_years": 15})
    await run.refused(sender.post(f"/intake/entries/{minor}/case"), "guardian", "service-consent")
    why = " ".join(texts(fields))[:4_000]
    check = await sender.post(f"/intake/entries/{minor}/bases", {"kind": "family_risk_check", "justification": why})
    decide = f"/intake/entries/{minor}/bases/{check['id']}/decide"
    await run.refused(sender.post(decide, {"agrees": True, "reasons": why}), "same-person")
    await run.refused(sender.post(decide, {"agrees": some, "reasons": why}), "invalid")
    await run.refused(sender.get(f"/intake/entries/{line['entry']}?{some}={some}", token=some.encode()), "bad-token")
    await run.refused(sender.get(f"/intake/{some}/{some}"), "not-found")
    await run.refused(sender.get(f"/intake/handoffs?before={some}"), "invalid")
    async with httpx.AsyncClient(base_url=run.made.url, timeout=15) as client:
        for content in (some.encode(), b'{"a": "' + some.encode(), b"\xff" + some.encode(), some.encode("utf-16")):
            answer = await client.post("/intake/entries", content=content, headers={"Content-Type": "application/json"})
            assert 400 <= answer.status_code < 500
            run.errors.append(answer.content + str(answer.headers).encode())


async def _papers(run: Run, world: World) -> set[str]:
    """What people write to each other about somebody: why something stands in for consent, what a second person says to it,
    why somebody is not to be erased, how an authority calls their case."""
    entry, sender = await world.entry(), world.sender.partner
    officer = await second_system(world, world.sender, ["intake:rules"])
    why, says, held, number, notes = (word(one) for one in range(803, 808))
    of = f"/intake/entries/{entry}"
    check = {"kind": "family_risk_check", "justification": why, "acting_for": "first"}
    made = await sender.post(f"{of}/bases", check)
    reply = {"agrees": True, "reasons": says, "acting_for": "second"}
    await sender.post(f"{of}/bases/{made['id']}/decide", reply)
    await officer.post(f"{of}/holds", {"reason": held, "until": "2100-01-01T00:00:00Z"})
    today = datetime.now(UTC).date().isoformat()
    step = {"status": "presumed", "decided_by": "police", "decided_on": today, "reference": number, "notes": notes}
    await sender.post(f"{of}/identification", step)
    await run.refused(sender.post(f"{of}/identification", step), "state")
    await run.refused(sender.post(f"{of}/identification", {**step, "status": notes}), "invalid")
    texts_of = [
        await sender.get(f"{of}/bases"),
        await officer.get(f"{of}/holds"),
        await sender.get(f"{of}/identification"),
    ]
    read = json.dumps(texts_of, ensure_ascii=False)
    assert [text in read for text in (why, says, held, number, notes)] == [True] * 5
    await run.refused(sender.post(f"{of}/erase", {"why": "mistake"}), "legal-hold")
    return {why, says, held, number, notes}


async def _screening(run: Run, world: World) -> set[str]:
    """A file with texts where codes belong: they are reported by line and column, never kept."""
    planted = {word(900 + number) for number in range(10)}
    sender = world.sender.partner
    made = await sender.post("/intake/screenings", {"digest": "cd" * 32, "area": "KH-1"})
    rows = [{"line": 2, "values": sorted(planted)}, {"line": 3, "values": ["2015", *sorted(planted)[1:]]}]
    await sender.post(f"/intake/screenings/{made['id']}/rows", {"from_row": 0, "rows": rows})
    findings = await sender.get(f"/intake/screenings/{made['id']}/findings")
    assert findings["findings"]
    run.errors.append(json.dumps(findings, ensure_ascii=False).encode())
    return planted


# --- things go wrong ----------------------------------------------------------------------------------------------


async def _faults(run: Run, world: World, house: Organisation, fields: dict[str, Any]) -> None:
    """PostgreSQL refuses rows with the row in its words, on commands, on questions, in a consumer; sessions are cut."""
    sender = world.sender.partner
    good = {"channel": "border_post", "area": "KH-1", "person": fields}
    for code, answer in (("P0001", "fault"), ("23514", "fault"), ("22001", "invalid"), ("40001", "busy")):
        await run.sql("intake", _TRIP.format(table="entry", event="insert or update", code=code))
        await run.refused(sender.post("/intake/entries", good), answer)
        await run.sql("intake", _UNTRIP)
    entry = await world.ready_person(**fields)
    waiting = await world.handoff(entry)
    offer = (await world.offer(house))["id"]
    await run.sql("intake", _TRIP.format(table="disclosure", event="insert or update", code="P0001"))
    listed = (await house.partner.get("/referral/offers"))["offers"]  # the holder is silent: no content
    assert any(one["id"] == offer and one["content"] is None for one in listed)
    await run.sql("intake", _UNTRIP)
    await run.sql("intake", _TRIP.format(table="asked", event="insert or update", code="23514"))
    await run.refused(house.partner.post(f"/referral/offers/{offer}/accept"), "holder-silent")
    await run.sql("intake", _UNTRIP)
    await run.sql("intake", _TRIP.format(table="handoff", event="update", code="23514"))
    await house.partner.post(f"/referral/offers/{offer}/decline", {"reason": "other_reviewed"})

    async def parked() -> bool:
        conn = await asyncpg.connect(run.database("intake"))
        try:
            return bool(await conn.fetchval("select count(*) from parked where reason like 'sqlstate-%'"))
        finally:
            await conn.close()

    await eventually(parked)
    await run.sql("intake", _UNTRIP)
    await _unreadable_record(run, world, fields)
    await run.sql("intake", "select pg_terminate_backend(pid) from pg_stat_activity where usename like 'intake%'")
    again = await eventually(lambda: _answered(sender, f"/intake/handoffs/{waiting}"))
    assert again["id"] == waiting


async def _unreadable_record(run: Run, world: World, fields: dict[str, Any]) -> None:
    """A record that a newer version has sealed: the error's own text, which is logged, says what was in it."""
    entry = UUID(await world.entry(**fields))
    roles = Roles.load(run.settings.keys)
    keys = await KeyStore.open(service_dsns(run.made.cluster, roles, KEYS)[1], run.settings.keys / "intake" / "kek-1")
    try:
        newer = json.dumps({**fields, "age_years": fields["name"], "a_new_field": fields["account"]}).encode()
        sealed = seal(await keys.key(entry), newer, _context(entry))
    finally:
        await keys.close()
    await run.sql("intake", f"update entry set sealed = '\\x{sealed.hex()}' where id = '{entry}'")
    await run.refused(world.sender.partner.get(f"/intake/entries/{entry}"), "fault")


async def _answered(sender: Partner, path: str) -> Any:
    """The answer, or None while the service is busy."""
    try:
        return await sender.get(path)
    except ApiProblem as problem:
        if problem.code != "busy":
            raise
        return None


async def _follow(run: Run, watcher: Partner) -> bytes:
    """The stream of changes from the beginning, until it has said PROOF."""
    headers = {"Authorization": f"Bearer {await watcher.token()}", "Last-Event-ID": "0"}
    heard = b""
    async with (
        httpx.AsyncClient(base_url=run.made.url, timeout=30) as client,
        client.stream("GET", "/notify/changes", headers=headers) as response,
    ):
        assert response.status_code == 200
        async for chunk in response.aiter_raw():
            heard += chunk
            if PROOF.encode() in heard:
                break
    return heard


# --- the search ---------------------------------------------------------------------------------------------------


async def _look_at_the_bus(run: Run, search: Search) -> int:
    """Keys, headers and values of every record of every topic. Returns how many records."""
    count = 0
    async with bus_of(run) as bus:
        for topic in [*(spec.name for spec in topics([run.settings.holder])), "scratch"]:
            for partition, bounds in (await bus.bounds(topic)).items():
                at = bounds.start
                while at < bounds.end:
                    stored = await bus.read(partition, at, limit=500)
                    for one in stored:
                        record = one.record
                        search.look(f"{topic} key", record.key)
                        search.look(f"{topic} headers", json.dumps(dict(record.headers), ensure_ascii=False))
                        search.look(f"{topic} value", record.value)
                    count, at = count + len(stored), stored[-1].offset + 1
    return count


async def _look_while_it_runs(run: Run, search: Search, watcher: Partner) -> None:
    search.look("stream", await _follow(run, watcher))
    for one in (*run.errors, PROOF.encode()):
        search.look("errors", one)
    for mail in run.box.mails:
        search.look("mails", mail)
    async with httpx.AsyncClient(base_url=run.inside, timeout=15) as client:
        search.look("numbers", (await client.get("/metrics")).content)
    assert await _look_at_the_bus(run, search) > 20
    for name in databases(run.settings.bus):
        assert await search.look_in_database(name, run.database(name)) > 0
    await run.sql("postgres", "checkpoint")
    await _nothing_was_spilled(run)


def _look_at_what_is_left(run: Run, search: Search) -> None:
    search.look("output", run.output)
    search.look("spans", run.collector.traces_raw)
    search.look("metrics", run.collector.metrics_raw)
    search.look("postgres log", (run.settings.data / "postgres.log").read_bytes())
    assert search.look_in_files("files of data", run.settings.data) > 2**20
    (wal,) = run.settings.data.rglob("pg_wal")
    assert search.look_in_files("WAL", wal) > 2**20
    assert search.look_in_files("keys", run.settings.keys) > 0


async def _nothing_was_spilled(run: Run) -> None:
    """PostgreSQL sorted nothing in files, which are gone before anybody could look at them."""
    conn = await asyncpg.connect(run.database("postgres"))
    try:
        assert await conn.fetchval("select sum(temp_files) from pg_stat_database") == 0
    finally:
        await conn.close()


def _nothing_is_written_elsewhere(run: Run) -> None:
    """The process writes to its own two folders alone: no temporary file but the proof."""
    written = {Path(one) for one in (run.folder / WRITTEN).read_text().splitlines()} - {Path(os.devnull)}
    own = (run.settings.data, run.settings.keys)
    elsewhere = {one for one in written if not any(one.is_relative_to(folder) for folder in own)}
    assert len(written) > len(elsewhere)
    assert elsewhere == {run.folder / PROOF}


def _spans_are_ours(run: Run) -> None:
    """No library traces by itself, and what our spans carry is on the list."""
    assert (run.folder / SPANS).read_bytes() == b""
    for one in run.collector.spans:
        assert set(one.attributes) <= set(NAMES.values()), one.name
        assert (one.events, one.status) == (0, ""), one.name
    names = {one.name.split()[0] for one in run.collector.spans}
    ours = {"http", "tx", "ask", "relay", "send", "consume", "process", "clock", "answer", "deliver"}
    assert ours <= names <= {*ours, "planted"}


@pytest.fixture
async def own_kafka() -> AsyncIterator[str]:
    """A broker that nobody else writes to."""
    if (lacking := local.missing()) is not None:
        without_kafka(lacking)
    with tempfile.TemporaryDirectory(prefix="spean-kafka-") as folder:
        kafka = await local.start(Path(folder), 1)
        yield kafka.address
        await kafka.stop()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture(params=["postgres", pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.long])])
def bus(request: pytest.FixtureRequest) -> str:
    """The bus inside PostgreSQL (no address), and a Kafka."""
    return request.getfixturevalue("own_kafka") if request.param == "kafka" else ""


@pytest.mark.timeout(240)
async def test_nothing_about_a_person_is_anywhere_else(workspace: Path, bus: str, collector: Collector) -> None:
    folder = workspace / f"canaries-{'kafka' if bus else 'postgres'}"
    folder.mkdir(mode=0o755)
    first, second = person(1), person(101)
    planted = texts(first) | texts(second)
    async with watched(folder, bus, PROOF, collector) as run, network_in(run.made, run.settings) as world:
        house = await world.house("House")
        await world.admin.post("/notify/addresses", {"organisation": house.id, "email": "inbox@sample.example"})
        line = await _the_line(run, world, house, first)
        planted |= line["texts"]
        await _to_the_end(run, world, house, line)
        await _refusals(run, world, line, first)
        planted |= await _papers(run, world)
        planted |= await _screening(run, world)
        await _faults(run, world, house, second)
        await plant_proofs(run, world.coordinator.id)
        await eventually(lambda: _mailed(run))
        search = Search({*planted, EXCLUDED, PROOF})
        await _look_while_it_runs(run, search, world.coordinator.partner)
    _look_at_what_is_left(run, search)
    _nothing_is_written_elsewhere(run)
    leaks = {(place, canary) for place, canary in search.found if canary != PROOF} - ALLOWED
    assert {leak for leak in leaks if leak[0] != "files of data" or leak[1] != EXCLUDED} == set()
    assert ("intake.exclusion", EXCLUDED) in search.found
    scratch = {f"{name}.scratch_{name}" for name in databases(bus)}
    kinds = {"stream", "errors", "mails", "output", "spans", "metrics", "postgres log", "files of data", "WAL"}
    on_the_bus = {f"scratch {part}" for part in ("key", "headers", "value")}
    assert {place for place, canary in search.found if canary == PROOF} >= scratch | kinds | on_the_bus
    _spans_are_ours(run)
    way = ["clock delivery", "deliver mail"]
    assert any(one[0] == "http" and one[-2:] == way for one in run.collector.ways_to("deliver mail"))


async def _mailed(run: Run) -> bool:
    return any(b"Something waits" in mail for mail in run.box.mails) and any(
        PROOF.encode() in mail for mail in run.box.mails
    )


@pytest.mark.parametrize("canary", [*WORDS, word(1), token(7)])
def test_a_disguise_is_seen_through(canary: str) -> None:
    """As it is, escaped for JSON and for Python, percent-encoded, in hexadecimal, in Base64 inside something longer."""
    for disguise in (
        canary, json.dumps({"a": canary}), repr(canary.encode()), quote(canary), canary.encode().hex(),
        *(base64.b64encode(b"x" * before + canary.encode() + b"y" * 7).decode() for before in range(4)),
    ):  # fmt: skip
        search = Search([canary])
        search.look("here", f"something before {disguise} something after")
        assert ("here", canary) in search.found, disguise
    search = Search([canary])
    search.look("here", "nothing of it")
    assert search.found == set()
