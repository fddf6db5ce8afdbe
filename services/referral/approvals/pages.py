"""Access, as an organisation and the administrators see it: what would open records and waits for somebody to agree."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Response

from schemas.rights import SCOPES
from services.referral.approvals import api, store
from services.referral.approvals.api import LIST_MOST, is_mine
from services.referral.approvals.domain import OPENING, State, Who
from services.referral.people.pages import ROLES
from spean.web.pages import At, Sent, at_with, page_router, sent_with

ACCESS = "/referral/pages/approvals"
router = page_router("access pages")
# Whose roles open something, so that they may agree to as much for somebody else, or see what others get.
Insider = Annotated[At, Depends(at_with(*sorted(OPENING)))]
InsiderSent = Annotated[Sent, Depends(sent_with(*sorted(OPENING)))]


@router.get("/approvals")
async def approvals(at: Insider) -> Response:
    who = Who.of(at.caller)
    async with at.door.db.transaction("approvals.list") as tx:
        found = await store.listed(tx, None if who.administers else who.organisation, LIST_MOST)
        now = tx.now
    waiting = [one for one in found if one.approval.state is State.WAITING and now < one.approval.decide_by]
    mine = {one.approval.id for one in waiting if is_mine(one.approval, who, now)}
    past = [one for one in found if one not in waiting]
    return at.page(
        "referral/approvals/list.html", waiting=waiting, past=past, mine=mine, scopes=SCOPES, roles=ROLES, me=who.name
    )


@router.post("/approvals/{approval}/approve")
async def approve(approval: UUID, sent: InsiderSent) -> Response:
    await api.approve(approval, sent.command())
    return sent.see(ACCESS, done="agreed")


@router.post("/approvals/{approval}/refuse")
async def refuse(approval: UUID, sent: InsiderSent) -> Response:
    await api.refuse(approval, sent.command())
    return sent.see(ACCESS, done="refused-access")
