"""Erasure over the API: the sender's own people; the officer's legal holds and rules of retention."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AwareDatetime, Field

from schemas.vocabulary import ServiceGroup
from services.intake.cases import store as cases
from services.intake.disclosure.handlers import Holder
from services.intake.erasure import handlers, store
from services.intake.erasure.domain import Applies, End, Rule, Why
from spean.auth import Caller
from spean.db import Database, DatabaseProblem, Tx
from spean.gated import GatedResponse
from spean.http import Body, Command, Reply, View, caller_with, command_with
from spean.ids import opaque_id
from spean.problem import Refusal

SCOPE, OFFICERS_SCOPE = "intake:send", "intake:rules"
_LIST_MOST = 1_000
# A rule of retention does not begin at once: who is erased by it does not come back.
NOTICE = timedelta(days=1)
COUNTED_MOST = 1_000
router = APIRouter(tags=["erasure"])
Sender = Annotated[Caller, Depends(caller_with(SCOPE))]
SenderCommand = Annotated[Command, Depends(command_with(SCOPE))]
OfficerView = Annotated[Caller, Depends(caller_with(OFFICERS_SCOPE))]
Officer = Annotated[Command, Depends(command_with(OFFICERS_SCOPE))]


class EraseBody(Body):
    """`mistake`: nobody should have been written down here."""

    why: Literal["person_asked", "mistake"]


class ErasureAsked(View):
    entry: UUID
    asked_at: datetime


class ErasureView(View):
    """`done_at`: since then nothing can be read any more; absent: that is under way, or was asked for after you had ended a
    hand-off that somebody had accepted. Then it waits for as long as somebody has the person, and nothing tells you whether
    anybody has."""

    entry: UUID
    why: Why
    by: str
    asked_at: datetime
    done_at: datetime | None


class HoldBody(Body):
    """Why somebody may not be erased, and until when."""

    reason: Annotated[str, Field(min_length=10, max_length=4_000)]
    until: AwareDatetime


class HoldMade(View):
    id: UUID


class HoldView(View):
    """`reason`: absent where it cannot be read any more."""

    id: UUID
    reason: str | None
    by: str
    at: datetime
    until: datetime
    lifted_by: str | None
    lifted_at: datetime | None


class HoldsView(View):
    """In the order in which they were made."""

    holds: tuple[HoldView, ...]


class RetentionBody(Body):
    """How many days somebody is kept after the last thing that happened. `ended`: after a hand-off, of this service group and
    with this end where they are named; `met`: never handed on; `screened`: and agreed to nothing."""

    applies: Applies
    group: ServiceGroup | None = None
    end: End | None = None
    days: Annotated[int, Field(ge=1, le=36_500)]
    valid_from: AwareDatetime | None = Field(default=None, description="default, and soonest: a day from now")

    def rule(self) -> Rule:
        """Raises Refusal `invalid` for a group or an end where nothing has ended."""
        if self.applies is not Applies.ENDED and (self.group is not None or self.end is not None):
            raise Refusal("invalid", errors=[{"at": "body.applies", "why": "no_group_and_no_end"}])
        return Rule(self.applies, self.group, self.end, self.days)


class RetentionMade(View):
    """`would_erase`: how many of the people now with the holder are erased as soon as it begins, if nothing more happens to them
    (1,000: so many or more). Until then it can be cancelled."""

    id: UUID
    valid_from: datetime
    would_erase: int


class RetentionCancelled(View):
    id: UUID


class RetentionRule(View):
    id: UUID
    applies: Applies
    group: ServiceGroup | None
    end: End | None
    days: int
    valid_from: datetime
    created_by: str
    cancelled_at: datetime | None


class RetentionView(View):
    """With their history, those that begin last first (at most 1,000)."""

    rules: tuple[RetentionRule, ...]


@router.post("/entries/{entry}/erase", response_model=ErasureAsked)
async def erase(request: Request, entry: UUID, body: EraseBody, command: SenderCommand) -> Response:
    """Erase somebody of my organisation: nobody can read anything of them any more, also in backups, and whoever holds a copy
    is asked to erase it. Not while a hand-off of theirs is under way or a legal hold stands; where you have ended it and somebody
    has the person, it is carried out when that is over, and your organisation reads nothing meanwhile. It cannot be undone."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        asked = await handlers.begin(tx, holder, entry, Why(body.why), command.caller.client)
        return Reply(ErasureAsked(entry=entry, asked_at=asked.asked_at))

    response = await command.run("entry.erase", work)
    await at_once(request.app.state.door.db, holder, entry)
    return response


