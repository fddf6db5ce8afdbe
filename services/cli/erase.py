"""`spean erase ENTRY…` and `spean erase --due`: the holder's operator erases people, one transaction each, and says how it went.
Ids and codes only."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from services.cli.connected import NotRunning, connected
from services.intake import main as intake
from services.intake.disclosure.handlers import Holder
from services.intake.erasure import handlers
from services.intake.erasure.domain import Why
from spean.db import Database
from spean.problem import REFUSALS, Refusal
from spean.settings import Settings
from spean.telemetry import set_up_logs

ERASED = "erased"
# Somebody could not be erased; everybody else was.
SOME_LEFT = 3
# By one `--due`; who is left is found by the next.
_MOST = 10_000


def erase(
    entries: Annotated[list[UUID] | None, typer.Argument(help="whom", show_default=False)] = None,
    due: Annotated[bool, typer.Option("--due", help="everybody whose time is over by the rules of retention")] = False,
    why: Annotated[Why, typer.Option(help="as it is written down; with --due: retention")] = Why.PERSON_ASKED,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object: entry → what became of it")] = False,
) -> None:
    """Destroy people's keys: nobody can read anything of them any more, also in backups of data. Whoever holds a copy is asked
    to erase it. Not while a hand-off is under way or a legal hold stands. Exit code 3 where somebody is left."""
    if due == bool(entries):
        msg = "name entries, or say --due"
        raise typer.BadParameter(msg)
    if why is Why.KEY_DESTROYED:
        msg = "this is what the holder itself writes down"
        raise typer.BadParameter(msg, param_hint="--why")
    set_up_logs("WARNING")
    found = asyncio.run(_erased(list(dict.fromkeys(entries or ())), due=due, why=why, yes=yes, quiet=as_json))
    if as_json:
        typer.echo(json.dumps({str(entry): became for entry, became in found.items()}))
    else:
        _show(Console(), found)
    if any(became != ERASED for became in found.values()):
        raise typer.Exit(SOME_LEFT)


async def _erased(entries: list[UUID], *, due: bool, why: Why, yes: bool, quiet: bool) -> dict[UUID, str]:
    """Raises NotRunning, DatabaseProblem, typer.Abort."""
    async with connected(Settings()) as here:
        if intake.NAME not in here.databases:
            raise NotRunning("the holder's database is not here: ask its operator")
        async with here.service(intake.NAME) as service:
            db = service.db
            if due:
                async with db.transaction("operator.overdue") as tx:
                    entries = await handlers.overdue(tx, _MOST)
            if entries and not yes and not typer.confirm(f"Erase {len(entries)}? It cannot be undone.", default=False):
                raise typer.Abort
            holder: Holder = service.app.state.holder
            one = Why.RETENTION if due else why
            progress = Progress(
                TextColumn("erasing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                console=Console(stderr=True), disable=quiet,
            )  # fmt: skip
            with progress:
                task = progress.add_task("erasing", total=len(entries))
                return await each(db, holder, entries, one, lambda: progress.advance(task))


async def each(
    db: Database, holder: Holder, entries: list[UUID], why: Why, told: Callable[[], None]
) -> dict[UUID, str]:
    """Entry → `erased` or the code of what refused it. Raises DatabaseProblem: who was not reached stays as they are, and the
    command can be given again."""
    by = f"operator:{getpass.getuser()}"
    found: dict[UUID, str] = {}
    for entry in entries:
        found[entry] = await _code(_one(db, holder, entry, why, by))
        told()
    return found


async def _one(db: Database, holder: Holder, entry: UUID, why: Why, by: str) -> None:
    async with db.transaction("operator.erase") as tx:
        await handlers.begin(tx, holder, entry, why, by)
    if not await handlers.carry_out(db, holder, entry):
        async with db.transaction("operator.erased") as tx:
            await handlers.expect_done(tx, entry)


async def _code(work: Awaitable[None]) -> str:
    try:
        await work
    except Refusal as refusal:
        return refusal.code
    return ERASED


def _show(console: Console, found: dict[UUID, str]) -> None:
    left = {entry: code for entry, code in found.items() if code != ERASED}
    console.print(f"{len(found) - len(left)} erased, {len(left)} left as they are")
    if left:
        table = Table("Entry", "Why not")
        for entry, code in left.items():
            table.add_row(str(entry), REFUSALS[code][1])
        console.print(table)
