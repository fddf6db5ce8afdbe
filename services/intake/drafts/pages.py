"""What every form that is kept step by step has in common: begin once, list what is unfinished, discard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from services.intake.disclosure.handlers import Holder
from services.intake.drafts import handlers
from services.intake.drafts.domain import Draft
from spean.db import Tx
from spean.http import Command, Reply, View
from spean.problem import Refusal
from spean.web.pages import At, Sent, at_with, id_in, page_router, sent_with

SCOPE = "intake:send"
NEW = "/intake/pages/entries/new"
router = page_router("drafts")


class Begun(View):
    id: UUID


class Gone(View):
    """The answer to a command that leaves nothing."""


def key_of(draft: Draft) -> str:
    """The key of the form that finishes a draft: the same in every tab, so that it is finished once."""
    return f"draft-{draft.id.hex}"


async def begun(sent: Sent, work: Callable[[Tx], Awaitable[Reply]]) -> UUID:
    """Begin a draft, once for each form that is sent. Where somebody went back and sent the same form with other answers,
    another one is begun."""
    try:
        made = await sent.command().run("draft.begin", work)
    except Refusal as refusal:
        if refusal.code != "key-reused":
            raise
        made = await Command(sent.door.db, sent.caller, None, (), None).run("draft.begin", work)
    return id_in(made)


async def unfinished(request: Request, at: At) -> list[Draft]:
    """What the visitor has begun and not finished, the latest first."""
    holder: Holder = request.app.state.holder
    async with at.door.db.transaction("drafts.unfinished", org=at.who.org) as tx:
        return await handlers.unfinished(tx, holder.keys, at.who.person)


@router.get("/drafts/{draft}/discard")
async def ask(request: Request, draft: UUID, at: Annotated[At, Depends(at_with(SCOPE))]) -> Response:
    holder: Holder = request.app.state.holder
    async with at.door.db.transaction("draft.read", org=at.who.org) as tx:
        await handlers.read(tx, holder.keys, draft, at.who.person)
    return at.page("intake/drafts/discard.html", draft=draft)


@router.post("/drafts/{draft}/discard")
async def discard(draft: UUID, sent: Annotated[Sent, Depends(sent_with(SCOPE))]) -> Response:
    async def work(tx: Tx) -> Reply:
        await handlers.discard(tx, draft, sent.who.person)
        return Reply(Gone())

    await sent.command().run("draft.discard", work)
    return sent.see(NEW, done="discarded")
