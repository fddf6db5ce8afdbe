"""May a contract change like this within its version? Pure functions over the JSON Schemas of `schemas.contracts`.

Three questions, all answered with a list of faults (empty: yes):
- can the old reader read all that the new writer may say,
- can the new reader read all that the old writer may have said (events stay in the log and in `said`),
- is everything that the old writer said still there: no field and no code vanishes, no default changes its meaning.
A keyword that is not known here is a fault: what cannot be judged is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from schemas.contracts import Contract, Schema

_ANNOTATIONS = frozenset({"$schema", "$id", "description", "default"})
_JUDGED = frozenset(
    {
        "type", "enum", "format", "pattern", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "minLength",
        "maxLength", "minItems", "maxItems", "items", "properties", "required", "additionalProperties", "anyOf",
    }
)  # fmt: skip
_TYPES = ("string", "integer", "boolean", "null", "array", "object")
# (lowest, highest) for counts of letters and of items; integers are judged with their exclusive bounds.
_SIZES = (("minLength", "maxLength"), ("minItems", "maxItems"))


def faults(old: Contract, new: Contract) -> list[str]:
    """Everything that forbids `new` as the next revision of `old`."""
    return [
        *(f"old reader, new writer: {fault}" for fault in unreadable(new.writer, old.reader)),
        *(f"new reader, old writer: {fault}" for fault in unreadable(old.writer, new.reader)),
        *(f"lost: {fault}" for fault in lost(old.writer, new.writer)),
    ]


def faults_over_all(revisions: Sequence[Contract]) -> list[str]:
    """The same for every pair of revisions, oldest first: two steps that pass alone may not pass together."""
    return [
        f"revision {later + 1} after {earlier + 1}: {fault}"
        for later in range(len(revisions))
        for earlier in range(later)
        for fault in faults(revisions[earlier], revisions[later])
    ]


def rerouted(old: Schema, new: Schema) -> list[str]:
    """What readers would no longer find, or find in another order (`schemas.contracts.routes`)."""
    return [
        f"{name}: {told or 'nothing'} became {new[kind].get(name) or 'nothing'}"
        for kind in ("topics", "events")
        for name, told in old[kind].items()
        if new[kind].get(name) != told
    ]


def same(one: Contract, other: Contract) -> bool:
    """Do they differ in their descriptions only?"""
    return bool(_bare(one.writer) == _bare(other.writer) and _bare(one.reader) == _bare(other.reader))


def unreadable(written: Schema, read: Schema, at: str = "") -> list[str]:
    """Why a reader of `read` could refuse something that a writer of `written` may say. `at` is the field's path."""
    strange = sorted((written.keys() | read.keys()) - _JUDGED - _ANNOTATIONS)
    strange += sorted({str(one["type"]) for one in (written, read) if one.get("type", "string") not in _TYPES})
    for one in (written, read):
        beside = sorted(one.keys() - _ANNOTATIONS - {"anyOf"})
        strange += ["anyOf and " + ", ".join(beside)] if "anyOf" in one and beside else []
    if strange:
        return [f"{_name(at)}: cannot be judged: {', '.join(strange)}"]
    if "anyOf" in written:
        return [fault for one in written["anyOf"] for fault in unreadable(one, read, at)]
    if "anyOf" in read:
        answers = [unreadable(written, one, at) for one in read["anyOf"]]
        return [] if any(not answer for answer in answers) else min(answers, key=len)
    if written.get("type") != read.get("type"):
        return [f"{_name(at)}: {written.get('type')} is not {read.get('type')}"]
    found = [*_codes(written, read, at), *_text(written, read, at), *_bounds(written, read, at)]
    if read["type"] == "array":
        found += unreadable(written.get("items", {}), read.get("items", {}), f"{at}[]")
    if read["type"] == "object":
        found += _fields(written, read, at)
    return found


def lost(old: Schema, new: Schema, at: str = "") -> list[str]:
    """Kinds of value, fields and codes that an old writer could say and a new one cannot, and defaults that changed."""
    found: list[str] = []
    if "default" in old and old["default"] != new.get("default", old["default"]):
        found.append(f"{_name(at)}: another default")
    for before in _kinds(old):
        after = next((one for one in _kinds(new) if one.get("type") == before.get("type")), None)
        if after is None:
            found.append(f"{_name(at)}: {before.get('type')}")
            continue
        codes: Sequence[str] = before.get("enum", ())
        kept: Sequence[str] = after.get("enum", codes)
        found += [f"{_name(at)}: code {code}" for code in codes if code not in kept]
        if "items" in before:
            found += lost(before["items"], after.get("items", {}), f"{at}[]")
        fields = after.get("properties", {})
        for name, field in before.get("properties", {}).items():
            if name in fields:
                found += lost(field, fields[name], f"{at}.{name}")
            else:
                found.append(f"{_name(f'{at}.{name}')}: field")
    return found


def _kinds(schema: Schema) -> list[Schema]:
    found: list[Schema] = schema.get("anyOf", [schema])
    return found


def _codes(written: Schema, read: Schema, at: str) -> list[str]:
    if "enum" not in read:
        return []
    if "enum" not in written:
        return [f"{_name(at)}: any code is not one of a list"]
    return [f"{_name(at)}: code {code} is not known" for code in written["enum"] if code not in read["enum"]]


def _text(written: Schema, read: Schema, at: str) -> list[str]:
    return [
        f"{_name(at)}: {word} {written.get(word)} is not {read[word]}"
        for word in ("format", "pattern")
        if word in read and written.get(word) != read[word]
    ]


def _bounds(written: Schema, read: Schema, at: str) -> list[str]:
    pairs = [(_lowest(written), _lowest(read), _highest(written), _highest(read))]
    pairs += [
        (written.get(low, 0), read.get(low, 0), written.get(high, math.inf), read.get(high, math.inf))
        for low, high in _SIZES
    ]
    return [
        f"{_name(at)}: from {low} to {high} is not within {least} to {most}"
        for low, least, high, most in pairs
        if low < least or high > most
    ]


def _lowest(schema: Schema) -> float:
    return float(max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf) + 1))


def _highest(schema: Schema) -> float:
    return float(min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf) - 1))


def _fields(written: Schema, read: Schema, at: str) -> list[str]:
    fields = read.get("properties", {})
    found = [
        f"{_name(f'{at}.{name}')}: needed, and may be missing"
        for name in read.get("required", ())
        if name not in written.get("required", ())
    ]
    if written.get("additionalProperties", True) is not False:
        found.append(f"{_name(at)}: a writer is closed")
    for name, field in written.get("properties", {}).items():
        if name in fields:
            found += unreadable(field, fields[name], f"{at}.{name}")
        elif read.get("additionalProperties", True) is False:
            found.append(f"{_name(f'{at}.{name}')}: not known, and the reader is closed")
    return found


def _bare(node: Any) -> Any:
    if isinstance(node, list):
        return [_bare(one) for one in node]
    if not isinstance(node, dict):
        return node
    if "properties" in node:
        rest = {key: value for key, value in node.items() if key not in {"properties", "description"}}
        return {**_bare(rest), "properties": {name: _bare(one) for name, one in node["properties"].items()}}
    return {key: _bare(value) for key, value in node.items() if key != "description"}


def _name(at: str) -> str:
    return at.removeprefix(".") or "the whole"
