"""The effects of stopping: what is said to the network and asked of those who hold copies. The gate is shut already.

One function, `look_again`, whatever has changed the gate: a withdrawal, a narrower consent, an exclusion, a correction,
a consent or a rule that has ended. Rows of packets are changed before anything is said, as by everybody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from schemas import events as e
from schemas.registry import HANDOFF
from schemas.vocabulary import Purpose, ReasonFamily
from services.intake.cases.fields import OFFER_FIELDS, PACKET_FIELDS
from services.intake.disclosure import handlers as disclosure
from services.intake.disclosure import store as disclosures
from services.intake.disclosure.domain import allowed, as_offer
from services.intake.disclosure.handlers import Holder, Party
from services.intake.disclosure.rulebook import Rules
from services.intake.handoffs import store, yeses
from services.intake.handoffs.domain import BEFORE_ARRIVAL, MAY_BE_OFFERED, offers_nobody
from services.intake.handoffs.store import Handoff, Packet
from services.intake.handoffs.yeses import Yes
from spean.clock import set_due
from spean.db import Tx
from spean.outbox import say

# Kind of due row: an erasure that nobody answered. Its subject is the offer.
ERASURE_DUE = "erasure"
# A month is what most data-protection laws give a controller to answer; holders are asked for a tenth of it.
ERASURE_ANSWER_DAYS = 3
_PACKET_FIELDS = frozenset(PACKET_FIELDS)


async def look_again(tx: Tx, holder: Holder, found: Sequence[Handoff], *, anew: bool = False) -> None:
    """The gate may have changed for these locked hand-offs. Where somebody stopped, or where whoever was asked may not be
    asked any more, the network hears it, with the offer that it is about; who was told what may not be told any more is asked to erase it. No place
    is freed. `anew`: the person is described otherwise now, so whoever was asked without having accepted is asked anew.
    """
    parties = await disclosure.load(tx, holder, found)
    ids = [handoff.id for handoff in found]
    asked, packets = await yeses.standing(tx, ids), await store.packets_of(tx, ids)
    told = await disclosures.told(tx, ids)
    recipients = {yes.facts.organisation for some in asked.values() for yes in some if yes.facts is not None}
    recipients |= {packet.organisation for some in packets.values() for packet in some}
    in_force = await disclosure.in_force(tx, parties, recipients)
    for party in parties:
        handoff = party.handoff
        lost = [
            packet for packet in packets.get(handoff.id, ())
            if _lost(tx, holder, party, packet, told.get((handoff.id, packet.organisation), {}), in_force)
        ]  # fmt: skip
        requests = await _request_erasure(tx, lost)
        stopped = _stopped(tx, holder, party, asked.get(handoff.id, ()), in_force, anew=anew)
        stopped += [request.offer for request in requests]
        for offer in [None] if None in stopped else dict.fromkeys(stopped):
            await say(tx, HANDOFF, handoff.id, e.DisclosureStoppedV1(offer=offer))
        for request in requests:
            await say(tx, HANDOFF, handoff.id, request)


def _stopped(tx: Tx, holder: Holder, party: Party, asked: Sequence[Yes], in_force: Rules, *,
             anew: bool) -> list[UUID | None]:  # fmt: skip
    """Of the offers that may be open, those that may not be any more; None: whichever is open."""
    handoff, state = party.handoff, party.handoff.state
    if state in store.ENDED:
        return []
    if any(member.person.silent(tx.now) for member in party.members):
        return [None]
    if state in MAY_BE_OFFERED and any(
        offers_nobody(member.person, tx.now, handoff.service_type, handoff.org) for member in party.members
    ):
        return [None]

    def stands(yes: Yes) -> bool:
        if yes.facts is None or (anew and state in MAY_BE_OFFERED):
            return False
        ask = party.ask(tx, holder, yes.facts, "offer", Purpose.REFERRAL)
        return disclosure.offerable(as_offer(party.judge(ask, OFFER_FIELDS, in_force)))

    return [yes.offer for yes in asked if not stands(yes)]


def _lost(tx: Tx, holder: Holder, party: Party, packet: Packet, told: Mapping[UUID, set[str]], in_force: Rules) -> bool:
    """Was the packet's organisation told anything that it may not read now?"""
    ask = party.ask(tx, holder, packet.facts, "packet", Purpose.SERVICE_PROVISION)
    verdicts = party.judge(ask, _PACKET_FIELDS, in_force)
    return any(
        told.get(member.entry, set()) - allowed(now) for member, now in zip(party.members, verdicts, strict=True)
    )


