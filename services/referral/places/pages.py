"""The bed board: how many places there are, and how many more people could come tonight."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from services.referral.places import api
from services.referral.places.api import SCOPE
from spean.problem import Refusal
from spean.web import forms
from spean.web.forms import Incomplete
from spean.web.pages import At, Sent, at_with, page_router, sent_with

BOARD = "/referral/pages/places"
router = page_router("receiver's pages")


@router.get("/places")
async def board(request: Request, at: Annotated[At, Depends(at_with(SCOPE))]) -> Response:
    shown = await api.list_places(request, at.caller)
    return at.page("referral/places/board.html", places=shown.places, wrong=None)


@router.post("/places/{place}/count")
async def count(request: Request, place: UUID, sent: Annotated[Sent, Depends(sent_with(SCOPE))]) -> Response:
    answers = {name: sent.form.some(name) for name in ("usable", "more_tonight")}
    try:
        await api.count(place, forms.read(api.Count, answers), sent.command())
    except Incomplete as error:
        return await _again(request, sent, place, error)
    except Refusal as refusal:
        wrong = forms.at_field(refusal, {"places-in-use": "more_tonight"})
        return await _again(request, sent, place, wrong)
    return sent.see(BOARD, done="saved")


async def _again(request: Request, sent: Sent, place: UUID, error: Incomplete) -> Response:
    """The board with what was typed at the place that it is about."""
    shown = await api.list_places(request, sent.caller)
    here = Incomplete({f"{name}-{place}": said for name, said in error.errors.items()})
    return sent.again("referral/places/board.html", here, sent.form, places=shown.places, wrong=place)
