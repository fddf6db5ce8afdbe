"""`spean dead-letters` and `spean retry`: what could not take effect, why, and trying it again."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.markup import escape

from schemas.registry import PREFIX
from services.cli.connected import Connected, NotRunning, connected
from spean import consumer, order
from spean.order import Key
from spean.settings import Settings
from spean.telemetry import set_up_logs

WAITING = 3


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One key that waits at a service: `count` events, the first of type `type` because of `reason` (a class, never
    content), since `since` (UTC)."""

    service: str
    topic: str
    source: str
    aggregate: UUID
    count: int
    type: str
    reason: str
    since: datetime

    def told(self) -> dict[str, object]:
        """As JSON takes it."""
        return {
            "service": self.service, "topic": self.topic, "source": self.source, "aggregate": str(self.aggregate),
            "count": self.count, "type": self.type, "reason": self.reason, "since": self.since.isoformat(),
        }  # fmt: skip


async def dead_letters_of(here: Connected) -> list[DeadLetter]:
    """Every key that waits, by service, longest first. Raises DatabaseProblem."""
    found: list[DeadLetter] = []
    for service, db in here.databases.items():
        async with db.transaction("operator.parked") as tx:
            rows = await order.parked_now(tx)
        found += [DeadLetter(service, **{name: row[name] for name in _ROW}) for row in rows]
    return found


_ROW = ("topic", "source", "aggregate", "count", "type", "reason", "since")


def dead_letters(
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """List what could not take effect: each waiting key, with the class of what went wrong. Exit code 0 where nothing
    waits, 3 where something does."""
    set_up_logs("WARNING")
    found = asyncio.run(_listed())
    if as_json:
        for letter in found:
            typer.echo(json.dumps(letter.told()))
    else:
        _show(found)
    if found:
        raise typer.Exit(WAITING)


async def _listed() -> list[DeadLetter]:
    async with connected(Settings()) as here:
        return await dead_letters_of(here)


def _show(found: list[DeadLetter]) -> None:
    """Whole lines, however narrow the terminal: what is to be typed next can be copied."""
    console = Console(highlight=False, soft_wrap=True)
    if not found:
        console.print("[green]Nothing waits:[/] every event has taken effect.")
    for one in found:
        since = one.since.strftime("%Y-%m-%d %H:%M")
        first = one.type.removeprefix(PREFIX) or "a record that is no event"
        console.print(
            f"[bold]{one.service}[/]  [red]{escape(one.reason)}[/]  {escape(first)} on {escape(one.topic)}, "
            f"{one.count} waiting since {since} UTC"
        )
        if one.source == order.NOBODY:
            console.print("    no event of this topic's writer: it holds up nobody, and is kept to be looked at")
        else:
            console.print(f"    spean retry {one.service} {escape(one.source)} {one.aggregate}")


def retry(
    service: Annotated[str, typer.Argument(help="referral, intake or notify")],
    source: Annotated[str, typer.Argument(help="as spean dead-letters shows it")] = "",
    aggregate: Annotated[str, typer.Argument(help="as spean dead-letters shows it")] = "",
    everything: Annotated[bool, typer.Option("--all", help="every key that waits at this service")] = False,
) -> None:
    """Give a waiting key's events to their handlers again, in order. Exit code 0 when all have taken effect, 3 where
    something still waits (it is then as it was)."""
    set_up_logs("ERROR")
    if everything == bool(source or aggregate) or bool(source) != bool(aggregate):
        msg = "name one key (SOURCE AGGREGATE) or all of them (--all)"
        raise typer.BadParameter(msg)
    wanted = None if everything else Key(source, _id(aggregate))
    if not asyncio.run(_retried(service, wanted)):
        raise typer.Exit(WAITING)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        msg = "AGGREGATE is an id such as spean dead-letters shows"
        raise typer.BadParameter(msg) from None


async def _retried(service: str, wanted: Key | None) -> bool:
    """Whether nothing that was tried waits any more."""
    console = Console(highlight=False, soft_wrap=True)
    async with connected(Settings()) as here:
        if service not in here.databases:
            raise NotRunning(f"no such service here: one of {', '.join(here.databases)}")
        outcomes = await retry_keys(here, service, wanted)
    for key, reason in outcomes.items():
        done = "[green]taken in[/]" if reason is None else f"[yellow]still waits[/]: {escape(reason)}"
        console.print(f"{escape(key.source)} {key.aggregate}  {done}")
    if not outcomes:
        console.print("Nothing of that waits.")
    return all(reason is None for reason in outcomes.values())


async def retry_keys(here: Connected, service: str, wanted: Key | None) -> dict[Key, str | None]:
    """Try one waiting key of a service, or all. Returns for each why it still waits, None where it does not any more; no
    entry for a key that did not wait. Raises DatabaseProblem, BusError."""
    waiting = {Key(one.source, one.aggregate) for one in await dead_letters_of(here) if one.service == service}
    keys = sorted(waiting if wanted is None else waiting & {wanted})
    async with here.service(service) as made:
        return {key: await consumer.retry(made.db, key, made.events) for key in keys}
