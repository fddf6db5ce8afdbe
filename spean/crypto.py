"""Sealing and signing, with vetted primitives only (`cryptography`, `joserfc`)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from joserfc.jwk import OKPKey

KEY_BYTES = 32
_NONCE_BYTES = 12
_OPENER = re.compile(r"[A-Za-z0-9_-]{43}")


class Unopenable(Exception):
    """Sealed bytes that this key and context do not open: another key, another place, or changed bytes."""


def new_key() -> bytes:
    """A random 256-bit key."""
    return AESGCM.generate_key(bit_length=KEY_BYTES * 8)


def new_keys(count: int) -> list[bytes]:
    """So many of them, read at once."""
    random = os.urandom(KEY_BYTES * count)
    return [random[at : at + KEY_BYTES] for at in range(0, len(random), KEY_BYTES)]


def seal(key: bytes, plain: bytes, context: str) -> bytes:
    """AES-256-GCM: nonce (12 bytes) + ciphertext + tag (16). `context` says where it belongs; it opens nowhere else."""
    return sealer(key)(plain, context)


def sealer(key: bytes) -> Callable[[bytes, str], bytes]:
    """`seal` for a key that seals much: it is made ready once."""
    encrypt = AESGCM(key).encrypt

    def sealed(plain: bytes, context: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + encrypt(nonce, plain, context.encode())

    return sealed


def unseal(key: bytes, sealed: bytes, context: str) -> bytes:
    """Raises Unopenable."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError):
        raise Unopenable from None


def unseal_any(keys: Iterable[bytes], sealed: bytes, context: str) -> bytes:
    """With whichever of these keys opens it. Raises Unopenable."""
    for key in keys:
        try:
            return unseal(key, sealed, context)
        except Unopenable:
            continue
    raise Unopenable


def digits(count: int) -> str:
    """A random code of decimal digits."""
    return "".join(secrets.choice("0123456789") for _ in range(count))


def new_opener() -> tuple[str, bytes]:
    """A random text that opens something (256 bits, URL-safe), and the digest of it that is kept instead."""
    opener = secrets.token_urlsafe(KEY_BYTES)
    return opener, hashlib.sha256(opener.encode()).digest()


def opener_from(secret: bytes, about: str) -> tuple[str, bytes]:
    """As `new_opener`, the same each time for the same secret and words: a form that is sent twice makes one link."""
    made = hmac.digest(secret, f"opener {about}".encode(), hashlib.sha256)
    opener = base64.urlsafe_b64encode(made).decode().rstrip("=")
    return opener, hashlib.sha256(opener.encode()).digest()


def opener_digest(given: str) -> bytes | None:
    """The digest of what somebody shows; None for what cannot be an opener. Openers are random, so one round is enough."""
    return hashlib.sha256(given.encode()).digest() if _OPENER.fullmatch(given) else None


def private_file(path: Path, content: bytes) -> bytes:
    """The file's content; where there is no such file, make it (0600, folder 0700) with `content`. Two processes that
    start at once agree on the one that came first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(new, path)
    except FileExistsError:
        pass
    finally:
        new.unlink()
    return path.read_bytes()


def new_signing_key() -> OKPKey:
    """A random Ed25519 key; its name is its thumbprint (RFC 7638)."""
    return OKPKey.generate_key("Ed25519", auto_kid=True)


def public_jwk(key: OKPKey) -> dict[str, str]:
    """Its public half as JWK (RFC 8037)."""
    return {name: str(value) for name, value in key.as_dict(private=False).items()}
