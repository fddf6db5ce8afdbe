"""A figure: what was measured, beside what, how often, and whether it is where it should be."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass
class Figure:
    """`ours` and `floor` hold one number for each repeat, in `unit`. `better`: whether more or less of it is good.

    `target` is a ratio to the floor where there is a floor, else a number in `unit`; None where none was set. `limit`: a
    number in `unit`, whatever the floor is; then there is no target.
    """

    name: str
    bus: str
    unit: str
    better: Literal["more", "less"]
    beside: str
    target: float | None = None
    limit: float | None = None
    ours: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.ours)

    @property
    def floor_median(self) -> float | None:
        return statistics.median(self.floor) if self.floor else None

    @property
    def ratio(self) -> float | None:
        """Of the medians: ours to the floor."""
        return self.median / self.floor_median if self.floor_median else None

    @property
    def met(self) -> bool | None:
        """None where there is no target."""
        asked = self.target if self.limit is None else self.limit
        if asked is None:
            return None
        reached = self.median if self.ratio is None or self.limit is not None else self.ratio
        return reached >= asked if self.better == "more" else reached <= asked


def at_quantile(values: Sequence[float], quantile: float) -> float:
    """The value below which this share (0 to 1) of them lies."""
    return sorted(values)[min(int(len(values) * quantile), len(values) - 1)]
