"""With whom nothing is ever shared, and how a person takes that back."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from services.intake import network
from services.intake.cases import store as cases
from services.intake.consent import api, handlers, store
from services.intake.consent.api import SCOPE, ExclusionBody
from services.intake.consent.shown import Never, never_of
from services.intake.disclosure.handlers import Holder
from spean.db import Tx
from spean.http import Reply, View
from spean.problem import Refusal
from spean.web import forms
from spean.web.forms import Incomplete
from spean.web.pages import At, Sent, at_with, page_router, sent_with

router = page_router("consent pages")


class Nevers(View):
    never: tuple[Never, ...]


@router.get("/entries/{entry}/never")
async def listed(request: Request, entry: UUID, at: Annotated[At, Depends(at_with(SCOPE))]) -> Response:
    holder: Holder = request.app.state.holder
    directory = await network.directory(request)

    async def work(tx: Tx) -> Reply:
        await cases.find_entry(tx, entry)
        names = await handlers.officials(tx, holder, entry)
        found = (await store.exclusions(tx, [entry]))[entry]
        return Reply(Nevers(never=tuple(never_of(one, names.get(one.value, ())) for one in found)))

    return at.gated("page.never", work, "intake/consent/nevers.html", entry=entry, directory=directory)


@router.post("/entries/{entry}/never")
async def lift(request: Request, entry: UUID, sent: Annotated[Sent, Depends(sent_with(SCOPE))]) -> Response:
    """Twice is once: what is not in force is lifted already."""
    try:
        body = forms.read(ExclusionBody, {"kind": sent.form.some("kind"), "value": sent.form.some("value")})
    except Incomplete:
        raise Refusal("invalid") from None
    try:
        await api.lift(entry, body, sent.command())
    except Refusal as refusal:
        if refusal.code != "state":
            raise
    return sent.see(f"/intake/pages/entries/{entry}/never", done="lifted")
