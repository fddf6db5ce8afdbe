"""The operator's eyes: what they show of a running installation, and what they say where there is none."""

from __future__ import annotations

import getpass
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from schemas import events as e
from services.cli import dead_letters, installation, replay, trace, watch
from services.cli.connected import NotRunning, connected
from services.cli.trace import Step, in_order
from spean import embedded, order
from spean.bus import Partition, partition_of
from spean.event import Event, parse
from spean.ids import event_id
from spean.order import NOBODY, Key
from spean.provision import AddressedCluster, Roles
from spean.service import PARTITIONS
from spean.settings import Settings
from tests.builders import eventually, settings_for
from tests.commands import Place
from tests.integration.lived import Lived

CANARY = "canary-0e4b"
REASON = "refused-unknown-network"


def place_of(lived: Lived) -> Place:
    return Place(lived.here.parts.settings.data.parent)


async def said(lived: Lived, *command: str) -> tuple[int | None, str]:
    """A command as the operator types it, against the running installation."""
    return await place_of(lived).run(*command)


async def poison(lived: Lived) -> Event:
    """A hand-off for a network that nobody knows, and one more word about it: both wait at referral."""
    holder = lived.here.parts.settings.holder
    model = (await lived.rows("intake", "select * from said order by number limit 1"))[0]
    at = Partition(model["aggregatetype"], model["partition"])
    event = parse((await lived.here.bus.read(at, model["offset"], limit=1))[0].record)
    asked = e.HandoffRequestedV1.model_validate_json(event.value).model_copy(update={"network": uuid4()})
    first = replace(
        event, id=event_id(), subject=uuid4(), sequence=1, value=asked.model_dump_json(exclude_none=True).encode()
    )
    producer = await lived.here.bus.producer("test")
    for one in (first, replace(first, id=event_id(), sequence=2, type="org.spean.disclosure.stopped.v1", value=b"{}")):
        number = partition_of(str(one.subject).encode(), PARTITIONS)
        await producer.append(Partition(f"spean.handoff.{holder}", number), [one.record()])
    await producer.close()

    async def waits() -> bool:
        return any(letter.aggregate == first.subject for letter in await dead_letters.dead_letters_of(lived.here))

    await eventually(waits)
    await eventually(lived.quiet)
    return first


async def test_watch_shows_what_is_there(lived: Lived) -> None:
    await lived.everything()
    event = await poison(lived)
    # A relay that cannot send, for a moment that nobody has waited yet; and a deadline that has passed.
    async with lived.here.databases["referral"].transaction("test.late") as tx:
        await tx.conn.execute("update referral set deadline = now() - interval '1 hour' where state = 'offered'")
    seen = await watch.look(lived.here)
    assert {state.state: (state.count, state.overdue) for state in seen.referrals} == {
        "completed": (1, 0), "offered": (1, 1), "ready": (1, 0),
    }  # fmt: skip
    parts = {part.service: part for part in seen.parts}
    assert parts.keys() == {"referral", "intake", "notify"}
    assert all(part.unsent == 0 and not any(part.lag.values()) and part.late == 0 for part in seen.parts)
    assert {name: part.parked_keys for name, part in parts.items()} == {"referral": 1, "intake": 0, "notify": 0}
    assert "spean.referral" in parts["intake"].lag
    assert seen.erasures == {"requested": 1}
    # Nobody has given an address: whoever something waits for cannot be told.
    assert seen.deliveries == {"parked": len(await lived.rows("notify", "select 1 from delivery"))}
    assert seen.unaddressed == len(await lived.rows("referral", "select 1 from organisation"))
    assert min(seen.unaddressed, *seen.deliveries.values()) > 0
    assert seen.last[0].type.endswith(".v1")
    assert seen.last[0].country == "KH"
    assert all(datetime.fromisoformat(happened.minute).second == 0 for happened in seen.last)

    code, as_json = await said(lived, "watch", "--once", "--json")
    assert code == 0, as_json
    found: dict[str, Any] = json.loads(as_json)
    assert found["referrals"] == [
        {"state": state.state, "count": state.count, "overdue": state.overdue, "escalated": state.escalated}
        for state in seen.referrals
    ]
    code, page = await said(lived, "watch", "--once")
    assert code == 0, page
    for word in (
        "Referrals",
        "offered",
        "Services",
        "notify",
        "Erasure requests: requested 1",
        "did not go out: parked",
        "Last events",
    ):
        assert word in page
    assert str(event.subject) not in page


