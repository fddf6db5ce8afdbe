"""The holder's rules: need-to-know, agreements, corridors. Reviewed data with dates; a rule is ended, never edited."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AwareDatetime, Field

from schemas.vocabulary import Country, DataCategory, Purpose, ServiceGroup
from services.intake.cases.fields import CATEGORY_OF
from services.intake.disclosure.handlers import Holder
from services.intake.rules import handlers, store
from spean.auth import Caller
from spean.db import Database, Tx
from spean.http import Body, Command, Reply, View, caller_with, command_with
from spean.ids import opaque_id
from spean.problem import Refusal

SCOPE = "intake:rules"
_LIST_MOST = 1_000
router = APIRouter(tags=["rules"])
Officer = Annotated[Command, Depends(command_with(SCOPE))]


class Kind(StrEnum):
    """The three tables of rules, as they stand in addresses."""

    NEED_TO_KNOW = "need-to-know"
    AGREEMENTS = "agreements"
    CORRIDORS = "corridors"


TABLES = {Kind.NEED_TO_KNOW: "need_to_know", Kind.AGREEMENTS: "agreement", Kind.CORRIDORS: "corridor"}


class Dated(Body):
    valid_from: AwareDatetime | None = Field(default=None, description="default: now")
    valid_until: AwareDatetime | None = None

    def dates(self, now: datetime) -> tuple[datetime, datetime | None]:
        """Raises Refusal `invalid` for a rule that ends before it begins."""
        begins = self.valid_from or now
        if self.valid_until is not None and self.valid_until <= begins:
            raise Refusal("invalid", errors=[{"at": "body.valid_until", "why": "ends_before_it_begins"}])
        return begins, self.valid_until


class NeedToKnowBody(Dated):
    """Which fields a kind of service needs at a stage, in one network or in all."""

    network: UUID | None = Field(default=None, description="default: every network of this holder")
    group: ServiceGroup
    stage: Literal["offer", "packet", "placement"]
    fields: Annotated[tuple[str, ...], Field(min_length=1, max_length=50)]


class AgreementBody(Dated):
    """What one organisation may send another, and for what."""

    sender: UUID
    recipient: UUID
    categories: Annotated[tuple[DataCategory, ...], Field(min_length=1)]
    purposes: Annotated[tuple[Purpose, ...], Field(min_length=1)]


class CorridorBody(Dated):
    """What may cross a border, and on which legal basis."""

    from_country: Country
    to_country: Country
    categories: Annotated[tuple[DataCategory, ...], Field(min_length=1)]
    legal_basis: Annotated[str, Field(min_length=1, max_length=500)]


class RuleView(View):
    id: UUID


class RulesView(View):
    rules: tuple[dict[str, Any], ...]


@router.get("/rules/{kind}")
async def list_rules(request: Request, kind: Kind, _: Annotated[Caller, Depends(caller_with(SCOPE))]) -> RulesView:
    """Rules with their history, the newest first (at most 1,000)."""
    db: Database = request.app.state.door.db
    async with db.transaction("rules.list") as tx:
        return RulesView(rules=tuple(await store.listed(tx, TABLES[kind], _LIST_MOST)))


@router.post("/rules/need-to-know", status_code=201, response_model=RuleView)
async def add_need_to_know(body: NeedToKnowBody, command: Officer) -> Response:
    """What a kind of service needs to know at a stage. Without such a rule nothing is told. A rule of one network opens
    nothing in another."""
    if unknown := set(body.fields) - CATEGORY_OF.keys():
        raise Refusal("invalid", errors=[{"at": "body.fields", "why": "unknown_field"} for _ in unknown])
    id_ = opaque_id()

    async def work(tx: Tx) -> Reply:
        dates = body.dates(tx.now)
        await store.insert_need_to_know(
            tx, id_, body.network, body.group, body.stage, list(body.fields), dates, command.caller.client
        )
        await handlers.watch_end(tx, id_, dates[1])
        return Reply(RuleView(id=id_), status=201)

    return await command.run_as_service("rule.need_to_know", work)


@router.post("/rules/agreements", status_code=201, response_model=RuleView)
async def add_agreement(body: AgreementBody, command: Officer) -> Response:
    """What one organisation may send another. Without such a rule nothing is told."""
    id_ = opaque_id()

    async def work(tx: Tx) -> Reply:
        dates = body.dates(tx.now)
        await store.insert_agreement(
            tx,
            id_,
            body.sender,
            body.recipient,
            list(body.categories),
            list(body.purposes),
            dates,
            command.caller.client,
        )
        await handlers.watch_end(tx, id_, dates[1])
        return Reply(RuleView(id=id_), status=201)

    return await command.run_as_service("rule.agreement", work)


@router.post("/rules/corridors", status_code=201, response_model=RuleView)
async def add_corridor(body: CorridorBody, command: Officer) -> Response:
    """What may cross a border. Without such a rule nothing crosses it."""
    id_ = opaque_id()

    async def work(tx: Tx) -> Reply:
        dates = body.dates(tx.now)
        await store.insert_corridor(
            tx, id_, body.from_country, body.to_country, list(body.categories), body.legal_basis, dates,
            command.caller.client,
        )  # fmt: skip
        await handlers.watch_end(tx, id_, dates[1])
        return Reply(RuleView(id=id_), status=201)

    return await command.run_as_service("rule.corridor", work)


@router.post("/rules/{kind}/{rule}/end", response_model=RuleView)
async def end_rule(request: Request, kind: Kind, rule: UUID, command: Officer) -> Response:
    """A rule ends now, and nothing more is told by it; whoever was asked or told because of it is looked at again."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        await handlers.end(tx, holder, TABLES[kind], rule)
        return Reply(RuleView(id=rule))

    return await command.run_as_service("rule.end", work)
