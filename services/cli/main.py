"""The command line: a table of contents of everything an operator does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

# Name → where: a function is one command, an `app` several. A module is imported when its command is called, for most of
# what a short command would take is imports of others; `spean --help` imports them all.
COMMANDS: Mapping[str, str] = {
    "up": "up:up",
    "serve": "serve:serve",
    "migrate": "serve:migrate",
    "demo": "demo:demo",
    "doctor": "doctor:doctor",
    "clean": "clean:clean",
    "token": "token:token",
    "sign-in-link": "people:sign_in_link",
    "administrator": "people:administrator",
    "watch": "watch:watch",
    "trace": "trace:trace",
    "audit": "audit:audit",
    "erase": "erase:erase",
    "keys": "keys:app",
    "retry": "dead_letters:retry",
    "replay": "replay:replay",
    "backup": "backup:backup",
    "restore": "restore:restore",
    "rejoin": "restore:rejoin_command",
    "dead-letters": "dead_letters:app",
    "schemas": "schemas:app",
    "holder": "holder:app",
    "screen": "screen:app",
    "topics": "topics:app",
    "words": "words:app",
}
FAILED = 1


class _Commands(Mapping[str, Any]):
    """`COMMANDS`, each made when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        module, _, part = COMMANDS[name].partition(":")
        found = getattr(_own(module), part)
        one = typer.Typer()
        if isinstance(found, typer.Typer):
            one.add_typer(found, name=name)
        else:
            one.command(name)(found)
        return typer.main.get_group(one).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Contents(TyperGroup):
    def __init__(self, **given: Any) -> None:
        super().__init__(**{**given, "commands": _Commands()})


def _own(module: str) -> Any:
    return import_module(f"services.cli.{module}")


# A traceback would show values of settings and of people; what is known to go wrong is told in a sentence (`run`).
app = typer.Typer(
    cls=_Contents, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Spean: a referral network with consent.",
)  # fmt: skip


@app.callback()
def main() -> None:
    """Settings come from the environment (SPEAN_…); `spean doctor` shows what is wrong with them."""


def run() -> None:
    """The command line as a program: exit code 1 with one sentence on standard error for what is known to go wrong."""
    try:
        app(prog_name="spean")
    except SystemExit:
        raise
    except _own("told").KNOWN as problem:  # imported once something has gone wrong
        said = _own("told").sentence(problem)
    else:
        return
    Console(stderr=True, soft_wrap=True).print(f"[red]spean:[/] {escape(said)}", highlight=False)
    raise SystemExit(FAILED)
