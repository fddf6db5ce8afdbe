"""The sender's pages for hand-offs: what became of each, as far as the person lets the sender know."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from services.intake.disclosure.handlers import Holder
from services.intake.handoffs import api, handlers, store
from services.intake.handoffs.api import SCOPE, HandoffsView
from spean.db import Tx
from spean.http import Reply
from spean.web.pages import At, Sent, at_with, page_router, sent_with

LIST = "/intake/pages/handoffs"
_LIST_MOST = 50
router = page_router("sender's pages")
Sender = Annotated[At, Depends(at_with(SCOPE))]


@router.get("/handoffs")
async def my_handoffs(request: Request, at: Sender) -> Response:
    """The latest first."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        ids = await store.handoffs_of(tx, at.who.org, None, _LIST_MOST)
        found = await handlers.seen_by_sender(tx, holder, ids, at.who.facts)
        return Reply(HandoffsView(handoffs=tuple(api.view(one, tx.now) for one in found)))

    return at.gated("page.handoffs", work, "intake/handoffs/list.html")


@router.get("/handoffs/{handoff}")
async def one_handoff(request: Request, handoff: UUID, at: Sender) -> Response:
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        found = await api.seen(tx, holder, handoff, at.caller)
        return Reply(api.view(found, tx.now), found.handoff.version)

    return at.gated("page.handoff", work, "intake/handoffs/one.html")


@router.post("/handoffs/{handoff}/cancel")
async def cancel(handoff: UUID, sent: Annotated[Sent, Depends(sent_with(SCOPE, even_suspended=True))]) -> Response:
    await api.cancel_handoff(handoff, sent.command())
    return sent.see(f"{LIST}/{handoff}", done="cancelled")
