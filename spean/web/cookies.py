"""Cookies as all of ours are: sent over TLS only, out of reach of scripts, not sent with another site's forms."""

from __future__ import annotations

from starlette.responses import Response

LANGUAGE = "__Host-spean-language"
YEAR_S = 365 * 86_400


def set_cookie(answer: Response, name: str, value: str, seconds: int | None = None, *, path: str = "/") -> None:
    """`seconds`: how long the browser keeps it; None until it is closed, 0 to forget it now."""
    answer.set_cookie(name, value, seconds, path=path, secure=True, httponly=True, samesite="lax")


def keep_language(answer: Response, language: str) -> None:
    set_cookie(answer, LANGUAGE, language, YEAR_S)
