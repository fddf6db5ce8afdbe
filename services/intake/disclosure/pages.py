"""The packet in a browser, for the organisation that has accepted an offer: what it may read now, where the person is met,
what became of a copy. A ticket from the inbox opens it once; each page is composed, and decided by the gate, anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from schemas.questions import PacketTicket
from schemas.vocabulary import AgeBand, ErasureAnswer, KeptBecause, Need, Sex
from services.intake.cases.fields import PACKET_FIELDS
from services.intake.disclosure import api, visits
from services.intake.disclosure.api import PacketView, Whereabouts
from services.intake.disclosure.handlers import Holder
from services.intake.disclosure.visits import LASTS, Visit
from services.intake.erasure import copies_api
from services.intake.erasure.copies_api import Acknowledgement
from services.intake.handoffs import handlers as handoffs
from services.intake.handoffs import store as handoff_store
from spean.db import Tx
from spean.gated import GatedResponse
from spean.http import Reply, View
from spean.problem import Refusal
from spean.web import forms
from spean.web.cookies import set_cookie
from spean.web.forms import Form, Incomplete
from spean.web.pages import At, Sent, at_anyone, page_router, sent_by_anyone

# The network's scope: whoever is signed in here and may not receive has nothing to look for in a packet.
RECEIVE = "referral:receive"
# One for each offer, sent to its own addresses only, so that several packets may be open.
COOKIE = "__Secure-spean-packet"
_CODES: Mapping[str, type[StrEnum]] = {"age_band": AgeBand, "sex": Sex, "needs": Need}
router = page_router("packet")
Anyone = Annotated[At, Depends(at_anyone)]
AnyoneSent = Annotated[Sent, Depends(sent_by_anyone)]


class PacketPage(View):
    """`packet` is None where nothing of it may be read any more; what is asked about a copy is there all the same."""

    packet: PacketView | None
    erasure: str | None
    erasure_by: datetime | None
    meeting_point: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """One field of a person: its name, and its values to be shown as what `kind` says."""

    field: str
    kind: str
    values: tuple[Any, ...]


@router.post("/packets/{offer}")
async def open_once(request: Request, offer: UUID, at: Anyone) -> Response:
    """The ticket vouches for whoever brings it, as at the API's door; it works once."""
    try:
        form = forms.parsed(await request.body())
        ticket, claims = await api.ticket_in(request, offer, form.one("ticket"))
        _own(at, ticket.facts.organisation)
        if ticket.seal_to is not None:
            raise Refusal("bad-token")  # of a system whose packets leave sealed, never in the clear
        await api.release(request, ticket)
        async with at.door.db.transaction("packet.redeem") as tx:
            opener = await visits.redeem(tx, ticket, claims, at.visitor.session if at.visitor else None)
    except Refusal as refusal:
        if refusal.code != "bad-token":
            raise
        return _over(at, offer)
    answer = at.see(_path(offer))
    set_cookie(answer, COOKIE, opener, int(LASTS.total_seconds()), path=_path(offer))
    return answer


@router.get("/packets/{offer}")
async def packet(request: Request, offer: UUID, at: Anyone) -> Response:
    visit = await _visit(at, offer)
    if visit is None:
        return _over(at, offer)
    holder: Holder = request.app.state.holder

    def render(reply: Reply) -> Response:
        shown = reply.body
        assert isinstance(shown, PacketPage)  # noqa: S101 (what `work` answers)
        people = [_told(member) for member in shown.packet.members] if shown.packet else []
        hidden = [[name for name in PACKET_FIELDS if name not in {one.field for one in told}] for told in people]
        return at.page(
            "intake/disclosure/packet.html", body=shown, offer=offer, people=list(zip(people, hidden, strict=True)),
            ends_at=visit.ends_at,
        )  # fmt: skip

    return GatedResponse(at.door.db, "page.packet", lambda tx: _page_now(tx, holder, visit.ticket), render=render)


async def _page_now(tx: Tx, holder: Holder, ticket: PacketTicket) -> Reply:
    """Where the packet has ended, only what is asked about a copy of it. Raises Refusal `no-longer-available`."""
    try:
        reply = await api.packet_now(tx, holder, ticket)
    except Refusal as refusal:
        if refusal.code != "no-longer-available":
            raise
        kept = await handoff_store.find_packet(tx, ticket.offer)
        if kept is None or kept.organisation != ticket.facts.organisation or kept.erasure is None:
            raise
        return Reply(PacketPage(packet=None, erasure=kept.erasure, erasure_by=kept.erasure_by))
    found = reply.body
    assert isinstance(found, PacketView)  # noqa: S101 (what the API answers)
    open_ = await handoffs.open_packet(tx, ticket.offer, ticket.facts.organisation)
    point, address = await handoffs.whereabouts(tx, holder, open_)
    return Reply(
        PacketPage(
            packet=found, erasure=found.erasure, erasure_by=found.erasure_by, meeting_point=point, address=address
        )
    )


def _told(member: Mapping[str, Any]) -> list[Told]:
    """A person's fields in the order of the table of fields."""
    return [_field(name, member[name]) for name in PACKET_FIELDS if name in member]


