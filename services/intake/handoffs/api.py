"""The sender's API for hand-offs: request, follow, cancel. The answer to a command holds nothing that the gate would
have to allow, for it is kept and given again."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AwareDatetime, Field

from schemas.vocabulary import Area, ServiceType, Urgency, WaitsFor
from services.intake.disclosure import handlers as disclosure
from services.intake.disclosure import store as disclosures
from services.intake.disclosure.domain import Rule
from services.intake.disclosure.handlers import Holder
from services.intake.handoffs import domain, handlers, store
from services.intake.handoffs.handlers import Seen
from services.intake.handoffs.store import Handoff
from spean.auth import Caller
from spean.db import Tx
from spean.gated import GatedResponse
from spean.geography import known_area
from spean.http import Body, Command, Reply, View, caller_with, command_with, expect_version
from spean.ids import opaque_id
from spean.problem import Refusal

SCOPE = "intake:send"
_LIST_MOST = 50
DISCLOSURES_MOST = 1_000
# Who may not be named is not told by a reason either: only one organisation may be abroad, or without an agreement.
UNSAID = "unsaid"
_OF_THE_RECEIVER = frozenset({Rule.AGREEMENT, Rule.CORRIDOR})
_OF_THE_RECIPIENT = _OF_THE_RECEIVER | {
    Rule.ORGANISATION_SUSPENDED, Rule.ORGANISATION_UNKNOWN, Rule.EXCLUDED, Rule.CONSENT_RECIPIENT, Rule.DECISION,
}  # fmt: skip
router = APIRouter(tags=["hand-offs"])
Sender = Annotated[Caller, Depends(caller_with(SCOPE))]
SenderCommand = Annotated[Command, Depends(command_with(SCOPE))]
StopCommand = Annotated[Command, Depends(command_with(SCOPE, even_suspended=True))]


class HandoffBody(Body):
    """A request to the network. `members`: the entries of everybody who moves together, one place each."""

    network: UUID
    service_type: ServiceType
    urgency: Urgency
    area: Area
    members: Annotated[tuple[UUID, ...], Field(min_length=1, max_length=20)]
    need_by: Annotated[AwareDatetime | None, Field(description="to the minute; what is finer is cut off")] = None


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
    waits_for: WaitsFor | None = Field(default=None, description="whose turn it is with what is on hold")
    hand_over_code: str | None = None
    meeting_point: str | None = None
    address: str | None = None
    receiver: UUID | None = None
    arrival_verified: bool | None = Field(default=None, description="absent before arrival, and without `placement`")
    version: int


class HandoffsView(View):
    handoffs: tuple[HandoffView, ...]


class DisclosureView(View):
    """One answer of the gate about one person. The same answer, given again and again, is counted: `times` between `at`
    and `last_at`. `refused`: field → rule; `unsaid` where the rule would tell the sender who has the person."""

    number: int
    entry: UUID
    recipient: UUID | None = Field(description="absent where the sender may not know who was asked (`placement`)")
    stage: str
    purpose: str
    allowed: tuple[str, ...]
    refused: dict[str, str]
    consent_version: int | None
    at: datetime
    times: int
    last_at: datetime


class DisclosuresView(View):
    """In the order in which they were given."""

    disclosures: tuple[DisclosureView, ...]


class DetailView(View):
    """`kind` is decline or outcome, `code` one of its list."""

    kind: str
    code: str


class DetailsView(View):
    details: tuple[DetailView, ...]


def _holder(request: Request) -> Holder:
    holder: Holder = request.app.state.holder
    return holder


def view(seen: Seen, now: datetime) -> HandoffView:
    h = seen.handoff
    return HandoffView(
        id=h.id, service_type=h.service_type, urgency=h.urgency, area=h.area, places=h.places, need_by=h.need_by,
        requested_at=h.requested_at, state=seen.state,
        not_yet_with_network=domain.not_yet_with_network(h.state, h.requested_at, now), hand_over_code=seen.code,
        meeting_point=seen.meeting_point, address=seen.address, receiver=seen.receiver,
        arrival_verified=seen.arrival_verified, version=h.version,
        waits_for=h.waits_for if seen.state == "on-hold" else None,
    )  # fmt: skip


async def seen(tx: Tx, holder: Holder, handoff: UUID, caller: Caller) -> Seen:
    """One hand-off as its sender may see it. Raises Refusal `not-found`."""
    found = await handlers.seen_by_sender(tx, holder, [handoff], caller.facts)
    if not found:
        raise Refusal("not-found")
    return found[0]


@router.post("/handoffs", status_code=201, response_model=HandoffView)
async def request_handoff(request: Request, body: HandoffBody, command: SenderCommand) -> Response:
    """Ask the network for a service. Clocks count from this moment."""
    holder, caller = _holder(request), command.caller
    if body.network not in caller.networks:
        raise Refusal("unknown-network")
    if not known_area(body.area):
        raise Refusal("unknown-area")

    # Every house that is asked reads it: finer, it would be as good as a number of the person's own.
    need_by = body.need_by and body.need_by.replace(second=0, microsecond=0)

    async def work(tx: Tx) -> Reply:
        if need_by is not None and need_by <= tx.now:
            raise Refusal("need-by-past")
        handoff = Handoff(
            id=opaque_id(), org=caller.org, network=body.network, service_type=body.service_type, urgency=body.urgency,
            area=body.area, places=len(body.members), need_by=need_by, requested_at=tx.now, state="requested",
            offer=None, sealed_code=None, code_tries=0, version=1,
        )  # fmt: skip
        await handlers.request(tx, holder, handoff, list(body.members))
        return Reply(view(handlers.unseen(handoff), tx.now), 1, 201)

    return await command.run("handoff.request", work)


@router.get("/handoffs", response_model=HandoffsView)
async def list_handoffs(
    request: Request,
    caller: Sender,
    before: Annotated[AwareDatetime | None, Query(description="older than this")] = None,
) -> Response:
    """My organisation's hand-offs, the latest first (50 at a time)."""
    holder = _holder(request)

    async def work(tx: Tx) -> Reply:
        ids = await store.handoffs_of(tx, caller.org, before, _LIST_MOST)
        found = await handlers.seen_by_sender(tx, holder, ids, caller.facts)
        return Reply(HandoffsView(handoffs=tuple(view(one, tx.now) for one in found)))

    return GatedResponse(request.app.state.door.db, "handoffs.list", work, caller.org)


