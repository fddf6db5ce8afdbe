"""Pictures of numbers, drawn on the server as SVG: flow, dots, bars, map.

Pure functions: words come translated, numbers are said by the caller, colours are classes of the style sheet
(`charts.css`), nothing is inline style. Every picture has a title and a text that says all its numbers.
"""

from spean.web.charts.bars import Bar, bars
from spean.web.charts.dots import Answer, Tick, dots
from spean.web.charts.drawing import Saying
from spean.web.charts.flow import Ended, Stage, flow
from spean.web.charts.province_map import Legend, province_map

__all__ = [
    "Answer",
    "Bar",
    "Ended",
    "Legend",
    "Saying",
    "Stage",
    "Tick",
    "bars",
    "dots",
    "flow",
    "province_map",
]
