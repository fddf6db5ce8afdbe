"""`spean dead-letters` and `spean retry`: what could not take effect, why, trying it again, throwing it away."""

from __future__ import annotations

import asyncio
import getpass
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
# As the table of what was discarded takes them.
BECAUSE_MOST, ACCOUNT_MOST = 200, 100


class NotDiscarded(Exception):
    """Nothing was thrown away. The message says why, and what to do."""


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


app = typer.Typer()


@app.callback(invoke_without_command=True)
def dead_letters(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """List what could not take effect: each waiting key, with the class of what went wrong. Exit code 0 where nothing
    waits, 3 where something does."""
    if context.invoked_subcommand is not None:
        return
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
            console.print(f"    spean dead-letters discard {one.aggregate} --because TEXT")
        elif one.reason in consumer.NOT_KNOWN:
            console.print(f"    said by a newer release: goes on by itself when {one.service} is upgraded")
        else:
            console.print(f"    spean retry {one.service} {escape(one.source)} {one.aggregate}")


@app.command()
def discard(
    aggregate: Annotated[str, typer.Argument(metavar="ID", help="as spean dead-letters shows it")],
    because: Annotated[
        str, typer.Option(help=f"why, for whoever asks later; up to {BECAUSE_MOST} characters, no names")
    ],
) -> None:
    """Throw away a record that belongs to no key, wherever it is kept, and note who did, when and why. What belongs to a
    key is never thrown away: what follows it would never take effect; mend its cause and retry it."""
    set_up_logs("ERROR")
    if not because.isprintable() or not 0 < len(because.strip()) <= len(because) <= BECAUSE_MOST:
        msg = f"say why in 1 to {BECAUSE_MOST} characters of one line"
        raise typer.BadParameter(msg)
    console = Console(highlight=False, soft_wrap=True)
    services = asyncio.run(_discarded(_id(aggregate), because))
    console.print(f"[green]Discarded[/] at {', '.join(services)}; noted who, when and why.")


async def _discarded(aggregate: UUID, because: str) -> list[str]:
    async with connected(Settings()) as here:
        return await discard_one(here, aggregate, getpass.getuser(), because)


async def discard_one(here: Connected, aggregate: UUID, account: str, because: str) -> list[str]:
    """Returns the services that had it. Raises NotDiscarded where none had, or where it belongs to a key; DatabaseProblem."""
    waiting = [one for one in await dead_letters_of(here) if one.aggregate == aggregate]
    if any(one.source != order.NOBODY for one in waiting):
        raise NotDiscarded(
            "that is a key of a service's own: what follows it would be lost; mend the cause, then retry it"
        )
    services: list[str] = []
    for service in sorted({one.service for one in waiting}):
        async with here.databases[service].transaction("operator.discard") as tx:
            if await order.discard(tx, aggregate, account[:ACCOUNT_MOST], because):
                services.append(service)
    if not services:
        raise NotDiscarded("no record of that id waits: spean dead-letters shows what does")
    return services


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
