"""The coordinator's API: what needs a person, and what that person may do. Read from the network's own database, so that
it works while the bus does not."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from schemas import questions as q
from schemas.vocabulary import EscalationReason, ReasonFamily, ServiceGroup, Urgency
from services.referral.escalations import handlers
from services.referral.referrals import decisions, store
from services.referral.referrals.domain import REFERRAL, Action, Offer, OfferState, Referral, State
from spean.ask import Holders
from spean.auth import Caller
from spean.db import Database, Tx
from spean.http import Body, Command, Reply, View, caller_with, command_with, expect_version, read_reply
from spean.ids import opaque_id
from spean.problem import Refusal

SCOPE = "referral:coordinate"
router = APIRouter(tags=["coordinator"], prefix="/escalations")
Coordinator = Annotated[Caller, Depends(caller_with(SCOPE))]
CoordinatorCommand = Annotated[Command, Depends(command_with(SCOPE))]


class AskedView(View):
    organisation: UUID
    place: UUID
    state: OfferState
    reason: ReasonFamily | None
    sent_at: datetime
    answered_at: datetime | None


class EscalationView(View):
    """A referral that needs a person: the work's data only."""

    referral: UUID
    state: State
    reason: EscalationReason
    taken_by: str | None
    service_group: ServiceGroup
    urgency: Urgency
    area: str
    places: int
    deadline: datetime
    arrival_verified: bool | None = Field(description="absent where nobody has arrived yet")
    may_close: bool = Field(description="the house of somebody who arrived says nothing more")
    version: int
    asked: tuple[AskedView, ...] = ()


class EscalationsView(View):
    escalations: tuple[EscalationView, ...]


class AskNamed(Body):
    place: UUID


class ActedView(View):
    """The referral after an action. `offer`: the one that was sent, where a named house was asked."""

    referral: UUID
    state: State
    version: int
    offer: UUID | None = None


def _view(r: Referral, asked: list[Offer]) -> EscalationView:
    assert r.escalated is not None  # noqa: S101 (only escalated referrals are shown here)
    return EscalationView(
        referral=r.id, state=r.state, reason=r.escalated, taken_by=r.taken_by, service_group=r.service_group,
        urgency=r.urgency, area=r.area, places=r.places, deadline=r.deadline, arrival_verified=r.arrival_verified,
        may_close=decisions.may_close(r), version=r.version,
        asked=tuple(
            AskedView(organisation=o.organisation, place=o.place, state=o.state, reason=o.reason, sent_at=o.sent_at,
                      answered_at=o.answered_at) for o in asked
        ),
    )  # fmt: skip


@router.get("")
async def list_escalations(
    request: Request,
    caller: Coordinator,
    after: Annotated[UUID | None, Query(description="go on behind this referral, the last one read")] = None,
) -> EscalationsView:
    """What needs a person in my networks: first what nobody has taken, the nearest deadline on top (50 at a time)."""
    db: Database = request.app.state.door.db
    async with db.transaction("escalations.list", org=caller.org) as tx:
        found = await store.escalated_for(tx, caller.org, after, q.MAX_BATCH)
        views = [_view(one, await store.offers_of(tx, one.id)) for one in found]
    return EscalationsView(escalations=tuple(views))


@router.get("/{referral}", response_model=EscalationView)
async def read_escalation(request: Request, referral: UUID, caller: Coordinator) -> Response:
    """One referral that needs a person, with its version."""
    shown = await escalation_shown(request, caller, referral)
    return read_reply(Reply(shown, shown.version))


async def escalation_shown(request: Request, caller: Caller, referral: UUID) -> EscalationView:
    """Raises Refusal `not-found`."""
    db: Database = request.app.state.door.db
    async with db.transaction("escalation.read", org=caller.org) as tx:
        found = await store.find_referral(tx, referral)
        if found.coordinator != caller.org or found.escalated is None:
            raise Refusal("not-found")
        return _view(found, await store.offers_of(tx, referral))


