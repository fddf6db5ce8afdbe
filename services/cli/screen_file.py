"""Reading a file in the layout of the CTDC global extract: one line at a time, in constant memory, whatever is in it.

A record is one line (no value of the layout has a line break in it), so a quote that is never closed costs its own line
and not the rest of the file. What cannot be read is told by line and column, never by its value.
"""

from __future__ import annotations

import csv
import hashlib
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from services.intake.screening.domain import Column, Why

# A line of the extract has about 90 bytes, a value at most 30 characters.
LINE_MOST_BYTES = 8_192
VALUE_MOST = 200
_BLOCK_BYTES = 1 << 20
_BOM = "\ufeff"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class NotThisLayout(Exception):
    """The file is no extract of this layout at all, or changed while it was read. The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line: its ten values in the order of `Column`, or what is wrong with it and, where that can be told, in which
    column. `size_bytes` is the line's own."""

    line: int
    size_bytes: int
    values: tuple[str, ...] | None = None
    broken: Why | None = None
    column: Column | None = None

    def body(self) -> dict[str, Any]:
        """As the API takes it."""
        if self.values is not None:
            return {"line": self.line, "values": self.values}
        return {"line": self.line, "broken": self.broken, "column": self.column}


@dataclass(frozen=True, slots=True)
class Scan:
    """A file before it is read row by row: SHA-256 of its bytes (hexadecimal), and about how many rows it has."""

    digest: str
    rows: int


def scan(path: Path) -> Scan:
    """Raises NotThisLayout, OSError."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise NotThisLayout("it is no regular file: the import reads it twice, so it cannot be a pipe or a folder")
    digest, lines = hashlib.sha256(), 0
    with path.open("rb") as file:
        _order(_first_line(file))
        file.seek(0)
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            lines += block.count(b"\n")
    return Scan(digest.hexdigest(), max(lines - 1, 0))


def read(path: Path, digest: str) -> Iterator[Row]:
    """The rows of a scanned file, blank lines left out. Raises NotThisLayout, at the end also where the content is not
    the one that was scanned; OSError."""
    seen = hashlib.sha256()
    with path.open("rb") as file:
        order = _order(_first_line(file, seen.update))
        for number, (line, whole) in enumerate(_lines(file, seen.update), start=2):
            if whole and not line.strip():
                continue
            yield _row(number, line, order) if whole else Row(number, len(line), broken=Why.TOO_LONG)
    if seen.hexdigest() != digest:
        raise NotThisLayout("it changed while it was read: import it again when it is complete")


def _lines(file: BinaryIO, tell: Callable[[bytes], object]) -> Iterator[tuple[bytes, bool]]:
    """(line, whole): what is longer than `LINE_MOST_BYTES` is passed over without being held."""
    while piece := file.readline(LINE_MOST_BYTES):
        tell(piece)
        whole = piece.endswith(b"\n") or len(piece) < LINE_MOST_BYTES
        ended = whole
        while not ended and (rest := file.readline(LINE_MOST_BYTES)):
            tell(rest)
            ended = rest.endswith(b"\n")
        yield piece.rstrip(b"\r\n"), whole


def _first_line(file: BinaryIO, tell: Callable[[bytes], object] = lambda _: None) -> bytes:
    line, whole = next(_lines(file, tell), (b"", True))
    if line.startswith(_UTF16):
        raise NotThisLayout("it is not UTF-8 (it looks like UTF-16): save it as CSV in UTF-8")
    if not whole:
        raise NotThisLayout(f"its first line is longer than {LINE_MOST_BYTES} bytes. {_expected()}")
    if not line.strip():
        raise NotThisLayout(f"it is empty, or begins with an empty line. {_expected()}")
    return line


def _order(header: bytes) -> tuple[int, ...]:
    """Where each column of the layout stands in this file. Raises NotThisLayout."""
    try:
        names = [name.strip() for name in next(csv.reader([header.decode("utf-8").removeprefix(_BOM)], strict=True))]
    except UnicodeDecodeError:
        raise NotThisLayout("its first line is not UTF-8: save it as CSV in UTF-8") from None
    except csv.Error:
        raise NotThisLayout(f"its first line is no CSV. {_expected()}") from None
    missing = [column for column in Column if column not in names]
    others = len(names) - (len(Column) - len(missing))
    if missing or others:
        lacks = f"lacks {', '.join(missing)}" if missing else ""
        has = f"has {others} other or repeated column{'s' if others > 1 else ''}" if others else ""
        raise NotThisLayout(f"its first line {' and '.join(part for part in (lacks, has) if part)}. {_expected()}")
    return tuple(names.index(column) for column in Column)


def _expected() -> str:
    return f"Expected are the columns of the CTDC global extract, in any order, with commas: {','.join(Column)}"


def _row(number: int, line: bytes, order: tuple[int, ...]) -> Row:
    size = len(line)
    if b"\0" in line:
        return Row(number, size, broken=Why.NUL, column=_column_at(line, line.index(b"\0"), order))
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return Row(number, size, broken=Why.NOT_UTF8, column=_column_at(line, error.start, order))
    try:
        values = next(csv.reader([text], strict=True))
    except csv.Error:
        return Row(number, size, broken=Why.QUOTES if '"' in text else Why.COLUMNS)
    if len(values) != len(order):
        return Row(number, size, broken=Why.COLUMNS)
    sorted_ = tuple(values[at] for at in order)
    for column, value in zip(Column, sorted_, strict=True):
        if len(value) > VALUE_MOST:
            return Row(number, size, broken=Why.TOO_LONG, column=column)
    return Row(number, size, values=sorted_)


def _column_at(line: bytes, offset: int, order: tuple[int, ...]) -> Column | None:
    """The column of a byte, where commas before it can only be separators."""
    before = line[:offset]
    at = before.count(b",")
    return None if b'"' in before or at not in order else tuple(Column)[order.index(at)]
