"""Finding a hand-off by what its worker types: its short number, a kind of service, an area. Pure.

What was typed stays out of addresses (somebody may type a name): it becomes codes here, and only codes go into one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from schemas.vocabulary import GROUP_OF, ServiceType
from spean.comparable import comparable
from spean.geography import area_name, areas_of, known_area
from spean.web.labels import label
from spean.web.words import ZONES

# Nobody types more words than this to find one hand-off.
_WORDS_MOST = 6
# Hand-offs are called by the beginning of their id.
SHORT = 8
_NUMBER = re.compile(r"[0-9a-f][0-9a-f-]{3,35}")
_PIECE = re.compile(r"[A-Za-z0-9_-]{1,60}")


@dataclass(frozen=True, slots=True)
class Word:
    """One word as codes; a hand-off fits where any of them is its own. `number` is the beginning of an id."""

    types: tuple[ServiceType, ...]
    areas: tuple[str, ...]
    number: str | None

    @property
    def found(self) -> bool:
        return bool(self.types or self.areas or self.number)

    @property
    def code(self) -> str:
        """For an address."""
        return ".".join([*self.types, *self.areas, *([f"id-{self.number}"] if self.number else [])])

    @classmethod
    def of(cls, code: str) -> Self:
        """The reverse; what is no code of ours is left out."""
        pieces = [piece for piece in code.split(".") if _PIECE.fullmatch(piece)]
        number = next((piece[3:] for piece in pieces if piece.startswith("id-") and _NUMBER.fullmatch(piece[3:])), None)
        known = {one.value for one in ServiceType}
        types = tuple(ServiceType(piece) for piece in pieces if piece in known)
        return cls(types, tuple(piece for piece in pieces if known_area(piece)), number)


def words(typed: str, translate: Callable[[str], str]) -> list[Word]:
    """What was typed as codes, word by word; names count in English and as `translate` gives them."""
    return [_word(one, translate) for one in comparable(typed).split()[:_WORDS_MOST]]


def _word(typed: str, translate: Callable[[str], str]) -> Word:
    def says(name: str) -> bool:
        return typed in comparable(name) or typed in comparable(translate(name))

    types = tuple(one for one in ServiceType if says(label(one)) or says(label(GROUP_OF[one])))
    areas = tuple(code for country in ZONES for code, _ in areas_of(country) if says(area_name(code)))
    return Word(types, areas, typed if _NUMBER.fullmatch(typed) else None)
