"""The officer's pages: legal holds."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from services.intake.disclosure.handlers import Holder
from services.intake.erasure import api, handlers, store
from services.intake.erasure.api import OFFICERS_SCOPE, HoldBody, HoldsView, HoldView
from spean.db import Tx
from spean.http import Reply
from spean.problem import Refusal
from spean.web import forms, lists
from spean.web.forms import Form, Incomplete
from spean.web.pages import At, Sent, at_with, page_router, sent_with

HOLDS = "/intake/pages/holds"
router = page_router("officer's pages")
Officer = Annotated[At, Depends(at_with(OFFICERS_SCOPE))]
OfficerSent = Annotated[Sent, Depends(sent_with(OFFICERS_SCOPE))]


@router.get("/holds")
async def holds(at: Officer) -> Response:
    """Those that stand, of this organisation's people; and where the next is put."""
    return await _list(at)


async def _list(at: At, error: Incomplete | None = None) -> Response:
    async with at.door.db.transaction("page.holds", org=at.who.org) as tx:
        standing = await store.standing_holds(tx, lists.MOST)
    if error is None or not isinstance(at, Sent):
        return at.page("intake/erasure/holds.html", standing=standing)
    return at.again("intake/erasure/holds.html", error, at.form, standing=standing)


@router.post("/holds")
async def which(sent: OfficerSent) -> Response:
    """The number of a record, as a worker reads it off the person's page."""
    try:
        entry = UUID(sent.form.one("entry").strip())
    except ValueError:
        return await _list(sent, Incomplete({"entry": forms.SAID["missing" if not sent.form.one("entry") else "enum"]}))
    return sent.see(f"{HOLDS}/{entry}")


@router.get("/holds/{entry}")
async def of_person(request: Request, entry: UUID, at: Officer) -> Response:
    """All that there were of somebody, and the form for another."""
    return _of_person(request, entry, at, {})


def _of_person(request: Request, entry: UUID, at: At, errors: dict[str, str], form: Form | None = None) -> Response:
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        found = await handlers.holds(tx, holder, entry)
        return Reply(HoldsView(holds=tuple(HoldView.model_validate(one, from_attributes=True) for one in found)))

    more: dict[str, Any] = {"status": 422} if errors else {}
    return at.gated(
        "page.hold", work, "intake/erasure/hold.html", entry=entry, errors=errors, form=form or Form(), **more
    )


@router.post("/holds/{entry}")
async def put(request: Request, entry: UUID, sent: OfficerSent) -> Response:
    try:
        await api.hold(request, entry, _body_in(sent), sent.command())
    except Incomplete as error:
        return _of_person(request, entry, sent, dict(error.errors), sent.form)
    except Refusal as refusal:
        if refusal.code != "invalid":
            raise
        return _of_person(request, entry, sent, {"until": forms.SAID["enum"]}, sent.form)
    return sent.see(f"{HOLDS}/{entry}", done="hold-put")


def _body_in(sent: Sent) -> HoldBody:
    """`until`: the end of a day by the clock of the page. Raises Incomplete."""
    day, wrong = sent.form.one("until"), dict[str, str]()
    try:
        last = sent.words.moment(datetime.combine(date.fromisoformat(day), time.max))
    except ValueError:
        last, wrong = sent.now, {"until": forms.SAID["missing" if not day else "enum"]}
    try:
        body = forms.read(HoldBody, {"reason": sent.form.one("reason"), "until": last.isoformat()})
    except Incomplete as error:
        raise Incomplete({**error.errors, **wrong}) from None
    if wrong:
        raise Incomplete(wrong)
    return body


@router.post("/holds/{entry}/{hold}/lift")
async def lift(entry: UUID, hold: UUID, sent: OfficerSent) -> Response:
    await api.lift(entry, hold, sent.command())
    return sent.see(f"{HOLDS}/{entry}", done="hold-lifted")
