"""Which organisations cannot be told by mail that something waits. *notify* keeps the addresses, for itself; it is asked which
are missing, with the visitor's own session, and who looks at the page may know it there as well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import httpx
from fastapi import Request
from pydantic import BaseModel, ConfigDict

from spean.web.network import asked_for

# None: not known now.
FindMissing = Callable[[Request], Awaitable[frozenset[UUID] | None]]


class _Missing(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    organisations: frozenset[UUID]


def missing_at(client: httpx.AsyncClient, notify: str) -> FindMissing:
    """`notify`: its address. The function raises nothing."""

    async def find(request: Request) -> frozenset[UUID] | None:
        found = await asked_for(request, client, f"{notify}/pages/addresses/missing", _Missing)
        return None if found is None else found.organisations

    return find


async def missing(request: Request) -> frozenset[UUID] | None:
    find: FindMissing = request.app.state.missing_mail
    return await find(request)
