"""The OpenAPI documents: current, well made, saying what a partner needs; and answers are what they say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi.openapi.models import OpenAPI
from joserfc.jwk import OKPKey
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from schemas.rights import SCOPES
from services.cli import documents
from services.cli.client import ApiProblem, Partner
from spean.sealing import MEDIA_TYPE
from tests.builders import Organisation, World, eventually, second_system

DOCUMENTS: dict[str, dict[str, Any]] = {name: json.loads(documents.openapi(name)) for name in documents.API}
Operation = tuple[str, str, str, dict[str, Any]]


def operations() -> Iterator[Operation]:
    """(service, method, path, operation)."""
    for service, document in DOCUMENTS.items():
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                yield service, method, path, operation


ALL = [pytest.param(*one, id=f"{one[1]} /{one[0]}{one[2]}") for one in operations()]
each = pytest.mark.parametrize(("service", "method", "path", "operation"), ALL)


def parameters(operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in operation.get("parameters", ())}


@pytest.mark.parametrize("service", DOCUMENTS)
def test_the_document_that_is_checked_in_is_current(service: str) -> None:
    kept = documents.ROOT / "schemas" / "openapi" / f"{service}.json"
    assert kept.read_text(encoding="utf-8") == documents.openapi(service), "run `spean schemas write`"


async def test_a_running_service_shows_the_same_document(world: World) -> None:
    async with httpx.AsyncClient(base_url=world.made.url, timeout=15) as client:
        for service, document in DOCUMENTS.items():
            assert (await client.get(f"/{service}/openapi.json")).json() == document


@pytest.mark.parametrize("service", DOCUMENTS)
def test_it_is_openapi_3_1(service: str) -> None:
    document = DOCUMENTS[service]
    OpenAPI.model_validate(document)
    assert document["openapi"].startswith("3.1.")
    assert document["info"].keys() >= {"title", "version", "summary"}
    assert document["servers"] == [{"url": f"/{service}"}]
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    # Every reference leads somewhere, and nothing is kept that nothing refers to.
    named = set(re.findall(r'"\$ref": "#/components/(schemas|responses)/([^"]+)"', json.dumps(document)))
    kept = {(part, name) for part in ("schemas", "responses") for name in document["components"][part]}
    assert named == kept


@each
def test_an_operation_is_well_made(service: str, method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert not operation["summary"].endswith(".")
    assert operation["description"], "what it does, in a sentence"
    assert operation["tags"]
    taken = parameters(operation)
    assert set(re.findall(r"{(\w+)}", path)) == {name for name, one in taken.items() if one["in"] == "path"}
    assert all(one["required"] for one in taken.values() if one["in"] == "path")
    assert len(taken) == len(operation.get("parameters", ())), "no name twice"
    assert len([status for status in operation["responses"] if status.startswith("2")]) == 1
    if "requestBody" in operation:
        assert operation["requestBody"]["required"] is True


def test_operation_ids_are_readable_and_each_is_there_once() -> None:
    ids = [operation["operationId"] for _, _, _, operation in operations()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)+", one) for one in ids)
    assert {"offers_accept", "consent_withdraw", "hand_offs_request_handoff", "coordinator_ask_named"} <= set(ids)


OPEN = {"/oauth/token", "/.well-known/jwks.json", "/sessions/exchange"}


@each
def test_who_may_do_it_is_said(service: str, method: str, path: str, operation: dict[str, Any]) -> None:
    schemes = DOCUMENTS[service]["components"].get("securitySchemes", {})
    if path in OPEN:
        assert "security" not in operation
        return
    (wanted,) = operation["security"]
    ((scheme, scopes),) = wanted.items()
    if scheme == "OAuth2":
        if path.startswith("/approvals"):
            assert scopes == [], "what somebody may agree to follows from who they are"
            return
        (scope,) = scopes
        assert scope.startswith(f"{service}:")
        assert schemes[scheme]["flows"]["clientCredentials"]["scopes"][scope] == SCOPES[scope]
    else:
        assert (scheme, path.split("/")[1]) in {("Ticket", "packets"), ("Network", "questions")}
        assert schemes[scheme]["type"] == "http"
        assert scopes == []


def test_every_scope_opens_something() -> None:
    used = {
        scope
        for _, _, _, operation in operations()
        for one in operation.get("security", ())
        for scope in one.get("OAuth2", ())
    }
    assert used == set(SCOPES)


@each
def test_headers_that_are_needed_are_said(service: str, method: str, path: str, operation: dict[str, Any]) -> None:
    taken = parameters(operation)
    command = "OAuth2" in operation.get("security", [{}])[0] and method != "get"
    if command and method == "post":
        assert taken["Idempotency-Key"]["required"] is True
        assert re.fullmatch(taken["Idempotency-Key"]["schema"]["pattern"], "7f9c-1")
        assert taken["If-Match"]["required"] is False
    elif command:
        assert taken["If-Match"]["required"] is True
        assert "Idempotency-Key" not in taken
    else:
        assert not {"Idempotency-Key", "If-Match"} & taken.keys()
    for name in ("If-Match", "Idempotency-Key"):
        assert name not in taken or taken[name]["schema"]["type"] == "string"


@each
def test_refusals_are_problems(service: str, method: str, path: str, operation: dict[str, Any]) -> None:
    refused = {status: one for status, one in operation["responses"].items() if not status.startswith("2")}
    assert refused["default"] == {"$ref": "#/components/responses/Problem"}
    assert set(map(str, refused.values())) == {str(refused["default"])}
    if "{" in path:
        assert "404" in refused
    if operation.get("security"):
        assert {"401", "403"} <= refused.keys()
    if "Idempotency-Key" in parameters(operation):
        assert {"400", "409", "422"} <= refused.keys()
    if parameters(operation).get("If-Match", {}).get("required"):
        assert {"412", "428"} <= refused.keys()


@each
def test_an_answer_has_a_shape(service: str, method: str, path: str, operation: dict[str, Any]) -> None:
    (done,) = (one for status, one in operation["responses"].items() if status.startswith("2"))
    # A packet alone has two: to a system that has a key for it, it leaves sealed.
    sealed = {MEDIA_TYPE} if path == "/packets/{offer}" else set()
    kinds = done["content"].keys() - sealed
    assert len(kinds) == 1
    assert kinds <= {"application/json", "text/event-stream"}
    assert sealed <= done["content"].keys()
    assert all(said["schema"] for said in done["content"].values()), "an answer without a model"


def test_a_code_unknown_is_shown_to_nobody() -> None:
    for document in DOCUMENTS.values():
        assert '"unknown"' not in json.dumps(document)


# --- answers ------------------------------------------------------------------------------------------------------


class Judge:
    """Compares each answer with what the documents say of its operation. Holds what was called and every difference."""

    def __init__(self) -> None:
        self.called: set[str] = set()
        self.differences: list[str] = []
        self._routes = [
            (service, method, re.compile(re.sub(r"{\w+}", "[^/]+", f"/{service}{path}")), operation)
            for service, method, path, operation in operations()
        ]

    async def __call__(self, response: httpx.Response) -> None:
        await response.aread()
        path = response.request.url.path
        for service, method, pattern, operation in self._routes:
            if method == response.request.method.lower() and pattern.fullmatch(path):
                self._compare(service, operation, response)

    def _compare(self, service: str, operation: dict[str, Any], response: httpx.Response) -> None:
        said = operation["responses"].get(str(response.status_code), operation["responses"]["default"])
        name = f"{operation['operationId']} {response.status_code}"
        if "$ref" in said:
            said = DOCUMENTS[service]["components"]["responses"][said["$ref"].rpartition("/")[2]]
        else:
            self.called.add(operation["operationId"])
            if "ETag" in said.get("headers", {}) and "ETag" not in response.headers:
                self.differences.append(f"{name}: no ETag")
        kind = response.headers["content-type"].partition(";")[0]
        if kind not in said["content"]:
            self.differences.append(f"{name}: {kind}")
            return
        whole = Resource(contents=DOCUMENTS[service], specification=DRAFT202012)
        schema = self._from_here(said["content"][kind]["schema"])
        validator = Draft202012Validator(schema, registry=Registry().with_resource("urn:document", whole))
        self.differences += [
            f"{name}: {error.json_path}: {error.message}" for error in validator.iter_errors(response.json())
        ]

    def _from_here(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {key: f"urn:document{value}" if key == "$ref" else value for key, value in schema.items()}


def heard_by(judge: Judge, *partners: Any) -> None:
    for partner in partners:
        partner._http.event_hooks["response"].append(judge)


async def test_answers_are_what_the_documents_say(world: World) -> None:
    """A day of all roles, each answer compared with its operation's model; the list of what was called is complete."""
    judge = Judge()
    heard_by(judge, world.admin, world.sender.partner, world.coordinator.partner)
    house = await world.house("House of answers")
    heard_by(judge, house.partner)
    sender = world.sender.partner

    entry = await world.ready_person()
    await sender.get(f"/intake/entries/{entry}")
    await sender.put(f"/intake/entries/{entry}/person", {"age_years": 30, "sex": "female"}, version=1)
    await sender.post(f"/intake/entries/{entry}/exclusions", {"kind": "law_enforcement", "value": "any"})
    await sender.get(f"/intake/entries/{entry}/consents")
    await sender.post(f"/intake/entries/{entry}/exclusions/lift", {"kind": "law_enforcement", "value": "any"})
    await _bases(world, entry, judge)
    await _identification(world, entry)
    handoff = await world.handoff(entry)
    offer = (await world.offer(house))["id"]
    await house.partner.post(f"/referral/offers/{offer}/decline", {"reason": "no_capacity"})
    await _escalation(world, handoff)
    await _coordinator(world, handoff, world.places[house.id])
    offer = (await world.offer(house))["id"]
    await _receiver(world, house, handoff, offer)

    await sender.get("/intake/handoffs")
    await house.partner.get("/referral/copies")
    for what in ("disclosures", "details", "copies"):
        await sender.get(f"/intake/handoffs/{handoff}/{what}")
    officer = await second_system(world, world.sender, ["intake:rules"])
    heard_by(judge, officer)
    await officer.get(f"/intake/cases/{entry}/audit")
    other = await world.handoff(await world.ready_person())
    await sender.post(f"/intake/handoffs/{other}/cancel")
    await _erasure(world, officer)
    await sender.post(f"/intake/entries/{entry}/withdraw", {"what": "sharing"})
    await house.partner.answer_for_copy(offer, "erased")
    await _administrator(world, house, judge)
    await _refusals(world, house, offer)

    assert judge.differences == []
    never = {operation["operationId"] for _, _, _, operation in operations()} - judge.called
    # Asked by services only, streamed, or part of another journey.
    assert never == UNCALLED


