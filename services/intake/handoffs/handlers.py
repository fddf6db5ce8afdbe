"""Hand-offs and packets: requested, followed, released, handed over."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from schemas import events as e
from schemas import questions as q
from schemas.registry import HANDOFF
from schemas.vocabulary import HandoffChange, ReasonFamily, ServiceType, WaitsFor
from services.intake.cases import store as cases
from services.intake.consent import store as consents
from services.intake.disclosure import handlers as disclosure
from services.intake.disclosure.handlers import Holder
from services.intake.handoffs import asking, domain, stopping, store
from services.intake.handoffs.store import Handoff, Packet
from services.intake.keystore.store import Destroyed
from spean.crypto import Unopenable, digits, new_key, seal, unseal
from spean.db import Tx
from spean.outbox import say
from spean.problem import Refusal

CODE_DIGITS = 6
# A code of six digits guessed at random is right once in 200,000 with five tries.
CODE_TRIES = 5


async def request(tx: Tx, holder: Holder, handoff: Handoff, members: list[UUID]) -> None:
    """Ask the network. Every member needs an open case and standing consents, and has no other live hand-off for this
    service. Raises Refusal `party`, `service-consent`, `sharing-consent`, `guardian`, `erased`, `duplicate`."""
    if len(set(members)) != len(members):
        raise Refusal("party")
    await asking.lock_asking(tx, members)
    opened = await _may_be_asked_for(tx, holder, members, handoff.service_type)
    if await asking.is_asked_for(tx, members, handoff.service_type):
        raise Refusal("duplicate")
    key = new_key()
    sealed = {entry: seal(opened[entry].key, key, _party_context(handoff.id, entry)) for entry in members}
    await store.insert_handoff(tx, handoff, sealed)
    asked = e.HandoffRequestedV1(
        network=handoff.network, sender=handoff.org, group=handoff.group, urgency=handoff.urgency, area=handoff.area,
        places=handoff.places, requested_at=handoff.requested_at, need_by=handoff.need_by,
    )  # fmt: skip
    await say(tx, HANDOFF, handoff.id, asked)


async def ask_again(tx: Tx, holder: Holder, handoff: Handoff) -> None:
    """Ask the network anew for a locked hand-off that waits for its sender; its people's fences are held. Raises Refusal
    `state` where it waits for nobody, or for a coordinator because the house that accepted was suspended; else as
    `request`."""
    if handoff.waits_for is not WaitsFor.SENDER:
        raise Refusal("state")
    members = (await store.members(tx, [handoff.id])).get(handoff.id)
    if not members:
        raise Refusal("party")
    await _may_be_asked_for(tx, holder, members, handoff.service_type)
    await say(tx, HANDOFF, handoff.id, e.HandoffReopenedV1())


async def _may_be_asked_for(
    tx: Tx, holder: Holder, members: list[UUID], service_type: ServiceType
) -> dict[UUID, cases.Opened]:
    """Holds their fences. Returns each of them, opened. Raises Refusal `party`, `service-consent`, `sharing-consent`,
    `guardian`, `erased`."""
    open_cases = await cases.open_cases(tx, members)
    await consents.hold(tx, members)
    opened = await cases.open_own(tx, holder.keys, members)
    people = await consents.people(tx, {entry: one.adult_from for entry, one in opened.items()})
    # Why somebody has no case yet (no guardian, no consent) says more than that there is none.
    for person in people.values():
        domain.may_request(person, tx.now, service_type)
    if open_cases != set(members):
        raise Refusal("party")
    if people.keys() != set(members):
        raise Destroyed
    return opened


async def cancel(tx: Tx, handoff: Handoff) -> None:
    """The sender ends a locked hand-off. Raises Refusal `state` where it has ended."""
    if handoff.state in store.ENDED or handoff.ending:
        raise Refusal("state")
    await stopping.cancel(tx, handoff)


async def follow(tx: Tx, id_: UUID, type_: str, said: UUID | None, *, verified: bool | None = None,
                 waits_for: WaitsFor | None = None) -> None:  # fmt: skip
    """The network said something about a hand-off, perhaps about one offer; `verified` where it is about an arrival,
    `waits_for` where it is put on hold. What the holder has ended stays ended, unless a house had the person by then."""
    handoff = await store.lock_handoff(tx, id_)
    overtaken = handoff.state == "cancelled" and type_ in domain.FACTS
    if handoff.state in store.ENDED and not overtaken:
        return
    state, ending = domain.STATE_AFTER[type_], handoff.ending or overtaken
    words = {
        domain.shown_state(handoff.state, placement=False, ending=handoff.ending),
        domain.shown_state(state, placement=False, ending=ending),
    }
    offer = domain.offer_after(type_, handoff.offer, said)
    await store.set_state(tx, id_, state, offer, visible=len(words) > 1, waits_for=waits_for)
    if verified is not None:
        await store.set_arrival(tx, id_, verified=verified)
    if overtaken:
        await store.set_ending(tx, id_, visible=False)
    if overtaken and state == "in-progress" and said is not None:
        await store.reopen_packet(tx, said)  # which the house lost when the sender's side ended the hand-off
    if state == "completed":
        await store.end_packets(tx, [packet.offer for packet in (await store.packets_of(tx, [id_])).get(id_, [])])
    elif type_ in domain.ANEW or state == "cancelled":
        await stopping.end_packets(tx, handoff)
    elif type_ in domain.OFFER_ENDS and said is not None:
        await stopping.end_packets(tx, handoff, said)


async def release(tx: Tx, holder: Holder, id_: UUID, offer: UUID, organisation: UUID) -> bool:
    """An offer was accepted: mint the hand-over code and release the packet, once. False where it is not released: the
    service has ended, or nobody is left to hand over. Raises Refusal `not-found`, `not-allowed-now` where the organisation
    was never asked."""
    handoff = await store.lock_handoff(tx, id_)
    known = await store.asked_facts(tx, id_, organisation)
    if known is None:
        raise Refusal("not-allowed-now")
    packet = await store.find_packet(tx, offer)
    if packet is not None:
        # A ticket was here before the events of the offer; what they have said since is said again by the last of them.
        if handoff.state in domain.BEFORE_ACCEPTANCE and packet.ended_at is None:
            await store.set_state(tx, id_, "accepted", offer)
        return True
    key = await _key(tx, holder, id_)
    # They may be there already, at this house only, where their arrival overtook what the sender's side did meanwhile.
    there = handoff.state not in domain.BEFORE_ARRIVAL
    if handoff.state in store.ENDED or key is None or (there and handoff.offer != offer):
        return False
    await store.insert_packet(tx, offer, id_, known)
    if not there:
        await store.set_code(tx, id_, seal(key, digits(CODE_DIGITS).encode(), _code_context(id_)))
        await store.set_state(tx, id_, "accepted", offer)
    await say(tx, HANDOFF, id_, e.PacketReleasedV1(offer=offer))
    return True


async def refuse_packet(tx: Tx, id_: UUID, offer: UUID) -> None:
    """Tell the network that what was due is not released."""
    await say(tx, HANDOFF, id_, e.PacketRefusedV1(offer=offer, reason=ReasonFamily.STOPPED))


async def _key(tx: Tx, holder: Holder, handoff: UUID) -> bytes | None:
    """The party's key, under which the hand-off's own texts are sealed. None where everybody's key is destroyed."""
    sealed = (await store.party_keys(tx, [handoff]))[handoff]
    return _party_key(handoff, sealed, await holder.keys.keys(sealed))


