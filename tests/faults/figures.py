"""The tables of docs/reliability.md, made from what the runs have written: `python -m tests.faults.figures FILE [PAGE]`.

FILE holds one JSON object a line, as `Report.kept` writes them (SPEAN_FAULTS). Prints Markdown, or puts it into PAGE between
its two marks.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def counts(runs: Sequence[dict[str, Any]]) -> list[str]:
    """What was played on each bus, and what was found."""
    lines = ["| Bus | Seeds | Faults | Minutes | People | Events | On the log twice | Findings |", "|---" * 8 + "|"]
    for bus in sorted({run["bus"] for run in runs}):
        mine = [run for run in runs if run["bus"] == bus]
        sums = {name: sum(run[name] for run in mine) for name in ("took_s", "people", "events", "again", "findings")}
        lines.append(
            f"| {bus} | {len({run['seed'] for run in mine})} | {sum(len(run['recovered']) for run in mine)} "
            f"| {sums['took_s'] / 60:.0f} | {sums['people']:,} | {sums['events']:,} | {sums['again']:,} "
            f"| {sums['findings']} |"
        )
    return lines


def recoveries(runs: Sequence[dict[str, Any]]) -> list[str]:
    """How long the line took to carry a hand-off through, counted from when the fault ended (0: it did without)."""
    after: dict[tuple[str, str], list[float]] = defaultdict(list)
    for run in runs:
        for name, (_, line_s, lasted_s) in run["recovered"]:
            after[run["bus"], name].append(max(0.0, line_s - lasted_s))
    lines = ["| Bus | Fault | Times | Median s | Longest s |", "|---" * 5 + "|"]
    for (bus, name), each in sorted(after.items()):
        lines.append(f"| {bus} | {name} | {len(each)} | {statistics.median(each):.1f} | {max(each):.1f} |")
    return lines


def put(page: Path, tables: str) -> None:
    """Raises ValueError where the page has no marks."""
    before, began, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not began or not ended:
        msg = f"{page} has no {BEGIN} … {END}"
        raise ValueError(msg)
    page.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}", encoding="utf-8")


def main() -> None:
    runs = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    usual = statistics.median(run["usual_s"] for run in runs)
    quiet = max(run["quiet_s"] for run in runs)
    told = [
        f"Nothing broken: {usual:.1f} s through the line (median). Quiet at most {quiet:.1f} s after the last story."
    ]
    tables = "\n".join([*counts(runs), "", *recoveries(runs), "", *told])
    if len(sys.argv) > 2:
        put(Path(sys.argv[2]), tables)
    else:
        sys.stdout.write(tables + "\n")


if __name__ == "__main__":
    main()
