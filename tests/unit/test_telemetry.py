"""Nothing that was said about anybody reaches a log line or a span."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link

from spean import telemetry
from spean.settings import Settings
from spean.telemetry import set_up_logs, span, traceparent
from spean.telemetry.export import Listed, Whose, start
from spean.telemetry.metrics import NUMBERS

CANARY = "canary-c41d"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the process would write to standard error."""
    root = logging.getLogger()
    before, level, hook = root.handlers[:], root.level, sys.excepthook
    set_up_logs("DEBUG")
    written = io.StringIO()
    handler = root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)
    yield written
    root.handlers, sys.excepthook = before, hook
    root.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = False


def only(written: io.StringIO, logger: str | None = None) -> dict[str, object]:
    """The one line that was written (by this logger: others may have something to say meanwhile)."""
    lines: list[dict[str, object]] = [json.loads(line) for line in written.getvalue().splitlines()]
    (found,) = (line for line in lines if logger in {None, line["logger"]})
    return found


def test_an_exception_is_its_class_and_its_places(lines: io.StringIO) -> None:
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as inner:
            raise ValueError(CANARY, {"name": CANARY}) from inner
    except ValueError:
        logging.getLogger("spean.test").exception("it went wrong")
    line = only(lines)
    assert (line["message"], line["error_class"], line["level"]) == ("it went wrong", "ValueError", "error")
    assert line["at"] == [f"test_an_exception_is_its_class_and_its_places:{place}" for place in _numbers(line)]
    assert CANARY not in lines.getvalue()


def _numbers(line: dict[str, object]) -> list[str]:
    places = line["at"]
    assert isinstance(places, list)
    return [place.rpartition(":")[2] for place in places]


def test_arguments_stay_out(lines: io.StringIO) -> None:
    for logger in ("spean.test", "aiokafka.test", "services.test"):
        logging.getLogger(logger).warning("a value: %s", CANARY)
    told = [json.loads(line)["message"] for line in lines.getvalue().splitlines()]
    assert told == ["a value: %s"] * 3
    assert CANARY not in lines.getvalue()


def test_another_librarys_finished_sentence_is_only_placed(lines: io.StringIO) -> None:
    logging.getLogger("some.library").warning(f"a value: {CANARY}")  # noqa: G004 (as some libraries do)
    logging.getLogger("some.library").warning(ValueError(CANARY))
    logging.getLogger("spean.test").warning(ValueError(CANARY))
    for line in lines.getvalue().splitlines():
        assert json.loads(line)["message"].startswith("test_telemetry:")
    assert CANARY not in lines.getvalue()


def test_only_listed_attributes_and_plain_values(lines: io.StringIO) -> None:
    id_ = uuid4()
    more = {"error_class": "X", "name_of_person": CANARY, "holder": id_, "reason": ValueError(CANARY), "count": 3}
    logging.getLogger("spean.test").info("done", extra=more)
    line = only(lines)
    assert (line["error_class"], line["holder"], line["reason"], line["count"]) == ("X", str(id_), "ValueError", 3)
    assert CANARY not in lines.getvalue()


def test_other_libraries_are_heard_from_warnings_upwards(lines: io.StringIO) -> None:
    for logger in ("aiokafka.consumer", "asyncio", "uvicorn.error"):
        logging.getLogger(logger).info("payload %s", CANARY)
        logging.getLogger(logger).debug("payload %s", CANARY)
    assert lines.getvalue() == ""
    logging.getLogger("spean.test").info("ours")
    assert only(lines)["message"] == "ours"
    # Whatever the process is set to, aiokafka never speaks at DEBUG.
    assert not logging.getLogger("aiokafka.producer").isEnabledFor(logging.DEBUG)


async def test_a_task_that_nobody_asked_about(lines: io.StringIO) -> None:
    """asyncio puts the whole exception into its message."""

    async def fails() -> None:
        raise ValueError(CANARY)

    task = asyncio.create_task(fails())
    await asyncio.wait({task})
    del task
    gc.collect()
    line = only(lines, "asyncio")
    assert (line["logger"], line["level"], line["error_class"]) == ("asyncio", "error", "ValueError")
    assert CANARY not in lines.getvalue()


def test_the_fault_that_ends_the_process_is_told_by_class() -> None:
    program = f"from spean.telemetry import set_up_logs; set_up_logs(); raise ValueError('{CANARY}')"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert json.loads(ended.stderr)["error_class"] == "ValueError"
    assert CANARY not in ended.stderr


class TestSpans:
    @pytest.fixture
    def spans(self) -> InMemorySpanExporter:
        """One for the process: OpenTelemetry lets it be set once."""
        exporter = InMemorySpanExporter()
        if not isinstance(trace.get_tracer_provider(), TracerProvider):
            trace.set_tracer_provider(TracerProvider())
        provider = trace.get_tracer_provider()
        assert isinstance(provider, TracerProvider)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        return exporter

    def test_an_attribute_that_is_not_listed_is_refused(self, spans: InMemorySpanExporter) -> None:
        with pytest.raises(KeyError, match="person"), span("test", person=CANARY):
            pass
        assert spans.get_finished_spans() == ()

    def test_an_error_is_its_class(self, spans: InMemorySpanExporter) -> None:
        with pytest.raises(ValueError, match=CANARY), span("test", count=2):
            raise ValueError(CANARY)
        (done,) = spans.get_finished_spans()
        assert dict(done.attributes or {}) == {"messaging.batch.message_count": 2, "error.type": "ValueError"}
        assert not done.events
        assert CANARY not in done.to_json()

    def test_a_trace_can_be_handed_on(self, spans: InMemorySpanExporter) -> None:
        assert traceparent() is None
        with span("test"):
            handed = traceparent()
        (done,) = spans.get_finished_spans()
        assert handed is not None
        version, trace_id, span_id, _ = handed.split("-")
        assert (version, int(trace_id, 16), int(span_id, 16)) == ("00", done.context.trace_id, done.context.span_id)


