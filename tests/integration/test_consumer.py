"""Each event takes effect once and in order, whatever is frozen, killed, doubled or lost in between."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from deploy.kafka import local
from spean import embedded
from spean.bus import Bus, Partition, Stored, TopicSpec, partition_of
from spean.bus.connect import connect
from spean.consumer import STALL_S, TRIMMED
from spean.db import IDLE_IN_TRANSACTION_MS, Tx
from spean.embedded import Server
from spean.event import Event
from spean.service import PARTITIONS
from tests.builders import eventually
from tests.conftest import without_kafka
from tests.integration.kit import (
    STOPPED,
    Around,
    Kit,
    Line,
    end_session,
    going,
    kit,
    recording,
    stop,
    stopped,
    write_effect,
)


def in_all(reader: Kit, wanted: int) -> Callable[[], Awaitable[bool]]:
    async def enough() -> bool:
        return await reader.value("select count(*) from effect") >= wanted

    return enough


async def holds(reader: Kit, aggregates: list[UUID], last: int) -> None:
    """Every one of these has taken effect from 1 to `last`, once and in order, and nothing waits."""
    for aggregate in aggregates:
        assert await reader.effects(aggregate) == list(range(1, last + 1))
    assert await reader.parked() == []


def number_of(aggregate: UUID) -> int:
    return partition_of(str(aggregate).encode(), PARTITIONS)


async def test_members_come_and_go_and_nothing_is_doubled(either_line: Line, writer: Kit, reader: Kit) -> None:
    line, aggregates = either_line, [uuid4() for _ in range(24)]
    dice = random.Random(7)  # noqa: S311 (a shuffle)

    async def write(rounds: int) -> None:
        for _ in range(rounds):
            for aggregate in dice.sample(aggregates, len(aggregates)):
                await line.say(writer, aggregate)

    second = await reader.again()
    async with going(line.relay(writer).run(), line.consumer(reader, member="1").run()) as (_, first):
        await write(3)
        await eventually(in_all(reader, 1))
        async with going(line.consumer(second, member="2").run()):
            await write(3)
            await eventually(in_all(reader, 6 * 24), within_s=30)
            await stop(first)
            await write(3)
            # A member that left keeps its share for a while on Kafka (static membership).
            await eventually(in_all(reader, 9 * 24), within_s=40)
            async with going(line.consumer(reader, member="1").run()):
                await write(1)
                await eventually(in_all(reader, 10 * 24), within_s=40)
    await second.db.close()
    await holds(reader, aggregates, 10)


async def test_sessions_that_die_in_the_middle_of_a_batch(line: Line, writer: Kit, reader: Kit) -> None:
    aggregates, deaths = [uuid4() for _ in range(10)], 0

    async def handle(tx: Tx, event: Event) -> None:
        nonlocal deaths
        await write_effect(tx, event)
        if event.sequence == 5 and deaths < 4:
            deaths += 1
            await tx.conn.execute("select pg_terminate_backend(pg_backend_pid())")

    for aggregate in aggregates * 8:
        await line.say(writer, aggregate)
    async with going(line.relay(writer).run(), line.consumer(reader, {STOPPED: handle}).run()):
        await eventually(in_all(reader, 80), within_s=30)
    assert deaths == 4
    await holds(reader, aggregates, 8)


MOVES = """
create table move (number bigint generated always as identity primary key, "partition" integer, old bigint, new bigint);
create function note_move() returns trigger language plpgsql security definer as $$ begin
    insert into move ("partition", old, new) values (new."partition", old.next, new.next);
    return new;
