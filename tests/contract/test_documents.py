"""Documents: what is generated is current, and what is written leads where it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schemas.rights import SCOPES
from services.cli import documents
from services.referral.referrals import domain
from spean.problem import REFUSALS

ROOT = documents.ROOT
WRITTEN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")


@pytest.mark.parametrize("path", documents.documents(), ids=lambda path: path.name)
def test_a_generated_document_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == documents.documents()[path], "run `spean schemas write`"


def test_every_transition_is_drawn() -> None:
    drawn = documents.states()
    for (before, action), after in [*domain.REFERRAL.items(), *domain.OFFER.items()]:
        assert (
            f"    {before} --> {after}: {action}".replace("-progress", "_progress").replace("on-hold", "on_hold")
            in drawn
        )
    assert drawn.count(" --> [*]") == len(domain.FINAL) + 3


def test_every_problem_is_in_the_partners_guide() -> None:
    guide = documents.PARTNERS_GUIDE.read_text(encoding="utf-8")
    for code, (status, what) in REFUSALS.items():
        assert f"| `{code}` | {int(status)} | {what} |" in guide
    assert guide.count("<!-- problems -->") == guide.count("<!-- end of problems -->") == 1


def test_scopes_in_the_partners_guide_are_the_contracts_words() -> None:
    rows = dict(
        re.findall(r"^\| `(\w+:\w+)` \| (.+) \|$", documents.PARTNERS_GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert len(rows) == 5
    assert rows.items() <= SCOPES.items()


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as a reader's browser makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for name, target in _LINK.findall(text):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target
        function = re.fullmatch(r"`(?:\w+\.)?(\w+)`", name)
        if function and found.suffix == ".py" and name != f"`{found.name}`":
            assert re.search(
                rf"^\s*(async def|def|class) {function.group(1)}\b", found.read_text(encoding="utf-8"), re.MULTILINE
            ), name


def test_tests_that_the_threat_model_names_exist() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", text)
    assert len(named) > 20
    for file, test in named:
        found = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {test}\(", found, re.MULTILINE), f"{file} has no {test}"
    assert len(text.splitlines()) <= 120, "two pages"


def test_architecture_is_one_page() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) <= 110


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_words(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\bvictims?\b", text.replace("Victims of Trafficking", ""), re.IGNORECASE)
    assert not re.search(r"/(home|root|work|tmp)/", text), "a path of somebody's machine"
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 140


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_is_one_page_of_five_parts(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {int(path.name[:4])}. ")
    assert re.search(r"^20\d\d-\d\d-\d\d$", text, re.MULTILINE)
    assert len(text.splitlines()) <= 50
    parts = re.findall(r"^\*\*(Question|Decision|Why(?: these)?|Instead of|Price)\.\*\*", text, re.MULTILINE)
    assert [part.split()[0] for part in parts] == ["Question", "Decision", "Why", "Instead", "Price"]


def test_decisions_are_numbered_without_holes() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_documents_that_the_source_names_exist() -> None:
    for file in [
        *(ROOT / "spean").rglob("*.py"),
        *(ROOT / "services").rglob("*.py"),
        *(ROOT / "schemas").rglob("*.py"),
    ]:
        for named in re.findall(r"\bdocs/[\w/.-]+\.md", file.read_text(encoding="utf-8")):
            assert (ROOT / named).exists(), f"{file.name} names {named}"
