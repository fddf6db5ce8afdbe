"""The gate and the fences, broken on purpose one at a time in a copy of this tree: each break is caught by a test of its own,
and by the judge of the property on a short walk that ends where the break matters."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from tests.faults import walks
from tests.faults.cluster import ROOT
from tests.faults.walks import Walked, Way
from tests.integration.founding import founded
from tests.integration.two_lands import two_lands

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
_GATE = "services/intake/disclosure/domain.py"
_HANDLERS = "services/intake/disclosure/handlers.py"
_JUDGE = "tests/unit/test_gate.py"
_RACE = (
    "tests/integration/test_withdrawal_race.py::test_every_stop_waits_for_who_is_being_told_and_nobody_is_told_after_it"
)


@dataclass(frozen=True)
class Break:
    """What is broken: in which file, which text, what stands there instead; the walk that the property's judge finds it by;
    and the cheapest test that has to fail."""

    file: str
    text: str
    instead: str
    way: Way
    test: str = ""


BROKEN = {
    # First: all that comes after the backup is forgotten.
    "a stop counts for nothing": Break(
        _GATE, "    if person.stopped:", "    if False:", walks.stopped_and_forgotten, _JUDGE),
    "an exclusion counts for nothing": Break(
        _GATE, "    if any(exclusion.hits(ask.recipient) for exclusion in person.exclusions):", "    if False:",
        walks.excluded, _JUDGE),
    "a consent never ends": Break(
        _GATE, "if consent.valid_until is not None and now >= consent.valid_until:", "if False:",
        walks.over_by_its_time, _JUDGE),
    "no agreement is needed": Break(
        _GATE, "        elif category not in agreed:", "        elif False:", walks.without_agreement, _JUDGE),
    "no corridor is needed": Break(
        _GATE, "        elif crosses and category not in crossing:", "        elif False:", walks.without_corridor, _JUDGE),
    "any purpose will do": Break(
        _GATE, "    if ask.purpose not in person.sharing.purposes:", "    if False:", walks.for_another_purpose, _JUDGE),
    "a basis never lapses": Break(
        "services/intake/bases/domain.py", "return self.begins <= now < self.until", "return True",
        walks.nobody_confirmed_it, "tests/unit/test_bases_domain.py"),
    "readers hold no fence": Break(
        _HANDLERS,
        "    await consents.hold(tx, {entry for members in parties.values() for entry in members})\n", "",
        walks.stops_while_it_is_composed, _RACE),
}  # fmt: skip

_SENDERS = "services/intake/handoffs/handlers.py"
# The gate is whole, and what shows its answer does not heed it, one surface at a time.
SHOWN = {
    "the packet's page shows everything": Break(
        "services/intake/disclosure/pages.py", "    found = reply.body\n    assert isinstance(found, PacketView)",
        "    from services.intake.disclosure import handlers\n"
        "    people = (await handlers.held(tx, holder, ticket.referral)).members\n"
        "    shown = tuple(one.fields.shown(set(PACKET_FIELDS)) for one in people)\n"
        "    found = reply.body.model_copy(update={'members': shown})\n    assert isinstance(found, PacketView)",
        walks.on_the_page),
    "a packet that is sealed is whole": Break(
        "services/intake/disclosure/api.py", "    members = await handlers.content(tx, holder, party, packet, found.facts)\n",
        "    members = await handlers.content(tx, holder, party, packet, found.facts)\n    if found.seal_to is not None:\n"
        "        members = [one.fields.shown(set(one.fields.model_fields)) for one in party.members]\n",
        walks.in_a_sealed_packet),
    "an inbox heeds no verdict": Break(
        _HANDLERS, "    if not offerable(verdicts):\n",
        "    verdicts = [dict.fromkeys(one, Rule.ALLOWED) for one in verdicts]\n    if not offerable(verdicts):\n",
        walks.in_the_inbox),
    "a sender is told who receives": Break(
        _SENDERS, 'receiver=packet.organisation if "receiver" in placement else None', "receiver=packet.organisation",
        walks.to_the_sender),
    "a sender is told the address": Break(
        _SENDERS, 'texts.get(HandoffChange.ADDRESS) if "address" in placement else None',
        "texts.get(HandoffChange.ADDRESS)", walks.to_the_sender),
    "a sender is told who was asked": Break(
        "services/intake/handoffs/api.py", 'recipient=None if row["recipient"] in unnamed else row["recipient"]',
        'recipient=row["recipient"]', walks.in_the_list_of_who_was_asked),
    "a sender is told who has a copy": Break(
        "services/intake/erasure/copies_api.py", "    shown = row if named else ", "    shown = row if row else ",
        walks.in_the_list_of_copies),
}  # fmt: skip


@pytest.fixture(scope="module")
def tree(workspace: Path) -> Path:
    """A copy of this tree, for one break after the other."""
    tree = workspace / f"broken-{uuid4().hex[:6]}"
    for part in ("schemas", "spean", "services", "tests", "deploy"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


@contextmanager
def broken(name: str, tree: Path) -> Iterator[None]:
    """What is started in this copy meanwhile has the break in it."""
    one = (BROKEN | SHOWN)[name]
    whole = (tree / one.file).read_text(encoding="utf-8")
    assert whole.count(one.text) == 1, f"{one.file} says it otherwise by now: say here how to break it"
    (tree / one.file).write_text(whole.replace(one.text, one.instead), encoding="utf-8")
    try:
        yield
    finally:
        (tree / one.file).write_text(whole, encoding="utf-8")


@pytest.mark.parametrize("name", BROKEN)
async def test_it_is_caught(name: str, tree: Path) -> None:
    test = BROKEN[name].test
    command = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", test)
    with broken(name, tree):
        run = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=tree, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said = (await run.communicate())[0].decode()
    assert run.returncode == 1, said[-2_000:]
    assert f"FAILED {test}" in said, said[-2_000:]  # and no error before it


@pytest.fixture(scope="module")
async def walked(workspace: Path) -> AsyncIterator[Walked]:
    """One network at two holders, for all walks."""
    ways = {name: one.way for name, one in (BROKEN | SHOWN).items()}
    async with two_lands(workspace / f"walks-{uuid4().hex[:6]}") as lands, AsyncExitStack() as stack:
        played = await founded(lands, stack, Counter())
        yield await stack.enter_async_context(walks.walked(played, ways))


# All walks are walked before the first of these.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [*BROKEN, *SHOWN])
async def test_the_judge_of_the_property_finds_it(name: str, walked: Walked, tree: Path) -> None:
    with broken(name, tree):
        await walks.turn(walked.played, tree)
    before = walked.played.told.copy()
    found = await walks.found_by_the_judge(walked.looks[name])
    assert walked.whole[name] == "", "nothing is found where nothing is broken"
    assert found, ("the judge has not seen it", walked.played.told - before)
