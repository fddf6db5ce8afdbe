"""What is read aloud before a person decides: the holder's notice, by version and language.

`notices/VERSION-LANGUAGE.txt` (ISO 639-3): a head of lines `# Name: value`, then paragraphs with an empty line between
them. A version that was ever read is never edited, for records name it; a change is a new version in every language.
`Ended: DAY` takes one out of force. `Reviewed: no` means that nobody who speaks the language has confirmed the text yet, and the page says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "notices"
ENGLISH = "eng"


@dataclass(frozen=True, slots=True)
class Notice:
    """`tag` is what HTML calls the language; `paragraphs` stand in the same order in every language; from `ended` on nobody
    agrees after hearing it."""

    version: int
    language: str
    tag: str
    reviewed: bool
    paragraphs: tuple[str, ...]
    ended: date | None = None

    @property
    def name(self) -> str:
        """As records name it."""
        return f"{self.version}-{self.language}"


@cache
def _latest() -> Mapping[str, Notice]:
    """By language, the latest version that is there in English."""
    found = list(_every().values())
    version = max(one.version for one in found if one.language == ENGLISH)
    return {one.language: one for one in found if one.version == version}


@cache
def _every() -> Mapping[str, Notice]:
    """By name."""
    return {path.stem: read(path) for path in sorted(FOLDER.glob("*.txt"))}


def notice_called(name: str) -> Notice | None:
    """None where no notice was ever called that."""
    return _every().get(name)


def is_reviewed(name: str) -> bool | None:
    """Has somebody who speaks its language confirmed it? None where no notice was ever called that."""
    found = notice_called(name)
    return None if found is None else found.reviewed


def written_in(language: str, version: int) -> bool:
    """Is there a notice of this version in this language?"""
    return f"{version}-{language}" in _every()


def notice_in(language: str) -> Notice:
    """The notice in this language; where there is none, the English one, for an interpreter to speak."""
    return _latest().get(language, _latest()[ENGLISH])


def english() -> Notice:
    return _latest()[ENGLISH]


def written_languages() -> tuple[str, ...]:
    """ISO 639-3 codes of the languages in which there is a notice."""
    return tuple(_latest())


def read(path: Path) -> Notice:
    """One of the files."""
    version, _, language = path.stem.partition("-")
    head, _, rest = path.read_text(encoding="utf-8").partition("\n\n")
    told = dict(line.removeprefix("# ").split(": ", 1) for line in head.splitlines())
    paragraphs = tuple(" ".join(part.split("\n")) for part in rest.strip().split("\n\n"))
    ended = date.fromisoformat(told["Ended"]) if "Ended" in told else None
    return Notice(int(version), language, told["Tag"], told["Reviewed"] == "yes", paragraphs, ended)
