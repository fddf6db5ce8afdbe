"""Is a form really from a page of ours, opened by the same visitor?

Three things together: the cookie is same-site, the browser says where the request comes from (`Sec-Fetch-Site`, else
`Origin`), and the form carries a token that only this session's pages have. The token is masked anew in every page, so
that compressing a page tells nothing of it (BREACH).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

from starlette.requests import Request

_SIZE = 32


def token(secret: bytes, session: str) -> str:
    """For a form in a page of this session."""
    mask = secrets.token_bytes(_SIZE)
    return base64.urlsafe_b64encode(mask + _xor(mask, _mac(secret, session))).decode()


def fits(secret: bytes, session: str, given: str) -> bool:
    """Is `given` a token of this session?"""
    try:
        sent = base64.urlsafe_b64decode(given.encode())
    except (ValueError, binascii.Error):
        return False
    if len(sent) != 2 * _SIZE:
        return False
    return hmac.compare_digest(_xor(sent[:_SIZE], sent[_SIZE:]), _mac(secret, session))


def same_origin(request: Request) -> bool:
    """Does the browser say that a page of this origin sent it? A browser that says nothing is too old to tell, and then
    cookie and token stand alone."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is None or origin == str(request.base_url.replace(path="")).rstrip("/")


def _mac(secret: bytes, session: str) -> bytes:
    return hmac.digest(secret, f"form {session}".encode(), hashlib.sha256)


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
