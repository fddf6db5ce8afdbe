"""What stands in for people's consent, counted, on the coordinator's dashboard. The holders count, and say only what gives
nobody away; nothing of it is kept here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from schemas import questions as q
from services.referral.partners import store as partners
from spean.ask import Holders, HolderSilent
from spean.auth import Caller
from spean.db import Database
from spean.http import View, caller_with
from spean.web.pages import At, at_with, page_router

SCOPE = "referral:coordinate"
_NETWORKS_MOST, _NETWORKS_LOOKED = 100, 10_000
router = APIRouter(tags=["coordinator"])
pages = page_router("coordinator's pages")
Coordinator = Annotated[Caller, Depends(caller_with(SCOPE))]
CoordinatorAt = Annotated[At, Depends(at_with(SCOPE))]


class BasisCountView(View):
    """Of one holder's people with a hand-off in one of my networks; numbers in steps of five, null for fewer than five."""

    holder: str
    network: UUID
    kind: str
    in_force: int | None
    lapsed: int | None


class BasesView(View):
    """`silent`: holders that did not answer. No sums: from one and its parts somebody could be told."""

    counts: tuple[BasisCountView, ...]
    silent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    view: BasesView
    names: Mapping[UUID, str]
    day: datetime | None


@router.get("/bases")
async def count_bases(request: Request, caller: Coordinator) -> BasesView:
    """How many people something other than their consent stands in for (vital interest, a court's order, …), and how many such
    lapsed in four weeks because nobody had confirmed them: of the networks that I coordinate, as the day began (UTC)."""
    return (await _found(request, caller.org)).view


async def _found(request: Request, organisation: UUID) -> _Found:
    db: Database = request.app.state.door.db
    holders: Holders = request.app.state.holders
    async with db.transaction("bases.networks") as tx:
        every = await partners.networks(tx, _NETWORKS_LOOKED)
    names = {row["id"]: row["name"] for row in every if row["coordinator"] == organisation}
    question = q.BasesCountedQuestion(networks=tuple(names)[:_NETWORKS_MOST])
    asked = holders.names if names else ()
    answers = dict(zip(asked, await asyncio.gather(*(_ask(holders, one, question) for one in asked)), strict=True))
    counts = tuple(
        BasisCountView(holder=holder, network=one.network, kind=one.kind, in_force=one.in_force, lapsed=one.lapsed)
        for holder, answer in answers.items() if answer is not None for one in answer.counts if one.network in names
    )  # fmt: skip
    silent = tuple(holder for holder, answer in answers.items() if answer is None)
    days = [answer.at for answer in answers.values() if answer is not None]
    return _Found(BasesView(counts=counts, silent=silent), names, max(days, default=None))


async def _ask(holders: Holders, holder: str, question: q.BasesCountedQuestion) -> q.BasesCountedAnswer | None:
    """None where it is silent."""
    try:
        return await holders.ask(holder, "bases-counted", question, q.BasesCountedAnswer)
    except HolderSilent:
        return None


@pages.get("/bases")
async def page(request: Request, at: CoordinatorAt) -> Response:
    """What the dashboard fetches as a part, as a page of its own: for who has no scripts."""
    return at.page("referral/escalations/bases.html", **await _shown(request, at))


@pages.get("/bases/now")
async def part(request: Request, at: CoordinatorAt) -> Response:
    return at.page("referral/escalations/bases_now.html", **await _shown(request, at))


async def _shown(request: Request, at: At) -> dict[str, Any]:
    found = await _found(request, at.who.org)
    tables: dict[tuple[UUID, str], list[BasisCountView]] = {}
    for one in found.view.counts:
        tables.setdefault((one.network, one.holder), []).append(one)
    several = len({holder for _, holder in tables}) > 1
    return {
        "tables": tables, "names": found.names, "silent": found.view.silent, "day": found.day,
        "several": several, "least": q.COUNTED_IN,
    }  # fmt: skip