async def check_code(tx: Tx, holder: Holder, question: q.HandOverCodeQuestion) -> q.HandOverCodeAnswer:
    """Is the code right? A wrong one is counted; after `CODE_TRIES` it opens nothing any more. Raises Refusal `not-found`."""
    handoff = await store.lock_handoff(tx, question.referral)
    code = _opened(await _key(tx, holder, handoff.id), handoff.sealed_code, _code_context(handoff.id))
    if code is None or handoff.offer != question.offer or handoff.code_tries >= CODE_TRIES:
        return q.HandOverCodeAnswer(result=q.CodeResult.LOCKED, tries_left=0)
    if hmac.compare_digest(code, question.code):
        return q.HandOverCodeAnswer(result=q.CodeResult.RIGHT, tries_left=CODE_TRIES - handoff.code_tries)
    left = CODE_TRIES - await store.count_try(tx, handoff.id)
    return q.HandOverCodeAnswer(result=q.CodeResult.WRONG if left else q.CodeResult.LOCKED, tries_left=left)


async def keep_detail(tx: Tx, holder: Holder, question: q.DetailQuestion) -> q.DetailAnswer:
    """Why an organisation declined, or how it ended: kept here, sealed under the party's key. Not where the hand-off is
    not known here, not of who was never asked, and not where everybody was erased."""
    kind, code = ("decline", question.decline) if question.decline else ("outcome", question.outcome)
    asked = await store.asked_facts(tx, question.referral, question.organisation.organisation)
    key = None if asked is None else await _key(tx, holder, question.referral)
    if code is None or key is None:
        return q.DetailAnswer(recorded=False)
    handoff = await store.find_handoff(tx, question.referral)
    sealed = seal(key, code.encode(), _detail_context(question.offer, kind))
    await store.insert_detail(tx, handoff, question.offer, kind, sealed)
    return q.DetailAnswer(recorded=True)


