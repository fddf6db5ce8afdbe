"""What signing in needs beside the database: keys, how passwords are hashed, and the address that passkeys are for."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from services.referral.people.domain import authenticator_of
from services.referral.sessions.domain import normal_password
from spean.crypto import seal, unseal_any
from spean.db import Database
from spean.limit import address_in, site_of
from spean.provision import Roles

# Each takes 64 MiB and a core for some 50 ms (RFC 9106, second recommended option, which is the library's default).
_HASHES_AT_ONCE = 2
# What keys are for: the authenticators' secrets; buckets, and what a known browser shows.
AUTHENTICATORS, _MARKING = "authenticators", "sign-in"
_NONCE = 16
_MAC = 16


class Passwords:
    """Argon2id, away from the event loop, a few at once."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._room = asyncio.Semaphore(_HASHES_AT_ONCE)
        self._nobodys = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        async with self._room:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def fits(self, hash_: str | None, typed: str) -> bool:
        """Is it the password? Takes as long where there is none."""
        async with self._room:
            return await asyncio.to_thread(self._fits, hash_, typed)

    def _fits(self, hash_: str | None, typed: str) -> bool:
        try:
            password = normal_password(typed)
        except ValueError:
            password, hash_ = "", None
        try:
            return self._hasher.verify(hash_ or self._nobodys, password) and hash_ is not None
        except (VerificationError, InvalidHashError):
            return False

    def outdated(self, hash_: str) -> bool:
        """Was it made with other parameters than today's?"""
        return self._hasher.check_needs_rehash(hash_)


@dataclass(frozen=True, slots=True)
class Desk:
    """`keys`: those for a purpose that count at this moment, the one in use first (`Roles.keys`). `local`:
    reached from this machine alone. `rp`: the domain that passkeys belong to, seen at one of `origins`."""

    db: Database
    passwords: Passwords
    keys: Callable[[str], Sequence[bytes]] = field(repr=False)
    local: bool
    rp: str
    origins: tuple[str, ...]

    @classmethod
    def opened(cls, db: Database, roles: Roles, url: str, *, local: bool) -> Desk:
        """`url`: the installation's public address. On an IP address browsers have no passkeys (a domain is needed), so on
        this machine they belong to `localhost`."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        rp = "localhost" if address_in(host) else host
        port = f":{parts.port}" if parts.port else ""
        origins = (f"{parts.scheme}://{rp}{port}",)
        return cls(db, Passwords(), roles.keys, local, rp, origins)

    @property
    def sealing(self) -> bytes:
        """The key of the authenticators' secrets."""
        return self.keys(AUTHENTICATORS)[0]

    def sealed(self, person: UUID, secret: str) -> bytes:
        return seal(self.sealing, secret.encode(), authenticator_of(person))

    def unsealed(self, person: UUID, sealed: bytes) -> str:
        """Raises Unopenable."""
        return unseal_any(self.keys(AUTHENTICATORS), sealed, authenticator_of(person)).decode()

    def bucket(self, kind: str, text: str) -> int:
        """0 to 65,535; nobody without the key can tell who is in which."""
        digest = hmac.digest(self.keys(_MARKING)[0], f"{kind} {text}".encode(errors="replace"), hashlib.sha256)
        return int.from_bytes(digest[:2])

    def mark(self, person: UUID) -> str:
        """What a browser keeps in which this person has signed in: says nothing to anybody else."""
        return _mark(self.keys(_MARKING)[0], person, secrets.token_bytes(_NONCE)).decode()

    def known(self, person: UUID, mark: str) -> bool:
        """Has this person signed in before in the browser that shows `mark`? Only as it was written: tries are counted by
        it, and the same bytes in other letters would be counted anew."""
        try:
            shown = mark.encode()
            nonce = base64.urlsafe_b64decode(shown)[:_NONCE]
        except ValueError:
            return False
        return any(hmac.compare_digest(shown, _mark(key, person, nonce)) for key in self.keys(_MARKING))


def _mark(key: bytes, person: UUID, nonce: bytes) -> bytes:
    mac = hmac.digest(key, b"browser " + person.bytes + nonce, hashlib.sha256)
    return base64.urlsafe_b64encode(nonce + mac[:_MAC])


def place_of(address: str) -> str | None:
    """What tries are counted by: an IPv4 address, or the part of an IPv6 address that belongs to one site. None for one that
    is not of the internet: it may be a proxy's, behind which is everybody."""
    found = address_in(address)
    return site_of(address) if found is not None and found.is_global else None
