"""`spean trace REFERRAL`: one referral's whole path through the services, in the order of cause. Ids, types and times."""

from __future__ import annotations

import asyncio
import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from schemas.registry import PREFIX, TOPIC_OF
from services.cli.connected import Connected, connected
from services.notify import main as notify
from spean.db import Tx
from spean.settings import Settings
from spean.telemetry import set_up_logs

# Where it goes into a file no line is folded.
FILE_COLUMNS = 180


class NoSuchReferral(Exception):
    """No service has said anything about that id."""


@dataclass(frozen=True, slots=True)
class Step:
    """One event. `where`: topic/partition@offset, or `unsent`. `readers`: what each service that reads its topic made of
    it: `taken`, `waits`, or `parked: reason`. `told`: the state of notices that it led to."""

    id: UUID
    type: str
    source: str
    epoch: int
    sequence: int
    time: datetime
    cause: UUID | None
    where: str
    readers: dict[str, str] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Due:
    service: str
    kind: str
    subject: UUID
    at: datetime
    tries: int


@dataclass(frozen=True, slots=True)
class Path:
    referral: UUID
    steps: list[Step]
    due: list[Due]


async def trace_of(here: Connected, referral: UUID) -> Path:
    """Raises NoSuchReferral, DatabaseProblem."""
    steps: list[Step] = []
    subjects = {referral}
    for name, db in here.databases.items():
        async with db.transaction("trace.said") as tx:
            rows = await said_about(tx, referral)
        steps += [_step(row, here.source(name)) for row in rows]
        subjects |= {UUID(row["offer"]) for row in rows if row["offer"]}
    if not steps:
        raise NoSuchReferral(
            f"nothing was ever said about {referral}: is it a referral's id, and of this installation?"
        )
    due: list[Due] = []
    for name, db in here.databases.items():
        async with db.transaction("trace.taken") as tx:
            _readers(name, steps, await last_of(tx, referral), await parked_of(tx, referral))
            due += [Due(name, **row) for row in await due_of(tx, subjects)]
            if name == notify.NAME:
                _told(steps, await deliveries_of(tx, [step.id for step in steps]))
    return Path(referral, in_order(steps), sorted(due, key=lambda one: one.at))


def _step(row: asyncpg.Record, source: str) -> Step:
    where = "unsent" if row["offset"] is None else f"{row['aggregatetype']}/{row['partition']}@{row['offset']}"
    type_, cause = row["type"].removeprefix(PREFIX), row["causationid"]
    return Step(row["id"], type_, source, row["epoch"], row["sequence"], row["time"], cause, where)


def _readers(name: str, steps: Sequence[Step], last: Mapping[str, tuple[int, int]],
             parked: Mapping[tuple[str, int, int], str]) -> None:  # fmt: skip
    """Note what service `name` made of each event of a topic that it reads."""
    for step in steps:
        if name not in TOPIC_OF[PREFIX + step.type].readers:
            continue
        place = (step.epoch, step.sequence)
        if (reason := parked.get((step.source, *place))) is not None:
            step.readers[name] = f"parked: {reason}"
        else:
            step.readers[name] = "taken" if place <= last.get(step.source, (0, 0)) else "waits"


def _told(steps: Sequence[Step], rows: Sequence[asyncpg.Record]) -> None:
    by_id = {step.id: step for step in steps}
    for row in rows:
        by_id[row["event"]].told[row["state"]] = row["count"]


def in_order(steps: Sequence[Step]) -> list[Step]:
    """A cause stands before what it caused, a writer's events in their sequence; what neither decides, by time (clocks
    of different databases may differ, so time decides last)."""
    by_id = {step.id: step for step in steps}
    after: dict[UUID, list[Step]] = {step.id: [] for step in steps}
    waits_for = dict.fromkeys(after, 0)
    before: dict[str, Step] = {}
    for step in sorted(steps, key=lambda one: (one.source, one.epoch, one.sequence)):
        first = {by_id[id_].id for id_ in [step.cause] if id_ in by_id}
        if step.source in before:
            first.add(before[step.source].id)
        for id_ in first:
            after[id_].append(step)
        waits_for[step.id] = len(first)
        before[step.source] = step
    ready = [(step.time, step.source, step.sequence, step.id) for step in steps if not waits_for[step.id]]
    heapq.heapify(ready)
    found: list[Step] = []
    while ready:
        step = by_id[heapq.heappop(ready)[3]]
        found.append(step)
        for one in after[step.id]:
            waits_for[one.id] -= 1
            if not waits_for[one.id]:
                heapq.heappush(ready, (one.time, one.source, one.sequence, one.id))
    # Events that name each other as cause: none of ours do, and none is left out.
    return found + sorted((step for step in steps if waits_for[step.id]), key=lambda one: one.time)


