"""What cannot take effect is kept with all that follows it for its key; everything else flows."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from spean import consumer
from spean.bus import Partition, Record, partition_of
from spean.consumer import TRIES_MOST, Handler, Poison
from spean.db import Tx
from spean.event import Event
from spean.order import NOBODY, Key
from spean.problem import Refusal
from spean.service import PARTITIONS
from tests.builders import eventually
from tests.integration.kit import RELEASED, STOPPED, Kit, Line, going, recording, write_effect

CANARY = "canary-5f1c"


def failing(when: UUID, error: Exception) -> dict[str, Handler]:
    """Handlers that write their effect, and then fail for one aggregate's `RELEASED`."""

    async def handle(tx: Tx, event: Event) -> None:
        await write_effect(tx, event)
        if event.subject == when and event.type == RELEASED:
            raise error

    return {STOPPED: handle, RELEASED: handle}


async def until_taken(line: Line, reader: Kit) -> None:
    """Until the reader's positions are at the ends of the log."""

    async def at_the_end() -> bool:
        ends = {at.number: bounds.end for at, bounds in (await line.bus.bounds(line.topic)).items()}
        rows = await reader.rows('select "partition", next from position where topic = $1', line.topic)
        return {row["partition"]: row["next"] for row in rows} == ends

    await eventually(at_the_end)


async def take_all(line: Line, reader: Kit, handlers: dict[str, Handler] | None = None) -> None:
    async with going(line.consumer(reader, handlers).run()):
        await until_taken(line, reader)


