"""Logs and spans that can be shown to anybody: what may appear in them is listed here, everything else is left out."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import PurePath
from types import TracebackType
from uuid import UUID

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

log = logging.getLogger(__name__)

# Attributes that a log line or a span may carry. Ids of referrals and organisations are the work's; none is a person's.
ALLOWED = frozenset(
    {
        "service", "role", "event", "event_type", "error_class", "sqlstate", "route", "method", "status", "duration_ms",
        "topic", "partition", "offset", "count", "kind", "tries", "holder", "name", "address", "folder", "reason", "rule",
    }
)  # fmt: skip

_tracer = trace.get_tracer("spean")


class _JsonLines(logging.Formatter):
    """One JSON object a line. Messages are fixed texts; values come through `extra` and the allow-list; an exception
    becomes its class and the places it passed, never its text."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        line.update({name: value for name, value in record.__dict__.items() if name in ALLOWED and name != "name"})
        if record.exc_info and record.exc_info[0]:
            line["error_class"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            line["at"] = [f"{frame.name}:{frame.lineno}" for frame in frames[-6:]]
        return json.dumps(line, ensure_ascii=False, default=_value)


def _value(value: object) -> str:
    """Ids and times as text; of anything else its class."""
    return str(value) if isinstance(value, (UUID, datetime, PurePath)) else type(value).__name__


def _message(record: logging.LogRecord) -> str:
    """The fixed text: ours, or another library's template. Where there is nothing left to fill in, another library may
    have filled it in before (asyncio puts whole exceptions into its messages): then only the place it was written at."""
    if isinstance(record.msg, str) and (_ours(record) or record.args):
        return record.msg[:200]
    return f"{record.module}:{record.lineno}"


def _ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in {"spean", "services", "schemas", "deploy"}


class _Foreign(logging.Filter):
    """Other libraries speak only from warning upwards: aiokafka logs payloads at DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or _ours(record)


def set_up_logs(level: str = "INFO") -> None:
    """Send logs of the whole process to standard error, as JSON lines; also of the fault that ends it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    handler.addFilter(_Foreign())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("uvicorn.access").disabled = True
    sys.excepthook = _last_words


def _last_words(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        log.critical("ended by a fault", exc_info=(kind, error, at))


@contextmanager
def span(name: str, kind: SpanKind = SpanKind.INTERNAL, **attributes: str | int) -> Iterator[Span]:
    """A span of ours. Attributes outside the allow-list raise KeyError; errors are recorded by class only."""
    refused = attributes.keys() - ALLOWED
    if refused:
        raise KeyError(*sorted(refused))
    with _tracer.start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except BaseException as error:
            current.set_attribute("error_class", type(error).__name__)
            current.set_status(trace.StatusCode.ERROR)
            raise


def traceparent() -> str | None:
    """The current span as a W3C traceparent, or None where nothing is traced."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
