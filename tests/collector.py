"""A real receiver of OTLP over HTTP for tests: what came, as bytes and as spans and numbers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Told:
    """One span. `parent` is empty for the first of a trace."""

    name: str
    trace: str
    id: str
    parent: str
    started: int
    attributes: Mapping[str, Any]
    events: int
    status: str


@dataclass
class Collector:
    """Before `goes_on` is set, it takes requests and does not answer them."""

    url: str = ""
    spans: list[Told] = field(default_factory=list)
    numbers: dict[str, list[tuple[Mapping[str, Any], float]]] = field(default_factory=dict)
    traces_raw: bytes = b""
    metrics_raw: bytes = b""
    requests: int = 0
    goes_on: threading.Event = field(default_factory=threading.Event)

    def take(self, path: str, body: bytes) -> None:
        self.requests += 1
        self.goes_on.wait()
        if path == "/v1/traces":
            self.traces_raw += body
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    self.spans += [_told(one) for one in scope.spans]
        elif path == "/v1/metrics":
            self.metrics_raw += body
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in resource.scope_metrics:
                    self.numbers.update({one.name: list(_points(one)) for one in scope.metrics})

    def trace_along(self, *ways: list[str]) -> list[Told]:
        """The trace that goes all of these ways (`ways_to`), in the order in which its spans began; none: an empty list."""
        traces: dict[str, list[Told]] = {}
        for one in self.spans:
            traces.setdefault(one.trace, []).append(one)
        for trace in traces.values():
            if all(way in Collector(spans=trace).ways_to(way[-1]) for way in ways):
                return sorted(trace, key=lambda one: one.started)
        return []

    def trace_of(self, name: str) -> list[Told]:
        """The trace that the last span of this name belongs to, in the order in which its spans began."""
        trace = next((one.trace for one in reversed(self.spans) if one.name == name), None)
        return sorted((one for one in self.spans if one.trace == trace), key=lambda one: one.started)

    def ways_to(self, name: str) -> list[list[str]]:
        """To each span of this name, from the first of its trace downwards; none began before the one above it."""
        by_id, ways = {one.id: one for one in self.spans}, []
        for last in (one for one in self.spans if one.name == name):
            way = [last]
            while (above := by_id.get(way[0].parent)) is not None:
                way.insert(0, above)
            assert [one.started for one in way] == sorted(one.started for one in way)
            ways.append([one.name for one in way])
        return ways

    def number(self, name: str, **words: str) -> float | None:
        """A number beside these words (dots as underscores)."""
        found = [
            value for attributes, value in self.numbers.get(name, [])
            if words.items() <= {key.replace(".", "_"): text for key, text in attributes.items()}.items()
        ]  # fmt: skip
        return sum(found) if found else None


def _told(one: Any) -> Told:
    attributes = {pair.key: _value(pair.value) for pair in one.attributes}
    return Told(
        one.name, one.trace_id.hex(), one.span_id.hex(), one.parent_span_id.hex(), one.start_time_unix_nano, attributes,
        len(one.events), one.status.message,
    )  # fmt: skip


def _points(metric: Any) -> Iterator[tuple[Mapping[str, Any], float]]:
    kind = metric.WhichOneof("data")
    for point in getattr(metric, kind).data_points:
        attributes = {pair.key: _value(pair.value) for pair in point.attributes}
        yield attributes, point.count if kind == "histogram" else point.as_double or point.as_int


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


@contextmanager
def collecting(*, answers: bool = True) -> Iterator[Collector]:
    collector = Collector()
    if answers:
        collector.goes_on.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield collector
    finally:
        collector.goes_on.set()
        server.shutdown()
        server.server_close()
        thread.join()
