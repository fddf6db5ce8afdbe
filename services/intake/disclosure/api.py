"""The network's questions to this holder, and the receiver's door to a packet. Answers leave under the person's fence."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import Field, ValidationError

from schemas import questions as q
from schemas.vocabulary import ErasureAnswer, ServiceType
from services.intake.disclosure import handlers
from services.intake.disclosure.handlers import Holder
from services.intake.handoffs import handlers as handoffs
from services.intake.handoffs import store as handoff_store
from spean.auth import Verifier
from spean.db import Tx
from spean.gated import GatedResponse
from spean.http import Body, Reply, View
from spean.problem import Refusal

router = APIRouter()


def _bearer(authorization: str | None) -> str:
    kind, _, token = (authorization or "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Refusal("no-token")
    return token


async def network(request: Request, authorization: Annotated[str | None, Header()] = None) -> None:
    """A dependency: the question is signed by the network, for this holder, now."""
    verifier: Verifier = request.app.state.questions
    claims = await verifier.claims(_bearer(authorization))
    if claims.get("scope") != "question":
        raise Refusal("bad-token")


async def ticket(
    request: Request, offer: UUID, authorization: Annotated[str | None, Header()] = None
) -> q.PacketTicket:
    """A dependency: the network vouches that this organisation has accepted this offer, at most a minute ago."""
    verifier: Verifier = request.app.state.tickets
    claims = await verifier.claims(_bearer(authorization))
    try:
        found = q.PacketTicket.model_validate(claims["packet"])
    except (KeyError, ValidationError):
        raise Refusal("bad-token") from None
    if found.offer != offer:
        raise Refusal("not-found")
    return found


Ticket = Annotated[q.PacketTicket, Depends(ticket)]


def _answer(request: Request, name: str, answer: Any) -> Response:
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        return Reply(await answer(tx, holder))

    return GatedResponse(request.app.state.door.db, name, work)


questions = APIRouter(prefix="/questions", tags=["questions"], dependencies=[Depends(network)])


@questions.post("/next-candidate", response_model=q.NextCandidateAnswer)
async def next_candidate(request: Request, body: q.NextCandidateQuestion) -> Response:
    """Which of these may be asked next?"""
    return _answer(request, "question.next_candidate", lambda tx, holder: handlers.next_candidate(tx, holder, body))


@questions.post("/readable-offers", response_model=q.ReadableOffersAnswer)
async def readable_offers(request: Request, body: q.ReadableOffersQuestion) -> Response:
    """What may this organisation read of these offers now?"""
    return _answer(request, "question.readable_offers", lambda tx, holder: handlers.readable_offers(tx, holder, body))


@questions.post("/may-accept", response_model=q.MayAcceptAnswer)
async def may_accept(request: Request, body: q.MayAcceptQuestion) -> Response:
    """May this organisation accept now?"""
    return _answer(request, "question.may_accept", lambda tx, holder: handlers.may_accept(tx, holder, body))


@questions.post("/hand-over-code", response_model=q.HandOverCodeAnswer)
async def hand_over_code(request: Request, body: q.HandOverCodeQuestion) -> Response:
    """Is this code right?"""
    return _answer(request, "question.code", lambda tx, holder: handoffs.check_code(tx, holder, body))


@questions.post("/detail", response_model=q.DetailAnswer)
async def detail(request: Request, body: q.DetailQuestion) -> Response:
    """Keep this detail."""
    return _answer(request, "question.detail", lambda tx, holder: handoffs.keep_detail(tx, holder, body))


# --- packets ------------------------------------------------------------------------------------------------------


class PacketView(View):
    """What the accepting organisation may read now, person by person; only fields that the gate allows are there."""

    offer: UUID
    service_type: ServiceType
    need_by: datetime | None
    members: tuple[dict[str, Any], ...]
    erasure: str | None
    erasure_by: datetime | None
    version: int


class Whereabouts(Body):
    """Where the person is met (the sender sees it) and, perhaps, where the house is (only where the person agreed)."""

    meeting_point: Annotated[str | None, Field(max_length=500)] = None
    address: Annotated[str | None, Field(max_length=500)] = None


class Acknowledgement(Body):
    answer: ErasureAnswer


class DoneView(View):
    offer: UUID


@router.get("/packets/{offer}", tags=["packets"], response_model=PacketView)
async def read_packet(request: Request, offer: UUID, found: Ticket) -> Response:
    """The packet, composed now. A ticket that arrives before the acceptance has been heard of releases it as well."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        handoff = await handoffs.release(tx, holder, found.referral, offer, found.facts, found.facts.organisation)
        packet = await handoffs.locked_packet(tx, offer, found.facts.organisation)
        members = await handlers.packet(tx, holder, handoff, found.facts)
        if any(members):
            await handoffs.mark_fetched(tx, packet)
        shown = PacketView(
            offer=offer, service_type=handoff.service_type, need_by=handoff.need_by, members=tuple(members),
            erasure=packet.erasure, erasure_by=packet.erasure_by, version=packet.version,
        )  # fmt: skip
        return Reply(shown, packet.version)

    return GatedResponse(request.app.state.door.db, "packet.read", work)


@router.put("/packets/{offer}/whereabouts", tags=["packets"], response_model=DoneView)
async def set_whereabouts(request: Request, offer: UUID, body: Whereabouts, found: Ticket) -> Response:
    """Say where the person is met."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        await handoff_store.lock_handoff(tx, found.referral)
        packet = await handoffs.locked_packet(tx, offer, found.facts.organisation)
        await handoffs.set_whereabouts(tx, holder, packet, body.meeting_point, body.address)
        return Reply(DoneView(offer=offer))

    return GatedResponse(request.app.state.door.db, "packet.whereabouts", work)


@router.put("/packets/{offer}/erasure", tags=["packets"], response_model=DoneView)
async def acknowledge_erasure(request: Request, offer: UUID, body: Acknowledgement, found: Ticket) -> Response:
    """Say what became of the copy that you held."""

    async def work(tx: Tx) -> Reply:
        await handoff_store.lock_handoff(tx, found.referral)
        await handoffs.acknowledge_erasure(tx, offer, found.facts.organisation, body.answer)
        return Reply(DoneView(offer=offer))

    return GatedResponse(request.app.state.door.db, "packet.erasure", work)
