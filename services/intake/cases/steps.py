"""Somebody was met: the pages that lead to an entry in under a minute. Every step is kept on the server as it is sent;
what the person said is in no address, no cookie and no browser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Request, Response

from schemas.vocabulary import AgeBand, Need, OrganisationType, Sex
from services.intake.cases import api
from services.intake.cases.api import SCOPE, EntryBody
from services.intake.cases.domain import PersonFields
from services.intake.disclosure.handlers import Holder
from services.intake.drafts import handlers as drafts
from services.intake.drafts import store as draft_store
from services.intake.drafts.domain import Draft, Kind, merged
from services.intake.drafts.pages import Begun, begun, key_of, unfinished
from spean.db import Tx
from spean.geography import areas_of, known_area
from spean.http import Reply
from spean.problem import Refusal
from spean.web import forms
from spean.web.forms import Form, Incomplete
from spean.web.labels import CHANNELS
from spean.web.pages import At, Sent, at_with, id_in, page_router, sent_with
from spean.web.words import ZONES, Words

DRAFTS = "/intake/pages/drafts"
# Languages as they are asked for: those of the six countries, then those of peoples across their borders.
LANGUAGES = ("khm", "tha", "vie", "mya", "lao", "cmn", "eng")
MORE_LANGUAGES = ("shn", "ksw", "mnw", "kac", "rhg", "mww", "hnj", "kjg", "jra", "cja", "kxm", "zha")
Step = Literal["where", "needs"]
FIELDS: Mapping[Step, tuple[str, ...]] = {
    "where": ("channel", "area"),
    "needs": ("age_years", "age_band", "sex", "languages", "needs"),
}
NEXT: Mapping[Step, str] = {"where": "needs", "needs": "check"}
# How an organisation's people are met, before a worker has said otherwise.
_USUAL_CHANNEL = {OrganisationType.BORDER_POST: "border_post", OrganisationType.HOTLINE: "hotline"}
router = page_router("entries' pages")
Sender = Annotated[At, Depends(at_with(SCOPE))]
SenderSent = Annotated[Sent, Depends(sent_with(SCOPE))]


def where_in(form: Form) -> EntryBody:
    """An entry of nobody yet. Raises Incomplete."""
    body = forms.read(EntryBody, {"channel": form.some("channel"), "area": form.some("area")})
    if not known_area(body.area):
        raise Incomplete({"area": forms.SAID["enum"]})
    return body


def person_in(form: Form) -> PersonFields:
    """What was written down of a person; lists of texts have one a line. Raises Incomplete."""
    one = {name: form.some(name) for name in PersonFields.model_fields if name not in _LISTS}
    many = {name: form.all(name) for name in ("needs", "languages")}
    lines = {name: [line for line in form.one(name).splitlines() if line.strip()] for name in _LINES}
    return forms.read(PersonFields, {**one, **many, **lines})


_LINES = ("exploitation", "means_of_control")
_LISTS = frozenset({"needs", "languages", *_LINES})


def form_of(person: PersonFields) -> Form:
    """The reverse, to be corrected."""
    told = person.model_dump(mode="json", exclude_defaults=True)
    values: dict[str, list[str]] = {}
    for name, value in told.items():
        if name in _LINES:
            values[name] = ["\n".join(value)]
        else:
            values[name] = [str(one) for one in value] if isinstance(value, list) else [str(value)]
    return Form(values)


def choices() -> dict[str, Any]:
    """What the questions of `_person.html` offer."""
    return {"bands": list(AgeBand), "sexes": list(Sex), "all_needs": list(Need), "tongues": LANGUAGES,
            "more_tongues": MORE_LANGUAGES}  # fmt: skip


def places(country: str, words: Words) -> list[tuple[str, list[tuple[str, str]]]]:
    """(code, name) of provinces by country, this one first; in the page's language, and in its order."""
    countries = (country, *(other for other in ZONES if other != country))
    named = ((one, [(code, words.text(name)) for code, name in areas_of(one)]) for one in countries)
    return [(one, sorted(provinces, key=lambda province: province[1])) for one, provinces in named]


def _shown(at: At, form: Form, draft: Draft | None = None, **more: Any) -> dict[str, Any]:
    holder: Holder = at.request.app.state.holder
    return {"form": form, "draft": draft, "channels": {name: CHANNELS[name] for name in CHANNELS if name != "screening"},
            "places": places(holder.country, at.words), **choices(), **more}  # fmt: skip


