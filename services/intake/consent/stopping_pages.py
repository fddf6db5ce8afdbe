"""Stopping, one page each, which says exactly what will happen. Nothing is asked but the one press of a button, or which
part is taken back; it works for a suspended organisation, too, and needs nothing of the network.

Whoever works at a suspended organisation finds people in a list that opens nothing sealed: by when and where they were
met, and by the number that their page and hand-offs show."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from schemas.vocabulary import YES, ConsentDecision
from services.intake.cases import store as cases
from services.intake.consent import api, store
from services.intake.consent.answers import class_of, class_value
from services.intake.consent.api import SCOPE, WithdrawBody
from services.intake.consent.decision_pages import SINGLE
from services.intake.consent.shown import Class
from spean.comparable import comparable
from spean.web import forms, lists, network
from spean.web.forms import Form, Incomplete
from spean.web.pages import At, Sent, at_with, page_router, sent_with

What = Literal["sharing", "service"]
router = page_router("consent pages")


@router.get("/stop")
async def for_whom(
    at: Annotated[At, Depends(at_with(SCOPE, stopping=True))],
    q: Annotated[str, Query(max_length=36, description="the beginning of a number")] = "",
    after: UUID | None = None,
) -> Response:
    """Everybody whom the organisation met, the latest first, without a word of what is written of them."""
    number = comparable(q)
    async with at.door.db.transaction("stop.list", org=at.who.org) as tx:
        found = await store.met(tx, number, after, lists.MOST + 1)
    shown = found[: lists.MOST]
    more = shown[-1].entry if len(found) > len(shown) else None
    return at.page("intake/consent/stop_list.html", people=shown, q=number, more=more)


@router.get("/entries/{entry}/stop/part")
async def ask_part(
    request: Request, entry: UUID, at: Annotated[At, Depends(at_with(SCOPE, stopping=True))]
) -> Response:
    """What is shared now, each part to be taken back by itself. It needs nothing of what is sealed."""
    return at.page("intake/consent/stop_part.html", **await _parts(request, at, entry, Form()))


@router.post("/entries/{entry}/stop/part")
async def stop_part(
    request: Request, entry: UUID, sent: Annotated[Sent, Depends(sent_with(SCOPE, stopping=True))]
) -> Response:
    form = sent.form
    if lists.narrows(form, "part"):
        return sent.page("intake/consent/stop_part.html", **await _parts(request, sent, entry, form))
    try:
        body = _part_in(form)
    except Incomplete as error:
        return sent.again("intake/consent/stop_part.html", error, **await _parts(request, sent, entry, form))
    await api.withdraw(request, entry, body, sent.command())
    return sent.see(f"/intake/pages/entries/{entry}/stop/part", done="taken-back")


def _part_in(form: Form) -> WithdrawBody:
    """Raises Incomplete."""
    kind, _, named = form.one("part").partition(":")
    if not kind:
        raise Incomplete({"part": forms.SAID["missing"]})
    try:
        if kind == "decision":
            return forms.read(WithdrawBody, {"what": ConsentDecision(named)})
        return forms.read(WithdrawBody, {"what": "sharing", kind: class_of(named) if kind == "class" else named})
    except (Incomplete, ValueError):
        raise Incomplete({"part": forms.SAID["enum"]}) from None


async def _parts(request: Request, at: At, entry: UUID, form: Form) -> dict[str, Any]:
    """What is shared now. Whoever may only stop is listed nobody by name: the network tells them nothing. Raises Refusal
    `not-found`."""
    async with at.door.db.transaction("stop.parts", org=at.who.org) as tx:
        await cases.find_entry(tx, entry)
        last = await store.current(tx, entry)
        shut = (await store.find_fence(tx, entry)).sharing_shut
        never = {one.value for one in (await store.exclusions(tx, [entry]))[entry]}
    row = last.get(ConsentDecision.SHARE_REFERRAL)
    acts = [one for one in SINGLE if one in last and last[one]["state"] in YES]
    shown: dict[str, Any] = {"entry": entry, "given": None, "form": form, "acts": acts}
    if row is None or shut or row["state"] not in YES:
        return shown
    given = store.record_of(row)
    directory = network.SILENT if at.who.only_stops else await network.directory(request)
    named = [UUID(one) for one in given.recipients["organisations"]]
    classes = [Class(**one) for one in given.recipients["classes"]]
    others = [
        (f"recipient:{id_}", one.name) for id_, one in directory.organisations.items()
        if classes and id_ not in {*named, at.who.org} and str(id_) not in never
    ]  # fmt: skip
    return {
        **shown, "given": given, "named": named, "classes": [(f"class:{class_value(one)}", one) for one in classes],
        "directory": directory, "choices": lists.choices(others, form, "part"),
    }  # fmt: skip


@router.get("/entries/{entry}/stop/{what}")
async def ask(
    request: Request, entry: UUID, what: What, at: Annotated[At, Depends(at_with(SCOPE, stopping=True))]
) -> Response:
    """What will happen; or, where it has stopped already, that it has. It needs nothing of what is sealed."""
    async with at.door.db.transaction("stop.ask", org=at.who.org) as tx:
        await cases.find_entry(tx, entry)
        person = (await store.people(tx, {entry: None}))[entry]
    stopped = person.service_shut if what == "service" else person.stopped
    return at.page("intake/consent/stop.html", entry=entry, what=what, stopped=stopped)


@router.post("/entries/{entry}/stop/{what}")
async def stop(
    request: Request, entry: UUID, what: What, sent: Annotated[Sent, Depends(sent_with(SCOPE, stopping=True))]
) -> Response:
    await api.withdraw(request, entry, WithdrawBody.model_validate({"what": what}), sent.command())
    return sent.see(f"/intake/pages/entries/{entry}/stop/{what}", done="withdrawn")
