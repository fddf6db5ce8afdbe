"""How many of the people now with the holder look the same in an offer, in PostgreSQL.

What an offer shows is sealed, so nobody can count it in SQL: the clock opens everybody every minute and keeps the counts. Only
what enough people share is kept, under a digest, so that whoever reads this table learns of nobody who stands out. A count
that is old is no count: then an offer shows the least.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from services.intake.cases import store as cases
from services.intake.disclosure import rarity
from services.intake.handoffs.store import ENDED
from services.intake.keystore.store import KeyStore
from spean.clock import set_due
from spean.db import Database, Tx

# Kind of due row, of which there is one.
DUE = "crowd"
# As long as nobody else is met, a minute more tells no more; and a holder with very many people counts for at most a fiftieth
# of the time of one core.
EVERY, SHARE = timedelta(minutes=1), 50
FRESH = timedelta(hours=1)
# People opened at once: some 20 ms, in which this process does nothing else.
_AT_ONCE = 500
_FIRST = UUID(int=0)

# The first of several looks ($2), the fullest first, that enough people share; none: the least.
_ENOUGH = """
    coalesce((
        select min(one.step) - 1 from unnest($2::bytea[]) with ordinality as one (look, step)
            join crowd c on c.look = one.look
        where c.counted_at > $4 and c.people >= (
            select people from crowd_limit where valid_from <= $3 order by valid_from desc limit 1)), $1)
"""


async def decide(tx: Tx, handoff: UUID, looks: Sequence[bytes]) -> None:
    """What offers for this hand-off leave out (`rarity.looks`), once: a later count would tell those who read them again
    that somebody has come or gone."""
    await tx.conn.execute(
        f"""
        insert into left_out as before (handoff, steps) values ($5, {_ENOUGH})
        on conflict (handoff) do update set steps = excluded.steps where before.steps is null
        """,
        rarity.STEPS, list(looks), tx.now, tx.now - FRESH, handoff,
    )  # fmt: skip


async def would_leave_out(tx: Tx, looks: Sequence[bytes]) -> int:
    """How many steps it would be now; nothing is decided."""
    steps: int = await tx.conn.fetchval(
        f"select {_ENOUGH}", rarity.STEPS, list(looks), tx.now, tx.now - FRESH
    )  # fmt: skip
    return steps


async def left_out(tx: Tx, handoffs: Collection[UUID]) -> dict[UUID, int]:
    """Hand-off → how many steps its offers leave out; of a hand-off that is not here nothing was decided."""
    rows = await tx.conn.fetch(
        "select handoff, steps from left_out where handoff = any($1) and steps is not null", list(handoffs)
    )
    return {row["handoff"]: row["steps"] for row in rows}


async def undecide(tx: Tx, entry: UUID) -> None:
    """Somebody is described otherwise from now on, and so is everybody's offer that they are in."""
    await tx.conn.execute(
        "update left_out set steps = null where handoff in (select handoff from handoff_member where entry = $1)", entry
    )


# --- counting -------------------------------------------------------------------------------------------------------


async def count(db: Database, keys: KeyStore, subject: UUID) -> None:
    """The clock: everybody with an open case, under each area in which they were met or are to be helped; and every party
    as one, among parties."""
    started = time.monotonic()
    async with db.transaction("crowd.began") as tx:
        began = tx.now
    alike = Counter[bytes]()
    await _count_people(db, keys, alike)
    await _count_parties(db, keys, alike)
    pause = max(EVERY, timedelta(seconds=SHARE * (time.monotonic() - started)))
    async with db.transaction("crowd.write") as tx:
        await _write(tx, alike, began)
        await set_due(tx, DUE, subject, tx.now + pause)


async def _count_people(db: Database, keys: KeyStore, alike: Counter[bytes]) -> None:
    after, full = _FIRST, True
    while full:
        async with db.transaction("crowd.people") as tx:
            rows = await _people(tx, after)
            opened = await cases.open_all(tx, keys, [row["id"] for row in rows])
        for row in rows:
            if (one := opened.get(row["id"])) is not None:
                alike.update({look for area in row["areas"] for look in rarity.looks([one.fields], area)})
        after, full = rows[-1]["id"] if rows else after, len(rows) == _AT_ONCE


async def _count_parties(db: Database, keys: KeyStore, alike: Counter[bytes]) -> None:
    """A party that waits for several services is one party."""
    after, full, counted = _FIRST, True, set[tuple[str, tuple[UUID, ...]]]()
    while full:
        async with db.transaction("crowd.parties") as tx:
            rows = await _parties(tx, after)
            opened = await cases.open_all(tx, keys, {one for row in rows for one in row["members"]})
        for row in rows:
            party = (row["area"], tuple(row["members"]))
            if party not in counted and opened.keys() >= set(party[1]):
                alike.update(set(rarity.looks([opened[one].fields for one in party[1]], row["area"])))
            counted.add(party)
        after, full = rows[-1]["id"] if rows else after, len(rows) == _AT_ONCE


async def _people(tx: Tx, after: UUID) -> list[asyncpg.Record]:
    return await tx.conn.fetch(
        """
        select e.id, array(
            select e.area union
            select h.area from handoff h join handoff_member m on m.handoff = h.id
            where m.entry = e.id and h.state <> all($3::text[])) as areas
        from entry e join "case" c on c.entry = e.id where c.state = 'open' and e.id > $1 order by e.id limit $2
        """,
        after, _AT_ONCE, list(ENDED),
    )  # fmt: skip


async def _parties(tx: Tx, after: UUID) -> list[asyncpg.Record]:
    return await tx.conn.fetch(
        """
        select h.id, h.area, array(
            select m.entry from handoff_member m where m.handoff = h.id order by m.entry) as members
        from handoff h where h.places > 1 and h.state <> all($3::text[]) and h.id > $1 order by h.id limit $2
        """,
        after, _AT_ONCE, list(ENDED),
    )  # fmt: skip


async def _write(tx: Tx, alike: Counter[bytes], began: datetime) -> None:
    """In place of the last count, unless another clock has counted meanwhile: who has gone by then is not brought back."""
    if await tx.conn.fetchval(
        "select exists (select 1 from crowd where counted_at > $1 and counted_at < $2)", began, began + EVERY
    ):
        return
    least = await tx.conn.fetchval(
        "select people from crowd_limit where valid_from <= $1 order by valid_from desc limit 1", tx.now
    )
    enough: Iterable[tuple[bytes, int]] = [] if least is None else [one for one in alike.items() if one[1] >= least]
    await tx.conn.execute(
        """
        insert into crowd (look, people, counted_at)
        select look, people, $3 from unnest($1::bytea[], $2::integer[]) as one (look, people)
        on conflict (look) do update set people = excluded.people, counted_at = excluded.counted_at
        """,
        [look for look, _ in enough], [people for _, people in enough], began,
    )  # fmt: skip
    await tx.conn.execute("delete from crowd where counted_at <> $1", began)
