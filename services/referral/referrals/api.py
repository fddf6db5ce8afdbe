"""The receiver's API: offers, arrival, outcome; and the sender's word that a person has set out. Reads as the
organisation itself."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from schemas import questions as q
from schemas.vocabulary import DeclineReason, Outcome, ServiceGroup
from services.referral.partners import store as partners
from services.referral.places import store as places
from services.referral.referrals import copies, domain, handlers, store
from services.referral.referrals.domain import Action, Offer, OfferState, Referral, State
from spean.ask import Holders, HolderSilent
from spean.auth import TICKET_S, Caller, Kind, Signer
from spean.db import Database, Tx
from spean.http import Body, Command, Reply, View, caller_with, command_with, expect_version, read_reply
from spean.problem import Refusal

RECEIVE, SEND = "referral:receive", "referral:send"
router = APIRouter(tags=["offers"])


class OfferView(View):
    """One offer as its organisation sees it; `content` is what the holder's gate allows at this moment."""

    id: UUID
    state: OfferState
    referral_state: State = Field(description="`cancelled` for everything that is no longer with this organisation")
    speak_with_person: bool = Field(
        description="the sender or the person has ended it after arrival: speak with the person, then record the outcome"
    )
    service_group: ServiceGroup
    places: int
    place: UUID
    answer_by: datetime
    arrival_verified: bool | None = Field(default=None, description="absent where nobody has arrived here")
    version: int
    content: q.OfferContent | None = Field(default=None, description="absent where the holder did not answer in time")


class OffersView(View):
    offers: tuple[OfferView, ...]


class StateView(View):
    """Where an offer stands for its organisation; the fields are those of `OfferView`."""

    id: UUID
    state: OfferState
    referral_state: State
    speak_with_person: bool
    version: int


class Decline(Body):
    reason: DeclineReason


class Arrival(Body):
    code: Annotated[
        str | None, Field(pattern=r"^[0-9]{4,12}$", description="the hand-over code, if the person has it")
    ] = None


class Code(Body):
    code: Annotated[str, Field(pattern=r"^[0-9]{4,12}$", description="the hand-over code")]


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
ReceiverCommand = Annotated[Command, Depends(command_with(RECEIVE))]


@router.get("/offers")
async def list_offers(
    request: Request,
    caller: Receiver,
    state: Annotated[list[OfferState] | None, Query(description="default: what is open or accepted")] = None,
    after: Annotated[UUID | None, Query(description="go on behind this offer, the last one read")] = None,
) -> OffersView:
    """Offers to my organisation with what may be read of each now: open ones first, what is due first on top (50 at a
    time)."""
    wanted = [str(one) for one in state or (OfferState.SENT, OfferState.SEEN, OfferState.ACCEPTED)]
    async with _db(request).transaction("offers.list", org=caller.org) as tx:
        rows = await store.offers_for(tx, caller.org, wanted, after, q.MAX_BATCH)
        facts = await partners.facts_of(tx, caller.org)
    return OffersView(offers=await _shown(request, facts, rows))


async def offer_shown(request: Request, caller: Caller, offer: UUID) -> OfferView:
    """One offer to the caller's organisation, as in the list. Raises Refusal `not-found`."""
    async with _db(request).transaction("offer.show", org=caller.org) as tx:
        row = await store.offer_for(tx, caller.org, offer)
        facts = await partners.facts_of(tx, caller.org)
    return (await _shown(request, facts, [row]))[0]


async def _shown(request: Request, facts: q.OrganisationFacts, rows: list[asyncpg.Record]) -> tuple[OfferView, ...]:
    """Offers with what may be read of each now by the organisation that they are for; those that are open are seen from
    now on."""
    contents = await _contents(_holders(request), facts, [row for row in rows if row["current"] == row["id"]])
    unseen = {row["id"] for row in rows if row["state"] == OfferState.SENT and row["id"] in contents}
    seen: dict[UUID, Offer] = {}
    if unseen:
        async with _db(request).transaction("offers.see", org=facts.organisation) as tx:
            seen = await handlers.see(tx, unseen)
    return tuple(_view(row, seen.get(row["id"]), contents.get(row["id"])) for row in rows)


async def _contents(
    holders: Holders, facts: q.OrganisationFacts, rows: list[asyncpg.Record]
) -> dict[UUID, q.OfferContent]:
    """What may be read now: one question per holder; a silent holder's offers stay without content."""

    async def ask(holder: str) -> tuple[q.OfferContent, ...]:
        references = tuple(
            q.OfferReference(offer=row["id"], referral=row["referral"]) for row in rows if row["holder"] == holder
        )
        question = q.ReadableOffersQuestion(organisation=facts, offers=references)
        try:
            return (await holders.ask(holder, "readable-offers", question, q.ReadableOffersAnswer)).offers
        except HolderSilent:
            return ()

    answers = await asyncio.gather(*(ask(holder) for holder in sorted({row["holder"] for row in rows})))
    return {content.offer: content for answer in answers for content in answer}


