"""Groups on the Postgres bus: who is alive, who reads what, and reading it.

Leases serve liveness alone. Two members may read the same partition for a moment (a frozen one that wakes up); what
keeps them apart is the position in the consumer's own database (`spean.consumer`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import asyncpg

from spean.bus import Bounds, BusError, BusUnavailable, OutOfRange, Partition, Record, Stored
from spean.bus.postgres_session import FLEETING, GROUP_CHANNEL, TOPIC_CHANNEL, Connection, Note, Session, Wakes
from spean.bus.share import STALL_S, Share, quotas
from spean.loops import end_if_cancelled

log = logging.getLogger(__name__)

# A member beats every second and is taken for gone after four: three beats may be late or lost.
BEAT_S = 1.0
LEASE_S = 4.0
# Appends wake a waiting member. It looks by itself when it cannot listen, and now and then in case it was not told.
UNTOLD_POLL_S = 0.25
TOLD_POLL_S = 1.0


class Standing(NamedTuple):
    """A group at one moment: the topics of each live member, the names of the dead, each partition's member or None."""

    live: dict[str, frozenset[str]]
    dead: frozenset[str]
    owners: dict[Partition, str | None]


class Move(NamedTuple):
    """What a member should do for its fair share."""

    release: list[Partition]
    take: list[Partition]


def fair_move(standing: Standing, member: str) -> Move:
    """Release what is above the member's quota, take free partitions up to it. Members that hold their share keep it."""
    partitions = Counter(partition.topic for partition in standing.owners)
    quota = quotas(standing.live, partitions)
    move = Move([], [])
    for topic in partitions:
        of_topic = sorted(partition for partition in standing.owners if partition.topic == topic)
        mine = [partition for partition in of_topic if standing.owners[partition] == member]
        free = [partition for partition in of_topic if standing.owners[partition] not in standing.live]
        allowed = quota.get((member, topic), 0)
        move.release.extend(mine[allowed:])
        move.take.extend(free[: max(0, allowed - len(mine))])
    return move


async def lock_group(conn: Connection, group: str) -> None:
    """Until the end of the transaction."""
    await conn.execute("select pg_advisory_xact_lock(hashtextextended('spean group ' || $1, 0))", group)


async def join(conn: Connection, group: str, member: str, session: uuid.UUID, topics: Sequence[str]) -> None:
    """Become the member of that name; whoever had it before has lost it, and its leases are ours."""
    await conn.execute(
        """
        insert into member (grp, member, session, topics, seen) values ($1, $2, $3, $4, now())
        on conflict (grp, member) do update set session = excluded.session, topics = excluded.topics, seen = now()
        """,
        group, member, session, list(topics),
    )  # fmt: skip


async def beat(conn: Connection, group: str, member: str, session: uuid.UUID) -> bool:
    """False when the name is not ours any more."""
    return bool(
        await conn.fetchval(
            "update member set seen = now() where grp = $1 and member = $2 and session = $3 returning true",
            group, member, session,
        )
    )  # fmt: skip


async def leave(conn: Connection, group: str, member: str, session: uuid.UUID) -> None:
    await conn.execute("delete from member where grp = $1 and member = $2 and session = $3", group, member, session)


async def taken_over(conn: Connection, group: str, member: str, session: uuid.UUID) -> bool:
    return bool(
        await conn.fetchval(
            "select true from member where grp = $1 and member = $2 and session <> $3", group, member, session
        )
    )


async def load_standing(conn: Connection, group: str) -> Standing:
    # Seen later than now, and not just by another's session: the database's clock was set back. Whoever lives beats again.
    members = await conn.fetch(
        "select member, topics, abs(extract(epoch from now() - seen)) < $2::float8 as live from member where grp = $1",
        group, LEASE_S,
    )  # fmt: skip
    live = {row["member"]: frozenset(row["topics"]) for row in members if row["live"]}
    owners = await conn.fetch(
        """
        select head.topic, head.partition, lease.member
        from head left join lease on lease.grp = $1 and lease.topic = head.topic and lease.partition = head.partition
        where head.topic = any($2)
        """,
        group, sorted(frozenset[str]().union(*live.values())),
    )  # fmt: skip
    return Standing(
        live,
        frozenset(row["member"] for row in members if not row["live"]),
        {Partition(row["topic"], row["partition"]): row["member"] for row in owners},
    )


async def remove_members(conn: Connection, group: str, members: Iterable[str]) -> None:
    """Their leases go with them."""
    await conn.execute("delete from member where grp = $1 and member = any($2)", group, list(members))


