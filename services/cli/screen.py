"""`spean screen import FILE`: a screened group as entries of the organisation that met them; never consent, never a case."""

from __future__ import annotations

import asyncio
import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from services.cli import bootstrap, screen_import
from services.cli.client import Partner, load_key
from services.cli.screen_file import NotThisLayout
from services.cli.screen_import import Counts, Imported
from spean.settings import Settings

# The border post of the sample network; its key lies in the keys folder under `clients`.
SAMPLE_CLIENT = "sample-kh-poipet"
# What the codes of the API's report mean, in the words of the report.
MEANINGS = {
    "wrong_number_of_columns": "has more or fewer values than there are columns",
    "quotes_not_closed": "has a quote that is not closed",
    "not_utf8": "is not UTF-8",
    "nul_character": "holds a NUL character",
    "too_long": "is longer than this layout's values are",
    "nothing_in_the_row": "holds no value at all",
    "unknown_code": "has a value that this layout does not know; left out",
    "no_such_year": "is no year from 1990 to now; left out",
    "no_such_country": "is no ISO 3166 country of two letters; left out",
    "contradicts_another_column": "contradicts another column: both were kept",
    "band_straddles_infant_and_child": "covers infants and children: written down as child",
    "band_straddles_child_and_adolescent": "covers children and adolescents: written down as adolescent",
    "band_straddles_adult_and_older": "covers adults and older people: written down as adult",
    "band_straddles_majority_presumed_minor": "covers minors and adults: left out, presumed a minor",
    "age_not_given_presumed_minor": "is not given: presumed a minor",
}
app = typer.Typer(no_args_is_help=True, help="Screened groups.")


@app.callback()
def screen() -> None:
    """What is imported becomes entries of the organisation that signs in. Each person decides for themselves, later."""


class CannotRead(Exception):
    """A file or key that the command was given cannot be used. The message says which and why."""


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV in the layout of the CTDC global extract")],
    area: Annotated[str, typer.Option(help="where the group was met: a province, ISO 3166-2")] = "KH-1",
    as_: Annotated[str, typer.Option("--as", metavar="CLIENT", help="the system that signs in")] = SAMPLE_CLIENT,
    key: Annotated[
        Path | None, typer.Option(help="its private key (JWK); default: CLIENT.jwk in the keys folder")
    ] = None,
    url: Annotated[str, typer.Option(help="where Spean answers; default: the installation on this machine")] = "",
    report: Annotated[Path | None, typer.Option(help="where the report goes; default: FILE.report.csv")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the result as JSON on standard output")] = False,
) -> None:
    """Take a file in. Stopped half-way, the same command goes on where it was; run twice, nothing is doubled. The report
    names each refused or doubtful line and column with the reason, never the value."""
    settings = Settings()
    path = report or file.with_name(f"{file.name}.report.csv")
    _expect_writable(path)
    signing = private_key(key or bootstrap.key_file(settings, as_))
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"), TimeRemainingColumn(),
        console=Console(stderr=True), disable=as_json,
    )  # fmt: skip
    with reading(file), progress:
        done = asyncio.run(_import(url or bootstrap.address(settings), as_, signing, file, area, path, progress))
    if as_json:
        typer.echo(json.dumps(result(done, path)))
    else:
        show(Console(), done, path)


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Says in a sentence why a file cannot be taken in. Raises CannotRead."""
    try:
        yield
    except NotThisLayout as wrong:
        raise CannotRead(f"{file} cannot be imported: {wrong}") from None
    except OSError as error:
        raise CannotRead(f"{file} cannot be read ({os.strerror(error.errno or 0)})") from None


def private_key(path: Path) -> OKPKey:
    """Raises CannotRead."""
    try:
        return load_key(path)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise CannotRead(
            f"no key at {path} ({why}): name one with --key, or start the sample network (make up)"
        ) from None
    except (JoseError, ValueError, KeyError, TypeError):
        raise CannotRead(f"{path} holds no Ed25519 key as JWK") from None


def _expect_writable(path: Path) -> None:
    """Better said before an import than after it. Raises CannotRead."""
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise CannotRead(f"the report cannot be written to {path}: name another place with --report")


async def _import(url: str, client: str, key: OKPKey, file: Path, area: str, report: Path,
                  progress: Progress) -> Imported:  # fmt: skip
    task = progress.add_task("importing", total=None)
    async with Partner(url, client, key) as partner:
        done = await screen_import.take_in(
            partner, file, area,
            begun=lambda rows: progress.update(task, total=rows),
            told=lambda rows: progress.update(task, completed=rows),
        )  # fmt: skip
        progress.update(task, total=done.screening["rows_done"])
        with _Report(report) as writing:
            async for one in screen_import.findings(partner, done.screening["id"]):
                writing.add(one)
    return done


class _Report:
    """A CSV that is there whole or not at all: line, column, verdict, reason."""

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(f".{path.name}.part")

    def __enter__(self) -> _Report:
        self._file: TextIO = self._part.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file)
        self._rows.writerow(["line", "column", "verdict", "why", "meaning"])
        return self

    def add(self, one: dict[str, Any]) -> None:
        verdict = "refused" if one["refused"] else "doubtful"
        self._rows.writerow([one["line"], one["column"] or "", verdict, one["why"], MEANINGS.get(one["why"], "")])

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink()


def result(done: Imported, report: Path | None) -> dict[str, Any]:
    """The outcome as JSON tells it."""
    names = ("rows_done", "entries", "refused", "doubtful", "suppressed")
    return {
        "screening": done.screening["id"],
        **{name: done.screening[name] for name in names},
        "rows_before": done.before,
        "seconds": round(done.seconds, 3),
        "rows_per_s": round(done.rows_per_s),
        "findings": [
            {"column": column, "why": why, "refused": refused, "times": times}
            for (column, why, refused), times in _sorted(done.counts)
        ],
        "report": str(report) if report else None,
    }


def show(console: Console, done: Imported, report: Path | None) -> None:
    """The outcome for a person."""
    s = done.screening
    if done.before == s["rows_done"]:
        console.print(f"This file is in already, whole: {s['rows_done']:,} rows. Nothing was changed.")
    else:
        goes_on = f" (going on after row {done.before:,})" if done.before else ""
        new = s["rows_done"] - done.before
        console.print(f"{new:,} rows in {done.seconds:.1f} s{goes_on}, {done.rows_per_s:,.0f} a second.")
    console.print(
        f"[bold]{s['entries']:,} entries[/] of a screened group, {s['doubtful']:,} of them doubtful; "
        f"{s['refused']:,} rows refused. Nobody has consented to anything by this, and no case is open."
    )
    if s["suppressed"]:
        console.print(f"In {s['suppressed']:,} rows the publisher withheld the citizenship: not known, not stateless.")
    if done.counts:
        console.print(table(done.counts))
    if report is not None:
        console.print(f"Line by line: {report}", soft_wrap=True)


def table(counts: Counts) -> Table:
    found = Table("column", "verdict", "what it is", title="Refused and doubtful", title_justify="left")
    found.add_column("rows", justify="right")
    for (column, why, refused), times in _sorted(counts):
        verdict = "[red]refused[/]" if refused else "doubtful"
        found.add_row(column or "(the line)", verdict, MEANINGS.get(why, why), f"{times:,}")
    return found


def _sorted(counts: Counts) -> list[tuple[tuple[str | None, str, bool], int]]:
    return sorted(counts.items(), key=lambda one: (not one[0][2], -one[1], one[0][0] or "", one[0][1]))
