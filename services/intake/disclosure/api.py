"""The network's questions to this holder, and the receiver's door to a packet. Answers leave under the person's fence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import Field, ValidationError

from schemas import contracts
from schemas import questions as q
from schemas.vocabulary import ServiceType
from services.intake.bases import counting
from services.intake.disclosure import handlers, sealed
from services.intake.disclosure.handlers import Holder
from services.intake.handoffs import handlers as handoffs
from services.intake.handoffs import store as handoff_store
from services.intake.rules import handlers as rules
from spean import telemetry
from spean.auth import Verifier
from spean.db import Database, Tx
from spean.gated import GatedResponse
from spean.http import Body, Reply, View, read_reply
from spean.problem import Refusal
from spean.turning import SigningKeys

router = APIRouter()
Q = TypeVar("Q", bound=q.Question)
_questioner = HTTPBearer(
    scheme_name="Network", bearerFormat="JWT", auto_error=False, description="The network's signature, a minute old."
)
_ticket_holder = HTTPBearer(
    scheme_name="Ticket", bearerFormat="JWT", auto_error=False,
    description="The ticket from POST /referral/offers/{offer}/ticket; it lives a minute.",
)  # fmt: skip


def _bearer(found: HTTPAuthorizationCredentials | None) -> str:
    if found is None:
        raise Refusal("no-token")
    return found.credentials


async def network(
    request: Request, signed: Annotated[HTTPAuthorizationCredentials | None, Depends(_questioner)]
) -> AsyncIterator[None]:
    """A dependency: the question is signed by the network, for this holder, now; the answer belongs to its trace."""
    verifier: Verifier = request.app.state.questions
    claims = await verifier.claims(_bearer(signed))
    if claims.get("scope") != "question":
        raise Refusal("bad-token")
    with telemetry.answering("answer a question", claims.get("traceparent")):
        yield


async def ticket_in(request: Request, offer: UUID, token: str) -> tuple[q.PacketTicket, dict[str, Any]]:
    """What a ticket for this offer says, with the referral that it is of, and its claims. Raises Refusal `bad-token`,
    `not-found`, `no-longer-available` where no such offer is known here."""
    verifier: Verifier = request.app.state.tickets
    claims = await verifier.claims(token)
    try:
        said = claims["packet"]
        model = q.PacketTicket if "referral" in said else q.PacketTicketV2
        found = model.model_validate(said, extra="ignore")
    except (KeyError, TypeError, ValidationError):
        raise Refusal("bad-token") from None
    if found.offer != offer:
        raise Refusal("not-found")
    if isinstance(found, q.PacketTicket):
        return found, claims
    db: Database = request.app.state.door.db
    async with db.transaction("packet.whose") as tx:
        referral = await handoff_store.handoff_of_offer(tx, offer)
    if referral is None:
        raise Refusal("no-longer-available")
    return q.PacketTicket(
        offer=offer, referral=referral, facts=found.facts, seal_to=found.seal_to, by=found.by, signs=found.signs
    ), claims


async def ticket(
    request: Request, offer: UUID, shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_ticket_holder)]
) -> q.PacketTicket:
    """A dependency: the network vouches that this organisation has accepted this offer, at most a minute ago."""
    return (await ticket_in(request, offer, _bearer(shown)))[0]


Ticket = Annotated[q.PacketTicket, Depends(ticket)]


def asked(model: type[Q]) -> Callable[..., Awaitable[Q]]:
    """A dependency: the question in the body. Readers are open: a newer network may say more than this holder knows."""

    async def question(request: Request) -> Q:
        try:
            return model.model_validate_json(await request.body(), extra="ignore")
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False, include_input=False)
            raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in wrong]) from None

    return question


def _body(path: str) -> dict[str, Any]:
    """The question's schema for the document of this service: what its reader needs."""
    name = f"{path}.question.v1"
    schema = contracts.contract(name, q.QUESTIONS[path][0]).reader
    shown = {key: value for key, value in schema.items() if not key.startswith("$")}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": shown}}}}


