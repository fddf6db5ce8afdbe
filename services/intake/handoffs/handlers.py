"""Hand-offs and packets: requested, followed, released, handed over."""

from __future__ import annotations

import hmac
from dataclasses import replace
from uuid import UUID

from schemas import events as e
from schemas import questions as q
from schemas.registry import HANDOFF
from schemas.vocabulary import ErasureAnswer, HandoffChange, ReasonFamily
from services.intake.cases import store as cases
from services.intake.consent import store as consents
from services.intake.disclosure.handlers import Holder
from services.intake.handoffs import domain, stopping, store
from services.intake.handoffs.store import Handoff, Packet
from spean.clock import clear_due
from spean.consumer import Poison
from spean.crypto import Unopenable, digits, seal, unseal
from spean.db import Database, Tx
from spean.outbox import say
from spean.problem import Refusal

CODE_DIGITS = 6
# A code of six digits guessed at random is right once in 200,000 with five tries.
CODE_TRIES = 5
_BEFORE_ACCEPTANCE = frozenset({"requested", "received", "offered"})


async def request(tx: Tx, holder: Holder, handoff: Handoff, members: list[UUID]) -> None:
    """Ask the network. Every member needs an open case and standing consents. Raises Refusal `party`, `service-consent`,
    `sharing-consent`, `guardian`."""
    if len(set(members)) != len(members) or await cases.open_cases(tx, members) != set(members):
        raise Refusal("party")
    for entry_id in sorted(members):
        await consents.lock_fence(tx, entry_id, share=True)
        fields = await cases.opened_fields(holder.keys, await cases.find_entry(tx, entry_id))
        domain.may_request(await consents.person(tx, entry_id, minor=fields.minor), tx.now)
    await store.insert_handoff(tx, handoff, members)
    asked = e.HandoffRequestedV1(
        network=handoff.network, sender=handoff.org, group=handoff.group, urgency=handoff.urgency, area=handoff.area,
        places=handoff.places, requested_at=handoff.requested_at, need_by=handoff.need_by,
    )  # fmt: skip
    await say(tx, HANDOFF, handoff.id, asked)


async def cancel(tx: Tx, handoff: Handoff) -> None:
    """The sender ends a locked hand-off. Raises Refusal `state` where it has ended."""
    if handoff.state in store.ENDED:
        raise Refusal("state")
    await stopping.cancel(tx, handoff, ReasonFamily.OTHER)


async def follow(tx: Tx, id_: UUID, type_: str, offer: UUID | None) -> None:
    """The network said something about a hand-off. What the holder has ended stays ended."""
    handoff = await store.lock_handoff(tx, id_)
    state = domain.STATE_AFTER[type_]
    if handoff.state in store.ENDED:
        return
    await store.set_state(tx, id_, state, offer)
    if state == "completed":
        await store.end_packets(tx, id_)


async def release(tx: Tx, holder: Holder, id_: UUID, offer: UUID, facts: q.OrganisationFacts | None,
                  organisation: UUID) -> Handoff:  # fmt: skip
    """An offer was accepted: mint the hand-over code and release the packet, once. Refused where the service has ended.

    `facts` come with a ticket; an event carries none, then what the network last vouched for serves. Raises Poison where
    the organisation was never asked.
    """
    handoff = await store.lock_handoff(tx, id_)
    known = facts or await store.asked_facts(tx, id_, organisation)
    if known is None:
        raise Poison("never-asked")
    if handoff.state in store.ENDED:
        await say(tx, HANDOFF, id_, e.PacketRefusedV1(offer=offer, reason=ReasonFamily.STOPPED))
        return handoff
    if not await store.insert_packet(tx, offer, id_, known):
        if handoff.state in _BEFORE_ACCEPTANCE:  # a ticket was here before the events of the offer
            await store.set_state(tx, id_, "accepted", offer)
        return handoff
    first = (await store.members(tx, id_))[0]
    code = digits(CODE_DIGITS).encode()
    await store.set_code(tx, id_, seal(await holder.keys.key(first), code, _code_context(id_)))
    await store.set_state(tx, id_, "accepted", offer)
    await say(tx, HANDOFF, id_, e.PacketReleasedV1(offer=offer))
    return replace(handoff, offer=offer, state="accepted")


async def hand_over_code(tx: Tx, holder: Holder, handoff: Handoff) -> str | None:
    """The code, for the sender and the person only. None where there is none (yet, or any more)."""
    if handoff.sealed_code is None or handoff.state not in {"accepted", "ready", "missing"}:
        return None
    first = (await store.members(tx, handoff.id))[0]
    try:
        return unseal(await holder.keys.key(first), handoff.sealed_code, _code_context(handoff.id)).decode()
    except Unopenable:
        return None


