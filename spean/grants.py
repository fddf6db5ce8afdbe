"""The token endpoint of an issuer: a system's signed assertion (RFC 7523), good once, for an access token of some minutes.
What was sent is read strictly; errors are as RFC 6749 names them; and how often is limited."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from joserfc.jwk import OKPKey
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from spean import auth, problem
from spean.auth import Signer
from spean.db import Database, Tx
from spean.http import REFUSED
from spean.limit import Limit, site_of
from spean.problem import Refusal

GRANT = "client_credentials"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_FIELDS_MOST = 20
# RFC 7523: an assertion is for one use, now. Longer lives only give a thief more time.
ASSERTION_MOST_S = 300
# A system needs one token every five minutes; a hundred instances of it that start at once are no flood.
TOKENS_A_MINUTE = 120
FAILURES_A_MINUTE = 300
# Of the problem codes that say no to a client, the error that RFC 6749, section 5.2, has for it.
_ERRORS: Mapping[str, str] = {"bad-client": "invalid_client", "scope": "invalid_scope"}
_JTI = re.compile(r"[\x21-\x7e]{1,200}")

# (transaction, assertion, scopes that are wanted, for whom alone) → the client's id and the body of RFC 6749, 5.1.
SignIn = Callable[[Tx, str, frozenset[str], str | None], Awaitable[tuple[str, dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Tokens count for the system that has proved who it is, failures for the address they come from. So nobody can use
    up a system's quota but the system itself; and whoever proves who they are is let in, whatever else their address
    does."""

    tokens: Limit = field(default_factory=lambda: Limit("tokens", TOKENS_A_MINUTE, 60))
    failures: Limit = field(default_factory=lambda: Limit("failures", FAILURES_A_MINUTE, 60))


class _Said(Exception):
    """What is sent is no request for a token; `error` as in RFC 6749, section 5.2, or RFC 8707."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


async def answer(
    request: Request, db: Database, limits: Limits, holders: Mapping[str, str], sign_in: SignIn
) -> Response:
    """A token, or a problem document that also has the member `error`. `holders`: by address, whom a token for that holder
    alone is for. Raises DatabaseProblem."""
    try:
        form = _form(await request.body())
        if "resource" in form and form["resource"] not in holders:
            raise _Said("invalid_target")  # RFC 8707, section 2
    except _Said as said:
        request.scope[REFUSED] = "bad-grant"
        return problem.response("bad-grant", more={"error": said.error})
    try:
        async with db.transaction("oauth.token") as tx:
            scopes = frozenset(form.get("scope", "").split())
            only = holders.get(form.get("resource", ""))
            client, granted = await sign_in(tx, form["client_assertion"], scopes, only)
            left = limits.tokens.take(client)
            if not left.allowed:
                # Rolled back: the assertion was not used, and is good for the next try.
                raise Refusal("too-often")
    except Refusal as refusal:
        request.scope[REFUSED] = refusal.code
        if refusal.code == "too-often":
            return problem.response("too-often", headers=limits.tokens.headers(left))
        return _refused(request, limits, refusal.code)
    return JSONResponse(granted, headers=limits.tokens.headers(left))


def _refused(request: Request, limits: Limits, code: str) -> Response:
    """Counted for the address; beyond its quota it is no longer told what was wrong."""
    left = limits.failures.take(site_of(request.client.host if request.client else None))
    if not left.allowed:
        return problem.response("too-often", headers=limits.failures.headers(left))
    more = {"error": _ERRORS[code]} if code in _ERRORS else {}
    return problem.response(code, headers=limits.failures.headers(left), more=more)


def _form(body: bytes) -> dict[str, str]:
    """Raises _Said."""
    try:
        sent = parse_qs(body.decode("ascii"), max_num_fields=_FIELDS_MOST)
    except ValueError:
        raise _Said("invalid_request") from None
    if any(len(values) > 1 for values in sent.values()):
        raise _Said("invalid_request")  # RFC 6749, 3.2: no parameter twice
    form = {name: value for name, (value,) in sent.items()}
    if "grant_type" not in form:
        raise _Said("invalid_request")
    if form["grant_type"] != GRANT:
        raise _Said("unsupported_grant_type")
    if form.get("client_assertion_type") != ASSERTION_TYPE or not form.get("client_assertion"):
        raise _Said("invalid_client")
    return form


# --- what is signed ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assertion:
    """A checked assertion, which its issuer has to mark as used: `jti`, until `expires`."""

    jti: str
    expires: datetime


def checked(
    assertion: str, client: str, public_keys: Sequence[Mapping[str, Any]], audience: str, now: datetime
) -> Assertion:
    """An assertion of this client for `audience` alone, by whichever of its keys has signed it. Raises Refusal
    `bad-client`."""
    claims = _claims(assertion, client, public_keys, audience)
    # For us alone: an assertion that another server may use as well could be used here by that server.
    for_us = claims["aud"] in (audience, [audience])
    # Compared as numbers first: a time beyond the calendar is no time.
    if claims.get("sub") != client or not for_us or claims["exp"] > now.timestamp() + ASSERTION_MOST_S:
        raise Refusal("bad-client")
    if not _JTI.fullmatch(claims["jti"]):
        raise Refusal("bad-client")
    return Assertion(claims["jti"], datetime.fromtimestamp(claims["exp"], UTC))


def _claims(assertion: str, client: str, public_keys: Sequence[Mapping[str, Any]], audience: str) -> dict[str, Any]:
    for public_key in public_keys:
        try:
            key = OKPKey.import_key({**public_key})
            return auth.check(assertion, key, issuer=client, audience=audience, kind=None)
        except Refusal:
            continue
    raise Refusal("bad-client")


def granted(signer: Signer, audiences: list[str], scopes: Collection[str], claims: Mapping[str, Any]) -> dict[str, Any]:
    """An access token as the body of RFC 6749, section 5.1. `claims`: who it is (`sub`, `org`, `networks`, `facts`)."""
    scope = " ".join(sorted(scopes))
    token = signer.sign(auth.Kind.ACCESS, audiences, auth.ACCESS_TOKEN_S, {**claims, "scope": scope})
    return {"access_token": token, "token_type": "Bearer", "expires_in": auth.ACCESS_TOKEN_S, "scope": scope}
