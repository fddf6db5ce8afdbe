"""What a coordinator sees: numbers, free places, and the stream of changes. Never a name, never an id of a person."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request
from sse_starlette import EventSourceResponse, ServerSentEvent

from services.notify.dashboards import store
from spean.auth import Caller
from spean.db import Database
from spean.http import View, caller_with

SCOPE = "notify:watch"
_LOOK_EVERY_S = 0.5
_PING_S = 15
_BATCH = 200
router = APIRouter(tags=["dashboard"])
Watcher = Annotated[Caller, Depends(caller_with(SCOPE))]


class StateCount(View):
    """`overdue`: past the deadline without arrival; `unseen`: overdue and escalated to nobody (must be zero)."""

    state: str
    count: int
    overdue: int
    unseen: int
    escalated: int


class AreaCapacity(View):
    area: str
    service_group: str
    usable: int
    free: int


class ErasureCount(View):
    state: str
    count: int


class Overview(View):
    referrals: tuple[StateCount, ...]
    capacity: tuple[AreaCapacity, ...]
    erasures: tuple[ErasureCount, ...]


@router.get("/overview")
async def overview(
    request: Request, caller: Watcher, network: Annotated[UUID | None, Query(description="only this network")] = None
) -> Overview:
    """My networks as they stand."""
    db: Database = request.app.state.door.db
    async with db.transaction("overview.read", org=caller.org) as tx:
        return Overview(
            referrals=tuple(StateCount.model_validate(dict(row)) for row in await store.counts(tx, network)),
            capacity=tuple(AreaCapacity.model_validate(dict(row)) for row in await store.capacity(tx, network)),
            erasures=tuple(ErasureCount.model_validate(dict(row)) for row in await store.erasures(tx)),
        )


@router.get("/changes")
async def changes(
    request: Request, caller: Watcher, last_event_id: Annotated[str | None, Header()] = None
) -> EventSourceResponse:
    """Server-sent events: type, minute and country of everything that happens in my networks, numbered. With
    `Last-Event-ID` it goes on where the connection broke; without, it starts now."""
    db: Database = request.app.state.door.db
    start = int(last_event_id) if last_event_id and last_event_id.isdigit() and len(last_event_id) < 18 else None
    return EventSourceResponse(_stream(db, caller.org, start), ping=_PING_S)


async def _stream(db: Database, org: UUID, start: int | None) -> AsyncIterator[ServerSentEvent]:
    number = start
    while True:
        async with db.transaction("changes.read", org=org) as tx:
            if number is None:
                number = await store.tail_end(tx)
            rows = await store.tail_after(tx, number, _BATCH)
        for row in rows:
            number = row["number"]
            data = {"type": row["type"], "country": row["area"], "minute": row["at"].isoformat()}
            yield ServerSentEvent(json.dumps(data), event="change", id=str(number))
        if len(rows) < _BATCH:
            await asyncio.sleep(_LOOK_EVERY_S)
