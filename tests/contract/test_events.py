"""Events: what a field may be, who says and who reads each, and how a record looks on the bus."""

from __future__ import annotations

import ast
import json
import re
import typing
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import AwareDatetime, NonNegativeInt, PositiveInt, create_model
from pydantic.fields import FieldInfo

import services
from schemas import contracts, events, registry, versions, vocabulary
from schemas.events import EventData
from schemas.vocabulary import Area, Country, HolderName
from services.cli.installation import Installation
from services.intake import consumers as intake
from services.intake.disclosure.handlers import Holder
from services.notify import consumers as notify
from services.referral import consumers as referral
from spean.bus import Record, partition_of
from spean.event import Malformed, parse
from spean.settings import Settings
from tests.contract.documents import valid

EXAMPLES = Path(contracts.__file__).parent / "examples"
HANDLED = {
    registry.INTAKE: intake.handlers_for(Holder(keys=None, country="KH")),
    registry.REFERRAL: referral.HANDLERS,
    registry.NOTIFY: notify.HANDLERS,
}

# What is said by those who decide, and known to those who handle.
NEWEST = registry.TYPES.keys() - versions.NEWER.keys()
# Of these the holder keeps no row: they say something to the network, or that there is something to read.
OF_NO_ROW = {f"{registry.PREFIX}{name}" for name in ("handoff.changed.v1", "handoff.reopened.v1", "packet.refused.v1")}

# --- what a field may be ------------------------------------------------------------------------------------------

PERSONAL = frozenset(
    """
    account address age alias band birth birthday body born child children citizenship city client comment contact
    description diagnosis disability documents dob education email ethnicity exploitation face family female fingerprint
    first gender girl guardian health height home hotel house identity injury label language languages last latitude
    location longitude male marital medical message minor mother name nationality needs note notes number parent
    passport person phone photo picture pregnant race recruiter religion residence sex sibling story
    street text title tongue trauma victim village weight woman word words years
    """.split()  # noqa: SIM905 (as words they can be read)
)
KINDS = (UUID, AwareDatetime, PositiveInt, NonNegativeInt, bool, Country, Area, HolderName)


def why_refused(name: str, field: FieldInfo) -> str | None:
    """None for a field that describes the work; else what is wrong with it."""
    if set(name.split("_")) & PERSONAL:
        return "the name could describe a person"
    kind = field.rebuild_annotation()
    options = [one for one in typing.get_args(kind) if one is not type(None)] if _optional(kind) else [kind]
    for one in options:
        is_list = isinstance(one, type) and issubclass(one, StrEnum) and one.__module__ == vocabulary.__name__
        if not is_list and one not in KINDS:
            return f"{one} is no id, code, count, time, flag, country, province or holder"
    return None


def _optional(kind: Any) -> bool:
    return type(None) in typing.get_args(kind)


def fields() -> Iterator[tuple[str, str, FieldInfo]]:
    for type_, model in registry.TYPES.items():
        for name, field in model.model_fields.items():
            yield type_.removeprefix(registry.PREFIX), name, field


@pytest.mark.parametrize(("event", "name", "field"), [pytest.param(*one, id=f"{one[0]}.{one[1]}") for one in fields()])
def test_every_field_describes_the_work(event: str, name: str, field: FieldInfo) -> None:
    assert why_refused(name, field) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("remark", str), ("remarks", list[str]), ("sex", vocabulary.Sex), ("age_band", vocabulary.AgeBand), ("age", int),
        ("contact_phone", str), ("needs", tuple[vocabulary.Need, ...]), ("share", float), ("when", datetime),
        ("places", int), ("anything", Any), ("more", dict[str, str]), ("place_of_birth", Country), ("who", EventData),
    ],
)  # fmt: skip
def test_a_field_that_could_describe_a_person_is_refused(name: str, kind: Any) -> None:
    made = create_model("Made", __base__=EventData, **{name: (kind, ...)})
    assert why_refused(name, made.model_fields[name]) is not None


def test_a_list_of_codes_that_says_something_of_a_person_is_in_no_event() -> None:
    used = {
        one
        for _, _, field in fields()
        for one in (typing.get_args(field.annotation) or (field.annotation,))
        if isinstance(one, type) and issubclass(one, StrEnum)
    }
    work = {
        "ServiceGroup",
        "Urgency",
        "ReasonFamily",
        "HandoffChange",
        "ErasureAnswer",
        "EscalationReason",
        "OrganisationType",
        "WaitsFor",
    }
    assert {one.__name__ for one in used} == work


