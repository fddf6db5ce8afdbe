"""How long somebody is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from schemas.vocabulary import ServiceGroup
from services.intake.erasure.domain import Applies, End, Life, Past, Rule, kept_until

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
_GROUPS = list(ServiceGroup)
ONE, OTHER = _GROUPS[0], _GROUPS[1]
RULES = [
    Rule(Applies.SCREENED, None, None, 5),
    Rule(Applies.MET, None, None, 50),
    Rule(Applies.ENDED, None, None, 500),
    Rule(Applies.ENDED, None, End.CANCELLED, 400),
    Rule(Applies.ENDED, ONE, None, 300),
    Rule(Applies.ENDED, ONE, End.CANCELLED, 200),
]


def _days(*past: Past, screened: bool = False, rules: list[Rule] = RULES) -> int | None:
    until = kept_until(Life(uuid4(), NOW, screened, past), rules)
    return None if until is None else (until - NOW).days


def test_the_narrower_rule_counts() -> None:
    assert _days(screened=True) == 5
    assert _days() == 50
    assert _days(Past(OTHER, End.COMPLETED, NOW)) == 500
    assert _days(Past(OTHER, End.CANCELLED, NOW)) == 400
    assert _days(Past(ONE, End.COMPLETED, NOW)) == 300
    assert _days(Past(ONE, End.CANCELLED, NOW), screened=True) == 200


def test_of_several_services_the_longest_counts() -> None:
    assert _days(Past(ONE, End.CANCELLED, NOW), Past(OTHER, End.COMPLETED, NOW - timedelta(days=9))) == 500
    assert _days(Past(ONE, End.CANCELLED, NOW + timedelta(days=7))) == 207


def test_without_a_rule_nobody_is_erased() -> None:
    assert _days(rules=[]) is None
    assert _days(rules=[Rule(Applies.SCREENED, None, None, 5)]) is None
    only = [Rule(Applies.ENDED, ONE, None, 5)]
    assert _days(Past(ONE, End.COMPLETED, NOW), Past(OTHER, End.COMPLETED, NOW), rules=only) is None
