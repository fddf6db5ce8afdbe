"""The coordinator's page: what must be zero, what needs a person, where referrals are, how fast they are answered, where
there is room. It moves by itself, prints, and can be taken along as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import Depends, Request, Response
from markupsafe import Markup

from schemas.registry import PREFIX
from schemas.versions import newest
from schemas.vocabulary import ErasureAnswer, EscalationReason, ServiceGroup, WaitsFor
from services.notify.dashboards.api import SCOPE
from services.notify.dashboards.domain import LEAST, STAGES, Total, came_as_far, parts_of_day, quarters, total
from services.notify.dashboards.figures import Age, Board, Escalation, Figures
from spean.geography import area_name
from spean.web import charts
from spean.web.charts import Answer, Bar, Ended, Legend, Saying, Stage, Tick
from spean.web.labels import label
from spean.web.live import Hub, stream_for
from spean.web.pages import At, at_with, page_router
from spean.web.static import assets
from spean.web.words import N_, Words

# Younger than this it is as good as now.
FRESH = timedelta(seconds=5)
_DAY_H = (0, 6, 12, 18, 24)
_UP_MIN = (15, 60, 240, 720, 1440, 4320)
# Where the darker colours of the map begin; the lightest holds what is too small to be said.
_GRADES = (LEAST, 15, 40)
router = page_router("coordinator's pages")
Coordinator = Annotated[At, Depends(at_with(SCOPE))]

_STAGE_WORDS: Mapping[str, str] = {
    "requested": N_("requested"), "offered": N_("asked"), "accepted": N_("accepted"), "ready": N_("ready"),
    "arrived": N_("arrived"),
}  # fmt: skip
_WAITING_WORDS: Mapping[str, str] = {
    "requested": N_("nobody asked yet"), "offered": N_("waiting for a yes"), "accepted": N_("being prepared"),
    "ready": N_("about to come"),
}  # fmt: skip
_LEFT_WORDS: Mapping[Literal["waits", "ended", "either"], str] = {
    "waits": N_("waiting there"), "ended": N_("ended there"), "either": N_("waiting or ended"),
}  # fmt: skip
_ERASURE_WORDS: Mapping[str, str] = {
    "late": N_("not answered in time"), "requested": N_("asked, with time left to answer"),
}  # fmt: skip
_DELIVERY_WORDS: Mapping[str, str] = {
    "parked": N_("given up: no address, or the mail server refuses"), "failing": N_("failed, being tried again"),
    "lapsed": N_("too late to be of use"),
}  # fmt: skip
# To whoever coordinates.
_TURN_WORDS: Mapping[WaitsFor, str] = {
    WaitsFor.SENDER: N_("on hold: it is the sender's to go on"), WaitsFor.COORDINATOR: N_("on hold: it is yours to go on"),
}  # fmt: skip
EVENT_WORDS: Mapping[str, str] = {
    "referral.received.v1": N_("A request came in"), "offer.sent.v1": N_("A house was asked"),
    "offer.seen.v1": N_("A house has seen the request"), "offer.accepted.v1": N_("A house accepted"),
    "offer.declined.v1": N_("A house declined"), "offer.expired.v1": N_("A house did not answer in time"),
    "offer.withdrawn.v1": N_("A request to a house was taken back"),
    "referral.unroutable.v1": N_("Nobody is left to ask"), "referral.held.v2": N_("A request is on hold"),
    "referral.reopened.v1": N_("A request is asked again"), "referral.ready.v1": N_("Somebody may set out"),
    "referral.departed.v1": N_("Somebody has set out"), "referral.arrived.v1": N_("Somebody arrived"),
    "referral.verified.v1": N_("An arrival was checked"), "referral.missing.v1": N_("Somebody did not arrive in time"),
    "referral.completed.v1": N_("A stay ended"), "referral.cancelled.v1": N_("A request was cancelled"),
    "referral.escalated.v1": N_("A request was passed to a person"),
    "referral.reassigned.v1": N_("A request has another coordinator"),
    "handoff.changed.v1": N_("Something changed at the sender's side"),
    "packet.refused.v1": N_("A packet is not released"), "packet.fetched.v1": N_("A packet was read"),
    "delivery.succeeded.v1": N_("A notice went out"), "delivery.failed.v1": N_("A notice failed, to be tried again"),
    "delivery.parked.v1": N_("A notice was given up"), "capacity.changed.v1": N_("Free places changed"),
    "erasure.requested.v1": N_("An erasure was asked for"), "erasure.acknowledged.v1": N_("An erasure was answered"),
    "erasure.overdue.v1": N_("An erasure is late"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table: words, and numbers as they may be said."""

    label: str
    said: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """`name`: what it is called in an exported file. `heads`: of the columns of numbers."""

    name: str
    caption: str
    heads: Sequence[str]
    rows: Sequence[Row]


