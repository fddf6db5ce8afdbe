"""Packets sealed for a partner's system: HPKE (RFC 9180) to a key that it registered, in an envelope that the holder signs.

An envelope is a JWS (RFC 7515, flattened JSON). Its payload is what HPKE made; its protected header names suite, offer,
recipient, the recipient's key, version and expiry. HPKE's `info` is that header as it was sent, so that the packet opens
under no other, whoever signs it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey
from cryptography.hazmat.primitives.hpke import Suite as Hpke
from joserfc.jwk import OKPKey
from pydantic import BaseModel, ConfigDict, ValidationError

MEDIA_TYPE = "application/vnd.spean.sealed-packet+json"
KIND = "spean-sealed-packet+jws"
VERSION = 1
# Long enough for a partner's queue, too short for a store of packets that somebody may open one day.
SEALED_S = 300
# Clocks of partners differ; more than this is a wrong clock.
LEEWAY_S = 5
SECRET_BYTES = 32
_MLKEM_BYTES = 1184
_MLKEM_SEED_BYTES = 64
_CONTEXT = b"spean sealed packet\x00"
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


class Suite(StrEnum):
    """What a packet is sealed with: both with HKDF-SHA256 and AES-256-GCM. The hybrid holds against whoever keeps what they
    overhear until they have a quantum computer."""

    X25519 = "HPKE-X25519-SHA256-A256GCM"
    HYBRID = "HPKE-MLKEM768X25519-SHA256-A256GCM"


_HPKE: Mapping[Suite, Hpke] = {
    Suite.X25519: Hpke(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
    Suite.HYBRID: Hpke(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
}


class Why(StrEnum):
    """Why an envelope is not opened."""

    NO_ENVELOPE = "no-envelope"
    UNKNOWN_VERSION = "unknown-version"
    UNKNOWN_SIGNER = "unknown-signer"
    WRONG_SIGNATURE = "wrong-signature"
    UNKNOWN_SUITE = "unknown-suite"
    DOWNGRADED = "downgraded"
    ROTATED_OUT = "rotated-out"
    WRONG_RECIPIENT = "wrong-recipient"
    WRONG_OFFER = "wrong-offer"
    EXPIRED = "expired"
    WRONG_CLOCK = "wrong-clock"
    TAMPERED = "tampered"


class Unopened(Exception):
    """An envelope that is refused; it says nothing of what was in it."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why = why


class NoKey(Exception):
    """What should be a public key for sealing is none."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Of a system. `raw`: 32 bytes of X25519, or 1184 of ML-KEM-768 and 32 of X25519."""

    suite: Suite
    raw: bytes

    @property
    def jwk(self) -> dict[str, str]:
        """RFC 8037; for the hybrid `AKP` (RFC 9964), with our name of the suite as `alg`."""
        if self.suite is Suite.X25519:
            return {"kty": "OKP", "crv": "X25519", "x": _text(self.raw)}
        return {"kty": "AKP", "alg": Suite.HYBRID.value, "pub": _text(self.raw)}

    @property
    def id(self) -> str:
        """The thumbprint (RFC 7638)."""
        return _text(hashlib.sha256(json.dumps(self.jwk, sort_keys=True, separators=(",", ":")).encode()).digest())


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A system's own. `secret`: 32 bytes, X25519's key, or the seed that both of the hybrid's grow from (SHAKE-256)."""

    suite: Suite
    secret: bytes

    @property
    def public(self) -> PublicKey:
        own = self.opened()
        if isinstance(own, X25519PrivateKey):
            return PublicKey(Suite.X25519, own.public_key().public_bytes_raw())
        lattice, curve = _grown(self.secret)
        return PublicKey(Suite.HYBRID, lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw())

    def opened(self) -> X25519PrivateKey | MLKEM768X25519PrivateKey:
        """As `cryptography` wants it. Raises ValueError."""
        if self.suite is Suite.X25519:
            return X25519PrivateKey.from_private_bytes(self.secret)
        return MLKEM768X25519PrivateKey(*_grown(self.secret))


@dataclass(frozen=True, slots=True)
class About:
    """What a packet is bound to: the offer, and the organisation that it is for."""

    offer: UUID
    recipient: UUID