async def release(conn: Connection, group: str, partitions: Sequence[Partition]) -> None:
    await conn.execute(
        """
        delete from lease using unnest($2::text[], $3::int[]) as gone(topic, partition)
        where lease.grp = $1 and lease.topic = gone.topic and lease.partition = gone.partition
        """,
        group, [p.topic for p in partitions], [p.number for p in partitions],
    )  # fmt: skip


async def take(conn: Connection, group: str, member: str, partitions: Sequence[Partition]) -> None:
    await conn.execute(
        "insert into lease (grp, topic, partition, member) select $1, t.*, $2 from unnest($3::text[], $4::int[]) as t",
        group, member, [p.topic for p in partitions], [p.number for p in partitions],
    )  # fmt: skip


async def tell_group(conn: Connection, group: str) -> None:
    await conn.execute("select pg_notify($1, $2)", GROUP_CHANNEL, group)


async def save_committed(conn: Connection, group: str, positions: Mapping[Partition, int]) -> None:
    await conn.execute(
        """
        insert into committed (grp, topic, partition, next)
        select $1, t.* from unnest($2::text[], $3::int[], $4::bigint[]) as t
        on conflict (grp, topic, partition) do update set next = excluded.next
        """,
        group, [p.topic for p in positions], [p.number for p in positions], list(positions.values()),
    )  # fmt: skip


async def load_records(conn: Connection, wanted: Mapping[Partition, int], limit: int) -> list[asyncpg.Record]:
    """Rows of the partitions `wanted`, each from its offset on, in order. A partition without any has one row of nulls."""
    return await conn.fetch(
        """
        select wanted.topic, wanted.partition, head.start, head.next, r."offset", r.key, r.headers, r.value
        from unnest($1::text[], $2::int[], $3::bigint[]) as wanted(topic, partition, expected)
        join head on head.topic = wanted.topic and head.partition = wanted.partition
        left join lateral (
            select log."offset", log.key, log.headers, log.value from log
            where log.topic = wanted.topic and log.partition = wanted.partition and log."offset" >= wanted.expected
            order by log."offset" limit $4
        ) as r on true
        limit $4 + cardinality($1)
        """,
        [p.topic for p in wanted], [p.number for p in wanted], list(wanted.values()), limit,
    )  # fmt: skip


def contiguous(rows: Iterable[asyncpg.Record], wanted: Mapping[Partition, int], limit: int) -> dict[Partition, list[Stored]]:  # fmt: skip
    """Up to `limit` records, per partition from the wanted offset on and without a hole. Raises OutOfRange."""
    found: dict[Partition, list[Stored]] = {}
    for row in rows:
        partition = Partition(row["topic"], row["partition"])
        check_range(partition, wanted[partition], Bounds(row["start"], row["next"]))
        batch = found.get(partition, [])
        if limit == 0 or row["offset"] != wanted[partition] + len(batch):
            continue
        record = Record(row["key"], json.loads(row["headers"]), row["value"])
        batch.append(Stored(partition, row["offset"], record))
        found[partition] = batch
        limit -= 1
    return found


def check_range(partition: Partition, offset: int, bounds: Bounds) -> None:
    """Raises OutOfRange. The end itself is in range: the next record will be there."""
    if not bounds.start <= offset <= bounds.end:
        raise OutOfRange(
            f"{partition.topic}/{partition.number} holds {bounds.start} to {bounds.end}, asked for {offset}"
        )


