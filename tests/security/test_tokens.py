"""Tokens and assertions that are expired, foreign, changed, replayed or of another kind open nothing."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from joserfc import jws, jwt
from joserfc.jwk import OctKey, OKPKey

from services.cli.client import Partner
from spean import auth
from spean.auth import Kind, Signer, Verifier
from spean.problem import Refusal
from tests.security.answers import MARK, code_of
from tests.security.operations import Stage

OURS = ["Ed25519"]


def _b64(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _split(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    header, claims, signature = token.split(".")
    return (*(json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, claims)), signature)


async def _read(stage: Stage, token: str) -> httpx.Response:
    address = f"/intake/entries/{stage.objects['entry']}/consents"
    return await stage.client.get(address, headers={"Authorization": f"Bearer {token}".encode()})


async def _good(stage: Stage) -> str:
    token = await stage.people["sender"].partner.token()
    assert (await _read(stage, token)).status_code == 200
    return token


@pytest.mark.parametrize("header", ["", "Bearer", f"Basic {MARK}", MARK, f"Token {MARK}", f"bearer{MARK}"])
async def test_no_token(stage: Stage, before: None, header: str) -> None:
    response = await stage.client.get("/intake/handoffs", headers={"Authorization": header})
    assert code_of(response) == "no-token"
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "token",
    [
        MARK, "..", "...", "a.b.c", f"{MARK}.{MARK}.{MARK}", "e30.e30.e30", "e30..", ". .", "\xff\xfe", "é.é.é",
        f"{_b64([])}.{_b64({})}.x", f"{_b64('text')}.{_b64({})}.x", f"{_b64(b'[' * 20_000)}.{_b64({})}.x",
        f"{_b64({'alg': 'Ed25519', 'kid': {'a': 1}})}.{_b64({})}.x", f"{_b64({'alg': 'Ed25519', 'kid': 7})}.{_b64({})}.x",
        f"{_b64({'alg': 'dir', 'enc': 'A256GCM'})}.a.b.c.d", "a" * 25_000, f"{_b64({'alg': 'Ed25519'})}.{'a' * 25_000}.x",
        _b64(b'{"alg": "Ed25519", "kid": ' + b"9" * 5_000 + b"}") + ".e30.x",
    ],
    ids=lambda token: token[:30],
)  # fmt: skip
async def test_a_token_that_is_none(stage: Stage, before: None, token: str) -> None:
    response = await stage.client.get(
        "/intake/handoffs", headers={"Authorization": b"Bearer " + token.encode("latin-1")}
    )
    assert code_of(response) == ("no-token" if not token.strip() else "bad-token")


async def test_a_token_that_was_changed(stage: Stage, before: None) -> None:
    """Another organisation, more scopes, a longer life, another signature: none of it is signed."""
    token = await _good(stage)
    header, claims, signature = _split(token)
    changes = [
        {**claims, "org": stage.stranger.id}, {**claims, "scope": "intake:send intake:rules"},
        {**claims, "exp": claims["exp"] + 3600}, {**claims, "aud": ["intake", "referral", "notify"]},
    ]  # fmt: skip
    changed = [f"{_b64(header)}.{_b64(change)}.{signature}" for change in changes]
    changed += [
        f"{_b64({**header, 'typ': 'JWT'})}.{_b64(claims)}.{signature}",
        token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB"),
        f"{_b64(header)}.{_b64(claims)}.",
        token.rpartition(".")[0],
        token + ".",
        f"{token}.{signature}",
    ]
    for one in changed:
        assert code_of(await _read(stage, one)) == "bad-token"


async def test_no_algorithm_and_foreign_algorithms(stage: Stage, before: None) -> None:
    """`none`, and our public key taken for a shared secret (RFC 8725, 2.1 and 2.2)."""
    header, claims, _ = _split(await _good(stage))
    public = json.dumps(stage.signer.public_keys()["keys"][0])
    unsigned = [f"{_b64({**header, 'alg': alg})}.{_b64(claims)}." for alg in ("none", "None", "NONE", "")]
    secrets = (public.encode(), base64.urlsafe_b64decode(json.loads(public)["x"] + "=="), b"")
    mac = [
        jws.serialize_compact({**header, "alg": "HS256"}, json.dumps(claims), OctKey.import_key(secret), ["HS256"])
        for secret in secrets if secret
    ]  # fmt: skip
    for one in (*unsigned, *mac):
        assert code_of(await _read(stage, one)) == "bad-token"


async def test_a_key_that_comes_with_the_token_counts_for_nothing(stage: Stage, before: None) -> None:
    _, claims, _ = _split(await _good(stage))
    mine = OKPKey.generate_key("Ed25519", auto_kid=True)
    ours = stage.signer.public_keys()["keys"][0]["kid"]
    public = mine.as_dict(private=False)
    registry = jws.JWSRegistry(algorithms=OURS, strict_check_header=False)
    headers: list[dict[str, Any]] = [
        {"kid": mine.kid}, {"kid": ours}, {}, {"kid": mine.kid, "jwk": public}, {"kid": ours, "jwk": public},
        {"kid": ours, "jku": f"https://{MARK}.example/jwks"}, {"kid": ours, "x5u": f"https://{MARK}.example/x"},
        {"kid": f"../../{MARK}"}, {"kid": f"' or 1=1 -- {MARK}"},
    ]  # fmt: skip
    for more in headers:
        header = {"alg": "Ed25519", "typ": Kind.ACCESS, **more}
        signed = jws.serialize_compact(header, json.dumps(claims), mine, OURS, registry)
        assert code_of(await _read(stage, signed)) == "bad-token", more


@pytest.mark.parametrize(
    ("name", "claims"),
    [
        ("expired", {"exp": -60}), ("never ends", {"exp": None}), ("ends as text", {"exp": "later"}),
        ("from the future", {"iat": 600}), ("not yet", {"nbf": 600}), ("no time", {"iat": None}), ("no id", {"jti": None}),
        ("another issuer", {"iss": f"https://{MARK}.example"}), ("no issuer", {"iss": None}),
        ("another service", {"aud": "referral"}), ("no service", {"aud": None}), ("no services", {"aud": []}),
        ("no organisation", {"org": None}), ("an organisation that is none", {"org": MARK}), ("a list of them", {"org": [1]}),
        ("no scope", {"scope": None}), ("networks that are none", {"networks": [MARK]}), ("no networks", {"networks": 7}),
        ("no facts", {"facts": None}), ("facts that are none", {"facts": {"organisation": MARK}}),
        ("no system", {"sub": None}),
    ],
)  # fmt: skip
async def test_a_token_of_our_own_key_with_wrong_claims(
    stage: Stage, before: None, name: str, claims: dict[str, Any]
) -> None:
    """Whatever else is right: what a token says is checked, each part of it."""
    _, good, _ = _split(await _good(stage))
    now = int(time.time())
    moved = {
        key: now + value if key in {"exp", "iat", "nbf"} and isinstance(value, int) else value
        for key, value in claims.items()
    }
    said = {key: value for key, value in {**good, **moved}.items() if value is not None}
    signed = jwt.encode(
        {"alg": "Ed25519", "kid": stage.signer._key.kid, "typ": Kind.ACCESS}, said, stage.signer._key, OURS
    )
    assert code_of(await _read(stage, signed)) == "bad-token", name


async def test_one_kind_of_token_never_serves_as_another(stage: Stage, before: None) -> None:
    """Even with the audience and the claims of the other: the kind is signed as well."""
    _, access, _ = _split(await _good(stage))
    said = {key: value for key, value in access.items() if key not in {"iss", "aud", "iat", "exp", "jti"}}
    for kind in (Kind.QUESTION, Kind.TICKET):
        assert code_of(await _read(stage, stage.signer.sign(kind, ["intake"], 60, said))) == "bad-token"
    assert (await _read(stage, stage.signer.sign(Kind.ACCESS, ["intake"], 60, said))).status_code == 200


async def test_an_assertion_is_no_access_token(stage: Stage, before: None) -> None:
    assert code_of(await _read(stage, assertion_of(stage, stage.people["sender"].partner))) == "bad-token"


# --- signing in ---------------------------------------------------------------------------------------------------


def assertion_of(stage: Stage, partner: Partner, *, header: dict[str, Any] | None = None, key: Any = None,
               without: tuple[str, ...] = (), **claims: Any) -> str:  # fmt: skip
    """A partner's assertion, good but for what is given."""
    now = int(time.time())
    said = {
        "iss": partner.client_id, "sub": partner.client_id, "aud": f"{stage.world.made.url}/referral/oauth/token",
        "iat": now, "exp": now + 60, "jti": str(uuid4()), **claims,
    }  # fmt: skip
    said = {name: value for name, value in said.items() if name not in without}
    signer = key or partner._key
    return jws.serialize_compact({"alg": "Ed25519", "typ": "JWT", **(header or {})}, json.dumps(said), signer, OURS)


