"""`spean replay`: what coordinators see is built anew and is the same; nobody is told twice; nothing takes effect twice."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from deploy.kafka import local
from services.cli import installation, replay
from services.cli.installation import Installation
from spean.bus import Partition
from spean.consumer import TRIMMED
from spean.event import parse
from spean.service import PARTITIONS, Role, topics
from tests.builders import eventually
from tests.commands import Place
from tests.conftest import without_kafka
from tests.integration.kit import going
from tests.integration.lived import Lived, living, settings_in


async def test_projections_are_built_anew_and_are_the_same(lived: Lived) -> None:
    before = await lived.everything()
    assert len(before["notify.referral_view"]) == 3
    assert before["notify.copy_view"]
    assert before["notify.capacity_view"]
    assert before["notify.delivery"]
    said = await lived.rows("referral", "select id, epoch, sequence, time from said order by number")

    async with lived.here.databases["notify"].transaction("test.sent") as tx:
        await tx.conn.execute("update delivery set state = 'sent', sent_at = now(), tries = 1")
    ends = {topic: await lived.here.bus.bounds(topic) for topic in ("spean.referral", "spean.place")}
    told: list[tuple[int, int]] = []
    done = await replay.say_again(lived.here, lambda *numbers: told.append(numbers))
    assert done.taken_in
    assert told[0][0] == 0
    assert told[-1] == (done.said, done.said)
    assert await lived.everything() == before
    assert await lived.rows("referral", "select id, epoch, sequence, time from said order by number") == said
    assert await lived.rows("notify", "select 1 from delivery where state <> 'sent' or tries <> 1") == []
    for service in lived.here.databases:
        assert await lived.rows(service, "select reason from parked") == []
    # Where it is said to be on the bus, there it is: the youngest copy, which is kept longest.
    for row in await lived.rows("referral", "select * from said where aggregatetype = any($1)", list(ends)):
        at = Partition(row["aggregatetype"], row["partition"])
        assert row["offset"] >= ends[at.topic][at].end
        (stored,) = await lived.here.bus.read(at, row["offset"], limit=1)
        assert parse(stored.record).id == row["id"]


async def test_what_was_wrong_in_a_projection_is_right_afterwards(lived: Lived) -> None:
    before = await lived.everything()
    async with lived.here.databases["notify"].transaction("test.spoil") as tx:
        await tx.conn.execute("update referral_view set state = 'completed', asked = 99")
        await tx.conn.execute("insert into copy_view values (gen_random_uuid(), gen_random_uuid(), 'overdue')")
        await tx.conn.execute("delete from capacity_view")
        await tx.conn.execute("delete from tail where number % 2 = 0")
    await replay.say_again(lived.here)
    after = await lived.everything()
    tails = [{row.split(",", 1)[1] for row in found.pop("notify.tail")} for found in (before, after)]
    assert tails[0] == tails[1]
    assert after == before


async def test_while_people_work_nothing_is_lost(lived: Lived) -> None:
    """Referrals go on during a replay, and between it and another: in the end the projections say what the network
    knows, and nobody was told twice."""
    waiting = await lived.world.offer(lived.house)
    await lived.house.partner.post(f"/referral/offers/{waiting['id']}/accept")
    await asyncio.gather(work(lived), replay.say_again(lived.here))
    await replay.say_again(lived.here)
    await eventually(lived.quiet, within_s=30)
    truth = await lived.rows("referral", "select id, state from referral order by id")
    assert len(truth) == 5
    assert await lived.rows("notify", "select id, state from referral_view order by id") == truth
    free = await lived.rows("referral", "select usable - outside - held - staying as free from place")
    assert await lived.rows("notify", "select free from capacity_view") == free
    told = await lived.rows("notify", "select event, organisation from delivery")
    offers = await lived.rows("referral", "select id from offer")
    assert len({row["event"] for row in told if str(row["organisation"]) == lived.house.id}) >= len(offers)
    assert len({tuple(row.values()) for row in told}) == len(told)


async def work(lived: Lived) -> None:
    """Two more hand-offs, from the request to the packet."""
    for _ in range(2):
        await lived.answered(await lived.world.handoff(await lived.world.ready_person()))


LOST = {
    "emptied": ("truncate log", "update head set next = 0, start = 0"),
    "deleted": ("truncate log, head, topic, lease, member, committed cascade",),
}


@pytest.mark.parametrize("how", LOST)
async def test_after_the_log_was_lost(lived: Lived, how: str) -> None:
    """Everybody drops what has passed, the projections are the same, and the main line goes on."""
    before = await lived.everything()
    await lived.bus(*LOST[how])
    done = await replay.say_again(lived.here)
    assert done.taken_in
    after = await lived.everything()
    assert after == before
    for name in lived.here.databases:
        rows = await lived.rows(name, 'select aggregatetype, "partition", "offset" from said')
        assert len({tuple(row.values()) for row in rows}) == len(rows)
        for row in rows:
            bounds = await lived.here.bus.bounds(row["aggregatetype"])
            assert row["offset"] < max(end for _, end in bounds.values())
    waiting = await lived.world.offer(lived.house)
    await lived.house.partner.post(f"/referral/offers/{waiting['id']}/accept")
    await lived.answered(await lived.world.handoff(await lived.world.ready_person()))


async def test_killed_in_the_middle_it_is_run_again(made: Installation, lived: Lived) -> None:
    """Half of it is said and the projections are empty; the same command again mends that, and says so beforehand."""
    await killed_and_run_again(made, lived, Place(made.settings.data.parent))


async def killed_and_run_again(made: Installation, lived: Lived, place: Place) -> None:
    before = await lived.everything()
    deliveries = await lived.rows("notify", "select * from delivery order by id")
    blocker = await asyncpg.connect(made.cluster.dsn("referral"))
    try:
        # It has told the bus of the first page, and cannot write down that it has.
        await blocker.execute("begin; lock table said in share row exclusive mode")
        ends = await lived.here.bus.bounds("spean.referral")
        process = await place.spawn("replay")

        async def in_the_middle() -> bool:
            return await lived.here.bus.bounds("spean.referral") != ends

        await eventually(in_the_middle, within_s=20)
        process.kill()
        await process.communicate()
    finally:
        await blocker.close()
    assert process.returncode == -signal.SIGKILL
    assert await lived.rows("intake", "select 1 from said")
    code, said = await place.run("replay")
    assert code == 0, said
    assert "interrupted, run it again" in said
    assert await lived.everything() == before
    assert await lived.rows("notify", "select * from delivery order by id") == deliveries
    for service in lived.here.databases:
        assert await lived.rows(service, "select reason from parked") == []


@pytest.mark.kafka
@pytest.mark.timeout(240)
async def test_on_kafka_after_a_kill_and_after_all_topics_were_deleted(workspace: Path) -> None:
    """On a broker of its own: its topics are everybody's."""
    if (lacking := local.missing()) is not None:
        without_kafka(lacking)
    folder = workspace / f"replayed-{uuid4().hex[:6]}"
    kafka = await local.start(folder / "kafka", 1)
    try:
        settings = settings_in(folder).model_copy(update={"bus": kafka.address})
        async with (
            installation.installed(settings) as made,
            installation.running(made),
            living(made, made.settings) as lived,
        ):
            await lived.lives()
            place = Place(folder)
            place.more = {"SPEAN_BUS": kafka.address}
            await killed_and_run_again(made, lived, place)
            before = await lived.everything()
            deliveries = await lived.rows("notify", "select * from delivery order by id")
            admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address.removeprefix("kafka://"))
            await admin.start()
            await admin.delete_topics([spec.name for spec in topics([settings.holder])])
            await admin.close()
            done = await replay.say_again(lived.here)
            assert done.taken_in
            assert await lived.everything() == before
            assert await lived.rows("notify", "select * from delivery order by id") == deliveries
            waiting = await lived.world.offer(lived.house)
            await lived.house.partner.post(f"/referral/offers/{waiting['id']}/accept")
            await lived.answered(await lived.world.handoff(await lived.world.ready_person()))
    finally:
        await kafka.stop()