def _answer(request: Request, name: str, answer: Any) -> Response:
    """For what depends on the gate: the answer leaves under the fences, before the transaction ends."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        return Reply(await answer(tx, holder))

    return GatedResponse(request.app.state.door.db, name, work, network=True)


async def _done(request: Request, name: str, answer: Any) -> Response:
    """For what is kept: the answer leaves once it is."""
    async with request.app.state.door.db.transaction(name) as tx:
        reply = Reply(await answer(tx, request.app.state.holder))
    return read_reply(reply)


questions = APIRouter(prefix="/questions", tags=["questions"], dependencies=[Depends(network)])


@questions.post("/next-candidate", response_model=q.NextCandidateAnswer, openapi_extra=_body("next-candidate"))
async def next_candidate(
    request: Request, body: Annotated[q.NextCandidateQuestion, Depends(asked(q.NextCandidateQuestion))]
) -> Response:
    """Which of these may be asked next?"""
    return _answer(request, "question.next_candidate", lambda tx, holder: handlers.next_candidate(tx, holder, body))


@questions.post("/readable-offers", response_model=q.ReadableOffersAnswer, openapi_extra=_body("readable-offers"))
async def readable_offers(
    request: Request, body: Annotated[q.ReadableOffersQuestion, Depends(asked(q.ReadableOffersQuestion))]
) -> Response:
    """What may this organisation read of these offers now?"""
    return _answer(request, "question.readable_offers", lambda tx, holder: handlers.readable_offers(tx, holder, body))


@questions.post("/rules-stand", response_model=q.RulesStandAnswer, openapi_extra=_body("rules-stand"))
async def rules_stand(
    request: Request, body: Annotated[q.RulesStandQuestion, Depends(asked(q.RulesStandQuestion))]
) -> Response:
    """Is there need-to-know, an agreement and, over a border, a corridor? Of the rules alone: nobody's record is looked at."""
    return await _done(request, "question.rules_stand", lambda tx, holder: rules.stand(tx, holder, body))


@questions.post("/bases-counted", response_model=q.BasesCountedAnswer, openapi_extra=_body("bases-counted"))
async def bases_counted(
    request: Request, body: Annotated[q.BasesCountedQuestion, Depends(asked(q.BasesCountedQuestion))]
) -> Response:
    """How many people does something other than consent stand in for? Said so that nobody can be told from the numbers."""
    return await _done(request, "question.bases_counted", lambda tx, _: counting.answer(tx, body))


@questions.post("/may-accept", response_model=q.MayAcceptAnswer, openapi_extra=_body("may-accept"))
async def may_accept(
    request: Request, body: Annotated[q.MayAcceptQuestion, Depends(asked(q.MayAcceptQuestion))]
) -> Response:
    """May this organisation accept now?"""
    return _answer(request, "question.may_accept", lambda tx, holder: handlers.may_accept(tx, holder, body))


@questions.post("/hand-over-code", response_model=q.HandOverCodeAnswer, openapi_extra=_body("hand-over-code"))
async def hand_over_code(
    request: Request, body: Annotated[q.HandOverCodeQuestion, Depends(asked(q.HandOverCodeQuestion))]
) -> Response:
    """Is this code right?"""
    return await _done(request, "question.code", lambda tx, holder: handoffs.check_code(tx, holder, body))


@questions.post("/detail", response_model=q.DetailAnswer, openapi_extra=_body("detail"))
async def detail(request: Request, body: Annotated[q.DetailQuestion, Depends(asked(q.DetailQuestion))]) -> Response:
    """Keep this detail."""
    return await _done(request, "question.detail", lambda tx, holder: handoffs.keep_detail(tx, holder, body))


# --- packets ------------------------------------------------------------------------------------------------------


class PacketView(View):
    """What the accepting organisation may read now, person by person; only fields that the gate allows are there."""

    offer: UUID
    service_type: ServiceType | None
    need_by: datetime | None
    members: tuple[dict[str, Any], ...]
    erasure: str | None
    erasure_by: datetime | None
    version: int


