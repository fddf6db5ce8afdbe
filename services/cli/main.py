"""The command line: a table of contents of everything an operator does."""

from __future__ import annotations

import typer

from services.cli import up

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Spean: a referral network with consent.")
app.command("up")(up.up)


@app.callback()
def main() -> None:
    """Settings come from the environment (SPEAN_…); `spean doctor` shows them."""
