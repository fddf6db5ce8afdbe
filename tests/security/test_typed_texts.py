"""Every text that somebody may type into a request has its line here: a canary is planted in it, or it cannot be about a
person. A field that is added fails until somebody has thought about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from services.cli.installation import Installation
from services.intake.cases.domain import PersonFields
from spean.settings import Settings
from tests.security.canaries import CODED
from tests.security.operations import operations

# Where `test_canaries` plants one (`person` plants in every field of a person that is no code).
_PERSONS = frozenset(PersonFields.model_fields) - CODED
PLANTED = {
    *(f"POST /intake/entries .person.{name}" for name in _PERSONS),
    *(f"PUT /intake/entries/{{entry}}/person .{name}" for name in _PERSONS),
    "POST /intake/entries/{entry}/exclusions .name",
    "POST /intake/entries/{entry}/exclusions/lift .name",  # opened and compared, never kept
    "POST /intake/entries/{entry}/bases .justification",
    "POST /intake/entries/{entry}/bases/{basis}/decide .reasons",
    "POST /intake/entries/{entry}/holds .reason",
    "POST /intake/entries/{entry}/identification .reference",
    "POST /intake/entries/{entry}/identification .notes",
    "PUT /intake/packets/{offer}/whereabouts .meeting_point",
    "PUT /intake/packets/{offer}/whereabouts .address",
    "POST /intake/screenings/{screening}/rows .rows[].values[]",
}
# An id or a code that is looked at before anything is done; organisations, networks, rules and keys; tokens.
NOBODYS = {
    "POST /intake/entries/{entry}/consents .notice",
    "PUT /intake/packets/{offer}/erasure .statement",
    "POST /intake/entries/{entry}/exclusions .value",
    "POST /intake/entries/{entry}/exclusions/lift .value",
    "POST /intake/rules/need-to-know .fields[]",
    "POST /intake/rules/corridors .legal_basis",
    "POST /referral/organisations .name",
    "POST /referral/networks .name",
    "POST /referral/clients .public_key{}",
    "POST /referral/clients .scopes[]",
    "POST /referral/clients/{client}/keys .public_key{}",
    "POST /referral/oauth/token .client_assertion",
    "POST /referral/oauth/token .scope",
    "POST /referral/oauth/token .resource",
    "POST /referral/sessions/exchange .session",
}


def _texts(schema: Mapping[str, Any], known: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """The paths of everything in a schema that may be any text: no code, no id, no pattern."""
    if "$ref" in schema:
        yield from _texts(known[schema["$ref"].rpartition("/")[2]], known, at)
        return
    for choice in (one for name in ("anyOf", "oneOf", "allOf") for one in schema.get(name, ())):
        yield from _texts(choice, known, at)
    if schema.get("type") == "string" and not {"enum", "const", "format", "pattern"} & schema.keys():
        yield at
    for name, one in schema.get("properties", {}).items():
        yield from _texts(one, known, f"{at}.{name}")
    if "items" in schema:
        yield from _texts(schema["items"], known, f"{at}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _texts(schema["additionalProperties"], known, f"{at}{{}}")


def typed(made: Installation) -> set[str]:
    """METHOD /address .field of every text that a request may bring. Questions are the network's, not typed by anybody."""
    found: set[str] = set()
    for operation in operations(made):
        known = made.services[operation.service].app.openapi().get("components", {}).get("schemas", {})
        for content in operation.described.get("requestBody", {}).get("content", {}).values():
            if "/questions/" not in operation.path:
                found |= {f"{operation.id} {path}" for path in _texts(content["schema"], known)}
    return {
        one.replace("exploitation[]", "exploitation").replace("means_of_control[]", "means_of_control") for one in found
    }


async def test_every_text_has_its_line(installed: tuple[Installation, Settings]) -> None:
    found = typed(installed[0])
    assert found - PLANTED - NOBODYS == set(), "plant a canary in test_canaries, or say why it is about nobody"
    assert (PLANTED | NOBODYS) - found == set(), "not there any more"
