"""Bad headers, addresses, methods and bytes: a clear typed problem, nothing given back, nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from tests.security.answers import ENTRY, JSON, KHMER, MARK, code_of, get, post, raw, request_bytes, with_key
from tests.security.operations import Stage
from tests.security.test_rls import dsn

# --- Idempotency-Key ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys", [(), ("",), ("a" * 201,), ("two words",), (KHMER,), ("é",), ("tab\there",), (b"\xff\xfe",)], ids=str
)
async def test_a_key_that_is_none(stage: Stage, before: None, keys: tuple[str, ...]) -> None:
    assert code_of(await with_key(stage, *keys)) == "key-missing"


async def test_two_keys(stage: Stage, before: None) -> None:
    assert code_of(await with_key(stage, "one", "two")) == "header-twice"
    assert code_of(await with_key(stage, "one", "one")) == "header-twice"


async def test_a_key_that_is_being_carried_out(stage: Stage, before: None) -> None:
    """Somebody holds the key's lock, as a command that runs does."""
    key, org = str(uuid4()), stage.people["sender"].id
    conn = await asyncpg.connect(dsn(stage, "intake", "api"))
    try:
        async with conn.transaction():
            await conn.execute("select pg_advisory_xact_lock(hashtextextended($1::text || $2, 0))", org, key)
            response = await with_key(stage, key)
            assert code_of(response) == "key-running"
            assert response.status_code == 409
            assert int(response.headers["retry-after"]) > 0
    finally:
        await conn.close()


# --- If-Match -----------------------------------------------------------------------------------------------------


async def _with_etag(stage: Stage, *tags: str) -> httpx.Response:
    token = await stage.people["sender"].partner.token()
    headers: list[Any] = [(b"Authorization", f"Bearer {token}".encode()), (b"Content-Type", JSON.encode())]
    headers += [(b"If-Match", tag.encode()) for tag in tags]
    return await stage.client.put(
        f"/intake/entries/{stage.objects['entry']}/person", content=b'{"age_years": 30}', headers=headers
    )


async def test_a_version_must_be_named(stage: Stage, before: None) -> None:
    assert code_of(await _with_etag(stage)) == "version-missing"


@pytest.mark.parametrize(
    "tag",
    [
        "",
        "*",
        "v1",
        '"v1',
        'W/"v1"',
        '"v1", "v2"',
        '"1"',
        '"v-1"',
        '"v1.0"',
        '"v99999999999"',
        '"v١"',
        f'"{MARK}"',
        KHMER,
    ],
)
async def test_a_version_that_is_none(stage: Stage, before: None, tag: str) -> None:
    assert code_of(await _with_etag(stage, tag)) == "version-unreadable"


async def test_a_stale_version(stage: Stage, before: None) -> None:
    assert code_of(await _with_etag(stage, '"v999"')) == "version"
    assert code_of(await _with_etag(stage, '"v0"')) == "version"
    assert code_of(await _with_etag(stage, '"v1"', '"v1"')) == "header-twice"
    path = f"/intake/handoffs/{stage.objects['handoff']}/cancel"
    token = await stage.people["sender"].partner.token()
    headers = [("Authorization", f"Bearer {token}"), ("Idempotency-Key", str(uuid4())), ("If-Match", '"v999"')]
    assert code_of(await post(stage, path, b"", headers=headers, kind=None)) == "version"


# --- addresses, methods, headers ----------------------------------------------------------------------------------


def _addresses() -> Iterator[tuple[str, str]]:
    for path in ("//", f"/{MARK}", "/intake", "/referral/", "/notify//overview", "/intake/entries/", "/health/"):
        yield path, "not-found"
    for path in (
        f"/intake/{MARK}",
        f"/{MARK}/entries",
        f"/intake/handoffs/{uuid4()}/{MARK}",
        "/intake/rules",
        "/static/x",
    ):
        yield path, "not-found"
    for path in (
        "/../../etc/passwd",
        "/intake/../../etc/passwd",
        "/intake/%2e%2e/%2e%2e/etc/passwd",
        "/intake/..%5c..%5cx",
    ):
        yield path, "not-found"
    for path in (f"/intake/{'a' * 20_000}", f"/intake/{'a/' * 10_000}", f"/{'%41' * 10_000}"):
        yield path, "not-found"
    for id_ in (MARK, "1", "null", "%00", "..", "%2e%2e%2f", "-", "%F0%9F", f"{uuid4()}x", "' or 1=1 --", "{entry}"):
        yield (
            f"/intake/handoffs/{id_.replace(' ', '%20')}",
            "invalid" if id_ not in {"..", "%2e%2e%2f"} else "not-found",
        )
    for query in (f"before={MARK}", "before=2024-01-01", "before=2024-02-30T00:00:00Z", "before=%00"):
        yield f"/intake/handoffs?{query}", "invalid"
    # Values that only the database refuses: beyond its calendar, beyond its numbers.
    yield "/intake/handoffs?before=0001-01-01T00:00:00%2B14:00", "invalid"
    yield f"/intake/screenings/{{screening}}/findings?after={10**30}", "invalid"
    yield f"/intake/rules/{MARK}", "scope"


