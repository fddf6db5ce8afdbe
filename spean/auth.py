"""Who is calling: short EdDSA access tokens of the network's issuer, and tickets and questions between services.

All are JWTs signed with Ed25519; what differs is the audience and the scope. Nothing is accepted without expiry,
audience, issuer and a known key.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from schemas.questions import OrganisationFacts
from spean.problem import Refusal

ALGORITHMS = ["Ed25519", "EdDSA"]
ACCESS_TOKEN_S = 300
QUESTION_TOKEN_S = 60
TICKET_S = 60
# Clocks of partners differ; more than this is a wrong clock.
LEEWAY_S = 5
# An unknown key id makes us look again, at most this often.
LOOK_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Caller:
    """The organisation that calls, through which system, with which scopes, the networks it belongs to,
    and what the issuer vouches for about it."""

    org: UUID
    client: str
    scopes: frozenset[str]
    networks: frozenset[UUID]
    facts: OrganisationFacts


class Signer:
    """Signs as `issuer` with one Ed25519 key."""

    def __init__(self, key: OKPKey, issuer: str) -> None:
        self._key, self.issuer = key, issuer

    def sign(self, audience: str | list[str], seconds: int, claims: Mapping[str, Any]) -> str:
        now = int(time.time())
        all_claims = {
            "iss": self.issuer, "aud": audience, "iat": now, "exp": now + seconds, "jti": str(uuid4()), **claims,
        }  # fmt: skip
        return jwt.encode({"alg": "Ed25519", "kid": self._key.kid, "typ": "at+jwt"}, all_claims, self._key, ALGORITHMS)

    def public_keys(self) -> dict[str, Any]:
        """The JWKS document."""
        return {"keys": [self._key.as_dict(private=False)]}


def check(token: str, keys: KeySet | OKPKey, *, issuer: str, audience: str) -> dict[str, Any]:
    """The token's claims. Raises Refusal `bad-token`, whatever is wrong with it."""
    rules = jwt.JWTClaimsRegistry(
        leeway=LEEWAY_S,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": audience},
        exp={"essential": True},
        iat={"essential": True},
        jti={"essential": True},
    )
    try:
        decoded = jwt.decode(token, keys, ALGORITHMS)
        rules.validate(decoded.claims)
    except (JoseError, ValueError, TypeError, KeyError):
        raise Refusal("bad-token") from None
    return dict(decoded.claims)


class Verifier:
    """Checks tokens of one issuer for one audience; fetches the issuer's public keys when it meets a new key id."""

    def __init__(self, issuer: str, audience: str, fetch: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._issuer, self._audience, self._fetch = issuer, audience, fetch
        self._keys: KeySet | None = None
        self._looked = -LOOK_AGAIN_S

    async def claims(self, token: str) -> dict[str, Any]:
        """Raises Refusal `bad-token`, or `busy` when the issuer's keys cannot be had."""
        if self._keys is not None:
            try:
                return check(token, self._keys, issuer=self._issuer, audience=self._audience)
            except Refusal:
                if time.monotonic() - self._looked < LOOK_AGAIN_S:
                    raise
        try:
            self._keys = KeySet.import_key_set(await self._fetch())  # type: ignore[arg-type]
        except (httpx.HTTPError, JoseError, ValueError):
            raise Refusal("busy") from None
        self._looked = time.monotonic()
        return check(token, self._keys, issuer=self._issuer, audience=self._audience)

    async def caller(self, token: str) -> Caller:
        """Who holds an access token."""
        claims = await self.claims(token)
        try:
            return Caller(
                org=UUID(claims["org"]),
                client=str(claims["sub"]),
                scopes=frozenset(str(claims["scope"]).split()),
                networks=frozenset(UUID(network) for network in claims["networks"]),
                facts=OrganisationFacts.model_validate(claims["facts"], strict=False),
            )
        except (KeyError, ValueError, TypeError):
            raise Refusal("bad-token") from None


def unverified_subject(assertion: str) -> str:
    """Who an assertion says it is from, before anything is checked: only good for finding the key to check it with.

    Raises Refusal `bad-client`.
    """
    try:
        payload = assertion.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        subject = claims["sub"]
    except (IndexError, ValueError, KeyError, TypeError, RecursionError):
        raise Refusal("bad-client") from None
    if not isinstance(subject, str):
        raise Refusal("bad-client")
    return subject
