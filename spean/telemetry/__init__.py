"""What an operator may see of the running house: logs, spans and metrics. What may appear in them is listed in `words` and
`metrics`; everything else is refused or left out."""

from __future__ import annotations

from spean.telemetry.logs import set_up_logs
from spean.telemetry.metrics import add, began, forget, record, show
from spean.telemetry.spans import answering, carried, processing, sending, span, step, traceparent
from spean.telemetry.words import ALLOWED

__all__ = [
    "ALLOWED", "add", "answering", "began", "carried", "forget", "processing", "record", "sending", "set_up_logs", "show", "span",
    "step", "traceparent",
]  # fmt: skip
