"""The sender's API for hand-offs: request, follow, cancel; and the receiver's door to the packet (by ticket)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AwareDatetime, Field

from schemas.vocabulary import Area, Purpose, ServiceType, Urgency
from services.intake.disclosure import handlers as disclosure
from services.intake.disclosure import store as disclosures
from services.intake.disclosure.handlers import Holder
from services.intake.handoffs import domain, handlers, store
from services.intake.handoffs.store import Handoff
from spean.auth import Caller
from spean.db import Tx
from spean.gated import GatedResponse
from spean.geography import known_area
from spean.http import Body, Command, Reply, View, caller_with, command_with, expect_version
from spean.ids import opaque_id
from spean.problem import Refusal

SCOPE = "intake:send"
# Past this, a request that has not reached the network is shown as such (with a phone number on pages).
NOT_YET_S = 120
_LIST_MOST = 50
_DISCLOSURES_MOST = 1_000
router = APIRouter(tags=["hand-offs"])
Sender = Annotated[Caller, Depends(caller_with(SCOPE))]
SenderCommand = Annotated[Command, Depends(command_with(SCOPE))]


class HandoffBody(Body):
    """A request to the network. `members`: the entries of everybody who moves together, one place each."""

    network: UUID
    service_type: ServiceType
    urgency: Urgency
    area: Area
    members: Annotated[tuple[UUID, ...], Field(min_length=1, max_length=20)]
    need_by: AwareDatetime | None = None


class HandoffView(View):
    """A hand-off as its sender may see it. Without consent to `placement` the state is only `answered` or `closed`."""

    id: UUID
    service_type: ServiceType
    urgency: Urgency
    area: str
    places: int
    need_by: datetime | None
    requested_at: datetime
    state: str
    not_yet_with_network: bool
    hand_over_code: str | None = None
    meeting_point: str | None = None
    address: str | None = None
    receiver: UUID | None = None
    version: int


class HandoffsView(View):
    handoffs: tuple[HandoffView, ...]


class DisclosureView(View):
    """One answer of the gate about one person."""

    entry: UUID
    recipient: UUID
    stage: str
    purpose: str
    allowed: tuple[str, ...]
    refused: dict[str, str]
    consent_version: int | None
    at: datetime


class DisclosuresView(View):
    disclosures: tuple[DisclosureView, ...]


class DetailsView(View):
    details: tuple[dict[str, Any], ...]


def _holder(request: Request) -> Holder:
    holder: Holder = request.app.state.holder
    return holder


async def _view(tx: Tx, holder: Holder, handoff: Handoff, caller: Caller) -> HandoffView:
    """The sender's view passes the gate like any other: `placement` is a data category of its own."""
    placement: set[str] = set()
    texts: dict[str, str] = {}
    packet = next((one for one in await store.packets_of(tx, handoff.id) if one.offer == handoff.offer), None)
    if packet is not None:
        party = await disclosure.load(tx, holder, handoff)
        ask = disclosure.asked(holder, party, caller.facts, "placement", Purpose.FOLLOW_UP, tx)
        placement = await disclosure.placement(tx, party, ask, packet.organisation)
        texts = await handlers.whereabouts(tx, holder, packet)
    waits = handoff.state == "requested" and (tx.now - handoff.requested_at).total_seconds() > NOT_YET_S
    return HandoffView(
        id=handoff.id, service_type=handoff.service_type, urgency=handoff.urgency, area=handoff.area,
        places=handoff.places, need_by=handoff.need_by, requested_at=handoff.requested_at,
        state=domain.shown_state(handoff.state, placement="arrival" in placement), not_yet_with_network=waits,
        hand_over_code=await handlers.hand_over_code(tx, holder, handoff), meeting_point=texts.get("meeting_point"),
        address=texts.get("address") if "address" in placement else None,
        receiver=packet.organisation if packet and "receiver" in placement else None, version=handoff.version,
    )  # fmt: skip


