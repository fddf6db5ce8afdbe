"""What every service's API has in common: problems, sign-in, one way to run a command, one way to read.

A route names its scope, its model and its handler; everything else about HTTP is here.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.models import OAuthFlowClientCredentials
from fastapi.openapi.models import OAuthFlows as OAuthFlowsModel
from fastapi.security import OAuth2
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spean import idempotency, problem, telemetry
from spean.ask import HolderSilent
from spean.auth import Caller, Verifier
from spean.db import Database, DatabaseProblem, Tx
from spean.idempotency import Kept
from spean.problem import Refusal

log = logging.getLogger(__name__)

# Entries and hand-offs are forms of a page or two. A file import has its own, larger limit.
MAX_BODY_BYTES = 256 * 1024
_ETAG = re.compile(r'^"v(\d{1,9})"$')
_KEY = re.compile(r"^[\x21-\x7e]{1,200}$")


class Body(BaseModel):
    """A request body: closed (an unknown field is an error), values as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, str_max_length=4000)


class View(BaseModel):
    """A response body."""

    model_config = ConfigDict(frozen=True)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler answers: a body, and the version that goes into the ETag."""

    body: BaseModel
    version: int | None = None
    status: int = 200


@dataclass(frozen=True, slots=True)
class Door:
    """What the kit needs to know of a service to guard its API."""

    db: Database
    verifier: Verifier
    suspended: Callable[[UUID], Awaitable[bool]]


_scheme = OAuth2(
    flows=OAuthFlowsModel(clientCredentials=OAuthFlowClientCredentials(tokenUrl="/referral/oauth/token", scopes={})),
    auto_error=False,
    description="OAuth 2 client credentials with private_key_jwt; access tokens live five minutes.",
)


def caller_with(scope: str) -> Callable[..., Awaitable[Caller]]:
    """A dependency: the calling organisation, which must hold `scope` and not be suspended."""

    async def caller(request: Request, authorization: Annotated[str | None, Depends(_scheme)]) -> Caller:
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise Refusal("no-token")
        door: Door = request.app.state.door
        found = await door.verifier.caller(token)
        if scope not in found.scopes:
            raise Refusal("scope")
        if await door.suspended(found.org):
            raise Refusal("suspended")
        return found

    return caller


def version_in(if_match: str | None, *, needed: bool) -> int | None:
    """The version that an If-Match header names. Raises Refusal `version-missing` or `version`."""
    if if_match is None:
        if needed:
            raise Refusal("version-missing")
        return None
    found = _ETAG.match(if_match.strip())
    if found is None:
        raise Refusal("version")
    return int(found.group(1))


class Command:
    """One POST, PUT or DELETE of one caller: carried out once per Idempotency-Key, in one transaction with its answer."""

    def __init__(self, db: Database, caller: Caller, key: str | None, fingerprint: bytes, expected: int | None) -> None:
        self.db, self.caller, self._key, self._fingerprint = db, caller, key, fingerprint
        self.expected = expected

    async def answered(self) -> Response | None:
        """The answer given before, for commands that must ask somebody first."""
        if self._key is None:
            return None
        async with self.db.transaction("command.answered", org=self.caller.org) as tx:
            kept = await idempotency.find(tx, self._key, self._fingerprint)
        return None if kept is None else _response(kept)

    async def run(self, name: str, work: Callable[[Tx], Awaitable[Reply]]) -> Response:
        """Carry `work` out in a transaction of this name, as the caller's organisation. Raises what `work` raises."""
        async with self.db.transaction(name, org=self.caller.org) as tx:
            return await self._once(tx, work)

    async def run_as_service(self, name: str, work: Callable[[Tx], Awaitable[Reply]]) -> Response:
        """The same with the service's own rights, for what belongs to no single organisation."""
        async with self.db.transaction(name) as tx:
            tx.org = self.caller.org
            return await self._once(tx, work)

    async def _once(self, tx: Tx, work: Callable[[Tx], Awaitable[Reply]]) -> Response:
        if self._key is not None and (kept := await idempotency.find(tx, self._key, self._fingerprint)):
            return _response(kept)
        reply = await work(tx)
        kept = Kept(reply.status, _etag(reply.version), reply.body.model_dump_json())
        if self._key is not None:
            await idempotency.keep(tx, self._key, self._fingerprint, kept)
        return _response(kept)


def command_with(scope: str) -> Callable[..., Awaitable[Command]]:
    """A dependency for POST: needs an Idempotency-Key; If-Match is honoured where it is sent."""

    wanted = Depends(caller_with(scope))

    async def command(
        request: Request,
        caller: Caller = wanted,
        idempotency_key: Annotated[str | None, Header(description="New for each command; 1–200 characters")] = None,
        if_match: Annotated[str | None, Header(description='The ETag last read, such as "v3"')] = None,
    ) -> Command:
        if idempotency_key is None or not _KEY.match(idempotency_key):
            raise Refusal("key-missing")
        digest = hashlib.sha256(f"{request.method} {request.url.path}\n".encode())
        digest.update(await request.body())
        door: Door = request.app.state.door
        return Command(door.db, caller, idempotency_key, digest.digest(), version_in(if_match, needed=False))

    return command


