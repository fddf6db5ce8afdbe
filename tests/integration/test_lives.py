"""A database that was restored from a backup: it is noticed, it takes over what it has said since, its numbers go on in a
new life, and nobody hears what an older life says late."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import pytest

from schemas import events as e
from schemas.registry import HANDOFF
from spean import lives
from spean.bus import Partition, partition_of
from spean.db import Tx
from spean.event import Event
from spean.lives import Behind, in_life, marker
from spean.outbox import say
from spean.rejoin import Causes, Own, Taken, passing, rejoin
from spean.service import PARTITIONS
from tests.builders import eventually
from tests.integration.kit import STOPPED, Kit, Line, going

FORGETS = ("said", "outbox", "aggregate", "life", "marked")


@dataclass
class Writer:
    """A writer whose database can be put back to an earlier moment."""

    line: Line
    kit: Kit
    took: list[UUID] = field(default_factory=list)

    async def say(self, *aggregates: UUID, because: UUID | None = None) -> None:
        self.kit.db.holder = self.line.holder
        for aggregate in aggregates:
            async with self.kit.db.transaction("test.say", causation=because) as tx:
                await say(tx, HANDOFF, aggregate, e.DisclosureStoppedV1())

    async def send(self) -> None:
        async def sent() -> bool:
            return await self.kit.value("select count(*) from outbox") == 0

        async with going(self.line.relay(self.kit).run()):
            await eventually(sent)

    async def _run(self, *statements: str) -> None:
        conn = await asyncpg.connect(self.kit.dsn)
        try:
            for statement in statements:
                await conn.execute(statement)
        finally:
            await conn.close()

    async def remember(self) -> None:
        await self._run(*(f"drop table if exists was_{one}; create table was_{one} as table {one}" for one in FORGETS))

    async def forget(self) -> None:
        """As it was when it was remembered."""
        for one in FORGETS:
            await self._run(f"delete from {one}", f"insert into {one} overriding system value select * from was_{one}")

    async def lose_unsent(self) -> None:
        await self._run("delete from outbox")

    async def look(self) -> None:
        await lives.look(self.kit.db, self.line.bus, "writer", [self.line.topic], PARTITIONS)

    async def rejoin(self, *, passes: bool = False, what_is_left: bool = False) -> Taken:
        async def take(tx: Tx, event: Event, causes: Causes) -> None:
            assert tx.muted
            self.took.append(event.subject)

        async def settle(tx: Tx, taken: Taken) -> None:
            assert not tx.muted

        own = Own([self.line.topic], {STOPPED: take}, settle, passes)
        at = self.kit.db, self.line.bus, self.line.source, own, list[str](), PARTITIONS
        return await rejoin(*at, what_is_left=what_is_left)


async def read_all(reader: Kit, line: Line, wanted: dict[UUID, int]) -> None:
    """Every event takes effect once, in its order, and nothing waits."""

    async def there() -> bool:
        return all([len(await reader.effects(one)) >= count for one, count in wanted.items()])

    async with going(line.consumer(reader).run()):
        await eventually(there)
    for one, count in wanted.items():
        assert await reader.effects(one) == list(range(1, count + 1))
    assert await reader.parked() == []


@pytest.fixture
def it(either_line: Line, writer: Kit) -> Writer:
    return Writer(either_line, writer)


async def test_a_database_knows_how_far_it_has_said_in_each_partition(it: Writer) -> None:
    await it.say(*(uuid4() for _ in range(4 * PARTITIONS)))
    await it.send()
    async with it.kit.db.transaction("test.known") as tx:
        mine = await lives.known(tx, [it.line.topic], PARTITIONS)
    assert mine.ends == {at: bounds.end for at, bounds in (await it.line.bus.bounds(it.line.topic)).items()}


async def test_a_restored_database_takes_over_and_its_numbers_go_on_in_a_new_life(it: Writer, reader: Kit) -> None:
    late, sent, unsent = uuid4(), uuid4(), uuid4()
    await it.say(late)
    await it.send()
    await it.say(sent, unsent)
    await it.remember()
    await it.kit.value("delete from outbox where aggregateid = $1 returning 1", unsent)  # its relay never comes to it
    await it.send()
    await it.say(late, late)
    await it.send()
    await read_all(reader, it.line, {late: 3, sent: 1})

    await it.forget()
    with pytest.raises(Behind):
        await it.look()
    taken = await it.rejoin()
    assert it.took == [late, late], "what was known and only not marked as sent is not taken over"
    assert (taken.life, taken.renumbered) == (2, 1)
    await it.look()
    assert await it.kit.value("select epoch from outbox where aggregateid = $1", unsent) == 2
    await it.say(late)
    await it.send()
    await read_all(reader, it.line, {late: 4, sent: 1, unsent: 1})

    # The same backup once more: the life that it would have begun has been used.
    await it.forget()
    assert (await it.rejoin()).life == 3
    await it.say(late, unsent)
    await it.send()
    await read_all(reader, it.line, {late: 5, sent: 1, unsent: 2})
    again = await it.kit.value("select count(*) - count(distinct (aggregateid, sequence)) from said")
    assert again == 0


async def test_what_its_cause_has_led_to_already_is_not_said_otherwise(it: Writer) -> None:
    cause, one, other = uuid4(), uuid4(), uuid4()
    await it.say(one, because=cause)
    await it.remember()
    await it.lose_unsent()
    await it.say(other, because=cause)
    await it.send()
    await it.forget()
    taken = await it.rejoin(passes=True)
    assert (taken.discarded, taken.renumbered) == ({one}, 0)
    assert await it.kit.value("select count(*) from outbox") == 0
    assert await it.kit.value("select count(*) from aggregate where id = $1", one) == 0
    heard: list[UUID] = []

    async def hear(_: Tx, event: Event) -> None:
        heard.append(event.id)

    handler = (await passing(it.kit.db, {STOPPED: hear}))[STOPPED]
    foreign = it.line.event(uuid4(), 1)
    async with it.kit.db.transaction("test.hear") as tx:
        await handler(tx, foreign)
        await handler(tx, replace(foreign, id=cause))
    assert heard == [foreign.id]


async def test_what_an_older_life_says_behind_a_marker_nobody_hears(either_line: Line, reader: Kit) -> None:
    line, one = either_line, uuid4()
    at = Partition(line.topic, partition_of(str(one).encode(), PARTITIONS))
    events = [line.event(one, number) for number in (1, 2, 3)]
    late = replace(events[1], id=uuid4())
    producer = await line.bus.producer(line.source)
    said = [
        in_life(events[0].record(), 1), marker(line.source, 2, datetime.now(UTC)), in_life(late.record(), 1),
        in_life(events[0].record(), 2), in_life(events[1].record(), 2),
    ]  # fmt: skip
    await producer.append(at, said)
    await read_all(reader, line, {one: 2})
    # Another consumer, later: which life was heard is kept with the position.
    await producer.append(at, [in_life(replace(events[2], id=uuid4()).record(), 1), in_life(events[2].record(), 2)])
    await producer.close()
    await read_all(reader, line, {one: 3})
    ids = [row["id"] for row in await reader.rows("select id from effect order by number")]
    assert ids == [event.id for event in events]


async def test_a_backup_older_than_the_log_is_not_guessed_at(line: Line, writer: Kit, kit_bus_dsn: str) -> None:
    it, one = Writer(line, writer), uuid4()
    await it.remember()
    await it.say(one)
    await it.send()
    await it.forget()
    conn = await asyncpg.connect(kit_bus_dsn)
    await conn.execute("update head set start = next where topic = $1", line.topic)
    await conn.close()
    with pytest.raises(Behind):
        await it.look()
    with pytest.raises(Behind, match="in no log any more"):
        await it.rejoin()
    assert await it.kit.value("select epoch from life") == 1
    assert (await it.rejoin(what_is_left=True)).events == [], "a person has decided"
    await it.look()