def test_no_id_of_a_person_is_among_what_is_listed() -> None:
    assert not {"entry", "person", "case", "value", "body", "key", "email"} & telemetry.ALLOWED


class TestTheLastGate:
    def test_whoever_made_it_only_what_is_listed_leaves(self) -> None:
        """A library that was given our tracer, or a slip of ours past the wrapper."""
        exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(Listed(exporter)))
        tracer = provider.get_tracer("another")
        with tracer.start_as_current_span("first") as first:
            pass
        link = Link(first.get_span_context(), {"person": CANARY})

        def goes_wrong() -> None:
            with tracer.start_as_current_span(f"Canary {CANARY}", links=[link]) as one:
                one.set_attributes(
                    {"http.route": "/entries/{entry}", "person": CANARY, "spean.reason": f"said {CANARY}"}
                )
                one.add_event(CANARY, {"person": CANARY})
                raise ValueError(CANARY)

        with pytest.raises(ValueError, match=CANARY):
            goes_wrong()
        done = exporter.get_finished_spans()[-1]
        assert (done.name, dict(done.attributes or {})) == (
            "unnamed", {"http.route": "/entries/{entry}", "spean.reason": "unfit"},
        )  # fmt: skip
        assert (done.status.status_code, done.status.description, done.events) == (trace.StatusCode.ERROR, None, ())
        assert CANARY not in done.to_json()


class TestNumbers:
    def test_only_those_in_the_table_with_their_own_words(self) -> None:
        for name, words in (
            ("spean.people", {}), ("spean.deliveries", {}), ("spean.deliveries", {"outcome": "sent", "topic": "x"}),
            ("spean.deliveries", {"organisation": uuid4()}),
        ):  # fmt: skip
            with pytest.raises(KeyError):
                telemetry.add(name, **words)
        telemetry.add("spean.deliveries", outcome="sent")  # nobody looks: nothing happens

    def test_no_word_beside_a_number_names_one_of_many(self) -> None:
        """An id beside a number would make one series for each, and a trace of whom it is about."""
        assert {word for number in NUMBERS.values() for word in number.words} <= {
            "service", "topic", "partition", "method", "route", "status", "pool", "outcome", "rule", "stage", "kind",
            "state", "holder", "reason",
        }  # fmt: skip

    async def test_as_prometheus_reads_them(self) -> None:
        begun = start("", 1.0, Whose(["notify"], 'one "host"'), through=True)
        try:
            telemetry.add("spean.deliveries", 2, outcome='of "two"')
            telemetry.record("spean.delivery.age", 0.07, outcome="sent")
            telemetry.show("spean.outbox.age", 3.5, service="notify")
            telemetry.show("spean.due.age", 9, service="notify", kind="gone")
            telemetry.forget(["spean.due.age"], service="notify")
            lines = begun.text().splitlines()
        finally:
            await begun.stop()
        assert 'spean_deliveries_total{spean_outcome="unfit"} 2' in lines
        assert "# TYPE spean_delivery_age_seconds histogram" in lines
        buckets = [line for line in lines if line.startswith('spean_delivery_age_seconds_bucket{le="')]
        assert [line.partition('le="')[2] for line in buckets[:3]] == [
            '0.01",spean_outcome="sent"} 0', '0.05",spean_outcome="sent"} 0', '0.1",spean_outcome="sent"} 1',
        ]  # fmt: skip
        assert buckets[-1] == 'spean_delivery_age_seconds_bucket{le="+Inf",spean_outcome="sent"} 1'
        assert 'spean_outbox_age_seconds{spean_service="notify"} 3.5' in lines
        assert not [line for line in lines if "spean_due_age" in line and not line.startswith("#")]
        assert (
            'target_info{service_instance_id="unfit",service_name="spean-notify",service_namespace="spean"} 1' in lines
        )
        telemetry.add("spean.deliveries", outcome="sent")  # over again


def test_a_line_within_a_trace_says_which(lines: io.StringIO) -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("here")
    with tracer.start_as_current_span("here") as one:
        logging.getLogger("spean.test").info("within")
    assert only(lines)["trace_id"] == f"{one.get_span_context().trace_id:032x}"


@pytest.mark.parametrize(
    ("said", "on"),
    [
        ({}, True), ({"holders": {"main": "https://a.example"}}, True),
        ({"holders": {"main": "https://a.example", "other": "https://b.example"}}, False),
        ({"holders": {"other": "https://b.example"}}, False), ({"one_operator": False}, False),
        ({"holders": {"other": "https://b.example"}, "one_operator": True}, True),
    ],
)  # fmt: skip
def test_a_trace_goes_on_where_there_is_one_holder_or_one_organisation(said: dict[str, Any], *, on: bool) -> None:
    assert Settings(**said).traces_go_on is on
