"""The receiver's and the coordinator's API: offers, arrival, outcome, escalations. Reads as the organisation itself."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from schemas import questions as q
from schemas.vocabulary import (
    DeclineReason,
    EscalationReason,
    Outcome,
    ReasonFamily,
    ServiceGroup,
    Urgency,
)
from services.referral.partners import store as partners
from services.referral.places import store as places
from services.referral.referrals import domain, handlers, store
from services.referral.referrals.domain import Offer, OfferState, State
from spean.ask import Holders, HolderSilent
from spean.auth import TICKET_S, Caller, Signer
from spean.db import Database, Tx
from spean.http import Body, Command, Reply, View, caller_with, command_with, expect_version, read_reply
from spean.problem import Refusal

RECEIVE, SEND, COORDINATE = "referral:receive", "referral:send", "referral:coordinate"
router = APIRouter(tags=["offers"])


class OfferView(View):
    """One offer as its organisation sees it; `content` is what the holder's gate allows at this moment."""

    id: UUID
    state: OfferState
    referral_state: State
    service_group: ServiceGroup
    places: int
    place: UUID
    answer_by: datetime
    version: int
    content: q.OfferContent | None = Field(default=None, description="absent where the holder did not answer in time")


class OffersView(View):
    offers: tuple[OfferView, ...]


class StateView(View):
    id: UUID
    state: OfferState
    referral_state: State
    version: int


class Decline(Body):
    reason: DeclineReason


class Arrival(Body):
    code: Annotated[
        str | None, Field(pattern=r"^[0-9]{4,12}$", description="the hand-over code, if the person has it")
    ] = None


class OutcomeBody(Body):
    outcome: Outcome


class TicketView(View):
    """Where the packet is, and a ticket that opens it there for a minute."""

    dataref: str
    ticket: str
    expires_in_s: int


def _db(request: Request) -> Database:
    db: Database = request.app.state.door.db
    return db


def _holders(request: Request) -> Holders:
    holders: Holders = request.app.state.holders
    return holders


Receiver = Annotated[Caller, Depends(caller_with(RECEIVE))]
Coordinator = Annotated[Caller, Depends(caller_with(COORDINATE))]
ReceiverCommand = Annotated[Command, Depends(command_with(RECEIVE))]
CoordinatorCommand = Annotated[Command, Depends(command_with(COORDINATE))]


@router.get("/offers")
async def list_offers(
    request: Request,
    caller: Receiver,
    state: Annotated[list[OfferState] | None, Query(description="default: what is open or accepted")] = None,
) -> OffersView:
    """Offers to my organisation, what is due first on top, with what may be read of each now (at most 50)."""
    wanted = [str(one) for one in state or (OfferState.SENT, OfferState.SEEN, OfferState.ACCEPTED)]
    async with _db(request).transaction("offers.list", org=caller.org) as tx:
        rows = await store.offers_for(tx, caller.org, wanted, q.MAX_BATCH)
        facts = await partners.facts_of(tx, caller.org)
    contents = await _contents(_holders(request), facts, rows)
    unseen = [row["id"] for row in rows if row["state"] == OfferState.SENT and row["id"] in contents]
    if unseen:
        async with _db(request).transaction("offers.see", org=caller.org) as tx:
            await handlers.see(tx, unseen)
    return OffersView(offers=tuple(_view(row, contents.get(row["id"])) for row in rows))


async def _contents(
    holders: Holders, facts: q.OrganisationFacts, rows: list[asyncpg.Record]
) -> dict[UUID, q.OfferContent]:
    """What may be read now: one question per holder; a silent holder's offers stay without content."""
    found: dict[UUID, q.OfferContent] = {}
    for holder in sorted({row["holder"] for row in rows}):
        references = tuple(
            q.OfferReference(offer=row["id"], referral=row["referral"]) for row in rows if row["holder"] == holder
        )
        question = q.ReadableOffersQuestion(organisation=facts, offers=references)
        try:
            answer = await holders.ask(holder, "readable-offers", question, q.ReadableOffersAnswer)
        except HolderSilent:
            continue
        found.update({content.offer: content for content in answer.offers})
    return found