def _view(row: asyncpg.Record, seen: Offer | None, content: q.OfferContent | None) -> OfferView:
    mine = row["current"] == row["id"]
    return OfferView(
        id=row["id"], state=seen.state if seen else row["state"],
        referral_state=row["referral_state"] if mine else State.CANCELLED, speak_with_person=mine and row["ending"],
        service_group=row["service_group"], places=row["places"], place=row["place"], answer_by=row["answer_by"],
        arrival_verified=row["arrival_verified"] if mine else None,
        version=seen.version if seen else row["version"], content=content,
    )  # fmt: skip


@router.get("/offers/{offer}", response_model=StateView)
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


def _state(offer: Offer, referral: Referral) -> Reply:
    """What became of a referral that is no longer with this organisation is not told: it ended, whatever ended it."""
    mine = referral.offer == offer.id
    shown = StateView(
        id=offer.id, state=offer.state, referral_state=referral.state if mine else State.CANCELLED,
        speak_with_person=mine and referral.ending, version=offer.version,
    )  # fmt: skip
    return Reply(shown, offer.version)


async def _after(tx: Tx, id_: UUID) -> Reply:
    offer = await store.find_offer(tx, id_)
    return _state(offer, await store.find_referral(tx, offer.referral))


async def _question_facts(
    request: Request, command: Command, id_: UUID, *, to_answer: bool = False
) -> tuple[Offer, Referral, q.OrganisationFacts]:
    """What a question about one of the caller's offers needs, read before it is asked: a question may count a try or
    keep a detail, so a stale version is refused first. `to_answer`: that there is nothing left to answer says more than
    that it has changed. Raises Refusal `not-found`, `no-longer-available`, `version`."""
    async with _db(request).transaction("offer.question", org=command.caller.org) as tx:
        return await _facts(tx, command, id_, to_answer=to_answer)


async def _facts(
    tx: Tx, command: Command, id_: UUID, *, to_answer: bool = False
) -> tuple[Offer, Referral, q.OrganisationFacts]:
    """As `_question_facts`, in a transaction that there is already."""
    offer = await _own(tx, id_, command.caller)
    if to_answer and offer.state not in domain.OPEN:
        raise Refusal("no-longer-available")
    expect_version(command, offer.version)
    return offer, await store.find_referral(tx, offer.referral), await partners.facts_of(tx, command.caller.org)


def _may(referral: Referral, offer: Offer, action: Action) -> None:
    """Raises Refusal `state` where the holder need not be asked, for it is refused anyway."""
    if offer.state is not OfferState.ACCEPTED or referral.offer != offer.id:
        raise Refusal("state")
    if (referral.state, action) not in domain.REFERRAL:
        raise Refusal("state")


@router.post("/offers/{offer}/accept", response_model=StateView)
async def accept(request: Request, offer: UUID, command: ReceiverCommand) -> Response:
    """Accept, which takes the places. The holder is asked first; where it does not answer, nothing has changed."""

    async def look(tx: Tx) -> tuple[Referral, q.OrganisationFacts, places.Place]:
        found, referral, facts = await _facts(tx, command, offer, to_answer=True)
        return referral, facts, await places.find_place(tx, found.place)

    before = await command.before("offer.question", look)
    if isinstance(before, Response):
        return before
    referral, facts, place = before
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


@router.post("/offers/{offer}/decline", response_model=StateView)
async def decline(request: Request, offer: UUID, body: Decline, command: ReceiverCommand) -> Response:
    """Decline with a coded reason, kept at the holder; the next organisation is asked. Goes through even where the
    holder does not answer."""
    if (kept := await command.answered()) is not None:
        return kept
    found, referral, facts = await _question_facts(request, command, offer, to_answer=True)

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


@router.post("/offers/{offer}/ticket", response_model=TicketView)
async def ticket(request: Request, offer: UUID, command: ReceiverCommand) -> Response:
    """A ticket for reading the packet at its holder: valid for a minute, for this offer and organisation only. Where the
    sender cancelled before arrival, or somebody else has the person by now, it only serves to say what became of a copy."""
    return read_reply(Reply(await packet_ticket(request, offer, command)))