# --- the receiver's packet ----------------------------------------------------------------------------------------


async def open_packet(tx: Tx, offer: UUID, organisation: UUID) -> Packet:
    """The packet of an offer that may still be read by its organisation. Raises Refusal `no-longer-available`."""
    packet = await store.find_packet(tx, offer)
    if packet is None or packet.organisation != organisation or packet.ended_at is not None:
        raise Refusal("no-longer-available")
    return packet


async def mark_fetched(tx: Tx, packet: Packet) -> None:
    """A copy may be out from now on: the first, or the first since the last was accounted for."""
    if await store.set_fetched(tx, packet.offer):
        tx.unkept = True
        await say(tx, HANDOFF, packet.handoff, e.PacketFetchedV1(offer=packet.offer))


async def set_whereabouts(tx: Tx, holder: Holder, packet: Packet, meeting_point: str | None,
                          address: str | None) -> None:  # fmt: skip
    """Where the person is met (always shown to the sender) and, perhaps, the house's address (category placement), in
    place of what was said before. Raises Refusal `erased`."""
    key = await _key(tx, holder, packet.handoff)
    if key is None:
        raise Destroyed
    before = _texts(key, packet)
    after = {HandoffChange.MEETING_POINT: meeting_point, HandoffChange.ADDRESS: address}
    sealed = {
        name: None if text is None else seal(key, text.encode(), _place_context(packet.offer, name))
        for name, text in after.items()
    }
    await store.set_whereabouts(tx, packet.offer, sealed[HandoffChange.MEETING_POINT], sealed[HandoffChange.ADDRESS])
    for change, text in after.items():
        if text != before[change]:
            await say(tx, HANDOFF, packet.handoff, e.HandoffChangedV1(offer=packet.offer, change=change))


async def whereabouts(tx: Tx, holder: Holder, packet: Packet) -> tuple[str | None, str | None]:
    """Meeting point and address, as the packet's own organisation has said them last."""
    texts = _texts(await _key(tx, holder, packet.handoff), packet)
    return texts[HandoffChange.MEETING_POINT], texts[HandoffChange.ADDRESS]


# --- what the sender sees -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """A hand-off as its sender may see it now. `placement`: the fields about the receiver's side that the gate allows;
    `receiver` and `address` are None without them. `nobody`: no organisation has ever accepted."""

    handoff: Handoff
    placement: frozenset[str]
    nobody: bool
    code: str | None
    meeting_point: str | None
    address: str | None
    receiver: UUID | None

    @property
    def state(self) -> str:
        placement, ending = "arrival" in self.placement, self.handoff.ending
        if self.nobody and ending and not placement:
            return "cancelled"
        return domain.shown_state(self.handoff.state, placement=self.nobody or placement, ending=ending)

    @property
    def arrival_verified(self) -> bool | None:
        return self.handoff.arrival_verified if "arrival" in self.placement else None


def unseen(handoff: Handoff) -> Seen:
    """A hand-off without anything that the gate would have to allow."""
    return Seen(handoff, frozenset(), nobody=False, code=None, meeting_point=None, address=None, receiver=None)


async def seen_by_sender(tx: Tx, holder: Holder, ids: Sequence[UUID], sender: q.OrganisationFacts) -> list[Seen]:
    """These hand-offs of the sender's, in this order; like any other reader it holds the fences until it has them."""
    await disclosure.hold(tx, ids)
    found = {handoff.id: handoff for handoff in await store.find_all(tx, ids)}
    parties = await disclosure.load(tx, holder, [found[id_] for id_ in ids if id_ in found])
    packets = {
        id_: some[-1] for id_, some in (await store.packets_of(tx, ids)).items() if _stands(found[id_], some[-1])
    }
    placement = await disclosure.placement(tx, holder, packets, parties, sender)
    sealed = await store.party_keys(tx, ids)
    seen: list[Seen] = []
    for party in parties:
        id_ = party.handoff.id
        key = _party_key(id_, sealed[id_], {one.entry: one.key for one in party.members if one.key is not None})
        seen.append(_seen(party.handoff, key, packets.get(id_), frozenset(placement[id_])))
    return seen


