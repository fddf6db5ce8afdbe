"""Copies that others hold: what they say became of them, signed so that it can be shown later, and who has not said it in time."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from uuid import UUID, uuid5

from joserfc.jwk import OKPKey

from schemas import events as e
from schemas.questions import PacketTicket
from schemas.registry import HANDOFF
from schemas.vocabulary import ErasureAnswer, KeptBecause
from services.intake.erasure import copies_store as store
from services.intake.erasure.copies_store import Kept
from services.intake.handoffs import stopping
from services.intake.handoffs import store as handoffs
from services.intake.handoffs.store import Packet
from spean import statement, telemetry
from spean.clock import clear_due
from spean.crypto import public_jwk
from spean.db import Database, Tx
from spean.ids import opaque_id
from spean.outbox import say
from spean.problem import Refusal
from spean.statement import About, Statement, Untaken, Why

log = logging.getLogger(__name__)
# How the network names somebody of an organisation's staff; everybody else who comes with a ticket is a system.
PERSON = "person:"
NOBODY = "unknown"
# To one request: whoever corrects themselves more often than this has to telephone, and fills nobody's disk.
STATEMENTS_MOST = 20


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody says on a page."""

    answer: ErasureAnswer
    reason: KeptBecause | None
    law: str | None


def request_of(packet: Packet) -> UUID | None:
    """Which request to erase stands, or was answered last: another whenever it is asked anew. None: nothing was asked."""
    if packet.erasure is None or packet.erasure_asked_at is None:
        return None
    return uuid5(packet.offer, f"erasure {packet.erasure_asked_at.isoformat()}")


async def take(tx: Tx, ticket: PacketTicket, text: str) -> None:
    """What a system has signed became of the copy: sent again it changes nothing, and a later one corrects it. Raises Refusal
    `no-longer-available`, `state`, `statement`."""
    packet, request = await _asked(tx, ticket)
    assert packet.erasure_asked_at is not None  # noqa: S101 (there is a request)
    about = About(ticket.facts.organisation, ticket.by or NOBODY, ticket.offer, request, packet.erasure_asked_at)
    try:
        said, key = statement.read(text, [one.model_dump() for one in ticket.signs])
        statement.expect(said, about, tx.now)
        new = await _is_new(tx, said, text)
    except Untaken as untaken:
        raise refused(untaken.why) from None
    if new:
        await _keep(tx, packet, Kept(said, text, key, "system", said.iss))


def refused(why: Why) -> Refusal:
    """Counted and said by its class; nothing of the statement is."""
    telemetry.add("spean.copies.refused", reason=why)
    log.warning("a statement about a copy was refused", extra={"reason": why})
    return Refusal("statement", rule=why)


async def _asked(tx: Tx, ticket: PacketTicket) -> tuple[Packet, UUID]:
    """Raises Refusal `no-longer-available`, `state`."""
    packet = await handoffs.lock_packet(tx, ticket.offer)
    if packet is None or packet.organisation != ticket.facts.organisation:
        raise Refusal("no-longer-available")
    request = request_of(packet)
    if request is None:
        raise Refusal("state")
    return packet, request


async def _is_new(tx: Tx, said: Statement, text: str) -> bool:
    """False for one that counts already. Raises Untaken where it was said before and another has come since, where it is
    older than what was said last, and where too much was said already."""
    last = await store.latest(tx, said.offer, said.request)
    if last is not None and (last["id"], last["statement"]) == (said.jti, text):
        return False
    older = last is not None and said.iat < last["said_at"].timestamp()
    if older or await store.find(tx, said.offer, said.jti) is not None:
        raise Untaken(Why.REPLAYED)
    await _expect_room(tx, said.offer, said.request)
    return True


async def _expect_room(tx: Tx, offer: UUID, request: UUID) -> None:
    """Raises Untaken."""
    if await store.count(tx, offer, request) >= STATEMENTS_MOST:
        raise Untaken(Why.TOO_MANY)


async def receive(tx: Tx, ticket: PacketTicket, told: Told, key: OKPKey, holder: str) -> None:
    """What somebody said on a page: they have no key, so this holder signs what it was told, and by whom the network vouches
    that it was. Said again it changes nothing. Raises Refusal `no-longer-available`, `state`, `statement` for a system,
    which signs itself."""
    packet, request = await _asked(tx, ticket)
    if ticket.by is not None and not ticket.by.startswith(PERSON):
        raise refused(Why.UNSIGNED)
    last = await store.latest(tx, ticket.offer, request)
    before = None if last is None else (last["answer"], last["reason"], last["law"])
    if packet.erasure == told.answer and before == (told.answer, told.reason, told.law):
        return
    try:
        await _expect_room(tx, packet.offer, request)
    except Untaken as untaken:
        raise refused(untaken.why) from None
    by = ticket.by or NOBODY
    said = Statement(
        iss=holder, organisation=packet.organisation, offer=packet.offer, request=request, answer=told.answer,
        reason=told.reason, law=told.law, by=by, iat=int(tx.now.timestamp()), jti=opaque_id(),
    )  # fmt: skip
    public = public_jwk(key)
    await _keep(tx, packet, Kept(said, statement.sign(said, statement.RECEIPT, key), public, "holder", by))


async def _keep(tx: Tx, packet: Packet, kept: Kept) -> None:
    await store.insert(tx, packet, kept)
    if packet.erasure == kept.said.answer:
        return
    await handoffs.answer_erasure(tx, packet.offer, kept.said.answer)
    await clear_due(tx, stopping.ERASURE_DUE, packet.offer)
    telemetry.add("spean.copies", outcome=kept.said.answer)
    said = e.ErasureAcknowledgedV1(offer=packet.offer, organisation=packet.organisation, answer=kept.said.answer)
    await say(tx, HANDOFF, packet.handoff, said)


async def overdue(db: Database, offer: UUID) -> None:
    """The clock: a holder of a copy has not answered in time."""
    async with db.transaction("erasure.overdue") as tx:
        packet = await handoffs.lock_packet(tx, offer)
        await clear_due(tx, stopping.ERASURE_DUE, offer)
        if packet is not None and packet.erasure == "requested":
            telemetry.add("spean.copies", outcome="overdue")
            said = e.ErasureOverdueV1(offer=offer, organisation=packet.organisation)
            await say(tx, HANDOFF, packet.handoff, said)
