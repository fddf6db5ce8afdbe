"""Copies that are to be erased, for whoever holds one, and for the coordinator where that is late. The answer goes to the holder."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request

from services.referral.referrals import copies
from services.referral.referrals.api import Receiver
from spean.auth import Caller
from spean.db import Database
from spean.http import View, caller_with

COORDINATE = "referral:coordinate"
COPIES_MOST = 200
Coordinator = Annotated[Caller, Depends(caller_with(COORDINATE))]
router = APIRouter()


class CopyView(View):
    """A copy that you are asked to erase. `late`: the time to answer is over, and a coordinator is told."""

    offer: UUID
    asked_at: datetime
    answer_by: datetime
    late: bool


class CopiesView(View):
    """Due first."""

    copies: tuple[CopyView, ...]


class LateCopy(View):
    referral: UUID
    network: UUID
    organisation: UUID
    asked_at: datetime
    answer_by: datetime


class LateCopiesView(View):
    copies: tuple[LateCopy, ...]


@router.get("/copies", tags=["offers"])
async def list_copies(request: Request, caller: Receiver) -> CopiesView:
    """Copies of packets that my organisation is asked to erase and has not answered for (at most 200). The answer goes to the
    holder: with a ticket for the offer, to its packet's address and `/erasure`."""
    db: Database = request.app.state.door.db
    async with db.transaction("copies.list", org=caller.org) as tx:
        found = await copies.waiting(tx, caller.org, COPIES_MOST)
        now = tx.now
    return CopiesView(copies=tuple(CopyView(**row, late=row["answer_by"] < now) for row in found))


@router.get("/late-copies", tags=["coordinator"])
async def list_late_copies(request: Request, caller: Coordinator) -> LateCopiesView:
    """Copies of packets in my networks that are to be erased, and of which nobody has said in time what became of them (at most
    200), the latest first. What they say goes to the holder; telephone."""
    db: Database = request.app.state.door.db
    async with db.transaction("copies.late") as tx:
        found = await copies.late(tx, caller.org, COPIES_MOST)
    return LateCopiesView(copies=tuple(LateCopy(**row) for row in found))
