"""What waits for a second one's agreement: read, approved, refused. For the administrators, and for the organisation that it is
about."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from schemas.rights import StaffRole
from services.referral.approvals import handlers, store
from services.referral.approvals.domain import Approval, Kind, State, Who, may_agree, two_people
from spean.auth import Caller
from spean.db import Database, Tx
from spean.http import Command, Reply, View, caller_with, command_with

LIST_MOST = 200
router = APIRouter(tags=["approvals"])
# Whoever may sign in: what they see and decide follows from who they are.
Anyone = Annotated[Caller, Depends(caller_with(None))]
AnyoneCommand = Annotated[Command, Depends(command_with(None))]


class ApprovalView(View):
    """`scopes`: what it would open; `client`: the system that would get them, or another key (`thumbprint`); `person`: who would
    get `roles`. `mine`: I may agree to it now."""

    id: UUID
    kind: Kind
    organisation: UUID
    client: str | None
    thumbprint: str | None
    person: UUID | None
    roles: tuple[StaffRole, ...]
    scopes: tuple[str, ...]
    asked_by: str
    asked_at: datetime
    decide_by: datetime
    state: State
    decided_by: str | None
    decided_at: datetime | None
    mine: bool


class ApprovalsView(View):
    approvals: tuple[ApprovalView, ...]


def view(a: Approval, who: Who, now: datetime) -> ApprovalView:
    return ApprovalView(
        id=a.id, kind=a.kind, organisation=a.organisation, client=a.client, thumbprint=a.asked.get("thumbprint"),
        person=a.person, roles=tuple(a.asked.get("roles", ())), scopes=tuple(sorted(a.scopes)), asked_by=a.asked_by,
        asked_at=a.asked_at, decide_by=a.decide_by, state=a.state, decided_by=a.decided_by, decided_at=a.decided_at,
        mine=is_mine(a, who, now),
    )  # fmt: skip


def is_mine(a: Approval, who: Who, now: datetime) -> bool:
    """May they agree to it now?"""
    waits = a.state is State.WAITING and now < a.decide_by
    return waits and may_agree(a, who) and two_people(a.asked_by, a.asked_of, who.name, who.organisation)


@router.get("/approvals")
async def list_approvals(request: Request, caller: Anyone) -> ApprovalsView:
    """What would open records and waits for somebody else to agree, then what was decided, newest first (at most 200): of my
    organisation, or of all for an administrator."""
    db: Database = request.app.state.door.db
    who = Who.of(caller)
    async with db.transaction("approvals.list") as tx:
        found = await store.listed(tx, None if who.administers else who.organisation, LIST_MOST)
        return ApprovalsView(approvals=tuple(view(one.approval, who, tx.now) for one in found))


@router.post("/approvals/{approval}/approve", response_model=ApprovalView)
async def approve(approval: UUID, command: AnyoneCommand) -> Response:
    """Agree: from now on it opens what it says. As the organisation that it is about, with all of these scopes yourself; or as
    another administrator. Not whoever asked, nor another system of theirs."""

    async def work(tx: Tx) -> Reply:
        who = Who.of(command.caller)
        return Reply(view(await handlers.approve(tx, who, approval), who, tx.now))

    return await command.run_as_service("approval.approve", work)


@router.post("/approvals/{approval}/refuse", response_model=ApprovalView)
async def refuse(approval: UUID, command: AnyoneCommand) -> Response:
    """It comes to nothing. As the organisation that it is about, or as an administrator, also the one who asked."""

    async def work(tx: Tx) -> Reply:
        who = Who.of(command.caller)
        return Reply(view(await handlers.refuse(tx, who, approval), who, tx.now))

    return await command.run_as_service("approval.refuse", work)
