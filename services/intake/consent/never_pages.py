"""With whom nothing is ever shared: named at any time, as easily as anything is stopped, and how a person takes that back."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from services.intake.cases import store as cases
from services.intake.consent import api, handlers, store
from services.intake.consent.answers import NEVER_KINDS, never_in
from services.intake.consent.api import SCOPE, ExclusionBody
from services.intake.consent.shown import Never, never_of
from services.intake.disclosure.handlers import Holder
from spean.db import Tx
from spean.http import Reply, View
from spean.problem import Refusal
from spean.web import forms, lists, network
from spean.web.forms import Form, Incomplete
from spean.web.pages import At, Sent, at_with, page_router, sent_with

router = page_router("consent pages")
_NEW = "intake/consent/never_new.html"


class Nevers(View):
    never: tuple[Never, ...]


@router.get("/entries/{entry}/never")
async def listed(request: Request, entry: UUID, at: Annotated[At, Depends(at_with(SCOPE))]) -> Response:
    holder: Holder = request.app.state.holder
    directory = await network.directory(request)

    async def work(tx: Tx) -> Reply:
        await cases.find_entry(tx, entry)
        names = await handlers.officials(tx, holder, entry)
        found = (await store.exclusions(tx, [entry]))[entry]
        return Reply(Nevers(never=tuple(never_of(one, names.get(one.value, ())) for one in found)))

    return at.gated("page.never", work, "intake/consent/nevers.html", entry=entry, directory=directory)


@router.get("/entries/{entry}/never/new")
async def ask(request: Request, entry: UUID, at: Annotated[At, Depends(at_with(SCOPE, stopping=True))]) -> Response:
    """It needs nothing of what is sealed."""
    return at.page(_NEW, **await _asked(request, at, entry, Form()))


@router.post("/entries/{entry}/never/new")
async def name(
    request: Request, entry: UUID, sent: Annotated[Sent, Depends(sent_with(SCOPE, stopping=True))]
) -> Response:
    """Each by itself: whoever was named before a fault stays named."""
    form = sent.form
    if lists.narrows(form, "never") and not form.one("official_name"):
        return sent.page(_NEW, **await _asked(request, sent, entry, form))
    try:
        named = never_in(form)
        if not named:
            raise Incomplete({"never": forms.SAID["too_short"]})
    except Incomplete as error:
        return sent.page(_NEW, **await _asked(request, sent, entry, form), errors=error.errors, status=422)
    for one in named:
        await api.exclude(request, entry, one, sent.command(part=f"{one.kind}:{one.value}"))
    where = "never/new" if sent.who.only_stops else "never"
    return sent.see(f"/intake/pages/entries/{entry}/{where}", done="never-told")


async def _asked(request: Request, at: At, entry: UUID, form: Form) -> dict[str, Any]:
    """Who may be named: whoever is not yet. Whoever may only stop is listed nobody by name: the network tells them nothing.
    Raises Refusal `not-found`."""
    async with at.door.db.transaction("never.ask", org=at.who.org) as tx:
        await cases.find_entry(tx, entry)
        already = (await store.exclusions(tx, [entry]))[entry]
    out = {one.kind if one.kind == "law_enforcement" else f"{one.kind}:{one.value}" for one in already}
    directory = network.Directory({}) if at.who.only_stops else await network.directory(request)
    others = {
        f"organisation:{id_}": one for id_, one in directory.organisations.items()
        if id_ != at.who.org and f"organisation:{id_}" not in out
    }  # fmt: skip
    return {
        "entry": entry, "form": form, "directory": directory, "others": others,
        "kinds": [one for one in NEVER_KINDS if one not in out],
        "choices": lists.choices([(value, one.name) for value, one in others.items()], form, "never"),
    }  # fmt: skip


@router.post("/entries/{entry}/never")
async def lift(request: Request, entry: UUID, sent: Annotated[Sent, Depends(sent_with(SCOPE))]) -> Response:
    """Twice is once: what is not in force is lifted already."""
    try:
        body = forms.read(ExclusionBody, {"kind": sent.form.some("kind"), "value": sent.form.some("value")})
    except Incomplete:
        raise Refusal("invalid") from None
    try:
        await api.lift(request, entry, body, sent.command())
    except Refusal as refusal:
        if refusal.code != "state":
            raise
    return sent.see(f"/intake/pages/entries/{entry}/never", done="lifted")
