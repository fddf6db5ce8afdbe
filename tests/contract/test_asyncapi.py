"""The catalogue for machines and for people: valid AsyncAPI 3, and everything in it is what the code does.

`asyncapi/3.0.0.json` is the JSON Schema of AsyncAPI 3.0.0 as the AsyncAPI initiative publishes it (Apache-2.0, its licence
beside it; white space taken out). Their parser reads the document as well: `sh deploy/asyncapi_check.sh`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from schemas import registry
from schemas.meaning import ATTRIBUTES, FIELDS
from schemas.versions import NEWER, newest
from services.cli.asyncapi import attributes, catalogue
from services.cli.documents import HANDLED, ROOT

FOLDER = ROOT / "docs" / "asyncapi"
DOCUMENT: dict[str, Any] = json.loads((FOLDER / "asyncapi.json").read_text(encoding="utf-8"))
RULES = Draft7Validator(json.loads((Path(__file__).parent / "asyncapi" / "3.0.0.json").read_text(encoding="utf-8")))
PAGE = (FOLDER / "index.html").read_text(encoding="utf-8")
NAMES = sorted(type_.removeprefix(registry.PREFIX) for type_ in registry.TYPES)


def followed(reference: str) -> Any:
    """What a reference within the document points at."""
    at: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        at = at[part]
    return at


def references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [found for one in node for found in references(one)]
    if not isinstance(node, dict):
        return []
    return [node["$ref"]] if "$ref" in node else [found for one in node.values() for found in references(one)]


def test_the_document_is_asyncapi_3() -> None:
    assert [error.message for error in RULES.iter_errors(DOCUMENT)] == []
    wrong = json.loads(json.dumps(DOCUMENT))
    wrong["operations"]["intake.says.handoff"]["action"] = "shout"
    assert not RULES.is_valid(wrong)


def test_every_reference_leads_somewhere() -> None:
    assert all(followed(reference) for reference in references(DOCUMENT))


def test_every_topic_is_a_channel_and_every_event_a_message_of_its_topic() -> None:
    channels = {one["address"].replace("{holder}", "*"): one for one in DOCUMENT["channels"].values()}
    assert channels.keys() == {topic.name for topic in registry.TOPICS}
    for topic in registry.TOPICS:
        channel = channels[topic.name]
        assert {registry.PREFIX + name for name in channel["messages"]} == {
            type_ for type_, its in registry.TOPIC_OF.items() if its is topic
        }
        assert channel["bindings"]["kafka"]["partitions"] == topic.partitions
        for words in (
            f"id of the {topic.key}",
            f"{topic.retention_days} days",
            "in order",
            f"Written by {topic.writer}",
        ):
            assert words in channel["description"]


def test_who_sends_and_who_receives_is_what_the_services_do() -> None:
    sends: dict[str, set[str]] = {}
    takes: dict[str, set[str]] = {name: set() for name in HANDLED}
    for operation in DOCUMENT["operations"].values():
        (tag,) = operation["tags"]
        names = {f"{registry.PREFIX}{one['$ref'].rpartition('/')[2]}" for one in operation["messages"]}
        assert names, "who takes in nothing is no reader"
        (sends if operation["action"] == "send" else takes).setdefault(tag["name"], set()).update(names)
    assert sends == {
        writer: {type_ for type_, topic in registry.TOPIC_OF.items() if topic.writer == writer}
        for writer in {topic.writer for topic in registry.TOPICS}
    }
    assert takes == {name: {one for one in registry.TYPES if newest(one) in types} for name, types in HANDLED.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_message_holds_its_own_example(name: str) -> None:
    message = DOCUMENT["components"]["messages"][name]
    (shown,) = message["examples"]
    assert Draft7Validator(message["payload"]).is_valid(shown["payload"])
    assert not Draft7Validator(message["payload"]).is_valid({**shown["payload"], "name": "x"}), "a writer is closed"
    assert Draft7Validator(attributes()).is_valid(shown["headers"])
    assert shown["headers"]["ce_type"] == message["name"] == registry.PREFIX + name


def test_every_field_and_attribute_has_a_meaning_and_no_meaning_is_of_nothing() -> None:
    assert {field for model in registry.TYPES.values() for field in model.model_fields} == FIELDS.keys()
    headers = {f"ce_{name}" for name in ATTRIBUTES} | {"content-type"}
    used = {key for message in DOCUMENT["components"]["messages"].values() for key in message["examples"][0]["headers"]}
    assert used <= headers == attributes()["properties"].keys()


def test_the_page_tells_every_event_and_loads_nothing() -> None:
    assert re.findall(r'<section class="event" id="([^"]+)"', PAGE) == [one.name for one in catalogue(HANDLED)]
    for name in NAMES:
        section = PAGE.partition(f'<section class="event" id="{name}">')[2].partition("</section>")[0]
        for field in registry.TYPES[registry.PREFIX + name].model_fields:
            assert f"<code>{field}</code>" in section
        assert ("older: taken in as" in section) == (registry.PREFIX + name in NEWER)
    assert not re.search(r"<script|<link|<img|\ssrc=|@import|url\(|//[a-z]", PAGE)
    for target in re.findall(r'href="([^"#]+)"', PAGE):
        assert (FOLDER / target).exists()
    assert set(re.findall(r'href="#([^"]+)"', PAGE)) <= set(re.findall(r'id="([^"]+)"', PAGE))
