"""The hand-over to the next shift: what waits, who is expected, who is here, and what happened since the last one."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Response

from services.referral.places import api as places_api
from services.referral.referrals import api
from services.referral.referrals.api import RECEIVE
from services.referral.referrals.domain import OfferState
from services.referral.referrals.pages import cards_of
from services.referral.shifts import store
from services.referral.shifts.store import Shift
from spean.db import Tx
from spean.http import Reply, View, expect_version
from spean.problem import Refusal
from spean.web.pages import At, Sent, at_with, page_router, sent_with

router = page_router("receiver's pages")


class TakenView(View):
    number: int


@router.get("/shift")
async def shift(request: Request, at: Annotated[At, Depends(at_with(RECEIVE))]) -> Response:
    waiting = await api.list_offers(request, at.caller, [OfferState.SENT, OfferState.SEEN], None)
    accepted = await api.list_offers(request, at.caller, [OfferState.ACCEPTED], None)
    places = await places_api.list_places(request, at.caller)
    async with at.door.db.transaction("page.shift", org=at.who.org) as tx:
        current = await store.current(tx, at.who.org)
        happened = await store.happened(tx, at.who.org, current.since) if current else None
    return at.page(
        "referral/shifts/shift.html", waiting=cards_of(waiting.offers, at.now), current=current, happened=happened,
        accepted=cards_of(accepted.offers, at.now), free=sum(place.free for place in places.places),
    )  # fmt: skip


@router.post("/shift")
async def take_over(sent: Annotated[Sent, Depends(sent_with(RECEIVE))]) -> Response:
    """The version is the number of the shift that was seen: two who take over at once do not both have it."""
    command = sent.command()

    async def work(tx: Tx) -> Reply:
        current = await store.current(tx, sent.who.org)
        number = current.number if current else 0
        expect_version(command, number)
        taken = Shift(number + 1, sent.who.person, sent.who.name, tx.now)
        if not await store.insert(tx, sent.who.org, taken):
            raise Refusal("version")
        return Reply(TakenView(number=taken.number))

    await command.run("shift.take_over", work)
    return sent.see("/referral/pages/shift", done="taken-over")
