"""The partner's guide is run as it stands: every shell block, in order, against a real installation."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

from services.cli import bootstrap, sample
from services.cli.client import Partner
from services.cli.documents import PARTNERS_GUIDE
from services.cli.installation import Installation
from spean.settings import Settings

LIMIT_S = 180
_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A command, then what it prints. `→` with nothing behind it: an empty line.
_SHOWN = re.compile(r"[ \t]+# →[ \t]?(.*)$")
_EXPECT = """
set -euo pipefail
expect() {
  local got; got=$(cat)
  printf '%s' "$got" > "shown-$1"
  if [ "$got" != "$2" ]; then echo "block $1 printed '$got' and the guide says '$2'" >&2; exit 9; fi
  echo "$1 ok"
}
"""


def script(guide: str) -> tuple[str, dict[str, str], int]:
    """The guide as one shell script, its files, and how many answers it shows.

    A command may span several lines; what is shown stands at the end of its last line.
    """
    lines, files, shown = [_EXPECT], {}, 0
    for language, text in _BLOCK.findall(guide):
        if language == "python":
            name = text.split("\n", 1)[0].removeprefix("# ")
            files[name] = text
            continue
        for line in text.splitlines():
            found = _SHOWN.search(line)
            if found is None:
                lines.append(line)
                continue
            shown += 1
            lines.append(f"{line[: found.start()]} | expect {shown} {_quoted(found.group(1).strip())}")
    return "\n".join(lines) + "\n", files, shown


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


async def test_the_partners_guide_runs(installed: tuple[Installation, Settings], tmp_path: Path) -> None:
    made, settings = installed
    db = made.services["referral"].db
    key = await bootstrap.administrator(db, settings)
    async with Partner(made.url, bootstrap.CLIENT, key, patience_s=sample.PATIENCE_S) as admin:
        await sample.load(admin, settings, await bootstrap.operator(db))

    text, files, shown = script(PARTNERS_GUIDE.read_text(encoding="utf-8"))
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    commands = tmp_path / "bin"
    commands.mkdir()
    spean = commands / "spean"
    spean.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m services.cli "$@"\n', encoding="utf-8")
    spean.chmod(0o755)
    python = commands / "python3"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    opener = Path(sample.__file__).parents[2] / "docs" / "partners" / "open_packet.py"
    environment = {
        **os.environ, "SPEAN_URL": made.url, "SPEAN_KEYS": str(settings.keys), "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(sample.__file__).parents[2]), "OPENER": str(opener),
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        "bash", "-s", cwd=tmp_path, env=environment, stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    printed, _ = await asyncio.wait_for(process.communicate(text.encode()), LIMIT_S)
    told = printed.decode()
    assert process.returncode == 0, told[-3000:]
    assert told.count(" ok\n") == shown
    assert shown > 40


def test_a_guide_that_says_something_else_is_noticed() -> None:
    text, files, shown = script("```bash\necho yes   # → no\n```\n```python\n# a.py\npass\n```\n")
    assert "echo yes | expect 1 'no'" in text
    assert files == {"a.py": "# a.py\npass\n"}
    assert shown == 1
