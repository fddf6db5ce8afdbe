"""The sender's API for what a person decides: consent, exclusions, withdrawal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AwareDatetime, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from schemas.vocabulary import (
    ConsentDecision,
    ConsentState,
    Country,
    DataCategory,
    Language,
    OrganisationType,
    Purpose,
    Served,
)
from services.intake.cases import store as cases
from services.intake.consent import handlers, store
from services.intake.consent.domain import Part, Record
from services.intake.consent.notices import is_reviewed
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
Expressed = Literal["spoken", "written", "thumbprint"]
Relationship = Literal["parent", "appointed_guardian", "state_guardian", "other"]


class ClassBody(Body):
    """A class of recipients, such as shelters in KH that take in girls (`serves`: all of these); police, embassies and
    ministries are only ever covered by name."""

    type: OrganisationType | None = None
    country: Country | None = None
    serves: Annotated[tuple[Served, ...], Field(max_length=4)] = ()

    @field_validator("serves")
    @classmethod
    def _in_order(cls, given: tuple[Served, ...]) -> tuple[Served, ...]:
        if Served.UNKNOWN in given:
            raise PydanticCustomError("unknown_code", "not a code of this list")
        return tuple(one for one in Served if one in given)


class RecipientsBody(Body):
    organisations: Annotated[tuple[UUID, ...], Field(max_length=100)] = ()
    classes: Annotated[tuple[ClassBody, ...], Field(max_length=20)] = ()


class GuardianBody(Body):
    """A guardian's own consent, beside the young person's. `suspected`: they may have recruited or exploited them, so they
    cannot agree. `entry`: theirs, where the organisation has met them as well."""

    relationship: Relationship
    suspected: bool = False
    entry: UUID | None = None
    expressed: Expressed


class ConsentBody(Body):
    """What the person decided, how, and in which language it was talked through."""

    decision: ConsentDecision
    state: Literal[
        ConsentState.REQUESTED, ConsentState.GIVEN, ConsentState.REFUSED, ConsentState.RE_CONFIRMED,
        ConsentState.INVALIDATED,
    ]  # fmt: skip
    categories: Annotated[tuple[DataCategory, ...], Field(max_length=20)] = ()
    purposes: Annotated[tuple[Purpose, ...], Field(max_length=10)] = ()
    recipients: RecipientsBody = RecipientsBody()
    valid_from: AwareDatetime | None = Field(default=None, description="default: now")
    valid_until: AwareDatetime | None = None
    expressed: Expressed
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
    exclusions: tuple[dict[str, Any], ...]


class ExclusionBody(Body):
    """Never to this: an organisation (id), a type of organisation, all law enforcement (value "any"), or an official (`name`)
    at an organisation (id). Which official reads no machine knows: nothing goes to their organisation at all until it is
    lifted. The name is sealed."""

    kind: Literal["organisation", "organisation_type", "law_enforcement", "official"]
    value: Annotated[str, Field(min_length=1, max_length=100)]
    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None

    def exclusion(self) -> Exclusion:
        """Raises Refusal `invalid` for a value that names nothing of that kind, and for a name that nobody needs."""
        if (self.kind == "official") != (self.name is not None):
            raise Refusal("invalid", errors=[{"at": "body.name", "why": "of_an_official"}])
        return self.named()

    def named(self) -> Exclusion:
        """The same without looking at the name. Raises Refusal `invalid`."""
        try:
            if self.kind in {"organisation", "official"}:
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
    """A decision, or one part of sharing: an organisation, a class (with every class that could cover the same), a category or
    a purpose."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    what: Literal["sharing"] | ConsentDecision
    recipient: UUID | None = None
    class_: ClassBody | None = Field(default=None, alias="class")
    category: DataCategory | None = None
    purpose: Purpose | None = None

    @model_validator(mode="after")
    def _one_part(self) -> WithdrawBody:
        if len(self._parts) > (self.decision is ConsentDecision.SHARE_REFERRAL):
            raise PydanticCustomError("one_part", "one part of sharing at a time, and none of anything else")
        return self

    @property
    def _parts(self) -> list[Part]:
        found = [Part("recipient", self.recipient)] if self.recipient else []
        found += [Part("class", self.class_.model_dump(mode="json"))] if self.class_ else []
        found += [Part("category", self.category)] if self.category else []
        return found + ([Part("purpose", self.purpose)] if self.purpose else [])

    @property
    def decision(self) -> ConsentDecision:
        return ConsentDecision.SHARE_REFERRAL if self.what == "sharing" else ConsentDecision(self.what)

    @property
    def part(self) -> Part | None:
        """None where all of it is taken back."""
        return next(iter(self._parts), None)


class StoppedView(View):
    entry: UUID
    what: str