@router.post("/{referral}/take", response_model=ActedView)
async def take(referral: UUID, command: CoordinatorCommand) -> Response:
    """Own it: reminders stop for the network's `taken_s`."""

    async def work(tx: Tx) -> Reply:
        await handlers.take(tx, await _locked(tx, referral, command), command.caller.client)
        return await _acted(tx, referral)

    return await command.run("escalation.take", work)


@router.post("/{referral}/ask-again", response_model=ActedView)
async def ask_again(referral: UUID, command: CoordinatorCommand) -> Response:
    """Ask the network again, also those who declined or did not answer."""

    async def work(tx: Tx) -> Reply:
        await handlers.ask_again(tx, await _locked(tx, referral, command))
        return await _acted(tx, referral)

    # As the service: it may free the places that a suspended house still holds.
    return await command.run_as_service("escalation.ask_again", work)


@router.post("/{referral}/ask", response_model=ActedView)
async def ask_named(request: Request, referral: UUID, body: AskNamed, command: CoordinatorCommand) -> Response:
    """Ask a named house, if the gate allows it."""
    if (kept := await command.answered()) is not None:
        return kept
    db: Database = request.app.state.door.db
    holders: Holders = request.app.state.holders
    async with db.transaction("escalation.look", org=command.caller.org) as tx:
        found = await _locked(tx, referral, command)
        if (found.state, Action.REOPEN) not in REFERRAL:
            raise Refusal("state")
    # The directory is the network's, not the coordinator's rows: it is read, and written to, as the service.
    async with db.transaction("escalation.place") as tx:
        named = await store.candidate_place(tx, found, body.place)
    if named is None:
        raise Refusal("place-gone")
    offer = opaque_id()
    question = q.NextCandidateQuestion(referral=referral, candidates=(named,), offer=offer)
    answer = await holders.ask(found.holder, "next-candidate", question, q.NextCandidateAnswer)
    if answer.place != named.place:
        raise Refusal("not-allowed-now")

    async def work(tx: Tx) -> Reply:
        locked = await _locked(tx, referral, command)
        if locked.version != found.version:  # perhaps by a stop, after the holder had said yes
            raise Refusal("not-allowed-now")
        if await store.candidate_place(tx, locked, body.place) is None:
            raise Refusal("place-gone")
        await handlers.ask_named(tx, locked, named, offer)
        return await _acted(tx, referral, offer)

    return await command.run_as_service("escalation.ask", work)


@router.post("/{referral}/confirm-arrival", response_model=ActedView)
async def confirm_arrival(referral: UUID, command: CoordinatorCommand) -> Response:
    """Somebody who arrived without the hand-over code is who was awaited: made sure of in another way."""

    async def work(tx: Tx) -> Reply:
        await handlers.confirm_arrival(tx, await _locked(tx, referral, command), command.caller.client)
        return await _acted(tx, referral)

    return await command.run("escalation.confirm_arrival", work)


@router.post("/{referral}/close", response_model=ActedView)
async def close(referral: UUID, command: CoordinatorCommand) -> Response:
    """End it where the house of somebody who arrived says nothing more (no outcome in its time, or shut out), so that the person
    can be erased. How it ended stays unknown, and the places count as taken until the house counts anew."""

    async def work(tx: Tx) -> Reply:
        await handlers.close(tx, await _locked(tx, referral, command), command.caller.client)
        return await _acted(tx, referral)

    # As the service: it counts the house's places.
    return await command.run_as_service("escalation.close", work)


@router.post("/{referral}/hand-back", response_model=ActedView)
async def hand_back(referral: UUID, command: CoordinatorCommand) -> Response:
    """Give it back to the sender, who owns it again."""

    async def work(tx: Tx) -> Reply:
        await handlers.hand_back(tx, await _locked(tx, referral, command))
        return await _acted(tx, referral)

    return await command.run("escalation.hand_back", work)


async def _locked(tx: Tx, referral: UUID, command: Command) -> Referral:
    locked = await handlers.lock_escalated(tx, referral, command.caller.org)
    expect_version(command, locked.version)
    return locked


async def _acted(tx: Tx, referral: UUID, offer: UUID | None = None) -> Reply:
    after = await store.find_referral(tx, referral)
    return Reply(ActedView(referral=referral, state=after.state, version=after.version, offer=offer), after.version)
