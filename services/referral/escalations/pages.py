"""The coordinator's pages: what needs a person, and what that person may do. They work while the bus does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from schemas.questions import Candidate
from services.referral.escalations import api
from services.referral.escalations.api import SCOPE, EscalationView
from services.referral.partners import store as partners
from services.referral.referrals import copies_api, store
from services.referral.referrals.domain import REFERRAL, Action, State
from spean.web import forms, lists
from spean.web.forms import Incomplete
from spean.web.lists import Typed
from spean.web.pages import At, Sent, at_with, page_router, sent_with

LIST = "/referral/pages/escalations"
# Houses that a coordinator chooses from; nearest first, as the machine would ask them.
_HOUSES_MOST = 1_000
router = page_router("coordinator's pages")
Coordinator = Annotated[At, Depends(at_with(SCOPE))]
CoordinatorSent = Annotated[Sent, Depends(sent_with(SCOPE))]


@router.get("/escalations")
async def escalations(request: Request, at: Coordinator, after: UUID | None = None) -> Response:
    """First what nobody has taken, the nearest deadline on top."""
    found = (await api.list_escalations(request, at.caller, after)).escalations
    shown = found[: lists.MOST]
    more = shown[-1].referral if len(found) > len(shown) else None
    late = (await copies_api.list_late_copies(request, at.caller)).copies if after is None else ()
    return at.page(
        "referral/escalations/list.html", escalations=shown, more=more, after=after, me=at.caller.client, late=late,
        names=await _names(at, {one.network for one in late}),
    )  # fmt: skip


async def _names(at: At, networks: set[UUID]) -> dict[UUID, str]:
    """What the members of these networks are called: the network's, read as the service."""
    if not networks:
        return {}
    async with at.door.db.transaction("page.names") as tx:
        return {one.id: one.name for one in await partners.members_of(tx, networks)}


@router.get("/escalations/{referral}")
async def escalation(request: Request, referral: UUID, at: Coordinator, q: Typed = "") -> Response:
    """`q`: a part of the name of a house that may be asked."""
    return await _page(request, at, referral, q)


async def _page(request: Request, at: At, referral: UUID, q: str = "", error: Incomplete | None = None) -> Response:
    """Raises Refusal `not-found`."""
    one = await api.escalation_shown(request, at.caller, referral)
    shown: dict[str, Any] = {"one": one, "me": at.caller.client, "may": _may(one), **await _around(at, one, q)}
    if error is None or not isinstance(at, Sent):
        return at.page("referral/escalations/one.html", **shown)
    return at.again("referral/escalations/one.html", error, at.form, **shown)


def _may(one: EscalationView) -> set[str]:
    """Which of the actions the state of the referral allows."""
    may = {"take"}
    if (one.state, Action.REOPEN) in REFERRAL:
        may |= {"ask-again", "ask"}
    if (one.state, Action.PAUSE) in REFERRAL and one.state in {State.UNROUTABLE, State.REQUESTED}:
        may.add("hand-back")
    if one.state is State.IN_PROGRESS and one.arrival_verified is False:
        may.add("confirm-arrival")
    if one.may_close:
        may.add("close")
    return may


async def _around(at: At, one: EscalationView, q: str) -> dict[str, object]:
    """The houses with room, and their names: the network's, read as the service."""
    async with at.door.db.transaction("page.escalation") as tx:
        found = await store.find_referral(tx, one.referral)
        names = {organisation.id: organisation.name for organisation in await partners.members_of(tx, {found.network})}
        # As if nobody had been asked: a coordinator may ask again who has said no.
        houses: list[Candidate] = await store.candidates(tx, replace(found, asked_from=tx.now), _HOUSES_MOST)
    by_place = {house.place: house for house in houses}
    called = [(place, (names.get(house.organisation.organisation, ""),)) for place, house in by_place.items()]
    part = lists.part(called, q=q, ordered=True)
    return {"names": names, "part": part, "houses": [by_place[place] for place in part.ids]}


@router.post("/escalations/{referral}/take")
async def take(referral: UUID, sent: CoordinatorSent) -> Response:
    await api.take(referral, sent.command())
    return sent.see(f"{LIST}/{referral}", done="taken")


@router.post("/escalations/{referral}/ask-again")
async def ask_again(referral: UUID, sent: CoordinatorSent) -> Response:
    await api.ask_again(referral, sent.command())
    return sent.see(LIST, done="asked")


@router.post("/escalations/{referral}/ask")
async def ask_named(request: Request, referral: UUID, sent: CoordinatorSent) -> Response:
    try:
        body = forms.read(api.AskNamed, {"place": sent.form.some("place")})
    except Incomplete as error:
        return await _page(request, sent, referral, error=error)
    await api.ask_named(request, referral, body, sent.command())
    return sent.see(LIST, done="asked")


@router.post("/escalations/{referral}/confirm-arrival")
async def confirm_arrival(referral: UUID, sent: CoordinatorSent) -> Response:
    await api.confirm_arrival(referral, sent.command())
    return sent.see(LIST, done="saved")


@router.get("/escalations/{referral}/close")
async def really_close(request: Request, referral: UUID, at: Coordinator) -> Response:
    """What will happen; where there is no need for it, the page of the escalation."""
    one = await api.escalation_shown(request, at.caller, referral)
    if not one.may_close:
        return at.see(f"{LIST}/{referral}")
    return at.page("referral/escalations/close.html", one=one)


@router.post("/escalations/{referral}/close")
async def close(referral: UUID, sent: CoordinatorSent) -> Response:
    await api.close(referral, sent.command())
    return sent.see(LIST, done="closed")


@router.post("/escalations/{referral}/hand-back")
async def hand_back(referral: UUID, sent: CoordinatorSent) -> Response:
    await api.hand_back(referral, sent.command())
    return sent.see(LIST, done="handed-back")
