"""The sender's API for what a person decides: consent, exclusions, withdrawal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AwareDatetime, Field

from schemas.vocabulary import (
    ConsentDecision,
    ConsentState,
    Country,
    DataCategory,
    Language,
    OrganisationType,
    Purpose,
)
from services.intake.cases import store as cases
from services.intake.consent import handlers, store
from services.intake.consent.store import Record
from services.intake.disclosure.domain import Exclusion
from services.intake.disclosure.handlers import Holder
from spean.auth import Caller
from spean.db import DatabaseProblem, Tx
from spean.http import Body, Command, Reply, View, caller_with, command_with, expect_version, read_reply
from spean.problem import Refusal

SCOPE = "intake:send"
router = APIRouter(tags=["consent"])
Sender = Annotated[Caller, Depends(caller_with(SCOPE))]
SenderCommand = Annotated[Command, Depends(command_with(SCOPE))]
StopCommand = Annotated[Command, Depends(command_with(SCOPE, even_suspended=True))]
_STOP_TRIES = 3


class ClassBody(Body):
    """A class of recipients, such as shelters in KH; police, embassies and ministries are only ever covered by name."""

    type: OrganisationType | None = None
    country: Country | None = None


class RecipientsBody(Body):
    organisations: Annotated[tuple[UUID, ...], Field(max_length=100)] = ()
    classes: Annotated[tuple[ClassBody, ...], Field(max_length=20)] = ()


class GuardianBody(Body):
    """A guardian's own consent, beside the young person's."""

    relationship: Literal["parent", "appointed_guardian", "state_guardian", "other"]
    expressed: Literal["spoken", "written", "thumbprint"]


class ConsentBody(Body):
    """What the person decided, how, and in which language it was talked through."""

    decision: ConsentDecision
    state: Literal[ConsentState.GIVEN, ConsentState.REFUSED]
    categories: Annotated[tuple[DataCategory, ...], Field(max_length=20)] = ()
    purposes: Annotated[tuple[Purpose, ...], Field(max_length=10)] = ()
    recipients: RecipientsBody = RecipientsBody()
    valid_from: AwareDatetime | None = Field(default=None, description="default: now")
    valid_until: AwareDatetime | None = None
    expressed: Literal["spoken", "written", "thumbprint"]
    language: Language
    notice: Annotated[str, Field(min_length=1, max_length=100, description="version of the notice that was read")]
    interpreter: bool = False
    guardian: GuardianBody | None = None


class RecordedView(View):
    entry: UUID
    version: int


class ConsentsView(View):
    """The whole history, the oldest first, and what is never to be shared with."""

    records: tuple[dict[str, Any], ...]
    exclusions: tuple[dict[str, str], ...]


class ExclusionBody(Body):
    """Never to this: an organisation (id), a type of organisation, or all law enforcement (value "any")."""

    kind: Literal["organisation", "organisation_type", "law_enforcement"]
    value: Annotated[str, Field(min_length=1, max_length=100)]

    def exclusion(self) -> Exclusion:
        """Raises Refusal `invalid` for a value that names nothing of that kind."""
        try:
            if self.kind == "organisation":
                return Exclusion(self.kind, str(UUID(self.value)))
            if self.kind == "organisation_type":
                return Exclusion(self.kind, _known_type(self.value))
        except ValueError:
            raise Refusal("invalid", errors=[{"at": "body.value", "why": f"no_such_{self.kind}"}]) from None
        return Exclusion(self.kind, "any")


def _known_type(value: str) -> str:
    found = OrganisationType(value)
    if found is OrganisationType.UNKNOWN:
        raise ValueError
    return found.value


class WithdrawBody(Body):
    what: Literal["sharing", "service"]


class StoppedView(View):
    entry: UUID
    what: str


@router.post("/entries/{entry}/consents", status_code=201, response_model=RecordedView)
async def record(request: Request, entry: UUID, body: ConsentBody, command: SenderCommand) -> Response:
    """Write down what the person decided. A new state is a new record; the old one stays readable."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        fence = await handlers.lock(tx, entry)
        expect_version(command, await store.version(tx, entry))
        version = await handlers.record(tx, holder, entry, fence, decided(body, command.caller.client, tx.now))
        return Reply(RecordedView(entry=entry, version=version), version, 201)

    return await command.run("consent.record", work)


def decided(body: ConsentBody, by: str, now: datetime) -> Record:
    """The body as it is written down."""
    return Record(
        decision=body.decision, state=ConsentState(body.state), categories=body.categories, purposes=body.purposes,
        recipients=body.recipients.model_dump(mode="json"), valid_from=_begin(body.valid_from, now),
        valid_until=body.valid_until, expressed=body.expressed, language=body.language, notice=body.notice,
        interpreter=body.interpreter, guardian=body.guardian.model_dump() if body.guardian else None, recorded_by=by,
    )  # fmt: skip


def _begin(asked: datetime | None, now: datetime) -> datetime:
    return now if asked is None else asked


@router.get("/entries/{entry}/consents", response_model=ConsentsView)
async def read(request: Request, entry: UUID, caller: Sender) -> Response:
    """What the person decided so far, every record, and with whom never to share."""
    async with request.app.state.door.db.transaction("consents.read", org=caller.org) as tx:
        await cases.find_entry(tx, entry)
        rows = await store.history(tx, entry)
        never = (await store.exclusions(tx, [entry]))[entry]
    names = ("version", "decision", "state", "categories", "purposes", "valid_from", "valid_until", "expressed",
             "language", "notice", "interpreter", "recorded_by", "recorded_at")  # fmt: skip
    shown = ConsentsView(
        records=tuple({name: row[name] for name in names} for row in rows),
        exclusions=tuple({"kind": one.kind, "value": one.value} for one in never),
    )
    return read_reply(Reply(shown, rows[-1]["version"] if rows else 0))


@router.post("/entries/{entry}/exclusions", status_code=201, response_model=StoppedView)
async def exclude(request: Request, entry: UUID, body: ExclusionBody, command: StopCommand) -> Response:
    """Never share with this organisation, or kind of organisation. Beats every consent, at once. Like every stop it is
    never refused: If-Match is not looked at."""
    holder: Holder = request.app.state.holder
    exclusion = body.exclusion()

    async def work(tx: Tx) -> Reply:
        await handlers.exclude(tx, holder, entry, exclusion, command.caller.client)
        return Reply(StoppedView(entry=entry, what=exclusion.kind), status=201)

    return await _surely(command, "exclusion.record", work)


@router.post("/entries/{entry}/withdraw", response_model=StoppedView)
async def withdraw(request: Request, entry: UUID, body: WithdrawBody, command: StopCommand) -> Response:
    """Stop. When this answers, the gate is shut. Withdrawn sharing never costs a place; it needs no reason, and If-Match
    is not looked at. A suspended organisation may still stop for its people while its token lives."""
    holder: Holder = request.app.state.holder
    decision = ConsentDecision.SERVICE if body.what == "service" else ConsentDecision.SHARE_REFERRAL

    async def work(tx: Tx) -> Reply:
        await handlers.withdraw(tx, holder, entry, decision, command.caller.client)
        return Reply(StoppedView(entry=entry, what=body.what))

    return await _surely(command, "consent.withdraw", work)


async def _surely(command: Command, name: str, work: Callable[[Tx], Awaitable[Reply]]) -> Response:
    """A stop that met a deadlock or a busy row is carried out again: it must not fail for being unlucky."""
    for _ in range(_STOP_TRIES - 1):
        try:
            return await command.run(name, work)
        except DatabaseProblem as problem:
            if not problem.transient or problem.server:
                raise
    return await command.run(name, work)
