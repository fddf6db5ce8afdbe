"""Invariants of saying and taking in: nothing lost, doubled or out of order between an outbox and its readers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from uuid import UUID

from spean.service import Service
from tests.faults.load import Journal
from tests.faults.snapshot import Logged, Snapshot

Services = Mapping[str, Service]


def all_sent(seen: Snapshot, _: Journal, services: Services) -> Iterator[str]:
    for name in services:
        for row in seen.of(name, "outbox"):
            yield f"{name} has not sent {row['type']} of {row['aggregateid']}"


def numbers_without_gaps(seen: Snapshot, _: Journal, services: Services) -> Iterator[str]:
    """What was said of an aggregate is 1, 2, 3 … up to its counter."""
    for name in services:
        numbers: dict[UUID, list[int]] = defaultdict(list)
        for row in (*seen.of(name, "said"), *seen.of(name, "outbox")):
            numbers[row["aggregateid"]].append(row["sequence"])
        counters = {row["id"]: row["sequence"] for row in seen.of(name, "aggregate")}
        for aggregate in numbers.keys() | counters.keys():
            wanted = list(range(1, counters.get(aggregate, 0) + 1))
            if sorted(numbers[aggregate]) != wanted:
                yield f"{name} counts {wanted[-1:]} for {aggregate} and has said {sorted(numbers[aggregate])}"


def said_is_on_log(seen: Snapshot, _: Journal, services: Services) -> Iterator[str]:
    """Every event that counts as said stands where its row says, unchanged."""
    there = {(one.topic, one.partition, one.offset): one.event for one in seen.log}
    for name, service in services.items():
        for row in seen.of(name, "said"):
            event = there.get((row["aggregatetype"], row["partition"], row["offset"]))
            said = (row["id"], row["type"], service.source, row["aggregateid"], row["epoch"], row["sequence"],
                    row["time"], row["correlationid"], row["causationid"], row["payload"].encode())  # fmt: skip
            if event is None:
                yield f"{name} has said {row['type']} of {row['aggregateid']}, and the log has nothing there"
            elif said != (event.id, event.type, event.source, event.subject, event.epoch, event.sequence,
                          event.time, event.correlationid, event.causationid, event.value):  # fmt: skip
                yield f"{name} has said {row['type']} of {row['aggregateid']}, and the log says something else there"


def log_was_said(seen: Snapshot, _: Journal, services: Services) -> Iterator[str]:
    """Nothing is on the log that its writer does not know."""
    known = {service.source: {row["id"] for row in seen.of(name, "said")} for name, service in services.items()}
    for one in seen.log:
        if one.event.id not in known.get(one.event.source, set()):
            yield f"the log has {one.event.type} of {one.event.subject}, which {one.event.source} has not said"


def log_is_in_order(seen: Snapshot, _: Journal, __: Services) -> Iterator[str]:
    """Per writer and aggregate the numbers come as 1, 2, 3 …; what comes again is the same event, later."""
    firsts: dict[tuple[str, UUID], list[Logged]] = defaultdict(list)
    for one in seen.log:
        before = firsts[one.event.source, one.event.subject]
        number = one.event.sequence
        if number == len(before) + 1:
            before.append(one)
        elif number > len(before):
            yield f"{one.topic}/{one.partition}/{one.offset}: number {number} of {one.event.subject} after {len(before)}"
        elif before[number - 1].event != one.event or before[number - 1].partition != one.partition:
            yield f"{one.topic}/{one.partition}/{one.offset}: number {number} of {one.event.subject} was another event"


def log_has_no_holes(seen: Snapshot, _: Journal, __: Services) -> Iterator[str]:
    offsets: dict[tuple[str, int], list[int]] = defaultdict(list)
    for one in (*seen.log, *seen.marks):
        offsets[one.topic, one.partition].append(one.offset)
    for place, (start, end) in seen.bounds.items():
        if sorted(offsets[place]) != list(range(start, end)):
            yield f"{place} does not hold {start} to {end}"


def all_taken_in(seen: Snapshot, _: Journal, services: Services) -> Iterator[str]:
    """The last number of each reader is the writer's last."""
    for name, service in services.items():
        ends: dict[tuple[str, UUID], tuple[int, int]] = {}
        for one in seen.log:
            if one.topic in service.reads:
                key = (one.event.source, one.event.subject)
                ends[key] = max(ends.get(key, (0, 0)), (one.event.epoch, one.event.sequence))
        taken = {(row["source"], row["aggregate"]): (row["epoch"], row["sequence"]) for row in seen.of(name, "last")}
        for key in ends.keys() | taken.keys():
            if ends.get(key) != taken.get(key):
                yield f"{name} is at {taken.get(key)} of {key[1]} ({key[0]}), which stands at {ends.get(key)}"


def at_the_end(seen: Snapshot, _: Journal, services: Services) -> Iterator[str]:
    """Each reader stands behind the last record, and remembers which one that was."""
    records = sorted((*seen.log, *seen.marks), key=lambda one: one.offset)
    last = {(one.topic, one.partition): one for one in records}
    for name, service in services.items():
        positions = {(row["topic"], row["partition"]): row for row in seen.of(name, "position")}
        for place, (_start, end) in seen.bounds.items():
            if place.topic not in service.reads:
                continue
            stands = positions.get(place)
            if stands is None or stands["next"] != end:
                yield f"{name} stands at {stands and stands['next']} of {place}, which ends at {end}"
            elif place in last and stands["last_id"] != last[place].event.id:
                yield f"{name} remembers another record at the end of {place}"


def nothing_parked(seen: Snapshot, _: Journal, services: Services) -> Iterator[str]:
    for name in services:
        for row in seen.of(name, "parked"):
            yield f"{name} has parked {row['type']} of {row['aggregate']}: {row['reason']}"


LOG_RULES = (
    all_sent, numbers_without_gaps, said_is_on_log, log_was_said, log_is_in_order, log_has_no_holes, all_taken_in,
    at_the_end, nothing_parked,
)  # fmt: skip