async def check_code(tx: Tx, holder: Holder, question: q.HandOverCodeQuestion) -> q.HandOverCodeAnswer:
    """Is the code right? A wrong one is counted; after `CODE_TRIES` it opens nothing any more."""
    handoff = await store.lock_handoff(tx, question.referral)
    if handoff.offer != question.offer or handoff.code_tries >= CODE_TRIES:
        return q.HandOverCodeAnswer(result=q.CodeResult.LOCKED, tries_left=0)
    code = await hand_over_code(tx, holder, handoff)
    if code is not None and hmac.compare_digest(code, question.code):
        return q.HandOverCodeAnswer(result=q.CodeResult.RIGHT, tries_left=CODE_TRIES - handoff.code_tries)
    left = CODE_TRIES - await store.count_try(tx, handoff.id)
    return q.HandOverCodeAnswer(result=q.CodeResult.WRONG if left else q.CodeResult.LOCKED, tries_left=left)


async def keep_detail(tx: Tx, holder: Holder, question: q.DetailQuestion) -> q.DetailAnswer:
    """Why an organisation declined, or how it ended: kept here, sealed under the person's key."""
    handoff = await store.find_handoff(tx, question.referral)
    kind, code = ("decline", question.decline) if question.decline else ("outcome", question.outcome)
    if code is None or await store.asked_facts(tx, handoff.id, question.organisation.organisation) is None:
        return q.DetailAnswer(recorded=False)
    first = (await store.members(tx, handoff.id))[0]
    sealed = seal(await holder.keys.key(first), code.encode(), _detail_context(question.offer, kind))
    await store.insert_detail(tx, handoff, question.offer, kind, sealed)
    return q.DetailAnswer(recorded=True)


async def details(tx: Tx, holder: Holder, handoff: UUID) -> list[tuple[UUID, str, str]]:
    """(offer, kind, code) of what was kept."""
    first = (await store.members(tx, handoff))[0]
    key = await holder.keys.key(first)
    return [
        (row["offer"], row["kind"], unseal(key, row["sealed"], _detail_context(row["offer"], row["kind"])).decode())
        for row in await store.details_of(tx, handoff)
    ]


async def locked_packet(tx: Tx, offer: UUID, organisation: UUID) -> Packet:
    """The packet of an offer, locked, that may still be read. Raises Refusal `no-longer-available`."""
    packet = await store.lock_packet(tx, offer)
    if packet is None or packet.organisation != organisation or packet.ended_at is not None:
        raise Refusal("no-longer-available")
    return packet


async def mark_fetched(tx: Tx, packet: Packet) -> None:
    if packet.fetched_at is None:
        await store.set_fetched(tx, packet.offer)
        await say(tx, HANDOFF, packet.handoff, e.PacketFetchedV1(offer=packet.offer))


async def set_whereabouts(tx: Tx, holder: Holder, packet: Packet, meeting_point: str | None,
                          address: str | None) -> None:  # fmt: skip
    """Where the person is met (always shown to the sender) and, perhaps, the house's address (category placement)."""
    first = (await store.members(tx, packet.handoff))[0]
    key = await holder.keys.key(first)
    sealed = {
        name: seal(key, text.encode(), _place_context(packet.offer, name)) if text is not None else None
        for name, text in (("meeting_point", meeting_point), ("address", address))
    }
    await store.set_whereabouts(tx, packet.offer, sealed["meeting_point"], sealed["address"])
    changes = ((HandoffChange.MEETING_POINT, meeting_point), (HandoffChange.ADDRESS, address))
    for change, text in changes:
        if text is not None:
            await say(tx, HANDOFF, packet.handoff, e.HandoffChangedV1(offer=packet.offer, change=change))


async def whereabouts(tx: Tx, holder: Holder, packet: Packet) -> dict[str, str]:
    """The texts that were posted, by name."""
    first = (await store.members(tx, packet.handoff))[0]
    key = await holder.keys.key(first)
    found = {"meeting_point": packet.meeting_point, "address": packet.address}
    return {
        name: unseal(key, sealed, _place_context(packet.offer, name)).decode()
        for name, sealed in found.items()
        if sealed is not None
    }


async def acknowledge_erasure(tx: Tx, offer: UUID, organisation: UUID, answer: ErasureAnswer) -> None:
    """A holder of a copy says what became of it. Raises Refusal `no-longer-available`, `state`."""
    packet = await store.lock_packet(tx, offer)
    if packet is None or packet.organisation != organisation:
        raise Refusal("no-longer-available")
    if packet.erasure is None:
        raise Refusal("state")
    await store.answer_erasure(tx, offer, answer)
    await clear_due(tx, stopping.ERASURE_DUE, offer)
    said = e.ErasureAcknowledgedV1(offer=offer, organisation=organisation, answer=answer)
    await say(tx, HANDOFF, packet.handoff, said)


async def erasure_overdue(db: Database, offer: UUID) -> None:
    """The clock: a holder of a copy has not answered in time."""
    async with db.transaction("erasure.overdue") as tx:
        packet = await store.lock_packet(tx, offer)
        await clear_due(tx, stopping.ERASURE_DUE, offer)
        if packet is not None and packet.erasure == "requested":
            said = e.ErasureOverdueV1(offer=offer, organisation=packet.organisation)
            await say(tx, HANDOFF, packet.handoff, said)


def _code_context(handoff: UUID) -> str:
    return f"handoff/{handoff}/code/1"


def _detail_context(offer: UUID, kind: str) -> str:
    return f"detail/{offer}/{kind}/1"


def _place_context(offer: UUID, name: str) -> str:
    return f"packet/{offer}/{name}/1"
