"""Numbers about the work: every one that there is, its unit and the words that may stand beside it.

What happens is counted where it happens (`add`, `record`); what stands in databases and on the bus is measured now and then
and shown (`show`). Without `export.start` both cost nothing and say nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation

from spean.telemetry.words import NAMES, fit

# A number that was not measured for so long is not shown: a stale one would look like a calm one.
STALE_S = 60.0
_QUICK_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW_S = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3_600.0, 14_400.0)


class Shape(Enum):
    COUNTED = "counter"
    TIMED = "histogram"
    MEASURED = "gauge"


@dataclass(frozen=True, slots=True)
class Number:
    """`words` are ours (`words.NAMES`); each has few values. `known`: values of the only word, counted from nought at the
    start: a count that begins with its first one has not risen for who looks."""

    shape: Shape
    unit: str
    about: str
    words: frozenset[str] = frozenset()
    steps: tuple[float, ...] = ()
    known: tuple[str, ...] = ()


def _of(
    shape: Shape, unit: str, about: str, words: str = "", steps: tuple[float, ...] = (), known: tuple[str, ...] = ()
) -> Number:
    return Number(shape, unit, about, frozenset(words.split()), steps, known)


NUMBERS: Mapping[str, Number] = {
    "http.server.request.duration": _of(Shape.TIMED, "s", "Answers, by template of the route", "method route status", _QUICK_S),
    "db.client.connection.wait_time": _of(Shape.TIMED, "s", "Waiting for a connection", "service pool", _QUICK_S),
    "messaging.client.sent.messages": _of(Shape.COUNTED, "{message}", "Events carried to the bus", "service topic"),
    "messaging.client.consumed.messages": _of(
        Shape.COUNTED, "{message}", "Events taken from the bus, and what became of them", "service topic outcome"
    ),
    "spean.event.delay": _of(Shape.TIMED, "s", "From what happened to its effect elsewhere", "service", _SLOW_S),
    "spean.gate.refusals": _of(Shape.COUNTED, "{field}", "Fields that the gate refused, by rule", "rule stage"),
    "spean.erased": _of(
        Shape.COUNTED, "{person}", "People whose key was destroyed, by why", "reason",
        known=("person_asked", "not_concerned", "mistake", "retention", "key_destroyed"),
    ),
    "spean.copies": _of(
        Shape.COUNTED, "{copy}", "Copies that others were asked to erase, by what became of them", "outcome",
        known=("erased", "restricted", "retained_by_law", "nothing_held", "overdue"),
    ),
    "spean.copies.refused": _of(Shape.COUNTED, "{statement}", "Statements about copies that do not count, by why", "reason"),
    "spean.deliveries": _of(
        Shape.COUNTED, "{delivery}", "Deliveries tried, and what became of them", "outcome",
        known=("sent", "failed", "parked", "lapsed", "no-address"),
    ),
    "spean.delivery.age": _of(Shape.TIMED, "s", "From the reason to tell to the end of it", "outcome", _SLOW_S),
    "spean.questions.unanswered": _of(Shape.COUNTED, "{question}", "Questions to holders without a usable answer", "holder"),
    "spean.keystore.silent": _of(Shape.COUNTED, "{request}", "Requests that the key store did not answer"),
    "spean.due.failures": _of(Shape.COUNTED, "{call}", "Due handlers that failed and are called again", "service kind"),
    "spean.outbox.length": _of(Shape.MEASURED, "{event}", "Events written and not on the bus yet", "service"),
    "spean.outbox.age": _of(Shape.MEASURED, "s", "Age of the oldest of them", "service"),
    "spean.consumer.lag": _of(Shape.MEASURED, "{event}", "Events on the bus and not read yet", "service topic partition"),
    "spean.parked.keys": _of(Shape.MEASURED, "{key}", "Referrals and others that wait behind an event that failed", "service"),
    "spean.due.overdue": _of(Shape.MEASURED, "{row}", "Due rows whose time has passed", "service kind"),
    "spean.due.age": _of(Shape.MEASURED, "s", "How long the latest of them is over", "service kind"),
    "spean.deliveries.waiting": _of(Shape.MEASURED, "{delivery}", "Deliveries that are not finished", "state"),
    "spean.deliveries.age": _of(Shape.MEASURED, "s", "Age of the oldest of them", "state"),
    "spean.measured.time": _of(Shape.MEASURED, "s", "When this was last measured, since 1970", "service"),
}  # fmt: skip
Words = frozenset[tuple[str, str | int | float | bool]]


class _Book:
    """The instruments, once there are any, and what was measured last."""

    def __init__(self) -> None:
        self.counters: dict[str, Counter] = {}
        self.histograms: dict[str, Histogram] = {}
        self.measured: dict[str, dict[Words, tuple[float, float]]] = {}


_book = _Book()


def began() -> bool:
    """Does anybody look?"""
    return bool(_book.counters)


def begin(meter: Meter) -> None:
    """Make every instrument of the table."""
    for name, number in NUMBERS.items():
        if number.shape is Shape.COUNTED:
            counter = _book.counters[name] = meter.create_counter(name, number.unit, number.about)
            nought: list[dict[str, object]] = [{word: value} for word in number.words for value in number.known]
            for words in nought if number.words else [{}]:
                counter.add(0, dict(_beside(name, words)))
        elif number.shape is Shape.TIMED:
            _book.histograms[name] = meter.create_histogram(
                name, number.unit, number.about, explicit_bucket_boundaries_advisory=number.steps
            )
        else:
            _book.measured[name] = {}
            meter.create_observable_gauge(name, [_Look(name)], number.unit, number.about)


def end() -> None:
    _book.counters.clear()
    _book.histograms.clear()
    _book.measured.clear()


def add(name: str, count: int = 1, **words: object) -> None:
    """Raises KeyError for a number or a word that is not in the table."""
    beside = _beside(name, words)
    if name in _book.counters:
        _book.counters[name].add(count, dict(beside))


def record(name: str, seconds: float, **words: object) -> None:
    """Raises KeyError, as above."""
    beside = _beside(name, words)
    if name in _book.histograms:
        _book.histograms[name].record(seconds, dict(beside))


def show(name: str, value: float, **words: object) -> None:
    """What was measured now. Raises KeyError, as above."""
    beside = _beside(name, words)
    if name in _book.measured:
        _book.measured[name][beside] = (value, time.monotonic())


def forget(names: Iterable[str], **words: object) -> None:
    """Before measuring anew: what is not there any more is not shown any more."""
    for name in names:
        kept = _book.measured.get(name, {})
        wanted = {(NAMES[word], fit(value)) for word, value in words.items()}
        for beside in [one for one in kept if wanted <= one]:
            del kept[beside]


def _beside(name: str, words: Mapping[str, object]) -> Words:
    if words.keys() != NUMBERS[name].words:
        raise KeyError(name, *sorted(words.keys() ^ NUMBERS[name].words))
    return frozenset((NAMES[word], fit(value)) for word, value in words.items())


class _Look:
    """Gives what was measured last, as long as it is fresh; called from the exporter's thread."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, _: CallbackOptions) -> list[Observation]:
        oldest = time.monotonic() - STALE_S
        kept = list(_book.measured.get(self._name, {}).items())
        return [Observation(value, dict(beside)) for beside, (value, at) in kept if at >= oldest]
