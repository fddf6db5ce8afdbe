"""The holder after its database was restored from a backup: what each of its own events makes of the rows here.

Fences come from the key store at every start, before this; erased people stay erased, for their keys lie there. Events
describe work and never a person, so what was entered about people in the time forgotten is gone: a hand-off of that time
comes back without its people, and nothing is told of nobody. Where sharing was narrowed in a way that the key store does
not keep, everybody in that hand-off is shut until it was talked through again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TypeVar
from uuid import UUID

from schemas import events as e
from schemas.events import EventData
from schemas.questions import OrganisationFacts
from schemas.registry import HANDOFF, PREFIX
from schemas.vocabulary import GROUP_OF, ErasureAnswer, OrganisationStatus, OrganisationType, ReasonFamily
from services.intake.consent import handlers as consent
from services.intake.consent import store as consents
from services.intake.disclosure.handlers import Holder
from services.intake.handoffs import handlers, stopping, store
from services.intake.handoffs.store import Handoff
from services.intake.keystore.store import Fence
from spean.clock import clear_due, set_due
from spean.consumer import Poison
from spean.db import Tx
from spean.event import Event
from spean.outbox import say
from spean.rejoin import Causes, Own, Take, Taken

D = TypeVar("D", bound=EventData)


async def is_restored(tx: Tx, handoff: UUID) -> bool:
    """Was this hand-off open when the database was restored?"""
    found: bool = await tx.conn.fetchval("select exists (select from restored where handoff = $1)", handoff)
    return found


# --- what each event makes of the rows ------------------------------------------------------------------------------


async def _requested(tx: Tx, event: Event, _: Causes) -> None:
    """A stub without its people: whoever asked sees it on their list, and asks for them anew."""
    said = _said(event, e.HandoffRequestedV1)
    kind = next((one for one, group in GROUP_OF.items() if group is said.group), None)
    if kind is None:
        raise Poison("unknown-group")
    stub = Handoff(
        id=event.subject, org=said.sender, network=said.network, service_type=kind, urgency=said.urgency, area=said.area,
        places=said.places, need_by=said.need_by, requested_at=said.requested_at, state="requested", offer=None,
        sealed_code=None, code_tries=0, version=1,
    )  # fmt: skip
    await store.insert_handoff(tx, stub, {})


async def _cancelled(tx: Tx, event: Event, _: Causes) -> None:
    said, handoff = _said(event, e.HandoffCancelledV1), await store.lock_handoff(tx, event.subject)
    if handoff.state in store.ENDED or handoff.ending:
        return
    if said.reason is ReasonFamily.STOPPED:
        await stopping.end_service(tx, [handoff])
        await _shut(tx, handoff.id, service=True)
    else:
        await stopping.cancel(tx, handoff)


async def _stopped(tx: Tx, event: Event, _: Causes) -> None:
    """Somebody withdrew, which the key store has told already; or narrowed something in another way: a rule has ended for
    instance. What it was is gone, so nothing is shared until they have been asked again."""
    await _shut(tx, event.subject, service=False)


async def _shut(tx: Tx, handoff: UUID, *, service: bool) -> None:
    """Everybody in a hand-off, unless it is known who of them has stopped."""
    members = (await store.members(tx, [handoff])).get(handoff, [])
    fences = {entry: await consents.lock_fence(tx, entry) for entry in sorted(members)}
    if any(fence.service_shut if service else fence.sharing_shut for fence in fences.values()):
        return
    for entry, fence in fences.items():
        shut = Fence(fence.generation + 1, sharing_shut=True, service_shut=service or fence.service_shut)
        await consents.save_fence(tx, entry, shut)
        await set_due(tx, consent.KEEP, entry, tx.now)


async def _released(holder: Holder, tx: Tx, event: Event, causes: Causes) -> None:
    """The packet is released again, under a new hand-over code. Where it is forgotten who was asked, it stays shut."""
    said = _said(event, e.PacketReleasedV1)
    cause = causes.get(event.causationid) if event.causationid else None
    accepted = None if cause is None else cause.data()
    if not isinstance(accepted, e.OfferAcceptedV1) or accepted.offer != said.offer:
        raise Poison("no-cause")
    if await store.asked_facts(tx, event.subject, accepted.organisation) is None:
        await _insert_shut(tx, said.offer, event.subject, accepted.organisation)
        return
    await handlers.release(tx, holder, event.subject, said.offer, accepted.organisation)


async def _fetched(tx: Tx, event: Event, _: Causes) -> None:
    await store.set_fetched(tx, _said(event, e.PacketFetchedV1).offer)


async def _erasure_requested(tx: Tx, event: Event, _: Causes) -> None:
    said = _said(event, e.ErasureRequestedV1)
    if await store.lock_packet(tx, said.offer) is None:
        await _insert_shut(tx, said.offer, event.subject, said.organisation)
    await store.set_fetched(tx, said.offer)
    if await store.request_erasure(tx, said.offer, said.answer_by):
        await set_due(tx, stopping.ERASURE_DUE, said.offer, said.answer_by)


async def _erasure_acknowledged(tx: Tx, event: Event, _: Causes) -> None:
    said = _said(event, e.ErasureAcknowledgedV1)
    await store.answer_erasure(tx, said.offer, ErasureAnswer(said.answer))
    await clear_due(tx, stopping.ERASURE_DUE, said.offer)


async def _erasure_overdue(tx: Tx, event: Event, _: Causes) -> None:
    await clear_due(tx, stopping.ERASURE_DUE, _said(event, e.ErasureOverdueV1).offer)


async def _insert_shut(tx: Tx, offer: UUID, handoff: UUID, organisation: UUID) -> None:
    """A packet that was out, of which nothing else is known: it can be accounted for and never read."""
    nothing = OrganisationFacts(
        organisation=organisation, type=OrganisationType.UNKNOWN, country="XX", law_enforcement=True,
        status=OrganisationStatus.SUSPENDED,
    )  # fmt: skip
    await store.insert_packet(tx, offer, handoff, nothing)
    await store.end_packets(tx, [offer])


# --- what is said at the end ----------------------------------------------------------------------------------------


async def _settle(tx: Tx, taken: Taken) -> None:
    """The network looks again at what the holder knows less of than it did: hand-offs without people, and those of which
    it is forgotten who was asked. An open offer is taken back; whoever has a place keeps it."""
    await tx.conn.execute(
        """
        insert into restored (handoff, at) select id, $1 from handoff where state not in ('completed', 'cancelled')
        on conflict do nothing
        """,
        tx.now,
    )
    forgotten: set[UUID] = set()
    for event in taken.causes.values():
        said = event.data() if event.type == PREFIX + "offer.sent.v1" else None
        if isinstance(said, e.OfferSentV1) and await store.asked_facts(tx, event.subject, said.organisation) is None:
            forgotten.add(event.subject)
    unfit = {event.subject for event in taken.unclear} | taken.discarded
    for handoff in await store.find_all(tx, forgotten | unfit | {event.subject for event in taken.events}):
        nobody = handoff.id not in await store.members(tx, [handoff.id])
        if handoff.state not in store.ENDED and (nobody or handoff.id in forgotten | unfit):
            await say(tx, HANDOFF, handoff.id, e.DisclosureStoppedV1())


def _said(event: Event, model: type[D]) -> D:
    data = event.data()
    assert isinstance(data, model)  # noqa: S101 (the registry gave this model for this type)
    return data


def own(holder: Holder, name: str) -> Own:
    """What the holder called `name` knows itself by. Others' events take effect again: all of that is safe to repeat."""
    takes: Mapping[str, Take] = {
        "handoff.requested.v1": _requested,
        "handoff.cancelled.v1": _cancelled,
        "disclosure.stopped.v1": _stopped,
        "packet.released.v1": partial(_released, holder),
        "packet.fetched.v1": _fetched,
        "erasure.requested.v1": _erasure_requested,
        "erasure.acknowledged.v1": _erasure_acknowledged,
        "erasure.overdue.v1": _erasure_overdue,
    }
    return Own(
        topics=[HANDOFF.named(name)],
        take={PREFIX + short: take for short, take in takes.items()},
        settle=_settle,
        passes=False,
    )
