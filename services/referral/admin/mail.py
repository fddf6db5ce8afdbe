"""Which organisations cannot be told by mail that something waits. *notify* keeps the addresses, for itself; it is asked which
are missing, with the visitor's own session, and who looks at the page may know it there as well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import httpx
from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from spean.web.visitor import COOKIE

# A page waits for it, and says what it can without it.
_LIMIT_S = 3.0
# None: not known now.
FindMissing = Callable[[Request], Awaitable[frozenset[UUID] | None]]


class _Missing(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    organisations: frozenset[UUID]


def missing_at(client: httpx.AsyncClient, notify: str) -> FindMissing:
    """`notify`: its address. The function raises nothing."""

    async def find(request: Request) -> frozenset[UUID] | None:
        shown = {"cookie": f"{COOKIE}={request.cookies.get(COOKIE, '')}"}
        try:
            reply = await client.get(f"{notify}/pages/addresses/missing", timeout=_LIMIT_S, headers=shown)
            reply.raise_for_status()
            return _Missing.model_validate_json(reply.content, extra="ignore").organisations
        except (httpx.HTTPError, ValidationError):
            return None

    return find


async def missing(request: Request) -> frozenset[UUID] | None:
    find: FindMissing = request.app.state.missing_mail
    return await find(request)