async def sign_in(stage: Stage, assertion: Any = None, **form: Any) -> httpx.Response:
    fields = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion, **form,
    }  # fmt: skip
    return await stage.client.post("/referral/oauth/token", data={k: v for k, v in fields.items() if v is not None})


async def test_a_good_assertion_works_once(stage: Stage) -> None:
    partner = stage.people["sender"].partner
    assertion = assertion_of(stage, partner)
    first = await sign_in(stage, assertion)
    assert first.status_code == 200
    assert first.headers["cache-control"] == "no-store"
    assert (await _read(stage, first.json()["access_token"])).status_code == 200
    assert code_of(await sign_in(stage, assertion)) == "bad-client"
    at_once = await asyncio.gather(*[sign_in(stage, assertion_of(stage, partner, jti="the-same")) for _ in range(6)])
    assert sorted(answer.status_code for answer in at_once) == [200, *[401] * 5]


WRONG: dict[str, dict[str, Any]] = {
    "expired": {"exp": 1},
    "no end": {"without": ("exp",)},
    "ends too late": {"exp": 2**33},
    "ends beyond the calendar": {"exp": 10**400},
    "ends at 1e300": {"exp": 1e300},
    "ends never": {"exp": float("inf")},
    "ends as text": {"exp": MARK},
    "ends as true": {"exp": True},
    "from the future": {"iat": 2**33},
    "no beginning": {"without": ("iat",)},
    "no id": {"without": ("jti",)},
    "an id that is a number": {"jti": 7},
    "an empty id": {"jti": ""},
    "an id with NUL": {"jti": "a\x00b"},
    "an id with half a pair": {"jti": "\ud800"},
    "an id that is too long": {"jti": MARK * 50},
    "for another server": {"aud": f"https://{MARK}.example/token"},
    "for two servers": {"aud": ["OURS", f"https://{MARK}.example/token"]},
    "for nobody": {"without": ("aud",)},
    "about another system": {"sub": "administrator"},
    "of another system": {"iss": "administrator"},
    "of a system that is none": {"sub": MARK, "iss": MARK},
    "of a system with NUL": {"sub": "a\x00", "iss": "a\x00"},
    "of half a pair": {"sub": "\ud800", "iss": "\ud800"},
    "of a list": {"sub": [MARK]},
    "of nobody": {"without": ("sub",)},
    "not yet": {"nbf": 2**33},
    "called one of ours": {"header": {"typ": "at+jwt"}},
    "of another key": {"key": OKPKey.generate_key("Ed25519")},
}


