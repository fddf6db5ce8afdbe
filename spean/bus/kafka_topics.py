"""How our topics must be on Kafka, what differs there, and mending it.

Every setting that order, durability or the promise about retention rests on is set on the topic, so that no broker's
default decides. What is more careful than asked for stays: more copies, more of them in sync, larger messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic

from spean.bus import BusError, TopicSpec, Use
from spean.bus.kafka_client import DENIED
from spean.bus.kafka_requests import Layout, load_layouts, load_settings, move_replicas, save_settings

DAY_MS = 86_400_000
# Two may be lost, one of them while an answer is awaited. With one broker (a trial) there is one.
COPIES = 3
# Kafka's own default; four times the largest batch of ours.
MESSAGE_BYTES = 1_048_588
RETRY_S = 0.05
COPY_S = 10.0
APPLY = "spean topics apply"
MISSING, PARTITIONS, REPLICAS, IN_SYNC, SETTINGS = "topic", "partitions", "replicas", "in sync", "settings"
WAITS = ": what is said waits in the databases until then, and nothing is lost"
# A number there may be larger than asked for: that is only more careful.
_AT_LEAST = frozenset({"min.insync.replicas", "max.message.bytes"})


class Difference(NamedTuple):
    """One thing about a topic that is not as it should be. `do`: what to do; empty where `spean topics apply` mends it."""

    topic: str
    what: str
    found: str
    wanted: str
    do: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """The topics as the brokers have them. A layout is None, and settings are missing, where this account may not look."""

    brokers: int
    layouts: Mapping[str, Layout | None]
    settings: Mapping[str, Mapping[str, str]]


def settings_of(spec: TopicSpec, copies: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(spec.retention_days * DAY_MS),
        "retention.bytes": "-1",
        # An answer means that a majority has it; of two copies, one alone may go on.
        "min.insync.replicas": "2" if copies >= COPIES else "1",
        "unclean.leader.election.enable": "false",
        "max.message.bytes": str(MESSAGE_BYTES),
        # As it was sent: what a broker packs anew, the services might have no library to unpack.
        "compression.type": "producer",
        # The broker's clock: with the sender's, one that is wrong loses records at once, or has them refused.
        "message.timestamp.type": "LogAppendTime",
    }


def copies_for(found: Found, asked: int | None) -> int:
    """How many copies of each topic there should be: as many as asked for; else three, with one broker one."""
    # Brokers that are down are known by what they keep.
    kept = {node for layout in found.layouts.values() if layout for nodes in layout.replicas for node in nodes}
    return asked or (1 if max(found.brokers, len(kept)) == 1 else COPIES)


async def look(admin: AIOKafkaAdminClient, names: Iterable[str]) -> Found:
    """Raises KafkaError. The caller sets the limit."""
    wanted = list(names)
    while True:
        brokers, layouts = await load_layouts(admin, wanted)
        try:
            settings = await load_settings(admin, [name for name, one in layouts.items() if one])
        except errors.UnknownTopicOrPartitionError:  # made a moment ago: another broker has not heard of it yet
            await asyncio.sleep(RETRY_S)
        else:
            return Found(brokers, layouts, settings)


def differences(specs: Iterable[TopicSpec], found: Found, copies: int) -> list[Difference]:
    """What is not as it should be, topic by topic."""
    told: list[Difference] = []
    for spec in specs:
        layout = found.layouts.get(spec.name)
        if layout is None:
            hidden = spec.name in found.layouts
            do = "this account may not see it: ask with one that administers Kafka" if hidden else ""
            told.append(Difference(spec.name, MISSING, "not to be seen" if hidden else "missing", "there", do))
        else:
            settings = found.settings.get(spec.name)
            told += _layout_differences(spec, layout, copies, settings or settings_of(spec, copies))
            told += _setting_differences(spec, settings, copies)
    return told


def _layout_differences(
    spec: TopicSpec, layout: Layout, copies: int, settings: Mapping[str, str]
) -> Iterable[Difference]:
    partitions = len(layout.replicas)
    if partitions != spec.partitions:
        do = (
            "keys would change their partition and lose their order: see docs/kafka.md, Another number of partitions"
            if partitions > spec.partitions
            else f"only a topic that never held a record may grow: then {APPLY} mends it, else see docs/kafka.md"
        )
        yield Difference(spec.name, PARTITIONS, str(partitions), str(spec.partitions), do)
    if _fewest(layout.replicas) < copies:
        yield Difference(spec.name, REPLICAS, str(_fewest(layout.replicas)), str(copies))
    behind = [
        (len(here), len(kept))
        for here, kept in zip(layout.in_sync, layout.replicas, strict=True)
        if len(here) < len(kept)
    ]
    if behind:
        here, kept = min(behind)
        do = "start the brokers that are down" + (WAITS if here < int(settings["min.insync.replicas"]) else "")
        yield Difference(spec.name, IN_SYNC, f"{here} of {kept}", str(kept), do)


def _setting_differences(spec: TopicSpec, found: Mapping[str, str] | None, copies: int) -> Iterable[Difference]:
    if found is None:
        do = "this account may not look at them: ask with one that administers Kafka"
        yield Difference(spec.name, SETTINGS, "not to be seen", "as they should be", do)
        return
    for name, wanted in settings_of(spec, copies).items():
        here = found.get(name, "")
        if here != wanted and not (name in _AT_LEAST and here.isdecimal() and int(here) >= int(wanted)):
            yield Difference(spec.name, name, here, wanted)


def _fewest(nodes: Sequence[Sequence[int]]) -> int:
    return min(map(len, nodes), default=0)


async def apply(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], asked: int | None, fresh: frozenset[str]
) -> list[Difference]:
    """Make what is missing, and mend what differs and may be mended; returns what has been changed. `fresh`: topics that
    have never held a record. Waits until every topic can be used. Raises KafkaError, BusError."""
    found = await look(admin, [spec.name for spec in specs])
    copies = copies_for(found, asked)
    wrong = {(one.topic, one.what): one for one in differences(specs, found, copies)}
    if copies > found.brokers and any(what in {MISSING, REPLICAS} for _, what in wrong):
        raise BusError(
            f"{copies} copies of each topic need as many brokers, and Kafka has {found.brokers} now: start the others, or say "
            f"{APPLY} --replicas {found.brokers} (what is lost with a broker is then lost)"
        )
    changed: list[Difference] = []
    for spec in specs:
        if (spec.name, MISSING) in wrong:
            await _create(admin, spec, copies)
            changed.append(wrong[spec.name, MISSING])
            continue
        changed += await _mend(admin, spec, found.layouts[spec.name], fresh, _of(spec.name, wrong))
    await _settle(admin, specs, copies, {(one.topic, one.what) for one in changed})
    return changed


async def _settle(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], copies: int, changed: Collection[tuple[str, str]]
) -> None:
    """Until every topic can be used, and what has been changed can be seen: brokers hear of it a moment after they have
    said yes. The caller sets the limit."""
    while True:
        found = await look(admin, [spec.name for spec in specs])
        left = {(one.topic, one.what) for one in differences(specs, found, copies)}
        if left.isdisjoint(changed) and all(layout is None or layout.led for layout in found.layouts.values()):
            return
        await asyncio.sleep(RETRY_S)


def _of(topic: str, wrong: Mapping[tuple[str, str], Difference]) -> dict[str, Difference]:
    return {what: one for (name, what), one in wrong.items() if name == topic}


async def _create(admin: AIOKafkaAdminClient, spec: TopicSpec, copies: int) -> None:
    """Somebody else may be quicker. Raises KafkaError, BusError."""
    topic = NewTopic(spec.name, spec.partitions, copies, topic_configs=settings_of(spec, copies))
    for name, code, *_ in (await admin.create_topics([topic])).topic_errors:
        kind = errors.for_code(code)
        if kind in {errors.NoError, errors.TopicAlreadyExistsError}:
            continue
        if issubclass(kind, DENIED) or kind.retriable:
            raise kind
        raise BusError(f"Kafka refuses to create topic {name} ({kind.__name__})")


async def _mend(
    admin: AIOKafkaAdminClient,
    spec: TopicSpec,
    layout: Layout | None,
    fresh: frozenset[str],
    wrong: dict[str, Difference],
) -> list[Difference]:
    changed: list[Difference] = []
    if layout is None:
        return changed
    if PARTITIONS in wrong and spec.name in fresh and len(layout.replicas) < spec.partitions:
        await admin.create_partitions({spec.name: NewPartitions(spec.partitions)})
        changed.append(wrong[PARTITIONS])
        grown = await _until(admin, [spec], lambda now: now.led and len(now.replicas) == spec.partitions)
        layout = grown[spec.name]
    copies, settled = int(wrong[REPLICAS].wanted) if REPLICAS in wrong else _fewest(layout.replicas), True
    if REPLICAS in wrong:
        nodes = sorted(node.nodeId for node in admin._client.cluster.brokers())  # noqa: SLF001
        await move_replicas(admin, spec.name, more_copies(layout.replicas, nodes, copies))
        changed.append(wrong[REPLICAS])
        settled = await _copied(admin, spec, copies)
    # Asked for before the copies are there, it would let nothing be said until they are: that is for the next time.
    values = {
        name: value
        for name, value in settings_of(spec, copies).items()
        if name in wrong and (settled or name != "min.insync.replicas")
    }
    if values:
        await save_settings(admin, spec.name, values)
        changed += [wrong[name] for name in values]
    return changed


async def _copied(admin: AIOKafkaAdminClient, spec: TopicSpec, copies: int) -> bool:
    """Whether the brokers have all copies soon; what is large takes longer, and goes on by itself."""
    try:
        async with asyncio.timeout(COPY_S):
            await _until(admin, [spec], lambda now: _fewest(now.in_sync) >= copies)
    except TimeoutError:
        return False
    return True


def more_copies(replicas: Sequence[Sequence[int]], nodes: Sequence[int], copies: int) -> dict[int, list[int]]:
    """Per partition with too few copies: where it is kept, in the same order (the first leads), and then the nodes that
    keep the least so far."""
    load = dict.fromkeys(nodes, 0)
    for kept in replicas:
        for node in kept:
            load[node] = load.get(node, 0) + 1
    moved: dict[int, list[int]] = {}
    for number, kept in enumerate(replicas):
        more = sorted((node for node in nodes if node not in kept), key=load.__getitem__)[: max(0, copies - len(kept))]
        for node in more:
            load[node] += 1
        if more:
            moved[number] = [*kept, *more]
    return moved


async def _until(
    admin: AIOKafkaAdminClient, specs: Iterable[TopicSpec], ready: Callable[[Layout], bool]
) -> dict[str, Layout]:
    """Ask again until every topic is there and ready; the caller sets the limit."""
    names = [spec.name for spec in specs]
    while True:
        _, layouts = await load_layouts(admin, names)
        seen = {name: layout for name, layout in layouts.items() if layout is not None}
        if all(name in seen and ready(seen[name]) for name in names):
            return seen
        await asyncio.sleep(RETRY_S)


def unfit(specs: Iterable[TopicSpec], uses: Iterable[Use], layouts: Mapping[str, Layout | None]) -> list[str]:
    """Why these services cannot work here: topics that are missing or have another number of partitions, and what this
    account may not do."""
    told = []
    for spec in specs:
        layout = layouts.get(spec.name)
        if spec.name not in layouts:
            told.append(f"topic {spec.name} is missing")
        elif layout is None:
            told.append(f"this account may not see topic {spec.name}")
        elif len(layout.replicas) != spec.partitions:
            told.append(f"topic {spec.name} has {len(layout.replicas)} partitions, not {spec.partitions}")
    for use in uses:
        for word, topics in (("read", use.reads | use.writes), ("write", use.writes)):
            told += [
                f"this account may not {word} topic {name}, as {use.group} must"
                for name in sorted(topics)
                if (layout := layouts.get(name)) is not None and not layout.may & {word.upper(), "ALL"}
            ]
    return told
