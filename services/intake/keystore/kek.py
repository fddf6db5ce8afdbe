"""The files of key-encryption keys: `kek-1`, and while one follows another `kek-2` beside it. A number is never used again.

In the key store a row says which one wrapped it (`file-1` for `kek-1`), and the table `kek` says which may wrap at all.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from spean.crypto import new_key, private_file

_FILE = re.compile(r"kek-([1-9][0-9]{0,8})")


class KeyFiles:
    """Those beside `first`, which is made where there is none at all."""

    def __init__(self, first: Path) -> None:
        self.folder = first.parent
        self._known: dict[str, bytes] = {}
        if not self.numbers():
            private_file(first, new_key().hex().encode())
        self.newest_first()

    def numbers(self) -> list[int]:
        """Of every file that is there, the highest first."""
        if not self.folder.is_dir():
            return []
        found = (_FILE.fullmatch(file.name) for file in self.folder.iterdir())
        return sorted((int(one[1]) for one in found if one is not None), reverse=True)

    def file(self, number: int) -> Path:
        return self.folder / f"kek-{number}"

    def newest_first(self) -> list[tuple[str, bytes]]:
        """Each as the key store names it, with its key, as they lie there now. Raises OSError, ValueError."""
        known: dict[str, bytes] = {}
        for number in self.numbers():
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile, as the last act of a change
                known[name_of(number)] = _read(self.file(number))
        self._known = known
        return list(known.items())

    def get(self, name: str) -> bytes | None:
        """The key of that name; None where no file holds it. Looks again for one that was not there before."""
        if name not in self._known:
            self.newest_first()
        return self._known.get(name)


def name_of(number: int) -> str:
    return f"file-{number}"


def number_of(name: str) -> int:
    return int(name.removeprefix("file-"))


def _read(file: Path) -> bytes:
    return bytes.fromhex(file.read_text(encoding="utf-8"))
