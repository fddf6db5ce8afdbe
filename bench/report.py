"""The figures for people (docs/benchmarks.md, .svg) and for programs (docs/benchmarks.json)."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import psutil

from bench import stopping
from bench.figures import Figure
from bench.ground import EMBEDDED, KAFKA, REPEATS, ROOT, SHORT

DOCS = ROOT / "docs"
_BUSES = {EMBEDDED: "PostgreSQL", KAFKA: "Kafka", "": "–"}
_METHOD = """\
`make bench` measures everything below in one run and writes this page, [the numbers](benchmarks.json) and the picture;
`SPEAN_BENCH_SHORT=1 make bench` is a quick look at whether it works. The parts are in `bench/`, one file for each.

- Machines are noisy: read the **ratios**. Beside each figure stands its *floor*, measured in the same run on the same
  server: the least that the same work costs with the same libraries. The same rows, the same bytes, as many durable
  commits, and no sign-in, no rules, no row-level security, no order, no once-only keys.
- Medians of {repeats}. PostgreSQL waits for the disk; Kafka is one real broker,
  acknowledged by all of its replicas.
- Floor, load and what is measured share one machine, so a figure of it alone would be better.
- *commit → effect* is told by PostgreSQL's own commit times. On the bus inside PostgreSQL the writer wakes the relay, as on
  one machine; on Kafka nobody does, as between processes.
- *a change at all watchers* ends when the last of them has it; both sides look every half second, which is most of it.
- *withdrawn → …*: people take sharing back, {stops} at {stops_per_s} a second, each with an open offer and with a packet that
  another house has read, while hand-offs come in at {load_per_s} a second and are offered, told and accepted; beside {idle} who do
  so while nothing else is done, at the same pace. From the moment of the request: until its answer (the gate is shut by then), until
  the offer is withdrawn at the network, and until the house that has a copy is told to erase it, both by PostgreSQL's commit times.
- *requests/s* are over eight lines that stay open, to the doors alone: a process with the role `api`."""
_WHY = """\
- *consumer*: a handler of one event needs at least a statement for it, and waits for each; the floor writes five hundred rows
  with one. A handler that takes many (*many at once*) needs one as well. What is left is Python, on one core, for what the floor
  has ready or does not know: the record of the bus, its attributes checked one by one, its content judged by its model, the
  place in the order; and two statements for the last place of every key, here a new one each. Bare inserts take a tenth
  to a seventh of that time, so the target would need a reader that is not written in Python; several members share the work.
- *relay*: one process reads, makes of each event a record with its attributes and hands it over, while one session of PostgreSQL
  moves the batch before from one table to another with four indexes, and (on that bus) another appends. On two cores these three
  share what the floor has for one; it has its bytes ready and moves nothing. Half of what is left is Python: twelve columns read,
  fourteen attributes written, and asyncpg's check of every element of an array.
- *commit → effect* on PostgreSQL: a wake, the read, the append with its commit, a notification, the poll, and the effect's transaction
  with its guards (position, places, what waits), each a round trip; the floor has a statement for each of three.
- *POST a hand-off*: some twenty round trips to PostgreSQL for the floor's eight; sending alone is two fifths of the time. Beside
  what is written: is the organisation suspended, whose rows may it see, was this asked before; then locks that keep others out, and
  the people's cases, fences and consents, each read after the lock that keeps it true, and their keys from another database.
- *accept*: twice over HTTP, for the holder is asked first and judges anew; some fifty round trips on both sides for the floor's
  ten, and a client and a server in Python for the question itself.
- *inbox*: what may be read of each of fifty requests is asked of the holder, judged there by the gate and written down, at every
  look; the floor reads fifty rows and shows no page.
- *import*: every row is checked as JSON, judged, gets a key of its own, is sealed under it, and the key is durable in the key store
  before the row is written: two ids, two keys, two seals, three rows in two databases and a line of the report for one row of COPY, in
  one process. Five hundred rows at a time, so that nobody else at that door waits longer than a blink."""

_BREAKS = """\
Reasoned from the figures above, not tried. A hand-off is some ten events from the request to its outcome, so 200 events a second
are twenty hand-offs a second.

- **Ten times that**, 2,000 events a second: *accepting* and *inboxes* first. One pair of doors accepts about as many as would then be
  accepted, with nothing to spare; and a house that looks at fifty requests every ten seconds is a tenth of a page a second, so that
  some four hundred such houses fill this machine. More processes with the role `api`, on more cores, carry that: they share nothing but
  PostgreSQL, whose sessions are counted in [postgresql.md](postgresql.md). Relay and consumer have reserves.
- **A hundred times**, 20,000 events a second: *PostgreSQL of the network*, where each hand-off is some hundred statements and a dozen
  commits; one relay at a time for each service, of which half is used; consumers need a member for nearly every partition. Before all of
  that is full, two tables without an archive are: `said` with a row an event, `disclosure` with one for each new answer. And a
  holder with more than some tens of thousands of people under way at once no longer counts them within the clock's 12 s: its
  offers then show the least, which is safe and of little use. Networks and holders divide the load: each holder has databases of its
  own, and nothing but the bus and the network's questions is shared."""