async def packet_ticket(request: Request, offer: UUID, command: Command) -> TicketView:
    """Raises Refusal `not-found`, `version`, `state`."""
    found, referral, facts = await _question_facts(request, command, offer)
    if found.state is not OfferState.ACCEPTED:
        async with _db(request).transaction("offer.held", org=command.caller.org) as tx:
            over = referral.state is State.CANCELLED and await store.was_accepted(tx, offer)
            if not over and not await copies.was_asked(tx, offer):
                raise Refusal("state")
    async with _db(request).transaction("ticket.key") as tx:
        key = await partners.sealing_key(tx, command.caller.client)
        signs = await partners.signing_keys(tx, command.caller.client)
    signer: Signer = request.app.state.signer
    said = q.PacketTicketV2(offer=offer, facts=facts, seal_to=key, by=command.caller.client, signs=signs)
    claims = said.model_dump(mode="json")
    about = {"sub": str(command.caller.org), "packet": claims}
    signed = signer.sign(Kind.TICKET, f"packet:{referral.holder}", TICKET_S, about)
    address = f"{_holders(request).address(referral.holder)}/packets/{offer}"
    return TicketView(dataref=address, ticket=signed, expires_in_s=TICKET_S)


@router.post("/offers/{offer}/arrived", response_model=StateView)
async def arrived(request: Request, offer: UUID, body: Arrival, command: ReceiverCommand) -> Response:
    """The person is there. With the hand-over code the arrival is verified; without it, or where the holder does not
    answer, it is recorded as unverified: nobody waits at a door."""
    if (kept := await command.answered()) is not None:
        return kept
    found, referral, facts = await _question_facts(request, command, offer)
    _may(referral, found, Action.ARRIVE)
    verified = False
    if body.code is not None:
        question = q.HandOverCodeQuestion(organisation=facts, offer=offer, referral=referral.id, code=body.code)
        try:
            await _check_code(request, referral, question)
            verified = True
        except HolderSilent:
            verified = False

    async def work(tx: Tx) -> Reply:
        locked, mine = await handlers.lock_accepted(tx, offer, command.caller.org)
        expect_version(command, mine.version)
        await handlers.arrive(tx, locked, mine, verified=verified)
        return await _after(tx, offer)

    return await command.run("offer.arrived", work)


async def _check_code(request: Request, referral: Referral, question: q.HandOverCodeQuestion) -> None:
    """Raises Refusal `code-wrong`, `code-locked`, HolderSilent."""
    answer = await _holders(request).ask(referral.holder, "hand-over-code", question, q.HandOverCodeAnswer)
    if answer.result is not q.CodeResult.RIGHT:
        raise Refusal("code-wrong" if answer.result is q.CodeResult.WRONG else "code-locked")


@router.post("/offers/{offer}/verify-arrival", response_model=StateView)
async def verify_arrival(request: Request, offer: UUID, body: Code, command: ReceiverCommand) -> Response:
    """The hand-over code of somebody whose arrival was recorded without it. The holder is asked; where it does not answer,
    nothing has changed."""
    if (kept := await command.answered()) is not None:
        return kept
    found, referral, facts = await _question_facts(request, command, offer)
    _may(referral, found, Action.VERIFY)
    if referral.arrival_verified:
        raise Refusal("state")
    question = q.HandOverCodeQuestion(organisation=facts, offer=offer, referral=referral.id, code=body.code)
    await _check_code(request, referral, question)

    async def work(tx: Tx) -> Reply:
        locked, mine = await handlers.lock_accepted(tx, offer, command.caller.org)
        expect_version(command, mine.version)
        await handlers.verify(tx, locked, mine.id)
        return await _after(tx, offer)

    return await command.run("offer.verify_arrival", work)


@router.post("/offers/{offer}/outcome", response_model=StateView)
async def outcome(request: Request, offer: UUID, body: OutcomeBody, command: ReceiverCommand) -> Response:
    """How it ended. The holder keeps the outcome; the places are free again."""
    if (kept := await command.answered()) is not None:
        return kept
    found, referral, facts = await _question_facts(request, command, offer)
    _may(referral, found, Action.COMPLETE)
    detail = q.DetailQuestion(organisation=facts, offer=offer, referral=referral.id, outcome=body.outcome)
    if not (await _holders(request).ask(referral.holder, "detail", detail, q.DetailAnswer)).recorded:
        raise Refusal("state")

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


@router.post("/referrals/{referral}/departed", tags=["sender"], response_model=DepartedView)
async def departed(referral: UUID, command: Annotated[Command, Depends(command_with(SEND))]) -> Response:
    """The sender says that the person has set out."""

    async def work(tx: Tx) -> Reply:
        locked = await handlers.lock_sent(tx, referral, command.caller.org)
        expect_version(command, locked.version)
        after = await handlers.depart(tx, locked)
        shown = DepartedView(id=referral, state=after.state, departed_at=after.departed_at, version=after.version + 1)
        return Reply(shown, after.version + 1)

    return await command.run("referral.departed", work)
