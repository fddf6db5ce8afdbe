"""Limits: how often a token may be asked for, what a stranger's flood does to a partner (nothing), and how slow a body may
be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from joserfc.jwk import OKPKey

from services.cli import installation
from services.cli.installation import Installation
from spean.grants import FAILURES_A_MINUTE, TOKENS_A_MINUTE, Limits
from spean.guard import BODY_STILL_S
from spean.limit import Limit, site_of
from spean.settings import Settings
from tests.builders import eventually
from tests.integration.apart import installed_apart
from tests.integration.test_partners_sign_in import claims, code, exchange, signed
from tests.integration.town import Town, found, settle

STRANGER = OKPKey.generate_key("Ed25519")


@pytest.fixture(scope="module")
async def apart(workspace: Path) -> AsyncIterator[Town]:
    """Of its own: what comes from this machine counts for everybody's tests."""
    async with (
        installed_apart(workspace) as (made, chosen),
        installation.running(made),
        settle(made, chosen) as settled,
    ):
        yield await found(settled)


@pytest.fixture
def limits(apart: Town) -> Limits:
    """Nothing is counted yet."""
    state: Any = apart.made.services["referral"].app.state
    state.token_limits = Limits()
    found: Limits = state.token_limits
    return found


@pytest.mark.parametrize(
    ("other", "status", "problem", "error"),
    [
        ({"grant_type": None}, 400, "bad-grant", "invalid_request"),
        ({"grant_type": ["client_credentials"] * 2}, 400, "bad-grant", "invalid_request"),
        ({"grant_type": "password"}, 400, "bad-grant", "unsupported_grant_type"),
        ({"client_assertion_type": "other"}, 400, "bad-grant", "invalid_client"),
        ({"client_assertion": None}, 400, "bad-grant", "invalid_client"),
        ({"client_assertion": "a.b.c"}, 401, "bad-client", "invalid_client"),
        ({"scope": "referral:admin"}, 403, "scope", "invalid_scope"),
    ],
    ids=str,
)
async def test_an_error_is_also_named_as_oauth_does(
    apart: Town, limits: Limits, other: dict[str, Any], status: int, problem: str, error: str
) -> None:
    house = apart.first.partner
    sent = {"assertion": signed(house._key, claims(apart, house.client_id))}
    if "client_assertion" in other:
        sent = {"assertion": other["client_assertion"]}
        other = {}
    refused = await exchange(apart, **sent, **other)
    assert (refused.status_code, code(refused), refused.json()["error"]) == (status, problem, error)
    assert refused.headers["content-type"] == "application/problem+json"


async def test_a_stranger_is_stopped_and_the_partner_whose_name_they_use_is_not(apart: Town, limits: Limits) -> None:
    house = apart.first.partner
    forged = signed(STRANGER, claims(apart, house.client_id))
    last = await exchange(apart, forged)
    assert (last.status_code, last.headers["ratelimit-policy"]) == (401, f'"failures";q={FAILURES_A_MINUTE};w=60')
    # The rest of a minute's failures at once: a slow machine would earn new ones while it asks.
    while limits.failures.take(site_of("127.0.0.1")).allowed:
        pass
    answers = await asyncio.gather(*(exchange(apart, forged) for _ in range(25)))
    last = max(answers, key=lambda answer: answer.status_code)
    assert (last.status_code, code(last)) == (429, "too-often")
    assert int(last.headers["retry-after"]) >= 1
    assert last.headers["ratelimit"].startswith('"failures";r=0;t=')
    granted = await exchange(apart, signed(house._key, claims(apart, house.client_id)))
    assert granted.status_code == 200, "whoever proves who they are is let in"
    assert granted.headers["ratelimit"].startswith(f'"tokens";r={TOKENS_A_MINUTE - 1};t=')


async def test_a_system_that_asks_too_often_waits_and_its_assertion_stays_good(apart: Town, limits: Limits) -> None:
    house, other = apart.first.partner, apart.second.partner
    for _ in range(TOKENS_A_MINUTE):
        assert limits.tokens.take(house.client_id).allowed
    assertion = signed(house._key, claims(apart, house.client_id))
    refused = await exchange(apart, assertion)
    assert (refused.status_code, code(refused)) == (429, "too-often")
    assert refused.headers["retry-after"] == "1"
    assert (await exchange(apart, signed(other._key, claims(apart, other.client_id)))).status_code == 200

    async def let_in() -> bool:
        return (await exchange(apart, assertion)).status_code == 200

    await eventually(let_in)


async def test_a_quota_comes_back_and_the_memory_does_not_grow() -> None:
    limit = Limit("few", 2, 1, keys_most=3)
    assert [limit.take("a").allowed for _ in range(3)] == [True, True, False]
    assert limit.headers(limit.take("a")) == {
        "RateLimit-Policy": '"few";q=2;w=1', "RateLimit": '"few";r=0;t=1', "Retry-After": "1",
    }  # fmt: skip

    async def again() -> bool:
        return limit.take("a").allowed

    await eventually(again)
    for key in "bcdefgh":
        limit.take(key)
    assert len(limit._buckets) == 3
    left = limit.take("new")
    assert (left.allowed, left.remaining) == (True, 1)


def test_whose_address_it_is() -> None:
    assert site_of("192.0.2.7") == "192.0.2.7"
    assert site_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert site_of("2001:db8::1") == site_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert site_of("2001:db8:0:1::1") != site_of("2001:db8::1")
    assert site_of(None) == site_of("no address") == ""


async def test_a_body_that_stands_still_is_not_waited_for(installed: tuple[Installation, Settings]) -> None:
    parts = urlsplit(installed[0].url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    began = time.monotonic()
    writer.write(
        b"POST /referral/oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 100\r\n\r\ngrant_type="
    )
    async with asyncio.timeout(3 * BODY_STILL_S):
        answer = await reader.read()  # to the end: the connection is closed
    writer.close()
    assert time.monotonic() - began < 2 * BODY_STILL_S
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"too-slow" in body
