"""Signing in: only a fresh assertion by the registered key, for us, once; and a token opens only what it is for."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from services.cli.client import ApiProblem, trusted
from services.referral.partners import store
from tests.builders import Organisation
from tests.integration.town import Town

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def claims(town: Town, client: str, **other: Any) -> dict[str, Any]:
    now = int(time.time())
    whole = {
        "iss": client, "sub": client, "aud": f"{town.made.url}/referral/oauth/token", "iat": now, "exp": now + 60,
        "jti": str(uuid4()), **other,
    }  # fmt: skip
    return {name: value for name, value in whole.items() if value is not None}


def signed(key: OKPKey, body: dict[str, Any], **header: Any) -> str:
    return jwt.encode({"alg": "Ed25519", **header}, body, key, ["Ed25519"])


async def exchange(town: Town, assertion: str, **other: Any) -> httpx.Response:
    form = {
        "grant_type": "client_credentials", "client_assertion_type": TYPE, "client_assertion": assertion, **other,
    }  # fmt: skip
    form = {name: value for name, value in form.items() if value is not None}
    async with httpx.AsyncClient(base_url=town.made.url, timeout=15, verify=trusted()) as client:
        return await client.post("/referral/oauth/token", data=form)


def code(response: httpx.Response) -> str:
    return "" if response.is_success else str(response.json()["type"]).rpartition("/")[2]


async def test_an_assertion_gives_a_token_of_five_minutes_once(town: Town) -> None:
    house = town.first.partner
    assertion = signed(house._key, claims(town, house.client_id))
    granted = await exchange(town, assertion)
    assert granted.status_code == 200
    body = granted.json()
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 300, "referral:receive")
    assert granted.headers["cache-control"] == "no-store"
    assert await house.get("/referral/places", token=body["access_token"])
    again = await exchange(town, assertion)
    assert (again.status_code, code(again)) == (401, "bad-client"), "used once, it opens nothing any more"
    db = town.made.services["referral"].db
    async with db.transaction("test.upkeep") as tx:
        # As an upkeep sees it while the database's clock is three hours ahead.
        await tx.conn.execute("update used_assertion set expires_at = expires_at - interval '3 hours'")
        await store.forget_assertions(tx)
    assert code(await exchange(town, assertion)) == "bad-client", "and is not forgotten by a clock that is ahead"


async def test_our_client_gives_up_a_token_that_is_refused(town: Town) -> None:
    house = town.second.partner
    house._token, house._until = "ended.early.", float("inf")
    with pytest.raises(ApiProblem):
        await house.get("/referral/places")
    assert await house.get("/referral/places")


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "https://elsewhere.example/token"},
        {"aud": None},
        {"exp": int(time.time()) - 60},
        {"exp": None},
        {"exp": 10**20},
        {"exp": int(time.time()) + 86_400},
        {"exp": "tomorrow"},
        {"iat": int(time.time()) + 3_600},
        {"iat": None},
        {"nbf": int(time.time()) + 3_600},
        {"jti": None},
        {"jti": ""},
        {"jti": "nul\x00"},
        {"jti": "x" * 201},
        {"iss": "somebody-else"},
        {"sub": "administrator"},
        {"sub": None},
        {"sub": ["administrator"]},
    ],
    ids=str,
)
async def test_an_assertion_with_a_wrong_claim_is_refused(town: Town, change: dict[str, Any]) -> None:
    house = town.first.partner
    refused = await exchange(town, signed(house._key, claims(town, house.client_id, **change)))
    assert (refused.status_code, code(refused)) == (401, "bad-client")


async def test_a_wrong_key_and_a_wrong_algorithm_are_refused(town: Town) -> None:
    house = town.first.partner
    body = claims(town, house.client_id)
    public = house._key.as_dict(private=False)
    encoded = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({"alg": "none"}, body)
    )
    forged = [
        signed(OKPKey.generate_key("Ed25519"), body),
        signed(town.second.partner._key, body),
        # The public key as a secret: what a verifier that trusts the header's algorithm would accept.
        jwt.encode({"alg": "HS256"}, body, OctKey.import_key(str(public["x"])), ["HS256"]),
        f"{encoded}.",
        f"{encoded}.{signed(house._key, body).rpartition('.')[2]}",
        "a.b.c",
        "",
        "x" * 10_000,
        signed(house._key, body)[:-4] + "AAAA",
    ]
    for assertion in forged:
        refused = await exchange(town, assertion)
        assert code(refused) in {"bad-client", "bad-grant"}, assertion[:40]
        assert assertion[:30] not in refused.text or not assertion
    assert (await exchange(town, signed(house._key, body))).status_code == 200, "the same claims by the right key"


async def test_an_unknown_client_hears_the_same_as_one_with_a_wrong_key(town: Town) -> None:
    key = OKPKey.generate_key("Ed25519")
    unknown = await exchange(town, signed(key, claims(town, "nobody")))
    wrong = await exchange(town, signed(key, claims(town, town.first.partner.client_id)))
    assert (unknown.status_code, unknown.json()) == (wrong.status_code, wrong.json())


@pytest.mark.parametrize(
    "other",
    [
        {"grant_type": "password"}, {"grant_type": None}, {"client_assertion_type": "magic"},
        {"client_assertion_type": None}, {"grant_type": ["client_credentials", "client_credentials"]},
        {"resource": "https://nobodys.example/intake"},
    ],
    ids=str,
)  # fmt: skip
async def test_another_grant_is_no_grant(town: Town, other: dict[str, Any]) -> None:
    house = town.first.partner
    refused = await exchange(town, signed(house._key, claims(town, house.client_id)), **other)
    assert (refused.status_code, code(refused)) == (400, "bad-grant")


async def test_scopes_may_be_fewer_never_more(town: Town) -> None:
    post = town.sender.partner
    fewer = await exchange(town, signed(post._key, claims(town, post.client_id)), scope="referral:send")
    assert fewer.json()["scope"] == "referral:send"
    token = fewer.json()["access_token"]
    with pytest.raises(ApiProblem, match="401 bad-token"):
        await post.get("/intake/handoffs", token=token)  # not for that audience any more
    with pytest.raises(ApiProblem, match="403 scope"):
        await post.get("/referral/offers", token=token)
    for wanted in ("referral:admin", "referral:send referral:admin", "root"):
        refused = await exchange(town, signed(post._key, claims(town, post.client_id)), scope=wanted)
        assert (refused.status_code, code(refused)) == (403, "scope")


# --- tokens -----------------------------------------------------------------------------------------------------------


async def _access(town: Town, who: Organisation) -> str:
    key, client = who.partner._key, who.partner.client_id
    return str((await exchange(town, signed(key, claims(town, client)))).json()["access_token"])


def _changed(token: str, part: int, **values: Any) -> str:
    parts = token.split(".")
    body = json.loads(base64.urlsafe_b64decode(parts[part] + "=="))
    parts[part] = base64.urlsafe_b64encode(json.dumps({**body, **values}).encode()).rstrip(b"=").decode()
    return ".".join(parts)


async def tampered_scope(town: Town) -> str:
    return _changed(await _access(town, town.first), 1, scope="referral:admin referral:receive")


async def tampered_organisation(town: Town) -> str:
    return _changed(await _access(town, town.first), 1, org=town.second.id)


async def without_algorithm(town: Town) -> str:
    return _changed(await _access(town, town.first), 0, alg="none").rpartition(".")[0] + "."


async def another_kind(town: Town) -> str:
    return _changed(await _access(town, town.first), 0, typ="ticket+jwt")


async def for_another_service(town: Town) -> str:
    return await _only(town, town.sender, "intake:send")


async def _only(town: Town, who: Organisation, scope: str) -> str:
    granted = await exchange(town, signed(who.partner._key, claims(town, who.partner.client_id)), scope=scope)
    return str(granted.json()["access_token"])


async def of_another_issuer(town: Town) -> str:
    now = int(time.time())
    body = {
        "iss": f"{town.made.url}/referral", "aud": ["referral"], "iat": now, "exp": now + 300, "jti": str(uuid4()),
        "sub": "me", "org": town.first.id, "scope": "referral:receive", "networks": [], "facts": {},
    }  # fmt: skip
    return jwt.encode(
        {"alg": "Ed25519", "kid": "mine", "typ": "at+jwt"}, body, OKPKey.generate_key("Ed25519"), ["Ed25519"]
    )


async def expired(town: Town) -> str:
    """Signed by the network's own key, as it was an hour ago."""
    signer = town.made.services["referral"].app.state.signer
    known = json.loads(base64.urlsafe_b64decode((await _access(town, town.first)).split(".")[1] + "=="))
    return jwt.encode(
        {"alg": "Ed25519", "kid": signer._key.kid, "typ": "at+jwt"},
        {**known, "iat": known["iat"] - 3_600, "exp": known["iat"] - 60}, signer._key, ["Ed25519"],
    )  # fmt: skip


