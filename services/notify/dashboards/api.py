"""What a coordinator sees: numbers, free places, and the stream of changes. Never a name, never an id of a person."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request
from sse_starlette import EventSourceResponse, ServerSentEvent

from services.notify.dashboards import store
from services.notify.partners import store as partners
from spean.auth import Caller
from spean.db import Database
from spean.http import View, caller_with

SCOPE = "notify:watch"
_LOOK_EVERY_S = 0.5
_PING_S = 15
_BATCH = 200
# A watcher that takes nothing for this long is gone.
_SEND_S = 10
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


@router.get(
    "/changes", response_class=EventSourceResponse,
    responses={200: {"description": "the stream", "content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)  # fmt: skip
async def changes(
    request: Request,
    caller: Watcher,
    last_event_id: Annotated[
        int | None, Header(ge=0, lt=2**63, description="the last number read; without it, only what comes from now on")
    ] = None,
) -> EventSourceResponse:
    """Server-sent events: type, minute and country of everything that happens in my networks, numbered. With
    `Last-Event-ID` it goes on where the connection broke; without, it starts now. It ends with the token that opened it:
    come back with a new one, nothing is missed."""
    draining: asyncio.Event = request.app.state.draining
    stream = _stream(request.app.state.door.db, draining, caller, last_event_id)
    return EventSourceResponse(stream, ping=_PING_S, send_timeout=_SEND_S)


async def _stream(
    db: Database, draining: asyncio.Event, caller: Caller, start: int | None
) -> AsyncIterator[ServerSentEvent]:
    """Until the token ends, the organisation is suspended, or the service is about to stop."""
    async with db.transaction("changes.start", org=caller.org) as tx:
        end = await store.tail_end(tx)
    # A number that nobody has been given yet is another life's: this one's watchers go on from here.
    number = end if start is None else min(start, end)
    while not caller.expired and not draining.is_set():
        async with db.transaction("changes.read", org=caller.org) as tx:
            if await partners.is_suspended(tx, caller.org):
                return
            rows = await store.tail_after(tx, number, _BATCH)
        for row in rows:
            number = row["number"]
            data = {"type": row["type"], "country": row["area"], "minute": row["at"].isoformat()}
            yield ServerSentEvent(json.dumps(data), event="change", id=str(number))
        if len(rows) < _BATCH:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(draining.wait(), _LOOK_EVERY_S)
