"""The sender's API for what stands in for consent: propose, decide, end, and that the person was told."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AwareDatetime, Field

from schemas.vocabulary import DataCategory, Purpose, ServiceType
from services.intake.bases import handlers, store
from services.intake.bases.domain import USUAL_CATEGORIES, USUAL_PURPOSES, Kind, Proposal, State, somebody
from services.intake.bases.store import Row
from services.intake.cases import store as cases
from services.intake.consent.api import RecipientsBody, expect_known
from services.intake.disclosure.handlers import Holder
from spean.auth import Caller
from spean.db import Tx
from spean.gated import GatedResponse
from spean.http import Body, Command, Reply, View, caller_with, command_with

SCOPE = "intake:send"
# Of each list of what waits.
WAITING_MOST = 200
router = APIRouter(tags=["bases"])
Sender = Annotated[Caller, Depends(caller_with(SCOPE))]
SenderCommand = Annotated[Command, Depends(command_with(SCOPE))]
StopCommand = Annotated[Command, Depends(command_with(SCOPE, even_suspended=True))]
Words = Annotated[str, Field(min_length=10, max_length=4_000)]
_TOLD = "of a system: who of your staff this is, by a name of your own that is the same in all your systems"
ActingFor = Annotated[str | None, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,59}$", description=_TOLD)]


class BasisBody(Body):
    """What is to stand in for consent, and why. What is left out of categories and purposes is what is usual for that
    kind, as far as there is something usual."""

    kind: Kind
    justification: Words
    categories: Annotated[tuple[DataCategory, ...], Field(max_length=20)] = ()
    purposes: Annotated[tuple[Purpose, ...], Field(max_length=10)] = ()
    recipients: RecipientsBody = RecipientsBody()
    services: Annotated[tuple[ServiceType, ...], Field(max_length=60, description="what a panel determines")] = ()
    valid_until: AwareDatetime | None = Field(default=None, description="default: as long as this kind may last")
    at_once: bool = Field(default=False, description="in force before a second person has looked at it")
    spoken: bool = Field(default=False, description="emergency profile: the person has said yes")
    acting_for: ActingFor = None

    def proposal(self) -> Proposal:
        return Proposal(
            self.kind, frozenset(self.categories) or USUAL_CATEGORIES.get(self.kind, frozenset()),
            frozenset(self.purposes) or USUAL_PURPOSES, self.recipients.model_dump(mode="json"),
            frozenset(self.services), self.valid_until, self.justification, self.spoken, self.at_once,
        )  # fmt: skip


class DecideBody(Body):
    """What another person says to it, with reasons."""

    agrees: bool
    reasons: Words
    acting_for: ActingFor = None


class BasisMade(View):
    id: UUID
    state: State


class StepView(View):
    """`words`: absent where none were written."""

    step: str
    by: str
    at: datetime
    words: str | None


class BasisView(View):
    """`until`: its end, or the end of the time that others have to decide, where nobody has yet. `stands`: it counts at the
    gate now, as far as its state and its times say. `people`: how many different ones have to agree."""

    id: UUID
    kind: Kind
    state: State
    stands: bool
    categories: tuple[DataCategory, ...]
    purposes: tuple[Purpose, ...]
    recipients: dict[str, Any]
    services: tuple[ServiceType, ...]
    people: int
    decide_by: datetime
    decided_at: datetime | None
    began_at: datetime | None
    until: datetime
    told_at: datetime | None
    over_at: datetime | None
    steps: tuple[StepView, ...]


class BasesView(View):
    """In the order in which they were proposed."""

    bases: tuple[BasisView, ...]


class WaitsView(View):
    """A basis that somebody has to look at, by nothing that is sealed."""

    id: UUID
    entry: UUID
    kind: Kind
    state: State
    until: datetime
    mine: bool = Field(description="I have proposed it, or said yes to it, so it waits for somebody else")


class AgainView(View):
    """Somebody to be asked again: `rested` after an emergency, `of_age` since their guardian's consent has ended."""

    entry: UUID
    reason: str
    since: datetime


class WaitingView(View):
    """What waits for my organisation's people: to be decided, to be told to the person, to be asked again (200 each)."""

    undecided: tuple[WaitsView, ...]
    untold: tuple[WaitsView, ...]
    ask_again: tuple[AgainView, ...]


def made(b: Row, status: int = 200) -> Reply:
    return Reply(BasisMade(id=b.id, state=b.state), status=status)


