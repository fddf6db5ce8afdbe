"""`spean keys`: every key that this installation keeps in a file, how old it is, and another in its place while everything
runs. docs/keys.md says what each opens, and how those are changed that are not kept here."""

from __future__ import annotations

import asyncio
import json
import time
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from services.cli import keys_turn
from services.cli.keys_turn import Change, Lying
from services.cli.serve import Name, Services
from spean.settings import Settings
from spean.telemetry import set_up_logs
from spean.turning import LEAD_S

app = typer.Typer(help="The keys of this installation: how old they are, and another in place of one.")
Json = Annotated[bool, typer.Option("--json", help="one JSON object a line")]


class Which(StrEnum):
    """The keys, as they are named to the command."""

    NETWORK = "network"
    HOLDER = "holder"
    RECORDS = "records"
    DATABASE = "database"
    POSTGRES = "postgres"
    ADMINISTRATOR = "administrator"


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Each key that lies here: since when, and what of a change is not over yet. No key is shown."""
    console, table = Console(soft_wrap=True, highlight=False), Table("key", "file", "days old", "change")
    for which in Which:
        for one in keys_turn.lying(Settings(), which):
            if as_json:
                typer.echo(json.dumps({"key": which, "file": str(one.file), "since": one.since, "change": one.change}))
            else:
                table.add_row(which, str(one.file), str(_days(one)), one.change)
    if not as_json:
        console.print(table)


def _days(one: Lying) -> int:
    return int((time.time() - one.since) // 86_400)


@app.command()
def rotate(
    which: Annotated[Which, typer.Argument(help="which key")],
    leaked: Annotated[
        bool,
        typer.Option("--leaked", help="somebody else has it: the old one is refused at once, whoever that disturbs"),
    ] = False,
    lead: Annotated[
        float,
        typer.Option(min=0, help="seconds between the time when every process can see the new key and its first use"),
    ] = LEAD_S,
    service: Services = None,
) -> None:
    """Put another key in the place of one, while everything runs: nobody has to start anything again, and nothing is
    refused. Stopped in between, give the same command again and it goes on. `--service`, for database: those whose accounts
    follow from this keys folder."""
    set_up_logs("WARNING")
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    progress = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console)
    with progress:
        task = progress.add_task("", total=None, visible=False)

        def counted(done: int, of: int) -> None:
            progress.update(task, description="wrapped anew", completed=done, total=of, visible=True)

        names = tuple(str(one) for one in service or list(Name))
        change = Change(0.0 if leaked else lead, leaked, names, console.print, counted)
        asyncio.run(keys_turn.WORK[which](Settings(), change))
    console.print(f"[green]{which}[/]: the new key is in use")