async def at_once(db: Database, holder: Holder, entry: UUID) -> None:
    """What was asked for has committed: done now where that can be, else by the clock."""
    with contextlib.suppress(DatabaseProblem):
        await handlers.carry_out(db, holder, entry)


@router.get("/entries/{entry}/erasure", response_model=ErasureView)
async def read_erasure(request: Request, entry: UUID, caller: Sender) -> Response:
    """Who erased somebody of my organisation, when, why."""

    async def work(tx: Tx) -> Reply:
        await cases.find_entry(tx, entry)
        found = await store.find(tx, entry)
        if found is None:
            raise Refusal("not-found")
        return Reply(ErasureView.model_validate(await handlers.as_told(tx, found), from_attributes=True))

    return GatedResponse(request.app.state.door.db, "erasure.read", work, caller.org)


@router.post("/entries/{entry}/holds", status_code=201, response_model=HoldMade)
async def hold(request: Request, entry: UUID, body: HoldBody, command: Officer) -> Response:
    """A legal hold on somebody of my organisation: until then nobody erases them, also no rule. The reason is sealed."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        id_ = await handlers.put_hold(tx, holder, entry, body.reason, body.until, command.caller.client)
        return Reply(HoldMade(id=id_), status=201)

    return await command.run("hold.put", work)


@router.post("/entries/{entry}/holds/{hold}/lift", response_model=HoldMade)
async def lift(entry: UUID, hold: UUID, command: Officer) -> Response:
    """It ends now."""

    async def work(tx: Tx) -> Reply:
        await handlers.lift_hold(tx, entry, hold, command.caller.client)
        return Reply(HoldMade(id=hold))

    return await command.run("hold.lift", work)


@router.get("/entries/{entry}/holds", response_model=HoldsView)
async def list_holds(request: Request, entry: UUID, caller: OfficerView) -> Response:
    """The legal holds of somebody of my organisation, with their reasons."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        found = await handlers.holds(tx, holder, entry)
        return Reply(HoldsView(holds=tuple(HoldView.model_validate(one, from_attributes=True) for one in found)))

    return GatedResponse(request.app.state.door.db, "holds.list", work, caller.org)


@router.post("/retention", status_code=201, response_model=RetentionMade)
async def add_retention(body: RetentionBody, command: Officer) -> Response:
    """A rule of retention, in place of that of the same scope once it begins. Who is erased by it does not come back: it begins
    a day from now at the soonest, and can be cancelled until then."""
    id_, rule = opaque_id(), body.rule()

    async def work(tx: Tx) -> Reply:
        begins = body.valid_from or tx.now + NOTICE
        if begins < tx.now + NOTICE:
            raise Refusal("invalid", errors=[{"at": "body.valid_from", "why": "too_soon"}])
        would = await handlers.would_erase(tx, rule, begins, COUNTED_MOST)
        await store.insert_rule(tx, id_, rule, begins, command.caller.client)
        return Reply(RetentionMade(id=id_, valid_from=begins, would_erase=would), status=201)

    return await command.run_as_service("retention.add", work)


@router.post("/retention/{rule}/cancel", response_model=RetentionCancelled)
async def cancel_retention(rule: UUID, command: Officer) -> Response:
    """A rule of retention that has not begun yet never does; the one before it goes on counting."""

    async def work(tx: Tx) -> Reply:
        if not await store.cancel_rule(tx, rule, command.caller.client):
            raise Refusal("not-found")
        return Reply(RetentionCancelled(id=rule))

    return await command.run_as_service("retention.cancel", work)


@router.get("/retention")
async def list_retention(request: Request, _: OfficerView) -> RetentionView:
    """How long this holder keeps whom."""
    db: Database = request.app.state.door.db
    async with db.transaction("retention.list") as tx:
        rows = await store.rules(tx, _LIST_MOST)
    return RetentionView(
        rules=tuple(
            RetentionRule(
                id=row["id"], applies=row["applies"], group=row["service_group"], end=row["ended"], days=row["days"],
                valid_from=row["valid_from"], created_by=row["created_by"], cancelled_at=row["cancelled_at"],
            )
            for row in rows
        )
    )  # fmt: skip