async def test_watch_sees_what_is_not_sent_and_not_read(lived: Lived) -> None:
    await lived.everything()
    async with lived.here.databases["notify"].transaction("test.behind") as tx:
        await tx.conn.execute("update position set next = next - 1 where next > 0 and topic = 'spean.place'")
        behind = await tx.conn.fetchval("select count(*) from position where next > 0 and topic = 'spean.place'")
        # Another transaction sees neither: the running consumer and relay have not got to them either.
        sending = await tx.conn.fetchval(
            "select say($1, 'spean.delivery', $2, 'org.spean.delivery.succeeded.v1', $3, now() - interval '1 minute', $1, null, null)",
            uuid4(), uuid4(), json.dumps({"organisation": str(uuid4())}),
        )  # fmt: skip
        assert (await watch.unsent(tx))["count"] == sending == 1
        assert (await watch.unsent(tx))["age"] >= 60
    assert behind
    await tx_due(lived)
    seen = await watch.look(lived.here)
    assert {part.service: part.late for part in seen.parts}["intake"] == 1


async def tx_due(lived: Lived) -> None:
    """Due a minute ago, and of a kind that no clock knows: it is never called."""
    async with lived.here.databases["intake"].transaction("test.due") as tx:
        await tx.conn.execute(
            "insert into due (kind, subject, at) values ('nobody', $1, now() - interval '1 minute')", uuid4()
        )


async def test_dead_letters_and_retry(lived: Lived) -> None:
    event = await poison(lived)
    code, as_json = await said(lived, "dead-letters", "--json")
    assert code == dead_letters.WAITING
    (letter,) = map(json.loads, as_json.splitlines())
    assert {name: letter[name] for name in ("service", "source", "aggregate", "count", "reason")} == {
        "service": "referral", "source": event.source, "aggregate": str(event.subject), "count": 2,
        "reason": REASON,
    }  # fmt: skip
    code, page = await said(lived, "dead-letters")
    key = [event.source, str(event.subject)]
    assert code == dead_letters.WAITING
    assert REASON in page
    assert f"spean retry referral {' '.join(key)}\n" in page
    code, page = await said(lived, "retry", "referral", *key)
    assert code == dead_letters.WAITING
    assert f"still waits: {REASON}" in page
    code, page = await said(lived, "retry", "referral", event.source, str(uuid4()))
    assert (code, "Nothing of that waits" in page) == (0, True)

    # The cause is mended: the network exists now, and the sender is a member.
    asked = e.HandoffRequestedV1.model_validate_json(event.value)
    async with lived.here.databases["referral"].transaction("test.mend") as tx:
        columns = "coordinator, windows"
        await tx.conn.execute(
            f"insert into network (id, name, {columns}) select $1, 'Mended', {columns} from network where id = $2",
            asked.network, UUID(lived.world.network),
        )  # fmt: skip
        await tx.conn.execute("insert into member (network, organisation) values ($1, $2)", asked.network, asked.sender)
    code, page = await said(lived, "retry", "referral", "--all")
    assert code == 0, page
    assert "taken in" in page
    code, page = await said(lived, "dead-letters")
    assert (code, "Nothing waits" in page) == (0, True)
    assert await lived.rows("referral", "select 1 from referral where id = $1", event.subject)


