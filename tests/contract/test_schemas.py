"""The JSON Schemas that are checked in: equal to the models, closed for writers, open for readers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas import contracts, registry
from schemas.contracts import Contract
from schemas.vocabulary import Open
from tests.contract.documents import documents, valid

MODELS = contracts.models()
NOW = contracts.current()
RELEASED = contracts.released()


def test_every_model_has_its_schemas_and_no_schema_is_without_a_model() -> None:
    assert RELEASED.keys() == MODELS.keys()


@pytest.mark.parametrize("name", MODELS)
def test_the_last_revision_is_what_the_model_says(name: str) -> None:
    assert RELEASED[name][-1] == NOW[name], "run `spean schemas write`"


@pytest.mark.parametrize("name", MODELS)
def test_both_are_json_schemas(name: str) -> None:
    for schema in (NOW[name].writer, NOW[name].reader):
        Draft202012Validator.check_schema(schema)
        assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


def objects(schema: Any) -> list[dict[str, Any]]:
    """Every object in a schema, the schema itself first."""
    if isinstance(schema, list):
        return [found for one in schema for found in objects(one)]
    if not isinstance(schema, dict):
        return []
    inner = [found for value in schema.values() for found in objects(value)]
    return ([schema] if schema.get("type") == "object" else []) + inner


@pytest.mark.parametrize("name", MODELS)
def test_writers_are_closed_and_readers_open(name: str) -> None:
    for closed in objects(NOW[name].writer):
        assert closed["additionalProperties"] is False
    for open_ in objects(NOW[name].reader):
        assert "additionalProperties" not in open_
    assert "unknown" not in json.dumps(NOW[name].writer.get("properties"))


def test_an_open_list_is_a_list_for_writers_and_any_text_for_readers() -> None:
    made = NOW["offer.declined.v1"]
    assert made.writer["properties"]["reason"]["enum"] == [
        "full",
        "not-suitable",
        "closed",
        "no-answer",
        "stopped",
        "other",
    ]
    assert made.reader["properties"]["reason"]["type"] == "string"
    assert "enum" not in made.reader["properties"]["reason"]


@settings(max_examples=15, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", MODELS)
def test_what_a_writer_may_say_the_model_reads_and_says_again(name: str, data: st.DataObject) -> None:
    document = data.draw(documents(NOW[name].writer))
    assert valid(document, NOW[name].writer)
    assert valid(document, NOW[name].reader)
    read = MODELS[name].model_validate_json(json.dumps(document))
    again = json.loads(read.model_dump_json(exclude_none=name in _EVENTS))
    assert valid(again, NOW[name].writer)
    assert MODELS[name].model_validate(again) == read


_EVENTS = {type_.removeprefix(registry.PREFIX) for type_ in registry.TYPES}


@settings(max_examples=15, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", sorted(_EVENTS))
def test_what_a_reader_must_understand_it_reads(name: str, data: st.DataObject) -> None:
    """Codes and fields of a writer that is newer than this reader."""
    document = {**data.draw(documents(NOW[name].reader)), "a_later_field": {"of": ["any", "kind"]}}
    assert valid(document, NOW[name].reader)
    assert not valid(document, NOW[name].writer)
    said = registry.read(registry.PREFIX + name, json.dumps(document).encode())
    for field, value in said:
        if isinstance(value, Open):
            assert value == document[field] or value.value == "unknown"


def test_a_code_unknown_is_never_written() -> None:
    said = registry.read(
        "org.spean.offer.declined.v1", b'{"offer": "0c6f6f4e-93a6-4f7b-8f16-7c86d1d6f3f5", "reason": "flood"}'
    )
    with pytest.raises(ValueError, match="reason may not be written as unknown"):
        registry.write(said)


def test_half_a_revision_is_an_error(tmp_path: Any) -> None:
    made = Contract(NOW["offer.seen.v1"].writer, NOW["offer.seen.v1"].reader)
    (writer, text), _ = contracts.files("offer.seen.v1", 1, made, tmp_path)
    writer.parent.mkdir()
    writer.write_text(text)
    with pytest.raises(FileNotFoundError):
        contracts.released(tmp_path)
