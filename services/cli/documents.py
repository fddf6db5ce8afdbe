"""What is generated from the code and checked in: OpenAPI, the catalogue of events, the state diagrams, the problems.

Everything here is pure: a document is a function of the code, so a test can prove that it is current.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from schemas import contracts, registry
from schemas.questions import QUESTIONS
from schemas.registry import Topic
from schemas.versions import newest
from services.cli import asyncapi, asyncapi_page, code_lists
from services.intake import consumers as intake_consumers
from services.intake import main as intake
from services.notify import consumers as notify_consumers
from services.notify import main as notify
from services.referral import consumers as referral_consumers
from services.referral import main as referral
from services.referral.referrals import domain
from spean.problem import REFUSALS, TYPE_BASE

ROOT = Path(__file__).parents[2]
API: Mapping[str, Callable[[], FastAPI]] = {
    referral.NAME: referral.api,
    intake.NAME: intake.api,
    notify.NAME: notify.api,
}
_NO_HOLDER: Any = None  # only the types are looked at
HANDLED: Mapping[str, frozenset[str]] = {
    referral.NAME: frozenset(referral_consumers.HANDLERS),
    intake.NAME: frozenset(intake_consumers.handlers_for(_NO_HOLDER)),
    notify.NAME: frozenset(notify_consumers.HANDLERS),
}
# As in OpenAPI: versions are the events' own.
_API_VERSION = "1"
_GENERATED = "<!-- Generated from the code: `spean schemas write`. -->"
_PROBLEMS = ("<!-- problems -->", "<!-- end of problems -->")
PARTNERS_GUIDE = ROOT / "docs" / "api.md"


def documents() -> dict[Path, str]:
    """Every generated document and its text."""
    guide = PARTNERS_GUIDE.read_text(encoding="utf-8")
    return {
        **{ROOT / "schemas" / "openapi" / f"{name}.json": openapi(name) for name in API},
        ROOT / "docs" / "states.md": states(),
        ROOT / "docs" / "events.md": events(),
        ROOT / "docs" / "asyncapi" / "asyncapi.json": asyncapi.document(_API_VERSION, HANDLED),
        ROOT / "docs" / "asyncapi" / "index.html": asyncapi_page.page(HANDLED, _kind),
        ROOT / "docs" / "code-lists.json": code_lists.document(),
        PARTNERS_GUIDE: with_problems(guide),
    }


def openapi(service: str) -> str:
    """A service's OpenAPI document, as it answers at `/<service>/openapi.json`."""
    return json.dumps(API[service]().openapi(), indent=2, ensure_ascii=False) + "\n"


# --- states -------------------------------------------------------------------------------------------------------


def states() -> str:
    """The two state machines, drawn from their tables."""
    return "\n".join(
        [
            "# What a referral and its offers may become",
            "",
            _GENERATED,
            "",
            "Two tables in [domain.py](../services/referral/referrals/domain.py) are the state machines. A pair that is not",
            "in them refuses a command (409 `state`) and makes an event a recorded no-op. PostgreSQL refuses the same.",
            "",
            "## Referral",
            "",
            *_machine(domain.REFERRAL, domain.State, domain.State.REQUESTED),
            "",
            "## Offer",
            "",
            "One organisation each; at most one offer of a referral is open or accepted at a time.",
            "",
            *_machine(domain.OFFER, domain.OfferState, domain.OfferState.SENT),
            "",
        ]
    )


def _machine(table: Mapping[Any, StrEnum], order: type[StrEnum], first: StrEnum) -> Iterator[str]:
    places = {state: number for number, state in enumerate(order)}
    moves = sorted(
        ((before, action, after) for (before, action), after in table.items()),
        key=lambda move: (places[move[0]], places[move[2]], move[1]),
    )
    yield from ("```mermaid", "stateDiagram-v2")
    for state in order:
        yield f'    state "{state}" as {_node(state)}'
    yield f"    [*] --> {_node(first)}"
    for before, action, after in moves:
        yield f"    {_node(before)} --> {_node(after)}: {action}"
    ends = [state for state in order if state not in {before for before, _, _ in moves}]
    for state in ends:
        yield f"    {_node(state)} --> [*]"
    yield from ("```", "", "| State | May become |", "|---|---|")
    for state in order:
        next_ = ", ".join(f"{to} ({action})" for before, action, to in moves if before is state)
        yield f"| {state} | {next_ or 'nothing more'} |"


def _node(state: StrEnum) -> str:
    return state.replace("-", "_")


# --- events -------------------------------------------------------------------------------------------------------