class Whereabouts(Body):
    """Where the person is met (the sender sees it) and, perhaps, where the house is (only where the person agreed)."""

    meeting_point: Annotated[str | None, Field(max_length=500)] = None
    address: Annotated[str | None, Field(max_length=500)] = None


class DoneView(View):
    offer: UUID


@router.get("/packets/{offer}", tags=["packets"], response_model=PacketView, responses=sealed.DOCUMENTED)
async def read_packet(request: Request, offer: UUID, found: Ticket) -> Response:
    """The packet, composed now. A ticket that arrives before the acceptance has been heard of releases it as well. To a
    system that has a key for sealing it leaves sealed to that key, in an envelope that the holder signs."""
    holder: Holder = request.app.state.holder
    db: Database = request.app.state.door.db
    signing: SigningKeys = request.app.state.signing_key
    render = sealed.renderer(found, signing.key)
    await release(request, found)
    return GatedResponse(db, "packet.read", lambda tx: packet_now(tx, holder, found), render=render)


@router.get("/.well-known/jwks.json", tags=["packets"], response_model=sealed.KeysView)
async def jwks(request: Request) -> Response:
    """The public keys that envelopes are signed with: for some minutes around a change there are two. Look again at a key id
    that you do not know."""
    own: SigningKeys = request.app.state.signing_key
    return JSONResponse({"keys": own.public()})


async def release(request: Request, found: q.PacketTicket) -> None:
    """Raises Refusal `no-longer-available`, `not-allowed-now`."""
    holder: Holder = request.app.state.holder
    db: Database = request.app.state.door.db
    async with db.transaction("packet.release") as tx:
        if not await handoffs.release(tx, holder, found.referral, found.offer, found.facts.organisation):
            raise Refusal("no-longer-available")


async def packet_now(tx: Tx, holder: Holder, found: q.PacketTicket) -> Reply:
    """The packet as it may be read at this moment. Raises Refusal `no-longer-available`."""
    party = await handlers.held(tx, holder, found.referral)
    packet = await handoffs.open_packet(tx, found.offer, found.facts.organisation)
    if party is None or packet.handoff != party.handoff.id:
        raise Refusal("no-longer-available")
    members = await handlers.content(tx, holder, party, packet, found.facts)
    # Where everybody has stopped, not even the kind of service is told again.
    handoff = party.handoff if any(members) else None
    if handoff is not None:
        await handoffs.mark_fetched(tx, packet)
    shown = PacketView(
        offer=found.offer, service_type=handoff and handoff.service_type, need_by=handoff and handoff.need_by,
        members=tuple(members), erasure=packet.erasure, erasure_by=packet.erasure_by, version=packet.version,
    )  # fmt: skip
    return Reply(shown, packet.version)


@router.put("/packets/{offer}/whereabouts", tags=["packets"], response_model=DoneView)
async def set_whereabouts(request: Request, offer: UUID, body: Whereabouts, found: Ticket) -> Response:
    """Say where the person is met, in place of what was said before."""
    await say_whereabouts(request, found, body)
    return read_reply(Reply(DoneView(offer=offer)))


async def say_whereabouts(
    request: Request, found: q.PacketTicket, body: Whereabouts, expected: int | None = None
) -> None:
    """`expected`: the packet's version that was read, where one was. Raises Refusal `no-longer-available`, `erased`,
    `version`."""
    holder: Holder = request.app.state.holder
    db: Database = request.app.state.door.db
    async with db.transaction("packet.whereabouts") as tx:
        await handoff_store.lock_handoff(tx, found.referral)
        packet = await handoffs.open_packet(tx, found.offer, found.facts.organisation)
        if expected is not None and packet.version != expected:
            raise Refusal("version")
        await handoffs.set_whereabouts(tx, holder, packet, body.meeting_point, body.address)
