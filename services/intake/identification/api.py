"""The sender's API for a person's path to being identified formally."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from schemas.vocabulary import DecidingBody, IdentificationStatus
from services.intake.disclosure.handlers import Holder
from services.intake.identification import handlers
from services.intake.identification.domain import NEXT, Step, standing
from spean.auth import Caller
from spean.db import Tx
from spean.gated import GatedResponse
from spean.http import Body, Command, Reply, View, caller_with, command_with

SCOPE = "intake:send"
router = APIRouter(tags=["identification"])
Sender = Annotated[Caller, Depends(caller_with(SCOPE))]
SenderCommand = Annotated[Command, Depends(command_with(SCOPE))]


class StepBody(Body):
    """A step as it was decided: by whom, on which day there."""

    status: IdentificationStatus
    decided_by: DecidingBody
    decided_on: date
    reference: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    notes: Annotated[str, Field(min_length=1, max_length=4_000)] | None = None

    def step(self) -> Step:
        return Step(self.status, self.decided_by, self.decided_on, self.reference, self.notes)


class StepRecorded(View):
    """`number`: from 1, of this person's steps. Answers to commands are kept in the clear, so it says nothing of the step."""

    number: int


class IdentificationStepView(View):
    """`by`, `at`: who wrote it down, when. Reference and notes: absent where none were written."""

    status: IdentificationStatus
    decided_by: DecidingBody
    decided_on: date
    reference: str | None
    notes: str | None
    by: str
    at: datetime


class IdentificationView(View):
    """`status`: where it stands, absent where nothing was recorded. `next`: the steps that may follow. `agreed`: the person's
    own yes to being identified stands, without which no formal process is recorded."""

    status: IdentificationStatus | None
    next: tuple[IdentificationStatus, ...]
    agreed: bool
    steps: tuple[IdentificationStepView, ...]


@router.post("/entries/{entry}/identification", status_code=201, response_model=StepRecorded)
async def record(request: Request, entry: UUID, body: StepBody, command: SenderCommand) -> Response:
    """Write down a step of the person's identification. Steps are only ever added. A formal process, and its yes, need the
    person's own decision (`identification`). Nobody else is told, and no help depends on it."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        number = await handlers.record(tx, holder, entry, body.step(), command.caller.client)
        return Reply(StepRecorded(number=number), status=201)

    return await command.run("identification.record", work)


@router.get("/entries/{entry}/identification", response_model=IdentificationView)
async def read(request: Request, entry: UUID, caller: Sender) -> Response:
    """The whole path of a person of my organisation."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        return Reply(await view(tx, holder, entry))

    return GatedResponse(request.app.state.door.db, "identification.read", work, caller.org)


async def view(tx: Tx, holder: Holder, entry: UUID) -> IdentificationView:
    """Raises Refusal `not-found`, `erased`."""
    path = await handlers.path(tx, holder, entry)
    status = standing([one.step for one in path])
    return IdentificationView(
        status=status, next=tuple(one for one in IdentificationStatus if one in NEXT[status]),
        agreed=await handlers.agreed(tx, holder, entry),
        steps=tuple(
            IdentificationStepView(
                status=one.step.status, decided_by=one.step.decided_by, decided_on=one.step.decided_on,
                reference=one.step.reference, notes=one.step.notes, by=one.by, at=one.at,
            )
            for one in path
        ),
    )  # fmt: skip
