"""`spean demo`: a day at a border post, against the running system, through its public interfaces only."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path as FilePath
from typing import Annotated, Any

import httpx
import typer
from joserfc.jwk import OKPKey
from rich.console import Console

from services.cli import (
    bootstrap,
    demo_border,
    demo_scenes,
    demo_show,
    demo_stage,
    holder,
    screen,
    screen_file,
    screen_import,
)
from services.cli import demo_people as people
from services.cli.client import ApiProblem, Partner
from services.cli.demo_border import Border
from services.cli.demo_day import Day, Tell
from services.cli.demo_result import Answer, Expectation, Path, Result
from services.cli.demo_stage import NeverCame
from spean.settings import Settings

Scene = Callable[[Day], Awaitable[None]]

AREA = "KH-1"
NOT_AS_EXPECTED = 1
# (promised, taken) of the houses that have somebody.
BEDS_AT_THE_END = {
    "lotus": (1, 1), "little": (1, 0), "open": (1, 0), "morning": (1, 0), "mothers": (0, 2), "men": (0, 1),
}  # fmt: skip


def demo(
    file: Annotated[FilePath | None, typer.Option(help="first take this file in (layout of the CTDC extract)")] = None,
    url: Annotated[str, typer.Option(help="where Spean answers; default: the installation on this machine")] = "",
    key: Annotated[FilePath | None, typer.Option(help="the administrator's key; default: in the keys folder")] = None,
    at: Annotated[str, typer.Option("--holder", help="also play with this second holder on this machine")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="the result as JSON on standard output")] = False,
) -> None:
    """Play a day at a border post. Each run founds a network of its own, so it can be run again and again. Exit code 0
    only if everything went as it should."""
    settings = Settings()
    admin_key = screen.private_key(key or bootstrap.key_file(settings))
    second = holder.settings_of(at, None) if at else None
    if file is not None:
        with screen.reading(file):
            screen_file.scan(file)
    with demo_show.Progress(Console(stderr=True), quiet=as_json) as progress:
        playing = play(url or bootstrap.address(settings), admin_key, file=file, tell=progress.tell, second=second)
        result = asyncio.run(playing)
    if as_json:
        typer.echo(json.dumps({**asdict(result), "ok": result.ok}))
    else:
        demo_show.show(Console(), result)
    if not result.ok:
        raise typer.Exit(NOT_AS_EXPECTED)


async def play(url: str, admin_key: OKPKey, *, file: FilePath | None = None, tell: Tell = lambda _: None,
               scenes: Sequence[Scene] = demo_scenes.SCENES, second: Settings | None = None) -> Result:  # fmt: skip
    """Play the day at the installation that answers at `url`; `tell` hears of every step. `second`: the settings of a
    second holder, where a group is handed over a border besides.

    What does not go as expected stands in the result. Raises ApiProblem and httpx.TransportError where the stage itself
    cannot be set up, NotThisLayout and OSError for the file.
    """
    result, began = Result(), time.monotonic()
    async with AsyncExitStack() as stack:
        before = Path("", "before the day begins", began)
        before.tell(tell, "founding a network: a border post, a coordinator, houses, rules")
        stage = await demo_stage.found(stack, url, admin_key)
        result.network = stage.network
        if file is not None:
            result.file = await _imported(stage.post.partner, file, before, tell)
        day = Day(stage, await _screened(stage.post.partner, result), result, tell)
        border = None if second is None else await demo_border.found(stack, stage, url, admin_key, second)
        before.ended = "network founded, group screened"
        before.tell(tell, before.ended)
        beyond = [] if border is None else [_beyond(border, result, tell)]
        await asyncio.gather(*(_played(day, scene) for scene in scenes), *beyond)
        await _ends(day)
        result.answers += await _answers(day)
    result.seconds = round(time.monotonic() - began, 2)
    return result


async def _imported(post: Partner, file: FilePath, before: Path, tell: Tell) -> dict[str, Any]:
    done = await screen_import.take_in(
        post, file, AREA, told=lambda rows: before.tell(tell, f"{file.name}: {rows:,} rows are in")
    )
    return screen.result(done, None)


async def _screened(post: Partner, result: Result) -> dict[str, str]:
    """The made-up group is taken in as any other file. Returns person → entry."""
    done = await _entered(post, people.group_file(), AREA)
    result.group = screen.result(done, None)
    result.expectations += [
        Expectation("the group", "every person of the list became an entry, and no slip of the pen did harm",
                    held=(done.screening["entries"], done.screening["refused"]) == (len(people.GROUP) + 1, 1)),
    ]  # fmt: skip
    return await _entries(post, done, people.GROUP)


async def _beyond(border: Border, result: Result, tell: Tell) -> None:
    """What is played at the second holder, one scene after the other."""
    post = border.stage.post.partner
    group = await _entered(post, people.group_file(people.ABROAD, ()), demo_border.AREA)
    day = Day(border.stage, await _entries(post, group, people.ABROAD), result, tell)
    for scene in demo_border.SCENES:
        await _played(day, partial(scene, border=border))
    result.answers += await _answers(day)


async def _entered(post: Partner, text: str, area: str) -> screen_import.Imported:
    with tempfile.TemporaryDirectory(prefix="spean-demo-") as folder:
        path = FilePath(folder) / "group.csv"
        path.write_text(text, encoding="utf-8")
        return await screen_import.take_in(post, path, area)


async def _entries(post: Partner, done: screen_import.Imported, group: Sequence[people.Person]) -> dict[str, str]:
    """Person → entry."""
    listed = await post.get(f"/intake/screenings/{done.screening['id']}/entries")
    return {person.name: listed["entries"][row]["entry"] for row, person in enumerate(group)}


async def _played(day: Day, scene: Scene) -> None:
    """A scene that breaks is an expectation that did not hold; the day goes on."""
    before = len(day.result.paths)
    try:
        await scene(day)
    except (ApiProblem, NeverCame, httpx.TransportError) as problem:
        path = day.result.paths[before]
        why = str(problem) or type(problem).__name__
        path.broken = True
        day.expect(path, f"the scene goes through ({why})", held=False)
        day.end(path, f"broken off: {why}")


async def _ends(day: Day) -> None:
    """What must be true when the day is over."""
    path = Path("the day", "", day.began)
    police = day.stage.house("police")
    states = "&".join(f"state={state}" for state in ("sent", "seen", "accepted", "rejected", "expired", "withdrawn"))
    offers = (await police.partner.get(f"/referral/offers?{states}"))["offers"]
    day.expect(path, "the police were offered nobody", held=not offers)
    counts = {key: await house.count() for key, house in day.stage.houses.items()}
    taken = {key: (one["held"], one["staying"]) for key, one in counts.items() if one["held"] or one["staying"]}
    day.expect(path, "every bed is counted right at the end", held=taken == BEDS_AT_THE_END)


async def _answers(day: Day) -> list[Answer]:
    """Every answer of the gate about the people of the day, the same ones counted together."""
    names = {entry: name for name, entry in day.entries.items()}
    post = day.stage.post.partner
    records = {entry: set((await post.get(f"/intake/entries/{entry}"))["person"]) | {"age_band"} for entry in names}
    counted: Counter[tuple[Any, ...]] = Counter()
    for path in day.result.paths:
        if path.handoff is None or path.person not in day.entries:
            continue
        for one in (await post.get(f"/intake/handoffs/{path.handoff}/disclosures"))["disclosures"]:
            who, held = names[one["entry"]], records[one["entry"]]
            allowed = tuple(name for name in one["allowed"] if name in held)
            refused = tuple((name, rule) for name, rule in sorted(one["refused"].items()) if name in held)
            counted[who, day.stage.name_of(one["recipient"]), one["stage"], allowed, refused] += 1
    return [
        Answer(person, recipient, stage, fields, _by_rule(refused), times)
        for (person, recipient, stage, fields, refused), times in counted.items()
    ]


def _by_rule(refused: tuple[tuple[str, str], ...]) -> dict[str, tuple[str, ...]]:
    rules = dict.fromkeys(rule for _, rule in refused)
    return {rule: tuple(name for name, why in refused if why == rule) for rule in rules}
