"""Spans of our own, and the one text by which a trace goes on elsewhere (W3C `traceparent`).

A trace goes through outbox rows, event headers, due rows and signed questions, and stays within one organisation
(`docs/decisions/0019-traces.md`): nobody's header begins or continues one here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, Tracer

from spean.telemetry.words import named


@dataclass(slots=True)
class _Tracing:
    """Set by `export.start`: what makes spans, and does a trace go on from one service to the next?"""

    tracer: Tracer
    through: bool


tracing = _Tracing(trace.get_tracer("spean"), through=False)


class Marks:
    """What the block of a span may say about it."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def set(self, **attributes: object) -> None:
        """Raises KeyError for an attribute that is not listed."""
        self._span.set_attributes(named(attributes))


@contextmanager
def span(
    name: str, kind: SpanKind = SpanKind.INTERNAL, *, parent: str | None = None, **attributes: object
) -> Iterator[Marks]:
    """The first span of a trace, or the next one of `parent` (a traceparent of ours). Attributes outside the allow-list
    raise KeyError; errors are recorded by class only."""
    with _spanned(name, kind, _context(parent), attributes) as marks:
        yield marks


@contextmanager
def step(name: str, kind: SpanKind = SpanKind.INTERNAL, **attributes: object) -> Iterator[None]:
    """A span within the current one; where nothing is traced, none: what loops do in vain is not worth a trace."""
    if not trace.get_current_span().is_recording():
        yield
        return
    with _spanned(name, kind, None, attributes):
        yield


@contextmanager
def _spanned(name: str, kind: SpanKind, context: Context | None, attributes: dict[str, object]) -> Iterator[Marks]:
    with tracing.tracer.start_as_current_span(
        name, context, kind, named(attributes), record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield Marks(current)
        except BaseException as error:
            current.set_attributes(named({"error_class": type(error).__name__}))
            current.set_status(trace.StatusCode.ERROR)
            raise


@contextmanager
def answering(name: str, parent: object) -> Iterator[None]:
    """A question that another service of ours has asked within a trace, where it said which (signed)."""
    if not (tracing.through and isinstance(parent, str) and _read(parent) is not None):
        yield
        return
    with span(name, SpanKind.SERVER, parent=parent):
        yield


@contextmanager
def sending(topic: str, parents: Sequence[str | None]) -> Iterator[list[str | None]]:
    """Sending events that were written within these traces: one span each. Gives what each event carries on, which is
    nothing where traces stay within a service."""
    with ExitStack() as spans:
        sent: list[str | None] = []
        for parent in parents:
            within = None if parent is None else _read(parent)
            if within is None or not within.trace_flags.sampled:
                sent.append(carried(parent))
                continue
            said = {"system": "spean", "operation": "send", "topic": topic}
            one = tracing.tracer.start_span(f"send {topic}", _context(parent), SpanKind.PRODUCER, named(said))
            spans.callback(one.end)
            sent.append(carried(_written(one.get_span_context())))
        yield sent


@contextmanager
def processing(events: Iterable[tuple[str, str | None, UUID]]) -> Iterator[None]:
    """Taking in, together, events (type, traceparent, id) that were said within traces: one span each where a trace goes
    on, from the beginning of all to the end of all."""
    with ExitStack() as spans:
        for type_, parent, event in events:
            within = None if (parent := carried(parent)) is None else _read(parent)
            if within is not None and within.trace_flags.sampled:
                said = {"event": event, "event_type": type_, "operation": "process"}
                name, kind = f"process {type_}", SpanKind.CONSUMER
                one = tracing.tracer.start_span(name, _context(parent), kind, named(said))
                spans.callback(one.end)
        yield


def carried(parent: str | None) -> str | None:
    """What may go to another service, or be taken from one."""
    return parent if tracing.through else None


def traceparent() -> str | None:
    """The current span as a W3C traceparent, or None where nothing is traced."""
    return _written(trace.get_current_span().get_span_context())


def _written(context: SpanContext) -> str | None:
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _context(parent: str | None) -> Context:
    """Never what happens to be current: the first span of a trace has no parent."""
    remote = None if parent is None else _read(parent)
    return Context() if remote is None else trace.set_span_in_context(NonRecordingSpan(remote), Context())


def _read(parent: str) -> SpanContext | None:
    parts = parent.split("-")
    try:
        version, trace_id, span_id, flags = (int(part, 16) for part in parts)
    except ValueError:
        return None
    found = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags & 0xFF))
    return found if version == 0 and found.is_valid else None
