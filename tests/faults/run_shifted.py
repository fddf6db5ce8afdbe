"""`spean serve` whose clock can be moved: `python -m tests.faults.run_shifted MEMBER SERVICE,… ROLE,… SECONDS`.

The services' clock is SECONDS ahead. Each number on a line of standard input is how far it is ahead from then on; the
answer is a line, too.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from typing import Any

from services.cli import installation
from services.cli.up import until_told
from spean.settings import Settings
from spean.telemetry import set_up_logs


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def main(member: str, names: list[str], roles: list[Any], ahead_s: float) -> None:
    settings = Settings()
    async with installation.installed(settings, names, alone=False, listening="api" in roles) as made:

        def move(seconds: float) -> None:
            for service in made.services.values():
                service.db.shift = timedelta(seconds=seconds)

        def told() -> None:
            line = sys.stdin.readline()
            if not line:
                asyncio.get_running_loop().remove_reader(sys.stdin)
                return
            move(float(line))
            _say("moved")

        move(ahead_s)
        async with installation.running(made, roles, member):
            asyncio.get_running_loop().add_reader(sys.stdin, told)
            _say("serving")
            await made.until_ended()


if __name__ == "__main__":
    set_up_logs("INFO")
    until_told(main(sys.argv[1], sys.argv[2].split(","), sys.argv[3].split(","), float(sys.argv[4])))