@router.get("/entries/new")
async def new(request: Request, at: Sender) -> Response:
    """What is unfinished, and the first step of another."""
    async with at.door.db.transaction("draft.usual", org=at.who.org) as tx:
        usual = await draft_store.usual(tx, at.who.person)
    channel, area = usual or (_USUAL_CHANNEL.get(at.who.facts.type, ""), "")
    form = Form({"channel": [channel], "area": [area]})
    return at.page("intake/cases/where.html", **_shown(at, form), unfinished=await unfinished(request, at))


@router.post("/entries/new")
async def begin(request: Request, sent: SenderSent) -> Response:
    holder: Holder = request.app.state.holder
    try:
        where = where_in(sent.form)
    except Incomplete as error:
        shown = {**_shown(sent, sent.form), "unfinished": await unfinished(request, sent)}
        return sent.again("intake/cases/where.html", error, **shown)

    async def work(tx: Tx) -> Reply:
        await draft_store.set_usual(tx, sent.who.person, where.channel, where.area)
        answers = merged({}, FIELDS["where"], sent.form.values)
        return Reply(Begun(id=await drafts.begin(tx, holder.keys, sent.who.person, Kind.ENTRY, answers)), status=201)

    return sent.see(f"{DRAFTS}/{await begun(sent, work)}/needs")


@router.get("/drafts/{draft}/check")
async def check(request: Request, draft: UUID, at: Sender) -> Response:
    return await _check(request, at, draft)


async def _check(request: Request, at: At, draft: UUID, **more: Any) -> Response:
    found = await _draft(request, at, draft)
    wrong = _wrong(found)
    if wrong is not None:
        return at.see(f"{DRAFTS}/{draft}/{wrong[0]}")
    form = Form(found.answers)
    return at.page("intake/cases/check.html", draft=found, where=where_in(form), person=person_in(form),
                   key=key_of(found), **more)  # fmt: skip


@router.post("/drafts/{draft}/check")
async def save(request: Request, draft: UUID, sent: SenderSent) -> Response:
    """The entry is made as of when it was begun, and the draft is over, in one transaction; once, however often and from
    however many tabs it is sent."""
    holder: Holder = request.app.state.holder
    command = sent.command()

    async def work(tx: Tx) -> Reply:
        found = await drafts.finish(tx, holder.keys, draft, sent.who.person, command.expected)
        form = Form(found.answers)
        where = where_in(form)
        return await api.entered(
            tx, holder, where.model_copy(update={"person": person_in(form), "happened_at": found.begun_at})
        )

    try:
        made = await command.run("entry.enter", work)
    except Incomplete:
        return sent.see(f"{DRAFTS}/{draft}/check")  # which leads to what is missing
    except Refusal as refusal:
        if refusal.code != "version":
            raise
        return await _check(request, sent, draft, changed=True, status=412)
    return sent.see(f"/intake/pages/entries/{id_in(made)}", done="entered")


@router.get("/drafts/{draft}/{step}")
async def step(request: Request, draft: UUID, step: Step, at: Sender) -> Response:
    found = await _draft(request, at, draft)
    return at.page(f"intake/cases/{step}.html", **_shown(at, Form(found.answers), found), unfinished=[])


@router.post("/drafts/{draft}/{step}")
async def keep(request: Request, draft: UUID, step: Step, sent: SenderSent) -> Response:
    """Kept as it was typed, also where something is wrong with it."""
    holder: Holder = request.app.state.holder
    async with sent.door.db.transaction("draft.keep", org=sent.who.org) as tx:
        found = await drafts.keep(tx, holder.keys, draft, sent.who.person, FIELDS[step], sent.form.values)
    wrong = _wrong(found)
    if wrong is not None and wrong[0] == step:
        return sent.again(f"intake/cases/{step}.html", wrong[1], **_shown(sent, sent.form, found), unfinished=[])
    return sent.see(f"{DRAFTS}/{draft}/{NEXT[step]}")


def _wrong(draft: Draft) -> tuple[Step, Incomplete] | None:
    """The first step with an answer that cannot be used."""
    form = Form(draft.answers)
    for name, read in _READ.items():
        try:
            read(form)
        except Incomplete as error:
            return name, error
    return None


_READ: Mapping[Step, Any] = {"where": where_in, "needs": person_in}


async def _draft(request: Request, at: At, draft: UUID) -> Draft:
    """Raises Refusal `not-found`."""
    holder: Holder = request.app.state.holder
    async with at.door.db.transaction("draft.read", org=at.who.org) as tx:
        return await drafts.read(tx, holder.keys, draft, at.who.person, Kind.ENTRY)