def _view(row: asyncpg.Record, content: q.OfferContent | None) -> OfferView:
    return OfferView(
        id=row["id"], state=row["state"], referral_state=row["referral_state"], service_group=row["service_group"],
        places=row["places"], place=row["place"], answer_by=row["answer_by"], version=row["version"], content=content,
    )  # fmt: skip


@router.get("/offers/{offer}")
async def read_offer(request: Request, offer: UUID, caller: Receiver) -> Response:
    """One offer's state and version."""
    async with _db(request).transaction("offer.read", org=caller.org) as tx:
        found = await _own(tx, offer, caller)
        referral = await store.find_referral(tx, found.referral)
    return read_reply(_state(found, referral))


async def _own(tx: Tx, id_: UUID, caller: Caller) -> Offer:
    found = await store.find_offer(tx, id_)
    if found.organisation != caller.org:
        raise Refusal("not-found")
    return found


def _state(offer: Offer, referral: domain.Referral) -> Reply:
    mine = referral.offer == offer.id
    shown = StateView(
        id=offer.id,
        state=offer.state,
        referral_state=referral.state if mine else State.CANCELLED,
        version=offer.version,
    )
    return Reply(shown, offer.version)


async def _after(tx: Tx, id_: UUID) -> Reply:
    offer = await store.find_offer(tx, id_)
    return _state(offer, await store.find_referral(tx, offer.referral))


async def _question_facts(
    request: Request, command: Command, id_: UUID
) -> tuple[Offer, domain.Referral, q.OrganisationFacts]:
    """What a question about one of the caller's offers needs, read before it is asked."""
    async with _db(request).transaction("offer.question", org=command.caller.org) as tx:
        offer = await _own(tx, id_, command.caller)
        return offer, await store.find_referral(tx, offer.referral), await partners.facts_of(tx, command.caller.org)


@router.post("/offers/{offer}/accept")
async def accept(request: Request, offer: UUID, command: ReceiverCommand) -> Response:
    """Accept, which takes the places. The holder is asked first; where it does not answer, nothing has changed."""
    if (kept := await command.answered()) is not None:
        return kept
    found, referral, facts = await _question_facts(request, command, offer)
    if found.state not in domain.OPEN:
        raise Refusal("no-longer-available")
    async with _db(request).transaction("offer.place", org=command.caller.org) as tx:
        place = await places.find_place(tx, found.place)
    question = q.MayAcceptQuestion(
        organisation=facts, offer=offer, referral=referral.id, place=place.id, eligibility=place.eligibility
    )
    if not (await _holders(request).ask(referral.holder, "may-accept", question, q.MayAcceptAnswer)).allowed:
        raise Refusal("no-longer-available")

    async def work(tx: Tx) -> Reply:
        locked, mine = await handlers.lock_open(tx, offer, command.caller.org)
        expect_version(command, mine.version)
        await handlers.accept(tx, locked, mine)
        return await _after(tx, offer)

    return await command.run("offer.accept", work)


@router.post("/offers/{offer}/decline")
async def decline(request: Request, offer: UUID, body: Decline, command: ReceiverCommand) -> Response:
    """Decline with a coded reason, kept at the holder; the next organisation is asked. Goes through even where the
    holder does not answer."""
    if (kept := await command.answered()) is not None:
        return kept
    found, referral, facts = await _question_facts(request, command, offer)

    async def work(tx: Tx) -> Reply:
        locked, mine = await handlers.lock_open(tx, offer, command.caller.org)
        expect_version(command, mine.version)
        await handlers.decline(tx, locked, mine, body.reason)
        return await _after(tx, offer)

    done = await command.run("offer.decline", work)
    detail = q.DetailQuestion(organisation=facts, offer=found.id, referral=referral.id, decline=body.reason)
    try:
        await _holders(request).ask(referral.holder, "detail", detail, q.DetailAnswer)
    except HolderSilent:
        return done  # the family is enough for the network; the detail is lost rather than kept where it must not be
    return done