async def test_what_is_nobodys_stays_after_a_retry(lived: Lived) -> None:
    holder = lived.here.parts.settings.holder
    event = await poison(lived)
    producer = await lived.here.bus.producer("test")
    foreign = replace(event, source="spean/referral", id=event_id()).record()
    await producer.append(Partition(f"spean.handoff.{holder}", 0), [foreign])
    await producer.close()

    async def parked() -> list[Key]:
        return [
            Key(one.source, one.aggregate)
            for one in await dead_letters.dead_letters_of(lived.here)
            if one.source == NOBODY and one.service == "referral"
        ]

    await eventually(parked)
    outcomes = await dead_letters.retry_keys(lived.here, "referral", None)
    assert outcomes == {Key(event.source, event.subject): REASON, (await parked())[0]: "wrong-topic"}

    # Only that one may be thrown away, and it is noted who did and why; whatever has a key stays.
    id_ = str((await parked())[0].aggregate)
    code, page = await said(lived, "dead-letters")
    assert f"spean dead-letters discard {id_} --because" in page
    for wrong, told in (
        (str(event.subject), "mend the cause, then retry it"),
        (str(uuid4()), "no record of that id waits"),
    ):
        code, page = await said(lived, "dead-letters", "discard", wrong, "--because", "a trial")
        assert (code, told in page) == (1, True), page
    async with lived.here.databases["referral"].transaction("test.discard") as tx:
        assert await order.discard(tx, event.subject, "somebody", "a trial") == 0
    for wrong in ("", " ", "x" * 201, "two\nlines"):
        code, page = await said(lived, "dead-letters", "discard", id_, "--because", wrong)
        assert code == 2, page
    assert await parked()
    code, page = await said(lived, "dead-letters", "discard", id_, "--because", "written by a trial of mine")
    assert (code, "referral" in page, "notify" in page) == (0, True, True), page
    assert not await parked()
    for service in ("referral", "notify"):
        (noted,) = await lived.rows(service, "select * from discarded")
        assert (noted["topic"], noted["partition"]) == (f"spean.handoff.{holder}", 0)
        assert (noted["reason"], noted["because"]) == ("wrong-topic", "written by a trial of mine")
        assert noted["by_account"] == getpass.getuser()
    rows = await lived.rows("referral", "select source from parked")
    assert [row["source"] for row in rows] == [event.source] * 2, "the key and its successor still wait"
    code, page = await said(lived, "dead-letters", "discard", id_, "--because", "again")
    assert code == 1


@pytest.mark.parametrize(
    "arguments",
    [["referral"], ["referral", "spean/intake/main"], ["referral", "spean/intake/main", "no id"],
     ["referral", "spean/intake/main", str(UUID(int=1)), "--all"]],
    ids=["nothing", "half", "no id", "both"],
)  # fmt: skip
async def test_retry_wants_one_key_or_all(tmp_path: Path, arguments: list[str]) -> None:
    code, page = await Place(tmp_path).run("retry", *arguments)
    assert code == 2
    assert "Usage" in page


async def test_trace_shows_the_path_in_the_order_of_cause(lived: Lived) -> None:
    await lived.everything()
    done = (await lived.rows("referral", "select id from referral where state = 'completed'"))[0]["id"]
    path = await trace.trace_of(lived.here, done)
    types = [step.type for step in path.steps]
    main_line = [
        "handoff.requested.v1", "referral.received.v1", "offer.sent.v1", "offer.accepted.v1", "packet.released.v1",
        "referral.ready.v1", "referral.arrived.v1", "referral.completed.v1",
    ]  # fmt: skip
    assert [type_ for type_ in types if type_ in main_line] == main_line
    places = {step.id: number for number, step in enumerate(path.steps)}
    for number, step in enumerate(path.steps):
        assert step.cause is None or places.get(step.cause, -1) < number
        assert "@" in step.where
        assert set(step.readers.values()) == {"taken"}
    said_by = {step.source for step in path.steps}
    assert said_by == {"spean/intake/main", "spean/referral"}
    received = path.steps[types.index("referral.received.v1")]
    assert received.cause == path.steps[0].id
    assert path.due == []
    assert any(step.told for step in path.steps if step.type == "offer.sent.v1")

    code, page = await said(lived, "trace", str(done), "--json")
    assert code == 0, page
    assert [step["type"] for step in json.loads(page)["steps"]] == types
    code, page = await said(lived, "trace", str(done))
    assert code == 0, page
    assert "Test Person" not in page


