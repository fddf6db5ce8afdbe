"""Metrics as Prometheus reads them (text format 0.0.4), named as an OpenTelemetry collector names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opentelemetry.sdk.metrics.export import HistogramDataPoint, Metric, MetricsData, NumberDataPoint, Sum

_UNITS = {"s": "_seconds"}


def text(data: MetricsData | None) -> str:
    lines: list[str] = []
    for resource in data.resource_metrics if data else ():
        lines += ["# TYPE target_info gauge", f"target_info{_labels(resource.resource.attributes)} 1"]
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                lines += _metric(metric)
    return "".join(f"{line}\n" for line in lines)


def _metric(metric: Metric) -> Iterator[str]:
    name = metric.name.replace(".", "_") + _UNITS.get(metric.unit or "", "")
    counted = isinstance(metric.data, Sum)
    points: Sequence[Any] = metric.data.data_points
    kind = (
        "counter" if counted else "histogram" if any(isinstance(one, HistogramDataPoint) for one in points) else "gauge"
    )
    name += "_total" if counted else ""
    yield f"# HELP {name} {metric.description}"
    yield f"# TYPE {name} {kind}"
    for point in points:
        if isinstance(point, HistogramDataPoint):
            yield from _histogram(name, point)
        elif isinstance(point, NumberDataPoint):
            yield f"{name}{_labels(point.attributes)} {point.value}"


def _histogram(name: str, point: HistogramDataPoint) -> Iterator[str]:
    below = 0
    for limit, count in zip([*point.explicit_bounds, "+Inf"], point.bucket_counts, strict=True):
        below += count
        yield f"{name}_bucket{_labels(point.attributes, le=str(limit))} {below}"
    yield f"{name}_sum{_labels(point.attributes)} {point.sum}"
    yield f"{name}_count{_labels(point.attributes)} {point.count}"


def _labels(attributes: Mapping[str, Any] | None, **more: str) -> str:
    said = {name.replace(".", "_"): str(value) for name, value in (attributes or {}).items()} | more
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(said.items()))
    return f"{{{inner}}}" if inner else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
