"""The JSON Schemas of every contract: two per version, one for writers (closed), one for readers (open).

They are generated from the models and checked in under `schemas/json/<contract>/<revision>.{writer,reader}.json`.
A revision is never edited: a compatible change adds the next one, an incompatible change needs a new version of the
contract (`schemas.compatibility` tells which is which).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from schemas import registry
from schemas.events import EventData
from schemas.questions import QUESTIONS, PacketTicket, PacketTicketV2

Schema = dict[str, Any]
FOLDER = Path(__file__).parent / "json"
ROUTES = "routes.json"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
# The code that only readers hold; a list that has it accepts codes that its reader does not know yet.
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Contract:
    """What may be written and what must be readable, as JSON Schemas without references."""

    writer: Schema
    reader: Schema


def models() -> dict[str, type[BaseModel]]:
    """Every contract by name: events (`handoff.requested.v1`), questions and answers (`may-accept.question.v1`), and
    the ticket."""
    events = {type_.removeprefix(registry.PREFIX): model for type_, model in registry.TYPES.items()}
    asked = {f"{path}.question.v1": question for path, (question, _) in QUESTIONS.items()}
    told = {f"{path}.answer.v1": answer for path, (_, answer) in QUESTIONS.items()}
    return {**events, **asked, **told, "packet.ticket.v1": PacketTicket, "packet.ticket.v2": PacketTicketV2}


def contract(name: str, model: type[BaseModel]) -> Contract:
    """The contract of a model as it is now."""
    whole = model.model_json_schema()
    plain = _without_references(whole, whole.get("$defs", {}))
    # Events leave out what is not there; questions and answers say null.
    writer = _for_writers(plain, nulls=not issubclass(model, EventData))
    type_ = registry.PREFIX + name
    return Contract(
        {"$schema": _DIALECT, "$id": f"urn:spean:schema:{type_}", **_in_order(writer)},
        {"$schema": _DIALECT, "$id": f"urn:spean:schema:{type_}:reader", **_in_order(_for_readers(plain))},
    )


def current() -> dict[str, Contract]:
    """Every contract as the models have it."""
    return {name: contract(name, model) for name, model in sorted(models().items())}


def released(folder: Path = FOLDER) -> dict[str, list[Contract]]:
    """Every contract that is checked in, its revisions in order. Raises FileNotFoundError for half a revision or a gap."""
    found: dict[str, list[Contract]] = {}
    for home in sorted(path for path in folder.iterdir() if path.is_dir()):
        revisions = len({file.name.partition(".")[0] for file in home.glob("*.json")})
        found[home.name] = [
            Contract(*(_read(home / f"{number}.{side}.json") for side in ("writer", "reader")))
            for number in range(1, revisions + 1)
        ]
    return found


def files(name: str, revision: int, made: Contract, folder: Path = FOLDER) -> Iterator[tuple[Path, str]]:
    """The two files of a revision: (path, text)."""
    for side, schema in (("writer", made.writer), ("reader", made.reader)):
        yield folder / name / f"{revision}.{side}.json", json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def routes() -> Schema:
    """Where every event is said and in whose order: as much a contract as what it says. What readers cannot see (who else
    reads, how long it is kept) is not in it."""
    topics = {
        topic.name: {"writer": topic.writer, "key": topic.key, "partitions": topic.partitions}
        for topic in registry.TOPICS
    }
    events = {type_.removeprefix(registry.PREFIX): topic.name for type_, topic in registry.TOPIC_OF.items()}
    return {"topics": topics, "events": events}


def released_routes(folder: Path = FOLDER) -> Schema:
    """As they are checked in; nothing where nothing is."""
    path = folder / ROUTES
    return _read(path) if path.exists() else {"topics": {}, "events": {}}


def _read(path: Path) -> Schema:
    schema: Schema = json.loads(path.read_text(encoding="utf-8"))
    return schema


def _without_references(node: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_without_references(one, definitions) for one in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        beside = {key: value for key, value in node.items() if key != "$ref"}
        return _without_references({**target, **beside}, definitions)
    if "properties" in node:
        fields = {name: _without_references(one, definitions) for name, one in node["properties"].items()}
        rest = {key: value for key, value in node.items() if key not in {"$defs", "title", "properties"}}
        return {**_without_references(rest, definitions), "properties": fields}
    # Titles are spelled from field names and say nothing more.
    return {key: _without_references(value, definitions) for key, value in node.items() if key != "title"}


def _in_order(node: Schema) -> Schema:
    """What it is first, its fields last: as a person reads it."""
    first: Schema = {key: node[key] for key in ("description", "type") if key in node}
    last: Schema = {key: value for key, value in node.items() if key not in {"description", "type", "properties"}}
    if "items" in last:
        last["items"] = _in_order(last["items"])
    if "properties" in node:
        last["properties"] = {name: _in_order(one) for name, one in node["properties"].items()}
    return {**first, **last}


def _for_writers(node: Schema, *, nulls: bool) -> Schema:
    if "anyOf" in node:
        kept = [_for_writers(one, nulls=nulls) for one in node["anyOf"] if nulls or one.get("type") != "null"]
        made = {key: value for key, value in node.items() if key != "anyOf" and (nulls or value is not None)}
        return {**made, **kept[0]} if len(kept) == 1 else {**made, "anyOf": kept}
    made = dict(node)
    if "enum" in made:
        made["enum"] = [code for code in made["enum"] if code != _UNKNOWN]
    if "items" in made:
        made["items"] = _for_writers(made["items"], nulls=nulls)
    if made.get("type") == "object":
        fields = made.get("properties", {})
        made["properties"] = {name: _for_writers(one, nulls=nulls) for name, one in fields.items()}
        made["additionalProperties"] = False
    return made


def _for_readers(node: Schema) -> Schema:
    made = {key: value for key, value in node.items() if key != "additionalProperties"}
    if "anyOf" in made:
        made["anyOf"] = [_for_readers(one) for one in made["anyOf"]]
    if _UNKNOWN in made.get("enum", ()):
        del made["enum"]
    if "items" in made:
        made["items"] = _for_readers(made["items"])
    if made.get("type") == "object":
        made["properties"] = {name: _for_readers(one) for name, one in made.get("properties", {}).items()}
    return made