async def retried(line: Line, reader: Kit, aggregate: UUID, handlers: dict[str, Handler] | None = None) -> str | None:
    return await consumer.retry(reader.db, Key(line.source, aggregate), handlers or recording())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Poison("never-asked"), "never-asked"),
        (Refusal("unknown-network"), "refused-unknown-network"),
        (ValueError(CANARY), "ValueError"),
    ],
    ids=["poison", "refusal", "fault"],
)
async def test_a_failing_key_waits_and_the_others_flow(
    either_line: Line, reader: Kit, error: Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    line, bad, good = either_line, uuid4(), [uuid4() for _ in range(5)]
    events = [
        line.event(one, sequence) for sequence in range(1, 5) for one in (*good, bad) if (one, sequence) != (bad, 3)
    ]
    events.insert(13, line.event(bad, 3, RELEASED))
    await line.append(*events)
    with caplog.at_level(logging.INFO):
        await take_all(line, reader, failing(bad, error))
    assert await reader.effects(bad) == [1, 2]
    for aggregate in good:
        assert await reader.effects(aggregate) == [1, 2, 3, 4]
    assert await reader.parked() == [(3, reason), (4, "behind")]
    assert await reader.rows("select 1 from last where aggregate = $1 and sequence = 2", bad)
    assert CANARY not in caplog.text
    assert any(getattr(record, "reason", None) == reason for record in caplog.records)

    # It still waits when tried again in vain; what follows later joins the queue; then it is mended.
    assert await retried(line, reader, bad, failing(bad, error)) == reason
    await line.append(line.event(bad, 5), line.event(good[0], 5))
    await take_all(line, reader, failing(bad, error))
    assert await reader.parked() == [(3, reason), (4, "behind"), (5, "behind")]
    assert await reader.effects(good[0]) == [1, 2, 3, 4, 5]
    assert await retried(line, reader, bad) is None
    assert await reader.effects(bad) == [1, 2, 3, 4, 5]
    assert await reader.parked() == []
    await line.append(line.event(bad, 6))
    await take_all(line, reader)
    assert await reader.effects(bad) == [1, 2, 3, 4, 5, 6]


async def test_a_batch_with_a_failure_is_taken_one_by_one(line: Line, reader: Kit) -> None:
    """What the failing handler had written is undone, what stood beside it stays."""
    bad, good = uuid4(), [uuid4() for _ in range(20)]
    await line.append(*(line.event(one, 1) for one in good[:10]), line.event(bad, 1, RELEASED))
    await line.append(*(line.event(one, 1) for one in good[10:]))
    await take_all(line, reader, failing(bad, KeyError(CANARY)))
    assert await reader.value("select count(*) from effect") == 20
    assert await reader.effects(bad) == []
    assert await reader.parked() == [(1, "KeyError")]


async def test_a_gap_parks_and_what_fills_it_drains(either_line: Line, reader: Kit) -> None:
    line, aggregate, other = either_line, uuid4(), uuid4()
    await line.append(*(line.event(aggregate, n) for n in (1, 3, 6, 4)), line.event(other, 2))
    await take_all(line, reader)
    assert await reader.effects(aggregate) == [1]
    assert sorted(await reader.parked()) == sorted([(3, "gap"), (4, "behind"), (6, "behind"), (2, "gap")])
    await line.append(line.event(aggregate, 2), line.event(other, 1))
    await take_all(line, reader)
    assert await reader.effects(aggregate) == [1, 2, 3, 4]
    assert await reader.effects(other) == [1, 2]
    assert await reader.parked() == [(6, "gap")]
    # An earlier one arrives after a later one has been parked: it is the first now, and 5 lets both go.
    await line.append(line.event(aggregate, 8), line.event(aggregate, 7), line.event(aggregate, 5))
    await take_all(line, reader)
    assert await reader.effects(aggregate) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert await reader.parked() == []


async def test_what_fills_a_gap_takes_effect_though_what_waited_fails(line: Line, reader: Kit) -> None:
    aggregate = uuid4()
    await line.append(line.event(aggregate, 1), line.event(aggregate, 3, RELEASED), line.event(aggregate, 4))
    await line.append(line.event(aggregate, 2))
    await take_all(line, reader, failing(aggregate, Poison("broken")))
    assert await reader.effects(aggregate) == [1, 2]
    assert await reader.parked() == [(3, "broken"), (4, "behind")]
    assert await retried(line, reader, aggregate) is None
    assert await reader.effects(aggregate) == [1, 2, 3, 4]


async def test_said_again_while_it_waits_is_kept_once(line: Line, reader: Kit) -> None:
    aggregate = uuid4()
    said = [line.event(aggregate, 1), line.event(aggregate, 2, RELEASED), line.event(aggregate, 3)]
    await line.append(*said, *said)
    await take_all(line, reader, failing(aggregate, Poison("broken")))
    assert await reader.effects(aggregate) == [1]
    assert await reader.parked() == [(2, "broken"), (3, "behind")]


async def test_a_later_life_goes_on_counting_or_is_a_fork(line: Line, reader: Kit) -> None:
    aggregate, forked = uuid4(), uuid4()
    await line.append(*(line.event(aggregate, n) for n in (1, 2)), *(line.event(forked, n) for n in (1, 2, 3)))
    await line.append(line.event(aggregate, 3, epoch=2), line.event(aggregate, 3), line.event(aggregate, 4, epoch=2))
    await line.append(line.event(forked, 3, epoch=2), line.event(forked, 4, epoch=2))
    await take_all(line, reader)
    assert await reader.effects(aggregate) == [1, 2, 3, 4]
    assert await reader.effects(forked) == [1, 2, 3]
    assert await reader.parked() == [(3, "fork"), (4, "behind")]
    assert await retried(line, reader, forked) == "fork"


@pytest.mark.parametrize(
    ("type_", "value", "reason"),
    [
        ("org.spean.disclosure.invented.v1", b"{}", "unknown-type"),
        ("org.spean.disclosure.stopped.v9", b"{}", "unknown-version"),
        (RELEASED, b'{"offer": "no id"}', "invalid"),
        (RELEASED, b"\xff\x00 no JSON", "invalid"),
        (RELEASED, b"", "invalid"),
    ],
)
async def test_what_cannot_be_understood_is_never_skipped(
    line: Line, reader: Kit, type_: str, value: bytes, reason: str
) -> None:
    aggregate, other = uuid4(), uuid4()
    await line.append(line.event(aggregate, 1), line.event(aggregate, 2, type=type_, value=value), line.event(other, 1))
    await line.append(line.event(aggregate, 3))
    handlers = recording()

    async def reads(tx: Tx, event: Event) -> None:
        event.data()
        await write_effect(tx, event)

    await take_all(line, reader, {**handlers, RELEASED: reads})
    assert await reader.effects(aggregate) == [1]
    assert await reader.effects(other) == [1]
    assert await reader.parked() == [(2, reason), (3, "behind")]
    kept = (await reader.rows("select headers, value, type from parked where sequence = 2"))[0]
    assert (kept["value"], kept["type"], json.loads(kept["headers"])["ce_type"]) == (value, type_, type_)


async def test_what_an_older_reader_did_not_know_goes_on_by_itself(line: Line, reader: Kit) -> None:
    """An older release parked it; whoever takes the partition over knows it. What waits for another reason still waits."""
    newer, wrong = uuid4(), uuid4()
    await line.append(*(line.event(newer, number, RELEASED if number == 2 else STOPPED) for number in (1, 2, 3)))
    await line.append(line.event(wrong, 1, RELEASED), line.event(wrong, 2))
    handlers = recording()

    async def as_before(tx: Tx, event: Event) -> None:
        raise Poison("unknown-version" if event.subject == newer else "never-asked")

    await take_all(line, reader, {STOPPED: handlers[STOPPED], RELEASED: as_before})
    assert sorted(await reader.parked()) == [
        (1, "never-asked"), (2, "behind"), (2, "unknown-version"), (3, "behind"),
    ]  # fmt: skip

    async def gone_on() -> bool:
        return await reader.effects(newer) == [1, 2, 3]

    async with going(line.consumer(reader, handlers, member="2").run()):
        await eventually(gone_on)
    assert await reader.parked() == [(1, "never-asked"), (2, "behind")]
    assert await reader.effects(wrong) == []


async def test_a_known_type_without_a_handler_passes_without_effect(line: Line, reader: Kit) -> None:
    aggregate = uuid4()
    await line.append(line.event(aggregate, 1), line.event(aggregate, 2, RELEASED), line.event(aggregate, 3))
    await take_all(line, reader, {STOPPED: recording()[STOPPED]})
    assert await reader.effects(aggregate) == [1, 3]
    assert await reader.parked() == []


NUL = b"a\0b"


def broken(record: Record, **headers: str | None) -> Record:
    changed = {**record.headers, **headers}
    return Record(record.key, {name: value for name, value in changed.items() if value is not None}, record.value)


@pytest.mark.parametrize(
    "headers",
    [
        {"ce_id": None}, {"ce_sequence": "two"}, {"ce_sequence": "0"}, {"ce_sequence": str(2**64)}, {"ce_epoch": str(2**31)},
        {"ce_subject": "a name"}, {"ce_time": "2026-01-01T00:00:00"}, {"ce_type": "x" * 201}, {"more": "x" * 9_000},
    ],
    ids=str,
)  # fmt: skip
async def test_a_record_that_is_no_event_is_parked_alone(
    line: Line, reader: Kit, headers: dict[str, str | None]
) -> None:
    aggregate = uuid4()
    await line.append(line.event(aggregate, 1))
    await line.append(broken(line.event(aggregate, 2).record(), **headers), aggregate=aggregate)
    await line.append(line.event(aggregate, 2), line.event(aggregate, 3))
    await take_all(line, reader)
    assert await reader.effects(aggregate) == [1, 2, 3]
    parked = (await reader.rows("select * from parked"))[0]
    assert (parked["source"], parked["reason"]) == (NOBODY, "malformed")
    assert len(parked["headers"]) < 10_000
    # It is nobody's: trying it again changes nothing, and does not lose it.
    key = Key(NOBODY, parked["aggregate"])
    assert await consumer.retry(reader.db, key, recording()) == "malformed"
    assert await reader.value("select count(*) from parked") == 1


@pytest.mark.parametrize("either_address", [pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True)
async def test_bytes_that_no_database_holds_do_not_stop_a_partition(
    either_line: Line, kafka_address: str, reader: Kit
) -> None:
    """Kafka carries any bytes from whoever may write. (The Postgres bus could not even hold these.)"""
    line, aggregate = either_line, uuid4()
    first = line.event(aggregate, 1)
    headers = [(name, value.encode()) for name, value in first.record().headers.items()]
    foreign = AIOKafkaProducer(bootstrap_servers=kafka_address.removeprefix("kafka://"))
    await foreign.start()
    at = partition_of(str(aggregate).encode(), PARTITIONS)
    for more in ([("ce_id", NUL)], [("other", NUL)], [("a\0b", b"x")], [("ce_type", b"\xff\xfe")], [("ce_id", None)]):
        await foreign.send_and_wait(line.topic, b"{}", partition=at, headers=[*headers, *more])
    await foreign.send_and_wait(line.topic, None, key=b"\xff", partition=at)
    await foreign.stop()
    await line.append(first)
    await take_all(line, reader)
    assert await reader.effects(aggregate) == [1]
    assert [reason for _, reason in await reader.parked()] == ["malformed"] * 6


@pytest.mark.parametrize("either_address", [pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True)
@pytest.mark.parametrize("together", [False, True], ids=["batches of their own", "one batch"])
async def test_a_header_whose_name_is_no_text_does_not_stop_a_partition(
    either_line: Line, kafka_address: str, reader: Kit, caplog: pytest.LogCaptureFixture, *, together: bool
) -> None:
    """The client library cannot decode it. It is passed, and told with the place where it lies; what others wrote before
    and after it, and in other partitions, takes effect."""
    line, aggregate, others = either_line, uuid4(), [uuid4() for _ in range(12)]
    await line.append(*(line.event(one, 1) for one in (aggregate, *others)))
    at = Partition(line.topic, partition_of(str(aggregate).encode(), PARTITIONS))
    names = (b"before", b"\xff\xfe", b"\xc3")
    offsets: list[int] = []
    for batch in [names] if together else [(name,) for name in names]:
        offsets += await append_unnamable(kafka_address, at, batch)
    await line.append(line.event(aggregate, 2), *(line.event(one, 2) for one in others))
    with caplog.at_level(logging.INFO):
        await take_all(line, reader)
        for one in (aggregate, *others):
            assert await reader.effects(one) == [1, 2]
        await line.append(line.event(aggregate, 3))
        await take_all(line, reader)
    assert await reader.effects(aggregate) == [1, 2, 3]
    rows = await reader.rows('select topic, "partition", "offset", source, reason from parked order by "offset"')
    assert [tuple(row) for row in rows] == [(*at, offset, NOBODY, "malformed") for offset in offsets]
    told = [record.offset for record in caplog.records if record.getMessage() == "event parked"]
    assert told == offsets
    assert CANARY not in caplog.text
    # Read by offset as well, as a consumer does to know its log again.
    read = await line.bus.read(at, offsets[0], limit=3)
    assert [stored.offset for stored in read] == offsets[: len(read)]


class Unnamable(str):
    """A header's name that is other bytes on the wire; only the client library's own encoder in Python takes it."""

    __slots__ = ("wire",)

    def __new__(cls, wire: bytes) -> Unnamable:
        made = super().__new__(cls, "x" * len(wire))
        made.wire = wire
        return made

    def encode(self, *_: object) -> bytes:
        return self.wire


async def append_unnamable(kafka_address: str, at: Partition, names: Sequence[bytes]) -> list[int]:
    """One batch with a record for each of these header names. Returns the offsets."""
    foreign = AIOKafkaProducer(bootstrap_servers=kafka_address.removeprefix("kafka://"))
    await foreign.start()
    try:
        batch = foreign.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, 0, 16_384)
        for name in names:
            assert batch.append(timestamp=None, key=None, value=CANARY.encode(), headers=[(Unnamable(name), b"x")])
        first = (await (await foreign.send_batch(batch, at.topic, partition=at.number))).offset
    finally:
        await foreign.stop()
    return [first + index for index in range(len(names))]


async def test_a_writer_that_this_topic_is_not_of_moves_nobody(line: Line, reader: Kit) -> None:
    """Neither its own key's place in this topic, nor the place of the one whose aggregate it names."""
    aggregate = uuid4()
    foreign = [
        line.event(aggregate, 2, source="spean/intake/another"),
        line.event(aggregate, 1, source="spean/referral"),
        line.event(aggregate, 2, "org.spean.offer.seen.v1", value=b"{}"),
    ]
    await line.append(line.event(aggregate, 1), *foreign, line.event(aggregate, 2))
    await take_all(line, reader)
    assert await reader.effects(aggregate) == [1, 2]
    rows = await reader.rows("select source, reason from parked")
    assert [(row["source"], row["reason"]) for row in rows] == [(NOBODY, "wrong-topic")] * 3
    assert [row["source"] for row in await reader.rows("select source from last")] == [line.source]


class TestTransient:
    @pytest.mark.parametrize("sqlstate", ["40001", "40P01", "55P03", "57014"])
    async def test_what_may_pass_is_tried_again(self, line: Line, reader: Kit, sqlstate: str) -> None:
        aggregate, tries = uuid4(), Counter[UUID]()

        async def handle(tx: Tx, event: Event) -> None:
            await write_effect(tx, event)
            tries[event.id] += 1
            if tries[event.id] < 4 and event.type == RELEASED:
                await tx.conn.execute(f"do $$ begin raise exception '{CANARY}' using errcode = '{sqlstate}'; end $$")

        await line.append(line.event(aggregate, 1), line.event(aggregate, 2, RELEASED), line.event(aggregate, 3))
        await take_all(line, reader, {STOPPED: handle, RELEASED: handle})
        assert await reader.effects(aggregate) == [1, 2, 3]
        assert await reader.parked() == []
        assert max(tries.values()) == 4

    async def test_a_lost_connection_is_tried_again_for_ever(self, line: Line, reader: Kit) -> None:
        aggregate, tries = uuid4(), Counter[UUID]()

        async def handle(tx: Tx, event: Event) -> None:
            await write_effect(tx, event)
            tries[event.id] += 1
            if tries[event.id] < TRIES_MOST + 3:
                await tx.conn.execute("select pg_terminate_backend(pg_backend_pid())")

        await line.append(line.event(aggregate, 1))
        async with going(line.consumer(reader, {STOPPED: handle}).run()):
            await eventually(lambda: reader.effects(aggregate), within_s=60)
        assert await reader.effects(aggregate) == [1]
        assert await reader.parked() == []

    async def test_what_does_not_pass_is_parked_in_the_end(self, line: Line, reader: Kit) -> None:
        aggregate, other, tries = uuid4(), uuid4(), 0

        async def handle(tx: Tx, event: Event) -> None:
            nonlocal tries
            await write_effect(tx, event)
            if event.type == RELEASED:
                tries += 1
                await tx.conn.execute("do $$ begin raise exception 'no' using errcode = '57014'; end $$")

        await line.append(line.event(aggregate, 1, RELEASED), line.event(other, 1), line.event(aggregate, 2))
        await take_all(line, reader, {STOPPED: handle, RELEASED: handle})
        assert await reader.effects(other) == [1]
        assert await reader.parked() == [(1, "sqlstate-57014"), (2, "behind")]
        assert tries >= TRIES_MOST

    async def test_a_database_that_refuses_the_effect_parks_it(self, line: Line, reader: Kit) -> None:
        aggregate = uuid4()

        async def handle(tx: Tx, event: Event) -> None:
            await tx.conn.execute("insert into effect (id) values ($1)", event.id)

        await line.append(line.event(aggregate, 1))
        await take_all(line, reader, {STOPPED: handle})
        assert await reader.parked() == [(1, "sqlstate-23502")]
