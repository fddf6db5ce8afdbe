"""The command line: a table of contents of everything an operator does."""

from __future__ import annotations

import httpx
import typer
from rich.console import Console
from rich.markup import escape

from services.cli import clean, doctor, serve, up
from services.cli.bootstrap import OtherKeys
from services.cli.client import ApiProblem
from services.cli.installation import CannotListen, PartEnded
from services.cli.sample import NeverFinished
from spean.bus import BusError
from spean.db import DatabaseProblem
from spean.embedded import EmbeddedError
from spean.provision import BehindCode, MigrationChanged
from spean.settings import WrongSettings

# A traceback would show values of settings and of people; what is known to go wrong is told in a sentence (`run`).
app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Spean: a referral network with consent.",
)  # fmt: skip
app.command("up")(up.up)
app.command("serve")(serve.serve)
app.command("migrate")(serve.migrate)
app.command("doctor")(doctor.doctor)
app.command("clean")(clean.clean)

FAILED = 1
# What goes wrong outside the program: each of these is told as its own sentence.
TOLD = (
    WrongSettings, EmbeddedError, BusError, DatabaseProblem, MigrationChanged, BehindCode, CannotListen, PartEnded,
    OtherKeys, NeverFinished, ApiProblem,
)  # fmt: skip


@app.callback()
def main() -> None:
    """Settings come from the environment (SPEAN_…); `spean doctor` shows what is wrong with them."""


def run() -> None:
    """The command line as a program: exit code 1 with one sentence on standard error for what is known to go wrong."""
    try:
        app()
    except TOLD as problem:
        said = str(problem)
    except httpx.TransportError as problem:
        said = f"nothing answers there ({type(problem).__name__}): is Spean up? (make up)"
    else:
        return
    Console(stderr=True, soft_wrap=True).print(f"[red]spean:[/] {escape(said)}", highlight=False)
    raise SystemExit(FAILED)
