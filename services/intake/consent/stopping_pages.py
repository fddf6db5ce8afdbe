"""Stopping, one page each, which says exactly what will happen. Nothing is asked but the one press of a button; it works
for a suspended organisation, too, and asks nothing of the network.

Whoever works at a suspended organisation finds people in a list that opens nothing sealed: by when and where they were
met, and by the number that their page and hand-offs show."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from services.intake.cases import store as cases
from services.intake.consent import api, store
from services.intake.consent.api import SCOPE, WithdrawBody
from spean.comparable import comparable
from spean.web import lists
from spean.web.pages import At, Sent, at_with, page_router, sent_with

What = Literal["sharing", "service"]
router = page_router("consent pages")


@router.get("/stop")
async def for_whom(
    at: Annotated[At, Depends(at_with(SCOPE, stopping=True))],
    q: Annotated[str, Query(max_length=36, description="the beginning of a number")] = "",
    after: UUID | None = None,
) -> Response:
    """Everybody whom the organisation met, the latest first, without a word of what is written of them."""
    number = comparable(q)
    async with at.door.db.transaction("stop.list", org=at.who.org) as tx:
        found = await store.met(tx, number, after, lists.MOST + 1)
    shown = found[: lists.MOST]
    more = shown[-1].entry if len(found) > len(shown) else None
    return at.page("intake/consent/stop_list.html", people=shown, q=number, more=more)


@router.get("/entries/{entry}/stop/{what}")
async def ask(
    request: Request, entry: UUID, what: What, at: Annotated[At, Depends(at_with(SCOPE, stopping=True))]
) -> Response:
    """What will happen; or, where it has stopped already, that it has. It needs nothing of what is sealed."""
    async with at.door.db.transaction("stop.ask", org=at.who.org) as tx:
        await cases.find_entry(tx, entry)
        person = (await store.people(tx, {entry: True}))[entry]
    stopped = person.service_shut if what == "service" else person.stopped
    return at.page("intake/consent/stop.html", entry=entry, what=what, stopped=stopped)


@router.post("/entries/{entry}/stop/{what}")
async def stop(
    request: Request, entry: UUID, what: What, sent: Annotated[Sent, Depends(sent_with(SCOPE, stopping=True))]
) -> Response:
    await api.withdraw(request, entry, WithdrawBody(what=what), sent.command())
    return sent.see(f"/intake/pages/entries/{entry}/stop/{what}", done="withdrawn")