@pytest.mark.parametrize("name", WRONG)
async def test_an_assertion_that_is_not_right(stage: Stage, before: None, name: str) -> None:
    wrong = dict(WRONG[name])
    ours = f"{stage.world.made.url}/referral/oauth/token"
    if isinstance(wrong.get("aud"), list):
        wrong["aud"] = [ours if one == "OURS" else one for one in wrong["aud"]]
    response = await sign_in(stage, assertion_of(stage, stage.people["sender"].partner, **wrong))
    assert code_of(response) == "bad-client"


@pytest.mark.parametrize(
    "text", [MARK, "a.b.c", "..", f"e30.{_b64(b'[' * 30_000)}.x", "é", "\x00", f"e30.{_b64([])}.x"]
)
async def test_an_assertion_that_is_none(stage: Stage, before: None, text: str) -> None:
    assert code_of(await sign_in(stage, text)) == "bad-client"


async def test_an_unsignedassertion_of(stage: Stage, before: None) -> None:
    _, claims, signature = _split(assertion_of(stage, stage.people["sender"].partner))
    for alg, signed in (("none", ""), ("none", signature), ("Ed25519", "")):
        assert code_of(await sign_in(stage, f"{_b64({'alg': alg})}.{_b64(claims)}.{signed}")) == "bad-client"


@pytest.mark.parametrize(
    "form",
    [
        {"grant_type": "password"}, {"grant_type": None}, {"client_assertion_type": MARK}, {"client_assertion_type": None},
        {"client_assertion": None}, {"client_assertion": ""}, {"grant_type": ["client_credentials"] * 2},
    ],
    ids=str,
)  # fmt: skip
async def test_a_grant_that_is_none(stage: Stage, before: None, form: dict[str, Any]) -> None:
    good = assertion_of(stage, stage.people["sender"].partner)
    assert code_of(await sign_in(stage, **{"client_assertion": good, **form})) == "bad-grant"


async def test_a_grant_in_another_form(stage: Stage, before: None) -> None:
    body = {"grant_type": "client_credentials", "client_assertion": MARK}
    assert code_of(await stage.client.post("/referral/oauth/token", json=body)) == "bad-grant"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for content in (b"\xff\xfe", b"grant_type=%ff&client_assertion=%00", b"&" * 1000, b"a=1&" * 5_000):
        assert code_of(await stage.client.post("/referral/oauth/token", content=content, headers=form)) == "bad-grant"


async def test_a_scope_that_is_not_the_systems(stage: Stage, before: None) -> None:
    for scope in ("referral:admin", f"intake:send {MARK}", "intake:send intake:rules"):
        good = assertion_of(stage, stage.people["sender"].partner)
        assert code_of(await sign_in(stage, good, scope=scope)) == "scope"