UNCALLED = {
    "questions_next_candidate", "questions_readable_offers", "questions_may_accept", "questions_hand_over_code",
    "questions_detail", "questions_rules_stand", "questions_bases_counted", "dashboard_changes", "screening_begin", "screening_read", "screening_send_rows",
    "administration_reinstate_organisation", "coordinator_confirm_arrival", "sign_in_exchange", "screening_finish", "screening_read_findings", "screening_read_entries", "coordinator_close",
}  # fmt: skip


async def _bases(world: World, entry: str, judge: Judge) -> None:
    one, other = f"/intake/entries/{entry}/bases", await second_system(world, world.sender, ["intake:send"])
    heard_by(judge, other)
    recipients = {"organisations": [world.sender.id]}
    body = {"kind": "vital_interest", "justification": "made up for this test", "recipients": recipients,
            "acting_for": "sophea"}  # fmt: skip
    basis = (await world.sender.partner.post(one, body))["id"]
    await other.post(
        f"{one}/{basis}/decide", {"agrees": True, "reasons": "made up for this test", "acting_for": "dara"}
    )
    await other.get("/intake/bases/waiting")
    await other.post(f"{one}/{basis}/told")
    await other.post(f"{one}/{basis}/end")
    await other.get(one)


async def _identification(world: World, entry: str) -> None:
    path, today = f"/intake/entries/{entry}/identification", datetime.now(UTC).date().isoformat()
    step = {"status": "possible", "decided_by": "helping_organisation", "decided_on": today}
    await world.sender.partner.get(path)
    await world.sender.partner.post(path, step)
    await world.sender.partner.get(path)


