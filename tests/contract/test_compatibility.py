"""The gate between revisions of a contract: what is incompatible is refused, and what passes is really readable."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, Field, NonNegativeInt, PositiveInt, create_model

from schemas import contracts
from schemas import events as e
from schemas.compatibility import faults, faults_over_all, rerouted, same, unreadable
from schemas.contracts import Contract
from schemas.events import EventData
from schemas.vocabulary import Country, EscalationReason, ReasonFamily, ServiceGroup
from tests.contract.documents import documents, valid

NOW = contracts.current()
REQUESTED, DECLINED = NOW["handoff.requested.v1"], NOW["offer.declined.v1"]
ASKED, CODE, READABLE = (
    NOW["next-candidate.question.v1"],
    NOW["hand-over-code.question.v1"],
    NOW["readable-offers.answer.v1"],
)
Change = Callable[[dict[str, Any]], None]


def changed(old: Contract, change: Change) -> Contract:
    """The same change in both schemas, as a change of the model makes it."""
    writer, reader = ({"required": [], **copy.deepcopy(schema)} for schema in (old.writer, old.reader))
    change(writer)
    change(reader)
    return Contract(writer, reader)


def fields(schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema["properties"]
    return found


def remove(name: str) -> Change:
    def change(schema: dict[str, Any]) -> None:
        del fields(schema)[name]
        if name in schema["required"]:
            schema["required"].remove(name)

    return change


def add(name: str, field: dict[str, Any], *, required: bool) -> Change:
    def change(schema: dict[str, Any]) -> None:
        fields(schema)[name] = field
        if required:
            schema["required"].append(name)

    return change


def rename(old: str, new: str) -> Change:
    def change(schema: dict[str, Any]) -> None:
        fields(schema)[new] = fields(schema).pop(old)
        schema["required"] = [new if name == old else name for name in schema["required"]]

    return change


def put(*path: str, **words: Any) -> Change:
    """Set keywords of the field at a path; None takes a keyword away."""

    def change(schema: dict[str, Any]) -> None:
        node = schema
        for part in path:
            node = node["items"] if part == "[]" else fields(node)[part]
        for word, value in words.items():
            if value is None:
                node.pop(word, None)
            else:
                node[word] = value

    return change


def without_code(name: str, code: str) -> Change:
    def change(schema: dict[str, Any]) -> None:
        if "enum" in fields(schema)[name]:
            fields(schema)[name]["enum"].remove(code)

    return change


def required(name: str) -> Change:
    return lambda schema: schema["required"].append(name)


def optional(name: str) -> Change:
    return lambda schema: schema["required"].remove(name)


NEEDS = ("candidates", "[]", "eligibility", "needs", "[]")
INCOMPATIBLE = {
    "a needed field is gone": (REQUESTED, remove("area"), "old reader, new writer: area: needed"),
    "an optional field is gone": (REQUESTED, remove("need_by"), "lost: need_by: field"),
    "a field has another name": (REQUESTED, rename("places", "beds"), "places: needed"),
    "an optional field has another name": (REQUESTED, rename("need_by", "needed_by"), "lost: need_by"),
    "a new field is needed": (
        REQUESTED,
        add("lane", {"type": "string"}, required=True),
        "new reader, old writer: lane",
    ),
    "an optional field is needed now": (REQUESTED, required("need_by"), "new reader, old writer: need_by: needed"),
    "a needed field may be missing now": (REQUESTED, optional("area"), "old reader, new writer: area: needed"),
    "a number became text": (REQUESTED, put("places", type="string", exclusiveMinimum=None), "string is not integer"),
    "a bound was raised": (REQUESTED, put("places", exclusiveMinimum=1), "new reader, old writer: places: from 1.0"),
    "a bound was lowered": (REQUESTED, put("places", exclusiveMinimum=-1), "old reader, new writer: places: from 0.0"),
    "a bound is new": (REQUESTED, put("places", maximum=10), "new reader, old writer: places"),
    "an area is written otherwise": (REQUESTED, put("area", pattern="^[A-Z]{2}$"), "area: pattern"),
    "an id is no id any more": (REQUESTED, put("network", format=None), "network: format None is not uuid"),
    "a code is gone": (DECLINED, without_code("reason", "full"), "lost: reason: code full"),
    "a closed list has a new code": (
        ASKED,
        put(*NEEDS, enum=["nursing", "quiet_room"]),
        "code quiet_room is not known",
    ),
    "a closed list lost a code": (ASKED, put(*NEEDS, enum=["nursing"]), "lost: candidates[].eligibility.needs[]: code"),
    "more items than before": (ASKED, put("candidates", maxItems=51), "old reader, new writer: candidates: from 0"),
    "fewer items than before": (ASKED, put("candidates", maxItems=49), "new reader, old writer: candidates: from 0"),
    "a shorter text": (CODE, put("code", maxLength=6), "new reader, old writer: code"),
    "a longer text": (CODE, put("code", maxLength=20), "old reader, new writer: code"),
    "another default": (
        ASKED,
        put("candidates", "[]", "eligibility", "max_age", default=18),
        "max_age: another default",
    ),
    "a keyword that nobody judges": (CODE, put("code", contentEncoding="base64"), "cannot be judged: contentEncoding"),
    "a kind of number that nobody judges": (REQUESTED, put("places", type="number"), "cannot be judged: number"),
}
COMPATIBLE = {
    "nothing": (REQUESTED, lambda _: None),
    "a new optional field": (REQUESTED, add("lane", {"type": "string", "default": "road"}, required=False)),
    "other words": (REQUESTED, put("places", description="how many")),
}


@pytest.mark.parametrize("name", INCOMPATIBLE)
def test_an_incompatible_change_is_refused(name: str) -> None:
    old, change, expected = INCOMPATIBLE[name]
    found = faults(old, changed(old, change))
    assert any(expected in fault for fault in found), found


# The same as somebody would do it, by editing a model: the field and what it became.
EDITED: dict[str, tuple[type[EventData], dict[str, Any], str]] = {
    "an id became a code": (e.OfferSentV1, {"offer": (ServiceGroup, ...)}, "offer: format None is not uuid"),
    "a time became a day": (e.OfferSentV1, {"answer_by": (date, ...)}, "answer_by: format date is not date-time"),
    "a time became seconds": (e.OfferSentV1, {"answer_by": (PositiveInt, ...)}, "answer_by: integer is not string"),
    "a time may be missing": (e.OfferSentV1, {"answer_by": (AwareDatetime | None, None)}, "answer_by: needed"),
    "a flag became a count": (e.ReferralArrivedV1, {"verified": (NonNegativeInt, ...)}, "integer is not boolean"),
    "a flag became a code": (e.ReferralArrivedV1, {"verified": (ReasonFamily, ...)}, "string is not boolean"),
    "a count may be nothing": (e.HandoffRequestedV1, {"places": (NonNegativeInt, ...)}, "places: from 0.0"),
    "a count has an end": (e.CapacityChangedV1, {"free": (Annotated[int, Field(ge=0, le=20)], ...)}, "free: from 0"),
    "one became several": (e.OfferSentV1, {"organisation": (tuple[UUID, ...], ...)}, "array is not string"),
    "a province became a country": (e.CapacityChangedV1, {"area": (Country, ...)}, "area: pattern"),
    "an open list became another": (
        e.OfferDeclinedV1, {"reason": (EscalationReason, ...)}, "lost: reason: code full",
    ),
    "a closed list became an open one": (e.ReferralHeldV2, {"waits_for": (ReasonFamily, ...)}, "code full is not known"),
    "a closed list has one code": (
        e.ReferralHeldV2, {"waits_for": (Literal["sender"], ...)}, "waits_for: cannot be judged: const",
    ),
    "a new field must be there": (e.OfferSeenV1, {"seen_at": (AwareDatetime, ...)}, "new reader, old writer: seen_at"),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITED)
def test_a_model_edited_so_that_somebody_could_not_read_is_refused(name: str) -> None:
    model, fields_, expected = EDITED[name]
    old, new = (contracts.contract("made.v1", one) for one in (model, create_model("Made", __base__=model, **fields_)))  # type: ignore[call-overload]
    found = faults(old, new)
    assert any(expected in fault for fault in found), found


@pytest.mark.parametrize(
    ("kind", "name", "became"),
    [
        ("events", "offer.sent.v1", "spean.place"), ("events", "offer.sent.v1", None), ("topics", "spean.place", None),
        ("topics", "spean.referral", {"writer": "referral", "key": "place", "partitions": 6}),
        ("topics", "spean.referral", {"writer": "referral", "key": "referral", "partitions": 12}),
        ("topics", "spean.referral", {"writer": "intake", "key": "referral", "partitions": 6}),
    ],
    ids=["another topic", "no event", "no topic", "another key", "other partitions", "another writer"],
)  # fmt: skip
def test_an_event_that_readers_would_not_find_or_in_another_order_is_refused(
    kind: str, name: str, became: object
) -> None:
    now = contracts.routes()
    assert rerouted(now, now) == []
    new = copy.deepcopy(now)
    new[kind] = {key: one for key, one in new[kind].items() if key != name} | ({name: became} if became else {})
    (fault,) = rerouted(now, new)
    assert fault.startswith(f"{name}: ")
    new = copy.deepcopy(now)
    new["events"]["offer.lost.v1"] = "spean.referral"
    assert rerouted(now, new) == [], "what is new was nowhere before"


@pytest.mark.parametrize("name", COMPATIBLE)
def test_a_compatible_change_passes(name: str) -> None:
    old, change = COMPATIBLE[name]
    assert faults(old, changed(old, change)) == []


def test_a_new_code_of_an_open_list_passes_and_the_old_reader_reads_it() -> None:
    new = Contract(changed(DECLINED, put("reason", enum=["full", "flood"])).writer, DECLINED.reader)
    new.writer["properties"]["reason"]["enum"] = [*DECLINED.writer["properties"]["reason"]["enum"], "flood"]
    assert faults(DECLINED, new) == []
    assert valid({"offer": "0c6f6f4e-93a6-4f7b-8f16-7c86d1d6f3f5", "reason": "flood"}, DECLINED.reader)


def test_a_name_may_not_come_back_with_another_meaning() -> None:
    """Each step could be argued for alone; over all revisions it is refused."""
    first = changed(REQUESTED, add("lane", {"type": "string"}, required=False))
    second = REQUESTED
    third = changed(REQUESTED, add("lane", {"type": "integer"}, required=False))
    found = faults_over_all([first, second, third])
    assert any(fault.startswith("revision 3 after 1: ") and "lane: integer is not string" in fault for fault in found)


def test_two_ways_to_say_what_is_allowed_are_not_judged() -> None:
    both = {"anyOf": [{"type": "string"}], "type": "integer"}
    assert unreadable(both, {"type": "integer"}) == ["the whole: cannot be judged: anyOf and type"]


def test_a_closed_reader_is_refused() -> None:
    reader = {**REQUESTED.reader, "additionalProperties": False}
    newer = changed(REQUESTED, add("lane", {"type": "string"}, required=False)).writer
    assert unreadable(newer, reader) == ["lane: not known, and the reader is closed"]


def test_descriptions_are_free() -> None:
    new = changed(REQUESTED, put("places", description="how many"))
    assert new != REQUESTED
    assert same(REQUESTED, new)
    assert not same(REQUESTED, changed(REQUESTED, put("places", exclusiveMinimum=1)))


@pytest.mark.parametrize("name", NOW)
def test_every_contract_passes_over_all_its_revisions(name: str) -> None:
    assert faults_over_all(contracts.released()[name]) == []


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_what_the_gate_passes_every_reader_can_read(data: st.DataObject) -> None:
    """Any change at all, to any contract: where the gate finds no fault, what either writer says is valid for both
    readers."""
    old = NOW[data.draw(st.sampled_from(sorted(NOW)))]
    new = changed(old, data.draw(any_change(old.writer)))
    if faults(old, new):
        return
    for writer, reader in ((new.writer, old.reader), (old.writer, new.reader)):
        document = data.draw(documents(writer))
        assume(valid(document, writer))
        assert valid(document, reader)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_document_that_a_reader_refuses_never_comes_from_a_writer_that_passed(data: st.DataObject) -> None:
    """The same from the other side: start from a document that is refused, and see that the gate had said so."""
    old = NOW[data.draw(st.sampled_from(sorted(NOW)))]
    new = changed(old, data.draw(any_change(old.writer)))
    document = data.draw(documents(new.writer))
    assume(valid(document, new.writer) and not valid(document, old.reader))
    assert unreadable(new.writer, old.reader) != [], json.dumps(document)


def any_change(schema: dict[str, Any]) -> st.SearchStrategy[Change]:
    """One change at one field (or at the top, where there is none)."""
    names = sorted(schema.get("properties", {}))
    plain = st.sampled_from(
        [
            {"type": "string"},
            {"type": "integer", "minimum": 0},
            {"type": "boolean"},
            {"type": "string", "format": "uuid"},
        ]
    )
    adding = st.builds(lambda field, needed: add("a_new_field", field, required=needed), plain, st.booleans())
    if not names:
        return adding
    named = st.sampled_from(names)
    words = st.sampled_from(
        [
            {"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {"enum": ["one", "two"], "type": "string"},
            {"minimum": 0}, {"minimum": 5}, {"exclusiveMinimum": 3}, {"maximum": 7}, {"maxItems": 1}, {"minItems": 1},
            {"maxLength": 3}, {"pattern": "^[a-z]+$", "format": None}, {"format": "uuid", "type": "string"}, {"enum": None},
        ]
    )  # fmt: skip
    return st.one_of(
        adding,
        named.map(remove),
        named.map(lambda name: rename(name, "renamed")),
        st.builds(lambda name, word: put(name, **word), named, words),
        named.map(lambda name: lambda schema: _toggle(schema, name)),
    )


def _toggle(schema: dict[str, Any], name: str) -> None:
    needed = schema["required"]
    needed.remove(name) if name in needed else needed.append(name)
