"""The rules of sharing that need no bus."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from spean.bus import Partition
from spean.bus.postgres_group import Standing, fair_move
from spean.bus.share import Share, quotas

A, B = Partition("t", 0), Partition("t", 1)
TOPICS = st.dictionaries(st.sampled_from("tuvw"), st.integers(1, 9), min_size=1)


def test_a_partition_that_went_and_came_back_is_missing_once() -> None:
    share = Share()
    share.gain([A, B])
    assert share.assigned() == {A, B}
    share.expected[A] = share.expected[B] = 5
    share.lose([A])
    share.gain([A])
    assert share.changed()
    assert not share.changed()
    share.enter_poll()
    assert share.assigned() == {B}, "hidden until the reader has seen the loss"
    assert share.expected == {B: 5}
    share.enter_poll()
    assert share.changed()
    assert share.assigned() == {A, B}


def test_a_loss_that_nobody_saw_hides_nothing() -> None:
    share = Share()
    share.gain([A])
    share.lose([A])
    share.gain([A])
    assert share.assigned() == {A}


@given(partitions=TOPICS, members=st.sets(st.sampled_from("abcdefg"), min_size=1))
def test_quotas_are_whole_and_even(partitions: dict[str, int], members: set[str]) -> None:
    shares = quotas(dict.fromkeys(members, frozenset(partitions)), partitions)
    held = Counter[str]()
    for topic, count in partitions.items():
        assert sum(shares[member, topic] for member in members) == count
    for (member, _), number in shares.items():
        held[member] += number
    assert max(held[member] for member in members) - min(held[member] for member in members) <= 1


@given(
    partitions=TOPICS,
    readers=st.dictionaries(st.sampled_from("abcd"), st.sets(st.sampled_from("tuvw"), min_size=1), min_size=1),
    random=st.randoms(use_true_random=False),
)
def test_members_that_move_in_turn_end_with_every_partition_read(
    partitions: dict[str, int], readers: dict[str, set[str]], random: object
) -> None:
    live = {member: frozenset(topics) for member, topics in readers.items()}
    owners: dict[Partition, str | None] = {
        Partition(topic, number): random.choice([None, "gone", *live])  # type: ignore[attr-defined]
        for topic, count in partitions.items()
        for number in range(count)
    }
    for member in [*live, *live]:
        move = fair_move(Standing(live, frozenset({"gone"}), owners), member)
        owners |= dict.fromkeys(move.release, None) | dict.fromkeys(move.take, member)
    assert not any(any(fair_move(Standing(live, frozenset(), owners), member)) for member in live)
    for partition, owner in owners.items():
        if any(partition.topic in topics for topics in live.values()):
            assert partition.topic in live[owner or ""]