@pytest.mark.parametrize(("path", "code"), [pytest.param(*one, id=one[0][:60]) for one in _addresses()])
async def test_an_address_that_leads_nowhere(stage: Stage, before: None, path: str, code: str) -> None:
    found = code_of(await get(stage, path.replace("{screening}", stage.objects["screening"])))
    assert found in {code, "invalid"} if path.endswith("..") else found == code


@pytest.mark.parametrize("id_", ["{%s}", "urn:uuid:%s", "%s"])
async def test_an_id_written_otherwise_is_the_same_object_or_none(stage: Stage, id_: str) -> None:
    """No other spelling opens what is not the caller's."""
    path = f"/referral/places/{id_ % stage.objects['place'].upper()}"
    response = await get(stage, path, role="receiver")
    assert response.status_code == 200 or code_of(response) == "invalid"
    strange = request_bytes("GET", path, {"Authorization": f"Bearer {await stage.stranger.partner.token()}"})
    assert code_of(await raw(stage.world.made.url, strange)) in {"not-found", "invalid"}


@pytest.mark.parametrize(
    "method", ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "get", MARK.upper()]
)
async def test_a_method_that_is_not_taken(stage: Stage, before: None, method: str) -> None:
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "GET"}
    response = await get(stage, f"/intake/handoffs/{stage.objects['handoff']}", method=method, headers=headers)
    if method == "HEAD":  # an answer to HEAD has no body
        assert (response.status_code, response.headers["allow"]) == (405, "GET")
        return
    assert code_of(response) == "no-such-operation"
    assert response.headers["allow"] == "GET"


async def test_a_name_that_the_database_cannot_hold(stage: Stage, before: None) -> None:
    response = await post(stage, "/referral/clients/a%00b/revoke", b"", role="administrator", kind=None)
    assert code_of(response) in {"invalid", "not-found"}


async def test_health_takes_nothing_else(stage: Stage, before: None) -> None:
    assert code_of(await post(stage, "/health", ENTRY)) == "no-such-operation"
    assert (await stage.client.get("/health")).text == "ok\n"


async def test_a_host_or_origin_of_somebody_else_is_not_repeated(stage: Stage, before: None) -> None:
    """No answer is built from the Host header, no other site may read one."""
    token = await stage.people["receiver"].partner.token()
    for path in ("/referral/places", "/referral/places/", "/referral"):
        response = await stage.client.get(
            path,
            headers={
                "Host": f"{MARK}.example", "X-Forwarded-Host": f"{MARK}.example", "Origin": f"https://{MARK}.example",
                "Authorization": f"Bearer {token}",
            },
        )  # fmt: skip
        assert MARK not in response.text + str(response.headers)
        assert not [name for name in response.headers if name.startswith("access-control-")]
        assert response.status_code in {200, 404}


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: test\r\nHost: " + MARK.encode() + b"\r\n\r\n",
        MARK.encode() + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
        b"GET  / HTTP/1.1\r\nHost: test\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: test\r\nBad Header: " + MARK.encode() + b"\r\n\r\n",
        b"POST /intake/entries HTTP/1.1\r\nHost: test\r\nContent-Length: -1\r\n\r\n",
        b"POST /intake/entries HTTP/1.1\r\nHost: test\r\nContent-Length: " + MARK.encode() + b"\r\n\r\n",
        b"POST /intake/entries HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /intake/entries HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /intake/entries HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + MARK.encode() + b"\r\n",
    ],
    ids=lambda sent: sent[:60].decode("latin-1"),
)
async def test_bytes_that_are_no_request(stage: Stage, before: None, sent: bytes) -> None:
    assert code_of(await raw(stage.world.made.url, sent)) == "unreadable"


async def test_many_and_long_headers_within_the_limit_pass(stage: Stage) -> None:
    more = {f"X-{number}": MARK * 50 for number in range(30)}
    assert (await get(stage, "/referral/places", role="receiver", headers=more)).status_code == 200


@pytest.mark.parametrize("more", [{"X-Long": MARK * 3_000}, {f"X-{number}": "1" for number in range(8_000)}, None])
async def test_a_head_that_is_too_large(stage: Stage, before: None, more: dict[str, str] | None) -> None:
    path = "/referral/places" if more else f"/referral/{MARK * 3_000}"
    assert code_of(await get(stage, path, headers=more)) in {"head-too-large", "unreadable"}


@pytest.mark.parametrize("number", ["-1", "1e9", MARK, "9" * 40, "%00", "١", "1, 2"])
async def test_a_last_event_id_that_is_none(stage: Stage, before: None, number: str) -> None:
    token = await stage.people["coordinator"].partner.token()
    headers = {"Authorization": f"Bearer {token}", "Last-Event-ID": number.encode()}
    assert code_of(await stage.client.get("/notify/changes", headers=headers)) == "invalid"