@router.post("/entries/{entry}/consents", status_code=201, response_model=RecordedView)
async def record(request: Request, entry: UUID, body: ConsentBody, command: SenderCommand) -> Response:
    """Write down what the person decided. A new state is a new record; the old one stays readable. `requested`: asked, and
    not decided yet; `re-confirmed`: the same yes as before, with the date and the words of now; `invalidated`: it never was
    a consent, and stops like a withdrawal."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        fence = await handlers.lock(tx, entry)
        expect_version(command, await store.version(tx, entry))
        await expect_known(tx, body.recipients)
        version = await handlers.record(tx, holder, entry, fence, decided(body, command.caller.client, tx.now))
        return Reply(RecordedView(entry=entry, version=version), version, 201)

    return await command.run("consent.record", work)


async def expect_known(tx: Tx, recipients: RecipientsBody) -> None:
    """Nothing could ever go to an organisation that no agreement names; its id is probably wrong. Raises Refusal
    `recipient-unknown`."""
    named = set(recipients.organisations)
    if named and not named <= await store.known_organisations(tx, named):
        raise Refusal("recipient-unknown")


def decided(body: ConsentBody, by: str, now: datetime) -> Record:
    """The body as it is written down. Raises Refusal `guardian-suspected`."""
    return Record(
        decision=body.decision, state=ConsentState(body.state), categories=body.categories, purposes=body.purposes,
        recipients=body.recipients.model_dump(mode="json"), valid_from=_begin(body.valid_from, now),
        valid_until=body.valid_until, expressed=body.expressed, language=body.language, notice=body.notice,
        interpreter=body.interpreter, guardian=_guardian(body.guardian), recorded_by=by,
    )  # fmt: skip


def _guardian(body: GuardianBody | None) -> dict[str, str] | None:
    """Raises Refusal `guardian-suspected`."""
    if body is None:
        return None
    if body.suspected:
        raise Refusal("guardian-suspected")
    return body.model_dump(mode="json", exclude={"suspected"}, exclude_none=True)


def _begin(asked: datetime | None, now: datetime) -> datetime:
    return now if asked is None else asked


@router.get("/entries/{entry}/consents", response_model=ConsentsView)
async def read(request: Request, entry: UUID, caller: Sender) -> Response:
    """What the person decided so far, every record, and with whom never to share."""
    async with request.app.state.door.db.transaction("consents.read", org=caller.org) as tx:
        await cases.find_entry(tx, entry)
        rows = await store.history(tx, entry)
        never = (await store.exclusions(tx, [entry]))[entry]
        officials = await handlers.officials(tx, request.app.state.holder, entry)
    names = ("version", "decision", "state", "categories", "purposes", "valid_from", "valid_until", "expressed",
             "language", "notice", "interpreter", "recorded_by", "recorded_at")  # fmt: skip
    shown = ConsentsView(
        records=tuple({**{name: row[name] for name in names}, **_parts_of(row)} for row in rows),
        exclusions=tuple(_never(one, officials) for one in never),
    )
    return read_reply(Reply(shown, rows[-1]["version"] if rows else 0))


def _never(one: Exclusion, officials: Mapping[str, list[str]]) -> dict[str, Any]:
    """With the officials' names where it is about officials."""
    plain = {"kind": one.kind, "value": one.value}
    return {**plain, "names": officials.get(one.value, [])} if one.kind == "official" else plain


def _parts_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """To whom, what was taken back of the record before, and whether somebody who speaks the language has confirmed the
    notice (None: none was read)."""
    written = store.record_of(row)
    reviewed = is_reviewed(written.notice)
    return {"recipients": written.recipients, "taken_back": written.taken_back, "notice_reviewed": reviewed}


@router.post("/entries/{entry}/exclusions", status_code=201, response_model=StoppedView)
async def exclude(request: Request, entry: UUID, body: ExclusionBody, command: StopCommand) -> Response:
    """Never share with this organisation, or kind of organisation. Beats every consent, at once. Like every stop it is
    never refused: If-Match is not looked at."""
    holder: Holder = request.app.state.holder
    exclusion = body.exclusion()

    async def work(tx: Tx) -> Reply:
        await handlers.exclude(tx, holder, entry, exclusion, command.caller.client, body.name)
        return Reply(StoppedView(entry=entry, what=exclusion.kind), status=201)

    return await _surely(command, "exclusion.record", work)


@router.post("/entries/{entry}/exclusions/lift", response_model=StoppedView)
async def lift(request: Request, entry: UUID, body: ExclusionBody, command: SenderCommand) -> Response:
    """The person takes a never back (of an official: every one at that organisation, without a name). Nothing is shared by it
    that they did not agree to."""
    holder: Holder = request.app.state.holder
    exclusion = body.named()

    async def work(tx: Tx) -> Reply:
        await handlers.lift(tx, holder, entry, exclusion, command.caller.client)
        return Reply(StoppedView(entry=entry, what=exclusion.kind))

    return await command.run("exclusion.lift", work)


@router.post("/entries/{entry}/withdraw", response_model=StoppedView)
async def withdraw(request: Request, entry: UUID, body: WithdrawBody, command: StopCommand) -> Response:
    """Stop, wholly or in one part of what is shared. When this answers, the gate is shut. Withdrawn sharing never costs a
    place; it needs no reason, and If-Match is not looked at. A suspended organisation may still stop for its people while
    its token lives."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        if body.part is not None:
            await handlers.take_back(tx, holder, entry, body.part, command.caller.client)
        else:
            await handlers.withdraw(tx, holder, entry, body.decision, command.caller.client)
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
