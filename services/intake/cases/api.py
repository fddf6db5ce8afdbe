"""The sender's API for entries and cases."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AwareDatetime

from schemas.vocabulary import Area
from services.intake.cases import handlers, store
from services.intake.cases.domain import PersonFields, adult_from, is_minor
from services.intake.cases.store import Entry
from services.intake.disclosure.handlers import Holder
from spean.auth import Caller
from spean.db import Tx
from spean.gated import GatedResponse
from spean.geography import known_area
from spean.http import Body, Command, Reply, View, caller_with, change_with, command_with, expect_version
from spean.ids import opaque_id
from spean.problem import Refusal

SCOPE = "intake:send"
router = APIRouter(tags=["entries"])
Sender = Annotated[Caller, Depends(caller_with(SCOPE))]
SenderCommand = Annotated[Command, Depends(command_with(SCOPE))]


class EntryBody(Body):
    """Somebody was met. `happened_at` is when, not when it is typed; by default now."""

    channel: Literal["hotline", "border_post", "case_manager", "other"]
    area: Area
    happened_at: AwareDatetime | None = None
    person: PersonFields = PersonFields()


class EntryCreated(View):
    id: UUID
    version: int


class EntryView(View):
    """An entry as the organisation that made it reads it."""

    id: UUID
    channel: str
    area: str
    happened_at: datetime
    screening: UUID | None
    person: dict[str, Any]
    minor: bool
    version: int


class CaseView(View):
    id: UUID
    entry: UUID
    state: str


def view(entry: Entry, fields: PersonFields, now: datetime) -> EntryView:
    adult = adult_from(fields, entry.age_at)
    return EntryView(
        id=entry.id, channel=entry.channel, area=entry.area, happened_at=entry.happened_at, screening=entry.screening,
        person=fields.model_dump(mode="json", exclude_defaults=True), minor=is_minor(adult, now),
        version=entry.version,
    )  # fmt: skip


@router.post("/entries", status_code=201, response_model=EntryCreated)
async def enter(request: Request, body: EntryBody, command: SenderCommand) -> Response:
    """Write an entry. It is never a consent, and nothing is handed on by it."""
    holder: Holder = request.app.state.holder
    return await command.run("entry.enter", lambda tx: entered(tx, holder, body))


async def entered(tx: Tx, holder: Holder, body: EntryBody) -> Reply:
    """What `enter` does, in the caller's transaction. Raises Refusal `unknown-area`, `invalid`."""
    if not known_area(body.area):
        raise Refusal("unknown-area")
    made = await handlers.enter(
        tx, holder.keys, opaque_id(), body.channel, body.happened_at or tx.now, body.area, body.person
    )
    return Reply(EntryCreated(id=made.id, version=1), 1, 201)


@router.get("/entries/{entry}", response_model=EntryView)
async def read_entry(request: Request, entry: UUID, caller: Sender) -> Response:
    """My organisation's own entry, whole."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        found = await store.find_entry(tx, entry)
        return Reply(view(found, await store.opened_fields(holder.keys, found), tx.now), found.version)

    return GatedResponse(request.app.state.door.db, "entry.read", work, caller.org)


@router.put("/entries/{entry}/person", response_model=EntryCreated)
async def correct(
    request: Request, entry: UUID, body: PersonFields, command: Annotated[Command, Depends(change_with(SCOPE))]
) -> Response:
    """Correct what was written down: the fields given here replace all that were there."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        locked = await handlers.lock(tx, entry)
        expect_version(command, locked.version)
        await handlers.correct(tx, holder, locked, body)
        return Reply(EntryCreated(id=entry, version=locked.version + 1), locked.version + 1)

    return await command.run("entry.correct", work)


@router.post("/entries/{entry}/case", status_code=201, response_model=CaseView)
async def open_case(request: Request, entry: UUID, command: SenderCommand) -> Response:
    """Open the case: the person has agreed to the service."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        locked = await store.lock_entry(tx, entry)
        expect_version(command, locked.version)
        id_ = await handlers.open_case(tx, holder.keys, locked)
        return Reply(CaseView(id=id_, entry=entry, state="open"), status=201)

    return await command.run("case.open", work)