WITHOUT_READERS: tuple[Role, ...] = ("api", "relay", "clock")


async def test_what_nobody_had_read_before_it_was_gone(made: Installation, caplog: pytest.LogCaptureFixture) -> None:
    """No consumer for longer than the log is kept: they read no further and say so; a replay lets them go on."""
    async with installation.running(made, WITHOUT_READERS), living(made, made.settings) as lived:
        handoff = await lived.world.handoff(await lived.world.ready_person())

        async def sent() -> bool:
            return bool(await lived.rows("intake", "select 1 from said where aggregateid = $1", UUID(handoff)))

        async def found_their_places() -> bool:
            """Of every partition of every topic that they read."""
            found = [len(await lived.rows(name, "select 1 from position")) for name in made.services]
            return found == [PARTITIONS * len(service.reads) for service in made.services.values()]

        await eventually(sent)
        await lived.bus("update log set at = at - interval '15 days'")
        async with lived.here.databases["intake"].transaction("test.now") as tx:
            now = tx.now
        assert await lived.here.bus.trim(now) > 0
        async with going(*(service.run(["consume"]) for service in made.services.values())):
            await eventually(found_their_places)
            assert TRIMMED in caplog.text
            await replay.say_again(lived.here)
            await lived.world.offer(lived.house)
            await eventually(lived.quiet, within_s=30)


@pytest.mark.long
async def test_where_nobody_reads_for_notify_it_is_said_and_told(made: Installation) -> None:
    async with installation.running(made, WITHOUT_READERS), living(made, made.settings) as lived:
        others = [service for name, service in made.services.items() if name != "notify"]
        async with going(*(service.run(["consume"]) for service in others)):
            async with going(made.services["notify"].run(["consume"])):
                await lived.lives()
                before = await lived.everything()
            done = await replay.say_again(lived.here)
            assert not done.taken_in
            assert await lived.rows("notify", "select 1 from referral_view") == []
            async with going(made.services["notify"].run(["consume"])):
                assert await lived.everything() == before