async def stop_unread(tx: Tx, found: Sequence[Handoff]) -> None:
    """Somebody in these locked hand-offs stopped while nobody can be read: open offers are taken back at once; who holds a
    copy is looked at later (`look_again`)."""
    for handoff in found:
        if handoff.state not in store.ENDED:
            await say(tx, HANDOFF, handoff.id, e.DisclosureStoppedV1())


async def end_service(tx: Tx, found: Sequence[Handoff]) -> None:
    """The person has ended the service: every live one of these locked hand-offs is cancelled. The network frees a place
    that nobody has arrived at; elsewhere the house speaks with the person. Sharing, which ends with it, is looked at
    next (`look_again`)."""
    live = [handoff for handoff in found if handoff.state not in store.ENDED]
    for handoff in live:
        if handoff.state in BEFORE_ARRIVAL:
            await _close(tx, handoff)
        elif not handoff.ending:
            await store.set_ending(tx, handoff.id, visible=True)
        await say(tx, HANDOFF, handoff.id, e.HandoffCancelledV1(reason=ReasonFamily.STOPPED))


async def cancel(tx: Tx, handoff: Handoff) -> None:
    """The sender ends a locked hand-off. Before arrival its packet ends, and copies are to be erased; after arrival the
    house is told, and goes on reading what the person agreed to."""
    if handoff.state not in BEFORE_ARRIVAL:
        await store.set_ending(tx, handoff.id, visible=True)
        await say(tx, HANDOFF, handoff.id, e.HandoffCancelledV1(reason=ReasonFamily.OTHER))
        return
    requests = await _request_erasure(tx, await _close(tx, handoff))
    await say(tx, HANDOFF, handoff.id, e.HandoffCancelledV1(reason=ReasonFamily.OTHER))
    for request in requests:
        await say(tx, HANDOFF, handoff.id, request)


async def end_packets(tx: Tx, handoff: Handoff, offer: UUID | None = None) -> None:
    """A packet whose offer is over (all of them without `offer`) is read no more; copies are to be erased."""
    packets = [
        packet for packet in (await store.packets_of(tx, [handoff.id])).get(handoff.id, [])
        if packet.ended_at is None and offer in {None, packet.offer}
    ]  # fmt: skip
    await store.end_packets(tx, [packet.offer for packet in packets])
    for request in await _request_erasure(tx, packets):
        await say(tx, HANDOFF, handoff.id, request)


async def _close(tx: Tx, handoff: Handoff) -> list[Packet]:
    packets = (await store.packets_of(tx, [handoff.id])).get(handoff.id, [])
    await store.end_packets(tx, [packet.offer for packet in packets])
    # Its offer stays: as long as the network has not heard of this, somebody may be at that door with their code.
    await store.set_state(tx, handoff.id, "cancelled", handoff.offer)
    return packets


async def _request_erasure(tx: Tx, packets: Sequence[Packet]) -> list[e.ErasureRequestedV1]:
    """What to say to those who hold a copy and were not asked yet."""
    answer_by = tx.now + timedelta(days=ERASURE_ANSWER_DAYS)
    requests: list[e.ErasureRequestedV1] = []
    for packet in packets:
        if await store.request_erasure(tx, packet.offer, answer_by):
            await set_due(tx, ERASURE_DUE, packet.offer, answer_by)
            requests.append(
                e.ErasureRequestedV1(offer=packet.offer, organisation=packet.organisation, answer_by=answer_by)
            )
    return requests
