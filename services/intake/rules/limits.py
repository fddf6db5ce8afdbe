"""The holder's limits over the API: how many people have to look the same in an offer, and who has to agree to what stands in
for consent, within which time. Dated data, as the rules are: a new one takes the place of the last, and none is edited."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AwareDatetime, Field

from services.intake.bases.domain import Kind
from services.intake.rules import limits_store as store
from spean.auth import Caller
from spean.db import Database, Tx
from spean.http import Body, Command, Reply, View, caller_with, command_with
from spean.problem import Refusal

SCOPE = "intake:rules"
_LIST_MOST = 1_000
# A panel is three at least, whoever proposed it included; what two people decide is called otherwise.
_LEAST = {Kind.DETERMINATION: 3}
HOUR, DAY = 3_600, 86_400
router = APIRouter(tags=["rules"])
Officer = Annotated[Command, Depends(command_with(SCOPE))]


class _Dated(Body):
    valid_from: AwareDatetime | None = Field(default=None, description="default, and soonest: now")

    def begins(self, now: datetime) -> datetime:
        """Raises Refusal `invalid` for a time that is over: what counted then is not changed."""
        if self.valid_from is not None and self.valid_from < now:
            raise Refusal("invalid", errors=[{"at": "body.valid_from", "why": "too_soon"}])
        return self.valid_from or now


class CrowdBody(_Dated):
    """How many of the people now with the holder have to look the same in an offer before it may show them so."""

    people: Annotated[int, Field(ge=2, le=1_000)]


class BasisBody(_Dated):
    """How many different people have to agree to a basis of this kind, whoever proposes it included; how long they have for it,
    and how long it lasts at most, in seconds."""

    kind: Kind
    people: Annotated[int, Field(ge=2, le=20)]
    decide_within_s: Annotated[int, Field(ge=HOUR, le=90 * DAY)]
    lasts_s: Annotated[int, Field(ge=HOUR, le=3_653 * DAY)]


class LimitMade(View):
    valid_from: datetime


class CrowdLimit(View):
    people: int
    valid_from: datetime
    created_by: str


class BasisLimit(View):
    kind: Kind
    people: int
    decide_within_s: int
    lasts_s: int
    valid_from: datetime
    created_by: str


class LimitsView(View):
    """With their history, what begins last first (at most 1,000 of each); of the same kind the first that has begun counts."""

    crowd: tuple[CrowdLimit, ...]
    bases: tuple[BasisLimit, ...]


@router.get("/limits")
async def list_limits(request: Request, _: Annotated[Caller, Depends(caller_with(SCOPE))]) -> LimitsView:
    """How many people have to look the same in an offer; how many have to agree to what stands in for consent."""
    db: Database = request.app.state.door.db
    async with db.transaction("limits.list") as tx:
        return await listed(tx, _LIST_MOST)


async def listed(tx: Tx, most: int) -> LimitsView:
    return LimitsView(
        crowd=tuple(CrowdLimit.model_validate(dict(row)) for row in await store.crowd(tx, most)),
        bases=tuple(map(_basis, await store.bases(tx, most))),
    )


def _basis(row: Any) -> BasisLimit:
    return BasisLimit(
        kind=Kind(row["kind"]), people=row["people"], decide_within_s=int(row["decide_within"].total_seconds()),
        lasts_s=int(row["lasts"].total_seconds()), valid_from=row["valid_from"], created_by=row["created_by"],
    )  # fmt: skip


@router.post("/limits/crowd", status_code=201, response_model=LimitMade)
async def add_crowd_limit(body: CrowdBody, command: Officer) -> Response:
    """From then on so many people have to look the same in an offer. What offers show of a hand-off that was asked about
    already stays as it was decided."""

    async def work(tx: Tx) -> Reply:
        begins = body.begins(tx.now)
        if not await store.insert_crowd(tx, body.people, begins, command.caller.client):
            raise Refusal("duplicate")
        return Reply(LimitMade(valid_from=begins), status=201)

    return await command.run_as_service("limit.crowd", work)


@router.post("/limits/bases", status_code=201, response_model=LimitMade)
async def add_basis_limit(body: BasisBody, command: Officer) -> Response:
    """From then on these numbers count for what is proposed of this kind. What was proposed before keeps its own."""
    if body.people < _LEAST.get(body.kind, 2):
        raise Refusal("invalid", errors=[{"at": "body.people", "why": "greater_than_equal"}])

    async def work(tx: Tx) -> Reply:
        begins = body.begins(tx.now)
        made = await store.insert_basis(
            tx, body.kind, body.people, timedelta(seconds=body.decide_within_s), timedelta(seconds=body.lasts_s), begins,
            command.caller.client,
        )  # fmt: skip
        if not made:
            raise Refusal("duplicate")
        return Reply(LimitMade(valid_from=begins), status=201)

    return await command.run_as_service("limit.basis", work)
