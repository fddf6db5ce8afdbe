"""Every role × every operation × another organisation's object, generated from the documents of the running services."""

from __future__ import annotations

import json
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.cli.installation import Installation
from spean.auth import Kind, Signer
from spean.turning import SigningKeys
from tests.builders import Organisation
from tests.security.operations import METHODS, PARTNER_SCOPES, RECIPES, Operation, Stage, operations, send
from tests.security.state import state_of

ALL_SCOPES = frozenset(recipe.scope for recipe in RECIPES.values() if recipe.scope)
# Answers of numbers: nothing in them names anybody's object.
_NUMBERS = {"GET /notify/overview", "GET /referral/bases"}
# Problems that say that the caller was let in and the request itself was refused, or done.
_DOOR = {"no-token", "bad-token", "scope", "suspended", "bad-client"}


def code_of(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json", response.text
    assert response.json()["status"] == response.status_code
    return str(response.json()["type"]).rpartition("/")[2]


def asked(stage: Stage) -> list[Operation]:
    return operations(stage.world.made)


@pytest.fixture(scope="module")
async def all_but(stage: Stage) -> dict[str, Organisation]:
    """For each scope an organisation that has every other one."""
    return {
        scope: await stage.world.organisation(f"All but {scope.replace(':', ' ')}", "ngo", sorted(ALL_SCOPES - {scope}))
        for scope in sorted(ALL_SCOPES)
    }


async def test_every_operation_has_a_recipe_and_every_recipe_an_operation(stage: Stage) -> None:
    assert {operation.id for operation in asked(stage)} == set(RECIPES)


async def test_the_documents_name_the_scopes_that_are_needed(stage: Stage) -> None:
    named = {
        operation.id: {scope for one in operation.described.get("security", ()) for scope in one.get("OAuth2", ())}
        for operation in asked(stage)
    }
    wanted = {id_: {recipe.scope} if recipe.scope else set() for id_, recipe in RECIPES.items()}
    assert named == wanted


async def test_who_may_is_let_in(stage: Stage) -> None:
    """The control of this file: a valid request of the right role passes the door, and reads answer."""
    for operation in asked(stage):
        recipe = RECIPES[operation.id]
        if recipe.role == "anybody":
            continue
        nowhere = dict.fromkeys(set(recipe.path.values()) - {"kind"}, str(uuid4()))
        objects = {} if operation.method == "GET" else nowhere
        token = await stage.token(recipe)
        if recipe.role == "ticket" and objects:
            token = stage.ticket(offer=nowhere["accepted"], referral=str(uuid4()), organisation=stage.stranger.id)
        response = await send(stage, operation, token, objects=objects)
        if response.is_success:
            continue
        assert operation.method != "GET", (operation.id, response.text)
        assert code_of(response) not in _DOOR | {"invalid", "unreadable", "not-json"}, (operation.id, response.text)


async def test_nobody_without_a_token(stage: Stage) -> None:
    before = await state_of(stage)
    for operation in asked(stage):
        if RECIPES[operation.id].role == "anybody":
            continue
        response = await send(stage, operation, None)
        assert (response.status_code, code_of(response)) == (401, "no-token"), operation.id
        assert response.headers["www-authenticate"] == "Bearer", operation.id
    assert await state_of(stage) == before


async def test_a_missing_scope_is_said_before_anything_is_looked_up(
    stage: Stage, all_but: dict[str, Organisation]
) -> None:
    """Every other scope together opens nothing; the answer is the same for what exists and what does not."""
    before = await state_of(stage)
    for operation in asked(stage):
        recipe = RECIPES[operation.id]
        if recipe.scope is None:
            continue
        token = await all_but[recipe.scope].partner.token()
        there = await send(stage, operation, token)
        nowhere = dict.fromkeys(set(recipe.path.values()) - {"kind"}, str(uuid4()))
        missing = await send(stage, operation, token, objects=nowhere)
        assert (there.status_code, code_of(there)) == (403, "scope"), operation.id
        _same(operation, there, missing)
    assert await state_of(stage) == before


async def test_a_token_of_another_service_opens_nothing(stage: Stage) -> None:
    """A system whose scopes are all of one service has a token for that service alone."""
    services = sorted({operation.service for operation in asked(stage)})
    partners = {
        name: await stage.world.organisation(
            f"Only {name}", "ngo", sorted(scope for scope in ALL_SCOPES if scope.startswith(f"{name}:"))
        )
        for name in services
    }
    for operation in asked(stage):
        if RECIPES[operation.id].role == "anybody":
            continue
        for name in set(services) - {operation.service}:
            response = await send(stage, operation, await partners[name].partner.token())
            assert (response.status_code, code_of(response)) == (401, "bad-token"), (operation.id, name)
            assert "invalid_token" in response.headers["www-authenticate"]


async def test_another_organisations_object_is_nowhere_in_every_verb(stage: Stage) -> None:
    """Whoever is not its owner gets the same status, body and headers as for an object that never was."""
    before = await state_of(stage)
    mine = await stage.stranger.partner.token()
    declared = {(operation.template, operation.method) for operation in asked(stage)}
    for operation in asked(stage):
        recipe = RECIPES[operation.id]
        if not recipe.foreign:
            continue
        token = mine
        if recipe.role == "ticket":
            token = stage.ticket(offer=str(uuid4()), referral=str(uuid4()), organisation=stage.stranger.id)
        others = [one for one in METHODS if (operation.template, one) not in declared]
        declared.update((operation.template, one) for one in others)  # once per address
        for method in (operation.method, *others):
            nowhere = dict.fromkeys(recipe.path.values(), str(uuid4()))
            there = await send(stage, operation, token, method=method)
            missing = await send(stage, operation, token, method=method, objects=nowhere)
            if method == operation.method:
                assert (there.status_code, code_of(there)) == (404, "not-found"), operation.id
            else:
                assert there.status_code == 405, (operation.id, method)
                assert there.headers["allow"], (operation.id, method)
            _same(operation, there, missing)
    assert await state_of(stage) == before


async def test_anothers_object_beside_ones_own_is_nowhere(stage: Stage) -> None:
    """Two ids in one address, of which the first is the caller's own, or of another kind: what hangs on somebody else's is
    not found by way of it."""
    entry = await stage.stranger.partner.post("/intake/entries", _body_of(stage, "POST /intake/entries"))
    own = {"entry": entry["id"], "kind": "agreements", "client": stage.people["sender"].partner.client_id}
    before, tried = await state_of(stage), 0
    for operation in asked(stage):
        recipe = RECIPES[operation.id]
        first, *others = recipe.path.values() or ("",)
        if not others:
            continue
        token = await (stage.stranger.partner.token() if recipe.foreign else stage.token(recipe))
        nowhere = {first: own[first], **dict.fromkeys(others, str(uuid4()))}
        there = await send(stage, operation, token, objects={first: own[first]})
        missing = await send(stage, operation, token, objects=nowhere)
        assert (there.status_code, code_of(there)) == (404, "not-found"), operation.id
        _same(operation, there, missing)
        tried += 1
    assert tried > 5
    assert await state_of(stage) == before


async def test_anothers_object_in_a_body_is_nowhere(stage: Stage) -> None:
    """A request of one's own that names somebody else's object is answered as one that names nobody's."""
    theirs = {stage.objects[name] for name in ("entry", "handoff", "accepted", "open", "second", "escalated", "erased")}
    before, tried = await state_of(stage), 0
    for operation in asked(stage):
        recipe = RECIPES[operation.id]
        if recipe.body is None or recipe.foreign or recipe.scope not in PARTNER_SCOPES:
            continue
        said = json.dumps(_body_of(stage, operation.id))
        nobodys = said
        for one in theirs:
            nobodys = nobodys.replace(one, str(uuid4()))
        if nobodys == said:
            continue
        token = await stage.stranger.partner.token()
        there, missing = [await send(stage, operation, token, body=json.loads(body)) for body in (said, nobodys)]
        assert 400 <= there.status_code < 500, operation.id
        assert code_of(there) not in _DOOR | {"invalid"}, operation.id
        _same(operation, there, missing)
        tried += 1
    assert tried > 0
    assert await state_of(stage) == before


def _body_of(stage: Stage, operation: str) -> Any:
    made = RECIPES[operation].body
    assert made is not None
    return made(stage)


def _same(operation: Operation, one: httpx.Response, other: httpx.Response) -> None:
    assert one.status_code == other.status_code, operation.id
    assert one.content == other.content, operation.id
    assert one.headers.raw == other.headers.raw, operation.id


async def test_lists_hold_nothing_of_anybody_else(stage: Stage) -> None:
    """What names no object answers with the caller's own only: the owner sees it, the stranger does not."""
    ids = {id_ for name, id_ in stage.objects.items() if name not in {"kind", "network", "organisation", "client"}}
    for operation in asked(stage):
        recipe = RECIPES[operation.id]
        if operation.method != "GET" or recipe.path or recipe.scope not in PARTNER_SCOPES or recipe.stream:
            continue
        response = await send(stage, operation, await stage.stranger.partner.token())
        assert response.status_code == 200, operation.id
        found = [id_ for id_ in ids if id_ in response.text]
        assert found == [], operation.id
        owner = await send(stage, operation, await stage.token(recipe))
        assert any(id_ in owner.text for id_ in ids) or operation.id in _NUMBERS, operation.id


async def test_installation_wide_operations_find_nothing_where_nothing_is(stage: Stage) -> None:
    """Administrators act on everything, by scope alone; what is not there is not there."""
    for operation in asked(stage):
        recipe = RECIPES[operation.id]
        if recipe.foreign or recipe.role != "administrator" or not set(recipe.path.values()) - {"kind"}:
            continue
        nowhere = dict.fromkeys(set(recipe.path.values()) - {"kind"}, str(uuid4()))
        response = await send(stage, operation, await stage.token(recipe), objects=nowhere)
        assert (response.status_code, code_of(response)) == (404, "not-found"), operation.id


# --- the packet's door --------------------------------------------------------------------------------------------


async def _packet_doors(stage: Stage) -> list[Operation]:
    found = [operation for operation in asked(stage) if RECIPES[operation.id].role == "ticket"]
    assert found
    return found


async def test_a_packet_opens_to_its_own_ticket_only(stage: Stage) -> None:
    before = await state_of(stage)
    house, offer, referral = stage.people["receiver"], stage.objects["accepted"], stage.objects["handoff"]
    refused = {
        "an access token": (await house.partner.token(), 401, "bad-token"),
        "a question's token": (stage.question(), 401, "bad-token"),
        "a ticket for another holder": (
            stage.ticket(offer=offer, referral=referral, organisation=house.id, holder="other"), 401, "bad-token",
        ),
        "a ticket for another offer of mine": (
            stage.ticket(offer=stage.objects["open"], referral=stage.objects["second"], organisation=house.id),
            404, "not-found",
        ),
        "a ticket of another organisation": (
            stage.ticket(offer=offer, referral=referral, organisation=stage.stranger.id), 409, "",
        ),
        "a ticket with no packet": (
            stage.signer.sign(Kind.TICKET, f"packet:{stage.holder}", 60, {"sub": house.id}), 401, "bad-token",
        ),
        "a ticket whose packet is none": (
            stage.signer.sign(Kind.TICKET, f"packet:{stage.holder}", 60, {"packet": {"offer": offer}}), 401, "bad-token",
        ),
        "a ticket that has ended": (_old(stage, offer, referral, house.id), 401, "bad-token"),
    }  # fmt: skip
    for operation in await _packet_doors(stage):
        for name, (token, status, code) in refused.items():
            response = await send(stage, operation, token)
            assert (response.status_code, code_of(response)) == (status, code or code_of(response)), (
                operation.id,
                name,
            )
            assert "members" not in response.json()
    assert await state_of(stage) == before


def _old(stage: Stage, offer: str, referral: str, organisation: str) -> str:
    facts = stage.facts(organisation).model_dump(mode="json")
    claims = {"packet": {"offer": offer, "referral": referral, "facts": facts}, "iat": int(time.time()) - 120}
    return stage.signer.sign(Kind.TICKET, f"packet:{stage.holder}", -60, claims)


async def test_a_ticket_is_given_for_an_accepted_offer_only(stage: Stage) -> None:
    house = stage.people["receiver"].partner
    operation = next(one for one in asked(stage) if one.id == "POST /referral/offers/{offer}/ticket")
    still_open = await send(stage, operation, await house.token(), objects={"accepted": stage.objects["open"]})
    assert (still_open.status_code, code_of(still_open)) == (409, "state")


# --- questions ----------------------------------------------------------------------------------------------------


async def test_questions_are_the_networks_alone(stage: Stage) -> None:
    """No token, an access token (of any role), a ticket, a token for another holder, an old one, one of another signer."""
    before = await state_of(stage)
    house = stage.people["receiver"]
    forged = Signer(SigningKeys(stage.world.made.settings.keys / "test" / "forged.jwk"), stage.signer.issuer)
    said = {"scope": "question", "sub": "referral"}
    refused = [
        *[await stage.people[role].partner.token() for role in stage.people],
        stage.ticket(offer=stage.objects["accepted"], referral=stage.objects["handoff"], organisation=house.id),
        stage.question(holder="other"),
        stage.question(scope="intake:send"),
        stage.signer.sign(Kind.ACCESS, f"holder:{stage.holder}", 60, said),
        stage.signer.sign(Kind.QUESTION, f"holder:{stage.holder}", -60, {**said, "iat": int(time.time()) - 120}),
        forged.sign(Kind.QUESTION, f"holder:{stage.holder}", 60, said),
    ]
    doors = [operation for operation in asked(stage) if RECIPES[operation.id].role == "network"]
    assert doors
    for operation in doors:
        for number, token in enumerate(refused):
            response = await send(stage, operation, token)
            assert (response.status_code, code_of(response)) == (401, "bad-token"), (operation.id, number)
    assert await state_of(stage) == before


async def test_a_question_about_an_organisation_that_was_not_asked_says_nothing(stage: Stage) -> None:
    """Even a question signed by the network reads nothing out for an organisation that this holder never let be asked."""
    facts = stage.facts(stage.stranger.id).model_dump(mode="json")
    about: dict[str, Any] = {
        "organisation": facts, "offer": stage.objects["open"], "referral": stage.objects["second"],
    }  # fmt: skip
    offers = {"organisation": facts, "offers": [{"offer": about["offer"], "referral": about["referral"]}]}
    doors = {operation.path: operation for operation in asked(stage)}
    read = await send(stage, doors["/questions/readable-offers"], stage.question(), body=offers)
    assert [(one["readable"], one["members"]) for one in read.json()["offers"]] == [(False, [])]
    more = {"place": stage.objects["place"], "eligibility": {}}
    may = await send(stage, doors["/questions/may-accept"], stage.question(), body={**about, **more})
    assert may.json() == {"allowed": False}
    kept = await send(stage, doors["/questions/detail"], stage.question(), body={**about, "outcome": "needs_met"})
    assert kept.json() == {"recorded": False}


async def test_only_the_running_services_are_there(stage: Stage) -> None:
    made: Installation = stage.world.made
    assert {operation.service for operation in asked(stage)} == set(made.services)
