"""A small client of the public API, as a partner's system would be written: signs in with its own key, gives every command
an Idempotency-Key, and asks again, under the same key, what a busy service did not do."""

from __future__ import annotations

import asyncio
import functools
import json
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

import httpx
from joserfc import jwt
from joserfc.jwk import OKPKey

from spean.crypto import private_file, public_jwk

_ASSERTION_S = 60
# Ask for a new token this long before the old one ends.
_EARLY_S = 30
# What these refuse was not done: it may be asked again as it was.
_MAY_PASS = frozenset({"busy", "key-running"})
_AGAIN_S = 0.5
# As a partner's system writes it; the kit's own name for it would bring half of the kit along.
_STATEMENT = "spean-erasure-statement+jwt"
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class ApiProblem(Exception):
    """The API refused: `status`, the problem's `code` and, where the gate refused, its `rule`."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("type", "")).rpartition("/")[2]
        self.rule = problem.get("rule")
        self.problem = problem
        super().__init__(f"{status} {self.code}: {problem.get('detail', '')}")


def load_key(path: Path) -> OKPKey:
    """An Ed25519 key from a private file (JWK)."""
    return OKPKey.import_key(json.loads(path.read_text(encoding="utf-8")))


def kept_key(path: Path) -> OKPKey:
    """The same, made where there is none yet."""
    made = OKPKey.generate_key("Ed25519", auto_kid=True)
    return OKPKey.import_key(json.loads(private_file(path, json.dumps(made.as_dict(private=True)).encode())))


@functools.cache
def trusted() -> ssl.SSLContext:
    """The authorities that this machine trusts, read once: reading them takes longer than most requests."""
    return httpx.create_ssl_context()


class Partner:
    """One system of one organisation. `scope`: names apart by spaces; empty: all that the system may have. `resource`: the
    address of a holder that its tokens are for, and nobody else. `issuer`: who gives it tokens; empty: the network.
    `patience_s`: for how many seconds a service that is busy is asked again; 0: never."""

    def __init__(self, url: str, client_id: str, key: OKPKey, scope: str = "", *, resource: str = "",
                 issuer: str = "", patience_s: float = 0) -> None:  # fmt: skip
        self.url, self.client_id, self._key, self._scope, self._resource = url, client_id, key, scope, resource
        self._token_url = f"{issuer or f'{url}/referral'}/oauth/token"
        self.patience_s = patience_s
        self._http = httpx.AsyncClient(base_url=url, timeout=15, verify=trusted())
        self._token, self._until = "", 0.0

    async def __aenter__(self) -> Partner:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:  # fmt: skip
        await self._http.aclose()

    @property
    def public_key(self) -> dict[str, str]:
        """The public half of its key, as JWK."""
        return public_jwk(self._key)

    def at(self, intake: str, issuer: str = "") -> AtHolder:
        """The same system where its holder has an address of its own. Closed apart from this one."""
        return AtHolder(self, self._key, intake, issuer)

    async def token(self) -> str:
        """A valid access token. Raises ApiProblem."""
        if time.monotonic() < self._until:
            return self._token
        now = int(time.time())
        claims = {
            "iss": self.client_id, "sub": self.client_id, "aud": self._token_url, "iat": now,
            "exp": now + _ASSERTION_S, "jti": str(uuid4()),
        }  # fmt: skip
        form = {
            "grant_type": "client_credentials", "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": jwt.encode({"alg": "Ed25519", "kid": self._key.kid}, claims, self._key, ["Ed25519"]),
            "scope": self._scope, **({"resource": self._resource} if self._resource else {}),
        }  # fmt: skip
        granted = _checked(await self._http.post(self._token_url, data=form)).json()
        self._token, self._until = granted["access_token"], time.monotonic() + granted["expires_in"] - _EARLY_S
        return self._token

    async def request(self, method: str, path: str, body: Any = None, *, key: str | None = None,
                      headers: Mapping[str, str] | None = None, token: str | None = None) -> httpx.Response:  # fmt: skip
        """One request; POST gets an Idempotency-Key (`key`, or a new one). Raises ApiProblem."""
        key, until = key or str(uuid4()), time.monotonic() + self.patience_s
        while True:
            try:
                all_headers = {"Authorization": f"Bearer {token or await self.token()}", **(headers or {})}
                if method == "POST":
                    all_headers["Idempotency-Key"] = key
                return _checked(await self._http.request(method, path, json=body, headers=all_headers))
            except ApiProblem as problem:
                if problem.code == "bad-token" and token is None:
                    self._until = 0.0  # ended early (a key, or somebody's clock, was set right): another one next time
                if problem.code not in _MAY_PASS or time.monotonic() > until:
                    raise
            await asyncio.sleep(_AGAIN_S)

    async def get(self, path: str, **more: Any) -> Any:
        return (await self.request("GET", path, **more)).json()

    async def post(self, path: str, body: Any = None, **more: Any) -> Any:
        return (await self.request("POST", path, body, **more)).json()

    async def put(self, path: str, body: Any, version: int | None = None, **more: Any) -> Any:
        headers = {} if version is None else {"If-Match": f'"v{version}"'}
        return (await self.request("PUT", path, body, headers=headers, **more)).json()

    async def packet(self, offer: str) -> Any:
        """Read an accepted offer's packet: a ticket from the network, then the holder."""
        ticket = await self.post(f"/referral/offers/{offer}/ticket")
        return await self.get(ticket["dataref"], token=ticket["ticket"])

    async def tell(self, offer: str, what: str, body: Any) -> Any:
        """Say something about a packet to its holder (`whereabouts`)."""
        ticket = await self.post(f"/referral/offers/{offer}/ticket")
        return await self.put(f"{ticket['dataref']}/{what}", body, token=ticket["ticket"])

    async def answer_for_copy(self, offer: str, answer: str, **why: str) -> Any:
        """Say to its holder what became of a copy, in a statement that this system signs. `why`: `reason` and `law` where a law
        keeps it."""
        ticket = await self.post(f"/referral/offers/{offer}/ticket")
        address = f"{ticket['dataref']}/erasure"
        asked = await self.get(address, token=ticket["ticket"])
        said = {name: asked[name] for name in ("organisation", "offer", "request")}
        signed = self.signed(_STATEMENT, {**said, "answer": answer, **why})
        return await self.put(address, {"statement": signed}, token=ticket["ticket"])

    def signed(self, kind: str, claims: Mapping[str, Any]) -> str:
        """A JWT of this kind that the system has signed now."""
        header = {"alg": "Ed25519", "kid": self._key.kid, "typ": kind}
        now = {"iss": self.client_id, "iat": int(time.time()), "jti": str(uuid4())}
        return jwt.encode(header, {**now, **claims}, self._key, ["Ed25519"])


class AtHolder(Partner):
    """The same system where its holder has an address of its own: `/intake/…` is asked there (`intake`), with tokens for that
    holder alone, from whoever vouches for its senders (`issuer`; empty: the network). All else is asked of the network."""

    def __init__(self, network: Partner, key: OKPKey, intake: str, issuer: str = "") -> None:
        super().__init__(
            network.url, network.client_id, key, resource=intake, issuer=issuer, patience_s=network.patience_s
        )
        self.network, self.intake = network, intake

    async def request(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        if not path.startswith("/intake/"):
            return await self.network.request(method, path, body, **more)
        return await super().request(method, self.intake + path.removeprefix("/intake"), body, **more)


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    try:
        problem = response.json()
    except ValueError:
        problem = {"detail": response.reason_phrase}
    raise ApiProblem(response.status_code, problem)
