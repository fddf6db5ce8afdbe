"""JSON lines that can be shown to anybody."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType

from opentelemetry import trace

from spean.telemetry.words import ALLOWED, plain

log = logging.getLogger(__name__)


class JsonLines(logging.Formatter):
    """One JSON object a line. Messages are fixed texts; values come through `extra` and the allow-list; an exception
    becomes its class and the places it passed, never its text. Written within a trace, it says which."""

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
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"], line["span_id"] = f"{context.trace_id:032x}", f"{context.span_id:016x}"
        return json.dumps(line, ensure_ascii=False, default=plain)


def _message(record: logging.LogRecord) -> str:
    """The fixed text: ours, or another library's template. Where there is nothing left to fill in, another library may
    have filled it in before (asyncio puts whole exceptions into its messages): then only the place it was written at."""
    if isinstance(record.msg, str) and (_ours(record) or record.args):
        return record.msg[:200]
    return f"{record.module}:{record.lineno}"


def _ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in {"spean", "services", "schemas", "deploy"}


class Foreign(logging.Filter):
    """Other libraries speak only from warning upwards: aiokafka logs payloads at DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or _ours(record)


def set_up_logs(level: str = "INFO") -> None:
    """Send logs of the whole process to standard error, as JSON lines; also of the fault that ends it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(Foreign())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("uvicorn.access").disabled = True
    sys.excepthook = _last_words


def _last_words(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        log.critical("ended by a fault", exc_info=(kind, error, at))