async def a_packet_ticket(town: Town) -> str:
    _, offer = await town.ready(town.first)
    ticket = await town.first.partner.post(f"/referral/offers/{offer}/ticket")
    return str(ticket["ticket"])


async def an_assertion(town: Town) -> str:
    return signed(town.first.partner._key, claims(town, town.first.partner.client_id))


FORGED = [
    tampered_scope, tampered_organisation, without_algorithm, another_kind, for_another_service, of_another_issuer, expired,
    a_packet_ticket, an_assertion,
]  # fmt: skip


@pytest.mark.parametrize("forge", FORGED, ids=lambda one: one.__name__)
async def test_a_token_that_is_not_the_networks_for_this_service_now_opens_nothing(
    town: Town, forge: Callable[[Town], Awaitable[str]]
) -> None:
    token = await forge(town)
    with pytest.raises(ApiProblem, match="401 bad-token"):
        await town.first.partner.get("/referral/offers", token=token)


async def test_an_access_token_is_no_ticket_and_no_question(town: Town) -> None:
    _, offer = await town.ready(town.first)
    token = await town.first.partner.token()
    with pytest.raises(ApiProblem, match="401 bad-token"):
        await town.first.partner.get(f"/intake/packets/{offer}", token=token)
    with pytest.raises(ApiProblem, match="401 bad-token"):
        await town.first.partner.post("/intake/questions/may-accept", {}, token=token)


async def test_a_ticket_opens_one_offer_of_one_house(town: Town) -> None:
    _, mine = await town.ready(town.first)
    await town.full(town.first)
    _, other = await town.ready(town.second)
    ticket = await town.first.partner.post(f"/referral/offers/{mine}/ticket")
    assert (await town.first.partner.get(ticket["dataref"], token=ticket["ticket"]))["offer"] == mine
    with pytest.raises(ApiProblem, match="404 not-found"):
        await town.first.partner.get(f"/intake/packets/{other}", token=ticket["ticket"])
    with pytest.raises(ApiProblem, match="404 not-found"):
        await town.first.partner.post(f"/referral/offers/{other}/ticket")
