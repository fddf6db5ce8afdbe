"""Keys in files that change while processes run.

Beside a file lies, for a while, the one that follows it (`-next`: known to everybody, used by nobody yet) and the one that
was before it (`-old`: accepted, never used again, with the second when that ends). Each process looks at each use whether a
file is another; so nothing has to be restarted, and what one process makes with the new key every other accepts.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from spean.crypto import new_signing_key, private_file

log = logging.getLogger(__name__)
# For how long a new key is known before it is used: longer than any process takes to look (a folder that is shared over a
# network is seen late), than a reader of public keys waits until it looks again, and than clocks differ.
LEAD_S = 90.0
# For how long a signing key is published after its last use: longer than anything lives that it has signed.
SIGNED_S = 600.0
# Keys that are kept as they were read: in use, following, before, and those after the next change.
_READ_MOST = 8
Mark = tuple[int, int, int] | None


class StillTurning(Exception):
    """The key was changed so lately that the one before it still counts. The message says until when."""


class NotAKey(ValueError):
    """What lies in a key's file is none. The message names the file."""


@dataclass(frozen=True, slots=True)
class Found:
    """What lies there: what is used, what follows it, what was before it and until when (seconds since 1970) that counts."""

    now: bytes
    following: bytes | None = None
    before: bytes | None = None
    until: float = 0.0

    @property
    def over(self) -> bool:
        """Does nothing count any more that was before?"""
        return time.time() >= self.until


def following(path: Path) -> Path:
    return path.with_stem(f"{path.stem}-next")


def before(path: Path) -> Path:
    return path.with_stem(f"{path.stem}-old")


class Turning:
    """A private file that is made with `first` where there is none. `check` raises ValueError for what is no key. Raises
    NotAKey, OSError."""

    def __init__(self, path: Path, first: Callable[[], bytes], check: Callable[[bytes], object]) -> None:
        self._path, self._check = path, check
        self._files = (following(path), path, before(path))
        private_file(path, first())
        self._marks = self._look()
        self._found = self._read()

    def found(self) -> Found:
        """What lies there now; where that cannot be read, what lay there before."""
        try:
            marks = self._look()
            if marks != self._marks:
                self._found, self._marks = self._read(), marks
        except (OSError, ValueError) as error:
            log.warning("a key's file cannot be read", extra={"error_class": type(error).__name__})
        return self._found

    def accepted(self) -> tuple[bytes, ...]:
        """What counts, the one in use first."""
        one = self.found()
        last = None if one.over else one.before
        return tuple(each for each in (one.now, one.following, last) if each is not None)

    def _read(self) -> Found:
        """Raises OSError, NotAKey."""
        try:
            one = found(self._path)
            for content in (one.now, one.following, one.before):
                if content is not None:
                    self._check(content)
        except ValueError:
            raise NotAKey(f"{self._path} or what lies beside it holds no key: put it back from its backup") from None
        return one

    def _look(self) -> tuple[Mark, ...]:
        return tuple(map(mark, self._files))


def found(path: Path) -> Found:
    """What lies there. Raises OSError, ValueError."""
    # In this order: whoever turns the key writes the old one first and then puts the next in its place, and a reader in
    # between misses none of them.
    then, now, old = _content(following(path)), path.read_bytes(), _content(before(path))
    if old is None:
        return Found(now, then)
    content, _, until = old.rpartition(b"\n")
    return Found(now, then, content, float(until))


def prepare(path: Path, content: bytes, *, leaked: bool = False) -> None:
    """Lay down what follows; what was laid down before, by a command that was stopped, stays. `leaked`: neither that nor the
    one before counts. Raises StillTurning."""
    if leaked:
        put(following(path), content)
        return
    one = found(path)
    if one.following is None and one.before is not None and not one.over:
        left = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.until))
        raise StillTurning(f"the key before this one still counts, until {left}: wait, or say --leaked")
    private_file(following(path), content)


def forget(path: Path) -> None:
    """Remove what was before, once it does not count any more. By commands alone: whoever reads might remove what a command
    has just laid there."""
    if found(path).over:
        before(path).unlink(missing_ok=True)


def turn(path: Path, accepted_s: float, kept: Callable[[bytes], bytes] = bytes) -> None:
    """What follows is used from now on. `kept`: what stays of the one before it, for `accepted_s` (0: nothing, and it is
    refused at once)."""
    if accepted_s:
        until = str(int(time.time() + accepted_s)).encode()
        put(before(path), kept(path.read_bytes()) + b"\n" + until)
    else:
        before(path).unlink(missing_ok=True)
    following(path).replace(path)
    _sync(path.parent)


def put(path: Path, content: bytes) -> None:
    """A private file (0600) in the place of whatever was there, whole or not at all."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    private_file(new, content)
    new.replace(path)
    _sync(path.parent)


class SigningKeys:
    """An Ed25519 key in a private file (JWK), made at the first start; it may be turned while processes run."""

    def __init__(self, path: Path) -> None:
        self._read: dict[bytes, OKPKey] = {}
        self._turning = Turning(path, lambda: private(new_signing_key()), self._key)

    @property
    def key(self) -> OKPKey:
        """What is signed with now."""
        return self._key(self._turning.found().now)

    def public(self) -> list[dict[str, Any]]:
        """Every key that counts, for a JWK Set: also the one that follows, so that readers know it before it is used."""
        keys = {key.kid: key for key in map(self._key, self._turning.accepted())}
        return [key.as_dict(private=False) for key in keys.values()]

    def _key(self, content: bytes) -> OKPKey:
        """Raises ValueError."""
        if content not in self._read:
            if len(self._read) > _READ_MOST:
                self._read.clear()
            try:
                self._read[content] = OKPKey.import_key(json.loads(content))
            except (JoseError, KeyError, TypeError):
                raise ValueError from None
        return self._read[content]


def private(key: OKPKey) -> bytes:
    """As it lies in a file."""
    return json.dumps(key.as_dict(private=True)).encode()


def public_part(content: bytes) -> bytes:
    """What is left in a file of a signing key that signs no more. Raises ValueError."""
    try:
        return json.dumps(OKPKey.import_key(json.loads(content)).as_dict(private=False)).encode()
    except JoseError:
        raise ValueError from None


def mark(file: Path) -> Mark:
    """What is another as soon as the file is; None where there is none."""
    try:
        seen = file.stat()
    except FileNotFoundError:
        return None
    return seen.st_ino, seen.st_mtime_ns, seen.st_size


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