class _Header(BaseModel):
    """What an envelope says of itself, the signature's part included (`alg`, `typ`, `kid`). `to`: the recipient's key;
    `exp`: seconds since 1970."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alg: Literal["Ed25519"]
    typ: Literal["spean-sealed-packet+jws"]
    kid: str
    v: int
    suite: str
    to: str
    recipient: UUID
    offer: UUID
    exp: int


class _Envelope(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    protected: str
    payload: str
    signature: str


def public_key(jwk: Mapping[str, Any]) -> PublicKey:
    """A system's key from its JWK; other members are not looked at. Raises NoKey, also for one that nothing can be sealed
    to."""
    try:
        if jwk.get("kty") == "OKP" and jwk.get("crv") == "X25519":
            found = PublicKey(Suite.X25519, _bytes(jwk["x"]))
        elif jwk.get("kty") == "AKP" and jwk.get("alg") == Suite.HYBRID:
            found = PublicKey(Suite.HYBRID, _bytes(jwk["pub"]))
        else:
            raise NoKey
        # A point of small order is known only when it is used.
        _HPKE[found.suite].encrypt(b"", _loaded(found))
    except (KeyError, TypeError, ValueError):
        raise NoKey from None
    return found


def seal(packet: bytes, to: PublicKey, about: About, signed_by: OKPKey, now: float) -> bytes:
    """The envelope (JSON) with this packet for this key alone, until `SEALED_S` after `now` (seconds since 1970). Raises
    NoKey."""
    header = _Header(
        alg="Ed25519", typ=KIND, kid=str(signed_by.kid), v=VERSION, suite=to.suite, to=to.id,
        recipient=about.recipient, offer=about.offer, exp=int(now) + SEALED_S,
    )  # fmt: skip
    protected = _text(header.model_dump_json().encode())
    try:
        sealed = _text(_HPKE[to.suite].encrypt(packet, _loaded(to), _info(protected)))
    except ValueError:
        raise NoKey from None
    key = signed_by.raw_value
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError
    signature = _text(key.sign(f"{protected}.{sealed}".encode()))
    return _Envelope(protected=protected, payload=sealed, signature=signature).model_dump_json().encode()


def open_sealed(
    envelope: bytes, own: Mapping[str, PrivateKey], signers: Mapping[str, Ed25519PublicKey], about: About, now: float,
    *, least: Suite = Suite.X25519,
) -> bytes:  # fmt: skip
    """The packet. `own`: the system's keys by their ids, while it changes from one to the next both; `signers`: the holder's;
    `about`: what was asked for; `least`: Suite.HYBRID refuses the other. Raises Unopened."""
    try:
        parts = _Envelope.model_validate_json(envelope)
        header = _Header.model_validate_json(_bytes(parts.protected))
        sealed, signature = _bytes(parts.payload), _bytes(parts.signature)
    except (ValidationError, ValueError):
        raise Unopened(Why.NO_ENVELOPE) from None
    if header.kid not in signers:
        raise Unopened(Why.UNKNOWN_SIGNER)
    try:
        signers[header.kid].verify(signature, f"{parts.protected}.{parts.payload}".encode())
    except InvalidSignature:
        raise Unopened(Why.WRONG_SIGNATURE) from None
    key = _key_for(header, own, least)
    _expect(header, about, now)
    try:
        return _HPKE[key.suite].decrypt(sealed, key.opened(), _info(parts.protected))
    except (InvalidTag, ValueError):
        raise Unopened(Why.TAMPERED) from None


def _key_for(header: _Header, own: Mapping[str, PrivateKey], least: Suite) -> PrivateKey:
    """The key that the envelope names, of the suite that it names. Raises Unopened."""
    if header.v != VERSION:
        raise Unopened(Why.UNKNOWN_VERSION)
    if header.suite not in set(Suite):
        raise Unopened(Why.UNKNOWN_SUITE)
    if least is Suite.HYBRID and header.suite != Suite.HYBRID:
        raise Unopened(Why.DOWNGRADED)
    if header.to not in own:
        raise Unopened(Why.ROTATED_OUT)
    if own[header.to].suite != header.suite:
        raise Unopened(Why.DOWNGRADED)
    return own[header.to]


def _expect(header: _Header, about: About, now: float) -> None:
    """Raises Unopened."""
    if header.recipient != about.recipient:
        raise Unopened(Why.WRONG_RECIPIENT)
    if header.offer != about.offer:
        raise Unopened(Why.WRONG_OFFER)
    if now >= header.exp + LEEWAY_S:
        raise Unopened(Why.EXPIRED)
    # From a time that has not come: one clock is wrong, and by one that is slow nothing ever ends.
    if header.exp > now + SEALED_S + LEEWAY_S:
        raise Unopened(Why.WRONG_CLOCK)


def _info(protected: str) -> bytes:
    return _CONTEXT + protected.encode()


def _loaded(key: PublicKey) -> X25519PublicKey | MLKEM768X25519PublicKey:
    """Raises ValueError."""
    if key.suite is Suite.X25519:
        return X25519PublicKey.from_public_bytes(key.raw)
    lattice, curve = key.raw[:_MLKEM_BYTES], key.raw[_MLKEM_BYTES:]
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(lattice), X25519PublicKey.from_public_bytes(curve)
    )


def _grown(secret: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    """Raises ValueError."""
    if len(secret) != SECRET_BYTES:
        raise ValueError
    grown = hashlib.shake_256(secret).digest(_MLKEM_SEED_BYTES + SECRET_BYTES)
    lattice, curve = grown[:_MLKEM_SEED_BYTES], grown[_MLKEM_SEED_BYTES:]
    return MLKEM768PrivateKey.from_seed_bytes(lattice), X25519PrivateKey.from_private_bytes(curve)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """Of base64url in its one spelling. Raises ValueError."""
    if not _BASE64URL.fullmatch(text):
        raise ValueError
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _text(raw) != text:
        raise ValueError
    return raw