def events() -> str:
    """The catalogue: topics, events with their fields, questions."""
    lines = [
        "# What services say to each other",
        "",
        _GENERATED,
        "",
        "An event describes the work, never the person. It is a CloudEvent 1.0 in binary mode: attributes in headers",
        "(`ce_…`), data as JSON in the value, the aggregate's id as key. Writers are closed, readers open; each version has",
        "two JSON Schemas in [schemas/json](../schemas/json), and an example in [schemas/examples](../schemas/examples).",
        "With every field's meaning: [the page](asyncapi/index.html); for machines: [AsyncAPI 3](asyncapi/asyncapi.json).",
        "",
        "## Topics",
        "",
        "| Topic | Writer | Readers | Key | Kept |",
        "|---|---|---|---|---|",
        *(
            f"| `{topic.name}` | {topic.writer} | {_listed(topic.readers)} | {topic.key} | {topic.retention_days} days |"
            for topic in registry.TOPICS
        ),
        "",
        "`*` is a holder's name: each holder writes a topic of its own. There is no order between topics; within one, events",
        "of one key are in order (epoch, sequence).",
    ]
    for topic in registry.TOPICS:
        lines += ["", f"## {topic.name}", "", *_events_of(topic)]
    lines += ["", "## Questions", "", *_questions(), ""]
    return "\n".join(lines)


def _events_of(topic: Topic) -> Iterator[str]:
    yield from ("| Event | Says | Fields | Taken in by |", "|---|---|---|---|")
    for type_, model in registry.TYPES.items():
        if registry.TOPIC_OF[type_] is topic:
            name = type_.removeprefix(registry.PREFIX)
            readers = tuple(service for service, types in HANDLED.items() if newest(type_) in types)
            taken_in = _listed(readers or asyncapi.restored(type_))
            said = contracts.contract(name, model).writer
            now = newest(type_).removeprefix(registry.PREFIX)
            older = "" if now == name else f"Older: readers take it in as `{now}`. "
            yield f"| `{name}` | {older}{_cell(said.get('description', ''))} | {_fields(said)} | {taken_in} |"


def _questions() -> Iterator[str]:
    yield "*referral* asks a holder at `/questions/<name>`; every answer is for that moment only."
    yield from (
        "",
        "While a holder is silent nothing is disclosed, and nothing is accepted (`holder-silent`: try again); a decline goes",
        "through with its family alone. An offer ends at its `answer_by` all the same, and the next is asked once the holder",
        "answers; at the deadline a coordinator is told, which asks nobody.",
    )
    yield from ("", "| Question | Asks | Answer |", "|---|---|---|")
    for path, (question, answer) in QUESTIONS.items():
        asked = contracts.contract(f"{path}.question.v1", question).writer
        told = contracts.contract(f"{path}.answer.v1", answer).writer
        yield f"| `{path}` | {_fields(asked)} | {_fields(told)} |"


def _fields(schema: contracts.Schema) -> str:
    needed = schema.get("required", ())
    return ", ".join(
        f"`{name}`{'' if name in needed else '?'} {_kind(field)}" for name, field in schema["properties"].items()
    )


def _kind(field: contracts.Schema) -> str:
    """What a field is, in a word or two."""
    if "anyOf" in field:
        return " or ".join(_kind(one) for one in field["anyOf"])
    if "enum" in field:
        return "code"
    if field["type"] == "array":
        return f"list of {_kind(field['items'])}"
    words = {
        "uuid": "id", "date-time": "time", "integer": "count", "boolean": "flag", "null": "nothing", "string": "text",
        "object": "facts",
    }  # fmt: skip
    if field.get("pattern", "").startswith("^[A-Z]{2}-"):
        return "province"
    if field.get("pattern", "").startswith("^[A-Z]{2}"):
        return "country"
    return words[str(field.get("format", field["type"]))]


def _listed(names: Iterator[str] | tuple[str, ...]) -> str:
    return ", ".join(names) or "nobody yet"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- problems -----------------------------------------------------------------------------------------------------


def with_problems(guide: str) -> str:
    """The partner's guide with its table of problems as the code has them."""
    before, _, rest = guide.partition(_PROBLEMS[0])
    _, _, after = rest.partition(_PROBLEMS[1])
    rows = [f"| `{code}` | {int(status)} | {_cell(what)} |" for code, (status, what) in REFUSALS.items()]
    table = ["", f"`type` is `{TYPE_BASE}` and the code.", "", "| Code | Status | What to do |", "|---|---|---|", *rows]
    return f"{before}{_PROBLEMS[0]}\n" + "\n".join([*table, "", _PROBLEMS[1]]) + after