def write(figures: Sequence[Figure], seconds: float, docs: Path = DOCS) -> None:
    """All three, into this folder."""
    machine = _machine()
    docs.mkdir(exist_ok=True)
    numbers = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, "repeats": REPEATS, "short": SHORT,
        "seconds": round(seconds),
        "figures": [
            {**asdict(one), "median": one.median, "floor_median": one.floor_median, "ratio": one.ratio, "met": one.met}
            for one in figures
        ],
    }  # fmt: skip
    (docs / "benchmarks.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    (docs / "benchmarks.svg").write_text(_picture(figures), encoding="utf-8")
    (docs / "benchmarks.md").write_text(_page(figures, machine, seconds), encoding="utf-8")


def _machine() -> dict[str, str | int]:
    model = platform.processor() or platform.machine()
    known = Path("/proc/cpuinfo")
    if known.exists():
        names = [
            line.partition(":")[2].strip() for line in known.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {
        "cores": os.cpu_count() or 0, "processor": model, "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.system(), "python": platform.python_version(),
    }  # fmt: skip


def _page(figures: Sequence[Figure], machine: dict[str, str | int], seconds: float) -> str:
    lines = [
        "# Benchmarks", "",
        f"Measured on {datetime.now(UTC):%Y-%m-%d} in {seconds / 60:.0f} minutes, on {machine['cores']} cores "
        f"({machine['processor']}), {machine['memory_gb']} GB, {machine['system']}, Python {machine['python']}."
        + ("\n**A short run: to see that it works, not to be quoted.**" if SHORT else ""), "",
        "![Each figure's ratio to its floor, with the target](benchmarks.svg)", "",
        "| What | Bus | Here | Floor | Ratio | Target | | Beside |", "|---|---|--:|--:|--:|--:|---|---|",
    ]  # fmt: skip
    for one in figures:
        floor = "" if one.floor_median is None else _said(one.floor_median)
        ratio = "" if one.ratio is None else f"{one.ratio:.2f}"
        lines.append(
            f"| {one.name} | {_BUSES[one.bus]} | {_said(one.median)} {one.unit} | {floor} | {ratio} | {_target(one)} | "
            f"{_verdict(one)} | {one.beside} |"
        )
    repeats = "one run (short)" if SHORT else f"{REPEATS} runs; the import and the withdrawals are run once"
    return "\n".join(
        [
            *lines,
            "",
            "## Method",
            "",
            _METHOD.format(repeats=repeats, **stopping.PACE),
            "",
            "## Why not nearer",
            "",
            _WHY,
            "",
            "## What breaks first",
            "",
            _BREAKS,
            "",
        ]
    )


def _said(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _target(one: Figure) -> str:
    asked = one.target if one.limit is None else one.limit
    if asked is None:
        return ""
    of_floor = one.ratio is not None and one.limit is None
    number = f"{asked:g}" if of_floor else f"{_said(asked)} {one.unit}"
    return f"{'≥' if one.better == 'more' else '≤'} {number}"


def _verdict(one: Figure) -> str:
    return "" if one.met is None else "met" if one.met else "**missed**"


_LEFT, _WIDE, _ROW, _TOP = 330, 420, 22, 54


def _picture(figures: Sequence[Figure]) -> str:
    """A bar for each figure that has a floor, longer is better: how near its floor it comes (1 is the floor itself)."""
    # Beside a limit of its own, it is no floor that a figure comes near.
    shown = [one for one in figures if one.ratio is not None and one.limit is None]
    height = _TOP + _ROW * len(shown) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 {height}" font-family="system-ui, sans-serif" font-size="12" '
        'role="img" aria-label="How near each figure comes to its floor">',
        f'<rect width="860" height="{height}" fill="#fff"/>',
        '<text x="12" y="22" font-size="15" font-weight="600" fill="#12324a">How near each figure comes to its floor</text>',
        '<text x="12" y="40" fill="#555">1 = as fast as the least that the same work can cost; the mark is the target</text>',
    ]
    for at, one in enumerate(shown):
        y = _TOP + at * _ROW
        near = _near(one, one.ratio or 0.0)
        colour = {True: "#2b7a4b", False: "#b4532a", None: "#52708a"}[one.met]
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y + 12}" text-anchor="end" fill="#222">{escape(one.name)} · {_BUSES[one.bus]}</text>'
            f'<rect x="{_LEFT}" y="{y}" width="{max(min(near, 1.0) * _WIDE, 2):.0f}" height="15" rx="2" fill="{colour}"/>'
            f'<text x="{_LEFT + _WIDE + 8}" y="{y + 12}" fill="#222">{near:.2f}</text>'
        )
        if one.target is not None:
            x = _LEFT + min(_near(one, one.target), 1.0) * _WIDE
            parts.append(f'<path d="M{x:.0f} {y - 2}v19" stroke="#12324a" stroke-width="2"/>')
    return "\n".join([*parts, "</svg>", ""])


def _near(one: Figure, ratio: float) -> float:
    """The floor itself is 1; half as good is 0.5, whichever way good is."""
    return ratio if one.better == "more" else 1 / ratio if ratio else 0.0
