"""What two partners could still join: the page is what the script says, and the script counts what can be sure."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bench.joins import A_DAY, BEGIN, GRAINS, KEYS, PAGE, Heaps, Offer, linked, table

MINUTE, NEVER = GRAINS["minute"], GRAINS["not at all"]


def offer(person: int, told: str, at_s: float) -> Offer:
    return Offer(person, told, told, None, BEGIN + timedelta(seconds=at_s))


def test_the_page_has_the_figures_of_the_script() -> None:
    """The busiest column is left to whoever writes the page: it takes longest."""
    page = PAGE.read_text(encoding="utf-8")
    for grain, name, shares in table(A_DAY[:2]):
        assert f"| {grain} | {name} | {' | '.join(f'{one:.0%}' for one in shares)} |" in page


@pytest.mark.parametrize(
    ("refused", "came", "key", "grain", "share"),
    [
        ([offer(1, "a", 30)], [offer(1, "a", 31)], "nothing else", MINUTE, 1.0),
        ([offer(1, "a", 59.9)], [offer(1, "a", 60.1)], "nothing else", MINUTE, 1.0),
        ([offer(1, "a", 30)], [offer(1, "a", 31), offer(2, "b", 32)], "nothing else", MINUTE, 0.0),
        ([offer(1, "a", 30)], [offer(1, "a", 31), offer(2, "b", 32)], "what offers tell", MINUTE, 1.0),
        ([offer(1, "a", 30)], [offer(1, "a", 31), offer(2, "a", 32)], "what offers tell", MINUTE, 0.0),
        ([offer(1, "a", 30)], [offer(1, "a", 31), offer(2, "a", 900)], "what offers tell", MINUTE, 1.0),
        ([offer(1, "a", 30)], [offer(1, "a", 31), offer(2, "a", 900)], "what offers tell", NEVER, 0.0),
        ([offer(1, "a", 30), offer(3, "a", 35)], [offer(1, "a", 31)], "what offers tell", MINUTE, 0.0),
    ],
)
def test_only_what_is_sure_is_counted(refused: list[Offer], came: list[Offer], key: str, grain: timedelta,
                                      share: float) -> None:  # fmt: skip
    """Neither somebody else's offer that fits as well, nor an offer that fits somebody else as well."""
    assert linked(Heaps(refused, came), KEYS[key], grain) == share