async def said_about(tx: Tx, referral: UUID) -> list[asyncpg.Record]:
    columns = "id, aggregatetype, type, epoch, sequence, time, causationid, payload::jsonb ->> 'offer' as offer"
    return await tx.conn.fetch(
        f"""
        select {columns}, "partition", "offset" from said where aggregateid = $1
        union all select {columns}, null, null from outbox where aggregateid = $1
        """,
        referral,
    )


async def last_of(tx: Tx, referral: UUID) -> dict[str, tuple[int, int]]:
    """Per writer the last (epoch, sequence) that this service has taken in."""
    rows = await tx.conn.fetch("select source, epoch, sequence from last where aggregate = $1", referral)
    return {row["source"]: (row["epoch"], row["sequence"]) for row in rows}


async def parked_of(tx: Tx, referral: UUID) -> dict[tuple[str, int, int], str]:
    rows = await tx.conn.fetch("select source, epoch, sequence, reason from parked where aggregate = $1", referral)
    return {(row["source"], row["epoch"], row["sequence"]): row["reason"] for row in rows}


async def due_of(tx: Tx, subjects: set[UUID]) -> list[dict[str, Any]]:
    rows = await tx.conn.fetch("select kind, subject, at, tries from due where subject = any($1)", list(subjects))
    return [dict(row) for row in rows]


async def deliveries_of(tx: Tx, events: list[UUID]) -> list[asyncpg.Record]:
    return await tx.conn.fetch(
        "select event, state, count(*) as count from delivery where event = any($1) group by event, state", events
    )


def trace(
    referral: Annotated[str, typer.Argument(help="the referral's id")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Print one referral's whole path through the services: what was said, by whom, after what, where it is on the bus,
    who has taken it in, and what is due. No name, no field of a person: those are at the holder."""
    set_up_logs("ERROR")
    try:
        id_ = UUID(referral)
    except ValueError:
        msg = "a referral's id looks like 0b2c7a0e-5f0c-4d8e-9f5e-3a6d1c2b4e5f"
        raise typer.BadParameter(msg) from None
    path = asyncio.run(_traced(id_))
    if as_json:
        typer.echo(json.dumps(asdict(path), default=_plain))
    else:
        _show(path)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


async def _traced(referral: UUID) -> Path:
    async with connected(Settings()) as here:
        return await trace_of(here, referral)


def _show(path: Path) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=FILE_COLUMNS)
    numbers = {step.id: str(number) for number, step in enumerate(path.steps, 1)}
    table = Table("", "after", "time (UTC)", "event", "by", "number", "on the bus", "taken in by", "told")
    for step in path.steps:
        readers = ", ".join(
            name if state == "taken" else f"[yellow]{name} {escape(state)}[/]" for name, state in step.readers.items()
        )
        told = ", ".join(f"{state} {count}" for state, count in step.told.items())
        after = "" if step.cause is None else numbers.get(step.cause, "")
        table.add_row(
            numbers[step.id], after, step.time.strftime("%m-%d %H:%M:%S.%f")[:-3], step.type,
            step.source.removeprefix("spean/"), f"{step.epoch}.{step.sequence}", step.where, readers, told,
        )  # fmt: skip
    console.print(f"[bold]Referral {path.referral}[/]")
    console.print(table)
    for one in path.due:
        tried = f", called {one.tries} times" if one.tries else ""
        console.print(f"due  {one.at:%Y-%m-%d %H:%M:%S} UTC  {one.service} {one.kind}{tried}")
    if not path.due:
        console.print("due  nothing")