def _stands(handoff: Handoff, packet: Packet) -> bool:
    """Is this the packet of who has the person, or had them when it ended? Not where the network looked anew since."""
    return packet.offer == handoff.offer or handoff.state == "cancelled"


def _seen(handoff: Handoff, key: bytes | None, packet: Packet | None, placement: frozenset[str]) -> Seen:
    """The hand-over code stays as long as the word is `answered`: its end would tell that the person has arrived."""
    if packet is None:
        return replace(unseen(handoff), nobody=True)
    word = domain.shown_state(handoff.state, placement=False, ending=handoff.ending)
    known = word != domain.CLOSED or "arrival" in placement
    texts = _texts(key, packet) if packet.ended_at is None and known else {}
    return Seen(
        handoff, placement, nobody=False,
        code=_opened(key, handoff.sealed_code, _code_context(handoff.id)) if word == domain.ANSWERED else None,
        meeting_point=texts.get(HandoffChange.MEETING_POINT),
        address=texts.get(HandoffChange.ADDRESS) if "address" in placement else None,
        receiver=packet.organisation if "receiver" in placement else None,
    )  # fmt: skip


async def details(tx: Tx, holder: Holder, seen: Seen) -> list[tuple[str, str, datetime]]:
    """(kind, code, when) of what was kept. Why organisations declined is the sender's to know: it names none of them, and
    none of them has the person. How it ended is about where the person was: only with `arrival`."""
    key = await _key(tx, holder, seen.handoff.id)
    kinds = {"decline"} | ({"outcome"} if "arrival" in seen.placement else set())
    rows = [row for row in await store.details_of(tx, seen.handoff.id) if row["kind"] in kinds]
    opened = [(row, _opened(key, row["sealed"], _detail_context(row["offer"], row["kind"]))) for row in rows]
    return [(row["kind"], code, row["at"]) for row, code in opened if code is not None]


# --- what is sealed under the party's key -------------------------------------------------------------------------


def _party_key(handoff: UUID, sealed: Mapping[UUID, bytes | None], keys: Mapping[UUID, bytes]) -> bytes | None:
    """The party's key, opened with the key of whichever member still has one. None where nobody has."""
    for entry, text in sealed.items():
        if text is None:  # a hand-off from before parties had keys of their own: the first member's served
            return keys.get(entry)
        if entry in keys:
            with contextlib.suppress(Unopenable):
                return unseal(keys[entry], text, _party_context(handoff, entry))
    return None


def _texts(key: bytes | None, packet: Packet) -> dict[HandoffChange, str | None]:
    sealed = {HandoffChange.MEETING_POINT: packet.meeting_point, HandoffChange.ADDRESS: packet.address}
    return {name: _opened(key, text, _place_context(packet.offer, name)) for name, text in sealed.items()}


def _opened(key: bytes | None, sealed: bytes | None, context: str) -> str | None:
    """The text; None where there is none, or where everybody was erased."""
    if key is None or sealed is None:
        return None
    try:
        return unseal(key, sealed, context).decode()
    except Unopenable:
        return None


def _party_context(handoff: UUID, entry: UUID) -> str:
    return f"handoff/{handoff}/key/{entry}/1"


def _code_context(handoff: UUID) -> str:
    return f"handoff/{handoff}/code/1"


def _detail_context(offer: UUID, kind: str) -> str:
    return f"detail/{offer}/{kind}/1"


def _place_context(offer: UUID, name: str) -> str:
    return f"packet/{offer}/{name}/1"
