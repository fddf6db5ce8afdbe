"""Versions of an event that live beside each other: how an older one becomes the next, and the other way.

Every step is a pair of pure functions between two models that follow each other. Handlers know the newest version only:
what is older is raised before they see it. A writer decides in the newest version too, and says an older one for as long
as it is told to (`SPEAN_SAY_AS`), until every reader knows the newest. The whole chain is tried at start (`check`).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas import events as e
from schemas import registry
from schemas.events import EventData
from schemas.registry import PREFIX
from schemas.vocabulary import ReasonFamily, WaitsFor


@dataclass(frozen=True, slots=True)
class Step:
    """From one version to the next. `up` says what the older one left to be guessed; `down` leaves out what it has not."""

    older: type[EventData]
    newer: type[EventData]
    up: Callable[[Any], EventData]
    down: Callable[[Any], EventData]


class BrokenChain(Exception):
    """The steps between versions do not fit the registry. The message says where."""


class NotHeldBack(ValueError):
    """A name that no event can be held back at. The message says what it must be."""


# --- the steps ------------------------------------------------------------------------------------------------------


def _who_is_waited_for(said: e.ReferralHeldV1) -> e.ReferralHeldV2:
    """Version 1 was said for a coordinator in one case alone: the house that had accepted was shut out."""
    closed = said.reason is ReasonFamily.CLOSED
    return e.ReferralHeldV2(reason=said.reason, waits_for=WaitsFor.COORDINATOR if closed else WaitsFor.SENDER)


def _held_without_saying_for_whom(said: e.ReferralHeldV2) -> e.ReferralHeldV1:
    return e.ReferralHeldV1(reason=said.reason)


STEPS: tuple[Step, ...] = (
    Step(e.ReferralHeldV1, e.ReferralHeldV2, up=_who_is_waited_for, down=_held_without_saying_for_whom),
)
_FROM: Mapping[type[EventData], Step] = {step.older: step for step in STEPS}
_TO: Mapping[type[EventData], Step] = {step.newer: step for step in STEPS}


def family(type_: str) -> str:
    """A type without its version: `org.spean.referral.held`."""
    return type_.rpartition(".v")[0]


def number(type_: str) -> int:
    return int(type_.rpartition(".v")[2])


# The types that have a newer version, each with the newest.
_NEWEST = {family(type_): type_ for type_ in sorted(registry.TYPES, key=number)}
NEWER: Mapping[str, str] = {
    type_: _NEWEST[family(type_)] for type_ in registry.TYPES if _NEWEST[family(type_)] != type_
}


def newest(type_: str) -> str:
    """The type under which handlers know an event of this type. A type that is not known stays as it is."""
    return NEWER.get(type_, type_)


def raised(type_: str, value: bytes) -> tuple[str, bytes]:
    """An event's type and data as its newest version says it; what is newest, or not known, stays as it is.

    Raises `schemas.registry.Unreadable`.
    """
    if type_ not in NEWER:
        return type_, value
    said = registry.read(type_, value)
    while type(said) in _FROM:
        said = _FROM[type(said)].up(said)
    # Not `registry.write`: what a reader could not name stays unknown.
    return registry.TYPE_OF[type(said)], said.model_dump_json(exclude_none=True).encode()


def held_back(names: str) -> frozenset[str]:
    """The types in a list such as `referral.held.v1,offer.sent.v2`. Raises NotHeldBack for a name that is no older version
    of an event, or a second version of the same event."""
    types = [PREFIX + name.strip() for name in names.split(",") if name.strip()]
    if any(type_ not in NEWER for type_ in types) or len({family(type_) for type_ in types}) < len(types):
        known = ", ".join(sorted(type_.removeprefix(PREFIX) for type_ in NEWER)) or "there are none"
        raise NotHeldBack(f"must list events, each in one version that is not the newest: {known}")
    return frozenset(types)


def as_said(data: EventData, back: Collection[str]) -> EventData:
    """The event in the version at which `back` (types) holds it; as it is where that says nothing of it."""
    mine = family(registry.TYPE_OF[type(data)])
    wanted = next((type_ for type_ in back if family(type_) == mine), None)
    while wanted is not None and registry.TYPE_OF[type(data)] != wanted:
        data = _TO[type(data)].down(data)
    return data


# --- tried at start -------------------------------------------------------------------------------------------------


def check() -> None:
    """Raises BrokenChain."""
    if found := faults(registry.TYPES, STEPS):
        raise BrokenChain("the versions of events do not fit each other: " + "; ".join(found))


def faults(types: Mapping[str, type[EventData]], steps: Sequence[Step]) -> list[str]:
    """Everything that is wrong with these steps between these types: a gap, a step too many, an output that is not what
    the next version says."""
    names = {model: type_.removeprefix(PREFIX) for type_, model in types.items()}
    found = [*_gaps(types)]
    wanted: dict[tuple[type[EventData], type[EventData]], str] = {}
    for type_, model in types.items():
        later = types.get(f"{family(type_)}.v{number(type_) + 1}")
        if later is not None:
            wanted[model, later] = f"{names[model]} to {names[later]}"
    there = [(step.older, step.newer) for step in steps]
    for pair, what in wanted.items():
        found += [f"{there.count(pair)} steps from {what}, not one"] if there.count(pair) != 1 else []
    for step in steps:
        if (step.older, step.newer) in wanted:
            found += _wrong(step, names)
        else:
            found.append(f"{step.older.__name__} to {step.newer.__name__} is no step from one version to the next")
    return found


def _gaps(types: Collection[str]) -> Iterator[str]:
    numbers: dict[str, list[int]] = defaultdict(list)
    for type_ in types:
        numbers[family(type_)].append(number(type_))
    for name, some in numbers.items():
        missing = sorted(set(range(1, max(some) + 1)) - set(some))
        yield from (
            f"{name.removeprefix(PREFIX)}.v{one} is missing: what was once said is read for ever" for one in missing
        )


def _wrong(step: Step, names: Mapping[type[EventData], str]) -> Iterator[str]:
    """Try both ways with every sample; one fault a way is enough."""
    ways = ((step.up, step.older, step.newer), (step.down, step.newer, step.older))
    for way, before, after in ways:
        for sample in samples(before):
            try:
                made = way(sample)
                kept = after.model_validate_json(made.model_dump_json(exclude_none=True, warnings=False))
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                yield f"{names[before]} to {names[after]} fails ({type(error).__name__})"
                break
            if type(made) is not after or kept != made:
                yield f"{names[before]} to {names[after]} makes something else"
                break


def samples(model: type[EventData]) -> list[EventData]:
    """Events of a model: one with everything, one with only what is needed, and one more for each other value that a field
    may have (each code, each flag)."""
    schema = model.model_json_schema()
    fields = {name: _values(field, schema.get("$defs", {})) for name, field in schema.get("properties", {}).items()}
    whole = {name: values[0] for name, values in fields.items()}
    needed = {name: value for name, value in whole.items() if name in schema.get("required", ())}
    found = [whole, needed]
    found += [{**whole, name: value} for name, values in fields.items() for value in values[1:]]
    return [model.model_validate_json(json.dumps(one)) for one in found]


def _values(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Any]:
    """Values that a field of an event may have: all of them, or some of very many."""
    if "$ref" in field:
        return _values(definitions[str(field["$ref"]).rpartition("/")[2]], definitions)
    if "anyOf" in field:
        return [value for one in field["anyOf"] for value in _values(one, definitions)]
    if "enum" in field:
        return list(field["enum"])
    kinds: dict[str, list[Any]] = {
        "uuid": ["00000000-0000-4000-8000-000000000001"], "date-time": ["2026-01-01T00:00:00Z"],
        "boolean": [True, False], "integer": [1, 1_000], "null": [None],
        # The only texts that an event may hold: a province, a holder, a country.
        "string": [text for text in ("KH-1", "main", "KH") if re.search(str(field.get("pattern")), text)],
    }  # fmt: skip
    return kinds[str(field.get("format", field["type"]))]
