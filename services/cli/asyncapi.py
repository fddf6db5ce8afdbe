"""The catalogue of events as an AsyncAPI 3 document: topics are channels, every service sends and receives.

Pure: made of the registry, the contracts, the words of `schemas.meaning`, and the examples that are checked in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas import contracts, registry
from schemas.meaning import ATTRIBUTES, FIELDS
from schemas.registry import PREFIX, Topic
from schemas.versions import family, newest

EXAMPLES = Path(contracts.__file__).parent / "examples"
_DAY_MS = 86_400_000
_NOT_ALWAYS = frozenset({"causationid", "traceparent"})
_FORMATS: Mapping[str, Mapping[str, Any]] = {
    "id": {"format": "uuid"}, "subject": {"format": "uuid"}, "partitionkey": {"format": "uuid"},
    "correlationid": {"format": "uuid"}, "causationid": {"format": "uuid"}, "time": {"format": "date-time"},
    "epoch": {"pattern": "^[1-9][0-9]*$"}, "sequence": {"pattern": "^[1-9][0-9]*$"}, "specversion": {"const": "1.0"},
}  # fmt: skip
_PURPOSE: Mapping[str, str] = {
    registry.HANDOFF.name: "what a holder says of its hand-offs and packets",
    registry.REFERRALS.name: "what the network says of referrals and offers",
    registry.PLACES.name: "what the network says of free places",
    registry.ORGANISATIONS.name: "what the network says of its organisations",
    registry.DELIVERIES.name: "what became of notices",
}


class Untold(Exception):
    """An event that the catalogue cannot tell. The message says what is missing, and where it belongs."""


@dataclass(frozen=True, slots=True)
class Said:
    """One event type as the catalogue tells it. `readers`: who takes it in; `newer`: the version that it is taken
    in as, where it is not the newest; `schema`: what a writer may say, each field with its meaning."""

    name: str
    topic: Topic
    meaning: str
    schema: contracts.Schema
    readers: tuple[str, ...]
    newer: str | None
    versions: tuple[str, ...]
    example: Mapping[str, Any]


def catalogue(handled: Mapping[str, frozenset[str]]) -> list[Said]:
    """Every event type, topic by topic. `handled`: service → types that it takes in. Raises Untold for a field without a
    meaning, and for a type without an example."""
    return [
        _said(type_, topic, handled)
        for topic in registry.TOPICS
        for type_ in registry.TYPES
        if registry.TOPIC_OF[type_] is topic
    ]


def _said(type_: str, topic: Topic, handled: Mapping[str, frozenset[str]]) -> Said:
    name, now = type_.removeprefix(PREFIX), newest(type_)
    writer = dict(contracts.contract(name, registry.TYPES[type_]).writer)
    meaning = " ".join(str(writer.pop("description")).split())
    del writer["$schema"]
    del writer["$id"]
    file = EXAMPLES / f"{name}.json"
    if not file.exists():
        raise Untold(f"{name} has no example: write schemas/examples/{file.name}")
    if unknown := writer["properties"].keys() - FIELDS.keys():
        raise Untold(f"{name}: say in schemas/meaning.py what {', '.join(sorted(unknown))} means")
    fields = {field: {**what, "description": FIELDS[field]} for field, what in writer["properties"].items()}
    return Said(
        name=name, topic=topic, meaning=meaning, schema={**writer, "properties": fields},
        readers=tuple(service for service, types in handled.items() if now in types) or restored(type_),
        newer=None if now == type_ else now.removeprefix(PREFIX),
        versions=tuple(one.removeprefix(PREFIX) for one in registry.TYPES if family(one) == family(type_)),
        example=json.loads(file.read_text(encoding="utf-8")),
    )  # fmt: skip


def restored(type_: str) -> tuple[str, ...]:
    """Who reads what nobody else does."""
    return (f"{registry.TOPIC_OF[type_].writer} after a restore",) if type_ in registry.FOR_RESTORES else ()


def document(version: str, handled: Mapping[str, frozenset[str]]) -> str:
    """The document as JSON. `version`: the product's."""
    said = catalogue(handled)
    made = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Spean: what services say to each other",
            "version": version,
            "description": (
                "Events describe the work, never the person: ids, codes, counts, times, flags, provinces. They are "
                "CloudEvents 1.0 in Kafka's binary mode: attributes in headers, data in the value. Inside an installation "
                "only: partners have the API. Generated: spean schemas write."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {channel(topic): _described(topic, said) for topic in registry.TOPICS},
        "operations": dict(_operations(said)),
        "components": {
            "messages": {one.name: _message(one) for one in said},
            "schemas": {"attributes": attributes()},
        },
    }
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def channel(topic: Topic) -> str:
    """Its name in the document."""
    return topic.name.removeprefix("spean.").removesuffix(".*")