@router.post("/entries/{entry}/bases", status_code=201, response_model=BasisMade)
async def propose(request: Request, entry: UUID, body: BasisBody, command: SenderCommand) -> Response:
    """Mark what is to stand in for consent, justified in writing. Others of the organisation decide within a time limit;
    what nobody confirms lapses, and the gate is shut. A system names who of the staff proposes (`acting_for`): without, this
    counts for nobody, and one more has to agree."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        by = somebody(command.caller.client, body.acting_for)
        proposed = await handlers.propose(tx, holder, entry, body.proposal(), by)
        await expect_known(tx, body.recipients)
        return made(proposed, 201)

    return await command.run("basis.propose", work)


@router.post("/entries/{entry}/bases/{basis}/decide", response_model=BasisMade)
async def decide(request: Request, entry: UUID, basis: UUID, body: DecideBody, command: SenderCommand) -> Response:
    """Say yes or no to what somebody else of the organisation has proposed. One no ends it. A yes needs a person: one who has
    signed in, or whom the system names (`acting_for`); of these and those nobody can tell whether they are two."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        by = somebody(command.caller.client, body.acting_for)
        return made(await handlers.decide(tx, holder, entry, basis, by, agrees=body.agrees, reasons=body.reasons))

    return await command.run("basis.decide", work)


@router.post("/entries/{entry}/bases/{basis}/end", response_model=BasisMade)
async def end(request: Request, entry: UUID, basis: UUID, command: StopCommand) -> Response:
    """It stands in for nothing any more, from this moment. Needs nobody else and no reason."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        return made(await handlers.end(tx, holder, entry, basis, command.caller.client))

    return await command.run("basis.end", work)


@router.post("/entries/{entry}/bases/{basis}/told", response_model=BasisMade)
async def told(entry: UUID, basis: UUID, command: SenderCommand) -> Response:
    """The person knows now that something was shared without their word, and why."""

    async def work(tx: Tx) -> Reply:
        return made(await handlers.tell(tx, entry, basis, command.caller.client))

    return await command.run("basis.told", work)


@router.get("/entries/{entry}/bases", response_model=BasesView)
async def read(request: Request, entry: UUID, caller: Sender) -> Response:
    """Everything that was marked for a person of my organisation, with who said what."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        await cases.find_entry(tx, entry)
        return Reply(BasesView(bases=tuple([await view(tx, holder, b) for b in await store.of_entry(tx, entry)])))

    return GatedResponse(request.app.state.door.db, "bases.read", work, caller.org)


async def view(tx: Tx, holder: Holder, b: Row) -> BasisView:
    """Raises Refusal `erased`."""
    steps = await handlers.said(tx, holder, b)
    return BasisView(
        id=b.id, kind=b.kind, state=b.state, stands=b.state is State.IN_FORCE and b.basis.stands(tx.now),
        categories=b.categories, purposes=b.purposes, recipients=b.recipients, services=b.services, people=b.people,
        decide_by=b.decide_by, decided_at=b.decided_at, began_at=b.began_at, until=b.until, told_at=b.told_at,
        over_at=b.over_at, steps=tuple(StepView(step=o.step, by=o.by, at=o.at, words=o.words) for o in steps),
    )  # fmt: skip


@router.get("/bases/waiting", response_model=WaitingView)
async def waiting(request: Request, caller: Sender, acting_for: ActingFor = None) -> Response:
    """What waits for somebody of my organisation: no word of what is sealed. `mine` is said of whom a system acts for."""

    async def work(tx: Tx) -> Reply:
        return Reply(await waiting_now(tx, somebody(caller.client, acting_for)))

    return GatedResponse(request.app.state.door.db, "bases.waiting", work, caller.org)


async def waiting_now(tx: Tx, by: str) -> WaitingView:
    undecided, untold = await store.undecided(tx, WAITING_MOST), await store.untold(tx, WAITING_MOST)
    taken = await store.taken_by(tx, [b.id for b in undecided], by)
    again = await store.to_ask_again(tx, WAITING_MOST)
    return WaitingView(
        undecided=tuple(_waits(b, mine=b.id in taken) for b in undecided),
        untold=tuple(_waits(b, mine=False) for b in untold),
        ask_again=tuple(AgainView(entry=row["entry"], reason=row["reason"], since=row["since"]) for row in again),
    )


def _waits(b: Row, *, mine: bool) -> WaitsView:
    return WaitsView(id=b.id, entry=b.entry, kind=b.kind, state=b.state, until=b.until, mine=mine)
