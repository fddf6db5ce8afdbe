"""What every service's API has in common: problems, sign-in, one way to run a command, one way to read.

A route names its scope, its model and its handler; everything else about HTTP is here.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Depends, FastAPI, Header, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.models import OAuthFlowClientCredentials
from fastapi.openapi.models import OAuthFlows as OAuthFlowsModel
from fastapi.security import OAuth2
from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import PydanticCustomError
from starlette.exceptions import HTTPException

from schemas.vocabulary import Open
from spean import idempotency, problem
from spean.ask import HolderSilent
from spean.auth import Caller, Verifier
from spean.db import Database, DatabaseProblem, Tx
from spean.idempotency import Kept
from spean.openapi import DocumentedAPI, operation_id
from spean.problem import Refusal

log = logging.getLogger(__name__)
T = TypeVar("T")

# More than a person reads; without a limit a small body would be answered by megabytes.
ERRORS_MOST = 50
_EARLIEST, _LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
UNKNOWN_NAME = "(a field that does not exist)"
_ETAG = re.compile(r'"v([0-9]{1,9})"')
_KEY = re.compile(r"[\x21-\x7e]{1,200}")


class Body(BaseModel):
    """A request body: closed (an unknown field or code is an error), values as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, str_max_length=4000)

    @field_validator("*")
    @classmethod
    def _known(cls, value: Any) -> Any:
        """Open lists are open for what other services say; a caller's wrong code is a mistake to be told of. A time at
        either end of the calendar may have none in UTC, which is how it would be kept."""
        if isinstance(value, Open) and value.value == "unknown":
            raise PydanticCustomError("unknown_code", "not a code of this list")
        if isinstance(value, datetime) and not _EARLIEST <= value <= _LATEST:
            raise PydanticCustomError("beyond_the_calendar", "a time that cannot be kept")
        return value


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
    """What the kit needs to know of a service to guard its API. `secrets` key the fingerprints of commands and forms: those
    that count at this moment, the one in use first."""

    db: Database
    verifier: Verifier
    suspended: Callable[[UUID], Awaitable[bool]]
    secrets: Callable[[], Sequence[bytes]] = field(repr=False)

    @property
    def secret(self) -> bytes:
        """The one in use."""
        return self.secrets()[0]

    def fingerprints(self, path: str, body: bytes) -> list[bytes]:
        """Of a request, the one to keep first. Keyed: a plain hash of a short body could be guessed back from the table."""
        return [hmac.digest(secret, path.encode() + b"\n" + body, hashlib.sha256) for secret in self.secrets()]


_scheme = OAuth2(
    flows=OAuthFlowsModel(clientCredentials=OAuthFlowClientCredentials(tokenUrl="/referral/oauth/token", scopes={})),
    auto_error=False,
    description="OAuth 2 client credentials with private_key_jwt; access tokens live five minutes.",
)


def caller_with(scope: str | None, *, even_suspended: bool = False) -> Callable[..., Awaitable[Caller]]:
    """A dependency: the calling organisation, which must hold `scope` (None: whatever it holds; what it may do follows from
    who it is) and not be suspended (`even_suspended`: or may be, where nothing but stopping can come of it)."""

    signed_in = Security(_scheme, scopes=[] if scope is None else [scope])

    async def caller(request: Request, authorization: str | None = signed_in) -> Caller:
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise Refusal("no-token")
        door: Door = request.app.state.door
        found = await door.verifier.caller(token)
        if scope is not None and scope not in found.scopes:
            raise Refusal("scope")
        if not even_suspended and await door.suspended(found.org):
            raise Refusal("suspended")
        return found

    return caller


def version_in(if_match: str | None, *, needed: bool) -> int | None:
    """The version that an If-Match header names. Raises Refusal `version-missing`, or `version-unreadable` for anything
    but one strong ETag of ours (a list, `*` and weak ETags are none)."""
    if if_match is None:
        if needed:
            raise Refusal("version-missing")
        return None
    found = _ETAG.fullmatch(if_match)
    if found is None:
        raise Refusal("version-unreadable")
    return int(found.group(1))


