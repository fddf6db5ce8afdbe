"""Statements about copies: what is signed, what is taken, and each way in which one is not."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey
from pydantic import ValidationError

from schemas.vocabulary import ErasureAnswer, KeptBecause
from spean.auth import ALGORITHMS
from spean.crypto import public_jwk
from spean.statement import RECEIPT, STATEMENT, About, Statement, Untaken, Why, expect, read, sign

OWN, OTHER = (OKPKey.generate_key("Ed25519", auto_kid=True) for _ in range(2))
HOUSE, ELSEWHERE = UUID(int=1), UUID(int=2)
ASKED = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOW = ASKED + timedelta(hours=1)
ABOUT = About(HOUSE, "sample-house", UUID(int=3), UUID(int=4), ASKED)
SAID: dict[str, Any] = {
    "iss": "sample-house", "organisation": HOUSE, "offer": ABOUT.offer, "request": ABOUT.request,
    "answer": ErasureAnswer.ERASED, "iat": int(NOW.timestamp()), "jti": UUID(int=5),
}  # fmt: skip
LAW = {
    "answer": ErasureAnswer.RETAINED_BY_LAW,
    "reason": KeptBecause.HEALTH_RECORDS,
    "law": "Sample Law on Health, article 12",
}


def said(**other: Any) -> Statement:
    return Statement.model_validate({**SAID, **other})


@pytest.mark.parametrize("more", [{}, LAW])
def test_what_was_signed_is_read_with_the_key_that_signed_it(more: dict[str, Any]) -> None:
    whole = said(**more)
    found, key = read(sign(whole, STATEMENT, OWN), [public_jwk(OTHER), public_jwk(OWN)])
    assert found == whole
    assert key["x"] == public_jwk(OWN)["x"]
    expect(found, ABOUT, NOW)


def _signed(claims: dict[str, Any], **header: Any) -> str:
    usual = {"alg": "Ed25519", "kid": OWN.kid, "typ": STATEMENT}
    return jwt.encode({**usual, **header}, claims, OWN, ALGORITHMS)


def _part(header: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")


CLAIMS = said().model_dump(mode="json", exclude_none=True)
TEXT = sign(said(), STATEMENT, OWN)
HEAD, BODY, SIGNATURE = TEXT.split(".")


@pytest.mark.parametrize(("text", "why"), [
    ("", Why.NO_STATEMENT),
    ("no.statement", Why.NO_STATEMENT),
    ("é.é.é", Why.NO_STATEMENT),
    ("x" * 5_000, Why.NO_STATEMENT),
    (f"bnVsbA.{BODY}.{SIGNATURE}", Why.NO_STATEMENT),
    *((f"{_part({'alg': 'Ed25519', 'typ': STATEMENT, 'kid': kid})}.{BODY}.{SIGNATURE}", Why.NO_STATEMENT) for kid in ([], {}, 7)),
    (_signed(CLAIMS, typ=RECEIPT), Why.NO_STATEMENT),
    (_signed(CLAIMS, typ="at+jwt"), Why.NO_STATEMENT),
    (_signed({**CLAIMS, "answer": "eaten"}), Why.NO_STATEMENT),
    (_signed({**CLAIMS, "answer": "requested"}), Why.NO_STATEMENT),
    (_signed({**CLAIMS, "answer": "retained_by_law"}), Why.NO_STATEMENT),
    (_signed({**CLAIMS, "answer": "retained_by_law", "reason": "health_records"}), Why.NO_STATEMENT),
    (_signed({**CLAIMS, "answer": "retained_by_law", "reason": "because", "law": "Sample Law"}), Why.NO_STATEMENT),
    (_signed({**CLAIMS, "law": "Sample Law"}), Why.NO_STATEMENT),
    (_signed({**CLAIMS, "name": "somebody"}), Why.NO_STATEMENT),
    (_signed({name: value for name, value in CLAIMS.items() if name != "request"}), Why.NO_STATEMENT),
    (sign(said(), STATEMENT, OTHER), Why.ROTATED_OUT),
    (f"{HEAD}.{BODY}.{SIGNATURE[:-4]}AAAA", Why.WRONG_SIGNATURE),
    (f"{HEAD}.{_signed({**CLAIMS, 'answer': 'restricted'}).split('.')[1]}.{SIGNATURE}", Why.WRONG_SIGNATURE),
])  # fmt: skip
def test_what_is_not_signed_like_that_is_not_read(text: str, why: Why) -> None:
    with pytest.raises(Untaken) as untaken:
        read(text, [public_jwk(OWN)])
    assert untaken.value.why is why
    assert str(untaken.value) == why, "and nothing of the statement"


def test_without_a_key_that_somebody_vouches_for_nothing_is_read() -> None:
    with pytest.raises(Untaken) as untaken:
        read(TEXT, [])
    assert untaken.value.why is Why.ROTATED_OUT


@pytest.mark.parametrize(("other", "why"), [
    ({"organisation": ELSEWHERE}, Why.WRONG_ORGANISATION),
    ({"iss": "another-system"}, Why.WRONG_SYSTEM),
    ({"by": "person:1"}, Why.WRONG_SYSTEM),
    ({"offer": ELSEWHERE}, Why.WRONG_REQUEST),
    ({"request": ELSEWHERE}, Why.WRONG_REQUEST),
    ({"iat": int(ASKED.timestamp()) - 60}, Why.WRONG_TIME),
    ({"iat": int(NOW.timestamp()) + 60}, Why.WRONG_TIME),
])  # fmt: skip
def test_a_statement_of_somebody_else_or_about_something_else_does_not_count(other: dict[str, Any], why: Why) -> None:
    with pytest.raises(Untaken) as untaken:
        expect(said(**other), ABOUT, NOW)
    assert untaken.value.why is why


def test_a_law_names_one_line() -> None:
    for law in ("ab", "x" * 201, "two\nlines"):
        with pytest.raises(ValidationError):
            said(**{**LAW, "law": law})
