"""A person's page, for the organisation that met them: what was written, what they decided, what became of it, and what
comes next. It is read as a whole by that organisation only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any
from uuid import UUID

import pycountry
from fastapi import Depends, Request, Response

from schemas.vocabulary import IdentificationStatus
from services.intake.cases import api, store
from services.intake.cases.api import SCOPE, EntryView
from services.intake.cases.domain import PersonFields, adult_from
from services.intake.cases.steps import choices, form_of, person_in
from services.intake.cases.store import Entry
from services.intake.consent import handlers as consent
from services.intake.consent import store as consents
from services.intake.consent.shown import Consents, consents_of
from services.intake.disclosure.handlers import Holder
from services.intake.drafts import handlers as drafts
from services.intake.drafts.domain import Kind
from services.intake.erasure import store as erasures
from services.intake.handoffs import api as handoffs_api
from services.intake.handoffs import handlers as handoffs
from services.intake.handoffs.api import HandoffView
from services.intake.identification import handlers as identification
from spean.db import Tx
from spean.http import Reply, View
from spean.problem import Refusal
from spean.web import lists, network
from spean.web.forms import Incomplete
from spean.web.pages import At, Sent, at_with, page_router, sent_with

ENTRIES = "/intake/pages/entries"
router = page_router("entries' pages")
Sender = Annotated[At, Depends(at_with(SCOPE))]
SenderSent = Annotated[Sent, Depends(sent_with(SCOPE))]


class Next(StrEnum):
    """The next right step with a person; what each is called stands in the template."""

    GO_ON = "go-on"
    TALK = "talk"
    REST = "rest"
    GUARDIAN = "guardian"
    SHARE = "share"
    OPEN = "open"
    ASK = "ask"


class Met(View):
    """A line of the list. `person` is None where they were erased."""

    id: UUID
    channel: str
    area: str
    happened_at: datetime
    person: PersonFields | None


class MetList(View):
    """`after`: where the next page goes on."""

    entries: tuple[Met, ...]
    after: UUID | None


class PersonPage(View):
    entry: EntryView
    person: PersonFields
    consents: Consents
    handoffs: tuple[HandoffView, ...]
    has_case: bool
    next: Next
    draft: UUID | None
    identification: IdentificationStatus | None


@router.get("/entries")
async def met(request: Request, at: Sender, after: UUID | None = None) -> Response:
    """Whom this organisation met, the latest first; a screened group has a list of its own."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        found = await store.latest(tx, lists.MOST + 1, after)
        rows = found[: lists.MOST]
        opened = await store.open_own(tx, holder.keys, [row.id for row in rows])
        people = ((row, opened.get(row.id)) for row in rows)
        entries = tuple(_met(row, one.fields if one else None) for row, one in people)
        return Reply(MetList(entries=entries, after=rows[-1].id if len(found) > len(rows) else None))

    return at.gated("page.entries", work, "intake/cases/list.html")


def _met(entry: Entry, person: PersonFields | None) -> Met:
    return Met(id=entry.id, channel=entry.channel, area=entry.area, happened_at=entry.happened_at, person=person)


@router.get("/entries/{entry}")
async def person(request: Request, entry: UUID, at: Sender) -> Response:
    """Of somebody who was erased: how far that is."""
    async with at.door.db.transaction("page.erased", org=at.who.org) as tx:
        if await erasures.find(tx, entry) is not None:
            return at.see(f"{ENTRIES}/{entry}/erased")
    holder: Holder = request.app.state.holder
    directory = await network.directory(request)

    async def work(tx: Tx) -> Reply:
        found = await store.find_entry(tx, entry)
        fields = await store.opened_fields(holder.keys, found)
        decided = await standing_of(tx, found, fields, await consent.officials(tx, holder, entry))
        seen = await handoffs.seen_by_sender(tx, holder, await store.handoffs_with(tx, entry), at.who.facts)
        has_case = bool(await store.open_cases(tx, [entry]))
        begun = [one.id for one in await drafts.unfinished(tx, holder.keys, at.who.person)
                 if one.kind is Kind.CONSENT and one.entry == entry]  # fmt: skip
        shown = PersonPage(
            entry=api.view(found, fields, tx.now), person=fields, consents=decided, has_case=has_case,
            handoffs=tuple(handoffs_api.view(one, tx.now) for one in seen),
            next=Next.GO_ON if begun else _next(decided, has_case=has_case), draft=begun[0] if begun else None,
            identification=await identification.stands(tx, holder, entry),
        )  # fmt: skip
        return Reply(shown, found.version)

    phone = request.app.state.duty_phone
    return at.gated("page.entry", work, "intake/cases/person.html", directory=directory, phone=phone)


async def standing_of(
    tx: Tx, found: Entry, fields: PersonFields, officials: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> Consents:
    """What a person decided, as it stands now. `officials`: names by organisation's id, of those who are never told."""
    entry = found.id
    gate = (await consents.people(tx, {entry: adult_from(fields, found.age_at)}))[entry]
    return consents_of(await consents.current(tx, entry), gate, await consents.version(tx, entry), tx.now, officials)


def _next(decided: Consents, *, has_case: bool) -> Next:
    service, sharing = decided.service.state, decided.sharing.state
    if decided.instead:
        return Next.ASK if has_case else Next.OPEN
    if service in {"refused", "withdrawn"}:
        return Next.REST
    if service in {"open", "asked", "invalid", "ended", "of_age"}:
        return Next.TALK
    if "guardian" in {service, sharing}:
        return Next.GUARDIAN
    if not has_case:
        return Next.OPEN
    return Next.ASK if sharing == "given" else Next.SHARE


@router.post("/entries/{entry}/case")
async def open_case(request: Request, entry: UUID, sent: SenderSent) -> Response:
    """For a service consent that came another way; where consent is talked through here, the case opens by itself."""
    await api.open_case(request, entry, sent.command())
    return sent.see(f"{ENTRIES}/{entry}", done="saved")


@router.get("/entries/{entry}/correct")
async def correct(request: Request, entry: UUID, at: Sender) -> Response:
    """What was written, to be corrected or added to."""
    return _correcting(request, entry, at)


@router.post("/entries/{entry}/correct")
async def save(request: Request, entry: UUID, sent: SenderSent) -> Response:
    """Where somebody else has changed it meanwhile, both are shown, and nothing is overwritten unseen."""
    if sent.version is None:
        raise Refusal("version-missing")
    try:
        await api.correct(request, entry, person_in(sent.form), sent.command())
    except Incomplete as error:
        asked = {**_asked(entry), "form": sent.form}
        return sent.again("intake/cases/correct.html", error, **asked, body=None, version=sent.version)
    except Refusal as refusal:
        if refusal.code not in {"version", "key-reused"}:
            raise
        return _correcting(request, entry, sent, form=sent.form, changed=True, status=412)
    return sent.see(f"{ENTRIES}/{entry}", done="corrected")


def _correcting(request: Request, entry: UUID, at: At, **more: Any) -> Response:
    """The form with what is there now, or with what was typed (`form`)."""
    holder: Holder = request.app.state.holder

    async def work(tx: Tx) -> Reply:
        found = await store.find_entry(tx, entry)
        return Reply(await store.opened_fields(holder.keys, found), found.version)

    return at.gated("page.correct", work, "intake/cases/correct.html", **{**_asked(entry), **more})


def _asked(entry: UUID) -> dict[str, Any]:
    """`form` None: the form begins with what is there now."""
    countries = [country.alpha_2 for country in pycountry.countries]
    return {"entry": entry, "countries": countries, "form_of": form_of, "changed": False, "form": None, **choices()}
