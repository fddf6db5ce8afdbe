"""The Grafana dashboard as code: `python -m deploy.telemetry.dashboard` writes dashboard.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("dashboard.json")
# Processes of one service measure the same: the largest counts.
_LAG = "max by (spean_service, messaging_destination_name, messaging_destination_partition_id) (spean_consumer_lag)"
_P99 = "histogram_quantile(0.99, sum by (le, {by}) (rate({name}_bucket[5m])))"


def _quantile(name: str, by: str) -> str:
    return _P99.format(name=name, by=by)


# (title, unit, expression, what each line is called); two beside each other, in the order of the line.
PANELS = [
    ("Answers per second", "reqps", "sum by (http_route) (rate(http_server_request_duration_seconds_count[5m]))", "{{http_route}}"),
    ("Answers: 99 of 100 within", "s", _quantile("http_server_request_duration_seconds", "http_route"), "{{http_route}}"),
    ("Answers that are faults (5xx)", "reqps", 'sum by (http_route) (rate(http_server_request_duration_seconds_count{http_response_status_code=~"5.."}[5m]))', "{{http_route}}"),
    ("Waiting for a database connection: 99 of 100 within", "s", _quantile("db_client_connection_wait_time_seconds", "spean_service, db_client_connection_pool_name"), "{{spean_service}} {{db_client_connection_pool_name}}"),
    ("Written and not on the bus: age of the oldest", "s", "max by (spean_service) (spean_outbox_age_seconds)", "{{spean_service}}"),
    ("Written and not on the bus: events", "short", "max by (spean_service) (spean_outbox_length)", "{{spean_service}}"),
    ("On the bus and not read", "short", f"sum by (spean_service, messaging_destination_name) ({_LAG})", "{{spean_service}} ← {{messaging_destination_name}}"),
    ("From what happened to its effect elsewhere: 99 of 100 within", "s", _quantile("spean_event_delay_seconds", "spean_service"), "{{spean_service}}"),
    ("Events sent", "cps", "sum by (messaging_destination_name) (rate(messaging_client_sent_messages_total[5m]))", "{{messaging_destination_name}}"),
    ("Events taken in", "cps", "sum by (spean_service, spean_outcome) (rate(messaging_client_consumed_messages_total[5m]))", "{{spean_service}} {{spean_outcome}}"),
    ("Keys that stand still (parked)", "short", "max by (spean_service) (spean_parked_keys)", "{{spean_service}}"),
    ("Due and not done: age of the oldest", "s", "max by (spean_service, spean_due_kind) (spean_due_age_seconds)", "{{spean_service}} {{spean_due_kind}}"),
    ("Due handlers that failed", "cps", "sum by (spean_service, spean_due_kind) (rate(spean_due_failures_total[5m]))", "{{spean_service}} {{spean_due_kind}}"),
    ("Questions to holders without an answer", "cps", "sum by (spean_holder) (rate(spean_questions_unanswered_total[5m]))", "{{spean_holder}}"),
    ("Fields that the gate refused in an hour, by rule", "short", "sum by (spean_gate_rule) (increase(spean_gate_refusals_total[1h]))", "{{spean_gate_rule}}"),
    ("Requests that the key store did not answer", "cps", "sum (rate(spean_keystore_silent_total[5m]))", "key store"),
    ("Deliveries in an hour, by outcome", "short", "sum by (spean_outcome) (increase(spean_deliveries_total[1h]))", "{{spean_outcome}}"),
    ("People erased in a day, by why", "short", "sum by (spean_reason) (increase(spean_erased_total[1d]))", "{{spean_reason}}"),
    ("Copies in a day, by what became of them", "short", "sum by (spean_outcome) (increase(spean_copies_total[1d]))", "{{spean_outcome}}"),
    ("Statements about copies that were refused, by why", "short", "sum by (spean_reason) (increase(spean_copies_refused_total[1h]))", "{{spean_reason}}"),
    ("Deliveries not finished: age of the oldest", "s", "max by (spean_state) (spean_deliveries_age_seconds)", "{{spean_state}}"),
]  # fmt: skip


def dashboard() -> dict[str, Any]:
    """What Grafana reads."""
    return {
        "uid": "spean",
        "title": "Spean: the line, from a click to the told house",
        "tags": ["spean"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "panels": [_panel(number, *panel) for number, panel in enumerate(PANELS)],
    }


def _panel(number: int, title: str, unit: str, expression: str, legend: str) -> dict[str, Any]:
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "gridPos": {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [{"refId": "A", "expr": expression, "legendFormat": legend}],
    }


def text() -> str:
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
