"""Documents that a schema allows, for hypothesis; and the validator that judges them, with formats."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def aware(value: object) -> bool:
    """A time with its zone (RFC 3339)."""
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@FORMATS.checks("uuid", raises=ValueError)
def uuid(value: object) -> bool:
    return not isinstance(value, str) or UUID(value) is not None


def valid(document: Any, schema: dict[str, Any]) -> bool:
    return Draft202012Validator(schema, format_checker=FORMATS).is_valid(document)


_TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
_FORMATS = {"uuid": st.uuids().map(str), "date-time": _TIMES.map(datetime.isoformat)}


def documents(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Every document that the schema allows (of the keywords that contracts use)."""
    if "anyOf" in schema:
        return st.one_of([documents(one) for one in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema["type"]
    if kind == "object":
        fields = {name: documents(one) for name, one in schema.get("properties", {}).items()}
        needed = {name: fields[name] for name in schema.get("required", ())}
        rest = {name: one for name, one in fields.items() if name not in needed}
        return st.fixed_dictionaries(needed, optional=rest)
    if kind == "array":
        return st.lists(
            documents(schema["items"]), min_size=schema.get("minItems", 0), max_size=min(schema.get("maxItems", 3), 3)
        )
    if kind == "string":
        return _texts(schema)
    if kind == "integer":
        least = max(schema.get("minimum", -1_000), schema.get("exclusiveMinimum", -1_001) + 1)
        return st.integers(least, min(schema.get("maximum", 10_000), schema.get("exclusiveMaximum", 10_001) - 1))
    return {"boolean": st.booleans(), "null": st.none()}[kind]


def _texts(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    if "format" in schema:
        return _FORMATS[schema["format"]]
    least, most = schema.get("minLength", 0), schema.get("maxLength", 40)
    if "pattern" in schema:
        found = st.from_regex(schema["pattern"].rstrip("$") + r"\Z", alphabet=st.characters(max_codepoint=127))
        return found.filter(lambda text: least <= len(text) <= most)
    return st.text(min_size=least, max_size=most)
