"""What a coordinator sees: numbers, free places, and the stream of changes. Never a name, never an id of a person."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request
from sse_starlette import EventSourceResponse, ServerSentEvent

from services.notify.dashboards import store
from services.notify.dashboards.figures import BATCH, Board
from spean.auth import Caller
from spean.db import Database
from spean.http import View, caller_with
from spean.web.live import PING_S, SEND_S, Hub

SCOPE = "notify:watch"
# Whether the watcher may go on is looked at this often, and at every change.
_LOOK_EVERY_S = 1.0
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


class DeliveryCount(View):
    """Notices ("something waits") that did not go out: `failing` are tried again, `parked` need a person (no address, or a
    mail server that refuses), `lapsed` came too late to be of use."""

    state: str
    count: int


class Overview(View):
    referrals: tuple[StateCount, ...]
    capacity: tuple[AreaCapacity, ...]
    erasures: tuple[ErasureCount, ...]
    deliveries: tuple[DeliveryCount, ...]


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
            deliveries=tuple(DeliveryCount.model_validate(dict(row)) for row in await store.deliveries(tx)),
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
    stream = _stream(request.app.state.live, request.app.state.board, caller, last_event_id)
    return EventSourceResponse(stream, ping=PING_S, send_timeout=SEND_S)


async def _stream(hub: Hub, board: Board, caller: Caller, start: int | None) -> AsyncIterator[ServerSentEvent]:
    """Until the token ends, the organisation is suspended, or the service is about to stop."""
    end = await board.end(caller.org)
    # A number that nobody has been given yet is another life's: this one's watchers go on from here.
    number = end if start is None else min(start, end)
    with hub.watching(caller.org):
        while not caller.expired and not hub.draining.is_set():
            if await board.suspended(caller.org):
                return
            newest = await hub.wait(caller.org, number, _LOOK_EVERY_S)
            if newest <= number:
                continue
            rows = await board.changes(caller.org, number, newest)
            for row in rows:
                data = {"type": row["type"], "country": row["area"], "minute": row["at"].isoformat()}
                yield ServerSentEvent(json.dumps(data), event="change", id=str(row["number"]))
            # Fewer than a whole batch is everything; also where it has been forgotten meanwhile.
            number = rows[-1]["number"] if len(rows) == BATCH else max([newest, *(row["number"] for row in rows)])
