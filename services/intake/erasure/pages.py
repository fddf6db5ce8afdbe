"""Erasing a person at a page of their organisation: what becomes of what, and who has answered for their copies."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from services.intake.cases import store as cases
from services.intake.disclosure.handlers import Holder
from services.intake.erasure import api, copies_api, handlers, store
from services.intake.erasure.api import SCOPE, EraseBody
from services.intake.erasure.copies_api import AskedCopy
from services.intake.erasure.domain import Why
from spean.db import Tx
from spean.http import Reply, View
from spean.problem import Refusal
from spean.web import forms, network
from spean.web.forms import Incomplete
from spean.web.pages import At, Sent, at_with, page_router, sent_with

ENTRIES = "/intake/pages/entries"
router = page_router("erasure's pages")
Sender = Annotated[At, Depends(at_with(SCOPE))]
SenderSent = Annotated[Sent, Depends(sent_with(SCOPE))]


class AskPage(View):
    """`live`: hand-offs that are not ended, which keep the person from being erased; `until`: a legal hold does, until then."""

    live: tuple[UUID, ...]
    until: datetime | None


class ErasedPage(View):
    """`done_at` None: it is under way. `quiet`: when it is done is not told."""

    why: Why
    asked_at: datetime
    done_at: datetime | None
    quiet: bool
    copies: tuple[AskedCopy, ...]


@router.get("/entries/{entry}/erase")
async def ask(entry: UUID, at: Sender) -> Response:
    """What will become of what; or why it cannot be now; or, where it was done, how far it is."""
    async with at.door.db.transaction("page.erase", org=at.who.org) as tx:
        await cases.find_entry(tx, entry)
        if await store.find(tx, entry) is not None:
            return at.see(f"{ENTRIES}/{entry}/erased")
        shown = await _before(tx, entry)
    return at.page("intake/erasure/ask.html", entry=entry, body=shown)


async def _before(tx: Tx, entry: UUID) -> AskPage:
    return AskPage(live=tuple(await store.live(tx, entry)), until=await store.held_until(tx, entry))


@router.post("/entries/{entry}/erase")
async def erase(request: Request, entry: UUID, sent: SenderSent) -> Response:
    try:
        body = forms.read(EraseBody, {"why": sent.form.some("why")})
    except Incomplete as error:
        async with sent.door.db.transaction("page.erase", org=sent.who.org) as tx:
            await cases.find_entry(tx, entry)
            shown = await _before(tx, entry)
        return sent.again("intake/erasure/ask.html", error, sent.form, entry=entry, body=shown)
    await api.erase(request, entry, body, sent.command())
    return sent.see(f"{ENTRIES}/{entry}/erased")


@router.get("/entries/{entry}/erased")
async def erased(request: Request, entry: UUID, at: Sender) -> Response:
    """How far it is, and what those who may hold a copy have answered."""
    holder: Holder = request.app.state.holder
    directory = await network.directory(request)

    async def work(tx: Tx) -> Reply:
        await cases.find_entry(tx, entry)
        found = await store.find(tx, entry)
        if found is None:
            raise Refusal("not-found")
        copies: list[AskedCopy] = []
        for handoff in await cases.handoffs_with(tx, entry):
            copies += await copies_api.copies_now(tx, holder, handoff, at.caller)
        told, quiet = await handlers.as_told(tx, found), await store.is_quiet(tx, entry)
        return Reply(
            ErasedPage(why=told.why, asked_at=told.asked_at, done_at=told.done_at, quiet=quiet, copies=tuple(copies))
        )

    return at.gated("page.erased", work, "intake/erasure/erased.html", entry=entry, directory=directory)
