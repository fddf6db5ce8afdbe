"""The command line's table of contents: every entry leads to a command, and a command brings no other's modules along."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import typer

from services.cli.main import COMMANDS, app
from tests.commands import ROOT

CALLED = """
import sys
from typer.testing import CliRunner
from services.cli.main import app
assert CliRunner().invoke(app, ["token", "--help"]).exit_code == 0
print(*sys.modules)
"""


def test_every_entry_leads_to_a_command_that_says_what_it_does() -> None:
    contents: Any = typer.main.get_command(app)
    assert list(contents.commands) == list(COMMANDS)
    for name, command in contents.commands.items():
        assert command.name == name
        assert command.help


def test_a_command_brings_no_others_modules_along() -> None:
    done = subprocess.run([sys.executable, "-c", CALLED], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "services.cli.token" in loaded
    assert not loaded & {"services.cli.up", "services.cli.told", "services.referral.main", "fastapi", "aiokafka"}