# --- who says it, who reads it -----------------------------------------------------------------------------------


def test_every_type_has_one_writer_and_a_topic_of_its_own_kind() -> None:
    assert registry.TYPES.keys() == registry.TOPIC_OF.keys()
    assert len(registry.TYPE_OF) == len(registry.TYPES), "one model per version, one version per model"
    assert len({topic.name for topic in registry.TOPICS}) == len(registry.TOPICS)
    assert set(registry.TOPIC_OF.values()) == set(registry.TOPICS)
    for type_ in registry.TYPES:
        assert re.fullmatch(r"org\.spean\.[a-z]+\.[a-z]+\.v[1-9][0-9]*", type_)


def said() -> dict[str, set[str]]:
    """Every event type that a service's source makes, with the services that do."""
    names = {model.__name__: type_ for model, type_ in registry.TYPE_OF.items()}
    found: dict[str, set[str]] = {}
    root = Path(services.__path__[0])
    for file in root.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in names:
                    found.setdefault(names[called], set()).add(file.relative_to(root).parts[0])
    return found


def test_every_type_is_said_by_the_writer_of_its_topic_and_by_nobody_else() -> None:
    """In its newest version: an older one is made of it, where it is held back."""
    assert {type_: {registry.TOPIC_OF[type_].writer} for type_ in NEWEST} == said()


@pytest.mark.parametrize("service", HANDLED)
def test_a_service_handles_only_events_that_it_is_listed_to_read(service: str) -> None:
    for type_ in HANDLED[service]:
        assert service in registry.TOPIC_OF[type_].readers, type_


def test_every_event_has_a_reader() -> None:
    """An event without readers is not published. Of what is kept for a restore the writer is the reader."""
    read = {type_ for handled in HANDLED.values() for type_ in handled}
    assert not read & registry.FOR_RESTORES
    assert read | registry.FOR_RESTORES == NEWEST, (
        "handlers know the newest version only; what is older is raised before they see it"
    )


async def test_a_restored_database_takes_over_whatever_its_service_has_said(
    installed: tuple[Installation, Settings],
) -> None:
    taken: set[str] = set()
    for name, service in installed[0].services.items():
        assert service.own is not None
        assert {registry.TOPIC_OF[type_].writer for type_ in service.own.take} == {name}
        taken |= service.own.take.keys()
    assert taken | OF_NO_ROW == NEWEST
    assert not taken & OF_NO_ROW


async def test_services_read_the_topics_that_list_them(installed: tuple[Installation, Settings]) -> None:
    made, settings = installed
    for name, service in made.services.items():
        handled = {registry.TOPIC_OF[type_] for type_ in service.events}
        assert set(service.reads) == {
            topic.named(settings.holder) if topic.name.endswith("*") else topic.name for topic in handled
        }, name
        assert {topic for topic in registry.TOPICS if name in topic.readers} == handled, name


# --- how it looks on the bus -------------------------------------------------------------------------------------

# CloudEvents 1.0: attributes that must be there, and the extensions that we use (all of the standard's own names).
REQUIRED = frozenset({"specversion", "id", "source", "type"})
OPTIONAL = frozenset({"subject", "time", "datacontenttype", "dataschema"})
EXTENSIONS = frozenset({"partitionkey", "sequence", "epoch", "correlationid", "causationid", "traceparent"})


def example(name: str) -> dict[str, Any]:
    """The example of an event: a CloudEvent in structured mode."""
    found: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return found


NAMES = sorted(type_.removeprefix(registry.PREFIX) for type_ in registry.TYPES)


