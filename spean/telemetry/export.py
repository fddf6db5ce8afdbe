"""Sending spans and metrics to a collector (OTLP over HTTP), and the metrics as Prometheus reads them.

Everything leaves from threads of its own, through queues with an end: a collector that is slow or away costs what did not
fit, and nothing of the product waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import requests
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, Status

from spean.telemetry import metrics, prometheus, spans
from spean.telemetry.words import NAMES, fit

log = logging.getLogger(__name__)

# One request to the collector, its retries included.
EXPORT_LIMIT_S = 5.0
SPANS_EVERY_MS, METRICS_EVERY_MS = 1_000, 10_000
# Some MB of spans; what comes while they wait is dropped.
QUEUE_SPANS = 8_192
# How long an ending process waits for the last of it.
CLOSE_S = 2.0
_NAME = re.compile(r"[a-z]+ ?[A-Za-z0-9_.{}/ -]{0,100}")
_LISTED = frozenset(NAMES.values())


@dataclass(frozen=True, slots=True)
class Whose:
    """The process that speaks: its services, its name among its equals."""

    services: Sequence[str]
    member: str

    def resource(self) -> Resource:
        name = f"spean-{self.services[0]}" if len(self.services) == 1 else "spean"
        said = {"service.name": name, "service.namespace": "spean", "service.instance.id": str(fit(self.member))}
        return Resource(said)


class Telemetry:
    """What `start` has begun; one in a process."""

    def __init__(self, tracer: TracerProvider | None, processor: BatchSpanProcessor | None, meter: MeterProvider,
                 inside: InMemoryMetricReader) -> None:  # fmt: skip
        self._tracer, self._processor, self._meter, self._inside = tracer, processor, meter, inside

    def text(self) -> str:
        """Every metric, in Prometheus' text format."""
        return prometheus.text(self._inside.get_metrics_data())

    async def flush(self) -> None:
        """Send what waits now, whole; for who looks at once."""
        if self._processor is not None:
            await asyncio.to_thread(self._processor.force_flush)
        await asyncio.to_thread(self._meter.force_flush)

    async def stop(self) -> None:
        """The last spans and metrics are given `CLOSE_S`; then they are lost."""
        spans.tracing.tracer, spans.tracing.through = trace.get_tracer("spean"), False
        metrics.end()
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            if self._processor is not None:
                self._processor.shutdown()  # type: ignore[no-untyped-call]
            self._meter.shutdown(timeout_millis=CLOSE_S * 1000)
            with suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(closed.set)

        # Not one of the loop's own threads: those are waited for at the end of the process.
        threading.Thread(target=close, name="telemetry ends", daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(closed.wait(), CLOSE_S)


def start(otlp: str, share: float, whose: Whose, *, through: bool) -> Telemetry:
    """Begin to measure, and to send to the collector at `otlp` (an address without a path; empty: nowhere). `share`: the part
    of all traces that is kept (0–1). `through`: a trace goes on from one service to the next. Raises RuntimeError where it
    has begun already."""
    if metrics.began():
        msg = "telemetry has begun already in this process"
        raise RuntimeError(msg)
    resource, inside = whose.resource(), InMemoryMetricReader()
    readers: list[MetricReader] = [inside]
    tracer = processor = None
    if otlp:
        sent = OTLPMetricExporter(f"{otlp}/v1/metrics", timeout=EXPORT_LIMIT_S, session=_session())
        readers.append(PeriodicExportingMetricReader(sent, METRICS_EVERY_MS, EXPORT_LIMIT_S * 1000))
        exporter = Listed(OTLPSpanExporter(f"{otlp}/v1/traces", timeout=EXPORT_LIMIT_S, session=_session()))
        processor = BatchSpanProcessor(exporter, QUEUE_SPANS, SPANS_EVERY_MS, 512, EXPORT_LIMIT_S * 1000)
        sampler = ParentBased(TraceIdRatioBased(share))
        tracer = TracerProvider(sampler, resource, shutdown_on_exit=False)
        tracer.add_span_processor(processor)
        spans.tracing.tracer, spans.tracing.through = tracer.get_tracer("spean"), through
    meter = MeterProvider(readers, resource, AlwaysOffExemplarFilter(), shutdown_on_exit=False)
    metrics.begin(meter.get_meter("spean"))
    return Telemetry(tracer, processor, meter, inside)


def _session() -> requests.Session:
    """Nothing of the environment but what it trusts: no credentials of a .netrc go to a collector."""
    made = requests.Session()
    made.auth = _no_credentials
    return made


def _no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class Listed(SpanExporter):
    """The last gate before spans leave: whoever made them, only listed attributes with fit values go out, no event (where
    exceptions would stand), no description of a status, no link's attribute, no name that is not of our making."""

    def __init__(self, next_: SpanExporter) -> None:
        self._next = next_

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._next.export([_listed(one) for one in spans])

    def shutdown(self) -> None:
        self._next.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._next.force_flush(timeout_millis)


def _listed(one: ReadableSpan) -> ReadableSpan:
    """The span itself where it is one of ours as it should be, which is nearly always."""
    if (
        all(name in _LISTED and fit(value) is value for name, value in (one.attributes or {}).items())
        and not one.events and not one.links and one.status.description is None and _NAME.fullmatch(one.name)
    ):  # fmt: skip
        return one
    kept = {name: fit(value) for name, value in (one.attributes or {}).items() if name in _LISTED}
    return ReadableSpan(
        one.name if _NAME.fullmatch(one.name) else "unnamed", one.context, one.parent, one.resource, kept,
        links=[Link(link.context) for link in one.links], kind=one.kind, status=Status(one.status.status_code),
        start_time=one.start_time, end_time=one.end_time, instrumentation_scope=one.instrumentation_scope,
    )  # fmt: skip
