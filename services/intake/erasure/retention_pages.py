"""How long this holder keeps whom: the rules with their history, and the next one, which the officer reads once more with what
it would do before it is added."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import asyncpg
from fastapi import Depends, Response

from schemas.vocabulary import ServiceGroup
from services.intake.erasure import api, handlers, store
from services.intake.erasure.api import COUNTED_MOST, NOTICE, OFFICERS_SCOPE, RetentionBody
from services.intake.rules.pages import expect_looks
from spean.problem import Refusal
from spean.web import forms, lists
from spean.web.forms import Form, Incomplete
from spean.web.pages import At, Sent, at_with, page_router, sent_with
from spean.web.words import N_

PAGE = "/intake/pages/rules/retention"
_LIST = "intake/erasure/retention.html"
_ONLY_ENDED = N_("Only a rule for after a hand-off names a service or how it ended.")
router = page_router("retention's pages")
OfficerSent = Annotated[Sent, Depends(sent_with(OFFICERS_SCOPE))]


@router.get("/rules/retention")
async def retention(at: Annotated[At, Depends(at_with())]) -> Response:
    expect_looks(at)
    return at.page(_LIST, **await _listed(at))


@router.post("/rules/retention/check")
async def check(sent: OfficerSent) -> Response:
    """What was typed, read once more: whom it would erase as soon as it begins."""
    try:
        body = _body(sent.form)
    except Incomplete as error:
        return sent.again(_LIST, error, sent.form, **await _listed(sent))
    async with sent.door.db.transaction("page.retention") as tx:
        begins = tx.now + NOTICE
        would = await handlers.would_erase(tx, body.rule(), begins, COUNTED_MOST)
    return sent.page(
        "intake/erasure/retention_check.html", rule=body, begins=begins, would=would, most=COUNTED_MOST, form=sent.form
    )


@router.post("/rules/retention/add")
async def add(sent: OfficerSent) -> Response:
    try:
        await api.add_retention(_body(sent.form), sent.command())
    except Incomplete as error:
        return sent.again(_LIST, error, sent.form, **await _listed(sent))
    return sent.see(PAGE, done="retention-added")


@router.post("/rules/retention/{rule}/cancel")
async def cancel(rule: UUID, sent: OfficerSent) -> Response:
    await api.cancel_retention(rule, sent.command())
    return sent.see(PAGE, done="retention-cancelled")


def _body(form: Form) -> RetentionBody:
    """Raises Incomplete."""
    body = forms.read(RetentionBody, {name: form.some(name) for name in ("applies", "group", "end", "days")})
    try:
        body.rule()
    except Refusal:
        raise Incomplete({"applies": _ONLY_ENDED}) from None
    return body


async def _listed(at: At) -> dict[str, Any]:
    async with at.door.db.transaction("page.retention") as tx:
        rows = await store.rules(tx, lists.MOST)
        now = tx.now
    return {"rows": _shown(rows, now), "groups": [one for one in ServiceGroup if one is not ServiceGroup.UNKNOWN]}


def _shown(rows: Sequence[asyncpg.Record], now: datetime) -> list[dict[str, Any]]:
    """Of the same scope that counts which began last: the first of them in this order that has begun and stands."""
    counted: set[tuple[str, str | None, str | None]] = set()
    shown: list[dict[str, Any]] = []
    for row in rows:
        scope = (row["applies"], row["service_group"], row["ended"])
        stands = _stands(row, now, counted=scope in counted)
        if stands == "now":
            counted.add(scope)
        group = None if row["service_group"] is None else ServiceGroup(row["service_group"])
        shown.append({**row, "stands": stands, "group": group})
    return shown


def _stands(row: asyncpg.Record, now: datetime, *, counted: bool) -> str:
    if row["cancelled_at"] is not None:
        return "cancelled"
    if row["valid_from"] > now:
        return "later"
    return "ended" if counted else "now"
