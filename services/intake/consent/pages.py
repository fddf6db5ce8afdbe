"""Consent talked through step by step, in the person's language. Each answer lies in a draft on the server until all of
them are checked; then the decisions are recorded together, or none of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from schemas.vocabulary import ConsentState, DataCategory, OrganisationType, Purpose, Served
from services.intake.cases import handlers as case_handlers
from services.intake.cases import store as cases
from services.intake.cases.domain import adult_from, is_minor
from services.intake.cases.steps import LANGUAGES, MORE_LANGUAGES
from services.intake.consent import answers as steps
from services.intake.consent import api, handlers, store
from services.intake.consent.answers import FIELDS, Step
from services.intake.consent.api import SCOPE, ConsentBody, RecordedView
from services.intake.consent.notices import english, notice_in, written_languages
from services.intake.consent.shown import Class, never_of
from services.intake.disclosure.handlers import Holder
from services.intake.drafts import handlers as drafts
from services.intake.drafts.domain import Draft, Kind
from services.intake.drafts.pages import Begun, begun, key_of
from spean.db import Tx
from spean.http import Reply
from spean.problem import Refusal
from spean.web import lists, network
from spean.web.forms import Form, Incomplete
from spean.web.pages import At, Sent, at_with, page_router, sent_with

TALK = "/intake/pages/consent"
ENTRIES = "/intake/pages/entries"
# Who may be agreed to as a class: those who give services. Anybody else is named; police, embassies and ministries are in
# no class at the gate, either.
_HELPERS = (
    OrganisationType.SHELTER, OrganisationType.CLINIC, OrganisationType.LEGAL_AID, OrganisationType.NGO,
    OrganisationType.HOTLINE,
)  # fmt: skip
# Which version of the person's decisions the worker saw when the talk began; no step's answer.
_SEEN = "seen"
router = page_router("consent pages")
Sender = Annotated[At, Depends(at_with(SCOPE))]
SenderSent = Annotated[Sent, Depends(sent_with(SCOPE))]


class Overtaken(Exception):
    """Something was recorded of this person since the talk began, perhaps that they have stopped: nothing of an older
    talk takes its place."""


@dataclass(frozen=True, slots=True)
class Talk:
    """A draft and what its steps depend on."""

    draft: Draft
    entry: UUID
    minor: bool
    age_known: bool
    languages: tuple[str, ...]

    @property
    def form(self) -> Form:
        return Form(self.draft.answers)


async def _talk(tx: Tx, holder: Holder, draft: Draft) -> Talk:
    """Raises Refusal `not-found`, `erased`."""
    if draft.entry is None:
        raise Refusal("not-found")
    found = await cases.find_entry(tx, draft.entry)
    person = await cases.opened_fields(holder.keys, found)
    adult = adult_from(person, found.age_at)
    return Talk(draft, draft.entry, is_minor(adult, tx.now), person.band is not None, person.languages)


async def _read(request: Request, at: At, draft: UUID) -> Talk:
    holder: Holder = request.app.state.holder
    async with at.door.db.transaction("talk.read", org=at.who.org) as tx:
        found = await drafts.read(tx, holder.keys, draft, at.who.person, Kind.CONSENT)
        return await _talk(tx, holder, found)


@router.post("/entries/{entry}/consent")
async def begin(request: Request, entry: UUID, sent: SenderSent) -> Response:
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        await cases.opened_fields(holder.keys, await cases.find_entry(tx, entry))
        seen = {_SEEN: [str(await store.version(tx, entry))]}
        return Reply(
            Begun(id=await drafts.begin(tx, holder.keys, sent.who.person, Kind.CONSENT, seen, entry)), status=201
        )

    return sent.see(f"{TALK}/{await begun(sent, work)}/language")


@router.get("/consent/{draft}")
async def go_on(request: Request, draft: UUID, at: Sender) -> Response:
    """To the first step that was not answered."""
    talk = await _read(request, at, draft)
    wrong = steps.wrong(talk.draft.answers, minor=talk.minor)
    return at.see(f"{TALK}/{draft}/{wrong[0] if wrong else 'check'}")


@router.get("/consent/{draft}/check")
async def check(request: Request, draft: UUID, at: Sender) -> Response:
    return await _check(request, at, draft)


async def _check(request: Request, at: At, draft: UUID, **more: Any) -> Response:
    talk = await _read(request, at, draft)
    answers = talk.draft.answers
    wrong = steps.wrong(answers, minor=talk.minor)
    if wrong is not None:
        return at.see(f"{TALK}/{draft}/{wrong[0]}")
    return at.page(
        "intake/consent/check.html", talk=talk, key=key_of(talk.draft), directory=await network.directory(request),
        decided=steps.decisions(answers, at.now, minor=talk.minor), steps=steps.path(answers, minor=talk.minor),
        never=[never_of(one.exclusion(), [one.name] if one.name else []) for one in steps.exclusions(answers)], **more,
    )  # fmt: skip


@router.post("/consent/{draft}/check")
async def record(request: Request, draft: UUID, sent: SenderSent) -> Response:
    holder: Holder = request.app.state.holder
    command = sent.command()

    async def work(tx: Tx) -> Reply:
        found = await drafts.finish(tx, holder.keys, draft, sent.who.person, command.expected)
        talk = await _talk(tx, holder, found)
        # First of all: a stop that is being recorded is waited for, and then seen.
        await handlers.lock(tx, talk.entry)
        if found.answers[_SEEN] != [str(await store.version(tx, talk.entry))]:
            raise Overtaken
        for one in steps.exclusions(found.answers):
            await handlers.exclude(tx, holder, talk.entry, one.exclusion(), command.caller.client, one.name)
        for body in steps.decisions(found.answers, tx.now, minor=talk.minor):
            await _decide(tx, holder, talk.entry, body, command.caller.client)
        version = await store.version(tx, talk.entry)
        return Reply(RecordedView(entry=talk.entry, version=version), version, 201)

    try:
        made = await command.run("consent.talked", work)
    except Incomplete:
        return sent.see(f"{TALK}/{draft}/check")  # which leads to what is missing
    except Overtaken:
        return await _check(request, sent, draft, overtaken=True, status=412)
    except Refusal as refusal:
        if refusal.code != "version":
            raise
        return await _check(request, sent, draft, changed=True, status=412)
    entry = RecordedView.model_validate_json(bytes(made.body)).entry
    return sent.see(f"{ENTRIES}/{entry}", done="recorded")


async def _decide(tx: Tx, holder: Holder, entry: UUID, body: ConsentBody, by: str) -> None:
    """Record it; a service that the person agrees to opens their case, unless a guardian has still to agree."""
    fence = await handlers.lock(tx, entry)
    await handlers.record(tx, holder, entry, fence, api.decided(body, by, tx.now))
    if body.decision == "service" and body.state == ConsentState.GIVEN:
        try:
            await case_handlers.open_case(tx, holder.keys, await cases.lock_entry(tx, entry))
        except Refusal as refusal:
            if refusal.code not in {"guardian", "duplicate"}:
                raise


@router.get("/consent/{draft}/{step}")
async def step(request: Request, draft: UUID, step: Step, at: Sender) -> Response:
    talk = await _read(request, at, draft)
    return at.page(f"intake/consent/{step}.html", **await _shown(request, at, talk, step, Form()))


@router.post("/consent/{draft}/{step}")
async def keep(request: Request, draft: UUID, step: Step, sent: SenderSent) -> Response:
    """Kept as it was answered, also where something is missing."""
    holder: Holder = request.app.state.holder
    async with sent.door.db.transaction("talk.keep", org=sent.who.org) as tx:
        kept = await drafts.keep(tx, holder.keys, draft, sent.who.person, FIELDS[step], sent.form.values)
        talk = await _talk(tx, holder, kept)
    if any(lists.narrows(sent.form, field) for field in FIELDS[step]):
        return sent.page(f"intake/consent/{step}.html", **await _shown(request, sent, talk, step, sent.form))
    try:
        steps.read(step, kept.answers)
    except Incomplete as error:
        shown = await _shown(request, sent, talk, step, sent.form)
        return sent.again(f"intake/consent/{step}.html", error, **shown)
    return sent.see(f"{TALK}/{draft}/{steps.after(step, kept.answers, minor=talk.minor)}")


async def _shown(request: Request, at: At, talk: Talk, step: Step, typed: Form) -> dict[str, Any]:
    """What a step's page needs beside its form. `typed`: what was sent with it, and is no answer: a name to be found."""
    form = talk.form
    holder: Holder = request.app.state.holder
    shown: dict[str, Any] = {"talk": talk, "form": form, "own": f"{TALK}/{talk.draft.id}"}
    shown["before"] = steps.before(step, talk.draft.answers, minor=talk.minor)
    if step == "language":
        known = tuple(dict.fromkeys((*talk.languages, *LANGUAGES, *MORE_LANGUAGES)))
        shown |= {"tongues": known, "written": written_languages()}
    elif step == "notice":
        shown |= {"notice": notice_in(form.one("language")), "english": english()}
    elif step == "what":
        shown["categories"] = list(DataCategory)
    elif step == "why":
        shown["purposes"] = list(Purpose)
    elif step in {"whom", "never"}:
        listed = await network.directory(request)
        pairs = {(one.facts.type, one.facts.country) for one in listed.organisations.values()}
        pairs |= {(one, holder.country) for one in _HELPERS}
        shown |= {
            "directory": listed,
            "home": holder.country,
            "classes": [(steps.class_value(one), one) for one in _classes(pairs, holder.country)],
        }
        field, before_id = ("organisations", "") if step == "whom" else ("never", "organisation:")
        others = {f"{before_id}{id_}": one for id_, one in listed.organisations.items() if id_ != at.who.org}
        names = [(value, one.name) for value, one in others.items()]
        asked = Form({**typed.values, **form.values})
        shown |= {"others": others, "choices": lists.choices(names, asked, field), "kinds": steps.NEVER_KINDS}
    return shown


def _classes(pairs: set[tuple[OrganisationType, str]], home: str) -> list[Class]:
    """The classes that may be chosen, those of the holder's country first; of shelters also those that take in girls, boys,
    women or men."""
    offered = [pair for pair in pairs if pair[0] in _HELPERS]
    offered.sort(key=lambda pair: (pair[1] != home, pair[1], _HELPERS.index(pair[0])))
    return [
        Class(type=type_, country=country, serves=serves) for type_, country in offered
        for serves in [(), *((one,) for one in Served if one is not Served.UNKNOWN and type_ is OrganisationType.SHELTER)]
    ]  # fmt: skip