@router.post("/offers/{offer}/ticket")
async def ticket(request: Request, offer: UUID, command: ReceiverCommand) -> Response:
    """A ticket for reading the packet at its holder: valid for a minute, for this offer and organisation only."""
    found, referral, facts = await _question_facts(request, command, offer)
    if found.state is not OfferState.ACCEPTED:
        raise Refusal("state")
    signer: Signer = request.app.state.signer
    claims = q.PacketTicket(offer=offer, referral=referral.id, facts=facts).model_dump(mode="json")
    signed = signer.sign(f"packet:{referral.holder}", TICKET_S, {"sub": str(command.caller.org), "packet": claims})
    address = f"{_holders(request).address(referral.holder)}/packets/{offer}"
    return read_reply(Reply(TicketView(dataref=address, ticket=signed, expires_in_s=TICKET_S)))


@router.post("/offers/{offer}/arrived")
async def arrived(request: Request, offer: UUID, body: Arrival, command: ReceiverCommand) -> Response:
    """The person is there. With the hand-over code the arrival is verified; without it, or where the holder does not
    answer, it is recorded as unverified: nobody waits at a door."""
    if (kept := await command.answered()) is not None:
        return kept
    found, referral, facts = await _question_facts(request, command, offer)
    verified = False
    if body.code is not None and found.state is OfferState.ACCEPTED:
        question = q.HandOverCodeQuestion(organisation=facts, offer=offer, referral=referral.id, code=body.code)
        try:
            answer = await _holders(request).ask(referral.holder, "hand-over-code", question, q.HandOverCodeAnswer)
        except HolderSilent:
            answer = None
        if answer is not None and answer.result is not q.CodeResult.RIGHT:
            raise Refusal("code-wrong" if answer.result is q.CodeResult.WRONG else "code-locked")
        verified = answer is not None

    async def work(tx: Tx) -> Reply:
        locked, mine = await handlers.lock_accepted(tx, offer, command.caller.org)
        expect_version(command, mine.version)
        await handlers.arrive(tx, locked, mine, verified=verified)
        return await _after(tx, offer)

    return await command.run("offer.arrived", work)


@router.post("/offers/{offer}/outcome")
async def outcome(request: Request, offer: UUID, body: OutcomeBody, command: ReceiverCommand) -> Response:
    """How it ended. The holder keeps the outcome; the places are free again."""
    if (kept := await command.answered()) is not None:
        return kept
    found, referral, facts = await _question_facts(request, command, offer)
    if found.state is not OfferState.ACCEPTED or (referral.state, domain.Action.COMPLETE) not in domain.REFERRAL:
        raise Refusal("state")
    detail = q.DetailQuestion(organisation=facts, offer=offer, referral=referral.id, outcome=body.outcome)
    await _holders(request).ask(referral.holder, "detail", detail, q.DetailAnswer)

    async def work(tx: Tx) -> Reply:
        locked, mine = await handlers.lock_accepted(tx, offer, command.caller.org)
        expect_version(command, mine.version)
        await handlers.complete(tx, locked, mine)
        return await _after(tx, offer)

    return await command.run("offer.outcome", work)


class DepartedView(View):
    id: UUID
    state: State
    departed_at: datetime | None
    version: int


@router.post("/referrals/{referral}/departed", tags=["sender"])
async def departed(referral: UUID, command: Annotated[Command, Depends(command_with(SEND))]) -> Response:
    """The sender says that the person has set out."""

    async def work(tx: Tx) -> Reply:
        after = await handlers.depart(tx, referral, command.caller.org)
        shown = DepartedView(id=referral, state=after.state, departed_at=after.departed_at, version=after.version + 1)
        return Reply(shown, after.version + 1)

    return await command.run("referral.departed", work)


# --- coordinators -------------------------------------------------------------------------------------------------


class AskedView(View):
    organisation: UUID
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
    version: int
    asked: tuple[AskedView, ...] = ()


class EscalationsView(View):
    escalations: tuple[EscalationView, ...]


class AskNamed(Body):
    place: UUID


class ActedView(View):
    referral: UUID
    state: State
    offer: UUID | None = None