# --- the issuer's keys --------------------------------------------------------------------------------------------


class _Issuer:
    """An issuer of keys that counts how often it is asked, and that can be slow or silent."""

    def __init__(self) -> None:
        self.signer = Signer(OKPKey.generate_key("Ed25519", auto_kid=True), "https://issuer.example")
        self.asked, self.silent = 0, False
        self.is_asked, self.answers = asyncio.Event(), asyncio.Event()
        self.answers.set()

    async def keys(self) -> dict[str, Any]:
        self.asked += 1
        self.is_asked.set()
        await self.answers.wait()
        if self.silent:
            raise httpx.ConnectError("no way")
        return self.signer.public_keys()

    def token(self) -> str:
        return self.signer.sign(Kind.ACCESS, "intake", 60, {})

    def verifier(self) -> Verifier:
        return Verifier(self.signer.issuer, "intake", self.keys)


async def _refusal(work: Callable[[], Awaitable[Any]]) -> str:
    with pytest.raises(Refusal) as refused:
        await work()
    return refused.value.code


async def test_strangers_cannot_make_us_fetch_keys_again_and_again() -> None:
    """A thousand unknown key ids, one after the other and all at once: two looks at most."""
    issuer, stranger = _Issuer(), _Issuer()
    verifier = issuer.verifier()
    await verifier.claims(issuer.token())
    for _ in range(50):
        stranger.signer = Signer(OKPKey.generate_key("Ed25519", auto_kid=True), issuer.signer.issuer)
        assert await _refusal(lambda: verifier.claims(stranger.token())) == "bad-token"
    await asyncio.gather(*(_refusal(lambda: verifier.claims(stranger.token())) for _ in range(200)))
    await asyncio.gather(*(_refusal(lambda: verifier.claims(MARK)) for _ in range(200)))
    assert issuer.asked <= 2
    assert await verifier.claims(issuer.token())


async def test_many_at_the_start_share_one_look() -> None:
    issuer = _Issuer()
    issuer.answers.clear()
    verifier = issuer.verifier()
    waiting = [asyncio.create_task(verifier.claims(issuer.token())) for _ in range(50)]
    await issuer.is_asked.wait()
    issuer.answers.set()
    assert len(await asyncio.gather(*waiting)) == 50
    assert issuer.asked == 1


async def test_a_silent_issuer_opens_nothing_new_and_shuts_nothing_old() -> None:
    issuer = _Issuer()
    issuer.silent = True
    verifier = issuer.verifier()
    assert await _refusal(lambda: verifier.claims(issuer.token())) == "busy"
    issuer.silent = False
    assert await verifier.claims(issuer.token())
    issuer.silent, verifier._looked = True, time.monotonic() - 2 * auth.KEYS_S
    assert await verifier.claims(issuer.token())
    assert await _refusal(lambda: verifier.claims(_Issuer().token())) == "bad-token"


async def test_a_new_key_is_found_and_an_old_one_forgotten() -> None:
    issuer = _Issuer()
    verifier = issuer.verifier()
    old = issuer.token()
    assert await verifier.claims(old)
    issuer.signer = Signer(OKPKey.generate_key("Ed25519", auto_kid=True), issuer.signer.issuer)
    verifier._looked = time.monotonic() - 2 * auth.LOOK_AGAIN_S
    assert await verifier.claims(issuer.token())
    assert await _refusal(lambda: verifier.claims(old)) == "bad-token"


async def test_a_token_that_was_shown_before_ends_in_its_time() -> None:
    """Its signature is looked at once; until when it counts, each time."""
    issuer = _Issuer()
    verifier, token = issuer.verifier(), issuer.token()
    assert await verifier.claims(token)
    for claims in verifier._signed.values():
        claims["exp"] = int(time.time()) - auth.LEEWAY_S
    assert await _refusal(lambda: verifier.claims(token)) == "bad-token"


async def test_a_signature_is_remembered_of_no_other_token() -> None:
    issuer = _Issuer()
    verifier, token = issuer.verifier(), issuer.token()
    assert await verifier.claims(token)
    forged = issuer.token().rpartition(".")[0] + "." + token.rpartition(".")[2]
    assert await _refusal(lambda: verifier.claims(forged)) == "bad-token"


async def test_keys_that_are_none_open_nothing() -> None:
    for keys in ({}, {"keys": MARK}, {"keys": [{"kty": MARK}]}, {"keys": []}, []):

        async def fetch(keys: Any = keys) -> Any:
            return keys

        assert await _refusal(lambda fetch=fetch: Verifier("i", "a", fetch).claims(_Issuer().token())) in {
            "busy",
            "bad-token",
        }
