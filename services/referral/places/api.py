"""Places as their organisation keeps them: how many, and how many more tonight."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from schemas.vocabulary import ServiceGroup, ServiceType
from services.referral.places import handlers, store
from services.referral.places.store import Place
from spean.auth import Caller
from spean.db import Database, Tx
from spean.http import Body, Command, Reply, View, caller_with, change_with, expect_version, read_reply

SCOPE = "referral:receive"
router = APIRouter(tags=["places"])


class PlaceView(View):
    """A pool of equal places. `free` may be promised now."""

    id: UUID
    service_group: ServiceGroup
    service_types: tuple[ServiceType, ...]
    area: str
    usable: int
    outside: int
    held: int
    staying: int
    free: int
    version: int


class PlacesView(View):
    places: tuple[PlaceView, ...]


class Count(Body):
    """`more_tonight`: how many more people could come tonight, besides those already promised a place."""

    usable: Annotated[int, Field(ge=0, le=10_000)]
    more_tonight: Annotated[int, Field(ge=0, le=10_000)]


def view(place: Place) -> PlaceView:
    return PlaceView(
        id=place.id, service_group=place.service_group, service_types=place.service_types, area=place.area,
        usable=place.usable, outside=place.outside, held=place.held, staying=place.staying, free=place.free,
        version=place.version,
    )  # fmt: skip


@router.get("/places")
async def list_places(request: Request, caller: Annotated[Caller, Depends(caller_with(SCOPE))]) -> PlacesView:
    """My organisation's places."""
    db: Database = request.app.state.door.db
    async with db.transaction("places.list", org=caller.org) as tx:
        return PlacesView(places=tuple(view(place) for place in await store.places_of(tx, caller.org)))


@router.get("/places/{place}", response_model=PlaceView)
async def read_place(request: Request, place: UUID, caller: Annotated[Caller, Depends(caller_with(SCOPE))]) -> Response:
    """One pool of my places, with its version."""
    db: Database = request.app.state.door.db
    async with db.transaction("place.read", org=caller.org) as tx:
        found = await store.find_place(tx, place)
    return read_reply(Reply(view(found), found.version))


@router.put("/places/{place}/count", response_model=PlaceView)
async def count(place: UUID, body: Count, command: Annotated[Command, Depends(change_with(SCOPE))]) -> Response:
    """Say how many places there are and how many more people could come tonight."""

    async def work(tx: Tx) -> Reply:
        locked = await store.lock_place(tx, place)
        expect_version(command, locked.version)
        after = await handlers.count(tx, locked, body.usable, body.more_tonight)
        return Reply(view(after), after.version)

    return await command.run("place.count", work)