def _field(name: str, value: Any) -> Told:
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if (codes := _CODES.get(name)) is not None:
        return Told(name, "code", tuple(codes(one) for one in values))
    return Told(name, {"languages": "language", "citizenship": "country"}.get(name, "text"), values)


# --- where the person is met ------------------------------------------------------------------------------------------


@router.get("/packets/{offer}/whereabouts")
async def where(offer: UUID, at: Anyone) -> Response:
    visit = await _visit(at, offer)
    if visit is None:
        return _over(at, offer)
    return at.page("intake/disclosure/whereabouts.html", offer=offer, said=await _said(at, visit), meanwhile=False)


@router.post("/packets/{offer}/whereabouts")
async def say_where(request: Request, offer: UUID, sent: AnyoneSent) -> Response:
    visit = await _visit(sent, offer)
    if visit is None:
        return _over(sent, offer)
    form, meanwhile = sent.form, False
    try:
        body = forms.read(Whereabouts, {"meeting_point": form.some("meeting_point"), "address": form.some("address")})
        if body.meeting_point is None:
            raise Incomplete({"meeting_point": forms.SAID["missing"]})
        try:
            await api.say_whereabouts(request, visit.ticket, body, sent.version)
        except Refusal as refusal:
            if refusal.code != "version":
                raise
            meanwhile = True
            raise Incomplete({"meeting_point": forms.said_of(refusal)}) from None
    except Incomplete as error:
        said = await _said(sent, visit)
        shown = {"offer": offer, "said": said, "meanwhile": meanwhile}
        return sent.again("intake/disclosure/whereabouts.html", error, form, **shown)
    return sent.see(_path(offer), done="saved")


@dataclass(frozen=True, slots=True)
class Said:
    """What the house has said last, as of a version of the packet."""

    version: int
    meeting_point: str | None
    address: str | None


async def _said(at: At, visit: Visit) -> Said:
    """Raises Refusal `no-longer-available`."""
    holder: Holder = at.request.app.state.holder
    async with at.door.db.transaction("page.whereabouts") as tx:
        found = await handoffs.open_packet(tx, visit.ticket.offer, visit.ticket.facts.organisation)
        return Said(found.version, *await handoffs.whereabouts(tx, holder, found))


# --- what became of a copy --------------------------------------------------------------------------------------------


@router.get("/packets/{offer}/erasure")
async def which_answer(offer: UUID, at: Anyone) -> Response:
    if await _visit(at, offer) is None:
        return _over(at, offer)
    return at.page("intake/disclosure/erasure.html", offer=offer, **_answers())


@router.post("/packets/{offer}/erasure")
async def answer_erasure(request: Request, offer: UUID, sent: AnyoneSent) -> Response:
    visit = await _visit(sent, offer)
    if visit is None:
        return _over(sent, offer)
    try:
        body = _answer_in(sent.form)
    except Incomplete as error:
        return sent.again("intake/disclosure/erasure.html", error, sent.form, offer=offer, **_answers())
    await copies_api.answer_on_page(request, visit.ticket, body)
    return sent.see(_path(offer), done="answered")


def _answer_in(form: Form) -> Acknowledgement:
    """What is asked for one of the answers only counts with that one. Raises Incomplete."""
    given: dict[str, str | None] = {"answer": form.one("answer")}
    if given["answer"] == ErasureAnswer.RETAINED_BY_LAW:
        given |= {name: form.some(name) for name in ("reason", "law")}
        if missing := {name: forms.SAID["missing"] for name in ("reason", "law") if given[name] is None}:
            raise Incomplete(missing)
    return forms.read(Acknowledgement, given)


def _answers() -> dict[str, Any]:
    return {
        "answers": [one for one in ErasureAnswer if one is not ErasureAnswer.UNKNOWN],
        "reasons": [one for one in KeptBecause if one is not KeptBecause.UNKNOWN],
    }


# --- whose visit it is ------------------------------------------------------------------------------------------------


async def _visit(at: At, offer: UUID) -> Visit | None:
    """The visit that the browser has open, with what is known of its organisation now. None where it has ended. Raises
    Refusal `suspended`, `scope`, `not-found`."""
    opener = at.request.cookies.get(COOKIE)
    if not opener:
        return None
    async with at.door.db.transaction("packet.visit") as tx:
        found = await visits.find(tx, opener, offer)
    if found is None or (found.visitor is not None and (at.visitor is None or at.visitor.session != found.visitor)):
        return None
    organisation = found.ticket.facts.organisation
    _own(at, organisation)
    if await at.door.suspended(organisation):
        raise Refusal("suspended")
    if at.visitor is None:
        return found
    return replace(found, ticket=found.ticket.model_copy(update={"facts": at.visitor.facts}))


def _own(at: At, organisation: UUID) -> None:
    """Somebody who is signed in here looks at their own organisation's packets only. Raises Refusal `not-found`, `scope`."""
    if at.visitor is None:
        return
    if at.visitor.org != organisation:
        raise Refusal("not-found")
    if RECEIVE not in at.visitor.scopes:
        raise Refusal("scope")


def _over(at: At, offer: UUID) -> Response:
    return at.page("intake/disclosure/over.html", status=HTTPStatus.GONE, offer=offer)


def _path(offer: UUID) -> str:
    return f"/intake/pages/packets/{offer}"
