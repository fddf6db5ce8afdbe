"""A figure says whether it is where it should be, whichever way good is."""

from __future__ import annotations

from bench.figures import Figure, at_quantile


def test_more_is_better_or_less_is() -> None:
    rate = Figure("rate", "", "x/s", "more", "floor", target=0.5, ours=[50, 10, 60], floor=[100, 100, 1])
    assert (rate.median, rate.ratio, rate.met) == (50, 0.5, True)
    rate.ours = [49, 49]
    assert rate.met is False
    wait = Figure("wait", "", "ms", "less", "floor", target=1.5, ours=[15.0], floor=[10.0])
    assert wait.met is True
    wait.ours = [15.1]
    assert wait.met is False


def test_without_a_floor_the_number_itself_counts_and_without_a_target_nothing_is_said() -> None:
    memory = Figure("memory", "", "MB", "less", "", target=350, ours=[349])
    assert (memory.ratio, memory.met) == (None, True)
    memory.target = None
    assert memory.met is None


def test_a_limit_is_of_the_number_itself_whatever_the_floor() -> None:
    wait = Figure("wait", "", "ms", "less", "idle", limit=2_000, ours=[2_000.0], floor=[1.0])
    assert (wait.ratio, wait.met) == (2_000, True)
    wait.ours = [2_001.0]
    assert wait.met is False


def test_quantiles() -> None:
    values = [float(one) for one in range(100, 0, -1)]
    assert (at_quantile(values, 0.5), at_quantile(values, 0.99), at_quantile([7.0], 0.99)) == (51, 100, 7)