def change_with(scope: str) -> Callable[..., Awaitable[Command]]:
    """A dependency for PUT: needs If-Match (saying the same twice changes nothing more, so no key is needed)."""

    wanted = Depends(caller_with(scope))

    async def change(
        request: Request,
        caller: Caller = wanted,
        if_match: Annotated[str | None, Header(description='The ETag last read, such as "v3"')] = None,
    ) -> Command:
        door: Door = request.app.state.door
        return Command(door.db, caller, None, b"", version_in(if_match, needed=True))

    return change


def read_reply(reply: Reply) -> Response:
    """The answer to a GET."""
    return _response(Kept(reply.status, _etag(reply.version), reply.body.model_dump_json()))


def expect_version(command: Command, version: int) -> None:
    """Raises Refusal `version` when the caller has read another version than this one."""
    if command.expected is not None and command.expected != version:
        raise Refusal("version")


def _etag(version: int | None) -> str | None:
    return None if version is None else f'"v{version}"'


def _response(kept: Kept) -> Response:
    headers = {"ETag": kept.etag} if kept.etag else {}
    return Response(kept.body, kept.status, headers, media_type="application/json")


def make_app(title: str, summary: str, door: Door) -> FastAPI:
    """A FastAPI application with the house's doors: no pages of its own for the docs, problems for every error."""
    app = FastAPI(
        title=title, summary=summary, version="1", docs_url=None, redoc_url=None, openapi_url="/openapi.json",
        responses={"default": {"description": "A problem document (RFC 9457)", "content": {problem.MEDIA_TYPE: {}}}},
    )  # fmt: skip
    app.state.door = door
    app.add_middleware(_Guard)

    @app.exception_handler(Refusal)
    async def refusal(_: Request, error: Refusal) -> Response:
        return problem.response(error.code, errors=error.errors, rule=error.rule)

    @app.exception_handler(HolderSilent)
    async def silent(_: Request, error: HolderSilent) -> Response:
        del error
        return problem.response("holder-silent")

    @app.exception_handler(DatabaseProblem)
    async def database(_: Request, error: DatabaseProblem) -> Response:
        if error.transient:
            return problem.response("busy")
        # Class 22 is a value that PostgreSQL cannot hold, such as a NUL character in a text.
        if error.sqlstate.startswith("22"):
            return problem.response("invalid")
        log.error("statement failed", extra={"sqlstate": error.sqlstate})
        return problem.response("fault")

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return problem.response("invalid", errors=[_told(one) for one in error.errors()])

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        codes = {404: "not-found", 405: "no-such-operation", 413: "too-large", 400: "unreadable"}
        return problem.response(codes.get(error.status_code, "fault"), headers=error.headers)

    @app.exception_handler(Exception)
    async def fault(_: Request, error: Exception) -> Response:
        log.error("fault", exc_info=error)
        return problem.response("fault")

    return app


def _told(error: Mapping[str, Any]) -> dict[str, Any]:
    """Where and why, without what was sent: an unknown field's name is input too."""
    place = list(error["loc"])
    if error["type"] == "extra_forbidden":
        place[-1] = "(a field that does not exist)"
    return {"at": ".".join(str(part) for part in place), "why": error["type"]}


class _Guard:
    """Limits and headers around every request, one span each; the log holds the route's template, never an address."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        started = time.monotonic()
        status = 500
        limit = scope["app"].state.__dict__.get("max_body_bytes", MAX_BODY_BYTES) if "app" in scope else MAX_BODY_BYTES
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise HTTPException(413)
            return message

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_SAFE_HEADERS]
            await send(message)

        with telemetry.span("http", method=scope["method"]) as span:
            early = _early_refusal(scope["method"], headers, limit)
            if early:
                await problem.response(early)(scope, receive, sent)
            else:
                await self._app(scope, counted, sent)
            route = scope.get("route")
            template = getattr(route, "path", "")
            span.set_attribute("route", template)
            span.set_attribute("status", status)
        if status >= 500:
            log.error(
                "request failed",
                extra={"method": scope["method"], "route": template, "status": status,
                       "duration_ms": round((time.monotonic() - started) * 1000)},
            )  # fmt: skip


_SAFE_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
_FORMS = ("application/json", "application/x-www-form-urlencoded", "text/csv")


def _early_refusal(method: str, headers: Mapping[bytes, bytes], limit: int) -> str | None:
    length = headers.get(b"content-length", b"0")
    if not length.isdigit():
        return "unreadable"
    if int(length) > limit:
        return "too-large"
    has_body = length != b"0" or b"transfer-encoding" in headers
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower().decode("latin-1")
    if method in {"POST", "PUT", "PATCH"} and has_body and kind not in _FORMS:
        return "not-json"
    return None