class PostgresSubscription:
    """A member of a group. A task of its own keeps the member alive and its share fair; `poll` shows that it reads."""

    def __init__(self, dsn: str, wakes: Wakes, group: str, member: str, topics: Sequence[str]) -> None:
        self._group, self._member, self._topics = group, member, topics
        self._session = Session(dsn, FLEETING)
        self._wakes = wakes
        self._id = uuid.uuid4()
        self._share = Share()
        self._wake, self._beat_now = asyncio.Event(), asyncio.Event()
        self._clock = asyncio.get_running_loop().time
        self._alive = self._polled = self._clock()
        self._taken_over = False
        self._beats: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Join the group. Raises BusUnavailable, BusError."""
        async with self._session.use() as conn, conn.transaction():
            await lock_group(conn, self._group)
            await join(conn, self._group, self._member, self._id, self._topics)
            await tell_group(conn, self._group)
        self._wakes.add(self._notified)
        await self._beat()
        self._beats = asyncio.create_task(self._keep_alive())

    def assigned(self) -> frozenset[Partition]:
        self._drop_if_late()
        return self._share.assigned()

    async def seek(self, partition: Partition, offset: int) -> None:
        if partition not in self._share.held:
            return
        async with self._session.use() as conn:
            rows = await load_records(conn, {partition: offset}, 1)
        if rows and partition in self._share.held:
            check_range(partition, offset, Bounds(rows[0]["start"], rows[0]["next"]))
            self._share.expected[partition] = offset

    async def poll(self, *, timeout_s: float, max_records: int) -> dict[Partition, list[Stored]]:
        self._enter_poll()
        deadline = self._clock() + timeout_s
        while True:
            self._wake.clear()
            if self._share.changed():
                await asyncio.sleep(0)
                return {}
            batches = await self._read(max_records)
            remaining = deadline - self._clock()
            if batches or remaining <= 0:
                return batches
            await _wait(self._wake, min(remaining, TOLD_POLL_S if self._wakes.listening else UNTOLD_POLL_S))
            self._enter_poll()

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        try:
            async with self._session.use() as conn:
                await save_committed(conn, self._group, positions)
        except BusError as error:
            log.info("shown positions not saved", extra={"error_class": type(error).__name__})

    async def close(self) -> None:
        self._wakes.remove(self._notified)
        if self._beats is not None:
            self._beats.cancel()
            await asyncio.wait({self._beats})
        self._share.lose(self._share.held)
        try:
            async with self._session.use() as conn, conn.transaction():
                await leave(conn, self._group, self._member, self._id)
                await tell_group(conn, self._group)
        except BusError as error:
            log.info("left without a word", extra={"error_class": type(error).__name__})
        await self._session.close()

    def _enter_poll(self) -> None:
        """Raises BusError when another process has this member's name."""
        if self._taken_over:
            raise BusError(f"another process has become member {self._member} of group {self._group}")
        if self._clock() - self._polled > STALL_S:
            self._beat_now.set()
        self._polled = self._clock()
        self._drop_if_late()
        self._share.enter_poll()

    def _drop_if_late(self) -> None:
        """After a freeze or a lost connection others may hold the partitions."""
        if self._clock() - self._alive > LEASE_S:
            self._share.lose(self._share.held)

    async def _read(self, max_records: int) -> dict[Partition, list[Stored]]:
        if not self._share.expected:
            return {}
        # The next poll starts at another partition, so that a busy one does not keep the others waiting.
        first = next(iter(self._share.expected))
        self._share.expected[first] = self._share.expected.pop(first)
        wanted = dict(self._share.expected)
        async with self._session.use() as conn:
            rows = await load_records(conn, wanted, max_records)
        batches = {
            partition: batch
            for partition, batch in contiguous(rows, wanted, max_records).items()
            if self._share.expected.get(partition) == batch[0].offset
        }
        for partition, batch in batches.items():
            self._share.expected[partition] = batch[-1].offset + 1
        return batches

    def _notified(self, note: Note) -> None:
        if note is None or note == (GROUP_CHANNEL, self._group):
            self._beat_now.set()
        if note is None or (note[0] == TOPIC_CHANNEL and note[1] in self._topics):
            self._wake.set()

    async def _keep_alive(self) -> None:
        while not self._taken_over:
            self._beat_now.clear()
            if self._clock() - self._polled <= STALL_S:
                try:
                    await self._beat()
                except BusUnavailable:
                    end_if_cancelled()
                    log.info("heartbeat missed", extra={"service": self._group})
                except BusError as error:
                    end_if_cancelled()
                    log.warning("heartbeat refused", extra={"service": self._group, "reason": str(error)})
            self._drop_if_late()
            await _wait(self._beat_now, BEAT_S)

    async def _beat(self) -> None:
        """Show that we live; where the shares are not fair, do our part. Raises BusUnavailable, BusError."""
        at = self._clock()
        async with self._session.use() as conn:
            if not await beat(conn, self._group, self._member, self._id):
                if await taken_over(conn, self._group, self._member, self._id):
                    self._taken_over = True
                    self._share.lose(self._share.held)
                    self._wake.set()
                    return
                await join(conn, self._group, self._member, self._id, self._topics)
            standing = await load_standing(conn, self._group)
            if standing.dead or any(fair_move(standing, self._member)):
                standing = await self._rebalance(conn)
        self._alive = at
        mine = {partition for partition, owner in standing.owners.items() if owner == self._member}
        if mine != self._share.held:
            self._share.lose(self._share.held - mine)
            self._share.gain(mine)
            self._wake.set()

    async def _rebalance(self, conn: Connection) -> Standing:
        async with conn.transaction():
            await lock_group(conn, self._group)
            standing = await load_standing(conn, self._group)
            await remove_members(conn, self._group, standing.dead)
            move = fair_move(standing, self._member)
            # Stop reading first: from the commit on, another may start.
            self._share.lose(move.release)
            await release(conn, self._group, [*move.release, *move.take])
            await take(conn, self._group, self._member, move.take)
            if standing.dead or any(move):
                await tell_group(conn, self._group)
        owners = standing.owners | dict.fromkeys(move.release, None) | dict.fromkeys(move.take, self._member)
        return standing._replace(owners=owners)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
