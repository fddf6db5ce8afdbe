"""The gate and the fences, broken on purpose one at a time in a copy of this tree: each break is caught by a test."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.faults.cluster import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
_GATE = "services/intake/disclosure/domain.py"
_JUDGE = "tests/unit/test_gate.py"
_RACE = (
    "tests/integration/test_withdrawal_race.py::test_every_stop_waits_for_who_is_being_told_and_nobody_is_told_after_it"
)
# What is broken: file, text, what stands there instead, and the cheapest test that has to fail.
BROKEN = {
    "an exclusion counts for nothing": (
        _GATE, "    if any(exclusion.hits(ask.recipient) for exclusion in person.exclusions):", "    if False:", _JUDGE),
    "a stop counts for nothing": (_GATE, "    if person.stopped:", "    if False:", _JUDGE),
    "a consent never ends": (
        _GATE, "if consent.valid_until is not None and now >= consent.valid_until:", "if False:", _JUDGE),
    "no agreement is needed": (_GATE, "        elif category not in agreed:", "        elif False:", _JUDGE),
    "no corridor is needed": (_GATE, "        elif crosses and category not in crossing:", "        elif False:", _JUDGE),
    "any purpose will do": (_GATE, "    if ask.purpose not in person.sharing.purposes:", "    if False:", _JUDGE),
    "a basis never lapses": (
        "services/intake/bases/domain.py", "return self.begins <= now < self.until", "return True", "tests/unit/test_bases_domain.py"),
    "readers hold no fence": (
        "services/intake/disclosure/handlers.py",
        "    await consents.hold(tx, {entry for members in parties.values() for entry in members})\n", "", _RACE),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
async def test_it_is_caught(name: str, workspace: Path) -> None:
    file, text, instead, test = BROKEN[name]
    tree = workspace / f"broken-{uuid4().hex[:6]}"
    for part in ("schemas", "spean", "services", "tests", "deploy"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    whole = (tree / file).read_text(encoding="utf-8")
    assert whole.count(text) == 1, f"{file} says it otherwise by now: say here how to break it"
    (tree / file).write_text(whole.replace(text, instead), encoding="utf-8")
    command = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", test)
    run = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=tree, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said = (await run.communicate())[0].decode()
    shutil.rmtree(tree)
    assert run.returncode == 1, said[-2_000:]
    assert f"FAILED {test}" in said, said[-2_000:]  # and no error before it