def test_every_event_has_an_example_and_no_example_is_of_nothing() -> None:
    assert sorted(file.stem for file in EXAMPLES.glob("*.json")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_what_a_writer_may_say(name: str) -> None:
    shown = example(name)
    made = contracts.current()[name]
    assert valid(shown["data"], made.writer)
    assert valid(shown["data"], made.reader)
    assert shown["type"] == registry.PREFIX + name
    assert shown["dataschema"] == made.writer["$id"]
    topic = registry.TOPIC_OF[shown["type"]]
    assert shown["source"] == f"spean/{topic.writer}" + ("/main" if topic.name.endswith("*") else "")


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_the_same_cloud_event_in_binary_mode(name: str) -> None:
    """Every attribute goes into a `ce_` header but the content type, which is Kafka's own; the data is the value."""
    shown = example(name)
    headers = {f"ce_{key}": value for key, value in shown.items() if key not in {"data", "datacontenttype"}}
    value = json.dumps(shown["data"]).encode()
    record = Record(shown["subject"].encode(), {**headers, "content-type": shown["datacontenttype"]}, value)
    event = parse(record)
    again = event.record()
    times = {headers.pop("ce_time"), again.headers["ce_time"]}
    assert len({datetime.fromisoformat(time) for time in times}) == 1
    assert {key: one for key, one in again.headers.items() if key != "ce_time"} == {
        **headers, "content-type": "application/json"
    }  # fmt: skip
    assert (again.key, again.value) == (record.key, value)
    assert event.data() == registry.TYPES[shown["type"]].model_validate(shown["data"])


@pytest.mark.parametrize("name", NAMES)
def test_the_attributes_are_those_of_cloudevents(name: str) -> None:
    shown = example(name)
    attributes = shown.keys() - {"data"}
    assert attributes >= REQUIRED
    assert attributes <= REQUIRED | OPTIONAL | EXTENSIONS
    assert all(re.fullmatch(r"[a-z0-9]{1,20}", key) for key in attributes)
    assert all(isinstance(shown[key], str) and shown[key] for key in attributes)
    assert shown["specversion"] == "1.0"
    assert datetime.fromisoformat(shown["time"]).tzinfo is not None
    assert UUID(shown["id"]).version == 7, "inside the house an id sorts by time"
    assert UUID(shown["subject"]).version == 4, "what a partner may see tells nothing"
    assert shown["partitionkey"] == shown["subject"], "the key is the aggregate: one referral, one partition, one order"
    assert partition_of(shown["subject"].encode(), 6) == partition_of(shown["partitionkey"].encode(), 6)


def test_a_record_without_an_attribute_is_malformed() -> None:
    whole = parse_example("offer.sent.v1")
    optional = {
        "ce_specversion",
        "ce_dataschema",
        "ce_partitionkey",
        "ce_causationid",
        "ce_traceparent",
        "content-type",
    }
    for gone in whole.headers.keys() - optional:
        with pytest.raises(Malformed):
            parse(Record(whole.key, {key: one for key, one in whole.headers.items() if key != gone}, whole.value))
    for key, wrong in {"ce_id": "7", "ce_sequence": "x", "ce_time": "yesterday", "ce_epoch": ""}.items():
        with pytest.raises(Malformed):
            parse(Record(whole.key, {**whole.headers, key: wrong}, whole.value))


def parse_example(name: str) -> Record:
    shown = example(name)
    headers = {f"ce_{key}": value for key, value in shown.items() if key not in {"data", "datacontenttype"}}
    return Record(shown["subject"].encode(), headers, json.dumps(shown["data"]).encode())


@pytest.mark.parametrize(
    ("type_", "value", "problem"),
    [
        ("org.spean.offer.seen.v2", b"{}", "unknown-version"),
        ("org.spean.weather.changed.v1", b"{}", "unknown-type"),
        ("org.spean.offer.seen.v1", b'{"offer": "no id"}', "invalid"),
        ("org.spean.offer.seen.v1", b"\xff\xfe", "invalid"),
        ("org.spean.offer.seen.v1", b"[]", "invalid"),
    ],
)
def test_what_cannot_be_read_says_only_its_class(type_: str, value: bytes, problem: str) -> None:
    with pytest.raises(registry.Unreadable) as refused:
        registry.read(type_, value)
    assert refused.value.problem == problem
    assert str(refused.value) == problem


def test_events_are_frozen_and_closed_to_their_writers() -> None:
    seen = events.OfferSeenV1(offer=UUID(int=1))
    with pytest.raises(ValueError, match="frozen"):
        seen.offer = UUID(int=2)
    with pytest.raises(ValueError, match="extra"):
        events.OfferSeenV1.model_validate({"offer": UUID(int=1), "name": "x"})
    assert registry.write(seen) == b'{"offer":"00000000-0000-0000-0000-000000000001"}'
