"""What became of a copy, said so that it can be shown later: a JWT (RFC 7519) that Ed25519 signs.

A system signs with a key that its administrator has registered. Somebody who answers on a page has no key: there the holder
signs a receipt, which says what it was told and by whom the network vouched that it was, and no more than that.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from schemas.vocabulary import ErasureAnswer, KeptBecause
from spean.auth import ALGORITHMS, LEEWAY_S
from spean.crypto import public_jwk

# `typ`: no token of the issuer is called so, and no client assertion opens as one of these.
STATEMENT: Final = "spean-erasure-statement+jwt"
RECEIPT: Final = "spean-erasure-receipt+jwt"
# A statement has a dozen short claims.
TEXT_MOST = 4_000
# "Law on the Protection of Children, article 12": names a law, never a person.
Law = Annotated[str, StringConstraints(min_length=3, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
_LEEWAY = timedelta(seconds=LEEWAY_S)


class Why(StrEnum):
    """Why a statement is not taken."""

    UNSIGNED = "unsigned"
    NO_STATEMENT = "no-statement"
    ROTATED_OUT = "rotated-out"
    WRONG_SIGNATURE = "wrong-signature"
    WRONG_ORGANISATION = "wrong-organisation"
    WRONG_SYSTEM = "wrong-system"
    WRONG_REQUEST = "wrong-request"
    WRONG_TIME = "wrong-time"
    REPLAYED = "replayed"
    TOO_MANY = "too-many"


class Untaken(Exception):
    """A statement that counts for nothing; it says no more of it than why."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why = why


class Statement(BaseModel):
    """`iss`: who says it: the system, or the holder in a receipt, which names in `by` who told it. `organisation`: for whom.
    `request`: which request to erase, of which `offer`. `reason`, `law`: why a law keeps the copy, where one does. `iat`:
    when, in seconds since 1970. `jti`: no two statements have the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    iss: Annotated[str, Field(min_length=1, max_length=120)]
    organisation: UUID
    offer: UUID
    request: UUID
    answer: ErasureAnswer
    reason: KeptBecause | None = None
    law: Law | None = None
    by: Annotated[str | None, Field(max_length=120)] = None
    iat: Annotated[int, Field(ge=0, le=253_402_300_799)]
    jti: UUID

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.answer is ErasureAnswer.UNKNOWN or self.reason is KeptBecause.UNKNOWN:
            msg = "not a code of this list"
            raise ValueError(msg)
        if (self.answer is ErasureAnswer.RETAINED_BY_LAW) != (self.reason is not None and self.law is not None):
            msg = "a reason and a law where the copy is kept because of one, and nowhere else"
            raise ValueError(msg)
        if self.answer is not ErasureAnswer.RETAINED_BY_LAW and (self.reason is not None or self.law is not None):
            msg = "nothing else has a reason"
            raise ValueError(msg)
        return self


@dataclass(frozen=True, slots=True)
class About:
    """The request that a statement has to answer, and who may: a system of this organisation. `asked_at`: nobody can have
    answered before."""

    organisation: UUID
    system: str
    offer: UUID
    request: UUID
    asked_at: datetime


def sign(
    said: Statement, kind: Literal["spean-erasure-statement+jwt", "spean-erasure-receipt+jwt"], key: OKPKey
) -> str:
    """The statement as it is sent and kept: three parts of base64url with dots between."""
    claims = said.model_dump(mode="json", exclude_none=True)
    return jwt.encode({"alg": "Ed25519", "kid": key.kid, "typ": kind}, claims, key, ALGORITHMS)


def read(text: str, keys: Sequence[Mapping[str, str]]) -> tuple[Statement, dict[str, str]]:
    """A system's statement, and the one of `keys` (public, as JWK) that it was signed with. Raises Untaken."""
    parts = text.split(".")
    if len(text) > TEXT_MOST or len(parts) != 3:
        raise Untaken(Why.NO_STATEMENT)
    try:
        header = json.loads(_bytes(parts[0]))
        kind, named = header.get("typ"), header.get("kid")
    except (ValueError, AttributeError, RecursionError):
        raise Untaken(Why.NO_STATEMENT) from None
    if kind != STATEMENT or not isinstance(named, str | None):
        raise Untaken(Why.NO_STATEMENT)
    known = [OKPKey.import_key(dict(key)) for key in keys]
    # A system may call its key as it likes; what counts is which key has signed.
    for key in known:
        if (claims := _claims(text, key)) is not None:
            try:
                said = Statement.model_validate_json(json.dumps(claims))
            except (ValidationError, ValueError):
                raise Untaken(Why.NO_STATEMENT) from None
            return said, public_jwk(key)
    own = {key.thumbprint() for key in known}
    raise Untaken(Why.ROTATED_OUT if not own or (named is not None and named not in own) else Why.WRONG_SIGNATURE)


def expect(said: Statement, about: About, now: datetime) -> None:
    """Raises Untaken where a statement is somebody else's, about something else, or from another time."""
    if said.organisation != about.organisation:
        raise Untaken(Why.WRONG_ORGANISATION)
    if said.iss != about.system or said.by is not None:
        raise Untaken(Why.WRONG_SYSTEM)
    if said.offer != about.offer or said.request != about.request:
        raise Untaken(Why.WRONG_REQUEST)
    at = said.iat
    if at < (about.asked_at - _LEEWAY).timestamp() - 1 or at > (now + _LEEWAY).timestamp():
        raise Untaken(Why.WRONG_TIME)


def _claims(text: str, key: OKPKey) -> dict[str, Any] | None:
    """What was signed with this key; None where it was not."""
    try:
        return dict(jwt.decode(text, key, ALGORITHMS).claims)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _bytes(part: str) -> bytes:
    """Raises ValueError."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