async def _erasure(world: World, officer: Partner) -> None:
    entry = f"/intake/entries/{await world.entry()}"
    body = {"reason": "made up for this test", "until": "2100-01-01T00:00:00Z"}
    hold = (await officer.post(f"{entry}/holds", body))["id"]
    with pytest.raises(ApiProblem, match="legal-hold"):
        await world.sender.partner.post(f"{entry}/erase", {"why": "mistake"})
    await officer.post(f"{entry}/holds/{hold}/lift")
    await world.sender.partner.post(f"{entry}/erase", {"why": "mistake"})
    await world.sender.partner.get(f"{entry}/erasure")
    await officer.get(f"{entry}/holds")
    late = {"valid_from": "2100-01-01T00:00:00Z"}
    rule = (await world.admin.post("/intake/retention", {"applies": "met", "days": 36_000, **late}))["id"]
    await world.admin.post(f"/intake/retention/{rule}/cancel")
    await world.admin.get("/intake/retention")
    await world.admin.post("/intake/limits/crowd", {"people": 5})
    lasting = {"people": 2, "decide_within_s": 86_400, "lasts_s": 31_536_000}
    await world.admin.post("/intake/limits/bases", {"kind": "court_order", **lasting})
    await world.admin.get("/intake/limits")


async def _coordinator(world: World, handoff: str, place: str) -> None:
    partner = world.coordinator.partner
    await partner.get("/referral/escalations")
    await partner.get("/referral/late-copies")
    await partner.get("/referral/bases")
    await _escalation(world, handoff)
    await partner.post(f"/referral/escalations/{handoff}/take")
    await partner.post(f"/referral/escalations/{handoff}/ask", {"place": place})
    # No house here can nurse.
    other = await world.handoff(await world.ready_person(needs=["nursing"]))
    await _escalation(world, other)
    await partner.post(f"/referral/escalations/{other}/ask-again")
    await _escalation(world, other)
    await partner.post(f"/referral/escalations/{other}/hand-back")
    await world.state(other, "on-hold")
    await world.sender.partner.post(f"/intake/handoffs/{other}/ask-again")
    await partner.get("/notify/overview")


