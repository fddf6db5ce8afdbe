"""Names: found by a part of them, and put in order. Pure.

The database orders by bytes (its own collations depend on the machine that it was made on); whoever lists names orders
them here, the same everywhere.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from spean.comparable import comparable

# Names of an installation's organisations, and then some: they are compared again for every page.
_KEPT = 20_000
# Accents of Latin letters, which dictionaries order by last. Khmer, Lao, Thai and Burmese signs are letters, not accents.
_ACCENTS = range(0x0300, 0x0370)


@lru_cache(maxsize=_KEPT)
def place_of(name: str) -> tuple[str, str]:
    """Where it stands in an alphabetical list: by its letters without accents, then by those with them.

    Khmer stands in the order of its dictionaries but for independent vowels: Unicode has the consonants in that order, then
    the vowels, then the sign that puts a consonant below (`docs/decisions/0017-order-of-names.md`).
    """
    kept = comparable(name)
    letters = (one for one in unicodedata.normalize("NFKD", kept) if ord(one) not in _ACCENTS)
    return " ".join("".join(letters).split()), kept


def fits(typed: str, *names: str) -> bool:
    """Does every word that was typed stand somewhere in one of the names, however both are written?"""
    known = [place_of(name)[1] for name in names]
    return all(any(word in one for one in known) for word in comparable(typed).split())
