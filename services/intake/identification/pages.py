"""The path of a person's identification, at a desk: where it stands, how it came there, and the next step."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from schemas.vocabulary import DecidingBody
from services.intake.disclosure.handlers import Holder
from services.intake.identification import api
from services.intake.identification.api import SCOPE, StepBody
from spean.db import Tx
from spean.http import Reply
from spean.problem import Refusal
from spean.web import forms
from spean.web.forms import Form, Incomplete
from spean.web.pages import At, Sent, at_with, page_router, sent_with
from spean.web.words import N_

router = page_router("identification's pages")
_TEMPLATE = "intake/identification/path.html"
# Why a step cannot be as it is written (`domain.expect_follows`) → what to do about it.
_SAID: Mapping[str, str] = {
    "not_theirs_to_decide": N_(
        "They do not decide this step: an authority does, or the person where they appeal or want no process."
    ),
    "in_the_future": forms.SAID["in_the_future"],
    "before_the_meeting": N_("This lies before the person was met."),
    "before_the_last_step": N_("This lies before the last step."),
}
_ABOUT = {"state": "status", "decision-missing": "status"}
_OTHERWISE = {
    "state": N_("This step does not follow on the last one. Look at the path again."),
    "decision-missing": N_(
        'The person\'s own yes to being identified formally is missing: record it first, under "Decisions about single things".'
    ),
}


@router.get("/entries/{entry}/identification")
async def path(request: Request, entry: UUID, at: Annotated[At, Depends(at_with(SCOPE))]) -> Response:
    return _page(request, at, entry, Form(), {})


@router.post("/entries/{entry}/identification")
async def record(request: Request, entry: UUID, sent: Annotated[Sent, Depends(sent_with(SCOPE))]) -> Response:
    """Shown again, with what was typed, where something is missing or does not follow."""
    try:
        body = forms.read(StepBody, {name: sent.form.some(name) for name in StepBody.model_fields})
        await api.record(request, entry, body, sent.command())
    except Incomplete as error:
        return _page(request, sent, entry, sent.form, error.errors)
    except Refusal as refusal:
        return _page(request, sent, entry, sent.form, _at_fields(refusal).errors)
    return sent.see(f"/intake/pages/entries/{entry}/identification", done="step")


def _at_fields(refusal: Refusal) -> Incomplete:
    """Raises the refusal where it is about no field."""
    if refusal.code != "invalid" or not refusal.errors:
        return forms.at_field(refusal, _ABOUT, _OTHERWISE)
    return Incomplete({one["at"].partition(".")[2]: _SAID[one["why"]] for one in refusal.errors})


def _page(request: Request, at: At, entry: UUID, form: Form, errors: dict[str, str]) -> Response:
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        return Reply(await api.view(tx, holder, entry))

    return at.gated(
        "page.identification", work, _TEMPLATE, status=422 if errors else 200, entry=entry, form=form, errors=errors,
        bodies=tuple(DecidingBody), noon=lambda day: at.words.moment(datetime.combine(day, time(12))),
    )  # fmt: skip
