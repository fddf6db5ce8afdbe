"""The OpenAPI 3.1 document of a service: what FastAPI writes, and what it cannot know about the house's doors.

Every POST that is a command needs an Idempotency-Key and every PUT of a command an If-Match: the kit answers for them
itself (400, 428), so to FastAPI they are optional. Every refusal is a problem document. Codes `unknown` are a reader's
way to hold what it does not know yet; nobody sends them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from schemas.rights import SCOPES
from spean.problem import MEDIA_TYPE, TYPE_BASE

Node = dict[str, Any]
KEY_PATTERN = r"^[\x21-\x7e]{1,200}$"
ETAG_PATTERN = r'^"v[0-9]{1,9}"$'
_NAMES = {"idempotency-key": "Idempotency-Key", "if-match": "If-Match", "last-event-id": "Last-Event-ID"}
_PROBLEM: Node = {
    "type": "object",
    "description": "What was refused, why, and what to do (RFC 9457). Nothing has been changed. Never holds any input.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": f"stable: {TYPE_BASE}<code>"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what to do next"},
        "rule": {"type": "string", "description": "the rule of the gate that refused"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["at", "why"],
                "properties": {"at": {"type": "string"}, "why": {"type": "string"}},
            },
        },
    },
}
_REFUSED = {"$ref": "#/components/responses/Problem"}


def operation_id(route: APIRoute) -> str:
    """Stable and readable: the room's tag and the function's name, such as `offers_accept`."""
    return f"{str(route.tags[-1]).replace('-', '_')}_{route.name}" if route.tags else route.name


class DocumentedAPI(FastAPI):
    """A FastAPI application whose document is finished."""

    def openapi(self) -> Node:
        if self.openapi_schema is None:
            self.openapi_schema = finished(super().openapi())
        return self.openapi_schema


def finished(document: Node) -> Node:
    """The document with required headers, scopes and problems. Changes it in place."""
    parts: Node = document.setdefault("components", {})
    parts.setdefault("schemas", {})["Problem"] = _PROBLEM
    parts["responses"] = {
        "Problem": {
            "description": "Refused: a problem document",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    }
    used: set[str] = set()
    for method, operation in _operations(document):
        _summary(operation)
        for parameter in operation.get("parameters", ()):
            _header(method, parameter)
        used.update(scope for one in operation.get("security", ()) for scope in one.get("OAuth2", ()))
        operation["responses"].update(dict.fromkeys(sorted(_refusals(method, operation)), _REFUSED))
        for status, response in operation["responses"].items():
            if status.startswith("2"):
                _etag(response, parts["schemas"])
    if "OAuth2" in parts.get("securitySchemes", {}):
        flow = parts["securitySchemes"]["OAuth2"]["flows"]["clientCredentials"]
        flow["scopes"] = {scope: SCOPES[scope] for scope in sorted(used)}
    _without_unknown(document)
    return document


def _operations(document: Node) -> Iterator[tuple[str, Node]]:
    for path in document["paths"].values():
        yield from path.items()


def _summary(operation: Node) -> None:
    """The first sentence of what the function says of itself."""
    said = " ".join(operation.get("description", "").split())
    if said:
        operation["summary"] = said.partition(". ")[0].removesuffix(".")


def _header(method: str, parameter: Node) -> None:
    if parameter["in"] != "header":
        return
    name = parameter["name"] = _NAMES.get(parameter["name"], parameter["name"])
    schema: Node = {"type": "string"}
    if name == "Idempotency-Key":
        parameter["required"], schema["pattern"] = True, KEY_PATTERN
    if name == "If-Match":
        parameter["required"], schema["pattern"] = method == "put", ETAG_PATTERN
    parameter["schema"] = schema


def _refusals(method: str, operation: Node) -> set[str]:
    """The statuses that the kit may answer, by what the operation takes; `default` is for all others."""
    taken = {parameter["name"] for parameter in operation.get("parameters", ())}
    found = {"default"}
    if operation.get("security"):
        found |= {"401", "403"}
    if any(parameter["in"] == "path" for parameter in operation.get("parameters", ())):
        found.add("404")
    if method != "get":
        found |= {"409", "422"}
    if "Idempotency-Key" in taken:
        found.add("400")
    if "If-Match" in taken:
        found |= {"412", "428"} if method == "put" else {"412"}
    return found


def _etag(response: Node, schemas: Node) -> None:
    """An answer that has a version says it as ETag too."""
    shown: Node = response.get("content", {}).get("application/json", {}).get("schema", {})
    if "version" in schemas.get(shown.get("$ref", "").rpartition("/")[2], {}).get("properties", {}):
        schema = {"type": "string", "pattern": ETAG_PATTERN}
        response["headers"] = {"ETag": {"description": "send it back as If-Match", "schema": schema}}


def _without_unknown(node: Any) -> None:
    if isinstance(node, list):
        for one in node:
            _without_unknown(one)
    elif isinstance(node, dict):
        if isinstance(node.get("enum"), list) and "unknown" in node["enum"]:
            node["enum"] = [code for code in node["enum"] if code != "unknown"]
        for one in node.values():
            _without_unknown(one)
