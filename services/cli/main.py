"""The command line: a table of contents of everything an operator does."""

from __future__ import annotations

import httpx
import typer
from rich.console import Console
from rich.markup import escape

from schemas.versions import BrokenChain
from services.cli import (
    audit,
    backup,
    clean,
    dead_letters,
    demo,
    doctor,
    people,
    replay,
    restore,
    schemas,
    screen,
    serve,
    token,
    topics,
    trace,
    up,
    watch,
    words,
)
from services.cli.asyncapi import Untold
from services.cli.backup import NoBackup
from services.cli.bootstrap import OtherKeys
from services.cli.client import ApiProblem
from services.cli.connected import NotRunning
from services.cli.dead_letters import NotDiscarded
from services.cli.installation import CannotListen, PartEnded
from services.cli.people import NoLink
from services.cli.pg_tools import ToolFailed
from services.cli.sample import NeverFinished
from services.cli.screen import CannotRead
from services.cli.trace import NoSuchReferral
from spean.bus import BusError
from spean.db import DatabaseProblem
from spean.embedded import EmbeddedError
from spean.lives import Behind
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
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("clean")(clean.clean)
app.command("token")(token.token)
app.command("sign-in-link")(people.sign_in_link)
app.command("administrator")(people.administrator)
app.command("watch")(watch.watch)
app.command("trace")(trace.trace)
app.command("audit")(audit.audit)
app.command("retry")(dead_letters.retry)
app.command("replay")(replay.replay)
app.command("backup")(backup.backup)
app.command("restore")(restore.restore)
app.command("rejoin")(restore.rejoin_command)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(schemas.app, name="schemas")
app.add_typer(screen.app, name="screen")
app.add_typer(topics.app, name="topics")
app.add_typer(words.app, name="words")

FAILED = 1
# What goes wrong outside the program: each of these is told as its own sentence.
TOLD = (
    BrokenChain, Untold, WrongSettings, EmbeddedError, BusError, MigrationChanged, BehindCode, CannotListen, PartEnded,
    OtherKeys, NeverFinished, CannotRead, ApiProblem,
    NotRunning, NoSuchReferral, NotDiscarded, NoLink, NoBackup, ToolFailed, Behind,
)  # fmt: skip
# By class of SQLSTATE; the rest is a fault of ours, told with its transaction and state.
_HINTS = {
    "08": "PostgreSQL does not answer: check SPEAN_POSTGRES, and that it is up",
    "28": "PostgreSQL refuses the sign-in: check SPEAN_POSTGRES, and that the keys folder belongs to this database",
    "3D": "the database is not there yet: run spean migrate",
    "42": "this account may not do that: spean migrate needs one that may create roles and databases",
    "57": "PostgreSQL is starting or stopping: try again in a moment",
}


@app.callback()
def main() -> None:
    """Settings come from the environment (SPEAN_…); `spean doctor` shows what is wrong with them."""


def run() -> None:
    """The command line as a program: exit code 1 with one sentence on standard error for what is known to go wrong."""
    try:
        app(prog_name="spean")
    except DatabaseProblem as problem:
        said = f"{_HINTS.get(problem.sqlstate[:2], 'the database refused')} ({problem})"
    except TOLD as problem:
        said = str(problem)
    except httpx.TransportError as problem:
        url = problem.request.url
        said = f"nothing answers at {url.scheme}://{url.netloc.decode()} ({type(problem).__name__}): is Spean up? (make up)"
    else:
        return
    Console(stderr=True, soft_wrap=True).print(f"[red]spean:[/] {escape(said)}", highlight=False)
    raise SystemExit(FAILED)
