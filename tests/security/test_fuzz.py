"""Requests made up from the documents, with valid credentials: whatever is sent, never a fault, and every refusal a problem."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from services.cli.installation import Installation
from spean.settings import Settings
from tests.builders import network_in
from tests.security.answers import code_of
from tests.security.conftest import SLOW
from tests.security.operations import RECIPES, Operation, Stage, operations, staged

# Requests for each operation.
QUICK, LONG = 8, 150
FUZZED = sorted(id_ for id_, recipe in RECIPES.items() if not recipe.stream)
_COMMON: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "phases": (Phase.explicit, Phase.generate, Phase.shrink),
    "suppress_health_check": list(HealthCheck),
}
# Texts that have broken something somewhere: other scripts, other directions, other lengths, other meanings.
TEXTS = [
    "", " ", "null", "true", "0", "-1", "1e999", "ទីជម្រក", "ที่พัก", "ບ່ອນພັກ", "အိမ်", "nơi trú ẩn", "庇护所", "é", "İ", "ﬀ",
    "\u202e", "\u200d", "😀", "\x01", "\x7f", "\r\n", "\t", "' or 1=1 --", "{}", "%s%n", "$1", "../../etc/passwd", "a" * 5_000,
    "2024-02-30", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "KH-1", "KH", "khm", str(uuid4()), str(uuid4()).upper(),
]  # fmt: skip
NUMBERS = [0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**40, 0.5, -0.0, 1e308]


def _junk() -> SearchStrategy[Any]:
    """Any JSON."""
    plain = st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.sampled_from(TEXTS) | st.text(max_size=20)
    return st.recursive(
        plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4), max_leaves=8
    )  # fmt: skip


JUNK = _junk()


def fitting(schema: Mapping[str, Any], models: Mapping[str, Any], depth: int = 0) -> SearchStrategy[Any]:
    """Values that a schema of a document describes."""
    if "$ref" in schema:
        return fitting(models[schema["$ref"].rpartition("/")[2]], models, depth + 1)
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of([fitting(one, models, depth + 1) for one in schema["anyOf"]])
    match schema.get("type"):
        case "object":
            return _object(schema, models, depth)
        case "array":
            one = fitting(schema.get("items", {}), models, depth + 1)
            return st.lists(one, min_size=schema.get("minItems", 0), max_size=min(schema.get("maxItems", 4), 12))
        case "string":
            return _text(schema)
        case "integer":
            return st.integers(schema.get("minimum", -10), schema.get("maximum", 10_000))
        case "number":
            return st.floats(0, 1e6)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return JUNK


def _object(schema: Mapping[str, Any], models: Mapping[str, Any], depth: int) -> SearchStrategy[Any]:
    fields = {name: fitting(one, models, depth + 1) for name, one in schema.get("properties", {}).items()}
    needed = set(schema.get("required", ()))
    more = schema.get("additionalProperties")
    if not fields and isinstance(more, Mapping):
        return st.dictionaries(st.text(max_size=8), fitting(more, models, depth + 1), max_size=4)
    return st.fixed_dictionaries(
        {name: one for name, one in fields.items() if name in needed},
        optional={name: one for name, one in fields.items() if name not in needed},
    )


def _text(schema: Mapping[str, Any]) -> SearchStrategy[str]:
    if schema.get("format") == "uuid":
        return st.uuids().map(str)
    if schema.get("format") == "date-time":
        return st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat())
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True)
    texts = st.sampled_from(TEXTS) | st.text(max_size=40)
    return texts.filter(lambda text: len(text) >= schema.get("minLength", 0))


@st.composite
def broken(draw: Any, body: Any) -> Any:
    """A body with something else in one or two places: replaced, removed, or added."""
    for _ in range(draw(st.integers(1, 2))):
        body = _broken_once(draw, body)
    return body


def _broken_once(draw: Any, body: Any) -> Any:
    inside = isinstance(body, (dict, list)) and body and draw(st.integers(0, 5))
    if not inside:
        return draw(JUNK)
    keys = sorted(body) if isinstance(body, dict) else list(range(len(body)))
    key, what = draw(st.sampled_from(keys)), draw(st.sampled_from(["inside", "inside", "replace", "remove", "add"]))
    copy = dict(body) if isinstance(body, dict) else list(body)
    if what == "inside":
        copy[key] = _broken_once(draw, copy[key])
    elif what == "replace":
        copy[key] = draw(JUNK)
    elif what == "remove":
        copy.pop(key)
    elif isinstance(copy, dict):
        copy[draw(st.text(max_size=12))] = draw(JUNK)
    else:
        copy.append(draw(JUNK))
    return copy


@pytest.fixture(scope="module")
async def arena(installed: tuple[Installation, Settings]) -> AsyncIterator[Stage]:
    """A stage of its own: here everything may be accepted, ended, revoked and suspended."""
    made, own = installed
    async with network_in(made, own, windows=SLOW) as world:
        yield await staged(world)


async def _made_up(arena: Stage, id_: str, data: DataObject) -> None:
    """Send one request that the document describes, more or less, and look at the answer."""
    operation = next(one for one in operations(arena.world.made) if one.id == id_)
    response = await _send(arena, operation, data)
    _seen[response.status_code] += 1
    assert response.status_code < 500, response.text
    assert response.status_code != 401 or RECIPES[id_].role == "anybody", response.text
    if response.status_code >= 400:
        code_of(response)


async def _send(arena: Stage, operation: Operation, data: DataObject) -> httpx.Response:
    recipe = RECIPES[operation.id]
    headers = {"If-Match": data.draw(st.sampled_from(['"v1"', '"v2"', '"v3"']), label="version")}
    if recipe.role != "anybody":
        headers["Authorization"] = f"Bearer {await arena.token(recipe)}"
    if operation.method == "POST":
        headers["Idempotency-Key"] = str(uuid4())
    described = operation.described.get("requestBody", {}).get("content", {})
    content: bytes | None = None
    if "application/json" in described:
        content, headers["Content-Type"] = _body(arena, operation, described, data), "application/json"
    elif described:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        content = urlencode(
            data.draw(st.dictionaries(st.sampled_from(["grant_type", "scope", "x"]), st.sampled_from(TEXTS)))
        ).encode()
    return await arena.client.request(
        operation.method, _address(arena, operation, data), content=content, headers=headers
    )


def _body(arena: Stage, operation: Operation, described: Mapping[str, Any], data: DataObject) -> bytes:
    """A valid example broken in places, or what the schema describes, or anything."""
    recipe, models = (
        RECIPES[operation.id],
        arena.world.made.services[operation.service].app.openapi()["components"]["schemas"],
    )
    example = recipe.body(arena) if recipe.body else {}
    schema = fitting(described["application/json"]["schema"], models)
    kinds = {
        "broken": broken(example),
        "described": schema,
        "described, broken": schema.flatmap(broken),
        "anything": JUNK,
    }
    kind = data.draw(st.sampled_from(["broken", "broken", "described", "described, broken", "anything"]), label="kind")
    return json.dumps(data.draw(kinds[kind], label="body"), ensure_ascii=data.draw(st.booleans())).encode(
        "utf-8", "surrogatepass"
    )


def _address(arena: Stage, operation: Operation, data: DataObject) -> str:
    """The stage's objects, or ids of nobody, or anything; and any query."""
    recipe = RECIPES[operation.id]
    values: dict[str, str] = {}
    for name, which in recipe.path.items():
        kind = data.draw(st.sampled_from(["there", "there", "nowhere", "anything"]), label=f"path {name}")
        texts = st.sampled_from(TEXTS) | st.text(max_size=20)
        made_up = {"there": st.just(arena.objects[which]), "nowhere": st.uuids().map(str), "anything": texts}
        values[name] = quote(data.draw(made_up[kind]).encode("utf-8", "surrogatepass"), safe="") or "-"
    models = arena.world.made.services[operation.service].app.openapi()["components"]["schemas"]
    asked = [one for one in operation.described.get("parameters", ()) if one["in"] == "query"]
    query = {
        one["name"]: data.draw(st.sampled_from(TEXTS) | fitting(one["schema"], models).map(str), label=one["name"])
        for one in asked
        if data.draw(st.booleans())
    }
    return operation.template.format(**values) + (f"?{urlencode(query)}" if query else "")


_seen: Counter[int] = Counter()


@pytest.mark.parametrize("id_", FUZZED)
@settings(max_examples=QUICK, derandomize=True, **_COMMON)
@given(data=st.data())
async def test_whatever_is_sent_is_answered(arena: Stage, id_: str, data: DataObject) -> None:
    await _made_up(arena, id_, data)


async def test_much_of_what_was_sent_was_let_through(arena: Stage) -> None:
    """The fuzz proves little where everything is turned away at the door."""
    if not _seen:
        pytest.fail("runs after the fuzz, in the same session")
    assert sum(count for status, count in _seen.items() if status < 300) > sum(_seen.values()) / 20


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("id_", FUZZED)
@settings(max_examples=LONG, **_COMMON)
@given(data=st.data())
async def test_whatever_is_sent_is_answered_long(arena: Stage, id_: str, data: DataObject) -> None:
    await _made_up(arena, id_, data)