def key_and_order(topic: Topic) -> str:
    """In words: what its key is, what is in order, how long it is kept."""
    return (
        f"The key is the id of the {topic.key}: all that is said of one is in one of {topic.partitions} partitions, in "
        f"order (epoch, sequence), without gaps. Between topics there is no order. Kept {topic.retention_days} days; "
        "longer only in its writer's own database, from where it can be said again."
    )


def purpose(topic: Topic) -> str:
    """What is said there."""
    return _PURPOSE[topic.name]


def _described(topic: Topic, said: list[Said]) -> dict[str, Any]:
    holder = {"holder": {"description": "name of the holder that writes it", "examples": ["main"]}}
    configuration = {"cleanup.policy": ["delete"], "retention.ms": topic.retention_days * _DAY_MS}
    return {
        "address": topic.name.replace("*", "{holder}"),
        "title": purpose(topic),
        "description": f"Written by {topic.writer} alone; read by {' and '.join(topic.readers)}. {key_and_order(topic)}",
        "messages": {
            one.name: {"$ref": f"#/components/messages/{one.name}"} for one in said if one.topic is topic
        },
        **({"parameters": holder} if topic.name.endswith("*") else {}),
        "bindings": {
            "kafka": {"partitions": topic.partitions, "topicConfiguration": configuration, "bindingVersion": "0.5.0"}
        },
    }  # fmt: skip


def _operations(said: list[Said]) -> Iterator[tuple[str, dict[str, Any]]]:
    for topic in registry.TOPICS:
        mine = [one for one in said if one.topic is topic]
        yield f"{topic.writer}.says.{channel(topic)}", _operation(topic, "send", topic.writer, mine)
        for reader in topic.readers:
            taken = [one for one in mine if reader in one.readers]
            yield f"{reader}.takes.{channel(topic)}", _operation(topic, "receive", reader, taken)


def _operation(topic: Topic, action: str, service: str, messages: list[Said]) -> dict[str, Any]:
    at = f"#/channels/{channel(topic)}"
    return {
        "action": action,
        "channel": {"$ref": at},
        "title": f"{service} {'says' if action == 'send' else 'takes in'} {purpose(topic)}",
        "tags": [{"name": service}],
        "messages": [{"$ref": f"{at}/messages/{one.name}"} for one in messages],
    }


def _message(one: Said) -> dict[str, Any]:
    headers = {f"ce_{name}": value for name, value in one.example.items() if name not in {"data", "datacontenttype"}}
    older = "" if one.newer is None else f"Older: readers take it in as {one.newer}. "
    return {
        "name": PREFIX + one.name,
        "title": one.name,
        "summary": older + one.meaning,
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/attributes"},
        "correlationId": {"location": "$message.header#/ce_correlationid"},
        "payload": one.schema,
        "bindings": {"kafka": {"key": {"type": "string", "format": "uuid"}, "bindingVersion": "0.5.0"}},
        "examples": [
            {
                "name": "example",
                "headers": {**headers, "content-type": "application/json"},
                "payload": one.example["data"],
            }
        ],
    }


def attributes() -> contracts.Schema:
    """The headers of every record: a CloudEvent's attributes in binary mode."""
    fields = {
        f"ce_{name}": {"type": "string", "description": words, **_FORMATS.get(name, {})}
        for name, words in ATTRIBUTES.items()
    }
    content = {"type": "string", "const": "application/json", "description": "Kafka's own name for what the value is"}
    return {
        "type": "object",
        "required": sorted({f"ce_{name}" for name in ATTRIBUTES.keys() - _NOT_ALWAYS} | {"content-type"}),
        "properties": {**fields, "content-type": content},
    }