class Command:
    """One POST, PUT or DELETE of one caller: carried out once per Idempotency-Key, in one transaction with its answer."""

    def __init__(
        self, db: Database, caller: Caller, key: str | None, fingerprints: Sequence[bytes], expected: int | None
    ) -> None:
        self.db, self.caller, self._key, self._fingerprints = db, caller, key, fingerprints
        self.expected = expected

    async def answered(self) -> Response | None:
        """The answer given before, for commands that must ask somebody first."""
        if self._key is None:
            return None
        async with self.db.transaction("command.answered", org=self.caller.org, alone=self._lock) as tx:
            kept = await idempotency.find(tx, self._key, *self._fingerprints)
        return None if kept is None else _response(kept)

    async def before(self, name: str, look: Callable[[Tx], Awaitable[T]]) -> Response | T:
        """The answer given before, as `answered`; where there is none, what `look` finds, in the same transaction."""
        async with self.db.transaction(name, org=self.caller.org, alone=self._lock) as tx:
            if self._key is not None and (kept := await idempotency.find(tx, self._key, *self._fingerprints)):
                return _response(kept)
            return await look(tx)

    async def run(self, name: str, work: Callable[[Tx], Awaitable[Reply]]) -> Response:
        """Carry `work` out in a transaction of this name, as the caller's organisation. Raises what `work` raises."""
        async with self.db.transaction(name, org=self.caller.org, alone=self._lock) as tx:
            return await self._once(tx, work)

    async def run_as_service(self, name: str, work: Callable[[Tx], Awaitable[Reply]]) -> Response:
        """The same with the service's own rights, for what belongs to no single organisation."""
        async with self.db.transaction(name, alone=self._lock) as tx:
            tx.org = self.caller.org
            return await self._once(tx, work)

    @property
    def _lock(self) -> str | None:
        return None if self._key is None else idempotency.lock_of(self.caller.org, self._key)

    async def _once(self, tx: Tx, work: Callable[[Tx], Awaitable[Reply]]) -> Response:
        if self._key is not None and (kept := await idempotency.find(tx, self._key, *self._fingerprints)):
            return _response(kept)
        reply = await work(tx)
        kept = Kept(reply.status, _etag(reply.version), reply.body.model_dump_json())
        if self._key is not None:
            await idempotency.keep(tx, self._key, self._fingerprints[0], kept)
        return _response(kept)


def command_with(scope: str | None, *, even_suspended: bool = False) -> Callable[..., Awaitable[Command]]:
    """A dependency for POST: needs an Idempotency-Key; If-Match is honoured where it is sent."""

    wanted = Depends(caller_with(scope, even_suspended=even_suspended))

    async def command(
        request: Request,
        caller: Caller = wanted,
        idempotency_key: Annotated[str | None, Header(description="New for each command; 1–200 characters")] = None,
        if_match: Annotated[str | None, Header(description='The ETag last read, such as "v3"')] = None,
    ) -> Command:
        if idempotency_key is None or not _KEY.fullmatch(idempotency_key):
            raise Refusal("key-missing")
        door: Door = request.app.state.door
        fingerprints = door.fingerprints(f"{request.method} {request.url.path}", await request.body())
        return Command(door.db, caller, idempotency_key, fingerprints, version_in(if_match, needed=False))

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
        return Command(door.db, caller, None, (), version_in(if_match, needed=True))

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


