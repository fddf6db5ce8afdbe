"""The demo for a reader: progress while it plays, then who went where and waited how long, who read what, what was refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from rich import progress as bars
from rich.console import Console
from rich.table import Table

from services.cli.demo_result import Answer, Path, Result

_STAGES = ("offered", "accepted", "ready", "arrived")
# A column for a name and a few words.
_NARROW = 20
_ORDER = {"offer": 0, "packet": 1, "placement": 2}


class Progress:
    """One line per person with the step that they have reached."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._progress = bars.Progress(
            bars.SpinnerColumn(finished_text=""), bars.TextColumn("{task.fields[mark]}"),
            bars.TextColumn("[bold]{task.description}"), bars.TextColumn("{task.fields[story]}", style="dim"),
            bars.TextColumn("{task.fields[step]}"), console=console, disable=quiet,
        )  # fmt: skip
        self._tasks: dict[int, bars.TaskID] = {}

    def __enter__(self) -> Progress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def tell(self, path: Path) -> None:
        if id(path) not in self._tasks:
            made = self._progress.add_task(path.person, total=1, story=path.story, step="", mark="")
            self._tasks[id(path)] = made
        step = path.steps[-1].what if path.steps else ""
        mark = "" if not path.ended else "[red]✗[/]" if path.broken else "[green]✓[/]"
        self._progress.update(self._tasks[id(path)], step=step, mark=mark, completed=1 if path.ended else 0)


def show(console: Console, result: Result) -> None:
    """The whole result; what did not hold comes last, where it is seen."""
    console.print("\nEverybody in this demo is made up, every organisation is a sample.")
    for name, found in (("The file", result.file), ("The screened group", result.group)):
        if found:
            console.print(
                f"{name}: {found['rows_done']:,} rows, {found['entries']:,} entries ({found['doubtful']:,} doubtful), "
                f"{found['refused']:,} refused. Entries only: by this, nobody had agreed to anything."
            )
    for table in (_paths(result), _readers(result), _kept_back(result), _refusals(result)):
        console.print(table)
    failed = [one for one in result.expectations if not one.held]
    for one in failed:
        console.print(f"[red]✗ {one.person}:[/] {one.what}", highlight=False)
    verdict = "[green]As it should be[/]" if result.ok else "[red]Not as it should be[/]"
    held = len(result.expectations) - len(failed)
    console.print(f"{verdict}: {held} of {len(result.expectations)} expectations held, in {result.seconds:.1f} s.")


def _table(title: str, *columns: str) -> Table:
    made = Table(title=f"\n{title}", title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold", max_width=_NARROW if column == "person" else None)
    return made


def _paths(result: Result) -> Table:
    table = _table("Each person's path, and how long they waited after the request", "person", "path")
    for path in result.paths:
        steps = " → ".join(step.what for step in path.steps)
        waits = ", ".join(f"{stage} {path.waits_s[stage]:.1f} s" for stage in _STAGES if stage in path.waits_s)
        told = f"{steps}\n[cyan]waited: {waits}[/]" if waits else steps
        table.add_row(f"{path.person}\n[dim]{path.story}[/]", told, end_section=True)
    return table


def _readers(result: Result) -> Table:
    table = _table("Who could read which fields (of those that the record holds)", "person", "reader", "when", "fields")
    table.caption = "(not told): the sender may not know where the person is (any more), so not who read it either"
    table.caption_justify = "left"
    for person, answers in _by_person(result.answers):
        rows = [
            (one.recipient, _when(one.stage) + (f", {one.times} times" if one.times > 1 else ""), ", ".join(one.fields))
            for one in answers
            if one.fields
        ]
        _section(table, person, rows)
    return table


def _kept_back(result: Result) -> Table:
    table = _table("What the gate kept back, and by which rule", "person", "from", "when", "rule", "fields")
    for person, answers in _by_person(result.answers):
        rows = [
            (one.recipient, _when(one.stage), f"[red]{rule}[/]", ", ".join(fields))
            for one in answers
            for rule, fields in one.refused.items()
        ]
        _section(table, person, rows)
    return table


def _section(table: Table, person: str, rows: Iterable[tuple[str, ...]]) -> None:
    kept = list(rows)
    for number, row in enumerate(kept, start=1):
        table.add_row(person if number == 1 else "", *row, end_section=number == len(kept))


def _when(stage: str) -> str:
    return {"offer": "before accepting", "packet": "after accepting"}.get(stage, stage)


def _by_person(answers: list[Answer]) -> Iterator[tuple[str, list[Answer]]]:
    ordered = sorted(answers, key=lambda one: (one.person, _ORDER.get(one.stage, 9), one.recipient))
    for person, found in groupby(ordered, key=lambda one: one.person):
        yield person, list(found)


def _refusals(result: Result) -> Table:
    table = _table(
        "Which commands were refused, and by which rule", "person", "who asked", "for what", "refusal", "in words"
    )
    for one in result.refusals:
        code = one.code if one.rule in {None, one.code} else f"{one.code} ({one.rule})"
        table.add_row(one.person, one.who, one.what, f"[red]{code}[/]", one.detail)
    return table
