"""An event on the bus: what is written is what is read, and nothing else is read at all."""

from __future__ import annotations

import traceback
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import events as e
from schemas import registry
from schemas.vocabulary import ReasonFamily, WaitsFor
from spean.bus import Record
from spean.event import MAX_HEADERS_BYTES, Event, Malformed, parse

CANARY = "canary-2d9a"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EVENT = Event(
    id=uuid4(), type="org.spean.packet.released.v1", source="spean/intake/main", subject=uuid4(), epoch=3, sequence=14,
    time=datetime(2026, 3, 1, 12, 30, 1, 5, UTC), correlationid=uuid4(), causationid=uuid4(), traceparent=TRACE,
    value=registry.write(e.PacketReleasedV1(offer=uuid4())),
)  # fmt: skip
NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=200)
EVENTS = st.builds(
    Event, id=st.uuids(), type=NAMES, source=NAMES, subject=st.uuids(), epoch=st.integers(1, 2**31 - 1),
    sequence=st.integers(1, 2**63 - 1), time=st.datetimes(timezones=st.just(UTC)), correlationid=st.uuids(),
    causationid=st.none() | st.uuids(), traceparent=st.none() | st.just(TRACE), value=st.binary(max_size=200),
)  # fmt: skip


def changed(**headers: str | None) -> Record:
    record = EVENT.record()
    found = {**record.headers, **headers}
    return Record(record.key, {name: value for name, value in found.items() if value is not None}, record.value)


@given(EVENTS)
def test_what_is_written_is_what_is_read(event: Event) -> None:
    assert parse(event.record()) == event


def test_cloudevents_in_the_binary_form() -> None:
    headers = EVENT.record().headers
    assert headers["ce_specversion"] == "1.0"
    assert headers["content-type"] == "application/json"
    assert headers["ce_partitionkey"] == str(EVENT.subject) == EVENT.record().key.decode()
    assert {name for name in headers if not name.startswith("ce_")} == {"content-type"}
    assert all(headers.values())


def test_the_longest_names_leave_room() -> None:
    longest = max(registry.TYPES, key=len)
    event = replace(EVENT, type=longest, source="spean/intake/" + "x" * 31)
    size = sum(len(name) + len(value) for name, value in event.record().headers.items())
    assert size < MAX_HEADERS_BYTES / 4


@pytest.mark.parametrize("name", ["id", "type", "source", "subject", "epoch", "sequence", "time", "correlationid"])
def test_what_every_event_has(name: str) -> None:
    with pytest.raises(Malformed):
        parse(changed(**{f"ce_{name}": None}))
    for wrong in ("", CANARY + "\0", "é" * 3, "x" * 201):
        with pytest.raises(Malformed):
            parse(changed(**{f"ce_{name}": wrong}))


@pytest.mark.parametrize("wrong", ["0", "-1", "+1", "1_0", " 1", "1.0", "٣", "01", "1e3", str(2**63), "9" * 5000])
def test_numbers_that_no_database_counts_to(wrong: str) -> None:
    for name in ("ce_epoch", "ce_sequence"):
        with pytest.raises(Malformed):
            parse(changed(**{name: wrong}))
    with pytest.raises(Malformed):
        parse(changed(ce_epoch=str(2**31)))
    assert parse(changed(ce_sequence=str(2**31))).sequence == 2**31


@pytest.mark.parametrize("wrong", ["2026-01-01T00:00:00", "yesterday", "0001-01-01T00:00:00+14:00"])
def test_a_time_has_a_zone(wrong: str) -> None:
    with pytest.raises(Malformed):
        parse(changed(ce_time=wrong))


def test_a_time_is_read_in_utc() -> None:
    there = EVENT.time.astimezone(timezone(timedelta(hours=7)))
    assert parse(changed(ce_time=there.isoformat())).time.isoformat() == EVENT.time.isoformat()


def test_what_is_no_attribute_of_ours_is_left_alone() -> None:
    assert parse(changed(other="x", ce_new="y")) == EVENT
    with pytest.raises(Malformed):
        parse(changed(other="x" * MAX_HEADERS_BYTES))
    with pytest.raises(Malformed):
        parse(changed(other="a\0b"))


@pytest.mark.parametrize("wrong", ["", CANARY, TRACE.upper(), TRACE + "-00", f"{TRACE}\n"])
def test_a_trace_that_cannot_be_followed_does_no_harm(wrong: str) -> None:
    assert parse(changed(ce_traceparent=wrong)) == replace(EVENT, traceparent=None)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=60), max_size=12), st.binary(max_size=60))
def test_anything_else_is_malformed_and_never_an_error(headers: dict[str, str], value: bytes) -> None:
    with pytest.raises(Malformed):
        parse(Record(b"", headers, value))


def test_no_content_in_the_error() -> None:
    with pytest.raises(Malformed) as raised:
        parse(changed(ce_id=CANARY))
    assert CANARY not in "".join(traceback.format_exception(raised.value))
    assert not raised.value.args


def test_data_of_its_version() -> None:
    offer = UUID(int=7)
    event = replace(EVENT, value=b'{"offer": "%s", "later": 1}' % str(offer).encode())
    assert event.data() == e.PacketReleasedV1(offer=offer)


def test_an_older_version_becomes_the_newest_and_stays_the_same_event() -> None:
    older = replace(EVENT, type="org.spean.referral.held.v1", value=b'{"reason":"closed"}')
    newest = older.newest()
    assert newest.data() == e.ReferralHeldV2(reason=ReasonFamily.CLOSED, waits_for=WaitsFor.COORDINATOR)
    assert replace(newest, type=older.type, value=older.value) == older
    assert newest.newest() is newest
