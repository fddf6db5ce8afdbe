"""Bad bodies of every kind: a clear typed problem, nothing of it given back, nothing changed, never a fault."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest

from spean.guard import MAX_BODY_BYTES
from tests.security.answers import ENTRY, JSON, KHMER, MARK, code_of, get, post, raw, request_bytes
from tests.security.operations import RECIPES, Stage

# --- bodies that cannot be read -----------------------------------------------------------------------------------


def _named(value: str) -> bytes:
    return b'{"channel":"border_post","area":"KH-1","person":{"name":' + value.encode("utf-8", "surrogatepass") + b"}}"


UNREADABLE: dict[str, bytes] = {
    "nothing but white space": b"  ",
    "no JSON": MARK.encode(),
    "half a text": b'{"channel": "border_post", "person": {"name": "' + MARK.encode(),
    "two texts": json.dumps(ENTRY).encode() * 2,
    "single quotes": b"{'channel': 'border_post'}",
    "a comment": b'{"channel": "border_post" /* ' + MARK.encode() + b" */}",
    "a comma too many": b'{"channel": "border_post", "area": "KH-1",}',
    "NaN": b'{"channel": "border_post", "area": "KH-1", "person": {"age_years": NaN}}',
    "Infinity": b'{"channel": "border_post", "area": "KH-1", "person": {"age_years": -Infinity}}',
    "5,000 digits": b'{"channel": "border_post", "area": "KH-1", "person": {"age_years": ' + b"9" * 5_000 + b"}}",
    "a name twice": b'{"channel": "border_post", "area": "KH-1", "area": "VN-SG"}',
    "a name twice, inside": b'{"channel": "border_post", "area": "KH-1", "person": {"sex": "male", "sex": "female"}}',
    "100,000 brackets": b"[" * 100_000,
    "100,000 brackets, closed": b"[" * 100_000 + b"]" * 100_000,
    "20,000 objects deep": b'{"person":' * 20_000 + b"1" + b"}" * 20_000,
    "deep inside": b'{"channel":"border_post","area":"KH-1","person":{"name":' + b"[" * 50_000 + b"]" * 50_000 + b"}}",
    "broken UTF-8": b'{"channel": "border_post", "area": "KH-1", "person": {"name": "\xc3\x28"}}',
    "overlong UTF-8": b'{"channel": "border_post", "area": "KH-1", "person": {"name": "\xc0\xaf"}}',
    "UTF-8 cut in a letter": b'{"channel": "border_post", "area": "KH-1", "person": {"name": "\xe1\x9e"}}',
    "Latin-1": '{"channel": "border_post", "area": "KH-1", "person": {"name": "é"}}'.encode("latin-1"),
    "UTF-16": json.dumps(ENTRY).encode("utf-16"),
    "UTF-16 without a mark": json.dumps(ENTRY).encode("utf-16-le"),
    "UTF-32": json.dumps(ENTRY).encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(ENTRY).encode(),
    "a raw NUL": _named('"a\x00b"'),
    "an escaped NUL": _named(f'"{MARK}\\u0000"'),
    "a NUL in a name": b'{"channel": "border_post", "area": "KH-1", "a\\u0000b": 1}',
    "half a surrogate pair": _named('"\\ud83d"'),
    "surrogates the wrong way round": _named('"\\ude00\\ud83d"'),
    "an encoded surrogate": _named('"\ud83d"'),
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_a_body_that_cannot_be_read(stage: Stage, before: None, name: str) -> None:
    assert code_of(await post(stage, "/intake/entries", UNREADABLE[name])) == "unreadable"


@pytest.mark.parametrize("name", ["100,000 brackets", "broken UTF-8", "a name twice"])
async def test_a_body_that_cannot_be_read_where_none_is_expected(stage: Stage, before: None, name: str) -> None:
    path = f"/intake/handoffs/{stage.objects['handoff']}/cancel"
    assert code_of(await post(stage, path, UNREADABLE[name])) == "unreadable"


KINDS = {
    None: "not-json",
    "": "not-json",
    "text/plain": "not-json",
    "text/json": "not-json",
    "text/csv": "not-json",
    "application/xml": "not-json",
    "application/octet-stream": "not-json",
    f"application/{MARK}": "not-json",
    "application/x-www-form-urlencoded": "not-json",
    f"multipart/form-data; boundary={MARK}": "not-json",
    "application/json; charset=latin-1": "not-json",
    "application/json; charset=utf-16": "not-json",
    f"application/json; charset={MARK}": "not-json",
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_body_of_another_kind(stage: Stage, before: None, kind: str | None) -> None:
    assert code_of(await post(stage, "/intake/entries", ENTRY, kind=kind)) == KINDS[kind]


# --- size ---------------------------------------------------------------------------------------------------------


async def test_a_body_that_is_too_large(stage: Stage, before: None) -> None:
    """Declared and sent, sent in chunks without a declaration, and declared only: refused before it is all there."""
    large = json.dumps({**ENTRY, "person": {"account": MARK * (MAX_BODY_BYTES // len(MARK))}}).encode()
    assert len(large) > MAX_BODY_BYTES
    assert code_of(await post(stage, "/intake/entries", large)) == "too-large"

    async def in_chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 4096):
            yield large[start : start + 4096]

    assert code_of(await post(stage, "/intake/entries", in_chunks())) == "too-large"
    declared = request_bytes("POST", "/intake/entries", {"Content-Type": JSON, "Content-Length": str(10**15)})
    assert code_of(await raw(stage.world.made.url, declared)) == "too-large"
    form = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(MAX_BODY_BYTES + 1)}
    assert code_of(await raw(stage.world.made.url, request_bytes("POST", "/referral/oauth/token", form))) == "too-large"


async def test_the_largest_body_is_read(stage: Stage, before: None) -> None:
    """One byte below the limit is looked at (and refused for what is in it)."""
    start, end = b'{"channel":"border_post","area":"', b'"}'
    body = start + b"A" * (MAX_BODY_BYTES - len(start) - len(end)) + end
    assert len(body) == MAX_BODY_BYTES
    assert code_of(await post(stage, "/intake/entries", body)) == "invalid"


async def test_a_small_body_is_never_answered_by_a_large_one(stage: Stage, before: None) -> None:
    keys = {f"{MARK}{number}": number for number in range(8_000)}
    body = {"id": "a", "organisation": stage.stranger.id, "public_key": keys, "scopes": []}
    response = await post(stage, "/referral/clients", body, role="administrator")
    assert code_of(response) == "invalid"
    assert len(response.content) < 10_000


async def test_a_client_that_hangs_up_in_the_middle_leaves_nothing(stage: Stage, before: None) -> None:
    token = await stage.people["sender"].partner.token()
    headers = {
        "Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid4()), "Content-Type": JSON,
        "Content-Length": "5000",
    }  # fmt: skip
    host = stage.client.base_url
    _, writer = await asyncio.open_connection(host.host, host.port)
    writer.write(request_bytes("POST", "/intake/entries", headers, b'{"channel": '))
    await writer.drain()
    writer.close()
    await writer.wait_closed()


# --- fields -------------------------------------------------------------------------------------------------------


def _person(**fields: Any) -> dict[str, Any]:
    return {**ENTRY, "person": fields}


INVALID_ENTRIES: dict[str, Any] = {
    "null": None,
    "a list": [ENTRY],
    "a text": MARK,
    "a number": 7,
    "nothing": {},
    "an unknown field": {**ENTRY, MARK: 1},
    "an unknown field in Khmer": {**ENTRY, KHMER: KHMER},
    "an unknown field inside": _person(**{MARK: MARK}),
    "an unknown code": {**ENTRY, "channel": MARK},
    "a code in capitals": {**ENTRY, "channel": "BORDER_POST"},
    "an unknown code in a list": _person(needs=["step_free", MARK]),
    "an object for a text": _person(name={MARK: MARK}),
    "a list for a text": _person(name=[MARK]),
    "a number for a text": _person(name=12),
    "a text that is too long": _person(name=MARK * 20),
    "a list that is too long": _person(languages=["khm"] * 11),
    "a language that is none": _person(languages=[MARK]),
    "a country that is none": _person(citizenship=KHMER),
    "an area that is none": {**ENTRY, "area": MARK},
    "an age before birth": _person(age_years=-1),
    "an age beyond life": _person(age_years=151),
    "half a year": _person(age_years=24.5),
    "an age as text": _person(age_years=MARK),
    "an age of 100 digits": _person(age_years=10**100),
    "a number beyond floats": json.dumps(ENTRY).replace("24", "1e999").encode(),
    "a day that is none": {**ENTRY, "happened_at": "2023-02-30T12:00:00Z"},
    "a month that is none": {**ENTRY, "happened_at": "2023-13-01T12:00:00Z"},
    "an hour that is none": {**ENTRY, "happened_at": "2023-01-01T25:00:00Z"},
    "a time without a zone": {**ENTRY, "happened_at": "2023-01-01T12:00:00"},
    "a zone that is none": {**ENTRY, "happened_at": "2023-01-01T12:00:00+99:00"},
    "a time in the future": {**ENTRY, "happened_at": "2100-01-01T00:00:00Z"},
    "the end of time": {**ENTRY, "happened_at": "9999-12-31T23:59:59-23:59"},
    "before the beginning": {**ENTRY, "happened_at": "0001-01-01T00:00:00+23:59"},
    "a time that is a text": {**ENTRY, "happened_at": MARK},
    "a time that is a huge number": {**ENTRY, "happened_at": 10**30},
}


@pytest.mark.parametrize("name", INVALID_ENTRIES)
async def test_an_entry_that_is_not_valid(stage: Stage, before: None, name: str) -> None:
    assert code_of(await post(stage, "/intake/entries", INVALID_ENTRIES[name])) == "invalid"


async def test_where_and_why_is_said_without_what_was_sent(stage: Stage, before: None) -> None:
    body = {**_person(age_years=200, needs=[MARK], **{MARK: 1}), KHMER: 2}
    response = await post(stage, "/intake/entries", body)
    assert code_of(response) == "invalid"
    said = {(error["at"], error["why"]) for error in response.json()["errors"]}
    assert said == {
        ("body.person.age_years", "less_than_equal"),
        ("body.person.needs.0", "enum"),
        ("body.person.(a field that does not exist)", "extra_forbidden"),
        ("body.(a field that does not exist)", "extra_forbidden"),
    }


async def test_names_within_a_free_object_are_input_too(stage: Stage, before: None) -> None:
    key = {"kty": "OKP", "crv": "Ed25519", MARK: ["x"], "x": 1}
    body = {"id": "made", "organisation": stage.stranger.id, "public_key": key, "scopes": [MARK]}
    assert code_of(await post(stage, "/referral/clients", body, role="administrator")) == "invalid"


Bad = Callable[[Stage], tuple[str, str, Any]]


def _entry(stage: Stage, rest: str) -> str:
    return f"/intake/entries/{stage.objects['entry']}/{rest}"


def _handoff(stage: Stage, **fields: Any) -> tuple[str, str, Any]:
    good = {
        "network": stage.world.network, "service_type": "counselling", "urgency": "emergency", "area": "KH-1",
        "members": [stage.objects["entry"]],
    }  # fmt: skip
    return "sender", "/intake/handoffs", {**good, **fields}


def _consent(stage: Stage, **fields: Any) -> tuple[str, str, Any]:
    good = {"decision": "service", "state": "given", "expressed": "spoken", "language": "khm", "notice": "1"}
    return "sender", _entry(stage, "consents"), {**good, **fields}


def _rule(stage: Stage, kind: str, **fields: Any) -> tuple[str, str, Any]:
    body = RECIPES[f"POST /intake/rules/{kind}"].body
    assert body is not None
    return "administrator", f"/intake/rules/{kind}", {**body(stage), **fields}


# What is wrong with it → how it is refused. The request is right but for that.
REFUSED: dict[str, tuple[str, Bad]] = {
    "a province that is none": ("unknown-area", lambda _: ("sender", "/intake/entries", {**ENTRY, "area": "KH-ZZ9"})),
    "a country that is none": ("unknown-area", lambda _: ("sender", "/intake/entries", {**ENTRY, "area": "ZZ-1"})),
    "needed in the past": ("need-by-past", lambda s: _handoff(s, need_by="2020-01-01T00:00:00Z")),
    "needed before the beginning": ("invalid", lambda s: _handoff(s, need_by="0001-01-01T00:00:00+23:59")),
    "another network": ("unknown-network", lambda s: _handoff(s, network=str(uuid4()))),
    "nobody": ("invalid", lambda s: _handoff(s, members=[])),
    "the same person twice": ("party", lambda s: _handoff(s, members=[s.objects["entry"]] * 2)),
    "a person of another organisation": ("party", lambda s: _handoff(s, members=[str(uuid4())])),
    "21 people": ("invalid", lambda s: _handoff(s, members=[str(uuid4()) for _ in range(21)])),
    "a service that is none": ("invalid", lambda s: _handoff(s, service_type=MARK)),
    "an urgency that is none": ("invalid", lambda s: _handoff(s, urgency="unknown")),
    "a decision that is none": ("invalid", lambda s: _consent(s, decision=MARK)),
    "a state that only a withdrawal makes": ("invalid", lambda s: _consent(s, state="withdrawn")),
    "a consent that ends before it begins": (
        "consent-dates",
        lambda s: _consent(s, valid_from="2024-02-01T00:00:00Z", valid_until="2024-01-01T00:00:00Z"),
    ),
    "a consent from the future": ("consent-dates", lambda s: _consent(s, valid_from="2100-01-01T00:00:00Z")),
    "a recipient that is none": ("invalid", lambda s: _consent(s, recipients={"organisations": [MARK]})),
    "a class that is none": ("invalid", lambda s: _consent(s, recipients={"classes": [{"type": MARK}]})),
    "a category that is none": ("invalid", lambda s: _consent(s, categories=[MARK])),
    "a guardian that is a text": ("invalid", lambda s: _consent(s, guardian=MARK)),
    "an exclusion of nobody": (
        "invalid",
        lambda s: ("sender", _entry(s, "exclusions"), {"kind": "organisation", "value": MARK}),
    ),
    "an exclusion of no type": (
        "invalid",
        lambda s: ("sender", _entry(s, "exclusions"), {"kind": "organisation_type", "value": KHMER}),
    ),
    "withdrawing something else": ("invalid", lambda s: ("sender", _entry(s, "withdraw"), {"what": MARK})),
    "a reason that is none": (
        "invalid",
        lambda s: ("receiver", f"/referral/offers/{s.objects['open']}/decline", {"reason": MARK}),
    ),
    "a code of letters": (
        "invalid",
        lambda s: ("receiver", f"/referral/offers/{s.objects['accepted']}/arrived", {"code": MARK}),
    ),
    "an outcome that is none": (
        "invalid",
        lambda s: ("receiver", f"/referral/offers/{s.objects['accepted']}/outcome", {"outcome": MARK}),
    ),
    "a place that is none": (
        "invalid",
        lambda s: ("coordinator", f"/referral/escalations/{s.objects['escalated']}/ask", {"place": MARK}),
    ),
    "a place of nobody": (
        "place-gone",
        lambda s: ("coordinator", f"/referral/escalations/{s.objects['escalated']}/ask", {"place": str(uuid4())}),
    ),
    "a field that no rule may name": ("invalid", lambda s: _rule(s, "need-to-know", fields=[MARK])),
    "a rule that ends before it begins": (
        "invalid",
        lambda s: _rule(s, "agreements", valid_until="2001-01-01T00:00:00Z"),
    ),
    "a border without a country": ("invalid", lambda s: _rule(s, "corridors", from_country=MARK)),
    "an address that is none": (
        "invalid",
        lambda s: ("administrator", "/notify/addresses", {"organisation": s.stranger.id, "email": MARK}),
    ),
    "an address of two lines": (
        "invalid",
        lambda s: (
            "administrator", "/notify/addresses",
            {"organisation": s.stranger.id, "email": f"a@sample.example\r\nBcc:{MARK}@sample.example"},
        ),
    ),
    "a coordinator that is none": (
        "not-found",
        lambda _: ("administrator", "/referral/networks", {"name": MARK, "coordinator": str(uuid4())}),
    ),
    "windows that are none": (
        "invalid",
        lambda s: (
            "administrator", "/referral/networks",
            {"name": MARK, "coordinator": s.people["coordinator"].id, "windows": {"answer_s": {"emergency": -1}}},
        ),
    ),
    "a scope that is none": (
        "invalid",
        lambda s: ("administrator", "/referral/clients", {**RECIPES["POST /referral/clients"].body(s), "scopes": [MARK]}),
    ),
    "places of two kinds": (
        "invalid",
        lambda s: (
            "administrator", "/referral/places",
            {**RECIPES["POST /referral/places"].body(s), "service_types": ["hiv_art", "emergency_bed"]},
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_a_request_that_makes_no_sense(stage: Stage, before: None, name: str) -> None:
    code, build = REFUSED[name]
    role, path, body = build(stage)
    assert code_of(await post(stage, path, body, role=role)) == code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"usable": -1, "more_tonight": 0}, "invalid"),
        ({"usable": 10**12, "more_tonight": 0}, "invalid"),
        ({"usable": True, "more_tonight": MARK}, "invalid"),
        ({"usable": 0, "more_tonight": 0}, "places-in-use"),
    ],
)
async def test_a_count_that_cannot_be(stage: Stage, before: None, body: Any, code: str) -> None:
    path = f"/referral/places/{stage.objects['place']}"
    etag = (await get(stage, path, role="receiver")).headers["etag"]
    token = await stage.people["receiver"].partner.token()
    headers = [("Authorization", f"Bearer {token}"), ("If-Match", etag)]
    assert code_of(await post(stage, f"{path}/count", body, method="PUT", headers=headers)) == code