def _escalation(r: domain.Referral, asked: list[Offer]) -> EscalationView:
    assert r.escalated is not None  # noqa: S101 (only escalated referrals are shown here)
    return EscalationView(
        referral=r.id, state=r.state, reason=r.escalated, taken_by=r.taken_by, service_group=r.service_group,
        urgency=r.urgency, area=r.area, places=r.places, deadline=r.deadline, version=r.version,
        asked=tuple(
            AskedView(organisation=o.organisation, state=o.state, reason=o.reason, sent_at=o.sent_at,
                      answered_at=o.answered_at) for o in asked
        ),
    )  # fmt: skip


@router.get("/escalations", tags=["coordinator"])
async def list_escalations(request: Request, caller: Coordinator) -> EscalationsView:
    """What needs a person in my networks, the nearest deadline first (at most 50)."""
    async with _db(request).transaction("escalations.list", org=caller.org) as tx:
        found = await store.escalated_for(tx, caller.org, q.MAX_BATCH)
        views = [_escalation(one, await store.offers_of(tx, one.id)) for one in found]
    return EscalationsView(escalations=tuple(views))


@router.get("/escalations/{referral}", tags=["coordinator"])
async def read_escalation(request: Request, referral: UUID, caller: Coordinator) -> Response:
    async with _db(request).transaction("escalation.read", org=caller.org) as tx:
        found = await store.find_referral(tx, referral)
        if found.coordinator != caller.org or found.escalated is None:
            raise Refusal("not-found")
        shown = _escalation(found, await store.offers_of(tx, referral))
    return read_reply(Reply(shown, found.version))


@router.post("/escalations/{referral}/take", tags=["coordinator"])
async def take(referral: UUID, command: CoordinatorCommand) -> Response:
    """Own it: reminders stop."""

    async def work(tx: Tx) -> Reply:
        locked = await _locked(tx, referral, command)
        after = await handlers.take(tx, locked, command.caller.client)
        return Reply(ActedView(referral=referral, state=after.state))

    return await command.run("escalation.take", work)


@router.post("/escalations/{referral}/ask-again", tags=["coordinator"])
async def ask_again(referral: UUID, command: CoordinatorCommand) -> Response:
    """Ask the network again, from the top of what the gate allows."""

    async def work(tx: Tx) -> Reply:
        after = await handlers.ask_again(tx, await _locked(tx, referral, command))
        return Reply(ActedView(referral=referral, state=after.state))

    return await command.run("escalation.ask_again", work)


@router.post("/escalations/{referral}/ask", tags=["coordinator"])
async def ask_named(request: Request, referral: UUID, body: AskNamed, command: CoordinatorCommand) -> Response:
    """Ask a named house, if the gate allows it."""
    if (kept := await command.answered()) is not None:
        return kept
    async with _db(request).transaction("escalation.look", org=command.caller.org) as tx:
        found = await store.find_referral(tx, referral)
        if found.coordinator != command.caller.org:
            raise Refusal("not-found")
    # The directory is the network's, not the coordinator's rows: it is read as the service.
    async with _db(request).transaction("escalation.place") as tx:
        row = await store.candidate_place(tx, found, body.place)
    if row is None:
        raise Refusal("place-gone")
    question = q.NextCandidateQuestion(referral=referral, candidates=(handlers.candidate(row),))
    answer = await _holders(request).ask(found.holder, "next-candidate", question, q.NextCandidateAnswer)
    if answer.place is None:
        raise Refusal("not-allowed-now")

    async def work(tx: Tx) -> Reply:
        locked = await _locked(tx, referral, command)
        offer = await handlers.ask_named(tx, locked, row["organisation"], row["id"])
        return Reply(ActedView(referral=referral, state=State.OFFERED, offer=offer))

    return await command.run("escalation.ask", work)


@router.post("/escalations/{referral}/hand-back", tags=["coordinator"])
async def hand_back(referral: UUID, command: CoordinatorCommand) -> Response:
    """Give it back to the sender, who owns it again."""

    async def work(tx: Tx) -> Reply:
        after = await handlers.hand_back(tx, await _locked(tx, referral, command))
        return Reply(ActedView(referral=referral, state=after.state))

    return await command.run("escalation.hand_back", work)


async def _locked(tx: Tx, referral: UUID, command: Command) -> domain.Referral:
    locked = await handlers.lock_escalated(tx, referral, command.caller.org)
    expect_version(command, locked.version)
    return locked
