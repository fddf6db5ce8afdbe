"""The holder's limits at a page: what counts now and what did before; the officer writes down the next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, Response

from services.intake.bases.domain import Kind
from services.intake.rules import limits
from services.intake.rules.limits import (
    DAY,
    HOUR,
    SCOPE,
    BasisBody,
    BasisLimit,
    CrowdBody,
    CrowdLimit,
    LimitsView,
)
from services.intake.rules.pages import expect_looks
from spean.problem import Refusal
from spean.web import forms, lists
from spean.web.forms import Form, Incomplete
from spean.web.pages import At, Sent, at_with, page_router, sent_with

CROWD: Literal["crowd"] = "crowd"
PAGE = "/intake/pages/rules/limits"
router = page_router("limits' pages")
What = Literal["crowd"] | Kind


@router.get("/rules/limits")
async def all_limits(at: Annotated[At, Depends(at_with())]) -> Response:
    expect_looks(at)
    async with at.door.db.transaction("page.limits") as tx:
        found = await limits.listed(tx, lists.MOST * 10)
        now = tx.now
    every: dict[str, list[dict[str, Any]]] = {CROWD: _shown(found.crowd, now)}
    for kind in Kind:
        every[kind] = _shown([one for one in found.bases if one.kind is kind], now)
    return at.page("intake/rules/limits.html", every=every)


@router.get("/rules/limits/{what}")
async def ask(what: What, at: Annotated[At, Depends(at_with(SCOPE))]) -> Response:
    return at.page("intake/rules/limit.html", what=what, form=await _now(at, what))


@router.post("/rules/limits/{what}")
async def add(what: What, sent: Annotated[Sent, Depends(sent_with(SCOPE))]) -> Response:
    try:
        if isinstance(what, Kind):
            await limits.add_basis_limit(_basis(what, sent.form), sent.command())
        else:
            body = forms.read(CrowdBody, {"people": sent.form.some("people")})
            await limits.add_crowd_limit(body, sent.command())
    except Incomplete as error:
        return sent.again("intake/rules/limit.html", error, sent.form, what=what)
    except Refusal as refusal:
        if refusal.code != "invalid":
            raise
        few = Incomplete({"people": forms.SAID["greater_than_equal"]})
        return sent.again("intake/rules/limit.html", few, sent.form, what=what)
    return sent.see(PAGE, done="limit-added")


def _basis(kind: Kind, form: Form) -> BasisBody:
    """Hours and days as they are typed. Raises Incomplete."""
    named = {"decide_within_s": "hours", "lasts_s": "days"}
    units = {"hours": HOUR, "days": DAY}
    given = {name: _seconds(form.one(field), units[field]) for name, field in named.items()}
    try:
        return forms.read(BasisBody, {"kind": kind, "people": form.some("people"), **given})
    except Incomplete as error:
        raise Incomplete({named.get(name, name): said for name, said in error.errors.items()}) from None


def _seconds(typed: str, unit: int) -> str | None:
    """Empty where nothing was typed; as it was typed where it is no number."""
    if typed.isascii() and typed.isdigit() and len(typed) < 10:
        return str(int(typed) * unit)
    return typed or None


async def _now(at: At, what: What) -> Form:
    """The form with the numbers that count now."""
    async with at.door.db.transaction("page.limit") as tx:
        found = await limits.listed(tx, lists.MOST * 10)
        now = tx.now
    counts = _counting(found, what, now)
    given = {"people": str(counts.people)}
    if isinstance(counts, BasisLimit):
        given["hours"] = str(counts.decide_within_s // HOUR)
        given["days"] = str(counts.lasts_s // DAY)
    return Form({name: (value,) for name, value in given.items()})


def _counting(found: LimitsView, what: What, now: datetime) -> CrowdLimit | BasisLimit:
    """Raises Refusal `not-found`; the first ones came with the tables."""
    rows: Sequence[CrowdLimit | BasisLimit] = (
        [one for one in found.bases if one.kind is what] if isinstance(what, Kind) else found.crowd
    )
    counts = next((one for one in rows if one.valid_from <= now), None)
    if counts is None:
        raise Refusal("not-found")
    return counts


def _shown(rows: Sequence[CrowdLimit | BasisLimit], now: datetime) -> list[dict[str, Any]]:
    """Each with its numbers and how it stands: of those that have begun the first counts."""
    shown: list[dict[str, Any]] = []
    for row in rows:
        begun = any(one["stands"] == "now" for one in shown)
        stands = "later" if row.valid_from > now else "ended" if begun else "now"
        times = (
            {"hours": row.decide_within_s // HOUR, "days": row.lasts_s // DAY} if isinstance(row, BasisLimit) else {}
        )
        shown.append({"people": row.people, "valid_from": row.valid_from, "stands": stands, **times})
    return shown
