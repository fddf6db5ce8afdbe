"""What stands in deploy/telemetry is about numbers that there are, and whoever is called finds a page."""

from __future__ import annotations

import json
import re
from pathlib import Path

from deploy.telemetry import dashboard
from services.intake.disclosure.domain import Rule
from spean.telemetry.metrics import NUMBERS, Number, Shape
from spean.telemetry.words import NAMES

ROOT = Path(__file__).parents[2]
ALERTS = (ROOT / "deploy/telemetry/alerts.yml").read_text(encoding="utf-8")
_WORD = re.compile(r"\b(?:spean|http|messaging|db)(?:_[a-z0-9]+)+\b")


def names_of(name: str, number: Number) -> set[str]:
    """As Prometheus has them."""
    plain = name.replace(".", "_") + ("_seconds" if number.unit == "s" else "")
    if number.shape is Shape.TIMED:
        return {f"{plain}_{part}" for part in ("bucket", "sum", "count")}
    return {f"{plain}_total" if number.shape is Shape.COUNTED else plain}


KNOWN = set().union(*(names_of(*one) for one in NUMBERS.items())) | {name.replace(".", "_") for name in NAMES.values()}


def test_every_number_and_label_exists() -> None:
    expressions = [expression for _, _, expression, _ in dashboard.PANELS]
    for text in (ALERTS, *expressions):
        used = set(_WORD.findall(text))
        assert used
        assert used <= KNOWN, used - KNOWN


def test_every_measured_number_is_on_the_dashboard_or_in_an_alert() -> None:
    shown = ALERTS + " ".join(expression for _, _, expression, _ in dashboard.PANELS)
    unseen = [name for name, number in NUMBERS.items() if not any(one in shown for one in names_of(name, number))]
    assert unseen == ["spean.delivery.age", "spean.due.overdue", "spean.deliveries.waiting"]


def test_the_dashboard_is_what_its_code_says() -> None:
    assert dashboard.FILE.read_text(encoding="utf-8") == dashboard.text()
    assert len({panel["id"] for panel in json.loads(dashboard.text())["panels"]}) == len(dashboard.PANELS)


def test_every_alert_has_a_page_that_says_how_it_was_tried() -> None:
    alerts = re.findall(r"- alert: (\w+)", ALERTS)
    pages = re.findall(r"runbook: (\S+)", ALERTS)
    assert len(alerts) == len(set(alerts)) == len(pages) == 8
    index = (ROOT / "docs/runbooks/README.md").read_text(encoding="utf-8")
    for alert, page in zip(alerts, pages, strict=True):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert text.startswith(f"# {alert}\n")
        for part in ("**It means**", "**Look**", "**Do**", "**It is over**"):
            assert part in text, (page, part)
        assert text.rstrip().split("\n\n")[-1].startswith("*Tried:*")
        assert f"`{alert}`" in index
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert (ROOT / page).parent.joinpath(link).exists(), link


def test_every_rule_that_is_counted_is_in_its_runbook() -> None:
    page = (ROOT / "docs/runbooks/gate.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z-]+)`", page))
    not_named = {rule for rule in Rule if rule not in named and not rule.startswith("consent-")}
    assert not_named == {Rule.ALLOWED}
