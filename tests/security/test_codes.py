"""Codes and numbers about a person (age, sex, needs, languages, citizenship) are nowhere in the clear.

They are too short to be searched for. So two people go the same way, who have nothing in common but which fields are filled,
and every row of every database that either of them left must say the same, but for what is sealed.
"""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import UUID

import asyncpg

from schemas.vocabulary import Need
from services.cli.installation import BUS_DATABASE
from services.intake.cases.domain import PersonFields
from services.intake.keystore.store import DATABASE as KEYS
from tests.builders import Organisation, World, eventually
from tests.security.canaries import CODED

SOMEBODY = {"age_years": 24, "sex": "female", "needs": ["interpreter"], "languages": ["khm"], "citizenship": "KH"}
ANOTHER = {"age_years": 97, "sex": "male", "needs": ["step_free", "nursing"], "languages": ["mya"], "citizenship": "VN"}
# Counters: of rows, events, places in a log. Any other number is compared as it is.
_COUNTERS = frozenset(
    {"number", "sequence", "offset", "next", "position", "partition", "epoch", "times", "version", "xid"}
)
_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d(?::?\d\d)?)?")
_TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


async def _the_line(world: World, house: Organisation, described: dict[str, Any]) -> set[str]:
    """From entry to outcome, corrected on the way, stopped at the end. Returns the ids of what was made."""
    sender = world.sender.partner
    entry = await world.ready_person(**described)
    await sender.put(
        f"/intake/entries/{entry}/person", {**described, "name": "Made Up"}, version=await _version(world, entry)
    )
    handoff = await world.handoff(entry)
    offer = (await world.offer(house))["id"]
    await house.partner.post(f"/referral/offers/{offer}/accept")
    await _stands(world, handoff, "ready")
    packet = (await house.partner.packet(offer))["members"][0]
    assert packet.items() >= described.items()  # the control: whoever may read it reads it
    code = (await sender.get(f"/intake/handoffs/{handoff}"))["hand_over_code"]
    await house.partner.post(f"/referral/offers/{offer}/arrived", {"code": code})
    await _stands(world, handoff, "in-progress")
    await sender.post(f"/intake/entries/{entry}/withdraw", {"what": "sharing"})
    await house.partner.post(f"/referral/offers/{offer}/outcome", {"outcome": "needs_met"})
    await _stands(world, handoff, "completed")
    return {entry, handoff, str(offer)}


async def _stands(world: World, handoff: str, state: str) -> None:
    """Wait until the holder has heard of it. Nobody reads it out meanwhile, for what is read out is written down."""
    conn = await asyncpg.connect(world.made.cluster.dsn("intake"))

    async def reached() -> bool:
        return bool(await conn.fetchval("select state = $2 from handoff where id = $1", UUID(handoff), state))

    try:
        await eventually(reached)
    finally:
        await conn.close()


async def _version(world: World, entry: str) -> int:
    return int((await world.sender.partner.get(f"/intake/entries/{entry}"))["version"])


async def _rows(world: World, ids: set[str]) -> set[str]:
    """Every row that names one of these, as database.table and what it says to whoever cannot open what is sealed."""
    made, found = world.made, set[str]()
    # As it is, and in bytes, which PostgreSQL writes in hexadecimal.
    named = [f"%{form}%" for id_ in ids for form in (id_, id_.encode().hex())]
    for name in (*made.services, KEYS, BUS_DATABASE):
        conn = await asyncpg.connect(made.cluster.dsn(name))
        try:
            for table in await conn.fetch("select tablename from pg_tables where schemaname = 'public'"):
                told = f'select row_to_json(t)::text as row from "{table[0]}" t'
                rows = await conn.fetch(f"select row from ({told}) told where row like any($1)", named)
                found |= {f"{name}.{table[0]} {_masked(_opened(json.loads(row[0])))}" for row in rows}
        finally:
            await conn.close()
    return found


def _opened(row: dict[str, Any]) -> dict[str, Any]:
    """Bytes that are a text are read as one; others are sealed, and only that they are there is kept."""

    def read(value: Any) -> Any:
        if not (isinstance(value, str) and value.startswith("\\x")):
            return value
        try:
            return bytes.fromhex(value[2:]).decode()
        except ValueError:
            return "sealed"

    return {name: read(value) for name, value in row.items()}


def _masked(row: dict[str, Any]) -> str:
    """Without what differs from one to the next: ids, times, counters."""
    plain = {name: "counter" if name in _COUNTERS and value is not None else value for name, value in row.items()}
    text = json.dumps(plain, sort_keys=True)
    for pattern, word in ((_TRACE, "trace"), (_ID, "id"), (_TIME, "time")):
        text = pattern.sub(word, text)
    return re.sub(r'\\"(sequence|epoch|number)\\": \d+', r"\1", text)


async def test_who_somebody_is_changes_no_row_that_is_not_sealed(world: World) -> None:
    assert SOMEBODY.keys() == ANOTHER.keys() == CODED - {"age_band"}
    assert PersonFields.model_fields.keys() >= CODED
    house = await world.house("Takes anybody", needs=[str(need) for need in Need])
    first = await _the_line(world, house, SOMEBODY)
    second = await _the_line(world, house, ANOTHER)

    async def differing() -> set[str]:
        return await _rows(world, first) ^ await _rows(world, second)

    async def same() -> bool:  # the last of them may still be on its way
        return not await differing()

    try:
        await eventually(same)
    except AssertionError:
        assert await differing() == set()
    kept = await _rows(world, first)
    assert len({row.split()[0] for row in kept}) > 12
    assert any('"sealed": "sealed"' in row for row in kept)
