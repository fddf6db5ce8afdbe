"""Typed text as it is compared with other text: a name to sign in with, words to search by."""

from __future__ import annotations

import unicodedata


def comparable(text: str) -> str:
    """Composed (NFC), in small letters, no space at the ends, without characters that no reader sees (Khmer, Lao, Thai
    and Burmese keyboards put them between words, or leave them out)."""
    seen = "".join(one for one in text if unicodedata.category(one) != "Cf")
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", seen).casefold()).strip()
