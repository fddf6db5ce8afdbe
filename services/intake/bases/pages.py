"""What stands in for consent, at a desk: marked by one, decided by another, and what waits for whom. A page for what waits
opens nothing that is sealed."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from schemas.vocabulary import DataCategory, OrganisationType, ServiceType
from services.intake.bases import api, store
from services.intake.bases.api import SCOPE, BasesView, BasisBody, DecideBody, waiting_now
from services.intake.bases.domain import CATEGORIES, MINORS_ONLY, OBLIGATIONS, USUAL_CATEGORIES, Kind, determined
from services.intake.cases import store as cases
from services.intake.cases.domain import adult_from, is_minor
from services.intake.consent.answers import class_of
from services.intake.consent.shown import Class
from services.intake.disclosure.handlers import Holder
from spean.db import Tx
from spean.http import Reply
from spean.problem import Refusal
from spean.web import forms, lists, network
from spean.web.forms import Form, Incomplete
from spean.web.pages import At, Sent, at_with, page_router, sent_with
from spean.web.words import N_

ENTRIES = "/intake/pages/entries"
_NEW = "intake/bases/new.html"
_MORE = N_("Write your reasons in a sentence: at least ten characters.")
_SEVERAL = ("categories", "organisations", "services")
# Who may be meant as a group: those who give services, in the holder's country. Anybody else is named.
_HELPERS = (
    OrganisationType.SHELTER, OrganisationType.CLINIC, OrganisationType.LEGAL_AID, OrganisationType.NGO,
    OrganisationType.HOTLINE,
)  # fmt: skip
router = page_router("bases' pages")
Sender = Annotated[At, Depends(at_with(SCOPE))]
SenderSent = Annotated[Sent, Depends(sent_with(SCOPE))]


@router.get("/waiting")
async def waiting(at: Sender) -> Response:
    """What waits for somebody of the organisation: a second opinion, a word to the person, a talk that was put off."""

    async def work(tx: Tx) -> Reply:
        return Reply(await waiting_now(tx, at.caller.client))

    return at.gated("page.waiting", work, "intake/bases/waiting.html")


@router.get("/entries/{entry}/bases")
async def bases(request: Request, entry: UUID, at: Sender) -> Response:
    return await _listed(request, entry, at)


async def _listed(
    request: Request, entry: UUID, at: At, *, about: UUID | None = None, said: str = "", form: Form | None = None
) -> Response:
    """`said`: what is the matter with the reasons about one of them, which are shown again as they were typed."""
    holder: Holder = request.app.state.holder
    directory = await network.directory(request)

    async def work(tx: Tx) -> Reply:
        found = await cases.find_entry(tx, entry)
        adult = adult_from(await cases.opened_fields(holder.keys, found), found.age_at)
        shown = [await api.view(tx, holder, b) for b in await store.of_entry(tx, entry)]
        minor = is_minor(adult, tx.now)
        offered = tuple(one for one in Kind if minor or one not in MINORS_ONLY)
        return Reply(_Page(bases=tuple(reversed(shown)), offered=offered))

    errors = {f"reasons-{about}": said} if about else {}
    return at.gated(
        "page.bases", work, "intake/bases/list.html", entry=entry, me=at.caller.client, directory=directory, about=str(about),
        form=form or Form(), errors=errors, status=422 if errors else 200,
    )  # fmt: skip


class _Page(BasesView):
    """`offered`: what may be marked for this person."""

    offered: tuple[Kind, ...]


@router.get("/entries/{entry}/bases/new/{kind}")
async def ask(request: Request, entry: UUID, kind: Kind, at: Sender) -> Response:
    async with at.door.db.transaction("basis.ask", org=at.who.org) as tx:
        await cases.find_entry(tx, entry)
        limit = await store.limit(tx, kind)
    return at.page(_NEW, limit=limit, **await _asked(request, at, entry, kind, Form()))


@router.post("/entries/{entry}/bases/new/{kind}")
async def propose(request: Request, entry: UUID, kind: Kind, sent: SenderSent) -> Response:
    """Shown again, with what was typed, where something is missing or this kind does not allow it."""
    try:
        if lists.narrows(sent.form, "organisations"):
            raise Incomplete({})
        await api.propose(request, entry, _body(kind, sent.form), sent.command())
    except (Incomplete, Refusal) as error:
        wrong = _with_unanswered(error, kind, sent.form) if isinstance(error, Incomplete) else _at_fields(error)
        async with sent.door.db.transaction("basis.ask", org=sent.who.org) as tx:
            await cases.find_entry(tx, entry)
            limit = await store.limit(tx, kind)
        asked = await _asked(request, sent, entry, kind, sent.form)
        return sent.again(_NEW, wrong, sent.form, limit=limit, **{k: v for k, v in asked.items() if k != "form"})
    return sent.see(f"{ENTRIES}/{entry}/bases", done="marked")


def _body(kind: Kind, form: Form) -> BasisBody:
    """Raises Incomplete."""
    recipients = {
        "organisations": form.all("organisations"),
        "classes": [class_of(one).model_dump(mode="json") for one in form.all("classes")],
    }
    given: dict[str, Any] = {name: form.all(name) for name in _SEVERAL if name != "organisations"}
    return forms.read(BasisBody, {
        "kind": kind, "justification": form.one("justification"), **given, "recipients": recipients,
        "at_once": form.one("at_once") == "yes", "spoken": form.one("spoken") == "yes",
    })  # fmt: skip


def _with_unanswered(error: Incomplete, kind: Kind, form: Form) -> Incomplete:
    """Everything that is missing at once, not one thing after the other. Nothing more where a choice was only narrowed."""
    if not error.errors or kind is Kind.FAMILY_CHECK:
        return error
    asked = {"recipients": form.all("organisations") or form.all("classes")}
    if kind not in USUAL_CATEGORIES:
        asked["categories"] = form.all("categories")
    if kind is Kind.DETERMINATION:
        asked["services"] = form.all("services")
    return Incomplete({**error.errors, **{name: forms.SAID["missing"] for name, given in asked.items() if not given}})


def _at_fields(refusal: Refusal) -> Incomplete:
    """What a kind does not allow, at the field that it is about. Raises the refusal where it is about none."""
    found = {one["at"].split(".")[1]: forms.SAID["missing"] for one in refusal.errors if one["at"].count(".")}
    found |= {"recipients": forms.SAID["too_short"]} if "recipients" in found else {}
    if refusal.code != "invalid" or not found:
        return forms.at_field(refusal, {"recipient-unknown": "recipients"})
    return Incomplete(found)


async def _asked(request: Request, at: At, entry: UUID, kind: Kind, form: Form) -> dict[str, Any]:
    """What the form of a kind needs."""
    holder: Holder = request.app.state.holder
    listed = await network.directory(request)
    others = {str(id_): one for id_, one in listed.organisations.items() if id_ != at.who.org}
    classes = [] if kind in OBLIGATIONS else [
        (f"{one} {holder.country}", Class(type=one, country=holder.country)) for one in _HELPERS
    ]  # fmt: skip
    allowed = CATEGORIES.get(kind, frozenset(DataCategory))
    return {
        "entry": entry, "kind": kind, "form": form, "directory": listed, "others": others, "classes": classes,
        "choices": lists.choices([(id_, one.name) for id_, one in others.items()], form, "organisations"),
        "categories": [one for one in DataCategory if one in allowed], "usual": list(USUAL_CATEGORIES.get(kind, ())),
        "services": [one for one in ServiceType if one in determined(at.now)],
        "own": f"{ENTRIES}/{entry}/bases/new/{kind}",
    }  # fmt: skip


@router.post("/entries/{entry}/bases/{basis}/decide")
async def decide(request: Request, entry: UUID, basis: UUID, sent: SenderSent) -> Response:
    """Where it does not count, what was typed is shown again."""
    try:
        given = {"agrees": {"yes": True, "no": False}.get(sent.form.one("agrees")), "reasons": sent.form.one("reasons")}
        await api.decide(request, entry, basis, forms.read(DecideBody, given), sent.command())
    except Incomplete:
        return await _listed(request, entry, sent, about=basis, said=_MORE, form=sent.form)
    return sent.see(f"{ENTRIES}/{entry}/bases", done="decided")


@router.post("/entries/{entry}/bases/{basis}/end")
async def end(request: Request, entry: UUID, basis: UUID, sent: SenderSent) -> Response:
    await api.end(request, entry, basis, sent.command())
    return sent.see(f"{ENTRIES}/{entry}/bases", done="saved")


@router.post("/entries/{entry}/bases/{basis}/told")
async def told(entry: UUID, basis: UUID, sent: SenderSent) -> Response:
    await api.told(entry, basis, sent.command())
    return sent.see(f"{ENTRIES}/{entry}/bases", done="saved")
