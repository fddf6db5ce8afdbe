"""The token endpoint's answers: what was sent, read strictly; errors as RFC 6749 names them; and how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.referral.partners import handlers
from spean import problem
from spean.auth import Signer
from spean.db import Database
from spean.limit import Limit, site_of
from spean.problem import Refusal

GRANT = "client_credentials"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_FIELDS_MOST = 20
# A system needs one token every five minutes; a hundred instances of it that start at once are no flood.
TOKENS_A_MINUTE = 120
FAILURES_A_MINUTE = 300
# Of the problem codes that say no to a client, the error that RFC 6749, section 5.2, has for it.
_ERRORS: Mapping[str, str] = {"bad-client": "invalid_client", "scope": "invalid_scope"}


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
    request: Request, db: Database, signer: Signer, audience: str, limits: Limits, holders: Mapping[str, str]
) -> Response:
    """A token, or a problem document that also has the member `error`. `holders`: by address, whom a token for that holder
    alone is for. Raises DatabaseProblem."""
    try:
        form = _form(await request.body())
        if "resource" in form and form["resource"] not in holders:
            raise _Said("invalid_target")  # RFC 8707, section 2
    except _Said as said:
        return problem.response("bad-grant", more={"error": said.error})
    try:
        async with db.transaction("oauth.token") as tx:
            scopes = frozenset(form.get("scope", "").split())
            only = holders.get(form.get("resource", ""))
            client, granted = await handlers.sign_in(tx, signer, form["client_assertion"], scopes, audience, only)
            left = limits.tokens.take(client)
            if not left.allowed:
                # Rolled back: the assertion was not used, and is good for the next try.
                raise Refusal("too-often")
    except Refusal as refusal:
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
