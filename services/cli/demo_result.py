"""What a run of the demo found: each person's path, who read what, what was refused, and whether all of it was right."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to a person, `at_s` seconds after the day began."""

    at_s: float
    what: str


@dataclass(slots=True)
class Path:
    """One person's way through the day (a party has one way). `waits_s`: seconds from the request to each stage."""

    person: str
    story: str
    began: float
    handoff: str | None = None
    ended: str = ""
    broken: bool = False
    steps: list[Step] = field(default_factory=list)
    waits_s: dict[str, float] = field(default_factory=dict)
    requested: float | None = None

    def tell(self, tell: Callable[[Path], object], what: str) -> None:
        """Note a step, and say so."""
        self.steps.append(Step(round(time.monotonic() - self.began, 2), what))
        tell(self)

    def reached(self, stage: str) -> None:
        """A stage after the request: offered, accepted, ready, arrived."""
        if self.requested is not None and stage not in self.waits_s:
            self.waits_s[stage] = round(time.monotonic() - self.requested, 3)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that the API refused: who asked for what, the problem's code, the gate's rule where one is named."""

    person: str
    who: str
    what: str
    code: str
    rule: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gate answered one organisation about one person at one stage, `times` times alike: which of the fields that
    the person's record holds it might read, and which not, by the rule that refused."""

    person: str
    recipient: str
    stage: str
    fields: tuple[str, ...]
    refused: dict[str, tuple[str, ...]]
    times: int


@dataclass(frozen=True, slots=True)
class Expectation:
    person: str
    what: str
    held: bool


@dataclass(slots=True)
class Result:
    """One run. `ok` only where everything that was expected has happened."""

    network: str = ""
    seconds: float = 0.0
    group: dict[str, Any] = field(default_factory=dict)
    file: dict[str, Any] | None = None
    paths: list[Path] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    expectations: list[Expectation] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return bool(self.expectations) and all(one.held for one in self.expectations)
