"""What every refusal looks like, and that it gives nothing back of what was sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from spean.problem import MEDIA_TYPE, REFUSALS, TYPE_BASE
from tests.security.operations import Stage

# Planted in what is sent; never to be found in what comes back. In words that no text of ours has, in two scripts.
MARK = "zqxplantedzqx"
KHMER = "សម្គាល់លាក់"
ENTRY = {"channel": "border_post", "area": "KH-1", "person": {"age_years": 24}}
JSON = "application/json"
SAFE_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
}

# RFC 6749, section 5.2: what the token endpoint says beside the problem.
OAUTH_ERRORS = {"invalid_request", "invalid_client", "invalid_grant", "unsupported_grant_type", "invalid_scope"}


def echoes(response: httpx.Response) -> bool:
    """Is anything planted in the answer's body or headers, as it is or escaped?"""
    sent = response.content + b"\n".join(name + b": " + value for name, value in response.headers.raw)
    forms = {form for mark in (MARK, KHMER) for form in (mark, json.dumps(mark)[1:-1])}
    return any(form.lower().encode() in sent.lower() for form in forms)


def code_of(response: httpx.Response) -> str:
    """The code of a well-formed problem. Raises AssertionError for anything else."""
    assert response.headers.get_list("content-type") == [MEDIA_TYPE], (response.status_code, response.headers)
    said = response.json()
    assert said["type"].startswith(TYPE_BASE)
    code = str(said["type"]).removeprefix(TYPE_BASE)
    status, what_to_do = REFUSALS[code]
    assert said["status"] == response.status_code == status
    assert said["detail"] == what_to_do
    assert said["title"]
    assert set(said) <= {"type", "title", "status", "detail", "errors", "rule", "error"}
    assert said.get("error") in {None, *OAUTH_ERRORS}
    for name, value in SAFE_HEADERS.items():
        assert response.headers.get_list(name) == [value], name
    assert not [name for name in response.headers if name.startswith("access-control-")]
    assert "location" not in response.headers
    assert not echoes(response), response.text
    return code


async def raw(url: str, sent: bytes) -> httpx.Response:
    """Send these bytes on a connection of their own and read one answer."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(sent)
        await writer.drain()
        async with asyncio.timeout(15):
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines if line)]
            length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
            body = b"" if sent.startswith(b"HEAD ") else await reader.readexactly(length)
    finally:
        writer.close()
    return httpx.Response(int(first.split()[1]), headers=headers, content=body)


def request_bytes(method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A request as it is, with whatever is wrong with it."""
    lines = [f"{method} {target} HTTP/1.1", "Host: test", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def post(stage: Stage, path: str, content: Any, *, role: str = "sender", kind: str | None = JSON,
               headers: list[tuple[str, str]] | None = None, method: str = "POST") -> httpx.Response:  # fmt: skip
    """A request that is good but for what is given; `content`: bytes as they are, chunks, or a value to be sent as JSON."""
    token = await stage.people[role].partner.token()
    sent = [("Authorization", f"Bearer {token}"), ("Idempotency-Key", str(uuid4()))] if headers is None else headers
    if kind is not None:
        sent = [*sent, ("Content-Type", kind)]
    as_it_is = isinstance(content, bytes) or hasattr(content, "__aiter__")
    body = content if as_it_is else json.dumps(content).encode()
    return await stage.client.request(method, path, content=body, headers=sent)


async def get(stage: Stage, path: str, *, role: str = "sender", method: str = "GET",
              headers: Mapping[str, str] | None = None) -> httpx.Response:  # fmt: skip
    """A request without a body, its address sent as it is written here."""
    token = await stage.people[role].partner.token()
    target = request_bytes(method, path, {"Authorization": f"Bearer {token}", **(headers or {})})
    return await raw(stage.world.made.url, target)


async def with_key(stage: Stage, *keys: str | bytes, body: Any = None, path: str = "/intake/entries") -> httpx.Response:
    """An entry posted with these Idempotency-Key headers."""
    token = await stage.people["sender"].partner.token()
    headers: list[Any] = [(b"Authorization", f"Bearer {token}".encode()), (b"Content-Type", JSON.encode())]
    headers += [(b"Idempotency-Key", key if isinstance(key, bytes) else key.encode()) for key in keys]
    return await stage.client.post(path, content=json.dumps(ENTRY if body is None else body), headers=headers)
