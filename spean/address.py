"""Addresses of PostgreSQL whose password may change while a process runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import asyncpg

# As text: asyncpg's class takes a type argument only in its stubs.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Address(str):
    """An address as it was when it was made; `now` gives it with each password that may hold at this moment, the most
    likely first."""

    __slots__ = ("now",)
    now: Callable[[], Sequence[str]]

    def __new__(cls, now: Callable[[], Sequence[str]]) -> Address:
        made = super().__new__(cls, now()[0])
        made.now = now
        return made


async def connect(dsn: str | None = None, **options: Any) -> Connection:
    """`asyncpg.connect`; at an Address with the next password where one is refused. Raises what asyncpg raises."""
    *others, last = dsn.now() if isinstance(dsn, Address) else [dsn]
    for one in others:
        try:
            return await asyncpg.connect(one, **options)
        except asyncpg.InvalidPasswordError:
            continue
    return await asyncpg.connect(last, **options)
