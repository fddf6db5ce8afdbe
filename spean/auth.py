"""Who is calling: short EdDSA access tokens of the network's issuer, and tickets and questions between services.

All are JWTs signed with Ed25519; what differs is the kind (`typ`), the audience and the scope. Nothing is accepted
without its kind, expiry, audience, issuer and a known key.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from schemas.questions import OrganisationFacts
from spean.problem import Refusal
from spean.turning import SigningKeys

log = logging.getLogger(__name__)
ALGORITHMS = ["Ed25519", "EdDSA"]
ACCESS_TOKEN_S = 300
QUESTION_TOKEN_S = 60
TICKET_S = 60
# Clocks of partners differ; more than this is a wrong clock.
LEEWAY_S = 5
# An unknown key id makes us look again, at most this often; keys are looked up anew when they are this old.
LOOK_AGAIN_S = 5.0
KEYS_S = 300.0
# Tokens whose signature is remembered, for each verifier.
SIGNED_MOST = 1_000
_CLIENT_ID = re.compile(r"[a-z0-9-]{1,80}")


class Kind(StrEnum):
    """What a token of the issuer is for; one kind never opens what another is for (RFC 8725, 3.11)."""

    ACCESS = "at+jwt"
    QUESTION = "question+jwt"
    TICKET = "ticket+jwt"
    SESSION = "session+jwt"


# Whoever has one shows it with every request of some minutes; the others are for one.
_SHOWN_AGAIN = frozenset({Kind.ACCESS, Kind.QUESTION})


@dataclass(frozen=True, slots=True)
class Caller:
    """The organisation that calls, through which system, with which scopes, the networks it belongs to,
    and what the issuer vouches for about it, until when (seconds since 1970)."""

    org: UUID
    client: str
    scopes: frozenset[str]
    networks: frozenset[UUID]
    facts: OrganisationFacts
    expires: float

    @property
    def by(self) -> str:
        """As a history names who acts: a person as the sign-in does, else a system."""
        return self.client if self.client.startswith("person:") else f"system:{self.client}"

    @property
    def expired(self) -> bool:
        """For an answer that goes on longer than its token lives."""
        return time.time() >= self.expires + LEEWAY_S


class Signer:
    """Signs as `issuer` with an Ed25519 key, which may be changed while processes run (`SigningKeys`)."""

    def __init__(self, keys: SigningKeys | OKPKey, issuer: str) -> None:
        self._keys, self.issuer = keys, issuer

    @property
    def _key(self) -> OKPKey:
        return self._keys.key if isinstance(self._keys, SigningKeys) else self._keys

    def sign(self, kind: Kind, audience: str | list[str], seconds: int, claims: Mapping[str, Any]) -> str:
        now = int(time.time())
        all_claims = {
            "iss": self.issuer, "aud": audience, "iat": now, "exp": now + seconds, "jti": str(uuid4()), **claims,
        }  # fmt: skip
        key = self._key
        return jwt.encode({"alg": "Ed25519", "kid": key.kid, "typ": kind}, all_claims, key, ALGORITHMS)

    def public_keys(self) -> dict[str, Any]:
        """The JWKS document."""
        if isinstance(self._keys, SigningKeys):
            return {"keys": self._keys.public()}
        return {"keys": [self._keys.as_dict(private=False)]}


def check(token: str, keys: KeySet | OKPKey, *, issuer: str, audience: str, kind: Kind | None) -> dict[str, Any]:
    """The token's claims. `kind` None: signed by a partner, who may call it anything but one of our kinds.

    Raises Refusal `bad-token`, whatever is wrong with it.
    """
    claims = _signed(token, keys, kind)
    _hold_now(claims, _rules(issuer, audience))
    return claims


def _rules(issuer: str, audience: str) -> jwt.JWTClaimsRegistry:
    return jwt.JWTClaimsRegistry(
        leeway=LEEWAY_S,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": audience},
        exp={"essential": True},
        iat={"essential": True},
        jti={"essential": True},
    )


def _signed(token: str, keys: KeySet | OKPKey, kind: Kind | None) -> dict[str, Any]:
    """What one of these keys has signed: true of this token for as long as the keys count. Raises Refusal `bad-token`."""
    try:
        decoded = jwt.decode(token, keys, ALGORITHMS)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise Refusal("bad-token") from None
    named = decoded.header.get("typ")
    if (named != kind) if kind else (named in set(Kind)):
        raise Refusal("bad-token")
    return dict(decoded.claims)


def _hold_now(claims: dict[str, Any], rules: jwt.JWTClaimsRegistry) -> None:
    """For whom, from whom and until when: looked at each time a token is shown. Raises Refusal `bad-token`."""
    try:
        rules.validate(claims)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise Refusal("bad-token") from None


class Verifier:
    """Checks tokens of one issuer, of one kind, for one audience; fetches the issuer's public keys when it meets a new
    key id. A stranger cannot make it fetch more often than every `LOOK_AGAIN_S`.

    A token that is shown again and again has its signature checked once, for as long as the keys are the same; everything
    else is looked at each time.
    """

    def __init__(
        self, issuer: str, audience: str, fetch: Callable[[], Awaitable[dict[str, Any]]], kind: Kind = Kind.ACCESS
    ) -> None:
        self._fetch, self._kind = fetch, kind
        self._rules = _rules(issuer, audience)
        self._keys: KeySet | None = None
        # Digest of a token → what was signed; those shown last.
        self._signed: OrderedDict[bytes, dict[str, Any]] = OrderedDict()
        self._looked = 0.0
        self._looking = asyncio.Lock()

    async def claims(self, token: str) -> dict[str, Any]:
        """Raises Refusal `bad-token`, or `busy` when the issuer's keys have never been had."""
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        known = digest in self._signed
        if not known:
            named = _key_id(token)
            known = self._keys is not None and named in {key.kid for key in self._keys.keys}
        if not known or time.monotonic() - self._looked > KEYS_S:
            await self._look()
        if self._keys is None:
            raise Refusal("busy")
        claims = self._signed.get(digest)
        if claims is None:
            claims = _signed(token, self._keys, self._kind)
            if self._kind in _SHOWN_AGAIN:
                self._signed[digest] = claims
                if len(self._signed) > SIGNED_MOST:
                    self._signed.popitem(last=False)
        else:
            self._signed.move_to_end(digest)
        _hold_now(claims, self._rules)
        return dict(claims)

    async def _look(self) -> None:
        """Fetch the keys; who waited for somebody else's look takes its result. Keys that we have stay when the issuer
        does not answer: what it signed ends within minutes anyway."""
        asked = time.monotonic()
        async with self._looking:
            recent = self._keys is not None and time.monotonic() - self._looked < LOOK_AGAIN_S
            if recent or self._looked > asked:
                return
            try:
                self._keys = KeySet.import_key_set(await self._fetch())  # type: ignore[arg-type]
                self._signed.clear()  # by a key that may not be among them any more
            except (httpx.HTTPError, JoseError, ValueError, KeyError, TypeError) as error:
                log.warning("issuer's keys not had", extra={"error_class": type(error).__name__})
            finally:
                self._looked = time.monotonic()

    async def caller(self, token: str) -> Caller:
        """Who holds an access token."""
        claims = await self.claims(token)
        try:
            return Caller(
                org=UUID(str(claims["org"])),
                client=str(claims["sub"]),
                scopes=frozenset(str(claims["scope"]).split()),
                networks=frozenset(UUID(str(network)) for network in claims["networks"]),
                facts=OrganisationFacts.model_validate(claims["facts"], strict=False, extra="ignore"),
                expires=float(claims["exp"]),
            )
        except (KeyError, ValueError, TypeError):
            raise Refusal("bad-token") from None


