"""`spean watch`: what an operator keeps an eye on. Numbers, states, times; no person, no organisation, no address."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from services.cli.connected import Connected, bounds_of, connected
from services.intake import main as intake
from services.notify import main as notify
from services.referral import main as referral
from spean import order
from spean.bus import BusError
from spean.db import Database, DatabaseProblem, Tx
from spean.settings import Settings
from spean.telemetry import set_up_logs

LAST_EVENTS = 12
EVERY_S = 1.0
# Older than this, something is on its way for longer than a person should wait.
LATE_S = 10.0


@dataclass(frozen=True, slots=True)
class State:
    """Referrals of one state: how many; past their deadline without arrival; in a coordinator's hands."""

    state: str
    count: int
    overdue: int
    escalated: int


@dataclass(frozen=True, slots=True)
class Part:
    """One service: what it has not sent (and how old the oldest is, seconds), what it has not read, per topic (None: the
    bus has no such topic), keys that wait, rows whose time has passed (and by how many seconds)."""

    service: str
    unsent: int
    unsent_age_s: float
    lag: dict[str, int | None]
    parked_keys: int
    late: int
    late_s: float


@dataclass(frozen=True, slots=True)
class Happened:
    type: str
    minute: str
    country: str | None


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at an installation. `at` is UTC; `erasures`: requests to those who hold copies, by state; `deliveries`:
    notices that did not go out, by state; `unaddressed`: organisations that no notice can reach, for want of an address."""

    at: str
    referrals: list[State]
    parts: list[Part]
    erasures: dict[str, int]
    deliveries: dict[str, int]
    unaddressed: int
    last: list[Happened]


async def look(here: Connected) -> Seen:
    """Raises DatabaseProblem, BusError."""
    states: list[State] = []
    erased: dict[str, int] = {}
    stuck: dict[str, int] = {}
    unaddressed = 0
    last: list[Happened] = []
    now: datetime | None = None
    parts: list[Part] = []
    for name, db in here.databases.items():
        async with db.transaction("watch.look") as tx:
            now = now or tx.now
            if name == referral.NAME:
                states = [State(**row) for row in await referrals(tx)]
            elif name == intake.NAME:
                erased = {row["state"]: row["count"] for row in await erasures(tx)}
            elif name == notify.NAME:
                last = [Happened(row["type"], row["at"].isoformat(), row["area"]) for row in await last_events(tx)]
                stuck = {row["state"]: row["count"] for row in await deliveries(tx)}
                unaddressed = await without_address(tx)
        parts.append(await _part(here, name, db))
    return Seen(
        "" if now is None else now.isoformat(timespec="seconds"), states, parts, erased, stuck, unaddressed, last
    )


async def _part(here: Connected, name: str, db: Database) -> Part:
    async with db.transaction("watch.part") as tx:
        sending, due, places = await unsent(tx), await late(tx), await order.positions(tx)
        waiting = await order.parked_now(tx)
    lag: dict[str, int | None] = {partition.topic: None for partition in sorted(places)}
    for partition, bounds in (await bounds_of(here.bus, places)).items():
        lag[partition.topic] = (lag[partition.topic] or 0) + bounds.left_after(places[partition])
    return Part(name, sending["count"], sending["age"], lag, len(waiting), due["count"], due["age"])


async def referrals(tx: Tx) -> list[dict[str, Any]]:
    rows = await tx.conn.fetch(
        """
        select state, count(*) as count,
               count(*) filter (where deadline < $1 and state not in ('in-progress', 'completed', 'cancelled')) as overdue,
               count(*) filter (where escalated is not null) as escalated
        from referral group by state order by state
        """,
        tx.now,
    )
    return [dict(row) for row in rows]


async def erasures(tx: Tx) -> list[Any]:
    return await tx.conn.fetch(
        """
        select case when erasure = 'requested' and erasure_by < $1 then 'overdue' else erasure end as state, count(*) as count
        from packet where erasure is not null group by 1 order by 1
        """,
        tx.now,
    )


async def deliveries(tx: Tx) -> list[Any]:
    """As the coordinators see them (`services.notify.dashboards`), of all networks."""
    return await tx.conn.fetch(
        """
        select case state when 'waiting' then 'failing' else state end as state, count(*) as count from delivery
        where state in ('parked', 'lapsed') or (state = 'waiting' and tries > 0) group by 1 order by 1
        """
    )


async def without_address(tx: Tx) -> int:
    found: int = await tx.conn.fetchval(
        """
        select count(*) from organisation where not exists (select from address a where a.organisation = organisation.id)
        and not exists (select from suspended s where s.organisation = organisation.id)
        """
    )
    return found


async def last_events(tx: Tx) -> list[Any]:
    return await tx.conn.fetch("select type, area, at from tail order by number desc limit $1", LAST_EVENTS)


async def unsent(tx: Tx) -> Any:
    return await tx.conn.fetchrow(
        """
        select count(*) as count, coalesce(extract(epoch from clock_timestamp() - min(time)), 0)::float as age from outbox
        """
    )


async def late(tx: Tx) -> Any:
    """Due rows that no clock has called in time; one that is put off after a failure counts too."""
    return await tx.conn.fetchrow(
        """
        select count(*) as count, coalesce(extract(epoch from $1 - min(at)), 0)::float as age
        from due where at < $1 - $2 * interval '1 second'
        """,
        tx.now, LATE_S,
    )  # fmt: skip


def shown(seen: Seen) -> RenderableType:
    """As a page of the terminal."""
    states = Table("referrals", "how many", "overdue", "escalated", title="Referrals", title_justify="left")
    for one in seen.referrals:
        states.add_row(one.state, str(one.count), _red(one.overdue), _red(one.escalated, "yellow"))
    parts = Table(
        "service", "unsent", "oldest", "not read", "waiting keys", "late", title="Services", title_justify="left"
    )
    for part in seen.parts:
        lag = ", ".join(
            f"{escape(topic.removeprefix('spean.'))} {'[red]no topic[/]' if left is None else left}"
            for topic, left in part.lag.items()
        )
        age = f"{part.unsent_age_s:.1f} s" if part.unsent else "–"
        late_ = f"{part.late} ({part.late_s:.0f} s)" if part.late else "0"
        parts.add_row(part.service, str(part.unsent), age if part.unsent_age_s < LATE_S else f"[red]{age}[/]", lag,
                      _red(part.parked_keys), late_ if not part.late else f"[red]{late_}[/]")  # fmt: skip
    erased = ", ".join(
        f"[red]{state} {count}[/]" if state == "overdue" else f"{state} {count}"
        for state, count in seen.erasures.items()
    )
    stuck = ", ".join(
        f"[red]{state} {count}[/]" if state != "lapsed" else f"{state} {count}"
        for state, count in seen.deliveries.items()
    )
    notices = (
        f"Notices that did not go out: {stuck or 'none'}; organisations without an address for them: {seen.unaddressed}"
    )
    last = Table("minute (UTC)", "country", "event", title="Last events", title_justify="left")
    for happened in seen.last:
        last.add_row(happened.minute[:16].replace("T", " "), happened.country or "–", escape(happened.type))
    return Group(f"[bold]Spean[/] at {seen.at}", states, parts, f"Erasure requests: {erased or 'none'}", notices, last)


def _red(count: int, colour: str = "red") -> str:
    return f"[{colour}]{count}[/]" if count else "0"


def watch(
    once: Annotated[bool, typer.Option(help="look once and end")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a look; with --once, one")] = False,
) -> None:
    """Watch a running installation: referrals, deadlines, what is on its way, what waits, the last events. Ctrl-C ends."""
    set_up_logs("ERROR")
    try:
        asyncio.run(_watch(Settings(), once=once, as_json=as_json))
    except KeyboardInterrupt:
        return


async def _watch(settings: Settings, *, once: bool, as_json: bool) -> None:
    console = Console(highlight=False)
    async with connected(settings) as here:
        seen = await look(here)
        if as_json or once:
            _put(console, seen, as_json=as_json)
            while not once:
                await asyncio.sleep(EVERY_S)
                _put(console, await look(here), as_json=as_json)
            return
        with Live(shown(seen), console=console, screen=console.is_terminal, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(EVERY_S)
                try:
                    live.update(shown(await look(here)), refresh=True)
                except (DatabaseProblem, BusError) as problem:
                    live.update(f"[red]cannot look now:[/] {escape(str(problem))}", refresh=True)


def _put(console: Console, seen: Seen, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(seen)))
    else:
        console.print(shown(seen))