@router.post("/handoffs", status_code=201)
async def request_handoff(request: Request, body: HandoffBody, command: SenderCommand) -> Response:
    """Ask the network for a service. Clocks count from this moment."""
    holder, caller = _holder(request), command.caller
    if body.network not in caller.networks:
        raise Refusal("unknown-network")
    if not known_area(body.area):
        raise Refusal("unknown-area")

    async def work(tx: Tx) -> Reply:
        if body.need_by is not None and body.need_by <= tx.now:
            raise Refusal("need-by-past")
        handoff = Handoff(
            id=opaque_id(), org=caller.org, network=body.network, service_type=body.service_type, urgency=body.urgency,
            area=body.area, places=len(body.members), need_by=body.need_by, requested_at=tx.now, state="requested",
            offer=None, sealed_code=None, code_tries=0, version=1,
        )  # fmt: skip
        await handlers.request(tx, holder, handoff, list(body.members))
        return Reply(await _view(tx, holder, handoff, caller), 1, 201)

    return await command.run("handoff.request", work)


@router.get("/handoffs")
async def list_handoffs(
    request: Request,
    caller: Sender,
    before: Annotated[AwareDatetime | None, Query(description="older than this")] = None,
) -> Response:
    """My organisation's hand-offs, the latest first (50 at a time)."""
    holder = _holder(request)

    async def work(tx: Tx) -> Reply:
        found = await store.handoffs_of(tx, caller.org, before, _LIST_MOST)
        return Reply(HandoffsView(handoffs=tuple([await _view(tx, holder, one, caller) for one in found])))

    return GatedResponse(request.app.state.door.db, "handoffs.list", work, caller.org)


@router.get("/handoffs/{handoff}", response_model=HandoffView)
async def read_handoff(request: Request, handoff: UUID, caller: Sender) -> Response:
    holder = _holder(request)

    async def work(tx: Tx) -> Reply:
        found = await store.find_handoff(tx, handoff)
        return Reply(await _view(tx, holder, found, caller), found.version)

    return GatedResponse(request.app.state.door.db, "handoff.read", work, caller.org)


@router.get("/handoffs/{handoff}/disclosures", response_model=DisclosuresView)
async def read_disclosures(request: Request, handoff: UUID, caller: Sender) -> DisclosuresView:
    """Who was told which fields of my hand-off, what was refused, and by which rule."""
    async with request.app.state.door.db.transaction("disclosures.read", org=caller.org) as tx:
        await store.find_handoff(tx, handoff)
        rows = await disclosures.of_handoff(tx, handoff, _DISCLOSURES_MOST)
    return DisclosuresView(disclosures=tuple(DisclosureView.model_validate(disclosures.shown(row)) for row in rows))


@router.get("/handoffs/{handoff}/details", response_model=DetailsView)
async def read_details(request: Request, handoff: UUID, caller: Sender) -> Response:
    """Why organisations declined, and how it ended, where the person agreed that the sender may know (`placement`)."""
    holder = _holder(request)

    async def work(tx: Tx) -> Reply:
        found = await store.find_handoff(tx, handoff)
        view = await _view(tx, holder, found, caller)
        kept = await handlers.details(tx, holder, handoff) if view.state in {found.state} else []
        return Reply(DetailsView(details=tuple({"kind": kind, "code": code} for _, kind, code in kept)))

    return GatedResponse(request.app.state.door.db, "handoff.details", work, caller.org)


@router.post("/handoffs/{handoff}/cancel", response_model=HandoffView)
async def cancel_handoff(request: Request, handoff: UUID, command: SenderCommand) -> Response:
    """End the request. Before arrival a place is freed; after arrival the house speaks with the person."""

    async def work(tx: Tx) -> Reply:
        locked = await store.lock_handoff(tx, handoff)
        expect_version(command, locked.version)
        await handlers.cancel(tx, locked)
        after = await store.find_handoff(tx, handoff)
        return Reply(await _view(tx, _holder(request), after, command.caller), after.version)

    return await command.run("handoff.cancel", work)
