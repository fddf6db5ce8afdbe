"""Around everything behind one port: limits, strict JSON, headers on every answer, one span per request.

What is read here is read before anything else happens: no transaction is open and nobody is asked.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import h11
from opentelemetry.trace import SpanKind
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from spean import problem, telemetry
from spean.http import PAGES, REFUSED, SayProblem

log = logging.getLogger(__name__)

# Entries and hand-offs are forms of a page or two; rows of a file come in chunks of this.
MAX_BODY_BYTES = 256 * 1024
# A body that stands still for the first, or has not arrived by the second, keeps a connection from somebody else; 256 KiB
# over a bad mobile line fit.
BODY_STILL_S, BODY_MOST_S = 10.0, 60.0
# Address and headers together; tokens are some 1 KiB.
MAX_HEAD_BYTES = 32 * 1024
_KINDS = frozenset({"application/json", "application/x-www-form-urlencoded"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_METHODS = _WITH_BODY | {"GET", "HEAD", "OPTIONS"}
# Two of one of these, and it depends on the reader which one counts.
_ONCE = (b"authorization", b"content-type", b"content-length", b"idempotency-key", b"if-match", b"last-event-id")
# PostgreSQL holds no NUL, and half of a surrogate pair is no character.
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_SAFE_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_ONLY_HTTPS = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")


class _Gone(Exception):
    """The client hung up before its request was whole."""


class Guard:
    """ASGI middleware, outermost. `https`: this installation is reached over TLS only, perhaps through a proxy. `pages`: how
    a refusal is said where the address is a page's."""

    def __init__(self, app: ASGIApp, *, https: bool, pages: SayProblem) -> None:
        self._app, self._pages = app, pages
        self._headers = (*_SAFE_HEADERS, _ONLY_HTTPS) if https else _SAFE_HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, endless = time.monotonic(), 0, False

        async def sent(message: Message) -> None:
            nonlocal status, endless
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name.lower() for name, _ in message["headers"]}
                # A stream of changes ends when its reader goes: how long that took says nothing.
                endless = any(value.startswith(b"text/event-stream") for _, value in message["headers"])
                message["headers"] = [*message["headers"], *(one for one in self._headers if one[0] not in given)]
            await send(message)

        # A method is input as well: only those that we know are named.
        method = scope["method"] if scope["method"] in _METHODS else "other"
        with telemetry.span("http", SpanKind.SERVER, method=method) as span:
            try:
                await self._answer(scope, receive, sent)
            finally:
                template = scope.get("root_path", "") + getattr(scope.get("route"), "path", "")
                said = {"method": method, "route": template, "status": status}
                span.set(**said)
                took_s = time.monotonic() - started
                if not endless:
                    telemetry.record("http.server.request.duration", took_s, **said)
                if status >= 500:
                    log.error("request failed", extra={**said, "duration_ms": round(took_s * 1000)})
                elif REFUSED in scope:
                    log.info("request refused", extra={**said, "reason": scope[REFUSED]})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            checked = await _checked(scope, receive)
        except problem.Refusal as refusal:
            scope[REFUSED] = refusal.code
            page = PAGES.match(scope["path"])
            said = await self._pages(Request(scope), refusal) if page else problem.response(refusal.code)
            if refusal.code == "too-slow":
                said.headers["Connection"] = "close"
            await said(scope, receive, send)
        except _Gone:
            return
        else:
            await self._app(scope, checked, send)


async def _checked(scope: Scope, receive: Receive) -> Receive:
    """What the application may receive. Raises Refusal `head-too-large`, `header-twice`, `unreadable`, `not-json`,
    `too-large`, `too-slow`."""
    head = (
        len(scope["path"])
        + len(scope["query_string"])
        + sum(len(name) + len(value) for name, value in scope["headers"])
    )
    if head > MAX_HEAD_BYTES:
        raise problem.Refusal("head-too-large")
    counts = Counter(name.lower() for name, _ in scope["headers"])
    if any(counts[name] > 1 for name in _ONCE):
        raise problem.Refusal("header-twice")
    headers = {name.lower(): value for name, value in scope["headers"]}
    length = headers.get(b"content-length", b"0")
    if not length.isdigit():
        raise problem.Refusal("unreadable")
    if scope["method"] not in _WITH_BODY or (length == b"0" and b"transfer-encoding" not in headers):
        return receive
    kind, charset = _media_type(headers)
    if kind not in _KINDS or charset not in {"", "utf-8"}:
        raise problem.Refusal("not-json")
    if int(length) > MAX_BODY_BYTES:
        raise problem.Refusal("too-large")
    body = await _whole(receive)
    if kind == "application/json":
        check_json(body)
    return _again(body, receive)


def _media_type(headers: Mapping[bytes, bytes]) -> tuple[str, str]:
    """The body's media type and charset, in lower case."""
    kind, *parameters = headers.get(b"content-type", b"").decode("latin-1").lower().split(";")
    named = dict(one.strip().partition("=")[::2] for one in parameters)
    return kind.strip(), named.get("charset", "").strip('"')


async def _whole(receive: Receive) -> bytes:
    """Raises Refusal `too-large`, `too-slow`, _Gone."""
    body = bytearray()
    loop = asyncio.get_running_loop()
    last = loop.time() + BODY_MOST_S
    while True:
        try:
            async with asyncio.timeout_at(min(last, loop.time() + BODY_STILL_S)):
                message = await receive()
        except TimeoutError:
            raise problem.Refusal("too-slow") from None
        if message["type"] == "http.disconnect":
            raise _Gone
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise problem.Refusal("too-large")
        if not message.get("more_body", False):
            return bytes(body)


def check_json(body: bytes) -> None:
    """One JSON text in UTF-8 that means the same to everybody: no repeated names, no NaN, no texts that are none.

    Raises Refusal `unreadable`.
    """
    try:
        waiting: list[Any] = [
            json.loads(body.decode("utf-8"), object_pairs_hook=_no_name_twice, parse_constant=_no_constant)
        ]
    except (ValueError, RecursionError):
        raise problem.Refusal("unreadable") from None
    if b"\\u" not in body:
        return  # only an escape brings in what is no text: bytes that are UTF-8 hold no surrogate, and JSON no bare NUL
    while waiting:
        one = waiting.pop()
        if isinstance(one, str) and _UNFIT.search(one):
            raise problem.Refusal("unreadable")
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            waiting += one


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _no_constant(_: str) -> None:
    raise ValueError


def _again(body: bytes, receive: Receive) -> Receive:
    """The body once more, in one piece; then what the client does next."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return waiting.pop() if waiting else await receive()

    return received


class Protocol(H11Protocol):
    """HTTP/1.1 on one connection; bytes that are no HTTP get a problem too, and the connection ends."""

    def send_400_response(self, msg: str) -> None:
        del msg
        refused = problem.response("unreadable")
        headers = [*refused.raw_headers, *_SAFE_HEADERS, (b"connection", b"close")]
        for event in (
            h11.Response(status_code=refused.status_code, headers=headers, reason=b"Bad Request"),
            h11.Data(data=bytes(refused.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
