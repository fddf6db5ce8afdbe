"""The receiver's pages: the inbox, one offer, what is on its way and who is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from schemas.questions import MAX_BATCH
from schemas.vocabulary import DeclineReason, Outcome
from services.referral.places import api as places_api
from services.referral.referrals import api, copies, copies_api
from services.referral.referrals.api import RECEIVE, SEND, OfferView
from services.referral.referrals.domain import OPEN, OfferState, State
from spean.geography import area_name
from spean.problem import Refusal
from spean.web import forms
from spean.web.forms import Incomplete
from spean.web.labels import label
from spean.web.live import Hub, stream_for
from spean.web.pages import At, Sent, at_with, page_router, sent_with

INBOX, ARRIVALS = "/referral/pages/inbox", "/referral/pages/arrivals"
# An answer is due soon; before that it is calm.
_SOON, _NOW = timedelta(hours=6), timedelta(minutes=30)
router = page_router("receiver's pages")
Receiver = Annotated[At, Depends(at_with(RECEIVE))]
ReceiverSent = Annotated[Sent, Depends(sent_with(RECEIVE))]


@dataclass(frozen=True, slots=True)
class Card:
    """An offer as it is shown; `due` chooses colour, mark and words together."""

    offer: OfferView
    left: timedelta

    @property
    def due(self) -> Literal["now", "soon", "calm", "over"]:
        if self.left <= timedelta(0):
            return "over"
        return "now" if self.left <= _NOW else "soon" if self.left <= _SOON else "calm"

    @property
    def open(self) -> bool:
        return self.offer.state in OPEN

    @property
    def arrived(self) -> bool:
        return self.offer.referral_state is State.IN_PROGRESS


def cards_of(offers: Sequence[OfferView], now: datetime) -> list[Card]:
    """Offers as cards, in their order."""
    return [Card(offer, offer.answer_by - now) for offer in offers]


@router.get("/inbox")
async def inbox(request: Request, at: Receiver) -> Response:
    """What waits for an answer, due first on top."""
    hub: Hub = request.app.state.live
    number = await hub.now(at.caller.org)
    return at.page("referral/referrals/inbox.html", number=number, new=0, **await _waiting(request, at))


@router.get("/inbox/now")
async def moving_part(
    request: Request, at: Receiver, shown: Annotated[str, Query(max_length=500, description="beginnings of ids")] = ""
) -> Response:
    """The part of the inbox that moves. `shown`: the offers that the page has shown already."""
    waiting = await _waiting(request, at)
    new = sum(str(card.offer.id)[:8] not in shown for card in waiting["cards"])
    return at.page("referral/referrals/inbox_now.html", new=new, **waiting)


@router.get("/live")
async def live(request: Request) -> Response:
    """Says when something has changed."""
    return await stream_for(request, RECEIVE)


async def _waiting(request: Request, at: At) -> dict[str, Any]:
    shown = await api.list_offers(request, at.caller, [OfferState.SENT, OfferState.SEEN], None)
    places = await places_api.list_places(request, at.caller)
    return {
        "copies": (await copies_api.list_copies(request, at.caller)).copies,
        "cards": cards_of(shown.offers, at.now), "free": sum(place.free for place in places.places),
        "held": sum(place.held for place in places.places),
        "staying": sum(place.staying + place.outside for place in places.places),
    }  # fmt: skip


@router.get("/arrivals")
async def arrivals(request: Request, at: Receiver, after: UUID | None = None) -> Response:
    """Who is expected, and who is here."""
    shown = await api.list_offers(request, at.caller, [OfferState.ACCEPTED], after)
    cards = [card for card in cards_of(shown.offers, at.now) if card.offer.referral_state is not State.COMPLETED]
    more = shown.offers[-1].id if len(shown.offers) == MAX_BATCH else None
    return at.page("referral/referrals/arrivals.html", cards=cards, pools=await _pools(request, at), more=more)


async def _pools(request: Request, at: At) -> dict[UUID, str]:
    """What the house calls its kinds of places, where it has several."""
    places = (await places_api.list_places(request, at.caller)).places
    said = at.words.text
    return {
        one.id: f"{', '.join(said(label(service)) for service in one.service_types)}, {said(area_name(one.area))}"
        for one in places if len(places) > 1
    }  # fmt: skip


async def _one(request: Request, at: At, offer: UUID) -> Card:
    """Raises Refusal `not-found`."""
    return cards_of([await api.offer_shown(request, at.caller, offer)], at.now)[0]


@router.get("/offers/{offer}")
async def one_offer(request: Request, offer: UUID, at: Receiver) -> Response:
    return at.page("referral/referrals/offer.html", card=await _one(request, at, offer), copy=await _copy(at, offer))


async def _copy(at: At, offer: UUID) -> bool:
    """Is the house asked about a copy of it?"""
    async with at.door.db.transaction("page.copy", org=at.caller.org) as tx:
        return await copies.was_asked(tx, offer)


@router.post("/offers/{offer}/accept")
async def accept(request: Request, offer: UUID, sent: ReceiverSent) -> Response:
    await api.accept(request, offer, sent.command())
    return sent.see(f"/referral/pages/offers/{offer}", done="accepted")


@router.get("/offers/{offer}/decline")
async def why_declined(request: Request, offer: UUID, at: Receiver) -> Response:
    return at.page("referral/referrals/decline.html", card=await _one(request, at, offer), reasons=list(DeclineReason))


@router.post("/offers/{offer}/decline")
async def decline(request: Request, offer: UUID, sent: ReceiverSent) -> Response:
    try:
        body = forms.read(api.Decline, {"reason": sent.form.some("reason")})
    except Incomplete as error:
        card = await _one(request, sent, offer)
        return sent.again("referral/referrals/decline.html", error, sent.form, card=card, reasons=list(DeclineReason))
    await api.decline(request, offer, body, sent.command())
    return sent.see(INBOX, done="declined")


@router.post("/offers/{offer}/arrived")
async def arrived(request: Request, offer: UUID, sent: ReceiverSent) -> Response:
    """With the code, or knowingly without (`without` is the other button of the same form)."""
    try:
        body = api.Arrival() if sent.form.one("without") else forms.read(api.Arrival, _code(sent))
        await api.arrived(request, offer, body, sent.command(part="code" if body.code else "without"))
    except (Incomplete, Refusal) as error:
        return await _code_again(request, sent, offer, error)
    return sent.see(f"/referral/pages/offers/{offer}", done="arrived")


@router.post("/offers/{offer}/verify")
async def verify(request: Request, offer: UUID, sent: ReceiverSent) -> Response:
    """The code of somebody who is here already."""
    try:
        await api.verify_arrival(request, offer, forms.read(api.Code, _code(sent)), sent.command())
    except (Incomplete, Refusal) as error:
        return await _code_again(request, sent, offer, error)
    return sent.see(f"/referral/pages/offers/{offer}", done="verified")


def _code(sent: Sent) -> dict[str, str]:
    """Raises Incomplete."""
    code = sent.form.one("code").replace(" ", "")
    if not code:
        raise Incomplete({"code": forms.SAID["missing"]})
    return {"code": code}


async def _code_again(request: Request, sent: Sent, offer: UUID, error: Incomplete | Refusal) -> Response:
    """The offer's page with what is wrong with the code. Raises the refusal where it is about something else."""
    if isinstance(error, Refusal):
        error = forms.at_field(error, {"code-wrong": "code", "code-locked": "code"})
    shown = {"card": await _one(request, sent, offer), "copy": await _copy(sent, offer)}
    return sent.again("referral/referrals/offer.html", error, sent.form, **shown)


