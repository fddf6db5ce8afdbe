"""The officer's page of the audit: who had been told what of a case at a time, under which consent and rules. What is asked
about stands in a form's body, never in an address."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from schemas import vocabulary as v
from services.intake.bases.domain import Kind
from services.intake.disclosure.audit import SCOPE, audited
from spean.problem import Refusal
from spean.web import forms, lists, network
from spean.web.forms import Incomplete
from spean.web.labels import FIELDS, LABELS
from spean.web.pages import At, Sent, at_with, page_router, sent_with

_ASK, _TOLD = "intake/disclosure/audit.html", "intake/disclosure/audit_told.html"
# What the answer says in codes, by the name that the page gives each.
_CODES: Mapping[str, type[StrEnum]] = {
    "service": v.ServiceType, "purpose": v.Purpose, "decision": v.ConsentDecision, "state": v.ConsentState,
    "type": v.OrganisationType, "answer": v.ErasureAnswer, "reason": v.KeptBecause, "category": v.DataCategory,
}  # fmt: skip
router = page_router("officer's pages")


@router.get("/audit")
async def ask(at: Annotated[At, Depends(at_with(SCOPE))]) -> Response:
    return at.page(_ASK)


@router.post("/audit")
async def show(request: Request, sent: Annotated[Sent, Depends(sent_with(SCOPE))]) -> Response:
    """That it was asked, by whom and about which time, is written down with the answer, each time that the form is sent."""
    try:
        case, about = _asked(sent)
    except Incomplete as error:
        return sent.again(_ASK, error, sent.form)
    directory = await network.directory(request)
    try:
        async with sent.door.db.transaction("page.audit", org=sent.who.org) as tx:
            found = await audited(tx, case, about or tx.now, sent.caller.client)
    except Refusal as refusal:
        if refusal.code == "invalid":
            return sent.again(_ASK, Incomplete({"at": forms.SAID["in_the_future"]}), sent.form)
        wrong = forms.at_field(refusal, {"not-found": "case"})
        return sent.page(_ASK, status=HTTPStatus.NOT_FOUND, form=sent.form, errors=wrong.errors)
    told = [one for one in found.answers if one.told]
    refused = [one for one in found.answers if not one.told]
    return sent.page(
        _TOLD, found=found, told=told[-lists.MOST :], refused=refused[-lists.MOST :], directory=directory, called=_called,
        older=not found.whole or max(len(told), len(refused)) > lists.MOST, kinds=list(Kind), most=lists.MOST,
    )  # fmt: skip


def _asked(sent: Sent) -> tuple[UUID, datetime | None]:
    """The case and the time, by the clock of the page; None: now. Raises Incomplete."""
    typed, day, clock = sent.form.one("case"), sent.form.one("day"), sent.form.one("time")
    wrong: dict[str, str] = {}
    case, about = UUID(int=0), None
    try:
        case = UUID(typed)
    except ValueError:
        wrong["case"] = forms.SAID["string_pattern_mismatch" if typed else "missing"]
    if day or clock:
        try:
            on_page = datetime.combine(date.fromisoformat(day), time.fromisoformat(clock))
            about = sent.words.moment(on_page).astimezone(UTC)
        except (ValueError, OverflowError):  # the second: of the first day that there is
            wrong["at"] = forms.SAID["datetime_parsing"]
    if wrong:
        raise Incomplete(wrong)
    return case, about


def _called(kind: str, code: str) -> str:
    """What a code is called, to be translated; the code itself where it is none of ours."""
    if kind == "opens":
        return FIELDS.get(code) or _called("category", code)
    return LABELS[_CODES[kind]].get(code, code)