async def test_trace_shows_what_waits_and_what_is_due(lived: Lived) -> None:
    await lived.everything()
    event = await poison(lived)
    waiting = (await lived.rows("referral", "select id from referral where state = 'offered'"))[0]["id"]
    path = await trace.trace_of(lived.here, waiting)
    assert {(due.service, due.kind) for due in path.due} >= {("referral", "referral"), ("referral", "deadline")}
    # As its writer had said it, the poison would be shown where it waits.
    async with lived.here.databases["intake"].transaction("test.said") as tx:
        await tx.conn.execute(
            """
            insert into outbox (id, aggregatetype, aggregateid, type, payload, epoch, sequence, time, correlationid)
            values ($1, 'spean.handoff.main', $2, $3, $4, 1, 1, $5, $6)
            """,
            event.id, event.subject, event.type, event.value.decode(), event.time, event.correlationid,
        )  # fmt: skip
    shown = (await trace.trace_of(lived.here, event.subject)).steps
    assert shown[0].readers["referral"] == f"parked: {REASON}"
    code, page = await said(lived, "trace", str(uuid4()))
    assert (code, "nothing was ever said about" in page) == (1, True)
    code, page = await said(lived, "trace", CANARY)
    assert code == 2


def test_the_order_of_cause_beats_clocks_that_differ() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def step(source: str, sequence: int, seconds: int, cause: UUID | None = None) -> Step:
        return Step(uuid4(), "x", source, 1, sequence, now + timedelta(seconds=seconds), cause, "unsent")

    asked = step("intake", 1, 50)
    received = step("referral", 1, 0, asked.id)
    offered = step("referral", 2, 1, asked.id)
    accepted = step("referral", 3, 60)
    released = step("intake", 2, 40, accepted.id)
    ready = step("referral", 4, 2, released.id)
    alone = step("notify", 1, 55, uuid4())
    found = in_order([ready, released, alone, accepted, offered, received, asked])
    assert found == [asked, received, offered, alone, accepted, released, ready]
    # Two that name each other are impossible, and shown all the same.
    one, two = step("a", 1, 0), step("b", 1, 1)
    assert set(map(id, in_order([replace(one, cause=two.id), replace(two, cause=one.id)]))) != set()
    assert len(in_order([replace(one, cause=two.id), replace(two, cause=one.id)])) == 2


async def test_where_nothing_runs_it_says_what_to_do(tmp_path: Path) -> None:
    empty = Place(tmp_path / "empty")
    code, page = await empty.run("watch", "--once")
    assert code == 1
    assert "holds no keys of an installation" in page
    assert not empty.settings.keys.exists()
    # Keys, and no server on the data folder.
    stopped = Place(tmp_path / "stopped")
    Roles.load(stopped.settings.keys)
    for command in (
        ("watch", "--once"),
        ("dead-letters",),
        ("retry", "referral", "--all"),
        ("replay",),
        ("trace", str(uuid4())),
    ):
        code, page = await stopped.run(*command)
        assert code == 1, page
        assert "does not run on" in page
        assert "Traceback" not in page
    assert not stopped.settings.data.exists()


async def test_what_another_operator_runs_is_left_out(workspace: Path) -> None:
    """At an address, where only the network has its database."""
    folder = workspace / f"alone-{uuid4().hex[:6]}"
    server = await embedded.start(folder / "pg", password_file=folder / "password", fast_unsafe=True)
    settings = settings_for(folder, server.server.dsn("postgres"))
    roles, cluster = Roles.load(settings.keys), AddressedCluster(settings.postgres)
    await installation.migrate(settings, cluster, roles, [])
    with pytest.raises(NotRunning, match="none of the services"):
        await only_network(settings)
    await installation.migrate(settings, cluster, roles, ["referral"])
    await only_network(settings)
    await server.stop()


async def only_network(settings: Settings) -> None:
    async with connected(settings) as here:
        assert list(here.databases) == ["referral"]
        assert [part.service for part in (await watch.look(here)).parts] == ["referral"]
        with pytest.raises(NotRunning, match="notify is not here"):
            await replay.say_again(here)
