"""Decisions about single acts (an examination, a report, a journey home): each asked by itself, and recorded as it was
answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Request, Response

from schemas.vocabulary import ConsentDecision, Language
from services.intake.cases import store as cases
from services.intake.cases.domain import adult_from
from services.intake.cases.steps import LANGUAGES, MORE_LANGUAGES
from services.intake.consent import api, store
from services.intake.consent.api import SCOPE, ConsentBody, Expressed, Relationship
from services.intake.consent.domain import FENCED
from services.intake.consent.notices import notice_in
from services.intake.consent.shown import Decided, others_of
from services.intake.disclosure.handlers import Holder
from spean.db import Tx
from spean.http import Body, Reply, View
from spean.problem import Refusal
from spean.web import forms
from spean.web.forms import Form, Incomplete
from spean.web.pages import At, Sent, at_with, page_router, sent_with

router = page_router("consent pages")
_TEMPLATE = "intake/consent/decisions.html"
SINGLE = tuple(one for one in ConsentDecision if one not in FENCED)
_ANSWERS = ("given", "refused", "requested", "re-confirmed")
_NOBODY = "nobody"


class _Answer(Body):
    """`guardian`: asked of a minor only."""

    decision: ConsentDecision
    state: Literal["given", "refused", "requested", "re-confirmed"]
    expressed: Expressed
    language: Language
    interpreter: Literal["yes", "no"]
    guardian: Literal["nobody", Relationship] = "nobody"
    guardian_expressed: Expressed | None = None


class Decisions(View):
    """What was decided of each act so far. `languages`: those that the person speaks, first."""

    decided: dict[ConsentDecision, Decided]
    minor: bool
    languages: tuple[str, ...]


@router.get("/entries/{entry}/decisions")
async def ask(request: Request, entry: UUID, at: Annotated[At, Depends(at_with(SCOPE))]) -> Response:
    return _page(request, at, entry, Form(), {})


@router.post("/entries/{entry}/decisions")
async def record(request: Request, entry: UUID, sent: Annotated[Sent, Depends(sent_with(SCOPE))]) -> Response:
    try:
        await api.record(request, entry, _body(sent.form), sent.command())
    except Incomplete as error:
        return _page(request, sent, entry, sent.form, error.errors)
    except Refusal as refusal:
        wrong = forms.at_field(refusal, {"state": "state"})  # nothing to confirm, or their yes stands already
        return _page(request, sent, entry, sent.form, wrong.errors)
    return sent.see(f"/intake/pages/entries/{entry}/decisions", done="recorded")


def _body(form: Form) -> ConsentBody:
    """Raises Incomplete."""
    given = forms.read(_Answer, {name: form.some(name) for name in _Answer.model_fields})
    if given.decision not in SINGLE:
        raise Incomplete({"decision": forms.SAID["enum"]})
    guardian = None
    if given.guardian != _NOBODY:
        if given.guardian_expressed is None:
            raise Incomplete({"guardian_expressed": forms.SAID["missing"]})
        guardian = {"relationship": given.guardian, "expressed": given.guardian_expressed}
    return forms.read(ConsentBody, {
        "decision": given.decision, "state": given.state, "expressed": given.expressed, "language": given.language,
        "notice": notice_in(given.language).name, "interpreter": given.interpreter == "yes", "guardian": guardian,
    })  # fmt: skip


def _page(request: Request, at: At, entry: UUID, form: Form, errors: dict[str, str]) -> Response:
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        found = await cases.find_entry(tx, entry)
        fields = await cases.opened_fields(holder.keys, found)
        person = (await store.people(tx, {entry: adult_from(fields, found.age_at)}))[entry]
        tongues = tuple(dict.fromkeys((*fields.languages, *LANGUAGES, *MORE_LANGUAGES)))
        decided = others_of(await store.current(tx, entry), person, tx.now)
        return Reply(Decisions(decided=decided, minor=person.minor, languages=tongues), await store.version(tx, entry))

    shown: dict[str, Any] = {"entry": entry, "form": form, "errors": errors, "single": SINGLE, "answers": _ANSWERS}
    return at.gated("page.decisions", work, _TEMPLATE, status=422 if errors else 200, **shown)
