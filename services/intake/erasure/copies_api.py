"""Copies over the API: whoever holds one reads what is asked of them and answers with a signed statement; the sender sees who
has answered what."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from schemas.questions import PacketTicket
from schemas.vocabulary import ErasureAnswer, KeptBecause
from services.intake.disclosure import handlers as disclosure
from services.intake.disclosure.api import Ticket
from services.intake.disclosure.handlers import Holder
from services.intake.erasure import copies, copies_store
from services.intake.erasure.copies import Told
from services.intake.handoffs import store as handoffs
from spean.auth import Caller
from spean.db import Database, Tx
from spean.gated import GatedResponse
from spean.http import Body, Reply, View, caller_with, read_reply
from spean.problem import Refusal
from spean.statement import Law
from spean.turning import SigningKeys

SCOPE = "intake:send"
router = APIRouter()
Sender = Annotated[Caller, Depends(caller_with(SCOPE))]


class RequestView(View):
    """What is asked about a copy. `answer`: `requested`, or what was said last. `organisation`, `offer`, `request`: as they
    belong into the statement; all absent where nothing is asked."""

    offer: UUID
    organisation: UUID
    request: UUID | None
    answer: str | None
    asked_at: datetime | None
    answer_by: datetime | None


class StatementBody(Body):
    statement: Annotated[
        str,
        Field(min_length=1, max_length=4_000, description="a JWT, signed with a key that your system signs in with"),
    ]


class Acknowledgement(Body):
    """What somebody says on a page; a reason and a law where a law keeps the copy."""

    answer: ErasureAnswer
    reason: KeptBecause | None = None
    law: Law | None = None


class AnsweredView(View):
    offer: UUID


class PublicKey(BaseModel):
    """An Ed25519 public key as JWK (RFC 8037)."""

    kty: str
    crv: str
    x: str


class AskedCopy(View):
    """A copy that somebody was asked to erase. `answer`: what they said last, absent until then; `signed_by`: their system, or this
    holder for somebody who said it on a page; `late`: the time to answer is over. `organisation`, `by`, `law`, `statement`,
    `public_key`: absent where the person does not let the sender know who it is (`placement`)."""

    organisation: UUID | None
    answer: ErasureAnswer | None
    asked_at: datetime | None
    answer_by: datetime | None
    late: bool
    answered_at: datetime | None
    signed_by: str | None
    by: str | None
    reason: KeptBecause | None
    law: str | None
    statement: str | None
    public_key: PublicKey | None


class AskedCopies(View):
    """In the order in which the organisations had accepted."""

    copies: tuple[AskedCopy, ...]


@router.get("/packets/{offer}/erasure", tags=["packets"], response_model=RequestView)
async def read_request(request: Request, offer: UUID, found: Ticket) -> Response:
    """What is asked about the copy that you may hold, also where the packet itself can no longer be read."""
    db: Database = request.app.state.door.db
    async with db.transaction("copy.request") as tx:
        packet = await handoffs.find_packet(tx, offer)
    if packet is None or packet.organisation != found.facts.organisation:
        raise Refusal("no-longer-available")
    shown = RequestView(
        offer=offer, organisation=packet.organisation, request=copies.request_of(packet), answer=packet.erasure,
        asked_at=packet.erasure_asked_at, answer_by=packet.erasure_by,
    )  # fmt: skip
    return read_reply(Reply(shown))


@router.put("/packets/{offer}/erasure", tags=["packets"], response_model=AnsweredView)
async def acknowledge_erasure(request: Request, offer: UUID, body: StatementBody, found: Ticket) -> Response:
    """Say what became of the copy that you held, in a statement that your system has signed. The same one, sent again, changes
    nothing; a later one corrects it. Nothing is changed by one that is refused (`statement`; `rule` says why)."""
    db: Database = request.app.state.door.db
    async with db.transaction("copy.statement") as tx:
        await handoffs.lock_handoff(tx, found.referral)
        await copies.take(tx, found, body.statement)
    return read_reply(Reply(AnsweredView(offer=offer)))


async def answer_on_page(request: Request, ticket: PacketTicket, told: Acknowledgement) -> None:
    """Raises Refusal `no-longer-available`, `state`, `statement`."""
    db: Database = request.app.state.door.db
    signing: SigningKeys = request.app.state.signing_key
    async with db.transaction("copy.receipt") as tx:
        await handoffs.lock_handoff(tx, ticket.referral)
        said = Told(told.answer, told.reason, told.law)
        await copies.receive(tx, ticket, said, signing.key, f"spean/intake/{db.holder}")


@router.get("/handoffs/{handoff}/copies", tags=["hand-offs"], response_model=AskedCopies)
async def read_copies(request: Request, handoff: UUID, caller: Sender) -> Response:
    """Who was asked to erase a copy of my hand-off, until when, and what they have said, with their signed statements."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        return Reply(AskedCopies(copies=await copies_now(tx, holder, handoff, caller)))

    return GatedResponse(request.app.state.door.db, "copies.read", work, caller.org)


async def copies_now(tx: Tx, holder: Holder, handoff: UUID, caller: Caller) -> tuple[AskedCopy, ...]:
    """Raises Refusal `not-found`."""
    unnamed = await disclosure.unnamed(tx, holder, handoff, caller.facts)
    named = await handoffs.asked_of(tx, handoff) - unnamed
    found = await copies_store.asked_of(tx, handoff)
    return tuple(_copy(row, tx.now, named=row["organisation"] in named) for row in found)


def _copy(row: asyncpg.Record, now: datetime, *, named: bool) -> AskedCopy:
    waits = row["erasure"] == "requested"
    shown = row if named else dict.fromkeys(("organisation", "by", "law", "statement", "public_key"))
    return AskedCopy(
        organisation=shown["organisation"], answer=None if waits else row["erasure"], asked_at=_minute(row["erasure_asked_at"]),
        answer_by=_minute(row["erasure_by"]), late=waits and row["erasure_by"] is not None and row["erasure_by"] < now,
        answered_at=None if waits else _minute(row["erasure_answered_at"]), signed_by=row["signed_by"], by=shown["by"],
        reason=row["reason"], law=shown["law"], statement=shown["statement"],
        public_key=json.loads(shown["public_key"]) if shown["public_key"] else None,
    )  # fmt: skip


def _minute(moment: datetime | None) -> datetime | None:
    """The other side has the same moment (it was asked then, or has answered then), and in full it would be as good as a number
    of their own: a sender who may not know who it is sees the minute."""
    return moment and moment.replace(second=0, microsecond=0)