async def _escalation(world: World, handoff: str) -> None:
    """Wait until it is escalated (until then it is not the coordinator's to read)."""

    async def look() -> bool:
        try:
            await world.coordinator.partner.get(f"/referral/escalations/{handoff}")
        except ApiProblem as problem:
            if problem.status != 404:
                raise
            return False
        return True

    await eventually(look)


async def _receiver(world: World, house: Organisation, handoff: str, offer: str) -> None:
    partner = house.partner
    await partner.get(f"/referral/offers/{offer}")
    await partner.post(f"/referral/offers/{offer}/accept")
    await world.state(handoff, "ready")
    await world.sender.partner.post(f"/referral/referrals/{handoff}/departed")
    await partner.packet(offer)
    await partner.tell(offer, "whereabouts", {"meeting_point": "gate"})
    await partner.post(f"/referral/offers/{offer}/arrived", {})
    code = (await world.state(handoff, "in-progress"))["hand_over_code"]
    await partner.post(f"/referral/offers/{offer}/verify-arrival", {"code": code})
    await partner.post(f"/referral/offers/{offer}/outcome", {"outcome": "needs_met"})
    (place,) = (await partner.get("/referral/places"))["places"]
    place = await partner.get(f"/referral/places/{place['id']}")
    await partner.put(f"/referral/places/{place['id']}/count", {"usable": 3, "more_tonight": 1}, place["version"])