@router.get("/offers/{offer}/outcome")
async def which_outcome(request: Request, offer: UUID, at: Receiver) -> Response:
    return at.page("referral/referrals/outcome.html", card=await _one(request, at, offer), outcomes=list(Outcome))


@router.post("/offers/{offer}/outcome")
async def outcome(request: Request, offer: UUID, sent: ReceiverSent) -> Response:
    try:
        body = forms.read(api.OutcomeBody, {"outcome": sent.form.some("outcome")})
    except Incomplete as error:
        card = await _one(request, sent, offer)
        return sent.again("referral/referrals/outcome.html", error, sent.form, card=card, outcomes=list(Outcome))
    await api.outcome(request, offer, body, sent.command())
    return sent.see(ARRIVALS, done="outcome")


@router.post("/offers/{offer}/packet")
async def packet(request: Request, offer: UUID, sent: ReceiverSent) -> Response:
    """A ticket for the packet, which the holder shows: one more step, for it is not this service's to read."""
    opened = await api.packet_ticket(request, offer, sent.command())
    holder, own = urlsplit(opened.dataref.removesuffix(f"/packets/{offer}")), urlsplit(request.app.state.token_url)
    elsewhere = (
        "" if (holder.scheme, holder.netloc) == (own.scheme, own.netloc) else f"{holder.scheme}://{holder.netloc}"
    )
    address = f"{elsewhere}{holder.path}/pages/packets/{offer}"
    return sent.page(
        "referral/referrals/packet.html", forms_to=elsewhere, address=address, ticket=opened.ticket, offer=offer
    )


@router.post("/referrals/{referral}/departed")
async def departed(referral: UUID, sent: Annotated[Sent, Depends(sent_with(SEND))]) -> Response:
    """The sender's page of the hand-off, at its holder, posts this here."""
    await api.departed(referral, sent.command())
    return sent.see(f"/intake/pages/handoffs/{referral}", done="departed")
