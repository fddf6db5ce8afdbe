"""Reading an extract: line by line, nothing swallowed, nothing held, and a sentence for every other file."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from services.cli import screen, screen_file
from services.cli.screen import CannotRead
from services.cli.screen_file import LINE_MOST_BYTES, NotThisLayout, Row
from services.intake.screening.domain import Column, Why

HEADER = ",".join(Column)
GOOD = "2017,Hotline,Female,KH,1,Threats,Other,Forced Labor,Domestic Work,Age 21-23"


def rows_of(path: Path, content: bytes) -> list[Row]:
    path.write_bytes(content)
    return list(screen_file.read(path, screen_file.scan(path).digest))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "extract.csv"


def test_every_line_is_read_or_told(path: Path) -> None:
    lines = [
        GOOD.encode(),
        b"",
        GOOD.encode() + b",more",
        b"too,few",
        b'"never closed' + GOOD.encode(),
        GOOD.replace("Female", '"Fem""ale"').encode(),
        GOOD.replace("Female", "\0").encode(),
        GOOD.encode().replace(b"Hotline", b"\xff\xfe"),
        GOOD.encode().replace(b"KH", b"x" * 201),
        b"x" * (3 * LINE_MOST_BYTES),
        GOOD.encode() + b"\r",
    ]
    found = rows_of(path, HEADER.encode() + b"\n" + b"\n".join(lines))
    good = tuple(GOOD.split(","))
    assert [(one.line, one.values, one.broken, one.column) for one in found] == [
        (2, good, None, None),
        (4, None, Why.COLUMNS, None),
        (5, None, Why.COLUMNS, None),
        (6, None, Why.QUOTES, None),
        (7, (*good[:2], 'Fem"ale', *good[3:]), None, None),
        (8, None, Why.NUL, Column.GENDER),
        (9, None, Why.NOT_UTF8, Column.SOURCE),
        (10, None, Why.TOO_LONG, Column.CITIZENSHIP),
        (11, None, Why.TOO_LONG, None),
        (12, good, None, None),
    ]


def test_columns_may_stand_in_any_order_behind_a_byte_order_mark(path: Path) -> None:
    turned = ",".join(reversed(Column))
    row = ",".join(reversed(GOOD.split(",")))
    found = rows_of(path, b"\xef\xbb\xbf" + f"{turned}\r\n{row}\r\n{row[:-4]}\0\r\n".encode())
    assert found[0].values == tuple(GOOD.split(","))
    assert found[1].column == Column.YEAR


def test_a_file_without_rows_has_none(path: Path) -> None:
    assert rows_of(path, HEADER.encode()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"name,phone\nx,y\n", "yearOfRegistration"),
        (HEADER.replace("gender,", "").encode() + b"\n", "lacks gender"),
        (HEADER.encode() + b",canary\n", "has 1 other or repeated column"),
        (HEADER.encode() + b",gender,gender\n", "has 2 other or repeated columns"),
        (HEADER.replace(",", ";").encode() + b"\n", "with commas"),
        (HEADER.encode("utf-16"), "UTF-16"),
        (b"\xfa" + HEADER.encode(), "not UTF-8"),
        (b'"' + HEADER.encode() + b"\n", "no CSV"),
        (b"x" * 100_000, "longer than"),
    ],
)
def test_a_file_of_another_layout_is_refused_in_a_sentence(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    with pytest.raises(NotThisLayout) as refused:
        screen_file.scan(path)
    assert said in str(refused.value)
    assert "canary" not in str(refused.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotThisLayout, match="no regular file"):
        screen_file.scan(tmp_path)
    with pytest.raises(FileNotFoundError):
        screen_file.scan(tmp_path / "nowhere.csv")


def test_a_file_that_changes_meanwhile_is_noticed(path: Path) -> None:
    path.write_text(f"{HEADER}\n{GOOD}\n")
    digest = screen_file.scan(path).digest
    path.write_text(f"{HEADER}\n{GOOD}\n{GOOD}\n")
    with pytest.raises(NotThisLayout, match="changed while it was read"):
        list(screen_file.read(path, digest))


def peak_of(path: Path, rows: int) -> int:
    """Bytes that reading so many rows, and one endless line behind an open quote, needs at most."""
    with path.open("w") as file:
        file.write(f"{HEADER}\n")
        file.writelines(f"{GOOD}\n" for _ in range(rows))
        file.write('"' + "x" * 3_000_000 + "\n")
    tracemalloc.start()
    found = screen_file.scan(path)
    count = sum(1 for _ in screen_file.read(path, found.digest))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (count, found.rows) == (rows + 1, rows + 1)
    return peak_bytes


def test_a_longer_file_needs_no_more_memory(path: Path) -> None:
    peak_of(path, 10)  # what is made once
    assert peak_of(path, 20_000) - peak_of(path, 10) < 50_000, "less than 3 bytes a row: nothing is kept"


def test_what_the_command_needs_is_named_when_it_is_missing(path: Path, tmp_path: Path) -> None:
    path.write_text(f"{HEADER}\n{GOOD}\n")
    key, report = tmp_path / "no.jwk", tmp_path / "report.csv"
    with pytest.raises(CannotRead, match="no key at"):
        screen.import_(path, key=key, report=report, url="http://127.0.0.1:9")
    with pytest.raises(CannotRead, match="no Ed25519 key"):
        screen.import_(path, key=path, report=report, url="http://127.0.0.1:9")
    with pytest.raises(CannotRead, match="--report"):
        screen.import_(path, key=key, report=tmp_path, url="http://127.0.0.1:9")
    with pytest.raises(CannotRead, match="--report"):
        screen.import_(path, key=key, report=tmp_path / "no" / "folder.csv", url="http://127.0.0.1:9")


def test_every_reason_has_words() -> None:
    assert set(screen.MEANINGS) == {str(why) for why in Why}