end $$;
create trigger moves after update on position for each row when (old.next <> new.next) execute function note_move();
"""


async def test_a_consumer_that_stalls_with_a_batch_in_hand_is_fenced(line: Line, reader: Kit) -> None:
    """It has read, and not begun its transaction, when another takes the same records."""
    has_batch, gate = asyncio.Event(), asyncio.Event()
    aggregate = uuid4()

    async def polled(batches: dict[Partition, list[Stored]]) -> dict[Partition, list[Stored]]:
        if batches and not gate.is_set():
            has_batch.set()
            await gate.wait()
        return batches

    second = await reader.again()
    conn = await asyncpg.connect(reader.dsn)
    await conn.execute(MOVES)
    await line.append(*(line.event(aggregate, n) for n in range(1, 6)))
    stalled = line.consumer(reader, recording("stalled"), member="1", group="one", bus=Around(line.bus, polled=polled))
    async with going(stalled.run()):
        await has_batch.wait()
        # Two members may believe that a partition is theirs: here a second group's name stands for the second belief.
        async with going(line.consumer(second, recording("second"), group="two").run()):
            await line.append(*(line.event(aggregate, n) for n in range(6, 11)))
            await eventually(in_all(reader, 10))
            gate.set()
            await line.append(*(line.event(aggregate, n) for n in range(11, 16)))
            await eventually(in_all(reader, 15))
    rows = await reader.rows("select by_member, sequence from effect order by number")
    assert {row["by_member"] for row in rows if row["sequence"] <= 10} == {"second"}
    # The position went on and never back: nobody wrote over what another had taken.
    moves = await conn.fetch('select old, new from move where "partition" = $1 order by number', number_of(aggregate))
    ends = [move["new"] for move in moves]
    assert [move["old"] for move in moves] == [0, *ends[:-1]]
    assert ends == sorted(ends)
    assert ends[-1] == 15
    await conn.close()
    await second.db.close()
    await holds(reader, [aggregate], 15)


async def test_a_consumer_that_stalls_inside_its_transaction_loses_it(line: Line, reader: Kit) -> None:
    """The database ends the session of whoever freezes there; another takes the partition."""
    inside, gate = asyncio.Event(), asyncio.Event()
    aggregate = uuid4()

    async def freezes(tx: Tx, event: Event) -> None:
        await write_effect(tx, event, "frozen")
        inside.set()
        await gate.wait()

    second = await reader.again()
    await line.append(line.event(aggregate, 1), line.event(aggregate, 2))
    async with going(line.consumer(reader, {STOPPED: freezes}, group="one").run()):
        await inside.wait()
        async with going(line.consumer(second, recording("second"), group="two").run()):
            await eventually(in_all(reader, 2), within_s=IDLE_IN_TRANSACTION_MS / 1000 + 10)
            gate.set()
            await line.append(line.event(aggregate, 3))
            await eventually(in_all(reader, 3))
    first = (await reader.rows("select by_member from effect order by number"))[0]
    assert first["by_member"] == "second"
    await second.db.close()
    await holds(reader, [aggregate], 3)


async def test_told_to_stop_while_its_session_dies_it_stops(line: Line, reader: Kit) -> None:
    """The rollback on the lost connection must not take the place of the cancellation."""
    lost = asyncio.Event()

    async def handle(tx: Tx, _: Event) -> None:
        await end_session(reader, await tx.conn.fetchval("select pg_backend_pid()"))
        lost.set()
        await asyncio.Event().wait()

    await line.append(line.event(uuid4(), 1))
    consumer = asyncio.create_task(line.consumer(reader, {STOPPED: handle}).run())
    await lost.wait()
    await stopped(consumer)


async def test_a_position_that_another_moves_back_is_read_again(line: Line, reader: Kit) -> None:
    """As a replay does to a running consumer: it finds its new place by itself, and drops what has passed."""
    aggregate = uuid4()
    at = number_of(aggregate)
    async with going(line.consumer(reader).run()):
        await line.append(*(line.event(aggregate, n) for n in range(1, 6)))
        await eventually(in_all(reader, 5))
        await reader.rows('update position set next = 2 where "partition" = $1', at)
        await line.append(line.event(aggregate, 6))
        await eventually(in_all(reader, 6))
    await holds(reader, [aggregate], 6)
    assert await reader.value('select next from position where "partition" = $1', at) == 6


async def fresh_bus(postgres: Server) -> tuple[str, Bus]:
    name = f"kit_bus_{uuid4().hex[:8]}"
    conn = await asyncpg.connect(postgres.dsn("postgres"))
    await conn.execute(f"create database {name}")
    await conn.close()
    return name, await connect(postgres.dsn(name))


@pytest.mark.parametrize("more", [0, 30], ids=["shorter", "longer"])
async def test_a_log_with_another_identity_is_read_from_its_start(
    line: Line, postgres: Server, reader: Kit, more: int
) -> None:
    """What was there before has passed; what only the new log has takes effect. Known by its length, or by an id."""
    aggregate = uuid4()
    old = [line.event(aggregate, n) for n in range(1, 21)]
    await line.append(*old)
    async with going(line.consumer(reader).run()):
        await eventually(in_all(reader, 20))
    _, bus = await fresh_bus(postgres)
    other = Line(bus, line.holder)
    await bus.ensure_topics([TopicSpec(other.topic, PARTITIONS, 14)])
    others = [line.event(one, 1) for one in in_partition(number_of(aggregate), more)]
    await other.append(*others, *old[10:], line.event(aggregate, 21))
    async with going(other.consumer(reader).run()):
        await eventually(in_all(reader, 21 + more))
    await bus.close()
    await holds(reader, [aggregate], 21)
    await holds(reader, [one.subject for one in others], 1)


def in_partition(number: int, count: int) -> list[UUID]:
    """New aggregates of one partition."""
    found: list[UUID] = []
    while len(found) < count:
        one = uuid4()
        found += [one] if number_of(one) == number else []
    return found


async def test_unread_records_that_are_gone_are_told_and_not_skipped(
    line: Line, postgres: Server, reader: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    name, bus = await fresh_bus(postgres)
    own = Line(bus)
    await bus.ensure_topics([TopicSpec(own.topic, PARTITIONS, 14)])
    aggregate = uuid4()
    other = next(one for one in iter(uuid4, None) if number_of(one) != number_of(aggregate))
    await own.append(*(line.event(aggregate, n, source=own.source) for n in (1, 2, 3)))
    conn = await asyncpg.connect(postgres.dsn(name))
    await conn.execute("update log set at = at - interval '15 days' where \"offset\" < 2")
    now = await conn.fetchval("select now()")
    assert await bus.trim(now) == 2

    async with going(own.consumer(reader).run()):
        await own.append(line.event(other, 1, source=own.source))
        await eventually(in_all(reader, 1))
        assert TRIMMED in caplog.text
        assert await reader.effects(aggregate) == []
        assert await reader.value('select next from position where "partition" = $1', number_of(aggregate)) == 0
        # Once somebody has decided that it may go on without them, what follows waits as a gap.
        await reader.rows('update position set next = 2 where "partition" = $1', number_of(aggregate))
        await eventually(reader.parked)
    assert await reader.parked() == [(3, "gap")]
    await conn.close()
    await bus.close()


@pytest.mark.long
async def test_a_subscription_that_gives_nothing_is_replaced(line: Line, reader: Kit) -> None:
    """As a client does whose brokers are all away: no records and no error, for ever."""
    aggregate = uuid4()

    async def polled(batches: dict[Partition, list[Stored]]) -> dict[Partition, list[Stored]]:
        return {} if deaf.subscribed == 1 else batches

    deaf = Around(line.bus, polled=polled)
    await line.append(line.event(aggregate, 1), line.event(aggregate, 2))
    async with going(line.consumer(reader, bus=deaf).run()):
        await eventually(in_all(reader, 2), within_s=3 * STALL_S)
    assert deaf.subscribed == 2
    await holds(reader, [aggregate], 2)


async def test_a_record_that_has_only_just_come_is_no_stall(line: Line, reader: Kit) -> None:
    """The consumer looks for a stall while nothing is there, and then at the moment at which the first record has come
    and is not yet taken in."""
    aggregate, kept = uuid4(), dict[Partition, list[Stored]]()
    looks, looked = 0, asyncio.Event()

    async def polled(batches: dict[Partition, list[Stored]]) -> dict[Partition, list[Stored]]:
        nonlocal kept, looks
        if looks:
            # Only here is the first look over: a record that comes during it would rightly be seen as behind.
            looked.set()
        if len(consumer._positions) == PARTITIONS and (batches or not looks):
            consumer._looked_at = 0.0
            looks += 1
        given, kept = kept, batches
        return given

    late = Around(line.bus, polled=polled)
    consumer = line.consumer(reader, bus=late)
    async with going(consumer.run()):
        await looked.wait()
        await line.append(line.event(aggregate, 1))
        await eventually(in_all(reader, 1))
    assert late.subscribed == 1
    assert looks == 2
    await holds(reader, [aggregate], 1)


async def test_all_places_are_found_at_once(line: Line, reader: Kit) -> None:
    """No partition is sought before all are about to be: one after the other takes too long on a busy machine."""
    aggregate, together = uuid4(), asyncio.Barrier(PARTITIONS)

    async def sought() -> None:
        async with asyncio.timeout(10):
            await together.wait()

    await line.append(line.event(aggregate, 1))
    async with going(line.consumer(reader, bus=Around(line.bus, sought=sought)).run()):
        await eventually(in_all(reader, 1), within_s=30)
    await holds(reader, [aggregate], 1)


@pytest.mark.long
async def test_a_position_that_was_moved_back_is_found_though_nothing_more_comes(line: Line, reader: Kit) -> None:
    """As a replay does, where the log has grown anew to just where this consumer waits for what comes next."""
    aggregate = uuid4()
    at = number_of(aggregate)
    await line.append(line.event(aggregate, 1), line.event(aggregate, 2))
    async with going(line.consumer(reader).run()):
        await eventually(in_all(reader, 2))
        await reader.rows('update position set next = 0, last_id = null where "partition" = $1', at)

        async def read_again() -> bool:
            return await reader.value('select next from position where "partition" = $1', at) == 2

        await eventually(read_again, within_s=2 * STALL_S)
    await holds(reader, [aggregate], 2)


async def test_how_far_a_group_is_can_be_seen_on_the_bus(either_line: Line, reader: Kit) -> None:
    line, aggregate = either_line, uuid4()
    at = Partition(line.topic, number_of(aggregate))
    async with going(line.consumer(reader, group=f"g-{reader.name}").run()):
        await line.append(*(line.event(aggregate, n) for n in range(1, 8)))

        async def shown() -> bool:
            return (await line.bus.committed(f"g-{reader.name}", [line.topic])).get(at) == 7

        await eventually(shown)


async def test_everything_goes_on_after_postgres_has_been_away(tmp_path: Path, workspace: Path) -> None:
    """Writers, relay, bus and consumer on one server that is stopped and started again under them."""
    folder = workspace / f"away-{uuid4().hex[:6]}"
    server = await embedded.start(folder, password_file=workspace / f"{folder.name}-password", fast_unsafe=False)
    _, bus = await fresh_bus(server.server)
    line = Line(bus)
    await bus.ensure_topics([TopicSpec(line.topic, PARTITIONS, 14)])
    aggregates = [uuid4() for _ in range(10)]
    async with kit(server.server, tmp_path) as writer, kit(server.server, tmp_path) as reader:
        async with going(line.relay(writer).run(), line.consumer(reader).run()):
            for aggregate in aggregates * 2:
                await line.say(writer, aggregate)
            await eventually(in_all(reader, 1))
            await server.stop()
            server = await embedded.start(
                folder, password_file=workspace / f"{folder.name}-password", fast_unsafe=False
            )
            for aggregate in aggregates * 2:
                await line.say(writer, aggregate)
            await eventually(in_all(reader, 40), within_s=30)
        await holds(reader, aggregates, 4)
        assert await writer.value("select count(*) from outbox") == 0
    await bus.close()
    await server.stop()


@pytest.mark.long
@pytest.mark.kafka
async def test_kafka_wholly_away_is_noticed_and_outlived(
    tmp_path: Path, writer: Kit, reader: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    """Its client gives nothing and no error for as long as every broker is away."""
    if (lacking := local.missing()) is not None:
        without_kafka(lacking)
    kafka = await local.start(tmp_path / "kafka", 1)
    bus = await connect(kafka.address)
    line, aggregate = Line(bus), uuid4()
    await bus.ensure_topics([TopicSpec(line.topic, PARTITIONS, 14)])

    async def noticed() -> bool:
        told = {record.message for record in caplog.records if record.name.startswith("spean")}
        return {"consumer starts again", "relay starts again"} <= told

    async with going(line.relay(writer).run(), line.consumer(reader).run()):
        await line.say(writer, aggregate)
        await eventually(in_all(reader, 1), within_s=30)
        await kafka.kill(0)
        await line.say(writer, aggregate)
        await eventually(noticed, within_s=3 * STALL_S)
        await kafka.start_node(0)
        await eventually(in_all(reader, 2), within_s=60)
    await bus.close()
    await kafka.stop()
    await holds(reader, [aggregate], 2)