async def _administrator(world: World, house: Organisation, judge: Judge) -> None:
    admin = world.admin
    await admin.get("/referral/organisations")
    await admin.get("/referral/.well-known/jwks.json")
    await admin.get("/intake/.well-known/jwks.json")
    await admin.post("/notify/addresses", {"organisation": house.id, "email": "house@sample.invalid"})
    await admin.post("/referral/networks", {"name": "Another", "coordinator": world.coordinator.id, "sample": True})
    await admin.post(f"/referral/networks/{world.network}/coordinator", {"organisation": world.coordinator.id})
    need = {"group": "livelihood", "stage": "offer", "fields": ["languages"]}
    await admin.post("/intake/rules/need-to-know", need)
    corridor = {"from_country": "KH", "to_country": "TH", "categories": ["functional_needs"], "legal_basis": "sample"}
    rule = await admin.post("/intake/rules/corridors", corridor)
    await admin.get("/intake/rules/corridors")
    await admin.post(f"/intake/rules/corridors/{rule['id']}/end")
    gone = await world.organisation("Organisation that goes", "ngo", ["referral:receive"])
    heard_by(judge, gone.partner)
    pair = OKPKey.generate_key("Ed25519").as_dict(private=False)
    key = {"public_key": {name: str(value) for name, value in pair.items()}}
    added = await admin.post(f"/referral/clients/{gone.partner.client_id}/keys", key)
    await gone.partner.get("/referral/approvals")
    await gone.partner.post(f"/referral/approvals/{added['approval']}/approve")
    pair = OKPKey.generate_key("Ed25519").as_dict(private=False)
    third = {"public_key": {name: str(value) for name, value in pair.items()}}
    await admin.post(f"/referral/clients/{gone.partner.client_id}/keys/{added['thumbprint']}/revoke")
    waits = await admin.post(f"/referral/clients/{gone.partner.client_id}/keys", third)
    await gone.partner.post(f"/referral/approvals/{waits['approval']}/refuse")
    await admin.get("/referral/clients")
    await admin.post(f"/referral/clients/{gone.partner.client_id}/revoke")
    await admin.post(f"/referral/organisations/{gone.id}/suspend")


async def _refusals(world: World, house: Organisation, offer: str) -> None:
    """Problems are compared as well."""
    for ask in (
        house.partner.post(f"/referral/offers/{offer}/accept"),
        house.partner.post(f"/referral/offers/{offer}/decline", {"reason": "no_such_code"}),
        house.partner.get(f"/referral/offers/{world.network}"),
        house.partner.get("/referral/escalations"),
        world.sender.partner.post("/intake/entries", {"channel": "border_post", "area": "KH-1", "secret": 1}),
        world.sender.partner.put(f"/intake/entries/{world.network}/person", {}),
    ):
        with pytest.raises(ApiProblem):
            await ask


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/intake/handoffs", {"service_type": "emergency_bed", "urgency": "whenever", "area": "KH-1"}, "urgency"),
        ("/intake/handoffs", {"service_type": "emergency_bed", "urgency": "unknown", "area": "KH-1"}, "urgency"),
    ],
)
async def test_a_wrong_code_is_an_error_of_the_caller(
    world: World, path: str, body: dict[str, Any], field: str
) -> None:
    """Open lists are open between services; in a request a code that nobody knows is a mistake."""
    with pytest.raises(ApiProblem) as refused:
        await world.sender.partner.post(path, {**body, "network": world.network, "members": [world.network]})
    assert (refused.value.status, refused.value.code) == (422, "invalid")
    assert refused.value.problem["errors"] == [{"at": f"body.{field}", "why": "unknown_code"}]
