"""A screened group of 100,000 people taken in from its file, through the API, beside COPY of the same rows."""

from __future__ import annotations

import asyncio
import csv
import random
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from bench.figures import Figure
from bench.ground import SHORT, WRITER
from bench.stage import Stage
from services.cli import screen_import
from services.intake.screening.domain import Column
from spean.ids import opaque_id

ROWS = 4_000 if SHORT else 100_000
# What a person's sealed fields have in bytes.
SEALED = 330
# Values of the extract's own codebook, the frequent ones first: what comes at place n is chosen 1/n as often.
_VALUES = {
    Column.YEAR: ("2016", "2017", "2018", "2015", "2019", "2010"),
    Column.SOURCE: ("Case Management", "Hotline"),
    Column.GENDER: ("Female", "Male", "-99"),
    Column.CITIZENSHIP: ("0", "KH", "VN", "TH", "MM", "LA", "PH", "ID", "UA", "MD"),
    Column.FORCED_LABOUR: ("0", "1", "-99"),
    Column.CONTROL: ("-99", "Financial", "Physical", "Threats", "Survival", "Not Specified"),
    Column.RECRUITER: ("-99", "Family/Relative", "Intimate Partner", "Friend/Acquaintance", "Other"),
    Column.EXPLOITATION: ("Sexual Exploitation", "Forced Labor", "Servitude", "Forced Marriage", "-99"),
    Column.LABOUR: ("-99", "Domestic Work", "Construction", "Agriculture", "Fishing", "Manufacturing", "Begging"),
    Column.AGE: ("9--17", "-99", "0--8", "18--20", "21--23", "24--26", "27--29", "30--38", "39--47", "48+"),
}
_WEIGHTS = {column: [1 / place for place in range(1, len(values) + 1)] for column, values in _VALUES.items()}


async def measure(on: Stage) -> list[Figure]:
    """Once: it is the longest, and it is as long as it is because every row has a key of its own."""
    figure = Figure(f"import of {ROWS:,} screened rows", on.ground.kind, "rows/s", "more", "COPY of the same rows", 0.3)
    path = on.ground.folder / "group.csv"
    await asyncio.to_thread(write, path, random.Random(1))
    began = time.perf_counter()
    done = await screen_import.take_in(on.world.sender.partner, path, "KH-1")
    took = time.perf_counter() - began
    if done.screening["rows_done"] != ROWS or done.screening["entries"] != ROWS:
        raise ValueError("not every row came in")
    figure.ours.append(ROWS / took)
    figure.floor.append(ROWS / await _copy(on))
    return [figure]


def write(path: Path, dice: random.Random) -> None:
    """A file in the layout of the CTDC global extract; every value is made up."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(list(Column))
        for _ in range(ROWS):
            rows.writerow([dice.choices(_VALUES[column], _WEIGHTS[column])[0] for column in Column])


async def _copy(on: Stage) -> float:
    conn = await on.ground.connect(WRITER)
    await conn.execute("truncate bare_entry")
    now, org, screening = datetime.now(UTC), UUID(int=1), UUID(int=2)
    rows = [
        (opaque_id(), org, "screening", now, "KH-1", screening, number, bytes(SEALED), now) for number in range(ROWS)
    ]
    began = time.perf_counter()
    await conn.copy_records_to_table("bare_entry", records=rows)
    took = time.perf_counter() - began
    await conn.close()
    return took
