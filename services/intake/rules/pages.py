"""The holder's rules to look at, with their dates and history: what a kind of service needs to know, who has an agreement
with whom, what may cross a border. The officer ends one here; single ones are added by the API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from schemas.rights import StaffRole
from schemas.vocabulary import DataCategory, Purpose, ServiceGroup
from services.intake.rules import api, store
from services.intake.rules.api import SCOPE, TABLES, Kind
from spean.names import fits
from spean.problem import Refusal
from spean.web import lists, network
from spean.web.lists import Typed
from spean.web.pages import At, Sent, at_with, page_router, sent_with

_CODES: Mapping[str, type[StrEnum]] = {"service_group": ServiceGroup, "categories": DataCategory, "purposes": Purpose}
router = page_router("rules' pages")
Stands = Literal["now", "later", "ended"]


@router.get("/rules")
async def rules(
    request: Request,
    at: Annotated[At, Depends(at_with())],
    kind: Kind = Kind.NEED_TO_KNOW,
    before: Annotated[int, Query(ge=0, le=100_000, description="rows that were shown already")] = 0,
    q: Typed = "",
) -> Response:
    """The newest first. `q`: agreements of organisations with such a name."""
    expect_looks(at)
    directory = await network.directory(request)
    async with at.door.db.transaction("page.rules") as tx:
        if q and kind is Kind.AGREEMENTS:
            about = [id_ for id_, one in directory.organisations.items() if fits(q, one.name)]
            rows = await store.agreements_about(tx, about, lists.MOST + 1, before)
        else:
            rows = await store.listed(tx, TABLES[kind], lists.MOST + 1, before)
        now = tx.now
    return at.page(
        "intake/rules/list.html", kind=kind, kinds=list(Kind), rows=[_shown(row, now) for row in rows[: lists.MOST]],
        directory=directory, after=before + lists.MOST if len(rows) > lists.MOST else None, q=q,
    )  # fmt: skip


@router.get("/rules/{kind}/{rule}/end")
async def ask_end(request: Request, kind: Kind, rule: UUID, at: Annotated[At, Depends(at_with(SCOPE))]) -> Response:
    directory = await network.directory(request)
    async with at.door.db.transaction("page.rule") as tx:
        row, now = await store.find(tx, TABLES[kind], rule), tx.now
    return at.page("intake/rules/end.html", kind=kind, row=_shown(row, now), directory=directory)


@router.post("/rules/{kind}/{rule}/end")
async def end(request: Request, kind: Kind, rule: UUID, sent: Annotated[Sent, Depends(sent_with(SCOPE))]) -> Response:
    await api.end_rule(request, kind, rule, sent.command())
    return sent.see("/intake/pages/rules", kind=kind.value, done="rule-ended")


def expect_looks(at: At) -> None:
    """The officer, and whoever administers the network, who changes nothing here. Raises Refusal `scope`."""
    if SCOPE not in at.who.scopes and StaffRole.ADMINISTRATOR not in at.who.roles:
        raise Refusal("scope")


def _shown(row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """A rule with its codes as codes, and how it stands."""
    shown: dict[str, Any] = {**row, "stands": _stands(row["valid_from"], row["valid_until"], now)}
    for name, codes in _CODES.items():
        if name in row:
            value = row[name]
            shown[name] = codes(value) if isinstance(value, str) else [codes(one) for one in value]
    return shown


def _stands(begins: datetime, ends: datetime | None, now: datetime) -> Stands:
    if ends is not None and ends <= now:
        return "ended"
    return "later" if begins > now else "now"