def make_app(name: str, summary: str) -> FastAPI:
    """The FastAPI application of the service `name`: no pages of its own for the docs, problems for every error. Who
    builds it puts its `Door` into `app.state.door` before the first request.

    It never redirects (an address would be built from what was sent), and its own telemetry is off: it would put
    addresses and error texts into spans.
    """
    return DocumentedAPI(
        title=f"Spean {name}", summary=summary, version="1", docs_url=None, redoc_url=None, openapi_url="/openapi.json",
        servers=[{"url": f"/{name}"}], root_path_in_servers=False, generate_unique_id_function=operation_id,
        responses={"default": {"description": "A problem document (RFC 9457)"}},
        exception_handlers=dict(PROBLEMS), redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False},
    )  # fmt: skip


# How a page says a problem to its visitor; put into `app.state.say_problem` by who has pages. `PAGES`: their addresses.
SayProblem = Callable[[Request, Refusal], Awaitable[Response]]
PAGES = re.compile(r"/(?:[a-z]+/)?pages(?:/|$)")


# Where a request that is refused says by which class (`spean.guard` writes it to the log); nothing of what was sent.
REFUSED = "spean.refused"


async def _refusal(request: Request, error: Refusal) -> Response:
    request.scope[REFUSED] = error.code
    say: SayProblem | None = getattr(request.app.state, "say_problem", None)
    if say is not None and PAGES.match(request.url.path):
        return await say(request, error)
    return problem.response(error.code, errors=error.errors, rule=error.rule)


async def _silent(request: Request, error: HolderSilent) -> Response:
    del error
    return await _refusal(request, Refusal("holder-silent"))


async def _database(request: Request, error: DatabaseProblem) -> Response:
    if error.transient:
        return await _refusal(request, Refusal("busy"))
    # Class 22 is a value that PostgreSQL cannot hold, such as a NUL character in a text or the year 10000.
    if error.sqlstate.startswith("22"):
        return await _refusal(request, Refusal("invalid"))
    log.error("statement failed", extra={"sqlstate": error.sqlstate})
    return await _refusal(request, Refusal("fault"))


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    if PAGES.match(request.url.path):
        return await _refusal(request, Refusal("not-found"))  # an address that no page of ours has led to
    found = error.errors()
    sent_as = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if sent_as != "application/json" and any(one["loc"] == ("body",) for one in found):
        return await _refusal(request, Refusal("not-json"))
    request.scope[REFUSED] = "invalid"
    known = _known_names(request.app)
    return problem.response("invalid", errors=[_told(one, known) for one in found[:ERRORS_MOST]])


async def _http(request: Request, error: HTTPException) -> Response:
    codes = {404: "not-found", 405: "no-such-operation", 413: "too-large", 415: "not-json", 400: "unreadable"}
    answer = await _refusal(request, Refusal(codes.get(error.status_code, "fault")))
    answer.headers.update(error.headers or {})
    return answer


async def _fault(request: Request, error: Exception) -> Response:
    log.error("fault", exc_info=error)
    return await _refusal(request, Refusal("fault"))


# Every error that may reach the edge, and how it is said.
PROBLEMS: Mapping[Any, Callable[[Request, Any], Awaitable[Response]]] = {
    Refusal: _refusal,
    HolderSilent: _silent,
    DatabaseProblem: _database,
    RequestValidationError: _invalid,
    HTTPException: _http,
    Exception: _fault,
}


def _known_names(app: FastAPI) -> frozenset[str]:
    """The names of fields and parameters in the application's own document, read once."""
    known: frozenset[str] | None = getattr(app.state, "known_names", None)
    if known is None:
        document = app.openapi()
        models = document.get("components", {}).get("schemas", {}).values()
        operations = [one for methods in document["paths"].values() for one in methods.values()]
        known = frozenset(
            {"body", "query", "path", "header"}
            | {name for model in models for name in model.get("properties", {})}
            | {parameter["name"] for one in operations for parameter in one.get("parameters", [])}
        )
        app.state.known_names = known
    return known


def _told(error: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """Where and why, without what was sent: a name that is not ours is input too."""
    place = [str(part) if isinstance(part, int) or part in known else UNKNOWN_NAME for part in error["loc"]]
    return {"at": ".".join(place), "why": error["type"]}