def _key_id(token: str) -> str | None:
    """Which key an unverified token names. Raises Refusal `bad-token`."""
    try:
        named = _part(token, 0).get("kid")
    except _NOT_A_TOKEN:
        raise Refusal("bad-token") from None
    return named if isinstance(named, str) else None


def unverified_subject(assertion: str) -> str:
    """Who an assertion says it is from, before anything is checked: only good for finding the key to check it with.

    Raises Refusal `bad-client`.
    """
    try:
        subject = _part(assertion, 1)["sub"]
    except _NOT_A_TOKEN:
        raise Refusal("bad-client") from None
    if not isinstance(subject, str) or not _CLIENT_ID.fullmatch(subject):
        raise Refusal("bad-client")
    return subject


_NOT_A_TOKEN = (IndexError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


def _part(token: str, number: int) -> dict[str, Any]:
    """One part of an unverified token. Raises one of `_NOT_A_TOKEN`."""
    part = token.split(".")[number]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


# Asked only when a new key appears; longer than this, the issuer is down.
KEYS_LIMIT_S = 5.0


async def fetch_keys(client: httpx.AsyncClient, issuer: str) -> dict[str, Any]:
    """The issuer's JWKS document. Raises httpx.HTTPError, ValueError."""
    reply = await client.get(f"{issuer}/.well-known/jwks.json")
    reply.raise_for_status()
    found: dict[str, Any] = reply.json()
    return found