@router.get("/handoffs/{handoff}", response_model=HandoffView)
async def read_handoff(request: Request, handoff: UUID, caller: Sender) -> Response:
    """One hand-off, as its sender may see it."""
    holder = _holder(request)

    async def work(tx: Tx) -> Reply:
        found = await seen(tx, holder, handoff, caller)
        return Reply(view(found, tx.now), found.handoff.version)

    return GatedResponse(request.app.state.door.db, "handoff.read", work, caller.org)


@router.get("/handoffs/{handoff}/disclosures", response_model=DisclosuresView)
async def read_disclosures(
    request: Request, handoff: UUID, caller: Sender, after: Annotated[int, Query(ge=0, description="a number")] = 0
) -> Response:
    """Who was told which fields of my hand-off, what was refused, and by which rule (1,000 at a time; go on `after` the
    last number). Whoever was asked is named only where the person agreed that the sender may know (`placement`)."""
    holder = _holder(request)

    async def work(tx: Tx) -> Reply:
        return Reply(await disclosures_now(tx, holder, handoff, caller, after, DISCLOSURES_MOST))

    return GatedResponse(request.app.state.door.db, "disclosures.read", work, caller.org)


async def disclosures_now(
    tx: Tx, holder: Holder, handoff: UUID, caller: Caller, after: int, limit: int
) -> DisclosuresView:
    """Raises Refusal `not-found`."""
    unnamed = await disclosure.unnamed(tx, holder, handoff, caller.facts)
    rows = await disclosures.of_handoff(tx, handoff, after, limit)
    return DisclosuresView(disclosures=tuple(_disclosure(row, unnamed) for row in rows))


def _disclosure(row: asyncpg.Record, unnamed: set[UUID]) -> DisclosureView:
    refused: dict[str, str] = json.loads(row["refused"])
    if row["recipient"] in unnamed:
        refused = _without(refused, _OF_THE_RECIPIENT)
    elif row["stage"] == "placement" and "receiver" not in row["allowed"]:
        refused = _without(refused, _OF_THE_RECEIVER)
    return DisclosureView(
        number=row["number"], entry=row["entry"], recipient=None if row["recipient"] in unnamed else row["recipient"],
        stage=row["stage"], purpose=row["purpose"], allowed=row["allowed"], refused=refused,
        consent_version=row["consent_version"], at=row["at"], times=row["times"], last_at=row["last_at"],
    )  # fmt: skip


def _without(refused: Mapping[str, str], rules: Collection[str]) -> dict[str, str]:
    return {field: UNSAID if rule in rules else rule for field, rule in refused.items()}


@router.get("/handoffs/{handoff}/details", response_model=DetailsView)
async def read_details(request: Request, handoff: UUID, caller: Sender) -> Response:
    """Why organisations declined, and, where the person agreed that the sender may know (`placement`), how it ended."""
    holder = _holder(request)

    async def work(tx: Tx) -> Reply:
        kept = await handlers.details(tx, holder, await seen(tx, holder, handoff, caller))
        return Reply(DetailsView(details=tuple(DetailView(kind=kind, code=code) for kind, code, _ in kept)))

    return GatedResponse(request.app.state.door.db, "handoff.details", work, caller.org)


@router.post("/handoffs/{handoff}/cancel", response_model=HandoffView)
async def cancel_handoff(handoff: UUID, command: StopCommand) -> Response:
    """End the request. Before arrival a place is freed; after arrival the house speaks with the person. The answer says
    no more than `answered` or `closed`, for answers are kept: read the hand-off for what the gate allows now."""

    async def work(tx: Tx) -> Reply:
        locked = await store.lock_handoff(tx, handoff)
        expect_version(command, locked.version)
        await handlers.cancel(tx, locked)
        after = await store.find_handoff(tx, handoff)
        return Reply(view(handlers.unseen(after), tx.now), after.version)

    return await command.run("handoff.cancel", work)


@router.post("/handoffs/{handoff}/ask-again", response_model=HandoffView)
async def ask_again(request: Request, handoff: UUID, command: SenderCommand) -> Response:
    """Ask the network anew for a hand-off that is on hold: because a consent had been taken back, or because a coordinator
    gave it back. Needs the same consents as a new one. Also those who declined or did not answer may be asked."""
    holder = _holder(request)

    async def work(tx: Tx) -> Reply:
        await disclosure.hold(tx, [handoff])
        locked = await store.lock_handoff(tx, handoff)
        expect_version(command, locked.version)
        await handlers.ask_again(tx, holder, locked)
        return Reply(view(handlers.unseen(locked), tx.now), locked.version)

    return await command.run("handoff.ask_again", work)