class Shown:
    """The figures in the words, digits and pictures of one visitor. Pictures and tables say the same numbers."""

    def __init__(self, figures: Figures, words: Words) -> None:
        self.figures, self._words, self._ = figures, words, words.text
        self._say = Saying(words.number, f"<{words.number(LEAST)}")

    def count(self, count: int | None) -> str:
        return self._say.of(count)

    def total(self, whole: Total) -> str:
        low, most = self._words.number(whole.low), self._words.number(whole.most)
        return low if whole.exact else f"{low}–{most}"

    def in_all(self, cells: Mapping[str, int | None]) -> str:
        return self.total(total(cells.values()))

    def kind(self, type_: str) -> str:
        """An event's type in words; as it is, where a newer service said it."""
        now = newest(PREFIX + type_).removeprefix(PREFIX)  # what was put here before that version was
        return self._(EVENT_WORDS.get(now, type_))

    def group(self, one: Escalation) -> str:
        return self._(label(ServiceGroup(one.service_group)))

    def reason(self, one: Escalation) -> str:
        return self._(label(EscalationReason(one.reason)))

    def turn(self, one: Escalation) -> str:
        """Empty where it is not on hold, or that was not said."""
        return "" if one.waits_for is None else self._(_TURN_WORDS[one.waits_for])

    # --- where referrals are ---

    @property
    def flow_table(self) -> Table:
        steps, rows = self.figures.steps, []
        for stage in STAGES:
            left = [self.count(steps[stage, how]) if (stage, how) in steps else "" for how in _LEFT_WORDS]
            if stage == STAGES[-1]:
                left = [""] * len(left)
            rows.append(Row(self._(_STAGE_WORDS[stage]), [self._came(stage), *left]))
        heads = [N_("Came as far"), N_("Waiting there"), N_("Ended there"), N_("Waiting or ended")]
        return Table("flow", self._(N_("Referrals requested today")), [self._(head) for head in heads], rows)

    def _came(self, stage: str) -> str:
        """Of the last stage the cell itself is said, which may be hidden."""
        last = stage == STAGES[-1]
        return self.count(self.figures.steps[stage, "either"]) if last else self.total(self._total(stage))

    def _total(self, stage: str) -> Total:
        return came_as_far(self.figures.steps, stage)

    @property
    def flow(self) -> Markup:
        steps, stages = self.figures.steps, []
        for stage in STAGES[:-1]:
            came, words = self._total(stage), self._(_STAGE_WORDS[stage])
            named = words if came.exact else self._(N_("%(stage)s, at least"), stage=words)
            left = [
                Ended(self._(_WAITING_WORDS[stage] if how == "waits" else words), steps[stage, how])
                for how, words in _LEFT_WORDS.items()
                if steps.get((stage, how), 0) != 0
            ]
            stages.append(Stage(named, came.low, left))
        stages.append(Stage(self._(_STAGE_WORDS[STAGES[-1]]), steps[STAGES[-1], "either"]))
        return charts.flow("flow", self._(N_("Where today's referrals are")), stages, self._say)

    # --- how long until a house says yes ---

    @property
    def half_within(self) -> str | None:
        """None where they are too few."""
        minutes = [one.minutes for one in self.figures.accepted]
        return self._minutes(quarters(minutes)[1]) if minutes else None

    @property
    def answers_table(self) -> Table:
        minutes = [one.minutes for one in self.figures.accepted]
        within = [self._minutes(one) for one in quarters(minutes)] if minutes else []
        names = (N_("a quarter within"), N_("half within"), N_("three quarters within"))
        rows = [Row(self._(name), [one]) for name, one in zip(names, within, strict=False)]
        return Table("answers", self._(N_("From the request to a house's yes, in 7 days")), [self._(N_("Time"))], rows)

    @property
    def answers(self) -> Markup:
        since, accepted = self.figures.since, self.figures.accepted
        hours = [self._words.local(one.at).hour + 0.5 for one in accepted]
        across = [Tick(hour, self._words.clock(since + timedelta(hours=hour))) for hour in parts_of_day(hours, _DAY_H)]
        most = max((one.minutes for one in accepted), default=0)
        enough = next((tick for tick in _UP_MIN if tick >= most), _UP_MIN[-1])
        up = [Tick(minutes, self._short(minutes)) for minutes in _UP_MIN if minutes <= enough]
        found = [Answer(hour, one.minutes) for hour, one in zip(hours, accepted, strict=True)]
        summary = [f"{row.label} {row.said[0]}" for row in self.answers_table.rows]
        title = self._(N_("How long until a house said yes, by the hour of the request"))
        return charts.dots("answers", title, found, across, up, self._minutes, summary)

    def _minutes(self, minutes: float) -> str:
        return self._words.span(timedelta(minutes=minutes))

    def _short(self, minutes: int) -> str:
        """For an axis."""
        if minutes < 60:
            return self._(N_("%(n)s min"), n=minutes)
        return self._(N_("%(n)s h"), n=minutes // 60)

    # --- where there is room ---

    def _areas(self) -> list[tuple[str, int | None]]:
        """Where there is least comes first; what may not be said has one place in the row, whatever it is."""
        cells = self.figures.free
        return sorted(cells.items(), key=lambda one: (LEAST - 1 if one[1] is None else one[1], area_name(one[0])))

    @property
    def places_table(self) -> Table:
        rows = [Row(self._(area_name(area)), [self.count(count)]) for area, count in self._areas()]
        rows.append(Row(self._(N_("All areas")), [self.in_all(self.figures.free)]))
        return Table("places", self._(N_("Free places by area")), [self._(N_("Free"))], rows)

    @property
    def places(self) -> Markup:
        rows = [Bar(self._(area_name(area)), count) for area, count in self._areas()]
        return charts.bars("places", self._(N_("Free places by area")), rows, self._say)

    @property
    def map(self) -> Markup:
        one, two, three = _GRADES
        words = self._words
        grades = [
            self._(N_("fewer than %(n)s"), n=one), f"{words.number(one)}–{words.number(two - 1)}",
            f"{words.number(two)}–{words.number(three - 1)}", self._(N_("%(n)s or more"), n=three),
        ]  # fmt: skip
        legend = Legend(grades, self._(N_("no places known")), self._(N_("Boundaries are indicative.")))
        cells = self.figures.free
        return charts.province_map(
            "map", self._(N_("Map of free places")), cells, {area: self._(area_name(area)) for area in cells}, _GRADES, self._say,
            legend, sheet=assets()["provinces.svg"].address,
        )  # fmt: skip

    # --- what was asked and told ---

    @property
    def erasures_table(self) -> Table:
        cells = self.figures.erasures
        order = [*_ERASURE_WORDS, *(code.value for code in ErasureAnswer)]
        rows = [Row(self._erasure(state), [self.count(cells[state])]) for state in order if state in cells]
        rows.append(Row(self._(N_("asked in all")), [self.in_all(cells)]))
        return Table(
            "erasures", self._(N_("Erasures asked of those who may hold a copy")), [self._(N_("Copies"))], rows
        )

    def _erasure(self, state: str) -> str:
        return self._(_ERASURE_WORDS[state] if state in _ERASURE_WORDS else label(ErasureAnswer(state)))

    @property
    def deliveries_table(self) -> Table:
        cells = self.figures.deliveries
        rows = [Row(self._(words), [self.count(cells.get(state, 0))]) for state, words in _DELIVERY_WORDS.items()]
        return Table("notices", self._(N_("Notices that did not go out")), [self._(N_("Notices"))], rows)

    def tables(self) -> list[Table]:
        """All that may leave the house."""
        due = self.figures.overdue
        rows = [
            Row(self._(N_("Past the deadline, and nobody was told")), [self._words.number(due.unseen)]),
            Row(self._(N_("Past the deadline")), [self._words.number(due.overdue)]),
            Row(self._(N_("Needs a person")), [self._words.number(due.escalated)]),
        ]
        now = Table("now", self._(N_("Now")), [self._(N_("Referrals"))], rows)
        return [now, self.flow_table, self.answers_table, self.places_table, self.erasures_table, self.deliveries_table]


def _hub(request: Request) -> Hub:
    hub: Hub = request.app.state.live
    return hub


def _board(request: Request) -> Board:
    board: Board = request.app.state.board
    return board


def _midnight(at: At) -> datetime:
    return at.words.local(at.now).replace(hour=0, minute=0, second=0, microsecond=0)


async def _looked(request: Request, at: At) -> dict[str, Any]:
    """What every form of the page shows."""
    number = await _hub(request).now(at.who.org)
    return await _figures(_board(request), at, number, _said(await _board(request).age()))


async def _figures(board: Board, at: At, number: int, age: Age | None) -> dict[str, Any]:
    figures = await board.figures(at.who.org, number, _midnight(at))
    return {"shown": Shown(figures, at.words), "figures": figures, "number": number, "age": age}


def _said(age: Age | None) -> Age | None:
    """What is fresh enough is no news."""
    return age if age is None or age.behind >= FRESH else Age(timedelta(0), age.parked)


@router.get("/dashboard")
async def dashboard(request: Request, at: Coordinator) -> Response:
    """The networks that my organisation coordinates, as they are now."""
    return at.page("notify/dashboards/dashboard.html", **await _looked(request, at), printed=False)


@router.get("/dashboard/now")
async def moving_part(request: Request, at: Coordinator) -> Response:
    """The part of the page that moves, made once for all of an organisation who look in the same language."""
    board, number = _board(request), await _hub(request).latest(at.who.org)
    age = _said(await board.age())

    async def make() -> str:
        return at.html("notify/dashboards/now.html", **await _figures(board, at, number, age), printed=False)

    key = (at.who.org, at.who.organisation, number, _midnight(at), at.words.language, age)
    return at.answer(await board.parts.get(key, make))


@router.get("/dashboard/print")
async def for_print(request: Request, at: Coordinator) -> Response:
    """The same, still, with every table open."""
    return at.page("notify/dashboards/print.html", **await _looked(request, at), printed=True)


@router.get("/dashboard.csv")
async def as_table(request: Request, at: Coordinator) -> Response:
    """The figures of the page, as they may be said, for a spreadsheet."""
    looked = await _looked(request, at)
    name = f"spean-{looked['figures'].at:%Y%m%d-%H%M}.csv"
    head = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(_csv(looked["shown"].tables(), looked["figures"].at), 200, head, "text/csv; charset=utf-8")


def _csv(tables: Iterable[Table], at: datetime) -> str:
    """One line a number: table, row, column, what is said. Begins with the mark by which spreadsheets know UTF-8."""
    written = io.StringIO()
    lines = csv.writer(written)
    lines.writerow(["table", "row", "column", "said", "at"])
    for table in tables:
        for row in table.rows:
            for head, said in zip(table.heads, row.said, strict=True):
                if said:
                    lines.writerow([table.name, row.label, head, said, at.isoformat(timespec="minutes")])
    return "\ufeff" + written.getvalue()


@router.get("/live")
async def live(request: Request) -> Response:
    """Says when something has changed."""
    return await stream_for(request, SCOPE)
